"""Arrays as a pool: checked when opened, never pickled, large ones without many objects."""

from __future__ import annotations

import time
import tracemalloc
import zipfile
from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.errors import InputError, PoolError
from handful.pool import ArrayPool, FeaturePool, open_arrays, open_npz, verify
from handful.pool.arrays import named_labels, named_split
from handful.types import Pool


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 9, 10), dtype=np.uint8)


def test_npz_with_everything(tmp_path, images):
    path = tmp_path / "set.npz"
    labels = np.arange(12) % 3
    split = np.arange(12) >= 8
    np.savez(path, images=images, labels=labels, classes=["a", "b", "c"], split=split)
    data = open_npz(path)
    assert isinstance(data.pool, Pool)
    assert (data.name, data.classes) == ("set", ("a", "b", "c"))
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == labels.tolist()
    assert data.split.dtype == np.int8
    assert data.split.tolist() == split.astype(int).tolist()
    assert (data.pool.read(np.arange(12)) == images[:, None]).all()
    assert data.pool.ids[11] == "set.npz#00000011"
    assert list(data.pool.ids) == sorted(data.pool.ids)
    assert data.pool.row("set.npz#00000011") == 11
    assert data.pool.digest(4) == sha256(images[4].tobytes()).hexdigest()
    assert data.found.classes == {"a": 4, "b": 4, "c": 4}
    assert data.found.split == {"train": 8, "test": 4}
    assert data.pool.broken == verify(data.pool) == {}
    part = data.subset(np.array([2, 5]))
    assert (part.pool.read([1, 0]) == images[[5, 2]][:, None]).all()
    assert part.labels.tolist() == [2, 2]
    assert part.split.tolist() == [0, 0]
    assert part.pool.digest(1) == data.pool.digest(5)
    assert list(part.pool.ids) == ["set.npz#00000002", "set.npz#00000005"]
    assert len(part.pool.subset(np.array([True, False]))) == 1


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_zipped_members(tmp_path, images, how):
    raw = BytesIO()
    np.save(raw, images)
    with zipfile.ZipFile(tmp_path / "z.npz", "w", how) as file:
        file.writestr("images.npy", raw.getvalue())
    assert (open_npz(tmp_path / "z.npz").pool.read([3])[0, 0] == images[3]).all()


def test_a_stored_member_is_memory_mapped(tmp_path, images, monkeypatch):
    np.savez(tmp_path / "m.npz", labels=np.zeros(12, int), images=images)
    monkeypatch.setattr("handful.pool.arrays._BLOCK", 64)
    pool = open_npz(tmp_path / "m.npz").pool
    base = pool._images
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert base is not None
    assert (pool.read(np.arange(12)) == images[:, None]).all()


def test_colour_alpha_floats_and_wide_integers(images):
    rgb = np.random.default_rng(1).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    assert (open_arrays("x", {"images": rgb}).pool.read([2])[0] == rgb[2].transpose(2, 0, 1)).all()
    assert open_arrays("x", {"images": rgb}).pool.channels == 3
    green = open_arrays("x", {"images": rgb}, channel=1).pool
    assert (green.read([2])[0, 0] == rgb[2, ..., 1]).all()
    with pytest.raises(PoolError, match="channel 3 was chosen of 3"):
        open_arrays("x", {"images": rgb}, channel=3)
    alpha = np.concatenate([rgb, np.full((4, 8, 9, 1), 128, np.uint8)], axis=3)
    got = open_arrays("x", {"images": alpha}).pool.read([0])[0].transpose(1, 2, 0)
    assert np.abs(got - (rgb[0] * (128 / 255) + 127)).max() <= 0.5 + 1e-9
    for same in (
        images / 255,
        (images / 255).astype(np.float32),
        images.astype(np.uint16) * 257,
        images.astype(np.int64),
    ):
        got = open_arrays("x", {"images": same}).pool.read(np.arange(12))
        assert (got == images[:, None]).all()
    bits = images > 99
    assert (open_arrays("x", {"images": bits}).pool.read([0])[0, 0] == 255 * bits[0]).all()


def test_large_and_tiny_arrays_take_the_form_of_the_pool():
    large = np.full((2, 200, 100), 9, dtype=np.uint8)
    data = open_arrays("x", {"images": large})
    assert data.pool.size == (96, 48)
    assert data.pool.read([0]).shape == (1, 1, 96, 48)
    assert any("shrunk to 96 x 48" in note for note in data.found.notes)
    assert data.pool.read([1], (20, 10)).shape == (1, 1, 20, 10)
    tiny = open_arrays("x", {"images": np.full((2, 5, 5, 3), 7, dtype=np.uint8)})
    assert (tiny.pool.read([0, 1]) == np.full((2, 3, 8, 8), 7)).all()


