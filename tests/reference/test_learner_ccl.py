"""CCL as a learner: centroids, growth, prediction, refresh, options, degenerate input."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from handful.errors import InputError, RecipeError, TrainingError
from handful.learners.ccl import CCL, CCLOptions, _balanced
from handful.learners.dec import DCEC, DEC, DCECOptions, DECOptions
from handful.pool import FeaturePool, open_arrays
from handful.progress import Silent
from handful.rng import rng_for
from handful.types import Array, Classes, Pool, RowIds, View

TINY: dict[str, Any] = {
    "pretrain_epochs": 2, "epochs": 1, "filters": (4, 4, 4), "embedding_dim": 4, "batch_size": 32,
}  # fmt: skip
PARTS = frozenset({"proba", "clusters", "embedding", "centres"})
NAMES = ("bar", "dot", "ring")


def glyphs(n: int = 90, seed: int = 0) -> tuple[Array, Array]:
    """Three shapes on 8x8 with noise, and their class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.uniform(0, 60, size=(n, 1, 8, 8))
    x[y == 0, :, :, 3:5] += 180
    x[y == 1, :, 2:6, 2:6] += 180
    x[y == 2, :, ::7, :] += 180
    return x.astype(np.uint8), y


def pool_of(x: Array) -> Pool:
    pool: Pool = open_arrays("glyphs", {"images": x[:, 0]}).pool
    return pool


def features_of(x: Array) -> Pool:
    return FeaturePool(x.astype(np.float32), RowIds(len(x)))


def view(pool: Pool, known: Array, names: tuple[str, ...] = NAMES, round: int = 0) -> View:
    return View(pool, np.asarray(known, dtype=np.int64), Classes(names), round)


def some(y: Array, rows: list[int]) -> Array:
    known = np.full(len(y), -1)
    known[rows] = y[rows]
    return known


def fitted(known: Array, x: Array, names: tuple[str, ...] = NAMES, **options: Any) -> CCL:
    learner = CCL(CCLOptions(**{**TINY, **options}))
    learner.fit(view(pool_of(x), known, names), rng_for(0, 0, "fit"), Silent())
    return learner


class Heard(Silent):
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, dict[str, float]]] = []
        self.assignments: list[Array] = []

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        self.rows.append((stage, step, figures))
        if assignment is not None:
            self.assignments.append(assignment)


@contextmanager
def raised(error: type[Exception], text: str) -> Iterator[None]:
    with pytest.raises(error, match=text):
        yield


def test_it_learns_three_shapes_from_six_labels() -> None:
    x, y = glyphs(240)
    options = CCLOptions(ccl_form="student", pretrain_epochs=20, epochs=20, batch_size=32)
    learner, pool = CCL(options), pool_of(x)
    v = view(pool, some(y, [0, 1, 2, 3, 4, 5]))
    fit = learner.fit(v, rng_for(0, 0, "fit"), Silent())
    proba = learner.snapshot(v, PARTS).proba
    assert (proba.argmax(1) == y).mean() > 0.95
    new, truth = glyphs(60, seed=9)
    assert (learner.predict(new).argmax(1) == truth).mean() > 0.95
    assert set(fit.losses) == {"rec", "clu", "ccl", "total"}
    # 20 epochs of pre-training, then 20 x (all images + 6 labelled ones a step of 32)
    assert fit.images == 20 * 240 + 20 * (240 + 6 * 8)


def test_options_are_settled_by_the_schedule() -> None:
    published, fast = CCLOptions().resolved(), CCLOptions(schedule="fast").resolved()
    assert (published.pretrain_epochs, published.pretrain_steps, published.epochs) == (50, None, 10)
    assert (fast.pretrain_epochs, fast.pretrain_steps, fast.epochs) == (15, 1500, 3)
    assert published.tau == 1.0
    assert CCLOptions(similarity="cosine").resolved().tau == 0.1
    assert CCLOptions(similarity="cosine", tau=0.5).resolved().tau == 0.5


