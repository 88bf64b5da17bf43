"""Same class or different?  Answered from the truth, with a given share of errors."""

from __future__ import annotations

from collections.abc import Sequence

from handful.errors import AnswerError
from handful.oracles.truth import TruthOracle
from handful.paths import to_text
from handful.rng import rng_for
from handful.types import Answers, Array, PairAnswer, Pool, Question

__all__ = ["PairOracle"]


class PairOracle(TruthOracle):
    """Answers pairs with *same* or *different*, None where either label is not known (-1).

    With probability ``rate`` an answer is turned round.  The draw belongs to the pair, in
    either order (``rng_for(seed, None, ids)``): whoever asks again hears the same.  A run may
    begin with single images: class questions are answered as `TruthOracle` does.  Each pair
    costs 1, whatever is said: ``asked`` counts them, ``undecided`` those that nobody could tell.
    """

    def __init__(
        self, pool: Pool, labels: Array, classes: Sequence[str], *, rate: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(pool, labels, classes)
        if not 0 <= rate < 1:
            raise AnswerError(f"the rate of wrong answers is {rate}: it must be in [0, 1)")
        self.rate, self.seed = rate, seed
        self.undecided = 0

    def answer(self, question: Question) -> Answers:
        if question.kind == "class":
            return super().answer(question)
        self.asked += len(question.pairs)
        said = [PairAnswer(a, b, self._same(a, b)) for a, b in question.pairs]
        self.undecided += sum(answer.same is None for answer in said)
        return said

    def _same(self, a: str, b: str) -> bool | None:
        one, other = (int(self.labels[self.pool.row(id)]) for id in (a, b))
        if one < 0 or other < 0:
            return None
        names = "/".join(sorted((to_text(a), to_text(b))))
        errs = self.rate > 0 and rng_for(self.seed, None, f"noise/{names}").random() < self.rate
        return (one == other) != errs
