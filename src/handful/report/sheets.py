"""The contact sheet: every picture that was asked, round by round, with its answer."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from handful.report.figures import Figures
from handful.report.look import class_look, shown
from handful.types import Array

TILE = 48  # px


def png(image: Array) -> str:
    """Encode one ``(C, h, w) uint8`` picture as a PNG data URI; gray or RGB, else channel 0."""
    pixels = image.transpose(1, 2, 0) if image.shape[0] == 3 else image[0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def contact_sheet(figures: Figures) -> str:
    """HTML of what was asked by round, each tile with the bar and the name of its class.

    Small pictures are enlarged without smoothing: one pixel stays one square.
    """
    if not len(figures.thumbnails):
        return ""
    height, width = figures.thumbnails.shape[2:]
    scale = TILE / max(height, width)
    size = f'width="{round(width * scale)}" height="{round(height * scale)}"'
    wide = " wide" if max(map(len, figures.classes), default=0) > 7 else ""
    rows = []
    for round_ in np.unique(figures.thumbnail_round):
        tiles = [
            _tile(figures, int(i), size) for i in np.flatnonzero(figures.thumbnail_round == round_)
        ]
        asked = int(figures.asked_per_round[round_])
        some = f", {len(tiles)} shown" if len(tiles) < asked else ""
        heading = "First question" if round_ == 0 else f"Question {round_}"
        rows.append(
            f'<section class="asked"><h3>{heading}<span>{asked:,} asked{some}</span></h3>'
            f'<ul class="tiles{wide}">{"".join(tiles)}</ul></section>'
        )
    return "".join(rows)


def _tile(figures: Figures, i: int, size: str) -> str:
    class_id = int(figures.thumbnail_class[i])
    known = 0 <= class_id < len(figures.classes)
    name = shown(figures.classes[class_id], 40) if known else "no answer"
    tag = shown(figures.thumbnail_tag[i], 40)
    title = escape(f"{name}, {tag}" if tag else name, quote=True)
    return (
        f'<li title="{title}"><span class="frame"><img src="{png(figures.thumbnails[i])}" {size}'
        f' alt="{title}"></span>{swatch(class_id if known else -1, bar=True)}'
        f"<span>{escape(name)}</span></li>"
    )


def swatch(class_id: int, *, bar: bool = False) -> str:
    """The look of a class: colour and pattern, outlined; the name stands beside it."""
    colour, pattern = class_look(class_id)
    kind = "bar" if bar else "swatch"
    style = f"--c:{colour}" if class_id >= 0 else "--c:transparent"
    return f'<i class="{kind} p{pattern}" style="{style}"></i>'


def mark(class_id: int) -> str:
    """The sign of a class on a map: dot, cross or plus in its colour."""
    colour, pattern = class_look(class_id)
    shape = ("M6 6h0", "M3 3l6 6M3 9l6-6", "M2 6h8M6 2v8")[pattern]
    stroke = 'stroke-width="9" stroke-linecap="round"' if pattern == 0 else 'stroke-width="2"'
    return (
        '<svg class="mark" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">'
        f'<path d="{shape}" stroke="{colour}" {stroke} fill="none"/></svg>'
    )
