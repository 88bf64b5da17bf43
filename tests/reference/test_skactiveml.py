"""The door for scikit-activeml: its arguments, its results, its wrappers where it is installed."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from handful import queries
from handful.errors import InputError, MissingPart, RecipeError, UnknownName
from handful.registry import QUERIES, asks_pairs
from handful.skactiveml import Strategy
from handful.types import Array

TRUTH = np.arange(60) % 3
X = np.random.default_rng(0).normal(size=(3, 5))[TRUTH] * 2
X = X + np.random.default_rng(1).normal(size=(60, 5))
FREE = np.arange(60) % 4 > 0
CLF = LogisticRegression()
MODELS = [LogisticRegression(C=c) for c in (0.01, 1, 100)]


def labels(missing: Any = np.nan, kind: Any = float) -> Array:
    y = TRUTH.astype(kind)
    y[FREE] = missing
    return y


def known() -> Array:
    return np.where(FREE, -1, TRUTH)


def test_picks_are_those_of_the_rule() -> None:
    for rule in ("core-set", "typiclust", "probcover"):
        function = getattr(queries, rule.replace("-", "_"))
        rows = Strategy(rule, random_state=3).query(X, labels(), batch_size=6)
        assert rows.tolist() == function(X, known(), 6, rng=3).tolist()
    fitted = clone(CLF).fit(X[~FREE], TRUTH[~FREE])
    p = fitted.predict_proba(X)
    for rule in ("entropy", "margin", "least-confidence"):
        function = getattr(queries, rule.replace("-", "_"))
        wanted = function(p, 6, known=known(), rng=3).tolist()
        strategy = Strategy(rule, random_state=3)
        assert strategy.query(X, labels(), batch_size=6, clf=CLF).tolist() == wanted
        again = strategy.query(X, labels(), batch_size=6, clf=fitted, fit_clf=False)
        assert again.tolist() == wanted
    assert not hasattr(CLF, "classes_")  # a clone was fitted
    draws = np.stack([clone(m).fit(X[~FREE], TRUTH[~FREE]).predict_proba(X) for m in MODELS])
    rows = Strategy("bald").query(X, labels(), batch_size=6, clf=MODELS)
    assert rows.tolist() == queries.bald(draws, 6, known=known()).tolist()


@pytest.mark.parametrize("rule", ["random", "entropy", "core-set", "dcom", "badge"])
def test_every_form_of_candidates(rule: str) -> None:
    strategy, y = Strategy(rule, random_state=0), labels()
    assert FREE[strategy.query(X, y, batch_size=9, clf=CLF)].all()
    some = np.flatnonzero(FREE)[::4]
    rows = strategy.query(X, y, candidates=some, batch_size=5, clf=CLF)
    assert set(rows.tolist()) <= set(some.tolist())
    assert len(set(rows.tolist())) == 5
    own, utilities = strategy.query(
        X, y, candidates=X[FREE][:7] + 0.1, batch_size=7, clf=CLF, return_utilities=True
    )
    assert sorted(own.tolist()) == list(range(7))
    assert utilities.shape == (7, 7)


@pytest.mark.parametrize("rule", ["entropy", "typiclust"])
def test_utilities(rule: str) -> None:
    rows, utilities = Strategy(rule).query(
        X, labels(), batch_size=6, return_utilities=True, clf=CLF
    )
    assert utilities.shape == (6, 60)
    for b, row in enumerate(rows):
        gone = ~FREE
        gone[rows[:b]] = True
        assert np.array_equal(np.isnan(utilities[b]), gone)
        assert utilities[b, row] == np.nanmax(utilities[b])


@pytest.mark.parametrize(
    ("missing", "kind"), [(np.nan, float), (None, object), (-1, int), ("", "U5")]
)
def test_labels_of_every_kind(missing: Any, kind: Any) -> None:
    names = np.array(["cat", "dog", "owl"])[TRUTH] if kind in (object, "U5") else TRUTH
    y = names.astype(kind)
    y[FREE] = missing
    rows = Strategy("margin", missing_label=missing).query(X, y, batch_size=4, clf=CLF)
    assert rows.tolist() == Strategy("margin").query(X, labels(), batch_size=4, clf=CLF).tolist()


def test_without_a_label() -> None:
    nothing = np.full(60, np.nan)
    for rule in ("typiclust", "probcover", "core-set", "random"):
        assert len(set(Strategy(rule).query(X, nothing, batch_size=8).tolist())) == 8


def test_classes_that_nobody_met_have_a_place() -> None:
    y = np.where(TRUTH == 2, np.nan, labels())
    rows = Strategy("entropy", classes=[2, 1, 0]).query(X, y, batch_size=3, clf=CLF)
    assert np.isnan(y[rows]).all()
    with pytest.raises(InputError, match=r"2.0.*not one of classes"):
        Strategy("entropy", classes=[0, 1]).query(X, labels(), clf=CLF)


def test_what_a_rule_keeps_belongs_to_its_features() -> None:
    strategy, y = Strategy("dcom", {"delta": 0.8}), labels()
    first = strategy.query(X, y, batch_size=3, clf=CLF)
    kept = strategy.memo_["radii"]
    assert len(kept) == int((~FREE).sum())
    y[first] = TRUTH[first]
    strategy.query(X, y, batch_size=3, clf=CLF)
    assert {i: strategy.memo_["radii"][i] for i in kept} == kept
    other = X[:, ::-1] * [1, 2, 3, 4, 5]  # the distances are others: nothing is taken over
    alone = Strategy("dcom", {"delta": 0.8})
    assert strategy.query(other, y, clf=CLF).tolist() == alone.query(other, y, clf=CLF).tolist()
    assert strategy.memo_ == alone.memo_


def test_seeds_of_every_kind() -> None:
    def rows(state: Any) -> list[int]:
        return Strategy("random", random_state=state).query(X, labels(), batch_size=9).tolist()

    assert rows(None) == rows(0) != rows(1)
    assert rows(np.random.RandomState(1)) == rows(np.random.RandomState(1))
    assert rows(np.random.default_rng(1)) == rows(1)


def test_is_cloned_as_scikit_learn_clones() -> None:
    strategy = Strategy("typiclust", {"squared": True}, random_state=4)
    assert clone(strategy).get_params() == strategy.get_params()
    assert strategy.set_params(rule="core-set", options=None).query(X, labels()).shape == (1,)


def test_every_rule_of_images_is_called_or_says_what_it_lacks() -> None:
    extra = {"clusters": np.eye(3)[TRUTH], "centres": X[:3], "previous": np.full((60, 3), 1 / 3)}
    extra["heads"] = np.full((3, 60, 3), 1 / 3)
    quick = {"network": "mlp", "steps": 1, "latent": 4, "hidden": 8}
    small: dict[str, dict[str, Any]] = {"vaal": quick, "sraal": quick}
    small |= {rule: {"steps": 1, "hidden": 8} for rule in ("uncertain-gcn", "core-gcn")}
    for rule in QUERIES:
        if not asks_pairs(QUERIES.get(rule)):
            strategy = Strategy(rule, small.get(rule))
            rows = strategy.query(X, labels(), batch_size=2, clf=MODELS, parts=extra)
            assert FREE[rows].all(), rule


def test_what_cannot_be_is_refused() -> None:
    y = labels()
    with pytest.raises(UnknownName, match="typiclust"):
        Strategy("typiclus").query(X, y)
    with pytest.raises(RecipeError, match="pairs"):
        Strategy("random-pairs").query(X, y)
    with pytest.raises(MissingPart, match=r"entropy needs 'proba'.*clf"):
        Strategy("entropy").query(X, y)
    with pytest.raises(InputError, match="candidate 0 has a label"):
        Strategy("random").query(X, y, candidates=[0, 1])
    with pytest.raises(InputError, match="do not fit"):
        Strategy("random").query(X, y[:-1])
    with pytest.raises(InputError, match="batch_size is 0"):
        Strategy("random").query(X, y, batch_size=0)
    with pytest.warns(UserWarning, match="larger than the number of candidates, 45"):
        assert len(Strategy("random").query(X, y, batch_size=99)) == 45


def test_the_arguments_are_those_of_scikit_activeml() -> None:
    names = list(inspect.signature(Strategy.query).parameters)
    assert names[1:6] == ["X", "y", "candidates", "batch_size", "return_utilities"]
    assert list(inspect.signature(Strategy).parameters)[-2:] == ["missing_label", "random_state"]


@pytest.mark.skipif(
    importlib.util.find_spec("skactiveml") is None, reason="scikit-activeml is not installed"
)
@pytest.mark.filterwarnings("ignore")
def test_in_the_wrappers_of_the_package() -> None:
    from skactiveml.base import SingleAnnotatorPoolQueryStrategy
    from skactiveml.pool import SubSamplingWrapper

    strategy = Strategy("typiclust", random_state=0)
    assert isinstance(strategy, SingleAnnotatorPoolQueryStrategy)
    wrapped = SubSamplingWrapper(strategy, max_candidates=20, random_state=0)
    rows, utilities = wrapped.query(X, labels(), batch_size=4, return_utilities=True)
    assert FREE[rows].all()
    assert len(set(rows.tolist())) == 4
    assert np.isfinite(utilities[0]).sum() == 20
    wrapped = SubSamplingWrapper(
        Strategy("margin"), max_candidates=20, exclude_non_subsample=True, random_state=0
    )
    assert FREE[wrapped.query(X, labels(), batch_size=4, clf=CLF)].all()
