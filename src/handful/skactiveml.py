"""Any rule of handful in a pipeline of scikit-activeml.

::

    from handful.skactiveml import Strategy

    strategy = Strategy("typiclust", random_state=0)
    rows = strategy.query(X, y, batch_size=10)  # y: nan where nobody was asked

The package itself is not needed: `Strategy` has the parameters, the method and the results of
its ``SingleAnnotatorPoolQueryStrategy``.  Where it was imported before, a strategy counts as one
for ``isinstance`` too, so that its wrappers take it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator, RandomState
from sklearn.base import BaseEstimator, clone

import handful.queries
import handful.queries_learned
from handful.errors import InputError, MissingPart, RecipeError
from handful.registry import QUERIES, ScoreRule, asks_pairs
from handful.rng import as_rng
from handful.types import Array, Snapshot

__all__ = ["Strategy"]

Found: TypeAlias = "Array | tuple[Array, Array]"


class Strategy(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A query rule by name, called as scikit-activeml calls its own.

    Parameters
    ----------
    rule : a name of `handful queries`.
    options : fields of the rule that differ from its defaults.
    classes : all labels there are, if known; by default those met in ``y`` and in the classifier.
    missing_label : what stands in ``y`` where there is no label: nan, None or any value.
    random_state : a seed, a numpy generator or ``RandomState``; None is seed 0, as everywhere in
        handful: the global state is never read.

    After a query ``memo_`` holds what the rule keeps for the next one on the same ``X``.
    """

    def __init__(
        self,
        rule: str = "typiclust",
        options: Mapping[str, Any] | None = None,
        classes: Sequence[Any] | None = None,
        missing_label: Any = np.nan,
        random_state: int | Generator | RandomState | None = None,
    ) -> None:
        self.rule = rule
        self.options = options
        self.classes = classes
        self.missing_label = missing_label
        self.random_state = random_state
        _join_family(type(self))

    def query(
        self,
        X: Array,
        y: Array,
        candidates: Array | None = None,
        batch_size: int = 1,
        return_utilities: bool = False,
        clf: Any = None,
        fit_clf: bool = True,
        parts: Mapping[str, Array] | None = None,
    ) -> Found:
        """Rows of ``X (n, d)`` to label next, ``(batch_size,)``, in the order of the choice.

        ``X`` is the embedding.  ``candidates``: None for all without a label, row numbers, or
        vectors ``(m, d)`` of their own (rows are then theirs).  ``clf`` gives ``proba`` by its
        ``predict_proba``, a list of classifiers gives ``draws`` as well; they are cloned and
        fitted on the labelled rows unless ``fit_clf`` is False.  ``parts``: further parts of a
        snapshot, by name, a row an image.  With ``return_utilities`` also ``(batch_size, n)``:
        the rule's scores, or 1 for the pick and 0 for others where a rule has no scores; nan for
        who cannot be picked.

        Errors: labelled candidates, a rule that asks pairs, a part that nobody gave.
        """
        rule = self._rule()
        X, y = np.asarray(X), np.asarray(y)
        if X.ndim != 2 or y.shape != (len(X),):
            raise InputError(f"X {X.shape} and y {y.shape} do not fit: give (n, d) and (n,)")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: ask about 1 image or more")
        labelled = ~_missing(y, self.missing_label)
        n, own = len(X), candidates is not None and np.ndim(candidates) == 2
        free = _candidates(labelled, candidates)
        if own:
            X = np.concatenate([X, np.asarray(candidates)])
            labelled = np.concatenate([labelled, np.zeros(len(X) - n, dtype=bool)])
        if batch_size > (most := int(free.sum())):
            warnings.warn(
                f"batch_size={batch_size} is larger than the number of candidates, {most}",
                stacklevel=2,
            )
        snapshot = self._snapshot(rule, X, y, labelled, free, clf, fit_clf, parts or {})
        rng = _generator(self.random_state)
        again = np.random.Generator(type(rng.bit_generator)())
        again.bit_generator.state = rng.bit_generator.state
        picks = rule.select(snapshot, batch_size, rng)
        self.memo_, self._memo_of = dict(picks.memo), _digest(X)
        start = n if own else 0
        rows: Array = picks.rows - start
        if not return_utilities:
            return rows
        utilities: Array = _utilities(rule, snapshot, picks.rows, again)[:, start:]
        return rows, utilities

    def _rule(self) -> Any:
        assert handful.queries  # both are imported for what they register
        assert handful.queries_learned
        kind = QUERIES.get(self.rule)
        if asks_pairs(kind):
            raise RecipeError(f"{self.rule!r} asks about pairs: take a rule that asks about images")
        return kind(**(self.options or {}))

    def _snapshot(
        self,
        rule: Any,
        X: Array,
        y: Array,
        labelled: Array,
        free: Array,
        clf: Any,
        fit_clf: bool,
        parts: Mapping[str, Array],
    ) -> Snapshot:
        several = isinstance(clf, Sequence)
        models = [] if clf is None else list(clf) if several else [clf]
        given = y[labelled[: len(y)]]
        if fit_clf and models:
            models = [clone(model).fit(X[labelled], given) for model in models]
        classes = self._classes(given, models)
        found: dict[str, Array] = {"embedding": X}
        if models and rule.needs & {"proba", "draws"} - set(parts):
            opinions = np.stack([_aligned(model, X, classes) for model in models])
            found["proba"] = opinions.mean(axis=0)
            if several:
                found["draws"] = opinions
        found |= {name: np.asarray(part) for name, part in parts.items()}
        if lacking := sorted(rule.needs - set(found)):
            raise MissingPart(
                f"{self.rule} needs {lacking[0]!r}: give query(..., clf=...) for proba, a list of"
                f" classifiers for draws, or parts={{{lacking[0]!r}: ...}}"
            )
        known = np.full(len(X), -1)
        place = {label: c for c, label in enumerate(classes)}
        known[labelled] = [place[label] for label in given.tolist()]
        memo = self.memo_ if getattr(self, "_memo_of", None) == _digest(X) else {}
        predict = None if not models else lambda x: _aligned(models[0], x, classes)
        needed: dict[str, Any] = {name: found[name] for name in rule.needs}
        made = Snapshot.from_arrays(
            known=known, open=free, memo=memo, images=X, predict=predict, **needed
        )
        return replace(made, n_classes=len(classes), learner="the classifier")

    def _classes(self, given: Array, models: Sequence[Any]) -> list[Any]:
        """All labels, sorted, or in the order that the user gave."""
        if self.classes is not None:
            classes = list(self.classes)
            if strange := sorted(set(given.tolist()) - set(classes), key=str):
                raise InputError(f"y holds {strange[0]!r}, which is not one of classes={classes}")
            return classes
        met = set(given.tolist())
        for model in models:
            met |= set(np.asarray(model.classes_).tolist())
        return sorted(met)


