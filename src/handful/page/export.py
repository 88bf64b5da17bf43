"""Carrying away what was answered: files in a folder of their own, named by the minute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from handful.errors import InputError, StoreError
from handful.exports import FORMS, Rows, write, write_folders
from handful.exports.folders import How
from handful.exports.model import MODEL_FILE
from handful.page.gathering import Choice, Source, Still, about, label_rows
from handful.page.reporting import model_file, report_file
from handful.pool.ids import counted

__all__ = ["Order", "Written", "beside", "by_class", "carry", "fresh", "new_folder", "stamp"]

_KEPT = 200_000  # rows
REPORT = "report.html"


@dataclass(frozen=True)
class Order:
    """What is to be written; ``folders`` go to a place of their own."""

    formats: Sequence[str] = ("csv",)
    choice: Choice = field(default_factory=Choice)
    pictures: bool = True  # in parquet
    folders: How | None = None
    folders_at: Path | None = None
    model: bool = False
    report: bool = False
    report_pictures: bool = False


@dataclass
class Written:
    """Files by name with their rows; ``by_class``: the folder, pictures in it and left out."""

    files: dict[str, int] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)  # that hold no rows
    by_class: tuple[Path, int, int] | None = None

    @property
    def text(self) -> str:
        """``Written: labels.csv (20,000 rows).``"""
        names = [f"{name} ({counted(n, 'row')})" for name, n in self.files.items()]
        names += self.others
        if self.by_class is not None:
            folder, pictures, _ = self.by_class
            names.append(f"{folder.name} ({counted(pictures, 'picture')})")
        return f"Written: {', '.join(names)}."


def carry(source: Source, order: Order, target: Path) -> Written:
    """Write everything ordered into ``target``, which is there.

    `StoreError` when the disk refuses; each file is whole or not there.
    """
    try:
        return _carried(source, order, target)
    except BaseException:
        if order.formats or order.model or order.report:
            with suppress(OSError):  # an empty folder would say that something was written
                target.rmdir()
        raise


def _carried(source: Source, order: Order, target: Path) -> Written:
    told, done = about(source), Written()
    if order.model:
        model_file(source, target / MODEL_FILE, told.name)
    rows = _gathered(source, order.choice)
    for form in dict.fromkeys(order.formats):
        n = write(form, target, rows, told, pictures=order.pictures)
        done.files |= {FORMS[form].file: n}
    if order.report:
        report_file(source, target / REPORT, told.name, pictures=order.report_pictures)
    done.others = [name for name, wanted in ((MODEL_FILE, order.model), (REPORT, order.report))
                   if wanted]  # fmt: skip
    if order.folders is not None:
        place = order.folders_at or by_class(source.folder)
        found = write_folders(place, rows, told, how=order.folders)
        done.by_class = (place, found["pictures"], found["left_out"])
    return done


def _gathered(source: Source, choice: Choice) -> Rows:
    """Rows for one form after the other: as of one moment, unless they are too many to keep."""
    gathering = label_rows(source, choice)
    kept = list(islice(gathering, _KEPT))
    if len(kept) < _KEPT:
        return lambda: iter(kept)
    return lambda: label_rows(source, choice)


def stamp() -> str:
    """This minute, as part of a name."""
    return f"{datetime.now().astimezone():%Y-%m-%d-%H%M}"


def by_class(folder: Path, base: Path | None = None) -> Path:
    """Where folders by class go unless somebody says so: beside the folder of the pictures."""
    real = Path(os.path.realpath(folder))
    name = f"{real.name or 'pictures'}-by-class-{stamp()}"
    for attempt in range(1, 1_000):
        target = (base or real.parent) / (name if attempt == 1 else f"{name}-{attempt}")
        if not os.path.lexists(target):
            return target
    raise StoreError(f"there are a thousand exports of this minute already: {name}")


def beside(source: Still) -> Path:
    """A new folder for label files: next to the pictures, else where the work is kept."""
    name = f"handful-export/{stamp()}"
    try:
        return fresh(source.folder, name)
    except StoreError:
        return fresh(source.place, name)


def new_folder(path: Path) -> Path:
    """This very folder, made; `InputError` when something is in it already."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise InputError(f"{path} is not empty: name a new folder")
    except OSError as error:
        raise InputError(f"{path} cannot be made: {error.strerror}; name another") from error
    return path


def fresh(base: Path, name: str) -> Path:
    """A folder that was not there: nothing is ever written over."""
    for attempt in range(1, 1_000):
        target = base / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            target.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(
                f"{name} cannot be made: {error.strerror}; choose the project's own folder"
            ) from error
        return target
    raise StoreError(f"there are a thousand exports of this minute already: {name}")
