"""Each rule of the door: who is let in, who is not, and that nothing is told to the latter."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from handful.page.openapi import PREFIX, ROUTES
from handful.page.security import CSP, LARGEST_BODY
from handful.page.serve import _listening

WRONG_DOOR = "Open handful from its own window. (Token missing or old.)"


def ask(
    port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


class TestTheToken:
    def test_it_is_swapped_once_for_a_cookie_and_the_address_is_cleaned(self, steady: Any) -> None:
        token = steady.site.door.token()
        status, headers, _ = ask(steady.port, f"/?token={token}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert cookie.startswith(f"handful-{steady.port}=")
        assert {"httponly", "samesite=strict", "path=/"} <= {
            part.strip().lower() for part in cookie.split(";")
        }
        assert ask(steady.port, f"/?token={token}")[0] == 403  # it was good once
        own = cookie.partition(";")[0]
        assert ask(steady.port, "/", Cookie=own)[0] == 503  # in, though nothing is built
        assert ask(steady.port, f"/?token={token}", Cookie=own)[0] == 303  # a reload does no harm

    def test_tokens_and_cookies_cannot_be_guessed(self, steady: Any) -> None:
        door = steady.site.door
        assert len({door.token() for _ in range(50)} | {door.session, door.knock}) == 52
        assert len(door.session) >= 43  # 256 bits

    @pytest.mark.parametrize("cookie", ["", "x", "handful=1", 'a="', "handful-{port}={session}x"])
    def test_nobody_gets_in_without(self, steady: Any, cookie: str) -> None:
        cookie = cookie.format(port=steady.port, session=steady.site.door.session)
        status, _, body = ask(steady.port, f"{PREFIX}/state", Cookie=cookie)
        assert status == 403
        assert json.loads(body) == {"error": {"id": "E15", "text": WRONG_DOOR}}
        status, headers, body = ask(steady.port, "/", Cookie=cookie)
        assert status == 403
        assert headers["content-type"].startswith("text/html")
        assert WRONG_DOOR.encode() in body

    def test_a_cookie_of_another_port_is_none(self, steady: Any) -> None:
        cookie = f"handful-{steady.port + 1}={steady.site.door.session}"
        assert ask(steady.port, f"{PREFIX}/state", Cookie=cookie)[0] == 403

    @pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.name)
    def test_every_route_is_behind_it(self, steady: Any, route: Any) -> None:
        path = PREFIX + route.path.replace("{id}", "0").replace("{side}", "96")
        headers = {"X_Handful": "1", "Content_Type": "application/json"}
        assert ask(steady.port, path, route.method, b"{}", **headers)[0] == 403


class TestTheHost:
    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]", ""],
    )
    def test_a_name_that_is_not_ours(self, steady: Any, host: str) -> None:
        """Another site's name may be made to lead to this machine; its pages get nothing."""
        client = steady.client()
        headers = {"Host": host.format(port=steady.port), "Cookie": client.cookie}
        assert ask(steady.port, f"{PREFIX}/state", **headers)[0] in (400, 403)
        token = steady.site.door.token()
        assert ask(steady.port, f"/?token={token}", Host="evil.example")[0] == 403

    @pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}"])
    def test_our_own_names(self, steady: Any, host: str) -> None:
        headers = {"Host": host.format(port=steady.port), "Cookie": steady.client().cookie}
        assert ask(steady.port, f"{PREFIX}/state", **headers)[0] == 200


