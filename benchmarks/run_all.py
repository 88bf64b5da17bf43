"""All long rows of the results, one resumable driver: two processes of one thread each.

``python benchmarks/run_all.py [GROUP ...] [--list] [--runs DIR] [--only TEXT]``

Groups run in the order of ``GROUPS``.  A cell that has its rows in the results is not run
again; a cell that was cut off is resumed from its run folder.  The real sets are looked up
in HANDFUL_DATA.

The printed form of Eq. 7 that stands for ``ccl`` beside its default is the one with the
best mean accuracy on digits (group ``forms_digits``), named before any other set is run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dsac_cells
import fixmatch_cells
import pairwise_cells
import recipe_cells
from cells import cell
from handful.bench.grid import Cell, grid
from handful.recipes import QueryPart
from handful.store import RunRecord
from record import ROOT, read, record

METRICS = (
    "accuracy_test", "accuracy_unlabelled", "acc_all", "nmi_all", "ari_all", "acc_unlabelled",
    "nmi_unlabelled", "ari_unlabelled", "ari_kmeans", "ari_clusters", "purity_all", "macro_f1_test",
    "balanced_accuracy_test", "pseudo_count", "pseudo_error", "implied_same", "implied_different",
    "name_questions", "accuracy_named", "images_per_second",
)  # fmt: skip
SMALL = (75, 150, 225, 300, 375, 450, 525, 600, 675, 750)  # USPS: 1 % of the training part
LARGE = (250, 500, 750, 1000, 1250, 1500)  # MNIST and Fashion-MNIST, as the paper
PUBLISHED = "published 80/20 75+75"
FAST = "fast 80/20 250+250"
DIGITS = (50, 75, 100, 125, 150)
PRINTED = [
    (form, similarity)
    for form in ("centroids", "inclusive", "literal")
    for similarity in ("neg_sq", "cosine", "dot")
]


def forms_digits() -> Iterator[Cell]:
    plan = {"counts": DIGITS, "schedule": "published"}
    for seed in range(2):
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
        yield cell("usps", "usps", "ccl-student", PUBLISHED, seed, **plan)
        yield cell(
            "usps", "usps", "ccl", PUBLISHED, seed, **plan,
            label=f"ccl {form} {similarity}", learner=_form(form, similarity),
        )  # fmt: skip


def usps_more() -> Iterator[Cell]:
    for seed in range(5):
        yield cell("usps", "usps", "probe", "80/20 75+75", seed, counts=SMALL)
        fast = {"counts": SMALL, "schedule": "fast"}
        yield cell("usps", "usps", "ccl-student", "fast 80/20 75+75", seed, **fast)
    for seed in range(5):
        grid250 = {"counts": (250, 500, 750), "schedule": "published"}
        yield cell("usps", "usps", "ccl-student", "published 80/20 250+250", seed, **grid250)


def forms() -> Iterator[Cell]:
    plan = {"counts": SMALL, "schedule": "published"}
    for form, similarity in PRINTED:
        if (form, similarity) != best_printed():  # that one comes from the group usps
            yield cell(
                "forms", "usps", "ccl", PUBLISHED, 0, **plan,
                label=f"ccl {form} {similarity}", learner=_form(form, similarity),
            )  # fmt: skip
    yield cell(
        "forms", "usps", "ccl-student", PUBLISHED, 0, **plan,
        label="ccl-student no augmentation", learner={"augment": "none"},
    )  # fmt: skip
    yield cell("forms", "usps", "entropy", PUBLISHED, 0, **plan, label="cnn entropy")
    yield cell("forms", "usps", "random", PUBLISHED, 0, **plan, label="cnn random")
    yield cell("forms", "usps", "encoder-head", PUBLISHED, 0, **plan)


def clustering() -> Iterator[Cell]:
    for seed in range(5):
        plan = {"counts": SMALL if seed == 0 else SMALL[:3], "schedule": "published"}
        yield cell("clustering", "usps", "ccl-clustering-only", PUBLISHED, seed, **plan)


def clustering_mnist() -> Iterator[Cell]:
    yield from _large("clustering", "mnist", "ccl-clustering-only")


def queries() -> Iterator[Cell]:
    plan = {"counts": SMALL, "schedule": "published"}
    for seed in range(5):
        yield cell(
            "queries", "usps", "ccl-student", PUBLISHED, seed, **plan,
            random=True, label="ccl-student+random",
        )  # fmt: skip


def _large(bench: str, data: str, name: str, **changes: object) -> Iterator[Cell]:
    for seed in range(3):
        yield cell(bench, data, name, FAST, seed, counts=LARGE, schedule="fast", **changes)


def mnist() -> Iterator[Cell]:
    yield from _large("mnist", "mnist", "probe")
    yield from _large("mnist", "mnist", "ccl-student")


def fashion() -> Iterator[Cell]:
    yield from _large("fashion", "fashion_mnist", "probe")
    yield from _large("fashion", "fashion_mnist", "ccl-student")
    made_for = {"label": "ccl-student object", "learner": {"augment": "object"}}
    yield from _large("fashion", "fashion_mnist", "ccl-student", **made_for)


def fashion_why() -> Iterator[Cell]:
    """What holds CCL back on Fashion-MNIST: one change at a time, up to 500 labels."""
    changes: dict[str, dict[str, object]] = {
        "latent width 64": {"embedding_dim": 64},
        "no augmentation": {"augment": "none"},
        "photo augmentation": {"augment": "photo"},
        "labelled term x 5": {"w_ccl": 5.0},
        "no clustering term": {"w_clu": 0.0},
        "20 clusters": {"n_clusters": 20},
        "object augmentation": {"augment": "object"},
        "10 epochs a round": {"epochs": 10},
    }
    for name, learner in changes.items():
        yield cell(
            "fashion_why", "fashion_mnist", "ccl-student", "fast 80/20", 0, schedule="fast",
            counts=LARGE[:2], label=f"ccl-student {name}", learner=learner,
        )  # fmt: skip
    for rule in ("random", "margin"):
        yield cell(
            "fashion_why", "fashion_mnist", "ccl-student", "fast 80/20", 0, schedule="fast",
            counts=LARGE[:2], label=f"ccl-student {rule} queries", query=QueryPart(rule),
        )  # fmt: skip


def refresh() -> Iterator[Cell]:
    label = "ccl-student running q"
    yield from _large(
        "refresh", "mnist", "ccl-student", label=label, learner={"refresh": "running"}
    )


def mnist_ccl() -> Iterator[Cell]:
    form, similarity = best_printed()
    label, learner = f"ccl {form} {similarity}", _form(form, similarity)
    yield from _large("mnist", "mnist", "ccl", label=label, learner=learner)


def fashion_ccl() -> Iterator[Cell]:
    form, similarity = best_printed()
    label, learner = f"ccl {form} {similarity}", _form(form, similarity)
    yield from _large("fashion", "fashion_mnist", "ccl", label=label, learner=learner)


def large_random() -> Iterator[Cell]:
    for bench, data in (("mnist", "mnist"), ("fashion", "fashion_mnist")):
        yield from _large(bench, data, "ccl-student", random=True, label="ccl-student+random")


def mnist_published() -> Iterator[Cell]:
    variant, plan = "published 80/20 250+250", {"counts": LARGE, "schedule": "published"}
    yield cell("mnist", "mnist", "ccl-student", variant, 0, **plan)


GROUPS: dict[str, Callable[[], Iterator[Cell]]] = {
    g.__name__: g
    for g in (
        forms_digits, usps, mnist, fashion, queries, clustering, usps_more, refresh, forms,
        fashion_why, mnist_ccl, clustering_mnist, fashion_ccl, large_random, mnist_published,
    )
}  # fmt: skip
for part in (dsac_cells, fixmatch_cells, pairwise_cells, recipe_cells):
    GROUPS |= part.GROUPS
# one run may answer several questions: (bench, data, recipe, variant) -> (bench, recipe, seeds)
ALSO: dict[tuple[str, str, str, str], list[tuple[str, str, range]]] = {
    ("usps", "usps", "ccl-student", PUBLISHED): [
        ("queries", "ccl-student+entropy", range(5)),
        ("clustering", "ccl-student", range(5)),
        ("forms", "ccl-student", range(1)),
    ],
    ("usps", "usps", "ccl", PUBLISHED): [
        ("clustering", "ccl", range(5)), ("forms", "ccl", range(1)),
    ],
    ("usps", "usps", "probe", "80/20 75+75"): [("forms", "probe", range(1))],
    ("clustering", "usps", "ccl-clustering-only", PUBLISHED): [
        ("forms", "ccl-clustering-only", range(1)),
    ],
    ("mnist", "mnist", "ccl-student", FAST): [
        ("clustering", "ccl-student", range(3)), ("refresh", "ccl-student", range(3)),
    ],
    ("mnist", "mnist", "ccl", FAST): [("clustering", "ccl", range(3))],
}  # fmt: skip


def rows_to(cell: Cell) -> Iterator[tuple[str, str]]:
    """The (bench, recipe) pairs that this run's figures go to."""
    name = cell.recipe.name
    yield cell.bench, name
    kind = "ccl" if name.startswith("ccl ") else name  # a printed form by its full name
    for bench, recipe_name, seeds in ALSO.get((cell.bench, cell.data, kind, cell.variant), []):
        if cell.recipe.seed in seeds:
            yield bench, name if kind == "ccl" else recipe_name


