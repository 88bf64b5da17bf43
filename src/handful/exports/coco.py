"""COCO-style JSON for classification: images, categories, one annotation for each labelled image.

A category's id is the class id.  There are no boxes, since nobody drew any; the other columns
of every ``labels.csv`` stand in the record of the image, where readers of COCO pass them by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handful import __version__
from handful.exports.about import About, LabelRow, Rows
from handful.exports.incoming import Incoming, Said, items, number, state_of, text_of
from handful.paths import to_text
from handful.store import LABEL_COLUMNS
from handful.store.files import write_whole

__all__ = ["read_coco", "write_coco"]

_BESIDE = [name for name in LABEL_COLUMNS if name not in ("path", "class_id", "class")]


def write_coco(path: Path, rows: Rows, about: About) -> int:
    """Write ``path``, image by image; gives the number of images."""
    lines = _Lines(rows)
    write_whole(path, lines.document(about))
    return lines.n


class _Lines:
    def __init__(self, rows: Rows) -> None:
        self.rows, self.n = rows, 0

    def document(self, about: About) -> Iterator[bytes]:
        info = {"description": f"labels of {to_text(about.name)}", "version": __version__}
        kinds = [{"id": id, "name": name, "supercategory": ""} for id, name in about.classes]
        yield f'{{"info": {_json(info)},\n"licenses": [],\n"categories": {_json(kinds)},\n'.encode()
        yield b'"images": ['
        annotations: list[bytes] = []
        for row in self.rows():
            yield (b",\n" if self.n else b"\n") + _json(_image(self.n, row)).encode()
            if row["class_id"] is not None:
                kept = {"id": len(annotations), "image_id": self.n, "category_id": row["class_id"]}
                score = {} if row["confidence"] is None else {"score": row["confidence"]}
                annotations.append(_json(kept | score).encode())
            self.n += 1
        yield b'],\n"annotations": ['
        for place, line in enumerate(annotations):
            yield (b",\n" if place else b"\n") + line
        yield b"]}\n"


def _image(id: int, row: LabelRow) -> dict[str, Any]:
    size = {"width": row["w"], "height": row["h"]} if row.get("w") else {}
    return {
        "id": id,
        "file_name": to_text(row["path"]),
        **size,
        **{name: row.get(name) for name in _BESIDE},
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_coco(document: dict[str, Any]) -> Incoming:
    """What such a document says; images that it gives two classes are faults."""
    names = {_key(c.get("id")): text_of(c.get("name")) for c in items(document.get("categories"))}
    given: dict[str, list[tuple[str | None, int | None]]] = {}
    for annotation in items(document.get("annotations")):
        kind = _key(annotation.get("category_id"))
        said = given.setdefault(_key(annotation.get("image_id")), [])
        said.append((names.get(kind), number(annotation.get("category_id"))))
    found = Incoming("coco")
    for place, image in enumerate(items(document.get("images")), 1):
        path = text_of(image.get("file_name")) or text_of(image.get("path"))
        labels = list(dict.fromkeys(given.get(_key(image.get("id")), ())))
        if not path:
            found.fault(place, "an image without file_name")
        elif len(labels) > 1:
            found.fault(place, f"{path}: {len(labels)} classes for one picture")
        elif labels and labels[0][0] is None:
            found.fault(place, f"{path}: a category that is not in the list")
        else:
            label, class_id = labels[0] if labels else (None, None)
            found.take(
                Said(path, label, state_of(image.get("state"), label), text_of(image.get("sha256")),
                     class_id),
                model=image.get("source") == "model",
            )  # fmt: skip
    return found


def _key(value: object) -> str:
    """Ids are numbers or texts; anything else is none."""
    return repr(value) if isinstance(value, int | str) else ""
