"""How every figure and page looks: colours, type, and the way from matplotlib to the page.

A figure is drawn once, in the colours of the light page.  `to_svg` then turns each
colour of the theme into the CSS variable of the same name, so that the same picture
follows the page into dark mode; class colours never change.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from matplotlib import style as mpl_style
from matplotlib.figure import Figure

TEXT, TEXT_2, LINE, HAIRLINE = "#16181d", "#4b515c", "#797e87", "#d9dbde"
PAGE, ACCENT = "#fbfbfa", "#0b5fbf"
THEME = {
    TEXT: "var(--text)",
    TEXT_2: "var(--text-2)",
    LINE: "var(--line)",
    HAIRLINE: "var(--hairline)",
    PAGE: "var(--page)",
    ACCENT: "var(--accent)",
}
# Okabe and Ito: distinct under deuteranopia, protanopia and tritanopia as well
CLASS_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
SERIES_COLOURS = (ACCENT, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SERIES_MARKERS = "osD^vP"
PATTERNS = 3
INCH = 72.0  # one point of a figure is one CSS pixel of the page

_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "handful",
    "text.parse_math": False,  # names are data: a dollar sign is a dollar sign
    "font.family": ["DejaVu Sans"],
    "font.size": 12.0,
    "axes.titlesize": 12.0,
    "axes.labelsize": 12.0,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": TEXT_2,
    "axes.titlecolor": TEXT,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": TEXT,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": TEXT_2,
    "ytick.labelcolor": TEXT_2,
    "xtick.major.size": 4.0,
    "ytick.major.size": 0.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": HAIRLINE,
    "grid.linewidth": 1.0,
    "axes.axisbelow": True,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "legend.fontsize": 11.0,
}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT = re.compile(r"(?:(?P<weight>bold|\d{3})\s+)?(?P<size>[\d.]+)px")
_URL = re.compile(r"url\(#([^)]+)\)")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the report's style; the caller's matplotlib settings are restored after.

    A glyph that the measuring font lacks is no fault: the reader's font draws the text.  Nor
    are names too long to set neatly.
    """
    with mpl_style.context(["default", _RC]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` CSS pixels."""
    return Figure(figsize=(width / INCH, height / INCH), layout="constrained")


def class_look(class_id: int) -> tuple[str, int]:
    """Colour and pattern (0 solid, 1 diagonal, 2 dots) of a class; past 21, grey and solid.

    The look belongs to the id and never changes by itself.
    """
    colours = len(CLASS_COLOURS)
    if not 0 <= class_id < colours * PATTERNS:
        return LINE, 0
    return CLASS_COLOURS[class_id % colours], class_id // colours


def shown(text: object, limit: int = 60) -> str:
    """Turn any name into one printable line of at most ``limit`` characters.

    Bytes that were no UTF-8 appear percent-encoded, line breaks as ``↵``; what would
    break XML or turn the reading direction is replaced.
    """
    out: list[str] = []
    for sign in str(text):
        code = ord(sign)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"%{code - 0xDC00:02X}")
        elif sign in "\r\n":
            out.append("↵")
        elif sign == "\t":
            out.append(" ")
        elif unicodedata.category(sign) in ("Cc", "Cs") or sign in _BIDI or code & 0xFFFE == 0xFFFE:
            out.append("\ufffd")
        else:
            out.append(sign)
    line = "".join(out)
    if len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"


def to_svg(figure: Figure, *, key: str, label: str) -> str:
    """Write a figure as inline SVG for the page.

    ``key`` makes its ids unique on the page; ``label`` is read to those who cannot see
    it.  Text stays text, without a font: the page's own applies.  Only attributes are
    rewritten, never the text, which may be anything.
    """
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _drop(root, {"metadata", "style", "title"})
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(name): value for name, value in element.attrib.items()}
        element.attrib.clear()
        for name, value in attributes.items():
            element.set(name, _attribute(name, value, key))
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    root.attrib = {
        "viewBox": f"0 0 {width:g} {height:g}",
        "width": f"{width:g}",
        "height": f"{height:g}",
        "role": "img",
        "aria-label": shown(label, 400),
        "style": "stroke-linejoin: round; stroke-linecap: butt",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _drop(parent: ElementTree.Element, names: set[str]) -> None:
    for child in list(parent):
        if _local(child.tag) in names:
            parent.remove(child)
        else:
            _drop(child, names)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attribute(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return f"#{key}-{value[1:]}" if value.startswith("#") else value
    if name in ("d", "x", "y", "width", "height", "points", "x1", "x2", "y1", "y2") or (
        name == "transform" and "scale" not in value and "matrix" not in value
    ):
        return _LONG_NUMBER.sub(lambda m: f"{float(m[0]):.2f}", value).replace("\n", "")
    value = _URL.sub(lambda m: f"url(#{key}-{m[1]})", value)
    return _style(value) if name == "style" else value


def _style(value: str) -> str:
    """Replace theme colours by their variables and drop the font family."""
    kept: list[str] = []
    for declaration in value.split(";"):
        prop, _, setting = (part.strip() for part in declaration.partition(":"))
        if prop == "font" and (found := _FONT.search(setting)):
            kept.append(f"font-size: {found['size']}px")
            if found["weight"]:
                kept.append(f"font-weight: {found['weight'].replace('bold', '600')}")
        elif prop and prop != "font-family":
            kept.append(f"{prop}: {THEME.get(setting.lower(), setting)}")
    return "; ".join(kept)
