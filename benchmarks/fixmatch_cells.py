"""The rows of FixMatch and FlexMatch: one fit on few labels, beside its supervised controls.

The labels are drawn at random; every number of the learners is its default of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cells import cell
from handful.bench.grid import Cell

RECIPES = ("fixmatch", "flexmatch", "random", "probe")  # random: a CNN on the labels alone


def run(data: str, split: str, labels: int) -> Iterator[Cell]:
    for seed in range(3):
        for name in RECIPES:
            yield cell(
                "fixmatch", data, name, f"fast {split}", seed, split=split, schedule="fast",
                counts=(labels,),
            )  # fmt: skip


def fixmatch_usps() -> Iterator[Cell]:
    yield from run("usps", "80/20", 250)


def fixmatch_mnist() -> Iterator[Cell]:
    yield from run("mnist", "official", 100)


def fixmatch_choice() -> Iterator[Cell]:
    """The learning rate of the fast schedule, on digits alone."""
    for seed in range(3):
        for lr in (0.03, 0.06, 0.1):
            yield cell(
                "fixmatch_choice", "digits", "fixmatch", "fast 80/20", seed, schedule="fast",
                counts=(100,), label=f"fixmatch lr {lr:g}", learner={"lr": lr},
            )  # fmt: skip


GROUPS: dict[str, Callable[[], Iterator[Cell]]] = {
    g.__name__: g for g in (fixmatch_choice, fixmatch_usps, fixmatch_mnist)
}
