"""SDEC, AutoEmbedder and ADC: what pairs do to them, and what happens without any."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from handful import metrics
from handful.errors import InputError, RecipeError, TrainingError
from handful.learners.adc import ADC, ADCOptions, _undecided
from handful.learners.autoembedder import AutoEmbedder, AutoEmbedderOptions
from handful.learners.sdec import SDEC, SDECOptions
from handful.pairs import Closure, Constraints, closure_of
from handful.progress import Silent
from handful.rng import rng_for
from handful.testing.learners import TinyPool
from handful.types import UNKNOWN, Array, Classes, Fit, PairAnswer, View

SMALL: dict[str, Any] = {
    "schedule": "fast", "pretrain_epochs": 4, "hidden": 16, "embedding_dim": 4, "batch_size": 32,
}  # fmt: skip
NAMES = ("a", "b", "c")


def blobs(n: int = 96, spread: float = 0.35, seed: int = 0) -> tuple[TinyPool, Array]:
    """Six blobs of features; any two that are far apart make a class, which k-means cannot know."""
    rng = np.random.default_rng(seed)
    blob = np.arange(n) % 6
    centres = rng.normal(size=(6, 8)) * 2
    x = (centres[blob] + spread * rng.normal(size=(n, 8))).astype(np.float32)
    return TinyPool([f"{i:03d}" for i in range(n)], features=x), blob % 3


def pairs_of(pool: TinyPool, truth: Array, rows: Array) -> tuple[PairAnswer, ...]:
    """An answer about each row and the one before it in the list."""
    ids = pool.ids
    return tuple(PairAnswer(ids[a], ids[b], bool(truth[a] == truth[b])) for a, b in pairwise(rows))


def view(pool: TinyPool, *, known: Array | None = None, pairs: tuple[PairAnswer, ...] = ()) -> View:
    known = np.full(len(pool), UNKNOWN) if known is None else known
    return View(pool, known, Classes(NAMES), pairs=pairs)


def everything(pool: TinyPool, truth: Array) -> tuple[PairAnswer, ...]:
    order = np.random.default_rng(1).permutation(len(pool))
    said = list(pairs_of(pool, truth, order))
    first = [int(np.flatnonzero(truth == c)[0]) for c in range(3)]
    for c in range(3):
        members = np.flatnonzero(truth == c)
        said += pairs_of(pool, truth, members)
        said += pairs_of(pool, truth, np.array([first[c], first[(c + 1) % 3]]))
    return tuple(said)


def fitted(learner: Any, seen: View, seed: int = 0) -> Fit:
    fit = learner.fit(seen, rng_for(seed, seen.round, "fit"), Silent())
    assert isinstance(fit, Fit)
    return fit


def score(learner: Any, seen: View, truth: Array) -> float:
    clusters = learner.snapshot(seen, frozenset({"clusters"})).clusters
    return float(metrics.ari(truth, clusters.argmax(axis=1)))


MAKERS: dict[str, Any] = {
    "sdec": lambda steps=100: SDEC(
        SDECOptions(**SMALL, lam=1.0, steps=steps, cluster_lr=5e-3, tol=0.0)
    ),
    "autoembedder": lambda steps=150: AutoEmbedder(
        AutoEmbedderOptions(**SMALL, alpha=10.0, steps=steps, pair_lr=3e-3)
    ),
    "adc": lambda steps=50: ADC(
        ADCOptions(**SMALL, epochs=max(steps // 2, 1), n_images=48, pair_lr=3e-3)
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_pairs_join_what_kmeans_parts(name: str) -> None:
    pool, truth = blobs()
    learner = MAKERS[name]()
    nothing, seen = view(pool), view(pool, pairs=everything(pool, truth))
    fitted(learner, nothing)
    before = score(learner, nothing, truth)
    fitted(learner, seen)
    after = score(learner, seen, truth)
    assert before < 0.7
    assert after > before + 0.25


@pytest.mark.parametrize("name", MAKERS)
def test_labels_teach_what_their_pairs_teach(name: str) -> None:
    """All labels, or all pairs: the same closure, hence classes found."""
    pool, truth = blobs(60)
    labels, pairs = MAKERS[name](), MAKERS[name]()
    by_label, by_pair = view(pool, known=truth.copy()), view(pool, pairs=everything(pool, truth))
    fitted(labels, by_label)
    fitted(pairs, by_pair)
    known = [closure_of(seen).counts for seen in (by_label, by_pair)]
    assert (known[0].implied_same, known[0].implied_different) == (
        known[1].implied_same, known[1].implied_different,
    )  # fmt: skip
    assert known[0].questions == 0
    assert min(score(labels, by_label, truth), score(pairs, by_pair, truth)) > 0.4
    proba = labels.snapshot(by_label, frozenset({"proba"})).proba
    assert (proba.argmax(axis=1) == truth).mean() > 0.6
    assert np.allclose(pairs.snapshot(by_pair, frozenset({"proba"})).proba, 1 / 3)


@pytest.mark.parametrize("name", MAKERS)
def test_a_round_does_not_depend_on_the_ones_before_where_it_begins_anew(name: str) -> None:
    pool, truth = blobs(60)
    seen = view(pool, pairs=everything(pool, truth)[:40])
    through, fresh = MAKERS[name](4), MAKERS[name](4)
    for one in (through, fresh):
        fitted(one, view(pool))
    fitted(through, view(pool, pairs=everything(pool, truth)[:20]), seed=7)
    fitted(through, seen)
    fitted(fresh, seen)
    a, b = (one.snapshot(seen, frozenset({"embedding"})).embedding for one in (through, fresh))
    assert np.array_equal(a, b) is (name != "adc")  # which is a warm learner


# --- SDEC ---------------------------------------------------------------------------------------


def test_sdec_without_pairs_is_dec_and_lam_is_nothing() -> None:
    pool, _ = blobs(60)
    made = [SDEC(SDECOptions(**SMALL, lam=lam, steps=30)) for lam in (0.1, 1e-5)]
    for learner in made:
        fit = fitted(learner, view(pool))
        assert fit.losses["pair"] == 0
    a, b = (one.snapshot(view(pool), frozenset({"clusters"})).clusters for one in made)
    assert np.array_equal(a, b)


def test_the_published_lam_hardly_counts() -> None:
    pool, truth = blobs(60)
    seen = view(pool, pairs=everything(pool, truth))
    moved = {}
    for lam in (0.0, 1e-5, 1.0):
        options = SDECOptions(**SMALL, lam=lam, steps=30, tol=0.0, optimizer="sgd")
        learner = SDEC(options)
        fitted(learner, seen)
        moved[lam] = learner.snapshot(seen, frozenset({"embedding"})).embedding
    weak, strong = (np.abs(moved[lam] - moved[0.0]).max() for lam in (1e-5, 1.0))
    assert weak < 0.1 * strong


def test_sdec_guards_a_large_lam_by_a_margin() -> None:
    pool, truth = blobs(60)
    rows = np.concatenate([np.flatnonzero(truth == 0)[:9], np.flatnonzero(truth == 1)[:9]])
    apart = tuple(
        PairAnswer(pool.ids[a], pool.ids[b], False) for a, b in zip(rows[:9], rows[9:], strict=True)
    )
    lengths = {}
    for name, margin in (("guarded", None), ("free", 1e6)):
        options = SDECOptions(**SMALL, lam=100.0, steps=60, tol=0.0, cl_margin=margin)
        learner = SDEC(options)
        lengths[name] = fitted(learner, view(pool, pairs=apart)).losses["length"]
        if name == "guarded":
            assert learner._margin() is not None
    assert lengths["free"] > 2 * lengths["guarded"]
    assert SDEC(SDECOptions(**SMALL, lam=1e-5))._margin() is None


def test_sdec_says_when_it_diverges_and_keeps_the_refresh_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, truth = blobs(60)
    learner = SDEC(SDECOptions(**SMALL, lam=1.0, steps=50, cluster_lr=1e-3, cl_margin=1e6))
    seen = view(pool, pairs=everything(pool, truth))
    fitted(learner, view(pool))
    broken = SDEC(SDECOptions(**SMALL, lam=1e30, steps=50, optimizer="sgd", cl_margin=1e6))
    broken.load(learner.state())
    with pytest.raises(TrainingError, match=r"diverged before step .*lower learner\.lam"):
        fitted(broken, seen)
    assert np.isfinite(broken.snapshot(seen, frozenset({"embedding"})).embedding).all()


def test_schedules_of_sdec() -> None:
    published, fast = SDECOptions().resolved(), SDECOptions(schedule="fast").resolved()
    assert (published.optimizer, published.cluster_lr, published.steps) == ("sgd", 0.01, 20_000)
    assert (fast.optimizer, fast.cluster_lr, fast.steps) == ("adam", 1e-3, None)
    assert (published.lam, published.tol, published.n_init) == (1e-5, 1e-3, 20)


@pytest.mark.parametrize("name", MAKERS)
def test_more_clusters_than_images_or_none_at_all(name: str) -> None:
    pool, _ = blobs(2)
    with pytest.raises(InputError, match="fewer images"):
        fitted(MAKERS[name](), view(pool))
    nameless = View(pool, np.full(2, UNKNOWN), Classes())
    with pytest.raises(RecipeError, match="number of clusters is unknown"):
        fitted(MAKERS[name](), nameless)


# --- AutoEmbedder -------------------------------------------------------------------------------


def embedder(**options: Any) -> AutoEmbedder:
    return AutoEmbedder(AutoEmbedderOptions(**(SMALL | {"steps": 40, "alpha": 10.0} | options)))


def test_the_same_come_near_and_different_come_to_alpha() -> None:
    pool, truth = blobs(60)
    seen = view(pool, pairs=everything(pool, truth))
    learner = embedder(steps=250, pair_lr=5e-3)
    fit = fitted(learner, seen)
    z = learner.snapshot(seen, frozenset({"embedding"})).embedding
    d = np.linalg.norm(z[:, None] - z[None], axis=2)
    same = truth[:, None] == truth[None]
    assert np.median(d[~same]) > 8
    assert np.median(d[same]) < 3
    assert 0 <= fit.losses["satisfied"] <= 1
    assert fit.losses["inertia_asked"] >= 0


def test_without_pairs_it_is_kmeans_of_the_encoder() -> None:
    pool, truth = blobs(60)
    learner = embedder()
    fit = fitted(learner, view(pool))
    assert "pair" not in fit.losses
    assert set(fit.losses) == {"inertia_rest"}
    assert score(learner, view(pool), truth) > 0.1


def test_one_kind_of_pair_alone_is_said(caplog: pytest.LogCaptureFixture) -> None:
    pool, truth = blobs(60)
    same = pairs_of(pool, truth, np.flatnonzero(truth == 0))
    learner = embedder()
    with caplog.at_level(logging.WARNING):
        fit = fitted(learner, view(pool, pairs=same))
    assert "needs at least one pair of different classes" in caplog.text
    assert "pair" not in fit.losses
    z = learner.snapshot(view(pool), frozenset({"embedding"})).embedding
    assert z.std(axis=0).max() > 1e-3, "it has collapsed to a point"
    first = np.array([np.flatnonzero(truth == c)[0] for c in range(3)])
    with caplog.at_level(logging.WARNING):
        fit = fitted(learner, view(pool, pairs=pairs_of(pool, truth, first)))
    assert "all are pushed apart" in caplog.text
    assert "pair" in fit.losses


def test_alpha_within_reach() -> None:
    with pytest.raises(RecipeError, match="at most 2 apart"):
        AutoEmbedderOptions(normalise=True, alpha=100.0)
    with pytest.raises(RecipeError, match="must be above 0"):
        AutoEmbedderOptions(alpha=0.0)
    assert AutoEmbedderOptions(normalise=True).resolved().alpha == 2
    pool, truth = blobs(60)
    learner = embedder(alpha=None, steps=2)
    fitted(learner, view(pool))
    z = learner.snapshot(view(pool), frozenset({"embedding"})).embedding
    d = [np.linalg.norm(a - b) for i, a in enumerate(z) for b in z[:i]]
    assert learner.alpha == pytest.approx(3 * np.median(d), rel=0.1)
    learner = embedder(normalise=True, alpha=None)
    seen = view(pool, pairs=everything(pool, truth))
    fitted(learner, seen)
    assert learner.alpha <= 2
    z = learner.snapshot(seen, frozenset({"embedding"})).embedding
    assert np.linalg.norm(z, axis=1) == pytest.approx(np.ones(60), abs=1e-5)


def test_schedules_of_autoembedder() -> None:
    published = AutoEmbedderOptions().resolved()
    fast = AutoEmbedderOptions(schedule="fast").resolved()
    assert (published.epochs, published.steps) == (120, None)
    assert (published.alpha, fast.alpha) == (100.0, None)
    assert (fast.epochs, fast.steps) == (None, 400)
    assert AutoEmbedderOptions(schedule="fast", epochs=3).resolved().steps is None
    assert (published.alpha, published.n_pairs, published.clip) == (100.0, 128, "cannot")


def test_batches_hold_half_of_each_kind() -> None:
    learner, rng = embedder(n_pairs=10), np.random.default_rng(0)
    closure: Closure[int] = Closure()
    closure.add(0, 1, True)
    closure.add(1, 2, False)
    same, different = learner._batch(Constraints(closure), rng)
    assert (len(same), len(different)) == (5, 5)
    assert all(a != b for a, b in same.tolist())
    only: Closure[int] = Closure()
    only.add(1, 2, False)
    same, different = learner._batch(Constraints(only), rng)
    assert (len(same), len(different)) == (0, 10)


# --- ADC ----------------------------------------------------------------------------------------


def test_adc_starts_as_kmeans() -> None:
    pool, _ = blobs(90)
    learner = ADC(ADCOptions(**SMALL))
    fitted(learner, view(pool))
    from handful import geometry

    z = learner.snapshot(view(pool), frozenset({"embedding"})).embedding
    p = learner.snapshot(view(pool), frozenset({"clusters"})).clusters
    groups = geometry.kmeans(z, 3, np.random.default_rng(0), n_init=20).labels
    assert metrics.ari(groups, p.argmax(axis=1)) > 0.95
    assert learner.epoch == 0


def test_adc_says_when_answers_show_more_classes(caplog: pytest.LogCaptureFixture) -> None:
    pool, _ = blobs(60)
    ids = pool.ids
    four = tuple(PairAnswer(ids[a], ids[b], False) for a in range(4) for b in range(a))
    for learner in (ADC(ADCOptions(**SMALL, epochs=1)), SDEC(SDECOptions(**SMALL, steps=2))):
        caplog.clear()
        fitted(learner, view(pool, pairs=four))
        assert "at least 4 classes, the model has 3" in caplog.text


def test_adc_counts_its_clusters_and_its_epochs(caplog: pytest.LogCaptureFixture) -> None:
    pool, truth = blobs(60)
    learner = ADC(ADCOptions(**SMALL, epochs=3))
    seen = view(pool, pairs=everything(pool, truth))
    fit = fitted(learner, seen)
    assert fit.losses["occupied"] <= 3
    assert learner.epoch == 3
    again = ADC(ADCOptions(**SMALL, epochs=3))
    again.load(learner.state())
    fitted(again, seen)
    assert again.epoch == 6
    with torch.no_grad():
        learner.head.weight.zero_()
        learner.head.bias.copy_(torch.tensor([9.0, 0, 0]))
    fitted(learner, view(pool))
    assert "only 1 of 3 clusters" in caplog.text


def test_pairs_that_answers_decide_are_no_guesses() -> None:
    closure: Closure[int] = Closure()
    for a, b, same in ((10, 20, True), (20, 30, False), (40, 50, None)):
        closure.add(a, b, same)
    rows = np.array([30, 7, 10, 40, 20, 50])
    i, j = _undecided(rows, closure)
    found = {frozenset((int(rows[a]), int(rows[b]))) for a, b in zip(i, j, strict=True)}
    decided = [{10, 20}, {20, 30}, {10, 30}]
    everyone = {frozenset((int(a), int(b))) for a in rows for b in rows if a != b}
    assert found == everyone - {frozenset(d) for d in decided}
    assert bool((i < j).all())
