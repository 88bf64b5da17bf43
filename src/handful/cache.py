"""The cache of features: one matrix a pool and encoder, on disk, memory-mapped.

A matrix is found again by what it was made of: the digests of all images, the pixels of a
few of them as they were read, and whatever the encoder says of itself (weights, size,
normalisation).  Other images, another reading or another transform are another key.
Images that some earlier matrix of the same encoder holds are copied, not computed.

::

    FOLDER/features/ENCODER/KEY.npy     float32 (n, d); C order
                            KEY.ids.npy uint8 (n, 32), the digests
                            KEY.json    encoder, shape, pixels of some images, checksums
                            KEY.part, KEY.part.json     while it is being made

Rows are appended block by block to ``KEY.part``; a killed extraction goes on behind the
last whole block.  A matrix counts once its ``.json`` stands, which is renamed last; a file
that is cut off or altered is noticed by its length or a checksum, and made again.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from handful.errors import StoreError, TrainingError
from handful.progress import Progress, Silent
from handful.types import Pool

__all__ = ["Compute", "FeatureCache", "folder", "usage"]

Matrix: TypeAlias = NDArray[np.float32]
Compute: TypeAlias = Callable[[NDArray[np.int64]], Iterator[Matrix]]
BLOCK = 256  # rows that are written, checked and lost together
CHECKED = 64  # blocks whose checksums are looked at when a matrix is opened
SPOTS = 16  # images whose pixels as read are part of the key
GATHERED = 1 << 30  # bytes up to which a part of a matrix is gathered in memory
FORMAT = 1
log = logging.getLogger(__name__)


def folder() -> Path:
    """Where caches lie: ``HANDFUL_CACHE``, else ``handful`` in the user's cache folder."""
    if named := os.environ.get("HANDFUL_CACHE"):
        return Path(named)
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "handful"


def usage(root: Path | None = None) -> tuple[int, int]:
    """Matrices in the cache, and the bytes of everything in it."""
    here = (root or folder()) / "features"
    files = [path for path in here.rglob("*") if path.is_file()] if here.is_dir() else []
    return sum(path.name.endswith(".npy") and ".ids." not in path.name for path in files), sum(
        path.stat().st_size for path in files
    )


@dataclass(frozen=True)
class FeatureCache:
    """Matrices of one encoder; ``encoder`` is whatever decides its output, JSON-able.

    ``root`` (default: `folder`) may lie on a full or read-only disk: then nothing is kept,
    and a warning says so.
    """

    encoder: Mapping[str, Any]
    root: Path | None = None

    @property
    def here(self) -> Path:
        """The folder of this encoder's matrices."""
        text = json.dumps({"format": FORMAT, **self.encoder}, sort_keys=True)
        return (self.root or folder()) / "features" / sha256(text.encode()).hexdigest()[:16]

    def matrix(
        self, pool: Pool, compute: Compute, width: int, progress: Progress | None = None
    ) -> Matrix:
        """The features of all images ``(n, width)``, read-only; only missing ones are computed.

        ``compute(rows)`` yields the vectors of these rows, in order, in pieces of any length.
        O(n) digests; a matrix that is there costs these and the reading of 64 blocks.
        """
        images = _Images.of(pool)
        if (found := self._open(images.key, width, images)) is not None:
            return found
        with _alone(self.here, images.key) as writable:
            # whoever held the lock may have made it in the meantime
            if (found := self._open(images.key, width, images)) is not None:
                return found
            known = self._known(images, width)
            if known.mask.all() and len(pool) * width * 4 <= GATHERED:
                return _sealed(known.rows(np.arange(len(pool))))
            part = self.here / f"{images.key}.part" if writable else None
            kept = _Rows(part, len(pool), width)
            _fill(kept, known, compute, progress or Silent())
            if not kept.publish(self.here / images.key, images, self.encoder):
                return _sealed(kept.rows)
        found = self._open(images.key, width, images)
        if found is None:
            raise StoreError(f"the features just written to {self.here} cannot be read: try again")
        return found

    def _open(self, key: str, width: int, images: _Images | None = None) -> Matrix | None:
        """A finished matrix, checked; one that is damaged is removed and ``None`` is given.

        With ``images`` it must be theirs: a file may have been copied or renamed.
        """
        about = self.here / f"{key}.json"
        if not about.is_file():
            return None
        try:
            said = json.loads(about.read_text(encoding="utf-8"))
            matrix = np.load(about.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
            shape = [len(matrix), width]
            if matrix.dtype != np.float32 or not list(matrix.shape) == said["shape"] == shape:
                raise ValueError(f"{matrix.dtype} {matrix.shape}, not float32 {said['shape']}")
            if said["encoder"] != json.loads(json.dumps(dict(self.encoder))):
                raise ValueError("another encoder or transform")
            ids = np.load(about.with_suffix(".ids.npy"), allow_pickle=False)
            if images is not None and not (
                np.array_equal(ids, images.ids) and said["spots"] == images.spots
            ):
                raise ValueError("other images")
            _verify(matrix, said["sums"])
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            log.warning("the features in %s are damaged (%s): made again", about, error)
            for damaged in (about, about.with_suffix(".npy"), about.with_suffix(".ids.npy")):
                with suppress(OSError):
                    damaged.unlink()
            return None
        found: Matrix = matrix
        return found

    def _known(self, images: _Images, width: int) -> _Known:
        """Which images stand in finished matrices of this encoder, read alike, and where."""
        n = len(images.ids)
        known = _Known([], np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64), width)
        wanted = images.ids.view("V32").ravel()
        for about in sorted(self.here.glob("*.json")) if self.here.is_dir() else ():
            if about.name.endswith(".part.json") or known.mask.all():
                continue
            try:
                said = json.loads(about.read_text(encoding="utf-8"))
                theirs = np.load(about.with_suffix(".ids.npy"), allow_pickle=False)
                held = theirs.view("V32").ravel()
                if not images.read_alike(held, said["spots"]):
                    continue
            except (OSError, ValueError, KeyError, TypeError, EOFError):
                continue
            order = np.argsort(held)
            at = order[np.minimum(np.searchsorted(held[order], wanted), len(held) - 1)]
            hits = (held[at] == wanted) & ~known.mask
            if hits.any() and (matrix := self._open(about.stem, width)) is not None:
                known.source[hits], known.place[hits] = len(known.matrices), at[hits]
                known.matrices.append(matrix)
        return known


