"""The child process that opens files: ``python -P -m handful.page.decoder ROOT LINKS``.

Files come from anywhere, and decoders have faults.  A child has a limit of memory, is
ended when it takes too long (`handful.page.decoders`), and only says what it read:

::

    in   one line of JSON        {"path", "side", "page", "channel"?, "contrast"?, "measure"?}
                                 side 0: the header only; contrast: how it is shown;
                                 measure: what its values are like is wanted, too
    out  one line of JSON        {"sha256", "w", "h", "kind", "pages", "channels", "size", "body"}
                                 and with measure {"bits", "least", "most", "low", "high"}
         or                      {"problem": [id, text], "sha256"?}
         then ``body`` bytes     the picture as WebP, upright, without metadata
"""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from hashlib import file_digest, sha256
from io import BufferedReader, BytesIO
from typing import Any

from PIL import Image

from handful.page.contrast import Stretch, Wanted
from handful.page.reasons import LEADS_OUT, NOT_A_FILE, inside, message
from handful.pool.decode import Encoded, Header, Layout, decode, look

__all__ = ["answer", "main"]

MEMORY = 3 << 30  # bytes of address space; 100 megapixels as 16-bit numbers fit
IN_MEMORY = 256 << 20  # files up to here are read once, for hash and picture
QUALITY = 80
EXACT_SIDE = 256  # pictures up to here are sent without loss: their pixels are counted by eye


def main() -> None:
    """Answer until the pipe is closed."""
    with suppress(ImportError, ValueError, OSError):  # no such limits on this system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _, root, links = sys.argv
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may speak on the pipe
    for line in sys.stdin.buffer:
        said, body = answer(json.loads(line), root, follow=links == "follow")
        out.write(json.dumps(said | {"body": len(body)}).encode("ascii") + b"\n" + body)
        out.flush()


def answer(asked: dict[str, Any], root: str, *, follow: bool) -> tuple[dict[str, Any], bytes]:
    """What is to be said of one file: see above."""
    path: str = asked["path"]
    if not follow and not inside(path, root):
        return {"problem": LEADS_OUT}, b""
    data: bytes | None = None
    size, digest = -1, ""
    try:
        # a pipe without a writer would hold a plain open for ever
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return {"problem": NOT_A_FILE}, b""
            size = status.st_size
            data, digest = _read(file, size)
        source: Encoded = path if data is None else data
        header = look(source, page=asked["page"], channel=asked.get("channel"))
        wanted: Wanted = asked.get("contrast", Wanted())
        stretch = Stretch(wanted, measured=bool(asked.get("measure")))
        body = _shown(source, header, asked, stretch) if asked["side"] else b""
    except Exception as error:  # noqa: BLE001 - a decoder may raise anything at all
        said = {"problem": message(data, size, error)}
        return said | ({"sha256": digest, "size": size} if digest else {}), b""
    facts = {"w": header.width, "h": header.height, "kind": header.kind, "pages": header.pages}
    read = {"sha256": digest, "size": size, "channels": header.channels, **facts}
    return read | (_measured(stretch) if stretch.measured else {}), body


def _measured(stretch: Stretch) -> dict[str, Any]:
    return {
        "bits": stretch.bits, "least": stretch.least, "most": stretch.most,
        "low": stretch.low, "high": stretch.high,
    }  # fmt: skip


def _read(file: BufferedReader, size: int) -> tuple[bytes | None, str]:
    if size > IN_MEMORY:
        return None, file_digest(file, "sha256").hexdigest()
    data = file.read()
    return data, sha256(data).hexdigest()


def _shown(source: Encoded, header: Header, asked: dict[str, Any], stretch: Stretch) -> bytes:
    """The whole picture inside a square of ``side`` pixels, never enlarged, as WebP."""
    longest = max(header.width, header.height)
    scale = min(1.0, asked["side"] / longest)
    h, w = (max(1, round(x * scale)) for x in (header.height, header.width))
    channel = asked.get("channel")
    colours = 3 if header.colour and channel is None else 1
    layout = Layout(colours, (h, w), (h, w), channel)
    pixels = decode(source, layout, page=asked["page"], scale=stretch)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    out = BytesIO()
    if scale == 1 and longest <= EXACT_SIDE:
        image.convert("RGB").save(out, "WEBP", lossless=True, quality=20, method=2)
    else:
        image.convert("RGB").save(out, "WEBP", quality=QUALITY, method=2)
    return out.getvalue()


if __name__ == "__main__":
    main()
