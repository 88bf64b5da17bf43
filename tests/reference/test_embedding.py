"""The embedding layer: distances kept at the start, unit length, a head that grows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from handful.networks import embedding
from handful.networks.embedding import EmbeddedClassifier, Embedding, isometry
from handful.training import seeded


def squared(x: np.ndarray) -> np.ndarray:
    return np.square(x[:, None] - x[None]).sum(axis=2)


def rows(n: int, p: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, p)) * np.linspace(3, 0.3, p) + 7).astype(np.float32)


def test_a_wide_enough_layer_keeps_every_distance() -> None:
    x = rows(30, 6)
    W, mean = isometry(x, 9, np.random.default_rng(0))
    assert W.shape == (9, 6)
    assert np.allclose(mean, x.mean(axis=0, dtype=np.float64))
    assert np.allclose(squared((x - mean) @ W.T), squared(x.astype(np.float64)), rtol=1e-9)
    assert not np.allclose(W, isometry(x, 9, np.random.default_rng(1))[0])


def test_a_narrow_layer_is_the_principal_basis() -> None:
    x = rows(80, 12)
    W, _ = isometry(x, 5, np.random.default_rng(0))
    theirs = PCA(5, svd_solver="full").fit(x.astype(np.float64)).components_
    assert np.allclose(np.abs(np.sum(W * theirs, axis=1)), 1, atol=1e-5)
    assert np.allclose(W @ W.T, np.eye(5), atol=1e-9)
    assert (W[np.arange(5), np.abs(W).argmax(axis=1)] > 0).all()
    again = isometry(x, 5, np.random.default_rng(7))[0]
    assert np.array_equal(W, again), "nothing is drawn here"


def test_very_wide_rows_go_by_subspace_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(60, 40)
    exact = isometry(x, 4, np.random.default_rng(0))[0]
    monkeypatch.setattr(embedding, "EXACT_WIDTH", 10)
    close = isometry(x, 4, np.random.default_rng(0))[0]
    assert np.allclose(close @ close.T, np.eye(4), atol=1e-9)
    kept = [np.square((x - x.mean(axis=0)) @ W.T).sum() for W in (exact, close)]
    assert kept[1] > 0.99 * kept[0]


def test_fewer_images_than_directions_and_none_at_all() -> None:
    x = rows(3, 8)
    W = isometry(x, 5, np.random.default_rng(0))[0]
    assert np.allclose(W @ W.T, np.eye(5), atol=1e-6)
    assert np.allclose(squared(x @ W.T), squared(x), atol=1e-2)
    W, mean = isometry(x[:0], 2, np.random.default_rng(0))
    assert np.isfinite(W).all()
    assert not mean.any()


def test_unit_length_of_the_worked_example() -> None:
    layer = Embedding(2, 2, norm="l2")
    with torch.no_grad():
        layer.linear.weight.copy_(torch.eye(2))
        layer.linear.bias.zero_()
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    z = layer(x).detach().numpy()
    assert z == pytest.approx(np.array([[0.6, 0.8], [1, 0], [0, 0]]), abs=1e-6)
    assert squared(x.numpy())[0, 1] == 20
    assert squared(z)[0, 1] == pytest.approx(0.8, abs=1e-6)


def test_started_layer_maps_the_mean_to_zero() -> None:
    x, layer = rows(40, 6), Embedding(6, 4)
    layer.start(x, np.random.default_rng(0))
    z = layer(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(z.mean(axis=0), 0, atol=1e-5)


def made(**options: str) -> EmbeddedClassifier:
    with seeded(np.random.default_rng(0)):
        return EmbeddedClassifier(torch.nn.Identity(), 6, 400, 3, **options)  # type: ignore[arg-type]


def test_first_weights_of_the_head_have_variance_one_over_m() -> None:
    last = made().last
    assert float(last.weight.detach().var()) == pytest.approx(1 / 400, rel=0.1)
    assert not last.bias.detach().any()


def test_the_head_grows_and_keeps_its_rows() -> None:
    net = made()
    before = net.last.weight.detach().clone()
    with seeded(np.random.default_rng(1)):
        net.grow(2)  # never shrinks
        net.grow(5)
    assert net.last.weight.shape == (5, 400)
    assert torch.equal(net.last.weight[:3], before)
    assert net.last.weight[3:].detach().abs().sum() > 0


def test_logits_are_of_the_rows_with_a_class_alone() -> None:
    net, x = made(), torch.from_numpy(rows(7, 6))
    z, logits = net(x, 4)
    assert z.shape == (7, 400)
    assert torch.equal(logits, net.logits(z[4:]))
    assert net(x, 7)[1].shape == (0, 3)


def test_batch_norm_before_the_head_survives_one_image() -> None:
    net, x = made(head="relu-bn-linear").train(), torch.from_numpy(rows(5, 6))
    before = net.before[1].running_mean.clone()
    net(x, 4)
    assert torch.equal(net.before[1].running_mean, before), "one image is no statistic"
    net(x, 1)
    assert not torch.equal(net.before[1].running_mean, before)