@dataclass(frozen=True)
class _Images:
    """What a pool's images are, and how some of them look as this pool reads them."""

    pool: Pool
    ids: NDArray[np.uint8]  # (n, 32)
    spots: Mapping[str, str]  # row -> SHA-256 of the pixels

    @classmethod
    def of(cls, pool: Pool) -> _Images:
        n = len(pool)
        ids = np.empty((n, 32), dtype=np.uint8)
        for row in range(n):
            ids[row] = np.frombuffer(bytes.fromhex(pool.digest(row)), dtype=np.uint8)
        rows = np.unique(np.linspace(0, n - 1, min(n, SPOTS)).astype(np.int64))
        return cls(pool, ids, _pixels(pool, rows))

    @property
    def key(self) -> str:
        read = json.dumps(self.spots, sort_keys=True).encode()
        return sha256(self.ids.tobytes() + read).hexdigest()[:32]

    def read_alike(self, held: NDArray[Any], spots: Mapping[str, str]) -> bool:
        """True when images shared with another matrix show the same pixels there and here.

        Another channel, or another version of a decoder, gives other pixels of the same file.
        ``held (m,)`` are the digests of that matrix, ``spots`` its rows and their pixels.
        """
        mine = self.ids.view("V32").ravel()
        checked = 0
        for row, pixels in spots.items():
            here = np.flatnonzero(mine == held[int(row)])[:1]
            if len(here):
                checked += 1
                if _pixels(self.pool, here)[str(here[0])] != pixels:
                    return False
        return checked > 0


def _pixels(pool: Pool, rows: NDArray[np.int64]) -> dict[str, str]:
    shown = pool.read(rows) if len(rows) else ()
    return {
        str(row): sha256(image.tobytes()).hexdigest()
        for row, image in zip(rows.tolist(), shown, strict=True)
    }


@dataclass(frozen=True)
class _Known:
    """Rows that earlier matrices hold: ``source (n,)`` is a matrix or -1, ``place`` a row of it."""

    matrices: list[Matrix]
    source: NDArray[np.int64]
    place: NDArray[np.int64]
    width: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        return self.source >= 0

    def rows(self, rows: NDArray[np.int64]) -> Matrix:
        out = np.empty((len(rows), self.width), dtype=np.float32)
        for number, matrix in enumerate(self.matrices):
            mine = np.flatnonzero(self.source[rows] == number)
            out[mine] = matrix[self.place[rows[mine]]]
        return out


