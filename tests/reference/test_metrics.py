"""Scores, curves and statistics: worked numbers, a loop for each formula, scikit-learn beside."""

from __future__ import annotations

import math
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from handful import metrics
from handful.errors import InputError

SIX = {"abs": 5e-7}  # numbers printed to six digits

T = list(map(int, "000011122222"))
P = list(map(int, "111000322233"))
Q = list(map(int, "001011022120"))
Q2 = list(map(int, "001011011110"))
A = [0.812, 0.798, 0.825, 0.801, 0.819]
B = [0.801, 0.795, 0.806, 0.803, 0.800]
METHODS = np.reshape(
    [50, 52, 51, 53, 50, 61, 60, 63, 62, 61, 70, 69, 71, 70, 72,
     48, 50, 50, 50, 49, 60, 61, 61, 62, 60, 66, 65, 68, 66, 67,
     49, 53, 50, 52, 51, 57, 55, 58, 59, 56, 69, 68, 71, 70, 70], (3, 3, 5)
) / 100  # method, budget, seed  # fmt: skip
SETS = [
    [0.81, 0.79, 0.80, 0.70], [0.66, 0.66, 0.60, 0.61], [0.92, 0.90, 0.91, 0.85],
    [0.55, 0.57, 0.52, 0.50], [0.73, 0.70, 0.71, 0.69], [0.88, 0.86, 0.87, 0.80],
]  # fmt: skip
LABELS, SCORES = [50, 100, 200, 500], [0.52, 0.66, 0.64, 0.78]
PARTITION = (metrics.acc, metrics.nmi, metrics.ari, metrics.purity)
NAMED = (metrics.accuracy, metrics.macro_f1, metrics.balanced_accuracy)

two_partitions = st.integers(1, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)
)
quick = settings(max_examples=60, deadline=None, database=None, derandomize=True)


# --- partitions and named classes


def test_partition_of_the_example() -> None:
    assert metrics.acc(T, P) == pytest.approx(0.666667, **SIX)
    assert metrics.purity(T, P) == pytest.approx(0.833333, **SIX)
    assert metrics.nmi(T, P) == pytest.approx(0.616352, **SIX)
    assert metrics.ari(T, P) == pytest.approx(0.377358, **SIX)
    assert metrics.contingency(T, P).tolist() == [[1, 3, 0, 0], [2, 0, 0, 1], [0, 0, 3, 2]]


def test_named_classes_of_the_example() -> None:
    assert metrics.accuracy(T, Q) == pytest.approx(0.666667, **SIX)
    assert metrics.macro_f1(T, Q) == pytest.approx(0.662698, **SIX)
    assert metrics.accuracy(T, Q2) == pytest.approx(0.416667, **SIX)
    assert metrics.macro_f1(T, Q2) == pytest.approx(0.355556, **SIX)  # class 2 counts as 0


def test_trivial_partitions() -> None:
    assert [metrics.ari([3] * 4, [7] * 4), metrics.nmi([3] * 4, [7] * 4)] == [1, 1]
    assert [metrics.ari([0, 0, 1, 1], [0] * 4), metrics.nmi([0, 0, 1, 1], [0] * 4)] == [0, 0]
    t, p = [0, 0, 1, 1], [0, 1, 2, 3]
    assert metrics.ari(t, p) == 0
    assert metrics.nmi(t, p) == pytest.approx(0.666667, **SIX)
    assert (metrics.acc(t, p), metrics.purity(t, p)) == (0.5, 1.0)
    assert [f([5], [9]) for f in PARTITION] == [1, 1, 1, 1]


def slow_acc(t: list[int], p: list[int]) -> float:
    classes, clusters = sorted(set(t)), sorted(set(p))
    size = max(len(classes), len(clusters))
    classes += [-1] * (size - len(classes))
    clusters += [-2] * (size - len(clusters))
    maps = [dict(zip(clusters, order, strict=True)) for order in permutations(classes)]
    return max(sum(m[b] == a for a, b in zip(t, p, strict=True)) for m in maps) / len(t)


def slow_purity(t: list[int], p: list[int]) -> float:
    inside = [[a for a, b in zip(t, p, strict=True) if b == j] for j in set(p)]
    return sum(max(map(group.count, group)) for group in inside) / len(t)


