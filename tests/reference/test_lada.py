"""LADA: worked numbers, a slow twin of the whole choice, and training on the pairs it leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import entr
from scipy.stats import beta as beta_distribution
from torch.nn import functional as F

from handful.errors import InputError, MissingPart, RecipeError
from handful.learners.cnn import CNN, CNNOptions
from handful.learners.lada import LADA, LADAOptions, virtual_pairs
from handful.losses.mixup import mixed_cross_entropy, mixup
from handful.progress import Silent
from handful.queries import beta_nodes, expected_entropies, lada
from handful.recipes import recipe
from handful.registry import QUERIES
from handful.rng import rng_for
from handful.testing.learners import tiny_pool, view_of
from handful.types import Array, Snapshot, View

Rule = QUERIES.get("lada")
W = np.array([[2.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
A = np.array([[1.0, -0.2], [0.9, 0.1], [-1.0, -0.5]])
B = np.array([[0.0, 1.2], [1.0, 0.2], [0.2, 1.0]])
TAUS = (0.1, 0.25, 0.5, 1.0, 2.0, 8.0)
# E H(mix) of the three pairs for each tau
AHEAD = [
    [0.499026, 0.602860, 0.551708],
    [0.563634, 0.602667, 0.621639],
    [0.630933, 0.602475, 0.695100],
    [0.702748, 0.602283, 0.774516],
    [0.766053, 0.602129, 0.845819],
    [0.844908, 0.601966, 0.937211],
]
QUICK = LADAOptions(steps=20)


def linear(x: Array) -> Array:
    """The linear softmax model of the worked example, ``(B, 2) -> (B, 3)``."""
    z = x @ W.T
    e: Array = np.exp(z - z.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def h(x: Array) -> Array:
    found: Array = entr(linear(x)).sum(axis=-1)
    return found


def mixed(lam: Array) -> Array:
    """H of the three mixtures for every lam: ``(3, L)``."""
    wide = lam[:, None]
    return np.stack([h(wide * a + (1 - wide) * b) for a, b in zip(A, B, strict=True)])


def worked() -> Snapshot:
    x = np.concatenate([A, B])
    return Snapshot.from_arrays(images=x, predict=linear, proba=linear(x))


def fit(view: View, options: LADAOptions = QUICK, seed: int = 0) -> LADA:
    learner = LADA(options)
    learner.fit(view, np.random.default_rng(seed), Silent())
    return learner


# --- worked numbers -------------------------------------------------------------------------


def test_entropies_of_the_worked_example() -> None:
    np.testing.assert_allclose(h(A), [0.478026, 0.623928, 0.385932], atol=5e-7)
    np.testing.assert_allclose(h(B), [0.394295, 0.582175, 0.582175], atol=5e-7)
    want = [
        [0.699339, 0.591753, 0.795870],
        [0.885382, 0.601898, 0.985620],
        [0.746765, 0.612620, 0.790168],
    ]
    np.testing.assert_allclose(mixed(np.array([0.25, 0.5, 0.75])).T, want, atol=5e-7)
    five = mixed(np.array([0.1, 0.3, 0.5, 0.7, 0.9])).mean(axis=1)
    np.testing.assert_allclose(five, [0.706218, 0.602267, 0.777904], atol=5e-7)


def test_scores_of_the_worked_example() -> None:
    a, b = np.arange(3), np.arange(3, 6)
    snapshot, entropy = worked(), np.concatenate([h(A), h(B)])
    np.testing.assert_allclose(expected_entropies(mixed, TAUS), AHEAD, atol=5e-7)
    pairs = Rule()._scored(snapshot, entropy, a, b)
    assert pairs.tau.tolist() == [8, 0.1, 8]
    np.testing.assert_allclose(pairs.score, [1.717229, 1.808963, 1.905319], atol=5e-7)
    assert np.argsort(-pairs.score).tolist() == [2, 1, 0]
    released = Rule(tau_max=1)._scored(snapshot, entropy, a, b)
    assert released.tau.tolist() == [1, 0.1, 1]
    # lam = .5, the limit of a large tau, and no look-ahead at all: other orders
    half = entropy[a] + entropy[b] + mixed(np.array([0.5]))[:, 0]
    np.testing.assert_allclose(half, [1.757702, 1.808001, 1.953727], atol=5e-7)
    assert np.argsort(-(entropy[a] + entropy[b])).tolist() == [1, 2, 0]
    fixed = Rule(policy="fixed", tau=2)._scored(snapshot, entropy, a, b)
    np.testing.assert_allclose(fixed.score - entropy[a] - entropy[b], AHEAD[4], atol=5e-7)


def test_slope_of_the_mixture() -> None:
    """Which of the two images lam belongs to: with them exchanged it would be another slope."""
    e = 1e-5
    low, high = mixed(np.array([0.4 - e, 0.4 + e]))[0]
    assert (high - low) / (2 * e) == pytest.approx(0.670300, abs=1e-6)
    lam = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    x = lam * torch.tensor(A[0]) + (1 - lam) * torch.tensor(B[0])
    entropy = torch.special.entr(torch.softmax(x @ torch.tensor(W).T, dim=0)).sum()
    (slope,) = torch.autograd.grad(entropy, lam)
    assert slope.item() == pytest.approx(0.670300, abs=5e-7)


def test_mixed_target_of_the_worked_example() -> None:
    x_a, x_b, lam = torch.tensor(A[:1]), torch.tensor(B[:1]), torch.tensor([0.3]).double()
    x, y = mixup(x_a, x_b, torch.tensor([0]), torch.tensor([1]), lam, n_classes=3)
    assert y.tolist() == [[pytest.approx(0.3), pytest.approx(0.7), 0]]
    loss = mixed_cross_entropy(x @ torch.tensor(W).T, y)
    assert float(loss) == pytest.approx(0.662493, abs=5e-7)
    _, swapped = mixup(x_a, x_b, torch.tensor([0]), torch.tensor([1]), 1 - lam, n_classes=3)
    assert abs(float(mixed_cross_entropy(x @ torch.tensor(W).T, swapped)) - 0.662493) > 0.1


# --- quadrature -----------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.25, 1.0, 2.0, 8.0])
def test_quadrature_against_an_integral(tau: float) -> None:
    lam, w = beta_nodes(tau)
    assert w.sum() == pytest.approx(1)
    # E lam^2 of Beta(tau, tau): a polynomial is exact
    assert (w * lam**2).sum() == pytest.approx((tau + 1) / (2 * (2 * tau + 1)), rel=1e-9)
    if tau >= 1:  # the density is finite
        for i in range(3):
            want, _ = quad(
                lambda v, i=i: beta_distribution.pdf(v, tau, tau) * mixed(np.array([v]))[i, 0],
                0,
                1,
                epsabs=1e-11,
            )
            assert (w * mixed(lam)[i]).sum() == pytest.approx(want, abs=1e-8)


def test_the_spline_stands_in_for_every_node() -> None:
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(2, 200, 16))
    weights = rng.normal(size=(10, 16)) / 4
    asked: list[int] = []

    def entropy(lam: Array) -> Array:
        asked.append(len(lam))
        x = lam[:, None] * ends[0][:, None] + (1 - lam[:, None]) * ends[1][:, None]
        z = x @ weights.T
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        found: Array = entr(e / e.sum(axis=-1, keepdims=True)).sum(axis=-1)
        return found

    exact = expected_entropies(entropy, TAUS)
    quick = expected_entropies(entropy, TAUS, spline=True)
    assert asked == [6 * 32, 33]
    assert np.abs(exact - quick).max() < 1e-5 < exact.min()


# --- the choice -----------------------------------------------------------------------------


def slow_choice(
    x: Array, known: Array, k: int, rng: np.random.Generator
) -> tuple[list[int], list[list[Any]]]:
    """The whole rule as loops: rows in order, and the pairs it leaves."""
    free = [i for i in range(len(x)) if known[i] < 0]
    drawn = [int(i) for i in rng.permutation(free)][: max(2_000, k + 1)]
    half, k = len(drawn) // 2, min(k, len(free))
    own = {i: -sum(p * math.log(p) for p in linear(x[i]) if p > 0) for i in free}
    found: list[tuple[float, int, int, float]] = []
    for a, b in zip(drawn[:half], drawn[half : 2 * half], strict=True):
        best, at = -1.0, 0.0
        for tau in TAUS:
            lam, w = beta_nodes(tau)
            expected = sum(
                float(w_i) * float(h(v * x[a] + (1 - v) * x[b]))
                for v, w_i in zip(lam, w, strict=True)
            )
            if expected > best + 1e-12:
                best, at = expected, tau
        found.append((own[a] + own[b] + best, a, b, at))
    found.sort(key=lambda pair: -pair[0])
    rows: list[int] = []
    left: list[list[Any]] = []
    for _, a, b, tau in found:
        if k - len(rows) >= 2:
            rows += [a, b]
            left.append([f"{a:08d}", f"{b:08d}", tau, 0])
        elif k - len(rows) == 1:
            rows.append(max(a, b, key=own.__getitem__))
    rest = sorted((i for i in free if i not in rows), key=lambda i: -own[i])
    return rows + rest[: k - len(rows)], left


@pytest.mark.parametrize("k", [1, 2, 5, 8, 16, 17, 40])
def test_the_rule_equals_its_loop(k: int) -> None:
    rng = np.random.default_rng(k)
    x, known = rng.normal(size=(20, 2)), np.where(np.arange(20) % 7 == 0, 1, -1)
    snapshot = Snapshot.from_arrays(
        known=known,
        images=x,
        predict=linear,
        proba=linear(x),
    )
    picks = Rule().select(snapshot, k, rng_for(k, 0, "query"))
    rows, pairs = slow_choice(x, known, k, rng_for(k, 0, "query"))
    assert picks.rows.tolist() == rows
    assert picks.memo == {"pairs": pairs}
    assert len(rows) == min(k, 17)
    assert lada(linear(x), x, linear, k, known=known, rng=rng_for(k, 0, "query")).tolist() == rows


def test_pairs_are_drawn_among_so_many_candidates() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    snapshot = Snapshot.from_arrays(images=x, predict=linear, proba=linear(x))
    few = Rule(candidates=10).select(snapshot, 6, rng_for(1, 0, "query"))
    drawn = rng_for(1, 0, "query").permutation(60)[:10]
    assert set(few.rows) <= set(drawn)
    more = Rule(candidates=10).select(snapshot, 31, rng_for(1, 0, "query"))
    assert len(set(more.rows)) == 31  # more are wanted than the draw would hold
    assert len(more.memo["pairs"]) == 15


def test_the_pairs_of_earlier_rounds_stay_in_the_memo() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    known = np.full(30, -1)
    memo: dict[str, Any] = {}
    for round in range(3):
        snapshot = Snapshot.from_arrays(
            known=known,
            images=x,
            predict=linear,
            proba=linear(x),
            round=round,
            memo=memo,
        )
        picks = Rule().select(snapshot, 5, rng_for(0, round, "query"))
        known[picks.rows] = 0
        memo = json.loads(json.dumps(dict(picks.memo)))
        assert [pair[3] for pair in memo["pairs"]] == sorted([*range(round + 1)] * 2)
        newest = [i for pair in memo["pairs"][-2:] for i in pair[:2]]
        assert newest == list(picks.ids[:4])  # an odd answer leaves no pair


def test_a_saturated_network_never_puts_nan_first() -> None:
    sure = np.repeat(np.eye(3), 4, axis=0)
    images = np.arange(24.0).reshape(12, 2)
    hard = Snapshot.from_arrays(
        images=images,
        predict=lambda x: np.eye(3, dtype=np.float32)[(x.sum(axis=1) % 3).astype(int)],
        proba=sure,
    )
    picks = Rule().select(hard, 5, rng_for(0, 0, "query"))
    assert len(set(picks.rows)) == 5
    broken = replace(hard, predict=lambda x: np.full((len(x), 3), np.nan, dtype=np.float32))
    with pytest.raises(InputError, match="lada gave 6 of 6 scores that are NaN"):
        Rule().select(broken, 2, rng_for(0, 0, "query"))


def test_one_class_is_asked_at_random() -> None:
    one = Snapshot.from_arrays(
        images=np.arange(40.0).reshape(20, 2),
        predict=lambda x: np.ones((len(x), 1), dtype=np.float32),
        proba=np.ones((20, 1)),
    )
    chosen = {tuple(Rule().select(one, 4, rng_for(s, 0, "query")).rows) for s in range(5)}
    assert len(chosen) == 5
    assert Rule().select(one, 4, rng_for(0, 0, "query")).memo["pairs"][0][2] == 0.1  # lowest tau


def test_images_mix_as_what_the_learner_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 4), dtype=np.uint8)
    read: list[Array] = []

    def predict(x: Array) -> Any:
        read.append(x)
        z = x.reshape(len(x), -1)[:, :3].astype(np.float32) / 64
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    snapshot = Snapshot.from_arrays(images=images, predict=predict, proba=predict(images))
    read.clear()
    rule = Rule(policy="fixed", tau=1.0, nodes=2)
    whole = rule.select(snapshot, 4, rng_for(0, 0, "query"))
    assert len(read) == 1
    assert read[0].dtype == np.uint8
    assert read[0].shape == (4 * 2, 1, 4, 4)
    lam, _ = beta_nodes(1.0, 2)
    a, b = (images[rng_for(0, 0, "query").permutation(9)[at]] for at in (0, 4))
    np.testing.assert_array_equal(read[0][1], np.rint(lam[1] * a + (1 - lam[1]) * b))

    def single(n: int, width: int) -> Iterator[slice]:  # no block drops its last pairs
        return (slice(i, i + 1) for i in range(n))

    monkeypatch.setattr("handful.queries._lada.row_blocks", single)
    blocked = rule.select(snapshot, 4, rng_for(0, 0, "query"))
    assert len(read) == 5
    assert blocked.memo == whole.memo


def test_what_the_rule_needs_and_refuses() -> None:
    p = np.full((6, 3), 1 / 3)
    with pytest.raises(MissingPart, match="lada looks at mixed images through the learner"):
        Rule().select(Snapshot.from_arrays(proba=p, images=np.zeros((6, 2))), 2, rng_for(0, 0, "q"))
    seeing = Snapshot.from_arrays(proba=p, predict=linear)
    with pytest.raises(MissingPart, match="lada looks at images"):
        Rule().select(seeing, 2, rng_for(0, 0, "q"))
    for wrong in ({"candidates": 1}, {"tau": 0.0}, {"tau_max": 0.05}, {"nodes": 0}):
        with pytest.raises(RecipeError):
            Rule(**wrong)


# --- the learner ----------------------------------------------------------------------------


def with_pairs(view: View, *pairs: tuple[int, int, float, int]) -> View:
    ids = view.pool.ids
    told = [[ids[a], ids[b], tau, round] for a, b, tau, round in pairs]
    return replace(view, memo={"pairs": told})


def test_mixtures_and_targets_share_their_lam() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 5, 1, 2, 2))
    y_a, y_b, lam = rng.integers(0, 4, 5), rng.integers(0, 4, 5), rng.random(5)
    x, y = mixup(*(torch.from_numpy(v) for v in (a, b, y_a, y_b, lam)), n_classes=4)
    for i in range(5):
        np.testing.assert_allclose(x[i], lam[i] * a[i] + (1 - lam[i]) * b[i])
        target = np.zeros(4)
        target[y_a[i]] += lam[i]
        target[y_b[i]] += 1 - lam[i]
        np.testing.assert_allclose(y[i], target)
    logits = torch.from_numpy(rng.normal(size=(5, 4)))
    log_p = F.log_softmax(logits, dim=1)
    slow = -sum(float(y[i, c] * log_p[i, c]) for i in range(5) for c in range(4)) / 5
    assert float(mixed_cross_entropy(logits, y)) == pytest.approx(slow)


def test_schedules() -> None:
    assert LADAOptions().resolved().steps == 2000
    assert LADAOptions(schedule="fast").resolved().steps == 500
    assert LADAOptions(schedule="fast", steps=7).resolved().steps == 7
    for wrong in ({"batch_size": 1}, {"virtual_share": 1.5}):
        with pytest.raises(RecipeError):
            LADA(LADAOptions(**wrong))


def test_a_quarter_of_the_steps_are_virtual() -> None:
    steps = [s for s in range(20) if LADA(QUICK)._is_virtual(s)]
    assert steps == [3, 7, 11, 15, 19]
    none, all_ = (LADA(replace(QUICK, virtual_share=share)) for share in (0.0, 1.0))
    assert not any(none._is_virtual(s) for s in range(20))
    assert all(all_._is_virtual(s) for s in range(20))


def test_pairs_whose_images_both_have_a_class() -> None:
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9), round=3)
    told = with_pairs(view, (0, 4, 0.5, 1), (2, 20, 1.0, 2), (7, 3, 8.0, 2))
    found = virtual_pairs(told)
    assert found.a.tolist() == [0, 7]
    assert found.b.tolist() == [4, 3]
    assert found.tau.tolist() == [0.5, 8.0]
    assert virtual_pairs(told, keep=False).a.tolist() == [7]
    assert virtual_pairs(view).a.size == 0


def test_without_a_pair_it_is_the_supervised_network() -> None:
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9))
    plain = CNN(CNNOptions(steps=20))
    plain.fit(view, np.random.default_rng(0), Silent())
    x = pool.read(np.arange(24))
    np.testing.assert_array_equal(fit(view).predict(x), plain.predict(x))
    unanswered = with_pairs(view, (1, 20, 1.0, 0))
    np.testing.assert_array_equal(fit(unanswered).predict(x), plain.predict(x))


def test_it_trains_on_its_pairs() -> None:
    pool, truth = tiny_pool()
    view = with_pairs(view_of(pool, truth, range(9), round=1), (0, 1, 8.0, 0), (2, 4, 8.0, 0))
    learner = LADA(QUICK)
    report = learner.fit(view, np.random.default_rng(0), Silent())
    assert report.images == 20 * 9 + 5 * 2
    assert report.losses["virtual"] > 0
    x = pool.read(np.arange(24))
    assert not np.array_equal(learner.predict(x), fit(replace(view, memo={})).predict(x))
    # what lies between two classes is learned as lying between them
    long = fit(view, replace(QUICK, steps=100, virtual_share=1.0, enough_loss=0.0))
    between = ((x[:1].astype(int) + x[1:2]) // 2).astype(np.uint8)
    halves = long.predict(between)[0]
    assert 0.2 < halves[0] < 0.8
    assert 0.2 < halves[1] < 0.8


def test_mixtures_are_drawn_anew_from_the_beta_of_their_pair() -> None:
    pool, truth = tiny_pool()
    view = with_pairs(view_of(pool, truth, range(9), round=1), (0, 1, 0.1, 0), (3, 5, 8.0, 0))
    learner = LADA(QUICK)
    labelled = learner.model.begin(view, np.random.default_rng(0))
    images = learner.model.source(pool)
    y = torch.from_numpy(truth[labelled])
    stream = learner._virtual(view, labelled, images, y, np.random.default_rng(1))
    lams: dict[int, list[float]] = {0: [], 2: []}  # by the class that the pair's second has not
    for _ in range(300):
        x, target = next(stream)
        assert x.shape == (2, 1, 8, 8)
        for one in target:
            # the pairs are of the classes (0, 1) and (0, 2)
            lams[0 if one[2] == 0 else 2].append(float(one[0]))
    for key, tau in ((0, 0.1), (2, 8.0)):
        drawn = np.array(lams[key])
        assert len(np.unique(drawn)) > 250
        # standard deviation of Beta(tau, tau), within 5 of its own standard errors
        want = math.sqrt(1 / (4 * (2 * tau + 1)))
        assert abs(drawn.std() - want) < 5 * want / math.sqrt(2 * 300)
        assert abs(drawn.mean() - 0.5) < 5 * want / math.sqrt(300)


def test_ends_early_once_the_loss_stays_low() -> None:
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9), n_classes=3)
    learner = LADA(replace(QUICK, steps=100, enough_loss=10.0, enough_steps=7))
    assert learner.fit(view, np.random.default_rng(0), Silent()).images == 7 * 9


def test_the_recipes_differ_in_who_learns() -> None:
    whole, acquired = recipe("lada"), recipe("lada-acq")
    assert (whole.learner.name, acquired.learner.name) == ("lada", "cnn")
    assert whole.query == acquired.query
