"""Groups, suggestions, review, acceptance, likeness, the map: over a real socket."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_learned import (
    rows_of,
    teach_features,
    teach_groups,
    teach_map,
    teach_model,
)
from page_serving import Client, Served, paint, serving

from handful import metrics
from handful.page.check import checked
from handful.page.openapi import ROUTES

A, B = 0, 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty pictures."""
    folder = tmp_path_factory.mktemp("eighty")
    for number in range(80):
        paint(folder / f"{number:03d}.png", number, (8, 8))
    return folder


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Iterator[Served]:
    """A fresh project of them, with the classes a and b."""
    with serving(folder, place=tmp_path / "work") as served:
        served.settled()
        client = served.client()
        client.make("a")
        client.make("b")
        yield served


@pytest.fixture
def tab(page: Served) -> Client:
    client = page.client("mine")
    client.rev = client.state()["label_rev"]
    return client


@pytest.fixture
def rows(page: Served) -> list[int]:
    """Rows of the pictures by name."""
    return [row for _, row in sorted(rows_of(page.project).items())]


def names(page: Served, rows: list[int]) -> list[str]:
    return page.project.index.ids(np.array(rows, dtype=np.int64))


def hash_of(tab: Client) -> dict[str, Any]:
    items = tab.get("/images", limit=500).json["items"]
    return {i["id"]: (i["state"], i["class"], i["source"]) for i in items}


def adds_up(tab: Client) -> dict[str, int]:
    counts: dict[str, int] = tab.state()["counts"]
    parts = ("by_you", "in_groups", "by_model", "open")
    assert sum(counts[name] for name in parts) == counts["pictures"]
    return counts


class TestCounts:
    def test_sure_suggestions_count_by_the_model(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        guesses = {r: (A, 0.8) if at < 50 else (B, 0.79) for at, r in enumerate(rows)}
        teach_model(page.project, guesses)
        counts = adds_up(tab)
        assert (counts["by_model"], counts["open"]) == (50, 30)
        assert [c["by_model"] for c in tab.state()["classes"]] == [50, 0]
        ids = names(page, rows)
        tab.label(ids[0], B)  # by you now
        tab.decide({"kind": "state_set", "images": ids[1:3], "state": "later"})
        counts = adds_up(tab)
        assert (counts["by_you"], counts["by_model"], counts["open"]) == (1, 47, 32)
        tab.undo()
        tab.undo()
        assert adds_up(tab)["by_model"] == 50

    def test_classes_are_as_they_are_now(self, page: Served, tab: Client, rows: list[int]) -> None:
        teach_model(page.project, {r: (A if r % 2 else B, 0.9) for r in rows})
        tab.merge(B, A)
        assert [c["by_model"] for c in tab.state()["classes"]] == [80, 0]
        assert {i["sug"]["class"] for i in tab.get("/images").json["items"]} == {A}
        tab.archive(A)
        assert adds_up(tab)["open"] == 80
        assert all(i["sug"] is None for i in tab.get("/images").json["items"])
        tab.undo()
        tab.undo()
        assert [c["by_model"] for c in tab.state()["classes"]] == [40, 40]

    def test_an_archived_class_gives_its_pictures_back_to_the_model(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        ids = names(page, rows)
        tab.decide({"kind": "group_labelled", "images": ids[:20], "class": B, "from": "gallery"})
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)))
        assert adds_up(tab)["by_model"] == 60
        tab.archive(B)
        counts = adds_up(tab)
        assert (counts["in_groups"], counts["by_model"]) == (0, 80)

    def test_a_transaction_that_goes_back_takes_its_sums_along(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)))
        adds_up(tab)
        index = page.project.index
        row = index.by_row([rows[0]])[rows[0]]

        def half() -> None:
            with index.writing():
                page.project.set_presence(row, "missing")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            half()
        assert adds_up(tab)["by_model"] == 80

    def test_sums_are_those_of_a_slow_count(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        rng = np.random.default_rng(0)
        sure = {r: (int(rng.integers(2)), float(rng.choice([0.5, 0.9]))) for r in rows}
        teach_model(page.project, sure)
        ids = names(page, rows)
        for _ in range(30):
            some = [ids[i] for i in rng.choice(80, 5, replace=False)]
            act = int(rng.integers(4))
            if act == 0:
                tab.label(some[0], int(rng.integers(2)))
            elif act == 1:
                tab.decide({"kind": "state_set", "images": some, "state": "later"})
            elif act == 2:
                tab.decide({"kind": "state_set", "images": some, "state": "open"})
            else:
                tab.undo()
            items = tab.get("/images", limit=500).json["items"]
            slow = sum(
                i["state"] == "open" and sure[r][1] >= 0.8 for i, r in zip(items, rows, strict=True)
            )
            assert adds_up(tab)["by_model"] == slow


class TestQueue:
    def test_useful_says_why(self, page: Served, tab: Client, rows: list[int]) -> None:
        assert "why" not in tab.get("/queue", mode="useful").json["items"][0]
        order = [rows[3], rows[1], rows[2], rows[0]]
        teach_model(
            page.project, dict.fromkeys(rows, (A, 0.97)), second=B, order=order,
            reasons=[0, 1, 2, 3], stands=[0, 0, 140, 0],
        )  # fmt: skip
        items = tab.get("/queue", mode="useful", n=4).json["items"]
        assert [i["id"] for i in items] == names(page, order)
        assert [i["why"] for i in items] == [
            "Between two classes", "Unlike anything answered", "Stands for 140 others",
            "Random check",
        ]  # fmt: skip
        shown = [i for i in items if i["sug"] is not None]
        assert all(i["sug"] | {"p": 0} == {"class": A, "p": 0, "words": "very sure"} for i in shown)
        assert all(i["next"] == B for i in shown)

    def test_then_those_drawn_each_once(self, page: Served, tab: Client, rows: list[int]) -> None:
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)), order=rows[:30])
        tab.label(names(page, rows[:1])[0], A)
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page_ = tab.get("/queue", mode="useful", n=12, **cursor).json
            found += [i["id"] for i in page_["items"]]
            if page_["next"] is None:
                break
            cursor = {"cursor": page_["next"]}
        assert found[:29] == names(page, rows[1:30])
        assert set(found) == set(names(page, rows[1:]))
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)), order=rows[40:])
        old = tab.get("/queue", mode="useful", n=3, **_useful_cursor(1, 12)).json
        assert [i["id"] for i in old["items"]] == names(
            page, rows[40:43]
        )  # the newest, from its top

    @pytest.mark.parametrize("cursor", ["%", "WzFd", "WyJ1c2VmdWwiLCAxLCAtMV0="])
    def test_a_cursor_of_nowhere(
        self, page: Served, tab: Client, rows: list[int], cursor: str
    ) -> None:
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)), order=rows)
        assert tab.get("/queue", mode="useful", cursor=cursor).status == 400
        for path in ("/groups", "/review"):
            assert tab.get(path, cursor=cursor).status == 400

    def test_looks_like_three_answered_ones(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_features(page.project, {r: (1, 0.02 * at) for at, r in enumerate(rows)})
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)), order=rows[40:])
        ids = names(page, rows)
        for at in (1, 30, 36, 38):
            tab.label(ids[at], at % 2)
        for item in tab.get("/queue", mode="useful", n=10).json["items"]:
            if item["sug"] is not None:
                assert [a["id"] for a in item["likes"]] == [ids[38], ids[36], ids[30]]
                assert item["likes"][0]["class"] == 0


