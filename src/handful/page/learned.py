"""What the worker has published, as the page reads it: suggestions, likeness, near-duplicates.

Nothing here is made: the newest revision of each kind (`handful.revisions`) is mapped into
memory when the worker says that it is there, and looked up by row.  Classes are as they are
now: a suggestion of a merged class is one of the class it went into, one of an archived class
is none.

A suggestion counts (``by_model`` of the counts) from `SURE` on.  How many do is kept as a table
of cells by classes, which follows every picture that moves; a request never looks at all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.page.classes import ClassList
from handful.page.index import Index, Rows
from handful.page.schema import Features, Sure
from handful.revisions import KINDS, Revision, newest, read

__all__ = ["NONE_OF_THESE", "NO_CLASS", "SURE", "VERY_SURE", "Learned", "words_of"]

SURE, VERY_SURE = 0.8, 0.95
NO_CLASS, NONE_OF_THESE = -1, -2  # no suggestion; the suggestion that it belongs to no class
Classes: TypeAlias = NDArray[np.int32]


def words_of(p: float) -> Sure:
    """How sure, in words."""
    return "very sure" if p >= VERY_SURE else "fairly sure" if p >= SURE else "guess"


class Learned:
    """The newest revisions below ``folder`` about an index; ``classes`` gives the list now."""

    def __init__(self, folder: Path, index: Index, classes: Callable[[], ClassList]) -> None:
        self.folder, self.index = folder, index
        self._classes = classes
        self.features: Revision | None = None
        self.groups: Revision | None = None
        self.model: Revision | None = None
        self.map: Revision | None = None
        self._mapped: tuple[ClassList | None, Classes] = (None, np.zeros(0, np.int32))
        self._stacks = _Stacks(None, frozenset())
        self._alone: frozenset[int] = frozenset()
        self.suggests = False  # whether there is any suggestion
        self._sure: Classes = np.zeros(0, dtype=np.int32)
        self._table: NDArray[np.int64] | None = None  # cells by classes; None: to be made
        self._upset = index.upset
        index.watch = self._follow
        for kind in KINDS:
            self.refresh(kind)

    # ---------------------------------------------------------------- revisions

    def refresh(self, kind: str) -> bool:
        """Take up the newest revision of a kind; whether it is another one than before."""
        found = newest(self.folder, kind, made=str(self.index.meta("made")))
        held: Revision | None = getattr(self, kind)
        if found is None or (held is not None and held.rev == found.rev):
            return False
        if kind in ("features", "model", "map") and not len(found.rows):
            return False  # about nothing
        with self.index.held():
            setattr(self, kind, found)
            if kind == "features":
                self._stacks = _Stacks(found, self._alone)
            elif kind == "model":
                top, p = found["top"][:, 0], found["p"][:, 0]
                self._sure = np.where(p >= SURE, top, NO_CLASS).astype(np.int32)
                self.suggests = bool((top != NO_CLASS).any())
                self._table = None
                self._sums()
        return True

    def former(self, kind: str, rev: int) -> Revision | None:
        """A certain revision of a kind, while it is kept."""
        held: Revision | None = getattr(self, kind)
        if held is not None and held.rev == rev:
            return held
        return read(self.folder, kind, rev, made=str(self.index.meta("made")))

    def rev(self, kind: str) -> int:
        """Number of the revision at hand, 0 without one."""
        held: Revision | None = getattr(self, kind)
        return 0 if held is None else held.rev

    @property
    def source(self) -> Features | None:
        """What pictures are compared by."""
        if self.features is None:
            return None
        source = str(self.features.meta.get("source", "pixels"))
        return {"source": source, "images": len(self.features.rows)}

    # ---------------------------------------------------------------- suggestions

    def now(self, classes: NDArray[np.integer]) -> Classes:
        """Ids of classes as they were -> as they are; archived ones become `NO_CLASS`."""
        live, table = self._classes(), self._mapped[1]
        if live is not self._mapped[0]:
            found = (live.now(id) for id in range(len(live.items)))
            ids = [NO_CLASS if one is None else one.id for one in found]
            table = np.array([*ids, NONE_OF_THESE, NO_CLASS], dtype=np.int32)  # [-2], [-1]
            self._mapped = live, table
        known = (classes >= NONE_OF_THESE) & (classes < len(table) - 2)
        return np.where(known, table[np.where(known, classes, NO_CLASS)], NO_CLASS).astype(np.int32)

    def suggestions(self, rows: Rows) -> tuple[Classes, NDArray[np.float32]]:
        """Class and probability that the newest model gives rows: `NO_CLASS` and 0 without."""
        classes, p = self.top(rows)
        return classes[:, 0], p[:, 0]

    def suggestion(self, row: int) -> tuple[int, float] | None:
        """Class (or `NONE_OF_THESE`) and probability of one row."""
        classes, p = self.suggestions(np.array([row], dtype=np.int64))
        return None if classes[0] == NO_CLASS else (int(classes[0]), float(p[0]))

    def top(self, rows: Rows) -> tuple[Classes, NDArray[np.float32]]:
        """The two likeliest classes of rows and their probabilities, ``(m, 2)`` each."""
        if self.model is None:
            empty = np.full((len(rows), 2), NO_CLASS, dtype=np.int32)
            return empty, np.zeros((len(rows), 2), dtype=np.float32)
        at = self.model.at(rows)
        classes = self.now(self.model["top"][at])
        classes[at < 0] = NO_CLASS
        return classes, np.where(classes == NO_CLASS, 0, self.model["p"][at]).astype(np.float32)

    def sure_by_cell(self) -> dict[int, dict[int, int]]:
        """Per number of a cell: how many of its pictures have a sure suggestion, by class."""
        with self.index.held():
            table = self._sums()
            if table is None:
                return {}
            cells, columns = np.nonzero(table)
            counted = table[cells, columns]
        ids = self.now(columns.astype(np.int32) + NONE_OF_THESE)  # asks the book: not while held
        found: dict[int, dict[int, int]] = {}
        for cell, id, n in zip(cells.tolist(), ids.tolist(), counted.tolist(), strict=True):
            if id != NO_CLASS:
                of = found.setdefault(cell, {})
                of[id] = of.get(id, 0) + n
        return found

    def _sums(self) -> NDArray[np.int64] | None:
        """The table, made anew after a new model and after a transaction that went back."""
        if self.model is None:
            return None
        if self._table is None or self._upset != self.index.upset:
            self._upset = self.index.upset
            cells = self.index.standing(self.model.rows)
            shape = (int(cells.max(initial=0)) + 1, int(self._sure.max(initial=0)) + 3)
            flat = cells.astype(np.int64) * shape[1] + (self._sure - NONE_OF_THESE)
            counted = np.bincount(flat[self._sure != NO_CLASS], minlength=shape[0] * shape[1])
            self._table = counted.reshape(shape)
        return self._table

    def _follow(self, rows: Rows, old: Rows, new: Rows) -> None:
        """Pictures moved from cell to cell."""
        table = self._table
        if self.model is None or table is None:
            return
        at = self.model.at(rows)
        sure = np.where(at < 0, NO_CLASS, self._sure[at])
        counts = sure != NO_CLASS
        if not counts.any():
            return
        top = int(max(old.max(), new.max())) + 1
        if top > len(table):
            more = np.zeros((2 * top - len(table), table.shape[1]), dtype=np.int64)
            table = self._table = np.concatenate([table, more])
        columns = sure[counts] - NONE_OF_THESE
        np.subtract.at(table, (old[counts], columns), 1)
        np.add.at(table, (new[counts], columns), 1)

    # ---------------------------------------------------------------- likeness

    def likeness(self, rows: Rows, to: Rows) -> NDArray[np.float32]:
        """Inner products of rows with others, ``(m, k)``; -1 where one of the two has no features.

        Cost: m k d.
        """
        out = np.full((len(rows), len(to)), -1.0, dtype=np.float32)
        if self.features is None:
            return out
        a, b = self.features.at(rows), self.features.at(to)
        found = np.ix_(a >= 0, b >= 0)
        vectors = self.features["vectors"]
        left, right = vectors[a[a >= 0]].astype(np.float32), vectors[b[b >= 0]].astype(np.float32)
        out[found] = left @ right.T
        return out

    # ---------------------------------------------------------------- near-duplicates

    def stack(self, row: int) -> list[int]:
        """Rows of the near-duplicates of a picture, itself included, in order."""
        return self._stacks.members(row)

    def stack_sizes(self, rows: Rows) -> NDArray[np.int64]:
        """How many near-duplicates each row has, itself included."""
        return self._stacks.sizes(rows)

    def stack_of(self, rows: Rows) -> NDArray[np.int64]:
        """A number for each row that its near-duplicates share, -1 alone."""
        return self._stacks.of(rows)

    def part(self, rows: Iterable[int]) -> None:
        """These rows are no near-duplicates of anything: a person said so."""
        self._alone = frozenset(rows)
        self._stacks = _Stacks(self.features, self._alone)


class _Stacks:
    """Near-duplicates of one revision of features, those that were parted left out."""

    def __init__(self, features: Revision | None, alone: frozenset[int]) -> None:
        self.features = features
        self.stack = np.zeros(0, dtype=np.int32)
        if features is not None:
            self.stack = np.array(features["stack"])
            at = features.at(np.fromiter(alone, dtype=np.int64, count=len(alone)))
            self.stack[at[at >= 0]] = -1
        held = np.flatnonzero(self.stack >= 0)
        self.order = held[np.argsort(self.stack[held], kind="stable")]
        self.sorted = self.stack[self.order]

    def of(self, rows: Rows) -> NDArray[np.int64]:
        if self.features is None:
            return np.full(len(rows), -1, dtype=np.int64)
        at = self.features.at(rows)
        return np.where(at < 0, -1, self.stack[at]).astype(np.int64)

    def sizes(self, rows: Rows) -> NDArray[np.int64]:
        of = self.of(rows)
        n = np.searchsorted(self.sorted, of, "right") - np.searchsorted(self.sorted, of, "left")
        return np.where(of < 0, 1, n).astype(np.int64)

    def members(self, row: int) -> list[int]:
        of = int(self.of(np.array([row], dtype=np.int64))[0])
        if of < 0 or self.features is None:
            return [row]
        low, high = np.searchsorted(self.sorted, [of, of + 1])
        found: list[int] = self.features.rows[self.order[low:high]].tolist()
        return found