class TestWrites:
    def headers(self, steady: Any, **more: str) -> dict[str, str]:
        return {
            "Cookie": steady.client().cookie, "Origin": f"http://127.0.0.1:{steady.port}",
            "X_Handful": "1", "Content_Type": "application/json", **more,
        }  # fmt: skip

    def test_our_own_page_may(self, steady: Any) -> None:
        assert ask(steady.port, f"{PREFIX}/rescan", "POST", b"{}", **self.headers(steady))[0] == 200
        headers = self.headers(steady, Sec_Fetch_Site="same-origin")
        del headers["Origin"]
        assert ask(steady.port, f"{PREFIX}/rescan", "POST", b"{}", **headers)[0] == 200

    @pytest.mark.parametrize(
        "wrong",
        [
            {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""},
            {"Origin": "http://127.0.0.1:1"}, {"Origin": "https://127.0.0.1:{port}"},
            {"Origin": None}, {"Origin": None, "Sec_Fetch_Site": "cross-site"},
            {"Origin": None, "Sec_Fetch_Site": "same-site"}, {"X_Handful": None},
            {"X_Handful": "0"},
        ],
    )  # fmt: skip
    def test_no_other_page_may(self, steady: Any, wrong: dict[str, str | None]) -> None:
        headers = self.headers(steady)
        for name, value in wrong.items():
            if value is None:
                headers.pop(name, None)
            else:
                headers[name] = value.format(port=steady.port)
        length = len(steady.project.book)
        body = b'{"id": "t.1", "name": "a", "seen_rev": 0}'
        assert ask(steady.port, f"{PREFIX}/classes", "POST", body, **headers)[0] == 403
        assert len(steady.project.book) == length

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_a_form_of_another_page_is_no_json(self, steady: Any, kind: str) -> None:
        headers = self.headers(steady, Content_Type=kind)
        assert ask(steady.port, f"{PREFIX}/rescan", "POST", b"{}", **headers)[0] == 415

    def test_four_megabytes_are_enough(self, steady: Any) -> None:
        body = b" " * LARGEST_BODY + b"{}"
        status, _, said = ask(steady.port, f"{PREFIX}/rescan", "POST", body, **self.headers(steady))
        assert (status, json.loads(said)["error"]["id"]) == (413, "too-large")


