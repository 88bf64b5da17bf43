"""Every endpoint over a real socket: what it gives, and what it refuses in which words."""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import sqlite3
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from handful.page.check import checked
from handful.page.openapi import PREFIX, ROUTES, Route
from handful.store.files import full_disk

# routes of what is learned: test_learned_api has them
LEARNED = {
    "groups", "halveGroup", "asideGroup", "mergeGroups", "regroup", "audit", "closeAudit",
    "moreAudit", "mistakes", "review", "confusion", "acceptPreview", "acceptCheck", "accept",
    "like", "map", "mapIds", "settings", "changeSettings",
}  # fmt: skip


def labels(client: Any) -> dict[str, Any]:
    """State and class of every picture: what undo must restore."""
    items = client.get("/images", limit=500).json["items"]
    return {item["id"]: (item["state"], item["class"]) for item in items}


class TestWhatIsAnswered:
    def test_a_first_visit(self, client: Any) -> None:
        state = client.state()
        assert state["counts"]["pictures"] == state["counts"]["open"] == 12
        assert state["first_visit"]
        assert state["classes"] == []
        assert state["undo"] is state["redo"] is None
        assert state["project"]["place"] == "pictures/.handful"
        assert state["pace_s"] is None

    def test_one_key_one_label(self, client: Any) -> None:
        first, second, *_ = client.ids()
        said = client.label(first, "copepod")
        assert said["results"][0] == {
            "id": "tab.1", "ok": True, "seq": said["label_rev"], "class_id": 0,
        }  # fmt: skip
        assert said["counts"]["by_you"] == 1
        assert said["counts"]["open"] == 11
        assert said["undo"]["text"] == '1 image labelled "copepod"'
        client.label(second, "COPEPOD ")  # capitals and blanks make no second class
        (made,) = client.state()["classes"]
        assert made["pictures"] == made["by_you"] == 2
        assert (made["name"], made["key"], made["look"]) == ("copepod", "1", 0)

    def test_a_repeat_does_no_harm(self, client: Any, served: Any) -> None:
        image = client.ids()[0]
        body = [{"kind": "labelled", "id": "tab.7", "seen_rev": 0, "image": image, "name": "a"}]
        first = client.send("/events", body).json
        length = len(served.project.book)
        again = client.send("/events", body * 2).json
        assert again["results"] == first["results"] * 2
        assert len(served.project.book) == length

    def test_each_item_stands_or_falls_alone_in_order(self, client: Any) -> None:
        one, two, *_ = client.ids()
        said = client.decide(
            {"kind": "labelled", "image": one, "name": "a"},
            {"kind": "labelled", "image": "00ff", "name": "a"},
            {"kind": "labelled", "image": two, "class": 9},
            {"kind": "labelled", "image": two},
            {"kind": "state_set", "images": [two], "state": "unsure"},
            {"kind": "labelled", "image": one, "class": 0},
        )
        assert [r["ok"] for r in said["results"]] == [True, False, False, False, True, True]
        assert [r["error"]["id"] for r in said["results"] if not r["ok"]] == [
            "gone", "class", "request",
        ]  # fmt: skip
        assert labels(client)[two] == ("unsure", None)

    @pytest.mark.parametrize("state", ["later", "unsure", "none", "broken"])
    def test_four_answers_besides_a_class(self, client: Any, state: str) -> None:
        image, *rest = client.ids()
        said = client.decide({"kind": "state_set", "images": [image], "state": state})
        assert said["counts"][state] == 1
        assert said["counts"]["open"] == (12 if state == "later" else 11)
        assert client.ids(filter=json.dumps({"state": [state]})) == [image]
        client.decide({"kind": "state_set", "images": [image], "state": "open"})
        assert sorted(client.ids(filter='{"state": ["open"]}')) == sorted([image, *rest])

    def test_counts_always_add_up(self, client: Any) -> None:
        ids = client.ids()
        client.label(ids[0], "a")
        client.decide({
            "kind": "group_labelled", "images": ids[1:5], "class": 0, "from": "gallery",
        })  # fmt: skip
        client.decide({"kind": "state_set", "images": ids[5:8], "state": "later"})
        counts = client.state()["counts"]
        assert (counts["by_you"], counts["in_groups"], counts["open"]) == (1, 4, 7)
        parts = ("by_you", "in_groups", "by_model", "open")
        assert sum(counts[name] for name in parts) == counts["pictures"]

    def test_a_grid_of_pictures_looked_at_outranks_a_group(self, client: Any) -> None:
        ids = client.ids()
        client.label(ids[0], "a")
        client.make("b")
        group = {"kind": "group_labelled", "images": ids[:3], "class": 1}
        client.decide({**group, "from": "gallery"})
        assert [labels(client)[i][1] for i in ids[:3]] == [0, 1, 1]
        said = client.decide({**group, "from": "grid"})
        assert said["undo"]["text"] == '3 images labelled "b"'
        assert [labels(client)[i][1] for i in ids[:3]] == [1, 1, 1]


