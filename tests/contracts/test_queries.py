"""Every registered rule keeps the contract of queries; and the contract sees who does not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import handful.queries
import handful.queries_learned
import handful.testing
from handful.book import LabelBook
from handful.errors import InputError
from handful.events import class_events
from handful.loop import Plan, drive, loop
from handful.oracles import TruthOracle
from handful.progress import Progress
from handful.registry import QUERIES, ScoreRule, asks_pairs
from handful.testing import QueryContract
from handful.testing.learners import TinyPool
from handful.testing.queries import SHAPES, made_up_parts, made_up_predict, who_is_known
from handful.testing.randomness import global_states_untouched, same_under_global_seeds
from handful.types import PARTS, Fit, Picks, Query, Snapshot, View, Weights

# rules that train a network of their own, at a size that takes milliseconds
SMALL: dict[str, dict[str, Any]] = {
    "core-gcn": {"steps": 2, "hidden": 4},
    "sraal": {"network": "mlp", "steps": 1, "latent": 4, "hidden": 8},
    "uncertain-gcn": {"steps": 2, "hidden": 4},
    "vaal": {"network": "mlp", "steps": 1, "latent": 4, "hidden": 8},
}
OF_IMAGES = [name for name in QUERIES if not asks_pairs(QUERIES.get(name))]


class TestEveryRule(QueryContract):
    @pytest.fixture(autouse=True, params=OF_IMAGES)
    def each(self, request: pytest.FixtureRequest) -> None:
        small = SMALL.get(request.param, {})
        type(self).rule = QUERIES.get(request.param)(**small)
        type(self).slow_default = bool(small)


class TestEntropyOfClusters(QueryContract):
    rule = handful.queries.Entropy(on="clusters")


class TestTiesByIndex(QueryContract):
    rule = handful.queries.Margin(ties="index")


class TestOneClassAlone(QueryContract):
    rule = handful.queries.Margin()
    n_classes = 1


def test_the_rules_of_this_package_are_registered() -> None:
    assert {"random", "entropy", "least-confidence", "margin"} <= set(QUERIES.names())
    assert set(SMALL) <= set(QUERIES.names())


@pytest.mark.parametrize("name", QUERIES.names())
def test_every_rule_has_its_card(name: str) -> None:
    card = QUERIES.get(name).__doc__ or ""
    assert 20 < len(QUERIES.summary(name)) < 100
    for heading in ("Formula", "Needs", "Cost", "When", "Source", "Here"):
        assert f"\n    {heading}" in card, f"{name}: the card lacks {heading!r}"


# --- what nobody bought


N, NAMES = 36, ("cat", "dog", "owl")
POOL = TinyPool(
    [f"{i:02d}.png" for i in range(N)],
    images=np.random.default_rng(3).integers(0, 256, (N, 1, 8, 8), dtype=np.uint8),
)


class Giver:
    """Gives every part, made up anew from the labels it was given."""

    name: ClassVar[str] = "giver"
    gives: ClassVar[frozenset[str]] = PARTS

    def fit(self, view: View, rng: np.random.Generator, progress: Progress) -> Fit:
        return Fit()

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        heard = int((np.asarray(view.known) * np.arange(N)).sum()) % 997
        arrays = made_up_parts(parts & PARTS, N, n_classes=len(NAMES), seed=heard)
        return Snapshot.of(
            view, arrays, learner=self.name, n_classes=len(NAMES), predict=self.predict
        )

    def state(self) -> Weights:
        return {}

    def load(self, state: Weights) -> None:
        pass

    def predict(self, images: np.ndarray) -> np.ndarray:
        return made_up_predict(images, n_classes=len(NAMES))


def events(rule: Query, truth: np.ndarray) -> list[Any]:
    """All that a run of three rounds wrote down."""
    book = LabelBook(class_events(NAMES))
    plan = Plan(initial=6, batch=4, budget=18)
    drive(loop(POOL, book, Giver(), rule, plan, seed=1), TruthOracle(POOL, truth, NAMES))
    return [(e.kind, e.id, e.data) for e in book.events]


def noise_matters(make: Callable[[np.ndarray], Query]) -> bool:
    """Whether noise in place of the labels that a run did not buy changes the run."""
    truth = np.arange(N) % 3
    first = events(make(truth), truth)
    bought = {data["image"] for kind, _, data in first if kind == "labelled"}
    assert len(bought) == 18
    hidden = np.array([id not in bought for id in POOL.ids])
    changed = np.where(hidden, truth, (truth + 1) % 3)
    assert events(make(changed), changed) != first  # what was bought does matter
    noises = (np.random.default_rng(seed).integers(0, 3, N) for seed in range(3))
    others = (np.where(hidden, noise, truth) for noise in noises)
    return any(events(make(other), other) != first for other in others)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_noise_for_labels_that_nobody_bought_changes_nothing(name: str) -> None:
    assert not noise_matters(lambda truth: QUERIES.get(name)(**SMALL.get(name, {})))


def test_a_rule_that_knows_the_truth_is_seen() -> None:
    @dataclass(frozen=True)
    class Cheats(Fine):
        truth: tuple[int, ...] = ()

        def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
            return np.array(self.truth) + snapshot.part("proba", self.name)[:, 0]

    assert noise_matters(lambda truth: Cheats(truth=tuple(truth.tolist())))


# --- the contract on rules that break it


@dataclass(frozen=True)
class Fine(ScoreRule):
    name: ClassVar[str] = "fine"
    needs: ClassVar[frozenset[str]] = frozenset({"proba"})

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        return snapshot.part("proba", self.name)[:, 0]


class AsksTheKnown(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        return snapshot.picks(np.arange(min(k, int(snapshot.open.sum()))))


class AsksTwice(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        rows = np.flatnonzero(snapshot.open)
        return snapshot.picks(rows[rng.integers(len(rows), size=min(k, len(rows)))])


class AsksTooMuch(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        return super().select(snapshot, k + 1, rng)


class ReadsTheGlobalState(Fine):
    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        # the fault on purpose: a rule that reads the global state
        state = np.random.get_state()[1]  # noqa: NPY002
        return np.random.default_rng(int(state[0])).random(len(snapshot.ids))


class MovesTheGlobalState(Fine):
    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        random.random()
        return super().score(snapshot, rng)


class RemembersItsCalls(Fine):
    calls: ClassVar[list[int]] = []

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        self.calls.append(1)
        return np.roll(np.arange(len(snapshot.ids)), len(self.calls))


class WritesIntoTheSnapshot(Fine):
    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        p = snapshot.part("proba", self.name)
        try:
            p.flags.writeable = True
        except ValueError:  # a view of somebody's read-only array
            return p[:, 0]
        p[:] = 1 / p.shape[1]
        return p[:, 0]


class KeepsNoJson(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        return snapshot.picks(super().select(snapshot, k, rng).rows, memo={"radius": (1, 2)})


class TagsTooFew(Fine):
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        return snapshot.picks(super().select(snapshot, k, rng).rows, tags=("difficult",))


class NeedsMoreThanItSays(Fine):
    needs: ClassVar[frozenset[str]] = frozenset()


class NeedsLessThanItSays(Fine):
    needs: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})


class NamesNoRule(Fine):  # a rule without scores has to say its name itself
    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        best = np.argsort(-snapshot.proba[:, 0])
        return snapshot.picks(best[snapshot.open[best]][:k])


class NeedsWhatNobodyKnows(Fine):
    needs: ClassVar[frozenset[str]] = frozenset({"horoscope"})


class GivesUpOnOneImage(Fine):
    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        return np.partition(super().score(snapshot, rng), -2)


class SplitsByZero(Fine):
    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        with np.errstate(all="ignore"):
            p = super().score(snapshot, rng)
            return (p - p.min()) / (p.max() - p.min())


BROKEN = [
    (AsksTheKnown, "test_chooses_min_k_open_distinct_rows", "not open"),
    (AsksTwice, "test_chooses_min_k_open_distinct_rows", "chosen twice"),
    (AsksTooMuch, "test_chooses_min_k_open_distinct_rows", "were wanted"),
    (AsksTheKnown, "test_rounds_follow_each_other", "not open"),
    (ReadsTheGlobalState, "test_same_seed_same_answer_whatever_the_global_seed", "depends on"),
    (MovesTheGlobalState, "test_same_seed_same_answer_whatever_the_global_seed", "was changed"),
    (RemembersItsCalls, "test_order_of_the_pool_does_not_matter", "other picks"),
    (WritesIntoTheSnapshot, "test_changes_nothing", "proba was"),
    (KeepsNoJson, "test_chooses_min_k_open_distinct_rows", "not JSON"),
    (TagsTooFew, "test_chooses_min_k_open_distinct_rows", "one a pick"),
    (NeedsLessThanItSays, "test_needs_are_enough_and_each_is_needed", "was not missed"),
    (NamesNoRule, "test_needs_are_enough_and_each_is_needed", "does not name the rule"),
    (NeedsMoreThanItSays, "test_needs_are_enough_and_each_is_needed", "needs 'proba'"),
    (NeedsWhatNobodyKnows, "test_is_a_frozen_rule_with_defaults", "no such part"),
    (GivesUpOnOneImage, "test_hard_pools", "kth"),
    (SplitsByZero, "test_hard_pools", "NaN"),
]


def contract_for(broken: Any) -> QueryContract:
    return type("Contract", (QueryContract,), {"rule": broken})()


@pytest.mark.parametrize(("rule", "test", "words"), BROKEN)
def test_the_contract_sees(rule: type[Fine], test: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        getattr(contract_for(rule()), test)()


def test_the_contract_wants_a_frozen_dataclass() -> None:
    class Loose:
        name, needs, cold = "loose", frozenset[str](), False

        def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
            return snapshot.picks(np.flatnonzero(snapshot.open)[:k])

    contract = contract_for(Loose())
    contract.test_hard_pools()
    with pytest.raises(AssertionError):
        contract.test_is_a_frozen_rule_with_defaults()


def test_a_rule_as_the_guide_writes_it_keeps_the_contract() -> None:
    class FirstColumn(ScoreRule):
        """Ask where class 0 is most likely."""

        needs = frozenset({"proba"})
        name = "first-column"

        def score(self, snapshot: Snapshot, rng: np.random.Generator) -> Any:
            return snapshot.proba[:, 0]

    contract = contract_for(FirstColumn())
    tests = [name for name in dir(contract) if name.startswith("test_")]
    assert len(tests) > 6
    for name in tests:
        getattr(contract, name)()


def test_all_parts_can_be_made_up() -> None:
    for shape in SHAPES:
        snapshot = Snapshot.from_arrays(**made_up_parts(PARTS, 9, shape=shape))
        assert set(snapshot.parts) == PARTS
        assert (len(np.unique(snapshot.embedding, axis=0)) == 1) is (shape == "constant")
        centred = snapshot.embedding - snapshot.embedding.mean(axis=0)
        assert np.linalg.matrix_rank(centred, tol=1e-5) == {"constant": 0, "collinear": 1}.get(
            shape, 4 if shape == "duplicates" else 6
        )
    assert sorted(set(who_is_known("a class missing", 30).tolist())) == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"proba": np.array([0.5, 0.5])}, r"'proba' has the shape \(2,\): it must be \(n, C\)"),
        ({"proba": 0.5}, r"'proba' has the shape \(\)"),
        ({"draws": np.full((4, 2), 0.5)}, r"'draws' has the shape \(4, 2\): .*\(T, n, C\)"),
        ({"proba": np.full((4, 2), 0.5), "embedding": np.zeros((3, 2))}, "3 rows for 4 images"),
        ({"proba": np.full((4, 2), 0.5), "known": np.zeros(5)}, "'known' has 5 rows for 4"),
        ({"proba": np.full((4, 2), 0.5), "open": np.ones((4, 1))}, r"'open' .* must be \(n,\)"),
        ({"proba": np.full((4, 2), 0.5), "ids": ["a", "b"]}, "2 ids for 4 images"),
        ({"probs": np.full((4, 2), 0.5)}, "no snapshot part is called 'probs'"),
        ({"proba": np.full((4, 2), np.nan)}, "NaN or inf in 4 of 4 rows"),
        ({"proba": np.full((4, 2), 0.7)}, "no distributions"),
    ],
)
def test_arrays_that_do_not_fit_together(arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Snapshot.from_arrays(**arrays)


def test_lists_will_do_and_ids_are_sorted() -> None:
    draws = np.arange(12.0).reshape(2, 3, 2)
    made = Snapshot.from_arrays(
        proba=[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], ids=["c", "a", "b"], known=[1, -1, 0],
        draws=draws, centres=[[7.0]],
    )  # fmt: skip
    assert list(made.ids) == ["a", "b", "c"]
    assert made.proba.tolist() == [[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]
    assert made.known.tolist() == [-1, 0, 1]
    assert made.open.tolist() == [True, False, False]
    assert np.array_equal(made.part("draws"), draws[:, [1, 2, 0]])
    assert made.centres.tolist() == [[7.0]]


def test_global_states_come_back() -> None:
    # the global state itself is what is tested here, hence NPY002 is off
    before = random.getstate(), repr(np.random.get_state(legacy=False))  # noqa: NPY002
    with pytest.raises(AssertionError, match="numpy"), global_states_untouched(3):
        np.random.rand()  # noqa: NPY002
    with pytest.raises(AssertionError, match="torch"), global_states_untouched(3):
        torch.rand(1)
    assert same_under_global_seeds(lambda: 5) == 5
    assert before == (random.getstate(), repr(np.random.get_state(legacy=False)))  # noqa: NPY002


def test_a_contract_that_does_not_exist_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="HopeContract"):
        handful.testing.HopeContract  # noqa: B018
