"""LADA query: ask about pairs of images that are informative themselves and when they are mixed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import entr, roots_jacobi

from handful.errors import MissingPart, RecipeError
from handful.geometry import row_blocks
from handful.registry import register_query, top_k
from handful.rng import as_rng
from handful.types import Array, Picks, Predictor, Snapshot

__all__ = ["LADA", "beta_nodes", "expected_entropies", "lada"]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
TAUS = 0.1, 0.25, 0.5, 1.0, 2.0, 8.0
GRID = 33  # values of lam at which each pair is looked at, when there are many
MANY = 200  # pairs, from which on the grid and a spline replace every node of every tau
_log = logging.getLogger(__name__)


class Pairs(NamedTuple):
    """Pairs of rows ``(P,)`` and what speaks for each: score and the tau of its mixing."""

    a: Ints
    b: Ints
    score: Floats
    tau: Floats


@register_query("lada")
@dataclass(frozen=True)
class LADA:
    """Ask about pairs of images of high entropy whose mixtures have high entropy, too.

    Formula   f(x) = -sum_c p_c(x) log p_c(x);  tau* = argmax E_lam f(lam a + (1 - lam) b),
              lam ~ Beta(tau, tau);  score(a, b) = f(a) + f(b) + E_lam f(lam a + (1 - lam) b) at
              tau*.  Both images of the k/2 best pairs are asked.  p (n, C), natural log.
    Needs     ``proba``, and the learner itself: the mixtures pass through it.
    Cost      P = 1,000 pairs, 33 P forward passes (192 P below 200 pairs and with ``exact``);
              n entropies and one block of mixtures.  Memory: at most 128 MB at 200,000 x 128.
    When      with the learner ``lada``, which trains on the mixtures of the pairs that were
              asked; with another learner it is the ablation ``lada-acq``.  Not where half of two
              images means nothing.
    Source    Kim, Song, Jang & Moon, NeurIPS 2021 (InfoMixup).
    Here      tau by a grid and Gauss-Jacobi quadrature instead of a policy network: the inner
              problem has one dimension.  tau reaches 8; the released sigmoid stops at 1, where
              equal parts are never likely.  Images mix as pixels, rounded to what the learner
              reads.  An odd answer asks the better image of its pair; what pairs leave over is
              asked by f.  Equal scores fall by a seeded permutation.
              Memo: ``pairs``, all so far: [id, id, tau, round].

    Parameters
    ----------
    candidates : pairs are drawn among so many random open images (or k, where that is more).
    policy : ``"grid"``, or ``"fixed"``: Beta(tau, tau) for all pairs, nothing optimised.
    tau : of the fixed policy.
    tau_max : largest tau of the grid 0.1, 0.25, 0.5, 1, 2, 8; 1 is the released range.
    nodes : of the quadrature of each tau.
    exact : every node of every tau by a forward pass, however many the pairs.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"proba"})
    cold: ClassVar[bool] = False
    name: ClassVar[str] = "lada"

    candidates: int = 2_000
    policy: Literal["grid", "fixed"] = "grid"
    tau: float = 2.0
    tau_max: float = 8.0
    nodes: int = 32
    exact: bool = False
    ties: Literal["random", "index"] = "random"

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise RecipeError(f"query.candidates is {self.candidates}: a pair takes 2 or more")
        if self.tau <= 0 or self.tau_max < TAUS[0]:
            raise RecipeError(f"lada needs tau above 0 and tau_max of {TAUS[0]} or more")
        if self.nodes < 1:
            raise RecipeError(f"query.nodes is {self.nodes}: the quadrature takes 1 or more")

    @property
    def taus(self) -> tuple[float, ...]:
        """The values of tau to choose from, rising."""
        if self.policy == "fixed":
            return (self.tau,)
        return tuple(tau for tau in TAUS if tau <= self.tau_max)

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        proba = snapshot.part("proba", self.name)
        free = np.flatnonzero(snapshot.open)
        drawn = rng.permutation(free)[: max(self.candidates, k + 1)]
        half, k = len(drawn) // 2, max(0, min(k, len(free)))
        entropy = _entropies(proba, free)
        pairs = self._scored(snapshot, entropy, drawn[:half], drawn[half : 2 * half])
        best = top_k(pairs.score, (k + 1) // 2, rng, ties=self.ties, who=self.name)
        both = np.stack([pairs.a[best], pairs.b[best]], axis=1)
        rows = both.ravel()
        if len(rows) > k:  # of the last pair the better image alone
            rows[-2:] = both[-1][np.argsort(-entropy[both[-1]], kind="stable")]
            rows, best = rows[:k], best[:-1]
        rest = free[~np.isin(free, rows)]  # only where pairs leave some over
        more = rest[top_k(entropy[rest], k - len(rows), rng, ties=self.ties, who=self.name)]
        if len(rows):
            _log.info("lada: mean entropy of the images asked %.4f", entropy[rows].mean())
        return snapshot.picks(np.concatenate([rows, more]), memo=self._memo(snapshot, pairs, best))

    def _scored(self, snapshot: Snapshot, entropy: Floats, a: Ints, b: Ints) -> Pairs:
        """The three terms of every pair, and its tau*."""
        if not len(a):
            return Pairs(a, b, np.empty(0), np.empty(0))
        if snapshot.predict is None:
            raise MissingPart(
                "lada looks at mixed images through the learner:"
                " give Snapshot.from_arrays(predict=...)"
            )
        mixed = partial(_mixed_entropies, snapshot, snapshot.predict, a, b)
        spline = len(a) >= MANY and not self.exact
        ahead = expected_entropies(mixed, self.taus, nodes=self.nodes, spline=spline)
        at = np.round(ahead, 12).argmax(axis=0)  # ties: the lowest tau
        score = entropy[a] + entropy[b] + ahead[at, np.arange(len(a))]
        return Pairs(a, b, score, np.array(self.taus)[at])

    @staticmethod
    def _memo(snapshot: Snapshot, pairs: Pairs, best: Ints) -> dict[str, Any]:
        ids, tau = snapshot.ids, pairs.tau
        new = [
            [ids[int(pairs.a[i])], ids[int(pairs.b[i])], float(tau[i]), snapshot.round]
            for i in best
        ]
        return {"pairs": [*snapshot.memo.get("pairs", ()), *new]}


def beta_nodes(tau: float, n: int = 32) -> tuple[Floats, Floats]:
    """Nodes in (0, 1) and weights (sum 1) of the ``n``-point Gauss-Jacobi rule of Beta(tau, tau).

    Exact for polynomials of lam up to degree 2 n - 1.
    """
    x, w = roots_jacobi(n, tau - 1, tau - 1)
    return (1 + x) / 2, w / w.sum()


def expected_entropies(
    entropy: Callable[[Floats], Floats],
    taus: Sequence[float],
    *,
    nodes: int = 32,
    spline: bool = False,
) -> Floats:
    """E_lam of ``entropy(lam (L,)) -> (P, L)`` under Beta(tau, tau): ``(T, P)``.

    One call of ``entropy``: at every node of every tau, or with ``spline`` at 33 even values of
    lam with a cubic spline between them, which costs a sixth of it at 6 taus of 32 nodes.
    """
    rules = [beta_nodes(tau, nodes) for tau in taus]
    lam = np.concatenate([x for x, _ in rules])
    if spline:
        grid = np.linspace(0, 1, GRID)
        values = np.maximum(CubicSpline(grid, entropy(grid), axis=1)(lam), 0)
    else:
        values = entropy(lam)
    parts = np.split(values, len(taus), axis=1)
    return np.stack([part @ w for part, (_, w) in zip(parts, rules, strict=True)])


def _mixed_entropies(
    snapshot: Snapshot, predict: Predictor, a: Ints, b: Ints, lam: Floats
) -> Floats:
    """Entropy of ``lam a + (1 - lam) b`` for every pair and every lam: ``(P, L)``."""
    out = np.empty((len(a), len(lam)))
    width = int(np.prod(snapshot.images(a[:1], LADA.name).shape))
    for rows in row_blocks(len(a), width * len(lam)):
        x, y = (snapshot.images(part[rows], LADA.name) for part in (a, b))
        kind = x.dtype if x.dtype.kind == "f" else np.float32
        weight = lam.astype(kind).reshape(-1, *(1,) * (x.ndim - 1))
        mixed = weight * x[:, None] + (1 - weight) * y[:, None]  # (pairs, L, ...)
        if x.dtype == np.uint8:
            mixed = np.rint(mixed).astype(np.uint8)
        p = predict(mixed.reshape(-1, *x.shape[1:]))
        out[rows] = entr(p.astype(np.float64)).sum(axis=1).reshape(-1, len(lam))
    return out


def _entropies(proba: Array, rows: Ints) -> Floats:
    """Entropy of these rows of ``proba``, 0 for all others: ``(n,)``, in blocks."""
    out = np.zeros(len(proba))
    for some in row_blocks(len(rows), proba.shape[1]):
        out[rows[some]] = entr(proba[rows[some]].astype(np.float64)).sum(axis=1)
    return out


def lada(
    proba: Array,
    images: Array,
    predict: Predictor,
    k: int,
    *,
    known: Array | None = None,
    rng: Generator | int = 0,
    candidates: int = 2_000,
    policy: Literal["grid", "fixed"] = "grid",
    tau: float = 2.0,
    exact: bool = False,
) -> Array:
    """``k`` rows in pairs whose mixtures are the least certain, as chosen by `LADA`.

    ``images``, uint8 ``(n, C, H, W)`` or features ``(n, d)``, mix and pass through ``predict``,
    which gives probabilities ``(B, C)``; ``proba (n, C)`` are those of the images themselves.
    Rows are those of the caller's arrays whose ``known`` is -1, pair after pair.
    """
    rule = LADA(candidates=candidates, policy=policy, tau=tau, exact=exact)
    snapshot = Snapshot.from_arrays(known=known, images=images, predict=predict, proba=proba)
    return rule.select(snapshot, k, as_rng(rng)).rows
