"""BADGE query: k-means++ on the gradients that the guessed labels would give."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.registry import register_query, top_k
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["BADGE", "GradientEmbedding", "badge"]

_NOTHING = 1e-24  # largest |g|^2 below which no gradient is worth a distance
_NEAR = 1e-3  # d2 that has cancelled to this share of |g|^2 is taken by differences
_log = logging.getLogger(__name__)


class GradientEmbedding:
    """g_i = a_i (x) h_i in R^{C d}, never formed: squared norms and distances.

    a_i = p_i - e_y, y the likeliest class: g_i is the gradient of the cross-entropy by the last
    layer, were y the label.  ``proba (n, C)``, ``hidden (n, d)`` that layer's input; ``bias``
    adds a 1 to it.  |g_i|^2 = |a_i|^2 |h_i|^2,  <g_i, g_j> = (a_i.a_j)(h_i.h_j).
    Holds a, O(n C), beside the two.
    """

    def __init__(self, proba: Array, hidden: Array, *, bias: bool = False) -> None:
        self.h = hidden if hidden.dtype in (np.float32, np.float64) else hidden.astype(np.float32)
        self.a = np.array(proba, dtype=np.float64 if proba.dtype == np.float64 else np.float32)
        for rows in geometry.row_blocks(*self.a.shape):
            part = self.a[rows]
            part[np.arange(len(part)), part.argmax(axis=1)] -= 1
        self.one = float(bias)
        self.squares = (_squares(self.h) + self.one) * _squares(self.a)

    def d2(self, row: int) -> NDArray[np.float64]:
        """|g_i - g_row|^2 of every i ``(n,)``, never negative.  O(n (C + d))."""
        inner = (self.a @ self.a[row]).astype(np.float64)
        inner *= self.h @ self.h[row] + self.one
        inner *= -2
        inner += self.squares
        inner += self.squares[row]
        near = np.flatnonzero(inner < _NEAR * self.squares[row])
        for some in geometry.row_blocks(len(near), 2 * (self.h.shape[1] + self.a.shape[1])):
            inner[near[some]] = self._by_differences(near[some], row)
        least: NDArray[np.float64] = np.maximum(inner, 0, out=inner)
        return least

    def _by_differences(self, rows: Array, row: int) -> NDArray[np.float64]:
        """|g_i - g_j|^2 = |(a_i - a_j) (x) h_i + a_j (x) (h_i - h_j)|^2: 0 for a duplicate."""
        a, h = self.a[rows].astype(np.float64), self.h[rows].astype(np.float64)
        da, dh = a - self.a[row], h - self.h[row]
        a_j = self.a[row].astype(np.float64)
        first = np.einsum("nc,nc->n", da, da) * (np.einsum("nd,nd->n", h, h) + self.one)
        second = float(a_j @ a_j) * np.einsum("nd,nd->n", dh, dh)
        out: NDArray[np.float64] = first + second + 2 * (da @ a_j) * np.einsum("nd,nd->n", h, dh)
        return out


def _squares(x: NDArray[Any]) -> NDArray[np.float64]:
    """|x_i|^2 of every row, in float64."""
    out = np.empty(len(x))
    for rows in geometry.row_blocks(*x.shape, limit=1 << 20):
        part = x[rows].astype(np.float64)
        out[rows] = np.einsum("nd,nd->n", part, part)
    return out


@register_query("badge")
@dataclass(frozen=True)
class BADGE:
    """Ask about images whose guessed labels would move the last layer much, and differently.

    Formula   g_i = (p_i - e_y) (x) h_i, y = argmax p_i; first the largest |g_i|; then, b - 1
              times, j drawn by D_j^2 / sum D^2, D_j = min over picked i of |g_j - g_i|.
              p (n, C), h (n, d) the last layer's input.
              |g_i - g_j|^2 = |a_i|^2 |h_i|^2 + |a_j|^2 |h_j|^2 - 2 (a_i.a_j)(h_i.h_j).
    Needs     ``proba``, ``embedding``.
    Cost      O(b n (C + d)) time; O(n C) memory beside the two: n x (C d) is never formed.
              Memory: at most 64 MB at 200,000 x 128.
    Source    Ash, Zhang, Krishnamurthy, Langford & Agarwal, ICLR 2020; factored distances: Zhang
              et al. 2023.
    Here      the first is the largest gradient (the authors' code), not a uniform draw; labelled
              images shield nothing (as published); one uniform number a pick, so that the same
              generator gives the same picks on any machine; where every gradient left equals a
              picked one, the rest is drawn uniformly, with a warning.
    When      The classifier is trained a little and batches are large.  Not from nothing, and not
              for a model whose probabilities are all 0 and 1.

    Parameters
    ----------
    bias : the gradient by the bias too: h becomes [h, 1].
    subset : draw so many open images uniformly first, and choose among them.
    ties : of the first pick; ``"random"``, or ``"index"`` for worked numbers.
    """

    name: ClassVar[str] = "badge"
    needs: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    cold: ClassVar[bool] = False

    bias: bool = False
    subset: int | None = None
    ties: Literal["random", "index"] = "random"

    def __post_init__(self) -> None:
        if self.subset is not None and self.subset < 1:
            raise RecipeError(f"query.subset is {self.subset}: it must be 1 or more, or left out")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        proba = np.asarray(snapshot.part("proba", self.name))
        hidden = np.asarray(snapshot.part("embedding", self.name))
        rows = np.flatnonzero(snapshot.open)
        if k >= len(rows) or k <= 0:
            return snapshot.picks(rows[: max(k, 0)])
        if self.subset is not None and self.subset < len(rows):
            rows = np.sort(rng.choice(rows, max(k, self.subset), replace=False))
            proba, hidden = proba[rows], hidden[rows]
            free = np.ones(len(rows), dtype=bool)
            return snapshot.picks(rows[self._draws(proba, hidden, free, k, rng)])
        return snapshot.picks(self._draws(proba, hidden, snapshot.open.copy(), k, rng))

    def _draws(
        self, proba: Array, hidden: Array, free: NDArray[np.bool_], k: int, rng: Generator
    ) -> NDArray[np.int64]:
        """k-means++ among the ``free`` rows, from the largest gradient on."""
        g = GradientEmbedding(proba, hidden, bias=self.bias)
        if bad := int((~np.isfinite(g.squares)).sum()):
            row = int(np.flatnonzero(~np.isfinite(g.squares))[0])
            raise InputError(
                f"badge got an embedding with NaN or inf in {bad} of {len(free)} rows, row {row}"
                " the first: lower the learning rate or check the images"
            )
        chosen, least = np.empty(k, dtype=np.int64), np.where(free, g.squares, 0)
        largest = least.max()
        if largest < _NOTHING:
            return _any(free, k, k, rng)
        row = int(top_k(np.where(free, least / largest, -1), 1, rng, ties=self.ties)[0])
        least[free] = np.inf
        for i in range(k):
            if i:
                row = _draw(least, rng)
            if row < 0:
                chosen[i:] = _any(free, k - i, k, rng)
                break
            chosen[i], free[row] = row, False
            np.minimum(least, g.d2(row), out=least)
            least[row] = 0
        return chosen


def _draw(weights: NDArray[np.float64], rng: Generator) -> int:
    """A row by its share of the weights, from one uniform number; -1 when all are 0."""
    total = np.cumsum(weights)
    if not total[-1] > 0:
        return -1
    row = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return row if row < len(weights) else int(np.flatnonzero(weights)[-1])  # u rounded up to 1


def _any(free: NDArray[np.bool_], left: int, k: int, rng: Generator) -> NDArray[np.int64]:
    _log.warning("badge: no gradient left that differs, so %d of %d picks are any", left, k)
    out: NDArray[np.int64] = rng.choice(np.flatnonzero(free), left, replace=False)
    return out


def badge(
    proba: Array,
    embedding: Array,
    known: Array | None,
    k: int,
    *,
    rng: Generator | int = 0,
    bias: bool = False,
    subset: int | None = None,
    ties: Literal["random", "index"] = "random",
) -> Array:
    """``k`` rows whose ``known (n,)`` is -1, as chosen by `BADGE` from ``proba (n, C)`` and
    ``embedding (n, d)``; rows of the caller's arrays, in the order of the choice.
    """
    made = Snapshot.from_arrays(
        known=known, proba=np.asarray(proba), embedding=np.asarray(embedding)
    )
    return BADGE(bias=bias, subset=subset, ties=ties).select(made, k, as_rng(rng)).rows
