"""The application: routes, and nothing of what they do.

Whatever may wait (the book, the index, a child that decodes) runs in threads; the loop only
passes messages.  Every refusal is JSON, ``{"error": {"id", "text"}}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2s
from math import isfinite
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from handful.errors import InputError, StoreError
from handful.page import decisions, exporting, importing, schema, sharing, views
from handful.page.advice import advise
from handful.page.answers import decide
from handful.page.check import parsed
from handful.page.decoders import NOW
from handful.page.index import Row
from handful.page.openapi import PREFIX
from handful.page.project import Project
from handful.page.queue import MODES
from handful.page.routes import READS, WRITES, map_points
from handful.page.routes import number as _number
from handful.page.scan import Scanner
from handful.page.security import Door, Guard
from handful.page.stream import Stream
from handful.page.thumbs import SIDES
from handful.page.words import DISK_FULL, Refused, refuse
from handful.page.worker import Worker

__all__ = ["STATIC", "Site", "application"]

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
LARGEST_SIDE = 2048
EVERY_PIXEL = 16_383  # the longest side that WebP can hold
_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>handful</title>
<h1>The page of handful is not built here</h1>
<p>The server runs and your answers are safe, but the files of its page are missing.
They are made when handful is installed, with Node 20 or newer and the npm registry at hand.</p>
<p>In a copy of the source: <code>cd ui &amp;&amp; npm ci &amp;&amp; npm run build</code>,
then load this address again.</p>
</html>
"""


class Site:
    """One page: a project, the scanner of its folder, the stream, the built files.

    ``learns``: with the process that makes suggestions.
    """

    def __init__(
        self, project: Project, door: Door, static: Path = STATIC, *, learns: bool = False
    ) -> None:
        self.project, self.door, self.static = project, door, static
        self.scanner = Scanner(project)
        self.stream = Stream(self.payload)
        self.worker = Worker(project, self.scanner, self.tell) if learns else None

    def tell(self, what: str) -> None:
        """Something changed: to the pages, and to the process that learns."""
        self.stream.tell(what)
        if self.worker is not None:
            self.worker.wake()

    def payload(self, what: str) -> dict[str, Any] | None:
        """The data of an event of the stream."""
        if what == "counts":
            now = views.counts(self.project, self.scanner)
            return {"label_rev": self.project.rev, "counts": now}
        if what == "task":
            working = self.working
            tasks = [*views.tasks(self.scanner), *working["working"]]
            return {
                "tasks": tasks, "scanning": self.scanner.busy, "trouble": working["trouble"],
            }  # fmt: skip
        if what == "advice":
            return dict(advise(self.project, views.class_infos(self.project)))
        if what in ("model", "groups", "map", "features"):
            return dict(views.learned(self.project))
        if what == "people":
            return {"people": sharing.colleagues(self.project)}
        if what == "problems":
            return {"total": views.counts(self.project, self.scanner)["problems"]}
        return {"label_rev": self.project.rev}  # classes, scan: the page reads the state again

    @property
    def working(self) -> dict[str, Any]:
        """What the process that learns does, or why it does not."""
        worker = self.worker
        return {
            "working": [] if worker is None else worker.tasks,
            "trouble": None if worker is None else worker.trouble,
        }

    @asynccontextmanager
    async def open(self, _: Starlette) -> AsyncIterator[None]:
        """From the first request to the last."""
        self.stream.open()
        self.project.tell = self.tell
        self.scanner.start()
        if self.worker is not None:
            self.worker.start()
        try:
            yield
        finally:
            self.stream.close()
            if self.worker is not None:
                await run_in_threadpool(self.worker.close)
            await run_in_threadpool(self.scanner.close)

    def changed(self, *, classes: bool = False) -> dict[str, Any]:
        """What every write tells: counts, and what can be undone now."""
        also = ("people",) if self.project.people.several else ()
        for what in ("counts", *(("classes",) if classes else ()), *also):
            self.project.tell(what)
        return {
            "label_rev": self.project.rev,
            "counts": views.counts(self.project, self.scanner),
            "undo": views.done(self.project, self.project.done),
            "redo": views.done(self.project, self.project.redo),
        }


