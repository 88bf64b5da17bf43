"""Parquet in the Hugging Face layout: what ``datasets.load_dataset("parquet", ...)`` reads.

``image`` is a struct of the file's own bytes and its name, ``label`` a number whose names stand
in the schema's metadata (``ClassLabel``; -1: none), then the columns of every ``labels.csv``.
Without bytes the name alone is kept, relative to the folder of the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from handful.errors import InputError
from handful.exports.about import About, LabelRow, Rows, source_of
from handful.exports.incoming import Incoming, Said, number, state_of, text_of
from handful.paths import to_text
from handful.pool.ids import shown
from handful.store.files import replacing

__all__ = ["read_parquet", "write_parquet"]

_GROUP_BYTES, _GROUP_ROWS = 64 << 20, 10_000
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PLAIN: Sequence[tuple[str, pa.DataType]] = (
    ("path", pa.string()), ("sha256", pa.string()), ("class_id", pa.int64()),
    ("class", pa.string()), ("state", pa.string()), ("source", pa.string()),
    ("confidence", pa.float64()), ("round", pa.int64()), ("tag", pa.string()),
    ("person", pa.string()), ("time", pa.string()),
)  # fmt: skip
_BATCH = 4_096


def write_parquet(path: Path, rows: Rows, about: About, *, pictures: bool = True) -> int:
    """Write ``path``; ``pictures``: the bytes of each file too.  Gives the number of rows."""
    schema = _schema(about)
    place = {id: number for number, (id, _) in enumerate(about.classes)}
    n = 0
    with replacing(path) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for group in _groups(rows(), about, pictures):
            columns: dict[str, list[Any]] = {name: [] for name in schema.names}
            for row, body in group:
                name = to_text(row["path"])
                columns["image"].append({"bytes": body, "path": name})
                columns["label"].append(place.get(row["class_id"], -1))
                for column, _ in _PLAIN:
                    columns[column].append(name if column == "path" else row.get(column))
            n += len(group)
            writer.write_table(pa.Table.from_pydict(columns, schema=schema))
    return n


def _groups(
    rows: Iterator[LabelRow], about: About, pictures: bool
) -> Iterator[list[tuple[LabelRow, bytes | None]]]:
    """Rows with their bytes, so many at a time as a row group should hold."""
    group: list[tuple[LabelRow, bytes | None]] = []
    size = 0
    for row in rows:
        source = source_of(about, row["path"]) if pictures else None
        try:
            body = source.read_bytes() if source else None
        except OSError:
            body = None
        group.append((row, body))
        size += len(body or b"")
        if size >= _GROUP_BYTES or len(group) >= _GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _schema(about: About) -> pa.Schema:
    """The Arrow schema, with the features as ``datasets`` writes them."""
    kinds = {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64"}
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": [name for _, name in about.classes], "_type": "ClassLabel"},
    }
    features |= {name: {"dtype": kinds[kind], "_type": "Value"} for name, kind in _PLAIN}
    said = json.dumps({"info": {"features": features}})
    fields = [("image", _IMAGE), ("label", pa.int64()), *_PLAIN]
    return pa.schema(fields, metadata={"huggingface": said})


def read_parquet(path: Path) -> Incoming:
    """What such a file says: ours, or any with a column of labels and one that names pictures.

    Where nothing names them, their bytes do: a picture is found by its content.
    """
    found = Incoming("parquet")
    try:
        with pq.ParquetFile(path) as file:
            columns = _Columns(file.schema_arrow)
            at = 0
            for batch in file.iter_batches(_BATCH, columns=columns.wanted):
                for row in batch.to_pylist():
                    at += 1
                    _take(found, at, row, columns)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        reason = shown(str(error).partition("\n")[0])
        raise InputError(f"this is no parquet file of labels that can be read: {reason}") from error
    return found


class _Columns:
    """Which columns say what."""

    def __init__(self, schema: pa.Schema) -> None:
        names = set(schema.names)
        self.path = next((n for n in ("path", "file_name", "filename", "file") if n in names), "")
        self.image = next(
            (f.name for f in schema if pa.types.is_struct(f.type)
             and f.type.get_field_index("bytes") >= 0), "",
        )  # fmt: skip
        self.inner = bool(self.image) and schema.field(self.image).type.get_field_index("path") >= 0
        self.label = next((n for n in ("class", "label", "labels", "category") if n in names), "")
        self.classes = _names(schema).get(self.label)
        beside = [n for n in ("state", "source", "sha256", "class_id") if n in names]
        if not self.label or not (self.path or self.image):
            raise InputError(
                f"the parquet file names no pictures or no classes (columns:"
                f" {shown(', '.join(schema.names))}): it needs path and class, or image and label"
            )
        self.by_content = not self.path and "sha256" not in names
        self.wanted = [self.label, *beside]
        if self.path:
            self.wanted.append(self.path)
        else:
            self.wanted += [f"{self.image}.path"] if self.inner else []
            self.wanted += [f"{self.image}.bytes"] if self.by_content else []


def _names(schema: pa.Schema) -> dict[str, list[str]]:
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"][
            "features"
        ]
        return {n: [str(v) for v in f["names"]] for n, f in features.items() if "names" in f}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _take(found: Incoming, at: int, row: dict[str, Any], columns: _Columns) -> None:
    image = row.get(columns.image) if columns.image else None
    image = image if isinstance(image, dict) else {}
    path = text_of(row.get(columns.path)) if columns.path else text_of(image.get("path"))
    digest = text_of(row.get("sha256"))
    if columns.by_content and isinstance(image.get("bytes"), bytes):
        digest = sha256(image["bytes"]).hexdigest()
    value = row[columns.label]
    if columns.classes is not None and type(value) is int:
        if value >= len(columns.classes):
            found.fault(at, f"{path}: label {value} has no name")
            return
        value = columns.classes[value] if value >= 0 else None
    label = text_of(value)
    if not path and not digest:
        found.fault(at, "a row that names no picture")
        return
    said = Said(
        path or "", label, state_of(row.get("state"), label), digest, number(row.get("class_id"))
    )
    found.take(said, model=row.get("source") == "model")
