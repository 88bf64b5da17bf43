"""Nearest neighbours, exact and by cells, and compactness: loops, piles, grids, worked numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from handful import geometry
from handful.errors import InputError
from handful.geometry import _cells, _neighbours, _screen
from handful.rng import rng_for

TIED = np.array([[0, 0], [1, 0], [0, 1], [1, 0], [2, 2], [1, 0], [3, 2]], dtype=float)
# DSAC's toy: 24 points in three clusters, their S and C over three neighbours
TOY = np.array([
    [0.5, 0.7], [-0.7, 0.4], [1.2, 0.0], [1.3, 1.0], [-0.2, 0.6], [0.6, 1.2], [0.3, -1.5],
    [0.4, 0.6], [0.2, 0.5], [2.9, 1.6], [4.2, -0.5], [3.5, 0.5], [4.5, 0.0], [5.9, 0.1],
    [3.6, -0.2], [3.9, 1.6], [3.5, 0.3], [2.2, 2.6], [2.4, 4.3], [2.7, 4.6], [2.6, 4.0],
    [1.1, 3.9], [0.7, 3.6], [1.4, 3.8],
])  # fmt: skip
TOY_IDS = [
    [7, 8, 5], [4, 8, 7], [0, 7, 3], [5, 0, 7], [8, 1, 7], [0, 7, 3], [2, 8, 7], [0, 8, 4],
    [7, 0, 4], [15, 17, 11], [12, 14, 16], [16, 14, 12], [10, 14, 16], [12, 10, 14],
    [16, 10, 11], [9, 11, 16], [11, 14, 12], [9, 23, 20], [20, 19, 23], [18, 20, 23],
    [18, 19, 23], [23, 22, 18], [21, 23, 17], [21, 22, 18],
]  # fmt: skip
TOY_S = [
    0.41, 2.36, 2.99, 2.23, 0.82, 1.19, 11.49, 0.43, 0.35, 4.06, 1.92, 1.79, 2.28, 10.6, 1.21,
    4.22, 1.39, 5.69, 1.56, 2.88, 1.98, 2.2, 4.03, 1.88,
]  # fmt: skip
TOY_C = [
    2.439024, 0.423729, 0.334448, 0.448430, 1.219512, 0.840336, 0.087032, 2.325581, 2.857143,
    0.246305, 0.520833, 0.558659, 0.438596, 0.094340, 0.826446, 0.236967, 0.719424, 0.175747,
    0.641026, 0.347222, 0.505051, 0.454545, 0.248139, 0.531915,
]  # fmt: skip


def slow_knn(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every distance as a difference in float64, sorted by (distance, index)."""
    ids, d2 = [], []
    for i, row in enumerate(x.astype(np.float64)):
        gap = ((x - row) ** 2).sum(axis=1) if x.dtype == np.float64 else np.array(
            [float(((other.astype(np.float64) - row) ** 2).sum()) for other in x]
        )  # fmt: skip
        near = sorted((d, j) for j, d in enumerate(gap.tolist()) if j != i)[:k]
        ids.append([j for _, j in near])
        d2.append([d for d, _ in near])
    return np.array(ids), np.array(d2)


def clouds(n: int, d: int, seed: int = 0, groups: int = 6) -> np.ndarray:
    rng = rng_for(seed, None, "clouds")
    centres = rng.normal(0, 3, (groups, d))
    return (centres[rng.integers(groups, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_screen, "TILE", 16)
    monkeypatch.setattr(_cells, "TILE", 16)


# --- exact


@pytest.mark.parametrize("tile", [2, 7])
def test_knn_of_the_worked_example(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_screen, "TILE", tile)
    monkeypatch.setattr(_neighbours, "SPARE", 0)
    ids, d2 = geometry.knn(TIED, 3)
    assert ids.tolist() == [
        [1, 2, 3], [3, 5, 0], [0, 1, 3], [1, 5, 0], [6, 1, 2], [1, 3, 0], [4, 1, 3],
    ]  # fmt: skip
    assert d2.tolist() == [
        [1, 1, 1], [0, 0, 1], [1, 2, 2], [0, 0, 1], [1, 5, 5], [0, 0, 1], [1, 8, 8],
    ]  # fmt: skip
    assert ids.dtype == np.int64
    assert d2.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 30])
