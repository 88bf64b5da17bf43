"""Losses of pairs: worked numbers, slow twins, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from handful.errors import InputError
from handful.losses.dec import clustering_loss, student_log_assignment, target
from handful.losses.pairwise import (
    autoembedder_loss,
    pair_similarity,
    pair_term,
    pairwise_log_loss,
    self_pair_loss,
    thresholds,
)

F64 = torch.float64


def t(rows: object) -> Tensor:
    return torch.tensor(rows, dtype=F64)


Z = t([[0, 0], [0.5, 0.2], [2, 1], [1.2, 1.1]])
MU = t([[0.2, 0.1], [1.8, 1]])
STATED = ((0, 1, 1), (2, 3, 1), (1, 3, -1))


def sdec(z: Tensor, mu: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    log_q = student_log_assignment(z, mu)
    a, b, sign = (torch.tensor(column) for column in zip(*STATED, strict=True))
    kl = clustering_loss(log_q, target(log_q))
    return kl, kl + lam * pair_term(z[a], z[b], sign, n=4, n_pairs=3)


# --- SDEC ---------------------------------------------------------------------------------------


def test_the_worked_sdec_loss() -> None:
    log_q = student_log_assignment(Z, MU)
    q, p = log_q.exp()[:, 0], target(log_q)[:, 0]
    assert q.tolist() == pytest.approx([0.833068, 0.751693, 0.170772, 0.313501], abs=5e-7)
    assert p.tolist() == pytest.approx([0.958751, 0.895319, 0.038074, 0.162919], abs=5e-7)
    kl, total = sdec(Z, MU, 0.1)
    assert float(kl) == pytest.approx(0.072050, abs=1e-6)
    assert 4 * float(kl) == pytest.approx(0.288202, abs=1e-6)
    assert float(total - kl) / 0.1 == pytest.approx(-0.18, abs=1e-9)
    assert float(total) == pytest.approx(0.054050409, abs=5e-10)
    assert float(sdec(Z, MU, 1e-5)[1]) == pytest.approx(0.072048609, abs=5e-10)


def test_the_worked_sdec_gradient() -> None:
    z, mu = Z.clone().requires_grad_(), MU.clone().requires_grad_()
    sdec(z, mu, 0.1)[1].backward()
    assert z.grad is not None
    assert mu.grad is not None
    dz = [[-0.040383, -0.013992], [0.167620, 0.133781], [0.069110, -0.021825]]
    dz.append([-0.208071, -0.099601])
    assert z.grad.numpy() == pytest.approx(np.array(dz), abs=5e-7)
    dmu = [[0.041130, 0.036378], [-0.029407, -0.034741]]
    assert mu.grad.numpy() == pytest.approx(np.array(dmu), abs=5e-7)


def test_the_pairs_move_the_encoder() -> None:
    """In the authors' code the term has no gradient, and SDEC trains as plain DEC."""
    z = Z.clone().requires_grad_()
    a, b, sign = (torch.tensor(column) for column in zip(*STATED, strict=True))
    pair_term(z[a], z[b], sign, n=4, n_pairs=3).backward()
    A = np.zeros((4, 4))
    for i, k, s in STATED:
        A[i, k] = A[k, i] = s
    slow = [sum(A[i, k] * (Z[i] - Z[k]).numpy() for k in range(4)) * 4 / 4 for i in range(4)]
    assert z.grad is not None
    assert z.grad.numpy() == pytest.approx(np.array(slow), abs=1e-12)


def test_a_batch_of_pairs_stands_for_all_of_them() -> None:
    rng = np.random.default_rng(0)
    z, n = t(rng.normal(size=(30, 4))), 30
    pairs = [(i, k) for i in range(n) for k in range(i) if rng.random() < 0.3]
    sign = rng.choice([-1, 1], size=len(pairs))
    whole = sum(
        2 / n * s * float((z[i] - z[k]).square().sum())
        for (i, k), s in zip(pairs, sign, strict=True)
    )
    index = torch.tensor(pairs)
    means = []
    for _ in range(4000):
        some = torch.from_numpy(rng.integers(len(pairs), size=32))
        a, b = index[some].T
        means.append(
            float(pair_term(z[a], z[b], torch.from_numpy(sign)[some], n=n, n_pairs=len(pairs)))
        )
    assert np.mean(means) == pytest.approx(whole, abs=4 * np.std(means) / 4000**0.5)


def test_the_guard_gives_a_constant_and_no_gradient() -> None:
    a = t([[0.0, 0], [0, 0], [0, 0]]).requires_grad_()
    b, sign = t([[3.0, 4], [1, 0], [30, 40]]), torch.tensor([-1, -1, 1])
    loss = pair_term(a, b, sign, n=1, n_pairs=3, margin=4.0)
    assert loss.item() == pytest.approx(2 * (-16 - 1 + 2500))
    loss.backward()
    assert a.grad is not None
    assert a.grad[0].tolist() == [0, 0]
    assert a.grad[1].tolist() != [0, 0]
    assert a.grad[2].tolist() != [0, 0]


def test_balanced_means() -> None:
    a, b = torch.zeros(3, 1, dtype=F64), t([[1.0], [3], [2]])
    loss = pair_term(a, b, torch.tensor([1, 1, -1]), n=9, n_pairs=5, balance=True)
    assert float(loss) == pytest.approx(2 * (5 - 4))
    assert float(pair_term(a[:1], b[:1], torch.tensor([-1]), n=9, n_pairs=5, balance=True)) == -2
    nothing = torch.zeros(0, 1)
    for balance in (True, False):
        empty = torch.zeros(0)
        assert float(pair_term(nothing, nothing, empty, n=3, n_pairs=0, balance=balance)) == 0


