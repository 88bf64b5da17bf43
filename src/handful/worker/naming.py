"""Tomorrow's pictures: a saved model names the files of a folder, and says which are unlike any.

::

    path, class, confidence, unlike, source      one row a readable picture, by name

Classes that were merged after the model learnt them count together.  ``unlike`` is 1 where the
picture is unlike anything that the model has seen: its class is then a guess about something else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.exports.labels import formula_free
from handful.exports.model import read_model
from handful.paths import to_text
from handful.pool.decode import decode, look, why
from handful.pool.folder import image_paths
from handful.pool.ids import counted, shown
from handful.progress import Progress, Silent
from handful.store import PREDICTION_COLUMNS
from handful.store.files import csv_lines, write_whole
from handful.worker.modelfile import ModelFile

__all__ = ["Named", "about", "named", "opened", "predict"]

BLOCK = 256  # files at a time


class Named(NamedTuple):
    """One picture: the column of its class, how sure, and whether it is unlike anything seen."""

    path: str
    label: str
    confidence: float
    unlike: bool


def opened(path: Path) -> ModelFile:
    """A model that the page wrote; `InputError` when the file is none."""
    card, body = read_model(path)
    return ModelFile.read(json.dumps(card), body)


def about(card: Mapping[str, Any]) -> str:
    """One sentence on where the model comes from, and what its number says."""
    audit = card.get("audit")
    learnt = f"learnt from {counted(int(card['answers']), 'answer')} in {shown(card['folder'])}"
    if not audit:
        return f"{learnt}; never checked: how often it is right is not known"
    return (
        f"{learnt}, where {audit['k']} of {audit['n']} blind answers agreed"
        f" ({100 * audit['low']:.1f} to {100 * audit['high']:.1f} %): that number is of that"
        " folder, not of this one"
    )


def named(
    model: ModelFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    broken: Callable[[str, str], None] = lambda path, reason: None,
) -> Iterator[Named]:
    """The pictures of a folder by name, each with its class; ``broken(path, reason)`` the rest."""
    paths = list(image_paths(folder))
    names, columns = _columns(model)
    with (progress or Silent()).task("naming pictures", len(paths)) as task:
        rest = iter(paths)
        while block := list(islice(rest, BLOCK)):
            kept, pixels = [], []
            for path in block:
                found = _read(model, folder / path, path, broken)
                if found is not None:
                    kept.append(path)
                    pixels.append(found)
            if kept:
                p, unlike = model.judge(_vectors(model, pixels))
                share = np.zeros((len(kept), len(names)))
                np.add.at(share.T, columns, p.T.astype(np.float64))
                best = share.argmax(axis=1)
                for at, path in enumerate(kept):
                    sure = float(share[at, best[at]])
                    yield Named(path, names[best[at]], sure, bool(unlike[at]))
            task.advance(len(block))


def _columns(model: ModelFile) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the classes, and which of them each column of the model counts for."""
    places: dict[int, int] = {}
    names: list[str] = []
    for id, name in model.classes:
        if places.setdefault(id, len(names)) == len(names):
            names.append(name)
    return names, np.array([places[id] for id, _ in model.classes], dtype=np.int64)


def _read(
    model: ModelFile, file: Path, path: str, broken: Callable[[str, str], None]
) -> NDArray[np.uint8] | None:
    try:
        body = file.read_bytes()
        header = look(body)
        return decode(body, model.encoder.layout(header.width, header.height))
    except Exception as error:  # noqa: BLE001 - a decoder may raise anything at all
        broken(path, why(error))
        return None


def _vectors(model: ModelFile, pixels: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    size = model.encoder.batch
    parts = [
        model.encoder.encode(np.stack(pixels[at : at + size])) for at in range(0, len(pixels), size)
    ]
    return np.concatenate(parts)


def predict(
    path: Path | str,
    folder: Path | str,
    *,
    out: Path | str,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, int]:
    """Write ``predictions.csv`` for the pictures of a folder; how many went to each class.

    `InputError` when the file is no model of the page, or no picture can be read.
    """
    model, folder = opened(Path(path)), Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: a model of the page names pictures in folders")
    bad: list[str] = []
    n = Counter[str]()
    unlike = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal unlike
        found = named(
            model, folder, progress=progress,
            broken=lambda name, reason: bad.append(f"{shown(name)}: {reason}"),
        )  # fmt: skip
        for one in found:
            n[one.label] += 1
            unlike += one.unlike
            yield {
                "path": formula_free(to_text(one.path)),
                "class": formula_free(one.label),
                "confidence": round(one.confidence, 6),
                "unlike": int(one.unlike),
                "source": "model",
            }
        if not n:
            raise InputError(f"{folder} holds no picture that can be read")

    write_whole(Path(out), csv_lines(PREDICTION_COLUMNS, rows()))
    if bad:
        say(f"{counted(len(bad), 'file')} cannot be read and are left out, e.g. {bad[0]}")
    if unlike:
        say(f"{counted(unlike, 'picture')} unlike anything that this model has seen")
    say(about(model.card))
    return dict(n.most_common())