@pytest.mark.usefixtures("small_tiles")
def test_knn_equals_sorting_every_distance(d: int, dtype: type) -> None:
    x = clouds(150, d).astype(dtype)
    x[20:60] += 900  # far from the rest, so float32 has little left for the distances there
    ids, d2 = geometry.knn(x, 5)
    slow_ids, slow_d2 = slow_knn(x, 5)
    np.testing.assert_array_equal(ids, slow_ids)
    np.testing.assert_allclose(d2, slow_d2, rtol=1e-14)


@pytest.mark.usefixtures("small_tiles")
def test_grids_and_piles_fall_by_index() -> None:
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=-1).reshape(-1, 2)
    piles = np.concatenate([grid, grid[:40], grid[:40], np.full((30, 2), 5.0)])
    order = rng_for(0, None, "order").permutation(len(piles))
    for x in (grid, piles[order], piles[order].astype(np.float32) + 4096):
        ids, d2 = geometry.knn(x, 9)
        slow_ids, slow_d2 = slow_knn(x, 9)
        np.testing.assert_array_equal(ids, slow_ids)
        np.testing.assert_array_equal(d2, slow_d2)


@pytest.mark.usefixtures("small_tiles")
def test_near_copies_are_told_apart_where_float32_cannot() -> None:
    """60 rows within 1e-6 of each other, far from the mean: float32 products see noise."""
    rng = rng_for(0, None, "near")
    x = np.concatenate([rng.normal(0, 1, (90, 8)), 40 + 1e-6 * rng.normal(size=(60, 8))])
    screen = _screen.Screen(x)
    lists = _screen.screen_all(screen, 12)
    misled, d2 = _screen.settle(x, np.arange(150), lists, 4)
    slow_ids, slow_d2 = slow_knn(x, 4)
    assert (misled != slow_ids).any()  # what the candidates alone give
    wrong = np.flatnonzero((misled != slow_ids).any(axis=1))
    assert set(wrong) <= set(_screen.unsure(screen, lists, d2))
    ids, d2 = geometry.knn(x, 4)
    np.testing.assert_array_equal(ids, slow_ids)
    np.testing.assert_allclose(d2, slow_d2, rtol=1e-12)


def test_far_from_the_origin_the_mean_is_taken_off_first() -> None:
    x = (clouds(80, 6) / 8 + 1e4).astype(np.float32)
    ids, _ = geometry.knn(x, 3)
    np.testing.assert_array_equal(ids, slow_knn(x, 3)[0])
    squares = (x**2).sum(axis=1)
    plain = squares[:, None] + squares - 2 * x @ x.T
    np.fill_diagonal(plain, np.inf)
    assert (plain.argsort(axis=1)[:, :3] != ids).mean() > 0.5


def test_held_and_unheld_rows_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clouds(300, 5)
    ids, d2 = geometry.knn(x, 6)
    monkeypatch.setattr(_screen, "HELD", 0)
    monkeypatch.setattr(_screen, "TILE", 32)
    again, d2_again = geometry.knn(x, 6)
    np.testing.assert_array_equal(again, ids)
    np.testing.assert_array_equal(d2_again, d2)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_tiny_pools(n: int) -> None:
    x = TIED[:n]
    for k in (0, 1, 3, 9):
        ids, d2 = geometry.knn(x, k)
        assert ids.shape == d2.shape == (n, min(k, n - 1))
        if ids.size:
            np.testing.assert_array_equal(ids, slow_knn(x, k)[0])
        assert geometry.neighbours(x, k, exact=False).ids.shape == ids.shape
    assert geometry.knn(x[:0], 3)[0].shape == (0, 0)


@pytest.mark.parametrize("find", [geometry.knn, geometry.neighbours])
def test_bad_rows_are_named(find: Any) -> None:
    x = clouds(50, 4)
    x[[31, 40], 2] = np.nan, np.inf
    with pytest.raises(InputError, match="2 of 50 rows hold NaN or inf, row 31 the first"):
        find(x, 3)
    with pytest.raises(InputError, match="flatten the images"):
        find(np.zeros((4, 8, 8)), 3)