class _Rows:
    """Rows appended to a file, block by block; to memory from the moment the disk refuses.

    A file that is there already is taken up behind its last whole block whose checksum holds.
    """

    def __init__(self, path: Path | None, n: int, width: int) -> None:
        self.path, self.n, self.width, self.done = path, n, width, 0
        self.sums: list[int] = []
        self.memory: list[Matrix] = []
        header = BytesIO()
        form = {"descr": "<f4", "fortran_order": False, "shape": (n, width)}
        npy.write_array_header_1_0(header, form)
        self.header = header.getvalue()
        if path is not None:
            try:
                self._take_up(path)
            except OSError as error:
                self._leave_the_disk(path, error)

    def _take_up(self, path: Path) -> None:
        with suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
            said = json.loads(_beside(path).read_text(encoding="utf-8"))
            if file.read(len(self.header)) == self.header:
                for expected in said["sums"]:
                    block = file.read(BLOCK * self.width * 4)
                    if len(block) < BLOCK * self.width * 4 or crc32(block) != expected:
                        break  # its last pages never reached the disk
                    self.sums.append(expected)
        self.done = len(self.sums) * BLOCK
        with path.open("r+b" if self.done else "wb") as file:
            file.write(self.header)
            file.truncate(self._bytes)
        if self.done:
            log.info("an extraction was cut off: it goes on at image %d", self.done)

    @property
    def _bytes(self) -> int:
        """Length of the file behind the last block that counts."""
        return len(self.header) + len(self.sums) * BLOCK * self.width * 4

    def append(self, block: Matrix) -> None:
        if not np.isfinite(block).all():
            raise TrainingError(
                "the encoder gave NaN or inf: its weights are damaged or of another architecture"
            )
        self.done += len(block)
        if self.path is not None:
            data = np.ascontiguousarray(block, dtype="<f4").tobytes()
            try:
                with self.path.open("ab") as file:
                    file.write(data)
                self.sums.append(crc32(data))
                # a kill cannot lose it; after a power cut the checksums decide
                _write(_beside(self.path), json.dumps({"sums": self.sums}).encode(), sync=False)
                return
            except OSError as error:
                self.sums = self.sums[: (self.done - len(block)) // BLOCK]
                self._leave_the_disk(self.path, error)
        self.memory.append(block)

    def _leave_the_disk(self, path: Path, error: OSError) -> None:
        """Take what was written into memory and go on there."""
        log.warning("features are not kept: %s cannot be written (%s)", path.parent, error)
        if self.sums:
            with path.open("rb") as file:
                held = file.read(self._bytes)[len(self.header) :]
            self.memory = [np.frombuffer(held, dtype="<f4").reshape(-1, self.width)]
        self.path = None
        for leftover in (path, _beside(path)):
            with suppress(OSError):
                leftover.unlink()

    @property
    def rows(self) -> Matrix:
        return np.concatenate(self.memory) if self.memory else np.empty((0, self.width), "f4")

    def publish(self, stem: Path, images: _Images, encoder: Mapping[str, Any]) -> bool:
        """Give the file its name, the ``.json`` last; False when the rows are in memory."""
        if self.path is None:
            return False
        said = {
            "encoder": dict(encoder),
            "shape": [self.n, self.width],
            "spots": dict(images.spots),
            "sums": self.sums,
        }
        ids = BytesIO()
        np.save(ids, images.ids, allow_pickle=False)
        try:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            _write(Path(f"{stem}.ids.npy"), ids.getvalue())
            os.replace(self.path, f"{stem}.npy")
            _write(Path(f"{stem}.json"), json.dumps(said).encode())
        except OSError as error:
            log.warning("features are not kept: %s cannot be written (%s)", stem.parent, error)
            whole = self.path if self.path.exists() else Path(f"{stem}.npy")
            with whole.open("rb") as file:
                self.path, self.memory = None, [np.load(file, allow_pickle=False)]
            return False
        with suppress(OSError):
            _beside(self.path).unlink()
        return True


def _fill(kept: _Rows, known: _Known, compute: Compute, progress: Progress) -> None:
    """Append what is missing, block by block: copied where it is known, else computed."""
    begin, mask = kept.done, known.mask
    missing = np.flatnonzero(~mask[begin:]) + begin
    pieces = compute(missing) if len(missing) else iter(())
    fresh = np.empty((0, kept.width), dtype=np.float32)
    name = f"features from image {begin:,} on" if begin else "features"
    with progress.task(name, len(missing)) as task:
        for start in range(begin, kept.n, BLOCK):
            rows = np.arange(start, min(kept.n, start + BLOCK))
            wanted = rows[~mask[rows]]
            while len(fresh) < len(wanted):
                piece = next(pieces)
                task.advance(len(piece))
                fresh = np.concatenate([fresh, piece])
            block = known.rows(rows)
            block[~mask[rows]], fresh = fresh[: len(wanted)], fresh[len(wanted) :]
            kept.append(block)


def _verify(matrix: Matrix, sums: list[int]) -> None:
    """Raise ``ValueError`` when a block differs from its checksum; at most 64 are looked at."""
    if len(sums) != -(-len(matrix) // BLOCK):
        raise ValueError(f"{len(sums)} checksums for {len(matrix)} rows")
    for i in np.unique(np.linspace(0, len(sums) - 1, min(len(sums), CHECKED)).astype(int)).tolist():
        if crc32(matrix[i * BLOCK : (i + 1) * BLOCK].tobytes()) != sums[i]:
            raise ValueError(f"a checksum differs at row {i * BLOCK}")


@contextmanager
def _alone(here: Path, key: str) -> Iterator[bool]:
    """One process a matrix; others wait.  Gives False when nothing can be written there."""
    try:
        here.mkdir(parents=True, exist_ok=True)
        handle = os.open(here / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        log.warning("features are not kept: %s cannot be written (%s)", here, error)
        yield False
        return
    try:
        with suppress(ImportError, OSError):  # no flock here: two may do the same work
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(handle)


def _beside(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(new, path)
    finally:
        with suppress(OSError):
            new.unlink()


def _sealed(matrix: Matrix) -> Matrix:
    matrix.flags.writeable = False
    return matrix
