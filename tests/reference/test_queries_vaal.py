"""VAAL: the losses by hand, the game, and whether it finds a kind of image that has no label."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from handful.errors import InputError, MissingPart, RecipeError, TrainingError
from handful.losses import adversarial
from handful.losses.adversarial import (
    active_latents,
    adversarial_loss,
    discriminator_loss,
    kl_divergence,
    squared_error,
    vae_loss,
)
from handful.networks.vae import MLPVAE, VAE, Discriminator, vae_for
from handful.queries_learned import VAAL
from handful.registry import top_k
from handful.rng import rng_for
from handful.testing.randomness import global_states_untouched
from handful.types import Snapshot

X = torch.tensor([[0, 0.5, 1, 0.25], [1, 1, 0, 0]])
X_HAT = torch.tensor([[0.1, 0.5, 0.8, 0], [0.5, 1, 0, 0.3]])
MU = torch.tensor([[0.5, -1, 0], [0.2, 0, 1.5]])
LOGVAR = torch.tensor([[0, -0.5, 0.2], [-1, 0.3, 0]])
LITTLE: dict[str, Any] = {"network": "mlp", "steps": 3, "latent": 4, "hidden": 8}


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a, dtype=float), b, atol=5.1e-7)


# --- losses ---------------------------------------------------------------------------------


def test_worked_numbers_of_the_losses() -> None:
    close(kl_divergence(MU, LOGVAR), [0.688967, 1.353869])
    close(squared_error(X, X_HAT), [0.056250, 0.170000])
    both = X, X_HAT, MU, LOGVAR
    close(vae_loss(*both, beta=1), 1.134543)
    close(vae_loss(*both, beta=0.1), 0.215267)
    close(vae_loss(*both, beta=1, reduction="released"), 2.099398)


def test_released_is_the_resolved_loss_with_another_beta() -> None:
    b, d = X.shape
    twin = 2 / d * vae_loss(X, X_HAT, MU, LOGVAR, beta=b * d / 2)
    close(vae_loss(X, X_HAT, MU, LOGVAR, beta=1, reduction="released"), float(twin))


def test_the_weight_of_the_kl_does_not_grow_with_the_batch() -> None:
    """The released code's fault: twice the images, twice the KL against the same square."""
    twice = [torch.cat([t, t]) for t in (X, X_HAT, MU, LOGVAR)]
    close(vae_loss(*twice, beta=1), float(vae_loss(X, X_HAT, MU, LOGVAR, beta=1)))
    once = vae_loss(X, X_HAT, MU, LOGVAR, beta=1, reduction="released")
    assert float(vae_loss(*twice, beta=1, reduction="released")) > 1.9 * float(once)


def test_worked_numbers_of_the_game() -> None:
    labelled, unlabelled = (torch.tensor(p).logit() for p in ([0.7, 0.6], [0.4, 0.8]))
    close(discriminator_loss(labelled, unlabelled), 1.493882)
    close(adversarial_loss(labelled, unlabelled), 1.003467)
    d = torch.tensor([0.4, 0.8, 0.1, 0.4]).logit().numpy()
    order = top_k(-d, 4, rng_for(0, 0, "query"), ties="index")
    assert order.tolist() == [2, 0, 3, 1]


def test_slow_twins() -> None:
    draws = torch.Generator().manual_seed(3)
    x, x_hat = (torch.randn(5, 2, 3, 4, generator=draws) for _ in range(2))
    mu, logvar = (torch.randn(5, 7, generator=draws) for _ in range(2))
    a, b, t = (torch.rand(n, generator=draws) for n in (5, 6, 6))
    total = 0.0
    for i in range(5):
        prior = torch.distributions.Normal(torch.zeros(7), torch.ones(7))
        code = torch.distributions.Normal(mu[i], torch.exp(logvar[i] / 2))
        kl = float(torch.distributions.kl_divergence(code, prior).sum())
        rec = sum(
            float((p - q) ** 2) / 2 for p, q in zip(x[i].ravel(), x_hat[i].ravel(), strict=True)
        )
        total += rec + 0.3 * kl
    np.testing.assert_allclose(vae_loss(x, x_hat, mu, logvar, beta=0.3), total / 5, rtol=1e-5)
    log = np.log
    seen = np.mean([-log(p) for p in a.tolist()])
    pairs = zip(b.tolist(), t.tolist(), strict=True)
    soft = np.mean([-(w * log(p) + (1 - w) * log(1 - p)) for p, w in pairs])
    np.testing.assert_allclose(discriminator_loss(a.logit(), b.logit(), t), seen + soft, rtol=1e-5)
    hidden = seen + np.mean([-log(p) for p in b.tolist()])
    np.testing.assert_allclose(adversarial_loss(a.logit(), b.logit()), hidden, rtol=1e-5)


