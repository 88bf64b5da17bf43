"""SimCLR: its plan, its loop, resuming, the checks that follow it, and bad input."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from handful import simclr
from handful.errors import InputError, TrainingError
from handful.networks.backbones import backbone
from handful.pool import open_arrays
from handful.progress import Silent
from handful.simclr import (
    SimCLROptions,
    alignment,
    pretrain,
    rank,
    save_encoder,
    uniformity,
)
from handful.training import Images
from handful.types import Array, Pool

# eight steps: fewer, and the running means of batch norm are not there yet
QUICK = SimCLROptions(epochs=4, batch_size=16, projection=8, lr=3e-3)


class Net(nn.Module):
    """Small, with everything that a checkpoint must keep: batch norm, dropout, a bias."""

    def __init__(self, channels: int = 1, p: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(8 * 9, p)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.norm(self.conv(x)).relu(), 3)
        z: Tensor = self.out(self.drop(x.flatten(1)))
        return z


def net(seed: int = 0, make: Callable[[], nn.Module] = Net) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def patterns(n: int = 40, *, side: int = 12, channels: int = 1, seed: int = 0) -> Pool:
    """Noise under one bright bar an image: no two alike."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 60, (n, side, side, channels), dtype=np.uint8)
    for i in range(n):
        at = int(rng.integers(0, side - 3))
        (x[i, at : at + 3] if i % 2 else x[i, :, at : at + 3])[...] = 200
    return open_arrays("patterns", {"images": x}).pool


def run(
    network: nn.Module | None = None,
    pool: Pool | None = None,
    options: SimCLROptions = QUICK,
    *,
    seed: int = 0,
    **more: object,
) -> tuple[simclr.SimCLRFit, nn.Module]:
    network = network if network is not None else net()
    found = pretrain(
        network,
        pool if pool is not None else patterns(),
        options=options,
        rng=np.random.default_rng(seed),
        progress=more.pop("progress", Silent()),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
    return found, network


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in network.state_dict().items()}


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


# --- the plan --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "batch", "epochs", "warm_up", "n"),
    [("published", 512, 500, 10, 1100), ("gpu", 512, 200, 10, 1100), ("fast", 256, 150, 1, 520)],
)
def test_schedules(schedule: str, batch: int, epochs: int, warm_up: int, n: int) -> None:
    """`fast` has 20 epochs where they are 300 steps."""
    plan = simclr._plan(SimCLROptions(schedule=schedule), patterns(4, side=8), n)  # type: ignore[arg-type]
    assert (plan.batch, plan.epochs, plan.a_epoch) == (batch, epochs, 2)
    assert plan.warm_up == 2 * warm_up
    asked = simclr._plan(SimCLROptions(schedule=schedule, epochs=20), patterns(4, side=8), n)  # type: ignore[arg-type]
    assert asked.epochs == 20


def test_fast_takes_a_sample_of_a_large_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simclr.SCHEDULES["fast"].most == 10_000
    monkeypatch.setitem(simclr.SCHEDULES, "fast", simclr.SCHEDULES["fast"]._replace(most=30))
    pool = patterns(60, side=8)
    few = simclr._sample(pool, net(), SimCLROptions(), 1)
    assert len(few) == 30
    assert list(few.ids) == sorted(few.ids)
    assert list(few.ids) != list(simclr._sample(pool, net(), SimCLROptions(), 2).ids)
    assert len(simclr._sample(pool, net(), SimCLROptions(most=0), 1)) == 60
    assert len(simclr._sample(pool, net(), SimCLROptions(schedule="gpu"), 1)) == 60


def test_temperature_and_views_go_by_the_images() -> None:
    def plan(pool: Pool, **options: object) -> simclr._Plan:
        return simclr._plan(SimCLROptions(**options), pool, len(pool))  # type: ignore[arg-type]

    gray, rgb, large = patterns(4), patterns(4, channels=3), patterns(4, side=64)
    assert (plan(gray).augment, plan(gray).tau) == ("glyph", 0.2)
    assert (plan(rgb).augment, plan(rgb).tau) == ("photo", 0.5)
    assert (plan(large).augment, plan(large).tau) == ("photo", 0.5)
    assert (plan(gray, augment="object").augment, plan(gray, augment="object").tau) == (
        "object",
        0.2,
    )
    assert plan(gray, tau=0.3).tau == 0.3
    assert plan(rgb, loss="simclr-authors").tau == 0.7


