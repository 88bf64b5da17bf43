"""Propagation as a learner: digits, images that no label reaches, labels in doubt, new images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from handful import graph
from handful.errors import InputError, RecipeError
from handful.geometry import knn
from handful.learners.propagation import Propagation, PropagationOptions
from handful.progress import Silent
from handful.testing.learners import TinyPool, tiny_pool, view_of

BOTH = frozenset({"proba", "embedding"})


def fit(options, view, seed=0):
    learner = Propagation(options)
    done = learner.fit(view, np.random.default_rng(seed), Silent())
    return learner, done


def feature_pool(x):
    n = len(str(len(x)))
    return TinyPool([f"{i:0{n}d}" for i in range(len(x))], features=x.astype(np.float32))


def two_islands():
    """Ten images near each other, and five far away; rows of a plane, not scaled."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(10, 2)), rng.normal(size=(5, 2)) + 1e3])
    return feature_pool(x), np.array([0, 1] * 5 + [0] * 5)


def digits():
    data = load_digits()
    images = np.rint(data.images * 255 / 16).astype(np.uint8)[:, None]
    return TinyPool([f"{i:04d}" for i in range(len(images))], images=images), data.target


def three_a_class(truth, seed):
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.flatnonzero(truth == c), 3, replace=False) for c in range(10)]
    return np.concatenate(drawn).tolist()


@pytest.mark.parametrize("method", ["spreading", "harmonic"])
def test_equals_the_functions_on_the_graph(method):
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(9), n_classes=3)
    learner, _ = fit(PropagationOptions(method=method, k=5, cmn="off"), view)
    found = learner.snapshot(view, BOTH)
    pixels = pool.read(np.arange(60)).reshape(60, -1) / 255
    z = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
    np.testing.assert_allclose(found.embedding, z, atol=1e-6)
    W = graph.knn_graph(*knn(z, 5)).W
    solve = graph.spread if method == "spreading" else graph.harmonic
    want = graph.normalised(solve(W, view.known, 3).X)
    np.testing.assert_allclose(found.proba, want, atol=1e-4)


def test_images_that_no_label_reaches_are_counted_and_undecided():
    pool, truth = two_islands()
    view = view_of(pool, truth, [0, 1], n_classes=2)
    learner, done = fit(PropagationOptions(k=3, scale="none"), view)
    assert learner.unreached.tolist() == [10, 11, 12, 13, 14]
    assert done.losses["unreached"] == 5
    p = learner.snapshot(view, BOTH).proba
    assert (p[10:] == 0.5).all()
    assert p[2:10].max(axis=1).min() > 0.5
    # a new image among the lost is undecided as well, one among the found is not
    new = learner.predict(pool.features[[12, 3]] + 0.01)
    assert new[0].tolist() == [0.5, 0.5]
    assert new[1].max() > 0.5
    # one label there, and nobody is lost
    learner, done = fit(
        PropagationOptions(k=3, scale="none"), view_of(pool, truth, [0, 1, 11], n_classes=2)
    )
    assert done.losses["unreached"] == 0
    assert learner.unreached.size == 0


def test_a_label_against_all_its_neighbours_is_flipped():
    pool, truth = tiny_pool(60)
    wrong = truth.copy()
    wrong[4] = (truth[4] + 1) % 3
    view = view_of(pool, wrong, range(30), n_classes=3)
    learner, done = fit(PropagationOptions(k=8, alpha=0.99), view)
    assert learner.flipped.tolist() == [4]
    assert done.losses["flipped"] == 1
    p = learner.snapshot(view, BOTH).proba
    assert p[4].argmax() == truth[4] != wrong[4]
    held, _ = fit(PropagationOptions(k=8, method="harmonic"), view)
    assert held.flipped.size == 0


