"""SRAAL: the learner's doubt by hand, the soft game, and whether it finds what has no label."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from handful.errors import RecipeError
from handful.losses.adversarial import adversarial_loss, discriminator_loss
from handful.queries_learned import SRAAL, uncertainty
from handful.registry import top_k
from handful.rng import rng_for
from handful.testing.randomness import global_states_untouched
from handful.types import Snapshot

V = np.array([
    [1, 0, 0, 0],
    [0.7, 0.1, 0.1, 0.1],
    [0.7, 0.3, 0, 0],
    [0.4, 0.4, 0.1, 0.1],
    [0.26, 0.26, 0.24, 0.24],
    [0.25, 0.25, 0.25, 0.25],
])  # fmt: skip
U = [0.0, 0.3, 0.427273, 0.866667, 0.913333, 1.0]
LITTLE: dict[str, Any] = {"network": "mlp", "steps": 3, "latent": 4, "hidden": 8}


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a, dtype=float), b, atol=5.1e-7)


def order(scores: np.ndarray) -> list[int]:
    return top_k(scores, len(scores), rng_for(0, 0, "q"), ties="index").tolist()


# --- the learner's doubt --------------------------------------------------------------------


def test_worked_numbers_of_the_doubt() -> None:
    close(uncertainty(V), U)
    close(uncertainty(V[:5], variance="released"), [0.25, 0.475, 0.570455, 0.9, 0.935])
    close(uncertainty(np.array([[0.8, 0.2], [0.5, 0.5]])), [0.2, 0.5])
    assert order(uncertainty(V)) == [5, 4, 3, 2, 1, 0]
    entropy = -np.sum(np.where(V > 0, V * np.log(np.where(V > 0, V, 1)), 0), axis=1)
    assert order(entropy) == [5, 4, 3, 1, 2, 0]


def test_a_certain_row_has_no_doubt_and_a_uniform_one_is_no_nan() -> None:
    """The released code gives a certain row 1 / C, and a uniform one NaN."""
    for C in (1, 2, 3, 10):
        assert uncertainty(np.eye(C)).tolist() == [0] * C
    for C in (3, 10):
        flat = np.full((2, C), 1 / C)
        assert uncertainty(flat).tolist() == [1, 1]
        assert uncertainty(flat, variance="released").tolist() == [1, 1]
        close(uncertainty(np.eye(C), variance="released"), [1 / C] * C)
        assert uncertainty(flat.astype(np.float32)).tolist() == [1, 1]
    assert uncertainty(np.empty((0, 3))).shape == (0,)


def test_the_doubt_against_its_slow_twin() -> None:
    for C in (2, 3, 7):
        p = rng_for(C, 0, "p").dirichlet(np.full(C, 0.4), 40)
        for row, u in zip(p, uncertainty(p), strict=True):
            m = row.max()
            spread = np.append(np.full(C - 1, (1 - m) / (C - 1)), m)
            wanted = 1 - np.var(spread) / np.var(row) * m
            assert abs(u - wanted) < 1e-9
            assert 0 <= u <= 1


# --- the game -------------------------------------------------------------------------------


def test_worked_numbers_of_the_game() -> None:
    labelled, unlabelled = torch.tensor([0.9, 0.6]).logit(), torch.tensor([0.3, 0.7]).logit()
    doubt = torch.from_numpy(uncertainty(V[[1, 3]])).float()
    close(1 - doubt, [0.7, 0.133333])
    close(discriminator_loss(labelled, unlabelled, 1 - doubt), 1.328485)
    close(discriminator_loss(labelled, unlabelled), 1.088417)
    close(adversarial_loss(labelled, unlabelled), 1.088417)
    sure = torch.full((2,), 50.0)
    close(discriminator_loss(sure, (1 - doubt).logit(), 1 - doubt), 0.501769)
    # the released convention: labelled 0, unlabelled U, on 1 - D
    bce = torch.nn.functional.binary_cross_entropy
    turned = bce(1 - labelled.sigmoid(), torch.zeros(2)) + bce(1 - unlabelled.sigmoid(), doubt)
    close(turned, 1.328485)


def made(
    n: int = 20, *, labelled: int = 6, proba: np.ndarray | None = None, **more: Any
) -> Snapshot:
    rng = rng_for(0, 0, "images")
    images = rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    known = np.where(np.arange(n) < labelled, np.arange(n) % 3, -1)
    p = rng.dirichlet(np.ones(3), n) if proba is None else proba
    return Snapshot.from_arrays(known=known, proba=p, **{"images": images, **more})


def test_a_sure_learner_hides_an_image_and_a_doubting_one_shows_it() -> None:
    """Dark and bright images, half of both labelled: where the learner doubts decides."""
    n, half = 120, 70
    shade = np.where(np.arange(n) < half, 60, 190)
    noise = rng_for(0, 0, "noise").normal(0, 20, (n, 1, 8, 8))
    images = (shade[:, None, None, None] + noise).clip(0, 255).astype(np.uint8)
    known = np.where(np.isin(np.arange(n), [*range(20), *range(half, half + 20)]), 0, -1)
    known[half : half + 20] = 1
    sharp, flat = [0.98, 0.01, 0.01], [0.34, 0.33, 0.33]
    rule = SRAAL(network="mlp", latent=8, hidden=32, steps=80, lr=3e-3)
    for doubted in (False, True):
        dark = np.arange(n) < half
        p = np.array([flat if d is doubted else sharp for d in dark.tolist()])
        snapshot = Snapshot.from_arrays(known=known, proba=p, images=images)
        picks = rule.select(snapshot, 10, rng_for(0, 0, "q"))
        assert (dark[picks.rows] == doubted).mean() >= 0.9
        assert 0.2 < picks.memo["sraal"]["mean_u"] < 0.8


def bars(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise, and one bright bar of 3 x 12 pixels in one of four places: (n, 1, 16, 16) uint8."""
    x = rng.normal(0, 0.1, (len(rows), 16, 16))
    for image, row in zip(x, rows, strict=True):
        image[4 * row : 4 * row + 3, 2:14] += 0.8
    return (x.clip(0, 1) * 255).round().astype(np.uint8)[:, None]


