"""BADGE: worked numbers, the outer products written out, and input that leaves little to choose."""

from __future__ import annotations

import logging
import tracemalloc

import numpy as np
import pytest
from scipy.special import softmax

from handful import queries
from handful.errors import InputError, RecipeError
from handful.queries import _badge as inside
from handful.rng import rng_for
from handful.testing import QueryContract
from handful.types import Snapshot

LOGITS = np.array([[1, 0, -1], [0.2, 0.1, 0], [3, 0, 0], [0, 0.5, 0.4], [0, 2, 1]])
H = np.array([[1, 0], [0.5, 1], [2, -1], [0, 1.5], [1, 1]])
P = softmax(LOGITS, axis=1)


class TestBadgeOfASubsetWithBias(QueryContract):
    rule = queries.BADGE(subset=10, bias=True)


class TestBadgeByIndex(QueryContract):
    rule = queries.BADGE(ties="index")


class Uniforms:
    """A generator whose uniform numbers are given."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


def outer_products(p, h, bias=False):
    """g, written out: n x (C d)."""
    a = np.asarray(p, dtype=np.float64).copy()
    a[np.arange(len(a)), a.argmax(axis=1)] -= 1
    h = np.asarray(h, dtype=np.float64)
    h = np.column_stack([h, np.ones(len(h))]) if bias else h
    return np.stack([np.outer(a[i], h[i]).ravel() for i in range(len(a))])


def slow_badge(g, open_rows, k, uniforms):
    """k-means++ on g from its longest row, D^2 by subtraction, one uniform number a draw."""
    picks = [max(open_rows, key=lambda i: (float(g[i] @ g[i]), -i))]
    while len(picks) < k:
        d2 = np.array([min(float(((g[i] - g[j]) ** 2).sum()) for j in picks) for i in open_rows])
        share = np.cumsum(d2) / d2.sum()
        u = uniforms[len(picks) - 1]
        picks.append(open_rows[next(i for i, s in enumerate(share) if s > u)])
    return picks


# --- worked numbers ------------------------------------------------------------------------


def test_worked_gradients():
    g = inside.GradientEmbedding(P, H)
    want = [0.180061, 0.751524, 0.061504, 1.238217, 0.360122]
    np.testing.assert_allclose(g.squares, want, atol=5e-7)
    whole = outer_products(P, H)
    assert whole[0] @ whole[1] == pytest.approx(0.160108, abs=5e-7)
    np.testing.assert_allclose(
        whole[3].reshape(3, 2), [[0, 0.362271], [0, -0.902716], [0, 0.540445]], atol=5e-7
    )
    inner = (g.squares[0] + g.squares[1] - g.d2(0)[1]) / 2
    assert inner == pytest.approx(0.160108, abs=5e-7)


def test_worked_draws():
    g = inside.GradientEmbedding(P, H)
    d2 = g.d2(3)
    np.testing.assert_allclose(d2, [1.418278, 2.723140, 1.201303, 0, 0.664199], atol=5e-7)
    share = [0.236107, 0.453334, 0.199986, 0, 0.110572]
    np.testing.assert_allclose(d2 / d2.sum(), share, atol=5e-7)
    root = [0.250606, 0.347253, 0.230642, 0, 0.171499]  # D in place of D^2: another distribution
    np.testing.assert_allclose(np.sqrt(d2) / np.sqrt(d2).sum(), root, atol=5e-7)
    assert inside._draw(d2, Uniforms(0.37)) == 1
    assert inside._draw(d2, Uniforms(0.8)) == 2
    d2 = np.minimum(d2, g.d2(1))
    d2[1] = 0
    np.testing.assert_allclose(d2 / d2.sum(), [0.292718, 0, 0.389270, 0, 0.318012], atol=5e-7)


def test_worked_first_pick():
    rule = queries.BADGE(ties="index")
    made = Snapshot.from_arrays(proba=P, embedding=H)
    rows = rule._draws(P, H, made.open.copy(), 3, Uniforms(0.37, 0.5))
    assert rows.tolist() == [3, 1, 2]


# --- slow twins ----------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_distances_equal_those_of_the_outer_products(bias):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p, h = softmax(3 * rng.normal(size=(30, 5)), axis=1), rng.normal(size=(30, 4))
        p[20:25], h[20:25] = p[3], h[3]
        h[25:] = h[4] + 1e-6 * h[25:]  # nearly one vector
        g, whole = inside.GradientEmbedding(p, h, bias=bias), outer_products(p, h, bias)
        for row in range(30):
            want = ((whole - whole[row]) ** 2).sum(axis=1)
            np.testing.assert_allclose(g.d2(row), want, atol=1e-10)
        assert (g.d2(3)[20:25] == 0).all()  # duplicates, to the last bit


def test_picks_equal_those_of_the_outer_products():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n, k = 25, 12
        p, h = softmax(2 * rng.normal(size=(n, 3)), axis=1), rng.normal(size=(n, 4))
        known = np.where(rng.random(n) < 0.3, 0, -1)
        open_rows = np.flatnonzero(known < 0).tolist()
        k = min(k, len(open_rows) - 1)
        uniforms = np.random.default_rng(seed).random(k).tolist()
        found = queries.badge(p, h, known, k, rng=np.random.default_rng(seed), ties="index")
        assert found.tolist() == slow_badge(outer_products(p, h), open_rows, k, uniforms)


def test_float32_picks_the_same():
    rng = np.random.default_rng(3)
    p = softmax(rng.normal(size=(400, 10)), axis=1).astype(np.float32)
    h = rng.normal(size=(400, 16)).astype(np.float32)
    found = queries.badge(p, h, None, 30, rng=1, ties="index")
    uniforms = np.random.default_rng(1).random(30).tolist()
    assert found.tolist() == slow_badge(outer_products(p, h), list(range(400)), 30, uniforms)


def test_a_confident_model_is_no_matter_of_scale():
    rng = np.random.default_rng(5)
    small = rng.random((20, 2)) * 1e-10
    p = np.column_stack([1 - small.sum(axis=1), small])
    h = rng.normal(size=(20, 3))
    uniforms = np.random.default_rng(0).random(6).tolist()
    found = queries.badge(p, h, None, 6, ties="index")
    assert found.tolist() == slow_badge(outer_products(p, h), list(range(20)), 6, uniforms)


# --- what it promises ----------------------------------------------------------------------


def test_it_spreads_where_the_largest_gradients_are_alike():
    # 30 near-copies of the most uncertain image, and ten others
    rng = np.random.default_rng(0)
    p = np.full((40, 2), 0.5)
    h = np.vstack([np.tile([3.0, 0], (30, 1)) + 1e-3 * rng.normal(size=(30, 2)),
                   rng.normal(size=(10, 2)) * [0, 3]])  # fmt: skip
    rows = queries.badge(p, h, None, 5, rng=0)
    assert (rows < 30).sum() == 1


def test_a_subset_is_looked_at_alone():
    rng = np.random.default_rng(1)
    p, h = softmax(rng.normal(size=(50, 3)), axis=1), rng.normal(size=(50, 4))
    known = np.where(np.arange(50) < 20, 0, -1)
    rows = queries.badge(p, h, known, 5, rng=3, subset=5)
    assert sorted(rows) == sorted(np.random.default_rng(3).choice(range(20, 50), 5, replace=False))


@pytest.mark.parametrize("case", ["one-hot", "one class", "duplicates"])
def test_no_gradient_left_to_tell_apart(case, caplog):
    """A defect of others: a draw that is repeated until it is new, for ever."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(12, 3))
    two = softmax(rng.normal(size=(2, 3)), axis=1)
    p = {
        "one-hot": np.eye(3)[np.arange(12) % 3],
        "one class": np.ones((12, 1)),
        "duplicates": two[np.arange(12) % 2],
    }[case]
    h = h[np.arange(12) % 2] if case == "duplicates" else h
    with caplog.at_level(logging.WARNING):
        rows = queries.badge(p, h, None, 7)
    assert len(set(rows.tolist())) == 7
    assert {"duplicates": "5 of 7 picks are any"}.get(case, "7 of 7") in caplog.text


