"""Pictures with hard names and rows about them: what the tests of exports share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from handful.exports import About, Incoming, Rows
from handful.paths import from_text
from handful.store import LABEL_COLUMNS

HARD = [
    "a,b.png", "a\nb.png", 'quote"d.png', "'.png", "=1+1.png", "+1.png", "-1.png", "@x.png",
    "🐙.png", "עברית.png", "\u202egnp.png", "100 %.png", "%41.png", "CON.png", " a.png",
    "<img src=x onerror=alert(1)>.png", "odd\udcff.png", "sub/same.png", "other/same.png",
    "other/SAME.PNG", "x" * 240 + ".png", "deep/er/still.png", "u\u2028v.png",
]  # fmt: skip
CLASSES = [(0, "copepod"), (2, '=nauplius, "big"\n'), (3, "🐙 dia/tom"), (5, "COPEPOD ")]
EMPTY: dict[str, Any] = dict.fromkeys(LABEL_COLUMNS)


def paint(path: Path, number: int) -> None:
    """A small picture that no other number has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    with open(os.fsencode(path), "wb") as file:
        Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(file, "PNG")


def hard_folder(folder: Path) -> list[dict[str, Any]]:
    """Pictures under every hard name; a row each, of all states, sources and classes."""
    rows = []
    names = dict(CLASSES)
    states = ("labelled", "labelled", "labelled", "labelled", "unsure", "none", "broken", "later")
    for number, name in enumerate(sorted(HARD)):
        paint(folder / name, number)
        state = states[number % len(states)]
        id = list(names)[number % len(names)] if state == "labelled" else None
        source = ("hand", "group", "model", "audit")[number // 4 % 4]
        if state != "labelled":
            source = "hand"
        rows.append({
            **EMPTY, "path": name, "class_id": id, "class": None if id is None else names[id],
            "state": "open" if source == "model" else state, "source": source,
            "confidence": 0.25 if source == "model" else None, "person": "P,1",
            "time": "2026-11-21T10:42:00.000+00:00", "row": number, "w": 8, "h": 6,
            "sha256": sha256((folder / name).read_bytes()).hexdigest(),
        })  # fmt: skip
    row = rows[-1]  # the model says of it that it is none of these
    rows[-1] = {**row, "class_id": None, "class": None, "state": "none", "source": "model"}
    return rows


def about(folder: Path, **more: Any) -> About:
    return About(folder, CLASSES, **more)


def again(rows: Iterable[dict[str, Any]]) -> Rows:
    kept = list(rows)
    return lambda: iter(kept)


def as_said(found: Incoming) -> dict[str, tuple[str | None, str]]:
    """Picture -> class and state."""
    return {from_text(said.path): (said.label, said.state) for said in found.said}


def answered(rows: Iterable[dict[str, Any]]) -> dict[str, tuple[str | None, str]]:
    """What a reader must find in the rows: all but the model's."""
    return {r["path"]: (r["class"], r["state"]) for r in rows if r["source"] != "model"}
