"""The gallery: groups as the worker found them, and what a person made of them since.

A group is named ``REV.K`` by its revision and place.  Halving, merging and putting aside are
events that name groups so; they hold for that revision, an undo takes them back, a new grouping
begins afresh.  A group whose pictures are all answered is done and leaves the list.

The order is the worker's: those whose answer settles most first.  It follows the newest model, as
does what a group is likely to be.

Cost: which pictures are open is looked up for all groups at once when something was answered
since, one step a picture in numpy; then O(groups asked for).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.page.index import FRESH, Rows
from handful.page.labels import meaning
from handful.page.learned import NO_CLASS, NONE_OF_THESE, words_of
from handful.page.project import Project
from handful.page.schema import Group, GroupMerge, Groups, Likely, Picture
from handful.page.views import pictures
from handful.page.words import refuse, stale
from handful.revisions import Revision
from handful.types import Event

__all__ = ["EDGE", "LARGEST", "TYPICAL", "aside", "groups", "halve", "merge", "most_typical"]

TYPICAL, EDGE = 24, 12  # tiles of a page: the most typical and, marked, the least
LARGEST = 10_000  # pictures that one decision may name
_ROUNDS = 20  # of two means
_KINDS = ("group_halved", "group_set_aside", "groups_merged", "pair_answered", "image_moved")


@dataclass(frozen=True, slots=True)
class Bunch:
    """Rows of a group, the most typical first; ``base``: places in the worker's list."""

    id: str
    rows: Rows
    base: tuple[int, ...]
    aside: Literal["mixed", "later"] | None = None


@dataclass(slots=True)
class _Arranged:
    """The groups of a revision as they stand, kept until something changes."""

    key: tuple[Any, ...]
    bunches: list[Bunch]
    version: tuple[int, ...] = ()  # of where pictures stand, for ``open``
    open: NDArray[np.int64] = None  # type: ignore[assignment]  # how many of each are open
    model: int = -1  # the revision that the turns are of
    turns: list[int] = field(default_factory=list)  # when each of them is asked


# ------------------------------------------------------------------ the arrangement


def _arranged(project: Project, rev: Revision) -> _Arranged:
    key = (rev.rev, *(project.changes[kind] for kind in _KINDS))
    of: dict[int, _Arranged] = project.kept.setdefault("groups", {})
    held = of.get(rev.rev)
    if held is None or held.key != key:
        held = of[rev.rev] = _Arranged(key, _arrange(project, rev))
        for old in [number for number in of if number < rev.rev - 1]:
            del of[old]
    opening = (project.changes[kind] for kind in ("class_archived", "class_created"))
    version = (project.index.version, *opening)
    if held.version != version:
        held.open = _count_open(project, held.bunches)
        held.version = version
    if held.model != project.learned.rev("model") or len(held.turns) != len(held.bunches):
        held.model = project.learned.rev("model")
        held.turns = _turns(project, rev, held.bunches)
    return held


def _turns(project: Project, rev: Revision, bunches: Sequence[Bunch]) -> list[int]:
    """When each group is asked; as they were made, where the newest model says nothing of them."""
    n, model = len(rev["starts"]) - 1, project.learned.model
    turn = np.arange(n)
    if model is not None and model.meta.get("groups") == rev.rev and len(model["groups"]) == n:
        turn[model["groups"]] = np.arange(n)
    return [min(turn[k] for k in bunch.base) for bunch in bunches]


def _arrange(project: Project, rev: Revision) -> list[Bunch]:
    starts = rev["starts"].tolist()
    bunches = [
        Bunch(f"{rev.rev}.{k}", np.asarray(rev.rows[low:high]), (k,))
        for k, (low, high) in enumerate(pairwise(starts))
    ]
    mine = f"{rev.rev}."
    for event in project.said(*_KINDS[:4]):
        d = event.data
        named = [d["group"]] if "group" in d else list(d.get("groups", ()))
        if not named or not all(name.startswith(mine) for name in named):
            continue
        if event.kind == "pair_answered" and d["answer"] != "same":
            continue
        places = {b.id: at for at, b in enumerate(bunches)}
        if any(name not in places for name in named):
            continue  # a group that an undo took away
        first = bunches[places[named[0]]]
        if event.kind == "group_set_aside":
            bunches[places[first.id]] = Bunch(first.id, first.rows, first.base, d["why"])
        elif event.kind == "group_halved":
            bunches[places[first.id] : places[first.id] + 1] = _halves(project, first)
        else:
            parts = [bunches[places[name]] for name in dict.fromkeys(named)]
            whole = Bunch(
                f"{parts[0].id}.m{event.seq}", _together([b.rows for b in parts]),
                tuple(k for b in parts for k in b.base),
            )  # fmt: skip
            gone = {b.id for b in parts[1:]}
            bunches[places[first.id]] = whole
            bunches = [b for b in bunches if b.id not in gone]
    return bunches


