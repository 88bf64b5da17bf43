"""Does VAAL find what has no label?  Two digits withheld, and how the game ended.

``python benchmarks/enrichment.py [--again]``

300 labelled images of scikit-learn's digits 0-7; the other 1,497 are open, among them all 8 and
9 (a share of .236).  The rule puts all of them in order: the area under its curve for "8 or 9",
and how many of the first 50 and 100 are.  Beside them what must be logged: KL in nats an image,
active numbers of the code, squared error a pixel, the discriminator's loss.  `sraal` gets the
probabilities of logistic regression on the pixels.  A case that has its rows is skipped.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from handful.queries_learned import SRAAL, VAAL
from handful.types import Array, Query, Snapshot
from record import read, record

LABELS, WITHHELD, SEEDS = 300, 8, range(3)
MLP: dict[str, Any] = {"network": "mlp", "latent": 16, "hidden": 128}
CASES: dict[str, Query] = {
    "as in the recipe": VAAL(),
    "mlp, beta .01": VAAL(**MLP),
    "mlp, beta .1": VAAL(**MLP, beta=0.1),
    "mlp, beta 1": VAAL(**MLP, beta=1.0),
    "mlp, beta 1, released": VAAL(**MLP, beta=1.0, reduction="released"),
    "mlp": SRAAL(network="mlp", latent=32, hidden=128),
}


def withheld(seed: int) -> tuple[Snapshot, Array]:
    """The snapshot, and the digit of every row."""
    digits = load_digits()
    images = (digits.images / 16 * 255).round().astype(np.uint8)[:, None]
    draw = np.random.default_rng(seed)
    some = draw.choice(np.flatnonzero(digits.target < WITHHELD), LABELS, replace=False)
    known = np.full(len(images), -1)
    known[some] = digits.target[some]
    x = digits.data / 16
    model = LogisticRegression(max_iter=1000).fit(x[some], known[some])
    proba = model.predict_proba(x)
    return Snapshot.from_arrays(known=known, images=images, proba=proba), digits.target


def measure(rule: Query, seed: int) -> tuple[dict[str, float], float]:
    """Figures of one order, and the seconds it took."""
    snapshot, digit = withheld(seed)
    began = time.perf_counter()
    # all but one: a rule that is asked for every open image has nothing to choose
    picks = rule.select(snapshot, int(snapshot.open.sum()) - 1, np.random.default_rng(seed))
    seconds = time.perf_counter() - began
    found = digit[picks.rows] >= WITHHELD
    figures = {
        "auc": float(roc_auc_score(found, -np.arange(len(found)))),
        "precision_50": float(found[:50].mean()),
        "precision_100": float(found[:100].mean()),
    }
    return figures | picks.memo[rule.name], seconds


def main() -> None:
    """Measure every case that has no rows yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure what has its rows, too")
    again = parser.parse_args().again
    held = {(r["recipe"], r["variant"], r["seed"]) for r in read("enrichment")}
    for variant, rule in CASES.items():
        for seed in SEEDS:
            if (rule.name, variant, str(seed)) in held and not again:
                continue
            figures, seconds = measure(rule, seed)
            said = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            print(f"{rule.name:6}{variant:24}seed {seed}  {said}  {seconds:.0f} s", flush=True)
            for name, value in figures.items():
                unit = "nats" if name == "kl" else ""
                record(
                    "enrichment", "digits", rule.name, variant, seed, LABELS, name, value, unit,
                    seconds,
                )  # fmt: skip


if __name__ == "__main__":
    main()
