"""Ids of millions of images without millions of Python objects, always in sorted order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGITS", "NumberedIds", "PackedIds", "SubsetIds", "counted", "find", "shown"]

DIGITS = 8  # a fixed width: an id keeps its name when the file grows


class PackedIds(Sequence[str]):
    """Strings in one block of bytes: their text plus 8 bytes each.

    Encoded with ``surrogatepass``, so that the order of the bytes is the order of the
    code points, for names that are no UTF-8 too.
    """

    __slots__ = ("_blob", "_ends")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        blob, ends = bytearray(), [0]
        for text in texts:
            blob += text.encode("utf-8", "surrogatepass")
            ends.append(len(blob))
        self._blob, self._ends = bytes(blob), np.array(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = _place(i, len(self))
        return self._blob[self._ends[i] : self._ends[i + 1]].decode("utf-8", "surrogatepass")


class NumberedIds(Sequence[str]):
    """Ids ``name#00000000 ..`` over several files of known length, in the order given.

    Names must be sorted by ``name + "#"``: then rows are sorted by id.
    """

    __slots__ = ("_names", "_starts")

    def __init__(self, names: Sequence[str], counts: Sequence[int]) -> None:
        self._names = tuple(names)
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = _place(i, len(self))
        file = int(np.searchsorted(self._starts, i, side="right")) - 1
        return f"{self._names[file]}#{i - int(self._starts[file]):0{DIGITS}d}"


class SubsetIds(Sequence[str]):
    """The ids of some rows of another sequence."""

    __slots__ = ("_base", "_rows")

    def __init__(self, base: Sequence[str], rows: NDArray[np.int64]) -> None:
        self._base, self._rows = base, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self._base[int(j)] for j in self._rows[i]]
        return self._base[int(self._rows[_place(i, len(self))])]


def find(ids: Sequence[str], id: str) -> int:
    """Row of an id among sorted ones, in O(log n); ``KeyError`` when it is not there."""
    row = bisect_left(ids, id)
    if row == len(ids) or ids[row] != id:
        raise KeyError(id)
    return row


def shown(text: object, limit: int = 200) -> str:
    """Text that any terminal or log accepts: odd bytes and line ends are escaped."""
    safe = str(text).encode("utf-8", "backslashreplace").decode()
    if not safe.isprintable():
        safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in safe)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def counted(n: int, thing: str) -> str:
    """``1 file``, ``20,000 files``."""
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def _place(i: Any, n: int) -> int:
    if not -n <= i < n:
        raise IndexError(i)
    return int(i) % n
