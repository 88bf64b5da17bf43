"""The process that learns, seen from the server: begun, fed, heard, missed, begun again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_learned import rows_of, teach_model
from page_serving import Client, Served, paint, serving
from PIL import Image
from sklearn.datasets import load_digits

from handful.page import worker as module
from handful.page.worker import PAUSED, STOPPED, Worker

FAKE = """
import json, sys, time
log = open(sys.argv[1], "a")
print(json.dumps({"task": {"name": "groups", "text": "Making groups", "done": 1, "total": 9,
                           "eta_s": 2}}), flush=True)
print("no json at all", flush=True)
print(json.dumps({"task": {"name": "odd"}}), flush=True)
for line in sys.stdin:
    said = json.loads(line)
    log.write(line)
    log.flush()
    if "regroup" in said:
        print(json.dumps({"task": {"name": "groups", "text": "x", "done": 9, "total": 9,
                                   "eta_s": None}}), flush=True)
    if said.get("seq", 0) >= 5 and sys.argv[2] == "dies":
        sys.exit(3)
"""


def until(true: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)
    return found


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Served]:
    for number in range(6):
        paint(tmp_path / "pictures" / f"{number}.png", number, (8, 8))
    with serving(tmp_path / "pictures") as served:
        served.settled()
        yield served


def begun(
    page: Served, tmp_path: Path, how: str = "lives", waits: tuple[float, ...] = (0.05,)
) -> tuple[Worker, Path]:
    script, log = tmp_path / "fake.py", tmp_path / "log.jsonl"
    script.write_text(FAKE)
    log.write_text("")
    command = [sys.executable, str(script), str(log), how]
    site = page.site
    site.worker = Worker(page.project, site.scanner, site.tell, command=command, waits=waits)
    site.worker.start()
    return site.worker, log


def told(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_it_is_told_what_is_new_and_heard(page: Served, tmp_path: Path) -> None:
    worker, log = begun(page, tmp_path)
    try:
        client = page.client()
        state = until(lambda: (s := client.state())["tasks"] and s)
        assert state["tasks"] == [
            {"name": "groups", "text": "Making groups", "done": 1, "total": 9, "eta_s": 2.0}
        ]
        assert state["trouble"] is None
        seq = page.project.rev
        until(lambda: {"seq": seq} in told(log))
        assert {"images": 6, "complete": True} in told(log)
        assert {"set": {"features": "auto"}} in told(log)
        client.label(client.ids()[0], "a")
        until(lambda: {"seq": page.project.rev} in told(log))
        body = {"id": client.id(), "features": "pixels"}
        client.send("/settings", body, method="PATCH")
        until(lambda: {"set": {"features": "pixels"}} in told(log))
        assert client.send("/groups/regroup", {}).json == {"started": True}
        until(lambda: not client.state()["tasks"])
        assert {"regroup": True} in told(log)
        assert told(log).count({"images": 6, "complete": True}) == 1  # once each
    finally:
        worker.close()
    assert not worker.alive


def test_a_death_is_said_in_one_sentence_and_all_goes_on(page: Served, tmp_path: Path) -> None:
    worker, _ = begun(page, tmp_path, "dies", waits=(0.05, 0.4, 60))
    try:
        client = page.client()
        ids = client.ids()
        client.label(ids[0], "a")
        client.label(ids[1], 0)
        until(lambda: page.project.rev >= 5)
        assert until(lambda: client.state()["trouble"]) == PAUSED
        assert client.label(ids[2], 0)["results"][0]["ok"]
        until(lambda: client.state()["trouble"] == PAUSED and not client.state()["tasks"])
    finally:
        worker.close()


def test_one_that_keeps_dying_is_left_alone(page: Served, tmp_path: Path) -> None:
    worker, _ = begun(page, tmp_path, "dies", waits=(0.02, 0.02))
    try:
        client = page.client()
        client.label(client.ids()[0], "a")
        client.label(client.ids()[1], 0)
        assert until(lambda: client.state()["trouble"] == STOPPED)
        assert client.send("/groups/regroup", {}).json == {"started": False}
    finally:
        worker.close()


def test_one_that_cannot_be_begun_is_said(page: Served, tmp_path: Path) -> None:
    site = page.site
    command = [str(tmp_path / "no such program")]
    site.worker = Worker(page.project, site.scanner, site.tell, command=command, waits=(0.01,))
    site.worker.start()
    try:
        assert until(lambda: page.client().state()["trouble"] == STOPPED)
    finally:
        site.worker.close()


def test_what_is_published_ends_the_trouble(page: Served, tmp_path: Path) -> None:
    heard: list[str] = []
    worker = Worker(page.project, page.site.scanner, heard.append, command=["none"])
    worker._heard({"failed": "The disk is full: no new groups."})
    assert worker.trouble == "The disk is full: no new groups."
    worker._heard({"published": "model", "rev": 1})  # nothing is there
    assert worker.trouble is not None
    rows = rows_of(page.project).values()
    page.project.learned.model = None
    teach_model(page.project, dict.fromkeys(rows, (0, 0.9)))
    page.project.learned.model = None
    worker._heard({"published": "model", "rev": 1})
    assert worker.trouble is None
    assert set(heard) >= {"model", "classes", "advice", "counts"}
    worker._heard({"published": "x"})
    worker._heard({})
    assert worker.tasks == []


def test_one_that_does_not_end_is_ended(
    page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    site = page.site
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    site.worker = Worker(page.project, site.scanner, site.tell, command=command)
    site.worker.start()
    until(lambda: site.worker and site.worker.alive)
    process = site.worker._process
    site.worker.close()
    assert process is not None
    assert process.wait(5) != 0


def test_the_server_never_loads_torch() -> None:
    text = (
        "import sys, handful.page.serve, handful.page.server, handful.page.worker;"
        "print(*{m.partition('.')[0] for m in sys.modules} & {'torch', 'scipy', 'sklearn'})"
    )
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True, text=True)
    assert "torch" not in out.stdout


@pytest.mark.slow
def test_digits_from_folder_to_labels(tmp_path: Path) -> None:
    """The real process: groups, answers, suggestions, a blind check; no blind answer is taught."""
    digits = load_digits()
    truth: dict[str, int] = {}
    folder = tmp_path / "digits"
    folder.mkdir()
    for at in range(200):
        small = np.round(digits.images[at] * 255 / 16).astype(np.uint8)
        Image.fromarray(small.repeat(8, 0).repeat(8, 1)).save(folder / f"{at:03d}.png")
        truth[f"{at:03d}.png"] = int(digits.target[at])
    with serving(folder) as page:
        page.settled()
        client = page.client()
        site = page.site
        site.worker = Worker(page.project, site.scanner, site.tell)
        site.worker.start()
        try:
            _first_look(client, page, truth)
            groups = until(lambda: client.get("/groups").json["items"], 120)
            assert groups[0]["n"] >= groups[-1]["n"]
            _answer_groups(client, page, truth)
            until(lambda: client.state()["model_rev"], 120)
            state = client.state()
            counts = state["counts"]
            parts = ("by_you", "in_groups", "by_model", "open")
            assert sum(counts[name] for name in parts) == 200
            items = client.get("/queue", mode="useful", n=5).json["items"]
            assert items
            assert all("likes" in item for item in items)
            blind = {p for p, e in _blind(page).items()}
            model = page.project.learned.model
            assert model is not None
            by_path = rows_of(page.project)
            labelled = {i["name"] for i in client.get("/images", limit=500).json["items"]
                        if i["class"] is not None}  # fmt: skip
            held = set(model["held_row"].tolist())
            assert held <= {by_path[name] for name in labelled}
            assert not held & {by_path[p] for p in blind - labelled}
            for _ in range(3):
                _answer_queue(client, page, truth)
            site.worker.close()  # nothing moves from here on
            _audit(client, page, truth)
            result = client.send("/audit/close", {"id": client.id()}).json["result"]
            final = {i["name"]: i["class"] if i["class"] is not None else i["sug"]["class"]
                     for i in client.get("/images", limit=500).json["items"]}  # fmt: skip
            names = {c["id"]: c["name"] for c in client.state()["classes"]}
            right = {name: names[c] == str(truth[name]) for name, c in final.items()}
            assert np.mean(list(right.values())) >= 0.85
            assert result["n"] == 150
            assert result["k"] == sum(right[name] for name in _blind(page))
        finally:
            site.worker.close()


def _blind(page: Served) -> dict[str, Any]:
    return {e.data["image"]: e for e in page.project.said("audit_answered")}


def _name(page: Served, image: str) -> str:
    row = page.project.index.find(image)
    assert row is not None
    return row.path


def _first_look(client: Client, page: Served, truth: dict[str, int]) -> None:
    for tile in client.get("/queue", mode="first", n=20).json["items"]:
        name = str(truth[_name(page, tile["id"])])
        client.decide({"kind": "audit_answered", "image": tile["id"], "name": name})


def _answer_groups(client: Client, page: Served, truth: dict[str, int]) -> None:
    """A class for the most of each group, the others taken out."""
    for _ in range(12):
        found = client.get("/groups", limit=1).json["items"]
        if not found:
            break
        digits = [truth[_name(page, id)] for id in found[0]["ids"]]
        most = max(set(digits), key=digits.count)
        right = [i for i, d in zip(found[0]["ids"], digits, strict=True) if d == most]
        client.decide({
            "kind": "group_labelled", "images": right, "name": str(most), "from": "gallery",
        })  # fmt: skip
        client.send(f"/groups/{found[0]['id']}/aside", {"id": client.id(), "why": "mixed"})


def _answer_queue(client: Client, page: Served, truth: dict[str, int]) -> None:
    """Ten useful answers, and the suggestions that follow from them."""
    before = client.state()["model_rev"]
    for item in client.get("/queue", mode="useful", n=10).json["items"]:
        client.label(item["id"], str(truth[_name(page, item["id"])]))
    until(lambda: client.state()["model_rev"] > before, 60)


def _audit(client: Client, page: Served, truth: dict[str, int]) -> None:
    while items := client.get("/queue", mode="audit", n=50).json["items"]:
        client.decide(*(
            {"kind": "audit_answered", "image": i["id"], "name": str(truth[_name(page, i["id"])])}
            for i in items
        ))  # fmt: skip
