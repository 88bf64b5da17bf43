"""Label files: any name comes back as it was, in CSV and in JSON Lines."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handful.errors import InputError, StoreError
from handful.exports import FORMATS, read_labels, write_labels
from handful.store import LABEL_COLUMNS

EMPTY: dict[str, Any] = dict.fromkeys(LABEL_COLUMNS)
HARD = [
    "a,b", "a\nb", "a\r", 'a"b', "'", "''=1", "=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1",
    "🐙", "עברית", "\u202egnp", "100 %.png", "%41", " a ", "x" * 255,
    "<img src=x onerror=alert(1)>",
    "odd\udcff.png", "NULL", "null", ",", "'quoted'",
]  # fmt: skip
texts = st.one_of(
    st.sampled_from(HARD), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
)


def row(**cells: Any) -> dict[str, Any]:
    return {**EMPTY, **cells}


@pytest.mark.parametrize("form", FORMATS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6))
def test_every_name_comes_back(
    tmp_path: Path, form: str, found: list[tuple[str, str, str]]
) -> None:
    rows = [
        row(path=path, **{"class": name}, person=person.encode("utf-8", "ignore").decode() or None,
            class_id=number, state="labelled", confidence=0.25, round=3)
        for number, (path, name, person) in enumerate(found)
    ]  # fmt: skip
    rows = [r for r in rows if "\udcff" not in r["class"]]
    path = tmp_path / f"labels.{form}"
    assert write_labels(path, rows) == len(rows)
    assert list(read_labels(path)) == rows


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(tmp_path: Path, name: str) -> None:
    """What a spreadsheet would run is text there."""
    path = tmp_path / "labels.csv"
    write_labels(path, [row(path=name, **{"class": name}, tag=name, person=name)])
    with path.open(encoding="utf-8", newline="") as file:
        (read,) = csv.DictReader(file, strict=True)
    assert all(
        not (cell or "x").startswith(("=", "+", "-", "@", "\t", "\r")) for cell in read.values()
    )
    assert read["class"] == f"'{name}"


def test_json_lines_say_nothing_as_null(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    write_labels(path, [row(path="a", state="open")])
    (said,) = map(json.loads, path.read_text().splitlines())
    assert list(said) == list(LABEL_COLUMNS)
    assert said["class"] is None


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.csv"
    write_labels(path, [row(path="a")])
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("handful.store.files.os.fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        write_labels(path, [row(path="b")])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "path,class\na,b,c\n"), ("labels.csv", "path,class\na\n"),
        ("labels.csv", 'path\n"a'), ("labels.csv", "class\nb\n"),
        ("labels.csv", "path,class_id\na,x\n"), ("labels.jsonl", "{}\n"),
        ("labels.jsonl", "no json\n"), ("labels.jsonl", "[1]\n"), ("labels.csv", b"path\n\xff\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match="no table of labels"):
        list(read_labels(path))


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.csv or \.jsonl"):
        write_labels(tmp_path / "labels.xlsx", [])
