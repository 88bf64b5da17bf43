"""Every array rule beside the peers that have it: seconds, memory, what was picked, how well.

``python benchmarks/selection.py [--sizes N ...] [--million] [--peers PYTHON | --install FOLDER]
[--only RULE ...] [--repeats 3] [--again]``

The rules are those of the registry, on matrices of 128 columns (50 Gaussians, rows of length 1),
with two labels a class and 100 picks.  The peers live in an interpreter of their own: named by
``--peers``, or made in a new environment by ``--install``; one that is missing gets a row that
says so.  Every case runs alone in a process of one thread, and is stopped at 300 s of a repeat,
counted on the cores, or 8 GB.
``--million``: ours alone at 1,000,000 rows, on all cores.  ``--losses``: what approximations
lose at 100,000.

Seconds are the least of the repeats, of all cores beside those of the wall (the machine may have
other work); memory is what the first repeat took beyond the matrices.  Objectives are read off
the picks: the k-center radius, the share of rows within ProbCover's delta of a label or a pick,
the mean typicality of the picks among all rows, and the classes hit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import handful.queries
from handful import geometry
from handful.bench.machine import cores
from handful.queries import _typiclust
from handful.registry import QUERIES, asks_pairs
from handful.rng import rng_for
from handful.types import Array
from record import read, record
from selection_case import PEERS

COLUMNS, CLASSES, LABELS, PICKS, SEED, BLOCK = 128, 50, 100, 100, 0, 1 << 16
DRAWS, HEADS = 10, 3
LIMIT, MEMORY = 300.0, 8192.0  # seconds and MB of a case
SIZES, LARGE = (5_000, 20_000, 100_000), 1_000_000
CASE = Path(__file__).with_name("selection_case.py")
SMALL = frozenset({"embedding", "proba"})  # what a million rows are made with
GIVEN = frozenset({
    "embedding", "proba", "clusters", "centres", "weights", "draws", "heads", "previous",
})  # fmt: skip
IMAGES = frozenset({"lada"})  # rules that ask the learner about new images: a matrix has none
Figures = dict[str, tuple[float, str]]


def make_arrays(folder: Path, n: int, parts: frozenset[str]) -> Array:
    """Write what the rules may see, and give back the true classes."""
    rng = rng_for(SEED, None, "centres")
    centres, y = rng.normal(size=(CLASSES, COLUMNS)), rng.integers(CLASSES, size=n)
    x = np.empty((n, COLUMNS), dtype=np.float32)
    for start in range(0, n, BLOCK):
        rows = slice(start, min(n, start + BLOCK))
        x[rows] = centres[y[rows]]
        x[rows] += rng_for(SEED, start, "rows").normal(size=x[rows].shape)
    x = np.asarray(geometry.unit_rows(x))
    each = LABELS // CLASSES
    labelled = np.concatenate([np.flatnonzero(y == c)[:each] for c in range(CLASSES)])
    known = np.full(n, -1)
    known[labelled] = y[labelled]
    model = LogisticRegression(max_iter=200).fit(x[labelled], y[labelled])
    logits = (x @ model.coef_.T.astype(np.float32) + model.intercept_).astype(np.float32)
    made = {
        "embedding": lambda: x,
        "proba": lambda: softmax(logits, axis=1),
        "clusters": lambda: softmax(4 * logits, axis=1),
        "centres": lambda: geometry.class_means(x, known, CLASSES)[0].astype(np.float32),
        "weights": lambda: rng_for(SEED, None, "weights").random(n),
        "draws": lambda: _noisy(logits, DRAWS, "draws"),
        "heads": lambda: _noisy(logits, HEADS, "heads"),
        "previous": lambda: _noisy(logits, 1, "previous")[0],
    }
    np.save(folder / "known.npy", known)
    for part in sorted(parts):
        np.save(folder / f"{part}.npy", made[part]())
    return y


def _noisy(logits: Array, times: int, role: str) -> Array:
    rng, out = rng_for(SEED, None, role), np.empty((times, *logits.shape), dtype=np.float32)
    for t in range(times):
        out[t] = softmax(logits + rng.normal(0, 0.5, logits.shape).astype(np.float32), axis=1)
    return out


def environment(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **dict.fromkeys(names, str(threads))}


def run(python: str, folder: Path, case: str, repeats: int, threads: int) -> dict[str, Any]:
    """What one case has to say; ``stopped`` with its reason where it took too much."""
    command = [python, str(CASE), str(folder), case, str(PICKS), str(repeats)]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        stopped = None
        child = subprocess.Popen(command, stdout=said, stderr=errors, env=environment(threads))
        heard, since, busy, held = 0, 0.0, 0.0, 0.0
        while child.poll() is None and stopped is None:
            sleep(0.05)
            busy, held = taken(child.pid) or (busy, held)
            if heard != (size := os.fstat(said.fileno()).st_size):  # a line for each repeat
                heard, since = size, busy
            if held > MEMORY:
                stopped = (MEMORY, "MB")
            elif busy - since > LIMIT:
                stopped = (LIMIT, "s")
        if stopped:
            child.kill()
            child.wait()
            return {"stopped": stopped}
        said.seek(0)
        errors.seek(0)
        lines = said.read().splitlines()
        if child.returncode or not lines:
            last = (errors.read().strip().splitlines() or [f"exit {child.returncode}"])[-1]
            return {"failed": last}
        found: dict[str, Any] = json.loads(lines[-1])
        return found


def taken(pid: int) -> tuple[float, float] | None:
    """Seconds of all cores and resident MB of a process; None when it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    seconds = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return seconds, int(words[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- how good the picks are ------------------------------------------------------------------


class Judge:
    """Objectives and references on the arrays of one size."""

    def __init__(self, folder: Path, y: Array) -> None:
        self.folder, self.y = folder, y
        self.x, self.known = np.load(folder / "embedding.npy"), np.load(folder / "known.npy")
        self.delta = 0.0  # ProbCover's, as soon as ours has found it

    def figures(self, rule: str, found: dict[str, Any]) -> Figures:
        picks = np.array(found["picks"], dtype=np.int64)
        free = self.known[picks] < 0
        right = len(picks) == PICKS and len(set(found["picks"])) == PICKS and bool(free.all())
        figures: Figures = {
            "seconds": (min(found["seconds"]), "s"),
            "cpu_seconds": (min(found["cpu_seconds"]), "s of all cores"),
            "extra_mb": (found["extra_mb"], "MB"),
            "valid": (float(right), ""),
        }
        if "embedding" in QUERIES.get(rule).needs:
            figures |= self.objectives(rule, picks, found["memo"])
        reference = REFERENCES.get(rule)
        if reference and len(self.x) <= reference[0]:
            figures |= reference[1](self, found)
        return figures

    def objectives(self, rule: str, picks: Array, memo: dict[str, Any]) -> Figures:
        near = np.concatenate([np.flatnonzero(self.known >= 0), picks])
        d2 = geometry.nearest(self.x, self.x[near])[1]
        d2[near] = 0
        figures: Figures = {"radius": (float(np.sqrt(d2.max())), "")}
        if rule == "probcover":
            self.delta = memo.get("delta", self.delta)
            figures["coverage"] = (float((d2 < self.delta**2).mean()), "")
        spread = []
        for some in np.array_split(picks, -(-len(picks) * len(self.x) // 25_000_000)):
            away = geometry.squared_distances(self.x, self.x[some])
            away[some, np.arange(len(some))] = np.inf
            spread.append(np.sqrt(np.partition(away, 19, axis=0)[:20]).mean(axis=0))
        figures["typicality"] = (float(np.mean(1 / (np.concatenate(spread) + 1e-5))), "")
        figures["classes_hit"] = (float(len(set(self.y[picks].tolist()))), "of 50")
        return figures

    def load(self, part: str) -> Array:
        return np.load(self.folder / f"{part}.npy")


def greedy_k_center(judge: Judge, found: dict[str, Any]) -> Figures:
    """Share of the picks that plain greedy, in float64, makes at the same place."""
    x, known = judge.x.astype(np.float64), judge.known
    d2 = np.full(len(x), np.inf)
    for row in np.flatnonzero(known >= 0):
        d2 = np.minimum(d2, ((x - x[row]) ** 2).sum(axis=1))
    same = []
    for pick in found["picks"]:
        d2[known >= 0] = -1
        best = int(d2.argmax())
        same.append(best == pick)
        d2 = np.minimum(d2, ((x - x[best]) ** 2).sum(axis=1))
    return {"equal": (float(np.mean(same)), "of the picks")}


def outer_product_kmeans(judge: Judge, found: dict[str, Any]) -> Figures:
    """Share of the picks that k-means++ makes on the n x (C d) matrix, of the same numbers."""
    if found["who"] != "handful":  # another stream of random numbers
        return {}
    a, rng = judge.load("proba").astype(np.float64), rng_for(SEED, 0, "query")
    a[np.arange(len(a)), a.argmax(axis=1)] -= 1
    free = np.flatnonzero(judge.known < 0)
    g = (a[free, :, None] * judge.x[free, None, :]).reshape(len(free), -1)
    d2, row = np.full(len(g), np.inf), int(np.einsum("ng,ng->n", g, g).argmax())
    same = []
    for i, pick in enumerate(found["picks"]):
        if i:
            row = int(np.searchsorted(np.cumsum(d2) / d2.sum(), rng.random(), side="right"))
        same.append(int(free[row]) == pick)
        gap = g - g[row]
        d2 = np.minimum(d2, np.einsum("ng,ng->n", gap, gap))
    return {"equal": (float(np.mean(same)), "of the picks")}


def full_cover(judge: Judge, found: dict[str, Any]) -> Figures:
    """What greedy covers on the whole n x n matrix of pairs within delta."""
    if found["who"] != "handful":
        return {}
    x = judge.x
    within = geometry.squared_distances(x, x) < np.float32(judge.delta**2)
    free = judge.known < 0
    open_rows = ~within[judge.known >= 0].any(axis=0)
    for _ in range(PICKS):
        row = int(np.where(free, within[:, open_rows].sum(axis=1), -1).argmax())
        free[row] = False
        open_rows &= ~within[row]
    return {"coverage_reference": (float(1 - open_rows.mean()), "")}


def best_scores(score: Callable[[Array], Array]) -> Callable[[Judge, dict[str, Any]], Figures]:
    """Share of the picks that are among the highest scores, sorted in full."""

    def check(judge: Judge, found: dict[str, Any]) -> Figures:
        free = np.flatnonzero(judge.known < 0)
        scores = score(judge.load("proba").astype(np.float64)[free])
        best = free[np.argsort(-scores, kind="stable")[:PICKS]]
        return {"equal": (len(set(best.tolist()) & set(found["picks"])) / PICKS, "of the picks")}

    return check


def _entropy(p: Array) -> Array:
    safe: Array = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
    return safe


def _close(p: Array) -> Array:
    best = np.sort(p, axis=1)
    closeness: Array = best[:, -2] - best[:, -1]
    return closeness


REFERENCES: dict[str, tuple[int, Callable[[Judge, dict[str, Any]], Figures]]] = {
    "core-set": (20_000, greedy_k_center),
    "badge": (5_000, outer_product_kmeans),
    "probcover": (5_000, full_cover),
    "entropy": (100_000, best_scores(_entropy)),
    "least-confidence": (100_000, best_scores(lambda p: -p.max(axis=1))),
    "margin": (100_000, best_scores(_close)),
}


# --- what is measured ------------------------------------------------------------------------


def rules(only: list[str] | None, parts: frozenset[str]) -> list[str]:
    """Names of the rules that these parts are enough for; no pairs, no network of their own."""
    assert handful.queries  # fills the registry
    able = [QUERIES.get(name) for name in QUERIES.names() if not only or name in only]
    return [
        rule.name for rule in able
        if rule.needs <= parts and rule.name not in IMAGES and not asks_pairs(rule)
        and rule.__module__.startswith("handful.queries.")
    ]  # fmt: skip


def measure(n: int, names: list[str], threads: int, given: argparse.Namespace) -> None:
    """Run, print and record every case of one size."""
    parts = frozenset({"embedding", "proba"}).union(*(QUERIES.get(name).needs for name in names))
    variant = f"n={n} d={COLUMNS}, {threads} thread{'s' if threads > 1 else ''}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        judge = Judge(folder, make_arrays(folder, n, parts))
        for name in names:
            ours: Figures = {}
            for who, python in cases(name, given.peers if n < LARGE else None):
                found = run(python, folder, f"{name}: {who}", given.repeats, threads)
                figures = figures_of(judge, name, found)
                keep(f"{name}: {found.get('who', who)}", variant, figures)
                if who == "handful":
                    ours = figures
                elif "seconds" in ours and "seconds" in figures:
                    against = f"{name}: handful against {found['who']}"
                    keep(against, variant, compared(ours, figures))


def cases(name: str, peers: str | None) -> Iterator[tuple[str, str]]:
    """Who has the rule, and the interpreter that runs it."""
    yield "handful", sys.executable
    for peer in PEERS.get(name, ()) if peers is not None else ():
        yield peer.package, peers or sys.executable


def figures_of(judge: Judge, name: str, found: dict[str, Any]) -> Figures:
    if "missing" in found:
        return {"installed": (0.0, "")}
    if "stopped" in found:
        return {"stopped_at": found["stopped"]}
    if "failed" in found:
        print(found["failed"], file=sys.stderr)
        return {"failed": (1.0, "")}
    return judge.figures(name, found)


def compared(ours: Figures, theirs: Figures) -> Figures:
    """How many times sooner ours is, and its share of their memory where that is counted."""
    figures: Figures = {
        metric: (theirs[part][0] / ours[part][0], "times")
        for metric, part in (("sooner", "seconds"), ("less_cpu", "cpu_seconds"))
    }
    if theirs["extra_mb"][0] > 200:
        figures["memory_share"] = (ours["extra_mb"][0] / theirs["extra_mb"][0], "of theirs")
    return figures


def keep(recipe: str, variant: str, figures: Figures) -> None:
    said = "  ".join(f"{metric} {value:.4g} {unit}" for metric, (value, unit) in figures.items())
    print(f"{recipe:44} {variant:28} {said}", flush=True)
    for metric, (value, unit) in figures.items():
        record("selection", "made-up", recipe, variant, SEED, LABELS, metric, value, unit)


def peers_in(folder: Path) -> str:
    """The interpreter of a new environment that holds every peer that can be installed."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    for package in sorted({peer.package for peers in PEERS.values() for peer in peers}):
        subprocess.run([python, "-m", "pip", "install", "-q", package], check=False)
    return python


def measure_losses(n: int) -> None:
    """What TypiClust gives away above its stated sizes: inertia, and typicality of the pick."""
    variant = f"n={n} d={COLUMNS}, 1 thread"
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        make_arrays(Path(folder), n, frozenset({"embedding"}))
        x = np.load(Path(folder) / "embedding.npy")
        groups = _typiclust._clustered(x, LABELS + PICKS, rng_for(SEED, 0, "query"))
        centres = geometry.class_means(x, groups, LABELS + PICKS)[0]
        rest = geometry.lloyd(x, centres, max_iter=300).inertia
        ours = sum(float(((x[groups == c] - centres[c]) ** 2).sum()) for c in range(LABELS + PICKS))
        figures: Figures = {"inertia_ratio": (ours / rest, "")}
        keep("typiclust: ten steps against k-means at rest", variant, figures)
        sample = np.sort(rng_for(SEED, 0, "sample").choice(n, _typiclust.SAMPLE, replace=False))
        found = int(handful.queries.typicality(x, 20, sample=sample).argmax())
        exact = handful.queries.typicality(x, 20)
        better = float((exact > exact[found]).mean())
        figures = {"typicality_ratio": (float(exact[found] / exact.max()), ""),
                   "more_typical": (better, "of the rows")}  # fmt: skip
        keep("typiclust: 20,000 neighbours against all", variant, figures)


def main() -> None:
    """Measure what has no rows yet, print, record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--million", action="store_true", help="ours alone at 1,000,000 rows")
    parser.add_argument("--losses", action="store_true", help="of approximations, at 100,000")
    parser.add_argument("--peers", default="", metavar="PYTHON", help="the peers' interpreter")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="install the peers there")
    parser.add_argument("--only", nargs="*", help="names of rules")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--again", action="store_true", help="measure cases that have rows, too")
    given = parser.parse_args()
    if given.install:
        given.peers = peers_in(given.install)
    if given.losses:
        return measure_losses(SIZES[-1])
    sizes = [LARGE] if given.million else given.sizes
    for n in sizes:
        threads = cores() if n >= LARGE else 1
        have = {row["recipe"] for row in read("selection") if row["variant"].startswith(f"n={n} ")}
        names = [
            name for name in rules(given.only, SMALL if n >= LARGE else GIVEN)
            if given.again or f"{name}: handful" not in have
        ]  # fmt: skip
        if names:
            measure(n, names, threads, given)


if __name__ == "__main__":
    main()
