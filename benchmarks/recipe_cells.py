"""The rows of every active learner beside random questions: USPS from 100 to 300 labels.

Network, schedule, first labels and split are the same for all of a seed; only what is asked,
and for some how it is learnt, differs.  Every number is a default of the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cells import cell
from handful.bench.grid import Cell

COUNTS = (100, 150, 200, 250, 300)
BASE = "random"
ASKED_OF_A_CNN = (
    "entropy", "least-confidence", "margin", "bald", "core-set", "badge", "vaal", "sraal",
    "uncertain-gcn", "core-gcn", "lada-acq",
)  # fmt: skip
WITH_A_TRAINING_OF_THEIR_OWN = ("tod", "mcdal", "lada", "fixmatch", "flexmatch")
ON_FEATURES = ("probe", "typiclust", "probcover", "dcom")
RECIPES = ASKED_OF_A_CNN + WITH_A_TRAINING_OF_THEIR_OWN + ON_FEATURES


def recipes_usps() -> Iterator[Cell]:
    for seed in range(3):
        for name in (BASE, *RECIPES):
            yield cell("recipes", "usps", name, "fast 80/20", seed, schedule="fast", counts=COUNTS)


def recipes_mnist() -> Iterator[Cell]:
    """Entropy on MNIST, where a paper prints an accuracy of .151 at 500 labels."""
    for seed in range(3):
        for name in ("entropy", BASE):
            yield cell(
                "recipes", "mnist", name, "fast 80/20", seed, schedule="fast", counts=(250, 500)
            )


GROUPS: dict[str, Callable[[], Iterator[Cell]]] = {
    g.__name__: g for g in (recipes_usps, recipes_mnist)
}
