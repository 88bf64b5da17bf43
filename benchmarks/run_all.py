"""All long rows of the results, one resumable driver: two processes of one thread each.

``python benchmarks/run_all.py [GROUP ...] [--list] [--runs DIR]``

Groups run in the order below.  A cell whose run folder is done is recorded once and never
run again; a cell that was cut off is resumed.  Needs HANDFUL_DATA for the real sets.

The printed form of Eq. 7 that stands for ``ccl`` beside its default is the one with the
best mean accuracy on digits (group ``forms_digits``), named before any other set is run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from handful.bench.grid import Cell, grid
from handful.recipes import QueryPart, recipe
from handful.store import RunRecord
from record import ROOT, read, record

METRICS = (
    "accuracy_test", "accuracy_unlabelled", "acc_all", "nmi_all", "ari_all", "macro_f1_test",
    "balanced_accuracy_test", "images_per_second",
)  # fmt: skip
SMALL = (75, 150, 225, 300, 375, 450, 525, 600, 675, 750)  # USPS: 1 % of the training part
LARGE = (250, 500, 1000, 1500)
DIGITS = (50, 75, 100, 125, 150)
PRINTED = [
    (form, similarity)
    for form in ("centroids", "inclusive", "literal")
    for similarity in ("neg_sq", "cosine", "dot")
]


def cell(bench: str, data: str, name: str, variant: str, seed: int, **changes: object) -> Cell:
    """One run: ``label`` renames the recipe in the rows, ``random`` swaps in random queries."""
    label = changes.pop("label", None)
    if changes.pop("random", False):
        changes["query"] = QueryPart("random")
    made = recipe(name, seed=seed, split="80/20", **changes)
    return Cell(bench, data, replace(made, name=str(label)) if label else made, variant)


def forms_digits() -> Iterator[Cell]:
    plan = {"counts": DIGITS, "schedule": "published"}
    for seed in range(3):
        for form, similarity in PRINTED:
            yield cell(
                "forms_digits", "digits", "ccl", "published 80/20", seed, **plan,
                label=f"ccl {form} {similarity}", learner=_form(form, similarity),
            )  # fmt: skip
        yield cell(
            "forms_digits", "digits", "ccl-student", "published 80/20", seed, **plan,
            label="ccl-student no augmentation", learner={"augment": "none"},
        )  # fmt: skip


def _form(form: str, similarity: str) -> dict[str, object]:
    return {"ccl_form": form, "similarity": similarity, "tau": None}


def best_printed() -> tuple[str, str]:
    """The printed form of Eq. 7 with the best mean test accuracy on digits, all counts."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in read("forms_digits"):
        if row["metric"] == "accuracy_test" and row["recipe"].startswith("ccl "):
            found[row["recipe"]].append(float(row["value"]))
    if len(found) < len(PRINTED):
        sys.exit("run the group forms_digits first: it names the printed form")
    best = max(sorted(found), key=lambda name: sum(found[name]) / len(found[name]))
    _, form, similarity = best.split()
    return form, similarity


def usps() -> Iterator[Cell]:
    plan = {"counts": SMALL, "schedule": "published"}
    form, similarity = best_printed()
    for seed in range(5):
        yield cell("usps", "usps", "ccl-student", "published 80/20 75+75", seed, **plan)
        yield cell(
            "usps", "usps", "ccl", "published 80/20 75+75", seed, **plan,
            label=f"ccl {form} {similarity}", learner=_form(form, similarity),
        )  # fmt: skip
    for seed in range(5):
        yield cell("usps", "usps", "probe", "80/20 75+75", seed, counts=SMALL)
        yield cell(
            "usps", "usps", "ccl-student", "fast 80/20 75+75", seed, counts=SMALL, schedule="fast"
        )
    for seed in range(5):
        grid250 = {"counts": (250, 500, 750), "schedule": "published"}
        yield cell("usps", "usps", "ccl-student", "published 80/20 250+250", seed, **grid250)


