"""Routes of what is learned: groups, the blind check, review, likeness, the map, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from handful.errors import InputError
from handful.page import (
    accept,
    alike,
    audit,
    groups,
    points,
    review,
    schema,
    settings,
    sharing,
    views,
)
from handful.page.advice import advise
from handful.page.words import refuse

if TYPE_CHECKING:
    from handful.page.server import Site

__all__ = ["READS", "WRITES", "map_points", "number"]


def number(request: Request, name: str, default: int, high: int, low: int = 1) -> int:
    """A whole number of the query; `InputError` where it is none or out of bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9 or not low <= int(text) <= high:
        raise InputError(f"{name} is a whole number from {low} to {high}")
    return int(text)


def _rev(request: Request) -> int | None:
    return number(request, "rev", 0, 999_999_999) or None


# ------------------------------------------------------------------ groups


def _groups(site: Site, request: Request) -> schema.Groups:
    done = request.query_params.get("done") == "1"
    cursor = request.query_params.get("cursor")
    limit = number(request, "limit", 20, 100)
    return groups.groups(site.project, _rev(request), cursor, limit, done=done)


def _group(request: Request) -> str:
    id: str = request.path_params["id"]
    parts = id.split(".")
    fits = len(parts) >= 2 and len(id) <= 60 and parts[0].isdecimal()
    if not fits or not all(part.removeprefix("m").isdecimal() for part in parts[1:]):
        refuse("group", "There is no such group. Nothing was done.", status=404)
    return id


def _changed(site: Site, made: tuple[list[schema.Group], int]) -> dict[str, Any]:
    said = site.changed()
    del said["counts"]
    return {"items": made[0], "total": made[1], **said}


def _halve(site: Site, request: Request, body: schema.GroupAct) -> dict[str, Any]:
    return _changed(site, groups.halve(site.project, _group(request), body["id"]))


def _aside(site: Site, request: Request, body: schema.Aside) -> dict[str, Any]:
    made = groups.aside(site.project, _group(request), body["id"], body["why"])
    return _changed(site, made)


def _merge(site: Site, _: Request, body: schema.GroupMerge) -> dict[str, Any]:
    return _changed(site, groups.merge(site.project, body))


def _regroup(site: Site, _: Request, body: schema.Regroup) -> schema.RegroupStarted:
    return {"started": site.worker is not None and site.worker.regroup()}


# ------------------------------------------------------------------ the blind check


def _audit(site: Site, _: Request) -> schema.Audit:
    return audit.audit(site.project)


def _audit_close(site: Site, _: Request, body: schema.AuditClosed) -> schema.Audit:
    made = audit.close(site.project, body["id"])
    site.changed()
    return made


def _audit_more(site: Site, _: Request, body: schema.AuditClosed) -> schema.Audit:
    made = audit.more(site.project, body["id"])
    site.changed()
    return made


def _mistakes(site: Site, _: Request) -> schema.Mistakes:
    return audit.mistakes(site.project)


# ------------------------------------------------------------------ review, acceptance


def _review(site: Site, request: Request) -> schema.Review:
    kind, cursor = request.query_params.get("kind", "errors"), request.query_params.get("cursor")
    return review.review(site.project, kind, cursor, number(request, "limit", 20, 100))


def _disagreements(site: Site, request: Request) -> schema.Disagreements:
    limit = number(request, "limit", 20, 100)
    return sharing.disagreements(site.project, request.query_params.get("cursor"), limit)


def _confusion(site: Site, _: Request) -> schema.Confusion:
    return review.confusion(site.project)


def _preview(site: Site, _: Request, body: schema.AcceptAsked) -> schema.AcceptPreview:
    return accept.preview(site.project, body)


def _check(site: Site, _: Request, body: schema.AcceptCheck) -> schema.AcceptChecked:
    return accept.check(site.project, body)


def _accept(site: Site, _: Request, body: schema.Accept) -> dict[str, Any]:
    n = accept.accept(site.project, body)
    stored = site.project.book.find(body["id"])
    return {"n": n, "seq": 0 if stored is None else stored.seq, **site.changed(classes=True)}


# ------------------------------------------------------------------ likeness, map, settings


def _like(site: Site, _: Request, body: schema.AlikeAsked) -> schema.Alikes:
    return alike.alike(site.project, body)


def map_points(site: Site, request: Request) -> Response:
    """The map as bytes; see `handful.page.points`."""
    part = request.query_params.get("part", "all")
    if part not in ("all", "labels"):
        raise InputError("part is all or labels")
    body = points.points(site.project, _rev(request), labels_only=part == "labels")
    return Response(body, media_type="application/octet-stream")


def _map_ids(site: Site, request: Request) -> schema.MapIds:
    start = number(request, "start", 0, 999_999_999, low=0)
    n = number(request, "n", points.AT_ONCE, points.AT_ONCE)
    return points.map_ids(site.project, _rev(request), start, n)


def _settings(site: Site, _: Request) -> schema.Settings:
    return settings.settings(site.project)


def _change(site: Site, _: Request, body: schema.SettingsChange) -> dict[str, Any]:
    settings.change_settings(site.project, body)
    said = site.changed()
    for what in ("advice", "classes"):
        site.project.tell(what)
    infos = views.class_infos(site.project)
    return {
        "settings": settings.settings(site.project),
        "advice": advise(site.project, infos),
        "label_rev": said["label_rev"],
        "undo": said["undo"],
        "redo": said["redo"],
    }


READS: Mapping[str, Callable[[Any, Request], Any]] = {
    "/groups": _groups, "/audit": _audit, "/audit/mistakes": _mistakes, "/review": _review,
    "/disagreements": _disagreements, "/confusion": _confusion, "/map/ids": _map_ids,
    "/settings": _settings,
}  # fmt: skip
WRITES: Mapping[str, tuple[str, Any, Callable[..., Any]]] = {
    "/groups/regroup": ("POST", schema.Regroup, _regroup),
    "/groups/merge": ("POST", schema.GroupMerge, _merge),
    "/groups/{id}/halve": ("POST", schema.GroupAct, _halve),
    "/groups/{id}/aside": ("POST", schema.Aside, _aside),
    "/audit/close": ("POST", schema.AuditClosed, _audit_close),
    "/audit/more": ("POST", schema.AuditClosed, _audit_more),
    "/accept/preview": ("POST", schema.AcceptAsked, _preview),
    "/accept/check": ("POST", schema.AcceptCheck, _check),
    "/accept": ("POST", schema.Accept, _accept),
    "/like": ("POST", schema.AlikeAsked, _like),
    "/settings": ("PATCH", schema.SettingsChange, _change),
}
