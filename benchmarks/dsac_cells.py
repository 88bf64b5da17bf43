"""The rows of DSAC: its presets, its ablation and its rivals, on frozen features.

The whole set is the pool and every image is scored, as in the paper: 5 rounds of 20 labels.
What the paper sets by data set (gamma, the growth of the pseudo-labels) stands in ``SETS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cells import cell
from handful.bench.grid import Cell
from handful.recipes import QueryPart

COUNTS = (20, 40, 60, 80, 100)
ENCODER: dict[str, object] = {"features": "backbone", "backbone": "lite0"}
SETS: dict[str, dict[str, object]] = {  # literal rows: the paper's own choice for each set
    "stl10": {"gamma": 0.001, "k2_mode": "absolute"},
    "cifar10": {"gamma": 1.0, "k2_mode": "absolute"},
    "cifar100_20": {"gamma": 0.01, "k2_mode": "fraction"},
}
MAIN = ("dsac", "dsac-raw", "dsac-steady", "propagation", "graph-coverage", "kmeans")
TYPICAL: dict[str, int] = {"dsac-steady typical": 10, "dsac-steady greedy starts": 0}  # starts
ABLATION = (
    "dsac-no-pseudo", "dsac-only-difficult", "dsac-only-representative", "dsac-r", "dsac-r-pl",
    "cluster-label", "dsac-linear",
)  # fmt: skip


def run(bench: str, data: str, name: str, seed: int, side: int, encoder: str = "lite0") -> Cell:
    """One recipe on the frozen features of one set, or `dsac-steady` with typical questions."""
    learner: dict[str, object] = {**ENCODER, "backbone": encoder, "image_size": side}
    if name.startswith("dsac") and not name.startswith("dsac-steady"):
        learner |= SETS[data]
    plan: dict[str, object] = {"counts": COUNTS}
    if name == "kmeans":
        plan = {}
    elif name == "cluster-label":
        plan = {"counts": (10,)}  # one answer a cluster
    if (starts := TYPICAL.get(name)) is not None:
        learner |= {"describe": "both"} | ({} if starts else {"n_init": 0})
        plan |= {"label": name, "query": QueryPart("typiclust", {"starts": starts})}
        name = "dsac-steady"
    variant = f"frozen {encoder}@{side}, fast"
    return cell(
        bench, data, name, variant, seed, split="none", schedule="fast", learner=learner, **plan
    )


def dsac_stl10() -> Iterator[Cell]:
    for seed in range(5):
        for name in (*MAIN, *TYPICAL):
            yield run("dsac_stl10", "stl10", name, seed, 160)


def dsac_stl10_lite1() -> Iterator[Cell]:
    """The next larger of the packaged encoders, which is an extra."""
    for seed in range(5):
        for name in (
            "dsac-steady", "dsac-steady typical", "propagation", "graph-coverage", "kmeans"
        ):  # fmt: skip
            yield run("dsac_stl10", "stl10", name, seed, 160, "lite1")


def dsac_ablation() -> Iterator[Cell]:
    for seed in range(5):
        for name in ABLATION:
            yield run("dsac_ablation", "stl10", name, seed, 160)


def dsac_cifar100() -> Iterator[Cell]:
    for seed in range(5):
        for name in (*MAIN, *TYPICAL):
            yield run("dsac_cifar100", "cifar100_20", name, seed, 160)


def dsac_cifar10() -> Iterator[Cell]:
    for seed in range(3):
        for name in (*MAIN, "dsac-steady typical"):
            yield run("dsac_cifar10", "cifar10", name, seed, 160)


def adapted(
    bench: str, data: str, seed: int, side: int, encoder: str = "lite0", **changes: object
) -> Cell:
    """``dsac-adapted`` on an encoder, or ``dsac-steady`` on the same frozen."""
    where: dict[str, object] = {"split": "none"}
    if data == "stl10":  # shrunk; its training part alone
        where = {"split": "official", "max_side": 32}
    learner = {**ENCODER, "backbone": encoder, "image_size": side}
    name, label = "dsac-adapted", "dsac-steady frozen"
    if changes.get("train") == "frozen":
        name = "dsac-steady"
    else:
        learner |= changes
        label = " ".join([name, *(f"{k}={v}" for k, v in changes.items())])
    return cell(
        bench, data, name, f"adapted {encoder}@{side}, fast", seed, schedule="fast",
        counts=COUNTS, label=label, learner=learner, **where,
    )  # fmt: skip


def dsac_adapt_choice() -> Iterator[Cell]:
    """Encoder, side and schedule of the adapted run, on STL-10's training part at 32 pixels."""
    for side in (160, 224):
        for encoder in ("lite0", "lite1", "lite2"):
            yield adapted("dsac_adapt_choice", "stl10", 0, side, encoder, train="frozen")
    yield adapted("dsac_adapt_choice", "stl10", 0, 128, "lite1", train="frozen")
    yield adapted("dsac_adapt_choice", "stl10", 0, 128, "lite1")
    yield adapted("dsac_adapt_choice", "stl10", 0, 128, "lite1", graph_of="embedding")


def dsac_cifar10_adapted() -> Iterator[Cell]:
    yield adapted("dsac_cifar10", "cifar10", 0, 160, "lite1", train="frozen")
    yield adapted("dsac_cifar10", "cifar10", 0, 160, "lite1")
    yield adapted("dsac_cifar10", "cifar10", 0, 224, "lite1", train="frozen")


