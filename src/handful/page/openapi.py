"""The document of the API, made from the types of `schema`: OpenAPI 3.1.

The front end's types are generated from it; a test compares it with the file in ``ui/``.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, is_typeddict

from handful.page import schema
from handful.page.check import fields_of
from handful.page.schema import BoundTo

__all__ = ["PREFIX", "ROUTES", "Route", "document"]

PREFIX = "/api/v1"


class Route(NamedTuple):
    """One way to ask: ``takes`` is the body, ``gives`` the answer, ``query`` name -> meaning."""

    method: Literal["GET", "POST", "PATCH"]
    path: str
    name: str
    text: str
    gives: Any
    takes: Any = None
    query: tuple[tuple[str, str], ...] = ()


_PART = (("page", "of a TIFF, from 0"), ("channel", "of several, from 0"))
ROUTES = (
    Route("GET", "/state", "state", "Everything around the work.", schema.State),
    Route(
        "GET", "/images", "images", "A page of pictures, without offsets.", schema.Page,
        query=(
            ("filter", "JSON, see Filter"), ("sort", "name, -name, time or -time"),
            ("cursor", "from the page before"), ("limit", "1 to 500, default 200"),
        ),
    ),
    Route("GET", "/images/{id}", "image", "One picture in full.", schema.Detail),
    Route(
        "GET", "/queue", "queue", "What to answer next.", schema.Queue,
        query=(
            ("n", "1 to 100, default 20"),
            ("mode", "useful, random, later, unsure, audit or first; default random"),
            ("cursor", "from the queue before"),
        ),
    ),
    Route("POST", "/events", "events", "Up to 100 decisions.", schema.Answered,
          list[schema.Decision]),
    Route("POST", "/undo", "undo", "Take the last decision back.", schema.Undone, schema.Undo),
    Route("POST", "/redo", "redo", "Do it again.", schema.Undone, schema.Undo),
    Route("GET", "/history", "history", "Events in words.", schema.History,
          query=(("cursor", "from the page before"), ("limit", "1 to 200, default 50"))),
    Route("POST", "/classes", "newClass", "Make a class.", schema.ClassMade, schema.NewClass),
    Route("PATCH", "/classes/{id}", "changeClass", "Name, key, look.", schema.ClassMade,
          schema.ClassChange),
    Route("POST", "/classes/{id}/merge", "mergeClass", "Into another class.", schema.ClassMade,
          schema.Merge),
    Route("POST", "/classes/{id}/archive", "archiveClass", "Its pictures become open.",
          schema.ClassMade, schema.Archive),
    Route("GET", "/problems", "problems", "Files that cannot be used.", schema.Problems,
          query=(("cursor", "from the page before"), ("limit", "1 to 500, default 200"))),
    Route("POST", "/rescan", "rescan", "Look at the folder again.", schema.RescanStarted,
          schema.Rescan),
    Route("GET", "/export", "exportChoices", "What can be written.", schema.ExportChoices),
    Route("POST", "/export", "export", "Write files.", schema.ExportDone, schema.ExportOptions),
    Route("POST", "/export/show", "exportShow", "Open the folder of the last export.",
          schema.ExportShown, schema.ExportShow),
    Route("POST", "/import/part", "importPart", "A piece of a label file.",
          schema.ImportPartDone, schema.ImportPart),
    Route("POST", "/import/preview", "importPreview", "What a label file would change.",
          schema.ImportPreview, schema.ImportWanted),
    Route("POST", "/import", "importLabels", "Change it.", schema.ImportDone,
          schema.ImportAsked),
    Route(
        "GET", "/groups", "groups", "Groups that have something open.", schema.Groups,
        query=(
            ("cursor", "from the page before"), ("limit", "1 to 100, default 20"),
            ("rev", "of the groups, while it is kept"), ("done", "1: those that are done"),
        ),
    ),
    Route("POST", "/groups/{id}/halve", "halveGroup", "Two groups in its place.",
          schema.GroupsChanged, schema.GroupAct),
    Route("POST", "/groups/{id}/aside", "asideGroup", "Out of the list, or to its end.",
          schema.GroupsChanged, schema.Aside),
    Route("POST", "/groups/merge", "mergeGroups", "One group in place of several.",
          schema.GroupsChanged, schema.GroupMerge),
    Route("POST", "/groups/regroup", "regroup", "Group what is open anew.",
          schema.RegroupStarted, schema.Regroup),
    Route("GET", "/audit", "audit", "The blind check as it stands.", schema.Audit),
    Route("POST", "/audit/close", "closeAudit", "Close it: the number.", schema.Audit,
          schema.AuditClosed),
    Route("POST", "/audit/more", "moreAudit", "Ask 150 more.", schema.Audit,
          schema.AuditClosed),
    Route("GET", "/audit/mistakes", "mistakes", "Blind answers that differ; after closing.",
          schema.Mistakes),
    Route(
        "GET", "/review", "review", "Labels that may be wrong.", schema.Review,
        query=(
            ("kind", "errors, cell:LABEL:TO or audit:LABEL:TO; an id or none"),
            ("cursor", "from the page before"), ("limit", "1 to 100, default 20"),
        ),
    ),
    Route("GET", "/disagreements", "disagreements", "What two people said of one picture.",
          schema.Disagreements,
          query=(("cursor", "from the page before"), ("limit", "1 to 100, default 20"))),
    Route("GET", "/confusion", "confusion", "Labels against suggestions.", schema.Confusion),
    Route("POST", "/accept/preview", "acceptPreview", "Freeze what would be accepted.",
          schema.AcceptPreview, schema.AcceptAsked),
    Route("POST", "/accept/check", "acceptCheck", "What its sample says.",
          schema.AcceptChecked, schema.AcceptCheck),
    Route("POST", "/accept", "accept", "Accept it.", schema.Accepted, schema.Accept),
    Route("POST", "/like", "like", "More like these.", schema.Alikes, schema.AlikeAsked),
    Route("GET", "/map", "map", "Points as bytes, see handful.page.points.", None,
          query=(("rev", "of the map, while it is kept"), ("part", "all or labels"))),
    Route(
        "GET", "/map/ids", "mapIds", "Ids of points, a stretch of them.", schema.MapIds,
        query=(
            ("rev", "of the map, while it is kept"), ("start", "from 0"),
            ("n", "1 to 20,000, the default"),
        ),
    ),
    Route("GET", "/settings", "settings", "Goal, features, name.", schema.Settings),
    Route("PATCH", "/settings", "changeSettings", "One of them.", schema.SettingsChanged,
          schema.SettingsChange),
    Route("GET", "/t/{id}/{side}", "thumbnail", "WebP; side 96, 192 or 384.", None,
          query=(("v", "of the content"),)),
    Route("GET", "/full/{id}", "full", "WebP of at most 2048 pixels a side.", None,
          query=(("v", "of the content"), ("px", "1: every pixel"), *_PART,
                 ("low", "value that is black"), ("high", "value that is white"),
                 ("auto", "1 or 0: between the percentiles 0.5 and 99.5; default 1 from 9 bits"),
                 ("invert", "1: inverted"))),
    Route("GET", "/values/{id}", "values", "What there is to see of a picture.", schema.Values,
          query=_PART),
    Route("GET", "/stream", "stream", "Server-sent events: counts, classes, task, problems,"
          " features, groups, model, map, advice, people, resync, bye.", None),
)  # fmt: skip


def document() -> dict[str, Any]:
    """The whole document, ready for JSON."""
    found: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, found)
    for name in schema.__all__:  # what the stream sends and a query holds is in no route
        if is_typeddict(kind := getattr(schema, name)):
            form(kind, found)
    return {
        "openapi": "3.1.0",
        "info": {"title": "handful: the labelling page", "version": "1"},
        "paths": paths,
        "components": {"schemas": dict(sorted(found.items()))},
    }


def _operation(route: Route, found: dict[str, Any]) -> dict[str, Any]:
    refused = {"application/json": {"schema": form(schema.Failed, found)}}
    answer: dict[str, Any] = {"description": "as asked"}
    if route.gives is not None:
        answer["content"] = {"application/json": {"schema": form(route.gives, found)}}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.text,
        "responses": {
            "200": answer,
            "default": {"description": "refused", "content": refused},
        },
    }
    named = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in named
    ] + [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.takes is not None:
        body = {"schema": form(route.takes, found)}
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def form(kind: Any, found: dict[str, Any], bound: BoundTo | None = None) -> dict[str, Any]:
    """A type as JSON Schema; records land in ``found`` and are referred to."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, limit = get_args(kind)
        return form(inner, found, limit)
    if origin in (Union, UnionType):
        return {"anyOf": [form(k, found) for k in get_args(kind)]}
    if origin is Literal:
        return {"enum": list(get_args(kind))}
    if origin is list:
        limits = {"minItems": bound.low, "maxItems": bound.high} if bound else {}
        return {"type": "array", "items": form(get_args(kind)[0], found)} | limits
    if origin is dict:
        return {"type": "object", "additionalProperties": form(get_args(kind)[1], found)}
    if is_typeddict(kind):
        if kind.__name__ not in found:
            found[kind.__name__] = {}  # a record that holds itself ends here
            found[kind.__name__] = _record(kind, found)
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    if kind is str:
        limits = {"minLength": bound.low, "maxLength": bound.high} if bound else {}
        return (
            {"type": "string"}
            | limits
            | ({"pattern": f"^{bound.form}$"} if bound and bound.form else {})
        )
    if kind is int:
        return {"type": "integer"} | (
            {"minimum": bound.low, "maximum": bound.high} if bound else {}
        )
    if kind is float and bound:
        return {"type": "number", "minimum": bound.low, "maximum": bound.high}
    return {"type": {float: "number", bool: "boolean", NoneType: "null"}[kind]}


def _record(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    fields = fields_of(kind)
    record: dict[str, Any] = {
        "type": "object",
        "properties": {name: form(hint, found) for name, (hint, _) in fields.items()},
        "required": [name for name, (_, required) in fields.items() if required],
        "additionalProperties": False,
    }
    own = (kind.__doc__ or "").strip()
    if own and not own.startswith("dict("):
        record["description"] = own.partition("\n\n")[0].replace("\n    ", " ")
    return record
