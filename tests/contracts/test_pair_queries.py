"""Every registered rule of pairs keeps its contract; and the contract sees who does not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pytest

import handful.queries
from handful.errors import RecipeError
from handful.pairs import closure_of
from handful.registry import QUERIES, asks_pairs, register_pair_query
from handful.testing.pairs import PairQueryContract
from handful.types import Snapshot

assert handful.queries.__all__  # importing it fills the registry


class TestEveryPairRule(PairQueryContract):
    @pytest.fixture(autouse=True, params=[n for n in QUERIES if asks_pairs(QUERIES.get(n))])
    def each(self, request: pytest.FixtureRequest) -> None:
        type(self).rule = QUERIES.get(request.param)()


class TestOneCluster(PairQueryContract):
    rule = handful.queries.ADCPairs()
    n_classes = 1


class TestTiesByIndexOfPairs(PairQueryContract):
    rule = handful.queries.ADCPairs(ties="index", near=3, most=1)


def test_the_pair_rules_of_this_package_are_registered() -> None:
    assert {n for n in QUERIES if asks_pairs(QUERIES.get(n))} >= {"adc", "random-pairs"}


def test_a_pair_rule_is_registered_without_cold() -> None:
    class Lacks:
        needs: ClassVar[frozenset[str]] = frozenset()

    class Cold(Fine):
        cold: ClassVar[bool] = True

    with pytest.raises(RecipeError, match="lacks 'select'"):
        register_pair_query("lacks")(Lacks)
    with pytest.raises(RecipeError, match="has 'cold'"):
        register_pair_query("cold-pairs")(Cold)


# --- the contract on rules that break it


@dataclass(frozen=True)
class Fine:
    """The first open pairs of rows in order."""

    name: ClassVar[str] = "fine"
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Any:
        pairs = combinations(range(len(snapshot.ids)), 2)
        chosen = closure_of(snapshot).choose(pairs, k)
        return tuple((snapshot.ids[a], snapshot.ids[b]) for a, b in chosen)


class AsksWhatIsKnown(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Any:
        return tuple(zip(snapshot.ids[0:-1], snapshot.ids[1:], strict=True))[:k]


class AsksATriangle(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Any:
        closure = closure_of(snapshot)
        pairs = [p for p in combinations(range(len(snapshot.ids)), 2) if closure.open(*p)]
        return tuple((snapshot.ids[a], snapshot.ids[b]) for a, b in sorted(pairs, key=max)[:k])


class AsksOneImage(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Any:
        return ((snapshot.ids[0], snapshot.ids[0]),)[:k]


class AsksAPairTwice(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Any:
        first = super().select(snapshot, 1, rng)
        return (first + tuple((b, a) for a, b in first))[:k]


class ReadsTheGlobalSeed(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Any:
        # the fault on purpose: the global state, which NPY002 forbids everywhere else; numpy
        # types it as a dict or a tuple, and without legacy=False it is the tuple
        start = int(np.random.get_state()[1][0]) % 2  # type: ignore[index]  # noqa: NPY002
        return super().select(snapshot, k, rng)[start:]


BROKEN = [
    (AsksWhatIsKnown, "test_answers_follow_each_other_until_nothing_is_open", "known, blocked"),
    (AsksATriangle, "test_hard_pools", "the rest of the batch"),
    (AsksOneImage, "test_hard_pools", "known, blocked or one image"),
    (AsksAPairTwice, "test_hard_pools", "chosen twice"),
    (ReadsTheGlobalSeed, "test_same_seed_same_answer_whatever_the_global_seed", "global"),
]


def contract_for(broken: Any) -> PairQueryContract:
    made: PairQueryContract = type("Contract", (PairQueryContract,), {"rule": broken})()
    return made


@pytest.mark.parametrize(("rule", "test", "words"), BROKEN)
def test_the_pair_contract_sees(rule: type[Any], test: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        getattr(contract_for(rule()), test)()


def test_a_sound_rule_keeps_the_pair_contract() -> None:
    contract = contract_for(Fine())
    for name in (n for n in dir(contract) if n.startswith("test_")):
        getattr(contract, name)()