def _together(parts: Sequence[Rows]) -> Rows:
    """Rows of several groups, the most typical of each first."""
    ranks = np.concatenate([(np.arange(len(rows)) + 0.5) / len(rows) for rows in parts])
    return np.asarray(np.concatenate(parts)[np.argsort(ranks, kind="stable")])


def _halves(project: Project, bunch: Bunch) -> list[Bunch]:
    """Two groups by two means of the features, from the ends of their longest axis."""
    rows, features = bunch.rows, project.learned.features
    far = np.zeros(len(rows), dtype=np.bool_)
    distance = np.zeros((len(rows), 2))
    at = features.at(rows) if features is not None else np.full(len(rows), -1)
    if features is None or (at < 0).any():
        far[len(rows) // 2 :] = True  # by how typical they are
    else:
        x = features["vectors"][at].astype(np.float64)
        centred = x - x.mean(axis=0)
        axis = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
        axis *= np.sign(axis[0]) or 1.0  # the most typical stays in the first half
        far = axis < np.median(axis)
        for _ in range(_ROUNDS):
            if not 0 < far.sum() < len(rows):
                break
            centres = np.stack([x[~far].mean(axis=0), x[far].mean(axis=0)])
            distance = ((x[:, None, :] - centres) ** 2).sum(axis=2)
            now = distance[:, 1] < distance[:, 0]
            if (now == far).all():
                break
            far = now
        if not 0 < far.sum() < len(rows):
            far = np.arange(len(rows)) >= len(rows) // 2
    return [
        Bunch(
            f"{bunch.id}.{half}",
            rows[side][np.argsort(distance[side, half], kind="stable")],
            bunch.base,
        )
        for half, side in enumerate((~far, far))
    ]


def _count_open(project: Project, bunches: Sequence[Bunch]) -> NDArray[np.int64]:
    if not bunches:
        return np.zeros(0, dtype=np.int64)
    rows = np.concatenate([b.rows for b in bunches])
    starts = np.cumsum([0, *(len(b.rows) for b in bunches[:-1])])
    return np.add.reduceat(_is_open(project, rows).astype(np.int64), starts)


def _is_open(project: Project, rows: Rows) -> NDArray[np.bool_]:
    open_cells = [
        c for c, _ in project.index.cells()
        if c.presence == FRESH.presence and meaning(project, c)[0] == "open"
    ]  # fmt: skip
    mask = project.index.numbers(open_cells)
    return mask[project.index.standing(rows)]


# ------------------------------------------------------------------ reading


def groups(
    project: Project, rev: int | None, cursor: str | None, limit: int, *, done: bool = False
) -> Groups:
    """A page of groups that have something open; ``done``: of those that have not."""
    with project.lock:
        after, of, model = _opened(cursor)
        wanted = of if of is not None else rev
        newest = project.learned.groups
        held = newest
        if newest is not None and wanted is not None:
            held = project.learned.former("groups", wanted) or newest
        if held is None or newest is None:
            return {
                "items": [], "next": None, "total": 0, "done": 0, "near": [], "rev": 0,
                "newest": 0, "stale": False, "label_rev": project.rev,
            }  # fmt: skip
        arranged = _arranged(project, held)
        if after is not None and (of, model) != (held.rev, arranged.model):
            after = None  # that order is gone: from the top
        listed = _listed(arranged, done=done)
        start = 0
        if after is not None:
            # a group that has left the list meanwhile: behind its place
            start = sum(_rank(arranged, at) <= after for at in listed)
        page = listed[start : start + limit]
        more = start + limit < len(listed)
        return {
            "items": _groups(project, arranged, page, held.rev),
            "next": _closed(arranged, page[-1], held.rev) if more else None,
            "total": len(_listed(arranged, done=False)),
            "done": int((arranged.open == 0).sum()),
            "near": [] if done else _near(project, held, arranged),
            "rev": held.rev,
            "newest": newest.rev,
            "stale": held.rev != newest.rev,
            "label_rev": project.rev,
        }


def _listed(arranged: _Arranged, *, done: bool) -> list[int]:
    """Places of the groups to be shown: those put off come last, mixed ones not at all."""
    bunches, open_ = arranged.bunches, arranged.open
    if done:
        return [at for at in range(len(bunches)) if open_[at] == 0]
    shown = [at for at, b in enumerate(bunches) if open_[at] > 0 and b.aside != "mixed"]
    return sorted(shown, key=lambda at: _rank(arranged, at))


def _rank(arranged: _Arranged, at: int) -> tuple[int, int, int]:
    return int(arranged.bunches[at].aside == "later"), int(arranged.turns[at]), at


def _opened(cursor: str | None) -> tuple[tuple[int, int, int] | None, int | None, int | None]:
    """A rank, the grouping, and the model of the order."""
    if cursor is None:
        return None, None, None
    try:
        of, rev, model, *rank = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        numbers = (rev, model, *rank)
        if of == "groups" and all(type(v) is int and 0 <= v < 2**31 for v in numbers):
            late, turn, at = rank
            return (late, turn, at), rev, model
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("the cursor is none of the groups: begin without one") from error
    raise InputError("the cursor is none of the groups: begin without one")


def _closed(arranged: _Arranged, at: int, rev: int) -> str:
    said = json.dumps(["groups", rev, arranged.model, *_rank(arranged, at)])
    return base64.urlsafe_b64encode(said.encode("ascii")).decode("ascii")


def _groups(project: Project, arranged: _Arranged, page: Sequence[int], rev: int) -> list[Group]:
    shown: list[Rows] = []
    counted: list[int] = []
    for at in page:
        rows = arranged.bunches[at].rows
        is_open = _is_open(project, rows)
        counted.append(int(is_open.sum()))
        shown.append(rows[is_open] if is_open.any() else rows[project.index.standing(rows) > 0])
    tiles = {int(row) for rows in shown for row in (*rows[:TYPICAL], *rows[-EDGE:])}
    found = list(project.index.by_row(tiles).values())
    by_row = dict(zip((r.row for r in found), pictures(project, found), strict=True))
    items: list[Group] = []
    for at, rows, n_open in zip(page, shown, counted, strict=True):
        bunch = arranged.bunches[at]
        typical, edge = rows[:TYPICAL], rows[max(TYPICAL, len(rows) - EDGE) :]
        items.append({
            "id": bunch.id, "n": len(bunch.rows), "open": n_open, "rev": rev,
            "likely": _likely(project, rows, bunch, rev), "ids": project.index.ids(rows),
            "typical": _tiles(by_row, typical), "edge": _tiles(by_row, edge),
            "aside": bunch.aside,
        })  # fmt: skip
    return items


def _tiles(by_row: dict[int, Picture], rows: Rows) -> list[Picture]:
    return [by_row[row] for row in rows.tolist() if row in by_row]


def _likely(project: Project, rows: Rows, bunch: Bunch, rev: int) -> Likely | None:
    """The class that the newest model gives most of; before one, what the grouping said."""
    if project.learned.suggests and len(rows):
        classes, p = project.learned.top(rows)
        ids, inverse = np.unique(classes, return_inverse=True)
        shares = np.bincount(inverse.ravel(), weights=p.ravel().astype(np.float64)) / len(rows)
        shares[ids == NO_CLASS] = 0
        at = int(shares.argmax())
        return _named(int(ids[at]), float(shares[at])) if shares[at] > 0 else None
    groups_rev = project.learned.former("groups", rev)
    if groups_rev is None or len(bunch.base) != 1:
        return None
    k = bunch.base[0]
    now = project.learned.now(np.asarray(groups_rev["likely"][k : k + 1]))
    return _named(int(now[0]), float(groups_rev["p"][k]))


def _named(id: int, p: float) -> Likely | None:
    if id == NO_CLASS:
        return None
    return {"class": None if id == NONE_OF_THESE else id, "p": p, "words": words_of(p)}


def _near(project: Project, rev: Revision, arranged: _Arranged) -> list[list[str]]:
    """Pairs of groups that look alike and that nobody was asked about yet."""
    place = {k: at for at, b in enumerate(arranged.bunches) for k in b.base}
    listed = set(_listed(arranged, done=False))
    asked: set[frozenset[int]] = set()
    for event in project.said("pair_answered"):  # former ones too: where do their pictures lie?
        names = [project.now(event.data["a"]), project.now(event.data["b"])]
        rows = np.array([r.row for r in project.index.of(names).values()], dtype=np.int64)
        at = rev.at(rows)
        base = np.searchsorted(rev["starts"], at[at >= 0], side="right") - 1
        asked.add(frozenset(place.get(k, -1) for k in base.tolist()))
    pairs: list[list[str]] = []
    for a, b in rev["near"].tolist():
        x, y = place.get(a), place.get(b)
        if x is None or y is None or x == y or not {x, y} <= listed:
            continue
        pair = frozenset((x, y))
        if pair not in asked:
            asked.add(pair)
            pairs.append([arranged.bunches[x].id, arranged.bunches[y].id])
    return pairs


# ------------------------------------------------------------------ acting


def _find(project: Project, id: str) -> tuple[_Arranged, int, int]:
    """A group that can be acted on; refused when it is none of the list as it stands."""
    rev = int(id.partition(".")[0])
    held = project.learned.former("groups", rev)
    if held is not None:
        arranged = _arranged(project, held)
        for at, bunch in enumerate(arranged.bunches):
            if bunch.id == id:
                return arranged, at, rev
    stale("these groups were made anew")


def most_typical(project: Project, id: str) -> str:
    """The picture that stands for a group, as the book knows it."""
    arranged, at, _ = _find(project, id)
    rows = project.index.by_row(arranged.bunches[at].rows[:100].tolist())
    for row in arranged.bunches[at].rows[:100].tolist():
        if row in rows:
            return rows[row].path
    stale("the pictures of this group are gone")


def halve(project: Project, id: str, event: str) -> tuple[list[Group], int]:
    """Two groups in the place of one, and how many there are now."""
    with project.lock:
        if project.book.find(event) is None:
            arranged, at, _ = _find(project, id)
            if len(arranged.bunches[at].rows) < 2:
                refuse("request", "One picture cannot be halved. Nothing was done.")
            _append(project, "group_halved", event, {"group": id})
        return _those(project, id, lambda b: b in (f"{id}.0", f"{id}.1"))


def aside(project: Project, id: str, event: str, why: str) -> tuple[list[Group], int]:
    """Out of the list until the next grouping, or to its end."""
    with project.lock:
        if project.book.find(event) is None:
            _find(project, id)
            _append(project, "group_set_aside", event, {"group": id, "why": why})
        return _those(project, id, lambda b: b == id)


def merge(project: Project, asked: GroupMerge) -> tuple[list[Group], int]:
    """One group in the place of several."""
    with project.lock:
        first = asked["groups"][0]
        if project.book.find(asked["id"]) is None:
            named = list(dict.fromkeys(asked["groups"]))
            found = [_find(project, id) for id in named]
            if len(named) < 2 or len({rev for _, _, rev in found}) > 1:
                refuse("request", "Merge two groups or more of one grouping.", status=400)
            total = sum(len(arranged.bunches[at].rows) for arranged, at, _ in found)
            if total > LARGEST:
                refuse("request", f"A group has at most {LARGEST:,} pictures. Nothing was done.")
            _append(project, "groups_merged", asked["id"], {"groups": named})
        return _those(project, first, lambda b: b.startswith(f"{first}.m"))


def _append(project: Project, kind: str, id: str, data: dict[str, Any]) -> None:
    project.append([Event(kind, id, data, person=project.person)])


def _those(project: Project, id: str, wanted: Any) -> tuple[list[Group], int]:
    rev = int(id.partition(".")[0])
    held = project.learned.former("groups", rev)
    if held is None:
        return [], 0
    arranged = _arranged(project, held)
    page = [at for at, b in enumerate(arranged.bunches) if wanted(b.id)]
    total = len(_listed(arranged, done=False))
    return _groups(project, arranged, page, rev), total
