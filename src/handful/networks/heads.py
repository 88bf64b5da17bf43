"""Heads on frozen vectors: L2-regularised multinomial logistic regression, solved to the optimum.

No randomness and no learning rate: the objective is convex, so this is the yardstick that
a trained network has to beat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from handful.errors import InputError, TrainingError

__all__ = ["choose_strength", "logistic_loss", "logistic_probabilities", "logistic_regression"]

Matrix = NDArray[np.float64]


def logistic_loss(
    W: Matrix, b: Matrix, z: Matrix, y: NDArray[Any], *, C: float
) -> tuple[float, Matrix, Matrix]:
    """Objective, gradient in W and gradient in b: ``1/2 ||W||_F^2 + C sum_i CE(W z_i + b, y_i)``.

    Shapes: ``W (K, d)``, ``b (K,)``, ``z (l, d)``, ``y (l,)`` in 0..K-1.  A sum over images,
    not a mean; the bias is free of penalty.  O(l d K).
    """
    logp = log_softmax(z @ W.T + b, axis=1)
    rows = np.arange(len(y))
    residual = np.exp(logp)
    residual[rows, y] -= 1
    value = 0.5 * float((W * W).sum()) - C * float(logp[rows, y].sum())
    return value, W + C * residual.T @ z, C * residual.sum(axis=0)


def logistic_regression(
    z: NDArray[Any], y: NDArray[Any], *, C: float, tol: float = 1e-6, max_iter: int = 2000
) -> tuple[Matrix, Matrix]:
    """Fit ``W (K, d)`` and ``b (K,)`` by L-BFGS in float64; classes are 0..K-1, each present.

    The symmetric form for every K, two classes included (a single weight vector would be
    penalised twice as hard).  Raises `InputError` for non-finite vectors or fewer than two
    classes, `TrainingError` if the optimum is not reached in a way that matters.
    O(iterations l d K) time.  Multinomial logistic regression; L-BFGS: Liu, Nocedal 1989.
    """
    z = np.asarray(z, dtype=np.float64)
    y = np.asarray(y, dtype=np.int64)
    K, d = int(y.max(initial=-1)) + 1, z.shape[1]
    if K < 2 or (np.bincount(y, minlength=K) == 0).any():
        raise InputError("logistic regression needs two classes or more, each with a label")
    if not np.isfinite(z).all():
        raise InputError("logistic regression got NaN or inf: check the images or features")

    def objective(theta: Matrix) -> tuple[float, Matrix]:
        W, b = theta[: K * d].reshape(K, d), theta[K * d :]
        value, gW, gb = logistic_loss(W, b, z, y, C=C)
        return value, np.concatenate([gW.ravel(), gb])

    # many small products: more threads only get in each other's way
    with threadpool_limits(1):
        best = minimize(
            objective,
            np.zeros(K * d + K),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iter, "maxfun": 4 * max_iter, "gtol": tol, "ftol": 1e-14},
        )
    if not np.isfinite(best.x).all():
        raise TrainingError(f"logistic regression with C = {C:g} did not converge: lower C")
    return best.x[: K * d].reshape(K, d), best.x[K * d :]


def logistic_probabilities(z: NDArray[Any], W: Matrix, b: Matrix) -> NDArray[np.float32]:
    """``softmax(W z + b)``, ``(n, K) float32``, computed in float64."""
    return np.asarray(softmax(z.astype(np.float64) @ W.T + b, axis=1), dtype=np.float32)


def choose_strength(
    z: NDArray[Any],
    y: NDArray[Any],
    *,
    grid: tuple[float, ...],
    rng: np.random.Generator,
    folds: int = 5,
) -> float:
    """The C of ``grid`` with the lowest cross-entropy over stratified folds; ties: the smallest C.

    Folds are dealt class by class, so every class with ``folds`` labels or more is in every
    training part.  Sees labelled images alone.  O(folds |grid|) fits.
    """
    fold = np.empty(len(y), dtype=np.int64)
    for c in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == c))
        fold[rows] = np.arange(len(rows)) % folds
    loss = np.zeros(len(grid))
    for f in range(folds):
        train, held = fold != f, fold == f
        for g, C in enumerate(grid):
            W, b = logistic_regression(z[train], y[train], C=C)
            logp = log_softmax(z[held].astype(np.float64) @ W.T + b, axis=1)
            loss[g] -= float(logp[np.arange(int(held.sum())), y[held]].sum())
    return float(grid[int(np.argmin(np.round(loss, 9)))])
