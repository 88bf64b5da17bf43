"""DSAC's selection and pseudo-labels: the toy of 24 points by hand, and slow twins."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful import geometry
from handful.errors import InputError, MissingPart, RecipeError
from handful.pseudo import (
    agreed_labels,
    agreement,
    cluster_classes,
    pseudo_labels,
    pseudo_size,
    surest,
)
from handful.queries import DSAC, dsac, far_set, near_set, quotas
from handful.rng import rng_for
from handful.testing import QueryContract
from handful.types import Snapshot

DOCS = Path(__file__).resolve().parents[2] / "docs"
TOY = np.array(
    [[0.5, 0.7], [-0.7, 0.4], [1.2, 0.0], [1.3, 1.0], [-0.2, 0.6], [0.6, 1.2], [0.3, -1.5],
     [0.4, 0.6], [0.2, 0.5], [2.9, 1.6], [4.2, -0.5], [3.5, 0.5], [4.5, 0.0], [5.9, 0.1],
     [3.6, -0.2], [3.9, 1.6], [3.5, 0.3], [2.2, 2.6], [2.4, 4.3], [2.7, 4.6], [2.6, 4.0],
     [1.1, 3.9], [0.7, 3.6], [1.4, 3.8]]
)  # fmt: skip
A = np.repeat([0, 1, 2], [9, 8, 7])
MU = np.array([TOY[p == A].mean(axis=0) for p in range(3)])
D = np.square(TOY - MU[A]).sum(axis=1)
TRUTH = np.array([0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
MISLED = np.where(np.arange(24) == 18, 1, TRUTH)  # one representative of another class
C = np.array(
    [2.439024, 0.423729, 0.334448, 0.448430, 1.219512, 0.840336, 0.087032, 2.325581, 2.857143,
     0.246305, 0.520833, 0.558659, 0.438596, 0.094340, 0.826446, 0.236967, 0.719424, 0.175747,
     0.641026, 0.347222, 0.505051, 0.454545, 0.248139, 0.531915]
)  # fmt: skip
ROUND_1 = [8, 3, 16, 9, 18, 19]
ROUND_2 = [0, 5, 1, 14, 10, 23, 21]
SIX_DIGITS = 5e-7  # the printed numbers are rounded to six
TWICE = settings(max_examples=60, deadline=None, database=None, derandomize=True)


def known(rows: Sequence[int], truth: np.ndarray = TRUTH) -> np.ndarray:
    answered = np.full(len(truth), -1)
    answered[list(rows)] = truth[list(rows)]
    return answered


def ask(b: int, answered: Sequence[int] = (), **options: Any) -> list[int]:
    """The toy, with k_1 = 3 and k = 3 as on paper."""
    given = {"k1": 3, "neighbours": 3, "ties": "index"} | options
    return dsac(TOY, A, MU, b, known=known(answered), **given).rows.tolist()


def groups(labels: np.ndarray) -> dict[int, set[int]]:
    """Rows by pseudo-label."""
    return {
        int(k): set(np.flatnonzero(labels == k).tolist()) for k in np.unique(labels[labels >= 0])
    }


# --- the budget's division -----------------------------------------------------------------

DIVISIONS = [
    (20, [1300] * 10, [2] * 10, 2, 20),
    (20, [3000] * 20, [1] * 20, 1, 20),
    (20, [100, 90, 80], [7, 7, 6], 7, 21),
    (4, [5, 9, 7, 9, 1, 2, 3, 4, 5, 6], [0, 1, 1, 1, 0, 0, 0, 0, 0, 1], 0, 0),
    (25, [1300] * 10, [3, 3, 3, 3, 3, 2, 2, 2, 2, 2], 3, 30),
    (10, [1, 1, 30, 2], [1, 1, 6, 2], 3, 12),
    (40, [3, 2, 4], [3, 2, 4], 13, 39),
]


@pytest.mark.parametrize(("b", "sizes", "exact", "each", "total"), DIVISIONS)
def test_the_budget_is_divided(
    b: int, sizes: list[int], exact: list[int], each: int, total: int
) -> None:
    assert quotas(b, sizes).tolist() == exact
    if each == 0:
        with pytest.raises(InputError, match=r"4 answers for 10 clusters round to 0.* 5 or more"):
            quotas(b, sizes, rule="round")
        return
    assert quotas(b, sizes, rule="round").tolist() == [min(each, s) for s in sizes]
    assert quotas(b, [10**6] * len(sizes), rule="round").sum() == total


def one_at_a_time(b: int, sizes: list[int]) -> list[int]:
    """The division as the paper's resolution writes it, a label a step."""
    c = len(sizes)
    share = [b // c] * c
    for p in sorted(range(c), key=lambda p: (-sizes[p], p))[: b % c]:
        share[p] += 1
    over = sum(max(s - n, 0) for s, n in zip(share, sizes, strict=True))
    share = [min(s, n) for s, n in zip(share, sizes, strict=True)]
    while over > 0 and any(s < n for s, n in zip(share, sizes, strict=True)):
        share[min(range(c), key=lambda p: (share[p] - sizes[p], p))] += 1
        over -= 1
    return share


@TWICE
@given(st.integers(0, 80), st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_the_division_is_the_slow_one_and_loses_nothing(b: int, sizes: list[int]) -> None:
    share = quotas(b, sizes)
    assert share.tolist() == one_at_a_time(b, sizes)
    assert share.sum() == min(b, sum(sizes))
    assert (share <= sizes).all()


def test_half_an_answer_rounds_up() -> None:
    """Half to even would give 2 of 2.5."""
    assert quotas(5, [9, 9], rule="round").tolist() == [3, 3]
    assert quotas(1, [9, 9], rule="round").tolist() == [1, 1]


# --- the toy -------------------------------------------------------------------------------


def test_the_toy_is_the_one_on_paper() -> None:
    assert np.allclose(MU, [[0.4, 0.388889], [4.0, 0.425], [1.871429, 3.828571]], atol=SIX_DIGITS)
    assert (geometry.nearest(TOY, MU)[0] == A).all()
    lam = np.quantile(D, 0.95)
    assert lam == pytest.approx(3.429810, abs=SIX_DIGITS)
    assert (lam < D).sum() == 2


def test_near_and_far_sets() -> None:
    near = [near_set(np.flatnonzero(p == A), D, 3).tolist() for p in range(3)]
    assert near == [[7, 8, 0], [11, 16, 12], [23, 18, 20]]
    far = []
    for p, representative in enumerate((8, 16, 18)):
        rest = np.setdiff1d(np.flatnonzero(p == A), representative)
        far.append(far_set(rest, D, 3).tolist())
    assert far == [[6, 1, 3], [13, 9, 15], [17, 22, 19]]


def test_round_one() -> None:
    chosen = dsac(TOY, A, MU, 6, k1=3, neighbours=3, ties="index")
    assert chosen.rows.tolist() == ROUND_1
    assert chosen.cluster.tolist() == [0, 0, 1, 1, 2, 2]
    assert chosen.representative.tolist() == [True, False] * 3


def test_round_one_from_the_printed_compactness() -> None:
    """Near and far sets by d, the most compact of each: nothing but the printed C and d."""
    found = []
    for p in range(3):
        rows = np.flatnonzero(p == A)
        near = near_set(rows, D, 3)
        first = near[C[near].argmax()]
        far = far_set(rows[rows != first], D, 3)
        found += [int(first), int(far[C[far].argmax()])]
    assert found == ROUND_1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"knn_scope": "cluster"}, [8, 3, 16, 15, 18, 19]),
        ({"rep_rule": "nearest", "difficult_rule": "rank"}, [7, 6, 11, 13, 23, 17]),
        ({"k1": 24}, [8, 0, 14, 16, 18, 23]),
    ],
)
def test_other_readings_differ_as_they_must(options: dict[str, Any], expected: list[int]) -> None:
    """Neighbours within the cluster; the extremes by rank; no candidates set apart."""
    assert ask(6, **options) == expected
    assert expected != ROUND_1


