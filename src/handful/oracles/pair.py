"""Same class or different?  Answered from the truth."""

from __future__ import annotations

from handful.oracles.truth import TruthOracle
from handful.types import Answers, PairAnswer, Question

__all__ = ["PairOracle"]


class PairOracle(TruthOracle):
    """Answers pairs with *same* or *different*, None where either label is not known (-1).

    A run may begin with single images: class questions are answered as `TruthOracle` does.
    Each pair costs 1.
    """

    def answer(self, question: Question) -> Answers:
        if question.kind == "class":
            return super().answer(question)
        self.asked += len(question.pairs)
        return [PairAnswer(a, b, self._same(a, b)) for a, b in question.pairs]

    def _same(self, a: str, b: str) -> bool | None:
        one, other = (int(self.labels[self.pool.row(id)]) for id in (a, b))
        return None if one < 0 or other < 0 else one == other
