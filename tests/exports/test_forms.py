"""Every form comes back as it left, whatever the names; what others read is what we wrote."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from exporting import CLASSES, EMPTY, HARD, about, again, answered, as_said, hard_folder, paint

from handful.errors import InputError, StoreError, UnknownName
from handful.exports import FORMS, read_any, safe_name, write, write_folders
from handful.paths import to_text
from handful.pool import open_data
from handful.store import LABEL_COLUMNS

READ = [form for form in FORMS if form != "npz"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("hard") / "pictures"
    return folder, hard_folder(folder)


@pytest.mark.parametrize("form", READ)
def test_every_form_comes_back(
    form: str, pictures: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, rows = pictures
    assert write(form, tmp_path, again(rows), about(folder)) == len(rows)
    found = read_any(tmp_path / FORMS[form].file)
    assert found.form == form
    assert as_said(found) == answered(rows)
    guessed = {said.path: said.label for said in found.guessed}
    assert guessed == {to_text(r["path"]): r["class"] for r in rows if r["source"] == "model"}
    assert found.rows == len(rows)
    assert not found.faulty
    kept = {r["path"]: r["sha256"] for r in rows}
    assert {said.sha256 for said in found.said} <= set(kept.values())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [FORMS[form].file, *FORMS[form].beside]
    )


@pytest.mark.parametrize("how", ["copies", "links"])
def test_folders_by_class(
    how: Any, pictures: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, rows = pictures
    target = tmp_path / "by class"
    classes = [r for r in rows if r["class"] is not None]
    assert write_folders(target, again(rows), about(folder), how=how) == {
        "pictures": len(classes), "left_out": len(rows) - len(classes),
    }  # fmt: skip
    found = read_any(target, beside=folder)
    assert as_said(found) == answered(rows)
    with (target / "labels.csv").open(encoding="utf-8", newline="") as file:
        files = {r["path"]: r["file"] for r in csv.DictReader(file, strict=True)}
    assert all(os.path.commonpath([target, target / f]) == str(target) for f in files.values())
    written = [f for f in files.values() if f]
    assert len({f.casefold() for f in written}) == len(written) == len(classes)
    by_path = {r["path"]: r for r in rows}
    for file in written:
        place = target / file
        assert place.is_symlink() == (how == "links")
        path = next(p for p in by_path if files.get(to_text(p), files.get(f"'{p}")) == file)
        assert place.read_bytes() == (folder / path).read_bytes()
    folders = sorted(p.name for p in target.iterdir() if p.is_dir())
    assert len(folders) == 4
    assert len({f.casefold() for f in folders}) == 4
    assert not any(part.startswith(".") for part in folders)


def test_folders_by_class_never_go_into_the_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    paint(folder / "a.png", 1)
    (tmp_path / "link").symlink_to(folder)
    row = {**EMPTY, "path": "a.png", "class_id": 0, "class": "copepod", "state": "labelled"}
    for inside in (folder / "by class", folder, tmp_path / "link" / "x", folder / ".handful" / "x"):
        with pytest.raises(InputError, match="outside the folder of the pictures"):
            write_folders(inside, again([row]), about(folder))
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="there is there already"):
        write_folders(tmp_path / "there", again([row]), about(folder))
    assert sorted(p.name for p in folder.iterdir()) == ["a.png"]


def test_a_disk_that_refuses_leaves_no_half_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    paint(folder / "a.png", 1)
    row = {**EMPTY, "path": "a.png", "class_id": 0, "class": "copepod", "state": "labelled"}

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr("handful.exports.folders.shutil.copyfile", full)
    with pytest.raises(StoreError, match="disk is full"):
        write_folders(tmp_path / "out", again([row]), about(folder))

    def unable(*_: object, **__: object) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(Path, "symlink_to", unable)
    with pytest.raises(InputError, match="choose copies"):
        write_folders(tmp_path / "out", again([row]), about(folder), how="links")
    assert [p.name for p in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize("form", ["parquet", "folders"])
def test_what_a_link_leads_to_outside_stays_outside(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    paint(tmp_path / "secret.png", 3)
    paint(folder / "a.png", 1)
    (folder / "b.png").symlink_to(tmp_path / "secret.png")
    names = ("a.png", "b.png", "gone.png", "../secret.png")
    rows = [{**EMPTY, "path": n, "class_id": 0, "class": "copepod", "state": "labelled"}
            for n in names]  # fmt: skip
    if form == "parquet":
        write(form, tmp_path, again(rows), about(folder))
        images = pq.read_table(tmp_path / "labels.parquet").column("image").to_pylist()
        assert [bool(image["bytes"]) for image in images] == [True, False, False, False]
        write(form, tmp_path, again(rows), about(folder, follow=True))
        images = pq.read_table(tmp_path / "labels.parquet").column("image").to_pylist()
        assert [bool(image["bytes"]) for image in images][:3] == [True, True, False]
    else:
        done = write_folders(tmp_path / "out", again(rows), about(folder))
        assert done == {"pictures": 1, "left_out": 3}


def test_safe_names() -> None:
    odd = ["", ".", "..", "a/..", "nul.tar.png", "COM1", "x. ", ".hidden", "\0", "a\\b", "\ud800"]
    for given in [*HARD, *(n for _, n in CLASSES), *odd, "~x", "é" * 200]:
        name = safe_name(given)
        assert name
        assert len(name.encode()) <= 130
        assert not set(name) & set('<>:"/\\|?*\0\n\r\t')
        assert name not in (".", "..")
        assert not name.startswith((".", "-", "=", "~"))
        assert not name.endswith((".", " "))
        assert name.partition(".")[0].lower() not in ("con", "nul", "com1")
        assert name == safe_name(name)


def test_parquet_is_what_our_own_reader_takes(
    pictures: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Labels as ``ClassLabel``, the bytes of every file as they are."""
    folder, rows = pictures
    write("parquet", tmp_path, again(rows), about(folder))
    schema = pq.read_schema(tmp_path / "labels.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"] == {"names": [n for _, n in CLASSES], "_type": "ClassLabel"}
    assert features["image"] == {"_type": "Image"}
    assert list(features) == schema.names == ["image", "label", *LABEL_COLUMNS]
    table = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    for row, read in zip(rows, table, strict=True):
        assert read["image"]["bytes"] == (folder / row["path"]).read_bytes()
        names = features["label"]["names"]
        assert (names[read["label"]] if read["label"] >= 0 else None) == row["class"]
    data = open_data(tmp_path / "labels.parquet")
    assert len(data.pool) == len(rows)
    assert data.classes == tuple(n for _, n in CLASSES)
    write("parquet", tmp_path, again(rows), about(folder), pictures=False)
    small = pq.read_table(tmp_path / "labels.parquet").column("image").to_pylist()
    assert all(image["bytes"] is None for image in small)


