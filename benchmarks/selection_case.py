"""One case of `selection.py`, alone in its process: a rule, ours or a peer's, on given arrays.

``PYTHON benchmarks/selection_case.py FOLDER CASE PICKS REPEATS`` prints a line a repeat, and at
last one of JSON: what was picked, seconds of every repeat on the wall and of all cores, and the
most memory that the first one took beyond what was there before.  Nothing of handful is imported
unless the case is ours, and no peer but the one that is asked for: each may live where the other
does not.
"""

from __future__ import annotations

import gc
import json
import sys
import warnings
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np

SEED, WARM = 0, 500  # rows of the warm-up


class Arrays:
    """What a rule may see, one ``NAME.npy`` each; of some rows only, where ``rows`` are given."""

    def __init__(self, folder: Path, rows: np.ndarray | None = None) -> None:
        self._folder, self._rows = folder, rows

    def __getattr__(self, name: str) -> Any:
        array = np.load(self._folder / f"{name}.npy")
        if self._rows is not None and name != "centres":
            array = array.take(self._rows, axis=1 if name in ("draws", "heads") else 0)
        setattr(self, name, array)
        return array


Go = Callable[[], Any]
Make = Callable[[Arrays, int], Go]


def ours(name: str) -> Make:
    def make(arrays: Arrays, k: int) -> Go:
        import handful.queries
        from handful.registry import QUERIES
        from handful.rng import rng_for
        from handful.types import Snapshot

        assert handful.queries  # fills the registry
        rule = QUERIES.get(name)()
        parts = {part: getattr(arrays, part) for part in sorted(rule.needs)}
        known = arrays.known

        def go() -> Any:
            made = Snapshot.from_arrays(known=known, **parts)
            return rule.select(made, k, rng_for(SEED, 0, "query"))

        return go

    return make


def scikit_activeml(rule: str, **options: Any) -> Make:
    def make(arrays: Arrays, k: int) -> Go:
        import skactiveml.pool

        x, y = arrays.embedding, np.where(arrays.known >= 0, arrays.known, np.nan)
        if rule == "ProbCover":
            options["n_classes"] = arrays.proba.shape[1]
        # a new object each time: ProbCover keeps the distances of its first call
        return lambda: getattr(skactiveml.pool, rule)(random_state=SEED, **options).query(
            x, y, batch_size=k
        )

    return make


def scikit_activeml_classifier(rule: str, **options: Any) -> Make:
    def make(arrays: Arrays, k: int) -> Go:
        import skactiveml.pool
        from skactiveml.classifier import SklearnClassifier
        from sklearn.linear_model import LogisticRegression

        x, y = arrays.embedding, np.where(arrays.known >= 0, arrays.known, np.nan)
        model = SklearnClassifier(
            LogisticRegression(max_iter=200), classes=np.arange(arrays.proba.shape[1])
        ).fit(x, y)
        return lambda: getattr(skactiveml.pool, rule)(random_state=SEED, **options).query(
            x, y, model, fit_clf=False, batch_size=k
        )

    return make


def small_text(arrays: Arrays, k: int) -> Go:
    from small_text.query_strategies.coresets import greedy_coreset

    x, known = arrays.embedding, np.flatnonzero(arrays.known >= 0)
    free = np.flatnonzero(arrays.known < 0)
    return lambda: free[
        greedy_coreset(x, free, known, k, distance_metric="euclidean", normalized=True)
    ]


def alipy(arrays: Arrays, k: int) -> Go:
    from alipy.query_strategy import QueryInstanceCoresetGreedy

    x, known = arrays.embedding, np.flatnonzero(arrays.known >= 0).tolist()
    free = np.flatnonzero(arrays.known < 0).tolist()
    labels = np.maximum(arrays.known, 0)
    rule = QueryInstanceCoresetGreedy(x, labels, np.arange(len(x)))
    return lambda: rule.select(known, free, batch_size=k)


def baal(arrays: Arrays, k: int) -> Go:
    from baal.active.heuristics import BALD

    draws = np.ascontiguousarray(arrays.draws.transpose(1, 2, 0))
    free = np.flatnonzero(arrays.known < 0)
    return lambda: free[BALD()(draws[free])[:k]]


class Peer(NamedTuple):
    package: str  # as pip knows it
    module: str
    make: Make


PEERS: dict[str, tuple[Peer, ...]] = {
    "core-set": (
        Peer("scikit-activeml", "skactiveml", scikit_activeml("CoreSet")),
        Peer("alipy", "alipy", alipy),
        Peer("small-text", "small_text", small_text),
    ),
    "typiclust": (Peer("scikit-activeml", "skactiveml", scikit_activeml("TypiClust")),),
    "probcover": (Peer("scikit-activeml", "skactiveml", scikit_activeml("ProbCover")),),
    "badge": (Peer("scikit-activeml", "skactiveml", scikit_activeml_classifier("Badge")),),
    "bald": (Peer("baal", "baal", baal),),
    **{
        rule: (
            Peer(
                "scikit-activeml", "skactiveml",
                scikit_activeml_classifier("UncertaintySampling", method=method),
            ),
        )
        for rule, method in (
            ("entropy", "entropy"), ("least-confidence", "least_confident"),
            ("margin", "margin_sampling"),
        )
    },
}  # fmt: skip


def find(case: str) -> tuple[Make, str]:
    """How a case is made, and who made it; the version is empty when it is not installed."""
    rule, _, who = case.partition(": ")
    if who == "handful":
        return ours(rule), "handful"
    peer = next(p for p in PEERS[rule] if p.package == who)
    if util.find_spec(peer.module) is None:
        return peer.make, ""
    return peer.make, f"{peer.package} {metadata.version(peer.package)}"


def status(field: str) -> float:
    """A line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1]) / 2**10


def start_peak() -> None:
    """Let the peak of the resident set begin at what is there now, where the kernel can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def measure(go: Go, repeats: int) -> dict[str, Any]:
    """Seconds of every repeat, the memory of the first, and its picks."""
    gc.collect()
    start_peak()
    before, peak, first = status("VmRSS"), 0.0, None
    seconds: list[float] = []
    cpu: list[float] = []
    while len(seconds) < repeats:
        print(f"repeat {len(seconds)}", flush=True)  # whoever waits counts from here
        wall, cores = perf_counter(), process_time()
        found = go()
        seconds.append(perf_counter() - wall)
        cpu.append(process_time() - cores)
        if first is None:
            first, peak = found, status("VmHWM")  # ru_maxrss would be inherited
    rows = getattr(first, "rows", first)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "extra_mb": max(0.0, peak - before),
        "picks": [int(i) for i in np.asarray(rows)],
        "memo": dict(getattr(first, "memo", {})),
    }


def main() -> None:
    folder, case, k, repeats = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    warnings.simplefilter("ignore")
    make, who = find(case)
    if not who:
        print(json.dumps({"missing": case.partition(": ")[2]}))
        return
    known = np.load(folder / "known.npy")
    few = np.concatenate([np.flatnonzero(known >= 0), np.flatnonzero(known < 0)[:WARM]])
    make(Arrays(folder, few), 3)()  # what is imported late, is imported here
    print(json.dumps({"who": who, **measure(make(Arrays(folder), k), repeats)}))


if __name__ == "__main__":
    main()
