"""``handful report RUN...``: write or rewrite ``report.html``."""

from __future__ import annotations

from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["report"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--baseline", "baselines", multiple=True, type=click.Path(path_type=Path),
              metavar="RUN", help="A run with random queries to draw beside them, again and again."
              " [RUN/baseline where it exists]")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="The HTML file to write: --out both.html. [RUN/report.html; of several runs,"
              " comparison.html beside the first]")  # fmt: skip
@common
def report(runs: tuple[Path, ...], baselines: tuple[Path, ...], out: Path | None) -> None:
    """Write the report of one run or several."""
    from handful.report import render

    click.echo(render(list(runs), out, baselines=list(baselines)))
