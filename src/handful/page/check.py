"""What comes in is looked at before anything is done with it: JSON, then the types of `schema`.

Nothing is converted: a number that stands as text is refused, as is a field nobody knows.
Texts must be such as UTF-8 can hold; numbers are whole and exact in a browser.
"""

from __future__ import annotations

import json
import re
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from handful.errors import InputError
from handful.page.schema import BoundTo

__all__ = ["checked", "fields_of", "parsed"]


def parsed(body: bytes | str, kind: Any) -> Any:
    """A body of JSON as ``kind``; `InputError` with the place of what does not fit."""
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is no JSON: {str(error)[:80]}") from error
    return checked(value, kind)


def checked(value: Any, kind: Any, where: str = "the request", bound: BoundTo | None = None) -> Any:
    """The value itself when it is of this type; `InputError` that says where it is not."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, limit = get_args(kind)
        return checked(value, inner, where, limit)
    if origin in (Union, UnionType):
        return _one_of(value, get_args(kind), where)
    if origin is Literal:
        if not any(value == word and type(value) is type(word) for word in get_args(kind)):
            _refuse(where, f"must be one of {', '.join(map(repr, get_args(kind)))}")
        return value
    if is_typeddict(kind):
        return _record(value, kind, where)
    bound = bound or BoundTo()
    if origin is list:
        if not isinstance(value, list) or not bound.low <= len(value) <= bound.high:
            _refuse(where, f"must be a list of {bound.low} to {bound.high}")
        inner, limit = get_args(kind)[0], None
        if get_origin(inner) is Annotated:  # once, not for each of thousands
            inner, limit = get_args(inner)
        if inner is str:
            return [_text(v, limit or BoundTo(), f"{where}[{i}]") for i, v in enumerate(value)]
        return [checked(v, inner, f"{where}[{i}]", limit) for i, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            _refuse(where, "must be a record")
        return {n: checked(v, get_args(kind)[1], f"{where}.{n}") for n, v in value.items()}
    if kind is str:
        return _text(value, bound, where)
    if kind is int:
        if type(value) is not int or not bound.low <= value <= bound.high:
            _refuse(where, f"must be a whole number from {bound.low} to {bound.high}")
        return value
    if type(value) is not kind and not (kind is float and type(value) is int):
        _refuse(where, f"must be {kind.__name__}")
    if kind is float and not bound.low <= value <= bound.high:  # what is no number, too
        _refuse(where, f"must be a number from {bound.low} to {bound.high}")
    return value


def fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Fields of a record: its type, and whether it must be there."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        name: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, True)
        for name, hint in hints.items()
    }


def _one_of(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    records = [k for k in kinds if is_typeddict(k)]
    if len(records) == 1 and isinstance(value, dict):
        return checked(value, records[0], where)
    if records and isinstance(value, dict):  # told apart by their ``kind``
        for kind in records:
            if value.get("kind") in get_args(fields_of(kind)["kind"][0]):
                return checked(value, kind, where)
        names = [get_args(fields_of(k)["kind"][0])[0] for k in records]
        _refuse(f"{where}.kind", f"must be one of {', '.join(names)}")
    for kind in kinds:
        if kind is not NoneType and not is_typeddict(kind):
            return checked(value, kind, where)
    _refuse(where, "must be a record")


def _record(value: Any, kind: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(where, "must be a record")
    fields = fields_of(kind)
    if strange := sorted(set(value) - set(fields)):
        _refuse(where, f"has a field nobody knows: {strange[0][:40]!r}")
    for name, (_, required) in fields.items():
        if required and name not in value:
            _refuse(where, f"lacks {name!r}")
    return {name: checked(v, fields[name][0], f"{where}.{name}") for name, v in value.items()}


def _text(value: Any, bound: BoundTo, where: str) -> str:
    if not isinstance(value, str) or not bound.low <= len(value) <= bound.high:
        _refuse(where, f"must be a text of {bound.low} to {bound.high} characters")
    if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        _refuse(where, "holds a character that is none")
    if bound.form and not re.fullmatch(bound.form, value):
        _refuse(where, f"must have the form {bound.form}")
    return value


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _refuse(where: str, what: str) -> NoReturn:
    raise InputError(f"{where} {what}")
