"""Rows of numbers kept on disk by the content of the picture that they came from.

::

    FOLDER/MARK/about.json   what made them: encoder, transform, width, type
                rows.bin     one row a picture, appended
                keys.bin     sha256 (32 bytes), crc32 of its row (4 bytes): one a picture, after

A row counts once its key stands.  What a kill or a full disk cut off at the end is dropped
when the store is opened; where a checksum inside differs, everything is made again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from handful.store.files import write_json

__all__ = ["Kept", "short"]

Array: TypeAlias = NDArray[Any]
Keys: TypeAlias = NDArray[np.uint64]
KEY = 36
CHECKED = 256  # rows whose checksum is looked at when a store is opened, and as many at its end
FORMAT = 1
log = logging.getLogger(__name__)


def short(digests: NDArray[np.uint8]) -> Keys:
    """The first 8 bytes of digests ``(n, 32)``: what rows are looked up by."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8").ravel().astype(np.uint64)


class Kept:
    """The rows of one maker: ``width`` numbers of ``dtype`` each; ``about`` decides the place.

    Errors: ``OSError`` where the disk refuses; what was there stays.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], width: int, dtype: str) -> None:
        said = {**about, "format": FORMAT, "width": width, "dtype": dtype}
        mark = sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
        self.folder, self.width, self.dtype = folder / mark, width, np.dtype(dtype)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "about.json").is_file():
            write_json(self.folder / "about.json", said)
        self._bytes = self.width * self.dtype.itemsize
        self._keys = np.empty(0, dtype=np.uint64)
        self._rising: tuple[Keys, NDArray[np.int64]] | None = None
        self._open()

    def __len__(self) -> int:
        return len(self._keys)

    def _open(self) -> None:
        rows, keys = self.folder / "rows.bin", self.folder / "keys.bin"
        for path in (rows, keys):
            path.touch()
        records = np.fromfile(keys, dtype=np.uint8)
        n = min(len(records) // KEY, rows.stat().st_size // max(1, self._bytes))
        records = records[: n * KEY].reshape(n, KEY)
        whole = self._whole(records)
        if whole < n:
            log.warning("%s: %d of %d rows are made again", self.folder, n - whole, n)
        os.truncate(rows, whole * self._bytes)
        os.truncate(keys, whole * KEY)
        self._keys, self._rising = short(records[:whole]), None

    def _whole(self, records: NDArray[np.uint8]) -> int:
        """How many rows from the first count: all, those before a damaged end, or none."""
        n = len(records)
        if not n:
            return 0
        mapped, sums = self._mapped(n), records[:, 32:].copy().view("<u4").ravel()

        def fits(at: int) -> bool:
            return crc32(mapped[at].tobytes()) == int(sums[at])

        while n and not fits(n - 1):  # what a power cut left of the last pages
            n -= 1
        some = np.unique(np.linspace(0, n - 1, min(n, CHECKED)).astype(np.int64)) if n else ()
        return n if all(fits(int(at)) for at in some) else 0

    def _mapped(self, n: int) -> Array:
        return np.memmap(self.folder / "rows.bin", self.dtype, "r", shape=(n, self.width))

    def places(self, keys: Keys) -> NDArray[np.int64]:
        """Where the rows of these pictures stand, -1 where there is none: ``(n,)``."""
        if self._rising is None:
            order = np.argsort(self._keys, kind="stable")
            self._rising = self._keys[order], order
        rising, order = self._rising
        if not len(rising):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(rising, keys), len(rising) - 1)
        return np.where(rising[at] == keys, order[at], -1)

    def append(self, digests: NDArray[np.uint8], rows: Array) -> None:
        """Keep ``rows (m, width)`` of the pictures of these digests ``(m, 32)``."""
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        sums = np.array([crc32(row.tobytes()) for row in rows], dtype="<u4")
        records = np.concatenate([digests, sums.view(np.uint8).reshape(-1, 4)], axis=1)
        n = len(self)
        try:
            for name, data in (("rows.bin", rows.tobytes()), ("keys.bin", records.tobytes())):
                with (self.folder / name).open("ab") as file:
                    file.write(data)
        except OSError:
            with suppress(OSError):  # half of them would shift all that follow
                os.truncate(self.folder / "keys.bin", n * KEY)
                os.truncate(self.folder / "rows.bin", n * self._bytes)
            raise
        self._keys = np.concatenate([self._keys, short(digests)])
        self._rising = None

    def rows(self, places: NDArray[np.int64]) -> Array:
        """These rows ``(m, width)``, read from the disk."""
        if not len(places):
            return np.empty((0, self.width), dtype=self.dtype)
        return np.asarray(self._mapped(len(self))[places])
