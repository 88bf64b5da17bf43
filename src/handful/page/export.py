"""Writing what was answered: label files in a folder of their own, named by the minute."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handful.errors import StoreError
from handful.exports import write_labels
from handful.page.index import Cell, Row
from handful.page.project import Project
from handful.page.schema import ExportDone, ExportOptions
from handful.page.views import meaning
from handful.types import Event

__all__ = ["export"]

_BLOCK = 500  # rows looked up at a time: answers go on in between


def export(project: Project, options: ExportOptions) -> ExportDone:
    """Write the files; next to the pictures unless the folder is read-only."""
    beside = options.get("where", "pictures") == "pictures" and not project.read_only
    base = project.folder if beside else project.place
    name = f"handful-export/{datetime.now().astimezone():%Y-%m-%d-%H%M}"
    target = _fresh(base, name)
    files: dict[str, int] = {}
    for form in dict.fromkeys(options["formats"]):
        path = target / f"labels.{form}"
        files[path.name] = write_labels(path, _rows(project, options))
    folder = target.relative_to(base).as_posix()
    data = {"folder": folder, "files": files, "label_rev": project.rev}
    with project.lock:
        project.append([Event("export_made", f"export/{uuid.uuid4()}", data)])
    return {"folder": folder, "files": files, "label_rev": project.rev}


def _fresh(base: Path, name: str) -> Path:
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


def _rows(project: Project, options: ExportOptions) -> Iterator[dict[str, Any]]:
    """One row an image, by name; missing pictures keep their labels, problems have none."""
    after: tuple[Any, int] | None = None
    while True:
        with project.lock:
            cells = [c for c, _ in project.index.cells() if _wanted(project, c, options)]
            rows = project.index.page(cells, _BLOCK, after=after)
            out = [_label(project, row) for row in rows]
        yield from out
        if len(rows) < _BLOCK:
            return
        after = (rows[-1].path.encode("utf-8", "surrogatepass"), rows[-1].row)


def _wanted(project: Project, cell: Cell, options: ExportOptions) -> bool:
    state, _ = meaning(project, cell)
    if state == "open":
        return bool(options.get("open")) and cell.presence == "here"
    return state == "labelled" or options.get("states", True)


def _label(project: Project, row: Row) -> dict[str, Any]:
    cell = project.index.cell(row.cell)
    state, found = meaning(project, cell)
    answered = state != "open"
    at = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="milliseconds")
    return {
        "path": row.path,
        "sha256": row.sha256,
        "class_id": found.id if found else None,
        "class": found.name if found else None,
        "state": state,
        "source": cell.source if answered else None,
        "confidence": None,
        "round": None,
        "tag": None,
        "person": cell.person or None if answered else None,
        "time": at if answered else None,
    }
