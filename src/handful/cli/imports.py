"""``handful import FOLDER FILE``: labels from a file into a project."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from handful.cli.options import common

if TYPE_CHECKING:
    from handful.page.imports import Plan

__all__ = ["import_labels"]


@click.command("import")
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False,
                path_type=Path))  # fmt: skip
@click.argument("file", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option("--preview", is_flag=True, help="Only say what would change. [off]")
@click.option("--only-new", is_flag=True,
              help="Leave alone what has a label already. [off: it changes]")  # fmt: skip
@click.option("--guesses", is_flag=True,
              help="Take rows that a model guessed (source model), too. [off]")  # fmt: skip
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), metavar="PLACE",
              help="Where the work is kept. [FOLDER/.handful]")  # fmt: skip
@common
def import_labels(
    folder: Path, file: Path, preview: bool, only_new: bool, guesses: bool, project: Path | None
) -> None:
    """Take labels for the pictures of FOLDER from FILE, all of them or none.

    FILE is a CSV, JSON Lines, parquet, COCO or Label Studio file, or a folder with a folder a
    class (FOLDER itself, where its own folders are the classes). What was imported is undone
    on the page like any answer. The page must be closed; it imports on its own screen, too.
    """
    from handful.errors import InputError, RunFolderError
    from handful.exports import read_any
    from handful.page.imports import apply, plan
    from handful.page.project import Project
    from handful.page.scan import Scanner
    from handful.page.words import Refused
    from handful.pool.ids import counted

    incoming = read_any(file, beside=folder)
    try:
        opened = Project(folder, place=project)
    except RunFolderError as error:
        raise InputError(
            f"{folder} is open in handful: import on its Export screen, or end it first (Ctrl-C)"
        ) from error
    try:
        scanner = Scanner(opened)
        scanner.look(draw=False)
        if scanner.error:
            raise InputError(f"this folder cannot be read: {scanner.error}")
        made = plan(opened, incoming, guesses=guesses)
        _tell(made)
        if not preview:
            over = not only_new
            n = apply(opened, made, f"import/{uuid.uuid4()}", over=over, file=file.name)
            click.echo(f"{counted(n, 'label')} imported.")
    except Refused as error:
        raise InputError(str(error)) from error
    finally:
        opened.close()


def _tell(made: Plan) -> None:
    """The preview."""
    from handful.pool.ids import shown

    click.echo(made.text)
    for name, n in made.classes:
        click.echo(f"{n:>10,}  new class {shown(name)}")
    for n, what in (
        (made.same, "as they are already"), (made.empty, "say nothing"),
        (made.guesses, "are a model's guesses, left out (--guesses takes them)"),
        (len(made.conflicts), "are given two classes, left out"),
        (made.faulty, "cannot be used, left out"), (made.by_content, "found by their content"),
        (made.by_end, "found by the end of their path"),
    ):  # fmt: skip
        if n:
            click.echo(f"{n:>10,}  {what}")
    for name in [*made.missing, *made.conflicts][:20]:
        click.echo(f"            left out: {shown(name)}", err=True)
