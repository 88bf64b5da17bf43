"""The cache of features: found again, resumed, rebuilt, and never in the way."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful import cache, features
from handful.cache import BLOCK, FeatureCache
from handful.errors import InputError, RecipeError, TrainingError
from handful.features import FeatureOptions, FeatureSpace
from handful.pool.arrays import open_arrays
from handful.progress import Silent
from handful.testing.learners import TinyPool, tiny_pool
from handful.types import Pool

N, WIDTH = 3 * BLOCK + 40, 6


def pixels(n: int = N, seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, 8, 8, channels), dtype=np.uint8)


def pool_of(images: np.ndarray, **how: Any) -> Pool:
    return open_arrays("x", {"images": images}, **how).pool


class Encoder:
    """A stand-in that counts: the sums of an image's columns, in pieces of 100 rows."""

    def __init__(self, pool: Pool, *, stop_after: int | None = None) -> None:
        self.pool, self.stop_after = pool, stop_after
        self.rows: list[int] = []

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(rows), 100):
            piece = rows[start : start + 100]
            if self.stop_after is not None and len(self.rows) >= self.stop_after:
                raise KeyboardInterrupt
            self.rows += piece.tolist()
            yield self.slow(piece)

    def slow(self, rows: np.ndarray) -> np.ndarray:
        x = self.pool.read(rows).astype(np.float32)
        return np.ascontiguousarray(x.sum((1, 2))[:, :WIDTH])


@pytest.fixture
def kept(tmp_path: Path) -> FeatureCache:
    return FeatureCache({"backbone": "sums", "to": [8, 8]}, tmp_path)


def test_made_once_and_memory_mapped(kept: FeatureCache) -> None:
    pool = pool_of(pixels())
    encoder = Encoder(pool)
    first = kept.matrix(pool, encoder, WIDTH)
    assert isinstance(first, np.memmap)
    assert not first.flags.writeable
    assert encoder.rows == list(range(N))
    np.testing.assert_array_equal(first, encoder.slow(np.arange(N)))
    again = Encoder(pool)
    second = kept.matrix(pool_of(pixels()), again, WIDTH)
    assert again.rows == []
    np.testing.assert_array_equal(first, second)
    assert cache.usage(kept.root)[0] == 1
    assert cache.usage(kept.root)[1] > N * WIDTH * 4
    assert not list(kept.here.glob("*.part*"))


def test_other_images_and_other_transforms_are_other_matrices(kept: FeatureCache) -> None:
    pool = pool_of(pixels())
    kept.matrix(pool, Encoder(pool), WIDTH)
    other = pool_of(pixels(seed=1))
    encoder = Encoder(other)
    found = kept.matrix(other, encoder, WIDTH)
    np.testing.assert_array_equal(found, encoder.slow(np.arange(N)))
    assert len(encoder.rows) == N
    for change in ({"to": [9, 9]}, {"weights": "ab"}, {"backbone": "mean"}):
        encoder = Encoder(pool)
        FeatureCache({**kept.encoder, **change}, kept.root).matrix(pool, encoder, WIDTH)
        assert len(encoder.rows) == N


def test_the_same_files_read_otherwise_are_other_images(kept: FeatureCache) -> None:
    """Channel 0 and channel 1 have the same digests: the pixels tell them apart."""
    images = pixels()
    red, green = pool_of(images, channel=0), pool_of(images, channel=1)
    assert red.digest(5) == green.digest(5)
    kept.matrix(red, Encoder(red), WIDTH)
    for pool in (green, green.subset(np.arange(0, N, 2))):
        encoder = Encoder(pool)
        found = kept.matrix(pool, encoder, WIDTH)
        np.testing.assert_array_equal(found, Encoder(pool).slow(np.arange(len(pool))))


def test_a_part_of_the_pool_and_a_grown_pool_compute_only_what_is_new(kept: FeatureCache) -> None:
    images = pixels()
    pool = pool_of(images)
    whole = kept.matrix(pool, Encoder(pool), WIDTH)
    rows = np.arange(1, N, 3)
    part = pool.subset(rows)
    encoder = Encoder(part)
    np.testing.assert_array_equal(kept.matrix(part, encoder, WIDTH), whole[rows])
    assert encoder.rows == []
    grown = pool_of(np.concatenate([pixels(50, seed=9), images]))
    encoder = Encoder(grown)
    found = kept.matrix(grown, encoder, WIDTH)
    np.testing.assert_array_equal(found, encoder.slow(np.arange(N + 50)))
    assert sorted(encoder.rows) == list(range(50))
    assert isinstance(found, np.memmap)


