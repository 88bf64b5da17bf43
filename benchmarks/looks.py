"""What stands for small gray pictures on the labelling page, and how many groups are made.

::

    python benchmarks/looks.py [--record] [--auto-encoder]

Digits and USPS's training part alone: choices are made on these.  ``purity`` is that of the
worker's groups; ``accuracy`` that of labels spread from 100 random answers, 3 draws; ``pictures
an action`` counts a key a group and one a wrong tile, a group of more than 6 wrong ones refused,
over the first 100 actions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful import geometry, graph
from handful.geometry import unit_rows
from handful.pool import open_data
from handful.progress import Silent
from handful.worker import groups as grouping
from handful.worker.encoders import AutoEncoded, Strokes
from handful.worker.groups import grouped
from handful.worker.pictures import Detail, Listing
from handful.worker.space import Projection, Space, main_directions
from record import record

ACTIONS, WRONG = 100, 6
Made = tuple[str, NDArray[np.float32]]


def sets() -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
    """Pictures ``(n, 1, H, W)`` and what they are."""
    for name in ("digits", "usps"):
        data = open_data(name)
        rows = np.arange(len(data.pool))
        if name == "usps":
            rows = np.flatnonzero(np.asarray(data.split) == 0)
        assert data.labels is not None
        yield name, data.pool.read(rows), np.asarray(data.labels)[rows]


def looks(images: NDArray[np.uint8], *, auto_encoder: bool) -> Iterator[Made]:
    """Ways of seeing, each as vectors before they are scaled to length 1."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    deviation = flat.std(axis=0)
    yield "pixels", flat
    yield (
        "pixels standardised",
        (flat - flat.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1),
    )
    yield "strokes", Strokes.of(Detail(True, *images.shape[2:])).encode(images)
    if auto_encoder:
        weights = AutoEncoded.train(images, Silent())
        yield "auto-encoder", AutoEncoded(True, *images.shape[2:], weights).encode(images)


def space_of(v: NDArray[Any], *, main: bool) -> Space:
    """The worker's space of these vectors; without its main directions where they are few."""
    n, d = v.shape
    projection = (
        main_directions(v)
        if main
        else Projection(np.zeros(d, np.float32), np.eye(d, dtype=np.float32))
    )
    digests = np.random.default_rng(0).integers(0, 256, (n, 32), dtype=np.uint8)
    names = tuple(map(str, range(n)))
    listing = Listing("", np.arange(n), names, digests, np.ones((n, 2), np.int32))
    x = projection(v)
    return Space(listing, x, np.full(n, -1, np.int32), projection, Strokes(True, 8, 8))


def spread(space: Space, truth: NDArray[np.int64], labels: int) -> float:
    """Accuracy of labels spread from random answers."""
    near = geometry.neighbours(space.x, 10)
    W = graph.knn_graph(near.ids, near.d2).W
    found = []
    for seed in range(3):
        known = np.full(len(truth), -1)
        rows = np.random.default_rng(seed).choice(len(truth), labels, replace=False)
        known[rows] = truth[rows]
        F = graph.spread(W, known, int(truth.max()) + 1).X
        found.append((F.argmax(axis=1) == truth)[known < 0].mean())
    return float(np.mean(found))


def played(space: Space, truth: NDArray[np.int64]) -> tuple[float, float, float]:
    """Purity, pictures an action over the first 100 actions, share of wrong tiles."""
    found = grouped(space, np.ones(len(truth), bool), None)
    members = np.split(found["rows"], found["starts"][1:-1])
    sizes = np.array([len(m) for m in members])
    wrong = np.array([len(m) - np.bincount(truth[m]).max() for m in members])
    cost = np.where(wrong <= WRONG, 1 + wrong, 1)
    gain = np.where(wrong <= WRONG, sizes - wrong, 0)
    within = np.cumsum(cost) <= ACTIONS
    rate = gain[within].sum() / max(1, cost[within].sum())
    return 1 - wrong.sum() / sizes.sum(), float(rate), float(wrong.sum() / sizes.sum())


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--record", action="store_true")
    asked.add_argument("--auto-encoder", action="store_true")
    given = asked.parse_args()

    def say(
        data: str, variant: str, labels: int, metric: str, value: float, seconds: float
    ) -> None:
        print(f"{data:8} {variant:34} {metric:20} {value:9.4f}   {seconds:6.1f} s", flush=True)
        if given.record:
            unit = "pictures" if metric == "pictures an action" else ""
            record("looks", data, "page", variant, 0, labels, metric, value, unit, seconds)

    for name, images, truth in sets():
        for look, v in looks(images, auto_encoder=given.auto_encoder):
            begun = time.monotonic()
            # latent numbers are few: turning them changes nothing but their mean
            space = space_of(unit_rows(v), main=look != "auto-encoder")
            accuracy = spread(space, truth, 100)
            purity, rate, _ = played(space, truth)
            took = time.monotonic() - begun
            say(name, look, 100, "accuracy", accuracy, took)
            say(name, look, 0, "purity", purity, took)
            say(name, look, 0, "pictures an action", rate, took)
            if look != "strokes":
                continue
            usual = grouping.PICTURES
            for pictures in (15, 30, 60):  # up to 200 groups in any case
                grouping.PICTURES = pictures
                begun = time.monotonic()
                purity, rate, _ = played(space, truth)
                took = time.monotonic() - begun
                say(name, f"strokes, n / {pictures} groups", 0, "purity", purity, took)
                say(name, f"strokes, n / {pictures} groups", 0, "pictures an action", rate, took)
            grouping.PICTURES = usual


if __name__ == "__main__":
    main()
