"""The contract of oracles: every answer counts, and depends on nothing but what was asked.

Inherit from `OracleContract`, give it ``oracle`` and ``ids``; pytest runs the rest.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import get_args

import numpy as np

from handful.types import Answer, Oracle, PairAnswer, Question, State

__all__ = ["OracleContract"]


class OracleContract:
    """What an oracle promises."""

    pairs: bool = False  # answers pair questions

    def oracle(self) -> Oracle:
        """A new oracle, each time the same."""
        raise AssertionError(f"{type(self).__name__} defines no oracle()")

    def ids(self) -> Sequence[str]:
        """At least four ids of the oracle's pool, in order."""
        raise AssertionError(f"{type(self).__name__} defines no ids()")

    def question(self, ids: Sequence[str]) -> Question:
        """A question about these images: one by one, or each with its neighbour."""
        if not self.pairs:
            return Question("class", 1, ids=tuple(ids))
        return Question("pair", 1, pairs=tuple(zip(ids, [*ids[1:], ids[0]], strict=True)))

    def test_it_is_an_oracle(self) -> None:
        assert isinstance(self.oracle(), Oracle)
        assert self.oracle().asked == 0

    def test_each_subject_is_answered_once_and_counts(self) -> None:
        oracle, ids = self.oracle(), self.ids()
        answers = oracle.answer(self.question(ids))
        assert len(answers) == len(ids) == oracle.asked
        if self.pairs:
            subjects: list[object] = [(a.a, a.b) for a in answers if isinstance(a, PairAnswer)]
            assert subjects == list(self.question(ids).pairs)
        else:
            assert [a.id for a in answers if isinstance(a, Answer)] == list(ids)
        oracle.answer(self.question(ids[:3]))
        assert oracle.asked == len(ids) + 3

    def test_an_answer_says_something(self) -> None:
        for answer in self.oracle().answer(self.question(self.ids())):
            if isinstance(answer, Answer):
                assert answer.state in get_args(State)
                assert bool(answer.label) == (answer.state == "labelled")

    def test_the_order_of_the_calls_changes_nothing(self) -> None:
        ids = list(self.ids())
        asked = self.question(ids)
        at_once = {str(a) for a in self.oracle().answer(asked)}
        oracle, one_by_one = self.oracle(), set()
        for i in reversed(range(len(ids))):
            single = Question("class", 2, ids=(ids[i],))
            if self.pairs:
                single = Question("pair", 2, pairs=(asked.pairs[i],))
            oracle.answer(single)  # asked before: says the same again
            one_by_one |= {str(a) for a in oracle.answer(single)}
        assert one_by_one == at_once

    def test_global_random_states_are_untouched_and_unread(self) -> None:
        said = []
        for seed in range(3):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the very state that must stay as it is
            before = random.getstate(), str(np.random.get_state())  # noqa: NPY002
            said.append(str(self.oracle().answer(self.question(self.ids()))))
            assert (random.getstate(), str(np.random.get_state())) == before  # noqa: NPY002
        assert len(set(said)) == 1

    def test_nothing_asked_nothing_said(self) -> None:
        oracle = self.oracle()
        assert len(oracle.answer(Question("pair" if self.pairs else "class", 1))) == 0
        assert oracle.asked == 0
