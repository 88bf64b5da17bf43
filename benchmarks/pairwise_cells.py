"""The rows of *same or different?*: 500 answers on USPS, and as many labels beside them.

One answer costs 1, about a pair or about an image; the variant names the unit.  ``kmeans cae``
is k-means on the pre-trained auto-encoder from which the others set out, seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cells import cell
from handful.bench.grid import Cell
from handful.recipes import QueryPart

COUNTS = (100, 250, 500)
NAMES = ("adc", "sdec", "sdec-strong", "autoembedder")
SEEDS = range(3)


def pairs() -> Iterator[Cell]:
    for seed in SEEDS:
        yield cell(
            "pairs", "usps", "kmeans", "fast 80/20", seed, schedule="fast", label="kmeans cae",
            learner={"features": "cae"},
        )  # fmt: skip
        for name in NAMES:
            yield cell(
                "pairs", "usps", name, "fast 80/20 pairs", seed, schedule="fast", counts=COUNTS
            )
        for name in NAMES:
            yield cell(
                "pairs", "usps", name, "fast 80/20 labels", seed, schedule="fast", counts=COUNTS,
                query=QueryPart("random"),
            )  # fmt: skip


def pairs_choice() -> Iterator[Cell]:
    """AutoEmbedder's alpha on the fast schedule, on digits alone."""
    for seed in SEEDS:
        for alpha in (None, 10.0, 100.0):
            learner = {} if alpha is None else {"alpha": alpha}
            label = "autoembedder" if alpha is None else f"autoembedder alpha {alpha:g}"
            yield cell(
                "pairs_choice", "digits", "autoembedder", "fast pairs", seed, split="none",
                schedule="fast", counts=(500,), label=label, learner=learner,
            )  # fmt: skip


GROUPS: dict[str, Callable[[], Iterator[Cell]]] = {g.__name__: g for g in (pairs_choice, pairs)}
