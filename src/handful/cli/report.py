"""``handful report RUN...`` or ``FOLDER``: write or rewrite ``report.html``."""

from __future__ import annotations

from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["report"]


@click.command()
@click.argument("runs", metavar="RUN... | FOLDER", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--baseline", "baselines", multiple=True, type=click.Path(path_type=Path),
              metavar="RUN", help="A run with random queries to draw beside them, again and again."
              " [RUN/baseline where it exists]")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="The HTML file to write: --out both.html. [RUN/report.html; of several runs,"
              " comparison.html beside the first]")  # fmt: skip
@click.option("--pictures", is_flag=True,
              help="Show pictures of each class: of a labelled folder only. [off]")  # fmt: skip
@common
def report(
    runs: tuple[Path, ...], baselines: tuple[Path, ...], out: Path | None, pictures: bool
) -> None:
    """Write the report of runs, or of a folder labelled on the page.

    A labelled FOLDER gets a page to share: classes, how the labels arose, the blind check, and a
    sentence for a methods section.
    """
    from handful.page.gathering import is_project

    if len(runs) == 1 and is_project(runs[0]):
        from handful.page.export import beside
        from handful.page.gathering import Still, about
        from handful.page.reporting import report_file

        source = Still(runs[0])
        place = beside(source) / "report.html" if out is None else out
        report_file(source, place, about(source).name, pictures=pictures)
        click.echo(place)
        return
    from handful.report import render

    click.echo(render(list(runs), out, baselines=list(baselines)))
