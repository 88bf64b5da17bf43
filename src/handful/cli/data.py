"""``handful data DATA``: what was found."""

from __future__ import annotations

from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["data"]


@click.command()
@click.argument("spec", metavar="DATA")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where named sets lie.")
@common
def data(spec: str, data_root: Path | None) -> None:
    """Say what DATA holds.

    Counts, sizes, channels, classes, duplicates, and broken files with the reason.
    """
    from handful.cli.console import watching
    from handful.pool import open_data

    with watching() as progress:
        found = open_data(spec, data_root=data_root, progress=progress)
    click.echo(found.found)
