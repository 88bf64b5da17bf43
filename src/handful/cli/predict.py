"""``handful predict RUN_OR_MODEL DATA``: a finished run's model on new images."""

from __future__ import annotations

from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["predict"]


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", type=click.Path(path_type=Path))
@click.argument("data", metavar="DATA")
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions.csv"),
              show_default=True, help="The file to write.")  # fmt: skip
@click.option("--data-root", type=click.Path(path_type=Path), help="Where named sets lie.")
@common
def predict(model: Path, data: str, out: Path, data_root: Path | None) -> None:
    """Classify the images of DATA with a run's model."""
    from handful.bench.predict import predict as predict_it
    from handful.cli.console import say, watching

    with watching() as progress:
        counts = predict_it(model, data, out=out, data_root=data_root, progress=progress, say=say)
    for name, count in counts.items():
        click.echo(f"{count:>8,}  {name}")
    click.echo(out)