def test_learning_rate_warms_up_and_falls_by_a_cosine() -> None:
    plan = simclr._Plan("photo", 8, epochs=10, warm_up=4, tau=0.5, a_epoch=2)
    rates = [plan.lr(step) for step in range(plan.steps)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[12] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx((1 + math.cos(math.pi * 15 / 16)) / 2)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    # a warm-up longer than the run ends half way
    short = simclr._plan(SimCLROptions(epochs=1, batch_size=4, warm_up=10), patterns(4), 40)
    assert short.warm_up == 5
    none = simclr._plan(SimCLROptions(epochs=1, batch_size=4, warm_up=0), patterns(4), 40)
    assert none.lr(0) == 1.0


def test_biases_norms_and_frozen_weights_do_not_decay() -> None:
    network = net()
    network.conv.requires_grad_(False)  # type: ignore[union-attr]
    model = simclr._Projected(network, 16, 8)
    decayed, free = simclr._groups(model, 1e-4)
    assert decayed["weight_decay"] == 1e-4
    assert free["weight_decay"] == 0.0
    names = {id(w): name for name, w in model.named_parameters()}
    assert {names[id(w)] for w in decayed["params"]} == {  # type: ignore[attr-defined]
        "network.out.weight",
        "head.0.weight",
        "head.3.weight",
    }
    assert {names[id(w)] for w in free["params"]} == {  # type: ignore[attr-defined]
        "network.norm.weight",
        "network.norm.bias",
        "network.out.bias",
        "head.0.bias",
        "head.1.weight",
        "head.1.bias",
    }


# --- the loop --------------------------------------------------------------------------------


def test_it_learns_and_says_how_well() -> None:
    first, _ = run()
    fit, network = run(options=replace(QUICK, epochs=30))
    assert fit.chance == pytest.approx(math.log(31))
    assert fit.loss < first.loss < fit.chance + 0.2
    assert fit.loss < fit.chance - 0.5
    assert 0 < fit.alignment < 1  # of 4
    assert fit.uniformity < first.uniformity - 1
    assert 1 < fit.rank <= 16
    assert (fit.epochs, fit.steps, fit.images, fit.passed) == (30, 60, 40, 960)
    assert fit.images_per_second == pytest.approx(960 / fit.seconds)
    assert fit.augment == "glyph"
    assert isinstance(network, Net)
    assert not equal(network, net())


def test_same_seed_same_weights_and_no_global_state() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    _, a = run(seed=3)
    torch.rand(3), np.random.default_rng().random()
    torch.manual_seed(99)
    _, b = run(seed=3)
    torch.set_rng_state(states[0])
    _, c = run(seed=4)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert equal(a, b)
    assert not equal(a, c)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_left_as_it_was(training: bool) -> None:
    network = net().train(training)
    run(network)
    assert network.training is training
    assert network.get_submodule("norm").training is training


class Ear:
    """Hears everything, and may be told to cut the run off."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.rows: list[tuple[str, int, dict[str, float]]] = []
        self.totals: list[tuple[str, int | None]] = []
        self.advanced = 0
        self.stop_after = stop_after

    def task(self, name: str, total: int | None, unit: str = "images") -> Ear:
        self.totals.append((name, total))
        return self

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, n: int = 1, **figures: float) -> None:
        self.advanced += n

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        self.rows.append((stage, step, figures))
        if self.stop_after is not None and len(self.rows) > self.stop_after:
            raise KeyboardInterrupt


def test_progress_hears_of_every_epoch_and_the_last_batch_is_dropped() -> None:
    ear = Ear()
    fit, _ = run(progress=ear)
    assert [(stage, step) for stage, step, _ in ear.rows] == [
        ("simclr", 2 * e) for e in (1, 2, 3, 4)
    ]
    assert ear.rows[-1][2]["ntxent"] == fit.loss
    assert ("SimCLR", 4 * 32) in ear.totals
    assert fit.passed == 4 * 32  # of 40


class Seen(Net):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x.clone())
        return super().forward(x)


def test_every_image_is_seen_in_two_views_of_its_own() -> None:
    pool = patterns(32)
    _, network = run(net(0, Seen), pool)
    assert isinstance(network, Seen)
    steps = [x for x in network.shown if len(x) == 32]
    assert len(steps) >= 4
    a, b = steps[0].chunk(2)
    assert not (a == b).flatten(1).all(dim=1).any()
    assert not torch.equal(steps[0], steps[2])  # another epoch, other draws


def test_the_authors_form_contrasts_plain_images_without_a_head() -> None:
    pool = patterns(32)
    options = replace(QUICK, epochs=1, loss="simclr-authors", lr=1e-4)
    _, network = run(net(0, Seen), pool, options)
    assert isinstance(network, Seen)
    step = next(x for x in network.shown if len(x) == 32)
    plain = torch.from_numpy(pool.read(np.arange(32))).float() / 255
    known = {x.numpy().tobytes() for x in plain}
    assert all(x.contiguous().numpy().tobytes() in known for x in step[:16])
    assert not any(x.contiguous().numpy().tobytes() in known for x in step[16:])
    assert isinstance(simclr._Projected(Net(), 16, None).head, nn.Identity)


def test_images_are_brought_to_the_size_asked_for() -> None:
    _, network = run(net(0, Seen), options=replace(QUICK, image_size=20))
    assert isinstance(network, Seen)
    assert {tuple(x.shape[2:]) for x in network.shown} == {(20, 20)}


def test_a_pool_that_does_not_fit_is_streamed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, a = run()
    monkeypatch.setattr(simclr, "Images", partial(Images, keep_bytes=0))
    streamed, b = run()
    assert equal(a, b)
    assert kept.loss == streamed.loss
    assert kept.uniformity == streamed.uniformity


@pytest.mark.parametrize("name", ["small", "convnext-nano"])
@pytest.mark.parametrize("channels", [1, 3])
def test_backbones_train(name: str, channels: int) -> None:
    network = backbone(name)
    before = weights(network)
    fit, _ = run(network, patterns(24, side=16, channels=channels), replace(QUICK, batch_size=8))
    assert math.isfinite(fit.loss)
    assert any(not torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_mixed_precision_on_the_cpu() -> None:
    fit, _ = run(options=replace(QUICK, precision="bf16-mixed"))
    exact, _ = run()
    assert fit.loss == pytest.approx(exact.loss, abs=0.05)


# --- resuming --------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, whole: int) -> None:
    """Cut off within the epoch behind the last whole one, its weights half way."""
    exact, a = run()
    path = tmp_path / "simclr.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, progress=Ear(stop_after=whole))
    assert path.exists() is (whole > 0)
    ear = Ear()
    fit, b = run(net(1), checkpoint=path, progress=ear)  # its first weights do not count
    if whole == 0:
        fit, b = run(checkpoint=tmp_path / "other.safetensors")
    else:
        assert len(ear.rows) == 4 - whole
    assert equal(a, b)
    assert (fit.loss, fit.alignment, fit.uniformity) == (
        exact.loss,
        exact.alignment,
        exact.uniformity,
    )
    assert not list(tmp_path.glob("*.new"))


def test_a_finished_run_is_taken_up_without_a_step(tmp_path: Path) -> None:
    path = tmp_path / "simclr.safetensors"
    exact, a = run(checkpoint=path)
    again, b = run(net(5), checkpoint=path)
    assert equal(a, b)
    assert replace(again, seconds=exact.seconds) == exact
    assert again.seconds == pytest.approx(exact.seconds, abs=0.5)  # of the training, not of now
    assert math.isnan(replace(again, seconds=0.0).images_per_second)


def test_seconds_go_on_where_a_run_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "simclr.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, progress=Ear(stop_after=2))
    with safe_open(path, framework="pt") as file:
        done = json.loads(file.metadata()["done"])
    fit, _ = run(checkpoint=path)
    assert done["epochs"] == 2
    assert 0 < done["seconds"] < fit.seconds
    assert fit.passed == 4 * 32


def test_the_encoder_alone_becomes_a_backbone_again(tmp_path: Path) -> None:
    pool, network = patterns(24, side=16), backbone("small", rng=1)
    fit, _ = run(network, pool, replace(QUICK, batch_size=8))
    path = tmp_path / "small.safetensors"
    save_encoder(network, path, fit)
    again = backbone("small", weights=str(path))
    x = torch.from_numpy(pool.read(np.arange(24)))
    with torch.inference_mode():
        assert torch.equal(again(x), network(x))
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    assert (about["backbone"], about["began_with"]) == ("small", "random")
    assert json.loads(about["simclr"])["loss"] == fit.loss


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("seed", {"seed": 1}),
        ("images", {"pool": patterns(seed=1)}),
        ("network", {"network": Net(p=8)}),
        ("options.epochs", {"options": replace(QUICK, epochs=5)}),
        ("options.lr", {"options": replace(QUICK, lr=1e-2)}),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, what: str, change: dict[str, object]
) -> None:
    path = tmp_path / "simclr.safetensors"
    run(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"another run, {what} differs"):
        run(checkpoint=path, **change)  # type: ignore[arg-type]
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"my only copy of something else", None])
def test_a_damaged_or_foreign_file_is_refused_and_kept(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "simclr.safetensors"
    if content is None:  # cut off
        run(checkpoint=path)
        content = path.read_bytes()[:-1000]
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        run(checkpoint=path)
    assert path.read_bytes() == content


def test_a_disk_that_refuses_costs_the_checkpoint_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fit, a = run(checkpoint=tmp_path / "nowhere" / "simclr.safetensors")
    assert "training goes on" in caplog.text
    exact, b = run()
    assert fit.loss == exact.loss
    assert equal(a, b)


# --- the checks ------------------------------------------------------------------------------


def test_alignment_and_uniformity_against_slow_twins() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (nn.functional.normalize(torch.randn(9, 4, generator=g)) for _ in range(2))
    near = [
        sum((float(x) - float(y)) ** 2 for x, y in zip(a[i], b[i], strict=True)) for i in range(9)
    ]
    assert alignment(a, b) == pytest.approx(sum(near) / 9, rel=1e-5)
    far = [
        math.exp(-2 * sum((float(x) - float(y)) ** 2 for x, y in zip(a[i], a[j], strict=True)))
        for i in range(9)
        for j in range(i)
    ]
    assert uniformity(a) == pytest.approx(math.log(sum(far) / 36), rel=1e-5)
    assert uniformity(a[:1].expand(5, 4)) == pytest.approx(0.0, abs=1e-6)
    # two opposite points: |u - v|^2 = 4
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)


def test_rank_counts_directions() -> None:
    g = torch.Generator().manual_seed(0)
    basis = torch.randn(3, 20, generator=g)
    h = torch.randn(50, 3, generator=g) @ basis + 7.0
    assert rank(h) == 3
    assert rank(torch.randn(50, 20, generator=g)) == 20
    assert rank(torch.ones(50, 20)) == 0
    assert rank(h + 1e-6 * torch.randn(50, 20, generator=g)) == 3


class Still(Net):
    """Gives every image the same vector."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(torch.ones(len(x), 72)) + 0 * self.conv(x).mean()
        return z


def test_a_collapse_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(TrainingError, match=r"collapsed: all images lie on one point .* lower lr"):
        run(net(0, Still))


def test_constant_images_collapse() -> None:
    same = open_arrays("plain", {"images": np.full((40, 12, 12), 99, dtype=np.uint8)}).pool
    with pytest.raises(TrainingError, match="check that the images differ"):
        run(pool=same)


def test_a_loss_that_beats_nothing_is_an_error() -> None:
    fit, _ = run()
    bad = replace(fit, loss=fit.chance)
    with pytest.raises(TrainingError, match="learnt nothing"):
        simclr._judge(bad, QUICK)
    simclr._judge(bad, replace(QUICK, loss="simclr-authors"))  # it has no such bound


def test_few_directions_are_said(caplog: pytest.LogCaptureFixture) -> None:
    fit, _ = run()
    with caplog.at_level(logging.WARNING):
        simclr._judge(replace(fit, rank=11), QUICK)
        assert not caplog.text
        simclr._judge(replace(fit, rank=3), QUICK)
    assert "in 3 directions only" in caplog.text


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    network = net()
    with torch.no_grad():
        network.get_submodule("out").bias.fill_(math.nan)  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match=r"NT-Xent.*of SimCLR"):
        run(network)