def _useful_cursor(rev: int, at: int) -> dict[str, str]:
    said = json.dumps(["useful", rev, at]).encode()
    return {"cursor": base64.urlsafe_b64encode(said).decode()}


class TestStacks:
    def test_asked_once_copied_in_one_event(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        stacks = [rows[at : at + 4] for at in range(0, 80, 4)]
        teach_features(page.project, {r: (1, r) for r in rows}, stacks=stacks)
        items = tab.get("/queue", mode="random", n=100).json["items"]
        assert len(items) == 20
        assert all(i["stack"] == 4 for i in items)
        before, length = hash_of(tab), len(page.project.book)
        tab.label(items[0]["id"], A)
        assert len(page.project.book) == length + 1
        labelled = [i for i in tab.get("/images", limit=500).json["items"] if i["class"] == A]
        assert sorted(i["source"] for i in labelled) == ["copied"] * 3 + ["hand"]
        assert {i["stack"] for i in labelled} == {4}
        assert adds_up(tab)["in_groups"] == 3
        tab.label(items[0]["id"], B)  # corrected: the copies follow
        assert sum(i["class"] == B for i in tab.get("/images", limit=500).json["items"]) == 4
        tab.undo()
        tab.undo()
        assert hash_of(tab) == before
        tab.redo()
        assert len(tab.get("/queue", mode="random", n=100).json["items"]) == 19

    def test_own_answers_are_not_copied_over(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_features(page.project, {r: (1, r) for r in rows}, stacks=[rows[:3]])
        first, second, third = names(page, rows[:3])
        tab.label(second, B)
        assert [hash_of(tab)[i][1:] for i in (first, third)] == [(B, "copied")] * 2
        tab.label(first, A)
        found = hash_of(tab)
        assert found[second] == ("labelled", B, "hand")
        assert found[third] == ("labelled", A, "copied")
        tab.decide({"kind": "state_set", "images": [first], "state": "none"})
        assert hash_of(tab)[third] == ("none", None, "copied")

    def test_a_broken_stack_keeps_its_labels(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_features(page.project, {r: (1, r) for r in rows}, stacks=[rows[:3]])
        stack = names(page, rows[:3])
        tab.label(stack[0], A)
        labelled = hash_of(tab)
        told = tab.get(f"/images/{stack[0]}").json["stack"]
        assert {seen["id"] for seen in told} == set(stack)
        tab.decide({"kind": "stack_broken", "images": stack})
        assert tab.get(f"/images/{stack[0]}").json["stack"] == []
        assert hash_of(tab) == labelled
        assert {i["stack"] for i in tab.get("/images").json["items"]} == {1}
        tab.label(stack[0], B)
        assert [hash_of(tab)[i][1] for i in stack] == [B, A, A]
        tab.undo()
        tab.undo()
        assert tab.get("/images").json["items"][0]["stack"] == 3
        refused = tab.decide({"kind": "stack_broken", "images": stack[:1]})
        assert not refused["results"][0]["ok"]


class TestGroups:
    def test_pages_of_groups_typical_first(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        empty = tab.get("/groups").json
        assert (empty["items"], empty["rev"], empty["total"]) == ([], 0, 0)
        teach_groups(page.project, [rows[:50], rows[50:70], rows[70:]], likely=[(A, 0.96)] * 3)
        found = tab.get("/groups", limit=2).json
        assert [(g["id"], g["n"], g["open"]) for g in found["items"]] == [
            ("1.0", 50, 50), ("1.1", 20, 20),
        ]  # fmt: skip
        big, small = found["items"]
        assert big["ids"] == names(page, rows[:50])
        assert [p["id"] for p in big["typical"]] == names(page, rows[:24])
        assert [p["id"] for p in big["edge"]] == names(page, rows[38:50])
        assert len(small["typical"]) == 20
        assert small["edge"] == []
        assert big["likely"] == {"class": A, "p": pytest.approx(0.96), "words": "very sure"}
        rest = tab.get("/groups", limit=2, cursor=found["next"]).json
        assert [g["id"] for g in rest["items"]] == ["1.2"]
        assert rest["next"] is None
        assert found["total"] == 3

    def test_the_order_follows_the_newest_model(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        def listed(**query: Any) -> list[str]:
            return [g["id"] for g in tab.get("/groups", **query).json["items"]]

        rev = teach_groups(page.project, [rows[:40], rows[40:60], rows[60:]])
        first = tab.get("/groups", limit=1).json
        assert listed() == ["1.0", "1.1", "1.2"]
        guesses = dict.fromkeys(rows, (A, 0.9))
        teach_model(page.project, guesses, turns=[2, 0, 1], groups=rev)
        assert listed() == ["1.2", "1.0", "1.1"]
        # the order that the cursor was of is gone: from the top
        assert listed(cursor=first["next"]) == ["1.2", "1.0", "1.1"]
        cursor = tab.get("/groups", limit=2).json["next"]
        assert listed(cursor=cursor) == ["1.1"]
        tab.send("/groups/1.2/halve", {"id": tab.id()})
        assert listed() == ["1.2.0", "1.2.1", "1.0", "1.1"]
        tab.send("/groups/1.2.0/aside", {"id": tab.id(), "why": "later"})
        assert listed() == ["1.2.1", "1.0", "1.1", "1.2.0"]
        # a model of other groups says nothing of the order
        teach_model(page.project, guesses, turns=[2, 1, 0], groups=rev + 1)
        assert listed() == ["1.0", "1.1", "1.2.1", "1.2.0"]

    def test_answered_pictures_leave_and_done_groups_too(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_groups(page.project, [rows[:40], rows[40:]])
        ids = names(page, rows)
        tab.decide({
            "kind": "group_labelled", "images": ids[1:40], "taken_out": ids[:1],
            "shown": ids[:36], "group_rev": 1, "scope": "Label all 39 in this group", "class": A,
            "from": "gallery", "suggestion": {"class": B, "p": 0.6, "model_rev": 1, "shown": True},
        })  # fmt: skip
        event = page.project.book.event(page.project.rev)
        assert event.data["suggestion"] == {"class": B, "p": 0.6, "model_rev": 1, "shown": True}
        assert event.data["taken_out"] == ["000.png"]
        assert len(event.data["shown"]) == 36
        assert event.data["scope"] == "Label all 39 in this group"
        first = tab.get("/groups").json["items"][0]
        assert (first["n"], first["open"], first["ids"]) == (40, 1, ids[:1])
        tab.label(ids[0], B)
        after = tab.get("/groups").json
        assert [g["id"] for g in after["items"]] == ["1.1"]
        assert (after["total"], after["done"]) == (1, 1)
        (done,) = tab.get("/groups", done=1).json["items"]
        assert (done["open"], len(done["ids"])) == (0, 40)
        tab.undo()
        assert [g["id"] for g in tab.get("/groups").json["items"]] == ["1.0", "1.1"]

    def test_what_is_likely_follows_the_model(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_groups(page.project, [rows[:40], rows[40:]])
        assert [g["likely"] for g in tab.get("/groups").json["items"]] == [None, None]
        guesses = {r: (B if at < 40 else -2, 0.9) for at, r in enumerate(rows)}
        teach_model(page.project, guesses)
        one, two = tab.get("/groups").json["items"]
        assert one["likely"] == {"class": B, "p": pytest.approx(0.9), "words": "fairly sure"}
        assert two["likely"]["class"] is None

    def test_halves_by_what_they_look_like(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        """Two sorts in one group come apart; an undo puts them together."""
        mixed = [r for pair in zip(rows[:20], rows[20:40], strict=True) for r in pair]
        teach_features(
            page.project,
            {r: (1, 0.01 * at) if at < 20 else (0.01 * at, 1) for at, r in enumerate(rows)},
        )
        teach_groups(page.project, [mixed, rows[40:]])
        made = tab.send("/groups/1.0/halve", {"id": tab.id()}).json
        assert [g["id"] for g in made["items"]] == ["1.0.0", "1.0.1"]
        assert [set(g["ids"]) for g in made["items"]] == [
            set(names(page, rows[:20])), set(names(page, rows[20:40])),
        ]  # fmt: skip
        assert [g["id"] for g in tab.get("/groups").json["items"]] == ["1.0.0", "1.0.1", "1.1"]
        again = tab.send("/groups/1.0.1/halve", {"id": tab.id()}).json
        assert [g["id"] for g in again["items"]] == ["1.0.1.0", "1.0.1.1"]
        assert made["undo"]["text"] == "1 group halved"
        tab.undo()
        tab.undo()
        whole = tab.get("/groups").json["items"]
        assert [(g["id"], g["n"]) for g in whole] == [("1.0", 40), ("1.1", 40)]

    def test_halves_without_features(self, page: Served, tab: Client, rows: list[int]) -> None:
        teach_groups(page.project, [rows[:5]])
        made = tab.send("/groups/1.0/halve", {"id": tab.id()}).json
        assert [g["n"] for g in made["items"]] == [2, 3]

    def test_aside_until_the_next_grouping(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_groups(page.project, [rows[:30], rows[30:60], rows[60:]])
        body = {"id": tab.id(), "why": "mixed"}
        tab.send("/groups/1.0/aside", body)
        tab.send("/groups/1.1/aside", {"id": tab.id(), "why": "later"})
        found = tab.get("/groups").json
        assert [(g["id"], g["aside"]) for g in found["items"]] == [("1.2", None), ("1.1", "later")]
        length = len(page.project.book)
        assert tab.send("/groups/1.0/aside", body).status == 200  # a repeat
        assert len(page.project.book) == length
        tab.undo()
        assert [g["id"] for g in tab.get("/groups").json["items"]] == ["1.1", "1.2"]
        tab.undo()
        assert len(tab.get("/groups").json["items"]) == 3
        tab.redo()
        teach_groups(page.project, [rows[:10], rows[10:]])
        assert [g["id"] for g in tab.get("/groups").json["items"]] == ["2.0", "2.1"]

    def test_same_class_cards(self, page: Served, tab: Client, rows: list[int]) -> None:
        """Same merges, in one undo; whatever was answered is not asked again, later either."""
        quarter = [rows[at : at + 20] for at in range(0, 80, 20)]
        teach_groups(page.project, quarter, near=[(0, 1), (1, 2), (2, 3)])
        assert tab.get("/groups").json["near"] == [["1.0", "1.1"], ["1.1", "1.2"], ["1.2", "1.3"]]
        tab.decide({"kind": "pair_answered", "a": "1.2", "b": "1.3", "answer": "different"})
        assert tab.get("/groups").json["near"] == [["1.0", "1.1"], ["1.1", "1.2"]]
        tab.decide({"kind": "pair_answered", "a": "1.0", "b": "1.1", "answer": "same"})
        found = tab.get("/groups").json
        merged = found["items"][0]
        assert merged["id"].startswith("1.0.m")
        assert (merged["n"], len(found["items"])) == (40, 3)
        assert merged["ids"][:4] == names(page, [rows[0], rows[20], rows[1], rows[21]])
        assert found["near"] == [[merged["id"], "1.2"]]
        assert [p.same for p in page.project.book.pairs] == [False, True]
        assert page.project.book.pairs[0].a == "040.png"
        tab.undo()
        assert [g["id"] for g in tab.get("/groups").json["items"]] == ["1.0", "1.1", "1.2", "1.3"]
        teach_groups(page.project, quarter[::-1], near=[(0, 1), (2, 3)])
        assert tab.get("/groups").json["near"] == [["2.2", "2.3"]]

    def test_several_merge_at_once(self, page: Served, tab: Client, rows: list[int]) -> None:
        teach_groups(page.project, [rows[at : at + 20] for at in range(0, 80, 20)])
        made = tab.send("/groups/merge", {"id": tab.id(), "groups": ["1.1", "1.3", "1.0"]}).json
        assert [g["n"] for g in made["items"]] == [60]
        assert made["total"] == 2
        assert made["undo"]["text"] == "3 groups merged"
        tab.undo()
        assert len(tab.get("/groups").json["items"]) == 4
        same = {"id": tab.id(), "groups": ["1.1", "1.1"]}
        assert tab.send("/groups/merge", same).status == 400

    def test_an_old_view_is_told_so(self, page: Served, tab: Client, rows: list[int]) -> None:
        """The one before is kept; what is older, halved or merged away is refused (E12)."""
        for _ in range(2):
            teach_groups(page.project, [rows[:40], rows[40:]])
        old = tab.get("/groups", rev=1).json
        assert (old["rev"], old["newest"], old["stale"]) == (1, 2, True)
        assert old["items"][0]["id"] == "1.0"
        tab.send("/groups/2.0/halve", {"id": tab.id()})
        for gone in ("2.0", "9.1"):
            reply = tab.send(f"/groups/{gone}/halve", {"id": tab.id()})
            assert reply.json["error"]["id"] == "E12"
        card = {"kind": "pair_answered", "a": "2.0", "b": "2.1", "answer": "same"}
        assert tab.decide(card)["results"][0]["error"]["id"] == "E12"
        assert tab.send("/groups/x/halve", {"id": tab.id()}).status == 404
        cursor = tab.get("/groups", rev=1, limit=1).json["next"]
        teach_groups(page.project, [rows])
        found = tab.get("/groups", limit=1, cursor=cursor).json
        assert (found["rev"], found["items"][0]["id"]) == (3, "3.0")

    def test_regrouping_needs_the_worker(self, tab: Client) -> None:
        assert tab.send("/groups/regroup", {}).json == {"started": False}


class TestReview:
    def test_likely_mistakes_are_kept_or_changed(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        ids = names(page, rows)
        teach_features(page.project, {r: (1, at) for at, r in enumerate(rows)})
        for at in range(8):
            tab.label(ids[at], A if at < 4 else B)
        errors = [(rows[0], A, B, 0.9), (rows[1], A, B, 0.8), (rows[5], B, A, 0.7)]
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)), errors=errors)
        found = tab.get("/review").json
        assert [i["picture"]["id"] for i in found["items"]] == [ids[0], ids[1], ids[5]]
        first = found["items"][0]
        assert (first["label"], first["to"], first["score"]) == (A, B, pytest.approx(0.9))
        assert [t["id"] for t in first["near_label"]] == [ids[1], ids[2], ids[3]]
        assert [t["id"] for t in first["near_to"]] == ids[4:8]
        before = hash_of(tab)
        tab.decide({"kind": "review_kept", "image": ids[0]})
        assert hash_of(tab) == before
        tab.decide({"kind": "review_changed", "image": ids[1], "class": B})
        found = tab.get("/review").json
        assert [i["picture"]["id"] for i in found["items"]] == [ids[5]]
        assert (found["looked"], found["wrong"], found["total"]) == (2, 1, 1)
        assert hash_of(tab)[ids[1]] == ("labelled", B, "hand")
        changed = page.project.book.event(page.project.rev)
        assert (changed.data["from"], changed.data["to"], changed.data["rank"]) == (A, B, 2)
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)), errors=errors)
        assert tab.get("/review").json["total"] == 1  # what was kept does not come back
        assert tab.undo()["text"] == 'Undone: 1 label changed from "a" to "b"'
        tab.undo()
        assert tab.get("/review").json["total"] == 3
        assert hash_of(tab) == before

    def test_pages_go_on_where_they_were(self, page: Served, tab: Client, rows: list[int]) -> None:
        ids = names(page, rows)
        for at in range(9):
            tab.label(ids[at], A)
        teach_model(
            page.project, dict.fromkeys(rows, (A, 0.9)), errors=[(r, A, B, 0.5) for r in rows[:9]]
        )
        first = tab.get("/review", limit=3).json
        tab.decide({"kind": "review_kept", "image": ids[0]})
        second = tab.get("/review", limit=3, cursor=first["next"]).json
        assert [i["picture"]["id"] for i in second["items"]] == ids[3:6]

    def test_a_cell_counts_what_it_opens(self, page: Served, tab: Client, rows: list[int]) -> None:
        ids = names(page, rows)
        for at in range(20):
            tab.label(ids[at], at % 2)
        tab.decide({"kind": "state_set", "images": ids[20:23], "state": "none"})
        held = [(r, at % 2, at % 3 % 2) for at, r in enumerate(rows[:20])]
        held += [(r, -2, A) for r in rows[20:23]]
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)), held=held)
        tab.label(ids[0], B)  # another label since: it is in another cell
        cells = tab.get("/confusion").json["held"]
        assert sum(cell["n"] for cell in cells) == 23
        for cell in cells:
            a, b = ("none" if c is None else c for c in (cell["label"], cell["to"]))
            found = tab.get("/review", kind=f"cell:{a}:{b}", limit=100).json
            assert len(found["items"]) == found["total"] == cell["n"]
            assert {i["label"] for i in found["items"]} == {cell["label"]}
        assert {"label": None, "to": A, "n": 3} in cells
        assert tab.get("/review", kind="cell:1").status == 400

    def test_nothing_learned_nothing_found(self, tab: Client) -> None:
        found = tab.get("/review").json
        assert (found["items"], found["total"], found["labels"]) == ([], 0, 0)
        assert tab.get("/confusion").json["held"] == []


class TestAccepting:
    def sample(self, tab: Client, p: float = 0.9, **more: Any) -> Any:
        return tab.send("/accept/preview", {"p": p, **more}).json

    def answer(self, tab: Client, sample: list[dict[str, Any]], wrong: int = 0) -> list[str]:
        events = []
        for at, tile in enumerate(sample):
            tab.decide({
                "kind": "labelled", "image": tile["id"], "class": B if at < wrong else A,
                "from": "accept",
            })  # fmt: skip
            events.append(f"{tab.tab}.{tab.number}")
        return events

    def test_what_is_accepted_is_what_was_sampled(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        sure = {r: (A, 0.95) if at < 70 else (B, 0.6) for at, r in enumerate(rows)}
        teach_model(page.project, sure)
        found = self.sample(tab)
        assert (found["n"], len(found["sample"])) == (70, 60)
        assert set(found["sample"][0]) == {"id", "v", "w", "h"}  # blind
        assert self.sample(tab) == found  # frozen, drawn once
        before = hash_of(tab)
        ask = {"p": 0.9, "set_hash": found["set_hash"]}
        events = self.answer(tab, found["sample"][:29], wrong=2)
        early = tab.send("/accept", {"id": tab.id(), "sample_events": events, **ask})
        assert early.status == 409
        check = {"set_hash": found["set_hash"], "sample_events": events}
        assert tab.send("/accept/check", check).json["k"] is None
        events += self.answer(tab, found["sample"][29:60])
        said = tab.send("/accept/check", {**check, "sample_events": events}).json
        low, high = metrics.wilson(58, 60, population=70)
        assert (said["k"], said["n"]) == (58, 60)
        assert (said["low"], said["high"]) == (low, high)
        assert said["text"] == (
            f"58 of 60 were right: at least {100 * low:.1f} %, at most {100 * high:.1f} %."
        )
        answered = hash_of(tab)
        # a new model since moves nothing: the set is frozen
        teach_model(page.project, dict.fromkeys(rows, (B, 0.99)))
        body = {"id": tab.id(), "sample_events": events, **ask}
        done = tab.send("/accept", body).json
        assert done["n"] == 70
        event = page.project.book.find(body["id"])
        assert event is not None
        assert event.data["set_hash"] == found["set_hash"]
        assert (event.data["sample_k"], event.data["sample_n"]) == (58, 60)
        assert sorted(event.data["images"]) == [f"{at:03d}.png" for at in range(70)]
        now = hash_of(tab)
        assert sum(s == ("labelled", A, "accepted") for s in now.values()) == 10
        by_hand = {i: s for i, s in now.items() if s[2] == "hand"}
        assert by_hand == {i: s for i, s in answered.items() if s[2] == "hand"}  # theirs stay
        assert done["undo"]["text"] == "70 images accepted at 90 % or more"
        assert tab.send("/accept", body).json["n"] == 70  # a repeat
        tab.undo()
        assert hash_of(tab) == answered
        for _ in range(60):
            tab.undo()
        assert hash_of(tab) == before

    def test_the_sample_is_answered_in_its_order(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        """Leaving out the hard ones is refused, as are answers taken back or from before."""
        teach_model(page.project, dict.fromkeys(rows, (A, 0.95)))
        found = self.sample(tab)
        events = self.answer(tab, found["sample"][:40])
        check = {"set_hash": found["set_hash"]}
        for wrong in (events[1:], [*events[:5], *events[6:]], [events[0], events[0]]):
            refused = tab.send("/accept/check", {**check, "sample_events": wrong})
            assert refused.json["error"]["id"] == "accept"
        tab.undo()
        assert tab.send("/accept/check", {**check, "sample_events": events}).status == 409
        unsure = {"kind": "state_set", "images": [found["sample"][39]["id"]], "state": "unsure"}
        tab.decide(unsure)
        events[39] = f"{tab.tab}.{tab.number}"
        said = tab.send("/accept/check", {**check, "sample_events": events}).json
        assert (said["n"], said["unsure"]) == (39, 1)
        ask = {"id": tab.id(), "sample_events": events, **check}
        assert tab.send("/accept", {**ask, "p": 0.8}).status == 409
        assert tab.send("/accept", {**ask, "p": 0.9, "set_hash": "0" * 64}).status == 409

    def test_a_class_that_changed_stops_it(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_model(page.project, dict.fromkeys(rows, (A, 0.95)))
        found = self.sample(tab, classes=[A])
        events = self.answer(tab, found["sample"][:30])
        tab.merge(A, B)
        ask = {"id": tab.id(), "p": 0.9, "set_hash": found["set_hash"], "sample_events": events}
        assert tab.send("/accept", ask).json["error"]["id"] == "E12"

    def test_nothing_is_sure_enough(self, page: Served, tab: Client, rows: list[int]) -> None:
        assert self.sample(tab)["n"] == 0
        teach_model(page.project, dict.fromkeys(rows, (-2, 0.99)))
        assert self.sample(tab)["n"] == 0  # none of these is given by eye alone
        teach_model(page.project, dict.fromkeys(rows, (A, 0.95)))
        assert self.sample(tab, classes=[B])["n"] == 0


class TestLikeness:
    def test_ranked_by_likeness_and_refined(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        rng = np.random.default_rng(1)
        x = {r: rng.standard_normal(6) for r in rows}
        teach_features(page.project, {r: list(v) for r, v in x.items()})
        ids = dict(zip(names(page, rows), rows, strict=True))
        wanted, unwanted = list(ids)[:2], list(ids)[2:5]
        found = tab.send("/like", {"ids": wanted, "not_ids": unwanted, "n": 500}).json
        unit = {r: (v / np.linalg.norm(v)).astype(np.float16).astype(float) for r, v in x.items()}
        slow = {
            i: max(unit[r] @ unit[ids[w]] for w in wanted)
            - 0.5 * max(unit[r] @ unit[ids[u]] for u in unwanted)
            for i, r in ids.items()
            if i not in {*wanted, *unwanted}
        }
        assert [p["id"] for p in found["items"]] == sorted(slow, key=lambda i: -slow[i])
        assert found["scores"] == pytest.approx(sorted(slow.values(), reverse=True), abs=1e-3)
        assert found["total"] == 75
        parts: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            part = tab.send("/like", {"ids": wanted, "not_ids": unwanted, "n": 20, **cursor}).json
            parts += [p["id"] for p in part["items"]]
            if part["next"] is None:
                break
            cursor = {"cursor": part["next"]}
        assert parts == [p["id"] for p in found["items"]]

    def test_open_ones_or_all(self, page: Served, tab: Client, rows: list[int]) -> None:
        teach_features(page.project, {r: (1, r) for r in rows})
        ids = names(page, rows)
        tab.label(ids[1], A)
        tab.decide({"kind": "state_set", "images": [ids[2]], "state": "later"})
        assert tab.send("/like", {"ids": ids[:1]}).json["total"] == 77
        assert tab.send("/like", {"ids": ids[:1], "all": True}).json["total"] == 79

    def test_the_bound_counts_random_answers_only(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        teach_features(page.project, {r: (1, r) for r in rows})
        ids = names(page, rows)
        ask = {"ids": ids[:1], "for_class": B}
        assert tab.send("/like", ask).json["bound"] is None
        for image in ids[5:40]:
            tab.decide({"kind": "labelled", "image": image, "class": B, "from": "find"})
        images = [i["id"] for i in tab.get("/queue", mode="audit", n=20).json["items"]]
        tab.decide(*({"kind": "audit_answered", "image": i, "class": A} for i in images))
        assert tab.send("/like", ask).json["bound"] == (
            "None in 20 random pictures: at most 15 % of the folder."
        )
        image = tab.get("/queue", mode="audit", n=1).json["items"][0]["id"]
        tab.decide({"kind": "audit_answered", "image": image, "class": B})
        low, high = metrics.wilson(1, 21)
        assert tab.send("/like", ask).json["bound"] == (
            f"1 in 21 random pictures: between {100 * low:.1f} % and {100 * high:.1f} % of the"
            " folder."
        )

    def test_refused_before_pictures_are_compared(self, tab: Client) -> None:
        ids = tab.ids(2)
        assert tab.send("/like", {"ids": ids}).json["error"]["id"] == "early"
        assert tab.send("/like", {"ids": ["00ff"]}).status == 404


class TestMap:
    def test_bytes_as_said(self, page: Served, tab: Client, rows: list[int]) -> None:
        assert tab.get("/map").status == 404
        assert tab.get("/map/ids").status == 404
        ids = names(page, rows)
        tab.label(ids[0], B)
        tab.decide({"kind": "state_set", "images": [ids[1]], "state": "none"})
        tab.decide({"kind": "state_set", "images": [ids[2]], "state": "later"})
        teach_map(page.project, {r: (at, 1000 + at) for at, r in enumerate(rows[:60])}, images=80)
        teach_model(page.project, dict.fromkeys(rows[2:50], (A, 0.8)))
        raw = tab.get("/map").body
        mark, form, rev, n, total, label_rev = struct.unpack_from("<4s5I", raw)
        assert (mark, form, rev, n, total) == (b"hmap", 1, 1, 60, 80)
        assert label_rev == tab.state()["label_rev"]
        at = 24
        parts = []
        for kind, size in (("<u4", 4), ("<u2", 2), ("<u2", 2), ("u1", 1), ("u1", 1), ("u1", 1)):
            parts.append(np.frombuffer(raw, kind, n, at))
            at += n * size
        assert at == len(raw)
        table, x, y, classes, states, sure = parts
        assert table.tolist() == rows[:60]
        assert (x == np.arange(60)).all()
        assert (y == 1000 + np.arange(60)).all()
        assert classes[:4].tolist() == [B, 254, A, A]
        assert states[:4].tolist() == [1, 4, 2, 0]
        assert sure[:4].tolist() == [0, 0, 204, 204]
        assert set(classes[50:].tolist()) == {255}
        short = tab.get("/map", part="labels").body
        assert short == raw[:24] + raw[24 + 8 * n :]
        assert tab.get("/map", part="x").status == 400
        found = tab.get("/map/ids", start=50, n=20).json
        assert (found["ids"], found["start"], found["total"]) == (ids[50:60], 50, 60)


class TestSettingsAndAdvice:
    def test_one_at_a_time_and_undone(self, page: Served, tab: Client) -> None:
        assert tab.get("/settings").json["goal"] == 0.95
        made = tab.send("/settings", {"id": tab.id(), "goal": 0.9}, method="PATCH").json
        assert made["settings"]["goal"] == made["advice"]["goal"] == 0.9
        assert made["undo"]["text"] == "goal set to 90 %"
        for wrong in ({"goal": 0.2}, {"goal": 0.9, "person": "P"}, {}, {"features": "magic"}):
            body = {"id": tab.id(), **wrong}
            assert tab.send("/settings", body, method="PATCH").status == 400
        body = {"id": tab.id(), "person": " Ada  L "}
        tab.send("/settings", body, method="PATCH")
        tab.send("/settings", body, method="PATCH")
        assert tab.state()["person"] == "Ada L"
        tab.undo()
        assert tab.state()["person"] == ""
        tab.undo()
        assert tab.get("/settings").json["goal"] == 0.95

    def advice(self, tab: Client) -> Any:
        return tab.state()["advice"]

    def test_too_early(self, page: Served, tab: Client, rows: list[int]) -> None:
        assert self.advice(tab)["case"] == "early"
        teach_model(page.project, dict.fromkeys(rows, (A, 0.9)))
        said = self.advice(tab)
        assert (said["case"], said["text"], said["changed"]) == (
            "early",
            "Go on. The last 40 answers changed 6 % of the suggestions; below 1 % is steady.",
            0.06,
        )

    def settle(self, page: Served, tab: Client, rows: list[int], few: int = 15) -> dict[int, int]:
        ids = names(page, rows)
        tab.change(B, name="nauplius")
        tab.decide({"kind": "group_labelled", "images": ids[:30], "class": A, "from": "gallery"})
        tab.decide({
            "kind": "group_labelled", "images": ids[30 : 30 + few], "class": B, "from": "gallery",
        })  # fmt: skip
        truth = {r: A if at < 30 or at % 2 else B for at, r in enumerate(rows)}
        truth |= dict.fromkeys(rows[30 : 30 + few], B)
        teach_model(page.project, {r: (c, 0.9) for r, c in truth.items()}, changed=0.004)
        return truth

    def test_a_thin_class(self, page: Served, tab: Client, rows: list[int]) -> None:
        self.settle(page, tab, rows, few=7)
        said = self.advice(tab)
        assert (said["case"], said["screen"], said["class_id"]) == ("thin", "find", B)
        assert said["text"] == 'Go on with "nauplius": only 7 examples. Find more like this.'

    def test_steady_then_the_goal(self, page: Served, tab: Client, rows: list[int]) -> None:
        truth = self.settle(page, tab, rows)
        said = self.advice(tab)
        assert (said["case"], said["screen"]) == ("steady", "audit")
        assert said["text"] == (
            "Suggestions are steady (0.4 % changed). Check the result now: 80 blind answers,"
            " about 2 min."
        )
        tiles = tab.get("/queue", mode="audit", n=60).json["items"]
        by_id = page.project.index.by_id([t["id"] for t in tiles])
        for at, tile in enumerate(tiles):
            right = truth[by_id[tile["id"]].row]
            tab.decide({
                "kind": "audit_answered", "image": tile["id"],
                "class": 1 - right if at < 3 else right,
            })  # fmt: skip
        result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        low, high = metrics.wilson(57, 60, population=80)
        assert (result["low"], result["high"]) == (low, high)
        said = self.advice(tab)
        assert said["case"] == "goal_not_met"
        assert said["text"].startswith(
            f"Not yet. Audit: {100 * low:.1f} to {100 * high:.1f} %, your goal is 95 %. Most"
            " mistakes: "
        )
        wrong = [c for c in next(iter(page.project.said("audit_closed"))).data["compared"]
                 if c[1] != c[3]]  # fmt: skip
        names_ = {A: "a", B: "nauplius"}
        pairs = [f"{names_[c[3]]} taken for {names_[c[1]]}" for c in wrong]
        most = max(sorted(set(pairs)), key=pairs.count)
        assert said["text"].endswith(f"Most mistakes: {most} ({pairs.count(most)} of 3).")
        tab.send("/settings", {"id": tab.id(), "goal": 0.85}, method="PATCH")  # at once
        said = self.advice(tab)
        assert said["case"] == "goal_met"
        taken = sum(c["by_model"] for c in tab.state()["classes"])
        assert said["text"] == (
            f"You can stop. Audit: at least {100 * low:.1f} %, your goal is 85 %."
            f" {taken} pictures take the model's label."
        )

    def test_who_contradicts_themselves_hears_so(
        self, page: Served, tab: Client, rows: list[int]
    ) -> None:
        self.settle(page, tab, rows)
        tiles = tab.get("/queue", mode="audit", n=50).json["items"]
        for at, tile in enumerate(tiles):
            tab.label(tile["id"], A)
            tab.decide({
                "kind": "audit_answered", "image": tile["id"], "class": B if at < 5 else A,
            })  # fmt: skip
        tab.send("/audit/close", {"id": tab.id()})
        said = self.advice(tab)
        assert (said["case"], said["text"]) == (
            "cannot",
            "More answers help little here: you and the pictures disagree with yourself in 10 %"
            " of repeats.",
        )


class TestGuide:
    def test_a_guide_goes_with_its_class(self, page: Served, tab: Client, rows: list[int]) -> None:
        ids = names(page, rows)
        guide = {"text": " two  horns ", "examples": ids[:2], "nots": ids[5:6]}
        made = tab.change(A, guide=guide).json["class"]["guide"]
        assert made["text"] == "two horns"
        assert [t["id"] for t in made["examples"]] == ids[:2]
        assert [t["id"] for t in made["nots"]] == ids[5:6]
        assert tab.state()["undo"]["text"] == 'guide of class "a" changed'
        tab.undo()
        assert tab.state()["classes"][A]["guide"] == {"text": "", "examples": [], "nots": []}
        wrong = {"text": "", "examples": ["00ff"], "nots": []}
        assert tab.change(A, guide=wrong).json["error"]["id"] == "gone"


class TestProblems:
    def test_left_out_and_back(self, tmp_path: Path) -> None:
        folder = tmp_path / "some"
        paint(folder / "good.png", 1)
        (folder / "bad.png").write_bytes(b"no picture")
        with serving(folder) as page:
            page.settled()
            tab = page.client()
            (problem,) = tab.get("/problems").json["items"]
            tab.decide({"kind": "state_set", "images": [problem["id"]], "state": "broken"})
            assert tab.get("/problems").json["total"] == tab.state()["counts"]["problems"] == 0
            assert tab.state()["counts"]["broken"] == 0
            tab.undo()
            assert tab.get("/problems").json["total"] == tab.state()["counts"]["problems"] == 1
            tab.redo()
            paint(folder / "bad.png", 2)  # repaired: it joins as open
            tab.send("/rescan", {"ids": [problem["id"]]})
            page.settled()
            counts = tab.state()["counts"]
            assert (counts["pictures"], counts["open"], counts["broken"]) == (2, 2, 0)


def test_what_is_given_is_what_the_document_says(
    page: Served, tab: Client, rows: list[int]
) -> None:
    """Each JSON answer has the very fields of its type."""
    ids = names(page, rows)
    teach_features(page.project, {r: (1, r) for r in rows}, stacks=[rows[:2]])
    teach_groups(page.project, [rows[:20], rows[20:40], rows[40:]], near=[(0, 1)])
    teach_map(page.project, dict.fromkeys(rows, (1, 2)), images=80)
    for at in range(10):
        tab.label(ids[at + 20], at % 2)
    truth = dict.fromkeys(rows, (A, 0.9))
    errors = [(rows[21], B, A, 0.9)]
    held = [(rows[at + 20], at % 2, A) for at in range(10)]
    teach_model(page.project, truth, order=rows, errors=errors, held=held)
    sample = tab.send("/accept/preview", {"p": 0.5}).json
    events = []
    for tile in sample["sample"][:30]:
        tab.decide({"kind": "labelled", "image": tile["id"], "class": A, "from": "accept"})
        events.append(f"{tab.tab}.{tab.number}")
    tiles = tab.get("/queue", mode="audit", n=31).json["items"]
    tab.decide(*({"kind": "audit_answered", "image": t["id"], "class": B} for t in tiles))
    mark = {"set_hash": sample["set_hash"], "sample_events": events}
    bodies: dict[str, Any] = {
        "closeAudit": {"id": tab.id()}, "halveGroup": {"id": tab.id()},
        "asideGroup": {"id": tab.id(), "why": "later"}, "regroup": {},
        "mergeGroups": {"id": tab.id(), "groups": ["1.0.0", "1.0.1"]},
        "acceptPreview": {"p": 0.5}, "acceptCheck": mark,
        "accept": {"id": tab.id(), "p": 0.5, **mark},
        "like": {"ids": ids[:1], "not_ids": ids[1:2], "for_class": B},
        "changeSettings": {"id": tab.id(), "goal": 0.9}, "moreAudit": {"id": tab.id()},
    }  # fmt: skip
    reads = ["groups", "audit", "mistakes", "review", "confusion", "mapIds", "settings", "queue"]
    reads += ["state", "images"]
    by_name = {route.name: route for route in ROUTES}
    for name in ("closeAudit", *reads, *bodies):
        route = by_name[name]
        if route.takes is None:
            reply = tab.get(route.path, **({"mode": "useful"} if name == "queue" else {}))
        else:
            checked(bodies[name], route.takes)
            id = "1.0" if name == "halveGroup" else "1.2"
            path = route.path.replace("{id}", id)
            reply = tab.send(path, bodies[name], method=route.method)
        assert reply.status == 200, (name, reply.body)
        checked(reply.json, route.gives)
    image = next(r for r in ROUTES if r.name == "image")
    checked(tab.get(f"/images/{ids[0]}").json, image.gives)


def test_history_says_all_of_it_in_words(page: Served, tab: Client, rows: list[int]) -> None:
    ids = names(page, rows)
    teach_groups(page.project, [rows[:40], rows[40:]])
    tab.decide(
        {"kind": "pair_answered", "a": "1.0", "b": "1.1", "answer": "unsure"},
        {"kind": "audit_answered", "image": tab.get("/queue", mode="audit").json["items"][0]["id"],
         "state": "none"},
        {"kind": "stack_broken", "images": ids[:2]},
    )  # fmt: skip
    tab.send("/groups/1.0/halve", {"id": tab.id()})
    tab.send("/groups/1.1/aside", {"id": tab.id(), "why": "mixed"})
    texts = [line["text"] for line in tab.get("/history").json["items"]]
    assert texts[:6] == [
        "1 group put aside: not one class", "1 group halved",
        "2 images parted: no near-duplicates", '1 blind answer: marked "none of these"',
        "pictures drawn for the blind check", "2 groups answered: not sure",
    ]  # fmt: skip
