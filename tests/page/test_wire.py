"""What comes in is checked by type; the document of the API is the one that is committed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.errors import InputError
from handful.page import schema
from handful.page.check import checked, parsed
from handful.page.openapi import ROUTES, document

ROOT = Path(__file__).resolve().parents[2]
LABEL = {"kind": "labelled", "id": "tab.1", "seen_rev": 0, "image": "ab12", "class": 3}


def test_the_committed_document_is_the_one_that_the_types_give() -> None:
    """Else: python scripts/api_schema.py"""
    committed = (ROOT / "ui" / "src" / "api.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == json.loads(json.dumps(document()))


def test_every_reference_leads_somewhere() -> None:
    made = document()
    text = json.dumps(made)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in made["components"]["schemas"]
    assert len(made["paths"]) == len({route.path for route in ROUTES})


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"class": "3"}, "class must be a whole number"), ({"class": True}, "class must be a"),
        ({"class": -1}, "class must be"), ({"class": 2.0}, "class must be"),
        ({"image": "../x"}, "image must have the form"), ({"image": ""}, "image must be a text"),
        ({"image": None}, "image must be a text"), ({"id": "tab"}, "id must have the form"),
        ({"id": "a" * 90 + ".1"}, "id must be a text of"), ({"from": "x"}, "from must be one of"),
        ({"seen_rev": 2**60}, "seen_rev must be"), ({"colour": 1}, "nobody knows: 'colour'"),
        ({"kind": "moved"}, "kind must be one of labelled, group_labelled, state_set"),
        ({"name": "\ud800"}, "character that is none"), ({"name": "a\0"}, "that is none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_place(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError, match=where):
        checked([{**LABEL, **wrong}], list[schema.Decision])


def test_what_fits_is_what_comes_out() -> None:
    assert parsed(json.dumps([LABEL]).encode(), list[schema.Decision]) == [LABEL]
    lacking = {name: value for name, value in LABEL.items() if name != "seen_rev"}
    with pytest.raises(InputError, match="lacks 'seen_rev'"):
        checked(lacking, schema.Labelled)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[" * 100_000, b'{"id": Infinity}'])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(InputError, match="no JSON"):
        parsed(body, schema.Undo)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(anything, st.sampled_from([r.takes for r in ROUTES if r.takes is not None]))
def test_nothing_passes_by_accident(value: Any, kind: Any) -> None:
    with suppress(InputError):
        assert checked(value, kind) == value
