"""Label files of other programs, and files that are none: read in part or refused, no crash."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exporting import about, again, as_said, hard_folder, paint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import handful.exports.incoming
from handful.errors import InputError
from handful.exports import FORMS, Incoming, read_any, write


def read(tmp_path: Path, name: str, content: str | bytes) -> Incoming:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_any(path)


CAT = {"a.png": ("cat", "labelled"), "b.png": ("dog", "labelled")}


@pytest.mark.parametrize(
    "content",
    [
        "path,class\na.png,cat\nb.png,dog\n", "filename;label\r\na.png;cat\r\nb.png;dog\r\n",
        "Image\tSpecies\na.png\tcat\nb.png\tdog\n", "a.png,cat\nb.png,dog\n",
        "\ufeffpath,class,extra\na.png,cat,1\nb.png,dog\n",
        '"path","class"\n"a.png","cat"\nb.png,dog',
        "path,class\na.png,cat\n\nb.png,dog\nc.png,\n",
        "file_name,category\na.png,cat\nb.png,dog\n",
        "path,class\na.png,cat\nb.png,dog\n".encode("utf-16"),
    ],
)  # fmt: skip
def test_tables_of_others(content: str | bytes, tmp_path: Path) -> None:
    assert as_said(read(tmp_path, "labels.csv", content)) == CAT


@pytest.mark.parametrize(
    "tasks",
    [
        [{"data": {"image": f"/data/local-files/?d={n}"},
          "annotations": [{"result": [{"type": "choices", "value": {"choices": [c]}}]}]}
         for n, (c, _) in CAT.items()],
        [{"image": f"/data/upload/7/0a1b2c3d-{n}", "choice": c} for n, (c, _) in CAT.items()],
        [{"data": {"pic": f"https://x.example/{n}?x=1"}, "annotations": [
            {"was_cancelled": True, "result": [{"value": {"choices": ["bird"]}}]},
            {"result": [{"value": {"choices": [c]}}]}]} for n, (c, _) in CAT.items()],
        [{"image": n, "label": {"choices": [c]}} for n, (c, _) in CAT.items()],
    ],
)  # fmt: skip
def test_label_studio_of_others(tasks: Any, tmp_path: Path) -> None:
    assert as_said(read(tmp_path, "tasks.json", json.dumps(tasks))) == CAT


def test_coco_of_others(tmp_path: Path) -> None:
    """Boxes are left alone; two boxes of one class are one answer, of two classes none."""
    document = {
        "images": [{"id": i, "file_name": f"{c}.png"} for i, c in enumerate("abcd")] + [{"id": 9}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 5, "bbox": [0, 0, 1, 1]},
            {"id": 2, "image_id": 0, "category_id": 5, "bbox": [0, 0, 2, 1]},
            {"id": 3, "image_id": 1, "category_id": 6},
            {"id": 4, "image_id": 2, "category_id": 5},
            {"id": 5, "image_id": 2, "category_id": 6},
            {"id": 6, "image_id": 3, "category_id": 7},
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
    }
    found = read(tmp_path, "coco.json", json.dumps(document))
    assert as_said(found) == CAT
    assert [fault.row for fault in found.faults] == [3, 4, 5]
    assert "2 classes for one picture" in found.faults[0].text


def test_parquet_of_others(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "label": ["cat", "dog"]}),
                   tmp_path / "x.parquet")  # fmt: skip
    assert as_said(read_any(tmp_path / "x.parquet")) == CAT
    pq.write_table(pa.table({"path": ["a.png", "b.png"], "label": [3, None]}),
                   tmp_path / "x.parquet")  # fmt: skip
    assert as_said(read_any(tmp_path / "x.parquet")) == {"a.png": ("3", "labelled")}


def test_a_folder_a_class(tmp_path: Path) -> None:
    """Within the pictures by name; elsewhere by content, whatever the files are called there."""
    folder = tmp_path / "pictures"
    paint(folder / "cat" / "deep" / "a.png", 1)
    paint(folder / "dog" / "b%41.png", 2)
    paint(folder / "none.png", 3)
    (folder / "dog" / "note.txt").write_text("x")
    found = read_any(folder, beside=folder)
    assert as_said(found) == {
        "cat/deep/a.png": ("cat", "labelled"),
        "dog/b%41.png": ("dog", "labelled"),
    }
    assert as_said(read_any(folder, beside=tmp_path)).keys() == {
        "pictures/cat/deep/a.png", "pictures/dog/b%41.png",
    }  # fmt: skip
    apart = read_any(folder, beside=tmp_path / "elsewhere")
    digest = sha256((folder / "cat" / "deep" / "a.png").read_bytes()).hexdigest()
    assert apart.said[0].sha256 == digest
    with pytest.raises(InputError, match="one folder a class"):
        read_any(tmp_path / "pictures" / "cat" / "deep")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.csv", "", "no columns"), ("x.csv", "one,two\n1,2\n", "no columns"),
        ("x.csv", 'path,class\n"a', "no table"), ("x.csv", b"path,class\n\xff,a\n", "not UTF-8"),
        ("x.json", "{", "no JSON"), ("x.json", "[" * 100_000, "nested too deep"),
        ("x.json", '{"a": 1}', "no line names"), ("x.jsonl", '{"path": "a"', "line 1 is no JSON"),
        ("x.json", '[{"a":1}', "no JSON"), ("x.parquet", b"PAR1xxPAR1", "no parquet"),
        ("x.csv", b"path,class\n" + b"x" * 200_000 + b",a", "no table"),
        ("x.pkl", b"\x80\x04cos\nsystem\n", "not UTF-8"), ("x.npz", b"PK\x03\x04", "no columns"),
    ],
)  # fmt: skip
def test_what_is_no_label_file_is_refused(
    name: str, content: str | bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says) as refused:
        read(tmp_path, name, content)
    assert str(tmp_path) not in str(refused.value)


def test_a_parquet_file_without_labels_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="names no pictures or no classes"):
        read_any(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        read_any(tmp_path / "gone.csv")


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handful.exports.incoming, "MOST_ROWS", 3)
    with pytest.raises(InputError, match="in parts"):
        read(tmp_path, "x.csv", "path,class\n" + "a,b\n" * 4)
    monkeypatch.setattr("handful.exports.table.LARGEST", 10)
    with pytest.raises(InputError, match="larger than"):
        read(tmp_path, "x.csv", "path,class\n" + "a,b\n" * 4)


# ------------------------------------------------------------------ anything at all

value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["a.png", "cat", "labelled", "later", "model", "http://[",
                       "/data/upload/1/00000000-x.png",
                       "/data/local-files/?d=%FF%2", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from([
            "images", "annotations", "categories", "id", "image_id", "category_id", "file_name",
            "name", "data", "image", "result", "value", "choices", "was_cancelled", "meta", "path",
            "class", "class_id", "state", "source", "sha256", "predictions", "label", "choice",
        ]),
        inner, max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


def tolerated(path: Path) -> None:
    """Read, or refused with one sentence; what was read is whole."""
    with suppress(InputError):
        found = read_any(path)
        assert all(isinstance(said.path, str) for said in [*found.said, *found.guessed])
        assert all((said.state == "labelled") == bool(said.label) for said in found.said)
        assert found.rows >= len(found.said)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value)
def test_any_json(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value))
    tolerated(path)
    path.write_text(json.dumps([value]))
    tolerated(path)
    (tmp_path / "x.jsonl").write_text("\n".join([json.dumps(value)] * 2))
    tolerated(tmp_path / "x.jsonl")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200), st.sampled_from([b"", b"path,class\n", b"PAR1", b"[", b"\xff\xfe"]))
def test_any_bytes(tmp_path: Path, body: bytes, begin: bytes) -> None:
    for name in ("x.csv", "x.json", "x"):
        (tmp_path / name).write_bytes(begin + body)
        tolerated(tmp_path / name)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("written")
    rows = again(hard_folder(folder / "pictures"))
    for form in FORMS:
        write(form, folder, rows, about(folder / "pictures"), pictures=False)
    return {form: (folder / FORMS[form].file).read_bytes() for form in FORMS if form != "npz"}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_file(tmp_path: Path, written: dict[str, bytes], data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(sorted(written)))
    body = bytearray(written[form])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        if data.draw(st.booleans()):
            body[place] = data.draw(st.integers(0, 255))
        else:
            del body[place : place + data.draw(st.integers(1, 40))]
        if not body:
            break
    path = tmp_path / FORMS[form].file
    path.write_bytes(body)
    tolerated(path)
