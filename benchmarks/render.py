"""Render docs/results.md, docs/figures and the README's figures from benchmarks/results/*.csv.

``python benchmarks/render.py`` writes them; ``--check`` writes nothing and fails when one
of them differs from what the rows say.  Every figure comes from a row that a benchmark
appended; where a row was measured twice, the later one counts.  A mean stands alone below
three seeds; from three on its standard deviation (n - 1) stands beside it.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, median, stdev

import draw
from groups import GROUPS, Group
from handful.metrics import aulc, holm, paired_test

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
MEASURES = {
    "accuracy_test": "test accuracy", "accuracy_area": "mean test accuracy over the curve, up to",
    "ari_all": "ARI over all images", "nmi_all": "NMI over all"
    " images", "acc_all": "ACC over all images", "ari_unlabelled": "ARI over the unlabelled images",
    "ari_kmeans": "ARI of k-means on the embedding before the first answer", "accuracy_named":
    "accuracy of names, groups before clusters, once every group has its name",
    "accuracy_export": "share of all pictures that an export would give the right label",
    "accuracy_answered": "share of all pictures that were answered, and rightly",
}  # fmt: skip
PERCENT = {  # the smallest count of the schedule that holds so many % of the training part
    "usps": {3: 225, 5: 375, 10: 750},
    "mnist": {1: 500, 3: 1500, 5: 2500, 10: 5000},
    "fashion_mnist": {1: 500, 3: 1500, 5: 2500, 10: 5000},
}
NAMES = {
    "usps": "USPS", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "digits": "digits",
    "stl10": "STL-10", "cifar10": "CIFAR-10", "cifar100_20": "CIFAR-100-20 (its test part)",
}  # fmt: skip


CURVES = {  # the groups that are drawn as well, and the methods of the paper to draw beside them
    "usps": "ccl", "mnist": "ccl", "fashion": "ccl", "dsac_stl10": "dsac", "dsac_cifar100": "",
    "dsac_cifar10": "dsac",
}  # fmt: skip
DRAWN_APART = ("dsac_sensitivity", "page_person")  # in ways of their own
Row = dict[str, str]
Table = list[list[str]]


def load(folder: Path, bench: str) -> list[Row]:
    """Rows of one benchmark, the later of equal ones; none when it has not run."""
    path = folder / f"{bench}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return _distinct(rows)


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """The later of rows about the same thing: one run may stand in two files."""
    keys = ("data", "recipe", "variant", "seed", "labels", "metric")
    return list({tuple(row[k] for k in keys): row for row in rows}.values())


def published(path: Path, tables: Sequence[int]) -> list[Row]:
    """The paper's figures of some tables, exactly as they are printed there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["table"]) in tables]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean, with the standard deviation from three seeds on."""
    if len(values) < 3:
        return f"{mean(values):.{digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def plain(value: float) -> str:
    """A figure with four digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def markdown(header: Sequence[str], rows: Table) -> str:
    """A Markdown table; the first two columns are words, the rest figures."""
    marks = ["---" if i < 2 else "---:" for i in range(len(header))]
    lines = [header, marks, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines
    )


def points(rows: Iterable[Row], data: str) -> list[int]:
    """The label counts to show: those of the paper on its grid, else all up to six."""
    measured = sorted({int(float(row["labels"])) for row in rows if row["labels"]})
    printed = list(PERCENT.get(data, {}).values())
    if printed and printed[0] in measured:
        return [n for n in printed if n in measured]
    if len(measured) <= 6:
        return measured
    step = (len(measured) - 1) / 5
    return sorted({measured[round(i * step)] for i in range(6)})


def curve(
    rows: Sequence[Row],
    data: str,
    paper: Sequence[Row] = (),
    measure: str = "accuracy_test",
    unit: str = "labels",
) -> str:
    """One measure on one data set: a line for each recipe and variant, a column a count."""
    cells: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["metric"] == measure and row["data"] == data and row["labels"]:
            labels = int(float(row["labels"]))
            cells[row["recipe"], row["variant"]][labels].append(float(row["value"]))
    by_grid: dict[tuple[int, ...], list[tuple[str, str]]] = defaultdict(list)
    for line, counts in cells.items():
        by_grid[tuple(points([{"labels": str(n)} for n in counts], data))].append(line)
    parts = []
    for grid, lines in sorted(by_grid.items(), key=lambda item: -len(item[1])):
        table = [
            [recipe, variant, str(max(map(len, cells[recipe, variant].values())))]
            + [spread(cells[recipe, variant][n]) for n in grid]
            for recipe, variant in sorted(lines)
        ]
        table += _published_lines(paper, data, grid, measure)
        parts.append(
            markdown(["recipe", "variant", "seeds", *(f"{n:,} {unit}" for n in grid)], table)
        )
    return "\n\n".join(parts)


def _published_lines(paper: Sequence[Row], data: str, grid: Sequence[int], measure: str) -> Table:
    lines: dict[str, dict[int, str]] = defaultdict(dict)
    for row in paper:
        if "percent" in row:  # CCL prints shares of the training part, and accuracy alone
            count = PERCENT.get(data, {}).get(int(row["percent"]))
        else:
            count = int(row["labels"]) if row["metric"] == measure else None
        if row["data"] == data and count is not None and count in grid:
            lines[row["method"]][count] = row["value"]
    return [
        [method, "published", "", *(values.get(n, "") for n in grid)]
        for method, values in lines.items()
    ]


def comparisons(
    rows: Sequence[Row], pairs: Sequence[tuple[str, str]], measure: str = "accuracy_test"
) -> str:
    """Paired t tests over common seeds, corrected by Holm over the group; empty without any.

    A control that knows no schedule is compared with both; ``ccl`` stands for each printed form.
    """
    scores: dict[tuple[str, str, str, int], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["metric"] == measure and row["labels"]:
            key = (row["data"], row["recipe"], row["variant"], int(float(row["labels"])))
            scores[key][row["seed"]] = float(row["value"])
    found = []
    for (data, recipe, variant, labels), ours in scores.items():
        shown = {*PERCENT.get(data, {}).values()} & {n for d, *_, n in scores if d == data}
        for (other_data, other, other_variant, count), theirs in scores.items():
            if (data, labels) != (other_data, count) or (shown and labels not in shown):
                continue
            if not labels:  # nothing was asked yet, so there is nothing to compare
                continue
            if (_family(recipe), _family(other)) not in pairs:
                continue
            if other_variant not in (variant, variant.partition(" ")[2]):
                continue
            test = paired_test(ours, theirs)
            if test.n >= 3:
                found.append((f"{NAMES.get(data, data)} {variant}", recipe, other, labels, test))
    if not found:
        return ""
    adjusted = holm([test.p for *_, test in found])
    table = [
        [f"{recipe} against {other}", where, f"{labels:,}", f"{test.mean:+.3f}",
         f"{test.low:+.3f} to {test.high:+.3f}", f"{p:.3f}", str(test.n), test.verdict(p)]
        for (where, recipe, other, labels, test), p in zip(found, adjusted, strict=True)
    ]  # fmt: skip
    head = ["paired over seeds", "on", "labels", "difference", "95 % interval", "p (Holm)", "seeds"]
    return markdown([*head, "in words"], table)


def _family(recipe: str) -> str:
    return "ccl" if recipe.startswith("ccl ") else recipe


def figures(rows: Sequence[Row]) -> str:
    """Every other figure, one a line: mean over seeds, with the range where there are several."""
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in rows:
        key = (
            row["data"],
            row["recipe"],
            row["variant"],
            row["labels"],
            row["metric"],
            row["unit"],
        )
        groups[key].append(float(row["value"]))
    table = []
    for (data, recipe, variant, labels, metric, unit), values in groups.items():
        several = len(values) > 1
        bounds = f"{plain(min(values))} to {plain(max(values))}" if several else ""
        what = " ".join(part for part in (data, recipe, variant) if part)
        table.append([what, metric, labels, f"{plain(mean(values))} {unit}".strip(), bounds])
    return markdown(["what", "figure", "labels", "value", "range"], table)


def provenance(rows: Sequence[Row]) -> str:
    """Where the figures come from, in one sentence or three."""
    seconds = [float(row["seconds"]) for row in rows if row["seconds"]]
    parts = [f"Measured {_several(r['date'] for r in rows)}"]
    parts.append(f"at commit {_several(r['commit'] for r in rows)}")
    parts.append(f"on {_several((r['machine'] for r in rows), '; ')}.")
    text = " ".join(parts)
    if seconds:
        text += f" Median {plain(median(seconds))} s a row."
    return f"{text} Command: `{_several((r['command'] for r in rows), '`, `')}`."


def _several(values: Iterable[str], joint: str = ", ", most: int = 3) -> str:
    distinct = sorted(set(values))
    rest = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return joint.join(distinct[:most]) + rest


def section(group: Group, folder: Path, paper: Path) -> str:
    """One group of the results page."""
    rows = load(folder, group.bench)
    named = {name for pair in group.pairs for name in pair}
    for bench in group.borrows if rows else ():
        rows = _distinct([r for r in load(folder, bench) if _family(r["recipe"]) in named] + rows)
    if "accuracy_area" in group.measures:
        rows = rows + _areas(rows)
    head = f"## {group.title}\n\n{group.shows}\n\n"
    if not rows:
        return head + f"Not run yet: `{group.command}`."
    parts = []
    if group.bench in CURVES or group.bench in DRAWN_APART:
        parts.append(f"![{group.title}](figures/{group.bench}.svg)")
    printed = published(paper / f"{group.paper}.csv", group.tables)
    for measure in group.measures:
        shown = {row["data"] for row in rows if row["metric"] == measure and row["labels"]}
        for data in sorted(shown):
            title = f"{NAMES.get(data, data)}, {MEASURES[measure]}:"
            parts.append(f"{title}\n\n{curve(rows, data, printed, measure, group.unit)}")
    if tests := comparisons(rows, group.pairs, group.measures[0]):
        parts.append(tests)
    columns = _columns_of_rounds() if parts else set()
    others = [row for row in rows if row["metric"] not in columns | {"accuracy_area"}]
    if others:
        parts.append(figures(others))
    parts.append(f"{provenance(rows)} All rows: `benchmarks/results/{group.bench}.csv`.")
    return head + "\n\n".join(parts)


def _areas(rows: Sequence[Row]) -> list[Row]:
    """A row more for each curve of test accuracies: its mean height, at its last count."""
    curves: dict[tuple[str, ...], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["metric"] == "accuracy_test":
            key = (row["data"], row["recipe"], row["variant"], row["seed"])
            curves[key][int(float(row["labels"]))] = row
    found = []
    for curve in curves.values():
        counts = sorted(curve)
        height = aulc(counts, [float(curve[n]["value"]) for n in counts])
        found.append({**curve[counts[-1]], "metric": "accuracy_area", "value": repr(height)})
    return found


def _columns_of_rounds() -> set[str]:
    shares = {
        f"{m}_{part}" for m in ("acc", "nmi", "ari") for part in ("all", "unlabelled", "clusters")
    }
    return shares | {
        "accuracy_test", "accuracy_unlabelled", "ari_kmeans", "purity_all", "macro_f1_test",
        "balanced_accuracy_test", "entropy_mean", "seconds_fit", "seconds_query",
        "images_per_second", "peak_mb", "asked", "round", "pseudo_count", "pseudo_error",
        "accuracy_export", "accuracy_answered",
    }  # fmt: skip


def page(folder: Path, paper: Path) -> str:
    """The whole of docs/results.md."""
    intro = (
        "# Results\n\n"
        "Every figure on this page is rendered by `make results` from rows that a benchmark"
        " appended to `benchmarks/results/`. Nothing is typed in. Lines marked *published* are"
        " the figures that a paper prints (CCL: Roda and Geva, 2024, Tables 2 to 5; DSAC: Zhao,"
        " Chen and Zhou, 2024, Tables I to III); their seeds and splits are the authors'"
        " own. A standard deviation stands where there are"
        " three seeds or more. How the comparisons are kept fair: [protocol](protocol.md).\n\n"
    )
    return intro + "\n\n".join(section(group, folder, paper) for group in GROUPS) + "\n"


def readme_block(folder: Path, paper: Path) -> str:
    """The README's figures: the three image sets in short, then one line a promise."""
    parts = ["![USPS: test accuracy over labels](docs/figures/usps.svg)"]
    for bench in ("usps", "mnist", "fashion"):
        group = next(g for g in GROUPS if g.bench == bench)
        rows = load(folder, bench)
        printed = published(paper / f"{group.paper}.csv", group.tables)
        paper_rows = [r for r in printed if r["method"] == "ccl"]
        for data in sorted({row["data"] for row in rows if row["metric"] == "accuracy_test"}):
            name = NAMES.get(data, data)
            parts.append(f"**{name}**, test accuracy:\n\n{curve(rows, data, paper_rows)}")
            parts.append(provenance(rows))
        if not rows:
            parts.append(f"**{group.title}**: not run yet (`{group.command}`).")
    group = next(g for g in GROUPS if g.bench == "dsac_stl10")
    if rows := load(folder, group.bench):
        printed = published(paper / f"{group.paper}.csv", group.tables)
        beside = [r for r in printed if r["method"] == "dsac"]
        table = curve(rows, "stl10", beside, "ari_all")
        parts.append(f"**STL-10**, ARI over all 13,000 images:\n\n{table}")
        parts.append(provenance(rows))
    group = next(g for g in GROUPS if g.bench == "page_person")
    if rows := load(folder, group.bench):
        parts.append(f"**{group.title}**, 5,000 photos, 1.6 s a key, 2 % wrong keys:")
        parts.append(f"![{group.title}](docs/figures/{group.bench}.svg)")
        parts.append(provenance(rows))
    for bench in ("demo", "throughput", "fresh_clone"):
        group = next(g for g in GROUPS if g.bench == bench)
        rows = load(folder, bench)
        if rows:
            parts.append(f"**{group.title}**\n\n{figures(rows)}\n\n{provenance(rows)}")
        else:
            parts.append(f"**{group.title}**: not run yet (`{group.command}`).")
    return "\n\n".join(parts)


