"""The door for label files: taken in pieces, read apart, shown, then applied or not.

A file comes in pieces of at most 2 MB, since no request may be larger than 4 MB; it lies below
``derived/imports`` until the next one comes.
"""

from __future__ import annotations

import base64
import binascii
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from handful.errors import InputError, StoreError
from handful.exports import Incoming, Said
from handful.exports.apart import read_apart
from handful.page.imports import Plan, apply, check_fresh, plan
from handful.page.project import Project
from handful.page.schema import (
    ImportAsked,
    ImportPart,
    ImportPartDone,
    ImportPreview,
    ImportWanted,
)
from handful.page.words import refuse
from handful.pool.ids import shown
from handful.store.files import write_whole

__all__ = ["import_labels", "preview", "take_part"]

_LISTED = 100
_SUFFIXES = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet"}
_BLOCK = 1_000


def take_part(project: Project, part: ImportPart) -> ImportPartDone:
    """Keep a piece of a file; the first one of another file takes the place of the last file."""
    if part["part"] >= part["parts"]:
        raise InputError("a part counts from 0 to parts - 1")
    try:
        body = base64.b64decode(part["data"].encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError("data must be base64") from error
    home = _home(project)
    place = home / part["upload"]
    try:
        if not place.is_dir():
            shutil.rmtree(home, ignore_errors=True)
            place.mkdir(parents=True)
        write_whole(place / f"{part['part']:03d}.part", body)
        for whole in place.glob("file.*"):
            whole.unlink()
        told = {"name": part["name"], "parts": part["parts"]}
        write_whole(place / "told.json", json.dumps(told).encode())
    except OSError as error:
        raise StoreError(f"{place} cannot be written: {error.strerror}") from error
    return {"upload": part["upload"], "received": len(list(place.glob("*.part")))}


def _home(project: Project) -> Path:
    return project.place / "derived" / "imports"


def _file(project: Project, upload: str) -> tuple[Path, str]:
    """The whole file of an upload, and what it is called."""
    place = _home(project) / upload
    try:
        told = json.loads((place / "told.json").read_text(encoding="utf-8"))
        suffix = Path(told["name"]).suffix.lower()
        whole = place / f"file{suffix if suffix in _SUFFIXES else '.csv'}"
        if not whole.is_file():
            parts = [place / f"{n:03d}.part" for n in range(told["parts"])]
            write_whole(whole, (p.read_bytes() for p in parts))
        return whole, str(told["name"])
    except (OSError, ValueError, KeyError, StoreError):
        refuse("import", "The file has not arrived whole. Choose it again.", status=409)


def _incoming(project: Project, wanted: ImportWanted) -> tuple[Incoming, str]:
    if "upload" in wanted:
        path, name = _file(project, wanted["upload"])
        try:
            return read_apart(path), name
        except InputError as error:
            text = str(error).replace(path.name, shown(name, 80))
            refuse("import", f"{text}. Nothing was done.", status=400)
    return _from_folders(project), "folders"


def _from_folders(project: Project) -> Incoming:
    """The folders that the pictures lie in as their classes."""
    found, after = Incoming("folders"), 0
    with project.lock:
        while rows := project.index.walk(_BLOCK, after):
            after = rows[-1].row
            for row in rows:
                folder, below, _ = row.path.partition("/")
                if below and project.index.cell(row.cell).presence != "missing":
                    label = folder.encode(errors="surrogateescape").decode(errors="replace")
                    found.take(Said(_text(row.path), label))
    if not found.said:
        refuse("import", "No picture lies in a folder of its own class here.", status=400)
    return found


def _text(path: str) -> str:
    from handful.paths import to_text

    return to_text(path)


def preview(project: Project, wanted: ImportWanted) -> ImportPreview:
    """What an import would do; nothing is done."""
    incoming, name = _incoming(project, wanted)
    with project.lock:
        made = plan(project, incoming, guesses=wanted.get("guesses", False))
        return _told(project, made, name)


def _told(project: Project, made: Plan, name: str) -> ImportPreview:
    classes = project.classes

    def called(label: str | None, class_id: int | None, state: str) -> str:
        known = None if class_id is None else classes.now(class_id)
        return known.name if known is not None else label or state

    changes = [
        {
            "id": c.row.id,
            "name": shown(c.row.path),
            "now": called(None, c.before.class_id, c.before.state),
            "then": called(c.label, c.class_id, c.state),
        }
        for c in made.change[:_LISTED]
    ]
    told: dict[str, Any] = {
        "file": shown(name, 80), "form": made.form, "rows": made.rows, "text": made.text,
        "left_out": made.left_out, "new": len(made.new), "change": len(made.change),
        "same": made.same, "missing": len(made.missing), "conflicts": len(made.conflicts),
        "faulty": made.faulty, "empty": made.empty, "guesses": made.guesses,
        "by_content": made.by_content, "by_end": made.by_end,
        "missing_names": [shown(n, 80) for n in made.missing[:_LISTED]],
        "conflict_names": [shown(n, 80) for n in made.conflicts[:_LISTED]],
        "faults": [{"row": f.row, "text": shown(f.text)} for f in made.faults[:_LISTED]],
        "new_classes": [{"name": n, "pictures": k} for n, k in made.classes[:_LISTED]],
        "changes": changes, "set_hash": made.hash, "label_rev": project.rev,
    }  # fmt: skip
    return told  # type: ignore[return-value]


def import_labels(project: Project, asked: ImportAsked) -> int:
    """Apply what was shown; E12 where it would be something else by now.  Gives how many."""
    with project.lock:
        done = project.book.find(asked["id"])
        if done is not None:  # a repeat: it is done
            return len(done.data.get("images", ()))
    incoming, name = _incoming(project, asked)
    with project.lock:
        made = plan(project, incoming, guesses=asked.get("guesses", False))
        check_fresh(made, asked["set_hash"])
        n = apply(project, made, asked["id"], over=not asked.get("only_new", False), file=name)
    with suppress(OSError):
        shutil.rmtree(_home(project), ignore_errors=True)
    return n
