"""Why a file cannot be used, in words for the person who owns it.

``message(data, size, error)`` gives the id of the message and its text.  The content
decides, not the name.
"""

from __future__ import annotations

import errno
import os
import re

from handful.pool.decode import MAX_PIXELS, why

__all__ = ["FOREIGN", "GONE", "LEADS_OUT", "NOT_A_FILE", "TOO_SLOW", "inside", "message"]

# Pictures that are found by their name and cannot be read here: suffix -> what it is called.
FOREIGN = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000", ".svg": "SVG", ".svgz": "SVG", ".psd": "Photoshop", ".cr2": "camera raw",
    ".cr3": "camera raw", ".nef": "camera raw", ".arw": "camera raw", ".dng": "camera raw",
    ".orf": "camera raw", ".raf": "camera raw", ".rw2": "camera raw",
}  # fmt: skip
GONE = ("gone", "The file is not there any more.")
LEADS_OUT = ("link", "This is a link to a place outside the folder. It is not followed.")
NOT_A_FILE = ("no-file", "This is no regular file (a pipe, a device or a link to itself).")
TOO_SLOW = ("limit", "Reading this picture took too long or needed too much memory.")
_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC",
    b"avif": "AVIF", b"avis": "AVIF", b"crx ": "camera raw",
}  # fmt: skip
_CUT = re.compile(r"truncated|not processed|unexpected end|end of file|buffer is not large", re.I)


def message(data: bytes | None, size: int, error: BaseException) -> tuple[str, str]:
    """Id and text for a file of ``size`` bytes whose first bytes are ``data``."""
    if isinstance(error, FileNotFoundError):
        return GONE
    if isinstance(error, PermissionError):
        return "right", "There is no right to read this file."
    if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
        return NOT_A_FILE
    if isinstance(error, MemoryError):
        return TOO_SLOW
    start = data[:32] if data else b""
    if size == 0:
        return "E6", "The file is empty (0 bytes)."
    text = why(error)
    if "megapixels" in text:
        return "E9", f"Picture is too large ({_megapixels(text)} megapixels; limit {_LIMIT})."
    if kind := _foreign(start):
        return "E8", f"This kind of picture ({kind}) cannot be read here. Save it as JPEG or PNG."
    if "content is no" in text:
        return "E7", "This is not a picture, whatever its name says."
    if _CUT.search(text) or _ends_early(data, size):
        whole = _promised(start)
        of = f" ({size:,} of {whole:,} bytes)" if whole > size else f" after {size:,} bytes"
        return "E6", f"The file is cut off{of}."
    return "damaged", f"The file is damaged ({text})."


_LIMIT = MAX_PIXELS // 1_000_000


def _megapixels(text: str) -> str:
    found = re.search(r"are (\d+) megapixels", text)
    return found[1] if found else "too many"


def _foreign(start: bytes) -> str | None:
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12])
    if start.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        return "JPEG 2000"
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    if start.startswith(b"8BPS"):
        return "Photoshop"
    return "SVG" if start.lstrip().startswith(b"<svg") else None


def _promised(start: bytes) -> int:
    """How long the file says it is, where its first bytes say so; else 0."""
    if start.startswith(b"RIFF"):
        return int.from_bytes(start[4:8], "little") + 8
    if start.startswith(b"BM"):
        return int.from_bytes(start[2:6], "little")
    return 0


def _ends_early(data: bytes | None, size: int) -> bool:
    """Whether a picture lacks the mark of its end; only for files that are in memory whole."""
    if data is None or len(data) != size:
        return False
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-16:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-1024:]
    return 0 < size < _promised(data[:32])


def inside(path: str, root: str) -> bool:
    """Whether a path, links followed, lies in a folder that is real already."""
    real = os.path.realpath(path)
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)
