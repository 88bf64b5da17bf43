"""The whole vocabulary: what learners see, what rules see, what is asked and answered.

Nothing here holds a label that nobody has paid for.  Truth lives in an oracle or
a scorer, both on the far side of the loop's ``yield``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError, MissingPart
from handful.progress import Progress

Array: TypeAlias = NDArray[Any]
State: TypeAlias = Literal["labelled", "later", "unsure", "none", "broken"]
Source: TypeAlias = Literal[
    "initial", "oracle", "hand", "group", "accepted", "imported", "copied", "audit", "weak"
]
Weights: TypeAlias = dict[str, NDArray[Any]]  # a learner's state: flat, named, safetensors-able
Reader: TypeAlias = Callable[[NDArray[np.int64]], Array]
Predictor: TypeAlias = Callable[[Array], NDArray[np.float32]]

UNKNOWN = -1
SOURCES: tuple[Source, ...] = (
    "initial", "oracle", "hand", "group", "accepted", "imported", "copied", "audit", "weak",
)  # fmt: skip
_FORMS: Mapping[str, str] = MappingProxyType({
    "proba": "(n, C)", "embedding": "(n, d)", "clusters": "(n, K)", "centres": "(K, d)",
    "weights": "(n,)", "draws": "(T, n, C)", "heads": "(H, n, C)", "previous": "(n, C)",
    "known": "(n,)", "open": "(n,)",
})  # fmt: skip
PARTS: frozenset[str] = frozenset(_FORMS) - {"known", "open"}
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Classes:
    """The class list at one moment: position = stable id, never reused, never moved."""

    names: tuple[str, ...] = ()
    archived: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.names)

    def id(self, name: str) -> int:
        """Id of a class name; ``ValueError`` when nobody created it."""
        return self.names.index(name)


@runtime_checkable
class Pool(Protocol):
    """Images (or ready features) with stable ids, sorted by id.  No label field anywhere.

    ``read`` gives uint8 ``(B, C, H, W)``; a row that cannot be decoded comes as zeros
    and is listed in ``broken`` with its reason.  An array pool may hold ``features``
    ``(n, d) float32`` instead; its ``channels`` is then 0.  ``row`` raises ``KeyError`` for
    an id that the pool does not hold.
    """

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def channels(self) -> int: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def features(self) -> NDArray[np.float32] | None: ...
    @property
    def broken(self) -> Mapping[int, str]: ...
    def __len__(self) -> int: ...
    def row(self, id: str) -> int: ...
    def read(self, rows: Array, size: tuple[int, int] | None = None) -> NDArray[np.uint8]: ...
    def digest(self, row: int) -> str: ...
    def subset(self, rows: Array) -> Pool: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What an oracle or a person says about one image.  Every answer costs 1."""

    id: str
    label: str | None = None  # class name; a new one grows the class list
    state: State = "labelled"
    source: Source = "oracle"
    person: str = ""
    ms: int = 0


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """Same class, different, or (``None``) cannot say.  Costs 1 as well."""

    a: str
    b: str
    same: bool | None
    source: Source = "oracle"
    person: str = ""