def slow_nmi(t: list[int], p: list[int]) -> float:
    def h(labels: list[object]) -> float:
        shares = [labels.count(v) / len(labels) for v in set(labels)]
        return -sum(s * math.log(s) for s in shares)

    both = h(list(zip(t, p, strict=True)))
    return 1.0 if len(set(t)) == len(set(p)) == 1 else 2 * (h(t) + h(p) - both) / (h(t) + h(p))


def slow_ari(t: list[int], p: list[int]) -> float:
    pairs = list(combinations(range(len(t)), 2))
    s = sum(t[i] == t[j] and p[i] == p[j] for i, j in pairs)
    a, b = (sum(x[i] == x[j] for i, j in pairs) for x in (t, p))
    e = a * b / len(pairs) if pairs else 0
    return 1.0 if (a + b) / 2 == e else (s - e) / ((a + b) / 2 - e)


def slow_macro_f1(t: list[int], p: list[int]) -> float:
    found = []
    for k in set(t):
        hit = sum(a == b == k for a, b in zip(t, p, strict=True))
        precision, recall = hit / max(1, p.count(k)), hit / t.count(k)
        found.append(2 * precision * recall / (precision + recall) if hit else 0.0)
    return sum(found) / len(found)


def slow_balanced(t: list[int], p: list[int]) -> float:
    recall = [sum(a == b == k for a, b in zip(t, p, strict=True)) / t.count(k) for k in set(t)]
    return sum(recall) / len(recall)


@quick
@given(two_partitions)
def test_scores_equal_their_loops(pair: tuple[list[int], list[int]]) -> None:
    t, p = pair
    slow = (slow_acc, slow_nmi, slow_ari, slow_purity, slow_macro_f1, slow_balanced)
    fast = (*PARTITION, metrics.macro_f1, metrics.balanced_accuracy)
    for f, s in zip(fast, slow, strict=True):
        assert f(t, p) == pytest.approx(s(t, p), abs=1e-12), f.__name__
    assert metrics.accuracy(t, p) == sum(a == b for a, b in zip(t, p, strict=True)) / len(t)


@quick
@given(two_partitions)
def test_scores_equal_scikit_learn(pair: tuple[list[int], list[int]]) -> None:
    t, p = pair
    assert metrics.nmi(t, p) == pytest.approx(sk.normalized_mutual_info_score(t, p), abs=1e-9)
    assert metrics.ari(t, p) == pytest.approx(sk.adjusted_rand_score(t, p), abs=1e-9)
    f1 = sk.f1_score(t, p, labels=np.unique(t), average="macro", zero_division=0)
    assert metrics.macro_f1(t, p) == pytest.approx(f1, abs=1e-12)
    table = sk.cluster.contingency_matrix(t, p)
    np.testing.assert_array_equal(metrics.contingency(t, p), table)


@quick
@given(two_partitions)
def test_names_of_labels_do_not_matter(pair: tuple[list[int], list[int]]) -> None:
    t, p = pair
    rename = {0: "dog", 1: "cat", 2: "a b", 3: "é", 4: "-1"}
    for f in (*PARTITION, *NAMED):
        value = f(t, p)
        assert f([rename[a] for a in t], [rename[b] for b in p]) == pytest.approx(value, abs=1e-12)
        assert f([-7 * a for a in t], [-7 * b for b in p]) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("score", [*PARTITION, *NAMED, metrics.contingency])
def test_what_cannot_be_scored_is_refused(score: object) -> None:
    assert callable(score)
    with pytest.raises(InputError, match="empty"):
        score([], [])
    with pytest.raises(InputError, match="3 true labels and 2 predictions"):
        score([0, 1, 2], [0, 1])
    with pytest.raises(InputError, match="2 of 3 predictions are NaN"):
        score([0, 1, 2], [0.0, np.nan, np.nan])


# --- learning curves


def test_area_of_the_example() -> None:
    assert metrics.aulc(LABELS, SCORES) == pytest.approx(0.683333, **SIX)
    assert metrics.aulc(LABELS, SCORES, log=True) == pytest.approx(0.655815, **SIX)
    slow = sum((LABELS[k + 1] - LABELS[k]) * (SCORES[k] + SCORES[k + 1]) / 2 for k in range(3)) / (
        500 - 50
    )
    assert metrics.aulc(LABELS, SCORES) == pytest.approx(slow)
    assert metrics.aulc([40], [0.7]) == 0.7


