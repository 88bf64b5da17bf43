"""What every query rule promises, as tests that a plug-in inherits.

::

    from handful.testing import QueryContract

    class TestMine(QueryContract):
        rule = Mine()

pytest then checks the rule on small made-up snapshots that hold exactly the parts it needs.
Needs pytest and hypothesis, which the extra ``dev`` brings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from handful.errors import MissingPart
from handful.rng import rng_for
from handful.testing.randomness import same_under_global_seeds
from handful.types import PARTS, UNKNOWN, Array, Picks, Query, Snapshot

__all__ = [
    "QueryContract", "made_up_images", "made_up_parts", "made_up_predict", "who_is_known",
]  # fmt: skip

SHAPES = ("plain", "duplicates", "constant", "saturated", "collinear")
KNOWN = ("nobody", "one class", "a class missing", "every class")


def made_up_parts(
    needs: frozenset[str], n: int, *, n_classes: int = 4, seed: int = 0, shape: str = "plain"
) -> dict[str, Any]:
    """Random parts of a snapshot of ``n`` images: exactly those in ``needs``.

    ``shape``: ``plain``, ``duplicates`` (rows come in equal pairs), ``constant`` (all rows
    equal), ``saturated`` (probabilities are exact zeros and ones), ``collinear`` (embeddings on
    a line, their last column constant).
    """
    rng = rng_for(seed, None, "made-up parts")
    d, clusters, draws, heads = 6, n_classes, 5, 2
    logits = rng.normal(0, 2, (n, n_classes))
    noise = rng.normal(0, 0.5, (draws, n, n_classes)), rng.normal(0, 0.5, (heads, n, n_classes))
    x = rng.normal(size=(n, d)).astype(np.float32)
    weights = rng.random(n)
    source = {"duplicates": np.arange(n) // 2, "constant": np.zeros(n, dtype=np.int64)}.get(
        shape, np.arange(n)
    )
    if shape == "collinear":
        x = np.linspace(-1, 1, n, dtype=np.float32)[rng.permutation(n), None] * x[:1]
        x[:, -1] = 1
    sharp = 1e4 if shape == "saturated" else 1.0
    made = {
        "proba": _softmax(logits * sharp)[source],
        "clusters": _softmax(logits[:, ::-1] * sharp)[source],
        "embedding": x[source],
        "centres": rng.normal(size=(clusters, d)).astype(np.float32),
        "weights": weights[source],
        "draws": _softmax((logits + noise[0]) * sharp)[:, source],
        "heads": _softmax((logits + noise[1]) * sharp)[:, source],
        "previous": _softmax((logits + noise[0][0]) * sharp)[source],
    }
    return {name: made[name] for name in sorted(needs)}


def made_up_images(n: int, *, seed: int = 0, shape: str = "plain") -> Array:
    """Random gray images ``(n, 1, 8, 8) uint8``; equal where the parts of that shape are."""
    images = rng_for(seed, None, "made-up images").integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    source = {"duplicates": np.arange(n) // 2, "constant": np.zeros(n, dtype=np.int64)}
    return images[source.get(shape, np.arange(n))]


def made_up_predict(images: Array, *, n_classes: int = 4) -> Array:
    """Probabilities ``(B, C)`` from the mean gray of bands of the images: a stand-in model."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    bands = [band.mean(axis=1) for band in np.array_split(flat, n_classes, axis=1)]
    return _softmax(8 * np.stack(bands, axis=1))