def test_features_in_place_of_images():
    features = np.random.default_rng(0).normal(size=(20, 5))
    data = open_arrays("f", {"features": features, "labels": ["u", "v"] * 10})
    pool = data.pool
    assert isinstance(pool, Pool)
    assert isinstance(pool, FeaturePool)
    assert (pool.channels, pool.size, len(pool)) == (0, (0, 0), 20)
    assert pool.features.dtype == np.float32
    assert (pool.features == features.astype(np.float32)).all()
    assert not pool.features.flags.writeable
    assert data.classes == ("u", "v")
    assert pool.digest(3) == sha256(features[3].astype("<f4").tobytes()).hexdigest()
    assert pool.broken == verify(pool) == {}
    with pytest.raises(PoolError, match="features, no images"):
        pool.read([0])
    part = pool.subset(np.array([4, 7]))
    assert (part.features == pool.features[[4, 7]]).all()
    assert part.ids[1] == pool.ids[7]
    assert part.row(pool.ids[7]) == 1
    assert "20 rows of 5 features" in str(data.found)


def test_images_and_features_together_use_the_images(images):
    data = open_arrays("x", {"images": images, "features": np.zeros((12, 2))})
    assert isinstance(data.pool, ArrayPool)
    assert any("the images are used" in note for note in data.found.notes)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=20))
def test_reading_some_rows_of_arrays_equals_rows_of_all(rows):
    images = np.random.default_rng(5).integers(0, 256, (8, 11, 7, 3), dtype=np.uint8)
    pool = open_arrays("x", {"images": images}).pool
    rows = np.array(rows, dtype=int)
    assert (pool.read(rows) == pool.read(np.arange(8))[rows]).all()
    assert (pool.read(rows, (16, 16)) == pool.read(np.arange(8), (16, 16))[rows]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_duplicates_of_arrays_match_a_double_loop(n, width, seed):
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, 2, (n, 1, width), dtype=np.uint8)
    found = open_arrays("x", {"images": flat}).found
    groups: dict[bytes, list[int]] = {}
    for i in range(n):
        groups.setdefault(flat[i].tobytes(), []).append(i)
    expected = [[f"x#{i:08d}" for i in rows] for rows in groups.values() if len(rows) > 1]
    assert [list(group) for group in found.duplicates] == sorted(expected)
    assert found.repeats == n - len(groups)


def test_duplicates_in_large_arrays_are_looked_for_when_asked(images, monkeypatch):
    monkeypatch.setattr("handful.pool.arrays._LOOK_UP_TO", 100)
    images[3] = images[8]
    plain = open_arrays("x", {"images": images}).found
    assert (plain.repeats, plain.duplicates) == (None, ())
    assert any("not looked for" in note for note in plain.notes)
    assert open_arrays("x", {"images": images}, thorough=True).found.repeats == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros(3)}, "neither 'images'"),
        ({"images": np.zeros((3, 8))}, "shape"),
        ({"images": np.zeros((3, 3, 8, 8))}, "move the channels last"),
        ({"images": np.zeros((3, 8, 8, 7))}, "C 1, 3 or 4"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "there is no image"),
        ({"images": np.full((3, 8, 8), "x")}, "of type <U1"),
        ({"images": np.full((3, 8, 8), 0.5) * [[[1]], [[np.nan]], [[1]]]}, "NaN.* first in row 1"),
        ({"images": np.full((3, 8, 8), 2.0)}, r"outside 0..1 \(2 .. 2\): scale"),
        ({"images": np.full((3, 8, 8), -1)}, "outside 0..255"),
        ({"features": np.array([[0.0, 1.0], [np.inf, 0.0]])}, "infinite values, first in row 1"),
        ({"features": np.zeros(4)}, "shape"),
        ({"features": np.full((2, 2), "x")}, "numbers"),
        ({"images": np.zeros((3, 8, 8)), "labels": np.zeros(4)}, "'labels' .* 3 images"),
        ({"images": np.zeros((3, 8, 8)), "labels": np.zeros((3, 1))}, "'labels' has shape"),
        ({"images": np.zeros((3, 8, 8)), "labels": [0, np.nan, 1]}, "'labels' holds NaN"),
        ({"images": np.zeros((3, 8, 8)), "labels": [0, 0.5, 1]}, "fractions"),
        ({"images": np.zeros((3, 8, 8)), "labels": np.array([0, 1, 2], "M8[s]")}, "'labels' of"),
        ({"images": np.zeros((3, 8, 8)), "labels": [0, 1, 2], "classes": ["a", "b"]}, "label 2"),
        ({"images": np.zeros((3, 8, 8)), "labels": [0, -2, 0], "classes": ["a"]}, "label -2"),
        ({"images": np.zeros((3, 8, 8)), "labels": ["a", "q", "a"], "classes": ["a"]}, "'q'"),
        ({"images": np.zeros((3, 8, 8)), "labels": [0, 0, 0], "classes": ["a", "a"]}, "twice"),
        ({"images": np.zeros((3, 8, 8)), "split": [0, 1]}, "'split' has shape"),
        ({"images": np.zeros((3, 8, 8)), "split": [0, 1, 2]}, "0 .train. and 1"),
    ],
)
def test_arrays_that_cannot_be_used_say_why(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(PoolError, match=message) as error:
        open_npz(tmp_path / "bad.npz")
    assert "bad.npz" in str(error.value)


def test_pickled_objects_are_refused_and_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "trap.npz", images=np.array([Trap()] * 3, dtype=object))
    with pytest.raises(PoolError, match="'images' holds pickled Python objects"):
        open_npz(tmp_path / "trap.npz")
    np.savez(
        tmp_path / "trap.npz",
        images=np.zeros((3, 8, 8)),
        labels=np.array([Trap(), "a", "b"], dtype=object),
    )
    with pytest.raises(PoolError, match="'labels' holds pickled"):
        open_npz(tmp_path / "trap.npz")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_npz(tmp_path, images):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(PoolError, match=r"text.npz' is no .npz"):
        open_npz(tmp_path / "text.npz")
    np.savez(tmp_path / "cut.npz", images=images)
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PoolError, match=r"no \.npz"):
        open_npz(tmp_path / "cut.npz")
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as file:
        file.writestr("images.npy", b"not an array at all")
    with pytest.raises(PoolError, match=r"'images.npy' is no array"):
        open_npz(tmp_path / "odd.npz")
    with pytest.raises(PoolError, match=r"no \.npz file that can be read"):
        open_npz(tmp_path / "missing.npz")


