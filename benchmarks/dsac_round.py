"""Seconds and peak memory of one DSAC round on 60,000 x 1,280 cached features.

A round is what a person waits for between two questions: training, clustering and weights
(`fit`), the snapshot, and the choice of the next 20 images.  The neighbours of the embedding
are timed apart: the rule and the next round look the same ones up.  Features are made up,
20 clouds of one width, and mapped from a file as the cache of features maps them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from threadpoolctl import threadpool_limits

from handful import geometry
from handful.progress import Silent
from handful.recipes import recipe
from handful.rng import rng_for
from handful.types import Array, Classes, RowIds, View
from record import record

N, WIDTH, CLASSES, BATCH, BLOCK = 60_000, 1_280, 20, 20, 1 << 13
ROUNDS = 3


def write_features(path: Path, n: int, width: int) -> None:
    """Clouds around centres drawn once; row i belongs to cloud ``i % CLASSES``."""
    x = np.memmap(path, np.float32, "w+", shape=(n, width))
    centres = rng_for(0, None, "centres").normal(0, 0.15, (CLASSES, width)).astype(np.float32)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(n, start + BLOCK))
        noise = rng_for(0, start, "features").standard_normal((len(rows), width), np.float32)
        x[rows] = centres[rows % CLASSES] + noise
    x.flush()


@dataclass(frozen=True)
class Mapped:
    """A pool of features in a file, mapped read-only."""

    features: Array
    ids: RowIds
    channels: int = 0
    size: tuple[int, int] = (0, 0)
    broken: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features)

    def row(self, id: str) -> int:
        return int(id)

    def read(self, rows: Array, size: tuple[int, int] | None = None) -> Array:
        raise ValueError("this pool holds features")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(path: Path, n: int, width: int, name: str, threads: int) -> dict[str, float]:
    """The slowest of the rounds after the first; peak memory of this process at the end."""
    import torch

    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        return rounds(path, n, width, name)


def rounds(path: Path, n: int, width: int, name: str) -> dict[str, float]:
    """Seconds of the wall, and of the cores that worked, without the neighbours."""
    features = np.memmap(path, np.float32, "r", shape=(n, width))
    pool = Mapped(features, RowIds(n))
    learner, rule = recipe(name, schedule="fast").build()
    known, tags = np.full(n, -1), {}
    names = tuple(f"class {c}" for c in range(CLASSES))
    worst = {"seconds": 0.0, "cpu_seconds": 0.0, "seconds_knn": 0.0}
    for r in range(ROUNDS + 1):
        view = View(pool=pool, known=known.copy(), classes=Classes(names), round=r, tags=dict(tags))
        started, busy = perf_counter(), process_time()
        learner.fit(view, rng_for(0, r, "fit"), Silent())
        snapshot = learner.snapshot(view, rule.needs | {"proba"})
        trained, busy = perf_counter(), process_time() - busy
        geometry.neighbours(snapshot.embedding, 6)
        found, again = perf_counter(), process_time()
        picks = rule.select(snapshot, BATCH, rng_for(0, r, "query"))
        seconds = trained - started + perf_counter() - found
        busy += process_time() - again
        known[picks.rows] = picks.rows % CLASSES
        tags |= dict(zip(picks.ids, picks.tags, strict=bool(picks.tags)))
        print(f"round {r}: {seconds:.1f} s, neighbours {found - trained:.1f} s", flush=True)
        if r == 0:
            worst["seconds_first"] = seconds  # embedding and clustering without a label
        else:
            worst["seconds"] = max(worst["seconds"], seconds)
            worst["cpu_seconds"] = max(worst["cpu_seconds"], busy)
        worst["seconds_knn"] = max(worst["seconds_knn"], found - trained)
    return {**worst, "peak_mb": peak_mb()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--n", type=int, default=N)
    arguments.add_argument("--width", type=int, default=WIDTH)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    # spawned: the peak of one recipe is not that of another, nor of writing the features
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features"
        write_features(path, given.n, given.width)
        for name in ("dsac", "dsac-steady"):
            variant = f"fast, {given.n:,} x {given.width:,}, {given.threads} threads"
            with spawned.Pool(1) as process:
                figures = process.apply(measure, (path, given.n, given.width, name, given.threads))
            for metric, value in figures.items():
                unit = {"peak_mb": "MB", "cpu_seconds": "s of all cores"}.get(metric, "s")
                print(f"{name:12} {metric:14} {value:10,.1f} {unit}", flush=True)
                record("dsac_round", "made-up", name, variant, 0, "", metric, value, unit)


if __name__ == "__main__":
    main()
