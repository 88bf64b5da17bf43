"""k-means with pinned rows and with seeds, against loops and worked numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from handful import geometry
from handful.errors import InputError
from handful.geometry._distances import Centred
from handful.rng import rng_for

X = np.array([
    [0, 0], [0.5, 0.2], [0.2, -0.4], [3, 0.1], [3.4, -0.2], [2.9, 0.6],
    [1.2, 3], [1, 3.4], [1.5, 2.6], [2.3, 0.7],
])  # fmt: skip
HUMAN = np.array([-1, 0, -1, -1, 2, -1, -1, -1, -1, 0])
FREE = np.full(10, -1)


class Always:
    """A generator whose every draw is ``u``."""

    def __init__(self, u: float) -> None:
        self.u = u

    def random(self) -> float:
        return self.u


def always(u: float) -> Any:
    return Always(u)


def slow_lloyd(x: np.ndarray, start: np.ndarray, pinned: np.ndarray) -> tuple[Any, Any, float]:
    """Lloyd's steps one row at a time, an emptied cluster filled by the worst placed row."""
    centres, last = [row.astype(float) for row in start], None
    for _ in range(100):
        a = [
            int(p) if p >= 0 else int(np.argmin([((row - c) ** 2).sum() for c in centres]))
            for row, p in zip(x, pinned, strict=True)
        ]
        for empty in [p for p in range(len(centres)) if p not in a]:
            d2 = [((row - centres[p]) ** 2).sum() for row, p in zip(x, a, strict=True)]
            able = [i for i in range(len(x)) if pinned[i] < 0 and a.count(a[i]) > 1 and d2[i] > 0]
            if able:
                a[max(able, key=lambda i: (d2[i], -i))] = empty
        if a == last:
            break
        last = a
        for p in set(a):
            centres[p] = x[[i for i in range(len(x)) if a[i] == p]].mean(axis=0)
    inertia = sum(((row - centres[p]) ** 2).sum() for row, p in zip(x, last or [], strict=True))
    return np.array(last), np.array(centres), float(inertia)


def test_constrained_kmeans_of_the_worked_example() -> None:
    found = geometry.constrained_kmeans(X, HUMAN, 3, always(0.5))
    assert found.labels.tolist() == [0, 0, 0, 2, 2, 2, 1, 1, 1, 0]
    centres = [[0.75, 0.125], [1.233333, 3], [3.1, 0.166667]]
    np.testing.assert_allclose(found.centres, centres, atol=5e-7)
    assert found.inertia == pytest.approx(4.870833, abs=5e-7)


def test_the_draw_of_the_worked_example() -> None:
    seeds = np.array([[1.4, 0.45], [3.4, -0.2]])
    open_rows = X[HUMAN < 0]
    d2 = geometry.squared_distances(open_rows, seeds).min(axis=1)
    np.testing.assert_allclose(d2, [2.1625, 2.1625, 0.25, 0.89, 6.5425, 8.8625, 4.6325], atol=1e-9)
    p = geometry.seeding_probabilities(open_rows, seeds)
    printed = [0.084796, 0.084796, 0.009803, 0.034899, 0.256543, 0.347515, 0.181649]
    np.testing.assert_allclose(p, printed, atol=5e-7)
    # one step from each draw: the drawn row is told from the others by where it leads
    for u, row in ((0.5, 7), (0.1, 2), (0.19, 5), (0.3, 6), (0.83, 8), (0.0, 0)):
        start = np.array([seeds[0], X[row], seeds[1]])
        want = geometry.lloyd(X, start, HUMAN, max_iter=1)
        found = geometry.constrained_kmeans(X, HUMAN, 3, always(u), n_init=1, max_iter=1)
        np.testing.assert_allclose(found.centres, want.centres)


def test_seeds_place_the_start_and_pin_nothing() -> None:
    start = np.array([[1.4, 0.45], X[7], [3.4, -0.2]])
    found = geometry.lloyd(X, start)
    assert found.labels[9] == 2
    assert found.inertia == pytest.approx(1.92, abs=5e-7)
    placed = HUMAN.copy()
    placed[7] = 1
    seeded = geometry.constrained_kmeans(X, FREE, 3, always(0.0), seeds=placed)
    np.testing.assert_array_equal(seeded.labels, found.labels)
    np.testing.assert_allclose(seeded.centres, found.centres)
    # a label outweighs the seed of the same row
    wrong = np.where(HUMAN >= 0, 1, placed)
    both = geometry.constrained_kmeans(X, HUMAN, 3, always(0.0), seeds=wrong)
    assert both.inertia == pytest.approx(4.870833, abs=5e-7)


def test_an_emptied_cluster_takes_the_worst_placed_row() -> None:
    x = np.array([[0.0], [1], [4], [5], [9]])
    found = geometry.lloyd(x, np.array([[0.5], [4.5], [50]]))
    assert found.labels.tolist() == [0, 0, 1, 1, 2]
    np.testing.assert_allclose(found.centres.ravel(), [0.5, 4.5, 9])
    assert found.inertia == pytest.approx(1.0)
    # the row moved is a free one: 9 is pinned to cluster 1, so 0, the next, opens cluster 2
    pinned = np.array([-1, -1, -1, -1, 1])
    found = geometry.lloyd(x, np.array([[0.5], [4.5], [50]]), pinned, max_iter=1)
    assert found.labels.tolist() == [2, 0, 1, 1, 1]