def test_the_last_uniform_number_stays_inside():
    weights = np.array([0.1, 0.2, 0.0])
    assert inside._draw(weights, Uniforms(np.nextafter(1, 0))) == 1
    assert inside._draw(weights, Uniforms(1.0)) == 1


def test_what_cannot_be_is_refused():
    h = H.copy()
    h[2, 0] = np.inf
    with pytest.raises(InputError, match="1 of 5 rows, row 2 the first"):
        queries.badge(P, h, None, 2)
    with pytest.raises(RecipeError, match=r"query\.subset is 0"):
        queries.BADGE(subset=0)


def test_half_precision_and_whole_numbers():
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 9, (20, 4))
    p = softmax(rng.normal(size=(20, 3)), axis=1)
    a, b, c = (queries.badge(p, whole.astype(t), None, 6) for t in (float, np.float16, np.int64))
    assert a.tolist() == b.tolist() == c.tolist()


@pytest.mark.parametrize("n", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_memory_is_a_few_numbers_a_row_and_class(n):
    """A defect of others: n x C x d numbers, 20 times what is allowed here."""
    rng = np.random.default_rng(0)
    h = rng.standard_normal((n, 128), dtype=np.float32)
    p = softmax(rng.standard_normal((n, 20), dtype=np.float32), axis=1)
    made = Snapshot.from_arrays(proba=p, embedding=h)
    rule, seed = queries.BADGE(), rng_for(0, 0, "query")
    tracemalloc.start()
    rows = rule.select(made, 20, seed).rows
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(rows.tolist())) == 20
    assert peak < n * (4 * 20 + 100) + (1 << 20)  # a in float32, and a dozen numbers a row
