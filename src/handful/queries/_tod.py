"""COD query: ask where the model's opinion has changed most since the round before."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError, RecipeError
from handful.geometry import row_blocks
from handful.registry import ScoreRule, register_query
from handful.rng import as_rng
from handful.types import Array, Snapshot

__all__ = ["TOD", "cod", "tod"]

_BELOW = 4.0  # more than scores can differ by: -1 to sqrt 2
_log = logging.getLogger(__name__)


@register_query("tod")
@dataclass(frozen=True)
class TOD(ScoreRule):
    """Ask about the images whose prediction has changed most since the round before (COD).

    Formula   s_i = |p(x_i; w_k) - p(x_i; w_k-1)|_2 over the classes, in [0, sqrt 2];
              p (n, C) now, (n, C) at the end of the round before.  In the first round
              s_i = -|p(x_i; w_0) - 1/C|_2: the predictions nearest to uniform.
    Needs     ``proba``, ``previous``; a warm learner, or two unrelated networks are compared.
    Cost      O(n C) time, O(n) memory beside the probabilities.
              Memory: at most 64 MB at 200,000 x 128.
    When      with the learner ``tod``, whose rounds go on from each other.  Not from a few dozen
              labels: what has changed most there is what was learned last, and a random draw
              is no worse.
    Source    Huang, Wang, Xiong, Huan & Dou, ICCV 2021.
    Here      the distance, whose order is that of the code's half square.  The first round is
              told by a uniform ``previous``; the code compares with a second, untrained network
              there, which is the same with noise.  Where no opinion has changed at all, the
              first round's rule is used, with a warning.  Equal scores fall by a seeded
              permutation.

    Parameters
    ----------
    subset : rank so many open images, drawn at random, before all others (25,000 of 50,000 in the
        authors' code); None: all.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"proba", "previous"})
    name: ClassVar[str] = "tod"

    subset: int | None = None

    def __post_init__(self) -> None:
        if self.subset is not None and self.subset < 1:
            raise RecipeError(f"query.subset is {self.subset}: give 1 or more images, or none")

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> NDArray[np.float64]:
        p, q = (snapshot.part(part, self.name) for part in ("proba", "previous"))
        if p.shape != q.shape:
            raise InputError(
                f"tod compares predictions {p.shape} with those of the round before {q.shape}:"
                " give a column for each class in both"
            )
        if p.shape[1] == 1:
            _log.warning("tod: with one class every score is 0, and the order is random")
        scores = cod(p, q)
        if (bad := np.flatnonzero(~np.isfinite(scores))).size:
            raise InputError(
                f"tod: the predictions of {snapshot.ids[int(bad[0])]!r} are NaN or infinite, as"
                f" those of {bad.size} images: lower the learning rate"
            )
        if _uniform(q):
            scores = -scores
        elif not scores[snapshot.open].any():
            _log.warning("tod: no prediction has changed; the most uniform ones are asked about")
            scores = -cod(p, np.broadcast_to(1 / p.shape[1], p.shape))
        return scores - _BELOW * self._left_out(snapshot.open, rng)

    def _left_out(self, free: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Open images that the draw of a subset passes over, ``(n,)``."""
        rows = np.flatnonzero(free)
        out = np.zeros(len(free), dtype=bool)
        if self.subset is not None and self.subset < len(rows):
            out[rows[rng.permutation(len(rows))[self.subset :]]] = True
        return out


def cod(p: Array, q: Array) -> NDArray[np.float64]:
    """``|p_i - q_i|_2`` of the rows of two matrices ``(n, C)``: ``(n,)``, in blocks."""
    out = np.empty(len(p))
    for rows in row_blocks(*p.shape):
        out[rows] = np.linalg.norm(p[rows].astype(np.float64) - q[rows], axis=1)
    return out


def _uniform(q: Array) -> bool:
    """Whether every row says 1/C for every class: nothing was known the round before."""
    return all(np.abs(q[rows] - 1 / q.shape[1]).max() < 1e-6 for rows in row_blocks(*q.shape))


def tod(
    proba: Array,
    previous: Array | None,
    k: int,
    *,
    known: Array | None = None,
    rng: np.random.Generator | int = 0,
    subset: int | None = None,
    ties: Literal["random", "index"] = "random",
) -> Array:
    """``k`` rows of ``proba (n, C)`` that differ most from ``previous (n, C)``; see `TOD`.

    ``previous=None`` is the first round.  Rows are those of the caller's arrays whose ``known``
    is -1, the most changed first.
    """
    p = np.asarray(proba)
    q = np.full(p.shape, 1 / p.shape[1]) if previous is None else np.asarray(previous)
    snapshot = Snapshot.from_arrays(known=known, proba=p, previous=q)
    return TOD(subset=subset, ties=ties).select(snapshot, k, as_rng(rng)).rows
