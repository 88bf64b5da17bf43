"""The map as numbers: where each picture lies, and what is said of it now.

All integers are little-endian; arrays follow each other without gaps::

    4 bytes   "hmap"
    uint32    form, 1
    uint32    rev of the map
    uint32    n, points that follow
    uint32    how many pictures the map stands for: more than n when it is a sample
    uint32    label_rev
    uint32    rows   n   a mark of each picture, for comparing two answers
    uint16    x      n
    uint16    y      n
    uint8     class  n   of the label; of the suggestion where it is open; 254 none of these,
                         255 neither
    uint8     state  n   0 open, 1 labelled, 2 later, 3 unsure, 4 none, 5 broken, 6 gone
    uint8     sure   n   probability of the suggestion, 0 to 255

``part=labels`` leaves out rows, x and y.  Classes from 254 on are 253.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from handful.events import STATES
from handful.page.index import FRESH
from handful.page.labels import meaning
from handful.page.learned import NO_CLASS, NONE_OF_THESE
from handful.page.project import Project
from handful.page.schema import MapIds
from handful.page.words import refuse
from handful.revisions import Revision

__all__ = ["AT_ONCE", "map_ids", "points"]

AT_ONCE = 20_000  # ids a request
_NONE, _NEITHER, _LAST, _GONE = 254, 255, 253, 6


def points(project: Project, rev: int | None, *, labels_only: bool = False) -> bytes:
    """The map as bytes; refused (404) before there is one."""
    with project.lock:
        found = _map(project, rev)
        rows = found.rows
        classes, states, sure = _said(project, rows)
        total = int(found.meta.get("images", len(rows)))
        head = struct.pack("<4s5I", b"hmap", 1, found.rev, len(rows), total, project.rev)
        parts = [head]
        if not labels_only:
            parts += [rows.astype("<u4").tobytes()]
            parts += [
                np.ascontiguousarray(found["xy"][:, k]).astype("<u2").tobytes() for k in (0, 1)
            ]
        return b"".join([*parts, classes.tobytes(), states.tobytes(), sure.tobytes()])


def map_ids(project: Project, rev: int | None, start: int, n: int) -> MapIds:
    """Ids of points, a stretch of them."""
    with project.lock:
        found = _map(project, rev)
        ids = project.index.ids(np.asarray(found.rows[start : start + n]))
        return {"ids": ids, "start": start, "total": len(found.rows), "rev": found.rev}


def _map(project: Project, rev: int | None) -> Revision:
    newest = project.learned.map
    if newest is None:
        refuse("early", "The map is drawn after the groups.", status=404)
    if rev is None or rev == newest.rev:
        return newest
    return project.learned.former("map", rev) or newest


def _said(
    project: Project, rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Class, state and sureness of each row."""
    named = project.index.named()
    size = max(named, default=0) + 1
    of_class, of_state = np.full(size, NO_CLASS, np.int32), np.full(size, _GONE, np.uint8)
    for number, cell in named.items():
        if cell.presence == FRESH.presence:
            state, live = meaning(project, cell)
            of_state[number] = STATES.index(state)
            of_class[number] = NONE_OF_THESE if state == "none" else live.id if live else NO_CLASS
    cells = project.index.standing(rows)
    states, classes = of_state[cells], of_class[cells]
    guesses, p = project.learned.suggestions(rows)
    free = (states == STATES.index("open")) | (states == STATES.index("later"))
    classes = np.where(free, guesses, classes)
    shown = np.minimum(classes, _LAST)
    shown[classes == NO_CLASS] = _NEITHER
    shown[classes == NONE_OF_THESE] = _NONE
    sure = np.where(free, np.round(255 * p), 0)
    return shown.astype(np.uint8), states, sure.astype(np.uint8)
