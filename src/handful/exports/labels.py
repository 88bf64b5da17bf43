"""Labels as a file, one row an image: ``labels.csv`` or ``labels.jsonl``.

Columns are `handful.store.LABEL_COLUMNS`; what a row does not have is empty (CSV) or null.
Paths are written as `handful.paths.to_text` does.  In CSV, a cell that a spreadsheet would
run as a formula (``= + - @``, a tab or a return at its start) begins with an apostrophe,
which `read_labels` takes away again; JSON Lines needs none.  A file is whole or not there.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from handful.errors import InputError
from handful.exports.about import LabelRow
from handful.paths import from_text, to_text
from handful.store import LABEL_COLUMNS
from handful.store.files import csv_lines, write_whole

__all__ = ["FORMATS", "for_csv", "formula_free", "read_labels", "write_labels"]

FORMATS = ("csv", "jsonl")
_TEXTS = ("path", "class", "tag", "person")  # numbers cannot be formulas
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED = re.compile(r"'+[=+\-@\t\r]")
_NUMBERS: Mapping[str, type] = {"class_id": int, "round": int, "confidence": float}


def write_labels(path: Path, rows: Iterable[LabelRow]) -> int:
    """Write rows to ``path``, ``.csv`` or ``.jsonl``; ``path`` in a row is an image id.

    Gives the number of rows.  `StoreError` when the disk refuses; then there is no file.
    """
    counted = _Counted(rows)
    if path.suffix == ".csv":
        write_whole(path, csv_lines(LABEL_COLUMNS, map(for_csv, counted)))
    elif path.suffix == ".jsonl":
        write_whole(path, map(_for_json, counted))
    else:
        raise InputError(f"labels are written as .csv or .jsonl, not as {path.name!r}")
    return counted.n


def read_labels(path: Path) -> Iterator[dict[str, Any]]:
    """Rows as they were written: ids of images, numbers as numbers, None where nothing was.

    `InputError` with the number of the row that cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                yield from _from_csv(csv.DictReader(file, strict=True))
            else:
                yield from (_from_json(line) for line in file if line.strip())
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path.name} is no table of labels that can be read: {error}") from error


class _Counted:
    """Rows that are counted as they pass."""

    def __init__(self, rows: Iterable[LabelRow]) -> None:
        self.rows, self.n = rows, 0

    def __iter__(self) -> Iterator[LabelRow]:
        for row in self.rows:
            self.n += 1
            yield row


def for_csv(row: LabelRow) -> dict[str, Any]:
    """A row as its cells are written: no name is a formula."""
    out = {**row, "path": to_text(row["path"])}
    for name in _TEXTS:
        if isinstance(text := out.get(name), str):
            out[name] = formula_free(text)
    return out


def formula_free(text: str) -> str:
    """A text as no spreadsheet runs it."""
    return f"'{text}" if _FORMULA.match(text) else text


def _for_json(row: LabelRow) -> bytes:
    out = {name: row.get(name) for name in LABEL_COLUMNS} | {"path": to_text(row["path"])}
    return json.dumps(out, ensure_ascii=False).encode() + b"\n"


def _from_csv(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if None in row or None in row.values():
            raise ValueError(f"a row has another number of cells than the first: {row}")
        out: dict[str, Any] = {name: value or None for name, value in row.items()}
        for name in _TEXTS:
            if out.get(name) and _QUOTED.match(out[name]):
                out[name] = out[name][1:]
        for name, number in _NUMBERS.items():
            if out.get(name) is not None:
                out[name] = number(out[name])
        yield out | {"path": from_text(out["path"] or "")}


def _from_json(line: str) -> dict[str, Any]:
    row = json.loads(line)
    return {**row, "path": from_text(row["path"])}
