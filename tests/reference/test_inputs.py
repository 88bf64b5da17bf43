"""Frozen vectors or images through a backbone: the same rows, whichever way a learner trains."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from handful.errors import InputError, RecipeError
from handful.inputs import InputOptions, Inputs
from handful.networks.backbones import Backbone
from handful.testing.learners import tiny_pool


def attached(channels: int = 3, **options: object) -> Inputs:
    inputs = Inputs(InputOptions(**options))  # type: ignore[arg-type]
    pool = tiny_pool(10, (12, 16), channels)[0]
    assert inputs.attach(pool)
    assert not inputs.attach(pool), "the same pool is read once"
    return inputs


def test_frozen_vectors_of_small_gray_images_are_their_pixels() -> None:
    pool = tiny_pool(10)[0]
    inputs = Inputs(InputOptions())
    inputs.attach(pool)
    rows = np.array([3, 1])
    x = inputs(rows)
    assert torch.equal(x, inputs.training(np.random.default_rng(0))(rows))
    assert np.allclose(x, pool.read(rows).reshape(2, -1) / 255)
    assert isinstance(inputs.body(), torch.nn.Identity)
    assert np.array_equal(inputs.vectors()[rows], x)
    assert len(inputs) == 10


def test_auto_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="handful.inputs")
    inputs = Inputs(InputOptions())
    inputs.attach(tiny_pool(5, features=4)[0])
    assert inputs.way == "frozen"
    assert "no backbone" in caplog.text
    if not torch.cuda.is_available():
        photos = Inputs(InputOptions(backbone="small", backbone_weights="random"))
        photos.attach(tiny_pool(5, (12, 16), 3)[0])
        assert photos.way == "frozen"
        assert "no GPU" in caplog.text


def test_auto_finetunes_where_torch_sees_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(InputOptions())
    monkeypatch.setattr(Inputs, "device", torch.device("meta"))  # any that is not the CPU
    assert inputs._settle(tiny_pool(5, (12, 16), 3)[0]) == "finetune"
    assert inputs._settle(tiny_pool(5, features=4)[0]) == "frozen"


def test_ready_features_cannot_be_finetuned() -> None:
    inputs = Inputs(InputOptions(train="finetune"))
    with pytest.raises(RecipeError, match="ready features"):
        inputs.attach(tiny_pool(5, features=4)[0])


def test_finetune_feeds_images_that_change_a_little() -> None:
    inputs = attached(train="finetune", backbone="small")
    body = inputs.body()
    assert isinstance(body, Backbone)
    assert all(p.requires_grad for p in body.parameters())
    rows = np.arange(6)
    plain, trained = inputs(rows), inputs.training(np.random.default_rng(0))(rows)
    assert plain.shape == trained.shape == (6, 3, 12, 16)
    assert not torch.equal(plain, trained)
    same = attached(train="finetune", backbone="small", train_aug="none")
    same.body()
    assert torch.equal(plain, same.training(np.random.default_rng(0))(rows))
    gray = attached(1, train="finetune", backbone="small")
    gray.body()
    assert torch.equal(gray(rows), gray.training(np.random.default_rng(0))(rows))


def test_finetune_resizes_to_the_side_that_was_asked_for() -> None:
    inputs = attached(train="finetune", backbone="small", image_size=8)
    inputs.body()
    h, w = inputs(np.arange(2)).shape[2:]
    assert h * w == pytest.approx(64, abs=8)


@pytest.mark.parametrize("train", ["frozen", "finetune"])
def test_new_images_give_what_the_pool_gives(train: str) -> None:
    pool = tiny_pool(10, (12, 16), 3)[0]
    inputs = Inputs(InputOptions(train=train, backbone="small", backbone_weights="random"))  # type: ignore[arg-type]
    inputs.attach(pool)
    body = inputs.body().eval()
    p = 128
    own, new = inputs.embed(body, p), inputs.embed(body, p, pool.read(np.arange(10)))
    assert own.shape == (10, p)
    assert np.allclose(own, new, atol=1e-5)
    assert np.allclose(own, inputs.vectors(), atol=1e-4), "G starts where the frozen one stands"
    assert inputs.embed(body, p, pool.read(np.arange(0))).shape == (0, p)


def test_what_is_no_image_is_refused() -> None:
    inputs = attached(train="finetune", backbone="small")
    with pytest.raises(InputError, match="no backbone yet"):
        inputs(np.arange(2))
    body = inputs.body()
    with pytest.raises(InputError, match="uint8"):
        inputs.embed(body, 128, np.zeros((2, 7), dtype=np.float32))
