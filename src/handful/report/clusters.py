"""Cluster by cluster: whom the rule asked about, and what the learner then labelled by itself.

A learner that gives its pseudo-labels away (``pseudo_labels()``) leaves ``clusters.npz`` at the
end of a run: for each cluster, as it was when the last question was put, the images that were
asked and a random sample of those that took the cluster's class without being asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from handful.errors import InputError, RunFolderError
from handful.report.figures import thumbnails, write
from handful.report.look import shown
from handful.report.sheets import TILE, png, swatch
from handful.types import Array, Pool

__all__ = ["Clusters", "collect", "load", "sheet", "table_rows"]

FILE = "clusters.npz"
SHOWN = 30  # clusters with pictures
EXAMPLES = 6  # pseudo-labelled images of a cluster
ROLES = ("representative", "difficult", "pseudo-labelled")
PSEUDO = len(ROLES) - 1
_BYTES = 700_000  # of all pictures, before PNG


@dataclass(frozen=True, slots=True)
class Clusters:
    """``K`` clusters and ``t`` pictures; classes are positions in the report's list, -1 unknown.

    ``right (K,)`` : pseudo-labels that the truth bears out, of the ``scored (K,)`` it speaks of.
    """

    sizes: Array  # (K,) images
    named: Array  # (K,) class that most pseudo-labels of the cluster have
    pseudo: Array  # (K,) pseudo-labels
    scored: Array
    right: Array
    thumbnails: Array  # (t, C, h, w) uint8; empty for a pool of features
    cluster: Array  # (t,)
    role: Array  # (t,) position in ROLES
    label: Array  # (t,) the answer, or the pseudo-label
    truth: Array  # (t,)


def collect(
    folder: Path | str,
    *,
    pool: Pool,
    clusters: Array,
    asked: Sequence[tuple[int, str]],
    known: Array,
    pseudo: Array,
    truth: Array | None,
    n_classes: int,
    rng: np.random.Generator,
) -> None:
    """Write ``clusters.npz`` into a run folder: at most `SHOWN` clusters with pictures.

    ``clusters (n,)`` are those in which the ``asked`` (row, tag) were chosen, ``pseudo (n,)``
    and ``known (n,)`` classes or -1, ``truth (n,)`` the same where somebody knows it.
    """
    n = len(pool)
    if {len(clusters), len(known), len(pseudo)} != {n}:
        raise InputError(f"clusters: give clusters, known and pseudo for all {n} images")
    truth = np.full(n, -1) if truth is None else truth
    own = (pseudo >= 0) & (known < 0)
    k = int(clusters.max(initial=-1)) + 1
    votes = np.zeros((k, n_classes), dtype=np.int64)
    np.add.at(votes, (clusters[own], pseudo[own]), 1)
    count = votes.sum(axis=1)
    scored = own & (truth >= 0)
    right = scored & (truth == pseudo)
    picked: list[tuple[int, int]] = [
        (row, ROLES.index(tag)) for row, tag in asked if tag in ROLES and clusters[row] < SHOWN
    ]
    for p in range(min(k, SHOWN)):
        rows = rng.permutation(np.flatnonzero(own & (clusters == p)))[:EXAMPLES]
        picked += [(int(row), PSEUDO) for row in np.sort(rows)]
    rows = np.array([row for row, _ in picked], dtype=np.int64)
    role = np.array([place for _, place in picked], dtype=np.int64)
    write(
        Path(folder) / FILE,
        {
            "sizes": np.bincount(clusters, minlength=k),
            "named": np.where(count > 0, votes.argmax(axis=1), -1),
            "pseudo": count,
            "scored": np.bincount(clusters[scored], minlength=k),
            "right": np.bincount(clusters[right], minlength=k),
            "thumbnails": thumbnails(pool, rows, _BYTES),
            "cluster": clusters[rows].astype(np.int64),
            "role": role,
            "label": np.where(role == PSEUDO, pseudo[rows], known[rows]),
            "truth": truth[rows],
        },
    )


def load(folder: Path | str) -> Clusters | None:
    """Read ``clusters.npz``; ``None`` when the run left none."""
    path = Path(folder) / FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return Clusters(**{name: file[name] for name in file.files})
    except (OSError, ValueError, TypeError, BadZipFile, EOFError) as error:
        raise RunFolderError(
            f"{path} cannot be read: delete it and run again with --resume"
        ) from error


def table_rows(found: Clusters, classes: Sequence[str]) -> list[list[str]]:
    """Cluster, its class, images, pseudo-labels, and the share of these that is right."""
    rows = []
    for p, size in enumerate(found.sizes):
        scored = int(found.scored[p])
        share = f"{100 * found.right[p] / scored:.1f}" if scored else ""
        name = _name(int(found.named[p]), classes)
        rows.append([str(p), name, f"{size:,}", f"{found.pseudo[p]:,}", share])
    return rows


def sheet(found: Clusters, classes: Sequence[str]) -> str:
    """HTML of the clusters' pictures: representatives, difficult ones, pseudo-labelled ones."""
    if not len(found.thumbnails):
        return ""
    out = []
    for p in np.unique(found.cluster):
        groups = []
        for place, role in enumerate(ROLES):
            rows = np.flatnonzero((found.cluster == p) & (found.role == place))
            if len(rows):
                tiles = "".join(_tile(found, int(i), classes) for i in rows)
                groups.append(f'<div><h4>{role}</h4><ul class="tiles">{tiles}</ul></div>')
        name = escape(shown(_name(int(found.named[p]), classes), 40))
        facts = f"{found.sizes[p]:,} images, {found.pseudo[p]:,} pseudo-labels"
        if scored := int(found.scored[p]):
            facts += f", {100 * found.right[p] / scored:.1f} % of them right"
        out.append(
            f'<section class="asked"><h3>Cluster {p}{f": {name}" if name else ""}'
            f'<span>{facts}</span></h3><div class="roles">{"".join(groups)}</div></section>'
        )
    return f'<div class="clusters">{"".join(out)}</div>'


def _tile(found: Clusters, i: int, classes: Sequence[str]) -> str:
    height, width = found.thumbnails.shape[2:]
    scale = TILE / max(height, width)
    size = f'width="{round(width * scale)}" height="{round(height * scale)}"'
    label, true = int(found.label[i]), int(found.truth[i])
    said, name = _name(label, classes) or "no answer", _name(true, classes)
    wrong = label >= 0 <= true != label
    title = f"{ROLES[int(found.role[i])]}: {said}"
    title = escape(shown(f"{title}; it is {name}" if wrong else title, 100), quote=True)
    mark = ' class="wrong"' if wrong else ""
    text = escape(shown(f"✗ {name}" if wrong else said, 40))
    return (
        f'<li title="{title}"{mark}><span class="frame">'
        f'<img src="{png(found.thumbnails[i])}" {size} alt="{title}"></span>'
        f"{swatch(true if wrong else label, bar=True)}"
        f"<span>{text}</span></li>"
    )


def _name(class_id: int, classes: Sequence[str]) -> str:
    return classes[class_id] if 0 <= class_id < len(classes) else ""
