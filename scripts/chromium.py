"""A headless Chromium driven over its debugging pipe: no driver, no package, no open port.

    with Chromium() as browser:
        browser.size(1280, 720)
        browser.go("http://127.0.0.1:8765/")
        browser.until("document.querySelector('[data-testid=tile]')")
        browser.press("1")
        Path("shot.png").write_bytes(browser.shot())

Every console error, failed request, unhandled rejection and dialog is kept in ``faults``, every
address asked for in ``requests``.  ``browser.another()`` is one more tab, ``another(apart=True)``
one of somebody else, who has none of the first one's cookies.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from functools import partial
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--mute-audio", "--disable-features=Translate,OptimizationHints",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",  # tabs that stand behind others go on
    "--no-sandbox",  # tests run as root in containers; the pages shown are our own
)  # fmt: skip
CODES = {
    " ": ("Space", 32), "Enter": ("Enter", 13), "Escape": ("Escape", 27),
    "Backspace": ("Backspace", 8), "Delete": ("Delete", 46), "Tab": ("Tab", 9),
    "ArrowLeft": ("ArrowLeft", 37), "ArrowUp": ("ArrowUp", 38),
    "ArrowRight": ("ArrowRight", 39), "ArrowDown": ("ArrowDown", 40),
    "Home": ("Home", 36), "End": ("End", 35), "+": ("Equal", 187), "-": ("Minus", 189),
    "/": ("Slash", 191), "?": ("Slash", 191),
}  # fmt: skip
MODIFIERS = {"Alt": 1, "Ctrl": 2, "Meta": 4, "Shift": 8}


def found() -> str | None:
    """The browser on this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(RuntimeError):
    """The browser refused, died, or waited too long."""


