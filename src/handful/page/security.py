"""Who may ask: only the browser window that handful opened, on this machine.

With ``--lan`` other devices as well: each shows the token of the invitation once, and each
gets a cookie of its own, by which the page knows who speaks.

::

    Host     one of our own names         else 403: no other site's name leads here
    token    in the address, once         swapped for a cookie, the address cleaned
    cookie   on everything else           else 403, thumbnails included
    writes   own Origin, X-Handful: 1, JSON, at most 4 MB
    answers  no script but our own, nothing in a frame, nothing guessed, nothing told

Plain ASGI, around the whole application.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handful.page.people import HOST, People
from handful.page.words import WRONG_DOOR

__all__ = ["CSP", "LARGEST_BODY", "Door", "Guard"]

LARGEST_BODY = 4 << 20
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_READS = {"GET", "HEAD"}
_REMEMBERED = 90 * 86_400  # seconds that a device stays let in


class Door:
    """The secrets of one run of the page: a session, and tokens that each open it once.

    ``knock`` is what a second start of the same folder shows to be given a token.
    ``lan``: the address of this machine under which other devices reach the page; ``people``
    then knows the browsers that were let in.
    """

    def __init__(self, port: int, *, lan: str | None = None, people: People | None = None) -> None:
        self.port, self.lan, self.people = port, lan, people
        self.invitation = secrets.token_urlsafe(32)  # good as long as the page runs
        self.session = secrets.token_urlsafe(32)
        self.knock = secrets.token_urlsafe(32)
        self._tokens: set[str] = set()

    @property
    def cookie(self) -> str:
        """Cookies ignore ports, so the name carries it."""
        return f"handful-{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """Names under which this server is itself."""
        names = ["127.0.0.1", "localhost", "[::1]", *([self.lan] if self.lan else [])]
        return frozenset(f"{name}:{self.port}" for name in names)

    @property
    def link(self) -> str | None:
        """What other devices open; None: no other device may."""
        return f"http://{self.lan}:{self.port}/?token={self.invitation}" if self.lan else None

    def token(self) -> str:
        """A new token, good for one use."""
        token = secrets.token_urlsafe(32)
        self._tokens.add(token)
        return token

    def use(self, token: str) -> bool:
        """Whether a token is good; it is none from now on."""
        found = [t for t in self._tokens if hmac.compare_digest(t.encode(), token.encode())]
        self._tokens.difference_update(found)
        return bool(found)

    def invites(self, token: str) -> bool:
        """Whether a token is the one that other devices show."""
        return self.lan is not None and hmac.compare_digest(
            token.encode(), self.invitation.encode()
        )

    def knows(self, headers: Headers) -> str | None:
        """The session whose cookie a request carries; None: it carries none."""
        jar = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            return None
        morsel = jar.get(self.cookie)
        if morsel is None:
            return None
        if hmac.compare_digest(morsel.value.encode(), self.session.encode()):
            return HOST
        return self.people.session(morsel.value) if self.lan and self.people else None


class Guard:
    """The rules above around an application."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets here

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is not None:
            await answer(scope, receive, dressed)
            return
        if scope["method"] not in _READS:
            body = await _body(receive)
            if body is None:
                await _no(413, "too-large", "The request is larger than 4 MB.")(
                    scope, receive, dressed
                )
                return
            receive = _again(body)
        if self.door.people is not None:
            self.door.people.speaks(self.door.knows(headers) or "")
        await self.app(scope, receive, dressed)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Why a request goes no further; None: it may."""
        door = self.door
        if headers.get("host", "").lower() not in door.hosts or len(headers.getlist("host")) != 1:
            return _wrong_door(scope)
        if scope["path"] == "/" and scope["method"] == "GET" and b"token=" in scope["query_string"]:
            return self._swap(scope, headers)
        if scope["path"] == "/knock":
            return self._knocked(scope, headers)
        if not door.knows(headers):
            return _wrong_door(scope)
        if scope["method"] in _READS:
            return None
        if not self._own_page(headers) or headers.get("x-handful") != "1":
            return _no(403, "E15", WRONG_DOOR)
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _no(415, "request", "Requests that write are JSON.")
        return None

    def _swap(self, scope: Scope, headers: Headers) -> Response:
        """The token for the cookie; the address is clean afterwards."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        answer = RedirectResponse("/", 303)
        if self.door.use(given):
            secret, age = self.door.session, None
        elif self.door.knows(headers):
            return answer
        elif self.door.invites(given) and self.door.people is not None:
            secret, age = self.door.people.enter(), _REMEMBERED
        else:
            return _wrong_door(scope)
        answer.set_cookie(self.door.cookie, secret, age, path="/", httponly=True, samesite="strict")
        return answer

    def _knocked(self, scope: Scope, headers: Headers) -> Response:
        """A second start, which can read the project's files, gets a token for its browser."""
        shown = headers.get("x-handful-knock", "")
        if scope["method"] != "POST" or not hmac.compare_digest(
            shown.encode("latin-1", "replace"), self.door.knock.encode()
        ):
            return _wrong_door(scope)
        return JSONResponse({"token": self.door.token(), "link": self.door.link})

    def _own_page(self, headers: Headers) -> bool:
        """Whether a write comes from our own page."""
        origin = headers.get("origin")
        if origin is not None:
            return origin.lower() in {f"http://{host}" for host in self.door.hosts}
        return headers.get("sec-fetch-site") == "same-origin"


def _no(status: int, id: str, text: str) -> Response:
    return JSONResponse({"error": {"id": id, "text": text}}, status)


def _wrong_door(scope: Scope) -> Response:
    if scope["path"].startswith("/api/"):
        return _no(403, "E15", WRONG_DOOR)
    page = f"<!doctype html><meta charset=utf-8><title>handful</title><p>{WRONG_DOOR}</p>"
    return HTMLResponse(page, 403)


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
