"""Feature extraction against a bare forward pass of the same module, in one run.

``python benchmarks/extract.py``: STL-10's first images at 160 pixels through lite0.

extraction   everything a learner waits for: digests, reading, resizing, normalising, the
             forward pass, checksums, the file on disk; encoder loaded, cache empty
bare         the same module on batches that are resized, normalised and ready in memory

Once with a pool whose images are decoded already, once from the encoded bytes.  The three
take turns; the best turn of each counts.  The forward pass has one thread, unless
OMP_NUM_THREADS says otherwise; reading ahead has another.  Needs HANDFUL_DATA.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from handful.features import FeatureOptions, FeatureSpace
from handful.networks.backbones import resize
from handful.pool import open_data
from handful.types import Pool
from record import record

IMAGES, SIDE, TURNS = 1024, 160, 6


def encoded() -> Pool:
    """Nothing decoded yet."""
    return open_data("stl10").pool.subset(np.arange(IMAGES))


def extraction(space: FeatureSpace, pool: Pool) -> float:
    with TemporaryDirectory() as cache:
        os.environ["HANDFUL_CACHE"] = cache
        begin = time.perf_counter()
        space.vectors(pool)
        seconds = time.perf_counter() - begin
        assert any(Path(cache).rglob("*.npy"))
    return seconds


def bare(space: FeatureSpace, batches: list[torch.Tensor]) -> float:
    begin = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            space.backbone.trunk(batch)
    return time.perf_counter() - begin


def main() -> None:
    space = FeatureSpace(FeatureOptions(features="backbone", backbone="lite0", image_size=SIDE))
    pool = encoded()
    form = (SIDE, SIDE)
    ready = space.backbone.prepare(resize(torch.from_numpy(pool.read(np.arange(IMAGES))), form))
    batches = list(ready.split(space.batch_size(form)))
    seconds = {"decoded": np.inf, "encoded": np.inf, "bare": np.inf}
    for _ in range(TURNS):
        # a subset is another pool, whose matrix is not at hand, with the same decoded images
        turn = {
            "decoded": extraction(space, pool.subset(np.arange(IMAGES))),
            "bare": bare(space, batches),
            "encoded": extraction(space, encoded()),
        }
        seconds = {name: min(value, turn[name]) for name, value in seconds.items()}
    variant = f"lite0@{SIDE}, {IMAGES} images, {torch.get_num_threads()} thread(s)"
    for name, value in seconds.items():
        row(f"{variant}, {name}", "images_per_second", IMAGES / value, "images/s")
    for name in ("decoded", "encoded"):
        row(f"{variant}, {name} / bare", "ratio", seconds["bare"] / seconds[name], "")


def row(variant: str, metric: str, value: float, unit: str) -> None:
    record("extract", "stl10", "", variant, 0, "", metric, value, unit)
    print(f"{variant:60} {metric:18} {value:10.3f} {unit}", flush=True)


if __name__ == "__main__":
    main()