def test_labels_to_reach_of_the_example() -> None:
    reach = {v: metrics.labels_to_reach(LABELS, SCORES, v) for v in (0.60, 0.65, 0.70, 0.80)}
    assert reach[0.60] == pytest.approx(78.571429, **SIX)
    assert reach[0.65] == pytest.approx(96.428571, **SIX)
    assert reach[0.70] == pytest.approx(328.571429, **SIX)
    assert reach[0.80] == math.inf
    sustained = [metrics.labels_to_reach(LABELS, SCORES, v, sustained=True) for v in (0.65, 0.8)]
    assert sustained == [pytest.approx(221.428571, **SIX), math.inf]
    for flag in (False, True):
        assert metrics.labels_to_reach(LABELS, SCORES, 0.5, sustained=flag) == 50
        assert metrics.labels_to_reach([40], [0.7], 0.7, sustained=flag) == 40
        assert metrics.labels_to_reach([40], [0.7], 0.71, sustained=flag) == math.inf


def test_saving_needs_both() -> None:
    assert metrics.saving(150, 600) == 0.75
    assert math.isnan(metrics.saving(math.inf, 600))
    assert math.isnan(metrics.saving(150, math.inf))


def test_restrict_interpolates_the_ends() -> None:
    x, y = metrics.restrict(LABELS, SCORES, low=75, high=350)
    assert x.tolist() == [75, 100, 200, 350]
    np.testing.assert_allclose(y, [0.59, 0.66, 0.64, 0.71])
    same = metrics.restrict(LABELS, SCORES, low=50, high=500)
    assert metrics.aulc(*same) == metrics.aulc(LABELS, SCORES)
    with pytest.raises(InputError, match="not within"):
        metrics.restrict(LABELS, SCORES, low=10, high=100)


def test_curves_that_are_none() -> None:
    for labels, scores, words in (
        ([50, 50], [0.1, 0.2], "must rise"),
        ([50, 60], [0.1], "give as many"),
        ([50, 60], [0.1, math.nan], "NaN"),
        ([], [], "give as many"),
    ):
        with pytest.raises(InputError, match=words):
            metrics.aulc(labels, scores)
    with pytest.raises(InputError, match="starts at 1 label"):
        metrics.aulc([0, 10], [0.1, 0.2], log=True)


# --- statistics


def test_paired_test_of_the_example() -> None:
    found = metrics.paired_test(A, B)
    assert (found.n, found.mean) == (5, pytest.approx(0.01))
    assert found.t == pytest.approx(2.370227, **SIX)
    assert found.p == pytest.approx(0.076802, **SIX)
    assert (found.p_sign_flip, found.p_wilcoxon) == (0.125, 0.125)
    assert [found.low, found.high] == pytest.approx([-0.001714, 0.021714], **SIX)
    assert found.effect == pytest.approx(1.059998, **SIX)
    assert found.verdict() == "no difference shown"
    assert metrics.bootstrap(np.subtract(A, B)) == pytest.approx((0.0026, 0.0174), **SIX)


def slow_sign_flip(d: list[float]) -> float:
    means = [sum(s * x for s, x in zip(signs, d, strict=True))
             for signs in product((1, -1), repeat=len(d))]  # fmt: skip
    return sum(abs(m) >= abs(sum(d)) - 1e-12 for m in means) / len(means)


def slow_wilcoxon(d: list[float]) -> float:
    """Exact, all sign patterns; no ties among the sizes of d."""
    rank = {x: r + 1 for r, x in enumerate(sorted(map(abs, d)))}
    seen = sum(rank[abs(x)] for x in d if x > 0)
    middle = sum(rank.values()) / 2
    sums = [sum(r for r, s in zip(rank.values(), signs, strict=True) if s)
            for signs in product((0, 1), repeat=len(d))]  # fmt: skip
    return sum(abs(w - middle) >= abs(seen - middle) for w in sums) / len(sums)


@quick
@given(st.lists(st.integers(-500, 500), min_size=3, max_size=8, unique_by=abs))
def test_exact_tests_equal_their_loops(tenths: list[int]) -> None:
    d = [x / 10 for x in tenths if x] or [0.1]
    if len(d) >= 3:
        found = metrics.paired_test(d, [0] * len(d))
        assert found.p_sign_flip == pytest.approx(slow_sign_flip(d))
        assert found.p_wilcoxon == pytest.approx(slow_wilcoxon(d))