def test_class_mass_is_put_right_where_labels_were_drawn_at_random():
    x = np.random.default_rng(1).normal(size=(60, 2))
    truth = np.arange(60) % 3
    pool = feature_pool(x + np.eye(3)[truth][:, :2])  # they overlap
    view = view_of(pool, truth, range(9), n_classes=3)
    chosen = replace(view, drawn_at_random=False)
    options = PropagationOptions(method="harmonic", k=5, scale="none")

    def p(options, view):
        return fit(options, view)[0].snapshot(view, BOTH).proba

    plain, massed = p(replace(options, cmn="off"), view), p(replace(options, cmn="on"), view)
    assert not np.allclose(plain, massed)
    np.testing.assert_array_equal(p(options, view), massed)
    np.testing.assert_array_equal(p(options, chosen), plain)
    spread = replace(options, method="spreading")
    np.testing.assert_array_equal(p(spread, view), p(replace(spread, cmn="off"), view))
    # given shares stand for those of the labels: mass goes where they say
    shares = p(replace(options, prior=(0.8, 0.1, 0.1)), chosen)[9:]
    assert shares[:, 0].sum() > massed[9:, 0].sum() + 1
    W = graph.knn_graph(*knn(pool.features, 5)).W
    F = graph.harmonic(W, view.known, 3).X
    want = graph.normalised(graph.class_mass(F[9:], np.array([0.8, 0.1, 0.1])))
    np.testing.assert_allclose(shares, want, atol=1e-4)
    with pytest.raises(InputError, match="shares"):
        p(replace(options, prior=(0.5, 0.5)), view)


def test_new_images_take_the_vote_of_their_neighbours():
    pool, truth = tiny_pool(90)
    seen, held = pool.subset(np.arange(60)), pool.subset(np.arange(60, 90))
    learner, _ = fit(PropagationOptions(k=5), view_of(seen, truth, range(9), n_classes=3))
    p = learner.predict(held.read(np.arange(30)))
    assert (p.argmax(axis=1) == truth[60:]).mean() > 0.9
    few, _ = fit(
        PropagationOptions(k=5, references=20), view_of(seen, truth, range(9), n_classes=3)
    )
    assert few.state()["references"].shape == (20, 64)
    p = few.predict(held.read(np.arange(30)))
    assert (p.argmax(axis=1) == truth[60:]).mean() > 0.8
    with pytest.raises(InputError, match="numbers"):
        learner.predict(np.zeros((2, 7), dtype=np.float32))
    with pytest.raises(InputError, match="this pool has 30"):
        learner.snapshot(view_of(held, truth, range(9)), BOTH)


def test_the_graph_is_made_once_a_pool(monkeypatch):
    pool, truth = tiny_pool(60)
    other, _ = tiny_pool(30)
    learner, made = Propagation(), []
    original = graph.knn_graph
    monkeypatch.setattr(graph, "knn_graph", lambda *a: made.append(1) or original(*a))
    for labelled in (3, 6, 9):
        view = view_of(pool, truth, range(labelled), n_classes=3)
        learner.fit(view, np.random.default_rng(0), Silent())
    assert len(made) == 1
    learner.fit(view_of(other, truth, range(3)), np.random.default_rng(0), Silent())
    assert len(made) == 2


def test_standard_scale_counts_all_images():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) * [1, 1000, 0] + 5
    pool, truth = feature_pool(x), np.arange(40) % 2
    view = view_of(pool, truth, range(6), n_classes=2)
    learner, _ = fit(PropagationOptions(scale="standard"), view)
    z = learner.snapshot(view, BOTH).embedding
    want = (x - x.mean(0)) / np.where(x.std(0) > 1e-6, x.std(0), 1)
    np.testing.assert_allclose(z, want, atol=1e-4)


def test_what_cannot_be_is_refused():
    for wrong in ({"alpha": 1.0}, {"k": 0}, {"references": 0}):
        with pytest.raises(RecipeError, match=next(iter(wrong))):
            PropagationOptions(**wrong)


# --- measured ------------------------------------------------------------------------------


def accuracy(options, *, draws=10):
    pool, truth = digits()
    learner, scores = Propagation(options), []
    for seed in range(draws):
        labelled = three_a_class(truth, seed)
        view = view_of(pool, truth, labelled, n_classes=10)
        learner.fit(view, np.random.default_rng(seed), Silent())
        free = view.known < 0
        p = learner.snapshot(view, frozenset({"proba"})).proba
        scores.append((p.argmax(axis=1) == truth)[free].mean())
    return np.mean(scores)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({}, 0.932),
        ({"alpha": 0.99}, 0.927),
        ({"method": "harmonic", "cmn": "off"}, 0.928),
        ({"method": "harmonic", "cmn": "on"}, 0.945),
        ({"method": "harmonic", "cmn": "on", "k": 5}, 0.952),
        ({"method": "harmonic", "cmn": "on", "k": 15}, 0.934),
    ],
)
def test_accuracy_on_digits(options, published):
    """Raw pixels, 3 labels a class, mean of 10 draws; 0.02 covers other draws."""
    assert accuracy(PropagationOptions(scale="none", **options)) == pytest.approx(
        published, abs=0.02
    )


def test_accuracy_on_digits_in_two_draws():
    assert accuracy(PropagationOptions(), draws=2) > 0.88
