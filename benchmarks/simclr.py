"""SimCLR: what the views cost, and what pre-training makes of an encoder.

``python benchmarks/simclr.py [speed] [digits stl10 stl10-lite0 cifar10-lite0] [--again]``

``speed``: two views of each image alone, a step without them, and their share; CPU seconds.
The others pre-train on all images without a label.  ``digits`` and ``stl10`` (shrunk to 32
pixels) begin from nothing; the two with lite0 begin from its own weights, images of 32 pixels
brought to 64.  k-means on the features, one cluster a class, is scored before and after; the
labels serve that score alone.

A case that has its rows is skipped.  One that was killed goes on behind its last epoch: its
checkpoint and the encoder lie in the cache folder, under ``simclr``.  One thread, unless
OMP_NUM_THREADS says otherwise.  All but ``digits`` and ``speed`` need HANDFUL_DATA.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from handful import cache
from handful.augment import VIEWS, Views
from handful.features import FeatureOptions, FeatureSpace
from handful.geometry import kmeans
from handful.losses.ntxent import ntxent
from handful.metrics import ari
from handful.networks.backbones import backbone
from handful.pool import Data, open_data
from handful.progress import Silent
from handful.rng import rng_for
from handful.simclr import SimCLRFit, SimCLROptions, pretrain, save_encoder
from handful.types import Array
from record import read, record

SEED, STARTS, TURNS = 0, 3, 5


class Epochs(Silent):
    """One line an epoch."""

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        said = "  ".join(f"{key} {value:.4f}" for key, value in figures.items())
        print(f"  {time.strftime('%H:%M:%S')}  {stage} step {step}  {said}", flush=True)


@dataclass(frozen=True)
class Case:
    """An encoder, the images it is pre-trained on, and how."""

    data: str
    network: str
    options: SimCLROptions
    weights: str | None = "random"
    max_side: int = 96

    @property
    def variant(self) -> str:
        start = "from scratch" if self.weights == "random" else "from ImageNet"
        side = self.options.image_size or min(self.max_side, 32)
        return f"{self.network}@{side} {start}, {self.options.epochs} epochs"


SCRATCH = SimCLROptions(most=0, batch_size=256)
ADAPT = SimCLROptions(most=0, batch_size=128, image_size=64, lr=1e-4)
CASES = {
    "digits": Case("digits", "small", replace(SCRATCH, epochs=100), max_side=8),
    "stl10": Case("stl10", "small", replace(SCRATCH, epochs=50), max_side=32),
    "stl10-lite0": Case("stl10", "lite0", replace(ADAPT, epochs=5), weights=None, max_side=32),
    "cifar10-lite0": Case("cifar10", "lite0", replace(ADAPT, epochs=3), weights=None),
}
Speed: TypeAlias = tuple[str, Views, int, int, int]  # network, views, channels, side, batch
SPEEDS: tuple[Speed, ...] = (
    ("small", "glyph", 1, 28, 256),
    ("small", "photo", 3, 32, 256),
    ("small", "photo", 3, 96, 128),
    ("convnext-nano", "photo", 3, 32, 128),
)


def named(case: Speed) -> str:
    name, kind, _, side, n = case
    return f"{name} {kind} {side} px, {n} images a step"


def speed() -> None:
    """Views of a batch, and the step that trains on them, in turns; the best of each counts."""
    draws = torch.Generator().manual_seed(SEED)
    for name, kind, channels, side, n in SPEEDS:
        model = backbone(name).train()
        adam = torch.optim.AdamW(model.parameters(), lr=1e-3)
        x = torch.rand(n, channels, side, side, generator=draws)
        view = VIEWS[kind]

        def views(x: torch.Tensor = x, view: Callable[..., torch.Tensor] = view) -> torch.Tensor:
            both = torch.cat([view(x, draws), view(x, draws)])
            return both.contiguous(memory_format=torch.channels_last)

        ready = views()

        def step(
            ready: torch.Tensor = ready,
            model: torch.nn.Module = model,
            adam: torch.optim.Optimizer = adam,
        ) -> None:
            a, b = model(ready).chunk(2)
            adam.zero_grad(set_to_none=True)
            ntxent(a, b).backward()
            adam.step()

        seconds = {"views alone": np.inf, "step without views": np.inf}
        for _ in range(TURNS):
            for label, work in (("views alone", views), ("step without views", step)):
                begin = time.process_time()
                work()
                seconds[label] = min(seconds[label], time.process_time() - begin)
        variant = named((name, kind, channels, side, n))
        for label, spent in seconds.items():
            row("", f"{variant}: {label}", "images_per_second", n / spent, "images/s")
        share = seconds["views alone"] / sum(seconds.values())
        row("", f"{variant}: views / step", "ratio", share)


def run(case: Case) -> None:
    """Score, pre-train, score again."""
    data = open_data(case.data, max_side=case.max_side)
    folder = cache.folder() / "simclr"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{case.data}-{case.network}-{case.options.epochs}"
    encoder = folder / f"{name}.encoder.safetensors"
    score(case, data, case.weights, "before")
    network = backbone(case.network, weights=case.weights, rng=rng_for(SEED, None, "encoder"))
    fit = pretrain(
        network,
        data.pool,
        options=case.options,
        rng=rng_for(SEED, None, "simclr"),
        progress=Epochs(),
        checkpoint=folder / f"{name}.checkpoint.safetensors",
    )
    save_encoder(network, encoder, fit)
    figures(case, fit)
    score(case, data, str(encoder), "after")


def score(case: Case, data: Data, weights: str | None, when: str) -> None:
    """ARI of k-means on the features, mean of some seeds of its starts."""
    assert data.labels is not None
    options = FeatureOptions(
        features="backbone",
        backbone=case.network,
        backbone_weights=weights,
        image_size=case.options.image_size,
    )
    x = FeatureSpace(options).vectors(data.pool)
    c = len(np.unique(data.labels[data.labels >= 0]))
    found = [
        ari(data.labels, kmeans(x, c, rng_for(seed, None, "kmeans"), n_init=5).labels)
        for seed in range(STARTS)
    ]
    row(case.data, f"{case.variant}: {when}", "ari_kmeans", float(np.mean(found)))


def figures(case: Case, fit: SimCLRFit) -> None:
    for metric in ("loss", "alignment", "uniformity", "rank", "images_per_second"):
        unit = "images/s" if metric == "images_per_second" else ""
        row(case.data, case.variant, metric, float(getattr(fit, metric)), unit, fit.seconds)


def row(
    data: str, variant: str, metric: str, value: float, unit: str = "", seconds: float | None = None
) -> None:
    record("simclr", data, "", variant, SEED, "", metric, value, unit, seconds)
    print(f"{data:8} {variant:64} {metric:18} {value:10.3f} {unit}", flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("cases", nargs="*", choices=["speed", *CASES, []], help="default: all")
    asked.add_argument("--again", action="store_true", help="measure cases that have their rows")
    given = asked.parse_args()
    held = {(r["data"], r["variant"]) for r in read("simclr")}
    for name in given.cases or ["speed", *CASES]:
        key = ("", f"{named(SPEEDS[-1])}: views / step")
        if name != "speed":
            key = (CASES[name].data, f"{CASES[name].variant}: after")
        if key in held and not given.again:
            print(f"{name}: its rows are there")
        elif name == "speed":
            speed()
        else:
            run(CASES[name])


if __name__ == "__main__":
    main()