class TestWhatIsSent:
    @pytest.mark.parametrize(
        "path", ["/", f"{PREFIX}/state", f"{PREFIX}/nowhere", f"{PREFIX}/t/0/96", "/static/x.js"]
    )
    @pytest.mark.parametrize("known", [True, False])
    def test_every_answer_is_dressed(self, steady: Any, path: str, known: bool) -> None:
        cookie = steady.client().cookie if known else "no=1"
        _, headers, _ = ask(steady.port, path, Cookie=cookie)
        assert headers["content-security-policy"] == CSP
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "cache-control" in headers

    def test_the_policy_lets_nothing_else_run(self) -> None:
        rules = dict(rule.strip().split(" ", 1) for rule in CSP.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == rules["form-action"] == rules["base-uri"] == "'none'"
        assert "unsafe" not in CSP

    @pytest.mark.parametrize(
        "path",
        [
            "/t/../../secret.txt", "/t/..%2f..%2fsecret.txt/192", "/full/%2e%2e%2fsecret.txt",
            "/full/..", "/images/..%2f..%2fsecret.txt", "/full/%00", "/t/secret.png/192",
            "/full/sub/08.png", "/full/00.png", "/../../etc/passwd", "/full//etc/passwd",
        ],
    )  # fmt: skip
    def test_no_path_of_a_client_reaches_the_disk(self, steady: Any, path: str) -> None:
        (steady.project.folder.parent / "secret.txt").write_text("secret")
        status, _, body = ask(steady.port, PREFIX + path, Cookie=steady.client().cookie)
        assert status in (400, 404)
        assert b"secret" not in body.replace(b"secret.txt", b"").replace(b"secret.png", b"")

    def test_links_out_of_the_folder_lead_nowhere(
        self, pictures: Path, painted: Any, serve: Any
    ) -> None:
        outside = pictures.parent / "outside"
        painted(outside / "far.png", 70)
        (pictures / "link.png").symlink_to(outside / "far.png")
        (pictures / "folder").symlink_to(outside)
        (pictures / "inside.png").symlink_to(pictures / "00.png")
        (pictures / "loop.png").symlink_to(pictures / "loop.png")
        with serve(pictures) as page:
            page.settled()
            client = page.client()
            found = {p["name"]: p["problem"]["id"] for p in client.get("/problems").json["items"]}
            assert found == {"link.png": "link", "loop.png": "no-file"}
            names = {i["name"]: i["id"] for i in client.get("/images").json["items"]}
            assert "inside.png" in names
            assert "folder/far.png" not in names
            # a picture that becomes a link afterwards is not followed either
            (pictures / "01.png").unlink()
            (pictures / "01.png").symlink_to(outside / "far.png")
            assert client.get(f"/full/{names['01.png']}").json["error"]["id"] == "link"
        with serve(pictures, follow=True) as page:
            page.settled()
            names = {i["name"] for i in page.client().get("/images").json["items"]}
            assert {"link.png", "folder/far.png"} <= names

    def test_originals_are_never_sent_raw(self, pictures: Path, serve: Any) -> None:
        """Place and camera stay where they are, and so does what only looks like a picture."""
        exif = Image.Exif()
        exif[0x010F] = "secret camera"
        Image.new("RGB", (40, 20), (9, 9, 9)).save(pictures / "a.jpg", exif=exif)
        (pictures / "b.png").write_text("<html><script>alert(1)</script>")
        (pictures / "c.svg").write_text("<svg onload='alert(1)'/>")
        with serve(pictures) as page:
            page.settled()
            client = page.client()
            names = {i["name"]: i["id"] for i in client.get("/images").json["items"]}
            for path in (f"/t/{names['a.jpg']}/192", f"/full/{names['a.jpg']}"):
                reply = client.get(path)
                assert reply.headers["content-type"] == "image/webp"
                assert Image.open(BytesIO(reply.body)).format == "WEBP"
                assert b"secret" not in reply.body
            problems = client.get("/problems").json["items"]
            assert {p["name"]: p["problem"]["id"] for p in problems} == {
                "b.png": "E7", "c.svg": "E8",
            }  # fmt: skip
            assert all(client.get(f"/full/{p['id']}").status == 404 for p in problems)

    def test_names_are_data(self, pictures: Path, serve: Any) -> None:
        """Control and turning characters are made visible; markup stays text in JSON."""
        plain = (pictures / "00.png").read_bytes()
        names = ["a\nb.png", "<img src=x onerror=alert(1)>.png", "\u202egnp.png", "=cmd.png"]
        for number, name in enumerate([*names, "x" * 251 + ".png"]):
            (pictures / name).write_bytes(plain + bytes([number]))
        odd = os.fsencode(pictures) + b"/odd\xff.png"
        Path(os.fsdecode(odd)).write_bytes(plain + b"odd")
        with serve(pictures) as page:
            page.settled()
            reply = page.client().get("/images")
            assert reply.headers["content-type"] == "application/json"
            shown = {i["name"] for i in reply.json["items"]}
            assert {"a\\nb.png", names[1], "\\u202egnp.png", "=cmd.png", "odd\\udcff.png"} <= shown
            assert len(shown) == 18


class TestTheServer:
    def test_it_listens_on_this_machine_alone(self, pictures: Path, project_of: Any) -> None:
        project = project_of(pictures)
        try:
            with _listening(project, None) as (sockets, port):
                assert [s.getsockname() for s in sockets] == [("127.0.0.1", port)]
        finally:
            project.close()

    def test_it_never_loads_torch(self, pictures: Path) -> None:
        code = """
import sys, threading
from pathlib import Path
from handful.page import serve
def say(opened):
    import http.client
    from urllib.parse import urlsplit
    url = urlsplit(opened.url)
    c = http.client.HTTPConnection(url.hostname, url.port)
    c.request("GET", f"{url.path}?{url.query}")
    assert c.getresponse().status == 303
    loaded = sorted({"torch", "sklearn", "matplotlib", "lightning_fabric"} & set(sys.modules))
    print("loaded", loaded, flush=True)
    import os, signal
    os.kill(os.getpid(), signal.SIGINT)
def later(opened):
    threading.Thread(target=say, args=(opened,)).start()
serve.serve(Path(sys.argv[1]), serve.Options(browser=False), later)
"""
        run = [sys.executable, "-c", code, str(pictures)]
        done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "loaded []" in done.stdout

    def test_nothing_in_the_folder_is_ever_imported(self, pictures: Path, serve: Any) -> None:
        """A folder may hold a file called numpy.py; the children do not see it."""
        trap = f"open({str(pictures.parent / 'trapped')!r}, 'w')"
        for name in ("numpy", "PIL", "json", "handful"):
            (pictures / f"{name}.py").write_text(trap)
        here = Path.cwd()
        try:
            os.chdir(pictures)
            with serve(pictures, children=1) as page:
                page.settled()
                assert page.client().state()["counts"]["problems"] == 0
        finally:
            os.chdir(here)
        assert not (pictures.parent / "trapped").exists()

    def test_the_pictures_are_never_changed(self, pictures: Path, serve: Any) -> None:
        def all_files() -> dict[str, tuple[bytes, int]]:
            return {
                str(p): (p.read_bytes(), p.stat().st_mtime_ns)
                for p in sorted(pictures.rglob("*.png"))
            }

        before = all_files()
        with serve(pictures) as page:
            page.settled()
            client = page.client()
            for image in client.ids():
                client.label(image, "a")
                client.get(f"/full/{image}")
            client.send("/export", {"formats": ["csv"]})
        assert all_files() == before
        shutil.rmtree(pictures / ".handful")
        shutil.rmtree(pictures / "handful-export")
        assert sorted(p.name for p in pictures.iterdir()) == [
            *(f"{n:02d}.png" for n in range(8)), "sub",
        ]  # fmt: skip
