"""Carrying away what was answered: files in a folder of their own, named by the minute."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from handful.errors import InputError, StoreError
from handful.exports import FORMS, Rows, write, write_folders
from handful.exports.folders import How
from handful.page.gathering import Choice, Live, Source, Still, about, label_rows
from handful.page.project import Project
from handful.page.schema import ExportDone, ExportOptions
from handful.pool.ids import counted
from handful.types import Event

__all__ = ["Order", "Written", "beside", "by_class", "carry", "export", "new_folder"]

_KEPT = 200_000  # rows


@dataclass(frozen=True)
class Order:
    """What is to be written; ``folders`` go to a place of their own."""

    formats: Sequence[str] = ("csv",)
    choice: Choice = field(default_factory=Choice)
    pictures: bool = True  # in parquet
    folders: How | None = None
    folders_at: Path | None = None


@dataclass
class Written:
    """Files by name with their rows; ``by_class``: the folder, pictures in it and left out."""

    files: dict[str, int] = field(default_factory=dict)
    by_class: tuple[Path, int, int] | None = None

    @property
    def text(self) -> str:
        """``Written: labels.csv (20,000 rows).``"""
        names = [f"{name} ({counted(n, 'row')})" for name, n in self.files.items()]
        if self.by_class is not None:
            folder, pictures, _ = self.by_class
            names.append(f"{folder.name} ({counted(pictures, 'picture')})")
        return f"Written: {', '.join(names)}."


def carry(source: Source, order: Order, target: Path) -> Written:
    """Write everything ordered into ``target``, which is there.

    `StoreError` when the disk refuses; each file is whole or not there.
    """
    told, done = about(source), Written()
    rows = _gathered(source, order.choice)

    for form in dict.fromkeys(order.formats):
        n = write(form, target, rows, told, pictures=order.pictures)
        done.files |= {FORMS[form].file: n}
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


def by_class(folder: Path) -> Path:
    """Where folders by class go unless somebody says so: beside the folder of the pictures."""
    real = Path(os.path.realpath(folder))
    for attempt in range(1, 1_000):
        name = f"{real.name or 'pictures'}-by-class-{stamp()}"
        target = real.parent / (name if attempt == 1 else f"{name}-{attempt}")
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


def export(project: Project, options: ExportOptions) -> ExportDone:
    """Write what the page asked for; next to the pictures unless the folder is read-only."""
    beside = options.get("where", "pictures") == "pictures" and not project.read_only
    base = project.folder if beside else project.place
    target = fresh(base, f"handful-export/{stamp()}")
    choice = Choice(
        states=options.get("states", True), open=options.get("open", False),
        model=options.get("model_labels", True),
    )  # fmt: skip
    order = Order(options["formats"], choice, pictures=options.get("pictures", True))
    done = carry(Live(project), order, target)
    folder = target.relative_to(base).as_posix()
    data = {"folder": folder, "files": done.files, "label_rev": project.rev}
    with project.lock:
        project.append([Event("export_made", f"export/{uuid.uuid4()}", data)])
    return {"folder": folder, "files": done.files, "label_rev": project.rev}
