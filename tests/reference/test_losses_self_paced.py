"""DSAC's losses against the worked numbers of the method's description and slow twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handful.losses.self_paced import (
    class_loss,
    grown_quantile,
    self_paced_lambda,
    self_paced_weights,
    supervised_loss,
    supervised_weights,
    unlabelled_loss,
)

POINTS = np.array([
    (0, 0), (.2, .1), (1, 0), (.4, -.3), (2, 1), (2.1, 1.2), (1.6, .9), (2.5, 1), (.1, .6),
    (3.2, 1.9),
])  # fmt: skip
CENTRES = np.array([(0.3, 0.1), (2.2, 1.2)])
ASSIGNED = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 1])

LABELLED = np.array([(0.5, -0.2), (1.0, 0.3), (-0.4, 0.8), (-0.6, 0.1), (0.1, 0.6)])
Y = np.array([0, 0, 2, 1, 2])
C = np.array([2, 0.5, 1, 4, 2.5])
W = np.array([(1, -0.5), (-0.3, 0.2), (-0.8, 0.9)])
BIAS = np.array([0.1, 0, -0.1])
CLASS_MEANS = np.array([(0.75, 0.05), (-0.6, 0.1), (-0.15, 0.7)])
FREE = np.array([(0.2, 0.1), (-0.5, 0.6), (0.9, -0.4)])
FREE_CENTRES = np.array([(0.6, 0), (-0.5, 0.4), (0.6, 0)])


def distances() -> NDArray[np.float64]:
    d: NDArray[np.float64] = np.square(POINTS - CENTRES[ASSIGNED]).sum(axis=1)
    return d


def test_weights_and_lambda_of_the_worked_example() -> None:
    d = distances()
    assert d == pytest.approx([0.10, 0.01, 0.50, 0.17, 0.08, 0.01, 0.45, 0.13, 0.29, 1.49])
    lam = self_paced_lambda(d, 0.95)
    assert lam == pytest.approx([1.0445], abs=1e-6)
    w = self_paced_weights(d, lam)
    assert w == pytest.approx(
        [.904260, .990426, .521302, .837243, .923408, .990426, .569172, .875539, .722355, 0],
        abs=5e-7,
    )  # fmt: skip
    # the unsquared distances would give these, and must not
    assert self_paced_lambda(np.sqrt(d), 0.95)[0] == pytest.approx(0.989559, abs=1e-6)
    assert abs(w[0] - 0.680436) > 0.1


def test_lambda_of_each_cluster() -> None:
    d = distances()
    lam = self_paced_lambda(d, 0.95, clusters=ASSIGNED, k=2)
    assert lam == pytest.approx([0.458, 1.282])
    assert self_paced_weights(d, lam[ASSIGNED]) == pytest.approx(
        [.781659, .978166, 0, .628821, .937598, .992200, .648986, .898596, .366812, 0], abs=5e-7
    )  # fmt: skip


def test_five_percent_of_13000_images_weigh_nothing() -> None:
    d = np.random.default_rng(0).exponential(size=13_000)
    assert int((self_paced_weights(d, self_paced_lambda(d, 0.95)) == 0).sum()) == 650


@pytest.mark.parametrize("kind", ["zero", "empty", "one"])
def test_lambda_where_there_is_little_to_measure(kind: str) -> None:
    if kind == "zero":  # 95 % on their centres
        d = np.zeros(40)
        d[3] = 2.0
        lam = self_paced_lambda(d, 0.95)
        assert lam == [0.0]
        assert np.array_equal(self_paced_weights(d, lam), d == 0)
    elif kind == "empty":
        assert self_paced_lambda(np.empty(0)) == [0.0]
        assert self_paced_weights(np.empty(0), 0.0).shape == (0,)
        assert np.array_equal(
            self_paced_lambda(np.array([1.0]), clusters=np.array([1]), k=3), [0, 1, 0]
        )
    else:
        lam = self_paced_lambda(np.array([0.7]))
        assert lam == [0.7]
        assert self_paced_weights(np.array([0.7]), lam) == [0.0]


def test_the_weights_minimise_the_self_paced_term() -> None:
    d, lam = np.random.default_rng(1).exponential(size=30), 1.3
    w = self_paced_weights(d, lam)

    def value(w: NDArray[np.float64]) -> NDArray[np.float64]:
        return w * d + lam * (w**2 / 2 - w)

    for other in np.linspace(0, 1.5, 151):
        assert (value(w) <= value(np.full(30, other)) + 1e-12).all()
    assert value(w).mean() == pytest.approx(-lam / 2 * np.square(w).mean())


def test_the_quantile_grows_with_the_rounds() -> None:
    grown = [grown_quantile(0.1, 0.9, r, 5) for r in range(7)]
    assert grown == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 0.9, 0.9])
    assert grown_quantile(0.2, 0.8, 0, 1) == pytest.approx(0.2)


def test_weights_of_labelled_images() -> None:
    c = np.array([0.2, 0.4, 0.5, 0.6, 40])
    assert supervised_weights(c) == pytest.approx(
        [0.149254, 0.298507, 0.373134, 0.447761, 3.731343], abs=5e-7
    )
    unclipped = c / c.mean()
    assert unclipped[4] == pytest.approx(4.796163, abs=5e-7)  # what must not appear
    assert supervised_weights(c, "max1") == pytest.approx([0.005, 0.01, 0.0125, 0.015, 1])
    assert np.array_equal(supervised_weights(c, "raw"), c)
    assert np.array_equal(supervised_weights(c, "none"), np.ones(5))
    assert np.array_equal(supervised_weights(np.full(4, 7.0)), np.ones(4))
    assert supervised_weights(np.empty(0)).shape == (0,)


def test_weights_come_back_as_copies() -> None:
    c = np.array([1.0, 2.0])
    supervised_weights(c, "raw")[0] = 9
    assert c[0] == 1


# --- losses ----------------------------------------------------------------------------------


def t(x: NDArray[np.float64], *, grad: bool = False) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def parts(g: NDArray[np.float64], gamma: float = 0.01) -> tuple[float, float]:
    z = t(LABELLED)
    found = supervised_loss(
        z, z @ t(W).T + t(BIAS), torch.tensor(Y), t(g), t(CLASS_MEANS), gamma=gamma
    )
    assert float(found.total) == pytest.approx(float(found.by_class + gamma * found.center))
    return float(found.by_class), float(found.center)


def test_supervised_loss_of_the_worked_example() -> None:
    assert supervised_weights(C) == pytest.approx([1, 0.25, 0.5, 2, 1.25])
    assert parts(C) == pytest.approx((1.607137, 0.113250), abs=5e-7)
    assert parts(supervised_weights(C)) == pytest.approx((0.803569, 0.056625), abs=5e-7)
    # what a reader may get wrong: no weights at all, or a sum instead of a mean
    assert parts(np.ones(5))[0] == pytest.approx(0.670783, abs=5e-7)
    assert 5 * parts(C)[0] == pytest.approx(8.035687, abs=3e-6)


def free_loss(z: torch.Tensor) -> torch.Tensor:
    lam = np.array([0.22])
    w = self_paced_weights(np.square(FREE - FREE_CENTRES).sum(axis=1), lam)
    assert w == pytest.approx([0.227273, 0.818182, 0], abs=5e-7)
    return unlabelled_loss(z, t(FREE_CENTRES), t(w), t(lam))


def test_unlabelled_loss_of_the_worked_examples() -> None:
    assert float(free_loss(t(FREE))) == pytest.approx(-0.026439, abs=5e-7)
    d, z = distances(), t(POINTS, grad=True)
    lam = self_paced_lambda(d)
    loss = unlabelled_loss(z, t(CENTRES[ASSIGNED]), t(self_paced_weights(d, lam)), t(lam))
    assert loss.item() == pytest.approx(-0.324699, abs=5e-7)
    assert float((self_paced_weights(d, lam) * d).mean()) == pytest.approx(0.116652, abs=5e-7)
    (grad,) = torch.autograd.grad(loss, z)
    assert grad[2].tolist() == pytest.approx([0.072982, -0.010426], abs=5e-7)
    assert grad[7].tolist() == pytest.approx([0.052532, -0.035022], abs=5e-7)
    assert grad[9].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("gamma", "raw", "mean1"),
    [(0.001, 1.580811, 0.777186), (0.01, 1.581831, 0.777696), (1.0, 1.693948, 0.833754)],
)
def test_total_of_the_worked_example(gamma: float, raw: float, mean1: float) -> None:
    unlabelled = float(free_loss(t(FREE)))
    for g, expected in ((C, raw), (supervised_weights(C), mean1)):
        by_class, center = parts(g, gamma)
        assert unlabelled + by_class + gamma * center == pytest.approx(expected, abs=5e-7)


def test_gradients_of_the_worked_example() -> None:
    z, u, bias = t(LABELLED, grad=True), t(FREE, grad=True), t(BIAS, grad=True)
    g, y = t(supervised_weights(C)), torch.tensor(Y)
    labelled = supervised_loss(z, z @ t(W).T + bias, y, g, t(CLASS_MEANS), gamma=0.01)
    (free_loss(u) + labelled.total).backward()
    assert z.grad is not None
    assert u.grad is not None
    assert bias.grad is not None
    assert z.grad[0].tolist() == pytest.approx([-0.119719, 0.075965], abs=5e-7)
    assert z.grad[3].tolist() == pytest.approx([-0.005881, 0.084292], abs=5e-7)
    assert u.grad[2].tolist() == [0, 0]
    assert bias.grad.tolist() == pytest.approx([0.048581, -0.086847, 0.038266], abs=5e-7)


def test_no_gradient_runs_through_the_centres() -> None:
    z, y = t(LABELLED, grad=True), torch.tensor(Y)
    means = torch.stack([z[y == k].mean(dim=0) for k in range(3)])  # in the graph, by mistake
    logits = z.detach() @ t(W).T
    center = supervised_loss(z, logits, y, t(supervised_weights(C)), means, gamma=1.0).center
    (grad,) = torch.autograd.grad(center, z)
    assert grad[0].tolist() == pytest.approx([-0.1, -0.1])  # -0.0625 with the centre in the graph
    moving = t(FREE, grad=True)
    unlabelled_loss(t(FREE), moving.mean(dim=0).expand(3, 2), t(np.ones(3)), t(np.ones(1)))
    assert moving.grad is None


def slow(
    z: NDArray[np.float64], y: NDArray[np.int64], g: NDArray[np.float64], smoothing: float
) -> tuple[float, float]:
    """Eqs. 4 and 5 by loops."""
    total, center = 0.0, 0.0
    for i in range(len(z)):
        logits = [sum(W[k, j] * z[i, j] for j in range(2)) + BIAS[k] for k in range(3)]
        log_sum = math.log(sum(math.exp(v) for v in logits))
        for k in range(3):
            share = (1 - smoothing) * (k == y[i]) + smoothing / 3
            total += g[i] * share * (log_sum - logits[k])
        center += g[i] * sum((z[i, j] - CLASS_MEANS[y[i], j]) ** 2 for j in range(2))
    return total / len(z), center / len(z)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_supervised_loss_against_a_slow_twin(smoothing: float) -> None:
    rng = np.random.default_rng(3)
    z, y, g = rng.normal(size=(17, 2)), rng.integers(0, 3, 17), rng.exponential(size=17)
    x = t(z, grad=True)
    args = (torch.tensor(y), t(g), t(CLASS_MEANS))
    found = supervised_loss(x, x @ t(W).T + t(BIAS), *args, gamma=0.3, smoothing=smoothing)
    assert (found.by_class.item(), found.center.item()) == pytest.approx(slow(z, y, g, smoothing))
    assert torch.autograd.gradcheck(
        lambda x: (
            supervised_loss(x, x @ t(W).T, *args, gamma=0.3, smoothing=smoothing).total
            + unlabelled_loss(x, t(np.zeros((17, 2))), t(g), t(np.array([2.0])))
        ),
        (x,),
    )


def test_smoothed_targets_are_those_of_the_authors_code() -> None:
    logits = torch.eye(10, dtype=torch.float64)[:1] * 3
    loss = class_loss(logits, torch.tensor([0]), torch.ones(1), smoothing=0.2)
    log_p = torch.log_softmax(logits, dim=1)[0]
    assert float(loss) == pytest.approx(-float(0.82 * log_p[0] + 0.02 * log_p[1:].sum()))


def test_nothing_to_train_on_is_zero_with_a_zero_gradient() -> None:
    z = torch.zeros((4, 2), requires_grad=True)
    none, y = z[:0], torch.empty(0, dtype=torch.int64)
    weights = torch.empty(0)
    found = supervised_loss(none, none @ torch.ones(2, 3), y, weights, torch.zeros(3, 2), gamma=1)
    total = found.total + unlabelled_loss(none, none, weights, weights)
    total.backward()
    assert total.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_a_class_with_one_member_has_no_centre_loss() -> None:
    z, means = t(np.array([[1.0, 2.0]])), t(np.array([[np.nan, np.nan], [1, 2]]))
    logits, y, g = t(np.zeros((1, 2))), torch.tensor([1]), t(np.ones(1))
    found = supervised_loss(z, logits, y, g, means, gamma=1.0)
    assert float(found.center) == 0
    assert math.isfinite(float(found.total))