# --- bad input -------------------------------------------------------------------------------


def test_many_repeats_are_said(caplog: pytest.LogCaptureFixture) -> None:
    pixels = patterns(40).read(np.arange(40)).transpose(0, 2, 3, 1)
    twice = open_arrays("twice", {"images": np.concatenate([pixels, pixels[:4]])}).pool
    few = open_arrays("few", {"images": np.concatenate([pixels, pixels[:1]])}).pool
    with caplog.at_level(logging.WARNING):
        run(pool=few)
        assert not caplog.text
        run(pool=twice)
    assert "4 of 44 images are exact repeats" in caplog.text


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    fit, _ = run(pool=patterns(10), options=replace(QUICK, epochs=20))
    assert (fit.steps, fit.passed) == (20, 200)
    assert fit.chance == pytest.approx(math.log(19))


def test_one_image_has_nothing_to_learn_from() -> None:
    with pytest.raises(InputError, match="two images at least and found 1"):
        run(pool=patterns(1))
    with pytest.raises(InputError, match="two images a batch"):
        run(options=replace(QUICK, batch_size=1))


def test_ready_features_are_refused() -> None:
    pool = open_arrays("rows", {"features": np.ones((9, 3), dtype=np.float32)}).pool
    with pytest.raises(InputError, match="needs images"):
        run(pool=pool)


def test_a_frozen_encoder_and_one_of_another_form_are_refused() -> None:
    with pytest.raises(InputError, match="frozen"):
        run(net().requires_grad_(False))
    with pytest.raises(InputError, match=r"must give \(2, p\)"):
        run(nn.Conv2d(1, 4, 3))


def test_images_that_cannot_be_read_stay_out() -> None:
    class Torn:
        """A pool whose third image turned out to be broken."""

        def __init__(self, pool: Pool) -> None:
            self.pool, self.broken = pool, {2: "cut off"}

        def __getattr__(self, name: str) -> object:
            return getattr(self.pool, name)

        def __len__(self) -> int:
            return len(self.pool)

    torn = Torn(patterns(18))
    assert [*simclr._readable(torn)] == [row for row in range(18) if row != 2]  # type: ignore[arg-type]
    fit, _ = run(pool=torn, options=replace(QUICK, batch_size=4))  # type: ignore[arg-type]
    assert (fit.images, fit.steps) == (17, 16)
