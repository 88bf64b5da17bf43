"""NT-Xent against its worked numbers, a slow twin and its limits."""

from __future__ import annotations

import math

import pytest
import torch

from handful.errors import InputError
from handful.losses.ntxent import ntxent, ntxent_terms, simclr_authors

A = torch.tensor([[1.0, 0.2], [-0.3, 0.9], [0.4, -0.8]], dtype=torch.float64)
B = torch.tensor([[0.8, -0.1], [-0.6, 0.5], [0.9, -0.7]], dtype=torch.float64)


def slow(
    a: torch.Tensor, b: torch.Tensor, tau: float, *, normalise: bool = True, symmetric: bool = True
) -> list[float]:
    """Anchor by anchor, pair by pair, as it is printed."""
    rows = [r.tolist() for r in torch.cat([a, b])]
    if normalise:
        rows = [[v / max(math.hypot(*r), 1e-12) for v in r] for r in rows]
    n = len(a)

    def s(i: int, j: int) -> float:
        return sum(x * y for x, y in zip(rows[i], rows[j], strict=True)) / tau

    return [
        math.log(sum(math.exp(s(i, j)) for j in range(2 * n) if j != i)) - s(i, (i + n) % (2 * n))
        for i in range(2 * n if symmetric else n)
    ]


def test_worked_terms() -> None:
    terms = ntxent_terms(A, B, tau=0.5)
    known = [0.676928, 0.246313, 0.602563, 0.868099, 0.130940, 0.947750]
    torch.testing.assert_close(terms, torch.tensor(known).double(), atol=5e-7, rtol=0)
    assert float(ntxent(A, B, tau=0.5)) == pytest.approx(0.578765, abs=5e-7)


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"tau": 0.1}, 0.165419),
        ({"tau": 0.2}, 0.293405),
        ({"tau": 0.7}, 0.731670),
        ({"tau": 1.0}, 0.905269),
        ({"tau": 0.5, "symmetric": False}, 0.508601),
        ({"tau": 0.5, "normalise": False}, 0.673670),
    ],
)
def test_worked_forms(options: dict[str, float], known: float) -> None:
    value = float(ntxent(A, B, **options))  # type: ignore[arg-type]
    assert value == pytest.approx(known, abs=5e-7)
    twin = slow(A, B, **options)  # type: ignore[arg-type]
    assert value == pytest.approx(sum(twin) / len(twin), abs=1e-12)


def test_worked_form_of_the_authors() -> None:
    assert float(simclr_authors(A, B)) == pytest.approx(0.791351, abs=5e-7)
    # the gradient of an anchor has a part along z: nothing was normalised
    a = A.clone().requires_grad_()
    simclr_authors(a, B).backward()
    assert (a.grad * A).sum(1).abs().min() > 1e-3


def test_wrong_forms_do_not_appear() -> None:
    """1.116457 counts the anchor itself, 0.332081 the other view alone."""
    for normalise in (True, False):
        for symmetric in (True, False):
            value = float(ntxent(A, B, tau=0.5, normalise=normalise, symmetric=symmetric))
            assert abs(value - 1.116457) > 1e-3
            assert abs(value - 0.332081) > 1e-3


def test_worked_gradient() -> None:
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    ntxent(a, b, tau=0.5).backward()
    known = torch.tensor([[0.006553, -0.032765], [-0.032716, -0.039259]]).double()
    torch.testing.assert_close(torch.stack([a.grad[0], b.grad[1]]), known, atol=5e-7, rtol=0)
    for z, gradient in ((A, a.grad), (B, b.grad)):
        torch.testing.assert_close(
            (z * gradient).sum(1), torch.zeros(3).double(), atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_twin_and_gradient_on_random_views(normalise: bool, symmetric: bool) -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(7, 5, generator=g, dtype=torch.float64)
    b = torch.randn(7, 5, generator=g, dtype=torch.float64)
    terms = ntxent_terms(a, b, tau=0.3, normalise=normalise, symmetric=symmetric)
    twin = slow(a, b, 0.3, normalise=normalise, symmetric=symmetric)
    torch.testing.assert_close(
        terms, torch.tensor(twin, dtype=torch.float64), atol=1e-12, rtol=1e-12
    )
    assert torch.autograd.gradcheck(
        lambda x, y: ntxent(x, y, tau=0.3, normalise=normalise, symmetric=symmetric),
        (a.requires_grad_(), b.requires_grad_()),
    )


def test_swapping_the_views_changes_nothing() -> None:
    torch.testing.assert_close(ntxent(A, B), ntxent(B, A))


@pytest.mark.parametrize("n", [2, 3, 50])
def test_one_point_gives_the_value_to_beat(n: int) -> None:
    same = torch.ones(n, 4)
    assert float(ntxent(same, same, tau=0.1)) == pytest.approx(math.log(2 * n - 1), abs=1e-5)


def test_a_zero_vector_is_similar_to_nothing() -> None:
    a, b = A.float(), B.float()
    a[1] = 0
    a.requires_grad_()
    loss = ntxent(a, b, tau=0.5)
    assert loss.item() == pytest.approx(sum(slow(a.detach(), b, 0.5)) / 6, abs=1e-6)
    assert ntxent_terms(a, b)[1].item() == pytest.approx(math.log(5))
    loss.backward()
    assert torch.isfinite(a.grad).all()


def test_large_similarities_stay_finite() -> None:
    loss = ntxent(A * 1e4, B * 1e4, tau=0.01, normalise=False)
    assert torch.isfinite(loss)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_similarities_are_float32_under_mixed_precision(half: torch.dtype) -> None:
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 32, 16, generator=g).to(half)
    exact = ntxent(a.double(), b.double(), tau=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ntxent(a, b, tau=0.1)
        plain = ntxent(a.float(), b.float(), tau=0.1)
    assert loss.dtype == plain.dtype == torch.float32
    # a bfloat16 product would be off by 1e-2
    assert float(loss) == pytest.approx(float(exact), abs=1e-5)
    assert float(plain) == pytest.approx(float(exact), abs=1e-5)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="two images"):
        ntxent(A[:1], B[:1])
    with pytest.raises(InputError, match="same images"):
        ntxent(A, B[:2])