def _join_family(kind: type) -> None:
    """Count as a strategy of scikit-activeml, where somebody has imported it."""
    base = sys.modules.get("skactiveml.base")
    if base is not None:
        base.SingleAnnotatorPoolQueryStrategy.register(kind)


def _missing(y: Array, missing_label: Any) -> Array:
    """Which of ``y (n,)`` have no label."""
    if missing_label is None or missing_label != missing_label:  # nan is not itself
        return np.array([v is None or v != v for v in y.tolist()], dtype=bool)
    return np.array([v == missing_label for v in y.tolist()], dtype=bool)


def _candidates(labelled: Array, candidates: Array | None) -> Array:
    """Who may be picked, ``(n,)``; ``(n + m,)`` for m vectors."""
    if candidates is None:
        return ~labelled
    candidates = np.asarray(candidates)
    if candidates.ndim == 2:
        return np.concatenate([np.zeros(len(labelled), bool), np.ones(len(candidates), bool)])
    free = np.zeros(len(labelled), dtype=bool)
    free[candidates.astype(np.int64)] = True
    if (free & labelled).any():
        row = int(np.flatnonzero(free & labelled)[0])
        raise InputError(f"candidate {row} has a label already: leave labelled rows out")
    return free


def _aligned(model: Any, X: Array, classes: Sequence[Any]) -> Array:
    """``predict_proba`` with one column for each of ``classes``."""
    out = np.zeros((len(X), len(classes)))
    place = {label: c for c, label in enumerate(classes)}
    columns = [place[label] for label in np.asarray(model.classes_).tolist()]
    out[:, columns] = model.predict_proba(X)
    return out


def _generator(state: Any) -> Generator:
    if isinstance(state, RandomState):
        return np.random.default_rng(state.randint(2**31))
    return as_rng(state)


def _digest(X: Array) -> bytes:
    return blake2b(np.ascontiguousarray(X).data, digest_size=16).digest()


def _utilities(rule: Any, snapshot: Snapshot, rows: Array, rng: Generator) -> Array:
    """One row a pick, ``(b, n)``: nan for who cannot be picked (any more)."""
    scores = np.zeros(len(snapshot.ids))
    scored = isinstance(rule, ScoreRule)
    if scored:
        scores = np.asarray(rule.score(snapshot, rng), dtype=np.float64)
    out = np.full((len(rows), len(scores)), np.nan)
    left = snapshot.open.copy()
    for b, row in enumerate(rows):
        out[b, left] = scores[left]
        if not scored:
            out[b, row] = 1.0
        left[row] = False
    return out