def taught(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Probabilities of a plain classifier on pixels."""
    from sklearn.linear_model import LogisticRegression

    x, mine = images.reshape(len(images), -1) / 255, known >= 0
    model = LogisticRegression(max_iter=500).fit(x[mine], known[mine])
    return model.predict_proba(x)


def test_a_bar_that_nobody_labelled_is_asked_first() -> None:
    where = np.concatenate([np.repeat(np.arange(3), 50), np.repeat(np.arange(4), 100)])
    images = bars(where, np.random.default_rng(0))
    known = np.where(np.arange(len(where)) < 150, where, -1)
    snapshot = Snapshot.from_arrays(known=known, images=images, proba=taught(images, known))
    rule = SRAAL(network="mlp", latent=32, hidden=128, steps=150)
    picks = rule.select(snapshot, 50, rng_for(0, 0, "query"))
    assert (where[picks.rows] == 3).mean() >= 0.8
    said = picks.memo["sraal"]
    assert said["kl"] > 10
    assert said["active"] >= 8
    assert said["mse"] < 0.02


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
        snapshot = Snapshot.from_arrays(known=known, images=images, proba=taught(images, known))
        rule = SRAAL(network="mlp", latent=32, hidden=128)
        picks = rule.select(snapshot, len(images) - 301, rng)
        missing = digits.target[picks.rows] >= 8
        aucs.append(roc_auc_score(missing, -np.arange(len(missing))))
        hits.append(missing[:100].mean())
    assert np.mean(aucs) >= 0.75, (aucs, hits)
    assert np.mean(hits) >= 0.6, (aucs, hits)


def test_the_doubt_belongs_to_the_image_whatever_its_row() -> None:
    """Rows that move, with their doubt, get the same picks; a doubt of other rows gets others."""
    n = 40
    whole = made(n)
    images, p = np.array(whole.images(np.arange(n))), np.array(whole.proba)
    ids = [f"{(7 * i) % n:02d}" for i in range(n)]
    rule, found = SRAAL(**{**LITTLE, "steps": 12}), []
    for seed in range(3):
        move = rng_for(seed, 0, "move").permutation(n)
        moved = Snapshot.from_arrays(
            known=whole.known[move], proba=p[move], images=images[move], ids=[ids[i] for i in move]
        )
        found.append(rule.select(moved, 8, rng_for(0, 0, "q")))
    assert found[0].ids == found[1].ids == found[2].ids
    assert found[0].memo == found[2].memo
    mixed = Snapshot.from_arrays(known=whole.known, proba=p[::-1], images=images, ids=ids)
    assert rule.select(mixed, 8, rng_for(0, 0, "q")).memo != found[0].memo


@pytest.mark.parametrize("option", [{"network": "conv", "filters": (2, 3, 4)}, {}])
def test_same_seed_same_picks_and_torch_is_left_alone(option: dict[str, Any]) -> None:
    rule = SRAAL(**{**LITTLE, **option})
    for labelled in (6, 0):
        found = []
        for seed in (0, 1):
            with global_states_untouched(seed):
                found.append(rule.select(made(labelled=labelled), 5, rng_for(7, 0, "query")))
        assert found[0].ids == found[1].ids
        assert found[0].memo == found[1].memo


def test_without_a_label_the_picks_lie_far_apart() -> None:
    shade = np.repeat([10, 90, 170, 250], [40, 5, 3, 2])
    images = np.broadcast_to(shade[:, None, None, None], (50, 1, 8, 8)).astype(np.uint8)
    nobody = Snapshot.from_arrays(
        known=np.full(50, -1), proba=np.full((50, 3), 1 / 3), images=images
    )
    rule = SRAAL(network="mlp", latent=4, hidden=8, steps=60)
    picks = rule.select(nobody, 4, rng_for(0, 0, "q"))
    assert sorted(shade[picks.rows].tolist()) == [10, 90, 170, 250]


def test_a_learner_without_doubt_gives_a_random_batch(caplog: pytest.LogCaptureFixture) -> None:
    certain = np.eye(3)[np.arange(20) % 3]
    with caplog.at_level(logging.WARNING):
        found = {
            SRAAL(**LITTLE).select(made(proba=certain), 4, rng_for(s, 0, "q")).ids for s in range(4)
        }
    assert len(found) > 1
    assert "doubts no image" in caplog.text


def test_options_that_cannot_be() -> None:
    for wrong in ({"latent": 5}, {"latent": 0}, {"steps": 0}, {"filters": (1,)}):
        with pytest.raises(RecipeError, match="sraal"):
            SRAAL(**wrong)
