"""Core-set: worked numbers, a brute-force greedy, and input that leaves little to choose."""

from __future__ import annotations

import logging
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from handful import geometry, queries
from handful.errors import InputError, RecipeError
from handful.geometry import _k_center as inside
from handful.rng import rng_for
from handful.testing import QueryContract
from handful.types import Snapshot

X = np.array([[0, 0], [1, 0], [0, 1], [4, 0], [5, 0], [4, 3], [0, 6], [20, 20]], dtype=float)


class TestRobustCoreSet(QueryContract):
    rule = queries.CoreSet(outliers=0.1, normalise="l2", cold_start="random")


class TestCoreSetByFacility(QueryContract):
    rule = queries.CoreSet(objective="facility")


class TestCoreSetToTheEnd(QueryContract):
    rule = queries.CoreSet(solver="milp")


class TestCoreSetByIndex(QueryContract):
    rule = queries.CoreSet(ties="index")


def known(*rows: int, n: int = len(X)) -> np.ndarray:
    labels = np.full(n, -1)
    labels[list(rows)] = 0
    return labels


def chosen(b: int, *labelled: int, **options: object) -> tuple[list[int], list[float]]:
    made = Snapshot.from_arrays(known=known(*labelled), embedding=X)
    rule = queries.CoreSet(ties="index", **options)  # type: ignore[arg-type]
    picks = rule.select(made, b, rng_for(0, 0, "query"))
    return picks.rows.tolist(), picks.memo["radius"]


def slow_greedy(x, labelled, k, skip=0):
    """The definition, a full distance row a step, ties to the smaller index."""
    x = np.asarray(x, dtype=np.float64)
    centres, picks = list(labelled), []
    while len(picks) < min(k, len(x) - len(labelled)):
        open_rows = [i for i in range(len(x)) if i not in centres]
        if centres:
            d2 = {i: min(float(((x[i] - x[c]) ** 2).sum()) for c in centres) for i in open_rows}
        else:
            # times n, so that whole numbers stay whole and ties stay ties
            d2 = {i: -float(((len(x) * x[i] - x.sum(axis=0)) ** 2).sum()) for i in open_rows}
        order = sorted(open_rows, key=lambda i: (-d2[i], i))
        best = order[min(skip if centres else 0, len(order) - 1)]
        picks.append(best)
        centres.append(best)
    return picks


def radius(x, centres):
    d2 = ((x[:, None] - x[list(centres)]) ** 2).sum(axis=2)
    return float(np.sqrt(d2.min(axis=1).max()))


# --- worked numbers ------------------------------------------------------------------------


def test_worked_greedy():
    rows, radii = chosen(4, 0)
    assert rows == [7, 6, 4, 5]
    np.testing.assert_allclose(radii, [6, 5, 3.162278, 1], atol=5e-7)
    assert radius(X, [0]) == pytest.approx(28.284271, abs=5e-7)


def test_worked_cold_start():
    assert chosen(3)[0] == [5, 7, 0]


def test_worked_robust_greedy():
    rows, radii = chosen(3, 0, outliers=1 / 8)
    assert rows == [6, 4, 5]
    assert radii[1] == pytest.approx(3.162278, abs=5e-7)


def test_worked_optimum():
    rows, radii = chosen(2, 0, solver="milp")
    assert radii == pytest.approx([5])
    assert radius(X, [0, *rows]) == pytest.approx(5)
    rows, radii = chosen(2, 0, solver="milp", outliers=1 / 8)
    assert (rows, radii) == ([3, 6], pytest.approx([3]))
    assert radius(X[:7], [0, 3, 6]) == pytest.approx(3)
    assert radius(X[:7], [0, 6]) == pytest.approx(5)  # what greedy's {7, 6} leaves


