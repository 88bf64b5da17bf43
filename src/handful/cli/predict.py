"""``handful predict RUN_OR_MODEL DATA``: a finished run's model on new images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from handful.cli.options import common, data_root, given, reading

__all__ = ["predict"]


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", type=click.Path(path_type=Path))
@click.argument("data", metavar="DATA")
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions.csv"),
              metavar="FILE",
              help="The CSV file to write: --out new.csv. [predictions.csv]")  # fmt: skip
@reading
@data_root
@common
def predict(
    model: Path, data: str, out: Path, page: Any, channel: int | None, data_root: Path | None
) -> None:
    """Classify the images of DATA with the model of a run or of the page.

    Images are read as those of the run: its page and channel are the defaults here.

    RUN_OR_MODEL is the folder of a run, its model.safetensors, or a model.handful of the page;
    DATA is a folder, and for a run also a parquet or .npz file, or a name.
    """
    from handful.cli.console import say, watching
    from handful.exports.model import is_page_model

    if is_page_model(model):
        _with_page_model(model, data, out)
        return
    from handful.bench.predict import predict as predict_it

    with watching() as progress:
        counts = predict_it(
            model, data, out=out, reading=given(page=page, channel=channel), data_root=data_root,
            progress=progress, say=say,
        )  # fmt: skip
    _tell(counts, out)


def _with_page_model(model: Path, folder: str, out: Path) -> None:
    from handful.cli.console import say, watching
    from handful.worker.naming import predict as name_them

    with watching() as progress:
        counts = name_them(model, folder, out=out, progress=progress, say=say)
    _tell(counts, out)


def _tell(counts: dict[str, int], out: Path) -> None:
    for name, count in counts.items():
        click.echo(f"{count:>8,}  {name}")
    click.echo(out)
