"""The leaves of training: batches, images kept and streamed, seeds, guards, pre-training."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from handful.errors import InputError, TrainingError
from handful.latent import AutoEncoderOptions, LatentSpace, by_class
from handful.learners.ccl import CCL, CCLOptions
from handful.networks.cae import CAE
from handful.pool import FeaturePool, open_arrays
from handful.progress import Silent
from handful.rng import rng_for
from handful.training import (
    Images,
    Meter,
    batches,
    check_finite,
    cycle,
    ema,
    embed,
    fabric,
    load_weights,
    pretrain_autoencoder,
    seeded,
    torch_generator,
    weights_of,
)
from handful.types import Array, Classes, Pool, RowIds, View


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def pool_of(n: int = 50, channels: int = 1) -> Pool:
    shape = (n, 8, 9) if channels == 1 else (n, 8, 9, channels)
    pixels = rng().integers(0, 256, shape, dtype=np.uint8)
    pool: Pool = open_arrays("noise", {"images": pixels}).pool
    return pool


@pytest.mark.parametrize(("n", "size"), [(10, 4), (9, 4), (1, 4), (4, 4), (5, 1), (0, 4)])
def test_an_epoch_sees_every_row_once(n: int, size: int) -> None:
    epoch = list(batches(n, size, rng()))
    assert sorted(np.concatenate([*epoch, np.empty(0, int)])) == list(range(n))
    # a last batch of one image joins the one before: batch-norm cannot train on it
    assert all(len(rows) > 1 for rows in epoch) or n == 1 or size == 1


def test_batches_of_given_rows_in_order_or_shuffled() -> None:
    rows = np.array([7, 3, 9, 1, 5])
    assert [b.tolist() for b in batches(rows, 2, rng(), shuffle=False)] == [[7, 3], [9, 1, 5]]
    shuffled = np.concatenate(list(batches(rows, 2, rng())))
    assert sorted(shuffled) == sorted(rows)
    assert np.array_equal(shuffled, np.concatenate(list(batches(rows, 2, rng()))))


def test_a_cycle_uses_all_rows_before_it_repeats_one() -> None:
    stream = cycle(np.arange(10), 3, rng())
    first = np.concatenate([next(stream) for _ in range(3)])
    assert len(np.unique(first)) == 9
    counts = np.bincount(np.concatenate([first, *(next(stream) for _ in range(97))]))
    assert counts.max() - counts.min() <= 1
    assert len(next(cycle(np.arange(2), 128, rng()))) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_streamed_images_equal_kept_ones(channels: int) -> None:
    pool = pool_of(channels=channels)
    kept, streamed = Images(pool), Images(pool, keep_bytes=10)
    assert (kept.kept, streamed.kept) == (True, False)
    a = list(kept.stream(batches(50, 16, rng())))
    b = list(streamed.stream(batches(50, 16, rng())))
    assert len(a) == len(b) == 4
    for (rows, x), (same, y) in zip(a, b, strict=True):
        assert np.array_equal(rows, same)
        assert torch.equal(x, y)
    expected = torch.from_numpy(pool.read(np.array([4, 2]))).float() / 255
    assert torch.equal(kept.float(np.array([4, 2])), expected)
    assert torch.equal(streamed.float(np.array([4, 2])), expected)


def test_features_come_as_they_are_kept_or_not() -> None:
    features = rng().normal(size=(20, 5)).astype(np.float32)
    pool = FeaturePool(features.copy(), RowIds(20))
    for keep in (1 << 20, 10):
        images = Images(pool, keep_bytes=keep)
        assert torch.equal(images.float(np.array([3, 1])), torch.from_numpy(features[[3, 1]]))


def test_an_error_in_the_reading_thread_reaches_the_one_that_trains() -> None:
    class Failing:
        def __init__(self) -> None:
            self.ids, self.channels, self.size = RowIds(50), 1, (8, 9)
            self.features, self.broken = None, {}

        def __len__(self) -> int:
            return 50

        def read(self, rows: Array, size: tuple[int, int] | None = None) -> Array:
            if 20 in rows:
                raise OSError("the disk is gone")
            return np.zeros((len(rows), 1, 8, 9), dtype=np.uint8)

    images = Images(Failing(), keep_bytes=10)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="the disk is gone"):
        list(images.stream(batches(50, 10, rng(), shuffle=False)))


def test_a_stream_that_is_left_early_leaves_no_thread() -> None:
    before = threading.active_count()
    for _ in Images(pool_of(), keep_bytes=10).stream(batches(50, 2, rng())):
        break
    assert threading.active_count() == before


def test_embedding_restores_the_mode_and_needs_no_gradient() -> None:
    images = Images(pool_of())
    with seeded(rng()):
        network = CAE(1, (8, 9), filters=(2, 2, 2), embedding_dim=3)
    for training in (True, False):
        network.train(training)
        z = embed(network.encode, images, network=network)
        assert network.training is training
        assert z.shape == (50, 3)
        assert not z.requires_grad
    (z.sum() * torch.ones((), requires_grad=True)).backward()  # usable as a constant
    some = embed(network.encode, images, np.array([5, 2]), network=network)
    torch.testing.assert_close(some, z[[5, 2]], atol=1e-6, rtol=1e-5)


def test_seeding_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    with seeded(rng()):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    with seeded(rng()):
        assert torch.equal(torch.rand(3), first)
    torch.set_rng_state(before)
    a, b = torch_generator(rng()), torch_generator(rng())
    assert torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b))


def test_a_loss_that_is_not_finite_names_itself_and_the_remedy() -> None:
    check_finite({"rec": torch.tensor(1.0)}, stage="round 2", step=7, lr=0.1)
    with pytest.raises(TrainingError, match=r"'ccl' became nan at step 7 of round 2: lower"):
        check_finite({"ccl": torch.tensor(float("nan"))}, stage="round 2", step=7, lr=0.1)
    with pytest.raises(TrainingError, match=r"'clu' became inf .* \(now 0.1\)"):
        check_finite({"clu": torch.tensor(torch.inf)}, stage="round 2", step=7, lr=0.1)


def test_a_meter_means_a_window_and_counts_everything() -> None:
    meter = Meter()
    meter.add(3, {"a": torch.tensor(1.0)})
    meter.add(4, {"a": torch.tensor(3.0)})
    assert (meter.means(), meter.images) == ({"a": 2.0}, 7)
    meter.restart()
    meter.add(1, {"a": torch.tensor(5.0)})
    assert (meter.means(), meter.images) == ({"a": 5.0}, 8)
    assert meter.seconds > 0


def test_a_moving_average_of_a_network() -> None:
    a, b = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        b.weight.fill_(3.0)
        b.running_mean.fill_(7.0)  # type: ignore[union-attr]
    ema(a, b, decay=0.75)
    assert torch.equal(a.weight, torch.full((2,), 1.5))
    assert torch.equal(a.running_mean, b.running_mean)  # type: ignore[arg-type]


def test_weights_travel_as_arrays_and_refuse_another_network() -> None:
    with seeded(rng()):
        a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(b, {**weights_of(a, "mine."), "other": np.zeros(1)}, "mine.")
    assert torch.equal(a.weight, b.weight)
    with pytest.raises(InputError, match="another network"):
        load_weights(nn.Linear(4, 2), weights_of(a))


def test_pretraining_lowers_the_error_and_counts_images() -> None:
    images = Images(pool_of(64))
    with seeded(rng()):
        network = CAE(1, (8, 9), embedding_dim=32)

    def train(**options: Any) -> dict[str, float]:
        return pretrain_autoencoder(
            network, images, rng=rng(), progress=Silent(), batch_size=16, **options
        )

    first, later = train(epochs=1), train(epochs=15)
    assert first["images"] == 64
    assert later["images"] == 15 * 64
    assert later["mse"] < 0.7 * first["mse"]
    pixels = images.float(np.arange(64))
    assert later["variance"] == pytest.approx(float((pixels - pixels.mean(0)).square().mean()))
    assert train(epochs=50, steps=8)["images"] == 2 * 64  # steps end it first, whole epochs


def test_a_nearly_dead_autoencoder_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with seeded(rng()):
        network = CAE(1, (8, 9), filters=(2, 2, 2), embedding_dim=1)
    with caplog.at_level(logging.WARNING):
        pretrain_autoencoder(
            network, Images(pool_of()), epochs=1, rng=rng(), progress=Silent(), lr=1e-9
        )
    assert "nearly dead" in caplog.text


def test_bfloat16_trains_to_much_the_same(recwarn: pytest.WarningsRecorder) -> None:
    pool = pool_of(64)
    found = []
    for precision in ("32-true", "bf16-mixed"):
        options = AutoEncoderOptions(
            pretrain_epochs=10, batch_size=16, embedding_dim=8, precision=precision
        )
        space = LatentSpace(options)
        space.attach(pool)
        space.pretrain(rng(), Silent())
        x = space.network.decode(space.network.encode(space.images.float(np.arange(64))))
        found.append(float((x - space.images.float(np.arange(64))).square().mean().detach()))
    assert found[1] == pytest.approx(found[0], rel=0.1)
    assert not recwarn.list


def test_the_device_is_one_that_torch_sees() -> None:
    expected = "cuda" if torch.cuda.is_available() else fabric().device.type
    assert fabric().device.type == expected


def test_clusters_are_summed_by_class() -> None:
    q = np.array([[0.1, 0.2, 0.7]], dtype=np.float32)
    np.testing.assert_allclose(by_class(q, np.array([1, 0, 1]), 2), [[0.2, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(by_class(q, np.array([1, 0, -1]), 4), [[0.25] * 4])


def test_ccl_on_a_stream_equals_ccl_on_kept_images(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, known = pool_of(60), np.full(60, -1)
    known[:6] = [0, 1, 0, 1, 0, 1]
    view, found = View(pool, known, Classes(("a", "b"))), []
    for keep in (1 << 30, 10):
        monkeypatch.setattr(Images.__init__, "__kwdefaults__", {
            **(Images.__init__.__kwdefaults__ or {}), "keep_bytes": keep,
        })  # fmt: skip
        learner = CCL(CCLOptions(pretrain_epochs=1, epochs=1, batch_size=16, filters=(4, 4, 4)))
        learner.fit(view, rng_for(0, 0, "fit"), Silent())
        assert learner.space.images.kept is (keep > 10)
        found.append(learner.snapshot(view, frozenset({"proba"})).proba)
    np.testing.assert_array_equal(found[0], found[1])


def test_the_device_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner asks for it at every step, and a fabric takes 30 ms to make."""
    from handful import training

    training.device_for.cache_clear()
    assert training.device_for() == training.fabric().device

    def again(*_: object) -> None:
        raise AssertionError("a second fabric")

    monkeypatch.setattr(training, "Fabric", again)
    assert training.device_for() == torch.device("cpu") or torch.cuda.is_available()
