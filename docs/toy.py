"""The toy of 24 points on which the choices of DSAC are drawn; written when the pages are built.

Nothing in the figure is placed by hand: rule and pseudo-labels are the package's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from handful.pseudo import pseudo_labels
from handful.queries import dsac, far_set, near_set

POINTS = np.array(
    [[0.5, 0.7], [-0.7, 0.4], [1.2, 0.0], [1.3, 1.0], [-0.2, 0.6], [0.6, 1.2], [0.3, -1.5],
     [0.4, 0.6], [0.2, 0.5], [2.9, 1.6], [4.2, -0.5], [3.5, 0.5], [4.5, 0.0], [5.9, 0.1],
     [3.6, -0.2], [3.9, 1.6], [3.5, 0.3], [2.2, 2.6], [2.4, 4.3], [2.7, 4.6], [2.6, 4.0],
     [1.1, 3.9], [0.7, 3.6], [1.4, 3.8]]
)  # fmt: skip
CLUSTERS = np.repeat([0, 1, 2], [9, 8, 7])
CENTRES = np.array([POINTS[p == CLUSTERS].mean(axis=0) for p in range(3)])
TRUTH = np.array([0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
MISLED = np.where(np.arange(24) == 18, 1, TRUTH)  # the representative of cluster 2 is of class 1
K1, K, B, K2 = 3, 3, 6, 4  # candidates, neighbours, answers of the round, size of a core
COLOURS = ("#4c78a8", "#e07b39", "#59a14f")
_GREY = "#8c8c8c"


def choices() -> Any:
    """The picks of the first round."""
    return dsac(POINTS, CLUSTERS, CENTRES, B, k1=K1, neighbours=K, ties="index")


def cores(truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pseudo-labels after the answers of the first round, ``(24,)``, -1 none."""
    chosen = choices()
    known = np.full(24, -1)
    known[chosen.rows] = truth[chosen.rows]
    representatives = chosen.rows[chosen.representative]
    return pseudo_labels(CLUSTERS, _distances(), known, representatives, k2=K2)


def _distances() -> NDArray[np.float64]:
    return np.asarray(np.square(POINTS - CENTRES[CLUSTERS]).sum(axis=1))


def figure() -> Figure:
    """Candidates and picks; pseudo-labels; the same after one misleading answer."""
    drawn = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, middle, right = drawn.subplots(1, 3, sharex=True, sharey=True)
    _draw_choice(left)
    _draw_cores(middle, TRUTH, "pseudo-labels")
    _draw_cores(right, MISLED, "one misleading representative")
    handles, labels = [], []
    for axes in (left, right):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    for axes in (left, middle, right):
        axes.set(xticks=[], yticks=[], aspect="equal", xlim=(-1.4, 6.5), ylim=(-2.1, 5.2))
    return drawn


def _draw_choice(axes: Axes) -> None:
    """Left: what may be asked and what is."""
    axes.set_title("first round: who is asked", fontsize=9)
    for p, colour in enumerate(COLOURS):
        axes.scatter(*POINTS[p == CLUSTERS].T, s=18, color=colour)
    axes.scatter(*CENTRES.T, marker="x", s=40, color="black", linewidths=1, label="centre")
    chosen, d = choices(), _distances()
    first = chosen.rows[chosen.representative]
    members = [np.flatnonzero(p == CLUSTERS) for p in range(3)]
    near = np.concatenate([near_set(rows, d, K1) for rows in members])
    far = np.concatenate([far_set(np.setdiff1d(rows, first), d, K1) for rows in members])
    for rows, style, said in ((near, "-", "near candidates"), (far, ":", "far candidates")):
        axes.scatter(*POINTS[rows].T, s=75, facecolors="none", edgecolors=_GREY, linestyles=style,
                     label=said)  # fmt: skip
    _draw_picks(axes, CLUSTERS)


def _draw_picks(axes: Axes, groups: NDArray[np.int64]) -> None:
    """In the colour of the cluster that asked, or of the class that was answered."""
    chosen = choices()
    for kind, marker, said in ((True, "*", "representative"), (False, "D", "difficult")):
        rows = chosen.rows[chosen.representative == kind]
        axes.scatter(*POINTS[rows].T, marker=marker, s=130 if kind else 40, zorder=3,
                     facecolors=[COLOURS[g] for g in groups[rows]], edgecolors="black",
                     linewidths=1, label=said)  # fmt: skip


def _draw_cores(axes: Axes, truth: NDArray[np.int64], title: str) -> None:
    """A filled point has a pseudo-label, in the colour of its class; a cross marks a wrong one."""
    labels = cores(truth)
    taken = labels >= 0
    wrong = taken & (labels != truth)
    axes.set_title(f"{title}: {wrong.sum()} of {taken.sum()} wrong", fontsize=9)
    axes.scatter(*POINTS[~taken].T, s=18, facecolors="none", edgecolors=_GREY, label="no label")
    colours = [COLOURS[k] for k in labels[taken]]
    axes.scatter(*POINTS[taken].T, s=30, color=colours)
    if wrong.any():
        axes.scatter(*POINTS[wrong].T, s=110, marker="x", color="#c03030", label="wrong")
    _draw_picks(axes, truth)


def write(folder: Path) -> Path:
    """Write ``dsac-toy.svg``; the same bytes for the same figure."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dsac-toy.svg"
    with mpl.rc_context({"svg.hashsalt": "handful", "svg.fonttype": "none"}):
        figure().savefig(path, bbox_inches="tight",
                         metadata={"Date": None, "Creator": None})  # fmt: skip
    return path
