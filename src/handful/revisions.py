"""What the worker publishes and the page reads: arrays on disk, whole or not there.

::

    FOLDER/groups/000007/   rows.npy starts.npy ... meta.json, and files of its own
           groups.json      {"rev": 7}

A revision is made beside its place, renamed, and only then named by ``KIND.json``, which is
replaced in one step: a kill at any moment leaves the one before or the new one.  The last two
of a kind are kept.  Readers map the arrays into memory; nothing is ever changed in place.

A picture is named by its row in the index of the folder.  ``made`` is the mark of that index:
rows of another one mean other pictures, and such a revision does not exist for its reader.
`ARRAYS` says what a kind holds: rows are ``int64`` and rise, those of *groups* group by group.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError, StoreError
from handful.store.files import write_whole

__all__ = ["ARRAYS", "KINDS", "Revision", "newest", "publish", "read", "rev_of"]

Array: TypeAlias = NDArray[Any]
log = logging.getLogger(__name__)
KEPT = 2

# What the arrays of a kind are called, their type, and their shape: n pictures, g groups.
ARRAYS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "features": {
        "rows": ("int64", "n"),
        "vectors": ("float16", "n d"),  # of length 1: an inner product is the likeness
        "stack": ("int32", "n"),  # position of the first of its near-duplicates, -1 alone
    },
    "groups": {
        "rows": ("int64", "n"),  # group by group, the most typical first
        "starts": ("int64", "g+1"),  # where a group begins; the last is n
        "likely": ("int32", "g"),  # class id, -1 none
        "p": ("float32", "g"),  # how sure of it
        "purity": ("float32", "g"),
        "near": ("int32", "m 2"),  # pairs of groups that look alike
    },
    "model": {
        "rows": ("int64", "n"),
        "top": ("int32", "n 2"),  # class ids, the likelier first, -1 none
        "p": ("float32", "n 2"),
        "order": ("int64", "q"),  # rows, the most useful answer first
        "reason": ("uint8", "q"),  # 0 between two classes, 1 unlike anything, 2 stands, 3 random
        "stands": ("int32", "q"),  # for how many others
        "groups": ("int64", "g"),  # numbers of the groups of revision meta["groups"], as asked
        "errors_row": ("int64", "e"),  # likely mistakes, the likeliest first
        "errors_label": ("int32", "e"),
        "errors_to": ("int32", "e"),
        "errors_score": ("float32", "e"),
        "held_row": ("int64", "h"),  # answered pictures, and what a model without them says
        "held_label": ("int32", "h"),
        "held_to": ("int32", "h"),
    },
    "map": {
        "rows": ("int64", "n"),
        "xy": ("uint16", "n 2"),
    },
}
KINDS = tuple(ARRAYS)


@dataclass(frozen=True)
class Revision:
    """One revision: its arrays, mapped and read-only, and what is said of it in words."""

    kind: str
    rev: int
    folder: Path
    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows of the index that it is about."""
        return self.arrays["rows"]

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        rows = self.rows
        if bool((rows[1:] > rows[:-1]).all()):
            return rows, None
        order = np.argsort(rows, kind="stable")
        return rows[order], order

    def at(self, rows: Array) -> NDArray[np.int64]:
        """Where rows of the index stand in ``rows``, -1 where they do not: O(m log n)."""
        rising, order = self._sorted
        rows = np.asarray(rows, dtype=np.int64)
        if not len(rising):
            return np.full(rows.shape, -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(rising, rows), len(rising) - 1)
        found = rising[place] == rows
        return np.where(found, place if order is None else order[place], -1)


