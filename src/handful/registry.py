"""Names and what they stand for; and `ScoreRule`, the one base class rules may share.

Being registered means being tested: the contract tests run over these registries.
A name taken twice is an error.  A renamed entry keeps its old name for a while and
warns with the version that drops it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from handful.errors import InputError, MissingPart, RecipeError, UnknownName
from handful.types import Array, Picks, Snapshot

__all__ = [
    "LEARNERS",
    "QUERIES",
    "Registry",
    "ScoreRule",
    "asks_pairs",
    "learns_pairs",
    "register_learner",
    "register_pair_query",
    "register_query",
    "top_k",
]

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])


class Registry(Generic[T]):
    """An ordered table ``name -> thing`` with a one-line summary from the docstring."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._renamed: dict[str, tuple[str, str]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: put the thing under ``name`` (also set as its ``name`` attribute)."""

        def put(thing: T) -> T:
            if name in self._entries or name in self._renamed:
                raise RecipeError(f"the {self.kind} name {name!r} is taken: choose another")
            if isinstance(thing, type):
                thing.name = name  # type: ignore[attr-defined]
            self._entries[name] = thing
            return thing

        return put

    def rename(self, old: str, new: str, *, gone_in: str) -> None:
        """Keep ``old`` working, with a warning, until version ``gone_in``."""
        self._renamed[old] = (new, gone_in)

    def get(self, name: str) -> T:
        if name in self._renamed:
            new, gone_in = self._renamed[name]
            message = f"{self.kind} {name!r} is now {new!r}; the old name goes in {gone_in}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            name = new
        if name not in self._entries:
            raise UnknownName(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def summary(self, name: str) -> str:
        """First line of the docstring."""
        return (self.get(name).__doc__ or "").strip().partition("\n")[0]


QUERIES: Registry[type[Any]] = Registry("query")
LEARNERS: Registry[type[Any]] = Registry("learner")


def register_query(name: str) -> Callable[[C], C]:
    """Register a query rule, a frozen dataclass with ``needs``, ``cold`` and ``select``."""

    def put(rule: C) -> C:
        for attribute in ("needs", "cold", "select"):
            if not hasattr(rule, attribute):
                raise RecipeError(f"query {name!r} lacks {attribute!r}: see handful.types.Query")
        QUERIES.register(name)(rule)
        return rule

    return put


def register_pair_query(name: str) -> Callable[[C], C]:
    """Register a rule that asks *same or different?*: a frozen dataclass, ``needs``, ``select``.

    It has no ``cold``: it may always start, and the run's first batch is its own.
    """

    def put(rule: C) -> C:
        for attribute in ("needs", "select"):
            if not hasattr(rule, attribute):
                raise RecipeError(
                    f"query {name!r} lacks {attribute!r}: see handful.types.PairQuery"
                )
        if hasattr(rule, "cold"):
            raise RecipeError(f"query {name!r} asks pairs and has 'cold': leave it out")
        QUERIES.register(name)(rule)
        return rule

    return put


def asks_pairs(rule: object) -> bool:
    """Whether a rule, or its class, asks about pairs of images instead of images."""
    return not hasattr(rule, "cold")


def learns_pairs(learner: object) -> bool:
    """Whether a learner, or its class, learns from *same or different?*."""
    return bool(getattr(learner, "learns_pairs", False))


def register_learner(name: str) -> Callable[[C], C]:
    """Register a learner, a class built from its frozen ``Options`` dataclass."""

    def put(learner: C) -> C:
        for attribute in ("Options", "gives", "fit", "snapshot", "state", "load", "predict"):
            if not hasattr(learner, attribute):
                raise RecipeError(
                    f"learner {name!r} lacks {attribute!r}: see handful.types.Learner"
                )
        LEARNERS.register(name)(learner)
        return learner

    return put


def top_k(
    scores: Array,
    k: int,
    rng: np.random.Generator,
    *,
    ties: Literal["random", "index"] = "random",
    who: str = "the rule",
) -> Array:
    """Positions of the ``k`` highest of ``scores (m,)``, highest first.

    Scores are compared after rounding to 12 decimals; equal ones fall by ``rng``, or by
    position with ``ties="index"``.  O(m log m) time, O(m) memory.  Non-finite scores are
    an error: a NaN must never be asked first.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if bad := int((~np.isfinite(scores)).sum()):
        raise InputError(f"{who} gave {bad} of {scores.size} scores that are NaN or infinite")
    k = min(k, scores.size)
    if k <= 0:
        return np.empty(0, dtype=np.int64)
    rounded = np.round(scores, 12)
    # every score at least as good as the k-th: only these can be chosen or tie for a place
    kth = np.partition(rounded, scores.size - k)[scores.size - k]
    candidates = np.flatnonzero(rounded >= kth)
    if ties == "random":
        candidates = rng.permutation(candidates)
    order = np.argsort(-rounded[candidates], kind="stable")
    return candidates[order[:k]]


@dataclass(frozen=True)
class ScoreRule:
    """A rule that gives each image a score; the highest open ones are asked.

    ``score`` returns ``(n,)``, higher is asked first.  ``ties="index"`` is for worked
    numbers; by default ties fall by ``rng`` over rows sorted by id.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    cold: ClassVar[bool] = False
    name: ClassVar[str] = ""
    ties: Literal["random", "index"] = "random"

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> Array:
        raise TypeError(f"{type(self).__name__} defines no score(snapshot, rng)")

    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        rows = np.flatnonzero(snapshot.open)
        try:
            scores = np.asarray(self.score(snapshot, rng))[rows]
        except MissingPart as error:  # snapshot.proba does not know who asks
            raise MissingPart(str(error).replace("this rule", self.name, 1)) from error
        best = top_k(scores, k, rng, ties=self.ties, who=f"{self.name} on {snapshot.learner}")
        return snapshot.picks(rows[best])