class TestUndo:
    def test_every_decision_goes_back_and_forth(self, client: Any) -> None:
        ids = client.ids()
        seen = [labels(client)]
        acts: list[Callable[[], Any]] = [
            lambda: client.label(ids[0], "a"),
            lambda: client.make("b"),
            lambda: client.label(ids[1], 1),
            lambda: client.label(ids[0], 1),
            lambda: client.decide({"kind": "state_set", "images": ids[2:9], "state": "none"}),
            lambda: client.change(1, name="bee"),
            lambda: client.merge(1, 0),
            lambda: client.archive(0),
            lambda: client.decide({"kind": "state_set", "images": ids, "state": "open"}),
        ]
        for act in acts:
            act()
            seen.append(labels(client))
        for expected in reversed(seen[:-1]):
            assert client.undo()["event"] is not None
            assert labels(client) == expected
        assert client.undo() == {
            **client.undo(), "event": None, "text": "There is nothing to undo.", "affected": 0,
        }  # fmt: skip
        for expected in seen[1:]:
            client.redo()
            assert labels(client) == expected
        assert client.redo()["text"] == "There is nothing to do again."

    def test_it_survives_a_restart(self, pictures: Path, serve: Any) -> None:
        with serve(pictures) as page:
            page.settled()
            client = page.client()
            before = labels(client)
            for number, image in enumerate(client.ids()[:6]):
                client.label(image, "ab"[number % 2])
            after = labels(client)
            client.undo()
        with serve(pictures) as page:
            client = page.client("new")
            assert client.redo()["affected"] == 1
            assert labels(client) == after
            texts = [client.undo()["text"] for _ in range(6)]
            assert texts[0] == 'Undone: 1 image labelled "b"'
            assert labels(client) == before

    def test_a_new_decision_ends_what_could_be_done_again(self, client: Any) -> None:
        one, two, *_ = client.ids()
        client.label(one, "a")
        client.undo()
        assert client.state()["redo"] is not None
        client.label(two, 0)
        assert client.state()["redo"] is None

    def test_a_repeated_undo_is_one(self, client: Any) -> None:
        for image in client.ids()[:2]:
            client.label(image, "a")
        for _ in range(2):
            client.send("/undo", {"id": "tab.500"})
        assert client.state()["counts"]["by_you"] == 1

    def test_answers_of_somebody_else_stay_and_are_named(self, client: Any, served: Any) -> None:
        ids = client.ids()
        client.make("a")
        client.make("b")
        client.decide({"kind": "group_labelled", "images": ids[:10], "class": 0, "from": "gallery"})
        served.project.person = "P2"
        other = served.client("other")
        other.rev = client.rev
        for image in ids[:3]:
            other.label(image, 1)
        served.project.person = ""
        undone = client.undo()
        assert (undone["affected"], undone["kept"]) == (7, 3)
        assert undone["text"] == (
            "Undone for 7 of 10. P2 has answered 3 of them since; those answers stay."
        )
        assert [labels(client)[i][1] for i in ids[:4]] == [1, 1, 1, None]

    def test_two_classes_never_end_with_one_name(self, client: Any, served: Any) -> None:
        client.make("nine")
        client.change(0, name="9")
        served.project.person = "P2"
        assert served.client("other").make("Nine").status == 200
        served.project.person = ""
        reply = client.send("/undo", {"id": client.id()})
        assert reply.status == 409
        assert reply.json["error"]["id"] == "E10"
        assert [c["name"] for c in client.state()["classes"]] == ["9", "Nine"]


