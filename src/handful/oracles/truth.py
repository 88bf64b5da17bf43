"""The truth answers: every image gets the class it was published with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handful.errors import AnswerError
from handful.types import Answer, Answers, Array, Pool, Question

__all__ = ["TruthOracle", "check_truth"]


class TruthOracle:
    """Answers with ``classes[labels[row]]``; *unsure* where the truth has no label (-1).

    ``labels (n,) int64`` go with the rows of ``pool``.  Each answer counts into ``asked``,
    unsure ones too.  The answer to an image depends on nothing but the image.
    """

    def __init__(self, pool: Pool, labels: Array, classes: Sequence[str]) -> None:
        self.pool = pool
        self.labels = check_truth(pool, labels, classes)
        self.classes = tuple(classes)
        self.asked = 0

    def answer(self, question: Question) -> Answers:
        if question.kind != "class":
            raise AnswerError("the truth oracle answers class questions: use the pair oracle")
        self.asked += len(question.ids)
        return [self._said(id) for id in question.ids]

    def _said(self, id: str) -> Answer:
        label = int(self.labels[self.pool.row(id)])
        if label < 0:
            return Answer(id, state="unsure")
        return Answer(id, self.classes[label])


def check_truth(pool: Pool, labels: Array, classes: Sequence[str]) -> Array:
    """The labels as int64, one for each image of the pool and within the classes."""
    labels = np.asarray(labels, dtype=np.int64)
    if labels.shape != (len(pool),):
        raise AnswerError(f"the truth has shape {labels.shape} for {len(pool)} images: one each")
    if labels.size and not -1 <= labels.min() <= labels.max() < len(classes):
        raise AnswerError(
            f"the truth has labels {labels.min()} to {labels.max()} for {len(classes)} classes:"
            " use 0 .. C-1, and -1 where nobody knows"
        )
    return labels
