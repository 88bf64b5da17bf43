"""What is shown of deep pictures, pages and channels; what is learned from them stays the same."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from page_serving import Client, serving
from PIL import Image

from handful.errors import PoolError
from handful.page.contrast import Stretch
from handful.pool.decode import Layout, decode

RNG = np.random.default_rng(0)


def one_by_one(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """The formula, a value at a time."""
    made = [round(255 * min(1.0, max(0.0, (float(x) - low) / (high - low)))) for x in values.flat]
    return np.array(made, dtype=np.uint8).reshape(values.shape)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    st.floats(0, 200), st.floats(1, 60_000), st.booleans(), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_the_formula(dtype: str, low: float, width: float, invert: bool, seed: int) -> None:
    values = (np.random.default_rng(seed).random((7, 5)) * 250).astype(dtype)
    bits = 8 if dtype == "uint8" else 16
    found = Stretch({"low": low, "high": low + width, "invert": invert})(values, bits)
    expected = one_by_one(values, low, low + width)
    assert np.abs(found.astype(int) - (255 - expected if invert else expected)).max() <= 1
    assert found.dtype == np.uint8


def test_from_nine_bits_on_between_the_percentiles() -> None:
    values = RNG.integers(0, 4096, (64, 64)).astype(np.uint16)  # a camera of 12 bits
    values[0, 0] = 65_535  # and one hot pixel
    low, high = np.percentile(values, [0.5, 99.5])
    stretch = Stretch()
    assert np.abs(stretch(values, 16).astype(int) - one_by_one(values, low, high)).max() <= 1
    assert (stretch.least, stretch.most) == (values.min(), 65_535)
    dark = Stretch({"auto": False})(values, 16)
    assert sorted(dark.ravel())[-2] <= 16  # by what 16 bits can hold it is black
    eight = RNG.integers(0, 99, (9, 9)).astype(np.uint8)
    assert (Stretch()(eight, 8) == eight).all()
    assert Stretch({"auto": True})(eight, 8).max() == 255


def test_nothing_is_divided_by_zero() -> None:
    for value, expected in ((0, 0), (32_768, 128), (65_535, 255)):
        assert (Stretch()(np.full((4, 4), value, np.uint16), 16) == expected).all()
    assert (Stretch()(np.zeros((2, 2), bool), 1) == 0).all()
    with pytest.raises(PoolError, match="NaN"):
        Stretch()(np.array([[np.nan, 1.0]], dtype=np.float32), 32)


def test_how_it_is_shown_changes_nothing_that_is_learned(tmp_path: Path) -> None:
    """Without a scale a file is decoded as ever: by what its type can hold."""
    values = RNG.integers(0, 65_536, (16, 16)).astype(np.uint16)
    layout = Layout(1, (16, 16), (16, 16))
    for name in ("a.tif", "a.png"):
        path = tmp_path / name
        if name.endswith("tif"):
            tifffile.imwrite(path, values)
        else:
            Image.fromarray(values).save(path)
        plain = decode(str(path), layout)
        assert (plain[0] == np.rint(values / 257)).all()
        shown = decode(str(path), layout, scale=Stretch({"low": 0.0, "high": 100.0}))
        assert (shown[0] == one_by_one(values, 0, 100)).mean() > 0.99


def test_transparency_is_no_contrast(tmp_path: Path) -> None:
    values = np.zeros((8, 8, 4), np.uint16)
    values[..., :3], values[..., 3] = 1000, 65_535
    values[:4, :, :3] = 3000
    values[0, :, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    pixels = decode(str(tmp_path / "a.tif"), Layout(3, (8, 8), (8, 8)), scale=Stretch())
    assert (pixels[:, 0] == 255).all()  # nothing there: white paper
    assert (pixels[:, 1:4] == 255).all()
    assert (pixels[:, 4:] == 0).all()


# ------------------------------------------------------------------ over the wire


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A ramp, five pages of two sizes, three stains, a photo."""
    folder = tmp_path_factory.mktemp("deep")
    ramp = np.linspace(0, 65_535, 1024).astype(np.uint16).reshape(32, 32)
    tifffile.imwrite(folder / "ramp.tif", ramp)
    with tifffile.TiffWriter(folder / "pages.tif") as file:
        for n in range(5):
            file.write(np.full((20, 20 if n < 3 else 40), n * 40, np.uint8))
    stains = np.stack([np.full((12, 12), 9_000 * (n + 1), np.uint16) for n in range(3)], axis=-1)
    stains[0] = 0
    tifffile.imwrite(folder / "stains.tif", stains, photometric="minisblack", planarconfig="contig")
    photo = RNG.integers(60, 90, (30, 20, 3)).astype(np.uint8)
    Image.fromarray(photo).save(folder / "photo.png")
    with serving(folder) as page:
        page.settled()
        yield page


