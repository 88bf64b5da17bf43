"""What every rule that asks *same or different?* promises, as tests that a plug-in inherits.

::

    from handful.testing import PairQueryContract

    class TestMine(PairQueryContract):
        rule = Mine()

pytest then checks the rule on small made-up snapshots that hold exactly the parts it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from handful.errors import MissingPart
from handful.pairs import closure_of
from handful.registry import asks_pairs
from handful.rng import rng_for
from handful.testing.queries import KNOWN, SHAPES, made_up_parts, who_is_known
from handful.testing.randomness import same_under_global_seeds
from handful.types import PARTS, UNKNOWN, Array, PairAnswer, PairQuery, Snapshot

__all__ = ["PairQueryContract"]

Pair = tuple[str, str]


class PairQueryContract:
    """Set ``rule`` to an instance of the rule and run pytest.

    Of every batch: distinct pairs of two different images, none implied by the answers so far
    or blocked, none that answers to the rest of the batch could imply; something is asked while
    anything is open.  A rule with ``control`` above 0 breaks this on purpose: test it at 0.
    """

    rule: ClassVar[PairQuery]
    n_classes: ClassVar[int] = 4

    def snapshot(
        self,
        n: int = 24,
        *,
        pairs: Sequence[PairAnswer] = (),
        known: Array | None = None,
        ids: Sequence[str] | None = None,
        seed: int = 0,
        shape: str = "plain",
        order: Array | None = None,
    ) -> Snapshot:
        """A snapshot with what the rule needs; ``order`` permutes the rows before it is made."""
        arrays = made_up_parts(self.rule.needs, n, n_classes=self.n_classes, seed=seed, shape=shape)
        known = np.full(n, UNKNOWN) if known is None else known
        if order is not None:
            axis = {"draws": 1, "heads": 1}
            arrays = {
                k: a if k == "centres" else a.take(order, axis.get(k, 0)) for k, a in arrays.items()
            }
            known = known[order]
            ids = None if ids is None else [ids[i] for i in order]
        return Snapshot.from_arrays(known=known, ids=ids, pairs=tuple(pairs), **arrays)

    def ask(
        self, snapshot: Snapshot, k: int, *, seed: int = 0, rule: PairQuery | None = None
    ) -> tuple[Pair, ...]:
        """Let the rule choose, and check everything that holds for every choice."""
        chosen = (rule or self.rule).select(snapshot, k, rng_for(seed, 0, "query"))
        assert isinstance(chosen, tuple)
        assert len(chosen) <= max(k, 0), f"{len(chosen)} pairs where {k} were wanted"
        assert len({frozenset(pair) for pair in chosen}) == len(chosen), "a pair was chosen twice"
        place = {id: row for row, id in enumerate(snapshot.ids)}
        now = closure_of(snapshot)
        for answered in (True, False):  # whatever is said to all the others
            for left_out in chosen:
                then = closure_of(snapshot)
                for a, b in chosen:
                    assert now.open(place[a], place[b]), f"{a}, {b}: known, blocked or one image"
                    if (a, b) != left_out:
                        then.add(place[a], place[b], answered)
                a, b = left_out
                assert then.known(place[a], place[b]) == 0, "the rest of the batch may imply it"
        return chosen

    def test_is_a_frozen_rule_with_defaults(self) -> None:
        assert isinstance(self.rule, PairQuery), "see handful.types.PairQuery for what is missing"
        assert asks_pairs(self.rule), "a rule of pairs has no 'cold'"
        assert is_dataclass(self.rule)
        assert type(self.rule).__dataclass_params__.frozen
        assert self.rule.name
        assert self.rule.needs <= PARTS, f"no such part: {sorted(self.rule.needs - PARTS)}"
        assert type(self.rule)() == type(self.rule)()
        assert len(self.ask(self.snapshot(), 5, rule=type(self.rule)())) == 5

    def test_hard_pools(self) -> None:
        for n in (1, 2, 24):
            for case in KNOWN:
                for shape in SHAPES:
                    known = who_is_known(case, n, self.n_classes)
                    for k in (0, 1, n + 7):
                        self.ask(self.snapshot(n, known=known, shape=shape), k)

    def test_answers_follow_each_other_until_nothing_is_open(self) -> None:
        """With a truth of three classes, and one image that nobody can tell from another."""
        n, truth = 12, np.arange(12) % 3
        ids = [f"{i:08d}" for i in range(n)]
        said: list[PairAnswer] = []
        for round in range(60):
            snapshot = self.snapshot(n, pairs=said)
            chosen = self.ask(snapshot, 4, seed=round)
            if not chosen:
                break
            for a, b in chosen:
                same = None if {a, b} == set(ids[:2]) else bool(truth[int(a)] == truth[int(b)])
                said.append(PairAnswer(a, b, same))
        closure = closure_of(self.snapshot(n, pairs=said))
        assert closure.counts.contradictions == 0
        assert len(said) < n * (n - 1) // 2, "as many answers as there are pairs"

    def test_same_seed_same_answer_whatever_the_global_seed(self) -> None:
        for shape in SHAPES:
            snapshot = self.snapshot(shape=shape)
            same_under_global_seeds(partial(self.ask, snapshot, 7))

    def test_changes_nothing(self) -> None:
        snapshot = self.snapshot(pairs=[PairAnswer("00000001", "00000005", True)])
        arrays = {"open": snapshot.open, "known": snapshot.known, **snapshot.parts}
        before = {name: a.copy() for name, a in arrays.items()}
        self.ask(snapshot, 5)
        for name, a in arrays.items():
            assert np.array_equal(a, before[name]), f"{name} was changed"
            assert not a.flags.writeable, f"{name} was made writeable"

    def test_order_of_the_pool_does_not_matter(self) -> None:
        n = 24
        ids = [f"folder/{(7 * i) % n:02d}.png" for i in range(n)]
        pairs = (PairAnswer(ids[0], ids[3], True), PairAnswer(ids[3], ids[4], False))
        for shape in SHAPES:
            first = self.ask(self.snapshot(n, ids=ids, pairs=pairs, shape=shape), 6)
            for seed in range(3):
                order = rng_for(seed, None, "order").permutation(n)
                again = self.snapshot(n, ids=ids, pairs=pairs, shape=shape, order=order)
                assert self.ask(again, 6) == first, "another order of the images, other pairs"

    def test_needs_are_enough_and_each_is_needed(self) -> None:
        whole = self.snapshot()
        self.ask(whole, 3)
        for part in self.rule.needs:
            rest: dict[str, Any] = {name: a for name, a in whole.parts.items() if name != part}
            poorer = Snapshot.from_arrays(known=whole.known, **rest)
            try:
                self.rule.select(poorer, 3, rng_for(0, 0, "query"))
            except MissingPart as error:
                said = str(error)
            else:
                raise AssertionError(f"{part!r} is in needs, and was not missed")
            assert self.rule.name in said, f"the error does not name the rule: {said!r}"
            assert repr(part) in said, f"the error does not name the part: {said!r}"