@pytest.mark.parametrize("seed", range(12))
def test_lloyd_equals_its_loops(seed: int) -> None:
    rng = rng_for(seed, None, "lloyd")
    x = rng.integers(0, 9, (40, 2)) + rng.normal(0, 0.1, (40, 2))
    pinned = np.where(rng.random(40) < 0.2, rng.integers(5, size=40), -1)
    start = np.concatenate([x[rng.choice(40, 3)], rng.normal(60, 1, (2, 2))])
    labels, centres, inertia = slow_lloyd(x, start, pinned)
    found = geometry.lloyd(x, start, pinned)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.centres, centres, atol=1e-12)
    assert found.inertia == pytest.approx(inertia, rel=1e-12)
    assert (found.labels[pinned >= 0] == pinned[pinned >= 0]).all()


def test_blocks_and_a_copy_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rng_for(1, None, "x").normal(size=(300, 4))
    labels = np.where(np.arange(300) < 20, np.arange(300) % 3, -1)
    whole = geometry.constrained_kmeans(x, labels, 5, rng_for(0, 0, "a"))
    monkeypatch.setattr("handful.geometry._distances.HELD", 0)
    monkeypatch.setattr("handful.geometry._lloyd.CACHE", 100)
    monkeypatch.setattr(Centred.blocks, "__kwdefaults__", {"limit": 100})
    monkeypatch.setattr(geometry.row_blocks, "__kwdefaults__", {"itemsize": 8, "limit": 100})
    again = geometry.constrained_kmeans(x, labels, 5, rng_for(0, 0, "a"))
    np.testing.assert_array_equal(again.labels, whole.labels)
    np.testing.assert_allclose(again.centres, whole.centres, rtol=1e-12)


def test_without_a_label_it_is_kmeans_and_keeps_the_best_start() -> None:
    rng = rng_for(0, None, "blobs")
    group = rng.integers(6, size=400)
    x = (rng.normal(0, 8, (6, 10))[group] + rng.normal(size=(400, 10))).astype(np.float32)
    free = np.full(400, -1)
    one = [
        geometry.constrained_kmeans(x, free, 6, rng_for(s, 0, "a"), n_init=1).inertia
        for s in range(8)
    ]
    best = geometry.constrained_kmeans(x, free, 6, rng_for(0, 0, "a"), n_init=10)
    again = geometry.constrained_kmeans(x, free, 6, rng_for(0, 0, "a"), n_init=10)
    np.testing.assert_array_equal(best.labels, again.labels)
    assert best.inertia <= one[0]  # its first start is that of the first of these
    assert best.inertia == pytest.approx(min(one), rel=1e-6)
    assert best.centres.dtype == np.float32
    reference = geometry.kmeans(x, 6, rng_for(0, 0, "a"))
    assert best.inertia == pytest.approx(reference.inertia, rel=1e-4)


def test_one_run_where_every_class_has_a_label() -> None:
    class Broken:
        def random(self) -> float:
            raise AssertionError("nothing is to be drawn")

    broken: Any = Broken()
    known = np.where(np.arange(10) < 9, HUMAN, 1)
    found = geometry.constrained_kmeans(X, np.where(known == 0, 0, known), 3, broken)
    assert found.labels[9] == 1


def test_fewer_distinct_rows_than_clusters_leave_clusters_empty() -> None:
    x = np.repeat(np.array([[0.1, 0.3], [7.7, 2.1]]), 6, axis=0)
    for seed in range(5):
        found = geometry.constrained_kmeans(x, np.full(12, -1), 4, rng_for(seed, 0, "a"))
        assert len(np.unique(found.labels)) == 2
        assert found.inertia == pytest.approx(0, abs=1e-20)
        assert np.isfinite(found.centres).all()
    same = geometry.constrained_kmeans(np.full((5, 3), 0.1), np.full(5, -1), 3, rng_for(0, 0, "a"))
    assert len(np.unique(same.labels)) == 1
    # the class of a label cannot empty, be its rows copies or not
    labels = np.array([0, 1, 2, -1, -1])
    pinned = geometry.constrained_kmeans(np.full((5, 3), 0.1), labels, 3, rng_for(0, 0, "a"))
    assert set(pinned.labels.tolist()) == {0, 1, 2}


def test_constrained_kmeans_where_hardly_a_row_is_free() -> None:
    labels = np.array([0, 0, 0, 2, 2, 2, 0, 0, 0, 2])
    found = geometry.constrained_kmeans(X, labels, 4, rng_for(0, 0, "a"))
    np.testing.assert_array_equal(found.labels, labels)  # nobody is left for 1 and 3
    seeds = np.where(np.arange(10) == 4, -1, labels)
    found = geometry.constrained_kmeans(X, FREE, 4, rng_for(0, 0, "a"), seeds=seeds)
    assert len(np.unique(found.labels)) == 4
    assert geometry.constrained_kmeans(X[:1], FREE[:1], 1, always(0.3)).labels.tolist() == [0]


@pytest.mark.parametrize(
    ("x", "labels", "k", "said"),
    [
        (X[:2], FREE[:2], 3, r"fewer images \(2\) than clusters \(3\)"),
        (X, HUMAN, 2, "label 2 is outside the 2 clusters"),
        (X, FREE[:3], 2, "one a row"),
        (np.where(np.arange(20).reshape(10, 2) == 7, np.nan, X), FREE, 2, "row 3 the first"),
    ],
)
def test_constrained_kmeans_refuses(x: Any, labels: Any, k: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        geometry.constrained_kmeans(x, labels, k, rng_for(0, 0, "a"))
    with pytest.raises(InputError, match=said):
        geometry.lloyd(x, np.zeros((k, 2)), labels)


def test_constrained_kmeans_needs_a_start() -> None:
    with pytest.raises(InputError, match="n_init is 0"):
        geometry.constrained_kmeans(X, FREE, 2, rng_for(0, 0, "a"), n_init=0)
