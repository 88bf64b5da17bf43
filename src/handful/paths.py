"""How the id of an image is written in a text file, and read back.

An id is a relative POSIX path; bytes of a file name that are no UTF-8 stand in it as
surrogate escapes.  In a text file each such byte is written ``%XX``, and a literal
``%`` that two hexadecimal digits follow is written ``%25``: both ways without loss,
and a name like ``100 %.png`` stays as it is.
"""

from __future__ import annotations

import re

__all__ = ["from_text", "to_text"]

_WRITE = re.compile("[\udc80-\udcff]|%(?=[0-9A-Fa-f]{2})")
_READ = re.compile("(?:%[0-9A-Fa-f]{2})+")


def to_text(id: str) -> str:
    """Write an id as text that UTF-8 can hold."""
    return _WRITE.sub(lambda m: f"%{ord(m[0]) & 0xFF:02X}", id)


def from_text(text: str) -> str:
    """Read an id back: ``from_text(to_text(id)) == id``."""
    return _READ.sub(lambda m: _bytes(m[0]).decode("utf-8", "surrogateescape"), text)


def _bytes(run: str) -> bytes:
    return bytes.fromhex(run.replace("%", ""))
