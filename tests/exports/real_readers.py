"""What the real readers make of our files: run by the Python that has them, not by the tests' own.

    PYTHON real_readers.py FOLDER

``FOLDER`` holds what test_real_readers.py writes, and ``expected.json``.  Each reader that is
installed prints a line; one that differs ends this with an error.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

Expected = dict[str, dict[str, Any]]


def hugging_face(folder: Path, expected: Expected, cache: str) -> str:
    """`datasets`: parquet with pictures and class labels, and a folder a class."""
    import datasets

    found = datasets.load_dataset(
        "parquet", data_files=str(folder / "labels.parquet"), split="train", cache_dir=cache
    )
    assert isinstance(found.features["image"], datasets.Image), found.features
    assert isinstance(found.features["label"], datasets.ClassLabel), found.features
    assert len(found) == len(expected)
    for row in found:
        wanted = expected[row["path"]]
        named = found.features["label"].int2str(row["label"]) if row["label"] >= 0 else None
        assert named == wanted["class"] == row["class"], (row, wanted)
        assert row["image"].size == (8, 6)
        assert row["state"] == wanted["state"]
    pictures = datasets.load_dataset(
        "imagefolder", data_dir=str(folder / "by-class"), split="train", cache_dir=cache,
        drop_labels=False,
    )  # fmt: skip
    classed = [row for row in expected.values() if row["class"] is not None]
    assert len(pictures) == len(classed)
    assert len(pictures.features["label"].names) == len({row["class"] for row in classed})
    return f"datasets {datasets.__version__}"


def torch_vision(folder: Path, expected: Expected, _: str) -> str:
    """torchvision's ImageFolder."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):  # a build for another torch declares these two and has neither
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    found = torchvision.datasets.ImageFolder(str(folder / "by-class"))
    classed = [row for row in expected.values() if row["class"] is not None]
    assert len(found) == len(classed)
    with (folder / "by-class" / "labels.csv").open(encoding="utf-8", newline="") as file:
        files = {row["file"]: row["class"] for row in csv.DictReader(file) if row["file"]}
    names: dict[str, str] = {}
    for path, label in found.samples:
        said = files[Path(path).relative_to(folder / "by-class").as_posix()]
        assert names.setdefault(found.classes[label], said) == said
    assert found[0][0].size == (8, 6)
    return f"torchvision {torchvision.__version__}"


def label_studio(folder: Path, expected: Expected, cache: str) -> str:
    """Label Studio's converter, with the set-up that goes beside the tasks."""
    import label_studio_sdk
    from label_studio_sdk.converter import Converter

    converter = Converter(str(folder / "label-studio.xml"), project_dir=None)
    converter.convert_to_json_min(str(folder / "label-studio.json"), cache, is_dir=False)
    found = json.loads((Path(cache) / "result.json").read_text(encoding="utf-8"))
    tasks = json.loads((folder / "label-studio.json").read_text(encoding="utf-8"))
    images = {task["data"]["image"]: task["meta"]["path"] for task in tasks}
    got = {images[row["image"]]: row.get("class") for row in found if row.get("class")}
    people = {
        path: row["class"] for path, row in expected.items()
        if row["class"] is not None and row["source"] != "model"
    }  # fmt: skip
    assert got == people, (got, people)
    return f"label-studio-sdk {label_studio_sdk.__version__}"


READERS = {
    "datasets": hugging_face, "torchvision": torch_vision, "label_studio_sdk": label_studio,
}  # fmt: skip


def main(folder: Path) -> int:
    expected: Expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    for name, reader in READERS.items():
        try:
            __import__("torch" if name == "torchvision" else name)
        except (ImportError, RuntimeError) as error:
            sys.stdout.write(f"- {name}: {error}\n")
            continue
        with tempfile.TemporaryDirectory() as cache:
            sys.stdout.write(f"+ {reader(folder, expected, cache)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