def test_wrong_compactness_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsquared distances, or the point itself among its neighbours, choose other images."""
    neighbours = geometry.neighbours

    def unsquared(x: np.ndarray, k: int, **rest: Any) -> Any:
        return (found := neighbours(x, k, **rest))._replace(d2=np.sqrt(found.d2))

    def with_itself(x: np.ndarray, k: int, **rest: Any) -> Any:
        found = neighbours(x, k, **rest)
        return found._replace(d2=np.hstack([np.zeros((len(x), 1)), found.d2[:, :-1]]))

    monkeypatch.setattr(geometry, "neighbours", unsquared)
    assert ask(6) == [7, 1, 16, 9, 18, 19]
    monkeypatch.setattr(geometry, "neighbours", with_itself)
    assert ask(6) == [7, 1, 16, 15, 18, 19]


def test_round_two() -> None:
    chosen = dsac(TOY, A, MU, 7, known=known(ROUND_1), k1=3, neighbours=3, ties="index")
    assert chosen.rows.tolist() == ROUND_2
    assert chosen.cluster.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert chosen.representative.tolist() == [True, False, False, True, False, True, False]
    rest = np.setdiff1d(np.flatnonzero(A == 0), [8, 3, 0])
    assert far_set(rest, D, max(3, 2 * 2)).tolist() == [6, 1, 2, 5]


def test_several_representatives() -> None:
    chosen = dsac(TOY, A, MU, 12, k1=3, neighbours=3, ties="index", reps_per_cluster=3)
    assert chosen.rows.tolist() == [8, 0, 7, 3, 16, 11, 12, 9, 18, 23, 20, 19]
    assert chosen.representative.tolist() == [True, True, True, False] * 3


def test_three_representatives_open_the_first_round_where_the_share_allows_it() -> None:
    assert ask(12, reps_first_round=3) == [8, 0, 7, 3, 16, 11, 12, 9, 18, 23, 20, 19]
    assert ask(6, reps_first_round=3) == ROUND_1
    rule = DSAC(k1=3, neighbours=3, ties="index", reps_first_round=3)
    later = rule.select(toy_snapshot(memo={"cluster": {}}), 12, rng_for(0, 1, "query"))
    assert later.tags.count("representative") == 3


def test_a_share_of_the_cluster_may_be_candidates() -> None:
    """A share that gives fewer than k_1 changes nothing; the whole cluster is k_1 = 24."""
    assert ask(6, k1_share=0.3) == ROUND_1  # 2 of 9, 2 of 8, 2 of 7
    assert ask(6, k1_share=1.0) == ask(6, k1=24)
    half = dsac(TOY, A, MU, 6, k1=1, k1_share=0.5, neighbours=3, ties="index")
    for p in range(3):
        members = np.flatnonzero(p == A)
        far = members[np.lexsort((members, -D[members]))]
        rest = far[~np.isin(far, half.rows[half.representative])]
        candidates = rest[: max(2, len(members) // 2)]
        difficult = half.rows[(half.cluster == p) & ~half.representative]
        assert difficult.tolist() == [candidates[np.argmax(C[candidates])]]
    for share in (-0.1, 1.1):
        with pytest.raises(RecipeError, match="0 to 1"):
            DSAC(k1_share=share)


def test_the_figure_of_the_documents_shows_the_toy(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("toy", DOCS / "toy.py")
    assert spec is not None
    assert spec.loader is not None
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    assert (toy.POINTS == TOY).all()
    assert toy.choices().rows.tolist() == ROUND_1
    assert ((toy.cores(MISLED) >= 0) & (toy.cores(MISLED) != MISLED)).sum() == 4
    drawn = toy.write(tmp_path).read_bytes()
    assert len(drawn) < 100_000
    for said in (b"0 of 12 wrong", b"4 of 12 wrong", b"representative", b"difficult"):
        assert said in drawn
    assert toy.write(tmp_path).read_bytes() == drawn


# --- options -------------------------------------------------------------------------------


def toy_snapshot(answered: Sequence[int] = (), **rest: Any) -> Snapshot:
    return Snapshot.from_arrays(
        known=known(answered), embedding=TOY, centres=MU, clusters=np.eye(3)[A], **rest
    )


def test_tags_and_memo() -> None:
    picks = DSAC(k1=3, neighbours=3).select(toy_snapshot(), 6, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == ROUND_1
    assert picks.tags == ("representative", "difficult") * 3
    assert picks.memo == {
        "cluster": {f"{row:08d}": p for row, p in zip(ROUND_1, [0, 0, 1, 1, 2, 2], strict=True)}
    }


@pytest.mark.parametrize(
    ("picks", "expected", "kinds"),
    [
        ("representative", [8, 0, 16, 11, 18, 23], [True] * 6),
        # the 2 * 2 farthest: 6 1 3 2 / 13 9 15 10 / 17 22 19 21
        ("difficult", [3, 1, 10, 9, 21, 19], [False] * 6),
    ],
)
def test_one_kind_alone(picks: Any, expected: list[int], kinds: list[bool]) -> None:
    chosen = dsac(TOY, A, MU, 6, k1=3, neighbours=3, ties="index", picks=picks)
    assert chosen.rows.tolist() == expected
    assert chosen.representative.tolist() == kinds


def test_an_answer_a_cluster_leaves_nothing_for_the_difficult() -> None:
    both = dsac(TOY, A, MU, 3, k1=3, neighbours=3, ties="index")
    alone = dsac(TOY, A, MU, 3, k1=3, neighbours=3, ties="index", picks="representative")
    assert both.rows.tolist() == alone.rows.tolist() == [8, 16, 18]
    assert both.representative.all()


def test_the_skip_passes_over_the_farthest_and_shrinks_when_it_must() -> None:
    by_rank = {"difficult_rule": "rank", "k1": 1}
    assert ask(6, difficult_skip=1, **by_rank) == [7, 1, 11, 9, 23, 22]
    # 5 others in each cluster at least, 3 of them asked for: no more than the rest is skipped
    deep = dsac(TOY, A, MU, 12, k1=1, ties="index", difficult_rule="rank", difficult_skip=200)
    assert len(deep.rows) == 12
    rest = far_set(np.setdiff1d(np.flatnonzero(A == 2), deep.rows[8]), D, 9).tolist()
    assert deep.rows[9:].tolist() == rest[-3:]


def test_representatives_only_until_the_class_has_one() -> None:
    rule = DSAC(k1=3, neighbours=3, ties="index", rep_rounds="first")
    first = rule.select(toy_snapshot(), 6, rng_for(0, 0, "query"))
    assert first.rows.tolist() == ROUND_1
    assert first.memo["representatives"] == ["00000008", "00000016", "00000018"]
    second = rule.select(toy_snapshot(ROUND_1, memo=first.memo), 3, rng_for(0, 1, "query"))
    assert second.tags == ("difficult",) * 3
    assert second.memo["representatives"] == first.memo["representatives"]
    # 18 was answered 1: no representative stands for class 2, cluster 2 gets another
    misled = Snapshot.from_arrays(
        known=known(ROUND_1, MISLED), embedding=TOY, centres=MU, clusters=np.eye(3)[A],
        memo=first.memo,
    )  # fmt: skip
    third = rule.select(misled, 3, rng_for(0, 1, "query"))
    assert third.tags == ("difficult", "difficult", "representative")
    assert third.memo["representatives"][3:] == [third.ids[2]]


def test_neighbours_among_the_open_alone() -> None:
    """The twin: Eq. 3 on the open rows by double loop."""
    answered = [0, 8, 16, 11, 23]
    free = [i for i in range(24) if i not in answered]
    s = {i: sum(sorted(np.square(TOY[i] - TOY[j]).sum() for j in free if j != i)[:3]) for i in free}
    expected = []
    for p in range(3):
        mine = sorted((i for i in free if A[i] == p), key=lambda i: D[i])
        first = min(mine[:3], key=lambda i: s[i])
        rest = [i for i in reversed(mine) if i != first]
        expected += [first, min(rest[:3], key=lambda i: s[i])]
    assert ask(6, answered, knn_scope="unlabelled") == expected
    assert ask(6, answered) != expected


def test_rounding_asks_no_more_than_the_round_may(caplog: pytest.LogCaptureFixture) -> None:
    rule = DSAC(k1=3, neighbours=3, ties="index", budget_rule="round")
    assert len(dsac(TOY, A, MU, 5, k1=3, budget_rule="round").rows) == 6
    picks = rule.select(toy_snapshot(), 5, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == ROUND_1[:5]
    assert "the last 1 are left out" in caplog.text
    assert rule.select(toy_snapshot(), 4, rng_for(0, 0, "query")).rows.tolist() == [8, 16, 18]


@pytest.mark.parametrize("field", ["k1", "neighbours", "reps_per_cluster", "reps_first_round"])
def test_options_below_one_are_refused(field: str) -> None:
    with pytest.raises(RecipeError, match=f"at least 1 for {field}, not 0"):
        DSAC(**{field: 0})


def test_a_negative_skip_is_refused() -> None:
    with pytest.raises(RecipeError, match="skip -1"):
        DSAC(difficult_skip=-1)


# --- a slow twin of the whole --------------------------------------------------------------


def slowly(x: np.ndarray, a: np.ndarray, mu: np.ndarray, b: int, answered: set[int], k1: int,
           k: int, reps: int) -> list[int]:  # fmt: skip
    """Selection written as the steps of the text, point by point; ties by index, no copies."""
    n = len(x)
    d2 = [[float(np.square(x[i] - x[j]).sum()) for j in range(n)] for i in range(n)]
    s = [sum(sorted(d2[i][j] for j in range(n) if j != i)[:k]) for i in range(n)]
    floor = 1e-3 * float(np.median([v for v in s if v > 0] or [1]))
    c = [1 / max(v, floor) for v in s]
    d = [float(np.square(x[i] - mu[a[i]]).sum()) for i in range(n)]
    free = [[i for i in range(n) if a[i] == p and i not in answered] for p in range(len(mu))]
    asked = []
    for p, share in enumerate(one_at_a_time(b, [len(f) for f in free])):
        n_rep = min(reps, share)
        near = sorted(free[p], key=lambda i: (d[i], i))[: max(k1, n_rep)]
        first = sorted(near, key=lambda i: (-c[i], d[i], i))[:n_rep]
        rest = sorted((i for i in free[p] if i not in first), key=lambda i: (-d[i], i))
        far = rest[: max(k1, 2 * (share - n_rep))]
        asked += first + sorted(far, key=lambda i: (-c[i], -d[i], i))[: share - n_rep]
    return asked


@TWICE
@given(
    st.integers(1, 40), st.integers(1, 4), st.integers(0, 45), st.integers(1, 8),
    st.integers(1, 3), st.integers(0, 10**6),
)  # fmt: skip
def test_the_rule_is_the_slow_one(n: int, c: int, b: int, k1: int, reps: int, seed: int) -> None:
    rng = rng_for(seed, None, "points")
    x = rng.normal(size=(n, 3))
    mu = rng.normal(size=(c, 3))
    a = geometry.nearest(x, mu)[0]
    answered = set(np.flatnonzero(rng.random(n) < 0.3).tolist())
    labels = np.where(np.isin(np.arange(n), list(answered)), 0, -1)
    chosen = dsac(
        x, a, mu, b, known=labels, k1=k1, neighbours=4, reps_per_cluster=reps, ties="index"
    )
    few = [min(reps, int(s)) for s in np.bincount(chosen.cluster, minlength=c)]
    assert chosen.rows.tolist() == slowly(x, a, mu, b, answered, k1, 4, reps)
    assert not answered & set(chosen.rows.tolist())
    assert len(set(chosen.rows.tolist())) == min(b, n - len(answered))
    assert (np.diff(chosen.cluster) >= 0).all()
    for p in range(c):  # representatives stand first
        kinds = chosen.representative[chosen.cluster == p]
        assert kinds.tolist() == sorted(kinds.tolist(), reverse=True)
        assert kinds.sum() == few[p]


# --- copies, ties, degenerate input --------------------------------------------------------


def test_of_equal_images_one_is_asked() -> None:
    """Rows 0..3 are equal and the most compact; the others are asked before a second of them."""
    x = np.array([[0, 0.0]] * 4 + [[1, 0], [0, 2], [3, 3]])
    a, mu = np.zeros(7, dtype=int), np.zeros((1, 2))
    options = {"neighbours": 2, "reps_per_cluster": 3, "ties": "index"}
    assert dsac(x, a, mu, 3, **options).rows.tolist() == [0, 4, 5]
    assert dsac(x, a, mu, 3, dedupe=False, **options).rows.tolist() == [0, 1, 2]
    # 5 of 4 distinct ones: the next copy by index comes back
    assert sorted(dsac(x, a, mu, 5, **options).rows.tolist()) == [0, 1, 4, 5, 6]
    assert sorted(dsac(x, a, mu, 7, **options).rows.tolist()) == list(range(7))


def test_copies_count_in_the_division_and_across_clusters() -> None:
    x = np.array([[0.0], [-0.0], [0], [5], [6], [0]])
    a, mu = np.array([0, 0, 0, 1, 1, 1]), np.array([[0.0], [5]])
    chosen = dsac(x, a, mu, 3, k1=2, neighbours=1, ties="index")
    # 2 for the first of two clusters of 3, although it holds one distinct image; row 5 is a copy
    assert chosen.cluster.tolist() == [0, 0, 1]
    assert chosen.rows.tolist()[:2] == [0, 1]
    assert chosen.rows[2] in (3, 4)


def test_all_images_equal() -> None:
    x, mu = np.ones((6, 2)), np.ones((2, 2))
    chosen = dsac(x, np.zeros(6, dtype=int), mu, 3, ties="index")
    assert chosen.rows.tolist() == [0, 1, 2]
    two = dsac(x, np.array([0, 0, 0, 1, 1, 1]), mu, 2, ties="index")
    assert two.rows.tolist() == [0, 3]


def test_ties_fall_by_the_generator() -> None:
    x = np.tile(np.eye(4), (6, 1))
    a, mu = np.zeros(24, dtype=int), np.full((1, 4), 0.25)
    found = {tuple(dsac(x, a, mu, 4, rng=seed, dedupe=False).rows) for seed in range(12)}
    assert len(found) > 6


def test_nothing_to_ask_and_less_than_was_wanted(caplog: pytest.LogCaptureFixture) -> None:
    assert ask(0) == []
    assert ask(5, range(24)) == []
    with caplog.at_level("INFO", logger="handful"):
        assert sorted(ask(99, range(4, 24))) == [0, 1, 2, 3]
    assert "about 4 images where 99 were wanted" in caplog.text


def test_a_cluster_without_an_open_image_and_one_without_any() -> None:
    mu = np.vstack([MU, [[np.nan, np.nan]]])
    chosen = dsac(TOY, A, mu, 4, known=known(range(9)), k1=3, neighbours=3)
    assert set(chosen.cluster.tolist()) == {1, 2}
    assert len(chosen.rows) == 4


def test_one_cluster_one_image_and_fewer_than_the_neighbours() -> None:
    assert dsac(TOY, np.zeros(24, dtype=int), MU[:1], 2).rows.size == 2
    one = dsac(TOY[:1], A[:1], MU, 3)
    assert one.rows.tolist() == [0]
    assert one.representative.all()
    assert dsac(TOY[:4], A[:4], MU, 4, neighbours=9).rows.size == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_without_numbers_is_named(bad: float) -> None:
    x = TOY.copy()
    x[5, 1] = bad
    with pytest.raises(InputError, match="row 5 holds NaN or inf"):
        dsac(x, A, MU, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "seconds"), [(60_000, 1), (1_000_000, 20)])
def test_it_takes_no_time_beside_the_neighbours(
    n: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds of the processor, so that a busy machine changes nothing."""
    rng = rng_for(0, None, "many rows")
    mu = rng.normal(size=(20, 200)).astype(np.float32)
    a = rng.integers(0, 20, n)
    x = rng.standard_normal((n, 200), dtype=np.float32) + mu[a]
    at_hand = geometry.Neighbours(np.zeros((n, 6), dtype=np.int64), rng.random((n, 6)), "made", 1)
    monkeypatch.setattr(geometry, "neighbours", lambda *_: at_hand)
    snapshot = Snapshot.from_arrays(
        embedding=x, centres=mu, clusters=np.eye(20, dtype=np.float32)[a]
    )
    started = process_time()
    picks = DSAC().select(snapshot, 100, rng_for(0, 0, "query"))
    assert process_time() - started < seconds
    assert len(picks.ids) == 100


