"""handful: label a folder of images from a handful of answers."""

from __future__ import annotations

__version__ = "0.1.0"
