"""``handful FOLDER``: the labelling page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["label"]


@click.command(hidden=True)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), metavar="PLACE",
              help="Where the work is kept. [FOLDER/.handful]")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N",
              help="Port of the page: --port 8080. [as last time, else a free one]")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the address, open no browser. [off]")
@click.option("--follow-links", is_flag=True,
              help="Follow links that lead out of the folder. [off]")  # fmt: skip
@common
def label(
    folder: Path, project: Path | None, port: int | None, no_browser: bool, follow_links: bool
) -> None:
    """Open the labelling page for FOLDER; Ctrl-C ends it.

    Nothing leaves this computer, and the pictures are never changed.
    """
    from handful.page.serve import Opened, Options, serve

    def say(opened: Opened) -> None:
        if opened.again:
            click.echo("This folder is already open in handful. Opened that page.", err=True)
        elif opened.read_only:
            click.echo(
                f"This folder is read-only. Your work is stored in {opened.place}."
                " The pictures are never changed anyway.",
                err=True,
            )
        click.echo(opened.url)
        if not opened.again:
            click.echo("Ctrl-C ends it; every answer is stored already.", err=True)

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the page leaves the cores to the children
    serve(folder, Options(project, port, not no_browser, follow_links), say)
