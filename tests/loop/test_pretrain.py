"""Pre-training from the command line: a file that learners take, and nothing lost when cut off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from handful import simclr
from handful.bench.pretrain import pretrain
from handful.cli import app
from handful.errors import InputError, RecipeError, RunFolderError
from handful.networks.backbones import backbone
from handful.progress import Silent
from handful.simclr import SimCLROptions

QUICK = SimCLROptions(epochs=3, batch_size=32)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """70 images of 8x8 that differ."""
    path = tmp_path / "images.npz"
    made = np.random.default_rng(0).integers(0, 256, (70, 8, 8), dtype=np.uint8)
    np.savez(path, images=made)
    return path


class Stops(Silent):
    """Ctrl-C at the end of the second epoch."""

    epochs = 0

    def log(self, stage: str, step: int, **values: object) -> None:
        self.epochs += stage == "simclr"
        if self.epochs == 2:
            raise KeyboardInterrupt


def weights(path: Path) -> Mapping[str, torch.Tensor]:
    return dict(backbone("small", weights=str(path)).trunk.state_dict())


def test_the_same_seed_gives_the_same_encoder_and_another_seed_another(images, tmp_path):
    made = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path, seed in zip(made, (1, 1, 2), strict=True):
        encoder, fit = pretrain(images, out=path, options=QUICK, seed=seed)
    a, b, c = (weights(path) for path in made)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)
    assert (encoder.name, fit.epochs, fit.images) == ("small", 3, 70)
    fresh = backbone("small").trunk.state_dict()
    assert not all(torch.equal(a[k], fresh[k]) for k in a), "nothing was trained"
    assert not list(tmp_path.glob("*.checkpoint"))


def test_cut_off_it_goes_on_and_ends_as_if_it_had_not_been(images, tmp_path):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    pretrain(images, out=whole, options=QUICK, seed=4)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        pretrain(images, out=cut, options=QUICK, seed=4, progress=Stops())
    assert not cut.exists()
    pretrain(images, out=cut, options=QUICK, seed=4, say=said.append)
    assert [s for s in said if "going on" in s] == [f"going on where {cut}.checkpoint stands"]
    a, b = weights(whole), weights(cut)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_file_that_is_there_is_never_written_over(images, tmp_path):
    taken = tmp_path / "encoder.safetensors"
    taken.write_bytes(b"mine")
    with pytest.raises(RunFolderError, match="choose another name"):
        pretrain(images, out=taken, options=QUICK)
    assert taken.read_bytes() == b"mine"


def test_features_are_refused(tmp_path):
    path = tmp_path / "features.npz"
    np.savez(path, features=np.zeros((20, 4), dtype=np.float32))
    with pytest.raises(InputError, match="trained on images"):
        pretrain(path, out=tmp_path / "e.safetensors")


def test_the_command_writes_the_encoder_and_says_how_it_went(images, tmp_path):
    out = tmp_path / "sub" / "e.safetensors"
    done = CliRunner().invoke(
        app, ["pretrain", str(images), "--out", str(out), "--epochs", "2", "--seed", "3"]
    )
    assert done.exit_code == 0, done.output
    assert out.exists()
    assert "all images alike: " in done.stdout
    assert f"learner.backbone=small --set learner.backbone_weights={out}" in done.output
    wrong = CliRunner().invoke(app, ["pretrain", str(images), "--schedule", "quick"])
    assert isinstance(wrong.exception, RecipeError)
    assert "fast" in str(wrong.exception)


def test_weights_that_were_learnt_are_moved_more_gently(images, tmp_path, monkeypatch):
    seen: list[float] = []
    real = simclr.pretrain

    def watch(*args, **kwargs):
        seen.append(kwargs["options"].lr)
        return real(*args, **kwargs)

    monkeypatch.setattr(simclr, "pretrain", watch)
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    pretrain(images, out=first, options=QUICK)
    pretrain(images, out=second, options=QUICK, weights=str(first))
    pretrain(images, out=tmp_path / "3.safetensors", options=QUICK, lr=0.01)
    assert seen == [1e-3, 1e-4, 0.01]
