"""One folder a class, with copies of the pictures or links to them; and such a folder read back.

::

    TARGET/copepod/0001.png ...    names that every system can hold; no two alike
          labels.csv               every row, with the ``file`` that it became

Folders with this layout are what torchvision's ``ImageFolder`` and ``datasets``' ``imagefolder``
read.  The target is never inside the folder of the pictures: it would be found there as more of
them.
"""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias

from handful.errors import InputError, StoreError
from handful.exports.about import About, LabelRow, Rows, source_of
from handful.exports.incoming import Incoming, Said
from handful.exports.labels import for_csv
from handful.exports.table import read_table
from handful.paths import to_text
from handful.pool.folder import SUFFIXES
from handful.store import LABEL_COLUMNS
from handful.store.files import csv_lines, full_disk, write_whole

__all__ = ["How", "check_outside", "read_folders", "safe_name", "write_folders"]

How: TypeAlias = Literal["copies", "links"]
_FORBIDDEN = set('<>:"/\\|?*')
_TAKEN = {"con", "prn", "aux", "nul"} | {f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10)}
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_LONGEST = 120  # bytes of a name: most systems stop at 255, of the whole path some do
_DEEP = 32


def write_folders(target: Path, rows: Rows, about: About, *, how: How = "copies") -> dict[str, int]:
    """Make ``target``, which must not be there; gives ``pictures`` and ``left_out``.

    Left out are pictures without a class (their rows stand in labels.csv) and files that are
    gone.  `InputError` when the target is inside the folder of the pictures, `StoreError` when
    the disk refuses; then there is no target.
    """
    check_outside(target, about.folder)
    if os.path.lexists(target):
        raise InputError(f"{target.name} is there already: choose another name")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    writer = _Writer(part, about, how)
    try:
        part.mkdir(parents=True)
        write_whole(part / "labels.csv", csv_lines([*LABEL_COLUMNS, "file"], writer.all(rows())))
        part.rename(target)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError):
            raise _refused(error, target.parent, how) from error
        raise
    return {"pictures": writer.written, "left_out": writer.left_out}


def check_outside(target: Path, pictures: Path) -> None:
    """`InputError` when a place is in the folder of the pictures."""
    real, root = os.path.realpath(target), os.path.realpath(pictures)
    if real == root or real.startswith(root.rstrip(os.sep) + os.sep):
        raise InputError("folders by class go outside the folder of the pictures: choose another")


def _refused(error: OSError, place: Path, how: How) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return full_disk(place / "folders by class")
    if how == "links" and error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
        return InputError(f"links cannot be made in {place.name}: choose copies")
    return StoreError(f"{place} cannot be written: {error.strerror}; choose another place")


class _Writer:
    """Puts pictures into folders and says where they went."""

    def __init__(self, part: Path, about: About, how: How) -> None:
        self.part, self.about, self.how = part, about, how
        self.written = self.left_out = 0
        self._used: dict[str, set[str]] = {}
        names: set[str] = set()
        self.folders = {id: _free(safe_name(name), names) for id, name in about.classes}

    def all(self, rows: Iterator[LabelRow]) -> Iterator[dict[str, Any]]:
        for row in rows:
            file = self._put(row)
            self.written, self.left_out = self.written + bool(file), self.left_out + (not file)
            yield {**for_csv(row), "file": file}

    def _put(self, row: LabelRow) -> str:
        folder = self.folders.get(row["class_id"])
        source = source_of(self.about, row["path"]) if folder is not None else None
        if folder is None or source is None:
            return ""
        if folder not in self._used:
            (self.part / folder).mkdir()
            self._used[folder] = set()
        name = _free(safe_name(row["path"].rpartition("/")[2]), self._used[folder])
        place = self.part / folder / name
        try:
            if self.how == "links":
                place.symlink_to(source)
            else:
                shutil.copyfile(source, place)
        except OSError as error:
            raise _refused(error, self.part.parent, self.how) from error
        return f"{folder}/{name}"


def safe_name(name: str) -> str:
    """A name that any file system takes and no shell or spreadsheet mistakes; never empty."""
    plain = "".join(f"%{ord(c) & 0xFF:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)
    text = unicodedata.normalize("NFC", plain)
    text = "".join(
        "_" if c in _FORBIDDEN or unicodedata.category(c) in _UNSEEN else c for c in text
    ).strip(" ")
    stem, dot, end = text.rpartition(".")
    if not stem or len(end) > 10:
        stem, dot, end = text, "", ""
    stem = stem.encode()[: _LONGEST - len((dot + end).encode())].decode("utf-8", "ignore")
    text = f"{stem}{dot}{end}".rstrip(" .")
    if text.startswith((".", "-", "=", "+", "@", "~")):
        text = f"_{text}"
    if text.partition(".")[0].lower() in _TAKEN:
        text = f"_{text}"
    return text or "_"


def _free(name: str, used: set[str]) -> str:
    """The name, or with a number where one that differs by capitals at most is there."""
    stem, dot, end = name.rpartition(".")
    if not stem:
        stem, dot, end = name, "", ""
    free, number = name, 1
    while free.casefold() in used:
        number += 1
        free = f"{stem} ({number}){dot}{end}"
    used.add(free.casefold())
    return free


def read_folders(folder: Path, *, beside: Path | None = None) -> Incoming:
    """What a folder says whose own folders are classes; one that we wrote by its labels.csv.

    ``beside``: the folder of the pictures.  Where that is the folder itself, or holds it,
    pictures are known by their names, else by their content.
    """
    if (folder / "labels.csv").is_file():
        found = read_table(folder / "labels.csv")
        found.form = "folders"
        return found
    found = Incoming("folders")
    real = Path(os.path.realpath(folder))
    root = Path(os.path.realpath(beside)) if beside is not None else None
    inside = root is not None and real.is_relative_to(root)
    prefix = real.relative_to(root).as_posix() if inside and root is not None else ""
    for path, label in _pictures(real):
        name = path if prefix in ("", ".") else f"{prefix}/{path}"
        digest = None if inside else _digest(real / path)
        label = label.encode(errors="surrogateescape").decode(errors="replace")
        found.take(Said(to_text(name), label, "labelled", digest))
    if not found.said:
        raise InputError(
            f"{folder} holds no folder with pictures: one folder a class, pictures in it"
        )
    return found


def _pictures(folder: Path) -> Iterator[tuple[str, str]]:
    """Pictures below the folders of a folder, and which of these they are in."""
    for place, folders, files in os.walk(folder):
        here = os.path.relpath(place, folder)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if here == ".":
            continue
        parts = here.split(os.sep)
        if len(parts) >= _DEEP:
            folders.clear()
        for file in sorted(files):
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in SUFFIXES:
                yield "/".join([*parts, file]), parts[0]


def _digest(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