def test_a_large_part_gets_a_file_of_its_own(
    kept: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(pixels())
    whole = kept.matrix(pool, Encoder(pool), WIDTH)
    monkeypatch.setattr(cache, "GATHERED", 0)
    part = pool.subset(np.arange(0, N, 2))
    encoder = Encoder(part)
    found = kept.matrix(part, encoder, WIDTH)
    assert isinstance(found, np.memmap)
    assert encoder.rows == []
    np.testing.assert_array_equal(found, whole[::2])


@pytest.mark.parametrize("damage", ["shorter", "altered", "gone", "json", "sums", "empty", "ids"])
def test_a_damaged_matrix_is_made_again(
    kept: FeatureCache, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool = pool_of(pixels())
    first = np.array(kept.matrix(pool, Encoder(pool), WIDTH))
    (path,) = [p for p in kept.here.glob("*.npy") if ".ids." not in p.name]
    about = path.with_suffix(".json")
    data = path.read_bytes()
    if damage == "shorter":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        path.write_bytes(data[:-3] + b"abc")
    elif damage == "gone":
        path.unlink()
    elif damage == "ids":
        path.with_suffix(".ids.npy").unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "json":
        about.write_text('{"shape": [1')
    else:
        about.write_text(json.dumps(json.loads(about.read_text()) | {"sums": [1]}))
    encoder = Encoder(pool)
    with caplog.at_level(logging.WARNING):
        again = kept.matrix(pool, encoder, WIDTH)
    assert "damaged" in caplog.text
    assert len(encoder.rows) == N
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("strange", ["images", "transform"])
def test_a_matrix_of_something_else_is_made_again(
    kept: FeatureCache, strange: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that were copied to a name which is not theirs."""
    pool, encoder = pool_of(pixels()), kept.encoder
    kept.matrix(pool, Encoder(pool), WIDTH)
    (mine,) = kept.here.glob("*.json")
    other = pool_of(pixels(seed=1)) if strange == "images" else pool
    cache_of = FeatureCache(
        {**encoder, "to": [9, 9]} if strange == "transform" else encoder, kept.root
    )
    cache_of.matrix(other, Encoder(other), WIDTH)
    (theirs,) = [p for p in cache_of.here.glob("*.json") if p != mine]
    for suffix in (".json", ".npy", ".ids.npy"):
        shutil.copy(theirs.with_suffix(suffix), mine.with_suffix(suffix))
    again = Encoder(pool)
    with caplog.at_level(logging.WARNING):
        found = kept.matrix(pool, again, WIDTH)
    assert ("other images" if strange == "images" else "another encoder") in caplog.text
    assert len(again.rows) == N
    np.testing.assert_array_equal(found, again.slow(np.arange(N)))


def test_an_extraction_that_was_cut_off_goes_on(kept: FeatureCache) -> None:
    pool = pool_of(pixels())
    cut = Encoder(pool, stop_after=2 * BLOCK + 50)
    with pytest.raises(KeyboardInterrupt):
        kept.matrix(pool, cut, WIDTH)
    assert not [p for p in kept.here.glob("*.json") if ".part." not in p.name]
    encoder = Encoder(pool)
    found = kept.matrix(pool, encoder, WIDTH)
    assert encoder.rows == list(range(2 * BLOCK, N))
    np.testing.assert_array_equal(found, encoder.slow(np.arange(N)))


@pytest.mark.parametrize("damage", ["torn", "altered", "json", "gone"])
def test_what_a_kill_left_is_checked(kept: FeatureCache, damage: str) -> None:
    pool = pool_of(pixels())
    with pytest.raises(KeyboardInterrupt):
        kept.matrix(pool, Encoder(pool, stop_after=2 * BLOCK + 50), WIDTH)
    (part,) = kept.here.glob("*.part")
    beside = part.with_name(part.name + ".json")
    data = part.read_bytes()
    begin = {"torn": BLOCK, "altered": 0, "json": 0, "gone": 0}[damage]
    if damage == "torn":  # the file system kept less than was written
        part.write_bytes(data[: -BLOCK * WIDTH * 2])
    elif damage == "altered":
        part.write_bytes(data[:200] + b"other bytes" + data[211:])
    elif damage == "json":
        beside.write_text("[")
    else:
        part.unlink()
    encoder = Encoder(pool)
    found = kept.matrix(pool, encoder, WIDTH)
    assert encoder.rows[0] == begin
    np.testing.assert_array_equal(found, encoder.slow(np.arange(N)))


def _slowly(root: str) -> None:
    pool = pool_of(pixels())

    def slow(rows: np.ndarray) -> Iterator[np.ndarray]:
        for piece in Encoder(pool)(rows):
            time.sleep(0.1)
            yield piece

    FeatureCache({"backbone": "sums", "to": [8, 8]}, Path(root)).matrix(pool, slow, WIDTH)


def test_killed_and_taken_up_by_another_process(kept: FeatureCache) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_slowly, args=(str(kept.root),))
    child.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(kept.here.glob("*.part.json")):
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    pool = pool_of(pixels())
    encoder = Encoder(pool)
    found = kept.matrix(pool, encoder, WIDTH)  # the lock went with its holder
    assert encoder.rows[0] >= BLOCK
    np.testing.assert_array_equal(found, encoder.slow(np.arange(N)))


def test_two_at_once_share_the_work(kept: FeatureCache) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_slowly, args=(str(kept.root),))
    child.start()
    while not list(kept.here.glob("*.part.json")) and child.is_alive():
        time.sleep(0.01)
    pool = pool_of(pixels())
    encoder = Encoder(pool)
    found = kept.matrix(pool, encoder, WIDTH)
    child.join()
    assert child.exitcode == 0
    assert encoder.rows == []
    np.testing.assert_array_equal(found, encoder.slow(np.arange(N)))


def test_a_full_disk_ends_in_memory(
    kept: FeatureCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = pool_of(pixels())
    write, left = cache._write, [2]

    def full(path: Path, data: bytes, **how: bool) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(path, data, **how)

    for room in (0, 2, 3, 5, 6):
        left[0] = room
        monkeypatch.setattr(cache, "_write", full)
        encoder = Encoder(pool)
        found = FeatureCache({**kept.encoder, "room": room}, kept.root).matrix(pool, encoder, WIDTH)
        assert encoder.rows == list(range(N))
        np.testing.assert_array_equal(found, encoder.slow(np.arange(N)))
        assert not found.flags.writeable
        assert ("No space left" in caplog.text) == (room < 6)
        caplog.clear()


def test_a_folder_that_cannot_be_made_ends_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    pool = pool_of(pixels())
    encoder = Encoder(pool)
    found = FeatureCache({"backbone": "sums"}, tmp_path / "file").matrix(pool, encoder, WIDTH)
    assert "features are not kept" in caplog.text
    np.testing.assert_array_equal(found, encoder.slow(np.arange(N)))


def test_nan_is_refused(kept: FeatureCache) -> None:
    pool = pool_of(pixels(20))
    bad = np.full((20, WIDTH), np.nan, dtype=np.float32)
    with pytest.raises(TrainingError, match="NaN"):
        kept.matrix(pool, lambda rows: iter([bad]), WIDTH)


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HANDFUL_CACHE", str(tmp_path / "a"))
    assert cache.folder() == tmp_path / "a"
    assert cache.usage() == (0, 0)
    monkeypatch.delenv("HANDFUL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.setattr(cache.sys, "platform", "linux")
    assert cache.folder() == tmp_path / "x" / "handful"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "handful"
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert cache.folder() == tmp_path / "Library" / "Caches" / "handful"


# --- the space that stands on it -------------------------------------------------------------


def space(tmp_path: Path, **options: Any) -> FeatureSpace:
    return FeatureSpace(FeatureOptions(**{"backbone": "small", **options}), cache=tmp_path)


def test_auto_takes_what_fits(tmp_path: Path) -> None:
    gray, _ = tiny_pool(6)
    colour, _ = tiny_pool(6, (8, 9), channels=3)
    large, _ = tiny_pool(6, (49, 20))
    ready, _ = tiny_pool(6, features=5)
    for pool, width, words in (
        (gray, 64, "pixels, 64 numbers"),
        (ready, 5, "ready features, 5 numbers"),
        (colour, 128, "small (random) at 8 x 9 pixels, 128 numbers"),
        (large, 128, "small (random) at 49 x 20 pixels, 128 numbers"),
    ):
        s = space(tmp_path)
        assert s.describe() == "no images seen yet"
        with pytest.raises(InputError, match="seen no images"):
            _ = s.width
        z = s.vectors(pool)
        assert z.shape == (6, width)
        assert z.dtype == np.float32
        assert (s.width, s.describe()) == (width, words)
        new = pool.features if pool.features is not None else pool.read(np.arange(6))
        np.testing.assert_allclose(space(tmp_path).encode(new), z, atol=1e-5)
        np.testing.assert_array_equal(s.vectors(pool, rows=[4, 1]), z[[4, 1]])


def test_the_options_decide(tmp_path: Path) -> None:
    gray, _ = tiny_pool(6)
    ready, _ = tiny_pool(6, features=5)
    assert space(tmp_path, features="backbone").vectors(gray).shape == (6, 128)
    assert space(tmp_path, features="pixels").vectors(tiny_pool(6, channels=3)[0]).shape[1] == 192
    for wrong, pool in (("backbone", ready), ("pixels", ready), ("features", gray)):
        with pytest.raises(RecipeError, match=f"features = '{wrong}'"):
            space(tmp_path, features=wrong).vectors(pool)
    with pytest.raises(InputError, match="uint8"):
        space(tmp_path, features="backbone").encode(np.zeros((2, 3, 8, 8)))
    with pytest.raises(InputError, match="gray or RGB"):
        space(tmp_path, features="backbone").encode(np.zeros((2, 4, 8, 8), dtype=np.uint8))


class Counted(TinyPool):
    """Counts what is read of it; slow to make, hence never to be read twice."""

    reads = 0

    def read(self, rows: Any, size: Any = None) -> Any:
        type(self).reads += len(np.asarray(rows))
        return super().read(rows, size)


def test_the_last_pool_stays_at_hand(tmp_path: Path) -> None:
    tiny, _ = tiny_pool(30, channels=3)
    pool = Counted(tiny.ids, tiny.images)
    s = space(tmp_path)
    first = s.vectors(pool)
    reads = Counted.reads
    assert s.vectors(pool) is first
    assert Counted.reads == reads


def test_resumed_features_equal_uninterrupted_ones_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pixels(2 * BLOCK + 37)
    whole = np.array(space(tmp_path / "a", image_size=16).vectors(pool_of(images)))
    forward, calls = FeatureSpace._forward, [0]

    def dies(self: FeatureSpace, x: Any) -> Any:
        calls[0] += 1
        if calls[0] > 1:
            raise KeyboardInterrupt
        return forward(self, x)

    monkeypatch.setattr(FeatureSpace, "_forward", dies)
    with pytest.raises(KeyboardInterrupt):
        space(tmp_path / "b", image_size=16).vectors(pool_of(images))
    monkeypatch.setattr(FeatureSpace, "_forward", forward)
    again = space(tmp_path / "b", image_size=16).vectors(pool_of(images))
    np.testing.assert_array_equal(whole, again)


def test_packaged_features_of_a_pool(tmp_path: Path) -> None:
    """The real encoder, tiny: bf16 agrees to two digits and is another matrix."""
    pool = pool_of(np.kron(pixels(6), np.ones((1, 4, 4, 1), dtype=np.uint8)))
    s = FeatureSpace(FeatureOptions(image_size=64), cache=tmp_path)
    z = s.vectors(pool, Silent())
    assert s.describe() == "lite0 (ImageNet-1k, packaged) at 64 x 64 pixels, 1,280 numbers"
    half = FeatureSpace(FeatureOptions(image_size=64, bf16=True), cache=tmp_path).vectors(pool)
    assert 0 < np.abs(z - half).max() < 0.1 * z.max()
    assert cache.usage(tmp_path)[0] == 2
    np.testing.assert_allclose(s.encode(pool.read(np.arange(6))), z, atol=1e-4)


def test_reading_ahead_keeps_the_order_and_hands_on_errors() -> None:
    def work(i: int) -> int:
        time.sleep(0.002 * (5 - i % 5))
        if i == 17:
            raise ValueError("seventeen")
        return i

    assert list(features._ahead(work, range(10))) == list(range(10))
    seen: list[int] = []
    with pytest.raises(ValueError, match="seventeen"):
        seen.extend(features._ahead(work, range(30)))
    assert seen == list(range(17))
    begun: list[int] = []
    stream = features._ahead(begun.append, range(1000))
    next(stream)
    stream.close()
    assert len(begun) < 10