def application(site: Site) -> ASGIApp:
    """The application behind the rules of `handful.page.security`."""
    routes = [*_api(site), Route("/", partial(_front, site)), *_files(site.static)]
    app = Starlette(
        routes=routes,
        lifespan=site.open,
        exception_handlers={
            Refused: _refused, InputError: _bad_input, StoreError: _no_storage,
            HTTPException: _http, Exception: _failed,
        },
    )  # fmt: skip
    return Guard(app, site.door)


# ------------------------------------------------------------------ the API


def _api(site: Site) -> list[Route]:
    gets: Mapping[str, Callable[[Site, Request], Any]] = {
        "/state": _state, "/images": _images, "/images/{id}": _image, "/queue": _queue,
        "/history": _history, "/problems": _problems, "/export": _export_choices, **READS,
    }  # fmt: skip
    writes: Mapping[str, tuple[str, Any, Callable[..., Any]]] = {
        "/events": ("POST", list[schema.Decision], _events),
        "/undo": ("POST", schema.Undo, partial(_turn, kind="undone")),
        "/redo": ("POST", schema.Undo, partial(_turn, kind="redone")),
        "/classes": ("POST", schema.NewClass, _new_class),
        "/classes/{id}": ("PATCH", schema.ClassChange, partial(_class, decisions.change_class)),
        "/classes/{id}/merge": ("POST", schema.Merge, partial(_class, decisions.merge_class)),
        "/classes/{id}/archive": ("POST", schema.Archive, partial(_class, decisions.archive_class)),
        "/rescan": ("POST", schema.Rescan, _rescan),
        "/export": ("POST", schema.ExportOptions, _export),
        "/export/show": ("POST", schema.ExportShow, _export_show),
        "/import/part": ("POST", schema.ImportPart, _import_part),
        "/import/preview": ("POST", schema.ImportWanted, _import_preview),
        "/import": ("POST", schema.ImportAsked, _import),
        **WRITES,
    }
    return [
        *(Route(PREFIX + path, _read(site, act), methods=["GET"]) for path, act in gets.items()),
        *(
            Route(PREFIX + path, _write(site, kind, act), methods=[method])
            for path, (method, kind, act) in writes.items()
        ),
        Route(PREFIX + "/t/{id}/{side}", partial(_thumbnail, site)),
        Route(PREFIX + "/full/{id}", partial(_full, site)),
        Route(PREFIX + "/values/{id}", partial(_values, site)),
        Route(PREFIX + "/stream", partial(_stream, site)),
        Route(PREFIX + "/map", partial(_map, site)),
    ]


def _read(
    site: Site, act: Callable[[Site, Request], Any]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(act, site, request))

    return endpoint