def test_active_latents() -> None:
    mu = torch.tensor([[0.0, 5, 1], [0.1, 5, -1], [0.0, 5, 1]])
    assert active_latents(mu) == 1
    assert active_latents(mu, least=1e-3) == 2
    assert active_latents(mu[:1]) == 0


# --- networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 13, 20), (1, 28, 28)])
def test_the_convolutional_auto_encoder(shape: tuple[int, int, int]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = vae_for(shape, latent=6, decoded=2, filters=(4, 5, 6))
        assert isinstance(vae, VAE)
        x = torch.rand(3, *shape)
        out = vae(x)
    assert out.x_hat.shape == x.shape
    assert out.mu.shape == out.logvar.shape == out.z.shape == (3, 6)
    first, others = out.split(1)
    assert len(first.x_hat) == 1
    assert torch.equal(others.z, out.z[1:])
    with torch.no_grad():
        again = vae.trunk.decode(out.z[:, :2])
    torch.testing.assert_close(again, out.x_hat, rtol=1e-3, atol=1e-3)


def test_the_mlp_takes_vectors_and_small_images() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for shape in ((7,), (2, 5, 3)):
            vae = vae_for(shape, latent=4)
            assert isinstance(vae, MLPVAE)
            x = torch.rand(2, *shape)
            out = vae(x)
            assert out.x_hat.shape == x.shape
            torch.testing.assert_close(vae.encode(x)[0], out.mu)
        assert Discriminator(4, hidden=5, layers=4)(out.mu).shape == (2,)
        assert sum(isinstance(m, torch.nn.Linear) for m in Discriminator(4, layers=4).body) == 5
        with pytest.raises(InputError, match="8x8 or more"):
            vae_for((1, 7, 9), network="conv")


def test_z_is_drawn_around_the_mean_with_the_deviation_of_the_code() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = vae_for((3,), latent=2)
        with torch.no_grad():
            out = vae(torch.ones(20_000, 3))
        scaled = (out.z - out.mu) / torch.exp(out.logvar / 2)
    assert abs(float(scaled.mean())) < 0.02
    assert abs(float(scaled.std()) - 1) < 0.02


# --- the game -------------------------------------------------------------------------------


def bars(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise, and one bright bar of 3 x 12 pixels in one of four places: (n, 1, 16, 16) uint8."""
    x = rng.normal(0, 0.1, (len(rows), 16, 16))
    for image, row in zip(x, rows, strict=True):
        image[4 * row : 4 * row + 3, 2:14] += 0.8
    return (x.clip(0, 1) * 255).round().astype(np.uint8)[:, None]


def without_the_last_bar(seed: int) -> tuple[Snapshot, np.ndarray]:
    """50 labelled images of each of three bars, 100 open ones of each of four."""
    rng = np.random.default_rng(seed)
    where = np.concatenate([np.repeat(np.arange(3), 50), np.repeat(np.arange(4), 100)])
    known = np.where(np.arange(len(where)) < 150, where, -1)
    return Snapshot.from_arrays(known=known, images=bars(where, rng)), where


BARS: dict[str, Any] = {"network": "mlp", "latent": 16, "hidden": 128, "steps": 200}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_bar_that_nobody_labelled_is_asked_first(seed: int) -> None:
    snapshot, where = without_the_last_bar(seed)
    picks = VAAL(**BARS).select(snapshot, 50, rng_for(seed, 0, "query"))
    assert (where[picks.rows] == 3).mean() >= 0.8
    said = picks.memo["vaal"]
    assert said["kl"] > 10
    assert said["active"] >= 8
    assert said["mse"] < 0.02
    assert 0.9 < said["loss_d"] < 1.35


def test_the_released_reduction_collapses(caplog: pytest.LogCaptureFixture) -> None:
    """If this starts to find the bar, the switch no longer does what it says."""
    snapshot, where = without_the_last_bar(0)
    rule = VAAL(**BARS, beta=1.0, reduction="released")
    with caplog.at_level(logging.WARNING):
        picks = rule.select(snapshot, 50, rng_for(0, 0, "query"))
    assert (where[picks.rows] == 3).mean() < 0.5
    said = picks.memo["vaal"]
    assert said["loss_d"] > 1.35
    assert said["kl"] < 0.5
    assert said["active"] == 0
    assert "the code is collapsed" in caplog.text
    assert "lower beta, now 1" in caplog.text


@pytest.mark.slow
def test_digits_that_nobody_labelled_are_asked_first() -> None:
    """300 labelled digits 0-7; 8 and 9 are .236 of the pool.  Mean of three seeds."""
    from sklearn.datasets import load_digits
    from sklearn.metrics import roc_auc_score

    digits = load_digits()
    images = (digits.images / 16 * 255).round().astype(np.uint8)[:, None]
    known_ones = np.flatnonzero(digits.target < 8)
    aucs, hits = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        known = np.full(len(images), -1)
        labelled = rng.choice(known_ones, 300, replace=False)
        known[labelled] = digits.target[labelled]
        rule = VAAL(network="mlp", latent=16, hidden=128)
        snapshot = Snapshot.from_arrays(known=known, images=images)
        free = np.flatnonzero(snapshot.open)
        picks = rule.select(snapshot, len(free) - 1, rng)
        missing = digits.target[picks.rows] >= 8
        aucs.append(roc_auc_score(missing, -np.arange(len(missing))))
        hits.append(missing[:100].mean())
    assert np.mean(aucs) >= 0.75
    assert np.mean(hits) >= 0.6


def made(n: int = 20, *, labelled: int = 6, seed: int = 0, **parts: Any) -> Snapshot:
    images = rng_for(seed, 0, "images").integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    known = np.where(np.arange(n) < labelled, np.arange(n) % 3, -1)
    return Snapshot.from_arrays(known=known, **{"images": images, **parts})


@pytest.mark.parametrize("option", [{"network": "conv"}, {"bn": "separate", "network": "conv"}, {}])
def test_same_seed_same_picks_and_torch_is_left_alone(option: dict[str, Any]) -> None:
    rule = VAAL(**{**LITTLE, "filters": (2, 3, 4), **option})
    found = []
    for seed in (0, 1):
        with global_states_untouched(seed):
            found.append(rule.select(made(), 5, rng_for(7, 0, "query")))
    assert found[0].ids == found[1].ids
    assert found[0].memo == found[1].memo


def test_class_labels_do_not_enter() -> None:
    plain = made()
    other = made()
    shuffled = np.where(plain.known >= 0, 2 - plain.known, -1)
    relabelled = Snapshot.from_arrays(known=shuffled, images=other.images(np.arange(20)))
    rule = VAAL(**LITTLE)
    assert (
        rule.select(plain, 5, rng_for(0, 0, "q")).ids
        == rule.select(relabelled, 5, rng_for(0, 0, "q")).ids
    )


def test_hiding_teaches_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other code hands over detached codes in this step: then nobody hides from anybody."""
    seen: list[tuple[str, bool]] = []

    def watch(name: str) -> None:
        loss = getattr(adversarial, name)

        def watched(labelled: torch.Tensor, unlabelled: torch.Tensor) -> torch.Tensor:
            # D stands still in the first of them: a gradient can come from the encoder alone
            seen.append((name, labelled.requires_grad and unlabelled.requires_grad))
            return loss(labelled, unlabelled)

        monkeypatch.setattr(adversarial, name, watched)

    watch("adversarial_loss")
    watch("discriminator_loss")
    VAAL(**{**LITTLE, "steps": 2}).select(made(), 5, rng_for(0, 0, "q"))
    hide, tell = ("adversarial_loss", True), ("discriminator_loss", True)
    assert seen == [hide, hide, tell] * 2


def test_batch_norm_of_one_stream_alone_is_another_game() -> None:
    memos = [
        VAAL(**{**LITTLE, "network": "conv", "filters": (2, 3, 4), "bn": bn})
        .select(made(), 5, rng_for(0, 0, "q"))
        .memo
        for bn in ("joint", "separate")
    ]
    assert memos[0] != memos[1]


def test_who_is_set_aside_is_neither_asked_nor_looked_at() -> None:
    snapshot = made()
    aside = np.array(snapshot.open)
    aside[10:] = False
    images = np.array(snapshot.images(np.arange(20)))
    blank = images.copy()
    blank[10:] = 0
    rule, found = VAAL(**LITTLE), []
    for pixels in (images, blank):
        one = Snapshot.from_arrays(known=snapshot.known, open=aside, images=pixels)
        found.append(rule.select(one, 3, rng_for(0, 0, "q")).rows.tolist())
    assert found[0] == found[1]
    assert set(found[0]) <= set(range(6, 10))


def test_ready_features_of_any_scale() -> None:
    x = rng_for(0, 0, "x").normal(100, 1e3, (20, 5))
    x[:, 2] = 7  # a constant column
    picks = VAAL(**LITTLE).select(made(images=x), 5, rng_for(0, 0, "q"))
    assert len(set(picks.ids)) == 5
    assert np.isfinite(list(picks.memo["vaal"].values())).all()
    assert picks.memo["vaal"]["mse"] < 1  # in units of [0, 1]
    shifted = VAAL(**LITTLE).select(made(images=8 * x + 64), 5, rng_for(0, 0, "q"))
    assert shifted.ids == picks.ids


def test_equal_images_fall_by_the_seed() -> None:
    same = made(images=np.full((20, 1, 8, 8), 77, dtype=np.uint8))
    rule = VAAL(**LITTLE)
    found = {rule.select(same, 4, rng_for(seed, 0, "q")).ids for seed in range(4)}
    assert len(found) > 1
    by_index = VAAL(**LITTLE, ties="index").select(same, 4, rng_for(0, 0, "q"))
    assert by_index.rows.tolist() == [6, 7, 8, 9]


def test_little_to_compare(caplog: pytest.LogCaptureFixture) -> None:
    rule = VAAL(**LITTLE)
    with caplog.at_level(logging.WARNING):
        first = rule.select(made(labelled=0), 5, rng_for(0, 0, "q"))
    assert "no labelled image" in caplog.text
    assert first.memo == {}
    assert len(rule.select(made(labelled=1), 5, rng_for(0, 0, "q")).ids) == 5
    separate = VAAL(**{**LITTLE, "network": "conv", "bn": "separate", "filters": (2, 2, 2)})
    assert len(separate.select(made(labelled=1), 5, rng_for(0, 0, "q")).ids) == 5


def test_what_cannot_be_done() -> None:
    rng = rng_for(0, 0, "q")
    with pytest.raises(MissingPart, match="vaal looks at images"):
        VAAL().select(Snapshot.from_arrays(known=np.array([0, -1, -1])), 1, rng)
    with pytest.raises(InputError, match="vaal got images of float64"):
        VAAL().select(made(images=np.zeros((20, 1, 8, 8))), 1, rng)
    with pytest.raises(InputError, match="NaN or inf"):
        VAAL().select(made(images=np.full((20, 3), np.nan)), 1, rng)
    with pytest.raises(TrainingError, match=r"of vaal: lower the learning rate \(now 1e\+20\)"):
        VAAL(**{**LITTLE, "steps": 20}, lr=1e20).select(made(), 1, rng)
    with pytest.raises(RecipeError, match="steps"):
        VAAL(steps=0)
    with pytest.raises(RecipeError, match="3 filters"):
        VAAL(filters=(3, 4))
