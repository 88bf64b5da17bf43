"""What the worker does when: in this process, step by step, without waiting."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from worker_running import Project, digits, png

from handful.errors import StoreError
from handful.revisions import Revision
from handful.worker import looking, work
from handful.worker.voice import Ended, Voice
from handful.worker.work import Worker

Maker = Callable[..., Project]
Digits = tuple[dict[str, bytes], np.ndarray]


class Lines:
    """An ear that is told in advance."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any] | None] = []

    def said(self, wait: float = 0.0) -> Iterator[dict[str, Any]]:
        while self.waiting:
            line = self.waiting.pop(0)
            if line is None:
                raise Ended
            yield line


class Day:
    """A worker, what it is told and what it says."""

    def __init__(self, project: Project) -> None:
        self.project, self.ear, self.out = project, Lines(), io.StringIO()
        worker: Any = Worker(project.place, project.folder, self.ear, Voice(self.out), follow=False)  # type: ignore[arg-type]
        self.worker: Worker = worker
        self.tell(images=len(self.worker.listing), complete=True)

    def tell(self, **said: Any) -> None:
        self.ear.waiting.append(said)
        self.worker.hear(0.0)

    def until_idle(self) -> list[str]:
        """Work until there is nothing to do; what was published."""
        before = len(self.published)
        for _ in range(500):
            if not self.worker.step():
                return self.published[before:]
            self.worker.hear(0.0)
        raise AssertionError("it never rests")

    def later(self, seconds: float = 100.0) -> None:
        """As if so much time had passed."""
        self.worker._learned_at -= seconds
        self.worker._answered_at -= seconds

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    @property
    def published(self) -> list[str]:
        return [line["published"] for line in self.lines if "published" in line]

    def newest(self, kind: str) -> Revision:
        found = self.project.newest(kind)
        assert found is not None
        return found


@pytest.fixture(autouse=True)
def quick_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of the two main directions: the real one has tests of its own."""

    def flat(x: np.ndarray, advance: Callable[[int], None]) -> Any:
        advance(350)
        return np.arange(len(x)), ((x[:, :2] + 1) * 1000).astype(np.uint16)

    monkeypatch.setattr(work, "drawn", flat)


@pytest.fixture
def day(project_of: Maker, some_digits: Digits) -> Iterator[Day]:
    """Pictures looked at, groups and map made, nothing answered."""
    day = Day(project_of(some_digits[0]))
    assert day.until_idle() == ["features", "groups", "map"]
    yield day
    day.worker.looking.reader.close()
    day.worker.book.close()


def names(digits: Digits) -> list[str]:
    return list(digits[0])


def test_suggestions_come_after_ten_answers_and_again_after_ten_or_five_seconds(
    day: Day, some_digits: Digits
) -> None:
    project, truth, name = day.project, some_digits[1], names(some_digits)

    def answer(start: int, stop: int) -> list[str]:
        project.answer(name[start:stop], truth[start:stop])
        day.tell(seq=len(project.book))
        return day.until_idle()

    assert answer(0, 9) == []
    assert answer(9, 12) == ["model"]
    assert answer(12, 30) == []  # within 5 s
    day.later(6)
    assert day.until_idle() == ["model"]
    day.later(6)
    assert answer(30, 35) == []  # 5 answers wait
    day.later(30)
    assert day.until_idle() == ["model"]
    day.later(30)
    assert day.until_idle() == []
    assert day.newest("model").meta["trained_on"] == 35
    groups = day.newest("groups")
    assert day.newest("model").meta["groups"] == groups.rev
    assert sorted(day.newest("model")["groups"]) == list(range(len(groups["likely"])))
    assert day.newest("model").meta["changed"] is not None
    assert day.newest("model").meta["answers_since"] >= 5


def test_answers_are_learned_from_while_pictures_are_compared(
    day: Day, some_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours of 20,000 take seconds: nobody waits for them."""
    project, truth, name = day.project, some_digits[1], names(some_digits)
    day.later()
    learned = threading.Event()
    plain = work.space_of

    def waiting(*given: Any) -> Any:
        assert learned.wait(60)
        return plain(*given)

    learn = day.worker.learn

    def noticed() -> None:
        learn()
        learned.set()

    monkeypatch.setattr(work, "space_of", waiting)
    monkeypatch.setattr(day.worker, "learn", noticed)
    project.answer(name[:20], truth[:20])
    project.say("stack_broken", images=[name[0], name[1]])  # they are to be compared anew
    day.tell(seq=len(project.book))
    assert day.worker._settle()
    assert day.published[-2:] == ["model", "features"]
    assert day.until_idle() == ["model", "groups", "map"]


