"""Maps: the latent space on a plane, with what was asked ringed; and who is taken for whom.

The plane is t-SNE (van der Maaten & Hinton, JMLR 9, 2008) by openTSNE with a fixed seed
and one thread: it keeps neighbours, not distances, and is a picture, not a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from handful.report.figures import Figures, Stage
from handful.report.look import (
    ACCENT,
    HAIRLINE,
    LINE,
    PAGE,
    TEXT,
    TEXT_2,
    canvas,
    class_look,
    drawing,
    shown,
)
from handful.types import Array

POINTS = 2000
PANELS = 6
_NAMED = 40  # more classes than this are not named in a figure
_FEW = 12  # up to so many are named in every panel, more in the first alone
_COUNTED = 20  # more classes than this have no number in each cell


def thin(figures: Figures, seed: int = 0, points: int = POINTS) -> Array:
    """Positions of the sampled rows that become points: all asked ones first, <= ``points``."""
    rng = np.random.default_rng(seed)
    asked = np.flatnonzero(figures.asked_round >= 0)
    others = rng.permutation(np.flatnonzero(figures.asked_round < 0))
    if asked.size > points // 2:
        asked = rng.permutation(asked)
    return np.sort(np.concatenate([asked[:points], others[: max(0, points - asked.size)]]))


def layout(embedding: Array, seed: int = 0, *, start: Array | None = None) -> Array:
    """Place ``embedding (m, d)`` on a plane ``(m, 2)``: t-SNE, perplexity 30 or m / 4.

    Two columns or fewer, or under a dozen points, are shown as they are.  Same seed, same
    map.  ``start (m, 2)``: begin from another map, so that two can be compared.  About
    2 ms a point.
    """
    x = np.asarray(embedding, dtype=np.float64)
    if x.shape[1] <= 2 or len(x) < 12 or np.ptp(x, axis=0).max(initial=0.0) == 0.0:
        return np.column_stack([x, np.zeros((len(x), max(0, 2 - x.shape[1])))])[:, :2]
    from openTSNE import TSNE  # slow to import; only a map needs it

    if (copies := len(x) - len(np.unique(x, axis=0))) > len(x) // 2:
        # more than half of the points are copies: no neighbourhood to keep
        x = x + np.random.default_rng(seed).normal(scale=1e-4, size=x.shape) * bool(copies)
    first: str | Array = "pca"
    if start is not None:
        first = 1e-4 * (start - start.mean(axis=0)) / max(float(start[:, 0].std()), 1e-12)
    machine = TSNE(
        initialization=first,
        perplexity=min(30.0, len(x) / 4),
        early_exaggeration_iter=100,
        n_iter=250,
        neighbors="exact",
        negative_gradient_method="bh",  # exact enough, and faster than FFT up to some 10,000
        n_jobs=1,
        random_state=seed,
    )
    return np.asarray(machine.fit(x), dtype=np.float64)


def stages(asked_per_round: Array, panels: int = PANELS) -> list[tuple[int, int]]:
    """Split the rounds that asked something into at most ``panels`` spans ``(first, last)``."""
    rounds = np.flatnonzero(np.asarray(asked_per_round) > 0)
    parts = np.array_split(rounds, min(panels, rounds.size)) if rounds.size else []
    return [(int(part[0]), int(part[-1])) for part in parts]


def latent_map(
    figures: Figures,
    *,
    seed: int = 0,
    panels: int = PANELS,
    width: float = 1096,
) -> Figure | None:
    """The final latent space, one panel a stage; rings mark the images asked in that stage.

    Coloured by class: the truth where a sample of it is kept, else the prediction.  A dot
    ringed before keeps a small mark.  ``None`` without an embedding.
    """
    if not has_map(figures):
        return None
    keep = thin(figures, seed)
    xy = layout(figures.embedding[keep], seed)
    spans = stages(figures.asked_per_round, panels) or [(-1, -1)]
    few = len(figures.classes) <= _FEW
    columns = min(len(spans), 3)
    rows = -(-len(spans) // columns)
    cell = min(width / columns, 440.0)
    with drawing():
        figure = canvas(cell * columns, (cell + 24) * rows)
        for number, span in enumerate(spans):
            axes = figure.add_subplot(rows, columns, number + 1)
            _panel(axes, figures, keep, xy, span, named=number == 0 or few)
    return figure


def latent_panels(
    figures: Figures, *, seed: int = 0, panels: int = PANELS, side: float = 352
) -> list[Figure]:
    """The panels of `latent_map` one by one, for a page that sets them as it has room."""
    if not has_map(figures):
        return []
    keep = thin(figures, seed)
    xy = layout(figures.embedding[keep], seed)
    spans = stages(figures.asked_per_round, panels) or [(-1, -1)]
    few = len(figures.classes) <= _FEW
    out = []
    for number, span in enumerate(spans):
        with drawing():
            figure = canvas(side, side + 24)
            _panel(figure.add_subplot(), figures, keep, xy, span, named=number == 0 or few)
        out.append(figure)
    return out


def has_map(figures: Figures) -> bool:
    """Whether the run left an embedding to draw."""
    return figures.embedding.shape[1] > 0 and len(figures.rows) > 0


def coloured_by(figures: Figures) -> str:
    """What the colours of the map stand for."""
    return "true class" if (figures.truth >= 0).any() else "predicted class"


def _panel(
    axes: Axes, figures: Figures, keep: Array, xy: Array, span: tuple[int, int], *, named: bool
) -> None:
    first, last = span
    truth = coloured_by(figures) == "true class"
    classes = (figures.truth if truth else figures.predicted)[keep]
    asked = figures.asked_round[keep]
    _points(axes, xy, classes)
    _rings(
        axes,
        xy,
        before=(asked >= 0) & (asked < first),
        now=(asked >= first) & (asked <= last) & (asked >= 0),
    )
    if named:
        _names(axes, xy, classes, figures.classes)
    count = int(figures.asked_per_round[first : last + 1].sum()) if first >= 0 else 0
    axes.set_title(_stage_title(first, last, count))


def growth_panels(
    figures: Figures, stages: Sequence[Stage], *, seed: int = 0, side: float = 352
) -> list[Figure]:
    """The latent space of several rounds, early to late, of the same images.

    Each map starts from that of the stage after it: what moved, moved.
    """
    if not stages or len(stages) < 2:
        return []
    at = {int(row): place for place, row in enumerate(figures.rows)}
    kept = np.array([i for i, row in enumerate(stages[-1].rows) if int(row) in at], dtype=np.int64)
    if not kept.size:
        return []
    places = np.array([at[int(stages[-1].rows[i])] for i in kept], dtype=np.int64)
    truth = coloured_by(figures) == "true class"
    classes = (figures.truth if truth else figures.predicted)[places]
    maps: list[Array] = []
    for stage in reversed(stages):
        maps.append(layout(stage.embedding[kept], seed, start=maps[-1] if maps else None))
    out = []
    for stage, xy in zip(stages, reversed(maps), strict=True):
        with drawing():
            figure = canvas(side, side + 24)
            axes = figure.add_subplot()
            _points(axes, xy, classes)
            if len(figures.classes) <= _FEW:
                _names(axes, xy, classes, figures.classes)
            axes.set_title(f"after {stage.labels:,} labels")
        out.append(figure)
    return out


def _stage_title(first: int, last: int, count: int) -> str:
    if first < 0:
        return "nothing asked yet"
    span = f"question {first}" if first == last else f"questions {first} to {last}"
    if first == last == 0:
        span = "first question"
    return f"{span}: {count:,} asked"


def _points(axes: Axes, xy: Array, classes: Array) -> None:
    low, high = xy.min(axis=0), xy.max(axis=0)
    middle, half = (low + high) / 2, max(float((high - low).max()) * 0.53, 1e-9)
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(True)
        side.set_color(HAIRLINE)
    size = 3.4 if len(xy) > 600 else 4.6
    unit = 2 * half / 350  # about one pixel, in units of the map
    for class_id in np.unique(classes):
        colour, pattern = class_look(int(class_id))
        axes.add_patch(_dots(xy[classes == class_id], colour, pattern, size, unit))


def _dots(xy: Array, colour: str, pattern: int, size: float, unit: float) -> PathPatch:
    """One path for all marks of a class: dots, crosses or pluses by its pattern.

    A dot is a stroke of hardly any length with a round cap, which keeps thousands of them small
    in SVG.
    """
    reach = (0.05, 0.4 * size, 0.55 * size)[pattern] * unit
    strokes = [(-reach, 0.0), (reach, 0.0)]
    if pattern == 1:
        strokes = [(-reach, -reach), (reach, reach), (-reach, reach), (reach, -reach)]
    elif pattern == 2:
        strokes += [(0.0, -reach), (0.0, reach)]
    vertices = (xy[:, None, :] + np.array(strokes)[None]).reshape(-1, 2)
    codes = np.tile([Outline.MOVETO, Outline.LINETO], len(vertices) // 2)
    outline = Outline(vertices, codes.astype(np.uint8))
    outline.should_simplify = False
    return PathPatch(
        outline,
        fill=False,
        edgecolor=colour,
        linewidth=1.2 if pattern else size,
        capstyle="butt" if pattern else "round",
        alpha=0.4 if colour == LINE else 0.85,
        snap=False,  # snapped to pixels, a dot would have no length left and vanish
    )


def _rings(axes: Axes, xy: Array, *, before: Array, now: Array) -> None:
    axes.plot(*xy[before].T, linestyle="none", marker="o", markersize=2.2, color=TEXT)
    axes.plot(
        *xy[now].T, linestyle="none", marker="o", markersize=8, markerfacecolor="none",
        markeredgecolor=TEXT, markeredgewidth=1.3,
    )  # fmt: skip


def _names(axes: Axes, xy: Array, classes: Array, names: Sequence[str]) -> None:
    """Write each class's name on the member nearest to the median of its points."""
    present = [int(c) for c in np.unique(classes) if c >= 0]
    if len(present) > _NAMED:
        return
    for class_id in present:
        members = xy[classes == class_id]
        centre = np.median(members, axis=0)
        at = members[np.argmin(((members - centre) ** 2).sum(axis=1))]
        axes.text(
            float(at[0]), float(at[1]), _name(names, class_id), ha="center", va="center",
            fontsize=12, fontweight="bold", color=TEXT,
            bbox={"boxstyle": "round,pad=0.12", "fc": PAGE, "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _name(names: Sequence[str], class_id: int, limit: int = 14) -> str:
    return shown(names[class_id], limit) if class_id < len(names) else str(class_id)


def confusion_matrix(figures: Figures, *, width: float = 540) -> Figure | None:
    """Truth in rows, prediction in columns; depth of colour is the share of the row.

    Counts are written for up to 20 classes, names for up to 40.  ``None`` without truth.
    """
    counts = figures.confusion
    c = len(counts)
    if c == 0:
        return None
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    with drawing():
        figure = canvas(width, width)
        axes = figure.add_subplot()
        colour = np.array([int(ACCENT[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        pixels = np.concatenate([np.broadcast_to(colour, (c, c, 3)), shares[..., None]], axis=2)
        if c > _NAMED:
            axes.imshow(pixels, interpolation="nearest", aspect="equal")
        else:
            _cells(axes, counts, shares)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.tick_params(length=0)
        if c <= _NAMED:
            names = [_name(figures.classes, i) for i in range(c)]
            steep = max(map(len, names)) > 3
            axes.set_xticks(range(c), names, rotation=90 if steep else 0)
            axes.set_yticks(range(c), names)
    return figure


def _cells(axes: Axes, counts: Array, shares: Array) -> None:
    c = len(counts)
    axes.set_xlim(-0.5, c - 0.5)
    axes.set_ylim(c - 0.5, -0.5)
    axes.set_aspect("equal")
    size = 11 if c <= 10 else 8
    for i in range(c):
        for j in range(c):
            share = float(shares[i, j])
            edge = [(j - 0.47, i - 0.47), (j + 0.47, i - 0.47), (j + 0.47, i + 0.47)]
            edge += [(j - 0.47, i + 0.47), edge[0]]
            # errors are rare: the square root makes them visible without hiding the diagonal
            axes.add_patch(
                PathPatch(Outline(edge), facecolor=ACCENT, alpha=share**0.5, linewidth=0)
                if share
                else PathPatch(Outline(edge), facecolor=HAIRLINE, alpha=0.25, linewidth=0)
            )
            if c <= _COUNTED and counts[i, j]:
                ink = PAGE if share > 0.5 else (TEXT if i == j else TEXT_2)
                axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=ink,
                          fontsize=size)  # fmt: skip
