"""The figures of docs/figures, drawn from the rows of benchmarks/results.

Each file names the rows that it was drawn from by their hash, so that a figure which is older
than its rows is found without comparing pictures: another version of matplotlib draws the same
rows a little differently.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from statistics import mean, stdev

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

Row = Mapping[str, str]
COLOURS = (
    "#3b6fb6", "#d9822b", "#3f9b62", "#b3479b", "#7a6a58", "#c2403f", "#6b7a99", "#9a9a2e",
)  # fmt: skip
SYMBOLS = {
    "k1": "$k_1$, candidates of a cluster", "k": "$k$, neighbours of the compactness",
    "k2_start": "$k_2$, first pseudo-labels of a cluster", "k2_step": "$k_2$, more of them a round",
    "gamma": r"$\gamma$, weight of the centre loss", "lambda_q": r"quantile behind $\lambda$",
    "m": "$m$, width of the embedding",
}  # fmt: skip
BASE = {  # of the literal recipe on STL-10, where its own rows stand in the sweep
    "k1": 6, "k": 6, "k2_start": 50, "k2_step": 1000, "gamma": 0.001, "lambda_q": 0.95, "m": 64,
}  # fmt: skip


def mark(rows: Sequence[Row]) -> str:
    """Hash of what a figure is drawn from."""
    keys = ("data", "recipe", "variant", "seed", "labels", "metric", "value")
    lines = sorted("\t".join(row[k] for k in keys) for row in rows)
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


def svg(figure: Figure, rows: Sequence[Row]) -> str:
    """The figure as SVG with text as text, its rows' hash in the metadata."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "handful", "svg.fonttype": "none"}):
        figure.savefig(
            out, format="svg", bbox_inches="tight", facecolor="white",
            metadata={"Date": None, "Creator": None, "Description": f"rows {mark(rows)}"},
        )  # fmt: skip
    return out.getvalue()


def curves(
    rows: Sequence[Row], measure: str, said: str, printed: Mapping[str, Mapping[int, float]]
) -> Figure:
    """A line a recipe and variant over the labels that were paid for, a band of one s.d.

    ``printed``: a paper's own figures, name -> labels -> value, as crosses.
    """
    lines: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["metric"] == measure and row["labels"]:
            labels = int(float(row["labels"]))
            lines[row["recipe"], row["variant"]][labels].append(float(row["value"]))
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    several = {name for name, _ in lines if sum(n == name for n, _ in lines) > 1}
    for i, ((name, variant), counts) in enumerate(sorted(lines.items())):
        label = f"{name} ({variant})" if name in several else name
        _line(axes, counts, COLOURS[i % len(COLOURS)], label, "-" if i < len(COLOURS) else "--")
    most = max((max(counts) for counts in lines.values()), default=0)
    for marker, (name, values) in zip("x+*1234", printed.items(), strict=False):
        near = {n: value for n, value in values.items() if n <= most}
        axes.plot(
            list(near), list(near.values()), marker, color="#555555",
            label=f"{name}, as published", markersize=7,
        )  # fmt: skip
    axes.set_xlabel("labels paid for")
    axes.set_ylabel(said)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def minutes(rows: Sequence[Row]) -> Figure:
    """Right labels over the minutes of a sitting: with suggestions, and what was answered alone."""
    lines: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows:
        lines[row["recipe"]][row["metric"]][int(float(row["labels"]))].append(float(row["value"]))
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    for (name, measures), colour in zip(sorted(lines.items()), COLOURS, strict=False):
        for measure, style in (("accuracy_export", "-"), ("accuracy_answered", "--")):
            label = name if style == "-" else "  its answers alone"
            _line(axes, {0: [0.0], **measures[measure]}, colour, label, style)
    axes.set_xlabel("minutes")
    axes.set_ylabel("share of all pictures with the right label")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MultipleLocator(5))
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _line(
    axes: Axes, counts: Mapping[int, Sequence[float]], colour: str, label: str, style: str
) -> None:
    x = sorted(counts)
    y = [mean(counts[n]) for n in x]
    if len(x) == 1:  # a clustering without a label, or one round
        axes.axhline(y[0], color=colour, linestyle=":", linewidth=1.2, label=label)
        return
    axes.plot(x, y, style, color=colour, label=label, linewidth=1.6, marker="o", markersize=3)
    if all(len(counts[n]) > 2 for n in x):
        s = [stdev(counts[n]) for n in x]
        low, high = ([a + b * sign for a, b in zip(y, s, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def sensitivity(rows: Sequence[Row], base: Sequence[Row]) -> Figure:
    """Mean ARI over all counts against one number at a time; the recipe's own value ringed."""
    seeds = {row["seed"] for row in rows}
    own = [
        float(r["value"]) for r in base
        if r["recipe"] == "dsac" and r["metric"] == "ari_all" and r["labels"] and r["seed"] in seeds
    ]  # fmt: skip
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["metric"] == "ari_all" and row["labels"]:
            symbol, _, value = row["recipe"].removeprefix("dsac ").partition("=")
            found[symbol][float(value)].append(float(row["value"]))
    figure = Figure(figsize=(9.6, 4.8), layout="constrained")
    panels = figure.subplots(2, 4, sharey=True).ravel()
    for axes, symbol in zip(panels, SYMBOLS, strict=False):
        points = {value: mean(values) for value, values in found[symbol].items()}
        if own:
            points[BASE[symbol]] = mean(own)
        x = sorted(points)
        places = range(len(x))  # evenly, whatever the scale of the number
        axes.plot(places, [points[v] for v in x], "-o", color=COLOURS[0], markersize=4)
        if own:
            axes.plot(x.index(BASE[symbol]), mean(own), "o", markersize=10, mfc="none", mec="#333")
        axes.set_xticks(places, [f"{v:g}" for v in x], fontsize=7)
        axes.set_title(SYMBOLS[symbol], fontsize=8)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_visible(False)
    figure.supylabel("mean ARI from 20 to 100 labels", fontsize=9)
    return figure
