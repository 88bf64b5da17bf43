"""Settings are dataclass fields: names and types are checked, values are TOML.

A typo is an error that names the nearest field; a value of the wrong type is an error
that names the right one.  Nothing is converted silently.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from handful.errors import RecipeError, UnknownName

__all__ = [
    "check_fields",
    "check_type",
    "field_type",
    "field_types",
    "frozen",
    "key",
    "parse",
    "toml",
]

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def toml(value: Any) -> str:
    """One value; ``None`` has no TOML and is written as the empty table ``{}``."""
    match value:
        case None:
            return "{}"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(_escape(c) for c in value) + '"'
        case tuple() | list():
            return "[" + ", ".join(toml(v) for v in value) + "]"
    raise RecipeError(f"a recipe cannot hold {value!r}: numbers, text, true, false and lists only")


def _escape(c: str) -> str:
    if "\ud800" <= c <= "\udfff":
        raise RecipeError("a recipe cannot hold text that is no UTF-8: name it otherwise")
    return _ESCAPES.get(c) or (c if " " <= c != "\x7f" else f"\\u{ord(c):04x}")


def key(name: str) -> str:
    """A key as TOML writes it: bare where it may be, else quoted."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def frozen(value: Any) -> Any:
    """Lists become tuples and ``{}`` becomes ``None``, as the dataclasses hold them."""
    if isinstance(value, list):
        return tuple(frozen(v) for v in value)
    return None if value == {} and isinstance(value, dict) else value


def field_types(kind: type[Any]) -> dict[str, Any]:
    """Types of the fields that may be set, by name; `RecipeError` when it is no dataclass."""
    if not is_dataclass(kind):
        raise RecipeError(f"{kind.__name__} is no dataclass: its options cannot be set")
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind) if f.init}


def field_type(kind: type[Any], name: str) -> Any:
    """Type of one field; `UnknownName` suggests the nearest."""
    known = field_types(kind)
    if name not in known:
        raise UnknownName(f"key of {kind.__name__.lower()}", name, known)
    return known[name]


def check_fields(who: str, kind: type[Any], given: Mapping[str, Any]) -> None:
    """Raise when a name is no field of ``kind`` or its value has another type."""
    known = field_types(kind)
    for name, value in given.items():
        if name not in known:
            raise UnknownName(f"option of {who}", name, known)
        check_type(f"{name} of {who}", value, known[name])


def check_type(where: str, value: Any, kind: Any) -> Any:
    """The value itself, or an error that names what would have been right."""
    if not _fits(value, kind):
        raise RecipeError(f"{where} takes {_readable(kind)}, got {value!r}")
    return value


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, k) for k in get_args(kind))
    if origin is Literal:
        return any(value == v and type(value) is type(v) for v in get_args(kind))
    if origin is tuple:
        inner = get_args(kind)
        if not isinstance(value, tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(_fits(v, inner[0]) for v in value)
        return len(inner) == len(value) and all(map(_fits, value, inner))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is None or kind is NoneType:
        return value is None
    return isinstance(value, kind) if isinstance(kind, type) and kind is not Any else True


def _readable(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_readable(k) for k in get_args(kind))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    if kind is NoneType:
        return "none"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, str(kind))


def parse(text: str, kind: Any, *, where: str) -> Any:
    """What a person typed: a TOML value if it is one that fits, else plain text, else ``none``."""
    candidates: list[Any] = []
    with suppress(tomllib.TOMLDecodeError):
        candidates.append(frozen(tomllib.loads(f"x = {text}")["x"]))
    candidates.append(text)
    candidates.append(tuple(_number(t) for t in text.split(",")) if "," in text else text)
    candidates += [None] if text.lower() == "none" else []
    for value in candidates:
        if _fits(value, kind):
            return value
    return check_type(where, candidates[0], kind)


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text.strip()