def forms() -> Iterator[Cell]:
    plan = {"counts": SMALL, "schedule": "published"}
    for form, similarity in PRINTED:
        yield cell(
            "forms", "usps", "ccl", "published 80/20", 0, **plan,
            label=f"ccl {form} {similarity}", learner=_form(form, similarity),
        )  # fmt: skip
    yield cell(
        "forms", "usps", "ccl-student", "published 80/20", 0, **plan,
        label="ccl-student no augmentation", learner={"augment": "none"},
    )  # fmt: skip
    yield cell("forms", "usps", "ccl-clustering-only", "published 80/20", 0, **plan)
    yield cell("forms", "usps", "ccl-student", "published 80/20", 0, **plan)
    yield cell("forms", "usps", "entropy", "published 80/20", 0, **plan, label="cnn entropy")
    yield cell("forms", "usps", "random", "published 80/20", 0, **plan, label="cnn random")
    yield cell("forms", "usps", "probe", "80/20", 0, counts=SMALL)
    yield cell("forms", "usps", "encoder-head", "published 80/20", 0, **plan)


def clustering() -> Iterator[Cell]:
    three = {"counts": (75, 150, 225), "schedule": "published"}
    for seed in range(5):
        for name in ("ccl-clustering-only", "ccl", "ccl-student"):
            yield cell("clustering", "usps", name, "published 80/20 75+75", seed, **three)


def clustering_mnist() -> Iterator[Cell]:
    for seed in range(3):
        plan = {"counts": LARGE, "schedule": "fast"}
        yield cell("clustering", "mnist", "ccl-clustering-only", "fast 80/20", seed, **plan)


def queries() -> Iterator[Cell]:
    plan = {"counts": SMALL, "schedule": "published"}
    for seed in range(5):
        for random in (True, False):
            rule = "random" if random else "entropy"
            yield cell(
                "queries", "usps", "ccl-student", "published 80/20 75+75", seed, **plan,
                random=random, label=f"ccl-student+{rule}",
            )  # fmt: skip


def _large(bench: str, data: str, names: tuple[str, ...]) -> Iterator[Cell]:
    for name in names:
        for seed in range(3):
            plan = {"counts": LARGE, "schedule": "fast"}
            if name == "ccl-student+random":
                yield cell(
                    bench, data, "ccl-student", "fast 80/20", seed, **plan, random=True, label=name
                )
            else:
                yield cell(bench, data, name, "fast 80/20", seed, **plan)


def mnist() -> Iterator[Cell]:
    yield from _large("mnist", "mnist", ("ccl-student", "probe", "ccl", "ccl-student+random"))


def fashion() -> Iterator[Cell]:
    names = ("ccl-student", "probe", "ccl", "ccl-student+random")
    yield from _large("fashion", "fashion_mnist", names)


def mnist_published() -> Iterator[Cell]:
    counts = (250, 500, 750, 1000, 1250, 1500)
    yield cell(
        "mnist", "mnist", "ccl-student", "published 80/20", 0, counts=counts, schedule="published"
    )


GROUPS: dict[str, Callable[[], Iterator[Cell]]] = {
    g.__name__: g
    for g in (
        forms_digits, usps, forms, mnist, fashion, queries, clustering, clustering_mnist,
        mnist_published,
    )
}  # fmt: skip


def keep(cell: Cell, run: RunRecord) -> None:
    """Append every figure of every round, and print the curve."""
    seconds = float(run.run["seconds"])
    for row in run.rounds:
        for metric in METRICS:
            if row.get(metric) not in (None, ""):
                unit = "images/s" if metric == "images_per_second" else ""
                record(
                    cell.bench, cell.data, cell.recipe.name, cell.variant, cell.recipe.seed,
                    int(row["labels"]), metric, float(row[metric]), unit, seconds,
                )  # fmt: skip
    record(
        cell.bench, cell.data, cell.recipe.name, cell.variant, cell.recipe.seed,
        int(run.rounds[-1]["labels"]), "seconds", seconds, "s", seconds,
    )  # fmt: skip
    curve = "  ".join(f"{int(r['labels'])}: {float(r['accuracy_test']):.4f}" for r in run.rounds)
    say(f"{cell.name}  {curve}")


def say(message: str) -> None:
    print(message, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of the runs")
    given = parser.parse_args()
    if unknown := set(given.groups) - set(GROUPS):
        parser.error(f"no group is called {min(unknown)}: {', '.join(GROUPS)}")
    failed = []
    for name in given.groups or GROUPS:
        cells = list(GROUPS[name]())
        if given.list:
            say("\n".join(c.name for c in cells))
            continue
        failed += grid(cells, runs=given.runs, record=keep, say=say)
    for lost in failed:
        say(f"not done: {lost.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