def test_rows_beyond_float32_are_refused_and_tiny_ones_are_not() -> None:
    x = clouds(40, 3).astype(np.float64)
    ids = geometry.knn(x, 4)[0]
    np.testing.assert_array_equal(geometry.knn(x * 1e-30, 4)[0], ids)
    x[12] = 1e25
    with pytest.raises(InputError, match=r"features of size .* beyond float32"):
        geometry.knn(x, 4)


def test_integers_and_constant_columns() -> None:
    x = rng_for(0, None, "pixels").integers(0, 4, (90, 3)).astype(np.uint8)
    x = np.concatenate([x, np.full((90, 2), 255, dtype=np.uint8)], axis=1)
    ids, d2 = geometry.knn(x, 7)
    slow_ids, slow_d2 = slow_knn(x.astype(np.float64), 7)
    np.testing.assert_array_equal(ids, slow_ids)
    np.testing.assert_array_equal(d2, slow_d2)


def test_zeros_of_either_sign_are_copies() -> None:
    x = np.array([[0.0, 1], [-0.0, 1], [3, 1]])
    assert _neighbours.distinct_rows(x)[1].tolist() == [0, 0, 1]
    first, copy_of = _neighbours.distinct_rows(TIED)
    assert first.tolist() == [0, 1, 2, 4, 6]
    assert copy_of.tolist() == [0, 1, 2, 1, 3, 1, 4]


# --- approximate and remembered


def share_found(d2: np.ndarray, x: np.ndarray, k: int) -> float:
    true = geometry.knn(x, k)[1]
    return float((d2 <= true[:, -1:]).mean())


