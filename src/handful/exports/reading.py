"""Any label file, told apart by what is in it and not by its name alone.

===============  =========================================================================
csv              ours, or any table with a column of pictures and one of classes
jsonl            one record a line
parquet          the Hugging Face layout, or plain columns
coco             an object with images, annotations and categories
label_studio     a list of tasks, in full or JSON_MIN
folders          a folder whose own folders are classes
===============  =========================================================================
"""

from __future__ import annotations

import json
from pathlib import Path

from handful.errors import InputError
from handful.exports.coco import read_coco
from handful.exports.folders import read_folders
from handful.exports.incoming import Incoming
from handful.exports.label_studio import read_label_studio
from handful.exports.parquet import read_parquet
from handful.exports.table import decoded, read_lines, read_table

__all__ = ["read_any"]


def read_any(path: Path, *, beside: Path | None = None) -> Incoming:
    """What a file or folder says; ``beside`` is the folder of the pictures it may be about.

    `InputError`, in one sentence, when it is nothing that can be read.
    """
    if path.is_dir():
        return read_folders(path, beside=beside)
    try:
        with path.open("rb") as file:
            begin = file.read(4_096)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from error
    if begin[:4] == b"PAR1":
        return read_parquet(path)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return read_lines(decoded(path))
    first = begin.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first not in (b"{", b"[") or path.suffix.lower() in (".csv", ".tsv"):
        return read_table(path)
    text = decoded(path)
    try:
        whole = json.loads(text)
    except RecursionError as error:
        raise InputError(f"{path.name} is nested too deep to be a file of labels") from error
    except ValueError as error:
        if first == b"{" and "\n" in text.strip():
            return read_lines(text)
        raise InputError(f"{path.name} is no JSON: {str(error)[:80]}") from error
    if isinstance(whole, list):
        return read_label_studio(whole)
    if isinstance(whole.get("images"), list):
        return read_coco(whole)
    return read_lines(text)  # a single line, else refused there
