"""Self-training: the worked round, digits, and guesses that can be taken back."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from handful.errors import RecipeError
from handful.learners.probe import Probe, ProbeOptions
from handful.learners.self_training import SelfTraining, SelfTrainingOptions, accept
from handful.progress import Silent
from handful.testing.learners import TinyPool, tiny_pool, view_of

P = np.array(
    [[0.97, 0.02, 0.01], [0.90, 0.06, 0.04], [0.85, 0.10, 0.05], [0.82, 0.10, 0.08],
     [0.02, 0.97, 0.01], [0.10, 0.88, 0.02], [0.05, 0.10, 0.85], [0.50, 0.40, 0.10]]
)  # fmt: skip
BOTH = frozenset({"proba", "embedding"})


def fit(options, view, seed=0):
    learner = SelfTraining(options)
    done = learner.fit(view, np.random.default_rng(seed), Silent())
    return learner, done


def slow_accept(p, threshold, balanced):
    """Class by class, one row at a time."""
    sure = {c: [] for c in range(p.shape[1])}
    for i, row in enumerate(p):
        c = int(np.argmax(row))
        if row[c] >= threshold:
            sure[c].append((-row[c], i))
    counts = sorted(len(rows) for rows in sure.values())
    middle = (counts[(len(counts) - 1) // 2] + counts[len(counts) // 2]) / 2
    cap = max(1, int(middle // 1)) if balanced else len(p)
    out = [-1] * len(p)
    for c, rows in sure.items():
        for _, i in sorted(rows)[:cap]:
            out[i] = c
    return out


# --- what is accepted ----------------------------------------------------------------------


def test_worked_round():
    found = accept(P, threshold=0.8)
    assert np.flatnonzero(found >= 0).tolist() == [0, 1, 4, 5, 6]
    assert found[[0, 1, 4, 5, 6]].tolist() == [0, 0, 1, 1, 2]
    assert np.flatnonzero(accept(P, balanced=False) >= 0).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_accept_equals_its_slow_twin():
    rng = np.random.default_rng(0)
    for seed in range(20):
        p = rng.dirichlet(np.full(4, 0.3), 30)
        p[5] = p[3]  # equal ones fall by row
        for balanced in (True, False):
            found = accept(p, threshold=0.7, balanced=balanced)
            assert found.tolist() == slow_accept(p, 0.7, balanced), seed


def test_classes_without_a_sure_row_count_as_zeros():
    # counts 3, 0, 0: the median is 0, and one of the class is taken
    p = np.array([[0.9, 0.05, 0.05], [0.95, 0.03, 0.02], [0.85, 0.1, 0.05]])
    assert accept(p).tolist() == [-1, 0, -1]
    assert (accept(np.full((4, 3), 1 / 3)) == -1).all()


# --- the learner ---------------------------------------------------------------------------


def test_no_round_is_the_probe():
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6), n_classes=3)
    alone, done = fit(SelfTrainingOptions(rounds=0), view)
    probe = Probe(ProbeOptions())
    probe.fit(view, np.random.default_rng(0), Silent())
    a, b = alone.snapshot(view, BOTH), probe.snapshot(view, BOTH)
    np.testing.assert_array_equal(a.proba, b.proba)
    np.testing.assert_array_equal(a.embedding, b.embedding)
    assert (alone.pseudo_labels() == -1).all()
    assert done.losses == {"accepted": 0.0, "rounds": 0.0}


def test_guesses_never_touch_what_was_paid_for():
    pool, truth = tiny_pool(60)
    wrong = truth.copy()
    wrong[:3] = (truth[:3] + 1) % 3
    view = view_of(pool, wrong, range(20), n_classes=3)
    learner, done = fit(SelfTrainingOptions(threshold=0.5), view)
    guessed = learner.pseudo_labels()
    assert (guessed[:20] == -1).all()
    assert (guessed >= 0).sum() == done.losses["accepted"] > 0
    # as many of a class as the median class has, at most
    assert np.ptp(np.bincount(guessed[guessed >= 0], minlength=3)) <= 2


def test_stops_when_the_guesses_repeat():
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(9), n_classes=3)
    learner, done = fit(SelfTrainingOptions(), view)
    assert done.losses["rounds"] < 10
    longer, _ = fit(SelfTrainingOptions(rounds=50), view)
    np.testing.assert_array_equal(learner.pseudo_labels(), longer.pseudo_labels())
    np.testing.assert_array_equal(
        learner.snapshot(view, BOTH).proba, longer.snapshot(view, BOTH).proba
    )


def test_guesses_are_those_that_the_model_was_fitted_on():
    """The last fit stands on paid labels and ``pseudo_labels``, and on nothing else."""
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(9), n_classes=3)
    for rounds in (1, 2, 10):
        learner, _ = fit(SelfTrainingOptions(rounds=rounds, threshold=0.6), view)
        labels = np.where(view.known >= 0, view.known, learner.pseudo_labels())
        probe = Probe(ProbeOptions())
        rows = np.flatnonzero(labels >= 0)
        probe.fit(view_of(pool, labels, rows, n_classes=3), np.random.default_rng(0), Silent())
        np.testing.assert_allclose(
            learner.snapshot(view, BOTH).proba, probe.snapshot(view, BOTH).proba, atol=1e-6
        )


def test_nothing_sure_is_the_plain_probe_and_says_so(caplog):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6), n_classes=3)
    with caplog.at_level(logging.INFO):
        learner, _ = fit(SelfTrainingOptions(threshold=1.0), view)
    plain, _ = fit(SelfTrainingOptions(rounds=0), view)
    assert "the probe stays" in caplog.text
    np.testing.assert_array_equal(
        learner.snapshot(view, BOTH).proba, plain.snapshot(view, BOTH).proba
    )


def test_without_a_label_every_class_is_as_likely():
    pool, truth = tiny_pool()
    learner, _ = fit(SelfTrainingOptions(), view_of(pool, truth, [], n_classes=4))
    assert (learner.predict(pool.read(np.arange(24))) == 0.25).all()
    z = learner.snapshot(view_of(pool, truth, []), BOTH).embedding
    assert z.shape == (24, 64)


def test_what_cannot_be_is_refused():
    with pytest.raises(RecipeError, match="threshold"):
        SelfTrainingOptions(threshold=0.0)
    with pytest.raises(RecipeError, match="rounds"):
        SelfTrainingOptions(rounds=-1)


# --- measured ------------------------------------------------------------------------------


def accuracy(options, *, draws=10):
    data = load_digits()
    images = np.rint(data.images * 255 / 16).astype(np.uint8)[:, None]
    pool = TinyPool([f"{i:04d}" for i in range(len(images))], images=images)
    truth, scores = data.target, []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        drawn = [rng.choice(np.flatnonzero(truth == c), 3, replace=False) for c in range(10)]
        view = view_of(pool, truth, np.concatenate(drawn).tolist(), n_classes=10)
        learner, _ = fit(options, view, seed)
        p = learner.snapshot(view, frozenset({"proba"})).proba
        scores.append((p.argmax(axis=1) == truth)[view.known < 0].mean())
    return np.mean(scores)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threshold", "balanced", "published"),
    [
        (0.8, True, 0.860),
        (0.95, True, 0.777),
        (0.8, False, 0.839),
        (0.95, False, 0.724),
    ],
)
def test_accuracy_on_digits(threshold, balanced, published):
    """Raw pixels, 3 labels a class, mean of 10 draws; 0.02 covers other draws."""
    options = SelfTrainingOptions(threshold=threshold, balanced=balanced)
    assert accuracy(options) == pytest.approx(published, abs=0.02)


def test_teaches_itself_something_on_digits():
    options = SelfTrainingOptions()
    assert accuracy(options, draws=2) > accuracy(replace(options, rounds=0), draws=2) + 0.02
