"""From an encoded image to uint8 ``(C, H, W)``: headers, formats, orientation, size.

JPEG, PNG, WebP, BMP and GIF (first frame) go through Pillow, TIFF through tifffile.
The content decides, not the name.  Pillow's plug-ins are used directly: formats nobody
asked for stay shut, and its process-wide pixel limit is neither needed nor touched.

Conversions, in this order: EXIF orientation; transparency on white; unsigned integers
of b bits ``round(255 x / (2^b - 1))``, so 16-bit gray is divided by 65,535 and nothing is
stretched; floats in [0, 1] ``round(255 x)``, other floats and signed integers stretched
from their own minimum to their own maximum; resizing (area average when both sides
shrink, else bilinear); edge padding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import contextmanager
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from handful.errors import PoolError
from handful.pool.ids import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "KINDS",
    "MAX_PIXELS",
    "MIN_SIDE",
    "Encoded",
    "Header",
    "Layout",
    "Scale",
    "as_bytes",
    "decode",
    "fit",
    "look",
    "why",
]

Encoded: TypeAlias = str | bytes | memoryview  # a path, or the bytes themselves
Bytes: TypeAlias = NDArray[np.uint8]

KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 100_000_000  # refused by header beyond it
FINE = 48  # up to this side a JPEG is decoded at four times the size first
MIN_SIDE = 8  # smaller images are padded: no network here takes less

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ALPHA, _MULTIPLIED = 2, 1  # TIFF extra samples: plain and premultiplied alpha


class Header(NamedTuple):
    """What the first bytes of an image say; width and height are those after rotation."""

    width: int
    height: int
    colour: bool
    kind: str
    pages: int = 1
    channels: int = 1


class Layout(NamedTuple):
    """The one form in which a pool gives its images.

    ``inner (h, w)`` is what an image is resized to, ``size (H, W)`` what edge padding
    makes of it; ``channel`` is the one channel that is taken (``None``: gray or RGB).
    """

    channels: int
    inner: tuple[int, int]
    size: tuple[int, int]
    channel: int | None = None


Scale: TypeAlias = Callable[[NDArray[Any], int], Bytes]  # values and their bits -> 0..255


def look(data: Encoded, *, page: int = 0, channel: int | None = None) -> Header:
    """Read a header; `PoolError` with the reason when this is no image that can be used.

    ``page`` and ``channel`` are those that will be decoded: a file without them is refused.
    """
    with _stream(data) as (stream, start):
        tiff = start.startswith(_TIFF)
        header = _look_tiff(stream, page) if tiff else _look_plain(stream, start)
    if header.pages > 1:
        _check_page(page, header.pages)
    if channel is not None:
        _check_channel(channel, header.channels)
    return header


def decode(data: Encoded, layout: Layout, *, page: int = 0, scale: Scale | None = None) -> Bytes:
    """Decode one image into uint8 ``(C, H, W)`` of the layout.

    ``scale`` makes bytes of the values that are stored (`None`: `as_bytes`); transparency and
    palettes are none of its business.  Any exception means that the image is broken; `why`
    puts it into words.
    """
    h, w = layout.inner
    with _stream(data) as (stream, start):
        if start.startswith(_TIFF):
            image = _decode_tiff(stream, page, layout.channel, scale)
        else:
            image = _decode_plain(_open(stream, start), (w, h), layout.channel, scale)
    return fit(image, layout)


def fit(image: Image.Image, layout: Layout) -> Bytes:
    """Bring a gray or RGB image into the layout: mode, size, padding."""
    h, w = layout.inner
    image = image.convert("L" if layout.channels == 1 else "RGB")
    if image.size != (w, h):
        shrinks = image.width >= w and image.height >= h
        way = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
        image = image.resize((w, h), way)
    pixels: Bytes = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if layout.size != layout.inner:
        top, left = (layout.size[0] - h) // 2, (layout.size[1] - w) // 2
        bottom, right = layout.size[0] - h - top, layout.size[1] - w - left
        pixels = np.pad(pixels, ((0, 0), (top, bottom), (left, right)), mode="edge")
    return pixels


def why(error: BaseException) -> str:
    """The reason why an image is broken, in one short line."""
    if isinstance(error, PoolError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "the file is not there (removed, or a link to nothing)"
    if isinstance(error, PermissionError):
        return "no right to read it"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shown(text.strip().partition("\n")[0])


@contextmanager
def _stream(data: Encoded) -> Iterator[tuple[IO[bytes], bytes]]:
    with open(data, "rb") if isinstance(data, str) else BytesIO(data) as stream:
        start = stream.read(16)
        if not start:
            raise PoolError("the file is empty (0 bytes)")
        stream.seek(0)
        yield stream, start


def _open(stream: IO[bytes], start: bytes) -> ImageFile.ImageFile:
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(stream)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile(stream)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return WebPImageFile(stream)
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile(stream)
    if start.startswith(b"BM"):
        return BmpImageFile(stream)
    raise PoolError("the content is no JPEG, PNG, WebP, BMP, GIF or TIFF image")


def _decode_plain(
    image: ImageFile.ImageFile, size: tuple[int, int], channel: int | None, scale: Scale | None
) -> Image.Image:
    _check_pixels(*image.size)
    turn = _orientation(image.info.get("exif", b""))
    # JPEG: let libjpeg decode at 1/2, 1/4 or 1/8 where that is still large enough.  Its own
    # scaling is rough: 7 levels off at 16 pixels, 1 when the last steps are left to the box below.
    room = 4 if max(size) <= FINE else 1
    size = (room * size[0], room * size[1])
    image.draft(None, size[::-1] if turn > 4 else size)
    gray = _is_gray(image)
    image.load()
    turn = _orientation(image.info.get("exif", b""))  # PNG: it may follow the pixels
    deep = image.mode.startswith("I")
    plain = _without_alpha(image, gray, scale)
    if channel is not None:
        _check_channel(channel, len(plain.getbands()))
        plain = plain.getchannel(channel)
    if scale is not None and not deep:
        plain = Image.fromarray(scale(np.asarray(plain), 8))
    return plain.transpose(_TURNS[turn]) if turn in _TURNS else plain


def _without_alpha(image: Image.Image, gray: bool, scale: Scale | None) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray
        values = np.asarray(image).clip(0, 65_535).astype(np.uint16)
        return Image.fromarray((scale or as_bytes)(values, 16))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("L" if gray else "RGB")


def _is_gray(image: Image.Image) -> bool:
    """Whether a header promises gray; it must not load the pixels."""
    if image.mode == "P" and image.palette is not None:
        mode, colours = image.palette.getdata()
        table = np.frombuffer(bytes(colours), dtype=np.uint8)
        table = table[: len(table) // len(mode) * len(mode)].reshape(-1, len(mode))
        return bool((table[:, :1] == table[:, 1:3]).all())
    return image.mode in ("1", "L", "LA") or image.mode.startswith("I")


def _orientation(exif: Any) -> int:
    """EXIF tag 274 of the first directory, 1 when there is none or it makes no sense."""
    exif = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, at)
        for i in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, at + 2 + 12 * i)
            if tag == 274:
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _look_plain(stream: IO[bytes], start: bytes) -> Header:
    image = _open(stream, start)
    width, height = image.size
    _check_pixels(width, height)
    if _orientation(image.info.get("exif", b"")) > 4:
        width, height = height, width
    gray = _is_gray(image)
    return Header(width, height, not gray, image.format or "", 1, 1 if gray else 3)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        megapixels = width * height / 1e6
        raise PoolError(f"{width} x {height} pixels are {megapixels:.0f} megapixels: limit 100")
    if min(width, height) < 1:
        raise PoolError(f"{width} x {height} pixels: no pixel at all")


def _check_channel(channel: int, channels: int) -> None:
    if not 0 <= channel < channels:
        raise PoolError(f"channel {channel} was chosen, it has {channels} (counted from 0)")


def _check_page(page: int, pages: int) -> None:
    if not 0 <= page < pages:
        raise PoolError(f"page {page} was chosen, it has {pages} (counted from 0)")


def _look_tiff(stream: IO[bytes], number: int) -> Header:
    import tifffile

    with tifffile.TiffFile(stream) as file:
        if not len(file.pages):
            raise PoolError("a TIFF file without a page (its writing broke off?)")
        page = file.pages.first
        if 0 < number < len(file.pages):
            page = file.pages[number].aspage()
        width, height = page.imagewidth, page.imagelength
        _check_pixels(width, height)
        if page.tags.valueof("Orientation", 1) > 4:
            width, height = height, width
        gray = not _tiff_is_colour(page)
        return Header(width, height, not gray, "TIFF", len(file.pages), page.samplesperpixel)


def _tiff_is_colour(page: Any) -> bool:
    photometric = getattr(page.photometric, "name", "")
    return photometric in ("PALETTE", "RGB", "YCBCR", "SEPARATED") or page.samplesperpixel == 3


def _decode_tiff(
    stream: IO[bytes], number: int, channel: int | None, scale: Scale | None
) -> Image.Image:
    import tifffile

    with tifffile.TiffFile(stream) as file:
        _check_page(number, len(file.pages))
        page = file.pages[number].aspage()
        _check_pixels(page.imagewidth, page.imagelength)
        image = Image.fromarray(_tiff_pixels(page, channel, scale))
        turn = page.tags.valueof("Orientation", 1)
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def _tiff_pixels(page: Any, channel: int | None, scale: Scale | None) -> Bytes:
    """One page as uint8 ``(H, W)`` or ``(H, W, 3)``."""
    raw = np.asarray(page.asarray())
    axes = [page.axes.index(a) for a in "YXS" if a in page.axes]
    rest = [i for i in range(raw.ndim) if i not in axes]  # depth and the like: the first plane
    raw = raw.transpose(*rest, *axes)[(0,) * len(rest)]
    photometric = getattr(page.photometric, "name", "")
    if photometric == "PALETTE":
        table = as_bytes(np.asarray(page.colormap), 16)
        pixels = _chosen(np.ascontiguousarray(table[:, raw].transpose(1, 2, 0)), channel)
        return pixels if scale is None else scale(pixels, 8)
    extra = [int(e) for e in page.extrasamples]
    if scale is None:
        pixels = as_bytes(raw, page.bitspersample)
    else:
        if raw.ndim == 3 and (channel is not None or not _tiff_is_colour(page)):
            raw, channel = _chosen(raw, channel or 0), None
        pixels = _scaled(raw, page.bitspersample, extra, scale)
    if photometric == "MINISWHITE":
        pixels = 255 - pixels
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if channel is not None:
        return _chosen(pixels, channel)
    if photometric == "SEPARATED" and pixels.shape[2] == 4:
        height, width = pixels.shape[:2]
        inks = Image.frombytes("CMYK", (width, height), pixels.tobytes())
        return np.asarray(inks.convert("RGB"))
    colours = pixels.shape[2] - len(extra)
    if extra and extra[0] in (_ALPHA, _MULTIPLIED) and colours in (1, 3):
        alpha = pixels[..., colours : colours + 1].astype(np.uint16)
        plain = pixels[..., :colours].astype(np.uint16)
        if extra[0] == _ALPHA:
            plain = (plain * alpha + 127) // 255
        pixels = np.minimum(plain + 255 - alpha, 255).astype(np.uint8)
    # several channels that are no colours (stains, bands): the first
    taken = pixels[..., :3] if _tiff_is_colour(page) else pixels[..., :1]
    return np.ascontiguousarray(taken.squeeze(2) if taken.shape[2] == 1 else taken)


def _scaled(raw: NDArray[Any], bits: int, extra: list[int], scale: Scale) -> Bytes:
    """Bytes of what is stored; how much a pixel covers is not a matter of contrast."""
    if not extra or extra[0] not in (_ALPHA, _MULTIPLIED) or raw.ndim < 3:
        return scale(raw, bits)
    colours = raw.shape[2] - len(extra)
    return np.concatenate(
        [scale(raw[..., :colours], bits), as_bytes(raw[..., colours:], bits)], axis=2
    )


def _chosen(pixels: NDArray[Any], channel: int | None) -> NDArray[Any]:
    if channel is None:
        return pixels
    _check_channel(channel, pixels.shape[2])
    return np.ascontiguousarray(pixels[..., channel])


def as_bytes(values: NDArray[Any], bits: int) -> Bytes:
    """Scale to 0..255 by what the type can hold; floats and signed ones by what they hold."""
    if values.dtype == np.uint8 and bits == 8:
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise PoolError("its pixels hold NaN or infinite values")
    low, high = 0.0, float(2**bits - 1)
    if values.dtype.kind != "u":
        low, high = float(numbers.min()), float(numbers.max())
        if values.dtype.kind == "f" and low >= 0 and high <= 1:
            low, high = 0.0, 1.0
    return np.rint((numbers - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
