"""Whatever is asked, the server says what is wrong with it, and goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_learned import rows_of, teach_features, teach_groups, teach_map, teach_model
from page_serving import paint, serving

from handful.book import LabelBook
from handful.page.openapi import PREFIX, ROUTES


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        paint(folder / f"{number}.png", number)
    with serving(folder) as served:
        served.settled()
        client = served.client()
        for name in ("first", "second"):
            client.make(name)
        rows = sorted(rows_of(served.project).values())
        teach_features(served.project, {r: (1, r) for r in rows}, stacks=[rows[:2]])
        teach_groups(served.project, [rows[:3], rows[3:]], near=[(0, 1)])
        teach_map(served.project, dict.fromkeys(rows, (1, 2)), images=6)
        errors, held = [(rows[0], 0, 1, 0.9)], [(r, 0, 1) for r in rows]
        teach_model(
            served.project, dict.fromkeys(rows, (1, 0.9)), order=rows, errors=errors, held=held
        )
        yield served


KINDS = [
    "labelled", "group_labelled", "state_set", "undone", "pair_answered", "audit_answered",
    "review_kept", "review_changed", "stack_broken",
]  # fmt: skip
share = st.floats(-0.5, 1.5) | st.sampled_from([0.5, 0.9, 1e308])
group = st.sampled_from(["1.0", "1.1", "1.0.0", "1.9", "2.0", "1", "", "1.0.m7"])
quiet = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
number = st.integers(-2, 6) | st.sampled_from([2**31, 2**63, 2**70, -(2**70)])
word = st.sampled_from(["a", "A", "b", "é", "=x", " ", "", "\u202e", "x" * 61]) | st.text(
    max_size=8
)
event_id = st.builds("t.{}".format, st.integers(0, 30)) | st.text(max_size=6)


def bodies(ids: list[str]) -> st.SearchStrategy[Any]:
    """Requests that are nearly right: right fields, values from right to absurd."""
    image = st.sampled_from([*ids, "00ff", ""])
    fields: dict[str, st.SearchStrategy[Any]] = {
        "kind": st.sampled_from(KINDS),
        "id": event_id, "seen_rev": number, "ms": number, "image": image,
        "images": st.lists(image, max_size=4), "class": number, "name": word,
        "state": st.sampled_from(["open", "later", "unsure", "none", "broken", "labelled"]),
        "from": st.sampled_from(["queue", "grid", "gallery", "x"]), "into": number,
        "key": st.sampled_from(["1", "q", "l", ""]), "swap": st.booleans(), "look": number,
        "ids": st.lists(image, max_size=3),
        "a": group, "b": group, "answer": st.sampled_from(["same", "different", "unsure", "x"]),
        "groups": st.lists(group, max_size=3), "why": st.sampled_from(["mixed", "later", "x"]),
        "p": share, "set_hash": st.sampled_from(["0" * 64, "x"]), "goal": share,
        "sample_events": st.lists(event_id, max_size=3), "split_from": number,
        "taken_out": st.lists(image, max_size=2), "shown": st.lists(image, max_size=2),
        "suggestion": st.fixed_dictionaries(
            {"class": number | st.none(), "p": share, "model_rev": number, "shown": st.booleans()}
        ),
        "guide": st.fixed_dictionaries(
            {"text": word, "examples": st.lists(image, max_size=2), "nots": st.just([])}
        ),
        "features": word, "person": word, "classes": st.lists(number, max_size=2),
        "not_ids": st.lists(image, max_size=2), "for_class": number, "n": number, "cursor": word,
        "all": st.booleans(), "scope": word, "group_rev": number,
        "formats": st.lists(st.sampled_from(["csv", "jsonl", "xlsx"]), max_size=3),
    }  # fmt: skip
    chosen = st.lists(st.sampled_from(sorted(fields)), max_size=8, unique=True)
    near = chosen.flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names}))
    whole = st.sampled_from([
        ["kind", "id", "seen_rev", "image", "class"], ["kind", "id", "seen_rev", "image", "name"],
        ["kind", "id", "seen_rev", "images", "state"],
        ["kind", "id", "seen_rev", "images", "class"],
        ["id"], ["id", "seen_rev", "name"], ["id", "seen_rev", "into"], ["id", "seen_rev"],
        ["id", "seen_rev", "key", "swap"], ["id", "seen_rev", "guide"],
        ["id", "seen_rev", "name", "split_from"], ["id", "why"], ["id", "groups"], ["id", "goal"],
        ["id", "person"], ["p"], ["p", "classes"], ["ids", "not_ids", "for_class"],
        ["ids", "cursor"],
        ["set_hash", "sample_events"], ["id", "p", "set_hash", "sample_events"], [],
        ["kind", "id", "seen_rev", "a", "b", "answer"], ["kind", "id", "seen_rev", "image"],
        ["kind", "id", "seen_rev", "images"], ["kind", "id", "seen_rev", "image", "state"],
        ["kind", "id", "seen_rev", "image", "class", "suggestion"],
        ["kind", "id", "seen_rev", "images", "name", "taken_out", "shown", "scope", "group_rev"],
    ]).flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names}))  # fmt: skip
    return whole | near | st.lists(whole, min_size=1, max_size=4) | st.just(None)


def test_writes_never_break_it(page: Any) -> None:
    """No 500, and the book stays one that can be read again from its start."""
    client = page.client()
    ids = client.ids()
    writes = [r for r in ROUTES if r.takes is not None and not r.name.startswith("export")]

    @settings(quiet, max_examples=400)
    @given(st.sampled_from(writes), number, group, bodies(ids))
    def act(route: Any, class_id: int, group_id: str, body: Any) -> None:
        id = group_id if "group" in route.path else str(class_id)
        path = route.path.replace("{id}", quote(id, safe=""))
        reply = client.send(path, body, method=route.method)
        assert reply.status < 500, (route.name, body, reply.body)
        if reply.status != 200:
            assert set(reply.json["error"]) <= {"id", "text", "class_id"}
            assert reply.json["error"]["text"]

    act()
    page.settled()
    counts = client.state()["counts"]
    assert counts["pictures"] == 6
    parts = ("by_you", "in_groups", "by_model", "open")
    assert sum(counts[name] for name in parts) == 6
    assert min(counts.values()) >= 0
    book = page.project.book
    again = LabelBook(book.events)
    for image in again.images():
        assert again.standing(image) == book.standing(image)
    names = [c["name"].casefold() for c in client.state()["classes"] if not c["archived"]
             and c["merged_into"] is None]  # fmt: skip
    assert len(names) == len(set(names))


def test_reads_never_break_it(page: Any) -> None:
    client = page.client()
    ids = client.ids()
    reads = [r for r in ROUTES if r.method == "GET" and r.name != "stream"]
    values = (
        st.sampled_from(["0", "1", "-1", "200", "9" * 30, "name", "time", "later", "{}", "null",
                         "errors", "cell:0:1", "audit:none:1", "useful", "audit", "first",
                         "all", "labels", '{"state": ["open"]}',
                         '{"class": [0]}', '{"folder": "../.."}', "٣"])
        | st.text(max_size=10)
        | st.builds(json.dumps, st.dictionaries(st.sampled_from(["class", "state", "folder"]),
                                                st.lists(st.integers()) | st.text(max_size=3)))
    )  # fmt: skip
    segment = st.sampled_from([*ids, "..", "%2e%2e", "0", "192"]) | st.text(max_size=6).map(
        lambda text: quote(text, safe="")
    )

    @quiet
    @given(
        st.sampled_from(reads), segment, segment,
        st.dictionaries(
            st.sampled_from(["filter", "sort", "cursor", "limit", "n", "mode", "v", "px", "page",
                             "rev", "done", "kind", "start", "part"]),
            values, max_size=3,
        ),
    )  # fmt: skip
    def act(route: Any, id: str, side: str, query: dict[str, str]) -> None:
        path = route.path.replace("{id}", id).replace("{side}", side)
        reply = client.get(path, **query)
        assert reply.status < 500, (path, query, reply.body)

    act()


@quiet
@given(
    st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"]),
    st.text("abcdefgt/?&=%.0:;@~", max_size=12),
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(["Origin", "X-Handful", "Content-Type", "If-None-Match", "Last-Event-ID"]),
        st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=10),
        max_size=4,
    ),
)  # fmt: skip
def test_nothing_at_all_breaks_it(
    page: Any, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    client = page.client()
    try:
        reply = client.raw(
            method, f"{PREFIX}/{quote(path, safe='/?&=%.')}", body,
            {"Cookie": client.cookie, **{k: v.strip() for k, v in headers.items()}},
        )  # fmt: skip
        assert reply.status < 500
    finally:
        client.connection.close()
