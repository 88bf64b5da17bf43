"""FixMatch and FlexMatch: the streams, the views, the averaged weights, degenerate inputs."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from handful.errors import InputError, RecipeError, TrainingError
from handful.learners.fixmatch import FixMatch, FixMatchOptions
from handful.learners.flexmatch import FlexMatch, FlexMatchOptions
from handful.loop import AskTell
from handful.networks.wide_resnet import SlimCNN, WideResNet
from handful.oracles import TruthOracle
from handful.progress import Silent
from handful.randaugment import PAIRS, Pair
from handful.recipes import combine, recipe
from handful.semisupervised import Average, ConsistencyOptions, Streams, begin, mixed, optimiser
from handful.testing.learners import TinyPool, tiny_pool, view_of
from handful.training import Images, seeded

QUICK = FixMatchOptions(schedule="fast", steps=4, batch_size=4, mu=2, lr=0.03)
FLEX = FlexMatchOptions(schedule="fast", steps=4, batch_size=4, mu=2, lr=0.03)
BOTH = [(FixMatch, QUICK), (FlexMatch, FLEX)]


def fit(kind, options, view, seed=0):
    learner = kind(options)
    return learner, learner.fit(view, np.random.default_rng(seed), Silent())


class Kept(Silent):
    """Keeps what is logged."""

    def __init__(self):
        self.rows = []

    def log(self, stage, step, *, assignment=None, **figures):
        self.rows.append({"step": step, **figures})


def streams_of(view, options=QUICK, seed=0):
    learner = FixMatch(options)
    rng = np.random.default_rng(seed)
    labelled = begin(learner.model, view, rng, warm=False)
    return Streams(learner.model, view, labelled, learner.options, rng)


# --- options -----------------------------------------------------------------------------------


def test_schedules_are_the_published_ones_and_a_cpus():
    o = FixMatchOptions().resolved()
    assert (o.network, o.depth, o.widen) == ("wide-resnet", 28, 2)
    assert (o.tau, o.lambda_u, o.mu, o.batch_size, o.steps) == (0.95, 1.0, 7, 64, 2**20)
    assert (o.lr, o.momentum, o.weight_decay, o.ema, o.ema_ramp) == (0.03, 0.9, 5e-4, 0.999, False)
    fast = FlexMatchOptions(schedule="fast").resolved()
    assert (fast.network, fast.mu, fast.batch_size) == ("slim", 3, 32)
    assert (fast.lr, fast.ema) == (0.06, 0.99)
    assert fast.ema_ramp
    assert 800 <= fast.steps <= 3000
    assert (fast.mapping, fast.warmup) == ("convex", True)
    own = FixMatchOptions(schedule="fast", steps=7, ema=0.5, ema_ramp=False, network="wide-resnet")
    assert own.resolved() == replace(own, mu=3, batch_size=32, lr=0.06)


@pytest.mark.parametrize(
    ("option", "value"),
    [("tau", 1.5), ("lambda_u", -1.0), ("steps", 0), ("mu", 0), ("batch_size", 0), ("ema", 1.0)],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(RecipeError, match=option):
        FixMatchOptions(**{option: value})


@pytest.mark.parametrize("network", ["slim", "wide-resnet"])
def test_the_network_is_the_one_asked_for(network):
    pool, truth = tiny_pool()
    options = replace(QUICK, network=network, depth=10, widen=1, steps=1)
    learner, _ = fit(FixMatch, options, view_of(pool, truth, range(6)))
    assert type(learner.model.trained) is {"slim": SlimCNN, "wide-resnet": WideResNet}[network]


# --- streams -----------------------------------------------------------------------------------


def test_labelled_images_come_with_replacement_and_all_images_in_epochs():
    pool, truth = tiny_pool(24)
    streams = streams_of(view_of(pool, truth, [0, 1, 5], n_classes=3))
    seen, classes = [], []
    for x, y, rows in islice(streams, 6):
        assert x.shape == (4 + 8 + 8, 1, 8, 8)
        assert x.is_contiguous(memory_format=torch.channels_last)
        seen.append(rows.numpy())
        classes += y.tolist()
    assert streams.n == 24
    for epoch in np.split(np.concatenate(seen), 2):  # three batches of eight
        assert sorted(epoch) == list(range(24)), "labelled images belong to the stream as well"
    assert set(classes) == {0, 1, 2}
    assert len(classes) == 24, "more a step than there are labels"


def test_the_strong_view_starts_from_the_image_with_draws_of_its_own(monkeypatch):
    """By marks: weak adds 1, strong adds 10, and each tells which image it was given."""
    pool, truth = tiny_pool()
    seen = []

    def mark(by):
        def view(x, generator, fill):
            seen.append((by, float(torch.rand(1, generator=generator)), fill))
            return x + by

        return view

    monkeypatch.setitem(PAIRS, "glyph", Pair(mark(1.0), mark(10.0), PAIRS["glyph"].fill))
    x, _, rows = next(iter(streams_of(view_of(pool, truth, range(9)))))
    images = torch.from_numpy(pool.read(rows.numpy())).float() / 255
    torch.testing.assert_close(x[4:12], images + 1)
    torch.testing.assert_close(x[12:], images + 10)
    assert [by for by, *_ in seen] == [1.0, 10.0]
    assert seen[0][1] != seen[1][1], "both views are drawn alike"
    everything = torch.from_numpy(pool.read(np.arange(24))).float() / 255
    torch.testing.assert_close(seen[0][2], PAIRS["glyph"].fill(everything))


def test_an_image_that_cannot_be_decoded_is_in_neither_stream():
    pool, truth = tiny_pool()
    torn = TinyPool(pool.ids, images=pool.images, broken={2: "torn", 7: "torn"})
    streams = streams_of(view_of(torn, truth, [0, 1, 2], n_classes=3))
    batches = list(islice(streams, 12))
    assert streams.n == 22
    assert not {2, 7} & {int(r) for b in batches for r in b.rows}
    assert {int(c) for b in batches for c in b.y} == {0, 1}


def test_images_that_are_read_as_they_come_give_the_same_network():
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9))
    kept, _ = fit(FixMatch, QUICK, view)
    learner = FixMatch(QUICK)
    learner.model._images = Images(pool, keep_bytes=0)
    assert not learner.model.source(pool).kept
    learner.fit(view, np.random.default_rng(0), Silent())
    assert np.array_equal(kept.predict(pool.images), learner.predict(pool.images))


def test_a_small_pool_is_a_batch_of_its_own():
    pool, truth = tiny_pool(5)
    _, report = fit(FixMatch, QUICK, view_of(pool, truth, [0, 1]))
    assert report.images == 4 * (4 + 2 * 5)


def test_with_several_devices_each_sees_every_kind_of_view():
    x = torch.arange(12.0)[:, None]
    seen = []

    class Halves(nn.Module):
        def forward(self, x):
            seen.extend(half[:, 0].tolist() for half in x.chunk(2))
            return 2 * x

    torch.testing.assert_close(mixed(Halves(), x, 2), 2 * x)
    assert seen == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    torch.testing.assert_close(mixed(Halves(), x, 1), 2 * x)


# --- optimiser and average ---------------------------------------------------------------------


def test_the_optimiser_decays_filters_alone_and_follows_the_cosine():
    with seeded(np.random.default_rng(0)):
        network = SlimCNN(1, 3, side=8)
    sgd, rate = optimiser(network, FixMatchOptions(steps=1000).resolved())
    decayed, plain = sgd.param_groups
    assert decayed["weight_decay"] == 5e-4
    assert plain["weight_decay"] == 0
    assert all(w.ndim > 1 for w in decayed["params"])
    assert len(decayed["params"]) == 5
    assert len(plain["params"]) == 9  # four norm layers of two, one bias
    assert decayed["nesterov"]
    rates = []
    for _ in range(1001):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        rate.step()
    want = [0.03, 0.03 * 0.941544, 0.03 * 0.773010, 0.03 * 0.195090]
    np.testing.assert_allclose([rates[k] for k in (0, 250, 500, 1000)], want, atol=1e-7)


@pytest.mark.parametrize("ramp", [True, False])
def test_the_average_equals_its_slow_twin(ramp):
    with seeded(np.random.default_rng(0)):
        network = SlimCNN(1, 3, side=8)
    average = Average(network, ConsistencyOptions(ema=0.7, ema_ramp=ramp))
    want = {n: p.detach().clone() for n, p in network.named_parameters()}
    draw = torch.Generator().manual_seed(0)
    for k in range(6):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn(p.shape, generator=draw))
            for b in network.buffers():
                b.add_(1)
        average.update(network, k)
        a = min(0.7, 1 - 1 / (k + 2)) if ramp else 0.7
        for n, p in network.named_parameters():
            want[n] = a * want[n] + (1 - a) * p.detach()
    for n, p in average.network.named_parameters():
        torch.testing.assert_close(p, want[n])
    for mine, theirs in zip(average.network.buffers(), network.buffers(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.dtype == theirs.dtype, "counters stay whole numbers"


@pytest.mark.parametrize(("kind", "options"), BOTH)
def test_the_average_is_what_predicts(kind, options):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9))
    made = [fit(kind, replace(options, ema=a, ema_ramp=False), view)[0] for a in (0.0, 0.9, 0.0)]
    p, q, again = (m.predict(pool.images) for m in made)
    assert not np.array_equal(p, q)
    assert np.array_equal(p, again)
    assert not any(m.training for m in made[1].model.trained.modules())


@pytest.mark.parametrize(("kind", "options"), BOTH)
def test_a_loss_that_is_not_finite_ends_with_the_last_finite_average(kind, options, monkeypatch):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9))
    monkeypatch.setattr(f"handful.learners.{kind.__name__.lower()}.EVERY", 1)
    learner = kind(replace(options, lr=1e30, steps=9))
    with pytest.raises(TrainingError, match="learning rate"):
        learner.fit(view, np.random.default_rng(0), Silent())
    p = learner.predict(pool.images)
    assert np.isfinite(p).all()


def test_weights_that_break_in_the_last_step_of_all_are_noticed():
    pool, truth = tiny_pool()
    learner, _ = fit(FixMatch, QUICK, view_of(pool, truth, range(9)))
    before = learner.predict(pool.images)

    def last_step():
        with Average.of(learner.model, learner.options) as average, torch.no_grad():
            next(learner.model.trained.parameters()).fill_(torch.inf)
            average.update(learner.model.trained, 0)

    with pytest.raises(TrainingError, match="learning rate"):
        last_step()
    assert np.array_equal(learner.predict(pool.images), before)


# --- learning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), BOTH)
def test_learns_from_three_labels_a_class(kind, options):
    pool, truth = tiny_pool(60)
    learner, report = fit(kind, replace(options, steps=60, mu=4), view_of(pool, truth, range(9), 3))
    proba = learner.predict(pool.read(np.arange(60)))
    assert (proba.argmax(1) == truth)[9:].mean() > 0.95
    assert report.images == 60 * (4 + 2 * 16)
    assert {"labelled", "unlabelled"} <= set(report.losses)


def test_unlabelled_images_teach(caplog):
    """Without the unlabelled term the same draws give another network."""
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6))
    sure = replace(QUICK, tau=0.2)
    with_them, _ = fit(FixMatch, sure, view)
    without, _ = fit(FixMatch, replace(sure, lambda_u=0.0), view)
    assert not np.array_equal(with_them.predict(pool.images), without.predict(pool.images))


def test_flexmatch_is_fixmatch_once_its_thresholds_are_tau(monkeypatch):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6))
    monkeypatch.setattr(
        "handful.learners.flexmatch.flexible", lambda sigma, n, **o: torch.full((4,), o["tau"])
    )
    fix, _ = fit(FixMatch, replace(QUICK, tau=0.4), view)
    flex, _ = fit(FlexMatch, replace(FLEX, tau=0.4), view)
    assert np.array_equal(fix.predict(pool.images), flex.predict(pool.images))


def test_flexmatch_begins_with_every_guess_and_then_raises_its_thresholds():
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(9), 3)
    kept = Kept()
    learner = FlexMatch(replace(FLEX, steps=1))
    learner.fit(view, np.random.default_rng(0), kept)
    assert kept.rows[0]["used"] == 1
    assert kept.rows[0]["threshold_most"] == 0
    learner = FlexMatch(replace(FLEX, steps=100, mu=4))
    learner.fit(view, np.random.default_rng(0), kept)
    assert [row["step"] for row in kept.rows] == [1, 50, 100]
    assert kept.rows[-1]["threshold_most"] > kept.rows[1]["threshold_most"]
    counts = np.bincount(learner.last[learner.last >= 0], minlength=3)
    assert counts.sum() > 30
    # each image has the class that it was sure of: rows, not places in a batch
    assert (learner.last == truth)[learner.last >= 0].mean() > 0.8  # by chance: a third


def test_flexmatch_remembers_who_was_sure_when_it_goes_on():
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(9), 3)
    for warm in (True, False):
        learner = FlexMatch(replace(FLEX, steps=60, mu=4, warm_start=warm))
        learner.fit(view, np.random.default_rng(0), Silent())
        known = (learner.last >= 0).sum()
        assert known > 20
        assert learner.state()["last"].dtype == np.int16
        kept = Kept()
        learner.options = replace(learner.options, steps=1)
        learner.fit(view, np.random.default_rng(1), kept)
        assert (kept.rows[0]["threshold_most"] > 0) == warm
        assert ((learner.last >= 0).sum() >= known) == warm


@pytest.mark.parametrize(
    ("change", "most"),
    [
        ({}, 0.95 * (12 / 39) / (2 - 12 / 39)),
        ({"mapping": "linear"}, 0.95 * 12 / 39),
        ({"warmup": False}, 0.95),
    ],
)
def test_flexmatch_thresholds_follow_the_counts_that_it_has(change, most):
    """60 images, 12, 6 and 3 of them sure so far: 39 never were."""
    pool, truth = tiny_pool(60)
    learner = FlexMatch(replace(FLEX, steps=1, warm_start=True, **change))
    learner.last = np.repeat([0, 1, 2, -1], [12, 6, 3, 39]).astype(np.int16)
    kept = Kept()
    learner.fit(view_of(pool, truth, range(9), 3), np.random.default_rng(0), kept)
    assert kept.rows[0]["threshold_most"] == pytest.approx(most, abs=1e-6)


def test_going_on_starts_from_the_averaged_weights():
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9), 3)
    learner = FixMatch(replace(QUICK, warm_start=True, ema=0.0, lr=0.0, steps=1))
    learner.fit(view, np.random.default_rng(0), Silent())
    before = copy.deepcopy(dict(learner.model.trained.named_parameters()))
    learner.fit(view, np.random.default_rng(1), Silent())
    for name, weight in learner.model.trained.named_parameters():
        assert torch.equal(weight, before[name])


# --- degenerate inputs -------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), BOTH)
def test_ready_features_are_refused_with_the_remedy(kind, options):
    pool, truth = tiny_pool(features=6)
    with pytest.raises(InputError, match="propagation"):
        fit(kind, options, view_of(pool, truth, range(9)))


@pytest.mark.parametrize(("kind", "options"), BOTH)
def test_one_class_has_probability_one(kind, options):
    pool, truth = tiny_pool()
    learner, report = fit(kind, options, view_of(pool, truth, [1, 4], n_classes=4))
    assert report.images == 0
    assert (learner.predict(pool.images)[:, 1] == 1).all()


@pytest.mark.parametrize(("kind", "options"), BOTH)
def test_classes_without_a_label_are_named(kind, options, caplog):
    pool, truth = tiny_pool()
    labelled = np.flatnonzero(truth != 1)[:6].tolist()
    with caplog.at_level(logging.WARNING):
        fit(kind, options, view_of(pool, truth, labelled, n_classes=3))
    assert "1 of 3 classes have no label yet (class 1)" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        fit(kind, options, view_of(pool, truth, range(6), n_classes=3))
    assert "no label yet" not in caplog.text


@pytest.mark.parametrize(("kind", "options"), BOTH)
def test_nothing_unlabelled_is_plain_training(kind, options):
    pool, truth = tiny_pool()
    _, report = fit(kind, options, view_of(pool, truth, range(24), n_classes=3))
    assert report.losses["unlabelled"] == 0
    assert report.images == 4 * 4


def test_says_when_no_guess_becomes_sure(caplog):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6), n_classes=3)
    with caplog.at_level(logging.WARNING):
        fit(FixMatch, replace(QUICK, tau=1.0, steps=10), view)
    assert "no guess reached tau = 1 in 4 of 10 steps" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        fit(FixMatch, replace(QUICK, tau=0.0, steps=10), view)
    assert "no guess" not in caplog.text


def test_flexmatch_says_that_few_steps_are_few(caplog):
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6), n_classes=3)
    with caplog.at_level(logging.WARNING):
        fit(FlexMatch, FLEX, view)
    assert "take 800 or more" in caplog.text


@pytest.mark.parametrize("name", ["fixmatch", "flexmatch"])
def test_any_rule_works_with_it(name):
    """TypiClust reads its embedding; without a first draw the rule cannot begin."""
    pool, truth = tiny_pool()
    names = ("a", "b", "c")
    made = combine(recipe("typiclust", initial=0, batch=4, budget=8), learner=name)
    assert made.query.name == "typiclust"
    for key in ("steps=3", "batch_size=4", "mu=2"):
        made = made.set(f"learner.{key}")
    oracle = TruthOracle(pool, truth, names)
    session = AskTell(made, pool)
    asked = []
    while (question := session.ask()) is not None:
        session.tell(oracle.answer(question))
        asked += question.ids
    assert len(set(asked)) == 8
    assert session.outcome is not None
    assert session.outcome.snapshot is not None
    assert session.outcome.snapshot.learner == name