def test_audit_answers_change_nothing(day: Day, some_digits: Digits) -> None:
    """Neither what is suggested nor what is asked next: not one number."""
    project, truth, name = day.project, some_digits[1], names(some_digits)
    project.answer(name[:40], truth[:40])
    day.tell(seq=len(project.book))
    day.until_idle()
    plain = {k: a.copy() for k, a in day.newest("model").arrays.items()}
    for i in range(40, 140):
        project.say("audit_answered", image=name[i], **{"class": int((truth[i] + 1) % 10)})
    project.say("audit_closed")
    day.tell(seq=len(project.book))
    day.later()
    assert day.until_idle() == []
    day.worker.learn()
    after = day.newest("model")
    for kind, array in plain.items():
        assert np.array_equal(array, after[kind]), kind


def test_undone_answers_leave_no_suggestion(day: Day, some_digits: Digits) -> None:
    project, truth, name = day.project, some_digits[1], names(some_digits)
    project.answer(name[:20], truth[:20])
    events = [
        project.book.event(seq).id for seq in range(len(project.book) - 19, len(project.book) + 1)
    ]
    day.tell(seq=len(project.book))
    day.until_idle()
    from handful.types import Event

    project.book.append(Event("undone", f"u{i}", {}, undoes=id) for i, id in enumerate(events))
    day.tell(seq=len(project.book))
    day.later()
    assert day.until_idle() == ["model"]
    model = day.newest("model")
    assert (model["top"] == -1).all()
    assert (model["p"] == 0).all()
    assert len(model["order"]) == len(name)
    assert model.meta["trained_on"] == 0
    day.later()
    assert day.until_idle() == []


def test_classes_that_change_are_learned_at_once(day: Day, some_digits: Digits) -> None:
    project, truth, name = day.project, some_digits[1], names(some_digits)
    project.answer(name[:60], truth[:60])
    day.tell(seq=len(project.book))
    day.until_idle()
    project.say("class_merged", **{"class": 9, "into": 4})
    project.say("class_renamed", **{"class": 3, "new": "trois"})
    day.tell(seq=len(project.book))
    day.later(6)
    assert day.until_idle() == ["model"]
    model = day.newest("model")
    assert 9 not in model["top"]
    card = json.loads((model.folder / "card.json").read_bytes())
    assert "trois" in [c["name"] for c in card["classes"]]
    assert 9 not in model.meta["thin"]


def test_none_of_these_is_suggested_as_such(day: Day, some_digits: Digits) -> None:
    project, truth, name = day.project, some_digits[1], names(some_digits)
    ones = [n for n, c in zip(name[:200], truth[:200], strict=True) if c == 1]
    others = [(n, c) for n, c in zip(name[:200], truth[:200], strict=True) if c not in (1, 7)][:50]
    project.say("state_set", images=ones, state="none")
    project.say("state_set", images=[others[0][0]], state="unsure")
    project.answer([n for n, _ in others[1:]], [c for _, c in others[1:]])
    day.tell(seq=len(project.book))
    day.until_idle()
    model = day.newest("model")
    rows = project.rows()
    of = dict(zip(model.rows.tolist(), model["top"][:, 0].tolist(), strict=True))
    rest = [rows[n] for n, c in zip(name[200:], truth[200:], strict=True) if c == 1]
    assert model.meta["none"] == -2
    assert np.mean([of[row] == -2 for row in rest]) >= 0.6
    assert rows[others[0][0]] not in model["order"]
    assert rows[others[0][0]] not in model["held_row"]


