"""The supervised baseline: its exact layers, its schedule, and the degenerate inputs."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from handful.errors import HandfulError, InputError, RecipeError
from handful.learners.cnn import CNN, CNNOptions, flip, shift
from handful.networks.small_cnn import SmallCNN, SmallMLP, dropout_on
from handful.progress import Silent
from handful.testing.learners import TinyPool, tiny_pool, view_of
from handful.training import seeded

QUICK = CNNOptions(steps=30, draws=5)


def fit(view, options=QUICK, seed=0):
    learner = CNN(options)
    return learner, learner.fit(view, np.random.default_rng(seed), Silent())


# --- the network ---------------------------------------------------------------------------


def test_layers_are_those_of_the_definition():
    layers = [m for m in SmallCNN(1, 10).modules() if not list(m.children())]
    kinds = [type(m).__name__ for m in layers]
    block = ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d", "Dropout"]
    head = ["AdaptiveAvgPool2d", "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert kinds == block + block + head
    assert [m.p for m in layers if isinstance(m, nn.Dropout)] == [0.25, 0.25, 0.5]
    assert [m.out_channels for m in layers if isinstance(m, nn.Conv2d)] == [32, 32, 64, 64]
    linear = [(m.in_features, m.out_features) for m in layers if isinstance(m, nn.Linear)]
    assert linear == [(1024, 128), (128, 10)]


def test_number_of_weights_by_hand():
    conv = sum(9 * a * b + b + 2 * b for a, b in [(1, 32), (32, 32), (32, 64), (64, 64)])
    want = conv + 1024 * 128 + 128 + 128 * 10 + 10
    assert want == 197_866
    assert sum(p.numel() for p in SmallCNN(1, 10).parameters()) == want


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (96, 96)), (3, (9, 13))])
def test_any_size_from_8_to_96(channels, size):
    with seeded(np.random.default_rng(0)):
        network = SmallCNN(channels, 7).eval()
    x = torch.zeros(2, channels, *size)
    assert network(x).shape == (2, 7)
    assert network.embed(x).shape == (2, 128)
    torch.testing.assert_close(network(x), network.top(network.embed(x)))


@pytest.mark.parametrize("network", [SmallCNN(1, 3), SmallMLP(5, 3)])
def test_stochastic_passes_leave_batch_norm_alone(network):
    x = torch.rand(4, 1, 8, 8) if isinstance(network, SmallCNN) else torch.rand(4, 5)
    network.train()
    before = [b.clone() for b in network.buffers()]
    with dropout_on(network), torch.no_grad():
        on = {type(m).__name__ for m in network.modules() if m.training}
        assert on == {"Dropout"}
        # for equal masks, an image's output is the same alone and among others
        torch.manual_seed(0)
        alone = network(x[:1])
        torch.manual_seed(0)
        again = network(x[:1])
        assert torch.equal(alone, again)
        assert not torch.equal(network(x), network(x))
    assert all(torch.equal(a, b) for a, b in zip(before, network.buffers(), strict=True))
    assert all(m.training for m in network.modules()), "the mode is not restored"


# --- training ------------------------------------------------------------------------------


def test_learns_and_generalises():
    pool, truth = tiny_pool(60)
    learner, report = fit(view_of(pool, truth, range(12), n_classes=3))
    proba = learner.predict(pool.read(np.arange(60)))
    assert (proba.argmax(1) == truth)[12:].mean() > 0.95
    assert report.losses["ce"] < 0.3
    assert report.images == 30 * 12


def test_schedules_and_own_numbers():
    assert (CNNOptions().resolved().steps, CNNOptions().resolved().draws) == (2000, 100)
    fast = CNNOptions(schedule="fast").resolved()
    assert (fast.steps, fast.draws) == (500, 20)
    assert CNNOptions(schedule="fast", steps=7).resolved().steps == 7
    with pytest.raises(RecipeError, match="batch_size"):
        CNN(CNNOptions(batch_size=1))


def test_steps_not_epochs():
    pool, truth = tiny_pool(60)
    counts = {}
    for labels in (6, 30):
        _, report = fit(view_of(pool, truth, range(labels)), replace(QUICK, batch_size=4))
        counts[labels] = report.images
    assert counts == {6: 30 * 4, 30: 30 * 4}


def test_epochs_in_place_of_steps_are_the_literal_recipe():
    pool, truth = tiny_pool(60)
    _, done = fit(view_of(pool, truth, range(24)), replace(QUICK, epochs=10, batch_size=16))
    assert done.images == 10 * 2 * 16  # two batches cover 24 labels


def test_ends_early_once_the_loss_stays_low():
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9), n_classes=3)
    options = CNNOptions(steps=100, enough_loss=10.0, enough_steps=7)
    _, report = fit(view, options)
    assert report.images == 7 * 9
    # one step above the limit starts the count again
    _, report = fit(view, replace(options, enough_loss=0.0))
    assert report.images == 100 * 9


def test_from_scratch_unless_asked_to_go_on():
    pool, truth = tiny_pool()
    first, second = (view_of(pool, truth, range(n), round=n) for n in (6, 9))
    cold, warm = CNN(QUICK), CNN(replace(QUICK, warm_start=True))
    for learner in (cold, warm):
        learner.fit(first, np.random.default_rng(0), Silent())
        learner.fit(second, np.random.default_rng(1), Silent())
    fresh, _ = fit(second, seed=1)
    x = pool.read(np.arange(24))
    assert np.array_equal(cold.predict(x), fresh.predict(x))
    assert not np.array_equal(warm.predict(x), fresh.predict(x))


def test_warm_start_keeps_the_old_classes_when_the_list_grows():
    pool, truth = tiny_pool()
    learner, _ = fit(view_of(pool, truth, range(9), 3), replace(QUICK, warm_start=True))
    p = learner.predict(pool.read(np.arange(24)))
    learner.model.n_classes = 5
    learner.model._build(pool, np.random.default_rng(9), warm=True)
    q = learner.predict(pool.read(np.arange(24)))
    np.testing.assert_allclose(q[:, :3] / q[:, :3].sum(1, keepdims=True), p, atol=1e-5)


def test_stochastic_passes_scatter_around_the_prediction():
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9), n_classes=3)
    learner, _ = fit(view, replace(QUICK, steps=8, draws=200))
    snapshot = learner.snapshot(view, frozenset({"draws", "proba"}))
    draws = snapshot.part("draws")
    assert draws.shape == (200, 24, 3)
    assert draws.std(axis=0).max() > 1e-3, "dropout is off"
    # dropout keeps the mean of a layer, not of a softmax: near, not equal
    assert np.abs(draws.mean(axis=0) - snapshot.proba).max() < 0.2


def test_one_mask_an_image():
    flat = TinyPool([f"{i}" for i in range(6)], images=np.full((6, 1, 8, 8), 90, dtype=np.uint8))
    view = view_of(flat, np.arange(6) % 2, range(4), n_classes=2)
    learner, _ = fit(view, replace(QUICK, steps=2))
    draws = learner.snapshot(view, frozenset({"draws"})).part("draws")
    assert len(np.unique(draws[0, :, 0])) > 1, "equal images share their masks"


# --- augmentation --------------------------------------------------------------------------


def test_shift_equals_its_slow_twin():
    x = torch.arange(2 * 3 * 5 * 4, dtype=torch.float32).view(2, 3, 5, 4) + 1
    generator = torch.Generator().manual_seed(4)
    dy, dx = torch.randint(-2, 3, (2, 2, 1), generator=torch.Generator().manual_seed(4))
    moved = shift(x, generator)
    for i in range(2):
        for r in range(5):
            for c in range(4):
                a, b = r + int(dy[i]), c + int(dx[i])
                inside = 0 <= a < 5 and 0 <= b < 4
                want = x[i, :, a, b] if inside else torch.zeros(3)
                assert torch.equal(moved[i, :, r, c], want)


def test_shift_draws_for_each_image_and_stays_within_reach():
    x = torch.zeros(400, 1, 9, 9)
    x[:, 0, 4, 4] = 1
    at = shift(x, torch.Generator().manual_seed(0)).flatten(1).argmax(1)
    rows, columns = at // 9, at % 9
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}


def test_flip_mirrors_half_of_the_images():
    x = torch.rand(400, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    y = flip(x, torch.Generator().manual_seed(0))
    same = (x == y).flatten(1).all(1)
    mirrored = (x.flip(3) == y).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250  # binomial(400, 1/2): 5 standard deviations


@pytest.mark.parametrize("augment", ["shift", "flip"])
def test_augmentation_reaches_training(augment):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9))
    plain, _ = fit(view)
    other, _ = fit(view, replace(QUICK, augment=augment))
    x = pool.read(np.arange(24))
    assert not np.array_equal(plain.predict(x), other.predict(x))


# --- degenerate inputs ---------------------------------------------------------------------


def test_one_class_has_probability_one_and_says_so(caplog):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, [1, 4, 7], n_classes=4)
    with caplog.at_level(logging.WARNING):
        learner, _ = fit(view)
    assert "one class" in caplog.text
    snapshot = learner.snapshot(view, frozenset({"proba", "draws", "embedding"}))
    assert np.array_equal(snapshot.proba, np.eye(4, dtype=np.float32)[np.ones(24, dtype=int)])
    assert np.array_equal(snapshot.part("draws"), np.repeat(snapshot.proba[None], 5, axis=0))
    assert snapshot.embedding.std(axis=0).max() > 0
    twin = CNN(QUICK)
    twin.load(learner.state())
    assert np.array_equal(twin.predict(pool.read(np.arange(3))), snapshot.proba[:3])


def test_with_one_label_batch_norm_takes_its_statistics_from_all_images():
    pool, truth = tiny_pool()
    learner, _ = fit(view_of(pool, truth, [2]))
    network = learner.model.trained
    first = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    x = torch.from_numpy(pool.read(np.arange(24))).float() / 255
    with torch.no_grad():
        out = network.stem[0][0](x)
    torch.testing.assert_close(first.running_mean, out.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not any(m.training for m in network.modules())
    assert learner.predict(pool.read(np.arange(1))).shape == (1, 4)  # a batch of one


def test_a_pool_of_one_image():
    pool, truth = tiny_pool(1)
    view = view_of(pool, truth, [0], n_classes=2)
    learner, _ = fit(view)
    assert learner.snapshot(view, frozenset({"proba"})).proba.tolist() == [[1.0, 0.0]]


def test_a_class_without_a_label_keeps_its_output():
    pool, truth = tiny_pool()
    labelled = np.flatnonzero(truth != 1)[:8].tolist()
    view = view_of(pool, truth, labelled, n_classes=3)
    learner, _ = fit(view)
    proba = learner.snapshot(view, frozenset({"proba"})).proba
    assert (proba[:, 1] > 0).all()
    # no class list: the number of classes is what was seen
    unnamed = view_of(pool, np.minimum(truth, 1), range(6), n_classes=0)
    learner, _ = fit(unnamed)
    assert learner.predict(pool.read(np.arange(2))).shape == (2, 2)


def test_a_left_over_image_never_makes_a_batch_of_one():
    pool, truth = tiny_pool()
    _, report = fit(view_of(pool, truth, range(9)), replace(QUICK, batch_size=4))
    assert report.images == 30 * 4


def test_refuses_what_does_not_fit():
    pool, truth = tiny_pool()
    with pytest.raises(InputError, match="label"):
        fit(view_of(pool, truth, []))
    learner, _ = fit(view_of(pool, truth, range(6)))
    with pytest.raises(InputError, match="shape"):
        learner.predict(np.zeros((2, 3, 8, 8), dtype=np.uint8))
    with pytest.raises(HandfulError, match="learning rate"):
        fit(view_of(pool, truth, range(6)), replace(QUICK, lr=1e30))