def test_a_missing_part_is_named() -> None:
    bare = Snapshot.from_arrays(embedding=TOY, clusters=np.eye(3)[A])
    with pytest.raises(MissingPart, match="dsac needs 'centres'"):
        DSAC().select(bare, 3, rng_for(0, 0, "query"))


class TestCopiesAllowed(QueryContract):
    rule = DSAC(dedupe=False, ties="index", reps_per_cluster=2, difficult_skip=3)


class TestTheAuthorsCode(QueryContract):
    rule = DSAC(rep_rule="nearest", difficult_rule="rank", difficult_skip=200, rep_rounds="first")


class TestOnlyDifficult(QueryContract):
    rule = DSAC(picks="difficult", knn_scope="cluster")


class TestOnlyRepresentative(QueryContract):
    rule = DSAC(picks="representative", knn_scope="unlabelled", reps_first_round=3)


# --- pseudo-labels -------------------------------------------------------------------------

REPS_1, REPS_2 = [8, 16, 18], [0, 14, 23]
NEIGHBOURS = geometry.knn(TOY, 3)[0]


def test_the_core_of_each_cluster_takes_the_class_of_its_representative(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="handful"):
        labels = pseudo_labels(A, D, known(ROUND_1), REPS_1, k2=4)
    assert "pseudo-labels: 12, for 3 classes; by cluster: 4 4 4" in caplog.text
    assert groups(labels) == {0: {7, 0, 4, 5}, 1: {11, 12, 14, 10}, 2: {23, 20, 21, 22}}
    assert (labels[labels >= 0] == TRUTH[labels >= 0]).all()
    capped = pseudo_labels(A, D, known(ROUND_1), REPS_1, k2=4, cap=0.5)
    assert groups(capped) == groups(labels) | {2: {23, 20, 21}}