def test_labels_and_splits_in_all_their_forms():
    labels, names = named_labels(np.array([5, 7, -1, 5]), None, n=4, where="x")
    assert (labels.tolist(), names) == ([0, 1, -1, 0], ("5", "7"))
    labels, names = named_labels(np.array(["b", "a"]), ["a", "b", "c"], n=2, where="x")
    assert (labels.tolist(), names) == ([1, 0], ("a", "b", "c"))
    labels, names = named_labels(np.array([1.0, -1.0]), ["a", "b"], n=2, where="x")
    assert labels.tolist() == [1, -1]
    labels, names = named_labels(np.array([True, False]), None, n=2, where="x")
    assert (labels.tolist(), names) == ([1, 0], ("False", "True"))
    assert named_labels(None, None, n=3, where="x") == (None, ())
    parts = named_split(np.array(["train", "Test", "validation"]), n=3, where="x")
    assert parts.tolist() == [0, 1, 0]
    parts = named_split(np.array(["train", "val", "train"]), n=3, where="x")
    assert parts.tolist() == [0, 1, 0]
    assert named_split(None, n=3, where="x") is None


def test_rows_of_arrays_are_checked(images):
    pool = open_arrays("x", {"images": images}).pool
    with pytest.raises(InputError, match="row 12 of 12"):
        pool.read([12])
    with pytest.raises(InputError, match="rise strictly"):
        pool.subset(np.array([2, 1]))
    with pytest.raises(KeyError):
        pool.row("x#00000012")


def test_five_million_rows_cost_no_five_million_objects(tmp_path):
    n = 5_000_000
    path = tmp_path / "large.npz"
    images = np.zeros((n, 4, 4), dtype=np.uint8)  # 80 MB
    images.reshape(n, 16).view(np.uint64)[:, 0] = np.arange(n)
    np.savez(path, images=images, labels=(np.arange(n) % 10).astype(np.uint8))
    del images
    tracemalloc.start()
    start = time.perf_counter()
    data = open_npz(path)
    ids = data.pool.ids
    last = ids[n - 1]
    assert data.pool.row(last) == n - 1
    part = data.subset(np.arange(0, n, 2))
    assert part.pool.row(ids[4_000_000]) == 2_000_000
    assert part.pool.read([2_000_000]).shape == (1, 1, 8, 8)
    seconds = time.perf_counter() - start
    snapshot = tracemalloc.take_snapshot()
    blocks = sum(statistic.count for statistic in snapshot.statistics("filename"))
    tracemalloc.stop()
    assert len(ids) == n
    assert data.found.repeats == 0
    assert blocks < 50_000  # objects alive, whatever their size
    assert seconds < 30
