"""``handful export FOLDER``: the labels of a project as files, without the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from handful.cli.options import common

if TYPE_CHECKING:
    from handful.page.gathering import Still

__all__ = ["export"]


def _forms(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Names of forms, given one by one or with commas."""
    from handful.errors import UnknownName
    from handful.exports import FORMS

    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    known = (*FORMS, "folders", "links", "model", "onnx", "report")
    for name in names:
        if name not in known:
            raise UnknownName("format", name, known)
    return names or ["csv"]


@click.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False,
                path_type=Path))  # fmt: skip
@click.option("--format", "forms", multiple=True, callback=_forms, metavar="NAME",
              help="csv, jsonl, parquet, coco, label_studio, npz, folders (a folder a class, with"
              " copies) or links, model, onnx, report: --format csv,model. [csv]")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="PLACE",
              help="A new folder to write into: --out labels."
              " [FOLDER/handful-export/DATE; folders by class beside FOLDER]")  # fmt: skip
@click.option("--project", type=click.Path(file_okay=False, path_type=Path), metavar="PLACE",
              help="Where the work is kept. [FOLDER/.handful]")  # fmt: skip
@click.option("--no-model", is_flag=True,
              help="Leave out what the model says of open pictures. [off]")  # fmt: skip
@click.option("--no-states", is_flag=True, help="Leave out unsure, none, broken, later. [off]")
@click.option("--open", "opened", is_flag=True, help="Open pictures as empty rows. [off]")
@click.option("--no-pictures", is_flag=True, help="Parquet without the pictures. [off]")
@click.option("--follow-links", is_flag=True,
              help="Follow links that lead out of the folder. [off]")  # fmt: skip
@common
def export(
    folder: Path, forms: list[str], out: Path | None, project: Path | None, follow_links: bool,
    **chosen: Any,
) -> None:  # fmt: skip
    """Write the labels of FOLDER as files that other programs read.

    FOLDER was labelled with `handful FOLDER`, which may be open meanwhile: nothing here changes
    the work or the pictures.
    """
    from handful.errors import InputError
    from handful.exports.folders import check_outside
    from handful.page.export import Order, beside, by_class, carry, new_folder
    from handful.page.gathering import Choice, Still

    source = Still(folder, place=project, follow=follow_links)
    how: Any = {"folders": "copies", "links": "links"}
    folders = [how[name] for name in forms if name in how]
    formats = [name for name in forms if name not in (*how, "model", "onnx", "report")]
    if len(folders) > 1:
        raise InputError("folders by class hold copies or links, not both: run it twice")
    order = Order(
        formats,
        Choice(not chosen["no_states"], chosen["opened"], not chosen["no_model"]),
        pictures=not chosen["no_pictures"],
        folders=folders[0] if folders else None,
        folders_at=by_class(source.folder) if out is None else out / "by-class",
        model="model" in forms,
        report="report" in forms,
    )
    target = source.folder
    if order.folders_at is not None and folders:
        check_outside(order.folders_at, source.folder)
    if out is not None:
        target = new_folder(out)
    elif set(forms) - set(how):
        target = beside(source)
    done = carry(source, order, target)
    if "onnx" in forms:
        done.others.append(_onnx(source, target))
    for name, n in done.files.items():
        click.echo(f"{n:>10,}  {target / name}")
    for name in done.others:
        click.echo(f"{'':>10}  {target / name}")
    if done.by_class is not None:
        place, n, left_out = done.by_class
        click.echo(f"{n:>10,}  {place}")
        if left_out:
            click.echo(f"{left_out:>10,}  without a class, or gone: only in its labels.csv")


def _onnx(source: Still, target: Path) -> str:
    """The model as ONNX, beside the other files."""
    from tempfile import TemporaryDirectory

    from handful.page.reporting import model_file
    from handful.worker.naming import opened
    from handful.worker.onnx_file import write_onnx

    with TemporaryDirectory() as place:
        model_file(source, Path(place) / "model", source.folder.name)
        write_onnx(target / "model.onnx", opened(Path(place) / "model"))
    return "model.onnx"
