"""The door for carrying away: what can be written, writing it, showing where it is.

No request names a place of this computer: places are those that `choices` has made.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from handful.errors import InputError, StoreError
from handful.exports import FORMS
from handful.exports.model import MODEL_FILE
from handful.page.export import Order, Written, by_class, carry, fresh, stamp
from handful.page.gathering import Choice, Live
from handful.page.project import Project
from handful.page.reporting import closed_audit, model_of
from handful.page.schema import ExportChoices, ExportDone, ExportModel, ExportOptions, ExportShown
from handful.page.words import refuse
from handful.types import Event

__all__ = ["choices", "export", "show"]

log = logging.getLogger(__name__)
_LOOKED_BACK = 1_000  # events


def choices(project: Project) -> ExportChoices:
    """What can be written now, and where; counted by cells, whatever the number of pictures."""
    n = dict.fromkeys(("labelled", "states", "open"), 0)
    with project.lock:
        for cell, number in project.index.cells():
            state = cell.state
            if state == "labelled" and project.classes.now(cell.class_id) is None:
                state = "open"
            if state != "open" or cell.presence == "here":
                n[state if state in n else "states"] += number
    learnt = model_of(Live(project))
    return {
        "formats": [{"id": id, "text": form.text, "file": form.file} for id, form in FORMS.items()],  # type: ignore[typeddict-item]
        "places": [{"id": id, "text": text} for id, (_, text) in _places(project).items()],
        "labelled": n["labelled"],
        "by_model": n["open"] if learnt is not None else 0,
        "states": n["states"],
        "open": 0 if learnt is not None else n["open"],
        "model": _model(Live(project)),
        "audited": closed_audit(Live(project)) is not None,
    }


def _model(source: Live) -> ExportModel | None:
    """What the model file would be; None while there is nothing to write."""
    revision = model_of(source)
    if revision is None:
        return None
    try:
        card = json.loads((revision.folder / "card.json").read_text(encoding="utf-8"))
        size = (revision.folder / "model.safetensors").stat().st_size
        return {"bytes": size, "classes": len(card["classes"]), "trained_on": card["answers"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _places(project: Project) -> Mapping[str, tuple[Path, str]]:
    """Where folders by class may go: never among the pictures."""
    real = Path(os.path.realpath(project.folder))
    home = Path.home() / "handful-export"
    found = {
        "beside": (by_class(project.folder), f"beside the pictures: {real.name}-by-class-..."),
        "home": (by_class(project.folder, home), "~/handful-export/"),
    }
    inside = [id for id, (place, _) in found.items() if place.is_relative_to(real)]
    unable = [] if os.access(real.parent, os.W_OK) else ["beside"]
    for id in {*inside, *unable}:
        del found[id]
    return found


def export(project: Project, options: ExportOptions) -> ExportDone:
    """Write what was asked for; next to the pictures unless the folder is read-only."""
    wanted = [name for name in ("formats", "folders", "model", "report") if options.get(name)]
    if not wanted:
        raise InputError("nothing was chosen to be written")
    base = _base(project, options.get("where", "pictures"))
    order = _order(project, options)
    target, folder = base, ""
    try:
        if order.folders_at is not None:
            order.folders_at.parent.mkdir(parents=True, exist_ok=True)
        if wanted != ["folders"]:
            target = fresh(base, f"handful-export/{stamp()}")
            folder = target.relative_to(base).as_posix()
        done = carry(Live(project), order, target)
    except (StoreError, OSError) as error:
        log.error("an export failed: %s", error)
        _could_not("disk is full" in str(error))
    _write_down(project, done, options, folder)
    return {
        "folder": folder,
        "files": done.files,
        "others": done.others,
        "by_class": None if done.by_class is None else {
            "folder": done.by_class[0].name,
            "pictures": done.by_class[1],
            "left_out": done.by_class[2],
        },
        "text": done.text,
        "command": f"handful predict {MODEL_FILE} NEW_FOLDER" if order.model else None,
        "label_rev": project.rev,
    }  # fmt: skip


def _could_not(full: bool) -> NoReturn:
    if full:
        refuse(
            "E4", "The disk is full. Nothing was written, no answer is lost. Free some space, then"
            " export again.", status=507,
        )  # fmt: skip
    refuse(
        "storage", "The files could not be written there. No answer is lost. Choose another place.",
        status=503,
    )  # fmt: skip


def _order(project: Project, options: ExportOptions) -> Order:
    choice = Choice(
        states=options.get("states", True),
        open=options.get("open", False),
        model=options.get("model_labels", True),
    )
    place = None
    if "folders" in options:
        places = _places(project)
        id = options.get("folders_where") or next(iter(places), "")
        if id not in places:
            refuse("request", "Folders by class cannot go there. Nothing was done.", status=400)
        place = places[id][0]
    return Order(
        options["formats"],
        choice,
        pictures=options.get("pictures", True),
        folders=options.get("folders"),
        folders_at=place,
        model=options.get("model", False),
        report=options.get("report", False),
        report_pictures=options.get("report_pictures", False),
    )


def _write_down(project: Project, done: Written, options: ExportOptions, folder: str) -> None:
    """One event, with names alone: no path of this computer stands in the book."""
    data: dict[str, Any] = {"folder": folder, "files": done.files, "others": done.others}
    data |= {"where": options.get("where", "pictures"), "label_rev": project.rev}
    if done.by_class is not None:
        place, pictures, _ = done.by_class
        data["by_class"] = {"folder": place.name, "pictures": pictures}
        data["folders_where"] = options.get("folders_where", "")
    with project.lock:
        project.append([Event("export_made", f"export/{uuid.uuid4()}", data)])


def show(project: Project) -> ExportShown:
    """Open the folder of the last export in the desktop's own window."""
    target = _last(project)
    if target is None or not target.is_dir():
        return {"shown": False}
    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    if opener == "xdg-open" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return {"shown": False}
    try:
        subprocess.Popen(
            [opener, os.fspath(target)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return {"shown": False}
    return {"shown": True}


def _last(project: Project) -> Path | None:
    """Where the last export went."""
    with project.lock:
        events = (project.book.event(seq) for seq in range(project.rev, 0, -1))
        made = next((e for e in islice(events, _LOOKED_BACK) if e.kind == "export_made"), None)
    if made is None:
        return None
    d = made.data
    if d["folder"]:
        return _base(project, d.get("where", "pictures")) / str(d["folder"])
    places = _places(project)
    place = places.get(d.get("folders_where") or next(iter(places), ""))
    return None if place is None else place[0].parent / str(d["by_class"]["folder"])


def _base(project: Project, where: str) -> Path:
    beside = where == "pictures" and not project.read_only
    return project.folder if beside else project.place