def test_one_wrong_representative_mislabels_the_core_of_its_cluster() -> None:
    labels = pseudo_labels(A, D, known(ROUND_1, MISLED), REPS_1, k2=4)
    assert groups(labels) == {0: {7, 0, 4, 5}, 1: {11, 12, 14, 10, 23, 20, 21, 22}}
    wrong = (labels >= 0) & (labels != MISLED)
    assert wrong.sum() == 4
    assert (labels >= 0).sum() == 12


def test_pseudo_labels_of_round_two() -> None:
    answered = known(ROUND_1 + ROUND_2)
    labels = pseudo_labels(A, D, answered, REPS_1 + REPS_2, fresh=REPS_2, k2=6, cap=0.5)
    assert groups(labels) == {0: {7, 4, 2, 6}, 1: {11, 12, 15, 13}, 2: {20, 22, 17}}
    assert np.flatnonzero((labels >= 0) & (labels != TRUTH)).tolist() == [17]


def test_two_views_must_agree() -> None:
    """Cluster 2 has a wrong representative: the graph says otherwise, so it names nobody."""
    spread = np.where(A == 0, 0, np.where(A == 1, 1, 2))
    spread[[9, 17]] = -1
    labels = agreed_labels(A, D, known(ROUND_1, MISLED), spread)
    by_hand = np.full(24, -1)
    votes = {p: [MISLED[i] for i in ROUND_1 if A[i] == p] for p in range(3)}
    for i in range(24):
        if i not in ROUND_1:
            own = [
                t
                for t in votes[A[i]]
                if votes[A[i]].count(t) == max(map(votes[A[i]].count, votes[A[i]]))
            ]
            nearest = min((D[j], MISLED[j]) for j in ROUND_1 if A[j] == A[i] and MISLED[j] in own)[
                1
            ]
            by_hand[i] = nearest if nearest == spread[i] else -1
    assert labels.tolist() == by_hand.tolist()
    assert (labels[ROUND_1] == -1).all()
    assert (labels[A == 0] == 0).sum() == 7
    assert (agreed_labels(A, D, np.full(24, -1), spread) == -1).all()  # nobody was asked