def test_pictures_in_parquet_are_found_by_content_where_nothing_names_them(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    rows = hard_folder(folder)
    write("parquet", tmp_path, again(rows), about(folder))
    table = pq.read_table(tmp_path / "labels.parquet", columns=["image", "label"])
    pq.write_table(table, tmp_path / "other.parquet")
    found = read_any(tmp_path / "other.parquet")
    kept = {r["sha256"]: r["class"] for r in rows if r["class"] is not None}
    assert {said.sha256: said.label for said in found.said} == kept


def test_numpy_arrays(pictures: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    folder, rows = pictures
    vectors = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32)
    told = about(folder, features=lambda places: vectors[list(places)])
    assert write("npz", tmp_path, again(rows), told) == len(rows)
    with np.load(tmp_path / "labels.npz", allow_pickle=False) as found:
        assert set(found) == {*LABEL_COLUMNS, "y", "X", "classes"}
        assert found["path"].tolist() == [to_text(r["path"]) for r in rows]
        assert found["y"].tolist() == [-1 if r["class"] is None else r["class_id"] for r in rows]
        assert found["classes"].tolist() == [dict(CLASSES).get(id, "") for id in range(6)]
        named = [found["classes"][y] if y >= 0 else "" for y in found["y"]]
        assert named == [r["class"] or "" for r in rows] == found["class"].tolist()
        np.testing.assert_array_equal(found["X"], vectors)


def test_coco_is_whole(pictures: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    """Ids lead where they should, as pycocotools would follow them."""
    folder, rows = pictures
    write("coco", tmp_path, again(rows), about(folder))
    made = json.loads((tmp_path / "coco.json").read_text("utf-8"))
    names = {c["id"]: c["name"] for c in made["categories"]}
    assert names == dict(CLASSES)
    images = {i["id"]: i for i in made["images"]}
    assert len(images) == len(rows)
    assert all(image["width"] == 8 and image["height"] == 6 for image in images.values())
    of = {images[a["image_id"]]["file_name"]: names[a["category_id"]] for a in made["annotations"]}
    assert of == {to_text(r["path"]): r["class"] for r in rows if r["class"] is not None}
    assert len({a["id"] for a in made["annotations"]}) == len(made["annotations"])


def test_label_studio_set_up(pictures: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    folder, rows = pictures
    write("label_studio", tmp_path, again(rows), about(folder))
    setup = ElementTree.fromstring((tmp_path / "label-studio.xml").read_bytes())
    values = [choice.get("value") for choice in setup.iter("Choice")]
    assert [v.split() if v else v for v in values] == [n.split() for _, n in CLASSES]
    tasks = json.loads((tmp_path / "label-studio.json").read_text("utf-8"))
    assert all(t["data"]["image"].startswith("/data/local-files/?d=pictures/") for t in tasks)
    assert all(t["data"]["image"].isascii() for t in tasks)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_to_write_is_a_file_all_the_same(form: str, tmp_path: Path) -> None:
    assert write(form, tmp_path, again([]), about(tmp_path)) == 0
    if form != "npz":
        assert not read_any(tmp_path / FORMS[form].file).said


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'coco'"):
        write("cocoa", tmp_path, again([]), about(tmp_path))