class TestClasses:
    def test_made_with_key_and_look(self, client: Any) -> None:
        for number in range(26):
            made = client.make(f"class {number}").json["class"]
            assert made["key"] == (dict(enumerate("1234567890qwertasdfzxcvb")).get(number))
            assert made["look"] == (number if number < 21 else -1)

    @pytest.mark.parametrize("name", ["", "   ", "x" * 61, "\u202e\u2066"])
    def test_names_that_are_none(self, steady: Any, name: str) -> None:
        assert steady.client().make(name).status == 400

    @pytest.mark.parametrize(
        ("typed", "kept"),
        [
            ("  a\t b ", "a b"), ("e\u0301", "é"), ("<img src=x onerror=alert(1)>",) * 2,
            ("=cmd", "=cmd"), ("a\u202eb", "ab"), ("👩\u200d🔬",) * 2, ("x" * 60,) * 2,
        ],
    )  # fmt: skip
    def test_names_as_they_are_kept(self, steady: Any, typed: str, kept: str) -> None:
        assert steady.client(f"kept{len(steady.clients)}").make(typed).json["class"]["name"] == kept

    def test_a_name_that_is_taken(self, client: Any) -> None:
        client.make("Copepod")
        client.make("b")
        for reply in (client.make("copepod"), client.change(1, name="COPEPOD")):
            assert reply.status == 409
            assert reply.json["error"] == {
                "id": "E10", "class_id": 0,
                "text": 'There is already a class "Copepod". Use it (Enter) or choose another'
                " name.",
            }  # fmt: skip
        assert client.change(0, name="copepod").status == 200  # other capitals of its own

    def test_keys_are_swapped_or_refused(self, client: Any) -> None:
        client.make("a")
        client.make("b")
        refused = client.change(1, key="1")
        assert refused.json["error"]["text"] == (
            '1 belongs to "a". Press another key or swap them.'
        )
        swapped = client.change(1, key="1", swap=True).json["classes"]
        assert [c["key"] for c in swapped] == ["2", "1"]
        client.undo()
        assert [c["key"] for c in client.state()["classes"]] == ["1", "2"]
        client.change(0, key="q")
        client.make("c")
        assert [c["key"] for c in client.state()["classes"]] == ["q", "2", "1"]

    def test_merge_moves_labels_and_undo_brings_each_back(self, client: Any) -> None:
        ids = client.ids()
        for image, name in zip(ids, "aabbbcc", strict=False):
            client.label(image, name)
        before = labels(client)
        merged = client.merge(1, 0).json
        assert merged["moved"] == 3
        assert merged["class"]["pictures"] == 5
        assert merged["classes"][1]["merged_into"] == 0
        assert len(client.ids(filter='{"class": [0]}')) == 5
        client.label(ids[8], 1)  # a key pressed on the old class lands on the new one
        assert labels(client)[ids[8]] == ("labelled", 0)
        client.undo()
        undone = client.undo()
        assert undone["text"] == 'Undone: class "b" merged into "a"'
        assert undone["affected"] == 3
        assert labels(client) == before

    def test_an_archived_class_opens_its_pictures(self, client: Any) -> None:
        ids = client.ids()
        for image in ids[:4]:
            client.label(image, "a")
        assert client.archive(0).json["moved"] == 4
        assert client.state()["counts"]["open"] == 12
        assert client.get("/queue", n=100).json["left"]["open"] == 12
        assert client.make("A").json["class"]["id"] == 1  # the name is free again
        client.undo()
        client.undo()
        assert client.state()["counts"]["by_you"] == 4

    def test_it_changes_one_thing_at_a_time(self, client: Any) -> None:
        client.make("a")
        assert client.change(0, name="b", key="3").status == 400
        assert client.change(0).status == 400
        assert client.change(7, name="b").status == 404
        assert client.merge(0, 0).status == 400
        assert client.change(0, look=5).json["class"]["look"] == 5