def test_the_surest_of_each_class_by_the_margin_of_the_graph() -> None:
    reach = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0.5, 0.5], [0.8, 0.2]])
    labels = np.array([0, 0, 1, 0, 1, -1])
    assert surest(labels, reach, 2).tolist() == [0, -1, 1, 0, 1, -1]
    assert surest(labels, reach, 1).tolist() == [0, -1, 1, -1, -1, -1]
    tied = np.full((4, 3), 1 / 3)
    assert surest(np.zeros(4, dtype=np.int64), tied, 2).tolist() == [0, 0, -1, -1]
    assert surest(np.zeros(2, dtype=np.int64), np.ones((2, 1)), 1).tolist() == [0, -1]


def test_agreement_of_neighbours() -> None:
    agree = agreement(NEIGHBOURS, A)
    assert np.flatnonzero(agree < 1).tolist() == [9, 17]
    assert agree[[9, 17]] == pytest.approx([0.666667] * 2, abs=SIX_DIGITS)
    assert agreement(np.empty((1, 0), dtype=int), np.zeros(1, dtype=int)).tolist() == [1]
    slow = [sum(A[j] == A[i] for j in NEIGHBOURS[i]) / 3 for i in range(24)]
    assert agree.tolist() == slow


def test_whoever_has_neighbours_of_other_clusters_gets_no_pseudo_label() -> None:
    labels = pseudo_labels(
        A, D, known(ROUND_1 + ROUND_2), REPS_1 + REPS_2, fresh=REPS_2, k2=6, cap=0.5,
        agree=agreement(NEIGHBOURS, A), agree_tau=0.7,
    )  # fmt: skip
    assert groups(labels) == {0: {7, 4, 2, 6}, 1: {11, 12, 15, 13}, 2: {20, 22}}
    assert (labels[labels >= 0] == TRUTH[labels >= 0]).all()