@pytest.fixture(scope="module")
def ids(deep: Any) -> dict[str, str]:
    items = deep.client().get("/images").json["items"]
    return {item["name"]: item["id"] for item in items}


def shown(client: Client, id: str, **asked: Any) -> NDArray[Any]:
    reply = client.get(f"/full/{id}", **asked)
    assert reply.status == 200, reply.body
    return np.asarray(Image.open(BytesIO(reply.body)).convert("RGB")).astype(int)


def test_a_ramp_has_its_grays_and_a_stretch_of_its_own(deep: Any, ids: dict[str, str]) -> None:
    client = deep.client()
    grays = shown(client, ids["ramp.tif"])
    assert len(np.unique(grays)) > 200
    values = client.get(f"/values/{ids['ramp.tif']}").json
    assert (values["bits"], values["least"], values["most"]) == (16, 0, 65_535)
    assert values["low"] == pytest.approx(65_535 * 0.005, rel=0.02)
    half = shown(client, ids["ramp.tif"], low=0, high=32_768)
    assert (half[16:] == 255).mean() > 0.9
    turned = shown(client, ids["ramp.tif"], low=0, high=32_768, invert=1)
    assert np.abs(turned + half - 255).max() <= 2
    replies = [client.get(f"/full/{ids['ramp.tif']}", **q) for q in ({}, {"low": 0, "high": 9})]
    assert replies[0].headers["etag"] != replies[1].headers["etag"]


def test_pages_and_channels(deep: Any, ids: dict[str, str]) -> None:
    client = deep.client()
    items = client.get("/queue", mode="random").json["items"]
    pages = {item["id"]: item.get("pages") for item in items}
    assert pages[ids["pages.tif"]] == 5
    assert pages[ids["ramp.tif"]] is None
    for n in range(5):
        page = shown(client, ids["pages.tif"], page=n)
        assert np.abs(page - n * 40).max() <= 1
        assert page.shape[:2] == ((20, 20) if n < 3 else (20, 40))
    picture = client.get(f"/images/{ids['pages.tif']}").json["picture"]
    assert (picture["w"], picture["h"]) == (20, 20)  # it stays what it was
    assert client.get(f"/values/{ids['pages.tif']}", page=4).json["w"] == 40
    for channel in range(3):
        values = client.get(f"/values/{ids['stains.tif']}", channel=channel).json
        assert (values["channels"], values["most"]) == (3, 9_000 * (channel + 1))
    red = shown(client, ids["photo.png"], channel=0)
    assert (red == shown(client, ids["photo.png"])[..., :1]).all()
    assert shown(client, ids["photo.png"], auto=1).max() > 250


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"page": 5}, 404), ({"channel": 3}, 404), ({"page": -1}, 400), ({"page": "x"}, 400),
        ({"low": 3}, 400), ({"low": 3, "high": 3}, 400), ({"low": "nan", "high": 1}, 400),
        ({"low": 0, "high": "inf"}, 400), ({"low": "1" * 31, "high": 1e9}, 400),
        ({"channel": "1.5"}, 400), ({"low": "1e308", "high": "1.7e308"}, 200),
    ],
)  # fmt: skip
def test_what_cannot_be_shown(deep: Any, ids: dict[str, str], asked: Any, status: int) -> None:
    client = deep.client()
    assert client.get(f"/full/{ids['pages.tif']}", **asked).status == status
    assert client.get("/problems").json["total"] == 0  # asking too much is no fault of the file
