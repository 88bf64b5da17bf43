"""Feature extraction against a bare forward pass of the same module, in one run.

``python benchmarks/extract.py``: STL-10's first images at 160 pixels through lite0.

extraction   everything a learner waits for: digests, reading, resizing, normalising, the
             forward pass, checksums, the file on disk; encoder loaded, cache empty
bare         the same module on batches that are resized, normalised and ready in memory

Once with a pool whose images are decoded already, once from the encoded bytes.  The three
take turns; the best turn of each counts, in images a second and in processor seconds of all
threads, which other work on the machine disturbs less.  The forward pass has one thread,
unless OMP_NUM_THREADS says otherwise; reading ahead has another.  Needs HANDFUL_DATA.
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

from handful.features import FeatureOptions, FeatureSpace, at_once
from handful.networks.backbones import resize
from handful.pool import open_data
from handful.types import Pool
from record import record

IMAGES, SIDE, TURNS = 256, 160, 20


def encoded() -> Pool:
    """Nothing decoded yet."""
    return open_data("stl10").pool.subset(np.arange(IMAGES))


def extraction(space: FeatureSpace, pool: Pool) -> None:
    with TemporaryDirectory() as cache:
        os.environ["HANDFUL_CACHE"] = cache
        space.vectors(pool)
        assert any(Path(cache).rglob("*.npy"))


def bare(space: FeatureSpace, batches: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        for batch in batches:
            space.backbone.trunk(batch)


def main() -> None:
    space = FeatureSpace(FeatureOptions(features="backbone", backbone="lite0", image_size=SIDE))
    pool = encoded()
    form = (SIDE, SIDE)
    ready = space.backbone.prepare(resize(torch.from_numpy(pool.read(np.arange(IMAGES))), form))
    batches = list(ready.split(at_once(form, ready.device)))
    best: dict[str, tuple[float, float]] = {}
    for _ in range(TURNS):
        # a subset is another pool, whose matrix is not at hand, with the same decoded images
        pools = {"decoded": pool.subset(np.arange(IMAGES)), "encoded": encoded()}
        for name in ("decoded", "bare", "encoded"):
            wall, processor = time.perf_counter(), time.process_time()
            if name == "bare":
                bare(space, batches)
            else:
                extraction(space, pools[name])
            turn = (time.perf_counter() - wall, time.process_time() - processor)
            before = best.get(name, turn)
            best[name] = (min(before[0], turn[0]), min(before[1], turn[1]))
    variant = f"lite0@{SIDE}, {IMAGES} images, {torch.get_num_threads()} thread(s)"
    for name, (wall, processor) in best.items():
        row(f"{variant}, {name}", "images_per_second", IMAGES / wall, "images/s")
        row(f"{variant}, {name}", "processor seconds", processor, "s")
    for name in ("decoded", "encoded"):
        row(f"{variant}, {name} / bare", "ratio", best["bare"][0] / best[name][0], "")
        ratio = best["bare"][1] / best[name][1]
        row(f"{variant}, {name} / bare, processor time", "ratio", ratio, "")


def row(variant: str, metric: str, value: float, unit: str) -> None:
    record("extract", "stl10", "", variant, 0, "", metric, value, unit)
    print(f"{variant:60} {metric:18} {value:10.3f} {unit}", flush=True)


if __name__ == "__main__":
    main()