def test_the_filter_of_neighbours_comes_before_the_count() -> None:
    """The two nearest of those that agree, not what is left of the two nearest."""
    agree = np.ones(24)
    agree[[7, 0]] = 0.5
    labels = pseudo_labels(A, D, known([8]), [8], k2=2, agree=agree, agree_tau=0.7)
    assert groups(labels) == {0: {4, 5}}
    with pytest.raises(InputError, match=r"agree_tau = 0\.7 needs the agreement"):
        pseudo_labels(A, D, known([8]), [8], k2=2, agree_tau=0.7)


def test_a_wrong_representative_is_outvoted() -> None:
    """Cluster 2 is answered 1, 2, 2 by its three representatives: one would have named it 1."""
    asked = [8, 0, 7, 3, 16, 11, 12, 9, 18, 23, 20, 19]
    reps = [8, 0, 7, 16, 11, 12, 18, 23, 20]
    answered = known(asked, MISLED)
    named, shares = cluster_classes(A, D, answered, reps)
    assert named.tolist() == [0, 1, 2]
    assert shares == pytest.approx([1, 1, 0.666667], abs=SIX_DIGITS)
    assert cluster_classes(A, D, answered, [8, 16, 18]).classes.tolist() == [0, 1, 1]
    labels = pseudo_labels(A, D, answered, reps, k2=4, cap=0.5, by_share=True)
    free = np.bincount(A[labels >= 0], minlength=3)
    assert free.tolist() == [4, 4, 2]
    assert groups(labels)[2] == {21, 22}


