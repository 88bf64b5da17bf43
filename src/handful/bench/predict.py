"""A finished run's model on other images: ``predictions.csv`` without a book."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from handful.bench.score import predict as classify
from handful.errors import InputError
from handful.paths import to_text
from handful.pool import Reading, open_data, verify
from handful.pool.ids import counted
from handful.progress import Progress, Silent
from handful.recipes import from_toml
from handful.store import PREDICTION_COLUMNS, load_model
from handful.store.files import csv_lines, write_whole
from handful.types import Array, Learner, Pool

__all__ = ["load_learner", "predict"]

_AS_TRAINED: Mapping[str, Any] = MappingProxyType({})


def load_learner(path: Path | str) -> tuple[Learner, Mapping[str, Any]]:
    """The learner behind a run folder or a model file, with its weights, and its card."""
    weights, card = load_model(path)
    learner, _ = from_toml(str(card["recipe"])).build()
    learner.load(weights)
    return learner, card


def predict(
    model: Path | str,
    data: str | Path,
    *,
    out: Path | str,
    reading: Mapping[str, Any] = _AS_TRAINED,
    data_root: Path | str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, int]:
    """Write ``path, class, confidence, unlike, source`` for every readable image of ``data``.

    Images are read as those that the model was trained on: size, page and channel, unless
    ``reading`` (fields of `handful.pool.Reading`) says otherwise.  Returns how many images
    went to each class.  ``unlike`` is empty: the model knows no image of the run it came from.
    """
    progress = progress if progress is not None else Silent()
    learner, card = load_learner(model)
    names = [str(name) for name in card["classes"]]
    if not names or not card.get("answers"):
        raise InputError(f"{model} never saw an answer, so it knows no class: run it with labels")
    how = Reading.of({**card.get("reading", {}), **reading})
    pool = open_data(data, data_root=data_root, progress=progress, **asdict(how)).pool
    _check_kind(pool, card, model)
    if broken := verify(pool, progress):
        say(f"{counted(len(broken), 'image')} cannot be read, hence left out")
    good = np.setdiff1d(np.arange(len(pool)), list(broken))
    if not good.size:
        raise InputError(f"{data} holds no readable image: `handful data` says why")
    pool = pool.subset(good)
    proba = classify(
        learner, pool, size=(card["size"][0], card["size"][1]), channels=int(card["channels"])
    )
    best = proba.argmax(axis=1)
    write_whole(Path(out), csv_lines(PREDICTION_COLUMNS, _rows(pool, names, best, proba)))
    counts = np.bincount(best, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _rows(pool: Pool, names: list[str], best: Array, proba: Array) -> Iterator[dict[str, Any]]:
    for row, id in enumerate(pool.ids):
        share = round(float(proba[row, best[row]]), 6)
        yield {
            "path": to_text(id),
            "class": names[best[row]],
            "confidence": share,
            "source": "model",
        }


def _check_kind(pool: Pool, card: Mapping[str, Any], model: Path | str) -> None:
    width = 0 if pool.features is None else pool.features.shape[1]
    if width != card["features"]:
        had = f"{card['features']} features an image" if card["features"] else "images"
        has = f"{width} features an image" if width else "images"
        raise InputError(f"{model} was trained on {had} and this data holds {has}: give the like")
