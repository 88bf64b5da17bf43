"""Heads on frozen vectors: L2-regularised multinomial logistic regression, solved to the optimum.

No randomness and no learning rate: the objective is convex, so this is the yardstick that
a trained network has to beat.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from handful.errors import InputError, TrainingError

__all__ = [
    "LogisticHead",
    "Scale",
    "choose_strength",
    "logistic_loss",
    "logistic_probabilities",
    "logistic_regression",
]

Matrix = NDArray[np.float64]
Scale: TypeAlias = Literal["unit", "standard", "none"]
log = logging.getLogger(__name__)


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


@dataclass(frozen=True, eq=False)
class LogisticHead:
    """A fitted probe: scale the vectors, ``W z + b``, softmax over the classes that were seen.

    ``W (k, d)`` and ``b (k,)`` belong to the class ids ``seen (k,)``; a class without a label
    has probability 0, the limit of a bias that nothing holds up.  One class alone has 1.
    ``mean`` and ``deviation (d,)`` are used by the scale "standard".
    """

    W: Matrix
    b: Matrix
    seen: NDArray[np.int64]
    n_classes: int
    scale: Scale
    mean: Matrix
    deviation: Matrix
    C: float

    @classmethod
    def fit(
        cls,
        z: NDArray[Any],
        y: NDArray[np.int64],
        *,
        n_classes: int,
        scale: Scale,
        moments: tuple[NDArray[Any], NDArray[Any]],
        C: float | Literal["cv"],
        grid: tuple[float, ...],
        C_few: float,
        rng: np.random.Generator,
    ) -> LogisticHead:
        """Fit on labelled vectors ``z (l, d)``; ``moments``: mean and deviation of all images.

        ``C="cv"``: chosen from ``grid`` by 5-fold cross-validation on these labels when every
        class seen has 5 or more, else ``C_few``.
        """
        mean, deviation = (np.asarray(m, dtype=np.float64) for m in moments)
        seen, place = np.unique(y, return_inverse=True)
        x = _scaled(z, scale, mean, deviation)
        if C == "cv":
            enough = len(seen) > 1 and np.bincount(place).min() >= 5
            C = choose_strength(x, place, grid=grid, rng=rng) if enough else C_few
        if len(seen) == 1:
            log.warning("one class alone has labels: its probability is 1 for every image")
            W, b = np.zeros((1, z.shape[1])), np.zeros(1)
        else:
            W, b = logistic_regression(x, place, C=C)
        return cls(W, b, seen, n_classes, scale, mean, deviation, C)

    def scaled(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """The vectors as the head sees them, ``(n, d) float64``."""
        return _scaled(z, self.scale, self.mean, self.deviation)

    def proba(self, z: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, d) -> (n, n_classes)``; rows sum to 1."""
        out = np.zeros((len(z), self.n_classes), dtype=np.float32)
        out[:, self.seen] = logistic_probabilities(self.scaled(z), self.W, self.b)
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays; `from_state` makes an equal head."""
        numbers = {"n_classes": self.n_classes, "scale": _SCALES.index(self.scale)}
        return {
            **{name: np.array([value]) for name, value in numbers.items()},
            **{name: getattr(self, name).copy() for name in _ARRAYS},
            "C": np.array([self.C], dtype=np.float64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> LogisticHead:
        return cls(
            **{name: np.array(state[name]) for name in _ARRAYS},
            n_classes=int(state["n_classes"][0]),
            scale=_SCALES[int(state["scale"][0])],
            C=float(state["C"][0]),
        )


_SCALES: tuple[Scale, ...] = ("unit", "standard", "none")
_ARRAYS = ("W", "b", "seen", "mean", "deviation")


def _scaled(z: NDArray[Any], scale: Scale, mean: Matrix, deviation: Matrix) -> Matrix:
    x = np.asarray(z, dtype=np.float64)
    if scale == "standard":
        return np.asarray((x - mean) / deviation)
    if scale == "unit":
        return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
    return x
