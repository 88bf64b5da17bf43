"""Consistency losses: worked numbers, slow twins, the counts of sure guesses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from handful.losses.consistency import LastSure, consistency, cosine_7_16, flexible

WEAK = torch.tensor([[4.0, 0, 0], [5, 0.5, 0], [0, 1, 0], [0, 0, 4.5]])
STRONG = torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 2], [0.5, 0, 1]])


def near(found, want):
    np.testing.assert_allclose(np.asarray(found), want, atol=6e-7)  # six printed digits


def test_worked_numbers_of_fixmatch():
    made = consistency(WEAK, STRONG, 0.95)
    near(made.sureness, [0.964663, 0.982466, 0.576117, 0.978265])
    assert made.guess.tolist() == [0, 0, 1, 2]
    assert made.mask.tolist() == [True, True, False, True]
    terms = F.cross_entropy(STRONG, made.guess, reduction="none")
    near(terms, [0.680270, 1.551445, 2.239545, 0.680270])
    near(made.loss, 0.727996)
    near((terms * made.mask).sum() / made.mask.sum(), 0.970661)  # not this one
    labelled = F.cross_entropy(torch.tensor([[1.0, 0, 0], [0, 0.5, 0]]), torch.tensor([0, 2]))
    near(labelled, 0.922911)
    near(labelled + made.loss, 1.650907)
    near(made.share, 0.75)


def test_worked_numbers_of_the_schedule():
    near([cosine_7_16(k, 1000) for k in (0, 250, 500, 1000)], [1, 0.941544, 0.773010, 0.195090])
    near([0.999**1000, 0.999**3000], [0.367695, 0.049712])


def test_worked_numbers_of_flexmatch():
    a, b = torch.tensor([4, 2, 1]), torch.tensor([2, 1, 0])
    # tau = 1 and M(x) = x print beta itself
    near(flexible(a, 10, tau=1.0, mapping="linear"), [1, 0.5, 0.25])
    near(flexible(b, 10, tau=1.0, mapping="linear"), [0.285714, 0.142857, 0])
    near(flexible(b, 10, tau=1.0, mapping="linear", warmup=False), [1, 0.5, 0])
    convex = flexible(a, 10, tau=0.95)
    near(convex, [0.95, 0.316667, 0.135714])
    near(flexible(a, 10, tau=0.95, mapping="linear"), [0.95, 0.475, 0.2375])
    weak = torch.tensor([[1, 0.9, 0], [0, 1.5, 0], [0, 0, 0.4], [4.5, 0, 0]])
    strong = torch.tensor([[0.5, 0.5, 0], [0, 1, 0.5], [0, 0.2, 0.3], [2, 0, 0]])
    made = consistency(weak, strong, convex)
    near(made.sureness, [0.440002, 0.691438, 0.427234, 0.978265])
    assert made.guess.tolist() == [0, 1, 2, 0]
    assert made.mask.tolist() == [False, True, True, True]
    assert (made.sureness >= 0.95).tolist() == [False, False, False, True]
    near(made.loss, 0.473183)
    near(made.share, 0.75)
    near(consistency(weak, strong, 0.95).loss, 0.059886)


@pytest.mark.parametrize("warmup", [True, False])
def test_nothing_sure_yet_lets_everything_through(warmup):
    nothing = torch.zeros(3, dtype=torch.long)
    assert flexible(nothing, 10, tau=0.95, warmup=warmup).tolist() == [0, 0, 0]
    assert consistency(WEAK, STRONG, torch.zeros(3)).mask.all()


@pytest.mark.parametrize("per_class", [False, True])
def test_the_loss_equals_its_slow_twin(per_class):
    rng = np.random.default_rng(3)
    weak, strong = rng.normal(size=(2, 40, 5)) * 2
    least = rng.uniform(0.3, 0.95, 5) if per_class else np.full(5, 0.7)
    total = 0.0
    for w, s in zip(weak, strong, strict=True):
        q = [math.exp(v) / sum(map(math.exp, w)) for v in w]
        guess = q.index(max(q))
        if q[guess] >= least[guess]:
            total += math.log(sum(map(math.exp, s))) - s[guess]
    threshold = torch.tensor(least) if per_class else 0.7
    made = consistency(torch.tensor(weak), torch.tensor(strong), threshold)
    assert float(made.loss) == pytest.approx(total / 40, abs=1e-6)
    assert 0 < made.share < 1


def test_no_gradient_reaches_the_weak_view():
    weak = WEAK.double().requires_grad_()
    strong = STRONG.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: consistency(weak, s, 0.95).loss, strong)
    consistency(weak, strong, 0.95).loss.backward()
    assert weak.grad is None
    assert strong.grad[2].abs().max() == 0, "an unsure guess is taught"
    assert strong.grad[0].abs().max() > 0


def test_an_empty_batch_costs_nothing():
    none = torch.zeros(0, 3, requires_grad=True)
    made = consistency(none.detach(), none, 0.95)
    made.loss.backward()
    assert made.loss.detach() == made.share == 0
    assert none.grad is not None


def test_counts_equal_a_recount_over_all_images():
    """Repeated rows in a batch too: the later one counts, and only if it is sure itself."""
    rng = np.random.default_rng(0)
    n, c = 12, 4
    started = rng.integers(-1, c, n)
    status, twin = LastSure(torch.from_numpy(started.astype(np.int16)), c), started.copy()
    for _ in range(60):
        rows, guess = rng.integers(0, n, 9), rng.integers(0, c, 9)
        sure = rng.random(9) < 0.5
        status.update(*map(torch.from_numpy, (rows, guess, sure)))
        for row, g, s in zip(rows, guess, sure, strict=True):
            if s:
                twin[row] = g
        assert status.last.tolist() == twin.tolist()
        assert status.sigma.tolist() == [int((twin == k).sum()) for k in range(c)]


def test_an_image_keeps_its_class_when_it_is_no_longer_sure():
    status = LastSure(torch.full((3,), -1), 2)
    rows, sure = torch.tensor([1]), torch.tensor([True])
    status.update(rows, torch.tensor([0]), sure)
    status.update(rows, torch.tensor([1]), ~sure)
    assert status.last.tolist() == [-1, 0, -1]
    assert status.sigma.tolist() == [1, 0]