class Page:
    """One tab.  Calls wait for their answer, ``patience`` seconds at most."""

    def __init__(self, pipe: _Pipe, target: str, *, patience: float = 30.0) -> None:
        self.patience, self.pipe, self.target = patience, pipe, target
        self.faults: list[str] = []
        self.requests: list[str] = []
        answer = pipe.call("", patience, "Target.attachToTarget", targetId=target, flatten=True)
        self._session = answer["sessionId"]
        pipe.pages[self._session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def beside(self, context: str | None = None) -> Page:
        """A tab of the same person; of whom a ``context`` is, where one is named."""
        call = partial(self.pipe.call, "", self.patience)
        if context is None:
            targets = call("Target.getTargets")["targetInfos"]
            context = next(t["browserContextId"] for t in targets if t["targetId"] == self.target)
        made = call(
            "Target.createTarget", url="about:blank", newWindow=True, browserContextId=context
        )
        page = Page(self.pipe, made["targetId"], patience=self.patience)
        page._call("Emulation.setFocusEmulationEnabled", enabled=True)
        return page

    def shut(self) -> None:
        """Close this tab."""
        del self.pipe.pages[self._session]
        self.pipe.call("", self.patience, "Target.closeTarget", targetId=self.target)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.pipe.call(self._session, self.patience, method, **parameters)

    def note(self, kind: str, what: dict[str, Any]) -> None:
        """Keep what the page complained of and asked for."""
        if kind == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif kind == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description", details["text"]))
        elif kind == "Runtime.consoleAPICalled" and what["type"] == "error":
            self.faults.append(" ".join(str(a.get("value", "")) for a in what["args"]))
        elif kind == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.faults.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
        elif kind == "Page.javascriptDialogOpening":
            self.faults.append(f"a dialog: {what['message']}")

    # ------------------------------------------------------------ what one does with a page

    def size(self, width: int, height: int, *, touch: bool = False) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=touch,
        )  # fmt: skip
        self._call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def media(self, **features: str) -> None:
        """``media(prefers_color_scheme="dark")`` and the like."""
        wanted = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self._call("Emulation.setEmulatedMedia", features=wanted)

    def go(self, address: str) -> None:
        answer = self._call("Page.navigate", url=address)
        if answer.get("errorText"):
            raise BrowserError(f"{address}: {answer['errorText']}")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", str(details)))
        return answer["result"].get("value")

    def until(self, script: str, *, seconds: float = 20.0) -> float:
        """Wait until an expression is true; the seconds that it took."""
        start = time.monotonic()
        while not self.run(f"Boolean({script})"):
            if time.monotonic() - start > seconds:
                raise BrowserError(f"after {seconds} s still not: {script}")
            time.sleep(0.01)
        return time.monotonic() - start

    def press(self, chord: str) -> None:
        """A key or chord: ``1``, ``Enter``, ``Shift+Q``, ``Ctrl+Shift+Z``."""
        *held, key = chord.split("+") if chord != "+" else ["+"]
        code, number = CODES.get(key, ("", 0))
        if not code and key.isdigit():
            code, number = f"Digit{key}", ord(key)
        elif not code:
            code, number = f"Key{key.upper()}", ord(key.upper())
        event: dict[str, Any] = {
            "key": key, "code": code, "windowsVirtualKeyCode": number,
            "modifiers": sum(MODIFIERS[name] for name in held),
        }  # fmt: skip
        writes = {}
        if "Ctrl" not in held and (key == "Enter" or len(key) == 1):
            writes = {"text": "\r" if key == "Enter" else key}
        self._call("Input.dispatchKeyEvent", type="keyDown", **event, **writes)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        place = self.run(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def drag(self, line: list[tuple[float, float]]) -> None:
        """Press at the first place, move along the others, let go at the last."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(line) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*line, line[-1]], strict=True):
            self._call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1,
                clickCount=1,
            )  # fmt: skip

    def shot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])


class Chromium(Page):
    """A browser, and its first tab."""

    def __init__(self, *, patience: float = 30.0) -> None:
        pipe = _Pipe()
        targets = pipe.call("", patience, "Target.getTargets")["targetInfos"]
        first = next(t["targetId"] for t in targets if t["type"] == "page")
        super().__init__(pipe, first, patience=patience)

    def another(self, *, apart: bool = False) -> Page:
        """One more tab, of this browser or of somebody else's."""
        made = self.pipe.call("", self.patience, "Target.createBrowserContext") if apart else {}
        return self.beside(made.get("browserContextId"))

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and remove its profile."""
        self.pipe.close()


class _Pipe:
    """The process, and the two pipes on which it hears and answers."""

    def __init__(self) -> None:
        program = found()
        if program is None:
            raise BrowserError(f"no browser: none of {', '.join(NAMES)} is on the path")
        self.pages: dict[str, Page] = {}
        self._buffer, self._last = b"", 0
        self._profile = tempfile.mkdtemp(prefix="handful-chromium-")
        there, self._write = os.pipe()
        self._read, back = os.pipe()

        def hand_over() -> None:  # the browser reads its orders on 3 and answers on 4
            os.dup2(there, 3)
            os.dup2(back, 4)

        there, back = _above(there), _above(back)
        self._process = subprocess.Popen(
            [program, *SWITCHES, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=hand_over,
            pass_fds=(3, 4, there, back),
        )  # fmt: skip
        os.close(there)
        os.close(back)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, session: str, patience: float, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + patience
        while True:
            answer = self._next(end, method, patience)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            if page := self.pages.get(answer.get("sessionId", "")):
                page.note(answer.get("method", ""), answer.get("params", {}))

    def _next(self, end: float, method: str, patience: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BrowserError(f"{method}: no answer in {patience} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise BrowserError(f"{method}: the browser has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _above(descriptor: int) -> int:
    """The same end of a pipe under a number above those that the browser expects."""
    kept = []
    while descriptor in (3, 4):
        kept.append(descriptor)
        descriptor = os.dup(descriptor)
    for old in kept:
        os.close(old)
    return descriptor