def test_newest_and_plurality() -> None:
    """Representatives of three rounds, answered 2, 2, 1 in this order."""
    answered = np.array([2, 2, 1, -1])
    a, d = np.zeros(4, dtype=int), np.array([1.0, 2, 3, 4])
    newest = cluster_classes(a, d, answered, [0, 1, 2], fresh=[2])
    assert newest.classes.tolist() == [1]
    assert cluster_classes(a, d, answered, [0, 1, 2], mode="plurality").classes.tolist() == [2]
    assert cluster_classes(a, d, answered, [2, 0], mode="plurality").classes.tolist() == [2]
    moved = cluster_classes(np.array([0, 1, 1, 1]), d, answered, [0, 1, 2], mode="plurality")
    assert moved.classes.tolist() == [2, 2]  # a tie in cluster 1: row 1 is nearer than row 2
    assert moved.shares.tolist() == [1, 0.5]


def test_a_tie_falls_to_the_nearest_then_to_the_lower_row() -> None:
    a = np.zeros(5, dtype=int)
    answered = np.array([0, 1, 1, 0, 2])
    far = cluster_classes(a, np.array([5.0, 4, 3, 2, 1]), answered, range(5))
    assert far.classes.tolist() == [0]  # class 2 is nearer, and has one vote alone
    equal = cluster_classes(a, np.ones(5), answered[::-1], range(5))
    assert equal.classes.tolist() == [0]  # rows 1 (class 0) and 2 (class 1) lead
    assert cluster_classes(a, np.ones(5), answered, [1, 3]).classes.tolist() == [1]


def test_a_representative_that_nobody_could_name_has_no_vote() -> None:
    answered = known([16, 18])
    assert cluster_classes(A, D, answered, REPS_1).classes.tolist() == [-1, 1, 2]
    labels = pseudo_labels(A, D, answered, REPS_1, k2=4)
    assert set(groups(labels)) == {1, 2}


# clusters x classes: what people answered, and a map a greedy reading would miss
VOTES = [(0, 2, 1), (0, 2, 0), (1, 0, 0), (0, 0, 0)]