def test_worked_facility_location():
    made = Snapshot.from_arrays(known=known(0), embedding=X)
    rule = queries.CoreSet(objective="facility", ties="index")
    picks = rule.select(made, 3, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == [7, 3, 6]
    np.testing.assert_allclose(picks.memo["gain"], [28.284271, 10, 6], atol=5e-7)


# --- brute force ---------------------------------------------------------------------------


def test_equals_a_brute_force_greedy_in_a_thousand_random_trials():
    for trial in range(1000):
        rng = np.random.default_rng(trial)
        n, d = int(rng.integers(3, 14)), int(rng.integers(1, 5))  # two: a tie with their mean
        kind = (np.float64, np.float32)[trial % 2]
        grid = trial % 5 == 0  # whole numbers: many rows are equally far
        x = (rng.integers(0, 3, (n, d)) if grid else rng.normal(size=(n, d))).astype(kind)
        labelled = rng.choice(n, int(rng.integers(0, n)), replace=False)
        k, skip = int(rng.integers(1, n + 1)), int(trial % 7 == 0 and not grid)
        rows = queries.core_set(
            x, known(*labelled, n=n), k, ties="index", outliers=1.01 * skip / n
        ).tolist()
        assert rows == slow_greedy(x, labelled.tolist(), k, skip), f"trial {trial}"


@pytest.mark.parametrize("labelled", [[], [3, 120]])
def test_neither_blocks_nor_the_pool_change_anything(monkeypatch, labelled):
    """The pool of the farthest rows is filled anew as soon as one outside may be farther."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 5)).astype(np.float32)
    x[100:] = x[:50]  # duplicates
    want, skipped = slow_greedy(x, labelled, 20), slow_greedy(x, [0], 12, skip=5)
    assert queries.core_set(x, known(*labelled, n=150), 20, ties="index").tolist() == want
    monkeypatch.setattr(inside, "CACHE", 100)
    monkeypatch.setattr(inside, "_TOGETHER", 2)
    for pool in (1, 3, 20):
        monkeypatch.setattr(inside, "_POOL", pool)
        monkeypatch.setattr(inside, "_POOL_BYTES", 0)
        assert queries.core_set(x, known(*labelled, n=150), 20, ties="index").tolist() == want
        robust = queries.core_set(x, known(0, n=150), 12, ties="index", outliers=5.1 / 150)
        assert robust.tolist() == skipped


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_far_from_the_origin_and_at_any_scale(scale, shift):
    # |x|^2 + |c|^2 - 2 x.c is 0 for two rows 1 apart at 1e4 in float32: what float32 cannot
    # tell is compared in float64
    rng = np.random.default_rng(2)
    x = ((np.round(rng.normal(size=(80, 3)), 2) + shift) * scale).astype(np.float32)
    x[0] += np.float32(1e3 * scale)  # an outlier, beside which all distances are small
    rows = queries.core_set(x, known(0, 7, n=80), 30, ties="index")
    assert rows.tolist() == slow_greedy(x.astype(np.float64) / scale, [0, 7], 30)


def test_what_rounding_leaves_open_is_compared_in_float64():
    # 4096^2 + 64^2 + 64^2 = 16,785,408 is what float32 makes of 4097^2 = 16,785,409, too
    x = np.array([[0, 0, 0], [4096, 64, 64], [4097, 0, 0]], dtype=np.float32)
    assert queries.core_set(x, known(0, n=3), 1, ties="index").tolist() == [2]
    assert np.square(x).sum(axis=1).argmax() == 1


def test_the_smallest_radius_equals_every_choice_tried():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, outliers = rng.normal(size=(9, 2)), seed % 3
        labelled = [] if seed % 2 else [0]
        left = np.setdiff1d(np.arange(9), labelled)
        best = min(
            np.sort(np.linalg.norm(x[:, None] - x[[*labelled, *some]], axis=2).min(axis=1))[
                len(x) - 1 - outliers
            ]
            for some in combinations(left.tolist(), 3)
        )
        made = Snapshot.from_arrays(known=known(*labelled, n=9), embedding=x)
        rule = queries.CoreSet(solver="milp", outliers=(outliers + 0.01) / 9)
        picks = rule.select(made, 3, rng_for(0, 0, "query"))
        assert picks.memo["radius"][0] == pytest.approx(best)
        assert picks.memo["gap"] == 0
        assert len(set(picks.rows) - set(labelled)) == 3


def test_without_time_greedy_comes_back_with_its_gap():
    free = np.ones(40, dtype=bool)
    x, none = np.random.default_rng(0).normal(size=(40, 2)), np.empty(0, dtype=np.int64)
    greedy = geometry.k_center(x, none, 4, rng_for(0, 0, "query"), free=free)
    found = geometry.k_center_milp(x, none, 4, rng_for(0, 0, "query"), free=free, seconds=0)
    assert found.rows.tolist() == sorted(greedy.rows.tolist())
    assert found.radius == greedy.radii[-1]
    assert 0 < found.gap <= 0.5


def slow_facility(x, labelled, k):
    d = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    reach = d[:, labelled].min(axis=1) if len(labelled) else np.full(len(x), d.max())
    picks: list[int] = []
    for _ in range(k):
        gains = np.maximum(reach[:, None] - d, 0).sum(axis=0)
        gains[[*labelled, *picks]] = -1
        picks.append(int(np.round(gains, 9).argmax()))
        reach = np.minimum(reach, d[:, picks[-1]])
    return picks


@pytest.mark.parametrize("labelled", [[], [2, 9]])
def test_lazy_facility_location_equals_the_plain_one(labelled):
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=(50, 3))
        rows = queries.core_set(x, known(*labelled, n=50), 15, objective="facility", ties="index")
        assert rows.tolist() == slow_facility(x, labelled, 15)


def test_facility_location_on_a_sample_is_nearly_as_good(monkeypatch, caplog):
    x = np.random.default_rng(0).normal(size=(400, 4))

    def spread(rows):
        return np.linalg.norm(x[:, None] - x[rows], axis=2).min(axis=1).mean()

    whole = spread(queries.core_set(x, None, 12, objective="facility"))
    monkeypatch.setattr("handful.queries._core_set.SERVED", 150)
    with caplog.at_level(logging.INFO):
        assert spread(queries.core_set(x, None, 12, objective="facility")) < 1.1 * whole
    assert "150 of 400" in caplog.text


# --- what it promises ----------------------------------------------------------------------


def test_the_first_without_a_label_is_no_random_batch_and_not_image_0():
    """A defect of others: a whole random first batch; image 0 whatever the data."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 3))
    for seed in range(3):
        rows = queries.core_set(x, None, 5, rng=seed)
        assert rows.tolist() == slow_greedy(x, [], 5)
    away = queries.core_set(x, None, 1, cold_start="random", rng=1)
    assert away != queries.core_set(x, None, 1, cold_start="random", rng=2)


def test_nearly_equal_rows_give_no_nan():
    """A defect of others: the root of a square below 0 is NaN, and argmax finds it first."""
    x = np.full((50, 4), 3e3, dtype=np.float32) + np.float32(1e-3) * np.arange(50)[:, None] % 7
    rows, radii = None, None
    made = Snapshot.from_arrays(known=known(0, n=50), embedding=x)
    picks = queries.CoreSet().select(made, 20, rng_for(0, 0, "query"))
    rows, radii = picks.rows, np.array(picks.memo["radius"])
    assert len(set(rows.tolist())) == 20
    assert np.isfinite(radii).all()
    assert (np.diff(radii) <= 0).all()


def test_few_distinct_rows_are_said_and_the_rest_is_any(caplog):
    x = np.repeat(np.eye(3), 5, axis=0)
    with caplog.at_level(logging.WARNING):
        rows = queries.core_set(x, known(0, n=15), 7, ties="index")
    assert rows.tolist() == [5, 10, 1, 2, 3, 4, 6]
    assert "fewer than 7 distinct rows" in caplog.text
    several = {tuple(queries.core_set(x, known(0, n=15), 7, rng=seed)) for seed in range(5)}
    assert len(several) > 1
    assert all({r // 5 for r in rows[:2]} == {1, 2} for rows in several)


def test_images_set_aside_are_neither_asked_nor_covered():
    free = np.ones(len(X), dtype=bool)
    free[[0, 7]] = False
    made = Snapshot.from_arrays(known=known(0), open=free, embedding=X)
    picks = queries.CoreSet(ties="index").select(made, 2, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == [6, 4]
    assert picks.memo["radius"][0] == pytest.approx(5)


def test_all_that_is_open():
    rows, radii = chosen(99, 0)
    assert sorted(rows) == list(range(1, 8))
    assert radii[-1] == 0
    assert chosen(0, 0) == ([], [])


def test_a_narrow_embedding_of_whole_numbers_and_of_half_precision():
    x = np.array([[0], [10], [4], [6], [100]])
    for kind in (np.int64, np.float16):
        narrow = x.astype(kind)
        assert queries.core_set(narrow, known(0, n=5), 3, ties="index").tolist() == [4, 1, 2]


def test_length_counts_unless_the_rows_are_scaled():
    x = np.array([[1.0, 0], [50, 0], [0, 1], [0, 0]])
    assert queries.core_set(x, known(0, n=4), 1).tolist() == [1]
    assert queries.core_set(x, known(0, n=4), 1, normalise="l2").tolist() == [2]


def test_what_cannot_be_is_refused():
    x = X.copy()
    x[3, 1] = np.nan
    with pytest.raises(InputError, match="row 3 the first"):
        queries.core_set(x, known(0), 2)
    with pytest.raises(RecipeError, match="knows no outliers"):
        queries.CoreSet(objective="facility", outliers=0.1)
    with pytest.raises(InputError, match="3001 images takes too long"):
        queries.core_set(np.zeros((3001, 1)), None, 2, solver="milp")
    with pytest.raises(RecipeError, match="share of the images"):
        queries.CoreSet(outliers=1.0)


@pytest.mark.parametrize("n", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_memory_is_blocks_and_a_few_numbers_a_row(n):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 128), dtype=np.float32)
    labels = known(*range(0, 1000, 10), n=n)
    rng.standard_normal(1)
    tracemalloc.start()
    rows = queries.core_set(x, labels, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(rows.tolist())) == 20
    assert peak < (16 << 20) + 40 * n  # d2, sure, seen and masks: no copy of x
