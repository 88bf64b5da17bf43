"""Thumbnails on disk, by content: made once, whatever a file is called.

``FOLDER/ab/abcdef...-192.webp``; each file is whole or not there, and any may be deleted.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import get_ident

__all__ = ["SIDES", "Thumbs"]

SIDES = (96, 192, 384)


class Thumbs:
    """The thumbnails below a folder; a disk that is full keeps none and says nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str, side: int) -> Path:
        """Where a thumbnail lies, or would."""
        return self.folder / sha256[:2] / f"{sha256}-{side}.webp"

    def get(self, sha256: str, side: int) -> bytes | None:
        """A thumbnail, None where there is none yet."""
        try:
            return self.path(sha256, side).read_bytes() or None
        except OSError:
            return None

    def has(self, sha256: str, side: int) -> bool:
        """Whether a thumbnail is there."""
        return self.path(sha256, side).is_file()

    def put(self, sha256: str, side: int, body: bytes) -> None:
        """Keep a thumbnail; two threads may make the same one."""
        path = self.path(sha256, side)
        part = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(body)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