# --- AutoEmbedder -------------------------------------------------------------------------------

A = t([[0, 0], [1, 2], [0, 3], [60, 0]])
B = t([[3, 4], [1, 2.5], [4, 3], [-60, 50]])
SAME = torch.tensor([True, True, False, False])


@pytest.mark.parametrize("clip", ["both", "cannot"])
def test_the_worked_autoembedder_loss(clip: str) -> None:
    for alpha, loss in ((10.0, 15.3125), (100.0, 2310.3125)):
        found = autoembedder_loss(A, B, SAME, alpha=alpha, clip=clip)  # type: ignore[arg-type]
        assert float(found) == pytest.approx(loss, abs=1e-9)


def test_the_worked_autoembedder_gradient() -> None:
    a = A.clone().requires_grad_()
    autoembedder_loss(a, B, SAME, alpha=10.0).backward()
    assert a.grad is not None
    assert a.grad.numpy() == pytest.approx(np.array([[-1.5, -2], [0, -0.25], [3, 0], [0, 0]]))


def test_must_links_far_apart_are_not_dead() -> None:
    """In the published form they are: no gradient, for ever."""
    a = t([[0.0, 0], [0, 0]]).requires_grad_()
    b, same = t([[14.0, 0], [3, 0]]), torch.tensor([True, True])
    both = autoembedder_loss(a, b, same, alpha=10.0, clip="both")
    assert both.item() == pytest.approx(54.5)
    (dead,) = torch.autograd.grad(both, a)
    assert dead[0].tolist() == [0, 0]
    cannot = autoembedder_loss(a, b, same, alpha=10.0)
    assert cannot.item() == pytest.approx(102.5)
    (alive,) = torch.autograd.grad(cannot, a)
    assert alive[0].tolist() != [0, 0]


def test_equal_images_have_a_gradient_of_zero() -> None:
    """A square root of a sum of squares gives NaN there."""
    a = t([[1.0, 2]]).requires_grad_()
    autoembedder_loss(a, t([[1.0, 2]]), torch.tensor([False]), alpha=10.0).backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[0, 0]]
    bad = t([[1.0, 2]]).requires_grad_()
    (bad - t([[1.0, 2]])).square().sum(dim=1).sqrt().sum().backward()
    assert bad.grad is not None
    assert torch.isnan(bad.grad).all()


def test_no_pair_is_refused() -> None:
    with pytest.raises(InputError, match="got none"):
        autoembedder_loss(A[:0], B[:0], SAME[:0], alpha=10.0)


# --- ADC ----------------------------------------------------------------------------------------

P = torch.softmax(t([[2, 0, 0], [1.5, 0.5, 0], [0, 2, 1], [0, 0.5, 2.5]]), dim=1)


def test_the_worked_pair_loss() -> None:
    same = pair_similarity(P[[0]], P[[1]])
    different = pair_similarity(P[[0, 1]], P[[2, 3]])
    nothing = same[:0]
    assert float(pairwise_log_loss(same, nothing)) == pytest.approx(0.025965, abs=5e-7)
    assert float(pairwise_log_loss(nothing, different)) == pytest.approx(0.367758, abs=5e-7)
    assert float(pairwise_log_loss(same, different)) == pytest.approx(0.393722, abs=1e-6)
    assert float(pairwise_log_loss(nothing, nothing)) == 0
    pooled = torch.cat([-same.log(), -torch.log1p(-different)]).mean()
    assert float(pooled) == pytest.approx(0.253827, abs=5e-7)


def test_similarities_are_clamped_in_float32() -> None:
    one_hot = torch.eye(3)
    s = pair_similarity(one_hot[:, None], one_hot[None])
    assert s.dtype == torch.float32
    assert float(s.min()) == pytest.approx(1e-6)
    assert torch.isfinite(pairwise_log_loss(s.diag(), s[0, 1:])).all()
    assert torch.isfinite(pairwise_log_loss(s[0, 1:], s.diag())).all()


def test_thresholds_tighten_until_they_meet() -> None:
    assert thresholds(0) == pytest.approx((0.95, 0.455))
    assert thresholds(10) == pytest.approx((0.851, 0.4649))
    for epoch in (46, 1000):
        assert thresholds(epoch) == pytest.approx((0.5, 0.5))


def test_self_made_targets() -> None:
    s = t([0.96, 0.5, 0.2, 0.9])
    slow = (-np.log(0.96) - np.log(1 - 0.2)) / 2
    assert float(self_pair_loss(s, 0.95, 0.455)) == pytest.approx(slow)
    assert float(self_pair_loss(s[1:2], 0.95, 0.455)) == 0


def test_gradients() -> None:
    torch_rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 3, dtype=F64, generator=torch_rng).requires_grad_() for _ in range(2))
    sign = torch.tensor([1, -1, 1, -1, -1])

    def check(loss: object) -> None:
        assert torch.autograd.gradcheck(loss, (a, b))  # type: ignore[arg-type]

    check(lambda x, y: pair_term(x, y, sign, n=7, n_pairs=9, margin=1.5))
    check(lambda x, y: pair_term(x, y, sign, n=7, n_pairs=9, balance=True))
    check(lambda x, y: autoembedder_loss(x, y, sign > 0, alpha=2.0))
    check(lambda x, y: autoembedder_loss(x, y, sign > 0, alpha=2.0, clip="both"))

    def adc(x: Tensor, y: Tensor) -> Tensor:
        s = pair_similarity(x.softmax(dim=1), y.softmax(dim=1))
        return pairwise_log_loss(s[:2], s[2:]) + self_pair_loss(s, 0.7, 0.5)

    check(adc)
