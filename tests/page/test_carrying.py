"""`handful export` and `handful import`: the same as the page does, without it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from page_serving import Served, opened

from handful.cli import main
from handful.exports import read_any
from handful.paths import from_text
from handful.store import read_events


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def by_path(file: Path) -> dict[str, Any]:
    with file.open(encoding="utf-8", newline="") as lines:
        return {from_text(row["path"]): row for row in csv.DictReader(lines, strict=True)}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("handful.page.project.Decoders", opened.__globals__["InThisProcess"])


def test_out_of_an_open_page(served: Served, tmp_path: Path, capsys: Any) -> None:
    """The page goes on, the book stays as it is; what is open cannot be imported into."""
    tab = served.client()
    ids = tab.ids()
    tab.label(ids[0], "copepod")
    tab.label(ids[1], "=1+1")
    tab.decide({"kind": "state_set", "images": [ids[2]], "state": "unsure"})
    folder, place = served.project.folder, served.project.place
    before = read_events(place / "book.sqlite")
    assert call("export", folder, "--format", "csv,jsonl", "--format", "coco", "--out", "out") == 0
    shown = capsys.readouterr().out.split()
    assert shown[::2] == ["3", "3", "3"]
    rows = by_path(tmp_path / "out" / "labels.csv")
    assert [row["class"] for row in rows.values()] == ["copepod", "'=1+1", ""]
    assert call("export", folder, "--out", "more", "--open", "--no-states") == 0
    assert len(by_path(tmp_path / "more" / "labels.csv")) == 11
    assert read_events(place / "book.sqlite") == before
    assert call("import", folder, tmp_path / "out" / "labels.csv") == 2
    assert "is open in handful: import on its Export screen" in capsys.readouterr().err
    assert tab.label(ids[3], "copepod")["results"][0]["ok"]


def test_into_a_folder_that_nobody_opened(pictures: Path, tmp_path: Path, capsys: Any) -> None:
    """Its own folders are the classes; the preview changes nothing; twice is once."""
    assert call("import", pictures, pictures, "--preview") == 0
    assert capsys.readouterr().out.splitlines() == [
        "4 new labels, 0 would change.", "         4  new class sub",
    ]  # fmt: skip
    assert call("export", pictures, "--out", "none") == 0
    assert not by_path(tmp_path / "none" / "labels.csv")
    assert call("import", pictures, pictures) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 labels imported."
    assert call("import", pictures, pictures) == 2
    assert "nothing to import" in capsys.readouterr().err
    table = tmp_path / "x.csv"
    table.write_text("path,class\nsub/08.png,other\n00.png,sub\nnowhere.png,sub\n")
    assert call("import", pictures, table, "--only-new") == 0
    out, err = capsys.readouterr()
    assert out.startswith("1 new label, 1 would change, 1 file not found.\n")
    assert "left out: nowhere.png" in err
    assert call("export", pictures, "--out", "some", "--format", "csv,folders") == 0
    kept = {path: row["class"] for path, row in by_path(tmp_path / "some" / "labels.csv").items()}
    assert kept == {"00.png": "sub"} | {f"sub/{n:02d}.png": "sub" for n in range(8, 12)}
    assert call("import", pictures, table) == 0
    assert "1 label imported." in capsys.readouterr().out
    found = read_any(tmp_path / "some" / "by-class")
    assert len(found.said) == 5
    assert sorted(p.name for p in (tmp_path / "some" / "by-class").iterdir()) == [
        "labels.csv", "sub",
    ]  # fmt: skip


def test_where_exports_go(pictures: Path, tmp_path: Path, capsys: Any) -> None:
    assert call("import", pictures, pictures) == 0
    assert call("export", pictures) == 0
    (made,) = (pictures / "handful-export").iterdir()
    assert [p.name for p in made.iterdir()] == ["labels.csv"]
    assert call("export", pictures, "--format", "links") == 0
    (beside,) = [p for p in tmp_path.iterdir() if p.name.startswith("pictures-by-class-")]
    assert (beside / "sub" / "08.png").is_symlink()
    capsys.readouterr()
    refused = [
        (("export", pictures, "--format", "csvv"), "did you mean 'csv'"),
        (("export", pictures, "--format", "folders,links"), "copies or links, not both"),
        (("export", pictures, "--out", beside), "is not empty"),
        (("export", tmp_path / "pictures" / "sub"), "nobody has labelled"),
        (("export", pictures, "--format", "folders", "--out", pictures / "x"), "go outside"),
        (("import", pictures, made, "--project", made / "labels.csv" / "x"), "cannot be written"),
    ]  # fmt: skip
    for arguments, says in refused:
        assert call(*arguments) == 2, arguments
        assert says in capsys.readouterr().err
    assert not (pictures / "x").exists()
    (pictures / "bad.csv").write_bytes(b"\xff")
    assert call("import", pictures, pictures / "bad.csv") == 2
    assert "not UTF-8" in capsys.readouterr().err
