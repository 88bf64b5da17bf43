"""An oracle that errs: a given share of its answers names another class."""

from __future__ import annotations

from collections.abc import Sequence

from handful.errors import AnswerError
from handful.oracles.truth import TruthOracle
from handful.paths import to_text
from handful.rng import rng_for
from handful.types import Answer, Array, Pool

__all__ = ["NoisyOracle"]


class NoisyOracle(TruthOracle):
    """With probability ``rate`` the answer is one of the other classes, each as likely.

    ``P(answer = c) = 1 - rate`` for the true class and ``rate / (C - 1)`` for any other:
    symmetric label noise.  The draw belongs to the image (``rng_for(seed, None, id)``):
    whoever asks again, in any order, after any interruption, hears the same.
    """

    def __init__(
        self, pool: Pool, labels: Array, classes: Sequence[str], *, rate: float, seed: int = 0
    ) -> None:
        super().__init__(pool, labels, classes)
        if not 0 <= rate < 1:
            raise AnswerError(f"the rate of wrong answers is {rate}: it must be in [0, 1)")
        self.rate, self.seed = rate, seed

    def _said(self, id: str) -> Answer:
        label = int(self.labels[self.pool.row(id)])
        rng = rng_for(self.seed, None, f"noise/{to_text(id)}")
        if label < 0 or len(self.classes) < 2 or rng.random() >= self.rate:
            return super()._said(id)
        other = int(rng.integers(len(self.classes) - 1))
        return Answer(id, self.classes[other + (other >= label)])
