"""BALD: worked numbers, the sum of divergences, a real network, and what others get wrong."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handful.learners
from handful.errors import InputError, RecipeError
from handful.progress import Silent
from handful.queries import BALD, bald, stochastic_scores
from handful.registry import LEARNERS
from handful.rng import rng_for
from handful.testing import QueryContract
from handful.testing.learners import tiny_pool, view_of
from handful.types import Array, Snapshot

DRAWS = np.array(
    [[[0.9, 0.05, 0.05], [0.4, 0.3, 0.3], [0.7, 0.2, 0.1]],
     [[0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.5, 0.4, 0.1]],
     [[0.2, 0.2, 0.6], [0.4, 0.3, 0.3], [0.6, 0.3, 0.1]]]
)  # fmt: skip


assert handful.learners  # imported for what it registers


class TestMeanEntropyOfASubset(QueryContract):
    rule = BALD(measure="mean-entropy", subset=6)


class TestMeanDeviation(QueryContract):
    rule = BALD(measure="mean-std", ties="index")


def made_up(passes: int, n: int, classes: int, seed: int = 0) -> Array:
    p: Array = rng_for(seed, None, "draws").dirichlet(np.full(classes, 0.3), size=(passes, n))
    return p


def divergences(draws: Array) -> list[float]:
    """The other form: the mean over passes of KL(p_t || p_bar), number by number."""
    passes, n, classes = draws.shape
    out = []
    for i in range(n):
        mean = [sum(draws[t, i, c] for t in range(passes)) / passes for c in range(classes)]
        kl = 0.0
        for t in range(passes):
            for c in range(classes):
                if draws[t, i, c] > 0:
                    kl += draws[t, i, c] * log(draws[t, i, c] / mean[c]) / passes
        out.append(kl)
    return out


def test_worked_numbers() -> None:
    found = stochastic_scores(DRAWS)
    assert found.bald == pytest.approx([0.419294, 0, 0.016908], abs=5e-7)
    assert found.bald / log(2) == pytest.approx([0.604914, 0, 0.024393], abs=5e-7)
    assert found.mean_entropy == pytest.approx([1.080528, 1.088900, 0.897946], abs=5e-7)
    mean_h = found.mean_entropy - found.bald
    assert mean_h == pytest.approx([0.661233, 1.088900, 0.881038], abs=1e-6)
    assert found.variation_ratio == pytest.approx([0.6, 0.6, 0.4])
    assert found.mean_std == pytest.approx([0.309422, 0, 0.054433], abs=5e-7)
    assert divergences(DRAWS) == pytest.approx([0.419294, 0, 0.016908], abs=5e-7)
    assert bald(DRAWS, 3, ties="index").tolist() == [0, 2, 1]
    # not the entropy of the mean, which would open with the image that no pass knows
    assert bald(DRAWS, 3, measure="mean-entropy", ties="index").tolist() == [1, 0, 2]
    assert bald(DRAWS, 2, known=np.array([-1, -1, 0]), ties="index").tolist() == [0, 1]


@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(st.integers(2, 6), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_equals_the_sum_of_divergences(passes: int, n: int, classes: int, seed: int) -> None:
    draws = made_up(passes, n, classes, seed)
    found = stochastic_scores(draws)
    assert found.bald == pytest.approx(divergences(draws), abs=1e-12)
    assert (found.bald >= 0).all()
    assert (found.bald <= log(min(classes, passes)) + 1e-12).all()
    assert found.mean_std == pytest.approx(draws.std(axis=0).mean(axis=1), abs=1e-9)
    assert found.variation_ratio == pytest.approx(1 - draws.mean(axis=0).max(axis=1))


def test_small_scores_survive_single_precision() -> None:
    """Sums of a hundred passes in float32 are off by the size of these scores."""
    noise = 1e-3 * rng_for(0, None, "noise").standard_normal((100, 40, 1))
    p = np.concatenate([0.5 + noise, 0.5 - noise], axis=2).astype(np.float32)
    exact = divergences(p.astype(np.float64))
    assert stochastic_scores(p).bald == pytest.approx(exact, rel=1e-3)
    assert max(exact) < 5e-6


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = made_up(4, 50, 3)
    whole = stochastic_scores(draws)
    monkeypatch.setattr("handful.queries._bald.row_blocks", lambda n, width: (
        slice(a, min(n, a + 7)) for a in range(0, n, 7)))  # fmt: skip
    for one, other in zip(whole, stochastic_scores(draws), strict=True):
        assert np.array_equal(one, other)


def test_a_subset_is_drawn_among_the_open() -> None:
    draws, known = made_up(3, 60, 3), np.where(np.arange(60) % 4 == 0, 1, -1)
    snapshot = Snapshot.from_arrays(draws=draws, known=known)
    rule = BALD(subset=20)
    firsts = {rule.select(snapshot, 1, rng_for(seed, 0, "query")).ids for seed in range(30)}
    assert len(firsts) > 3  # the best of all is in one draw of two
    best = BALD().select(snapshot, 1, rng_for(0, 0, "query")).ids
    assert best in firsts
    assert len(set(rule.select(snapshot, 30, rng_for(0, 0, "query")).ids)) == 30


# --- passes that say nothing


def test_a_learner_without_dropout_is_refused() -> None:
    same = np.repeat(made_up(1, 5, 3), 4, axis=0)
    with pytest.raises(InputError, match="needs a learner with dropout"):
        bald(same, 2)
    for too_few in (made_up(1, 5, 3), made_up(2, 5, 3)[0]):
        with pytest.raises(InputError, match=r"T >= 2|must be"):
            bald(too_few, 2)


def test_certain_passes_leave_a_random_order(caplog: pytest.LogCaptureFixture) -> None:
    for classes in (1, 3):
        certain = np.zeros((4, 30, classes))
        certain[:, :, 0] = 1
        orders = {tuple(bald(certain, 5, rng=seed).tolist()) for seed in range(5)}
        assert len(orders) > 1
        assert "order is random" in caplog.text
        caplog.clear()


def test_logits_and_broken_numbers_are_refused() -> None:
    """Sums of logits rank by another quantity; whoever hands them over is told."""
    with pytest.raises(InputError, match="softmax the logits"):
        bald(np.log(made_up(3, 4, 3) + 1e-9), 2)
    broken = made_up(3, 4, 3)
    broken[1, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        bald(broken, 2)


@pytest.mark.parametrize(
    ("options", "said"), [({"measure": "entropy"}, "mean-entropy"), ({"subset": 0}, "at least one")]
)
def test_options_that_make_no_sense(options: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        BALD(**options)  # type: ignore[arg-type]


# --- with the network that draws


def test_with_the_network_that_draws() -> None:
    """The passes change nothing: the same network predicts the same before and after."""
    pool, truth = tiny_pool(40)
    cnn = LEARNERS.get("cnn")
    learner = cnn(cnn.Options(schedule="fast", steps=30, draws=8))
    view = view_of(pool, truth, range(20))
    learner.fit(view, rng_for(0, 0, "fit"), Silent())
    images = pool.read(np.arange(40))
    before = learner.predict(images)
    snapshot = learner.snapshot(view, BALD.needs)
    assert np.array_equal(before, learner.predict(images))
    scores = stochastic_scores(snapshot.part("draws")).bald
    assert (scores > 0).all()
    picks = BALD().select(snapshot, 5, rng_for(0, 0, "query"))
    assert scores[picks.rows].tolist() == sorted(scores[20:], reverse=True)[:5]
