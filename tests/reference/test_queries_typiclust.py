"""TypiClust: worked numbers, a double loop, and input that leaves little to choose."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from handful import queries
from handful.errors import InputError, RecipeError
from handful.queries import _typiclust as inside
from handful.rng import rng_for
from handful.testing import QueryContract
from handful.types import Snapshot

X = np.array(
    [[0, 0], [0.5, 0], [-0.5, 0], [5, 0], [5.05, 0], [5.9, 0],
     [20, 0], [20, 0.4], [20, 0.9], [20, 1], [20, 3], [21, 0.4], [22, 0.4],
     [40, 0], [40, 1]]
)  # fmt: skip
GROUPS = np.array([0] * 6 + [1] * 7 + [2] * 2)


class TestTypiClustOnClusters(QueryContract):
    rule = queries.TypiClust(on="clusters")


class TestTypiClustOnRawVectors(QueryContract):
    rule = queries.TypiClust(normalise=False, squared=True, most=3, ties="index")


def known(*rows: int, n: int = len(X)) -> np.ndarray:
    labels = np.full(n, -1)
    labels[list(rows)] = 0
    return labels


def given(b: int, *labelled: int, **options: object) -> list[int]:
    rows = queries.typiclust(
        X, known(*labelled), b, clusters=GROUPS, normalise=False, ties="index", **options
    )
    return rows.tolist()


def slow_typicality(x, k, squared=False):
    out = []
    for i in range(len(x)):
        d = [float(np.sqrt(((x[i] - x[j]) ** 2).sum())) for j in range(len(x)) if j != i]
        d = sorted(v * v if squared else v for v in d)[:k]
        out.append(1 / (sum(d) / len(d) + 1e-5))
    return np.array(out)


def slow_typiclust(x, groups, labelled, b):
    """The definition, line by line, ties to the smaller index."""
    taken = set(labelled)
    sizes = {c: int((groups == c).sum()) for c in set(groups.tolist())}
    order = sorted(
        (c for c in sizes if sizes[c] >= 5),
        key=lambda c: (sum(groups[i] == c for i in labelled), -sizes[c], c),
    )
    picks: list[int] = []
    while len(picks) < b:
        for c in order:
            rows = [i for i in range(len(x)) if groups[i] == c and i not in taken]
            if not rows or len(picks) == b:
                continue
            k = max(1, min(20, len(rows) // 2))
            t = slow_typicality(x[rows], k) if len(rows) > 1 else [1.0]
            best = rows[int(np.argmax(np.round(t, 12)))]
            picks.append(best)
            taken.add(best)
    return picks


# --- worked numbers ------------------------------------------------------------------------


def test_worked_typicality():
    t = queries.typicality(X[:6], 2)
    want = [1.999960, 1.333316, 1.333316, 2.105219, 2.222173, 1.142844]
    np.testing.assert_allclose(t, want, atol=5e-7)
    squared = queries.typicality(X[:6], 2, squared=True)
    want = [3.999840, 1.599974, 1.599974, 2.461478, 2.758545, 1.305040]
    np.testing.assert_allclose(squared, want, atol=5e-7)
    assert (t.argmax(), squared.argmax()) == (4, 0)


def test_worked_picks():
    assert given(3) == [7, 3, 8]
    assert given(3, 7) == [3, 8, 0]
    assert given(3, 7, squared=True) == [3, 8, 0]  # and of the authors' code


def test_worked_number_of_clusters():
    assert inside.n_clusters(0, 10) == 10
    assert inside.n_clusters(490, 100) == 500


def test_order_of_visits():
    # no label before one label, large before small, then the lower number; 2 is too small
    groups = np.array([3] * 5 + [1] * 5 + [0] * 6 + [4] * 7 + [2] * 4)
    labelled = np.zeros(len(groups), dtype=bool)
    labelled[[0, 16]] = True  # one in 3, one in 4
    assert inside.visiting_order(groups, labelled) == ([0, 1, 4, 3], [2])


# --- slow twins ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("squared", [False, True])
def test_typicality_equals_its_double_loop(monkeypatch, kind, squared):
    monkeypatch.setattr(inside, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(40, 5)) + 30).astype(kind)
    x[10:14] = x[3]  # duplicates: neighbours at distance 0, found by number
    x[14] = x[3] + np.array(1e-3, dtype=kind)
    for k in (1, 4, 20):
        want = slow_typicality(x.astype(np.float64), k, squared)
        np.testing.assert_allclose(queries.typicality(x, k, squared=squared), want, rtol=2e-4)
    assert queries.typicality(x, 4)[10] == pytest.approx(1e5, rel=1e-3)  # four at distance 0


def test_typicality_within_a_sample_equals_its_double_loop():
    rng = np.random.default_rng(1)
    x, sample = rng.normal(size=(30, 3)), np.arange(0, 30, 3)
    found = queries.typicality(x, 4, sample=sample)
    for i in range(30):
        d = sorted(np.linalg.norm(x[i] - x[j]) for j in sample if j != i)[:4]
        assert found[i] == pytest.approx(1 / (np.mean(d) + 1e-5))


def test_picks_equal_the_definition_in_a_loop():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, groups = rng.normal(size=(40, 3)), rng.integers(0, 5, 40)
        labelled = rng.choice(40, 6, replace=False).tolist()
        rows = queries.typiclust(
            x, known(*labelled, n=40), 12, clusters=groups, normalise=False, ties="index"
        )
        assert rows.tolist() == slow_typiclust(x, groups, labelled, 12)


# --- the rule on its own clusters ----------------------------------------------------------


def blobs(n=200, k=4, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % k
    return (rng.normal(size=(n, 6)) * 0.2 + 3 * np.eye(6)[truth]).astype(np.float32), truth


def test_starts_without_a_label_and_covers_the_clusters():
    x, truth = blobs()
    rows = queries.typiclust(x, None, 4)
    assert sorted(truth[rows].tolist()) == [0, 1, 2, 3]
    # each in the middle of its blob, not at its edge
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    for row in rows:
        mean = z[truth == truth[row]].mean(axis=0)
        rank = (np.linalg.norm(z[truth == truth[row]] - mean, axis=1)
                < np.linalg.norm(z[row] - mean)).mean()  # fmt: skip
        assert rank < 0.5
    # the next round goes where no label is: eight clusters now, four of them without one
    labels = known(*rows, n=len(x))
    again = queries.typiclust(x, labels, 4, rng=1)
    assert not set(again) & set(rows)


def test_length_of_a_vector_does_not_count():
    x, _ = blobs()
    scale = np.random.default_rng(5).random((len(x), 1)).astype(np.float32) + 0.5
    np.testing.assert_array_equal(
        queries.typiclust(x, None, 4), queries.typiclust(x * scale, None, 4)
    )


def test_a_long_kmeans_starts_from_a_sample(monkeypatch):
    monkeypatch.setattr(inside, "_FULL_KMEANS", (3, 100_000))
    x, truth = blobs()
    rows = queries.typiclust(x, None, 4)
    assert sorted(truth[rows].tolist()) == [0, 1, 2, 3]
    np.testing.assert_array_equal(rows, queries.typiclust(x, None, 4))


def test_a_long_kmeans_is_no_worse_than_mini_batches():
    from sklearn.cluster import MiniBatchKMeans

    def inertia(groups):
        return sum(((x[groups == c] - x[groups == c].mean(axis=0)) ** 2).sum() for c in set(groups))

    x = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    rivals = [
        inertia(MiniBatchKMeans(60, batch_size=5000, n_init=1, random_state=s).fit_predict(x))
        for s in range(3)
    ]
    for seed in range(3):
        ours = inertia(inside._clustered(x, 60, rng_for(seed, 0, "query"), 1))
        assert ours < 1.005 * min(rivals)


def test_more_starts_of_kmeans_find_a_lower_inertia():
    x = np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32)
    for k in (12, 60):  # the second by a sample

        def inertia(starts, seed, k=k):
            groups = inside._clustered(x, k, rng_for(seed, 0, "query"), starts)
            return sum(((x[groups == c] - x[groups == c].mean(0)) ** 2).sum() for c in set(groups))

        once, often = (np.array([inertia(n, s) for s in range(6)]) for n in (1, 10))
        assert often.mean() < once.mean()
        assert often.std() < once.std()


def test_large_clusters_look_for_neighbours_in_a_sample(monkeypatch):
    monkeypatch.setattr(inside, "SAMPLE", 30)
    x, truth = blobs()
    rows = queries.typiclust(x, None, 4)
    assert sorted(truth[rows].tolist()) == [0, 1, 2, 3]


# --- little to choose from -----------------------------------------------------------------


def test_small_clusters_come_last_and_never_alone(caplog):
    # 11 open images of clusters 0 and 1, then the two of cluster 2
    assert set(given(15)) == set(range(15))
    assert [r >= 13 for r in given(14)] == [False] * 13 + [True]
    with caplog.at_level(logging.WARNING):
        rows = queries.typiclust(X[:4], None, 2, clusters=np.array([0, 0, 1, 1]))
    assert len(set(rows // 2)) == 2
    assert "no cluster has 5 images" in caplog.text


def test_more_than_is_open_gives_all_that_is_open():
    labels = known(*range(5, 15))
    assert queries.typiclust(X, labels, 99, clusters=GROUPS).tolist() == [0, 1, 2, 3, 4]
    assert queries.typiclust(X, labels, 0, clusters=GROUPS).tolist() == []


def test_exact_duplicates_are_picked_once_a_turn():
    x = np.repeat(np.array([[1.0, 0], [0, 1.0]], dtype=np.float32), 6, axis=0)
    rows = queries.typiclust(x, None, 4)
    assert (rows < 6).tolist() in ([True, False] * 2, [False, True] * 2)
    assert len(set(rows.tolist())) == 4


def test_zero_vectors_and_few_distinct_points():
    x = np.zeros((12, 3), dtype=np.float32)
    x[6:, 1] = 2
    assert len(set(queries.typiclust(x, None, 9).tolist())) == 9


def test_clusters_that_run_out_give_nobody_twice():
    """A defect of others: 16 distinct picks of 20 where five images are repeated ten times."""
    x = np.random.default_rng(0).normal(size=(5, 4))[np.arange(50) % 5]
    rows = queries.typiclust(x, None, 20)
    assert len(set(rows.tolist())) == 20
    free = np.arange(200) % 7 == 0  # 29 of 200 may be asked
    made = Snapshot.from_arrays(open=free, embedding=blobs()[0])
    picks = queries.TypiClust().select(made, 25, rng_for(0, 0, "query"))
    assert len(set(picks.ids)) == 25
    assert free[picks.rows].all()


def test_every_cluster_has_a_label_already():
    """A defect of others: no cluster is left for the first pick, and none is named."""
    x = np.ones((30, 3), dtype=np.float32)
    assert len(set(queries.typiclust(x, known(0, 1, n=30), 4).tolist())) == 4
    assert given(2, 0, 6, 13) == slow_typiclust(X, GROUPS, [0, 6, 13], 2)


def test_no_start_is_drawn_where_there_are_none():
    x = np.random.default_rng(3).normal(size=(300, 8)).astype(np.float32)
    asked = []
    for starts in (0, 1):
        rule = queries.TypiClust(starts=starts)
        asked.append([
            rule.select(Snapshot.from_arrays(embedding=x), 12, rng_for(seed, 0, "query")).rows
            for seed in range(4)
        ])  # fmt: skip
    assert all(np.array_equal(rows, asked[0][0]) for rows in asked[0])
    assert not all(np.array_equal(rows, asked[1][0]) for rows in asked[1])


def test_images_set_aside_are_never_asked():
    x, truth = blobs(40)
    groups = np.eye(4, dtype=np.float32)[truth]
    free = np.arange(40) % 2 == 0
    snapshot = Snapshot.from_arrays(open=free, embedding=x, clusters=groups)
    picks = queries.TypiClust(on="clusters").select(snapshot, 9, rng_for(0, 0, "query"))
    assert len(picks.rows) == 9
    assert free[picks.rows].all()


def test_what_cannot_be_is_refused():
    with pytest.raises(RecipeError, match="kmeans"):
        queries.TypiClust(on="scan")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="at least one cluster"):
        queries.TypiClust(most=0)
    with pytest.raises(RecipeError, match=r"query\.starts is -1"):
        queries.TypiClust(starts=-1)
    with pytest.raises(InputError, match="another row"):
        queries.typicality(X[:1], 1)