def _write(
    site: Site, kind: Any, act: Callable[[Site, Request, Any], Any]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = parsed(await request.body(), kind)
        return JSONResponse(await run_in_threadpool(act, site, request, body))

    return endpoint


def _state(site: Site, _: Request) -> schema.State:
    people = sharing.people(site.project, site.door.link)
    return views.state(site.project, site.scanner, **site.working, people=people)


def _images(site: Site, request: Request) -> schema.Page:
    wanted = parsed(request.query_params.get("filter", "{}"), schema.Filter)
    sort = request.query_params.get("sort", "name")
    if sort not in ("name", "-name", "time", "-time"):
        raise InputError("sort is one of name, -name, time, -time")
    cursor = request.query_params.get("cursor")
    return views.images(site.project, wanted, sort, cursor, _number(request, "limit", 200, 500))


def _image(site: Site, request: Request) -> schema.Detail:
    return views.detail(site.project, request.path_params["id"])


def _queue(site: Site, request: Request) -> schema.Queue:
    mode = request.query_params.get("mode", "random")
    if mode not in MODES:
        raise InputError(f"mode is one of {', '.join(MODES)}")
    n, cursor = _number(request, "n", 20, 100), request.query_params.get("cursor")
    return sharing.shared(site.project, n, mode, cursor)


def _history(site: Site, request: Request) -> schema.History:
    cursor = request.query_params.get("cursor")
    return views.history(site.project, cursor, _number(request, "limit", 50, 200))


def _problems(site: Site, request: Request) -> schema.Problems:
    cursor, limit = request.query_params.get("cursor"), _number(request, "limit", 200, 500)
    return views.problems(site.project, site.scanner, cursor, limit)


def _events(site: Site, _: Request, body: list[schema.Decision]) -> dict[str, Any]:
    if not 1 <= len(body) <= 100:
        raise InputError("1 to 100 decisions at a time")
    results = decide(site.project, body)
    made = any("name" in decision for decision in body)
    return {"results": results, **site.changed(classes=made)}


def _turn(site: Site, _: Request, body: schema.Undo, *, kind: str) -> dict[str, Any]:
    took = decisions.turn(site.project, kind, body["id"])
    event = None if took.event is None else views.line(site.project, took.event)
    about_classes = took.event is not None and took.event.kind.startswith("class_")
    return {
        "event": event,
        "text": took.text,
        "affected": took.affected,
        "kept": took.kept,
        **site.changed(classes=about_classes),
    }


def _new_class(site: Site, _: Request, body: schema.NewClass) -> dict[str, Any]:
    return _class_made(site, *decisions.make_class(site.project, body))


def _class(
    change: Callable[[Project, int, Any], tuple[Any, int]], site: Site, request: Request, body: Any
) -> dict[str, Any]:
    text = request.path_params["id"]
    if not text.isdecimal() or len(text) > 9:
        refuse("class", "There is no such class. Nothing was done.", status=404)
    return _class_made(site, *change(site.project, int(text), body))


def _class_made(site: Site, made: Any, moved: int) -> dict[str, Any]:
    said = site.changed(classes=True)
    del said["counts"]
    infos = views.class_infos(site.project)
    return {"class": infos[made.id], "classes": infos, "moved": moved, **said}


def _rescan(site: Site, _: Request, body: schema.Rescan) -> schema.RescanStarted:
    found = [site.project.index.find(id) for id in body.get("ids", [])]
    return {"started": site.scanner.again([row for row in found if row is not None])}


def _export_choices(site: Site, _: Request) -> schema.ExportChoices:
    return exporting.choices(site.project)


def _export(site: Site, _: Request, body: schema.ExportOptions) -> schema.ExportDone:
    return exporting.export(site.project, body)


def _export_show(site: Site, _: Request, body: schema.ExportShow) -> schema.ExportShown:
    return exporting.show(site.project)


def _import_part(site: Site, _: Request, body: schema.ImportPart) -> schema.ImportPartDone:
    return importing.take_part(site.project, body)


def _import_preview(site: Site, _: Request, body: schema.ImportWanted) -> schema.ImportPreview:
    return importing.preview(site.project, body)


def _import(site: Site, _: Request, body: schema.ImportAsked) -> dict[str, Any]:
    n = importing.import_labels(site.project, body)
    said = site.changed(classes=True)
    return {"imported": n, "classes": views.class_infos(site.project), **said}


# ------------------------------------------------------------------ pictures and the stream


async def _thumbnail(site: Site, request: Request) -> Response:
    side = request.path_params["side"]
    if side not in map(str, SIDES):
        refuse("request", f"A thumbnail has a side of {', '.join(map(str, SIDES))}.", status=404)
    row = await _row(site, request)
    if row.sha256:
        body = await run_in_threadpool(site.project.thumbs.get, row.sha256, int(side))
        if body is not None:
            return _picture(request, row.sha256, side, body)
    reading = await _shown(site, row, int(side))
    await run_in_threadpool(site.project.thumbs.put, reading.sha256, int(side), reading.body)
    return _picture(request, reading.sha256, side, reading.body)


async def _full(site: Site, request: Request) -> Response:
    every = request.query_params.get("px") == "1"
    page, more = _wanted(request)
    row = await _row(site, request)
    side = EVERY_PIXEL if every else LARGEST_SIDE
    reading = await _shown(site, row, side, page, **more)
    form = "-".join(map(str, [side, page, *(json.dumps(more[name]) for name in sorted(more))]))
    return _picture(request, reading.sha256, blake2s(form.encode()).hexdigest()[:16], reading.body)


def _wanted(request: Request) -> tuple[int, dict[str, Any]]:
    """Page, channel and contrast of a picture: what is shown of it, and how."""
    asked = request.query_params
    more: dict[str, Any] = {}
    if "channel" in asked:
        more["channel"] = _number(request, "channel", 0, 9_999, low=0)
    contrast: dict[str, Any] = {
        name: asked[name] == "1" for name in ("auto", "invert") if asked.get(name) in ("0", "1")
    }
    if "low" in asked or "high" in asked:
        low, high = (_real(asked.get(name, "")) for name in ("low", "high"))
        if not low < high:
            raise InputError("low is less than high")
        contrast |= {"low": low, "high": high}
    if contrast:
        more["contrast"] = contrast
    return _number(request, "page", 0, 999_999, low=0), more


def _real(text: str) -> float:
    try:
        found = float(text) if len(text) <= 30 else float("nan")
    except ValueError:
        found = float("nan")
    if not isfinite(found):
        raise InputError("low and high are numbers, both of them")
    return found


async def _values(site: Site, request: Request) -> Response:
    """What there is to see of a picture; nothing that could lead an answer."""
    page, more = _wanted(request)
    row = await _row(site, request)
    reading = await _shown(site, row, SIDES[0], page, measure=True, **more)
    found: schema.Values = {
        "page": page, "pages": reading.pages, "channels": reading.channels, "w": reading.w,
        "h": reading.h, "bits": reading.bits, "least": reading.least, "most": reading.most,
        "low": reading.low, "high": reading.high,
    }  # fmt: skip
    return JSONResponse(found)


async def _row(site: Site, request: Request) -> Row:
    row = await run_in_threadpool(site.project.index.find, request.path_params["id"])
    if row is None:
        refuse("gone", "There is no such picture.", status=404)
    if row.problem is not None and row.looked:
        refuse(row.problem, row.reason or "", status=404)
    return row


async def _shown(site: Site, row: Row, side: int, page: int = 0, **more: Any) -> Any:
    future = site.project.decoders.read(row.path, side=side, page=page, rank=NOW, **more)
    reading = await asyncio.wrap_future(future)
    part = page or "channel" in more
    if not part:  # a page too far is no fault of the file
        await run_in_threadpool(site.project.took, row, reading)
    if reading.problem is not None and part:
        refuse("part", "This picture has no such page or channel.", status=404)
    if reading.problem is not None:
        refuse(*reading.problem, status=404)
    return reading


def _picture(request: Request, sha256: str, form: str, body: bytes) -> Response:
    fixed = request.query_params.get("v") == sha256[:16]
    tag = f'"{sha256}-{form}"'
    headers = {
        "etag": tag,
        "cache-control": f"private, {'max-age=31536000, immutable' if fixed else 'no-cache'}",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(body, 200, headers, "image/webp")


async def _map(site: Site, request: Request) -> Response:
    return await run_in_threadpool(map_points, site, request)


async def _stream(site: Site, request: Request) -> Response:
    events = site.stream.events(request.headers.get("last-event-id"))
    return StreamingResponse(events, media_type="text/event-stream")


# ------------------------------------------------------------------ the built files


async def _front(site: Site, _: Request) -> Response:
    front = site.static / "index.html"
    if not front.is_file():
        return HTMLResponse(_NOT_BUILT, 503)
    return FileResponse(front, headers={"cache-control": "no-cache"})


def _files(static: Path) -> list[Route]:
    """One route a file that is there now: no path of a request ever reaches the disk."""
    routes = []
    for path in sorted(static.rglob("*")) if static.is_dir() else ():
        name = path.relative_to(static).as_posix()
        if path.is_file() and name != "index.html":
            hashed = name.startswith("assets/")
            age = "private, max-age=31536000, immutable" if hashed else "no-cache"

            async def endpoint(_: Request, path: Path = path, age: str = age) -> Response:
                return FileResponse(path, headers={"cache-control": age})

            routes.append(Route(f"/static/{name}", endpoint))
    return routes


# ------------------------------------------------------------------ refusals


def _failure(status: int, failure: Mapping[str, Any]) -> Response:
    return JSONResponse({"error": failure}, status)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _failure(error.status, error.failure)


async def _bad_input(_: Request, error: Exception) -> Response:
    text = str(error).encode("utf-8", "backslashreplace").decode()
    return _failure(400, {"id": "request", "text": text[:300]})


async def _no_storage(_: Request, error: Exception) -> Response:
    log.error("%s", error)
    if "disk is full" in str(error):
        return _failure(507, {"id": "E4", "text": DISK_FULL})
    return _failure(503, {"id": "storage", "text": "The answer could not be stored. Try again."})


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _failure(error.status_code, {"id": "request", "text": error.detail})


async def _failed(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return _failure(500, {"id": "failed", "text": "handful failed here; nothing was stored."})
