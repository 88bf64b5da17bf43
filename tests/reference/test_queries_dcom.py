"""DCoM: worked numbers, the paper's steps as plain loops, and what its memo carries."""

from __future__ import annotations

import json
from math import exp

import numpy as np
import pytest

import slow_rules
from handful import geometry
from handful.errors import RecipeError
from handful.geometry import ball_agreement
from handful.queries import DCoM, competence, dcom, probcover
from handful.queries._dcom import agreeing_radii, ranks, uncertainty
from handful.registry import QUERIES
from handful.rng import rng_for
from handful.testing import QueryContract
from handful.types import Array, Snapshot

P = np.array(
    [[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.9, 0.06, 0.04], [0.5, 0.3, 0.2], [0.34, 0.33, 0.33]]
)
U = uncertainty(P)
LINE = np.array([0, 0.12, 0.2, 0.33, 0.4, 0.47, 0.58, 0.7, 0.81, 0.95])[:, None]
AGREE = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0])


class TestDCoMOnRawVectors(QueryContract):
    rule = DCoM(normalise="none", delta=1.0, ties="index")


class TestDCoMOnASample(QueryContract):
    rule = DCoM(reference=9)


def pool(n: int, seed: int = 0, classes: int = 4) -> tuple[Array, Array, Array]:
    """Unit vectors in groups, what a model makes of them, and their classes."""
    rng = rng_for(seed, None, "test")
    truth = np.arange(n) % classes
    x = geometry.unit_rows(rng.normal(size=(classes, 6))[truth] + 0.7 * rng.normal(size=(n, 6)))
    logits = 3 * np.eye(classes)[truth] + rng.normal(size=(n, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return x, p, truth


# --- worked numbers


@pytest.mark.parametrize(
    ("k", "wanted"),
    [
        (50, [0.000000, 0.000000, 0.075862, 0.500023, 0.924184, 1.000000]),
        (10, [0.000381, 0.053844, 0.428635, 0.567668, 0.706700, 1.000000]),
    ],
)
def test_competence(k: float, wanted: list[float]) -> None:
    covered = (0, 0.5, 0.75, 0.8, 0.85, 1)
    assert [competence(c, 0.8, k) for c in covered] == pytest.approx(wanted, abs=5e-7)
    slow = [(1 + exp(-k * 0.2)) / (1 + exp(-k * (c - 0.8))) for c in covered]
    assert [competence(c, 0.8, k) for c in covered] == pytest.approx(slow)
    assert competence(0.0, 0.8, 5000.0) == 0.0  # exp would overflow


def test_uncertainty() -> None:
    assert pytest.approx([0.409639, 0.951807, 0, 0.771084, 1], abs=5e-7) == U
    assert uncertainty(np.full((4, 3), 1 / 3)).tolist() == [0, 0, 0, 0]
    assert uncertainty(np.ones((4, 1))).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("cov", "wanted", "pick"),
    [
        (0.6, [0.999973, 0.250032, 0.749966, 0.500012, 0.000045], 0),
        (0.79, [0.777104, 0.514973, 0.466832, 0.602350, 0.377558], 0),
        (0.9, [0.413563, 0.947142, 0.004986, 0.769282, 0.993352], 4),
    ],
)
def test_ranks(cov: float, wanted: list[float], pick: int) -> None:
    found = ranks(U, np.array([4, 1, 3, 2, 0]), competence(cov))
    assert found == pytest.approx(wanted, abs=5e-7)
    assert found.argmax() == pick


def test_bisection() -> None:
    steps = {0.55: 0.666667, 0.825: 0.444444, 0.6875: 0.571429, 0.75625: 0.5, 0.790625: 0.5}
    for radius, share in steps.items():
        found = ball_agreement(LINE, np.array([0]), np.array([radius]), AGREE, np.array([1]))
        assert found == pytest.approx([share], abs=5e-7)
    found = agreeing_radii(LINE, np.array([0]), AGREE, np.array([1]), tau=0.5)
    assert found == pytest.approx([0.807813], abs=5e-7)
    assert 0.4 + 0.2 * 0.5 == 0.5  # tau at coverage .5
    nothing = ball_agreement(LINE, np.array([0]), np.array([0.0]), AGREE, np.array([1]))
    assert nothing.tolist() == [0.0]


# --- the whole, step by step


@pytest.mark.parametrize("seed", range(4))
def test_rounds_equal_the_steps_of_the_paper(seed: int) -> None:
    x, p, truth = pool(70, seed)
    known, start, weights = np.full(70, -1), 0.45, []
    radii: dict[int, float] = {}
    memo: dict[str, object] = {}
    for _ in range(5):
        picks = dcom(x, p, known, 4, memo=memo, delta=0.45, ties="index")
        snapshot = Snapshot.from_arrays(embedding=x, proba=p, known=known)
        rng = rng_for(0, 0, "query")
        assert picks.rows.tolist() == slow_rules.dcom(snapshot, 4, rng, start=start, radii=radii)
        memo = json.loads(json.dumps(dict(picks.memo)))
        assert memo["radii"] == {f"{i:08d}": pytest.approx(r) for i, r in radii.items()}
        start = float(np.mean(list(radii.values()))) if radii else 0.45
        assert memo["radius"] == pytest.approx(start)
        weights.append(memo["competence"])
        known[picks.rows] = truth[picks.rows]
    assert weights[0] == 0
    assert weights == sorted(weights)
    assert weights[-1] > 0


def test_the_first_round_is_probcover() -> None:
    x, p, _ = pool(60)
    for k in (5, 40):  # 40: everything is covered long before
        one = dcom(x, p, None, k, n_clusters=4, ties="index").rows.tolist()
        assert one == probcover(x, None, k, n_clusters=4, ties="index").tolist()


def test_all_covered_asks_for_the_smallest_margin() -> None:
    x, p, truth = pool(60)
    known = np.where(np.arange(60) < 30, truth, -1)
    memo = {"radii": {f"{i:08d}": 2.1 for i in range(30)}, "radius": 2.1}
    picks = dcom(x, p, known, 3, memo=memo, ties="index")
    assert picks.memo["competence"] == 1.0
    top = np.sort(p, axis=1)
    gaps = np.where(known < 0, top[:, -1] - top[:, -2], np.inf)
    assert picks.rows.tolist() == np.argsort(gaps)[:3].tolist()


def test_labels_that_nobody_asked_for_get_a_radius_too() -> None:
    x, p, truth = pool(60)
    known = np.where(np.arange(60) % 7 == 0, truth, -1)
    first = dcom(x, p, known, 3, delta=0.5)
    assert set(first.memo["radii"]) == {f"{i:08d}" for i in range(0, 60, 7)}
    known[5] = truth[5]  # imported, never picked
    later = dcom(x, p, known, 3, memo=first.memo)
    assert set(later.memo["radii"]) - set(first.memo["radii"]) == {"00000005"}
    kept = first.memo["radii"]
    assert {one: later.memo["radii"][one] for one in kept} == kept


def test_raw_vectors_are_measured_by_their_spread() -> None:
    x, p, truth = pool(60)
    known = np.where(np.arange(60) % 5 == 0, truth, -1)
    one = dcom(x, p, known, 6, delta=0.5, normalise="none", ties="index")
    large = dcom(1024 * x, p, known, 6, delta=512.0, normalise="none", ties="index")
    assert one.rows.tolist() == large.rows.tolist()
    assert {i: 1024 * r for i, r in one.memo["radii"].items()} == pytest.approx(large.memo["radii"])


def test_the_last_rows_have_balls_too() -> None:
    x = np.concatenate([np.eye(12)[:10], np.tile(np.eye(12)[11], (5, 1))]).astype(np.float32)
    assert dcom(x, np.full((15, 2), 0.5), None, 1, delta=0.5).rows[0] >= 10


def test_radii_survive_a_batch_that_takes_all() -> None:
    x, p, truth = pool(20)
    known = np.where(np.arange(20) < 10, truth, -1)
    memo = dict(dcom(x, p, known, 3, delta=0.5).memo)
    assert dcom(x, p, known, 10, memo=memo).memo["radii"] == memo["radii"]


def test_one_class_has_no_second_best() -> None:
    x, _, _ = pool(20)
    known = np.where(np.arange(20) < 4, 0, -1)
    picks = DCoM(delta=0.5).select(
        Snapshot.from_arrays(embedding=x, proba=np.ones((20, 1)), known=known),
        5,
        rng_for(0, 0, "q"),
    )
    assert len(set(picks.ids)) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [({"most": 0.0}, "above 0"), ({"reference": 0}, "above 0"), ({"normalise": "x"}, "'l2'")],
)
def test_options_that_make_no_sense(options: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        QUERIES.get("dcom")(**options)