def rev_of(folder: Path, kind: str) -> int:
    """Number of the newest revision of a kind, 0 before the first; one small file is read."""
    try:
        found = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))["rev"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return found if isinstance(found, int) and found > 0 else 0


def newest(folder: Path, kind: str, *, made: str) -> Revision | None:
    """The newest revision of a kind; where it is damaged the one before, None without any."""
    for _ in range(KEPT):  # whoever publishes may take one away while it is opened
        rev = rev_of(folder, kind)
        for number in range(rev, max(0, rev - KEPT), -1):
            found = read(folder, kind, number, made=made)
            if found is not None:
                return found
        if rev_of(folder, kind) == rev:
            return None
    return None


def read(folder: Path, kind: str, rev: int, *, made: str) -> Revision | None:
    """One revision, arrays mapped into memory; None when it is not there, damaged or foreign."""
    place = folder / kind / f"{rev:06d}"
    try:
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        if meta["made"] != made:
            return None
        arrays = {name: _mapped(place / f"{name}.npy") for name in ARRAYS[kind]}
        _check(kind, arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, InputError) as error:
        log.warning("the revision %s cannot be read (%s): it is left out", place, error)
        return None
    return Revision(kind, rev, place, meta, arrays)


def publish(
    folder: Path,
    kind: str,
    arrays: Mapping[str, Array],
    *,
    made: str,
    meta: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> int:
    """Make the next revision of a kind and return its number; see above.

    ``meta`` is JSON, and gets ``made``, ``rev`` and ``at``; ``files`` are further ones, by name.
    Errors: `InputError` where an array is not as `ARRAYS` says, `StoreError` when the disk
    refuses; the revision before stays in both cases.
    """
    _check(kind, arrays)
    before, home = rev_of(folder, kind), folder / kind
    rev = max([before, *_numbers(home)]) + 1
    part = home / f".{rev:06d}.{os.getpid()}.part"
    said = {**(meta or {}), "made": made, "rev": rev, "at": time.time()}
    try:
        part.mkdir(parents=True)
        for name in ARRAYS[kind]:
            write_whole(part / f"{name}.npy", _npy(arrays[name]))
        for name, content in (files or {}).items():
            write_whole(part / name, content)
        write_whole(part / "meta.json", json.dumps(said, sort_keys=True).encode())
        part.rename(home / f"{rev:06d}")
        write_whole(folder / f"{kind}.json", json.dumps({"rev": rev}).encode())
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"{home} cannot be written: {error.strerror}; check its folder") from error
    except StoreError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _clear(home, keep={before, rev})
    return rev


def _numbers(home: Path) -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir(home) if name.isdecimal())


def _clear(home: Path, keep: set[int]) -> None:
    """Take away what is old and what was never finished; open maps live on without names."""
    for name in os.listdir(home):
        if not (name.isdecimal() and int(name) in keep):
            shutil.rmtree(home / name, ignore_errors=True)


def _npy(array: Array) -> bytes:
    out = BytesIO()
    np.save(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def _mapped(path: Path) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)


def _check(kind: str, arrays: Mapping[str, Array]) -> None:
    """`InputError` when names, types or shapes are not those of the kind."""
    if kind not in ARRAYS:
        raise InputError(f"no revision is called {kind!r}: one of {', '.join(KINDS)}")
    if lacks := sorted(set(ARRAYS[kind]) ^ set(arrays)):
        raise InputError(f"a revision of {kind} has no {lacks[0]!r} or too much of it")
    sizes: dict[str, int] = {"2": 2}
    for name, (dtype, form) in ARRAYS[kind].items():
        array, axes = arrays[name], form.split()
        whole = array.dtype == np.dtype(dtype) and array.ndim == len(axes)
        for axis, n in zip(axes, array.shape, strict=False):
            plain, _, more = axis.partition("+")
            whole = whole and sizes.setdefault(plain, n - int(more or 0)) == n - int(more or 0)
        if not whole:
            raise InputError(
                f"{name!r} of {kind} is {array.dtype} {array.shape}: {dtype} ({form}) is needed"
            )
    if kind == "groups":
        starts = arrays["starts"]
        if starts[0] != 0 or starts[-1] != len(arrays["rows"]) or (np.diff(starts) <= 0).any():
            raise InputError("'starts' of groups must rise from 0 to the number of rows")
    elif (np.diff(arrays["rows"]) <= 0).any():
        raise InputError(f"'rows' of {kind} must rise")
