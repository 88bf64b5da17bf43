"""Arrays as a pool: the images of an ``.npz``, or its ready features.

Members: ``images (N, H, W)`` or ``(N, H, W, C)``, C = 1, 3 or 4, of uint8, bool, floats
in [0, 1] or other unsigned integers; or ``features (N, d)``.  Optional: ``labels (N,)``
(numbers or names), ``classes`` (names), ``split (N,)`` (0 and 1, or names).  A member that
is stored uncompressed is memory-mapped; zipped ones (LZMA and bzip2 too) are read whole.
Pickled objects are refused: opening a file never runs code.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from handful.errors import PoolError
from handful.pool.data import (
    TEST_NAMES,
    VALIDATION_NAMES,
    Data,
    Found,
    as_rows,
    class_counts,
    form_notes,
    layout_of,
    same_content,
)
from handful.pool.decode import Layout, fit
from handful.pool.encoded import source_rows
from handful.pool.ids import NumberedIds, SubsetIds, find, shown
from handful.types import Array

__all__ = ["ArrayPool", "FeaturePool", "named_labels", "named_split", "open_arrays", "open_npz"]

_BLOCK = 1 << 26  # bytes that a pass over all pixels works on at a time
_LOOK_UP_TO = 1 << 30  # bytes up to which duplicates are looked for without being asked


class ArrayPool:
    """Images ``(N, H, W, C) uint8`` in memory or memory-mapped, read-only; see `Pool`."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        ids: Sequence[str],
        layout: Layout,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._images, self._all, self._layout, self._rows = images, ids, layout, rows

    @property
    def ids(self) -> Sequence[str]:
        return self._all if self._rows is None else SubsetIds(self._all, self._rows)

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
        return {}

    def __len__(self) -> int:
        return len(self._images) if self._rows is None else len(self._rows)

    def row(self, id: str) -> int:
        """Row of an id; ``KeyError`` when the pool has none such."""
        return find(self.ids, id)

    def read(self, rows: Array, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Images ``(B, C, H, W) uint8``, resized (without padding) when ``size`` says so."""
        raw = self._images[source_rows(rows, self._rows, len(self))]
        layout = self._layout
        if size is not None and tuple(size) != layout.size:
            form = (int(size[0]), int(size[1]))
            layout = layout._replace(inner=form, size=form)
        if raw.shape[3] == 4:  # transparency on white
            alpha = raw[..., 3:].astype(np.uint16)
            raw = ((raw[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        if layout.channel is not None:
            raw = raw[..., layout.channel, None]
        if raw.shape[1:] == (*layout.size, layout.channels):
            return np.ascontiguousarray(raw.transpose(0, 3, 1, 2))
        out = np.empty((len(raw), layout.channels, *layout.size), dtype=np.uint8)
        for i, pixels in enumerate(raw):
            out[i] = fit(
                Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]), layout
            )
        return out

    def digest(self, row: int) -> str:
        """SHA-256 of the pixels as stored (uint8, row by row), in hex."""
        place = int(source_rows(np.array([row]), self._rows, len(self))[0])
        return sha256(np.ascontiguousarray(self._images[place]).tobytes()).hexdigest()

    def subset(self, rows: Array) -> ArrayPool:
        """Some rows, rising strictly (or a mask); no pixel is copied."""
        rows = as_rows(rows, len(self))
        rows = rows if self._rows is None else self._rows[rows]
        return ArrayPool(self._images, self._all, self._layout, rows)


class FeaturePool:
    """Ready features ``(n, d) float32`` in place of images; ``channels`` is 0; see `Pool`."""

    def __init__(self, features: NDArray[np.float32], ids: Sequence[str]) -> None:
        self._features, self._ids = features, ids
        self._features.flags.writeable = False

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    @property
    def channels(self) -> int:
        return 0

    @property
    def size(self) -> tuple[int, int]:
        return (0, 0)

    @property
    def features(self) -> NDArray[np.float32] | None:
        return self._features

    @property
    def broken(self) -> Mapping[int, str]:
        return {}

    def __len__(self) -> int:
        return len(self._features)

    def row(self, id: str) -> int:
        """Row of an id; ``KeyError`` when the pool has none such."""
        return find(self._ids, id)

    def read(self, rows: Array, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Always an error: there are no images."""
        raise PoolError("this pool holds features, no images: use a learner that takes features")

    def digest(self, row: int) -> str:
        """SHA-256 of the row as little-endian float32, in hex."""
        place = int(source_rows(np.array([row]), None, len(self))[0])
        return sha256(self._features[place].astype("<f4").tobytes()).hexdigest()

    def subset(self, rows: Array) -> FeaturePool:
        """Some rows, rising strictly (or a mask), copied."""
        rows = as_rows(rows, len(self))
        return FeaturePool(self._features[rows], SubsetIds(self._ids, rows))


def open_npz(
    path: str | Path,
    *,
    channel: int | None = None,
    max_side: int = 96,
    thorough: bool = False,
) -> Data:
    """Open an ``.npz`` file as `Data`; `PoolError` names the member that cannot be used."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            names = {Path(info.filename).stem: info for info in file.infolist()}
            wanted = [n for n in ("images", "features", "labels", "classes", "split") if n in names]
            arrays: dict[str, Array] = {n: _member(path, file, names[n]) for n in wanted}
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise PoolError(f"{shown(path)!r} is no .npz file that can be read: {error}") from error
    return open_arrays(
        path.stem,
        arrays,
        where=str(path),
        prefix=path.name,
        channel=channel,
        max_side=max_side,
        thorough=thorough,
    )


def open_arrays(
    name: str,
    arrays: Mapping[str, Array],
    *,
    where: str = "memory",
    prefix: str = "",
    channel: int | None = None,
    max_side: int = 96,
    thorough: bool = False,
) -> Data:
    """Make `Data` of arrays in memory, checked: see the members above.

    Duplicates are looked for up to 1 GiB of pixels, beyond it when ``thorough``.
    """
    place = shown(where)
    notes: list[str] = []
    pool: ArrayPool | FeaturePool
    flat: Array
    sizes: dict[tuple[int, int], int] = {}
    if "images" in arrays:
        images = _images(np.asarray(arrays["images"]), place)
        stored = (images.shape[1], images.shape[2])
        layout = _layout(images, place, channel, max_side)
        ids = NumberedIds([prefix or name], [len(images)])
        pool, flat = ArrayPool(images, ids, layout), images.reshape(len(images), -1)
        sizes[stored] = len(images)
        notes += form_notes(sizes, stored, layout)
        if "features" in arrays:
            notes.append("it holds images and features: the images are used")
    elif "features" in arrays:
        features = _features(np.asarray(arrays["features"]), place)
        ids = NumberedIds([prefix or name], [len(features)])
        pool, flat = FeaturePool(features, ids), features
    else:
        raise PoolError(f"{place}: neither 'images' (N, H, W[, C]) nor 'features' (N, d) in it")
    n = len(pool)
    labels, classes = named_labels(arrays.get("labels"), arrays.get("classes"), n=n, where=place)
    split = named_split(arrays.get("split"), n=n, where=place)
    groups: tuple[tuple[str, ...], ...] = ()
    repeats: int | None = None
    if thorough or flat.nbytes <= _LOOK_UP_TO:
        groups, repeats = _duplicates(flat, ids)
    else:
        notes.append("more than 1 GiB: duplicates were not looked for")
    found = Found(
        kind="arrays",
        where=where,
        images=n,
        size=pool.size,
        channels=pool.channels,
        features=0 if pool.features is None else pool.features.shape[1],
        sizes=sizes,
        classes=class_counts(labels, classes),
        split=class_counts(split, ("train", "test")),
        duplicates=groups,
        repeats=repeats,
        notes=tuple(notes),
    )
    return Data(name, pool, found, labels, classes, split)


def named_labels(
    labels: Array | None, classes: Any, *, n: int, where: str
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels ``(n,) int64`` and class names, from numbers or names; -1 is *not known*.

    Without ``classes`` the values themselves, in order, are the classes.
    """
    if labels is None:
        return None, ()
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != n:
        raise PoolError(f"{where}: 'labels' has shape {labels.shape} for {n} images: one each")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
            raise PoolError(
                f"{where}: 'labels' holds NaN or fractions: use whole numbers, or names"
            )
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        raise PoolError(f"{where}: 'labels' of type {labels.dtype}: use whole numbers, or names")
    if classes is None:
        known = np.unique(labels if labels.dtype.kind == "U" else labels[labels.astype("i8") >= 0])
        places = np.searchsorted(known, labels)
        unknown = False if labels.dtype.kind == "U" else labels.astype(np.int64) < 0
        return np.where(unknown, -1, places), tuple(str(value) for value in known.tolist())
    names = tuple(str(name) for name in np.asarray(classes).ravel().tolist())
    if len(set(names)) != len(names):
        raise PoolError(f"{where}: 'classes' names a class twice: {shown(names)}")
    if labels.dtype.kind == "U":
        if strange := sorted(set(labels.tolist()) - set(names)):
            raise PoolError(f"{where}: label {shown(strange[0])!r} is none of the classes")
        place = {name: i for i, name in enumerate(names)}
        return np.array([place[label] for label in labels.tolist()], dtype=np.int64), names
    labels = labels.astype(np.int64)
    if len(labels) and (labels.min() < -1 or labels.max() >= len(names)):
        bad = labels.min() if labels.min() < -1 else labels.max()
        raise PoolError(f"{where}: label {bad} for {len(names)} classes: -1 (unknown) or 0..")
    return labels, names


def named_split(split: Array | None, *, n: int, where: str) -> NDArray[np.int8] | None:
    """Official split ``(n,) int8``: 0 train, 1 test; names go by `TEST_NAMES`."""
    if split is None:
        return None
    split = np.asarray(split)
    if split.ndim != 1 or len(split) != n:
        raise PoolError(f"{where}: 'split' has shape {split.shape} for {n} images: one each")
    if split.dtype.kind == "U":
        values = {str(value).lower() for value in np.unique(split)}
        tests = values & TEST_NAMES or values & VALIDATION_NAMES
        return np.isin(np.char.lower(split), sorted(tests)).astype(np.int8)
    if split.dtype.kind not in "iub" or not np.isin(split, (0, 1)).all():
        raise PoolError(f"{where}: 'split' holds more than 0 (train) and 1 (test)")
    return split.astype(np.int8)


def _member(path: Path, file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """One array: memory-mapped when it is stored as it is, else unpacked."""
    try:
        with file.open(info) as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            start = stream.tell()
        if dtype.hasobject:
            name = Path(info.filename).stem
            raise PoolError(
                f"{shown(path)!r}: {name!r} holds pickled Python objects, which can run code when"
                " opened: save it as numbers or fixed-width text"
            )
        if info.compress_type == zipfile.ZIP_STORED and info.file_size > _BLOCK:
            with open(path, "rb") as raw:  # the local header may differ from the directory's
                raw.seek(info.header_offset + 26)
                name_length, extra = np.frombuffer(raw.read(4), dtype="<u2").tolist()
            offset = info.header_offset + 30 + name_length + extra + start
            order = "F" if fortran else "C"
            return np.memmap(path, dtype, "r", offset, shape, order)  # type: ignore[call-overload,no-any-return]
        with file.open(info) as stream:
            return npy.read_array(stream, allow_pickle=False)
    except (ValueError, NotImplementedError) as error:  # the latter: zipfile, unknown compression
        raise PoolError(f"{shown(path)!r}: {info.filename!r} is no array: {error}") from error


def _layout(images: NDArray[np.uint8], where: str, channel: int | None, max_side: int) -> Layout:
    if channel is not None and not 0 <= channel < images.shape[3]:
        raise PoolError(f"{where}: channel {channel} was chosen of {images.shape[3]}, from 0")
    size, colour = (images.shape[1], images.shape[2]), images.shape[3] >= 3
    return layout_of(size, colour=colour, max_side=max_side, channel=channel)


def _images(images: Array, where: str) -> NDArray[np.uint8]:
    """Checked images ``(N, H, W, C) uint8``."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        first = images.ndim == 4 and images.shape[1] in (1, 3, 4)
        remedy = "move the channels last" if first else "use (N, H, W) or (N, H, W, C), C 1, 3 or 4"
        raise PoolError(f"{where}: 'images' has shape {images.shape}: {remedy}")
    if min(images.shape) < 1:
        raise PoolError(f"{where}: 'images' has shape {images.shape}: there is no image in it")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "buif":
        raise PoolError(f"{where}: 'images' of type {images.dtype}: use uint8, or floats in [0, 1]")
    out = np.empty(images.shape, dtype=np.uint8)
    step = max(1, _BLOCK // (8 * images[0].size))
    wide = images.dtype.kind == "i" or images.dtype.itemsize > 2
    top = {"f": 1.0, "b": 1.0}.get(images.dtype.kind, 255.0 if wide else 65_535.0)
    for start in range(0, len(images), step):
        block = images[start : start + step].astype(np.float64)
        if not np.isfinite(block).all():
            row = start + int(np.flatnonzero(~np.isfinite(block).all(axis=(1, 2, 3)))[0])
            raise PoolError(f"{where}: 'images' holds NaN or infinite values, first in row {row}")
        if block.min() < 0 or block.max() > top:
            raise PoolError(
                f"{where}: 'images' of type {images.dtype} lie outside 0..{top:g}"
                f" ({block.min():g} .. {block.max():g}): scale them, or save them as uint8"
            )
        out[start : start + step] = np.rint(block * (255 / top))
    return out


def _features(features: Array, where: str) -> NDArray[np.float32]:
    if features.ndim != 2 or min(features.shape) < 1 or features.dtype.kind not in "buif":
        raise PoolError(
            f"{where}: 'features' is {features.dtype} of shape {features.shape}: use numbers (N, d)"
        )
    plain = np.array(features, dtype=np.float32)
    if not np.isfinite(plain).all():
        row = int(np.flatnonzero(~np.isfinite(plain).all(axis=1))[0])
        raise PoolError(
            f"{where}: 'features' holds NaN or infinite values, first in row {row}: leave such"
            " rows out"
        )
    return plain


def _duplicates(flat: Array, ids: Sequence[str]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Equal rows of ``(n, b)``: a 64-bit sketch finds candidates, SHA-256 confirms them."""
    n = len(flat)
    raw = flat.view(np.uint8) if flat.flags.c_contiguous else None
    sketch = np.zeros(n, dtype=np.uint64)
    width = flat.shape[1] * flat.dtype.itemsize
    padded = -(-width // 8) * 8
    odd = np.random.default_rng(0).integers(1, 1 << 63, padded // 8, dtype=np.uint64) | np.uint64(1)
    step = max(1, _BLOCK // padded)
    for start in range(0, n, step):
        part = flat[start : start + step]
        block = np.zeros((len(part), padded), dtype=np.uint8)
        block[:, :width] = (
            np.ascontiguousarray(part).view(np.uint8) if raw is None else raw[start : start + step]
        )
        words = block.view(np.uint64)
        words = words ^ (words >> np.uint64(29))  # low bits must reach every product
        sketch[start : start + step] = (words * odd).sum(axis=1)
    _, first, counts = np.unique(sketch, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[first] > 1)
    if rows.size == 0:
        return (), 0
    digests = np.empty((len(rows), 32), dtype=np.uint8)
    for i, row in enumerate(rows.tolist()):
        digest = sha256(np.ascontiguousarray(flat[row]).tobytes()).digest()
        digests[i] = np.frombuffer(digest, dtype=np.uint8)
    return same_content(digests, SubsetIds(ids, rows))
