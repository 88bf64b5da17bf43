"""k-means as a learner: clusters without labels, names by vote, both assignments."""

from __future__ import annotations

import numpy as np
import pytest

from handful.errors import InputError, RecipeError
from handful.learners.kmeans import KMeans, KMeansOptions
from handful.progress import Silent
from handful.testing.learners import TinyPool, tiny_pool, view_of

ALL = frozenset({"proba", "clusters", "centres", "embedding"})


def fit(view, seed=0, **options):
    learner = KMeans(KMeansOptions(**options))
    report = learner.fit(view, np.random.default_rng(seed), Silent())
    return learner, learner.snapshot(view, ALL), report


def test_finds_the_groups_without_a_label():
    pool, truth = tiny_pool(60)
    _, s, _ = fit(view_of(pool, truth, [], n_classes=3))
    assert s.clusters.shape == (60, 3)
    groups = s.clusters.argmax(1)
    assert len({(g, t) for g, t in zip(groups, truth, strict=True)}) == 3  # one to one
    assert np.allclose(s.proba, 1 / 3)
    pixels = pool.read(np.arange(60)).reshape(60, -1) / 255
    np.testing.assert_allclose(s.embedding, pixels, atol=1e-6)
    for j in range(3):
        np.testing.assert_allclose(s.centres[j], pixels[groups == j].mean(0), atol=1e-5)


def test_inertia_equals_its_slow_twin():
    pool, truth = tiny_pool(20)
    _, s, report = fit(view_of(pool, truth, [], n_classes=3))
    slow = [min(sum((a - b) ** 2 for a, b in zip(z, c, strict=True)) for c in s.centres)
            for z in s.embedding]  # fmt: skip
    assert report.losses["inertia"] == pytest.approx(np.mean(slow), rel=1e-4)


def on_a_line():
    """Six points in two far groups, three classes: shares by hand."""
    x = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]], dtype=np.float32)
    return TinyPool([f"{i}" for i in range(6)], features=x), np.array([0, 0, 1, 2, 2, 2])


def test_vote_by_hand():
    pool, truth = on_a_line()
    view = view_of(pool, truth, [0, 1, 2], n_classes=3)
    _, s, _ = fit(view, n_clusters=2)
    left = [2 / 3, 1 / 3, 0]
    right = [1 / 3, 1 / 3, 1 / 3]  # nothing labelled there
    np.testing.assert_allclose(s.proba, [left] * 3 + [right] * 3, atol=1e-6)


def test_soft_assignment_by_hand():
    pool, truth = on_a_line()
    view = view_of(pool, truth, [0, 3], n_classes=3)
    learner, s, _ = fit(view, n_clusters=2, assignment="soft")
    # centres 1 and 11, s^2 = (1 + 0 + 1 + 1 + 0 + 1) / 6 = 2/3; the point 0: d^2 = 1 and 121
    near, far = 1 / (1 + 1.5), 1 / (1 + 121 * 1.5)
    first = int(np.argmin(s.centres[:, 0]))
    assert s.clusters[0, first] == pytest.approx(near / (near + far), abs=1e-6)
    assert s.clusters[1, first] > s.clusters[0, first] > 0.9
    np.testing.assert_allclose(s.proba[:, 0], s.clusters[:, first], atol=1e-6)
    np.testing.assert_allclose(learner.predict(pool.features), s.proba, atol=1e-6)


def test_number_of_clusters():
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6), n_classes=4)
    assert fit(view)[1].clusters.shape[1] == 4
    assert fit(view, n_clusters=6)[1].clusters.shape[1] == 6
    unnamed = view_of(pool, truth, [], n_classes=0)
    with pytest.raises(RecipeError, match="n_clusters"):
        fit(unnamed)
    few = view_of(pool.subset(np.arange(3)), truth[:3], [], n_classes=9)
    assert fit(few)[1].clusters.shape == (3, 3)


def test_refuses_images_of_another_size():
    pool, truth = tiny_pool()
    learner, _, _ = fit(view_of(pool, truth, [0]))
    with pytest.raises(InputError, match="numbers"):
        learner.predict(np.zeros((1, 1, 9, 9), dtype=np.uint8))
    with pytest.raises(InputError, match="fit or load"):
        KMeans().state()


def test_on_the_latent_space_of_an_auto_encoder_trained_once():
    pool, truth = tiny_pool(60)
    options = KMeansOptions(
        features="cae", schedule="fast", pretrain_epochs=10, filters=(8, 8, 16), batch_size=16
    )
    learner = KMeans(options)
    reports = [
        learner.fit(view_of(pool, truth, range(n), 3), np.random.default_rng(n), Silent())
        for n in (0, 6)
    ]
    assert [report.images for report in reports] == [10 * 60 + 60, 60]
    s = learner.snapshot(view_of(pool, truth, range(6), 3), ALL)
    assert s.embedding.shape == (60, 10)
    assert (s.proba.argmax(1) == truth).mean() > 0.9