def keep(cell: Cell, run: RunRecord) -> None:
    """Append every figure of every round, and print the curve."""
    seconds = float(run.run["seconds"])
    for bench, name in rows_to(cell):
        key = (bench, cell.data, name, cell.variant, cell.recipe.seed)
        for row in run.rounds:
            for metric in METRICS:
                if row.get(metric) not in (None, ""):
                    unit = "images/s" if metric == "images_per_second" else ""
                    record(*key, int(row["labels"]), metric, float(row[metric]), unit, seconds)
        record(*key, int(run.rounds[-1]["labels"]), "seconds", seconds, "s", seconds)
    main = "accuracy_test" if run.rounds[-1].get("accuracy_test") else "ari_all"
    curve = "  ".join(f"{int(r['labels'])}: {float(r[main]):.4f}" for r in run.rounds if r[main])
    say(f"{cell.name}  {main}  {curve}")


def measured(cell: Cell) -> bool:
    """True when the results hold this cell: a new machine need not run it again."""
    key = (cell.data, cell.recipe.name, cell.variant, str(cell.recipe.seed), "seconds")
    names = ("data", "recipe", "variant", "seed", "metric")
    return any(tuple(row[n] for n in names) == key for row in read(cell.bench))


def say(message: str) -> None:
    print(message, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of the runs")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells with this in their name")
    parser.add_argument("--processes", type=int, default=2, help="cells at a time")
    given = parser.parse_args()
    if unknown := set(given.groups) - set(GROUPS):
        parser.error(f"no group is called {min(unknown)}: {', '.join(GROUPS)}")
    names = given.groups or list(GROUPS)
    failed = []
    # the form that others run is named by forms_digits: it goes first, the rest as one grid
    for part in (["forms_digits"], [n for n in names if n != "forms_digits"]):
        cells = [c for n in part if n in names for c in GROUPS[n]() if given.only in c.name]
        if given.list:
            say("\n".join(c.name for c in cells))
        else:
            waiting = [c for c in cells if not measured(c)]
            failed += grid(
                waiting, runs=given.runs, record=keep, say=say, processes=given.processes
            )
    for lost in failed:
        say(f"not done: {lost.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