def test_a_small_folder_gets_steps_enough_unless_epochs_are_asked_for() -> None:
    x, y = glyphs(40)
    options = {**TINY, "pretrain_epochs": None, "epochs": None, "schedule": "fast"}
    learner = CCL(CCLOptions(**options))
    v = view(pool_of(x), some(y, [0, 1, 2]))
    fit = learner.fit(v, rng_for(0, 0, "fit"), Silent())
    # batches of 32 and 8 rows: 2 steps an epoch; 300 and 60 steps, 3 labelled images in each
    assert fit.images == 150 * 40 + 30 * 40 + 60 * 3
    kept = CCLOptions(schedule="fast").resolved()
    assert kept.resolved() == kept  # what a run writes down trains the same when read again
    asked = CCLOptions(pretrain_epochs=2, epochs=1).resolved()
    assert (asked.least_steps, asked.least_round_steps) == (0, 0)


def test_centroids_start_at_the_class_means() -> None:
    x, y = glyphs()
    known = some(y, [0, 1, 2, 3, 4, 5])
    learner = fitted(known, x, epochs=0)
    z = learner.space.z().numpy()
    means = np.stack([z[known == c].mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(learner.centroids.detach().numpy(), means, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("unseen", "owner"), [("absent", [0, 1]), ("drawn", [0, 1, -1])])
def test_a_class_without_a_label_waits_for_its_first_one(
    caplog: pytest.LogCaptureFixture, unseen: str, owner: list[int]
) -> None:
    x, y = glyphs()
    pool, learner = pool_of(x), CCL(CCLOptions(**{**TINY, "unseen": unseen}))
    with caplog.at_level(logging.WARNING):
        learner.fit(view(pool, some(y, [0, 1, 3])), rng_for(0, 0, "fit"), Silent())
    assert "1 of 3 classes have no label yet" in caplog.text
    assert learner.owner.tolist() == owner
    later = view(pool, some(y, [0, 1, 3, 2]), round=1)
    learner.fit(later, rng_for(0, 1, "fit"), Silent())
    assert learner.owner.tolist() == [0, 1, 2]
    assert learner.snapshot(later, PARTS).proba.shape == (90, 3)


def test_the_class_list_may_grow() -> None:
    x, y = glyphs()
    pool, learner = pool_of(x), CCL(CCLOptions(**TINY))
    learner.fit(view(pool, some(y, [0, 1, 3]), NAMES[:2]), rng_for(0, 0, "fit"), Silent())
    assert learner.snapshot(view(pool, some(y, [0, 1]), NAMES[:2]), PARTS).proba.shape == (90, 2)
    grown = view(pool, some(y, [0, 1, 2]), round=1)
    learner.fit(grown, rng_for(0, 1, "fit"), Silent())
    assert learner.owner.tolist() == [0, 1, 2]
    assert learner.snapshot(grown, PARTS).proba.shape == (90, 3)


def test_more_clusters_than_classes_are_summed_by_class() -> None:
    x, y = glyphs()
    learner = fitted(some(y, list(range(12))), x, n_clusters=6)
    shot = learner.snapshot(view(pool_of(x), some(y, list(range(12)))), PARTS)
    assert shot.clusters.shape == (90, 6)
    by_class = np.stack([shot.clusters[:, learner.class_of == c].sum(1) for c in range(3)], 1)
    np.testing.assert_allclose(shot.proba, by_class, rtol=1e-5)
    assert learner.class_of[:3].tolist() == [0, 1, 2]


def test_no_label_at_all_gives_clusters_without_names() -> None:
    x, _ = glyphs()
    learner = fitted(np.full(90, -1), x)
    shot = learner.snapshot(view(pool_of(x), np.full(90, -1)), PARTS)
    assert np.allclose(shot.proba, 1 / 3)
    assert len(np.unique(shot.clusters.argmax(1))) > 1
    with raised(RecipeError, "number of clusters is unknown"):
        fitted(np.full(90, -1), x, names=())
    assert fitted(np.full(90, -1), x, names=(), n_clusters=4).centroids.shape == (4, 4)


def test_one_class_only_is_certain_everywhere() -> None:
    x, _ = glyphs()
    known = some(np.zeros(90, dtype=int), [0, 1])
    shot = fitted(known, x, ("only",)).snapshot(view(pool_of(x), known, ("only",)), PARTS)
    assert (shot.proba == 1).all()


def test_bad_labels_name_the_image() -> None:
    x, y = glyphs()
    known = some(y, [0, 1])
    known[7] = 9
    with raised(InputError, r"label 9 of '.*7' is not in the list of 3 classes"):
        fitted(known, x)
    with raised(InputError, "labels for 90 images"):
        CCL(CCLOptions(**TINY)).fit(view(pool_of(x), known[:5]), rng_for(0, 0, "fit"), Silent())


def test_fewer_images_than_clusters() -> None:
    x, y = glyphs(3)
    with raised(InputError, r"fewer images \(3\) than clusters \(8\)"):
        fitted(some(y, [0]), x, n_clusters=8)


def test_without_ccl_the_labelled_stream_is_not_drawn() -> None:
    x, y = glyphs()
    learner = CCL(CCLOptions(**{**TINY, "w_ccl": 0.0}))
    fit = learner.fit(view(pool_of(x), some(y, [0, 1, 2])), rng_for(0, 0, "fit"), Silent())
    assert fit.images == 2 * 90 + 90
    assert fit.losses["ccl"] == 0.0


def test_mixed_batches_use_the_labels_that_happen_to_be_there() -> None:
    x, y = glyphs()
    learner = CCL(CCLOptions(**{**TINY, "labelled_stream": False}))
    fit = learner.fit(view(pool_of(x), y), rng_for(0, 0, "fit"), Silent())
    assert fit.images == 2 * 90 + 90
    assert fit.losses["ccl"] > 0


def test_p_is_refreshed_every_p_interval_steps_and_at_the_first() -> None:
    x, y = glyphs(96)
    heard = Heard()
    learner = CCL(CCLOptions(**{**TINY, "epochs": 5, "p_interval": 4}))
    learner.fit(view(pool_of(x), some(y, [0, 1, 2])), rng_for(0, 0, "fit"), heard)
    steps = [step for stage, step, _ in heard.rows if stage == "clustering"]
    assert steps == [0, 4, 8, 12]
    assert all(a.shape == (96,) for a in heard.assignments)


def test_algorithm_1_asks_before_the_first_training() -> None:
    x, y = glyphs()
    known = some(y, [0, 1, 2])
    learner = fitted(known, x, order="algorithm1")
    z = learner.space.z().numpy()
    np.testing.assert_allclose(learner.centroids.detach().numpy()[0], z[0], rtol=1e-5, atol=1e-6)
    fit = learner.fit(view(pool_of(x), known, round=1), rng_for(0, 1, "fit"), Silent())
    assert fit.losses["rec"] > 0


class Watching(Silent):
    """Keeps how far the centroids are from the class means at each refresh."""

    def __init__(self, learner: CCL, known: Array) -> None:
        self.learner, self.known = learner, known
        self.off: list[float] = []

    def log(self, stage: str, step: int, *, assignment: Array | None = None, **_: float) -> None:
        if stage == "clustering":
            z = self.learner.space.z().numpy()
            means = np.stack([z[self.known == c].mean(axis=0) for c in range(3)])
            self.off.append(np.abs(self.learner.centroids.detach().numpy() - means).max())


@pytest.mark.parametrize(
    ("update", "renewed"), [("mean", True), ("both", True), ("gradient", False)]
)
def test_centroids_by_class_means_at_every_refresh(update: str, renewed: bool) -> None:
    x, y = glyphs(96)
    known = some(y, list(range(9)))
    learner = CCL(CCLOptions(**{**TINY, "epochs": 4, "p_interval": 3, "centroid_update": update}))
    watching = Watching(learner, known)
    learner.fit(view(pool_of(x), known), rng_for(0, 0, "fit"), watching)
    assert len(watching.off) == 4
    assert watching.off[0] < 1e-5  # the first refresh sees the centroids as they were placed
    assert all(off < 1e-5 for off in watching.off) is renewed


def test_mean_keeps_the_gradient_away_from_the_centroids() -> None:
    x, y = glyphs(96)
    known = some(y, list(range(9)))
    options = {"p_interval": 1000, "centroid_update": "mean"}
    start = fitted(known, x, **options, epochs=0).centroids.detach()
    torch.testing.assert_close(fitted(known, x, **options, epochs=2).centroids.detach(), start)
    moved = fitted(known, x, **{**options, "centroid_update": "both"}, epochs=2)
    assert not torch.allclose(moved.centroids.detach(), start, atol=1e-3)


def test_one_hot_targets_pull_labelled_rows_to_their_class() -> None:
    x, y = glyphs(96)
    free = fitted(some(y, list(range(30))), x, w_ccl=0.0, epochs=8, w_clu=5.0)
    tied = fitted(
        some(y, list(range(30))), x, w_ccl=0.0, epochs=8, w_clu=5.0, labelled_target="onehot"
    )
    known = some(y, list(range(30)))

    def likelihood(learner: CCL) -> float:
        q = learner.snapshot(view(pool_of(x), known), PARTS).clusters
        return float(np.log(q[np.arange(30), y[:30]]).mean())

    assert likelihood(tied) > likelihood(free)


def test_a_running_q_saves_the_refresh_and_stays_close() -> None:
    x, y = glyphs(160)
    known = some(y, [0, 1, 2, 3])
    full = fitted(known, x, epochs=10, p_interval=2, ccl_form="student")
    running = fitted(known, x, epochs=10, p_interval=2, ccl_form="student", refresh="running")
    a, b = (m.snapshot(view(pool_of(x), known), PARTS).proba.argmax(1) for m in (full, running))
    assert (a == b).mean() > 0.9


def test_cold_start_forgets_the_round_before() -> None:
    x, y = glyphs()
    pool = pool_of(x)
    once = fitted(some(y, [0, 1, 2]), x, warm_start=False)
    twice = CCL(CCLOptions(**{**TINY, "warm_start": False}))
    twice.fit(view(pool, some(y, [5, 6, 7])), rng_for(0, 0, "fit"), Silent())
    before = twice.state()
    for learner in (once, twice):
        learner.fit(view(pool, some(y, [0, 1, 2]), round=1), rng_for(0, 1, "fit"), Silent())
    for name, array in once.state().items():
        np.testing.assert_array_equal(array, twice.state()[name], err_msg=name)
    assert any((before[k] != twice.state()[k]).any() for k in before if k.startswith("network"))


def test_the_balanced_stream_draws_classes_alike() -> None:
    known = np.array([0] * 50 + [1] * 2 + [-1] * 9)
    stream = _balanced(known, np.flatnonzero(known >= 0), 10, np.random.default_rng(0))
    drawn = np.concatenate([known[next(stream)] for _ in range(50)])
    assert (drawn == 1).mean() == pytest.approx(0.5, abs=0.02)
    x, y = glyphs()
    assert fitted(some(y, list(range(9))), x, balanced_labelled=True).centroids.shape == (3, 4)


def test_features_take_the_place_of_pixels() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    features = rng.normal(size=(120, 6)).astype(np.float32) + 40 * np.eye(3, 6)[y] + 1000
    pool = features_of(features)
    learner = CCL(CCLOptions(**{**TINY, "hidden": 16, "pretrain_epochs": 20, "epochs": 10}))
    v = view(pool, some(y, [0, 1, 2]))
    learner.fit(v, rng_for(0, 0, "fit"), Silent())
    assert (learner.snapshot(v, PARTS).proba.argmax(1) == y).mean() > 0.95
    np.testing.assert_allclose(
        learner.predict(features), learner.snapshot(v, PARTS).proba, atol=1e-5
    )
    bad = features.copy()
    bad[3, 2] = np.nan
    with raised(InputError, "NaN or inf"):
        CCL(CCLOptions(**TINY)).fit(
            view(features_of(bad), some(y, [0])), rng_for(0, 0, "fit"), Silent()
        )


def test_images_of_another_size_are_refused() -> None:
    x, y = glyphs()
    with raised(InputError, "this model takes"):
        fitted(some(y, [0, 1, 2]), x).predict(np.zeros((2, 1, 9, 8), dtype=np.uint8))


def test_before_training_there_is_nothing_to_ask() -> None:
    with raised(InputError, "has not been trained yet"):
        CCL().predict(np.zeros((2, 1, 8, 8), dtype=np.uint8))


def test_a_latent_space_that_collapses_is_reported() -> None:
    x, y = glyphs()
    known = some(y, [0, 1, 2])
    learner = fitted(known, x)
    with torch.no_grad():
        learner.space.network.encoder[-1].weight.zero_()
    learner.space.moved()
    with raised(TrainingError, "the latent space has collapsed"):
        learner.snapshot(view(learner.space.images.pool, known), PARTS)


def test_a_dead_encoder_is_reported_before_clustering() -> None:
    x, y = glyphs()
    with raised(TrainingError, "collapsed|NaN|became"):
        fitted(some(y, [0, 1, 2]), x, lr=1e6)


def test_a_loss_without_a_bound_is_stopped_with_the_remedy() -> None:
    x, y = glyphs()
    with raised(TrainingError, "lower"):
        fitted(some(y, list(range(30))), x, ccl_form="literal", similarity="dot",
               tau=1e-39)  # fmt: skip


def test_constant_images_are_one_point_and_no_error() -> None:
    x = np.full((20, 1, 8, 8), 77, dtype=np.uint8)
    known = np.full(20, -1)
    known[:2] = 0, 1
    shot = fitted(known, x).snapshot(view(pool_of(x), known), PARTS)
    assert np.isfinite(shot.proba).all()


# ------------------------------------------------------------------ DEC and DCEC

DEC_TINY: dict[str, Any] = {
    "pretrain_epochs": 30, "steps": 30, "n_init": 3, "filters": (4, 4, 4), "embedding_dim": 4,
    "batch_size": 32,
}  # fmt: skip


@pytest.mark.parametrize(
    "learner", [DEC(DECOptions(**DEC_TINY)), DCEC(DCECOptions(**DEC_TINY, p_interval=10))]
)
def test_clusters_are_found_without_a_label_and_named_by_votes(learner: DEC) -> None:
    x, y = glyphs(150)
    pool = pool_of(x)
    nothing = view(pool, np.full(150, -1))
    learner.fit(nothing, rng_for(0, 0, "fit"), Silent())
    clusters = learner.snapshot(nothing, PARTS).clusters
    assert np.allclose(learner.snapshot(nothing, PARTS).proba, 1 / 3)
    weights = learner.state()["network.encoder.0.weight"]
    named = view(pool, some(y, list(range(30))), round=1)
    learner.fit(named, rng_for(0, 1, "fit"), Silent())
    np.testing.assert_array_equal(weights, learner.state()["network.encoder.0.weight"])
    np.testing.assert_array_equal(clusters, learner.snapshot(named, PARTS).clusters)
    assert (learner.snapshot(named, PARTS).proba.argmax(1) == y).mean() > 0.9


def test_dec_stops_when_the_clusters_stand_still() -> None:
    x, _ = glyphs(150)
    heard = Heard()
    options = DCECOptions(**{**DEC_TINY, "steps": 500}, p_interval=5, tol=0.5)
    done = DCEC(options).fit(view(pool_of(x), np.full(150, -1)), rng_for(0, 0, "fit"), heard)
    assert set(done.losses) == {"rec", "clu"}  # it ended at a refresh, where counting begins anew
    refreshes = [(step, f["changed"]) for stage, step, f in heard.rows if stage == "clustering"]
    assert len(refreshes) == 2  # never at the first refresh
    assert refreshes[-1][1] < 0.5


def test_dec_needs_a_number_of_clusters_and_as_many_images() -> None:
    x, _ = glyphs(6)
    with raised(RecipeError, "number of clusters is unknown"):
        DEC(DECOptions(**DEC_TINY)).fit(
            view(pool_of(x), np.full(6, -1), ()), rng_for(0, 0, "fit"), Silent()
        )
    with raised(InputError, "fewer images"):
        DEC(DECOptions(**DEC_TINY, n_clusters=9)).fit(
            view(pool_of(x), np.full(6, -1)), rng_for(0, 0, "fit"), Silent()
        )


def test_dcec_keeps_what_dec_lets_go() -> None:
    assert (DECOptions().w_rec, DECOptions().w_clu) == (0.0, 1.0)
    assert (DCECOptions().w_rec, DCECOptions().w_clu, DCECOptions().p_interval) == (1.0, 0.1, 140)
    assert DECOptions(schedule="fast").resolved().steps == 1500
    assert DECOptions().resolved().n_init == 20