class TestOldViews:
    """Row by row: nothing decided on an old view overwrites what came since."""

    def test_a_class_renamed_elsewhere(self, client: Any, served: Any) -> None:
        client.make("a")
        other = served.client("other")
        other.rev = client.rev
        client.change(0, name="b")
        refused = other.change(0, name="c")
        assert refused.status == 409
        assert refused.json["error"] == {
            "id": "E12",
            "text": 'This changed elsewhere: "a" is now "b". Nothing was done. Shown again.',
        }
        assert client.change(0, name="d").status == 200  # its own tab may go on

    def test_a_class_merged_elsewhere(self, client: Any, served: Any) -> None:
        client.make("nauplius")
        client.make("copepod")
        other = served.client("other")
        other.rev = client.rev
        client.merge(0, 1)
        assert other.change(0, name="x").json["error"]["text"] == (
            'This changed elsewhere: "nauplius" is now part of "copepod".'
            " Nothing was done. Shown again."
        )

    def test_a_picture_answered_elsewhere(self, client: Any, served: Any) -> None:
        image = client.ids()[0]
        client.make("a")
        client.make("b")
        other = served.client("other")
        other.rev = client.rev
        client.label(image, 0)
        (refused,) = other.label(image, 1)["results"]
        assert refused["error"]["id"] == "E12"
        assert 'the picture is now "a"' in refused["error"]["text"]
        assert labels(client)[image] == ("labelled", 0)
        assert other.label(image, 1)["results"][0]["ok"]  # it has seen it now

    def test_the_same_answer_twice_is_no_conflict(self, client: Any, served: Any) -> None:
        image = client.ids()[0]
        client.make("a")
        other = served.client("other")
        other.rev = client.rev
        client.label(image, 0)
        assert other.label(image, 0)["results"][0]["ok"]

    def test_one_tab_may_run_ahead_of_its_answers(self, client: Any) -> None:
        image = client.ids()[0]
        client.make("a")
        seen = client.rev
        for to in ("a", "b", "c"):
            client.rev = seen
            assert client.label(image, to)["results"][0]["ok"]


class TestPages:
    def test_every_picture_once_in_any_order(self, client: Any) -> None:
        for number, image in enumerate(client.ids()[:7]):
            client.label(image, "ab"[number % 2])
        for sort in ("name", "-name", "time", "-time"):
            found, cursor = [], None
            while True:
                more = {"cursor": cursor} if cursor else {}
                page = client.get("/images", limit=5, sort=sort, **more).json
                found += page["items"]
                cursor = page["next"]
                if cursor is None:
                    break
            assert len({item["id"] for item in found}) == len(found) == page["total"] == 12
            key = "name" if "name" in sort else "at"
            keys = [item[key] or 0 for item in found]
            assert keys == sorted(keys, reverse=sort.startswith("-"))

    def test_a_cursor_outlives_answers_and_says_so(self, client: Any) -> None:
        names = [i["name"] for i in client.get("/images").json["items"]]
        page = client.get("/images", limit=6).json
        client.label(page["items"][0]["id"], "a")
        client.label(client.ids()[8], "b")
        rest = client.get("/images", limit=50, cursor=page["next"]).json
        assert rest["stale"]
        assert not page["stale"]
        assert [i["name"] for i in rest["items"]] == names[6:]

    def test_pictures_by_their_ids_in_the_order_asked(self, client: Any) -> None:
        ids = client.ids()
        client.label(ids[3], "a")
        some = [ids[5], ids[3], "nobody", ids[0]]
        page = client.get("/images", filter=json.dumps({"ids": some})).json
        assert [item["id"] for item in page["items"]] == [ids[5], ids[3], ids[0]]
        assert (page["total"], page["next"]) == (3, None)
        wanted = {"ids": some, "state": ["labelled"]}
        assert client.ids(filter=json.dumps(wanted)) == [ids[3]]
        assert client.get("/images", filter=json.dumps({"ids": ["x"] * 201})).status == 400

    def test_filters_meet(self, client: Any) -> None:
        ids = client.ids()
        client.label(ids[0], "a")
        client.label(ids[9], "b")
        client.decide({"kind": "state_set", "images": [ids[10]], "state": "unsure"})

        def found(**wanted: Any) -> list[str]:
            return client.ids(filter=json.dumps(wanted))

        assert found(folder="sub") == ids[8:]
        assert found(folder="sub", state=["labelled"]) == [ids[9]]
        assert found(**{"class": [0, 1]}) == [ids[0], ids[9]]
        assert found(state=["labelled", "unsure"], source=["hand"]) == [ids[0], ids[9], ids[10]]
        assert found(**{"class": []}) == []
        assert found(presence=["missing"]) == []
        assert found(person=["nobody"]) == []
        total = client.get("/images", filter='{"folder": "sub"}').json
        assert (total["total"], total["total_exact"]) == (4, True)

    @pytest.mark.parametrize(
        "query",
        [
            {"filter": "no json"}, {"filter": '{"colour": 1}'}, {"filter": "[]"}, {"sort": "size"},
            {"limit": 0}, {"limit": 501}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "WzEsMl0="},
            {"filter": '{"folder": "sub"}', "sort": "time"},
        ],
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, steady: Any, query: dict[str, Any]) -> None:
        assert steady.client().get("/images", **query).status == 400

    def test_a_cursor_of_another_view(self, client: Any) -> None:
        cursor = client.get("/images", limit=2).json["next"]
        assert client.get("/images", cursor=cursor, sort="time").status == 400
        assert client.get("/queue", cursor=cursor).status == 400

    def test_one_picture_in_full(self, client: Any, pictures: Path) -> None:
        image = client.ids()[0]
        client.label(image, "a")
        shown = client.get(f"/images/{image}").json
        content = (pictures / "00.png").read_bytes()
        assert shown["sha256"] == hashlib.sha256(content).hexdigest()
        assert (shown["bytes"], shown["kind"], shown["pages"]) == (len(content), "PNG", 1)
        assert [line["text"] for line in shown["history"]] == ['1 image labelled "a"']
        assert client.get("/images/00ff").status == 404

    def test_history_in_words(self, client: Any) -> None:
        client.label(client.ids()[0], "a")
        client.change(0, name="b")
        client.undo()
        page = client.get("/history", limit=2).json
        assert [line["text"] for line in page["items"]] == [
            'Undone: class "a" renamed "b"', 'class "a" renamed "b"',
        ]  # fmt: skip
        assert [line["undone"] for line in page["items"]] == [False, True]
        rest = client.get("/history", cursor=page["next"]).json["items"]
        assert [line["text"] for line in rest] == [
            '1 image labelled "a"', 'class "a" made', "12 images found", "folder opened",
        ]  # fmt: skip
        assert client.get("/history", cursor="x").status == 400