@pytest.mark.usefixtures("small_tiles")
def test_cells_find_nearly_all_and_say_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cells, "SEARCHED", 3)  # of 30 cells
    x = clouds(900, 12, groups=1)
    found = geometry.neighbours(x, 6, exact=False)
    assert found.method == "cells"
    assert 0.5 < found.recall < 1
    # with 1,000 probes every row of the 900 is one
    assert found.recall == pytest.approx(share_found(found.d2, x, 6))
    assert (found.ids != np.arange(900)[:, None]).all()
    assert all(len(set(row)) == 6 for row in found.ids.tolist())
    slow = ((x[:, None].astype(np.float64) - x[found.ids]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(found.d2, slow, rtol=1e-12)
    assert (np.diff(found.d2, axis=1) >= 0).all()


def test_eight_cells_find_more_than_one() -> None:
    x = clouds(1500, 8, groups=30)
    eight = geometry.neighbours(x, 6, exact=False).recall
    assert eight > 0.97
    near = _cells.nearest_cells(_screen.Screen(x), np.zeros((5, 8)), 5)
    assert sorted(near[0].tolist()) == [0, 1, 2, 3, 4]


def test_large_cells_are_divided() -> None:
    """One dense cloud among nineteen thin ones: random starts alone leave it to few cells."""
    rng = rng_for(0, None, "uneven")
    thin = (rng.normal(0, 30, (19, 6))[:, None] + rng.normal(size=(19, 40, 6))).reshape(-1, 6)
    x = np.concatenate([thin, rng.normal(0, 0.01, (1240, 6))]).astype(np.float32)
    centres = _cells.train_cells(x, 10, rng_for(3, None, "cells"))
    sizes = np.bincount(geometry.nearest(x, centres)[0], minlength=len(centres))
    start = np.sort(rng_for(3, None, "cells").choice(len(x), 10, replace=False))
    plain = np.bincount(geometry.lloyd(x, x[start], max_iter=_cells.STEPS).labels, minlength=10)
    assert (sizes**2).sum() < 0.6 * (plain**2).sum()
    assert 8 <= len(centres) <= 20


def test_cells_too_small_to_hold_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cells, "SEARCHED", 1)
    x = clouds(400, 3, groups=40)
    x[7] = 500.0  # alone in its cell
    found = geometry.neighbours(x, 25, exact=False)
    assert np.isfinite(found.d2).all()
    np.testing.assert_array_equal(found.ids[7], slow_knn(x, 25)[0][7])


def test_copies_by_cells_stand_at_distance_zero() -> None:
    x = clouds(300, 4)
    x[50:90] = x[0]
    found = geometry.neighbours(x, 6, exact=False)
    assert found.ids[60].tolist() == [0, 50, 51, 52, 53, 54]
    assert not found.d2[60].any()
    same = geometry.neighbours(np.ones((40, 3)), 6, exact=False)
    assert same.ids[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert not same.d2.any()


def test_the_size_decides_between_exact_and_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clouds(200, 3, seed=5)
    small = geometry.neighbours(x, 4)
    assert (small.method, small.recall) == ("exact", 1.0)
    np.testing.assert_array_equal(small.ids, geometry.knn(x, 4)[0])
    monkeypatch.setattr(_neighbours, "EXACT_ROWS", 199)
    assert geometry.neighbours(x, 4).method == "cells"
    assert geometry.neighbours(x, 4, exact=True).method == "exact"


def test_neighbours_are_found_once_for_one_content(monkeypatch: pytest.MonkeyPatch) -> None:
    x, calls, search = clouds(120, 4, seed=9), [], _neighbours.screen_all
    monkeypatch.setattr(
        _neighbours,
        "screen_all",
        lambda *a: calls.append(1) or search(*a),  # type: ignore[func-returns-value]
    )
    first = geometry.neighbours(x, 6)
    again = geometry.neighbours(x.copy(), 6)
    fewer = geometry.neighbours(x, 3)
    assert len(calls) == 1
    np.testing.assert_array_equal(again.ids, first.ids)
    np.testing.assert_array_equal(fewer.ids, geometry.knn(x, 3)[0])
    calls.clear()
    assert geometry.neighbours(x, 8).ids.shape == (120, 8)
    changed = x.copy()
    changed[3, 1] += 1
    assert (geometry.neighbours(changed, 6).d2 != first.d2).any()
    assert len(calls) == 2
    with pytest.raises(ValueError, match="read-only"):
        first.ids[0, 0] = 1
    for seed in range(_neighbours.MATRICES):
        geometry.neighbours(clouds(30, 2, seed=20 + seed), 2)
    calls.clear()
    geometry.neighbours(x, 6)
    assert len(calls) == 1  # forgotten, found anew


# --- compactness


def test_neighbours_and_compactness_of_the_toy() -> None:
    ids, d2 = geometry.knn(TOY, 3)
    # the table prints them by distance; ties of distance it leaves open
    assert [sorted(row) for row in ids.tolist()] == [sorted(row) for row in TOY_IDS]
    np.testing.assert_allclose(d2.sum(axis=1), TOY_S, atol=5e-7)
    np.testing.assert_allclose(geometry.compactness(d2), TOY_C, atol=5e-7)


def test_compactness_stays_finite_on_copies() -> None:
    x = np.array([[0, 0], [0, 0], [0, 0], [0, 0], [1, 0], [0, 2], [3, 3]], dtype=float)
    d2 = geometry.knn(x, 2)[1]
    np.testing.assert_allclose(d2.sum(axis=1), [0, 0, 0, 0, 2, 8, 23])
    printed = [125, 125, 125, 125, 0.5, 0.125, 0.043478]
    np.testing.assert_allclose(geometry.compactness(d2), printed, atol=5e-7)
    np.testing.assert_allclose(geometry.compactness(d2, floor=0.5)[:5], [0.25] * 4 + [0.25])


def test_compactness_at_its_edges() -> None:
    assert geometry.compactness(geometry.knn(np.ones((5, 2)), 3)[1]).tolist() == [1] * 5
    assert geometry.compactness(geometry.knn(np.ones((1, 2)), 3)[1]).tolist() == [1]
    even = np.array([[1.0], [3.0], [0.0]])  # the median of an even count: the mean of two
    np.testing.assert_allclose(geometry.compactness(even), [1, 1 / 3, 1 / 0.002])
