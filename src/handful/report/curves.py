"""Curves of a run: accuracy against labels, what a label bought, training from within.

Each function takes runs and returns a `matplotlib.figure.Figure` that stands alone:
``learning_curve([load(folder)]).savefig("curve.pdf")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import offset_copy

from handful.report.look import (
    HAIRLINE,
    PAGE,
    SERIES_COLOURS,
    SERIES_MARKERS,
    TEXT,
    TEXT_2,
    canvas,
    drawing,
    shown,
)
from handful.report.runs import METRICS, Group, Run, Table, common_metric, group
from handful.types import Array

QUALITY = {"acc": "ACC", "nmi": "NMI", "ari": "ARI"}
_NO_LOSS = frozenset(
    {
        "round",
        "stage",
        "step",
        "seconds",
        "images_per_second",
        "changed",
        "variance",
        "purity",
        "total",
        # what learners count rather than lower
        "accepted",
        "classes_covered",
        "flipped",
        "inertia_asked",
        "inertia_rest",
        "lambda",
        "length",
        "occupied",
        "pseudo",
        "rounds",
        "satisfied",
        "unreached",
        "zero_weight",
    }
) | set(QUALITY)
_TERMS = {"rec": "reconstruction", "clu": "clustering", "ccl": "contrastive"}
LOSSES_SHOWN = 5


def learning_curve(
    runs: Sequence[Run],
    *,
    baselines: Sequence[Run] = (),
    metric: str | None = None,
    width: float = 540,
    height: float = 340,
) -> Figure:
    """Accuracy (%) against labels paid for; one line a setting, seeds averaged.

    The band is one standard deviation either side of the mean (three seeds or more);
    with two seeds each is a thin line.  ``baselines`` are dashed and grey.
    """
    metric = metric or common_metric([*runs, *baselines])
    groups = group(runs) + group(baselines, baseline=True)
    with drawing():
        figure = canvas(width, height)
        axes = figure.add_subplot()
        ends: list[_End] = []
        for place, one in enumerate(groups):
            colour = TEXT_2 if one.baseline else SERIES_COLOURS[place % len(SERIES_COLOURS)]
            if metric is not None and (end := _line(axes, one, metric, colour, place)):
                ends.append(end)
        units = dict.fromkeys(run.unit for run in [*runs, *baselines])
        axes.set_xlabel(f"{' or '.join(units)} paid for")
        axes.set_ylabel(f"{METRICS.get(metric or '', metric or 'accuracy')} (%)")
        _headroom(axes)
        _end_labels(axes, ends)
    return figure


class _End(NamedTuple):
    """Where a line ends, and how it is drawn."""

    x: float
    y: float
    title: str
    style: dict[str, Any]


def _line(axes: Axes, one: Group, metric: str, colour: str, place: int) -> _End | None:
    xs, mean, spread = one.curve(metric)
    if not xs.size:
        return None
    if len(one.runs) == 2:
        for run in one.runs:
            axes.plot(*_percent(*run.curve(metric)), color=colour, linewidth=0.75, alpha=0.5)
    if np.isfinite(spread).any():
        low, high = 100 * (mean - spread), 100 * (mean + spread)
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    style: dict[str, Any] = {
        "color": colour,
        "marker": SERIES_MARKERS[place % len(SERIES_MARKERS)],
        "markerfacecolor": PAGE if one.baseline else colour,
        "markeredgecolor": colour,
    }
    dashes = (0, (4, 2)) if one.baseline else "solid"
    axes.plot(xs, 100 * mean, linestyle=dashes, linewidth=1.5 if one.baseline else 2, **style)
    return _End(float(xs[-1]), float(100 * mean[-1]), shown(one.title, 28), style)


def _percent(xs: Array, values: Array) -> tuple[Array, Array]:
    return xs, 100 * values


def _headroom(axes: Axes) -> None:
    """Leave room below; never show more than 100 % nor a span so small that noise is news."""
    low, high = axes.get_ylim()
    low, high = min(low, high - 5.0), min(high, 100.5)
    axes.set_ylim(max(low, -0.5), high)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlim(left=min(axes.get_xlim()[0], 0) if axes.get_xlim()[0] < 60 else None)


def _end_labels(axes: Axes, ends: Sequence[_End]) -> None:
    """Name each line at its end, behind its own marker, apart from its neighbours."""
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = (high - low) * 0.065
    levels = _spread([end.y for end in ends], gap, low + gap / 2, high)
    right = max(end.x for end in ends)
    beside = offset_copy(axes.transData, axes.get_figure(root=True), x=14, units="points")
    for end, level in zip(ends, levels, strict=True):
        axes.plot([right], [level], transform=beside, clip_on=False, linestyle="", **end.style)
        axes.annotate(
            f"{end.title} {end.y:.1f}", (right, level), (22, 0), textcoords="offset points",
            va="center", annotation_clip=False, fontsize=11,
        )  # fmt: skip
    axes.set_ylim(low, high)


def _spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ``values`` as little as a sweep can so that neighbours keep ``gap`` apart."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = list(values)
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + gap)
    over = max((placed[i] for i in order), default=low) - high
    if over > 0:
        ceiling = high
        for i in reversed(order):
            placed[i] = min(placed[i], ceiling)
            ceiling = placed[i] - gap
    return [max(v, low) for v in placed] if len(values) * gap < high - low else placed


def gain_per_label(run: Run, metric: str) -> tuple[Array, Array, Array]:
    """Labels at the end of each round, labels bought, points (%) gained per label bought.

    The first measured round has nothing to compare with and is left out.
    """
    xs, values = run.curve(metric)
    bought = np.diff(xs)
    return xs[1:], bought, 100 * np.diff(values) / np.where(bought > 0, bought, 1)


def label_cost(
    run: Run,
    *,
    baseline: Run | None = None,
    metric: str | None = None,
    width: float = 540,
    height: float = 340,
) -> Figure:
    """What a label bought: points of accuracy per label, and seconds of computing, per round."""
    metric = metric or run.metric
    with drawing():
        figure = canvas(width, height)
        gain, cost = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        if metric is not None:
            xs, bought, points = gain_per_label(run, metric)
            gain.bar(xs - bought / 2, points, bought * 0.8, color=SERIES_COLOURS[0])
            if baseline is not None:
                bx, bb, bp = gain_per_label(baseline, metric)
                for colour, thick, name in ((PAGE, 4.5, None), (TEXT_2, 2.0, "random queries")):
                    gain.plot(
                        bx - bb / 2, bp, linestyle="none", marker="_", markersize=14,
                        markeredgewidth=thick, color=colour, label=name,
                    )  # fmt: skip
                gain.legend(loc="upper right")
            gain.axhline(0, color=TEXT, linewidth=1)
        each = "pair answer" if run.unit == "pair answers" else "label"
        gain.set_title(f"points of accuracy per {each}")
        labels = run.rounds.numbers("labels")
        fit, query = (
            np.nan_to_num(run.rounds.numbers(c)) for c in ("seconds_fit", "seconds_query")
        )
        wide = 0.35 * float(np.diff(np.unique(labels)).min(initial=np.inf))
        wide = wide if np.isfinite(wide) else 1.0
        keep = np.isfinite(labels)
        cost.bar(labels[keep], fit[keep], wide, color=SERIES_COLOURS[5], label="training")
        cost.bar(
            labels[keep], query[keep], wide, bottom=fit[keep],
            color=SERIES_COLOURS[1], label="choosing",
        )  # fmt: skip
        cost.set_title("seconds of computing per round")
        cost.legend(loc="upper right", ncols=2)
        cost.set_ylim(top=1.45 * max(cost.get_ylim()[1], 1e-6))
        cost.set_xlabel(f"{run.unit} paid for")
        cost.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        for axes in (gain, cost):
            axes.yaxis.set_major_locator(MaxNLocator(4))
    return figure


def training_quality(run: Run, *, width: float = 540, height: float = 300) -> Figure | None:
    """ACC, NMI, ARI (%) of clusters against classes over training; ``None`` if not logged.

    The x axis counts log entries in order; hairlines mark where a round begins.
    """
    names = [name for name in QUALITY if run.training.has(name)]
    if not names:
        return None
    with drawing():
        figure = canvas(width, height)
        axes = figure.add_subplot()
        _series(axes, run.training, names, scale=100)
        axes.set_title("agreement of clusters and classes (%)")
        axes.set_ylim(top=min(axes.get_ylim()[1], 101))
    return figure


def training_losses(run: Run, *, width: float = 540, height: float = 300) -> Figure | None:
    """Losses over training, on a log scale where they span it; ``None`` if not logged."""
    names = losses_logged(run)[:LOSSES_SHOWN]
    if not names:
        return None
    with drawing():
        figure = canvas(width, height)
        axes = figure.add_subplot()
        _series(axes, run.training, names, scale=1)
        axes.set_title("losses")
        stages = {stage for stage in _stages(run.training, names) if stage}
        if len(stages) == 1:
            axes.set_title(f"losses of {shown(stages.pop(), 30)}")
        _log_if_positive(axes)
    return figure


def _stages(table: Table, names: Sequence[str]) -> set[str]:
    measured = np.any([np.isfinite(table.numbers(name)) for name in names], axis=0)
    return {stage for stage, use in zip(table.words("stage"), measured, strict=True) if use}


def losses_by_round(run: Run, *, width: float = 540, height: float = 300) -> Figure | None:
    """Last losses of each round against labels, each divided by its first value.

    ``None`` with fewer than two rounds, or without losses.
    """
    columns = (n for n in run.rounds.columns if n.startswith("loss_"))
    names = [n for n in columns if n.removeprefix("loss_") not in _NO_LOSS]
    labels = run.rounds.numbers("labels")
    drawn = []
    for name in names[:LOSSES_SHOWN]:
        values = run.rounds.numbers(name)
        keep = np.isfinite(values) & np.isfinite(labels)
        if keep.sum() > 1 and values[keep][0] > 0:
            drawn.append((_term(name), labels[keep], values[keep] / values[keep][0]))
    if not drawn:
        return None
    with drawing():
        figure = canvas(width, height)
        axes = figure.add_subplot()
        for place, (name, xs, ys) in enumerate(drawn):
            colour = SERIES_COLOURS[place % len(SERIES_COLOURS)]
            axes.plot(xs, ys, color=colour, marker=SERIES_MARKERS[place], label=name, linewidth=1.5)
        axes.set_title("losses at the end of each round (first = 1)")
        _labels_below(axes, run.unit)
        axes.legend(loc="best", ncols=min(3, len(drawn)))
    return figure


def ari_by_round(run: Run, *, width: float = 540, height: float = 300) -> Figure | None:
    """ARI of all images against labels: predictions, clusters, k-means without a label.

    ``None`` for a run whose learner keeps no clusters of its own.
    """
    names = {"ari_all": "predictions", "ari_clusters": "clusters", "ari_kmeans": _KMEANS}
    if not run.rounds.has("ari_clusters"):
        return None
    with drawing():
        figure = canvas(width, height)
        axes = figure.add_subplot()
        for place, (name, words) in enumerate(names.items()):
            xs, values = run.curve(name)
            if not xs.size:
                continue
            control = words == _KMEANS
            axes.plot(
                xs,
                100 * values,
                label=words,
                color=TEXT_2 if control else SERIES_COLOURS[place],
                linestyle="--" if control else "-",
                marker=None if control else SERIES_MARKERS[place],
            )
        axes.set_title("agreement with the true classes, ARI (%)")
        _labels_below(axes, run.unit)
        axes.legend(loc="best")
    return figure


_KMEANS = "k-means, no label"


def pseudo_purity(run: Run, *, width: float = 540, height: float = 300) -> Figure | None:
    """Share of pseudo-labels that are right (%) against labels, with their number beside it.

    ``None`` where no round has an error of pseudo-labels: without a truth, or without any.
    """
    xs, error = run.curve("pseudo_error")
    if not xs.size:
        return None
    count = dict(zip(*run.curve("pseudo_count"), strict=True))
    purity = 100 * (1 - error)
    with drawing():
        figure = canvas(width, height)
        axes = figure.add_subplot()
        axes.plot(xs, purity, color=SERIES_COLOURS[0], marker=SERIES_MARKERS[0])
        for x, y in zip(xs, purity, strict=True):
            axes.annotate(
                f"{count.get(x, 0):,.0f}", (x, y), (0, 7), textcoords="offset points",
                ha="center", color=TEXT_2, fontsize=11,
            )  # fmt: skip
        axes.set_title("pseudo-labels that are right (%), and their number")
        axes.margins(y=0.2)
        _labels_below(axes, run.unit)
    return figure


def _labels_below(axes: Axes, unit: str = "labels") -> None:
    axes.set_xlabel(f"{unit} paid for")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))


def _term(name: str) -> str:
    plain = name.removeprefix("loss_")
    return shown(_TERMS.get(plain, plain.replace("_", " ")), 20)


def losses_logged(run: Run) -> list[str]:
    """Columns of ``training.csv`` that hold figures other than clustering quality."""
    names = (name for name in run.training.columns if name not in _NO_LOSS)
    return [name for name in names if run.training.has(name)]


def _series(axes: Axes, table: Table, names: Sequence[str], *, scale: float) -> None:
    measured = np.zeros(len(table), dtype=bool)
    for name in names:
        measured |= np.isfinite(table.numbers(name))
    at = np.cumsum(measured)
    for place, name in enumerate(names):
        values = scale * table.numbers(name)
        keep = np.isfinite(values)
        title = QUALITY.get(name) or _term(name)
        axes.plot(
            at[keep], values[keep], color=SERIES_COLOURS[place % len(SERIES_COLOURS)],
            label=title, linewidth=1.5,
            marker="." if keep.sum() < 20 else "",
        )  # fmt: skip
    rounds = table.numbers("round")
    starts = np.flatnonzero(np.diff(rounds, prepend=np.nan) != 0)
    edges = {float(at[i] - measured[i]) + 0.5 for i in starts if np.isfinite(rounds[i])}
    for edge in sorted(edges):
        if 1 < edge < at[-1]:
            axes.axvline(edge, color=HAIRLINE, linewidth=1, zorder=0)
    axes.set_xlabel("entries of the training log, in order")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.legend(loc="best", ncols=min(3, len(names)))


def _log_if_positive(axes: Axes) -> None:
    drawn = (line for line in axes.lines if line.get_zorder() > 0)  # hairlines lie below
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in drawn])
    if values.size and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
