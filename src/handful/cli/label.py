"""``handful FOLDER``: the labelling page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["label"]

_NETWORK = (
    "Open to this network. Whoever has the link below sees the pictures and can label them, until"
    " Ctrl-C. It is not encrypted: others in the network can read along, so use one that you trust."
)
_ALONE = (
    "It runs for this computer alone. To open it to the network, end it (Ctrl-C there) and start"
    " it again with --lan."
)


@click.command(hidden=True)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), metavar="PLACE",
              help="Where the work is kept. [FOLDER/.handful]")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N",
              help="Port of the page: --port 8080. [as last time, else a free one]")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the address, open no browser. [off]")
@click.option("--follow-links", is_flag=True,
              help="Follow links that lead out of the folder. [off]")  # fmt: skip
@click.option("--lan", is_flag=True,
              help="Let other devices of this network label too, by a link. [off]")  # fmt: skip
@common
def label(
    folder: Path,
    project: Path | None,
    port: int | None,
    no_browser: bool,
    follow_links: bool,
    lan: bool,
) -> None:
    """Open the labelling page for FOLDER; Ctrl-C ends it.

    Nothing leaves this computer, and the pictures are never changed.
    """
    from handful.page.serve import Opened, Options, lan_address, serve

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
        if opened.link is not None:
            click.echo(_NETWORK, err=True)
            click.echo(opened.link)
        elif lan:
            click.echo(_ALONE, err=True)
        if not opened.again:
            click.echo("Ctrl-C ends it; every answer is stored already.", err=True)

    address = lan_address() if lan else None
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the page leaves the cores to the children
    serve(folder, Options(project, port, not no_browser, follow_links, address), say)
