"""Nearest neighbours and k-means: seconds, memory and recall, beside other libraries.

``python benchmarks/knn.py [knn] [million] [--again]``

``knn``: the 6 nearest of every row, exact.  10,000 and 20,000 rows x 200 with every rival that
can be imported, then 60,000 x 200 and 60,000 x 1,280; one thread and two.
``million``: 1,000,000 x 200, the 6 nearest by cells with their recall on 1,000 probes, and
k-means with 20 clusters from one start; two threads.

The rows are made up: 200 clusters of 16 directions each, and noise.  Every case runs in a
process of its own; a case that has its rows is skipped.  Seconds of all
cores stand beside those of the wall, since the machine may have other work.  Peak memory is
that of the whole process: data, libraries and all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter, process_time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from threadpoolctl import threadpool_limits

from handful import geometry
from handful.rng import rng_for
from handful.types import Array
from record import read, record

K, CLUSTERS, DIRECTIONS, BLOCK, SEED = 6, 200, 16, 5000, 0
Figures = dict[str, tuple[float, str]]


def rows_of(n: int, d: int) -> Array:
    """Made-up features: clusters that are flat in most directions, as embeddings are."""
    rng = rng_for(SEED, d, "clusters")
    centres, axes = rng.normal(size=(CLUSTERS, d)), rng.normal(size=(CLUSTERS, DIRECTIONS, d))
    x = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, BLOCK):
        rng = rng_for(SEED, start, "rows")
        here = x[start : start + BLOCK]
        group = rng.integers(CLUSTERS, size=len(here))
        within = rng.normal(0, 0.35, (len(here), DIRECTIONS))
        for cluster in np.unique(group):
            rows = np.flatnonzero(group == cluster)
            here[rows] = centres[cluster] + within[rows] @ axes[cluster]
        here += rng.normal(0, 0.1, here.shape).astype(np.float32)
    return x


class Watch:
    """Seconds on the wall and of all cores, and the most memory so far."""

    def __init__(self) -> None:
        self.seconds, self.cpu = -perf_counter(), -process_time()

    def stop(self) -> None:
        self.seconds += perf_counter()
        self.cpu += process_time()
        self.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def figures(self) -> Figures:
        return {
            "seconds": (self.seconds, "s"),
            "cpu_seconds": (self.cpu, "s of all cores"),
            "peak_mb": (self.peak_mb, "MB"),
        }


def ours(x: Array, threads: int) -> Array:
    return geometry.knn(x, K)[0]


def scikit_learn(x: Array, threads: int) -> Array:
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(x)
    found: Array = model.kneighbors(return_distance=False)
    return found


def plain_numpy(x: Array, threads: int) -> Array:
    """Blocks of 256 whole rows and a partition of each: what one would write first."""
    squares, out = np.einsum("nd,nd->n", x, x), np.empty((len(x), K), dtype=np.int64)
    for start in range(0, len(x), 256):
        d2 = squares - 2 * x[start : start + 256] @ x.T
        d2[np.arange(len(d2)), np.arange(start, start + len(d2))] = np.inf
        best = np.argpartition(d2, K, axis=1)[:, :K]
        order = np.take_along_axis(d2, best, axis=1).argsort(axis=1)
        out[start : start + 256] = np.take_along_axis(best, order, axis=1)
    return out


def faiss_flat(x: Array, threads: int) -> Array:
    return _faiss_search(_faiss(threads).IndexFlatL2(x.shape[1]), x)


def faiss_cells(x: Array, threads: int) -> Array:
    faiss, cells = _faiss(threads), round(len(x) ** 0.5)
    index = faiss.index_factory(x.shape[1], f"IVF{cells},Flat")
    index.train(x)
    index.nprobe = 8
    return _faiss_search(index, x)


def _faiss(threads: int) -> Any:
    import faiss

    faiss.omp_set_num_threads(threads)
    return faiss


def _faiss_search(index: Any, x: Array) -> Array:
    index.add(x)
    found: Array = index.search(x, K + 1)[1]
    keep = found != np.arange(len(x))[:, None]
    keep[keep.all(axis=1), K] = False  # the row was not among its own nearest: drop the last
    return found[keep].reshape(len(x), K)


RIVALS: dict[str, Callable[[Array, int], Array]] = {
    "handful": ours, "scikit-learn brute": scikit_learn, "numpy": plain_numpy,
    "faiss flat": faiss_flat,
}  # fmt: skip


def measure_exact(name: str, n: int, d: int, threads: int) -> Figures:
    """Cost of one search: the best of two up to 20,000 rows."""
    x, watches = rows_of(n, d), []
    with threadpool_limits(threads):
        for _ in range(2 if n <= 20_000 else 1):
            watches.append(Watch())
            ids = RIVALS[name](x, threads)
            watches[-1].stop()
    assert ids.shape == (n, K)
    return min(watches, key=lambda watch: watch.seconds).figures()


def measure_cells(name: str, n: int, d: int, threads: int) -> Figures:
    """Cost and recall of approximate neighbours."""
    x = rows_of(n, d)
    with threadpool_limits(threads):
        watch = Watch()
        if name == "handful cells":
            found = geometry.neighbours(x, K, exact=False)
            watch.stop()
            share = found.recall
        else:
            ids = faiss_cells(x, threads)
            watch.stop()
            share = recall(x, ids)
    return {**watch.figures(), "recall": (share, "")}


def measure_kmeans(name: str, n: int, d: int, threads: int) -> Figures:
    """Cost of k-means with 20 clusters from one start."""
    x, free = rows_of(n, d), np.full(n, -1)
    with threadpool_limits(threads):
        watch = Watch()
        geometry.constrained_kmeans(x, free, 20, rng_for(SEED, None, "kmeans"), n_init=1)
        watch.stop()
    return watch.figures()


def recall(x: Array, ids: Array) -> float:
    """Share of the exact neighbours of 1,000 rows, by distance, among ``ids``."""
    probes = rng_for(SEED, None, "probes").choice(len(x), 1000, replace=False)
    hits = []
    for row in probes:
        d2 = ((x - x[row]) ** 2).sum(axis=1)
        own, d2[row] = d2[ids[row]], np.inf
        hits.append((own <= np.partition(d2, K - 1)[K - 1]).mean())
    return float(np.mean(hits))


Case = tuple[str, int, int, int, Callable[[str, int, int, int], Figures]]


def cases(group: str) -> list[Case]:
    able = [name for name in RIVALS if not name.startswith("faiss") or find_spec("faiss")]
    if group == "knn":
        small = [
            (name, n, 200, threads, measure_exact)
            for n in (10_000, 20_000) for threads in (1, 2) for name in able
        ]  # fmt: skip
        large = [
            ("handful", 60_000, d, threads, measure_exact)
            for d in (200, 1280) for threads in (1, 2)
        ]  # fmt: skip
        return [*small, *large]
    approximate = ["handful cells", *(["faiss cells"] if find_spec("faiss") else [])]
    return [
        *((name, 100_000, 200, 2, measure_cells) for name in approximate),
        ("handful cells", 1_000_000, 200, 2, measure_cells),
        ("handful k-means c=20", 1_000_000, 200, 2, measure_kmeans),
    ]


def main() -> None:
    """Measure what has no rows yet, print, record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="knn, million")
    parser.add_argument("--again", action="store_true", help="measure cases that have rows, too")
    given = parser.parse_args()
    if unknown := set(given.groups) - {"knn", "million"}:
        parser.error(f"no group is called {min(unknown)}: knn, million")
    spawn = multiprocessing.get_context("spawn")
    for group in given.groups or ("knn", "million"):
        bench = {"knn": "knn", "million": "knn_million"}[group]
        have = {(row["recipe"], row["variant"]) for row in read(bench)}
        for name, n, d, threads, job in cases(group):
            variant = f"n={n} d={d}, {threads} thread{'s' if threads > 1 else ''}"
            if (name, variant) in have and not given.again:
                continue
            with spawn.Pool(1) as one:
                figures = one.apply(job, (name, n, d, threads))
            said = "  ".join(f"{m} {value:.4g} {unit}" for m, (value, unit) in figures.items())
            print(f"{name:24} {variant:32} {said}", flush=True)
            for metric, (value, unit) in figures.items():
                record(bench, "made-up", name, variant, SEED, "", metric, value, unit)


if __name__ == "__main__":
    main()
