"""What is scored of a learner that clusters and labels by itself, beside its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful import metrics
from handful.bench.run import run
from handful.bench.score import Scorer
from handful.recipes import recipe
from handful.testing.learners import TinyPool
from handful.types import Classes, Fit, Snapshot

TRUTH = np.array([0, 0, 0, 1, 1, 1, -1])
CLASSES = ("a", "b")


class Groups:
    """A learner that has made up its mind."""

    def __init__(self, clusters: Any, guessed: Any = None) -> None:
        self._clusters, self._guessed = np.array(clusters), guessed
        if guessed is not None:
            self.pseudo_labels = lambda: np.array(guessed)

    def cluster_labels(self) -> Any:
        return self._clusters


def row_of(learner: Any, known: Any, proba: Any, clusters: Any, **given: Any) -> dict[str, Any]:
    pool = TinyPool([f"{i}" for i in range(7)], images=np.zeros((7, 1, 8, 8), dtype=np.uint8))
    snapshot = Snapshot.from_arrays(
        known=np.array(known),
        ids=pool.ids,
        proba=np.eye(2, dtype=np.float32)[proba],
        clusters=np.eye(3, dtype=np.float32)[clusters],
        embedding=np.arange(7.0)[:, None] // 3,
    )
    scorer = Scorer(pool, TRUTH, None, None, CLASSES, seed=0)
    book = Classes(("b", "a"))
    return scorer.row(
        snapshot, book, learner, asked=1, paid=1, fit=Fit(), seconds_query=0.0, **given
    )


CLUSTERS = [0, 0, 1, 2, 2, 2, 2]
PROBA = [1, 1, 1, 0, 0, 1, 0]  # ids of the book: a is 1
NONE, TWO = [-1] * 7, [1, -1, -1, 0, -1, -1, -1]


def test_classes_are_scored_once_there_is_a_label_and_clusters_beside_them():
    row = row_of(Groups(CLUSTERS), TWO, PROBA, CLUSTERS)
    said = np.array([0, 0, 0, 1, 1, 0])
    assert row["ari_all"] == pytest.approx(metrics.ari(TRUTH[:6], said))
    assert row["acc_all"] == row["purity_all"] == pytest.approx(5 / 6)
    assert row["ari_clusters"] == pytest.approx(metrics.ari(TRUTH[:6], np.array(CLUSTERS[:6])))
    assert row["acc_clusters"] == pytest.approx(5 / 6)
    assert row["nmi_clusters"] != row["nmi_all"]
    rest = np.array([1, 2, 4, 5])
    assert row["ari_unlabelled"] == pytest.approx(metrics.ari(TRUTH[rest], said[rest]))


def test_without_a_label_the_clusters_are_all_there_is():
    row = row_of(Groups(CLUSTERS), NONE, PROBA, CLUSTERS)
    for name in ("acc", "nmi", "ari"):
        assert row[f"{name}_all"] == row[f"{name}_clusters"]
    plain = row_of(object(), TWO, PROBA, CLUSTERS)  # as it is for a learner that says nothing
    assert "acc_clusters" not in plain
    assert "pseudo_count" not in plain
    assert plain["ari_all"] == pytest.approx(metrics.ari(TRUTH[:6], np.array(CLUSTERS[:6])))


def test_pseudo_labels_are_counted_and_checked_against_the_truth():
    # rows 0 and 3 were bought; 1 right, 2 wrong, 4 right, 6 known to nobody
    guessed = [0, 1, 0, 1, 0, -1, 0]
    row = row_of(Groups(CLUSTERS, guessed), TWO, PROBA, CLUSTERS)
    assert row["pseudo_count"] == 4
    assert row["pseudo_error"] == pytest.approx(1 / 3)
    row = row_of(Groups(CLUSTERS, [-1] * 7), TWO, PROBA, CLUSTERS)
    assert row["pseudo_count"] == 0
    assert "pseudo_error" not in row


def test_the_control_without_labels_is_carried_from_before_the_first(tmp_path: Path):
    assert row_of(Groups(CLUSTERS), TWO, PROBA, CLUSTERS, ari_kmeans=0.25)["ari_kmeans"] == 0.25
    plan = {"batch": 10, "budget": 20}
    cold = run("digits", recipe("self-training", **plan), out=tmp_path / "cold", report=False)
    assert [r["labels"] for r in cold.rounds] == [0, 10, 20]
    assert len({r["ari_kmeans"] for r in cold.rounds}) == 1
    assert cold.rounds[0]["pseudo_count"] == 0
    assert cold.rounds[1]["pseudo_count"] == cold.rounds[1]["loss_accepted"] > 0
    assert 0 < cold.rounds[1]["pseudo_error"] < 0.5