def answered_by(votes: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and labels of as many images as there are votes."""
    pairs = [(p, k) for p, row in enumerate(votes) for k, n in enumerate(row) for _ in range(n)]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def test_clusters_are_named_one_to_one_or_by_plurality() -> None:
    a, labels = answered_by(VOTES)
    d = np.arange(len(a), dtype=float)
    one_to_one = cluster_classes(a, d, labels, [], mode="hungarian", n_clusters=4)
    assert one_to_one.classes.tolist() == [2, 1, 0, -1]
    assert one_to_one.shares == pytest.approx([1 / 3, 1, 1, 0])
    most = cluster_classes(a, d, labels, [], mode="labels", n_clusters=4)
    assert most.classes.tolist() == [1, 1, 0, -1]


@TWICE
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_one_to_one_map_is_the_first_of_the_best(votes: list[list[int]]) -> None:
    """The twin tries every map; -1 (no class) comes last in the order."""
    a, labels = answered_by(votes)
    named = cluster_classes(a, np.zeros(len(a)), labels, [], mode="hungarian",
                            n_clusters=len(votes)).classes  # fmt: skip
    maps: list[tuple[int, ...]] = [()]
    for row in votes:
        maps = [(*m, k) for m in maps for k in (0, 1, 2, -1)
                if k == -1 or (row[k] and k not in m)]  # fmt: skip
    best = max(maps, key=lambda m: sum(r[k] for r, k in zip(votes, m, strict=True) if k >= 0))
    assert tuple(named) == best


def test_random_draws_name_clusters_by_all_their_answers() -> None:
    answered = known([1, 2, 3, 17, 18])
    labels = pseudo_labels(A, D, answered, [], k2=1, mode="labels")
    # cluster 0 is answered 0, 0, 1; cluster 2 is tied, 18 is nearer; nothing is known of cluster 1
    assert groups(labels) == {0: {7}, 2: {23}}


def test_options_of_the_size() -> None:
    total = pseudo_labels(A, D, known(ROUND_1), REPS_1, k2=7, scope="total")
    assert Counter(A[total >= 0].tolist()) == {0: 2, 1: 2, 2: 2}
    every = pseudo_labels(A, D, known(ROUND_1), REPS_1, k2=10**6)
    assert (every >= 0).sum() == 18
    assert (pseudo_labels(A, D, known(ROUND_1), REPS_1, k2=0) == -1).all()
    seven_of_ten = pseudo_labels(np.zeros(10, dtype=int), np.arange(10.0), np.r_[0, [-1] * 9], [0],
                                 k2=99, cap=0.7)  # fmt: skip
    assert (seven_of_ten >= 0).sum() == 7  # 0.7 * 10 is not 6.99...


def test_half_of_the_votes_is_enough_and_less_is_not() -> None:
    a, d = np.zeros(8, dtype=int), np.arange(8.0)
    half = pseudo_labels(a, d, np.array([0, 0, 1, 2] + [-1] * 4), range(4), k2=9, by_share=True)
    assert (half >= 0).sum() == 4
    third = pseudo_labels(a, d, np.array([0, 1, 2, -1] + [-1] * 4), range(3), k2=9, by_share=True)
    assert (third == -1).all()
    assert (pseudo_labels(a, d, np.array([0, 1, 2, -1] + [-1] * 4), range(3), k2=9) == 0).sum() == 5


def test_earlier_pseudo_labels_stay_where_nothing_newer_replaces_them() -> None:
    first = pseudo_labels(A, D, known(ROUND_1, MISLED), REPS_1, k2=4)
    answered = known(ROUND_1 + ROUND_2)
    anew = pseudo_labels(A, D, answered, REPS_2, k2=1)
    assert groups(anew) == {0: {7}, 1: {11}, 2: {20}}
    assert first[[20, 22]].tolist() == [1, 1]  # by the wrong representative
    second = pseudo_labels(A, D, answered, REPS_2, k2=1, previous=first)
    assert groups(second) == {0: {7, 4}, 1: {11, 12, 22}, 2: {20}}


def test_nothing_is_labelled_without_clusters_or_answers() -> None:
    empty = pseudo_labels(*(np.empty(0, dtype=int) for _ in range(4)), k2=5)
    assert empty.tolist() == []
    for mode in ("newest", "plurality", "labels", "hungarian"):
        nothing = pseudo_labels(A, D, known([]), [], k2=5, mode=mode)  # type: ignore[arg-type]
        assert (nothing == -1).all()
    assert (pseudo_labels(A, D, TRUTH, REPS_1, k2=5) == -1).all()


def test_wrong_use_is_told() -> None:
    with pytest.raises(InputError, match="not by 'majority'"):
        cluster_classes(A, D, TRUTH, [], mode="majority")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not by 'relative'"):
        pseudo_size(0, 24, 3, mode="relative")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cluster 2 of only 2"):
        pseudo_labels(A, D, TRUTH, [], k2=1, n_clusters=2)


def test_the_sizes_grow_from_round_to_round() -> None:
    assert [pseudo_size(t, 13_000, 10) for t in range(5)] == [50, 1050, 2050, 3050, 4050]
    fraction = [pseudo_size(t, 1797, 10, mode="fraction") for t in range(5)]
    assert fraction == [math.floor((5 + 15 * t) * 1797 / 1000 + 0.5) for t in range(5)]
    assert pseudo_size(3, 13_010, 10, mode="fraction") == 651  # 650.5 rounds up
    assert pseudo_size(1, 10, 5, mode="fraction", start=0.1, step=0.4) == 1
    code = [pseudo_size(t, 13_000, 10, mode="code", inner=i) for t in (0, 2) for i in (1, 2, 3)]
    assert code == [200, 400, 600, 220, 440, 660]
    assert pseudo_size(2, 24, 3, start=4, step=1) == 6


def slow_labels(a: np.ndarray, d: np.ndarray, answered: np.ndarray, reps: list[int], k2: int,
                cap: float, agree: np.ndarray, tau: float) -> list[int]:  # fmt: skip
    """Point by point, as the text has it."""
    out = [-1] * len(a)
    for p in set(a.tolist()):
        votes = Counter(int(answered[i]) for i in reps if a[i] == p and answered[i] >= 0)
        if not votes:
            continue
        leaders = {k for k, n in votes.items() if n == max(votes.values())}
        tied = [i for i in reps if a[i] == p and answered[i] in leaders]
        named = int(answered[min(tied, key=lambda i: (d[i], i))])
        size = min(k2, math.floor(cap * sum(a == p) + 1e-9))
        free = [i for i in range(len(a)) if a[i] == p and answered[i] < 0 and agree[i] >= tau]
        for i in sorted(free, key=lambda i: (d[i], i))[:size]:
            out[i] = named
    return out


@TWICE
@given(
    st.integers(1, 30), st.integers(1, 4), st.integers(0, 9), st.sampled_from([1, 0.5, 0.7]),
    st.sampled_from([0, 0.7]), st.integers(0, 10**6),
)  # fmt: skip
def test_pseudo_labels_are_the_slow_ones(
    n: int, c: int, k2: int, cap: float, tau: float, seed: int
) -> None:
    rng = rng_for(seed, None, "pseudo")
    a, d = rng.integers(0, c, n), rng.integers(0, 5, n).astype(float)
    answered = np.where(rng.random(n) < 0.4, rng.integers(0, 3, n), -1)
    reps = np.flatnonzero(rng.random(n) < 0.4).tolist()
    agree = rng.random(n)
    labels = pseudo_labels(a, d, answered, reps, k2=k2, cap=cap, agree=agree, agree_tau=tau)
    assert labels.tolist() == slow_labels(a, d, answered, reps, k2, cap, agree, tau)
    assert not ((labels >= 0) & (answered >= 0)).any()
