"""Two people at one page, each a client of their own over a real socket."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import ROOT, axe, until_stored, visit
from page_serving import Client, Served, invited, paint, serving
from sklearn.metrics import cohen_kappa_score

from handful.book import LabelBook
from handful.metrics import wilson
from handful.page.people import LEASE, Leases
from handful.page.serve import _listening, lan_address
from handful.page.sharing import Asked, _agreement
from handful.types import Event

HERE = "127.0.0.1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(60):
        paint(tmp_path / "pictures" / f"{number:03d}.png", number, (12, 8))
    return tmp_path / "pictures"


@pytest.fixture
def shared(folder: Path) -> Iterator[Served]:
    with serving(folder, lan=HERE) as page:
        page.settled()
        yield page


def ask(client: Client, mode: str = "random") -> list[dict[str, Any]]:
    reply = client.get("/queue", mode=mode)
    assert reply.status == 200, reply.body
    items: list[dict[str, Any]] = reply.json["items"]
    return items


def give(client: Client, image: str, to: int | str) -> Any:
    key = "name" if isinstance(to, str) else "class"
    answer = {"kind": "labelled", "image": image, key: to, "from": "queue"}
    return client.decide(answer)["results"][0]


def label_of(client: Client, image: str) -> tuple[str, int | None]:
    picture = client.get(f"/images/{image}").json["picture"]
    return picture["state"], picture["class"]


def twice(page: Served, name: str) -> list[str]:
    """What a person was given as one of two."""
    held = page.project.people.leases.held(name)
    return [image for image, lease in held.items() if lease.twice]


def two_answers(page: Served) -> tuple[Client, Client, str]:
    """P1 and P2 have said different things of one picture."""
    p1, p2 = invited(page, "P1"), invited(page, "P2")
    for word in ("left", "right", "other"):
        assert p1.make(word).status == 200
    p2.state()
    ask(p1)
    image = twice(page, "P1")[0]
    assert give(p1, image, 0)["ok"]
    assert image in [item["id"] for item in ask(p2)]
    assert give(p2, image, 1)["ok"]
    return p1, p2, image


# ------------------------------------------------------------------ who is who


def test_each_says_a_name_once_and_sees_the_other(shared: Served) -> None:
    p1, p2 = invited(shared, "P1"), invited(shared)
    now = p2.state()["people"]
    assert (now["you"], now["named"], now["link"]) == ("Guest 2", False, None)
    p2.send("/settings", {"id": p2.id(), "person": "  P2\n"}, "PATCH")
    p1.label(p1.ids()[0], "first")
    now = p2.state()
    assert now["person"] == now["settings"]["person"] == "P2"
    assert now["people"]["others"] == [{"name": "P1", "answers": 1, "here": True}]
    p1.undo()
    assert p2.state()["people"]["others"][0]["answers"] == 0
    assert shared.client().state()["people"]["link"] == shared.site.door.link  # the host's


def test_nobody_without_the_token_and_no_other_name_of_the_machine(shared: Served) -> None:
    stranger = shared.client()
    stranger.cookie = f"{shared.site.door.cookie}=x"
    refused = stranger.get("/state")
    assert (refused.status, refused.json["error"]["id"]) == (403, "E15")
    assert stranger.raw("GET", "/?token=x").status == 403
    assert stranger.raw("GET", "/").body.count(b"Open handful from its own window") == 1
    guest = invited(shared)
    assert guest.cookie.partition("=")[2] != shared.site.door.session
    wrong = {"Cookie": guest.cookie, "Host": f"192.168.7.7:{shared.port}"}
    assert guest.raw("GET", "/api/v1/state", headers=wrong).status == 403
    assert guest.send("/undo", {"id": guest.id()}, Origin="http://evil.example").status == 403
    assert not {"P1", "person", "name"} & set(shared.site.door.link or "")


def test_alone_nothing_is_different(folder: Path) -> None:
    with serving(folder) as page:
        page.settled()
        assert page.site.door.link is None
        client = page.client()
        assert client.state()["people"] is None
        assert client.get("/queue", n=40).json["next"] is not None
        assert len(client.get("/queue", n=40).json["items"]) == 40
        client.decide({"kind": "labelled", "image": client.ids()[0], "name": "a", "from": "queue"})
        assert "overlap" not in page.project.book.events[-1].data
        assert client.raw("GET", f"/?token={page.site.door.invitation}").status == 403
        names = {path.name for path in page.project.place.rglob("*")}
        assert not {"people.json", "leases.json"} & names


def test_two_addresses_one_port_and_only_those_asked_for(folder: Path, project_of: Any) -> None:
    project = project_of(folder, several=True)
    try:
        with _listening(project, None, "127.0.0.2") as (sockets, port):
            assert [s.getsockname() for s in sockets] == [(HERE, port), ("127.0.0.2", port)]
    finally:
        project.close()
    try:
        assert not lan_address().startswith("127.")
    except Exception as error:  # noqa: BLE001  (a machine without a network says so)
        assert "no network" in str(error)  # noqa: PT017


# ------------------------------------------------------------------ one queue


def test_two_hundred_answers_and_only_those_asked_twice_come_twice(tmp_path: Path) -> None:
    for number in range(400):
        paint(tmp_path / "pictures" / f"{number:03d}.png", number, (12, 8))
    with serving(tmp_path / "pictures", lan=HERE) as page:
        page.settled()
        p1, p2 = invited(page, "P1"), invited(page, "P2")
        for word in ("zero", "one", "two"):
            assert p1.make(word).status == 200
        said: dict[str, dict[str, int]] = defaultdict(dict)
        payloads: dict[str, list[dict[str, Any]]] = {"P1": [], "P2": []}
        lock = threading.Lock()

        def work(client: Client, name: str) -> None:
            for pile in range(10):
                with lock:  # nothing is asked of anybody while this is looked at
                    items = ask(client)
                    others = page.project.people.leases.others(name)
                assert not {item["id"] for item in items} & others
                assert len(items) == LEASE
                payloads[name] += items[:10]
                for at, item in enumerate(items[:10]):
                    image = item["id"]
                    slip = name == "P2" and at == pile % 10
                    said[image][name] = (int(image, 36) + slip) % 3
                    assert give(client, image, said[image][name])["ok"]

        threads = [threading.Thread(target=work, args=of) for of in ((p1, "P1"), (p2, "P2"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert sum(map(len, said.values())) == 200
        both = {image: of for image, of in said.items() if len(of) == 2}
        voted = {e.data["image"] for e in page.project.book.events if e.data.get("overlap")}
        ids = {row.id for row in page.project.index.of(sorted(voted)).values()}
        assert both.keys() <= ids
        assert len(both) >= 15
        for name, items in payloads.items():
            for item in items:
                if len(said[item["id"]]) == 2:
                    assert set(item) == {"id", "v", "w", "h"}, name
        check_agreement(p1, both)
        settle(p1, both)


def check_agreement(client: Client, both: dict[str, dict[str, int]]) -> None:
    found = client.get("/disagreements", limit=100).json
    one = [of["P1"] for of in both.values()]
    other = [of["P2"] for of in both.values()]
    k, n = sum(a == b for a, b in zip(one, other, strict=True)), len(both)
    (agreed,) = found["agreement"]
    assert (agreed["a"], agreed["b"], agreed["k"], agreed["n"]) == ("P1", "P2", k, n)
    assert found["twice"] == n
    assert f"agree on {k} of {n}" in agreed["text"]
    if n >= 30:
        low, high = wilson(k, n)
        assert (agreed["low"], agreed["high"]) == (low, high)
        assert agreed["kappa"] == pytest.approx(cohen_kappa_score(one, other))
        assert f"{100 * low:.1f}" in agreed["text"]
    else:
        assert agreed["low"] is agreed["kappa"] is None
        assert "A percentage needs 30" in agreed["text"]


def settle(client: Client, both: dict[str, dict[str, int]]) -> None:
    conflicts = {image: of for image, of in both.items() if of["P1"] != of["P2"]}
    listed = client.get("/disagreements", limit=100).json
    assert {item["picture"]["id"] for item in listed["items"]} == set(conflicts)
    assert listed["total"] == len(conflicts) > 0
    for item in listed["items"]:
        image = item["picture"]["id"]
        assert item["picture"]["state"] == "open"
        given = {vote["person"]: vote["class"] for vote in item["answers"]}
        assert given == conflicts[image]
        settled = {"kind": "overlap_settled", "image": image, "class": given["P1"]}
        assert client.decide(settled)["results"][0]["ok"]
        assert label_of(client, image) == ("labelled", given["P1"])
    after = client.get("/disagreements").json
    assert after["total"] == 0
    assert after["agreement"][0]["k"] == listed["agreement"][0]["k"]  # they did disagree
    client.undo()
    assert client.get("/disagreements").json["total"] == 1


def test_what_a_person_left_is_asked_of_others_after_two_minutes(shared: Served) -> None:
    p1, p2 = invited(shared, "P1"), invited(shared, "P2")
    left = {item["id"] for item in ask(p2)}
    assert len(left) == LEASE
    assert not left & {item["id"] for item in ask(p1)}
    for lease in shared.project.people.leases.held("P2").values():
        lease.until -= 121
    for _ in range(3):
        for item in ask(p1)[:10]:
            give(p1, item["id"], "seen")
    seen = [e.data["image"] for e in shared.project.book.events if e.kind == "labelled"]
    given = {row.id for row in shared.project.index.of(seen).values()}
    assert left & (given | {item["id"] for item in ask(p1)})
    assert not {item["id"] for item in ask(p2)} & {item["id"] for item in ask(p1)}


def test_a_lease_lasts_while_somebody_works_and_over_a_restart(tmp_path: Path) -> None:
    now = [1000.0]
    path = tmp_path / "leases.json"
    leases = Leases(path, lambda: now[0])
    leases.take("P1", ["a", "b"], "random", {"b"})
    now[0] += 119
    leases.renew("P1")
    now[0] += 119
    assert leases.others("P2") == {"a", "b"}
    again = Leases(path, lambda: now[0])
    assert again.others("P2") == {"a", "b"}
    assert again.twice("P1", "b")
    assert not again.twice("P1", "a")
    now[0] += 121
    assert again.others("P2") == set()
    again.renew("P1")  # too late
    assert again.others("P2") == set()
    again.take("P2", ["a"], "random", set())
    assert set(again.held("P1")) == {"b"}
    path.write_text('{"P1": {"a": 3}, "P2": []}')
    assert Leases(path).held("P1") == {}


def test_the_other_modes_are_shared_too(shared: Served) -> None:
    p1, p2 = invited(shared, "P1"), invited(shared, "P2")
    for mode in ("audit", "random"):
        mine = {item["id"] for item in ask(p1, mode)}
        assert mine
        assert not mine & {item["id"] for item in ask(p2, mode)}
        assert mine == {item["id"] for item in ask(p1, mode)}  # a reload gives the same
    assert p1.get("/queue", mode="random", cursor="x").status == 400


# ------------------------------------------------------------------ what two people said


def test_a_tie_is_open_until_a_third_answer_or_until_it_is_settled(shared: Served) -> None:
    p1, p2, image = two_answers(shared)
    assert label_of(p1, image) == ("open", None)
    assert image not in [item["id"] for item in ask(p1)]
    p3 = invited(shared, "P3")
    assert image not in [item["id"] for item in ask(p3)]
    settled = {"kind": "overlap_settled", "image": image, "state": "none"}
    assert p3.decide(settled)["results"][0]["ok"]
    assert label_of(p1, image) == ("none", None)
    late = p2.decide({**settled, "seen_rev": 0})["results"][0]
    assert late["error"]["id"] == "E12"
    assert p2.decide(settled)["results"][0]["error"]["id"] == "settled"
    book = shared.project.book
    again = LabelBook(book.events)
    for path in book.images():
        assert again.said(path) == book.said(path)


def test_undo_takes_back_ones_own_answer_of_two(shared: Served) -> None:
    p1, p2, image = two_answers(shared)
    assert p2.undo()["affected"] == 1
    assert label_of(p1, image) == ("labelled", 0)
    p2.redo()
    assert label_of(p1, image) == ("open", None)
    p1.merge(1, 0)  # both mean the same now
    assert label_of(p1, image) == ("labelled", 0)
    assert p1.get("/disagreements").json["total"] == 0
    p1.undo()
    assert label_of(p1, image) == ("open", None)
    assert p1.get("/disagreements").json["total"] == 1


def said(number: int, person: str, to: int | str, image: str = "x") -> Event:
    if isinstance(to, int):
        return Event("labelled", f"t.{number}", {"image": image, "class": to, "overlap": True},
                     person=person)  # fmt: skip
    return Event("state_set", f"t.{number}", {"images": [image], "state": to, "overlap": True},
                 person=person)  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "state", "class_id"),
    [
        ([("a", 0)], "labelled", 0), ([("a", 0), ("b", 0)], "labelled", 0),
        ([("a", 0), ("b", 1)], "open", -1), ([("a", 0), ("b", 1), ("c", 1)], "labelled", 1),
        ([("a", 0), ("b", 1), ("c", "none")], "open", -1),
        ([("a", "unsure")], "unsure", -1), ([("a", "unsure"), ("b", 1)], "labelled", 1),
        ([("a", 0), ("a", 1)], "labelled", 1),
        ([("a", 0), ("b", 1), ("b", "later")], "labelled", 0),
        ([("a", 0), ("a", "later")], "open", -1), ([("a", "none"), ("b", "none")], "none", -1),
    ],
)  # fmt: skip
def test_the_label_is_what_more_than_half_say(
    answers: list[tuple[str, int | str]], state: str, class_id: int
) -> None:
    made = [Event("class_created", f"c/{i}", {"class": i, "name": str(i)}) for i in range(2)]
    book = LabelBook(made)
    book.append([said(n, person, to) for n, (person, to) in enumerate(answers)])
    assert (book.said("x").state, book.said("x").class_id) == (state, class_id)
    book.append([Event("labelled", "t.hand", {"image": "x", "class": 0}, person="z")])
    book.append([said(90, "y", 1)])  # too late: somebody has spoken for all
    assert book.said("x").class_id == 0
    book.append([Event("image_moved", "t.moved", {"image": "x", "to": "y"})])
    assert (book.said("y").class_id, book.poll("y").decided) == (0, True)
    book.append([Event("image_changed", "t.changed", {"image": "y"})])
    assert book.poll("y").votes == {}


def test_agreement_of_each_two_people_with_interval_and_kappa() -> None:
    one = [n % 3 for n in range(40)]
    other = [(n + (n % 10 == 0)) % 3 for n in range(40)]
    asked = {
        str(n): Asked({"P1": ("labelled", a), "P2": ("labelled", b)}, n + 1, False)
        for n, (a, b) in enumerate(zip(one, other, strict=True))
    }
    asked["u"] = Asked({"P1": ("unsure", -1), "P2": ("labelled", 0)}, 41, False)
    asked["x"] = Asked({"P1": ("labelled", 0), "P3": ("none", -1)}, 42, False)
    first, second = _agreement(asked)
    assert (first["a"], first["b"], first["n"], first["k"]) == ("P1", "P2", 40, 36)
    assert (first["low"], first["high"]) == wilson(36, 40)
    assert first["kappa"] == pytest.approx(cohen_kappa_score(one, other))
    assert first["text"].startswith("P1 and P2 agree on 36 of 40: 90.0 %, between 76.9 and 96.0 %")
    assert (second["b"], second["n"], second["k"], second["kappa"]) == ("P3", 1, 0, None)
    assert asked["x"].disputed
    assert not asked["u"].disputed
    same = {str(n): Asked({"a": ("none", -1), "b": ("none", -1)}, n, False) for n in range(30)}
    assert "Kappa cannot be said" in _agreement(same)[0]["text"]


# ------------------------------------------------------------------ classes and undo


def test_one_class_of_a_name_and_one_rename_wins(shared: Served) -> None:
    p1, p2 = invited(shared, "P1"), invited(shared, "P2")
    assert p1.make("seven").status == 200
    a, b = p1.ids()[:2]
    assert p2.label(a, "Seven")["results"][0]["class_id"] == 0
    assert [c["name"] for c in p2.state()["classes"]] == ["seven"]
    p1.rev = p2.rev = shared.project.rev
    assert p1.change(0, name="7").status == 200
    refused = p2.change(0, name="sieben")
    assert (refused.status, refused.json["error"]["id"]) == (409, "E12")
    assert [c["name"] for c in p2.state()["classes"]] == ["7"]
    p2.label(b, "7")
    for word in ("eight", "nine"):
        p1.make(word)
    old = p2.rev
    assert p1.merge(1, 2).status == 200
    p2.rev = old  # in the queue, and nothing was heard of it
    image = ask(p2)[0]["id"]
    answer = give(p2, image, 1)
    assert (answer["ok"], answer["class_id"]) == (True, 2)
    assert label_of(p2, image) == ("labelled", 2)


def test_undo_is_per_person_and_keeps_what_others_said_since(shared: Served) -> None:
    p1, p2 = invited(shared, "P1"), invited(shared, "P2")
    p1.make("whole")
    p2.make("other")
    images = p1.ids()[:40]
    p1.decide({"kind": "group_labelled", "images": images, "class": 0, "from": "gallery"})
    p2.rev = p1.rev
    for image in images[:3]:
        assert p2.label(image, 1)["results"][0]["ok"]
    took = p1.undo()
    assert (took["affected"], took["kept"]) == (37, 3)
    begin = "Undone for 37 of 40. P2 has answered 3 of them since;"
    assert took["text"] == f"{begin} those answers stay."
    states = Counter(label_of(p1, image)[0] for image in images)
    assert states == {"open": 37, "labelled": 3}
    for _ in range(4):
        p2.undo()
    assert p2.undo()["event"] is None
    assert p1.state()["redo"] is not None


# ------------------------------------------------------------------ a pause


def test_forty_answers_wait_for_the_page_and_arrive_once_in_order(folder: Path) -> None:
    waiting: dict[str, list[dict[str, Any]]] = {}
    cookies: dict[str, str] = {}
    with serving(folder, lan=HERE) as page:
        page.settled()
        invited(page, "P1").make("a")
        for name in ("P3", "P2"):
            client = invited(page, name)
            cookies[name] = client.cookie.partition("=")[2]
            waiting[name] = [
                {"kind": "labelled", "id": f"{name}.{100 + n}", "seen_rev": client.rev,
                 "image": item["id"], "class": 0, "from": "queue"}
                for n, item in enumerate(ask(client))
            ]  # fmt: skip
    with serving(folder, lan=HERE) as page:
        page.settled()
        for name, answers in waiting.items():
            client = page.client(name)
            client.cookie = f"{page.site.door.cookie}={cookies[name]}"
            assert client.state()["people"]["you"] == name  # remembered
            for _ in range(2):  # a repeat does no harm
                reply = client.send("/events", answers).json
                assert all(result["ok"] for result in reply["results"])
        mine = [e for e in page.project.book.events if e.kind == "labelled"]
        assert len(mine) == 40
        for name, answers in waiting.items():
            assert [e.id for e in mine if e.person == name] == [a["id"] for a in answers]


# ------------------------------------------------------------------ in a browser

STATIC = ROOT / "src" / "handful" / "page" / "static"


def seen(page: Any, testid: str) -> str:
    script = f"[...document.querySelectorAll('[data-testid={testid}]')].map((e) => e.textContent)"
    return " | ".join(page.run(script))


def test_a_name_is_said_once_and_disagreements_are_settled_by_keys(
    browser: Any, folder: Path
) -> None:
    with serving(folder, static=STATIC, lan=HERE) as page:
        page.settled()
        invited(page, "P0")
        _, p2, image = two_answers(page)
        browser.faults.clear()
        browser.size(1280, 720)
        browser.go(f"{page.site.door.link}#/queue?mode=random")
        browser.until("document.activeElement?.dataset.testid === 'name-field'")
        browser.type("P3")
        browser.press("Enter")
        browser.until("!document.querySelector('dialog')")
        until = time.monotonic() + 10
        while "P3" not in [o["name"] for o in p2.state()["people"]["others"]]:
            assert time.monotonic() < until
        assert {"P1 1", "P2 1"} <= set(seen(browser, "colleague").split(" | "))
        picture = "document.querySelector('[data-testid=picture]')"
        browser.until(f"{picture}?.naturalWidth > 0")
        browser.press("1")
        until_stored(browser)
        browser.until("document.querySelector('[data-testid=count-you]').textContent[0] === '1'")
        assert [o["answers"] for o in p2.state()["people"]["others"] if o["name"] == "P3"] == [1]

        visit(browser, "review", "document.querySelector('.tabs nav')")
        browser.click(".tabs nav a:last-child")
        browser.until(f"{picture}?.dataset.image === '{image}'")
        assert seen(browser, "disagreements") == "Disagreements: 1"
        votes = seen(browser, "vote")
        assert votes.startswith("P1:")
        assert "left" in votes
        assert "right" in votes
        assert "agree on 0 of 1. A percentage needs 30." in seen(browser, "agreement")
        assert axe(browser)() == []
        if where := os.environ.get("HANDFUL_SHOTS"):
            Path(where, "disagreements.png").write_bytes(browser.shot())
        browser.press("2")  # the key of "right"
        until_stored(browser)
        assert label_of(p2, image) == ("labelled", 1)
        assert seen(browser, "disagreements") == "Disagreements: 0"
        browser.press("Ctrl+Z")
        browser.until(f"{picture}?.dataset.image === '{image}'")
        until_stored(browser)
        assert label_of(p2, image) == ("open", None)
        browser.run("location.reload()")
        browser.until("document.querySelector('[data-testid=people]')")
        assert not browser.run("!!document.querySelector('dialog')")  # remembered
        assert browser.faults == []
        browser.go("about:blank")


@pytest.mark.slow
def test_eight_tabs_hold_one_stream_and_each_hears_what_happens(browser: Any, folder: Path) -> None:
    with serving(folder, static=STATIC, lan=HERE) as page:
        page.settled()
        p2 = invited(page, "P2")
        streams = Counter[str]()
        events = page.site.stream.events

        async def counted(last: str | None) -> AsyncIterator[bytes]:
            streams["open"] += 1
            try:
                async for text in events(last):
                    yield text
            finally:
                streams["open"] -= 1

        page.site.stream.events = counted  # type: ignore[method-assign]
        browser.go(str(page.site.door.link))
        stored = "!!document.querySelector('[data-testid=stored]')"
        browser.until(stored)
        tabs = [browser.another() for _ in range(7)]
        for tab in tabs:
            tab.go(f"http://{HERE}:{page.port}/")
        for tab in tabs:
            tab.until(stored, seconds=60)
        p2.label(p2.ids()[0], "seen")
        for tab in tabs:
            tab.until("document.querySelector('[data-testid=count-you]').textContent[0] === '1'")
        assert streams["open"] == 1
        for tab in tabs:
            tab.shut()
        browser.go("about:blank")
