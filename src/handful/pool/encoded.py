"""A pool over encoded images: decoded when they are read, a broken one listed, never fatal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.pool.data import as_rows
from handful.pool.decode import Encoded, Layout, decode, why
from handful.pool.ids import SubsetIds, find
from handful.progress import Progress, Silent
from handful.types import Array, Pool

__all__ = ["EncodedPool", "Item", "Source", "verify", "workers"]

CACHE_BYTES = 512 << 20  # decoded images kept when the whole source takes no more
BLOCK = 256  # images in flight at a time


class Item(NamedTuple):
    """One encoded image, and which of its pages is meant."""

    data: Encoded
    page: int = 0


class Source(Protocol):
    """Where encoded images lie: a folder, or parquet files."""

    @property
    def ids(self) -> Sequence[str]: ...
    def items(self, rows: NDArray[np.int64]) -> list[Item | Exception]: ...
    def digest(self, row: int) -> str: ...


class EncodedPool:
    """Images of a `Source`, in one `Layout`; see `handful.types.Pool`.

    ``read`` decodes in threads, ``BLOCK`` images at a time, and keeps what it decoded when
    all images together take no more than 512 MiB; subsets share that memory and the list
    of broken images.
    """

    def __init__(self, source: Source, layout: Layout) -> None:
        n = len(source.ids)
        self._source, self._layout = source, layout
        self._rows: NDArray[np.int64] | None = None  # of the source; None: all of them
        self._bad: dict[int, str] = {}  # row of the source -> reason
        self._have = np.zeros(n, dtype=np.bool_)
        self._kept: NDArray[np.uint8] | None = None
        if n * layout.channels * layout.size[0] * layout.size[1] <= CACHE_BYTES:
            self._kept = np.empty((n, layout.channels, *layout.size), dtype=np.uint8)

    @property
    def ids(self) -> Sequence[str]:
        return self._source.ids if self._rows is None else SubsetIds(self._source.ids, self._rows)

    @property
    def channels(self) -> int:
        return self._layout.channels

    @property
    def size(self) -> tuple[int, int]:
        return self._layout.size

    @property
    def features(self) -> NDArray[np.float32] | None:
        return None

    @property
    def broken(self) -> Mapping[int, str]:
        if self._rows is None:
            return MappingProxyType(dict(sorted(self._bad.items())))
        bad = np.array(sorted(self._bad), dtype=np.int64)
        places = np.searchsorted(self._rows, bad)
        return MappingProxyType(
            {
                int(i): self._bad[int(row)]
                for i, row in zip(places, bad, strict=True)
                if i < len(self._rows) and self._rows[i] == row
            }
        )

    def __len__(self) -> int:
        return len(self._source.ids) if self._rows is None else len(self._rows)

    def row(self, id: str) -> int:
        """Row of an id; ``KeyError`` when the pool has none such."""
        return find(self.ids, id)

    def read(self, rows: Array, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Images ``(B, C, H, W) uint8``; zeros for one that cannot be decoded.

        ``size (H, W)``: another size than the pool's, resized without padding.
        """
        rows = source_rows(rows, self._rows, len(self))
        if size is not None and tuple(size) != self.size:
            form = (int(size[0]), int(size[1]))
            layout = self._layout._replace(inner=form, size=form)
            return self._decoded(rows, layout)
        if self._kept is None:
            return self._decoded(rows, self._layout)
        missing = np.unique(rows[~self._have[rows]])
        for start in range(0, len(missing), BLOCK):
            block = missing[start : start + BLOCK]
            self._kept[block] = self._decoded(block, self._layout)
            self._have[block] = True
        return self._kept[rows]

    def digest(self, row: int) -> str:
        """SHA-256 of the encoded bytes, in hex."""
        return self._source.digest(int(source_rows(np.array([row]), self._rows, len(self))[0]))

    def subset(self, rows: Array) -> EncodedPool:
        """Some rows, rising strictly (or a mask); shares memory and broken images with this."""
        rows = as_rows(rows, len(self))
        part = object.__new__(EncodedPool)
        part.__dict__.update(self.__dict__)
        part._rows = rows if self._rows is None else self._rows[rows]
        return part

    def _decoded(self, rows: NDArray[np.int64], layout: Layout) -> NDArray[np.uint8]:
        out = np.zeros((len(rows), layout.channels, *layout.size), dtype=np.uint8)

        def put(place: int, item: Item | Exception) -> None:
            try:
                if isinstance(item, Exception):
                    raise item
                out[place] = decode(item.data, layout, page=item.page)
            except Exception as error:  # noqa: BLE001 - a decoder may raise anything at all
                self._bad[int(rows[place])] = why(error)

        with ThreadPoolExecutor(workers()) as threads:
            for start in range(0, len(rows), BLOCK):
                places = range(start, min(start + BLOCK, len(rows)))
                items = self._source.items(rows[start : start + BLOCK])
                list(threads.map(put, places, items))
        return out


def verify(pool: Pool, progress: Progress | None = None) -> dict[int, str]:
    """Decode every image once; rows that cannot be, with the reason.

    A run starts on ``pool.subset(good)``.  Costs one decode an image and the memory of
    ``BLOCK`` images; a pool that keeps what it decoded will not decode again.
    """
    if pool.channels == 0:
        return {}
    with (progress or Silent()).task("checking images", len(pool)) as task:
        for start in range(0, len(pool), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(pool)))
            pool.read(rows)
            task.advance(len(rows))
    return dict(pool.broken)


def source_rows(rows: Array, chosen: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Rows of a pool as rows of its source; an error for one that does not exist."""
    rows = np.asarray(rows)
    if rows.size and (rows.ndim != 1 or rows.dtype.kind not in "iu"):
        raise InputError("rows to read are a flat array of whole numbers")
    rows = rows.astype(np.int64).reshape(-1)
    if rows.size and (rows.min() < 0 or rows.max() >= n):
        raise InputError(f"row {rows.max() if rows.max() >= n else rows.min()} of {n} images")
    return rows if chosen is None else chosen[rows]


def workers() -> int:
    """Threads that decode or hash: Pillow and hashlib let go of the interpreter lock."""
    return min(8, os.cpu_count() or 1)
