"""The doors for label files of the page: out, shown, in pieces, previewed, applied."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from page_serving import Client, Served

from handful.errors import InputError
from handful.exports import apart, read_any
from handful.exports.apart import read_apart
from handful.page import exporting


def upload(
    tab: Client, name: str, body: bytes, *, size: int = 2_000_000, id: str = "upload01"
) -> None:
    pieces = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
    for number, piece in enumerate(pieces):
        reply = tab.send("/import/part", {
            "upload": id, "name": name, "part": number, "parts": len(pieces),
            "data": base64.b64encode(piece).decode(),
        })  # fmt: skip
        assert reply.status == 200, reply.body
    assert reply.json == {"upload": id, "received": len(pieces)}


def imported(tab: Client, preview: Any, **more: Any) -> Any:
    body = {"id": tab.id(), "seen_rev": tab.rev, "set_hash": preview["set_hash"], **more}
    return tab.send("/import", body)


def standing(tab: Client) -> dict[str, Any]:
    return {p["name"]: (p["state"], p["class"]) for p in tab.get("/images").json["items"]}


TABLE = b"path,class\n00.png,cat\n01.png,dog\nsub/08.png,cat\nnowhere.png,cat\n"


def test_a_file_in_pieces(client: Client) -> None:
    """Shown first, then one event; stale after another answer; one undo."""
    client.label(client.ids()[0], "dog")
    before = standing(client)
    upload(client, "my labels.csv", TABLE, size=7)
    shown = client.send("/import/preview", {"upload": "upload01"}).json
    assert shown["text"] == "2 new labels, 1 would change, 1 file not found."
    assert shown["left_out"] == (
        "1 of 4 rows names a file that is not here. They are listed below and left out."
    )
    assert shown["file"] == "my labels.csv"
    assert shown["missing_names"] == ["nowhere.png"]
    assert shown["new_classes"] == [{"name": "cat", "pictures": 2}]
    assert [(c["name"], c["now"], c["then"]) for c in shown["changes"]] == [
        ("00.png", "dog", "cat")
    ]
    assert standing(client) == before
    client.label(client.ids()[1], "bird")
    late = imported(client, shown, upload="upload01")
    assert late.status == 409
    assert late.json["error"]["id"] == "E12"
    client.undo()
    shown = client.send("/import/preview", {"upload": "upload01"}).json
    done = imported(client, shown, upload="upload01").json
    assert done["imported"] == 3
    assert done["undo"]["text"] == "3 labels imported"
    names = {c["id"]: c["name"] for c in done["classes"]}
    now = {name: names.get(c) for name, (_, c) in standing(client).items() if c is not None}
    assert now == {"00.png": "cat", "01.png": "dog", "sub/08.png": "cat"}
    assert client.undo()["text"] == "Undone: 3 labels imported"
    assert standing(client) == before
    gone = client.send("/import/preview", {"upload": "upload01"})
    assert gone.status == 409
    assert "has not arrived whole" in gone.json["error"]["text"]


def test_only_the_new_and_a_repeat(client: Client) -> None:
    client.label(client.ids()[0], "dog")
    upload(client, "x.csv", TABLE)
    shown = client.send("/import/preview", {"upload": "upload01"}).json
    body = {"id": client.id(), "seen_rev": client.rev, "upload": "upload01", "only_new": True,
            "set_hash": shown["set_hash"]}  # fmt: skip
    first = client.send("/import", body).json
    assert first["imported"] == 2
    again = client.send("/import", body).json
    assert (again["imported"], again["label_rev"]) == (2, first["label_rev"])
    assert standing(client)["00.png"] == ("labelled", 0)


def test_the_folders_that_pictures_lie_in(client: Client) -> None:
    shown = client.send("/import/preview", {}).json
    assert shown["text"] == "4 new labels, 0 would change."
    assert shown["new_classes"] == [{"name": "sub", "pictures": 4}]
    assert imported(client, shown).json["imported"] == 4


def test_no_folders(steady: Served) -> None:
    reply = steady.client("flat").send("/import/preview", {})
    assert reply.status == 400
    assert "No picture lies in a folder" in reply.json["error"]["text"]


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("x.csv", b"", "has no columns"), ("<b>.json", b"[" * 100_000, "<b>.json is nested"),
        ("x.parquet", b"PAR1junkPAR1", "no parquet file"), ("x.exe", b"MZ\xff\xff", "not UTF-8"),
        ("../../x.csv", b"a,b\n", "../../x.csv has no columns"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(steady: Served, name: str, body: bytes, says: str) -> None:
    tab = steady.client("bad")
    before = tab.state()["label_rev"]
    upload(tab, name, body)
    reply = tab.send("/import/preview", {"upload": "upload01"})
    assert reply.status == 400
    assert says in reply.json["error"]["text"]
    assert reply.json["error"]["text"].endswith("Nothing was done.")
    assert tab.state()["label_rev"] == before


def test_pieces_that_make_no_sense(steady: Served) -> None:
    tab = steady.client("pieces")
    part = {"upload": "upload02", "name": "x.csv", "part": 0, "parts": 2, "data": "YWJj"}
    for wrong in ({"data": "=x"}, {"data": "é"}, {"part": 2}, {"upload": "../etc"}, {"parts": 65}):
        assert tab.send("/import/part", part | wrong).status == 400, wrong
    assert tab.send("/import/part", part).json["received"] == 1
    assert tab.send("/import/preview", {"upload": "upload02"}).status == 409
    assert tab.send("/import/preview", {"upload": "upload99"}).status == 409
    upload(tab, "y.csv", b"x", id="upload03")
    homes = list((steady.project.place / "derived" / "imports").iterdir())
    assert [home.name for home in homes] == ["upload03"]


def test_a_child_that_takes_too_long_or_dies_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(TABLE)
    assert read_apart(path) == read_any(path)
    with pytest.raises(InputError, match="takes longer than"):
        read_apart(path, seconds=0.01)
    path = tmp_path / "x.json"
    path.write_bytes(b"[" + b"[]," * 2_000_000 + b"[]]")
    with pytest.raises(InputError, match="damaged, or too large"):
        read_apart(path, memory=1 << 20)
    monkeypatch.setattr(apart.sys, "argv", ["x"])
    path = tmp_path / "x.csv"
    assert apart._answer(path, 1 << 62) == 0
    assert apart._answer(tmp_path / "gone.csv", 1 << 62) == 2


def test_everything_at_once(client: Client, served: Served, tmp_path: Path) -> None:
    """Every form, and folders by class beside the pictures; the choices say what will come."""
    ids = client.ids()
    client.decide({"kind": "group_labelled", "images": ids[:5], "name": "cat"},
                  {"kind": "state_set", "images": ids[5:6], "state": "unsure"})  # fmt: skip
    choices = client.get("/export").json
    assert [choices[n] for n in ("labelled", "states", "open", "by_model")] == [5, 1, 6, 0]
    forms = [form["id"] for form in choices["formats"]]
    done = client.send("/export", {
        "formats": forms, "folders": "copies", "folders_where": "beside", "open": True,
    }).json  # fmt: skip
    assert done["files"] == dict.fromkeys((form["file"] for form in choices["formats"]), 12)
    assert done["text"].startswith("Written: labels.csv (12 rows), labels.jsonl (12 rows), ")
    assert done["by_class"]["pictures"] == 5
    folder = served.project.folder
    assert {p.name for p in (folder / done["folder"]).iterdir()} == {
        *done["files"], "label-studio.xml",
    }  # fmt: skip
    assert (tmp_path / done["by_class"]["folder"] / "cat").is_dir()
    assert json.loads((folder / done["folder"] / "coco.json").read_text())["images"]
    assert str(tmp_path) not in json.dumps([choices, done])
    event = served.project.book.event(done["label_rev"])
    assert event.kind == "export_made"
    assert str(tmp_path) not in json.dumps(event.data)
    assert exporting._last(served.project) == folder / done["folder"]
    alone = client.send("/export", {"formats": [], "folders": "links"}).json
    assert alone["folder"] == ""
    assert exporting._last(served.project) == tmp_path / alone["by_class"]["folder"]


def test_places_are_those_that_the_program_makes(client: Client, monkeypatch: Any) -> None:
    elsewhere = {"formats": [], "folders": "copies", "folders_where": "etc"}
    path = {"formats": ["csv"], "folders_where": "/etc"}
    for wrong in ({"formats": []}, elsewhere, path, {"formats": ["pickle"]}):
        assert client.send("/export", wrong).status == 400, wrong
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert client.send("/export/show", {}).json == {"shown": False}
    client.send("/export", {"formats": ["csv"]})
    assert client.send("/export/show", {}).json == {"shown": False}


def test_a_disk_that_refuses_is_said(
    client: Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "no space")

    before = client.state()["label_rev"]
    with monkeypatch.context() as patch:
        patch.setattr("handful.store.files.os.fsync", full)
        reply = client.send("/export", {"formats": ["csv"]})
    assert (reply.status, reply.json["error"]["id"]) == (507, "E4")
    assert "Nothing was written, no answer is lost." in reply.json["error"]["text"]
    with monkeypatch.context() as patch:
        patch.setattr("handful.page.export.Path.mkdir", full)
        reply = client.send("/export", {"formats": ["csv"]})
    assert reply.status in (503, 507)
    assert str(served.project.folder) not in reply.body.decode()
    model = client.send("/export", {"formats": ["csv"], "model": True})
    assert "no model to write yet" in model.json["error"]["text"]
    assert client.state()["label_rev"] == before
    assert not list((served.project.folder / "handful-export").iterdir())


def test_the_folder_is_shown_where_there_is_a_desktop(
    client: Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[list[str]] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(exporting.sys, "platform", "linux")
    monkeypatch.setattr(exporting.subprocess, "Popen", lambda asked, **_: opened.append(asked))
    done = client.send("/export", {"formats": ["csv"], "where": "project"}).json
    assert client.send("/export/show", {}).json == {"shown": True}
    assert opened == [["xdg-open", str(served.project.place / done["folder"])]]

    def unable(*_: object, **__: object) -> None:
        raise FileNotFoundError("xdg-open")

    monkeypatch.setattr(exporting.subprocess, "Popen", unable)
    assert client.send("/export/show", {}).json == {"shown": False}
