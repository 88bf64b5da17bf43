"""``handful data DATA``: what was found."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from handful.cli.options import common, data_root, given, max_side, reading

__all__ = ["data"]


@click.command()
@click.argument("spec", metavar="DATA")
@reading
@max_side
@click.option("--thorough", is_flag=True,
              help="Read every header of large parquet files, compare images of large arrays."
              " [off]")  # fmt: skip
@data_root
@common
def data(
    spec: str,
    page: Any,
    channel: int | None,
    max_side: int | None,
    thorough: bool,
    data_root: Path | None,
) -> None:
    """Say what DATA holds.

    Counts, sizes, channels, classes, duplicates, and broken files with the reason.

    DATA is a folder, a parquet or .npz file, or a name such as digits or usps.
    """
    from handful.cli.console import watching
    from handful.pool import Reading, open_data

    how = Reading.of(given(page=page, channel=channel, max_side=max_side))
    with watching() as progress:
        found = open_data(
            spec, data_root=data_root, progress=progress, thorough=thorough, **asdict(how)
        )
    click.echo(found.found)
