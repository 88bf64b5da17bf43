"""The forms in which labels leave, by name: what each is called, its file, who writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from handful.errors import UnknownName
from handful.exports.about import About, Rows
from handful.exports.arrays import write_arrays
from handful.exports.coco import write_coco
from handful.exports.label_studio import SETUP, write_label_studio
from handful.exports.labels import write_labels
from handful.exports.parquet import write_parquet

__all__ = ["FORMS", "Form", "write"]


class Form(NamedTuple):
    """One form: its name for people, the file it becomes, files beside it."""

    text: str
    file: str
    beside: tuple[str, ...] = ()


FORMS: Mapping[str, Form] = {
    "csv": Form("CSV", "labels.csv"),
    "jsonl": Form("JSON Lines", "labels.jsonl"),
    "parquet": Form("Parquet (Hugging Face)", "labels.parquet"),
    "coco": Form("COCO", "coco.json"),
    "label_studio": Form("Label Studio", "label-studio.json", (SETUP,)),
    "npz": Form("NumPy arrays", "labels.npz"),
}


def write(form: str, target: Path, rows: Rows, about: About, *, pictures: bool = True) -> int:
    """Write a form into the folder ``target``; gives the number of rows.

    ``pictures``: parquet holds the pictures, too.  `UnknownName`, `StoreError` when the disk
    refuses; then the file is not there.
    """
    if form not in FORMS:
        raise UnknownName("format", form, FORMS)
    path = target / FORMS[form].file
    if form == "coco":
        return write_coco(path, rows, about)
    if form == "label_studio":
        return write_label_studio(path, rows, about)
    if form == "parquet":
        return write_parquet(path, rows, about, pictures=pictures)
    if form == "npz":
        return write_arrays(path, rows, about)
    return write_labels(path, rows())
