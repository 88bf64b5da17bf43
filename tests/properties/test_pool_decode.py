"""Formats, orientation, transparency, 16 bits, TIFF pages and channels, resizing, limits."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handful.errors import PoolError
from handful.pool.data import layout_of
from handful.pool.decode import Layout, decode, fit, look, why


def plain(h: int, w: int, channels: int = 3, channel: int | None = None) -> Layout:
    """A layout that changes nothing."""
    return Layout(channels, (h, w), (h, w), channel)


def encoded(pixels: np.ndarray, form: str, **options: object) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    out = BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


@pytest.fixture
def photo() -> np.ndarray:
    """Smooth, so that lossy formats come close; all channels differ, no symmetry."""
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([4 * x, 8 * y, 3 * x + 4 * y], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("form", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 6),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 12),
    ],
)
def test_each_format_gives_its_pixels(photo, form, options, tolerance):
    data = encoded(photo, form, **options)
    header = look(data)
    assert (header.height, header.width, header.colour, header.kind) == (24, 40, True, form)
    got = decode(data, plain(24, 40))
    assert got.dtype == np.uint8
    assert got.shape == (3, 24, 40)
    assert np.abs(got.astype(int) - photo.transpose(2, 0, 1)).max() <= tolerance


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "TIFF"])
def test_gray_stays_gray(photo, form):
    gray = photo[..., 0].copy()
    data = encoded(gray, form)
    header = look(data)
    assert not header.colour
    assert header.channels == 1
    got = decode(data, plain(24, 40, 1))
    assert np.abs(got[0].astype(int) - gray).max() <= (4 if form == "JPEG" else 0)
    # asked for as RGB, because other images of the pool have colour
    assert (decode(data, plain(24, 40)) == got).all()


def test_gif_gives_its_first_frame():
    frames = [Image.new("RGB", (12, 9), colour) for colour in ("red", "blue", "lime")]
    out = BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    got = decode(out.getvalue(), plain(9, 12))
    assert got[:, 4, 4].tolist() == [255, 0, 0]
    assert look(out.getvalue()).pages == 1


def test_the_content_decides_not_the_name(tmp_path, photo):
    path = tmp_path / "wrong.jpg"
    path.write_bytes(encoded(photo, "PNG"))
    assert look(str(path)).kind == "PNG"
    assert (decode(str(path), plain(24, 40)) == photo.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_all_eight_orientations_give_one_picture(photo, form, tag):
    upright = Image.fromarray(photo)
    turned = {  # what a camera stores so that a viewer who follows the tag sees `upright`
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.rotate(180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.rotate(90, expand=True),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.rotate(270, expand=True),
    }[tag]
    out = BytesIO()
    if form == "TIFF":
        turned.save(out, form, tiffinfo={274: tag})
    else:
        exif = Image.Exif()
        exif[271] = "a maker"
        exif[274] = tag
        options = {"PNG": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 98}}[form]
        turned.save(out, form, exif=exif, **options)
    header = look(out.getvalue())
    assert (header.height, header.width) == (24, 40)
    got = decode(out.getvalue(), plain(24, 40))
    tolerance = 12 if form == "JPEG" else 0
    assert np.abs(got.astype(int) - photo.transpose(2, 0, 1)).max() <= tolerance


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0no"]
)
def test_exif_that_makes_no_sense_is_left_alone(photo, exif):
    data = encoded(photo, "PNG", exif=exif) if exif else encoded(photo, "PNG")
    assert (decode(data, plain(24, 40)) == photo.transpose(2, 0, 1)).all()


def test_orientation_out_of_range_is_left_alone(photo):
    exif = Image.Exif()
    exif[274] = 9
    assert decode(encoded(photo, "PNG", exif=exif), plain(24, 40)).shape == (3, 24, 40)


def test_transparency_lies_on_white():
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, np.array([0, 128, 255, 64] * 2, dtype=np.uint8)[None]
    expected = {0: (255, 255, 255), 128: (227, 127, 127), 255: (200, 0, 0), 64: (241, 191, 191)}
    for data in (
        encoded(pixels, "PNG"),
        encoded(pixels, "WEBP", lossless=True, exact=True),
        tiff(pixels, photometric="rgb", extrasamples=["unassalpha"]),
    ):
        got = decode(data, plain(8, 8))
        for column, alpha in enumerate((0, 128, 255, 64)):
            assert np.abs(got[:, 0, column].astype(int) - expected[alpha]).max() <= 1


def test_premultiplied_alpha_in_tiff():
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[..., 0], pixels[..., 3] = 100, 128  # red, half covered, multiplied already
    got = decode(tiff(pixels, photometric="rgb", extrasamples=["assocalpha"]), plain(8, 8))
    assert got[:, 0, 0].tolist() == [227, 127, 127]


def test_gray_with_alpha_stays_gray():
    image = Image.new("LA", (8, 8), (100, 0))
    out = BytesIO()
    image.save(out, "PNG")
    assert not look(out.getvalue()).colour
    assert (decode(out.getvalue(), plain(8, 8, 1)) == 255).all()
    pixels = np.stack([np.full((8, 8), 100), np.full((8, 8), 255)], axis=2).astype(np.uint8)
    data = tiff(pixels, photometric="minisblack", planarconfig="contig", extrasamples=[2])
    assert (decode(data, plain(8, 8, 1)) == 100).all()


def test_palettes_with_colour_with_transparency_and_gray():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    out = BytesIO()
    image.save(out, "PNG")
    assert look(out.getvalue()).colour
    assert decode(out.getvalue(), plain(8, 8))[:, 0, 0].tolist() == [10, 200, 30]
    out = BytesIO()
    image.save(out, "PNG", transparency=1)
    assert (decode(out.getvalue(), plain(8, 8)) == 255).all()
    image.putpalette([0, 0, 0, 70, 70, 70])
    out = BytesIO()
    image.save(out, "PNG")
    assert not look(out.getvalue()).colour
    assert (decode(out.getvalue(), plain(8, 8, 1)) == 70).all()


def test_cmyk_jpeg_and_one_bit_png(photo):
    out = BytesIO()
    Image.fromarray(photo).convert("CMYK").save(out, "JPEG", quality=98)
    assert look(out.getvalue()).colour
    got = decode(out.getvalue(), plain(24, 40)).astype(int)
    assert np.abs(got - photo.transpose(2, 0, 1)).mean() < 8
    bits = np.zeros((8, 8), dtype=bool)
    bits[2:5, 3] = True
    assert (decode(encoded(bits, "PNG"), plain(8, 8, 1))[0] == 255 * bits).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_divided_by_65535(form):
    ramp = np.linspace(0, 65_535, 4096).astype(np.uint16).reshape(64, 64)
    data = encoded(ramp, form)
    assert not look(data).colour
    got = decode(data, plain(64, 64, 1))[0]
    assert (got == np.rint(ramp / 65_535 * 255)).all()
    assert len(np.unique(got)) == 256


def test_other_number_types_in_tiff():
    ramp = np.arange(64, dtype=np.float64).reshape(8, 8)
    expected = np.rint(ramp / 63 * 255)
    for pixels in (
        (ramp / 63).astype(np.float32),  # in [0, 1]: times 255
        (ramp * 1000 - 7).astype(np.float32),  # elsewhere: stretched from own minimum to maximum
        (ramp * 100 - 3200).astype(np.int16),
    ):
        got = decode(tiff(pixels, photometric="minisblack"), plain(8, 8, 1))[0]
        assert (got == expected).all()
    constant = decode(tiff(np.full((8, 8), 5.0, dtype=np.float32)), plain(8, 8, 1))
    assert (constant == 0).all()
    with pytest.raises(PoolError, match="NaN"):
        decode(tiff(np.full((8, 8), np.nan, dtype=np.float32)), plain(8, 8, 1))
    deep = (ramp / 63 * (2**32 - 1)).astype(np.uint32)
    assert (decode(tiff(deep), plain(8, 8, 1))[0] == expected).all()
    bits = ramp > 30
    assert (decode(tiff(bits, photometric="minisblack"), plain(8, 8, 1))[0] == 255 * bits).all()


def test_sixteen_bit_rgb_tiff_white_is_zero_and_palette(photo):
    wide = photo.astype(np.uint16) * 257
    got = decode(tiff(wide, photometric="rgb"), plain(24, 40))
    assert (got == photo.transpose(2, 0, 1)).all()
    planes = decode(
        tiff(wide.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), plain(24, 40)
    )
    assert (planes == got).all()
    gray = photo[..., 1].copy()
    inverted = decode(tiff(gray, photometric="miniswhite"), plain(24, 40, 1))
    assert (inverted[0] == 255 - gray).all()
    table = np.zeros((3, 256), dtype=np.uint16)
    table[1] = np.arange(256) * 257
    paletted = tiff(gray, photometric="palette", colormap=table)
    assert look(paletted).colour
    assert (decode(paletted, plain(24, 40))[1] == gray).all()
    cmyk = np.asarray(Image.fromarray(photo).convert("CMYK"))
    separated = decode(tiff(cmyk, photometric="separated"), plain(24, 40))
    assert np.abs(separated.astype(int) - photo.transpose(2, 0, 1)).max() <= 1


def test_pages_of_a_tiff():
    stack = np.stack([np.full((10, 12), 40 * k, dtype=np.uint8) for k in range(5)])
    data = tiff(stack, photometric="minisblack")
    assert look(data).pages == 5
    for page in range(5):
        assert (decode(data, plain(10, 12, 1), page=page) == 40 * page).all()
    with pytest.raises(PoolError, match=r"page 5 was chosen, it has 5"):
        decode(data, plain(10, 12, 1), page=5)
    with pytest.raises(PoolError, match=r"page 7 was chosen, it has 5"):
        look(data, page=7)


def test_channels_of_a_tiff_and_of_an_rgb_image(photo):
    bands = np.arange(5, dtype=np.uint8)[None, None].repeat(9, 0).repeat(8, 1) * 50
    data = tiff(bands, photometric="minisblack", planarconfig="contig")
    assert look(data).channels == 5
    assert not look(data).colour
    assert (decode(data, plain(9, 8, 1)) == 0).all()  # no colours: the first
    assert (decode(data, plain(9, 8, 1, channel=3)) == 150).all()
    png = encoded(photo, "PNG")
    assert (decode(png, plain(24, 40, 1, channel=2))[0] == photo[..., 2]).all()
    for image in (data, png):
        with pytest.raises(PoolError, match="channel 5 was chosen"):
            look(image, channel=5)
        with pytest.raises(PoolError, match="channel 5 was chosen"):
            decode(image, plain(9, 8, 1, channel=5))


def area_mean(image: np.ndarray, h: int, w: int) -> np.ndarray:
    """Slow twin of area interpolation: each pixel weighs by its overlap."""
    out = np.zeros((h, w))
    sy, sx = image.shape[0] / h, image.shape[1] / w
    for i in range(h):
        for j in range(w):
            total = 0.0
            for y in range(image.shape[0]):
                for x in range(image.shape[1]):
                    dy = max(0.0, min(y + 1, (i + 1) * sy) - max(y, i * sy))
                    dx = max(0.0, min(x + 1, (j + 1) * sx) - max(x, j * sx))
                    total += dy * dx * image[y, x]
            out[i, j] = total / (sy * sx)
    return out


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(0, 99))
def test_whole_factors_shrink_by_the_area_average(h, w, factor, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (h * factor, w * factor), dtype=np.uint8)
    got = fit(Image.fromarray(pixels), plain(h, w, 1))[0]
    # Pillow rounds between the two passes: up to 1 off
    assert np.abs(got - area_mean(pixels, h, w)).max() <= 1.01


def test_layouts_shrink_keep_the_aspect_and_pad():
    assert layout_of((600, 800), colour=True, max_side=96)[:3] == (3, (72, 96), (72, 96))
    assert layout_of((28, 28), colour=False, max_side=96)[:3] == (1, (28, 28), (28, 28))
    assert layout_of((1000, 20), colour=False, max_side=96)[:3] == (1, (96, 2), (96, 8))
    tiny = np.array([[10, 20], [30, 40]], dtype=np.uint8)
    got = decode(encoded(tiny, "PNG"), layout_of((2, 2), colour=False, max_side=96))[0]
    assert got.shape == (8, 8)
    assert (got[:4, :4] == 10).all()
    assert (got[4:, 4:] == 40).all()


def test_large_jpeg_is_decoded_at_a_smaller_scale_and_looks_the_same():
    y, x = np.mgrid[0:900, 0:1200]
    large = np.stack([x // 5, y // 4, (x + y) // 9], axis=2).clip(0, 255).astype(np.uint8)
    layout = layout_of((900, 1200), colour=True, max_side=96)
    scaled = decode(encoded(large, "JPEG", quality=95), layout)
    exact = decode(encoded(large, "PNG"), layout)
    assert scaled.shape == (3, 72, 96)
    assert np.abs(scaled.astype(int) - exact).max() <= 6


def huge_png(side: int) -> bytes:
    """A PNG whose header promises side x side pixels; nobody should decode it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_more_than_100_megapixels_are_refused_by_header():
    with pytest.raises(PoolError, match="30000 x 30000 pixels are 900 megapixels: limit 100"):
        look(huge_png(30_000))
    with pytest.raises(PoolError, match="900 megapixels"):
        decode(huge_png(30_000), plain(8, 8))
    assert look(huge_png(9_900)).width == 9_900  # 98 megapixels: no warning, no error
    small = tiff(np.zeros((8, 8), dtype=np.uint8))
    with tifffile.TiffFile(BytesIO(small)) as file:
        at = {tag.name: tag.valueoffset for tag in file.pages.first.tags}
    forged = bytearray(small)
    for name in ("ImageWidth", "ImageLength"):
        forged[at[name] : at[name] + 4] = struct.pack("<I", 30_000)
    with pytest.raises(PoolError, match="megapixels"):
        look(bytes(forged))


