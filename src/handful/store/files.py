"""Files that are whole or not there: temporary file, fsync, rename.

A full disk, a kill or a power cut leaves the file as it was before the write began.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from handful.errors import StoreError

__all__ = ["csv_lines", "full_disk", "replacing", "write_json", "write_whole"]

_FULL = {errno.ENOSPC, errno.EDQUOT}


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Replace ``path`` by ``content`` in one step; `StoreError` when the disk refuses."""
    with replacing(path) as part, part.open("wb") as file:
        for chunk in [content] if isinstance(content, bytes) else content:
            file.write(chunk)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of ``path`` in one step when the block ends well.

    `StoreError` when the disk refuses; whatever ends the block, no half file stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        _fsync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if not isinstance(error, OSError):
            raise
        if error.errno in _FULL:
            raise full_disk(path) from error
        raise StoreError(f"{path} cannot be written: {error.strerror}; check its folder") from error


def full_disk(path: Path) -> StoreError:
    """The error of a disk without room, with its remedy."""
    return StoreError(
        f"the disk is full: {path.name} in {path.parent} was not written, everything before it"
        " is kept; free some space, then go on with --resume"
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, readable and with sorted keys."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    write_whole(path, text.encode("utf-8", "backslashreplace") + b"\n")


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    """A CSV file line by line; what a row does not have, None and NaN are empty.

    A cell with a comma, a quote or any line break is quoted (``csv.writer`` leaves a lone
    carriage return bare, which ends the row for every reader).
    """
    yield (",".join(map(_cell, columns)) + "\n").encode()
    for row in rows:
        yield (",".join(_cell(row.get(name)) for name in columns) + "\n").encode()


def _cell(value: object) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and value != value):
        return ""
    text = value if isinstance(value, str) else repr(value)
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _fsync_folder(folder: Path) -> None:
    """Make the rename itself last; where folders cannot be opened there is nothing to do."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
