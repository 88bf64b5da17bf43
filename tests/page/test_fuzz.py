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
        yield served


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
        "kind": st.sampled_from(["labelled", "group_labelled", "state_set", "undone"]),
        "id": event_id, "seen_rev": number, "ms": number, "image": image,
        "images": st.lists(image, max_size=4), "class": number, "name": word,
        "state": st.sampled_from(["open", "later", "unsure", "none", "broken", "labelled"]),
        "from": st.sampled_from(["queue", "grid", "gallery", "x"]), "into": number,
        "key": st.sampled_from(["1", "q", "l", ""]), "swap": st.booleans(), "look": number,
        "ids": st.lists(image, max_size=3),
        "formats": st.lists(st.sampled_from(["csv", "jsonl", "xlsx"]), max_size=3),
    }  # fmt: skip
    chosen = st.lists(st.sampled_from(sorted(fields)), max_size=8, unique=True)
    near = chosen.flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names}))
    whole = st.sampled_from([
        ["kind", "id", "seen_rev", "image", "class"], ["kind", "id", "seen_rev", "image", "name"],
        ["kind", "id", "seen_rev", "images", "state"],
        ["kind", "id", "seen_rev", "images", "class"],
        ["id"], ["id", "seen_rev", "name"], ["id", "seen_rev", "into"], ["id", "seen_rev"],
        ["id", "seen_rev", "key", "swap"],
    ]).flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names}))  # fmt: skip
    return whole | near | st.lists(whole, min_size=1, max_size=4) | st.just(None)


def test_writes_never_break_it(page: Any) -> None:
    """No 500, and the book stays one that can be read again from its start."""
    client = page.client()
    ids = client.ids()
    writes = [r for r in ROUTES if r.takes is not None and r.name != "export"]

    @quiet
    @given(st.sampled_from(writes), number, bodies(ids))
    def act(route: Any, class_id: int, body: Any) -> None:
        path = route.path.replace("{id}", quote(str(class_id), safe=""))
        reply = client.send(path, body, method=route.method)
        assert reply.status < 500, (route.name, body, reply.body)
        if reply.status != 200:
            assert set(reply.json["error"]) <= {"id", "text", "class_id"}
            assert reply.json["error"]["text"]

    act()
    page.settled()
    counts = client.state()["counts"]
    assert counts["pictures"] == 6
    assert counts["by_you"] + counts["in_groups"] + counts["open"] == 6
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
                         '{"state": ["open"]}', '{"class": [0]}', '{"folder": "../.."}', "٣"])
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
            st.sampled_from(["filter", "sort", "cursor", "limit", "n", "mode", "v", "px", "page"]),
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