def test_bad_content_has_a_reason(photo):
    with pytest.raises(PoolError, match="empty"):
        look(b"")
    with pytest.raises(PoolError, match="is no JPEG, PNG"):
        look(b"this is a text that somebody called .png")
    for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        whole = encoded(photo, form)
        cut = whole[: len(whole) // 2]
        with pytest.raises(Exception) as error:  # whatever the decoder says
            decode(cut, plain(24, 40))
        assert why(error.value)
        assert "\n" not in why(error.value)


def test_truncated_jpeg_passes_its_header_and_fails_its_decode():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cut = encoded(noise, "JPEG")[:-2000]
    assert look(cut).width == 64
    for layout in (plain(64, 64), plain(8, 8)):
        with pytest.raises(OSError, match="truncated") as error:
            decode(cut, layout)
        assert "truncated" in why(error.value)


def test_reasons_are_one_printable_line():
    assert why(MemoryError()) == "needs more memory than there is"
    assert why(FileNotFoundError(2, "No such file")) == (
        "the file is not there (removed, or a link to nothing)"
    )
    assert why(PermissionError(13, "denied")) == "no right to read it"
    assert why(KeyError()) == "KeyError"
    assert why(ValueError("first\nsecond")) == "first"
    assert why(ValueError("odd \udcff byte")).isprintable()
    assert len(why(ValueError("x" * 1000))) == 200


def test_a_tiff_file_whose_writing_broke_off() -> None:
    with pytest.raises(PoolError, match="without a page"):
        look(b"II*\x00\x00\x00\x00\x00")