def test_groups_are_made_again_when_asked_and_when_mostly_done(
    day: Day, some_digits: Digits
) -> None:
    project, truth, name = day.project, some_digits[1], names(some_digits)
    rows = project.rows()
    first = day.newest("groups")
    project.answer(name[:5], truth[:5])
    day.tell(seq=len(project.book), regroup=True)
    assert day.until_idle() == ["groups"]
    again = day.newest("groups")
    assert len(again.rows) == len(first.rows) - 5
    assert not {rows[n] for n in name[:5]} & set(again.rows.tolist())
    of = {row: n for n, row in rows.items()}
    right = dict(zip(name, truth, strict=True))
    members = np.split(again.rows, again["starts"][1:-1])
    for group in members[: len(members) * 2 // 3]:
        some = [of[int(row)] for row in group]
        project.answer(some, [right[n] for n in some], source="group")
    day.tell(seq=len(project.book))
    assert day.until_idle() == ["model", "groups"]
    last = day.newest("groups")
    assert len(last.rows) < 0.6 * len(again.rows)
    assert (last["likely"] >= 0).any()
    assert last.meta["label_rev"] == len(project.book)


def test_a_broken_stack_is_not_joined_again(project_of: Maker) -> None:
    pixels, truth = digits(60)
    files = {f"{i:02d}.png": png(one) for i, one in enumerate(pixels)}
    files |= {f"copy{i}.png": png(one) for i, one in enumerate(pixels[:3])}
    day = Day(project_of(files))
    day.until_idle()
    rows = day.project.rows()
    features = day.newest("features")
    stack = dict(zip(features.rows.tolist(), features["stack"].tolist(), strict=True))
    place = {row: i for i, row in enumerate(features.rows.tolist())}
    for i in range(3):
        assert (
            stack[rows[f"copy{i}.png"]]
            == stack[rows[f"{i:02d}.png"]]
            == place[rows[f"{i:02d}.png"]]
        )
    assert sum(s >= 0 for s in stack.values()) == 6
    broken = day.project.say("stack_broken", images=["00.png", "copy0.png"])
    day.tell(seq=len(day.project.book))
    assert "features" in day.until_idle()
    assert (day.newest("features")["stack"] >= 0).sum() == 4
    from handful.types import Event

    day.project.book.append([Event("undone", "u", {}, undoes=broken.id)])
    day.tell(seq=len(day.project.book))
    assert "features" in day.until_idle()
    assert (day.newest("features")["stack"] >= 0).sum() == 6
    day.project.answer(list(files)[:30], truth[:30])
    day.tell(seq=len(day.project.book))
    day.until_idle()
    assert not {rows[f"copy{i}.png"] for i in range(3)} & set(day.newest("model")["order"].tolist())


def test_a_kept_label_is_not_doubted_again(day: Day, some_digits: Digits) -> None:
    project, name = day.project, names(some_digits)
    wrong = some_digits[1].copy()
    wrong[:8] = (wrong[:8] + 4) % 10
    project.answer(name[:200], wrong[:200])
    day.tell(seq=len(project.book))
    day.until_idle()
    rows = project.rows()
    doubted = day.newest("model")["errors_row"].tolist()
    hit = [n for n in name[:8] if rows[n] in doubted]
    assert len(hit) >= 6
    kept = project.say("review_kept", image=hit[0])
    project.say("labelled", image=name[250], **{"class": int(wrong[250])})
    day.tell(seq=len(project.book))
    day.later()
    day.until_idle()
    assert rows[hit[0]] not in day.newest("model")["errors_row"]
    assert rows[hit[1]] in day.newest("model")["errors_row"]
    # a new label is a new question
    project.say("labelled", image=hit[0], **{"class": int((wrong[0] + 1) % 10)})
    day.tell(seq=len(project.book))
    day.later()
    day.until_idle()
    assert kept.kind == "review_kept"
    assert day.worker._kept_labels(day.worker._at_hand.listing).sum() == 0


def test_new_and_vanished_pictures(day: Day, some_digits: Digits) -> None:
    project, truth = day.project, some_digits[1]
    pixels, _ = digits(340)
    project.add({f"new{i:03d}.png": png(one) for i, one in enumerate(pixels[300:])})
    project.hide("0000.png")
    project.answer(names(some_digits)[1:40], truth[1:40])
    day.tell(images=339, complete=True)
    assert set(day.until_idle()) == {"features", "groups", "model", "map"}
    rows = project.rows()
    for kind in ("features", "groups", "model", "map"):
        found = set(day.newest(kind).rows.tolist())
        assert rows["new039.png"] in found, kind
        assert rows["0000.png"] not in found, kind
    assert len(day.newest("features").rows) == 339


def test_a_part_is_published_where_all_would_take_long(
    project_of: Maker, some_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SOON", 0.0)
    monkeypatch.setattr(work, "FIRST", 50)
    monkeypatch.setattr(looking, "SECONDS", 0.0)
    day = Day(project_of(some_digits[0]))
    assert day.until_idle()[-3:] == ["features", "groups", "map"]
    sizes = [len(r) for r in ([1] * k for k in (day.published.count("features"),))]
    assert sizes[0] >= 2
    assert day.newest("features").meta["images"] == 300


def photos(n: int) -> dict[str, bytes]:
    """Noise around two colours, as JPEG files."""
    rng = np.random.default_rng(0)
    files = {}
    for i in range(n):
        out = io.BytesIO()
        colour = np.array([[200, 40, 40], [40, 40, 200]][i % 2])
        pixels = np.clip(colour + rng.normal(0, 60, (60, 80, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(out, "JPEG")
        files[f"{i:02d}.jpg"] = out.getvalue()
    return files


def test_another_encoder_takes_over_when_half_is_done(
    project_of: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SOON", 0.0)
    monkeypatch.setattr(work, "FIRST", 10)
    monkeypatch.setattr(looking, "SECONDS", 0.0)
    day = Day(project_of(photos(40)))

    def stages() -> list[tuple[str, int]]:
        seen: list[Revision] = []
        for _ in range(200):
            if not day.worker.step():
                break
            found = day.project.newest("features")
            if found is not None and (not seen or seen[-1].rev != found.rev):
                seen.append(found)
        return [(str(one.meta["source"]), int(one.meta["images"])) for one in seen]

    first = stages()
    assert all("lite0" in source for source, _ in first)
    assert 10 <= first[0][1] < 40 == first[-1][1]
    day.tell(set={"features": "pixels"})
    second = stages()
    assert all("pixels and strokes" in source for source, _ in second[1:])
    assert second[1][1] >= 20
    assert second[-1][1] == 40
    day.tell(set={"features": "nonsense"})
    assert day.until_idle() == []


def test_answers_are_learned_while_another_encoder_is_at_work(
    day: Day, some_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model on disk is that of the space at hand, not of the one to come."""
    monkeypatch.setattr(looking, "SECONDS", 0.0)
    project, truth, name = day.project, some_digits[1], names(some_digits)
    day.tell(set={"features": "lite0"})
    day.worker.step()
    project.answer(name[:30], truth[:30])
    day.tell(seq=len(project.book))
    day.worker.step()
    model = day.newest("model")
    card = json.loads((model.folder / "card.json").read_bytes())
    assert card["features"]["kind"] == "pixels"
    assert day.newest("features").meta["kind"] == "pixels"


def test_a_disk_that_refuses_is_said_once_and_survived(
    day: Day, some_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, truth, name = day.project, some_digits[1], names(some_digits)
    project.answer(name[:30], truth[:30])
    day.tell(seq=len(project.book))

    def full(*_: Any, **__: Any) -> int:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(work.revisions, "publish", full)
        assert day.worker._step_safely()
        assert day.worker._step_safely()
    failed = [line for line in day.lines if "failed" in line]
    assert len(failed) == 1
    assert "disk" in failed[0]["failed"]
    assert day.until_idle() == ["model"]


def test_answers_are_learned_while_the_map_is_drawn(
    project_of: Maker, some_digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of(some_digits[0])
    day = Day(project)
    day.worker.voice.breathe = day.worker.breathe
    plain = work.drawn

    def slow(x: Any, advance: Callable[[int], None]) -> Any:
        project.answer(names(some_digits)[:30], some_digits[1][:30])
        day.ear.waiting.append({"seq": len(project.book), "regroup": True})
        advance(25)
        advance(25)
        return plain(x, lambda k: None)

    monkeypatch.setattr(work, "drawn", slow)
    assert day.until_idle() == ["features", "groups", "model", "groups", "map"]


def test_too_few_pictures_have_likeness_and_suggestions_but_no_groups(project_of: Maker) -> None:
    pixels, truth = digits(24)
    files = {f"{i:02d}.png": png(one) for i, one in enumerate(pixels)}
    day = Day(project_of(files))
    day.until_idle()
    assert len(day.newest("groups").rows) == 0
    assert len(day.newest("features").rows) == 24
    day.project.answer(list(files)[:14], truth[:14])
    day.tell(seq=len(day.project.book))
    assert "model" in day.until_idle()
    assert len(day.newest("model")["order"]) == 10


def test_no_picture_at_all(project_of: Maker) -> None:
    day = Day(project_of({}))
    assert day.until_idle() == []


def test_the_source_of_the_book_holds(project_of: Maker) -> None:
    pixels, _ = digits(40)
    project = project_of({f"{i:02d}.png": png(one) for i, one in enumerate(pixels)})
    project.say("setting_changed", key="features", new="lite0")
    day = Day(project)
    day.until_idle()
    assert "lite0" in day.newest("features").meta["source"]


def test_a_day_ends_with_the_ear(project_of: Maker, some_digits: Digits) -> None:
    project = project_of(dict(list(some_digits[0].items())[:40]))
    day = Day(project)
    day.worker.looking.reader.news = ["odd.png"]
    day.ear.waiting = [{"images": 40, "complete": True}, None]
    day.worker.run()
    assert "odd.png stopped" in day.lines[0]["failed"]
