"""``open_data``: names, paths, and what it says when there is nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from handful.errors import PoolError, UnknownName
from handful.pool import named_sets, open_data, verify


def test_digits_are_always_there(monkeypatch):
    monkeypatch.delenv("HANDFUL_DATA", raising=False)
    data = open_data("digits")
    raw = load_digits()
    assert (len(data.pool), data.pool.size, data.pool.channels) == (1797, (8, 8), 1)
    images = data.pool.read(np.arange(1797))
    assert images.max() == 255
    assert (images[:, 0] == np.rint(raw.images / 16 * 255)).all()
    assert (data.labels == raw.target).all()
    assert data.classes == tuple("0123456789")
    assert data.split is None
    assert data.pool.ids[1796] == "digits#00001796"


@pytest.fixture
def root(tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.full((3, 8, 8), 7, np.uint8))
    np.savez(tmp_path / "other.npz", images=np.full((4, 8, 8), 8, np.uint8))
    return tmp_path


def test_names_are_looked_up_under_the_data_root(root, monkeypatch):
    monkeypatch.delenv("HANDFUL_DATA", raising=False)
    assert len(open_data("mine", data_root=root).pool) == 3
    monkeypatch.setenv("HANDFUL_DATA", str(root))
    assert len(open_data("other").pool) == 4
    assert sorted(named_sets()) == ["mine", "other"]
    assert len(open_data(str(root / "mine.npz")).pool) == 3
    assert len(open_data(root / "mine.npz").pool) == 3


def test_an_unknown_name_suggests_the_nearest(root, monkeypatch):
    monkeypatch.delenv("HANDFUL_DATA", raising=False)
    with pytest.raises(UnknownName, match=r"did you mean 'mine'.*no such set under") as error:
        open_data("mime", data_root=root)
    assert error.value.near == "mine"
    with pytest.raises(UnknownName, match=r"did you mean 'digits'.*HANDFUL_DATA"):
        open_data("digit")
    assert named_sets(root / "nowhere") == {}


@pytest.mark.parametrize("spec", ["no/such/folder", "nothing.npz", "x*.parquet"])
def test_a_path_to_nothing_says_so(spec):
    with pytest.raises(PoolError, match="there is no file or folder"):
        open_data(spec)


def test_files_that_are_no_source(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(PoolError, match=r"is no source of images: give a folder"):
        open_data(tmp_path / "a.txt")
    with pytest.raises(PoolError, match=r"no file '.*b.parquet': check the list"):
        open_data(f"{tmp_path}/a.txt,{tmp_path}/b.parquet")


def test_a_folder_of_images_stays_one_beside_a_parquet_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = BytesIO()
    Image.new("L", (8, 8), 3).save(out, "PNG")
    (tmp_path / "a.png").write_bytes(out.getvalue())
    pq.write_table(pa.table({"image": [out.getvalue()] * 2}), tmp_path / "x.parquet")
    assert open_data(tmp_path).found.kind == "folder"
    (tmp_path / "a.png").unlink()
    assert open_data(tmp_path).found.kind == "parquet"
    pq.write_table(pa.table({"size": [1]}), tmp_path / "x.parquet")
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").write_bytes(out.getvalue())
    assert open_data(tmp_path).found.kind == "folder"


def test_opening_images_never_imports_torch():
    code = (
        "import sys; from handful.pool import open_data; open_data('digits');"
        " assert 'torch' not in sys.modules and 'tifffile' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


REAL = {
    "usps": (9298, (16, 16), 1, 2007),
    "mnist": (70_000, (28, 28), 1, 10_000),
    "stl10": (13_000, (96, 96), 3, 8000),
    "cifar10": (60_000, (32, 32), 3, 10_000),
    "cifar100_20": (9999, (32, 32), 3, 9999),
}


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_sets(name):
    root = os.environ.get("HANDFUL_DATA")
    if not root or name not in named_sets(root):
        pytest.skip(f"HANDFUL_DATA does not point to a folder with {name}")
    data = open_data(name, data_root=Path(root))
    n, size, channels, tests = REAL[name]
    assert (len(data.pool), data.pool.size, data.pool.channels) == (n, size, channels)
    assert int(data.split.sum()) == tests
    assert (np.bincount(data.labels) > 0).all()
    assert len(data.classes) == (20 if name == "cifar100_20" else 10)
    some = data.pool.subset(np.arange(0, n, n // 300))
    assert verify(some) == {}
    assert some.read(np.arange(100)).std() > 10
