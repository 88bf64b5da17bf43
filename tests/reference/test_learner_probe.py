"""The probe: worked numbers, a slow twin, scikit-learn as the third opinion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression

from handful.errors import InputError
from handful.networks.heads import (
    choose_strength,
    logistic_loss,
    logistic_probabilities,
    logistic_regression,
)

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
