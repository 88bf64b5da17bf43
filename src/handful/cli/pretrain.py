"""``handful pretrain DATA``: SimCLR on the images themselves, before the first answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from handful.cli.options import common, data_root, given, max_side, reading

__all__ = ["pretrain"]


@click.command()
@click.argument("data")
@click.option("--out", type=click.Path(path_type=Path), default=Path("encoder.safetensors"),
              metavar="FILE", help="The encoder to write. [encoder.safetensors]")  # fmt: skip
@click.option(
    "--backbone",
    metavar="NAME",
    help="small, convnext-nano, lite0, lite1, lite2 or timm:NAME."
    " [small up to 48 pixels, else lite0]",
)
@click.option(
    "--weights",
    metavar="FILE|random",
    help="What the encoder begins with: a .safetensors or .pth file, or random. [its own]",
)
@click.option("--schedule", metavar="NAME", help="fast, gpu or published. [fast]")
@click.option("--epochs", type=int, metavar="N", help="Passes over the images. [the schedule's]")
@click.option("--most", type=int, metavar="N",
              help="Images used, drawn at random; 0: all. [10,000 fast, else all]")  # fmt: skip
@click.option("--image-size", type=int, metavar="PIXELS",
              help="Side that images are brought to: --image-size 64. [their own]")  # fmt: skip
@click.option("--augment", metavar="KIND",
              help="Views: photo, glyph or object. [by channels and size]")  # fmt: skip
@click.option("--lr", type=float, metavar="X",
              help="Of AdamW: --lr 3e-4. [1e-3 from nothing, else 1e-4]")  # fmt: skip
@click.option("--seed", type=int, default=0, metavar="N",
              help="Every draw follows from it: --seed 1. [0]")  # fmt: skip
@reading
@max_side
@data_root
@common
def pretrain(
    data: str,
    out: Path,
    backbone: str | None,
    weights: str | None,
    schedule: str | None,
    epochs: int | None,
    most: int | None,
    image_size: int | None,
    augment: str | None,
    lr: float | None,
    seed: int,
    page: Any,
    channel: int | None,
    max_side: int | None,
    data_root: Path | None,
) -> None:
    """Train an encoder on the images of DATA without a label (SimCLR).

    For images that look like nothing in ImageNet. The file serves every learner that stands on
    a backbone. Cut off, the same command goes on behind the last whole epoch.
    """
    from handful.bench.pretrain import pretrain as pretrain_it
    from handful.cli.console import say, watching
    from handful.settings import check_fields
    from handful.simclr import SimCLROptions

    options = given(
        schedule=schedule, epochs=epochs, most=most, image_size=image_size, augment=augment
    )
    check_fields("pretrain", SimCLROptions, options)
    with watching() as progress:
        encoder, fit = pretrain_it(
            data, out=out, backbone=backbone, weights=weights, lr=lr,
            options=SimCLROptions(**options), seed=seed,
            reading=given(page=page, channel=channel, max_side=max_side),
            data_root=data_root, progress=progress, say=say,
        )  # fmt: skip
    click.echo(f"loss {fit.loss:.3f} (all images alike: {fit.chance:.3f})")
    click.echo(f"alignment {fit.alignment:.3f}, uniformity {fit.uniformity:.3f}, rank {fit.rank}")
    click.echo(f"{fit.images:,} images, {fit.epochs} epochs, {fit.seconds:.0f} s")
    click.echo(out)
    say(
        "use it: --set learner.features=backbone --set learner.backbone="
        f"{encoder.name} --set learner.backbone_weights={out}"
    )
