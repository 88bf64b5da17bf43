"""Seconds and extra memory of every rule, and of the loop, on 1,000,000 x 10 probabilities.

Each case runs in a process of its own on probabilities mapped from a file.  Seconds are
the best of five for a rule (the check of the snapshot included), the slowest round for
the loop.  Extra memory is the peak of the resident set less what it was when everything
given was already in memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

import handful.queries
from handful.book import LabelBook
from handful.loop import Plan, loop
from handful.progress import Progress
from handful.registry import QUERIES, asks_pairs
from handful.rng import rng_for
from handful.types import Answer, Array, Fit, Snapshot, View, Weights
from record import record

CLASSES, BLOCK, BATCH, KNOWN = 10, 1 << 17, 1000, 10_000
GIVEN = frozenset({"proba", "clusters"})


def write_distributions(path: Path, n: int) -> None:
    """Made-up softmax outputs, a tenth of them saturated to exact zeros and ones."""
    p = np.memmap(path, np.float32, "w+", shape=(n, CLASSES))
    for start in range(0, n, BLOCK):
        rng = rng_for(0, start, "probabilities")
        logits = rng.normal(0, 3, (min(BLOCK, n - start), CLASSES))
        logits[::10] *= 1000
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        p[start : start + BLOCK] = e / e.sum(axis=1, keepdims=True)
    p.flush()


def in_memory(path: Path, n: int) -> Array:
    p = np.memmap(path, np.float32, "r", shape=(n, CLASSES))
    p.sum()  # every page is resident before anything is measured
    return p


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure_rule(name: str, options: dict[str, Any], path: Path, n: int) -> tuple[float, float]:
    """Best seconds and extra MB of one query."""
    rule = QUERIES.get(name)(**options)
    p = in_memory(path, n)
    known = np.where(np.arange(n) < KNOWN, 0, -1)
    before, seconds = resident_mb(), []
    for seed in range(5):
        started = perf_counter()
        snapshot = Snapshot.from_arrays(known=known, **dict.fromkeys(rule.needs, p))
        picks = rule.select(snapshot, BATCH, rng_for(seed, 0, "query"))
        seconds.append(perf_counter() - started)
        assert len(set(picks.ids)) == BATCH
    return min(seconds), peak_mb() - before


@dataclass(frozen=True)
class Numbered:
    """A pool of ``n`` images that nobody reads."""

    n: int
    channels: ClassVar[int] = 1
    size: ClassVar[tuple[int, int]] = (8, 8)
    features: ClassVar[None] = None
    broken: ClassVar[dict[int, str]] = {}

    @property
    def ids(self) -> Sequence[str]:
        return Snapshot.from_arrays(known=np.empty(self.n, dtype=np.int8)).ids

    def __len__(self) -> int:
        return self.n

    def row(self, id: str) -> int:
        return int(id)

    def read(self, rows: Array, size: tuple[int, int] | None = None) -> Array:
        return np.zeros((len(rows), 1, 8, 8), dtype=np.uint8)

    def digest(self, row: int) -> str:
        return f"{row:064x}"

    def subset(self, rows: Array) -> Numbered:
        return Numbered(len(rows))


class Fixed:
    """A learner that gives the same probabilities whatever it is told."""

    name: ClassVar[str] = "fixed"
    gives: ClassVar[frozenset[str]] = GIVEN

    def __init__(self, p: Array) -> None:
        self.p = p

    def fit(self, view: View, rng: np.random.Generator, progress: Progress) -> Fit:
        return Fit()

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        n = len(view.pool)
        return Snapshot(
            view.pool.ids, np.ones(n, dtype=bool), view.known, parts=dict.fromkeys(parts, self.p)
        )

    def state(self) -> Weights:
        return {}

    def load(self, state: Weights) -> None:
        return None

    def predict(self, images: Array) -> Array:
        return self.p[: len(images)]


def measure_loop(path: Path, n: int, rounds: int = 4) -> tuple[float, float]:
    """Slowest round's seconds and extra MB: view, snapshot, entropy query, book."""
    learner, pool = Fixed(in_memory(path, n)), Numbered(n)
    plan = Plan(initial=KNOWN, batch=BATCH, budget=KNOWN + rounds * BATCH)
    before, seconds = resident_mb(), []
    steps = loop(pool, LabelBook(), learner, handful.queries.Entropy(), plan, seed=0)
    question = next(steps)
    while question is not None:
        answers = [Answer(id, f"class {int(id) % CLASSES}") for id in question.ids]
        started = perf_counter()
        question = next_question(steps, answers)
        seconds.append(perf_counter() - started)
    assert len(seconds) == rounds + 1
    return max(seconds), peak_mb() - before


def next_question(steps: Any, answers: list[Answer]) -> Any:
    try:
        return steps.send(answers)
    except StopIteration:
        return None


def cases() -> list[tuple[str, dict[str, Any]]]:
    """Every registered rule that probabilities or clusters are enough for, each way of asking."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in QUERIES.names():
        rule = QUERIES.get(name)
        if asks_pairs(rule):
            continue
        if rule.needs <= GIVEN:
            found.append((name, {}))
        if "on" in {f.name for f in fields(rule)}:
            found.append((name, {"on": "clusters"}))
    return found


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    n = parser.parse_args().n
    spawn = multiprocessing.get_context("spawn")
    print(f"{'rule':24} {'seconds':>8} {'extra MB':>9}   n={n} x {CLASSES}, k={BATCH}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "proba.f32")
        write_distributions(path, n)
        jobs = [(f"{name} {o.get('on', '')}".strip(), measure_rule, (name, o, path, n))
                for name, o in cases()]  # fmt: skip
        jobs.append(("loop, entropy", measure_loop, (path, n)))
        for title, job, arguments in jobs:
            with spawn.Pool(1) as one:
                seconds, extra = one.apply(job, arguments)
            print(f"{title:24} {seconds:8.3f} {extra:9.0f}", flush=True)
            for metric, value, unit in (("seconds", seconds, "s"), ("peak_mb", extra, "MB extra")):
                record("queries_scale", "made-up", title, f"n={n}", 0, KNOWN, metric, value, unit)


if __name__ == "__main__":
    main()
