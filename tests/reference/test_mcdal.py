"""MCDAL: worked numbers of query and loss, who is trained by what, and the further heads."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from handful.classifier import Classifier, with_heads
from handful.errors import InputError, MissingPart, RecipeError
from handful.learners.mcdal import MCDAL, MCDALOptions, rate
from handful.losses.mcdal import auxiliary_loss, discrepancy, spread
from handful.networks.small_cnn import SmallCNN, SmallMLP, statistics_kept
from handful.progress import Silent
from handful.queries import discrepancies, mcdal
from handful.recipes import combine, recipe
from handful.registry import QUERIES
from handful.rng import rng_for
from handful.testing.learners import tiny_pool, view_of
from handful.training import seeded
from handful.types import Array, Snapshot

# logits on unlabelled images, of F, F1 and F2
Z = np.array([[2, 0, -1], [0.5, 0.4, 0], [0, 1, 3]])
Z1 = np.array([[1.5, 0.5, -1], [1, -0.5, 0.2], [0, 1, 2.5]])
Z2 = np.array([[2.5, -0.5, 0], [-0.3, 1.2, 0.1], [0.5, 0.5, 3]])
# on labelled ones, of F1 and F2, and their classes
S1 = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 0.5]])
S2 = np.array([[0.5, 0, 0.2], [0, 1, 0], [0.3, 0, 1.5]])
CLASSES = torch.tensor([0, 1, 2])
QUICK = MCDALOptions(schedule="fast", epochs=1, epoch_images=640)


def softmax(z: Array) -> Array:
    e: Array = np.exp(z - z.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def fit(view: Any, options: MCDALOptions = QUICK, seed: int = 0) -> MCDAL:
    learner = MCDAL(options)
    learner.fit(view, np.random.default_rng(seed), Silent())
    return learner


# --- the query ------------------------------------------------------------------------------


def test_scores_of_the_worked_example() -> None:
    heads = softmax(np.stack([Z, Z1, Z2]))
    np.testing.assert_allclose(discrepancies(heads), [0.868122, 2.037034, 0.443533], atol=5e-7)
    assert mcdal(heads, 3, ties="index").tolist() == [1, 0, 2]


def test_scores_equal_their_slow_twin_and_stay_in_their_range() -> None:
    rng = np.random.default_rng(0)
    heads = softmax(4 * rng.normal(size=(3, 30, 5)))
    p, q, r = heads
    slow = [
        sum(
            abs(q[i, c] - r[i, c]) + abs(p[i, c] - q[i, c]) + abs(p[i, c] - r[i, c])
            for c in range(5)
        )
        for i in range(30)
    ]
    np.testing.assert_allclose(discrepancies(heads), slow, rtol=1e-12)
    assert discrepancies(np.eye(3)[:, None]).tolist() == [6.0]
    two = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]])
    assert discrepancies(two).tolist() == [4.0]
    assert discrepancies(heads[:2]).tolist() == pytest.approx(np.abs(p - q).sum(axis=1))


def test_the_scale_is_how_far_above_the_labelled_images() -> None:
    heads = softmax(np.random.default_rng(1).normal(size=(3, 12, 4)))
    known = np.where(np.arange(12) < 5, 0, -1)
    raw = discrepancies(heads)
    seen = Snapshot.from_arrays(known=known, heads=heads)
    np.testing.assert_allclose(
        QUERIES.get("mcdal")().score(seen, rng_for(0, 0, "q")), raw - raw[:5].mean()
    )
    best = 5 + np.argsort(-raw[5:], kind="stable")[:4]
    assert mcdal(heads, 4, known=known).tolist() == best.tolist()
    nothing = Snapshot.from_arrays(heads=heads)
    np.testing.assert_array_equal(QUERIES.get("mcdal")().score(nothing, rng_for(0, 0, "q")), raw)


def test_a_query_repeated_is_the_same_and_leaves_no_image_out() -> None:
    """The last incomplete batch is scored like all others."""
    heads = softmax(np.random.default_rng(2).normal(size=(3, 131, 4)))
    heads[:, 130] = np.eye(4)[[0, 1, 2]]
    assert mcdal(heads, 1).tolist() == [130]
    assert mcdal(heads, 131).tolist() == mcdal(heads, 131).tolist()


def test_one_class_is_asked_at_random(caplog: pytest.LogCaptureFixture) -> None:
    ones = np.ones((3, 9, 1))
    assert mcdal(ones, 3, ties="index").tolist() == [0, 1, 2]
    assert "one class" in caplog.text
    with pytest.raises(MissingPart, match="'mcdal' needs 'heads', which learner 'cnn'"):
        combine(recipe("random"), query="mcdal").build()


# --- the loss -------------------------------------------------------------------------------


def test_losses_of_the_worked_example() -> None:
    z, z1, z2, s1, s2 = (torch.tensor(a) for a in (Z, Z1, Z2, S1, S2))
    apart, labelled = spread(z, z1, z2), auxiliary_loss(s1, s2, CLASSES)
    assert float(apart) == pytest.approx(0.372077, abs=5e-7)
    assert float(F.cross_entropy(s1, CLASSES)) == pytest.approx(0.528455, abs=5e-7)
    assert float(F.cross_entropy(s2, CLASSES)) == pytest.approx(0.608761, abs=5e-7)
    assert float(labelled - apart) == pytest.approx(0.765140, abs=5e-7)
    assert float(labelled + apart) == pytest.approx(1.509293, abs=5e-7)  # the wrong sign
    mean_score = discrepancies(softmax(np.stack([Z, Z1, Z2]))).mean()
    assert float(apart) == pytest.approx(mean_score / 3)


def test_gradient_of_the_worked_example() -> None:
    z, z1, z2 = (torch.tensor(a, requires_grad=True) for a in (Z, Z1, Z2))
    of_z, of_z1 = torch.autograd.grad(-spread(z, z1, z2), (z, z1), allow_unused=True)
    want = [
        [0.086446, -0.080961, -0.005484],
        [-0.035454, 0.051384, -0.015930],
        [-0.008318, -0.060601, 0.068919],
    ]
    np.testing.assert_allclose(of_z1, want, atol=5e-7)
    assert of_z is None, "the task head is constant in step B"
    assert torch.autograd.gradcheck(lambda a, b: spread(z, a, b), (z1, z2))


def test_an_empty_batch_has_no_discrepancy() -> None:
    nothing = torch.zeros((0, 3), requires_grad=True)
    loss = spread(nothing, nothing, nothing)
    assert loss.item() == 0
    assert discrepancy(nothing, nothing).requires_grad


# --- the schedule ---------------------------------------------------------------------------


def test_schedules() -> None:
    published, fast = MCDAL(MCDALOptions()), MCDAL(MCDALOptions(schedule="fast"))
    assert (published.options.optimizer, published.options.lr) == ("sgd", 0.1)
    assert published.steps(5_000) == published.steps(20_000) == 99 * 390
    assert (fast.options.optimizer, fast.options.lr) == ("adam", 1e-3)
    assert fast.steps(100) == 15 * 62
    assert fast.steps(3_200) == 15 * 100
    assert (fast.options.batch_size, fast.options.unlabelled_size) == (32, 96)
    with pytest.raises(RecipeError, match="batch_size"):
        MCDAL(MCDALOptions(batch_size=1))


def test_the_published_rate_warms_up_and_falls_three_times() -> None:
    steps, epoch = 990, 10
    factors = [rate(s, steps=steps, warm_up=epoch) for s in range(steps)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    for at, want in ((299, 1.0), (300, 0.2), (599, 0.2), (600, 0.04), (800, 0.008), (989, 0.008)):
        assert factors[at] == pytest.approx(want), at


def test_the_fast_rate_falls_to_nothing_by_a_cosine() -> None:
    factor = MCDAL(QUICK)._factor(20)
    want = [0.5 * (1 + math.cos(math.pi * s / 20)) for s in range(21)]
    np.testing.assert_allclose([factor(s) for s in range(21)], want)
    assert MCDAL(MCDALOptions(epochs=3, epoch_images=1280))._factor(30)(0) == pytest.approx(0.1)


# --- who is trained by what -----------------------------------------------------------------


def test_step_b_moves_the_heads_alone() -> None:
    pool, truth = tiny_pool()
    learner = MCDAL(QUICK)
    view = view_of(pool, truth, range(9))
    labelled = learner.model.begin(view, np.random.default_rng(0))
    net = learner.model.trained
    net.train()
    batch = next(learner._batches(view, labelled, np.random.default_rng(1)))
    buffers = [b.clone() for b in net.buffers()]
    with seeded(np.random.default_rng(2)):
        auxiliary, apart = learner._apart(net, net, batch)
    names = [name for name, _ in net.named_parameters()]
    slopes = torch.autograd.grad(auxiliary - apart, list(net.parameters()), allow_unused=True)
    touched = {name for name, g in zip(names, slopes, strict=True) if g is not None}
    assert touched == {f"heads.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    for was, now in zip(buffers, net.buffers(), strict=True):
        assert torch.equal(was, now), "the unlabelled batch moved the running statistics"


def test_minus_drives_the_heads_apart_and_nothing_comes_back_into_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, truth = tiny_pool(60)
    labelled = np.flatnonzero(truth < 2)[:12].tolist()  # nobody was asked about the third class
    view = view_of(pool, truth, labelled, n_classes=3)
    options = replace(QUICK, epoch_images=1_600)
    right = fit(view, options)
    with monkeypatch.context() as patch:
        patch.setattr("handful.learners.mcdal.spread", lambda *z: -spread(*z))
        wrong = fit(view, options)
    seen, other = (one.snapshot(view, one.gives) for one in (right, wrong))
    heads = seen.part("heads")
    assert heads.shape == (3, 60, 3)
    np.testing.assert_array_equal(heads[0], seen.proba)
    np.testing.assert_array_equal(seen.proba, other.proba)
    scores, fallen = discrepancies(heads), discrepancies(other.part("heads"))
    free, strange = view.known < 0, truth == 2
    assert scores[strange].mean() > 2 * fallen[strange].mean()
    # the unknown class is asked about first, the labelled images hold the heads together
    assert scores[strange].mean() > 3 * scores[free & ~strange].mean()
    for head in heads[1:]:
        assert (head[labelled].argmax(axis=1) == truth[labelled]).all()


def test_learns_as_a_supervised_network() -> None:
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(12), n_classes=3)
    learner = MCDAL(QUICK)
    report = learner.fit(view, np.random.default_rng(0), Silent())
    assert set(report.losses) == {"ce", "auxiliary", "discrepancy"}
    assert report.images == learner.steps(12) * (12 + 48)
    p = learner.predict(pool.read(np.arange(60)))
    assert (p.argmax(axis=1) == truth)[12:].mean() > 0.95


def test_from_scratch_in_every_round() -> None:
    pool, truth = tiny_pool()
    first, second = (view_of(pool, truth, range(n), round=n) for n in (6, 9))
    quick = replace(QUICK, epoch_images=96)
    through = fit(first, quick)
    through.fit(second, np.random.default_rng(1), Silent())
    fresh = fit(second, quick, seed=1)
    x = pool.read(np.arange(24))
    np.testing.assert_array_equal(through.predict(x), fresh.predict(x))


def test_one_class_and_no_class() -> None:
    pool, truth = tiny_pool()
    view = view_of(pool, truth, [1, 4, 7])
    heads = fit(view).snapshot(view, frozenset({"heads"})).part("heads")
    np.testing.assert_array_equal(heads, np.broadcast_to(np.eye(4)[1], (3, 24, 4)))
    with pytest.raises(InputError, match="'mcdal' needs a label"):
        fit(view_of(pool, truth, []))


def test_frozen_features_train_the_heads_alone() -> None:
    pool, truth = tiny_pool(60, features=6)
    x = pool.features
    assert x is not None
    x[:, 2] *= 1000  # on any scale
    view = view_of(pool, truth, range(12), n_classes=3)
    learner = MCDAL(MCDALOptions(frozen=True))
    report = learner.fit(view, np.random.default_rng(0), Silent())
    assert report.images == 300 * (12 + 48)
    assert (learner.options.optimizer, learner.options.lr) == ("adam", 1e-2)
    seen = learner.snapshot(view, learner.gives)
    np.testing.assert_allclose(
        seen.embedding, (x - x.mean(axis=0)) / x.std(axis=0), rtol=0.02, atol=1e-3
    )
    assert (seen.proba.argmax(axis=1) == truth)[12:].mean() > 0.8
    assert seen.part("heads").shape == (3, 60, 3)
    assert discrepancies(seen.part("heads"))[12:].mean() > 0.01
    np.testing.assert_allclose(learner.predict(x), seen.proba, atol=1e-5)
    twin = MCDAL(MCDALOptions(frozen=True))
    twin.load(learner.state())
    np.testing.assert_array_equal(twin.predict(x), learner.predict(x))
    images, truth = tiny_pool()
    with pytest.raises(InputError, match=r"learner\.frozen .* holds images"):
        fit(view_of(images, truth, range(9)), MCDALOptions(frozen=True))


# --- further heads on the shared network ----------------------------------------------------


@pytest.mark.parametrize(("kind", "width"), [(SmallCNN, 1), (SmallMLP, 5)])
def test_further_heads_leave_the_rest_as_it_is(kind: Any, width: int) -> None:
    nets = []
    for heads in (0, 2):
        with seeded(np.random.default_rng(3)):
            nets.append(kind(width, 4, heads=heads))
    plain, wide = (net.state_dict() for net in nets)
    assert set(wide) - set(plain) == {f"heads.{i}.{p}" for i in (0, 1) for p in ("weight", "bias")}
    assert all(torch.equal(plain[name], wide[name]) for name in plain)
    assert not torch.equal(wide["heads.0.weight"], wide["heads.1.weight"])
    x = torch.rand(6, 1, 8, 8) if kind is SmallCNN else torch.rand(6, 5)
    nets[1].eval()
    h = nets[1].hidden(x)
    torch.testing.assert_close(h, nets[1].embed(x))  # dropout is off
    torch.testing.assert_close(nets[1].top[1](h), nets[1](x))


def test_statistics_are_kept_while_a_batch_is_normalised_by_itself() -> None:
    with seeded(np.random.default_rng(4)):
        net = SmallMLP(5, 3).train()
    x = 7 + torch.rand(9, 5, generator=torch.Generator().manual_seed(0))
    before = [b.clone() for b in net.buffers()]
    with statistics_kept(net):
        out = net.stem[0](x)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(5), atol=1e-4, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    net.stem[0](x)
    assert not all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert all(norm.track_running_stats for norm in norms)


def test_a_classifier_without_further_heads_gives_none() -> None:
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(9))
    for heads, found in ((0, set()), (1, {"heads"})):
        model = Classifier("any", make=with_heads(heads))
        model.begin(view, np.random.default_rng(0))
        assert set(model.parts(pool, frozenset({"heads"}))) == found
