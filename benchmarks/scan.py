"""How fast a folder is scanned: 20,000 JPEG files of about 30 kB, every byte hashed.

The files are made in a temporary folder first (not timed): a few pictures, encoded at
about 30 kB, and a comment of their own in each, so that all contents differ.  Run from
the root of the project::

    python benchmarks/scan.py [--files 20000] [--dry]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from handful.pool import open_folder
from record import record

PICTURES = 16
SIDE = 268  # smooth noise of this side takes about 30 kB at quality 90


def picture(rng: np.random.Generator) -> bytes:
    """One JPEG of about 30 kB: smooth colours with noise, as photos have both."""
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = (smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)
    out = BytesIO()
    Image.fromarray(noisy).save(out, "JPEG", quality=90)
    return out.getvalue()


def fill(folder: Path, files: int) -> int:
    """Write the files into 20 class folders; gives their bytes."""
    rng = np.random.default_rng(0)
    pictures = [picture(rng) for _ in range(PICTURES)]
    total = 0
    for label in range(20):
        (folder / f"class_{label:02d}").mkdir()
    for i in range(files):
        base = pictures[i % PICTURES]
        note = f"{i:08d}".encode()  # a comment segment behind the start marker
        content = base[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + base[2:]
        (folder / f"class_{i % 20:02d}" / f"image {i:06d}.jpg").write_bytes(content)
        total += len(content)
    return total


def main() -> None:
    """Scan three times; the quickest counts, on a machine that does other things too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--dry", action="store_true", help="print, append no row")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="handful-scan-") as folder:
        size = fill(Path(folder), options.files)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            data = open_folder(folder)
            seconds.append(time.perf_counter() - start)
        if len(data.pool) != options.files or data.found.repeats:
            raise SystemExit("the scan did not find what was written")
    best = min(seconds)
    kb = size / options.files / 1e3
    print(f"{options.files:,} JPEG files of {kb:.1f} kB: {best:.2f} s", end=" ")
    print(f"({options.files / best:,.0f} files/s, {size / best / 1e6:.0f} MB/s; warm cache)")
    if not options.dry:
        variant = f"n={options.files} {kb:.0f}kB jpeg"
        row = {"bench": "scan", "data": "generated", "recipe": "", "variant": variant}
        row |= {"seed": 0, "labels": 0, "seconds": best}
        record(**row, metric="seconds", value=best, unit="s")
        record(**row, metric="files_per_second", value=options.files / best, unit="1/s")


if __name__ == "__main__":
    main()
