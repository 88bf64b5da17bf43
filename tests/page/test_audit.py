"""The blind check is honest: what is served, what is compared, what is shown when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_learned import rows_of, teach_features, teach_groups, teach_model
from page_serving import Client, Served, paint, serving

from handful import metrics
from handful.page import audit
from handful.page.gathering import Choice, Live, Still, label_rows
from handful.page.index import Cell, Found, Index
from handful.page.labels import label_of
from handful.page.schema import Queued, Seen
from handful.types import SOURCES

A, B = 0, 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred pictures."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(200):
        paint(folder / f"{number:03d}.png", number, (8, 8))
    return folder


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Iterator[Served]:
    """A fresh project of them, with two classes."""
    with serving(folder, place=tmp_path / "work") as served:
        served.settled()
        client = served.client()
        client.make("a")
        client.make("b")
        yield served


@pytest.fixture
def tab(page: Served) -> Client:
    client = page.client("mine")
    client.state()
    return client


def suggest(page: Served, wrong: int = 0, p: float = 0.9) -> dict[int, int]:
    """Every picture is suggested; the truth is the parity of its row, but for the first few."""
    rows = sorted(rows_of(page.project).values())
    truth = {row: row % 2 for row in rows}
    teach_model(
        page.project,
        {row: ((1 - truth[row] if at < wrong else truth[row]), p) for at, row in enumerate(rows)},
    )
    return truth


def blind(client: Client, image: str, **answer: Any) -> Any:
    return client.decide({"kind": "audit_answered", "image": image, **answer})["results"][0]


def served_order(client: Client, n: int) -> list[str]:
    return [item["id"] for item in client.get("/queue", mode="audit", n=n).json["items"]]


def answer_all(page: Served, client: Client, n: int, truth: dict[int, int]) -> list[str]:
    """The next ``n`` pictures, answered as they are."""
    done: list[str] = []
    while len(done) < n:
        images = served_order(client, min(100, n - len(done)))
        assert images
        rows = page.project.index.by_id(images)
        client.decide(*(
            {"kind": "audit_answered", "image": i, "class": truth[rows[i].row]} for i in images
        ))  # fmt: skip
        done += images
    return done


class TestNothingLeads:
    @pytest.mark.parametrize("mode", ["first", "audit"])
    def test_only_what_is_drawn_goes_out(self, page: Served, tab: Client, mode: str) -> None:
        """No suggestion, name, class, group or count: neither as a field nor as a value."""
        images = tab.ids()
        tab.label(images[0], A)
        if mode == "audit":
            suggest(page)
            rows = list(rows_of(page.project).values())
            teach_groups(page.project, [rows])
            teach_features(page.project, {r: (r % 2, 1) for r in rows}, stacks=[rows[:3]])
        reply = tab.get("/queue", mode=mode, n=100)
        said = reply.json
        assert (said["mode"], said["blind"], said["left"]) == (mode, True, None)
        fields = {name for item in said["items"] for name in item}
        assert {"id", "v", "w", "h"} <= fields <= set(Seen.__annotations__)
        text = reply.body.decode()
        for word in ("sug", "png", '"a"', '"b"', "why", "likes", "group", "very sure", "stack"):
            assert word not in text
        assert set(said) == {"items", "mode", "blind", "left", "next", "label_rev", "model_rev"}
        assert set(Queued.__annotations__) > set(Seen.__annotations__)

    def test_the_state_shows_no_running_score(self, page: Served, tab: Client) -> None:
        truth = suggest(page, wrong=30)
        for asked in (1, 59, 60, 61):
            answer_all(page, tab, asked - tab.state()["audit"]["answered"], truth)
            said = tab.get("/audit").json
            assert (said["result"] is not None) == (asked in audit.LOOKS)
            state = tab.state()
            assert state["audit"] == {"answered": asked, "wanted": 150, "closed": False, "min": 30}
            assert state["advice"]["low"] is state["advice"]["high"] is None

    def test_mistakes_are_shown_after_closing_alone(self, page: Served, tab: Client) -> None:
        truth = suggest(page, wrong=200)
        answer_all(page, tab, 40, truth)
        refused = tab.get("/audit/mistakes")
        assert refused.status == 409
        assert tab.get("/confusion").json["audit"] is None
        assert tab.get("/review", kind="audit:0:1").json["total"] == 0
        tab.send("/audit/close", {"id": tab.id()})
        found = tab.get("/audit/mistakes").json["items"]
        assert len(found) == 40
        assert all(m["label"] != m["answer"] and m["label_source"] == "model" for m in found)
        cells = tab.get("/confusion").json["audit"]
        assert sum(cell["n"] for cell in cells) == 40
        for cell in cells:
            kind = f"audit:{cell['label']}:{cell['to']}"
            assert tab.get("/review", kind=kind).json["total"] == cell["n"]


class TestWhatIsDrawn:
    def test_the_order_is_drawn_once_and_holds_everything(
        self, page: Served, tab: Client, folder: Path
    ) -> None:
        first = served_order(tab, 100)
        rows = page.project.index.by_id(first)
        every = sorted(page.project.index.walk(1000, 0), key=lambda row: row.draw)
        assert first == [row.id for row in every[:100]]
        tab.label(first[0], A)  # an own earlier answer is asked again, blind
        tab.decide({"kind": "state_set", "images": [first[1]], "state": "broken"})
        suggest(page)
        assert served_order(tab, 100) == first
        blind(tab, first[0], **{"class": A})
        assert served_order(tab, 99) == first[1:]
        names = [row.path for row in rows.values()]
        assert names != sorted(names)

    def test_nobody_picks_what_is_measured(self, page: Served, tab: Client) -> None:
        every = sorted(page.project.index.walk(1000, 0), key=lambda row: row.draw)
        far = every[-1]
        audit_ahead = audit.drawn_next(page.project, 200)
        assert far.id == audit_ahead[-1].id  # 200 pictures: all may be next
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(audit, "_AHEAD", 50)
            refused = blind(tab, far.id, **{"class": A})
            assert refused["error"]["id"] == "audit"
            assert blind(tab, every[49].id, **{"class": A})["ok"]
            assert blind(tab, every[50].id, **{"class": A})["ok"]  # one moved up
        assert page.project.book.find("audit/drawn") is not None

    def test_later_is_no_blind_answer(self, tab: Client) -> None:
        image = served_order(tab, 1)[0]
        body = [{"kind": "audit_answered", "id": tab.id(), "seen_rev": 0, "image": image}]
        assert tab.send("/events", [{**body[0], "state": "later"}]).status == 400
        for wrong in ({}, {"state": "none", "class": A}):
            assert blind(tab, image, **wrong)["error"]["id"] == "request"

    def test_a_cursor_goes_on_behind_what_is_in_hand(self, tab: Client) -> None:
        whole = served_order(tab, 100)
        page = tab.get("/queue", mode="audit", n=30).json
        more = tab.get("/queue", mode="audit", n=30, cursor=page["next"]).json
        assert [i["id"] for i in page["items"] + more["items"]] == whole[:60]
        tab.decide(*(
            {"kind": "audit_answered", "image": i, "class": A} for i in whole[:80]
        ))  # fmt: skip
        rest = tab.get("/queue", mode="audit", n=100).json
        assert len(rest["items"]) == 70  # of the 150 wanted
        assert rest["next"] is None
        assert rest["items"][0]["id"] == whole[80]


class TestFirstLook:
    def test_the_first_wait_is_spent_on_the_audit(self, page: Served, tab: Client) -> None:
        """A tenth of the pictures, then ordinary labels; over once there are suggestions."""
        assert tab.state()["first_look"]
        first = tab.get("/queue", mode="first", n=100).json
        assert len(first["items"]) == 20
        images = [i["id"] for i in first["items"]]
        tab.decide(*({"kind": "audit_answered", "image": i, "class": A} for i in images[:19]))
        assert [i["id"] for i in tab.get("/queue", mode="first").json["items"]] == images[19:]
        blind(tab, images[19], name="c")
        then = tab.get("/queue", mode="first").json
        assert (then["mode"], then["blind"]) == ("random", False)
        state = tab.state()
        assert not state["first_look"]
        assert state["counts"]["by_you"] == state["audit"]["answered"] == 20
        assert [c["by_you"] for c in state["classes"]] == [19, 0, 1]

    def test_suggestions_end_it(self, page: Served, tab: Client) -> None:
        image = tab.get("/queue", mode="first").json["items"][0]["id"]
        suggest(page)
        assert not tab.state()["first_look"]
        assert tab.get("/queue", mode="first").json["mode"] == "random"
        assert blind(tab, image, **{"class": A})["ok"]  # what was in hand still counts

    def test_blind_answers_count_by_you_and_add_up(self, page: Served, tab: Client) -> None:
        truth = suggest(page, p=0.9)
        answer_all(page, tab, 5, truth)
        counts = tab.state()["counts"]
        assert (counts["by_you"], counts["by_model"], counts["open"]) == (5, 195, 0)
        image = served_order(tab, 1)[0]
        tab.label(image, A)
        blind(tab, image, **{"class": A})
        counts = tab.state()["counts"]
        assert (counts["by_you"], counts["by_model"]) == (6, 194)
        parts = ("by_you", "in_groups", "by_model", "open")
        assert sum(counts[name] for name in parts) == counts["pictures"] == 200


class TestNeverTaught:
    def test_no_view_and_no_state_holds_a_blind_answer(self, page: Served, tab: Client) -> None:
        truth = suggest(page)
        answered = answer_all(page, tab, 40, truth)
        book, pool = page.project.book, _Named([r.path for r in page.project.index.walk(1000, 0)])
        assert (book.known(pool) == -1).all()
        assert book.open(pool).all()
        tab.send("/audit/close", {"id": tab.id()})
        assert (book.known(pool) == -1).all()
        assert SOURCES.index("audit") not in book.sources(pool)
        states = {i["state"] for i in tab.get("/images", limit=500).json["items"]}
        assert states == {"open"}
        rows = page.project.index.by_id(answered)
        for row in rows.values():  # the export takes them once the check is closed
            assert label_of(page.project, row, audited=True).source == "audit"
            assert label_of(page.project, row, audited=False).source == "model"

    def test_the_useful_order_does_not_move(self, page: Served, tab: Client) -> None:
        rows = sorted(rows_of(page.project).values())
        teach_model(page.project, dict.fromkeys(rows, (A, 0.6)), order=rows[::-1])
        before = [i["id"] for i in tab.get("/queue", mode="useful", n=100).json["items"]]
        images = served_order(tab, 60)
        tab.decide(*({"kind": "audit_answered", "image": i, "class": B} for i in images))
        # what was answered waits until all others were asked; else nothing changes its place
        after = tab.get("/queue", mode="useful", n=100).json["items"]
        assert [i["id"] for i in after][: 100 - 60] == [i for i in before if i not in images][:40]

    @pytest.mark.parametrize("mode", ["useful", "random"])
    @pytest.mark.parametrize("n", [7, 20, 100])
    def test_what_was_answered_is_asked_last(
        self, page: Served, tab: Client, mode: str, n: int
    ) -> None:
        rows = sorted(rows_of(page.project).values())
        teach_model(page.project, dict.fromkeys(rows, (A, 0.6)), order=rows[:20])
        images = served_order(tab, 40)
        tab.decide(*({"kind": "audit_answered", "image": i, "class": B} for i in images))
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            part = tab.get("/queue", mode=mode, n=n, **cursor).json
            found += part["items"]
            if part["next"] is None:
                break
            assert len(part["items"]) == n
            cursor = {"cursor": part["next"]}
        ids = list(dict.fromkeys(i["id"] for i in found))
        assert len(ids) == 200
        assert ids[-40:] == images == [i["id"] for i in found[-40:]]
        assert {i["why"] for i in found[-40:]} == {"You were asked before"}
        assert "You were asked before" not in {i["why"] for i in found[:-40]}


def test_an_export_says_of_each_picture_what_the_page_says(page: Served, tab: Client) -> None:
    """Answers, states, suggestions, a class merged and one put away, a closed check: one label."""
    rows = sorted(rows_of(page.project).values())
    for name in ("c", "d"):
        assert tab.make(name).status == 200
    images = tab.ids()
    images = [images[i] for i in np.random.default_rng(0).permutation(200)]
    served = served_order(tab, 60)
    states = ("none", "unsure", "later", "broken", "open")
    for at, image in enumerate(images[:40]):
        if at % 2:
            tab.decide({"kind": "state_set", "images": [image], "state": states[at // 2 % 5]})
        else:
            tab.label(image, at // 2 % 4)
    tab.decide({"kind": "group_labelled", "images": images[30:70], "class": 2, "from": "gallery"})
    # by hand, and blind as a class that is put away below: the hand is what stays
    tab.decide({"kind": "state_set", "images": [served[4]], "state": "broken"})
    for at, image in enumerate(served):
        state = ("none", "unsure", "broken")[at % 3]
        said = {"state": state} if at % 2 else {"class": at // 2 % 4}
        assert blind(tab, image, **said)
    guesses = {row: ((-2, -1, 0, 1, 2, 3)[at % 6], 0.7) for at, row in enumerate(rows)}
    teach_model(page.project, guesses)

    def compared() -> set[tuple[str, str]]:
        seen = set()
        by_path = {row.path: row for row in page.project.index.walk(1000, 0)}
        for source in (Live(page.project), Still(page.project.folder, place=page.project.place)):
            found = {r["path"]: r for r in label_rows(source, Choice(open=True))}
            assert set(found) == set(by_path)
            for path, row in by_path.items():
                label, out = label_of(page.project, row, audited=True), found[path]
                assert out["source"] == (label.source or None), path
                assert out["class_id"] == (label.class_id if label.state == "labelled" else None)
                assert out["confidence"] == (None if label.p is None else pytest.approx(label.p))
                answered = label.source not in ("", "model")
                assert out["state"] == label.state or (not answered and label.state == "labelled")
                seen.add((label.source, label.state))
        return seen

    assert ("model", "none") in compared()
    tab.merge(3, into=1)
    tab.archive(2)
    compared()
    assert tab.send("/audit/close", {"id": tab.id()}).status == 200
    assert {("audit", "labelled"), ("audit", "none"), ("hand", "broken")} <= compared()


class _Named:
    """A pool of names."""

    broken: tuple[int, ...] = ()

    def __init__(self, names: list[str]) -> None:
        self.ids = sorted(names)
        self._row = {name: at for at, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, name: str) -> int:
        return self._row[name]


class TestTheNumber:
    @pytest.mark.parametrize(("n", "wrong"), [(13, 1), (40, 3), (87, 0), (150, 8)])
    def test_it_is_wilsons_for_this_folder(
        self, page: Served, tab: Client, n: int, wrong: int
    ) -> None:
        truth = suggest(page)
        images = answer_all(page, tab, n, truth)
        rows = page.project.index.by_id(images)
        for image in images[:wrong]:  # answered otherwise: the last answer counts
            blind(tab, image, **{"class": 1 - truth[rows[image].row]})
        result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        assert (result["k"], result["n"], result["population"]) == (n - wrong, n, 200)
        if n < 30:
            assert result["text"] == f"{n - wrong} of {n}. A percentage needs 30."
            assert result["low"] is None
            return
        low, high = metrics.wilson(n - wrong, n, population=200)
        assert abs(result["low"] - low) < 1e-9
        assert abs(result["high"] - high) < 1e-9
        share = 100 * (n - wrong) / n
        assert result["text"] == (
            f"{share:.1f} % of the labels are right: {n - wrong} of {n}. The true value is"
            f" between {100 * low:.1f} % and {100 * high:.1f} % (95 % interval)."
        )
        assert result["scope"].startswith(
            "Measured on pictures drawn at random from all 200 readable ones, answered by you"
        )

    def test_compared_is_the_label_without_the_answer(self, page: Served, tab: Client) -> None:
        """By hand, in a group, put off: each has the label that an export would give it."""
        suggest(page, p=0.6)
        hand, group, later, unsure, *_ = images = served_order(tab, 40)
        rows = page.project.index.by_id(images)
        tab.label(hand, A)
        tab.decide({"kind": "group_labelled", "images": [group], "class": B, "from": "gallery"})
        tab.decide({"kind": "state_set", "images": [later], "state": "later"})
        tab.decide({"kind": "state_set", "images": [unsure], "state": "unsure"})
        for image in images:
            blind(tab, image, **{"class": A})
        tab.send("/audit/close", {"id": tab.id()})
        closing = next(iter(page.project.said("audit_closed")))
        compared = {c[0]: (c[1], c[2], c[3]) for c in closing.data["compared"]}
        assert compared[rows[hand].path] == (A, "hand", A)
        assert compared[rows[group].path] == (B, "group", A)
        assert compared[rows[later].path] == (rows[later].row % 2, "model", A)
        assert rows[unsure].path not in compared
        result = tab.get("/audit").json["result"]
        assert (result["n"], result["unlabelled"]) == (39, 1)
        assert result["notes"] == ["1 has no label and is left out."]

    def test_it_says_who_answered(self, page: Served, tab: Client) -> None:
        truth = suggest(page)
        result: dict[str, Any] = {}
        for people, who, caution in (
            ("", "you", "you would agree with the label, not whether you are right"),
            ("P1", "P1", "P1 would agree with the label, not whether P1 is right"),
            ("P2", "P1 and P2", "they would agree with the label, not whether they are right"),
        ):
            page.project.person = people
            answer_all(page, tab, 10, truth)
            result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
            assert f"answered by {who} without seeing a suggestion" in result["scope"]
            assert result["caution"] == f"It says how often {caution}."
            tab.send("/audit/more", {"id": tab.id()})

    def test_unsure_answers_are_left_out_and_said(self, page: Served, tab: Client) -> None:
        truth = suggest(page)
        answer_all(page, tab, 46, truth)
        for image in served_order(tab, 4):
            blind(tab, image, state="unsure")
        result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        assert (result["k"], result["n"], result["unsure"]) == (46, 46, 4)
        assert result["notes"] == [
            "4 were unsure and are left out; counted as wrong it would be 92.0 %."
        ]

    def test_none_of_these_is_a_class(self, page: Served, tab: Client) -> None:
        rows = sorted(rows_of(page.project).values())
        teach_model(page.project, dict.fromkeys(rows, (-2, 0.9)))
        images = served_order(tab, 35)
        for image in images[:30]:
            blind(tab, image, state="none")
        for image in images[30:]:
            blind(tab, image, **{"class": A})
        result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        assert (result["k"], result["n"]) == (30, 35)
        (none,) = result["classes"]
        assert (none["class"], none["k"], none["n"]) == (None, 30, 35)
        assert (none["low"], none["high"]) == metrics.wilson(30, 35)

    def test_without_a_label_there_is_nothing_to_check(self, page: Served, tab: Client) -> None:
        assert tab.send("/audit/close", {"id": tab.id()}).json["error"]["text"] == (
            "No labels to check yet."
        )
        for image in served_order(tab, 3):
            blind(tab, image, **{"class": A})
        result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        assert (result["n"], result["unlabelled"], result["text"]) == (
            0, 3, "No labels to check yet.",
        )  # fmt: skip

    def test_two_hundred_checks_cover_the_truth(self, tmp_path: Path) -> None:
        """The draw of real indexes over a folder where 93 % of the labels are right."""
        n, asked, covered = 120, 40, 0
        rng = np.random.default_rng(0)
        for seed in range(200):
            index = Index(tmp_path / f"{seed}.sqlite", str(seed))
            index.add([Found(f"{at:04d}.png", 1, 1) for at in range(n)])
            right = {f"{at:04d}.png": bool(x) for at, x in enumerate(rng.random(n) < 0.93)}
            drawn = index.page([Cell()], asked, order="draw")
            k = sum(right[row.path] for row in drawn)
            low, high = metrics.wilson(k, asked, population=n)
            covered += low <= sum(right.values()) / n <= high
            index.close()
        assert covered >= 180


class TestAfterClosing:
    def test_corrections_do_not_better_the_number(self, page: Served, tab: Client) -> None:
        """Not at once, and not in a check that goes on from there."""
        suggest(page, p=0.9)
        truth = {row: 1 - row % 2 for row in rows_of(page.project).values()}
        answer_all(page, tab, 60, truth)  # every suggestion is wrong
        closed = tab.send("/audit/close", {"id": tab.id()}).json
        assert (closed["closed"], closed["result"]["k"]) == (True, 0)
        mistakes = tab.get("/audit/mistakes").json["items"]
        tab.decide(*(
            {"kind": "review_changed", "image": m["picture"]["id"], "class": m["answer"]}
            for m in mistakes[:8]
        ))  # fmt: skip
        again = tab.get("/audit").json["result"]
        assert (again["k"], again["n"]) == (0, 60)
        assert again["notes"] == ["8 labels corrected since. The number above is from before."]
        assert sum(m["settled"] for m in tab.get("/audit/mistakes").json["items"]) == 8
        more = tab.send("/audit/more", {"id": tab.id()}).json
        assert (more["closed"], more["wanted"], more["result"]["k"]) == (False, 200, 0)
        answer_all(page, tab, 1, truth)
        last = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        assert (last["k"], last["n"]) == (0, 61)

    def test_unseen_mistakes_are_compared_anew(self, page: Served, tab: Client) -> None:
        """Who has not seen them cannot have mended them: better labels count."""
        truth = suggest(page, wrong=200)
        answer_all(page, tab, 40, truth)
        assert tab.send("/audit/close", {"id": tab.id()}).json["result"]["k"] == 0
        suggest(page)
        assert tab.get("/audit").json["result"]["k"] == 0  # that was then
        tab.send("/audit/more", {"id": tab.id()})
        assert tab.send("/audit/close", {"id": tab.id()}).json["result"]["k"] == 40

    def test_a_closed_check_takes_no_answer_and_gives_none_back(
        self, page: Served, tab: Client
    ) -> None:
        truth = suggest(page)
        images = answer_all(page, tab, 31, truth)
        before = tab.undo()
        assert before["text"].startswith("Undone: 1 blind answer: ")
        assert before["affected"] == 1
        assert served_order(tab, 1) == [images[-1]]
        tab.send("/audit/close", {"id": tab.id()})
        assert served_order(tab, 10) == []
        assert blind(tab, images[-1], **{"class": A})["error"]["id"] == "audit"
        while (undone := tab.undo())["event"] is not None:
            assert undone["event"]["kind"] != "audit_answered"
        assert len(list(page.project.said("audit_answered"))) == 30

    def test_a_repeat_closes_once(self, page: Served, tab: Client) -> None:
        answer_all(page, tab, 30, suggest(page))
        body = {"id": tab.id()}
        first = tab.send("/audit/close", body).json
        length = len(page.project.book)
        assert tab.send("/audit/close", body).json == first
        more = {"id": tab.id()}
        assert tab.send("/audit/more", more).json == tab.send("/audit/more", more).json
        assert len(page.project.book) == length + 1

    def test_it_is_the_same_after_a_restart(
        self, page: Served, tab: Client, folder: Path, project_of: Any
    ) -> None:
        answer_all(page, tab, 30, suggest(page, wrong=60))
        said = tab.send("/audit/close", {"id": tab.id()}).json
        place = page.project.place
        page.project.book.close()
        page.project._held.release()
        again = project_of(folder, place=place)
        try:
            now = audit.audit(again)
            assert json.loads(json.dumps(now)) == said
        finally:
            again.close()


class TestClassesThatChange:
    def test_what_was_archived_or_split_is_asked_again(self, page: Served, tab: Client) -> None:
        truth = suggest(page)
        images = answer_all(page, tab, 40, truth)
        rows = page.project.index.by_id(images)
        of_b = [i for i in images if truth[rows[i].row] == B]
        tab.archive(B)
        assert served_order(tab, 100)[: len(of_b)] == of_b  # at their places in the order
        assert tab.get("/audit").json["answered"] == 40 - len(of_b)
        tab.undo()
        assert tab.get("/audit").json["answered"] == 40
        tab.make("b small", split_from=B)
        assert tab.get("/audit").json["answered"] == 40 - len(of_b)
        for image in of_b[:3]:
            blind(tab, image, **{"class": 2})
        assert tab.get("/audit").json["answered"] == 43 - len(of_b)
        for _ in range(4):  # three answers and the split itself
            tab.undo()
        assert tab.get("/audit").json["answered"] == 40

    def test_merged_and_renamed_classes_carry_over(self, page: Served, tab: Client) -> None:
        truth = suggest(page)
        answer_all(page, tab, 40, truth)
        tab.change(B, name="bee")
        assert tab.get("/audit").json["answered"] == 40
        tab.merge(B, A)
        result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        assert (result["k"], result["n"]) == (40, 40)
        assert [c["class"] for c in result["classes"]] == [A]


class TestGuardsAgainstAgreeing:
    def test_one_in_twenty_is_held_back(self, page: Served, tab: Client) -> None:
        suggest(page)
        first = tab.get("/queue", mode="random", n=100).json
        more = tab.get("/queue", mode="random", n=100, cursor=first["next"]).json
        items = first["items"] + more["items"]
        held = [i for i in items if i["sug"] is None]
        assert 2 <= len(held) <= 25
        assert all("next" not in i and i["likes"] == [] for i in held)
        tab.label(held[0]["id"], A)
        shown = next(i for i in items if i["sug"] is not None)
        beside = {"class": shown["sug"]["class"], "p": 0.9, "model_rev": 1, "shown": True}
        tab.decide({
            "kind": "labelled", "image": shown["id"], "class": A, "from": "queue",
            "suggestion": beside,
        }, {"kind": "labelled", "image": held[1]["id"], "class": A, "from": "queue",
            "suggestion": {**beside, "shown": True}})  # fmt: skip
        said = [e.data.get("suggestion") for e in page.project.said("labelled")]
        assert said[0] is None  # from the grid
        assert said[1] == beside
        assert said[2]["held"]
        assert not said[2]["shown"]  # whatever a page claims

    @pytest.mark.parametrize("led", [True, False])
    def test_the_rates_are_compared_in_the_result(
        self, page: Served, tab: Client, monkeypatch: pytest.MonkeyPatch, led: bool
    ) -> None:
        """Who follows what is seen, and half of the time what is not, hears of it."""
        monkeypatch.setattr("handful.page.answers.held_back", lambda row: row.row % 5 == 0)
        suggest(page)
        rows = list(page.project.index.walk(1000, 0))
        for row in rows:
            follows = not led or row.row % 5 or row.row % 2
            beside = {"class": row.row % 2, "p": 0.9, "model_rev": 1, "shown": True}
            tab.decide({
                "kind": "labelled", "image": row.id, "from": "queue", "suggestion": beside,
                "class": row.row % 2 if follows else 1 - row.row % 2,
            })  # fmt: skip
        answer_all(page, tab, 30, {row.row: row.row % 2 for row in rows})
        result = tab.send("/audit/close", {"id": tab.id()}).json["result"]
        said = result["agreement"]
        assert (said["shown_k"], said["shown_n"]) == (160, 160)
        assert (said["hidden_k"], said["hidden_n"]) == ((20, 40) if led else (40, 40))
        text = (
            "You agreed with 100.0 % of the suggestions that you saw (160) and with 50.0 % of"
            " those held back (40)."
        )
        assert said["text"] == (text if led else None)
        assert result["notes"] == ([text] if led else [])