class TestQueue:
    def test_it_serves_what_is_open_in_an_order_drawn_once(
        self, client: Any, served: Any, pictures: Path, serve: Any
    ) -> None:
        order = [item["id"] for item in client.get("/queue", n=100).json["items"]]
        assert sorted(order) == sorted(client.ids())
        assert order != client.ids()
        for image in order[:3]:
            client.label(image, "a")
        left = client.get("/queue", n=100).json
        assert [item["id"] for item in left["items"]] == order[3:]
        assert left["left"] == {"open": 9, "later": 0, "unsure": 0}

    def test_it_leads_to_no_answer(self, client: Any) -> None:
        items = client.get("/queue").json["items"]
        assert all(set(item) == {"id", "v", "w", "h"} for item in items)

    def test_it_goes_on_behind_what_a_tab_has(self, client: Any) -> None:
        order = [item["id"] for item in client.get("/queue", n=100).json["items"]]
        found, cursor = [], None
        while True:
            part = client.get("/queue", n=5, **({"cursor": cursor} if cursor else {})).json
            found += [item["id"] for item in part["items"]]
            cursor = part["next"]
            if cursor is None:
                break
        assert found == order

    def test_what_was_put_off_comes_back_oldest_first(self, client: Any) -> None:
        ids = client.ids()
        for image in (ids[5], ids[2], ids[9]):
            client.decide({"kind": "state_set", "images": [image], "state": "later"})
        client.decide({"kind": "state_set", "images": [ids[1]], "state": "unsure"})
        later = client.get("/queue", mode="later").json
        assert [item["id"] for item in later["items"]] == [ids[5], ids[2], ids[9]]
        assert [i["id"] for i in client.get("/queue", mode="unsure").json["items"]] == [ids[1]]
        assert later["left"] == {"open": 8, "later": 3, "unsure": 1}

    def test_the_end_says_what_is_left(self, client: Any) -> None:
        ids = client.ids()
        client.decide({"kind": "state_set", "images": ids[:10], "state": "none"})
        client.decide({"kind": "state_set", "images": ids[10:], "state": "later"})
        end = client.get("/queue").json
        assert end["items"] == []
        assert end["left"] == {"open": 0, "later": 2, "unsure": 0}

    @pytest.mark.parametrize("query", [{"mode": "best"}, {"n": 0}, {"n": 101}, {"n": "-1"}])
    def test_what_makes_no_sense_is_refused(self, steady: Any, query: dict[str, Any]) -> None:
        assert steady.client().get("/queue", **query).status == 400


