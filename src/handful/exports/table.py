"""Tables of labels from anywhere: CSV with any of the usual separators, JSON Lines.

The first row names the columns; ours, and what other programs call them.  A table without such
a row is read when its rows are pairs of a picture's name and a class.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from handful.errors import InputError
from handful.exports.incoming import Incoming, Said, number, state_of, text_of
from handful.pool.folder import SUFFIXES

__all__ = ["LARGEST", "decoded", "read_lines", "read_table"]

LARGEST = 1 << 30  # bytes of a text file
_PATH = ("path", "file_name", "filename", "file", "image", "filepath", "file_path", "image_path",
         "img", "picture", "name")  # fmt: skip
_CLASS = ("class", "label", "category", "class_name", "label_name", "species", "target", "y")
_QUOTED = re.compile(r"'+[=+\-@\t\r]")


def decoded(path: Path) -> str:
    """The text of a file, UTF-8 or UTF-16; `InputError` when it is none, or too large."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(f"{path.name} is larger than {LARGEST >> 20:,} MB: import it in parts")
        body = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
    try:
        if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return body.decode("utf-16")
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 text: save it as CSV UTF-8") from error


def read_table(path: Path) -> Incoming:
    """What a table of comma-, semicolon- or tab-separated values says."""
    text = decoded(path)
    first = text[: text.find("\n") + 1 or None].rstrip("\r\n")
    best = max(",;\t", key=lambda mark: (_known(first.split(mark)), first.count(mark)))
    found = Incoming("csv")
    try:
        rows = csv.reader(StringIO(text, newline=""), delimiter=best, strict=True)
        header = next(rows, [])
        names = [cell.strip().strip("\ufeff").casefold() for cell in header]
        if _known(names) == 2:
            _take_all(found, (dict(zip(names, r, strict=False)) for r in rows), start=2)
            return found
        if len(header) == 2 and Path(header[0]).suffix.lower() in SUFFIXES:
            both = ("path", "class")
            pairs = ([header], rows)
            _take_all(found, (dict(zip(both, r, strict=False)) for p in pairs for r in p), start=1)
            return found
    except csv.Error as error:
        raise InputError(f"{path.name} is no table that can be read: {error}") from error
    raise InputError(
        f"{path.name} has no columns that name pictures and classes: its first row must hold"
        " path and class"
    )


def read_lines(text: str) -> Incoming:
    """What JSON Lines say: one record a line."""
    found = Incoming("jsonl")

    def records() -> Iterator[dict[str, Any]]:
        for at, line in enumerate(text.split("\n"), 1):  # names may hold U+2028
            if line.strip():
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"line {at} is no JSON: {str(error)[:80]}") from error
                yield record if isinstance(record, dict) else {}

    _take_all(found, records(), start=1)
    if found.rows and not (found.said or found.guessed or found.empty):
        raise InputError("no line names a picture: each needs path and class")
    return found


def _known(names: Sequence[str]) -> int:
    """2: a column of pictures and one of classes."""
    there = {name.strip().strip('"\ufeff').casefold() for name in names}
    return int(bool(there & set(_PATH))) + int(bool(there & set(_CLASS)))


def _take_all(found: Incoming, rows: Iterator[dict[str, Any]], *, start: int) -> None:
    for at, row in enumerate(rows, start):
        path = next((t for n in _PATH if (t := _cell(row.get(n)))), None)
        label = next((t for n in _CLASS if (t := _cell(row.get(n)))), None)
        if path is None:
            if any(row.values()):
                found.fault(at, "a row that names no picture")
            continue
        class_id = row.get("class_id")
        if isinstance(class_id, str):
            class_id = int(class_id) if class_id.isdecimal() and len(class_id) < 10 else None
        found.take(
            Said(path, label, state_of(row.get("state"), label), text_of(row.get("sha256")),
                 number(class_id)),
            model=row.get("source") == "model",
        )  # fmt: skip


def _cell(value: object) -> str | None:
    """A cell as it was meant: the apostrophe that keeps it from being a formula is none of it."""
    text = text_of(value)
    return text[1:] if text and _QUOTED.match(text) else text
