"""SimCLR on a set of images: an encoder file for every learner that stands on a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from handful.errors import InputError, RunFolderError
from handful.pool import Reading, open_data
from handful.pool.ids import counted
from handful.progress import Progress, Silent
from handful.rng import rng_for

if TYPE_CHECKING:
    from handful.networks.backbones import Backbone
    from handful.simclr import SimCLRFit, SimCLROptions

__all__ = ["pretrain"]

SMALL = 48  # pixels: the three convolutions of the small encoder see enough of such an image
_AS_THEY_ARE: Mapping[str, Any] = MappingProxyType({})


def pretrain(
    data: str | Path,
    *,
    out: Path | str,
    backbone: str | None = None,
    weights: str | None = None,
    lr: float | None = None,
    options: SimCLROptions | None = None,
    seed: int = 0,
    reading: Mapping[str, Any] = _AS_THEY_ARE,
    data_root: Path | str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[Backbone, SimCLRFit]:
    """Train ``backbone`` on the images of ``data`` without a label, and write it to ``out``.

    backbone : None: ``small`` for images up to 48 pixels, else ``lite0``.
    weights : of the encoder at the start: a file, ``random``, or None: the backbone's own.
    lr : None: 1e-3 where the encoder begins from nothing, 1e-4 where it brings weights.
    seed : of every draw, of new weights too.

    Cut off, it goes on behind its last whole epoch when it is called again: the state lies in
    ``OUT.checkpoint`` until the encoder is written.  `RunFolderError` where ``out`` is taken.
    """
    from handful import simclr
    from handful.networks import backbones

    progress = progress if progress is not None else Silent()
    path = Path(out)
    if path.exists():
        raise RunFolderError(f"{path} is there already: move it away or choose another name")
    pool = open_data(
        data, data_root=data_root, progress=progress, **asdict(Reading.of(reading))
    ).pool
    if pool.features is not None:
        raise InputError(f"{data} holds ready features: an encoder is trained on images")
    name = backbone or ("small" if max(pool.size) <= SMALL else "lite0")
    encoder = backbones.backbone(name, weights=weights, rng=rng_for(seed, None, "encoder"))
    chosen = options or simclr.SimCLROptions()
    chosen = replace(chosen, lr=lr or (1e-3 if encoder.weights == "random" else 1e-4))
    say(f"{len(pool):,} images, encoder {name} ({encoder.weights} weights)")
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = path.with_name(path.name + ".checkpoint")
    if checkpoint.exists():
        say(f"going on where {checkpoint} stands")
    fit = simclr.pretrain(
        encoder, pool, options=chosen, rng=rng_for(seed, None, "simclr"), progress=progress,
        checkpoint=checkpoint,
    )  # fmt: skip
    if pool.broken:
        say(f"{counted(len(pool.broken), 'image')} could not be read, hence left out")
    simclr.save_encoder(encoder, path, fit)
    with suppress(OSError):
        checkpoint.unlink()
    return encoder, fit
