"""Distances, neighbours, k-means and the vote against loops and the papers' numbers."""

from __future__ import annotations

import logging
import tracemalloc
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from handful import geometry
from handful.errors import InputError
from handful.rng import rng_for

# CCL's example: two classes with labels, four images without
MEANS = np.array([[0.9, -0.1], [-0.25, 0.95]])
UNLABELLED = np.array([[-0.8, -1], [0.9, 0.1], [-0.2, 1.1], [-1.5, -0.4]])
BLOBS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])


def blobs(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four round groups, far apart, and which group each row belongs to."""
    rng = rng_for(seed, None, "blobs")
    group = rng.integers(4, size=n)
    return BLOBS[group] + rng.normal(0, 0.4, (n, 2)), group


def slow_d2(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.array([[sum((float(a) - float(b)) ** 2 for a, b in zip(r, c, strict=True))
                      for c in centres] for r in x])  # fmt: skip


# --- blocks and distances


@pytest.mark.parametrize("limit", [1, 8 * 3, 8 * 7, 1 << 20])
def test_blocks_cover_every_row_once(limit: int) -> None:
    rows = [i for s in geometry.row_blocks(10, 3, limit=limit) for i in range(s.start, s.stop)]
    assert rows == list(range(10))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_squared_distances_equal_the_double_loop(dtype: type) -> None:
    rng = rng_for(1, None, "d2")
    x, c = (rng.normal(0, 20, (n, 5)).astype(dtype) for n in (37, 6))
    d2 = geometry.squared_distances(x, c)
    # float32 keeps 7 digits of numbers up to 1e4
    np.testing.assert_allclose(d2, slow_d2(x, c), rtol=1e-4, atol=1e-2)
    index, least = geometry.nearest(x, c)
    np.testing.assert_array_equal(index, d2.argmin(axis=1))
    np.testing.assert_array_equal(least, d2.min(axis=1))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = rng_for(2, None, "d2")
    x, c = rng.normal(size=(101, 3)), rng.normal(size=(4, 3))
    whole = geometry.squared_distances(x, c)
    known = np.where(np.arange(101) % 7 == 0, np.arange(101) % 3, -1)
    means, _ = geometry.class_means(x, known, 3)
    monkeypatch.setattr(geometry.row_blocks, "__kwdefaults__", {"itemsize": 8, "limit": 200})
    assert len(list(geometry.row_blocks(101, 4))) == 17
    np.testing.assert_allclose(geometry.squared_distances(x, c), whole, rtol=1e-12)
    np.testing.assert_allclose(geometry.class_means(x, known, 3)[0], means, rtol=1e-12)


def test_centring_saves_float32_far_from_the_origin() -> None:
    x = (np.array([[0, 0], [1, 0]]) + 1e4).astype(np.float32)
    plain = (x[0] ** 2).sum() + (x[1] ** 2).sum() - 2 * x[0] @ x[1]
    assert plain == 0.0  # what the expansion alone gives
    assert geometry.squared_distances(x, x)[0, 1] == 1.0


def test_nearest_takes_the_lower_index_on_a_tie_and_needs_a_centre() -> None:
    x = np.array([[0.0], [1.0], [2.0]])
    assert geometry.nearest(x, np.array([[0.0], [2.0]]))[0].tolist() == [0, 0, 1]
    assert geometry.nearest(x[:0], x)[0].size == 0
    with pytest.raises(InputError, match="no centre"):
        geometry.nearest(x, x[:0])
    with pytest.raises(InputError, match="same d"):
        geometry.nearest(x, np.zeros((1, 2)))


@pytest.mark.parametrize("d", [2, 20])
def test_knn_equals_sorting_all_distances(d: int) -> None:
    x = rng_for(3, None, "knn").normal(size=(60, d)).astype(np.float32)
    index, d2 = geometry.knn(x, 5)
    slow = slow_d2(x, x)
    np.fill_diagonal(slow, np.inf)
    np.testing.assert_array_equal(index, slow.argsort(axis=1)[:, :5])
    np.testing.assert_allclose(d2, np.sort(slow, axis=1)[:, :5], rtol=1e-4)


def test_knn_of_duplicates_and_of_tiny_pools() -> None:
    index, d2 = geometry.knn(np.zeros((4, 2)), 9)
    assert index.shape == (4, 3)
    assert not d2.any()
    assert all(i not in row and len(set(row)) == 3 for i, row in enumerate(index.tolist()))
    assert geometry.knn(np.zeros((1, 2)), 3)[0].shape == (1, 0)


# --- k-means


def test_kmeans_finds_round_groups_and_keeps_its_seed() -> None:
    x, group = blobs()
    found = geometry.kmeans(x, 4, rng_for(0, None, "a"), n_init=4)
    again = geometry.kmeans(x, 4, rng_for(0, None, "a"), n_init=4)
    np.testing.assert_array_equal(found.centres, again.centres)
    assert len({(int(g), int(c)) for g, c in zip(group, found.labels, strict=True)}) == 4
    d2 = slow_d2(x, found.centres)
    np.testing.assert_array_equal(found.labels, d2.argmin(axis=1))
    assert found.inertia == pytest.approx(d2.min(axis=1).sum())
    for j in range(4):
        np.testing.assert_allclose(found.centres[j], x[found.labels == j].mean(axis=0))


def test_kmeans_takes_fewer_clusters_where_rows_repeat(caplog: pytest.LogCaptureFixture) -> None:
    x = np.repeat(np.array([[0.0, 1.0], [2.0, 3.0]]), 30, axis=0)
    with caplog.at_level(logging.WARNING, "handful.geometry"):
        found = geometry.kmeans(x, 5, rng_for(0, None, "a"), n_init=2)
    assert "2 distinct rows for 5 clusters" in caplog.text
    assert sorted(found.centres.tolist()) == [[0.0, 1.0], [2.0, 3.0]]


def test_kmeans_of_rows_that_differ_by_less_than_rounding_does_not_warn() -> None:
    x = np.repeat(np.nextafter(np.ones((3, 1)), 2), 4, axis=0)
    x[:4] = 1.0
    assert geometry.kmeans(x, 2, rng_for(0, None, "a"), n_init=1).labels.shape == (12,)


@pytest.mark.parametrize("labels", [False, True])
def test_kmeans_refuses_what_it_cannot_cluster(labels: bool) -> None:
    def cluster(x: np.ndarray, k: int) -> None:
        known = np.full(len(x), -1)
        if labels:
            known[0] = 0
        geometry.seeded_kmeans(x, known, k, rng_for(0, None, "a"))

    with pytest.raises(InputError, match=r"fewer images \(2\) than clusters \(3\)"):
        cluster(np.zeros((2, 2)), 3)
    with pytest.raises(InputError, match="1 of 3 rows hold NaN"):
        cluster(np.array([[0.0], [np.nan], [1.0]]), 2)


def test_seeding_probabilities_of_the_paper() -> None:
    d2 = geometry.nearest(UNLABELLED, MEANS)[1]
    np.testing.assert_allclose(d2, [3.7, 0.04, 0.025, 3.385], atol=1e-6)
    p = geometry.seeding_probabilities(UNLABELLED, MEANS)
    np.testing.assert_allclose(p, [0.517483, 0.005594, 0.003497, 0.473427], atol=5e-7)


def test_seeding_is_uniform_without_a_centre_and_on_the_centres() -> None:
    np.testing.assert_allclose(geometry.seeding_probabilities(UNLABELLED, MEANS[:0]), 0.25)
    np.testing.assert_allclose(geometry.seeding_probabilities(MEANS, MEANS), 0.5)


def test_kmeans_plus_plus_draws_by_those_probabilities() -> None:
    p = geometry.seeding_probabilities(UNLABELLED, MEANS)
    draws = 4000
    rng = rng_for(0, None, "draws")
    rows = [int(geometry.kmeans_plus_plus(UNLABELLED, MEANS, 1, rng)[0]) for _ in range(draws)]
    share = np.bincount(rows, minlength=4) / draws
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / draws)).all()


def test_kmeans_plus_plus_never_draws_a_row_twice() -> None:
    x = np.array([[0.0], [0.0], [0.0], [5.0]])
    for seed in range(20):
        rows = geometry.kmeans_plus_plus(x, x[:1], 4, rng_for(seed, None, "a"))
        assert sorted(rows.tolist()) == [0, 1, 2, 3]
        assert rows[0] == 3  # the only one away from the centre comes first
        first_two = geometry.kmeans_plus_plus(x, x[:0], 2, rng_for(seed, None, "a"))
        assert 3 in first_two
    with pytest.raises(InputError, match="cannot draw 5 centres from 4 rows"):
        geometry.kmeans_plus_plus(x, x, 5, rng_for(0, None, "a"))


def test_class_means_are_eq_6() -> None:
    z = np.array([[1, 0.2], [0.8, -0.4], [-0.6, 1], [0.1, 0.9], [-0.7, -0.9]])
    means, counts = geometry.class_means(z, np.array([0, 0, 1, 1, 2]), 4)
    np.testing.assert_allclose(means[:3], [[0.9, -0.1], [-0.25, 0.95], [-0.7, -0.9]], atol=1e-12)
    assert counts.tolist() == [2, 2, 1, 0]
    assert np.isnan(means[3]).all()
    with pytest.raises(InputError, match="outside the 2 classes"):
        geometry.class_means(z, np.array([0, 0, 1, 1, 2]), 2)


def slow_seeded_kmeans(
    z: np.ndarray, known: np.ndarray, start: np.ndarray, steps: int
) -> np.ndarray:
    """Pinned Lloyd steps in loops; classes with labels go home at the end."""
    centres = [row.copy() for row in start]
    for _ in range(steps):
        groups: list[list[np.ndarray]] = [[] for _ in centres]
        for row, label in zip(z, known, strict=True):
            near = int(np.argmin([((row - c) ** 2).sum() for c in centres]))
            groups[label if label >= 0 else near].append(row)
        centres = [np.mean(g, axis=0) if g else c for g, c in zip(groups, centres, strict=True)]
    for c in set(known[known >= 0].tolist()):
        centres[c] = z[known == c].mean(axis=0)
    return np.array(centres)


@pytest.mark.parametrize("seed", range(5))
def test_seeded_kmeans_equals_its_loops(seed: int) -> None:
    z, group = blobs(80, seed)
    known = np.where((np.arange(80) < 12) & (group < 2), group, -1)
    known[40] = 1 if group[40] != 1 else 0  # a label far from its class: it must stay pinned
    open_rows = np.flatnonzero(known < 0)
    means, counts = geometry.class_means(z, known, 4)
    drawn = geometry.kmeans_plus_plus(
        z[open_rows], means[counts > 0], int((counts == 0).sum()), rng_for(seed, 0, "seeding")
    )
    start = means.copy()
    start[counts == 0] = z[open_rows[drawn]]
    centres = geometry.seeded_kmeans(z, known, 4, rng_for(seed, 0, "seeding"))
    np.testing.assert_allclose(centres, slow_seeded_kmeans(z, known, start, 10), atol=1e-9)


def test_seeded_kmeans_reaches_the_groups_without_a_label() -> None:
    z, group = blobs(300)
    known = np.where(np.arange(300) < 30, np.where(group < 2, group, -1), -1)
    centres = geometry.seeded_kmeans(z.astype(np.float32), known, 4, rng_for(0, 0, "seeding"))
    assert centres.dtype == np.float32
    np.testing.assert_allclose(centres[0], z[known == 0].mean(axis=0), atol=1e-5)
    free = centres[2:][np.argsort(centres[2:, 0])]
    np.testing.assert_allclose(free, BLOBS[2:], atol=0.2)


def test_seeded_kmeans_at_its_edges() -> None:
    z, group = blobs(40)
    every = geometry.seeded_kmeans(z, group, 4, rng_for(0, 0, "a"))
    np.testing.assert_allclose(every, geometry.class_means(z, group, 4)[0])
    none = geometry.seeded_kmeans(z, np.full(40, -1), 4, rng_for(0, 0, "a"), n_init=3)
    np.testing.assert_array_equal(none, geometry.kmeans(z, 4, rng_for(0, 0, "a"), n_init=3).centres)
    # everything is labelled, one class is not: some labelled row starts its cluster
    assert np.isfinite(geometry.seeded_kmeans(z, group, 5, rng_for(0, 0, "a"))).all()
    # all rows equal: the drawn cluster empties and stays where it is
    same = geometry.seeded_kmeans(np.ones((5, 2)), np.array([0, -1, -1, -1, -1]), 3,
                                  rng_for(0, 0, "a"))  # fmt: skip
    np.testing.assert_array_equal(same, 1.0)
    assert geometry.seeded_kmeans(
        np.array([[0], [1], [5]]), np.array([0, 0, -1]), 2, rng_for(0, 0, "a")
    ).tolist() == [[0.5], [5.0]]


# --- vote and Hungarian


def test_vote_of_the_paper() -> None:
    clusters, classes = np.array([0, 0, 0, 1, 1, 2, 3, 3]), np.array([1, 1, 0, 0, 0, 1, 2, 1])
    assert geometry.vote(clusters, classes, 4, 3).tolist() == [1, 0, 1, 2]


def test_vote_ties_go_to_the_rarer_class_then_to_the_lower() -> None:
    assert geometry.vote(np.array([0, 0]), np.array([2, 1]), 1, 3).tolist() == [1]
    # cluster 1 is larger, takes class 0 first, so the tie of cluster 0 goes to class 1
    clusters, classes = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 0])
    assert geometry.vote(clusters, classes, 2, 2).tolist() == [1, 0]


def test_vote_without_votes() -> None:
    nobody = np.array([], dtype=np.int64)
    centres = np.array([[0.0], [1.0], [10.0], [9.0]])
    assert geometry.vote(nobody, nobody, 4, 3, centres=centres).tolist() == [-1, -1, -1, -1]
    clusters, classes = np.array([0, 2]), np.array([1, 2])
    assert geometry.vote(clusters, classes, 4, 3).tolist() == [1, -1, 2, -1]
    assert geometry.vote(clusters, classes, 4, 3, centres=centres).tolist() == [1, 1, 2, 2]


def test_vote_keeps_clusters_that_stand_for_a_class() -> None:
    fixed = np.array([0, 1, -1])
    clusters, classes = np.array([0, 2, 2]), np.array([1, 0, 2])
    assert geometry.vote(clusters, classes, 3, 3, fixed=fixed).tolist() == [0, 1, 2]
    assert fixed.tolist() == [0, 1, -1]


def test_hungarian_tries_every_map() -> None:
    table = rng_for(0, None, "table").integers(0, 30, (3, 5))
    rows, columns = geometry.hungarian(table)
    best = max(sum(table[i, p[i]] for i in range(3)) for p in permutations(range(5), 3))
    assert table[rows, columns].sum() == best
    assert len(rows) == 3


def test_a_large_memory_map_passes_without_a_copy(tmp_path: Path) -> None:
    n = 1_000_000
    x = np.memmap(tmp_path / "z.f32", np.float32, "w+", shape=(n, 16))
    for start in range(0, n, 100_000):
        x[start : start + 100_000] = rng_for(0, start, "z").random((100_000, 16), np.float32)
    tracemalloc.start()
    index, d2 = geometry.nearest(x, np.asarray(x[:20]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (index[:20] == np.arange(20)).all()
    assert d2.shape == (n,)
    assert peak < 4 * geometry.BLOCK_BYTES + 16 * n