def _softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def who_is_known(case: str, n: int, n_classes: int = 4) -> Array:
    """``known (n,)``: every third image has a label, of the classes that ``case`` names."""
    classes = {"nobody": 0, "one class": 1, "a class missing": n_classes - 1,
               "every class": n_classes}[case]  # fmt: skip
    rows = np.arange(n)
    return np.where((rows % 3 == 1) & (classes > 0), (rows // 3) % max(classes, 1), UNKNOWN)


class QueryContract:
    """Set ``rule`` to an instance of the rule and run pytest."""

    rule: ClassVar[Query]
    n_classes: ClassVar[int] = 4
    slow_default: ClassVar[bool] = False  # True: it trains for minutes, and is only made here

    def snapshot(
        self,
        n: int = 24,
        *,
        known: Array | None = None,
        open: Array | None = None,
        ids: Sequence[str] | None = None,
        memo: Mapping[str, Any] | None = None,
        seed: int = 0,
        shape: str = "plain",
        order: Array | None = None,
    ) -> Snapshot:
        """A snapshot with what the rule needs; ``order`` permutes the rows before it is made."""
        arrays = made_up_parts(self.rule.needs, n, n_classes=self.n_classes, seed=seed, shape=shape)
        known = who_is_known("every class", n, self.n_classes) if known is None else known
        images = made_up_images(n, seed=seed, shape=shape)
        if order is not None:
            images = images[order]
            axis = {"draws": 1, "heads": 1}
            arrays = {
                k: a if k == "centres" else a.take(order, axis.get(k, 0)) for k, a in arrays.items()
            }
            known = known[order]
            ids = None if ids is None else [ids[i] for i in order]
        return Snapshot.from_arrays(
            known=known, open=open, ids=ids, memo=memo or {}, images=images,
            predict=partial(made_up_predict, n_classes=self.n_classes), **arrays,
        )  # fmt: skip

    def ask(self, snapshot: Snapshot, k: int, *, seed: int = 0, rule: Query | None = None) -> Picks:
        """Let the rule choose, and check everything that holds for every choice."""
        picks = (rule or self.rule).select(snapshot, k, rng_for(seed, 0, "query"))
        rows = picks.rows.tolist()
        wanted = min(k, int(snapshot.open.sum()))
        assert len(rows) == wanted, f"{len(rows)} picks where {wanted} were wanted"
        assert len(set(rows)) == wanted, f"a row was chosen twice: {rows}"
        assert snapshot.open[picks.rows].all(), "a row was chosen that is not open"
        assert picks.ids == tuple(snapshot.ids[i] for i in rows), "ids and rows differ"
        assert len(picks.tags) in (0, wanted), "tags: one a pick, or none"
        assert json.loads(json.dumps(dict(picks.memo))) == picks.memo, "the memo is not JSON"
        return picks

    def choose(self, snapshot: Snapshot, k: int) -> tuple[str, ...]:
        return self.ask(snapshot, k).ids

    def test_is_a_frozen_rule_with_defaults(self) -> None:
        assert isinstance(self.rule, Query), "see handful.types.Query for what is missing"
        assert is_dataclass(self.rule)
        assert type(self.rule).__dataclass_params__.frozen
        assert self.rule.name
        assert self.rule.needs <= PARTS, f"no such part: {sorted(self.rule.needs - PARTS)}"
        default = type(self.rule)()
        assert default == type(self.rule)()
        parts = made_up_parts(default.needs, 24, n_classes=self.n_classes)
        known = who_is_known("every class", 24, self.n_classes)
        images, predict = made_up_images(24), partial(made_up_predict, n_classes=self.n_classes)
        whole = Snapshot.from_arrays(known=known, images=images, predict=predict, **parts)
        self.ask(whole, 5, rule=self.rule if self.slow_default else default)

    def test_chooses_min_k_open_distinct_rows(self) -> None:
        from hypothesis import given, settings
        from hypothesis import strategies as st

        pools = st.lists(st.integers(UNKNOWN, self.n_classes), min_size=1, max_size=30)

        @settings(max_examples=40, deadline=None, database=None, derandomize=True)
        @given(pools, st.integers(0, 35), st.integers(0, 9))
        def check(kinds: list[int], k: int, seed: int) -> None:
            known = np.array(kinds)
            aside = known == self.n_classes  # neither labelled nor open
            known[aside] = UNKNOWN
            still_open = (known < 0) & ~aside
            snapshot = self.snapshot(len(kinds), known=known, open=still_open, seed=seed)
            self.ask(snapshot, k, seed=seed)

        check()

    def test_hard_pools(self) -> None:
        for n in (1, 2, 24):
            for case in KNOWN:
                for shape in SHAPES:
                    known = who_is_known(case, n, self.n_classes)
                    for k in (0, 1, n // 2, n, n + 7):
                        self.ask(self.snapshot(n, known=known, shape=shape), k)

    def test_same_seed_same_answer_whatever_the_global_seed(self) -> None:
        for shape in SHAPES:
            snapshot = self.snapshot(shape=shape)
            same_under_global_seeds(partial(self.choose, snapshot, 7))

    def test_changes_nothing(self) -> None:
        snapshot = self.snapshot(memo={"kept": [1, 2]})
        arrays = {"open": snapshot.open, "known": snapshot.known, **snapshot.parts}
        before = {name: a.copy() for name, a in arrays.items()}
        self.ask(snapshot, 5)
        for name, a in arrays.items():
            assert np.array_equal(a, before[name]), f"{name} was changed"
            assert not a.flags.writeable, f"{name} was made writeable"
        assert snapshot.memo == {"kept": [1, 2]}, "the memo was changed"

    def test_order_of_the_pool_does_not_matter(self) -> None:
        n = 24
        ids = [f"folder/{(7 * i) % n:02d}.png" for i in range(n)]
        for shape in SHAPES:
            first = self.ask(self.snapshot(n, ids=ids, shape=shape), 6)
            for seed in range(3):
                order = rng_for(seed, None, "order").permutation(n)
                again = self.ask(self.snapshot(n, ids=ids, shape=shape, order=order), 6)
                assert again.ids == first.ids, "another order of the same images, other picks"

    def test_needs_are_enough_and_each_is_needed(self) -> None:
        whole = self.snapshot()
        self.ask(whole, 3)
        for part in self.rule.needs:
            rest: dict[str, Any] = {name: a for name, a in whole.parts.items() if name != part}
            poorer = Snapshot.from_arrays(
                known=whole.known, images=made_up_images(24), predict=whole.predict, **rest
            )
            try:
                self.rule.select(poorer, 3, rng_for(0, 0, "query"))
            except MissingPart as error:
                said = str(error)
            else:
                raise AssertionError(f"{part!r} is in needs, and was not missed")
            assert self.rule.name in said, f"the error does not name the rule: {said!r}"
            assert repr(part) in said, f"the error does not name the part: {said!r}"

    def test_rounds_follow_each_other(self) -> None:
        known, bought = who_is_known("nobody", 24), set[str]()
        memo: dict[str, Any] = {}
        for _ in range(5):
            picks = self.ask(self.snapshot(known=known, memo=memo), 5)
            assert not bought & set(picks.ids)
            bought |= set(picks.ids)
            known[picks.rows] = picks.rows % self.n_classes
            memo = json.loads(json.dumps(dict(picks.memo)))
        assert len(bought) == 24
