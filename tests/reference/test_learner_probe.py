"""The probe: worked numbers, a slow twin, scikit-learn as the third opinion."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression

from handful import features
from handful.errors import InputError, RecipeError
from handful.learners.encoder_head import EncoderHead, EncoderHeadOptions
from handful.learners.probe import Probe, ProbeOptions
from handful.networks.heads import (
    choose_strength,
    logistic_loss,
    logistic_probabilities,
    logistic_regression,
)
from handful.progress import Silent
from handful.testing.learners import TinyPool, tiny_pool, view_of

Z = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8], [-1, 0], [0, -1]])
Y = np.array([0, 0, 1, 1, 2, 2])


def slow_loss(W, b, z, y, C):
    """The objective again, one image and one class at a time."""
    value = sum(w * w for row in W for w in row) / 2
    for zi, yi in zip(z, y, strict=True):
        logits = [sum(w * v for w, v in zip(W[k], zi, strict=True)) + b[k] for k in range(len(b))]
        value += C * (np.log(sum(np.exp(a) for a in logits)) - logits[yi])
    return value


def test_worked_numbers():
    W, b = logistic_regression(Z, Y, C=10.0)
    # the printed objective is that of the optimum, six digits
    assert logistic_loss(W, b, Z, Y, C=10.0)[0] == pytest.approx(17.384983, abs=1e-6)
    p = logistic_probabilities(np.array([[0.6, 0.8], [0.0, -0.5]]), W, b)
    want = [[0.631636, 0.343661, 0.024703], [0.144542, 0.031957, 0.823501]]
    np.testing.assert_allclose(p, want, atol=2e-6)


def test_loss_equals_its_slow_twin_and_its_gradient_is_right():
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(3, 2)), rng.normal(size=3)
    assert logistic_loss(W, b, Z, Y, C=0.7)[0] == pytest.approx(slow_loss(W, b, Z, Y, 0.7))

    def value(theta):
        return logistic_loss(theta[:6].reshape(3, 2), theta[6:], Z, Y, C=0.7)[0]

    def gradient(theta):
        _, gW, gb = logistic_loss(theta[:6].reshape(3, 2), theta[6:], Z, Y, C=0.7)
        return np.concatenate([gW.ravel(), gb])

    assert check_grad(value, gradient, np.concatenate([W.ravel(), b])) < 1e-5


@pytest.mark.parametrize("C", [0.1, 10.0])
def test_equals_scikit_learn(C):
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(60, 5)), rng.integers(0, 4, 60)
    W, b = logistic_regression(z, y, C=C)
    other = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(z, y)
    np.testing.assert_allclose(logistic_probabilities(z, W, b), other.predict_proba(z), atol=1e-5)


def test_two_classes_are_the_symmetric_form():
    # one weight vector w with W = (w, -w)/2 has ||W||^2 = ||w||^2 / 2: twice the C of the other
    rng = np.random.default_rng(2)
    z = rng.normal(size=(40, 3))
    y = (z[:, 0] + rng.normal(size=40) > 0).astype(int)
    W, b = logistic_regression(z, y, C=1.0)
    np.testing.assert_allclose(W[0], -W[1], atol=1e-6)
    other = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(z, y)
    np.testing.assert_allclose(logistic_probabilities(z, W, b), other.predict_proba(z), atol=1e-5)


def test_refuses_what_has_no_optimum():
    with pytest.raises(InputError, match="two classes"):
        logistic_regression(Z, np.zeros(6, dtype=int), C=1.0)
    with pytest.raises(InputError, match="two classes"):
        logistic_regression(Z, np.array([0, 0, 2, 2, 2, 2]), C=1.0)
    with pytest.raises(InputError, match="NaN"):
        logistic_regression(np.where(Z == 1, np.nan, Z), Y, C=1.0)


def test_strength_is_chosen_on_held_out_labels():
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 40)
    separable = np.c_[y * 2.0 - 1, rng.normal(size=80)]
    noise = rng.normal(size=(80, 30))
    grid = (0.001, 1.0, 1000.0)
    assert choose_strength(separable, y, grid=grid, rng=rng) == 1000.0
    assert choose_strength(noise, y, grid=grid, rng=rng) == 0.001


# --- the learner on pixels and on features -------------------------------------------------


def fit(learner, view, seed=0):
    learner.fit(view, np.random.default_rng(seed), Silent())
    return learner


@pytest.mark.parametrize("scale", ["unit", "standard", "none"])
def test_scaling_of_pixels(scale):
    pool, truth = tiny_pool(30, (9, 8), channels=3)
    view = view_of(pool, truth, range(12), n_classes=3)
    probe = fit(Probe(ProbeOptions(scale=scale, C=1.0, features="pixels")), view)
    z = probe.snapshot(view, frozenset({"embedding"})).embedding
    pixels = pool.read(np.arange(30)).reshape(30, -1) / 255
    slow = {
        "unit": [row / np.sqrt(sum(v * v for v in row)) for row in pixels],
        # over all images, not the labelled ones
        "standard": (pixels - pixels.mean(0)) / pixels.std(0),
        "none": pixels,
    }[scale]
    np.testing.assert_allclose(z, slow, atol=1e-5)
    W, b = logistic_regression(np.asarray(slow)[:12], truth[:12], C=1.0)
    want = logistic_probabilities(np.asarray(slow), W, b)
    np.testing.assert_allclose(probe.predict(pool.read(np.arange(30))), want, atol=1e-4)


def test_constant_columns_and_black_images_do_no_harm():
    images = tiny_pool(12)[0].images.copy()
    images[:, :, 0] = 0
    images[5] = 0
    pool, truth = TinyPool([f"{i:02d}" for i in range(12)], images=images), np.arange(12) % 3
    view = view_of(pool, truth, range(9), n_classes=3)
    for scale in ("unit", "standard", "none"):
        probe = fit(Probe(ProbeOptions(scale=scale)), view)
        assert np.isfinite(probe.snapshot(view, probe.gives).proba).all()


def test_one_class_is_certain_and_says_so(caplog):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, [1, 4], n_classes=3)
    with caplog.at_level(logging.WARNING):
        probe = fit(Probe(), view)
    assert "one class" in caplog.text
    assert (probe.predict(pool.read(np.arange(5))) == [0, 1, 0]).all()


def test_a_class_without_a_label_has_probability_zero():
    pool, truth = tiny_pool()
    labelled = np.flatnonzero(truth != 1)[:8].tolist()
    probe = fit(Probe(), view_of(pool, truth, labelled, n_classes=3))
    p = probe.predict(pool.read(np.arange(24)))
    assert (p[:, 1] == 0).all()
    assert (p.argmax(1) == truth)[truth != 1].all()


def test_strength_falls_back_when_a_class_has_few_labels():
    pool, truth = tiny_pool(60)
    options = ProbeOptions(C="cv", grid=(0.5, 2.0), C_few=7.0)
    few = fit(Probe(options), view_of(pool, truth, range(14), n_classes=3))  # 5, 5, 4
    enough = fit(Probe(options), view_of(pool, truth, range(15), n_classes=3))
    assert few.head.C == 7.0
    assert enough.head.C in (0.5, 2.0)


def test_asks_for_what_the_pool_has():
    pool, truth = tiny_pool()
    ready, _ = tiny_pool(features=4)
    with pytest.raises(RecipeError, match="ready features"):
        fit(Probe(ProbeOptions(features="features")), view_of(pool, truth, range(6)))
    with pytest.raises(RecipeError, match="images"):
        fit(Probe(ProbeOptions(features="pixels")), view_of(ready, truth, range(6)))
    probe = fit(Probe(), view_of(ready, truth, range(6)))
    with pytest.raises(InputError, match="numbers"):
        probe.predict(np.zeros((2, 5), dtype=np.float32))
    ready.features[3, 1] = np.inf
    with pytest.raises(InputError, match="image-003"):
        fit(Probe(), view_of(ready, truth, range(6)))


def test_moments_equal_numpy_in_blocks(monkeypatch):
    pool, _ = tiny_pool(50, (9, 13), channels=3)
    monkeypatch.setattr(features, "BLOCK_BYTES", 4 * features.width(pool) * 7)
    mean, deviation = features.moments(pool)
    x = features.vectors(pool).astype(np.float64)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, x.std(0), rtol=1e-5)
    assert x.shape == (50, 9 * 13 * 3)
    np.testing.assert_array_equal(features.vectors(pool, [4, 2]), x[[4, 2]].astype(np.float32))


# --- the head on a pre-trained encoder -----------------------------------------------------

SMALL = EncoderHeadOptions(
    schedule="fast", pretrain_epochs=10, filters=(8, 8, 16), batch_size=16, finetune_steps=20
)


def test_head_is_logistic_regression_on_standardised_latent_numbers():
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(20), n_classes=3)
    learner = fit(EncoderHead(replace(SMALL, C=1.0)), view)
    snapshot = learner.snapshot(view, learner.gives)
    z = snapshot.embedding.astype(np.float64)
    z = (z - z.mean(0)) / z.std(0)
    W, b = logistic_regression(z[:20], truth[:20], C=1.0)
    np.testing.assert_allclose(snapshot.proba, logistic_probabilities(z, W, b), atol=1e-4)
    assert (snapshot.proba.argmax(1) == truth)[20:].mean() > 0.9


def test_encoder_is_trained_once_and_frozen():
    pool, truth = tiny_pool(30)
    learner = EncoderHead(SMALL)
    first = learner.fit(view_of(pool, truth, range(6)), np.random.default_rng(0), Silent())
    z = learner.space.z().clone()
    second = learner.fit(view_of(pool, truth, range(9)), np.random.default_rng(1), Silent())
    assert (first.images, second.images) == (10 * 30, 0)
    assert np.array_equal(z, learner.space.z())


@pytest.mark.parametrize("labels", [20, 260])
def test_fine_tuning_starts_from_the_frozen_solution(labels):
    pool, truth = tiny_pool(300)
    view = view_of(pool, truth, range(labels), n_classes=3)
    parts = frozenset({"proba", "embedding"})
    frozen = fit(EncoderHead(SMALL), view)
    still = fit(EncoderHead(replace(SMALL, finetune=True, finetune_steps=0)), view)
    tuned = fit(EncoderHead(replace(SMALL, finetune=True)), view)
    a, b, c = (one.snapshot(view, parts) for one in (frozen, still, tuned))
    np.testing.assert_allclose(a.proba, b.proba, atol=1e-4)
    known = np.arange(labels)

    def loss(s):
        return -np.log(s.proba[known, truth[known]] + 1e-12).mean()

    assert loss(c) < loss(a)
    assert not np.allclose(a.embedding, c.embedding)
    # the next fit starts from the pre-trained encoder again
    name = "network.encoder.0.weight"
    assert np.array_equal(tuned._frozen.state()[name], frozen.space.state()[name])
    # below 256 labels batch-norm keeps the statistics of all images
    moved = not np.array_equal(
        tuned.space.state()["network.encoder.2.running_mean"],
        frozen.space.state()["network.encoder.2.running_mean"],
    )
    assert moved == (labels >= 256)


@pytest.mark.real
@pytest.mark.skipif("HANDFUL_DATA" not in os.environ, reason="HANDFUL_DATA is not set")
def test_control_of_the_tables_on_the_training_part_of_usps():
    with np.load(Path(os.environ["HANDFUL_DATA"]) / "usps.npz", allow_pickle=False) as usps:
        rows = np.flatnonzero(usps["split"] == 0)
        images, labels = usps["images"][rows], usps["labels"][rows].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    train, held = order[:-1000], order[-1000:]
    ids = [f"{i:05d}" for i in range(len(train))]
    pool = TinyPool(ids, images=images[train][:, None])
    score = {}
    for n in (225, 750):
        view = view_of(pool, labels[train], range(n), n_classes=10)
        probe = fit(Probe(ProbeOptions(scale="none", C=0.1)), view)
        score[n] = (probe.predict(images[held][:, None]).argmax(1) == labels[held]).mean()
    # .867 and .909 were measured on all 9,298 images; two points cover split and draw
    assert score[225] == pytest.approx(0.875, abs=0.025)
    assert score[750] == pytest.approx(0.93, abs=0.025)
