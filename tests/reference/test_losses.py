"""The losses against the worked numbers, a slow twin in plain loops, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from handful.losses.ccl import ccl_loss, ccl_terms
from handful.losses.dec import clustering_loss, squared_distances, student_log_assignment, target

D = torch.float64
Z3 = torch.tensor([[0, 0], [1, 0.5], [2, 2], [-1, 3]], dtype=D)
MU3 = torch.tensor([[0, 1], [2, 1], [-1, 2]], dtype=D)
Z5 = torch.tensor([[1, 0.2], [0.8, -0.4], [-0.6, 1], [0.1, 0.9], [-0.7, -0.9]], dtype=D)
MU5 = torch.tensor([[1, 0], [0, 1], [-1, -1]], dtype=D)
Y5 = torch.tensor([0, 0, 1, 1, 2])


def table(text: str) -> Tensor:
    return torch.tensor([[float(v) for v in row.split()] for row in text.split("|")], dtype=D)


def digits(got: Tensor, expected: Tensor | list[float], places: int = 6) -> None:
    """Equal to the printed digits: half a unit of the last one."""
    torch.testing.assert_close(
        got, torch.as_tensor(expected, dtype=D), rtol=0, atol=0.500001 * 10**-places
    )


# ------------------------------------------------------------------------ DEC


def test_assignment_target_and_loss_have_the_worked_values() -> None:
    log_q = student_log_assignment(Z3, MU3)
    digits(
        log_q.exp(),
        table(
            ".600000 .200000 .200000 | .432836 .432836 .134328"
            "| .217391 .652174 .130435 | .225806 .096774 .677419"
        ),
    )
    digits(log_q.exp().sum(0), [1.476034, 1.381784, 1.142182])
    p = target(log_q)
    digits(
        p,
        table(
            ".792219 .094028 .113753 | .456064 .487172 .056764"
            "| .090260 .867749 .041991 | .077962 .015296 .906742"
        ),
    )
    digits(clustering_loss(log_q, p), torch.tensor(0.097926))
    digits(4 * clustering_loss(log_q, p), torch.tensor(0.391704))
    entropy = -(log_q.exp() * log_q).sum(1)
    digits(entropy, [0.950271, 0.994571, 0.876199, 0.825852])


def test_the_target_of_a_part_is_another_one() -> None:
    digits(target(student_log_assignment(Z3[:2], MU3))[0], [0.655912, 0.118944, 0.225144])


@pytest.mark.parametrize(
    ("alpha", "row"),
    [
        (0.5, [0.423132, 0.423132, 0.153736]),
        (2.0, [0.444987, 0.444987, 0.110025]),
        (9.0, [0.467908, 0.467908, 0.064185]),
    ],
)
def test_assignment_for_other_degrees_of_freedom(alpha: float, row: list[float]) -> None:
    digits(student_log_assignment(Z3, MU3, alpha)[1].exp(), row)


def test_clustering_gradients_have_the_worked_values() -> None:
    z, mu = Z3.clone().requires_grad_(), MU3.clone().requires_grad_()
    log_q = student_log_assignment(z, mu)
    (4 * clustering_loss(log_q, target(log_q))).backward()
    assert z.grad is not None
    assert mu.grad is not None
    digits(z.grad, table(".041899 -.099397|-.070445 -.002377|-.137820 .173198|.084201 .107480"))
    digits(mu.grad, table(".014825 .343483|-.057268 -.203470|.124609 -.318916"))
    z = Z3.clone().requires_grad_()
    log_q = student_log_assignment(z, MU3, 2.0)
    (4 * clustering_loss(log_q, target(log_q))).backward()
    assert z.grad is not None
    digits(z.grad[1], [-0.081762, 0.006062])  # checks the factor (alpha + 1) / alpha


def test_clustering_loss_equals_its_slow_twin() -> None:
    rng = np.random.default_rng(3)
    z, mu = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    alpha = 1.7
    q = np.zeros((7, 4))
    for i in range(7):
        for j in range(4):
            d2 = sum((z[i, a] - mu[j, a]) ** 2 for a in range(3))
            q[i, j] = (1 + d2 / alpha) ** (-(alpha + 1) / 2)
        q[i] /= q[i].sum()
    p = np.array([[q[i, j] ** 2 / q[:, j].sum() for j in range(4)] for i in range(7)])
    p /= p.sum(axis=1, keepdims=True)
    kl = sum(p[i, j] * math.log(p[i, j] / q[i, j]) for i in range(7) for j in range(4)) / 7
    log_q = student_log_assignment(torch.from_numpy(z), torch.from_numpy(mu), alpha)
    np.testing.assert_allclose(target(log_q).numpy(), p, atol=1e-12)
    assert float(clustering_loss(log_q, target(log_q))) == pytest.approx(kl, abs=1e-12)


def test_far_points_stay_finite_and_uniform() -> None:
    far = torch.tensor([[1e8, 0.0]])
    log_q = student_log_assignment(far, MU3.float())
    digits(log_q.exp()[0].double(), [0.333333] * 3)
    p = target(student_log_assignment(torch.tensor([[0.0, 1.0]] * 3), MU3.float() * 1e6, 9.0))
    assert torch.isfinite(p).all()


def test_distances_keep_their_digits_far_from_the_origin() -> None:
    a = torch.tensor([[1e4, 1e4]]) + torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert squared_distances(a, a)[0, 1] == 1.0


# ------------------------------------------------------------------------ CCL

TERMS = {
    ("literal", "dot"): [-1.429476, -1.029476, -1.254995, -1.054995, -3.082474],
    ("inclusive", "dot"): [0.214655, 0.305419, 0.250819, 0.298766, 0.044826],
    ("centroids", "dot"): [0.194064, 0.166731, 0.096738, 0.202343, 0.016650],
    ("literal", "cosine"): [-1.320660, -1.148353, -0.975258, -1.248040, -1.548839],
    ("inclusive", "cosine"): [0.236620, 0.275477, 0.319976, 0.252366, 0.192680],
    ("centroids", "cosine"): [0.210998, 0.145955, 0.161362, 0.181988, 0.066354],
    ("literal", "neg_sq"): [-3.124383, -2.804383, -2.416847, -3.096847, -6.636285],
    ("inclusive", "neg_sq"): [0.043025, 0.058782, 0.085446, 0.044200, 0.001311],
    ("centroids", "neg_sq"): [0.039973, 0.009300, 0.002160, 0.040018, 0.001081],
    ("student", "neg_sq"): [0.441752, 0.466374, 0.445846, 0.447611, 0.371377],
}
TOTALS = {
    ("literal", "dot"): (-7.851415, -1.570283),
    ("inclusive", "dot"): (1.114485, 0.222897),
    ("centroids", "dot"): (0.676526, 0.135305),
    ("literal", "cosine"): (-6.241149, -1.248230),
    ("inclusive", "cosine"): (1.277119, 0.255424),
    ("centroids", "cosine"): (0.766657, 0.153331),
    ("literal", "neg_sq"): (-18.078747, -3.615749),
    ("inclusive", "neg_sq"): (0.232764, 0.046553),
    ("centroids", "neg_sq"): (0.092533, 0.018507),
    ("student", "neg_sq"): (2.172960, 0.434592),
}
GRADIENTS = {
    ("literal", "dot"): ([-2.161318, 2.671549], [-4.122711, 3.064534]),
    ("inclusive", "dot"): ([-0.393432, 0.672964], [-0.926732, 0.741278]),
    ("centroids", "dot"): ([-0.373013, 0.312343], [-0.623767, 0.405355]),
    ("centroids", "cosine"): ([-0.073352, 0.366758], [0.000000, 0.364361]),
    ("centroids", "neg_sq"): ([-0.156817, 0.156581], [-0.149264, 0.128398]),
    ("student", "neg_sq"): ([-0.256356, 0.252146], [-0.297503, 0.304022]),
}


def loss(z: Tensor, mu: Tensor, form: str, sim: str, **kw: object) -> Tensor:
    return ccl_loss(z, Y5, mu, form=form, sim=sim, **{"tau": 0.5, **kw})  # type: ignore[arg-type]


@pytest.mark.parametrize(("form", "sim"), TERMS)
def test_every_form_has_the_worked_terms(form: str, sim: str) -> None:
    terms = ccl_terms(Z5, Y5, MU5, form=form, sim=sim, tau=0.5)  # type: ignore[arg-type]
    digits(terms, TERMS[form, sim])
    total, mean = TOTALS[form, sim]
    digits(loss(Z5, MU5, form, sim, reduction="sum"), torch.tensor(total))
    digits(loss(Z5, MU5, form, sim), torch.tensor(mean))


@pytest.mark.parametrize(("form", "sim"), GRADIENTS)
def test_every_form_has_the_worked_gradients(form: str, sim: str) -> None:
    z, mu = Z5.clone().requires_grad_(), MU5.clone().requires_grad_()
    loss(z, mu, form, sim, reduction="sum").backward()
    assert z.grad is not None
    assert mu.grad is not None
    dz, dmu = GRADIENTS[form, sim]
    digits(z.grad[0], dz)
    digits(mu.grad[0], dmu)


def slow_term(i: int, z: np.ndarray, mu: np.ndarray, form: str, sim: str, tau: float) -> float:
    def s(a: np.ndarray, b: np.ndarray) -> float:
        if sim == "dot":
            return float(a @ b) / tau
        if sim == "cosine":
            return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) / tau
        return -float(((a - b) ** 2).sum()) / tau

    y = Y5.numpy()
    own = s(z[i], mu[y[i]])
    if form == "centroids":
        return -own + math.log(sum(math.exp(s(z[i], m)) for m in mu))
    if form == "student":
        w = [1 / (1 + float(((z[i] - m) ** 2).sum())) for m in mu]
        return -math.log(w[y[i]] / sum(w))
    negatives = [math.exp(s(z[k], mu[y[i]])) for k in range(len(z)) if y[k] != y[i]]
    return -own + math.log(sum(negatives) + (math.exp(own) if form == "inclusive" else 0))


@pytest.mark.parametrize(("form", "sim"), TERMS)
def test_every_form_equals_its_slow_twin_and_passes_gradcheck(form: str, sim: str) -> None:
    rng = np.random.default_rng(11)
    z, mu = rng.normal(size=(5, 3)), rng.normal(size=(3, 3))
    slow = np.mean([slow_term(i, z, mu, form, sim, 0.7) for i in range(5)])
    zt, mt = torch.tensor(z, requires_grad=True), torch.tensor(mu, requires_grad=True)
    assert loss(zt, mt, form, sim, tau=0.7).item() == pytest.approx(slow, abs=1e-12)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, form, sim, tau=0.7), (zt, mt))


def test_the_printed_form_has_no_lower_bound() -> None:
    digits(loss(Z5, MU5, "literal", "dot", tau=1.0), torch.tensor(-0.281242))
    scaled = [loss(c * Z5, MU5, "literal", "dot", reduction="sum") for c in (1, 10, 100)]
    digits(torch.stack(scaled), [-7.851415, -101.306836, -1019.306853])
    bounded = [loss(c * Z5, MU5, "inclusive", "dot", reduction="sum") for c in (1, 10, 100)]
    digits(torch.stack(bounded), [1.114485, 0.000002, 0.0])
    assert float(loss(1e4 * Z5, MU5, "inclusive", "dot")) == 0.0


@pytest.mark.parametrize("form", ["literal", "inclusive", "centroids"])
def test_one_class_only_has_no_negative(form: str) -> None:
    z = Z5.clone().requires_grad_()
    value = ccl_loss(z, torch.zeros(5, dtype=torch.int64), MU5[:1], form=form, sim="dot", tau=0.5)  # type: ignore[arg-type]
    value.backward()
    assert value.item() == 0.0
    assert z.grad is not None
    assert (z.grad == 0).all()
    skipped = ccl_terms(Z5, torch.zeros(5, dtype=torch.int64), MU5[:1], form="literal")
    assert len(skipped) == 0


def test_cosine_of_a_zero_vector_is_finite() -> None:
    z = torch.zeros(2, 2, requires_grad=True)
    value = ccl_loss(z, torch.tensor([0, 1]), MU5.float(), sim="cosine", tau=0.1)
    value.backward()
    assert torch.isfinite(value)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_half_precision_is_computed_in_float32() -> None:
    half = ccl_loss(Z5.bfloat16(), Y5, MU5.bfloat16(), tau=0.5)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(0.018507, abs=2e-3)  # bfloat16 keeps 3 digits


def test_a_whole_step_adds_up() -> None:
    x = torch.tensor([0.2, 0.9, 0.4, 0.6], dtype=D)
    x_hat = torch.tensor([0.3, 0.7, 0.4, 0.5], dtype=D)
    rec = (x - x_hat).square().mean()
    log_q = student_log_assignment(Z5, MU5)
    clu = clustering_loss(log_q, target(log_q))
    ccl = ccl_loss(Z5, Y5, MU5, tau=0.5)
    digits(torch.stack([rec, clu, ccl]), [0.015000, 0.113916, 0.018507])
    digits(rec + 0.1 * clu + ccl, torch.tensor(0.044898))
    entropy = -(log_q.exp() * log_q).sum(1)
    digits(entropy, [0.866988, 0.915968, 0.901907, 0.877428, 0.834040])
    assert entropy.argsort(descending=True).tolist() == [1, 2, 3, 0, 4]


def test_reconstruction_loss_is_the_mean_of_all_values() -> None:
    x = torch.tensor([[[0, 0.5], [1, 0.25]], [[1, 1], [0, 0]]], dtype=D)
    x_hat = torch.tensor([[[0.1, 0.5], [0.8, 0]], [[0.5, 1], [0, 0.3]]], dtype=D)
    digits((x - x_hat).square().mean(), torch.tensor(0.0565625), 6)