Answers: TypeAlias = Sequence[Answer | PairAnswer]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the book.  ``seq`` is given by the book; ``data`` is JSON-able."""

    kind: str
    id: str  # given by whoever writes it, so that a repeat does no harm
    data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    at: float = 0.0
    person: str = ""
    seen_rev: int = 0
    ms: int = 0
    undoes: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a learner sees.  Rows are the pool's; ``known`` is -1 where nobody was asked."""

    pool: Pool
    known: NDArray[np.int64]
    classes: Classes
    round: int = 0
    source: NDArray[np.int8] | None = None  # index into SOURCES, -1 unknown
    clusters: int | None = None  # a hint: how many groups the user expects
    pairs: tuple[PairAnswer, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    memo: Mapping[str, Any] = field(default_factory=dict)
    drawn_at_random: bool = True  # priors may be estimated from the labels


@dataclass(frozen=True, slots=True)
class Picks:
    """What a rule chose: ids and rows of the snapshot, in the order of the choice."""

    ids: tuple[str, ...]
    rows: NDArray[np.int64]
    tags: tuple[str, ...] = ()  # one a pick, or none at all
    memo: Mapping[str, Any] = field(default_factory=dict)  # JSON-able; comes back next round


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a rule sees: read-only arrays, one row an image, rows sorted by id.

    Parts (each present only when it was asked of the learner and the learner gives it):
    ``proba (n, C)`` class probabilities, ``embedding (n, d)``, ``clusters (n, K)`` soft
    assignment, ``centres (K, d)``, ``weights (n,)``, ``draws (T, n, C)`` stochastic
    passes, ``heads (H, n, C)``, ``previous (n, C)`` the probabilities of the round before
    (uniform in the first).  A missing part raises `MissingPart`.

    ``read(rows)`` gives pixels ``(B, C, H, W) uint8``, or the ready features ``(B, d)`` of a
    pool without images; ``predict`` takes what ``read`` gives.
    """

    ids: Sequence[str]
    open: NDArray[np.bool_]
    known: NDArray[np.int64]
    round: int = 0
    parts: Mapping[str, Array] = field(default_factory=dict)
    learner: str = "learner"
    n_classes: int = 0
    pairs: tuple[PairAnswer, ...] = ()
    memo: Mapping[str, Any] = field(default_factory=dict)
    read: Reader | None = None
    predict: Predictor | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name, array in {"open": self.open, "known": self.known, **self.parts}.items():
            _check_rows(name, array, n)
            array.flags.writeable = False
        for name in ("proba", "clusters"):
            if name in self.parts:
                _check_distribution(name, self.parts[name], self.learner)

    @classmethod
    def of(
        cls,
        view: View,
        parts: Mapping[str, Array],
        *,
        learner: str,
        n_classes: int,
        predict: Predictor,
    ) -> Self:
        """What a learner makes of its view: everything but the parts comes from there."""
        known = np.array(view.known, dtype=np.int64)
        return cls(
            ids=view.pool.ids,
            open=known < 0,
            known=known,
            round=view.round,
            parts=parts,
            learner=learner,
            n_classes=n_classes,
            pairs=view.pairs,
            memo=view.memo,
            read=reader(view.pool),
            predict=predict,
        )

    @classmethod
    def from_arrays(
        cls,
        *,
        known: Array | None = None,
        open: Array | None = None,
        ids: Sequence[str] | None = None,
        round: int = 0,
        memo: Mapping[str, Any] = _EMPTY,
        images: Array | None = None,
        predict: Predictor | None = None,
        pairs: tuple[PairAnswer, ...] = (),
        **parts: Array,
    ) -> Self:
        """Make a snapshot by hand; ``ids`` (default: zero-padded row numbers) get sorted.

        ``images``, uint8 ``(n, C, H, W)`` or features ``(n, d)``, are what ``read`` gives.
        """
        if unknown := sorted(set(parts) - PARTS):
            raise InputError(f"no snapshot part is called {unknown[0]!r}: {sorted(PARTS)}")
        given = {k: np.asarray(v) for k, v in parts.items()}
        given |= {k: np.asarray(v) for k, v in (("known", known), ("open", open)) if v is not None}
        lengths = [_rows(k, a) for k, a in given.items() if k != "centres"]
        lengths += [len(images)] if images is not None else []
        n = lengths[0] if lengths else len(ids or ())
        if images is not None and len(images) != n:
            raise InputError(f"{len(images)} images for {n} rows: give one image a row")
        for name, array in given.items():
            _check_rows(name, array, n)
        order = None
        if ids is not None:
            if len(ids) != n:
                raise InputError(f"{len(ids)} ids for {n} images: give one id a row")
            order = np.array(sorted(range(n), key=ids.__getitem__), dtype=np.int64)
            ids = [ids[i] for i in order]

        def rows(name: str, a: Array) -> Array:
            if order is not None and name != "centres":
                return np.take(a, order, axis=_axis(name))
            return a.view()

        known_ = rows("known", given.pop("known", np.full(n, UNKNOWN))).astype(np.int64)
        open_ = rows("open", given.pop("open")).astype(bool) if "open" in given else known_ < 0
        proba = given.get("proba")
        return cls(
            ids=ids if ids is not None else RowIds(n),
            open=open_,
            known=known_,
            round=round,
            parts={k: rows(k, a) for k, a in given.items()},
            n_classes=proba.shape[1] if proba is not None else int(known_.max(initial=-1)) + 1,
            memo=memo,
            pairs=pairs,
            read=None if images is None else rows("images", np.asarray(images)).__getitem__,
            predict=predict,
        )

    def images(self, rows: Array, rule: str = "this rule") -> Array:
        """What the pool holds of some rows: see ``read``."""
        if self.read is None:
            raise MissingPart(f"{rule} looks at images: give Snapshot.from_arrays(images=...)")
        return self.read(np.asarray(rows, dtype=np.int64))

    def part(self, name: str, rule: str = "this rule") -> Array:
        """A part by name, or an error that names rule, part and who would give it."""
        if name not in self.parts:
            raise MissingPart(
                f"{rule} needs {name!r}, which {self.learner} does not give:"
                f" choose a learner that gives it (handful learners)"
            )
        return self.parts[name]

    @property
    def proba(self) -> Array:
        return self.part("proba")

    @property
    def embedding(self) -> Array:
        return self.part("embedding")

    @property
    def clusters(self) -> Array:
        return self.part("clusters")

    @property
    def centres(self) -> Array:
        return self.part("centres")

    def picks(
        self, rows: Array, tags: Sequence[str] = (), memo: Mapping[str, Any] = _EMPTY
    ) -> Picks:
        """Turn chosen rows into `Picks`."""
        chosen = np.asarray(rows, dtype=np.int64)
        return Picks(tuple(self.ids[int(i)] for i in chosen), chosen, tuple(tags), dict(memo))


class RowIds(Sequence[str]):
    """Ids ``00000000 .. n-1`` without n Python objects; they sort like numbers."""

    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [f"{j:08d}" for j in range(*i.indices(self.n))]
        if not -self.n <= i < self.n:
            raise IndexError(i)
        return f"{int(i) % self.n:08d}"


@dataclass(frozen=True, slots=True)
class Question:
    """One batch to answer.  The driver may score ``snapshot``; the oracle needs it not."""

    kind: Literal["class", "pair"]
    round: int
    ids: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    snapshot: Snapshot | None = None  # None for the first, random batch
    fit: Fit | None = None
    seconds_query: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the loop returns: the last model's snapshot, and why it ended."""

    round: int
    snapshot: Snapshot | None
    fit: Fit | None
    reason: str


@dataclass(frozen=True, slots=True)
class Fit:
    """What one ``fit`` has to report: last mean losses by name, images that passed, seconds."""

    losses: Mapping[str, float] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0


Loop: TypeAlias = Generator[Question, Answers, Outcome]


@runtime_checkable
class Learner(Protocol):
    """Learns from a view, describes the pool to rules, labels new images.

    Zero labels, one class and a class without a label work, or are refused with a
    clear error.  Same seed, same output on a CPU; global random states untouched.
    ``fit`` goes on from the present weights when the learner is a warm one.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]]

    def fit(self, view: View, rng: np.random.Generator, progress: Progress) -> Fit: ...
    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot: ...
    def state(self) -> Weights: ...
    def load(self, state: Weights) -> None: ...
    def predict(self, images: Array) -> NDArray[np.float32]: ...


@runtime_checkable
class Query(Protocol):
    """Chooses ``min(k, open)`` distinct open rows.  Pure."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    cold: ClassVar[bool]  # may be asked before any label is known

    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks: ...


@runtime_checkable
class PairQuery(Protocol):
    """Chooses pairs of ids for *same or different?*, none implied by answers already given."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    def select(
        self, snapshot: Snapshot, k: int, rng: np.random.Generator
    ) -> tuple[tuple[str, str], ...]: ...


@runtime_checkable
class Oracle(Protocol):
    """Answers questions and counts what it was asked."""

    asked: int

    def answer(self, question: Question) -> Answers: ...


def reader(pool: Pool) -> Reader:
    """What a rule may look at: the pixels, or the ready features of a pool without images."""
    return pool.read if pool.features is None else pool.features.__getitem__


def _rows(name: str, array: Array) -> int:
    """How many images an array is about; `InputError` when it has not the form of its name."""
    form = _FORMS.get(name)  # a part of a learner of one's own may have any
    if form is None:
        return len(array) if array.ndim else -1
    if array.ndim != form.count(",") + (not form.endswith(",)")):
        raise InputError(f"{name!r} has the shape {array.shape}: it must be {form}, n images")
    return int(array.shape[_axis(name)])


def _check_rows(name: str, array: Array, n: int) -> None:
    rows = _rows(name, array)
    if name != "centres" and rows != n:
        raise InputError(f"{name!r} has {rows} rows for {n} images: give one row an image")


def _axis(name: str) -> int:
    """Where the images stand in a part."""
    return 1 if name in ("draws", "heads") else 0


def _check_distribution(name: str, p: Array, learner: str, block: int = 1 << 18) -> None:
    for start in range(0, len(p), block):
        rows = np.asarray(p[start : start + block])
        if not np.isfinite(rows).all():
            bad = int((~np.isfinite(rows)).any(axis=1).sum())
            raise InputError(
                f"{learner} gave {name} with NaN or inf in {bad} of {len(rows)} rows from row"
                f" {start}: lower its learning rate or check the images"
            )
        if rows.size and (rows.min() < 0 or np.abs(rows.sum(axis=1) - 1).max() > 1e-4):
            raise InputError(f"{learner} gave {name} whose rows are no distributions: sum 1, >= 0")