def drawn(root: Path = ROOT) -> dict[Path, list[Row]]:
    """Every figure that should stand in docs/figures, with the rows that it shows."""
    results = root / "benchmarks" / "results"
    found = {name: load(results, name) for name in (*CURVES, *DRAWN_APART)}
    if found["dsac_sensitivity"]:
        found["dsac_sensitivity"] += found["dsac_stl10"]
    folder = root / "docs" / "figures"
    return {folder / f"{name}.svg": rows for name, rows in found.items() if rows}


def picture(path: Path, rows: Sequence[Row], root: Path = ROOT) -> str:
    """One of them as SVG."""
    group = next(g for g in GROUPS if g.bench == path.stem)
    if path.stem == "dsac_sensitivity":
        own = [row for row in rows if row["bench"] == "dsac_stl10"]
        swept = [row for row in rows if row["bench"] != "dsac_stl10"]
        return draw.svg(draw.sensitivity(swept, own), rows)
    if path.stem == "page_person":
        return draw.svg(draw.minutes(rows), rows)
    measure, paper = group.measures[0], defaultdict[str, dict[int, float]](dict)
    for row in published(root / "benchmarks" / "published" / f"{group.paper}.csv", group.tables):
        if row["method"] != CURVES[path.stem] or row["data"] not in {r["data"] for r in rows}:
            continue
        if "percent" in row:
            paper["CCL"][PERCENT[row["data"]][int(row["percent"])]] = float(row["value"])
        elif row["metric"] == measure:
            paper["DSAC"][int(row["labels"])] = float(row["value"])
    return draw.svg(draw.curves(rows, measure, MEASURES[measure], paper), rows)


def put(text: str, block: str) -> str:
    """The text with what stands between the two markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text lacks {BEGIN} or {END}: put both back")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def rendered(root: Path = ROOT) -> dict[Path, str]:
    """Every rendered file with what it should say."""
    folder = root / "benchmarks" / "results"
    paper = root / "benchmarks" / "published"
    readme = root / "README.md"
    return {
        root / "docs" / "results.md": page(folder, paper),
        readme: put(readme.read_text(encoding="utf-8"), readme_block(folder, paper)),
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with ``--check`` name those that differ."""
    stale = []
    for path, text in rendered().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    for path, rows in drawn().items():
        if path.exists() and draw.mark(rows) in path.read_text(encoding="utf-8"):
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(picture(path, rows), encoding="utf-8")
    said = (
        "differs from benchmarks/results: run make results" if "--check" in arguments else "written"
    )
    for name in stale:
        print(f"{name}: {said}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