def test_paired_over_common_seeds() -> None:
    a = dict(enumerate(A)) | {7: 0.1}
    b = {9: 0.3} | {k: B[k] for k in (4, 3, 2, 1, 0)}
    assert metrics.paired_test(a, b) == metrics.paired_test(A, B)
    with pytest.raises(InputError, match="both or neither"):
        metrics.paired_test(a, B)
    with pytest.raises(InputError, match="5 and 3 scores"):
        metrics.paired_test(A, B[:3])
    with pytest.raises(InputError, match="leave that seed out"):
        metrics.paired_test(A, [*B[:4], math.nan])


def test_paired_at_its_edges() -> None:
    two = metrics.paired_test(A[:2], B[:2])
    assert (two.n, two.mean) == (2, pytest.approx(0.007))
    assert math.isnan(two.p)
    assert two.verdict() == "no difference shown"
    assert metrics.paired_test({}, {1: 0.3}).n == 0
    always = metrics.paired_test([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    assert (always.p, always.t, always.sd, always.verdict()) == (0, math.inf, 0, "better")
    assert metrics.paired_test([0.4] * 3, [0.5] * 3).verdict() == "worse"
    never = metrics.paired_test(A, A)
    assert (never.p, never.t, never.effect, never.p_sign_flip, never.p_wilcoxon) == (1, 0, 0, 1, 1)


def test_verdict_asks_for_holm_and_the_interval() -> None:
    clear = metrics.paired_test([0.5, 0.52, 0.53, 0.51], [0.4, 0.41, 0.43, 0.42])
    assert clear.verdict() == "better"
    assert clear.verdict(0.2) == "no difference shown"


def test_sign_flips_of_many_seeds_are_drawn() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(0.3, 1, 20)
    few = metrics.paired_test(d, np.zeros(20), rng=1).p_sign_flip
    assert few == metrics.paired_test(d, np.zeros(20), rng=1).p_sign_flip
    every = 1 - 2 * ((np.arange(2**20)[:, None] >> np.arange(20)) & 1).astype(np.float32)
    exact = (np.abs(every @ d) >= abs(d.sum()) - 1e-6).mean()
    assert abs(few - exact) < 4 * math.sqrt(exact * (1 - exact) / 10_000)
    assert metrics.paired_test(np.full(20, 9.0) + d, np.zeros(20)).p_sign_flip == 1 / 10_001


def test_holm_of_the_example() -> None:
    adjusted = metrics.holm([0.012, 0.034, 0.021, 0.20])
    np.testing.assert_allclose(adjusted, [0.048, 0.068, 0.063, 0.20])
    assert metrics.holm([0.6, 0.7]).tolist() == [1, 1]
    assert metrics.holm([]).size == 0


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_its_loop(p: list[float]) -> None:
    order = sorted(range(len(p)), key=lambda i: p[i])
    slow = [0.0] * len(p)
    for k, i in enumerate(order):
        slow[i] = min(1, max((len(p) - j) * p[order[j]] for j in range(k + 1)))
    np.testing.assert_allclose(metrics.holm(p), slow)


def test_win_matrix_of_the_example() -> None:
    def t(i: int, j: int) -> list[float]:
        return [metrics.paired_test(METHODS[i][k], METHODS[j][k]).t for k in range(3)]

    assert t(0, 1) == pytest.approx([4.810702, 1.176697, 12.649111], **SIX)
    assert t(0, 2) == pytest.approx([0.408248, 11.0, 2.138090], **SIX)
    assert t(1, 2) == pytest.approx([-3.137858, 6.516946, -16.0], **SIX)
    won = metrics.win_matrix([METHODS])
    np.testing.assert_allclose(
        won, [[0, 0.666667, 0.333333], [0, 0, 0.333333], [0, 0.666667, 0]], atol=5e-7
    )
    np.testing.assert_allclose(won.mean(axis=0), [0, 0.444444, 0.222222], atol=5e-7)
    np.testing.assert_allclose(metrics.win_matrix([METHODS, METHODS]), 2 * won)
    with pytest.raises(InputError, match="methods, budgets, seeds"):
        metrics.win_matrix([METHODS, METHODS[:2]])


def test_friedman_of_the_example() -> None:
    found = metrics.friedman(SETS)
    assert found.ranks.tolist() == pytest.approx([1.25, 2.416667, 2.5, 3.833333], **SIX)
    assert found.chi2 == pytest.approx(12.05)
    assert found.chi2_ties == pytest.approx(12.254237, **SIX)
    assert found.f == pytest.approx(10.126050, **SIX)
    assert found.p == pytest.approx(0.000676, **SIX)
    assert found.cd == pytest.approx(1.914843, **SIX)
    assert found.cd / math.sqrt(4 * 5 / (6 * 6)) == pytest.approx(2.569032, **SIX)
    assert np.argwhere(found.differ).tolist() == [[0, 3], [3, 0]]


def test_friedman_at_its_edges() -> None:
    same_order = metrics.friedman(np.arange(15).reshape(5, 3))
    assert (same_order.f, same_order.p) == (math.inf, 0)
    assert same_order.differ[0, 2]
    all_tied = metrics.friedman(np.ones((5, 3)))
    assert (all_tied.chi2, all_tied.chi2_ties, all_tied.f, all_tied.p) == (0, 0, 0, 1)
    assert not all_tied.differ.any()
    assert metrics.friedman(np.arange(10).reshape(5, 2)).ranks.tolist() == [2, 1]
    with pytest.raises(InputError, match="5 sets"):
        metrics.friedman(SETS[:4])


def test_bootstrap_exact_and_drawn() -> None:
    values = [0.1, 0.4, 0.9]
    slow = [sum(s) / 3 for s in product(values, repeat=3)]
    expected = np.quantile(slow, [0.025, 0.975])
    assert metrics.bootstrap(values) == pytest.approx(tuple(expected))
    assert metrics.bootstrap([0.3]) == pytest.approx((0.3, 0.3))
    many = np.random.default_rng(0).normal(0, 1, 400)
    low, high = metrics.bootstrap(many, resamples=2000)
    assert (low, high) == metrics.bootstrap(many, resamples=2000, rng=0)
    half = 1.96 * many.std() / 20
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
    with pytest.raises(InputError, match="at least one finite"):
        metrics.bootstrap([])


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [
        (9, 12, (0.467695, 0.911058)),
        (0, 20, (0, 0.161125)),
        (20, 20, (0.838875, 1)),
        (95, 100, (0.888250, 0.978456)),
    ],
)
def test_wilson_of_the_examples(k: int, n: int, expected: tuple[float, float]) -> None:
    assert metrics.wilson(k, n) == pytest.approx(expected, **SIX)
    # the ends are where the normal score test of the share just fails
    for end in metrics.wilson(k, n):
        if 0 < end < 1:
            assert abs(k / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(1.959964)


def test_kappa_of_two_people() -> None:
    """Cohen's table 20, 5, 10, 15: they agree on .7, by chance on .5."""
    one = ["yes"] * 25 + ["no"] * 25
    other = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert metrics.kappa(one, other) == pytest.approx(0.4)
    assert metrics.kappa(["a", "b"], ["b", "a"]) == -1
    assert metrics.kappa(["a", "a"], ["a", "a"]) is None
    assert metrics.kappa([0, 1, 2], [0, 1, 2]) == 1
    with pytest.raises(InputError):
        metrics.kappa([], [])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_kappa_is_the_loop_over_answers(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    n, same, chance = len(pairs), sum(a == b for a, b in pairs) / len(pairs), 0.0
    for answer in range(4):
        chance += sum(a == answer for a in one) * sum(b == answer for b in other) / n**2
    found = metrics.kappa(one, other)
    if found is None:
        assert chance == pytest.approx(1)
    else:
        assert found == pytest.approx((same - chance) / (1 - chance))
        assert found == pytest.approx(sk.cohen_kappa_score(one, other))


def test_wilson_of_a_sample_from_few() -> None:
    found = metrics.wilson(9, 12, population=40)
    assert found == pytest.approx((0.510348, 0.896212), **SIX)
    assert metrics.wilson(9, 12, population=12) == (0.75, 0.75)
    assert metrics.wilson(1, 1, population=1) == (1, 1)
    assert metrics.wilson(9, 12, population=10**9) == pytest.approx(metrics.wilson(9, 12))
    assert metrics.wilson(0, 0) == metrics.wilson(0, 0, population=9) == (0, 1)
    for k, n, population in ((3, 2, None), (-1, 2, None), (1, 5, 4)):
        with pytest.raises(InputError, match="no sample"):
            metrics.wilson(k, n, population=population)
