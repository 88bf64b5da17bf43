"""Parquet files in the Hugging Face image layout, read lazily by row group.

A column is a struct of ``bytes`` and ``path`` (or plain binary) and holds encoded images;
``label`` holds numbers whose names are in the schema metadata, or names; ``split`` names
the part.  Without a ``split`` column, files called ``train-...`` and ``test-...`` say it.

The unit of reading is the row group; the last ones used stay in memory (256 MiB).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handful.errors import PoolError
from handful.pool.arrays import named_labels, named_split
from handful.pool.data import (
    TEST_NAMES,
    TRAIN_NAMES,
    VALIDATION_NAMES,
    Data,
    Found,
    class_counts,
    form_notes,
    layout_of,
    same_content,
    size_table,
)
from handful.pool.decode import KINDS, Header, look, why
from handful.pool.encoded import EncodedPool, Item, workers
from handful.pool.ids import NumberedIds, SubsetIds, counted, shown
from handful.progress import Progress, Silent

__all__ = ["image_column", "open_parquet"]

_GROUPS_BYTES = 256 << 20
_LARGE_GROUP = 1 << 30
_LOOK_AT_ALL = 20_000  # images up to which every header is read when opening
_SAMPLE, _SAMPLE_GROUPS = 2048, 16
_BLOCK = 1024


class _Column(NamedTuple):
    name: str  # of the column in the file
    leaf: str  # what is read of it: the bytes alone
    struct: bool


def open_parquet(
    paths: Sequence[str | Path],
    *,
    channel: int | None = None,
    max_side: int = 96,
    thorough: bool = False,
    progress: Progress | None = None,
) -> Data:
    """Open one or several parquet files as one `Data`, sorted by name.

    Up to 20,000 images, every header is read and every image hashed, as in a folder; of
    more, a sample over the whole tells sizes and colour (``thorough``: all of them), and
    `verify` finds the broken ones.  O(1) Python objects an image group, not an image.
    """
    files = _Files([Path(path) for path in paths])
    source = _ParquetSource(files)
    n = len(source.ids)
    if n == 0:
        raise PoolError(f"there is no row in {shown(files.where)}")
    every = thorough or n <= _LOOK_AT_ALL
    rows = np.arange(n) if every else source.sample()
    seen, bad = _look_at(source, rows, channel, progress or Silent())
    if not seen.rows:
        reason = next(iter(bad.values()))
        raise PoolError(
            f"of {counted(len(rows), 'image')} in {shown(files.where)} none can be read, e.g. row"
            f" {next(iter(bad))}: {reason}; check how the file was written"
        )
    sizes, size = size_table(np.array([(h.height, h.width) for h in seen.headers]))
    colour = sum(h.colour for h in seen.headers)
    layout = layout_of(size, colour=colour > 0, max_side=max_side, channel=channel)
    labels, classes, split = _truth(files, n)
    pool = EncodedPool(source, layout)
    groups, repeats = seen.same(source.ids) if every else ((), None)
    found = Found(
        kind="parquet",
        where=files.where,
        images=n - len(bad),
        size=layout.size,
        channels=layout.channels,
        sizes=sizes,
        colours=_present({"gray": len(seen.rows) - colour, "colour": colour}),
        formats=_present({kind: [h.kind for h in seen.headers].count(kind) for kind in KINDS}),
        duplicates=groups,
        repeats=repeats,
        broken={source.ids[row]: reason for row, reason in sorted(bad.items())},
        notes=(*form_notes(sizes, size, layout), *files.notes(0 if every else len(rows))),
    )
    data = Data(files.name, pool, found, labels, classes, split)
    if bad:
        data = data.subset(np.setdiff1d(np.arange(n), np.array(list(bad))))
    final = replace(
        found,
        classes=class_counts(data.labels, classes),
        split=class_counts(data.split, ("train", "test")),
    )
    return replace(data, found=final)


def image_column(path: str | Path) -> str | None:
    """Name of the column that holds images, ``None`` when there is none (or no parquet)."""
    try:
        column = _column(pq.read_schema(path))
    except (OSError, pa.ArrowException):
        return None
    return column.name if column else None


def _column(schema: pa.Schema) -> _Column | None:
    """The column of images: a struct with ``bytes``, else binary called like an image."""
    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return _Column(field.name, f"{field.name}.bytes", struct=True)
    for field in schema:
        binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        if binary and field.name.lower() in ("image", "img", "images", "bytes"):
            return _Column(field.name, field.name, struct=False)
    return None


class _Files:
    """Several parquet files as one run of row groups."""

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise PoolError("no parquet file was given: name one, or a folder of them")
        common = _common_folder(paths)
        self.paths = sorted(paths, key=lambda path: path.relative_to(common).as_posix() + "#")
        self.names = [path.relative_to(common).as_posix() for path in self.paths]
        several = len(paths) > 1
        self.where = f"{len(paths)} files in {common}" if several else str(self.paths[0])
        self.name = (common.name or "parquet") if several else self.paths[0].stem
        self.open: list[pq.ParquetFile] = []
        for path in self.paths:
            self.open.append(_opened(path))
        first = self.open[0].schema_arrow
        column = _column(first)
        if column is None:
            raise PoolError(
                f"{shown(self.paths[0])} has no column of images (columns:"
                f" {shown(', '.join(first.names))}): one must be a struct with a field 'bytes'"
            )
        for path, file in zip(self.paths, self.open, strict=True):
            if _column(file.schema_arrow) != column:
                raise PoolError(f"{shown(path)} has other columns than {shown(self.paths[0])}")
        self.column, self.schema = column, first
        groups = [
            (number, group, file.metadata.row_group(group))
            for number, file in enumerate(self.open)
            for group in range(file.metadata.num_row_groups)
        ]
        self.groups = [(number, group) for number, group, _ in groups]
        self.starts = np.concatenate([[0], np.cumsum([g.num_rows for *_, g in groups])])
        self.starts = self.starts.astype(np.int64)
        self.largest = max((g.total_byte_size for *_, g in groups), default=0)

    def column_values(self, name: str) -> NDArray[np.generic]:
        """One plain column over all files; missing numbers are -1, missing names ``""``."""
        parts = []
        for file in self.open:
            column = file.read(columns=[name]).column(name)
            text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            parts.append(np.asarray(column.fill_null("" if text else -1).to_numpy()))
        values: NDArray[np.generic] = np.concatenate(parts)
        return values.astype(np.str_) if values.dtype == object else values

    def notes(self, sampled: int) -> list[str]:
        notes = []
        if sampled:
            notes.append(f"sizes, colours and formats are those of a sample of {sampled:,} images")
        if self.largest > _LARGE_GROUP:
            notes.append("row groups of more than 1 GiB are read whole: write smaller ones")
        return notes


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        reason = shown(str(error).partition("\n")[0])
        raise PoolError(f"{shown(path)} is no parquet file that can be read: {reason}") from error


def _common_folder(paths: Sequence[Path]) -> Path:
    folder = paths[0].parent
    while not all(path.is_relative_to(folder) for path in paths):
        folder = folder.parent
    return folder


class _ParquetSource:
    """Rows of parquet files as a source of encoded images."""

    def __init__(self, files: _Files) -> None:
        self._files = files
        counts = [file.metadata.num_rows for file in files.open]
        self.ids: Sequence[str] = NumberedIds(files.names, counts)
        self._held: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def items(self, rows: NDArray[np.int64]) -> list[Item | Exception]:
        items: list[Item | Exception] = [PoolError("the row holds no image bytes")] * len(rows)
        groups = np.searchsorted(self._files.starts, rows, side="right") - 1
        for group in np.unique(groups).tolist():
            try:
                column = self._group(group)
            except (OSError, pa.ArrowException) as error:
                for place in np.flatnonzero(groups == group).tolist():
                    items[place] = error
                continue
            for place in np.flatnonzero(groups == group).tolist():
                value = column[int(rows[place] - self._files.starts[group])]
                if self._files.column.struct:
                    value = value["bytes"] if value.is_valid else value
                if value.is_valid:
                    items[place] = Item(memoryview(value.as_buffer()))
        return items

    def digest(self, row: int) -> str:
        item = self.items(np.array([row]))[0]
        return sha256(b"" if isinstance(item, Exception) else item.data).hexdigest()  # type: ignore[arg-type]

    def sample(self) -> NDArray[np.int64]:
        """Rows spread over at most 16 row groups, so that few are read."""
        starts = self._files.starts
        filled = np.flatnonzero(np.diff(starts))
        some = filled[np.unique(np.linspace(0, len(filled) - 1, _SAMPLE_GROUPS).astype(int))]
        share = -(-_SAMPLE // len(some))
        spread = [
            np.unique(np.linspace(starts[g], starts[g + 1] - 1, share).astype(np.int64))
            for g in some
        ]
        return np.concatenate(spread)

    def _group(self, group: int) -> pa.ChunkedArray:
        with self._lock:
            if group not in self._held:
                file, number = self._files.groups[group]
                leaf = [self._files.column.leaf]
                table = self._files.open[file].read_row_group(number, columns=leaf)
                self._held[group] = table.column(0)
                while len(self._held) > 1 and self._bytes() > _GROUPS_BYTES:
                    self._held.popitem(last=False)
            self._held.move_to_end(group)
            return self._held[group]

    def _bytes(self) -> int:
        return sum(int(column.nbytes) for column in self._held.values())


class _Seen(NamedTuple):
    """Rows whose header was good, with header and digest."""

    rows: list[int]
    headers: list[Header]
    digests: list[bytes]

    def same(self, ids: Sequence[str]) -> tuple[tuple[tuple[str, ...], ...], int]:
        digests = np.frombuffer(b"".join(self.digests), dtype=np.uint8).reshape(-1, 32)
        return same_content(digests, SubsetIds(ids, np.array(self.rows, dtype=np.int64)))


def _look_at(
    source: _ParquetSource, rows: NDArray[np.int64], channel: int | None, progress: Progress
) -> tuple[_Seen, dict[int, str]]:
    seen, bad = _Seen([], [], []), {}

    def one(item: Item | Exception) -> tuple[Header, bytes] | str:
        try:
            if isinstance(item, Exception):
                raise item
            header = look(item.data, channel=channel)
            return header, sha256(item.data).digest()  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - a parser of headers may raise anything at all
            return why(error)

    with (
        ThreadPoolExecutor(workers()) as threads,
        progress.task("reading headers", len(rows)) as task,
    ):
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            answers = threads.map(one, source.items(block), chunksize=32)
            for row, answer in zip(block.tolist(), answers, strict=True):
                if isinstance(answer, str):
                    bad[row] = answer
                else:
                    seen.rows.append(row)
                    seen.headers.append(answer[0])
                    seen.digests.append(answer[1])
            task.advance(len(block))
    return seen, bad


def _truth(
    files: _Files, n: int
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], NDArray[np.int8] | None]:
    """Labels, class names and split, from the columns and the schema's metadata."""
    plain = {f.name for f in files.schema if not pa.types.is_nested(f.type)}
    known = _feature_names(files.schema)
    column = next((c for c in ("label", "labels", "class") if c in plain), None)
    if column is None:
        column = next((c for c in known if c in plain and c != "split"), None)
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    if column is not None:
        values = files.column_values(column)
        labels, classes = named_labels(values, known.get(column), n=n, where=shown(files.where))
    if "split" in plain:
        parts = files.column_values("split")
        if "split" in known and parts.dtype.kind in "iu":
            parts = np.array(known["split"], dtype=np.str_)[parts.astype(np.int64)]
        return labels, classes, named_split(parts, n=n, where=shown(files.where))
    tops = [name.rpartition("/")[2].lower().split("-")[0].split(".")[0] for name in files.names]
    if set(tops) <= TRAIN_NAMES | TEST_NAMES | VALIDATION_NAMES and len(set(tops)) > 1:
        counts = [file.metadata.num_rows for file in files.open]
        return labels, classes, named_split(np.repeat(tops, counts), n=n, where=files.where)
    return labels, classes, None


def _feature_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Class names by column, as the Hugging Face metadata tells them."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info["info"]["features"]
        return {name: list(f["names"]) for name, f in features.items() if "names" in f}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _present(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