PAPERS_RULE = {"k1_share": 0.06, "reps_first_round": 3}  # but no outlier, and three at first
CHOICE: dict[str, tuple[dict[str, object], dict[str, object]]] = {  # learner, rule
    "as it is": ({}, {}),
    "six candidates": ({}, {"k1_share": 0.0}),
    "15 % candidates": ({}, {"k1_share": 0.15}),
    "lambda_u .01": ({"lambda_u": 0.01}, {}),
    "lambda_u .1": ({"lambda_u": 0.1}, {}),
    "weighted": ({"sup_weight": "mean1"}, {}),
    "answers x 1": ({"human_weight": 1.0}, {}),
    "answers x 10": ({"human_weight": 10.0}, {}),
    "weighted, answers x 1": ({"sup_weight": "mean1", "human_weight": 1.0}, {}),
    "clusters alone, capped": (
        {
            "pseudo_label": "plurality", "k2_mode": "fraction", "pseudo_cap": 0.5,
            "agree_tau": 0.7, "cap_by_share": True, "lambda_u": 0.1, "sup_weight": "mean1",
            "human_weight": 1.0,
        },
        {"k1_share": 0.0},
    ),
}  # fmt: skip


def dsac_choice() -> Iterator[Cell]:
    """What ``dsac-steady`` is made of, decided on digits before any other set is run."""
    for seed in range(5):
        for name, (learner, query) in CHOICE.items():
            yield cell(
                "dsac_choice", "digits", "dsac-steady", "pixels, fast", seed, split="none",
                schedule="fast", counts=COUNTS, label=f"dsac-steady {name}",
                learner={"predict": "row", "describe": "embedding", **learner},
                query=QueryPart("dsac", {**PAPERS_RULE, **query}),
            )  # fmt: skip


def dsac_choice_predict() -> Iterator[Cell]:
    """Which images are asked, and what names an image in the end: decided on digits, too."""
    ways = (
        ("dsac", "row", "", {}), ("dsac", "centre", "", {}), ("dsac", "views", "", {}),
        ("typiclust", "views", "", {}),
        ("typiclust", "views", " of both", {"describe": "both"}),
        ("typiclust", "views", " of both, ten starts", {"describe": "both"}),
        ("typiclust", "views", " of both, greedy starts", {"describe": "both", "n_init": 0}),
    )  # fmt: skip
    for seed in range(5):
        for rule, predict, more, learner in ways:
            starts = 10 if "ten" in more else 0 if "greedy" in more else 1
            options = PAPERS_RULE if rule == "dsac" else {"starts": starts}
            yield cell(
                "dsac_choice_predict", "digits", "dsac-steady", "pixels, fast", seed,
                split="none", schedule="fast", counts=COUNTS,
                label=f"dsac-steady {rule}{more}, {predict}",
                learner={"describe": "embedding", "predict": predict, **learner},
                query=QueryPart(rule, options),
            )  # fmt: skip


def dsac_choice_rule() -> Iterator[Cell]:
    """Typical images or those that answers reach most from, and in which embedding, on digits."""
    rules = {
        "typical": QueryPart("typiclust", {"starts": 10}), "coverage": QueryPart("graph-coverage"),
    }  # fmt: skip
    for seed in range(5):
        for rule, query in rules.items():
            for describe in ("both", "first", "embedding"):
                yield cell(
                    "dsac_choice_rule", "digits", "dsac-steady", "fast", seed, split="none",
                    schedule="fast", counts=(10, 20, 30, 40, 50), query=query,
                    label=f"dsac-steady {rule}, {describe}", learner={"describe": describe},
                )  # fmt: skip


SWEEP: dict[str, tuple[float, ...]] = {  # one symbol at a time; the value of dsac is in dsac_stl10
    "k1": (2, 12, 24, 48),
    "k": (3, 12, 24),
    "k2_start": (25, 100, 200),
    "k2_step": (0, 100, 300),
    "gamma": (0.0, 0.0001, 0.01, 0.1, 1.0),
    "lambda_q": (0.5, 0.75, 0.9, 1.0),
    "m": (16, 32, 128, 200, 400),
}


def dsac_sensitivity() -> Iterator[Cell]:
    """The study that the paper's appendix is said to hold, on the literal ``dsac``."""
    for seed in range(2):
        for symbol, values in SWEEP.items():
            for value in values:
                kind = float if symbol in ("k2_start", "k2_step", "gamma", "lambda_q") else int
                learner: dict[str, object] = {**ENCODER, "image_size": 160, **SETS["stl10"]}
                query: dict[str, object] = {}
                if symbol == "k":  # of the losses and of the rule alike
                    query["neighbours"] = int(value)
                if symbol == "k1":
                    query["k1"] = int(value)
                else:
                    learner[symbol] = kind(value)
                yield cell(
                    "dsac_sensitivity", "stl10", "dsac", "frozen lite0@160, fast", seed,
                    split="none", schedule="fast", counts=COUNTS, label=f"dsac {symbol}={value:g}",
                    learner=learner, query=query,
                )  # fmt: skip


GROUPS: dict[str, Callable[[], Iterator[Cell]]] = {
    g.__name__: g
    for g in (
        dsac_choice, dsac_choice_predict, dsac_choice_rule, dsac_stl10, dsac_stl10_lite1,
        dsac_ablation, dsac_cifar100, dsac_cifar10, dsac_adapt_choice, dsac_cifar10_adapted,
        dsac_sensitivity,
    )
}  # fmt: skip
