"""Graph coverage: worked numbers, the greedy choice, and what is looked at of a large pool."""

from __future__ import annotations

import csv
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from handful import geometry, graph
from handful.bench.run import run
from handful.errors import RecipeError
from handful.queries import GraphCoverage, graph_coverage
from handful.recipes import recipe
from handful.rng import rng_for
from handful.types import Array, Snapshot

LINE = np.array([0, 1, 2.5])[:, None]


def clouds(n: int, seed: int = 0, d: int = 6) -> Array:
    rng = rng_for(seed, None, "test")
    return (rng.normal(size=(n, d)) + 4 * rng.normal(size=(4, d))[np.arange(n) % 4]).astype("f4")


def reach(W: csr_array, alpha: float) -> Array:
    return graph.reach(W, np.arange(W.shape[0]), alpha=alpha)


def graph_of(x: Array, k: int) -> csr_array:
    near = geometry.neighbours(x.astype(np.float32), k)
    return graph.knn_graph(near.ids, near.d2).W


def test_worked_reach_of_three() -> None:
    """One neighbour each: 0 - 1 - 2, weights e^-1 and e^-1.5; I - .8 S has the determinant .36."""
    R = reach(graph_of(LINE, 1), 0.8)
    s01, s12 = sqrt(1 / (1 + exp(-0.5))), sqrt(exp(-0.5) / (1 + exp(-0.5)))
    expected = [
        [(1 - 0.64 * s12**2), 0.8 * s01, 0.64 * s01 * s12],
        [0.8 * s01, 1, 0.8 * s12],
        [0.64 * s01 * s12, 0.8 * s12, (1 - 0.64 * s01**2)],
    ]
    np.testing.assert_allclose(R, np.array(expected) * 0.2 / 0.36, atol=1e-4)
    rule = GraphCoverage(neighbours=1, normalise=False, ties="index")
    picks = rule.select(Snapshot.from_arrays(embedding=LINE), 2, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == [1, 0]
    middle = (1 + 0.8 * (s01 + s12)) * 0.2 / 0.36
    end = (1 - 0.64 * s12**2 - 0.8 * s01) * 0.2 / 0.36
    assert picks.memo["coverage"] == pytest.approx([0, middle / 3, (middle + end) / 3], abs=1e-4)


def test_two_pairs_of_duplicates_get_one_question_each_first() -> None:
    x = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [-1, 0], [-1, 0]])
    rule = GraphCoverage(neighbours=1, ties="index")
    picks = rule.select(Snapshot.from_arrays(embedding=x), 5, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == [0, 2, 4, 1, 3]
    # a pair shares 1 / 1.8 and .8 / 1.8; the second of a pair adds the difference
    expected = np.array([0, 1, 2, 3, 3 + 1 / 9, 3 + 2 / 9]) / 6
    assert picks.memo["coverage"] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_the_lazy_choice_is_the_greedy_one(seed: int) -> None:
    x, rng = clouds(60, seed), rng_for(seed, None, "labels")
    known = np.full(60, -1)
    known[rng.choice(60, 5, replace=False)] = 0
    R = reach(graph_of(geometry.unit_rows(x), 4), 0.9).astype(float)
    reached, chosen = R[known >= 0].max(axis=0), []
    for _ in range(8):
        gains = np.maximum(R - reached, 0).sum(axis=1)
        gains[(known >= 0) | np.isin(np.arange(60), chosen)] = -1
        chosen.append(int(gains.argmax()))
        reached = np.maximum(reached, R[chosen[-1]])
    found = graph_coverage(x, known, 8, alpha=0.9, neighbours=4, ties="index")
    assert found.tolist() == chosen


def test_what_is_maximised_is_what_spreading_gives_from_the_answers() -> None:
    """The share of a class that one answer gives an image is R_ij: the rule's kernel."""
    W = graph_of(geometry.unit_rows(clouds(50)), 5)
    known = np.full(50, -1)
    known[[7, 31]] = [0, 1]
    R = reach(W, 0.8)
    np.testing.assert_allclose(graph.spread(W, known, 2, alpha=0.8).X, R[:, [7, 31]], atol=1e-4)
    np.testing.assert_allclose(R, R.T, atol=2e-4)


def test_every_cloud_is_asked_about_before_any_is_asked_twice() -> None:
    for seed in range(5):
        picks = graph_coverage(clouds(200, seed), None, 4, rng=seed)
        assert sorted(picks % 4) == [0, 1, 2, 3]


def test_nothing_hangs_on_the_seed_in_a_pool_of_all_sizes() -> None:
    x = clouds(700)
    for reference in (None, 300):
        rule = GraphCoverage(reference=reference)
        picks = [
            rule.select(Snapshot.from_arrays(embedding=x), 12, rng_for(seed, 0, "query")).rows
            for seed in range(3)
        ]
        assert picks[0].tolist() == picks[1].tolist() == picks[2].tolist()
    known = np.full(700, -1)
    known[:400] = 0  # more labels than are looked at: the choice still is among the open ones
    found = graph_coverage(x, known, 12, reference=300)
    assert len(set(found)) == 12
    assert (found >= 400).all()


def test_more_than_is_looked_at_is_asked_for_in_parts() -> None:
    x, known = clouds(400), np.full(400, -1)
    known[::10] = 0
    rule = GraphCoverage(reference=60)
    picks = rule.select(Snapshot.from_arrays(embedding=x, known=known), 170, rng_for(0, 0, "query"))
    assert len(set(picks.rows.tolist())) == 170
    assert (known[picks.rows] < 0).all()
    assert len(picks.memo["coverage"]) == 171
    few = rule.select(Snapshot.from_arrays(embedding=x, known=known), 30, rng_for(0, 0, "query"))
    assert picks.rows[:30].tolist() == few.rows.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 1.0}, "query.alpha is 1.0: a share from 0 to below 1"),
        ({"neighbours": 0}, "query.neighbours is 0: at least one is needed"),
        ({"reference": 0}, "query.reference is 0: at least one is needed"),
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        GraphCoverage(**wrong)


def test_dsac_steady_asks_the_same_images_whatever_the_seed(tmp_path: Path) -> None:
    """Over rounds, though the network between them starts and shuffles by the seed."""
    quick = {"epochs": 1, "least_steps": 20, "n_init": 2}
    asked = []
    for seed in range(2):
        made = recipe(
            "dsac-steady", seed=seed, split="none", schedule="fast", counts=(10, 20, 30),
            learner=quick,
        )  # fmt: skip
        run("digits", made, out=tmp_path / str(seed), report=False)
        with (tmp_path / str(seed) / "labels.csv").open() as file:
            answers = [a for a in csv.DictReader(file) if a["source"] == "oracle"]
        asked.append({(a["round"], a["path"]) for a in answers})
    assert asked[0] == asked[1]
    assert len(asked[0]) == 30
