"""BALD: ask where the network, asked several times with dropout, disagrees with itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import entr

from handful.errors import InputError, RecipeError
from handful.geometry import row_blocks
from handful.registry import ScoreRule, register_query
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["BALD", "StochasticScores", "bald", "stochastic_scores"]

Measure = Literal["bald", "mean-entropy", "variation-ratio", "mean-std"]
_log = logging.getLogger(__name__)


@register_query("bald")
@dataclass(frozen=True)
class BALD(ScoreRule):
    """Ask where stochastic passes are each sure and yet disagree: what labels can still teach.

    Formula   H[p_bar_i] - (1/T) sum_t H[p_ti], natural log, p_bar = (1/T) sum_t p_t;  p (T, n, C),
              score in [0, log min(C, T)].  The k highest, each for itself.
    Needs     ``draws``: T >= 2 passes that differ (dropout).
    Cost      O(T n C) time, blocks of 64 MB beside the draws; float64 sums.
              Memory: at most 160 MB at 200,000 x 128.
    Source    Houlsby, Huszar, Ghahramani & Lengyel 2011; Gal, Islam & Ghahramani, ICML 2017.
    When      A network with dropout and small batches.  Not large batches: near-copies share
              their score and are asked together (badge and core-set look at the batch).
    Here      the authors' code takes log2: the same order.  One mask an image and pass.  Draws
              that are all equal are an error unless they are certain, and then the order is
              random, with a notice.  Equal scores fall by a seeded permutation.

    Parameters
    ----------
    measure : ``"bald"``, or of the same passes ``"mean-entropy"`` H[p_bar], ``"variation-ratio"``
        1 - max p_bar, ``"mean-std"`` the deviation over passes, averaged over classes.
    subset : look at so many open images, drawn at random (the authors: 2,000); all when none.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"draws"})

    measure: Measure = "bald"
    subset: int | None = None

    def __post_init__(self) -> None:
        known = ("bald", "mean-entropy", "variation-ratio", "mean-std")
        if self.measure not in known:
            raise RecipeError(f"query.measure is {self.measure!r}: take one of {', '.join(known)}")
        if self.subset is not None and self.subset < 1:
            raise RecipeError(f"query.subset is {self.subset}: at least one image is looked at")

    def score(self, snapshot: Snapshot, rng: Generator) -> NDArray[np.float64]:
        found = stochastic_scores(snapshot.part("draws", self.name), who=snapshot.learner)
        scores: NDArray[np.float64] = getattr(found, self.measure.replace("-", "_"))
        return scores

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        free = np.flatnonzero(snapshot.open)
        if self.subset is None or len(free) <= max(k, self.subset):
            return ScoreRule.select(self, snapshot, k, rng)
        rows = np.sort(rng.choice(free, max(k, self.subset), replace=False))
        drawn = np.zeros(len(snapshot.open), dtype=bool)
        drawn[rows] = True
        return ScoreRule.select(self, replace(snapshot, open=drawn), k, rng)


class StochasticScores(NamedTuple):
    """Four scores of the same passes, each ``(n,)`` float64."""

    bald: NDArray[np.float64]
    mean_entropy: NDArray[np.float64]
    variation_ratio: NDArray[np.float64]
    mean_std: NDArray[np.float64]


def stochastic_scores(draws: Array, *, who: str = "the learner") -> StochasticScores:
    """BALD, H[p_bar], 1 - max p_bar and the mean deviation of ``draws (T, n, C)``, in blocks.

    Two sums an image, of p_t and of H[p_t], in float64: O(T n C) time, memory of one pass over a
    block.  Errors: T < 2, passes that never differ, rows that are no distributions (logits).
    """
    draws = np.asarray(draws)
    if draws.ndim != 3 or draws.shape[0] < 2:
        raise InputError(
            f"bald compares stochastic passes (T, n, C), T >= 2, and {who} gave {draws.shape}:"
            " set learner.draws"
        )
    passes, n, classes = draws.shape
    out = StochasticScores(*(np.empty(n) for _ in range(4)))
    differ, certain = False, True
    for rows in row_blocks(n, classes):
        first = draws[0, rows]
        total, entropy = np.zeros(first.shape), np.zeros(len(first))
        squares = np.zeros(first.shape)
        for p in (draws[t, rows].astype(np.float64) for t in range(passes)):
            _check(p, who)
            total += p
            squares += (p - first) ** 2  # around one pass: the square of a mean would cancel
            entropy += entr(p).sum(axis=1)
        mean = total / passes
        h = entr(mean).sum(axis=1)
        out.bald[rows] = np.maximum(h - entropy / passes, 0)
        out.mean_entropy[rows] = h
        out.variation_ratio[rows] = 1 - mean.max(axis=1)
        variance = np.maximum(squares / passes - (mean - first) ** 2, 0)
        out.mean_std[rows] = np.sqrt(variance).mean(axis=1)
        differ |= bool(squares.any())
        certain &= not entropy.any()
    if n and not differ and not certain:
        raise InputError(
            f"all {passes} passes of {who} are equal: bald needs a learner with dropout"
        )
    if n and not differ:
        _log.warning("bald: every pass is certain of every image, so the order is random")
    return out


def _check(p: Array, who: str) -> None:
    if not np.isfinite(p).all():
        raise InputError(f"{who} gave draws with NaN or inf: lower its learning rate")
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-4:
        raise InputError(f"{who} gave draws whose rows are no distributions: softmax the logits")


def bald(
    draws: Array,
    k: int,
    *,
    known: Array | None = None,
    rng: Generator | int = 0,
    measure: Measure = "bald",
    ties: Literal["random", "index"] = "random",
) -> Array:
    """Rows of the ``k`` highest scores of ``draws (T, n, C)`` whose ``known`` is -1; see `BALD`.

    Rows are those of the caller's arrays, the highest first.
    """
    snapshot = Snapshot.from_arrays(known=known, draws=np.asarray(draws))
    return BALD(measure=measure, ties=ties).select(snapshot, k, as_rng(rng)).rows