class TestPictures:
    def test_a_thumbnail_is_the_picture(self, client: Any, pictures: Path) -> None:
        item = client.get("/images").json["items"][0]
        reply = client.get(f"/t/{item['id']}/192", v=item["v"])
        assert reply.status == 200
        assert reply.headers["content-type"] == "image/webp"
        assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"
        shown = Image.open(BytesIO(reply.body)).convert("RGB")
        assert shown.tobytes() == Image.open(pictures / "00.png").tobytes()  # small: no loss
        again = client.raw(
            "GET", f"{PREFIX}/t/{item['id']}/192",
            headers={"Cookie": client.cookie, "If-None-Match": reply.headers["etag"]},
        )  # fmt: skip
        assert (again.status, again.body) == (304, b"")
        assert "no-cache" in again.headers["cache-control"]  # no ?v= in the address

    def test_sides(self, client: Any, painted: Any, served: Any, pictures: Path) -> None:
        painted(pictures / "wide.png", 99, (1000, 250))
        client.send("/rescan", {})
        served.settled()
        id = (
            client.ids()[-1]
            if False
            else next(
                i["id"] for i in client.get("/images").json["items"] if i["name"] == "wide.png"
            )
        )
        for side in (96, 192, 384):
            for _ in range(2):
                image = Image.open(BytesIO(client.get(f"/t/{id}/{side}").body))
                assert image.size == (side, side // 4)
        assert Image.open(BytesIO(client.get(f"/full/{id}").body)).size == (1000, 250)
        assert client.get(f"/t/{id}/100").status == 404
        assert client.get(f"/full/{id}", page="x").status == 400
        assert client.get(f"/full/{id}", px="1").status == 200

    def test_a_page_that_a_file_has_not_is_no_fault_of_it(self, client: Any) -> None:
        id = client.ids()[0]
        assert client.get(f"/full/{id}", page=0).status == 200
        assert client.get("/problems").json["total"] == 0

    def test_large_pictures_are_shown_small_unless_asked(
        self, client: Any, served: Any, pictures: Path
    ) -> None:
        Image.new("L", (3000, 100), 77).save(pictures / "zz.png")
        client.send("/rescan", {})
        served.settled()
        id = next(i["id"] for i in client.get("/images").json["items"] if i["name"] == "zz.png")
        assert Image.open(BytesIO(client.get(f"/full/{id}").body)).size == (2048, 68)
        assert Image.open(BytesIO(client.get(f"/full/{id}", px=1).body)).size == (3000, 100)


class TestTheRest:
    def test_rescan_finds_what_is_new(
        self, client: Any, served: Any, pictures: Path, painted: Any
    ) -> None:
        painted(pictures / "new.png", 50)
        (pictures / "notes.txt").write_text("no picture")
        assert client.send("/rescan", {}).json == {"started": True}
        served.settled()
        state = client.state()
        assert state["scan"] == {"added": 1, "missing": 0, "moved": 0, "changed": 0, "back": 0}
        assert state["counts"]["pictures"] == 13
        assert state["counts"]["others"] == 1

    def test_problems_name_the_file_and_the_reason_and_can_be_tried_again(
        self, client: Any, served: Any, pictures: Path, painted: Any
    ) -> None:
        whole = (pictures / "00.png").read_bytes()
        (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
        (pictures / "a\u202eb.png").write_bytes(b"hello")
        client.send("/rescan", {})
        served.settled()
        found = client.get("/problems").json
        assert found["total"] == 2
        shown = {p["name"]: p["problem"] for p in found["items"]}
        assert shown["a\\u202eb.png"]["id"] == "E7"
        assert shown["cut.png"]["id"] == "E6"
        assert client.state()["counts"]["pictures"] == 12
        id = next(p["id"] for p in found["items"] if p["name"] == "cut.png")
        assert client.get(f"/t/{id}/192").json["error"]["id"] == "E6"
        painted(pictures / "cut.png", 60)
        client.send("/rescan", {"ids": [id]})
        served.settled()
        assert client.get("/problems").json["total"] == 1
        assert client.get(f"/t/{id}/192").status == 200

    def test_export_writes_beside_the_pictures(self, client: Any, pictures: Path) -> None:
        ids = client.ids()
        client.label(ids[0], '=cmd, "x"')
        client.decide({"kind": "state_set", "images": [ids[1]], "state": "unsure"})
        done = client.send("/export", {"formats": ["csv", "jsonl"], "open": True}).json
        assert done["files"] == {"labels.csv": 12, "labels.jsonl": 12}
        with (pictures / done["folder"] / "labels.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        assert rows[0]["class"] == '\'=cmd, "x"'
        assert [r["state"] for r in rows][:3] == ["labelled", "unsure", "open"]
        again = client.send("/export", {"formats": ["csv"], "states": False}).json
        assert again["folder"] != done["folder"]
        assert again["files"] == {"labels.csv": 1}
        own = client.send("/export", {"formats": ["csv"], "where": "project"}).json
        assert (pictures / ".handful" / own["folder"] / "labels.csv").is_file()
        client.send("/rescan", {})  # what was written is no picture of the folder
        assert client.state()["counts"]["pictures"] == 12

    def test_the_stream_tells_what_changed(self, client: Any, served: Any) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.request("GET", f"{PREFIX}/stream", headers={"Cookie": client.cookie})
        stream = connection.getresponse()
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.readline() == b"retry: 1000\n"
        client.label(client.ids()[0], "a")
        seen: dict[str, Any] = {}
        while not {"counts", "classes"} <= seen.keys():
            line = stream.readline().decode().strip()
            if line.startswith("event: "):
                seen[line[7:]] = json.loads(stream.readline().decode().removeprefix("data: "))
        assert seen["counts"]["counts"]["by_you"] == 1
        assert seen["classes"]["label_rev"] == client.rev
        stream.close()
        connection.close()

    @pytest.mark.parametrize(
        ("last", "event"), [("0", "counts"), ("999", "resync"), ("x", "resync")]
    )
    def test_a_stream_taken_up_again(self, client: Any, served: Any, last: str, event: str) -> None:
        client.label(client.ids()[0], "a")
        until = time.monotonic() + 10
        while not served.site.stream._kept and time.monotonic() < until:
            time.sleep(0.02)
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        headers = {"Cookie": client.cookie, "Last-Event-ID": last}
        connection.request("GET", f"{PREFIX}/stream", headers=headers)
        stream = connection.getresponse()
        lines = (
            [stream.readline().decode() for _ in range(20)]
            if last == "0"
            else [stream.readline().decode() for _ in range(4)]
        )
        assert any(line == f"event: {event}\n" for line in lines), lines
        stream.close()
        connection.close()

    def test_a_full_disk_refuses_and_loses_nothing(
        self, client: Any, served: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was refused is sent again by the page, with its id, and lands once."""
        ids = client.ids()
        client.label(ids[0], "a")
        decision = {"kind": "labelled", "id": "tab.77", "seen_rev": 99, "image": ids[1], "class": 0}

        def full(*_: Any) -> None:
            raise full_disk(served.project.book.path)

        with monkeypatch.context() as patch:
            patch.setattr(served.project.book, "_keep", full)
            refused = client.send("/events", [decision])
            assert refused.status == 507
            assert refused.json["error"]["id"] == "E4"
            assert client.state()["counts"]["by_you"] == 1
        assert client.send("/events", [decision]).json["results"][0]["ok"]
        assert client.state()["counts"]["by_you"] == 2

    def test_an_index_that_cannot_be_written_follows_later(
        self, client: Any, served: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer is safe in the book; the counts are right again with the next one."""
        one, two, *_ = client.ids()

        def full(*_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(served.project, "place_rows", full)
            assert client.label(one, "a")["results"][0]["ok"]
            assert client.state()["counts"]["by_you"] == 0
        client.label(two, 0)
        assert client.state()["counts"]["by_you"] == 2

    def test_a_repeated_change_of_a_class_is_one(self, client: Any, served: Any) -> None:
        client.make("a")
        client.make("b")
        for path, method, body in (
            ("/classes", "POST", {"name": "c"}), ("/classes/0", "PATCH", {"name": "z"}),
            ("/classes/2/merge", "POST", {"into": 1}), ("/classes/1/archive", "POST", {}),
        ):  # fmt: skip
            whole = {"id": client.id(), "seen_rev": client.rev, **body}
            assert client.send(path, whole, method=method).status == 200
            length = len(served.project.book)
            assert client.send(path, whole, method=method).status == 200
            assert len(served.project.book) == length
        assert client.change(1, name="x").json["error"]["id"] == "E12"  # archived by now
        assert client.archive(99).status == 404

    def test_the_page_says_when_it_is_not_built(self, client: Any) -> None:
        reply = client.raw("GET", "/", headers={"Cookie": client.cookie})
        assert reply.status == 503
        assert b"npm ci" in reply.body

    def test_built_files_are_served_by_name_alone(
        self, pictures: Path, tmp_path: Path, serve: Any
    ) -> None:
        static = tmp_path / "static"
        (static / "assets").mkdir(parents=True)
        (static / "index.html").write_text("<!doctype html>page")
        (static / "assets" / "main-abc.js").write_text("1")
        with serve(pictures, static=static) as page:
            client = page.client()
            headers = {"Cookie": client.cookie}
            front = client.raw("GET", "/", headers=headers)
            assert (front.status, front.body) == (200, b"<!doctype html>page")
            script = client.raw("GET", "/static/assets/main-abc.js", headers=headers)
            assert script.headers["content-type"].startswith("text/javascript")
            assert "immutable" in script.headers["cache-control"]
            for path in ("/static/../conftest.py", "/static/assets/..%2findex.html", "/static/x"):
                assert client.raw("GET", path, headers=headers).status == 404

    @pytest.mark.parametrize("route", [r for r in ROUTES if r.name not in LEARNED],
                             ids=lambda r: r.name)  # fmt: skip
    def test_what_is_given_is_what_the_document_says(self, client: Any, route: Route) -> None:
        """Each JSON answer has the very fields of its type."""
        image = client.ids()[0]
        client.make("a")
        client.make("b")
        client.label(image, 0)
        path = route.path.replace("{side}", "192")
        path = path.replace("{id}", "0" if "classes" in path else image)
        bodies: dict[str, Any] = {
            "events": [{
                "kind": "labelled", "id": "t.900", "seen_rev": 99, "image": image, "class": 1,
            }],
            "undo": {"id": "t.901"}, "redo": {"id": "t.902"}, "rescan": {},
            "newClass": {"id": "t.903", "name": "c", "seen_rev": 99},
            "changeClass": {"id": "t.904", "name": "d", "seen_rev": 99},
            "mergeClass": {"id": "t.905", "into": 1, "seen_rev": 99},
            "archiveClass": {"id": "t.906", "seen_rev": 99},
            "export": {"formats": ["csv"]}, "exportShow": {},
            "importPart": {"upload": "upload01", "name": "x.csv", "part": 0, "parts": 1,
                           "data": "YQ=="},
            "importPreview": {},
        }  # fmt: skip
        if route.gives is None:
            return
        if route.name == "importLabels":  # the folders that the pictures lie in
            mark = client.send("/import/preview", {}).json["set_hash"]
            bodies[route.name] = {"id": "t.907", "seen_rev": 99, "set_hash": mark}
        if route.takes is None:
            reply = client.get(path)
        else:
            checked(bodies[route.name], route.takes)
            reply = client.send(path, bodies[route.name], method=route.method)
        assert reply.status == 200, reply.body
        checked(reply.json, route.gives)

    def test_no_method_but_the_one(self, client: Any) -> None:
        assert client.send("/state", {}).status == 405
        assert client.get("/events").status == 405
        assert client.get("/nowhere").status == 404
        assert client.get("/images/" + quote("../../x", safe="")).status == 404
