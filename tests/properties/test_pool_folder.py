"""A folder as a pool: what is found, what is left out, and that nothing is ever lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handful.errors import InputError, PoolError
from handful.pool import open_folder, verify
from handful.types import Pool


def png(value: int, size: tuple[int, int] = (10, 12)) -> bytes:
    out = BytesIO()
    Image.new("L", size[::-1], value).save(out, "PNG")
    return out.getvalue()


def put(root: Path, name: str, content: bytes) -> None:
    path = os.path.join(os.fspath(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


class Heard:
    """A progress that writes down how far it was told."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def task(self, name, total, unit="images"):
        self.total = total
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return None

    def advance(self, n=1, **figures):
        self.done += n


def test_flat_folder(tmp_path):
    for i in range(5):
        put(tmp_path, f"{i}.png", png(50 * i))
    heard = Heard()
    data = open_folder(tmp_path, progress=heard)
    assert (heard.total, heard.done) == (5, 5)
    pool = data.pool
    assert isinstance(pool, Pool)
    assert list(pool.ids) == [f"{i}.png" for i in range(5)]
    assert (pool.channels, pool.size, pool.features, len(pool)) == (1, (10, 12), None, 5)
    assert data.labels is None
    assert data.split is None
    assert data.classes == ()
    images = pool.read(np.arange(5))
    assert images.shape == (5, 1, 10, 12)
    assert images[:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]
    assert pool.digest(3) == sha256(png(150)).hexdigest()
    assert pool.row("3.png") == 3
    for strange in ("9.png", "", "3.pn"):
        with pytest.raises(KeyError):
            pool.row(strange)
    assert data.found.repeats == 0
    assert data.found.formats == {"PNG": 5}


def test_class_folders_are_truth_nested_ones_too(tmp_path):
    for name in ("dog/1.png", "cat/deep/er/2.png", "cat/0.png", "loose.png"):
        put(tmp_path, name, png(len(name)))
    data = open_folder(tmp_path)
    assert list(data.pool.ids) == ["cat/0.png", "cat/deep/er/2.png", "dog/1.png", "loose.png"]
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, -1]
    assert data.found.classes == {"cat": 2, "dog": 1}
    assert "1 image outside the class folders" in str(data.found)


def test_train_and_test_folders_are_the_split(tmp_path):
    for name in ("train/b/1.png", "train/a/2.png", "test/a/3.png", "val/b/4.png"):
        put(tmp_path, name, png(len(name)))
    data = open_folder(tmp_path)
    by_id = dict(zip(data.pool.ids, data.split.tolist(), strict=True))
    assert by_id == {"test/a/3.png": 1, "train/a/2.png": 0, "train/b/1.png": 0, "val/b/4.png": 0}
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [0, 0, 1, 1]
    # a class that happens to be called test is no split
    shutil.rmtree(tmp_path / "train")
    assert open_folder(tmp_path).split is None


def test_one_class_folder_is_one_class_and_says_so(tmp_path):
    put(tmp_path, "only/1.png", png(1))
    data = open_folder(tmp_path)
    assert data.classes == ("only",)
    assert "one class" in str(data.found)


def test_hidden_and_own_folders_are_skipped_others_counted(tmp_path):
    for name in (".handful/derived/t.png", "handful-export/x.png", ".hidden.png", "a/.git/y.png"):
        put(tmp_path, name, png(1))
    put(tmp_path, "a/ok.png", png(2))
    put(tmp_path, "notes.txt", b"hello")
    put(tmp_path, "photo.heic", b"hello")
    data = open_folder(tmp_path)
    assert list(data.pool.ids) == ["a/ok.png"]
    assert "2 other files left alone (1 .heic, 1 .txt)" in str(data.found).replace(
        "1 .txt, 1 .heic", "1 .heic, 1 .txt"
    )


ODD = ["with space.png", "quo'te\".png", "ümläut 猫.png", "new\nline.png", "tab\t.png", "a,b;c.png"]


def test_odd_names_and_bytes_that_are_no_utf8(tmp_path):
    for i, name in enumerate(ODD):
        put(tmp_path, f"c{i % 2}/{name}", png(i + 1))
    raw = os.path.join(os.fsencode(tmp_path), b"c0", b"caf\xe9\xff.png")
    with open(raw, "wb") as file:
        file.write(png(99))
    with open(raw[:-4] + b"bad.png", "wb") as file:
        file.write(b"")
    data = open_folder(tmp_path)
    assert len(data.pool) == len(ODD) + 1
    assert list(data.pool.ids) == sorted(data.pool.ids)
    assert "c0/caf\udce9\udcff.png" in list(data.pool.ids)
    row = data.pool.row("c0/caf\udce9\udcff.png")
    assert data.pool.read([row])[0, 0, 0, 0] == 99
    for id in data.pool.ids:
        assert data.pool.ids[data.pool.row(id)] == id
    assert verify(data.pool) == {}
    str(data.found).encode("utf-8")  # can be printed anywhere


def test_two_files_with_the_same_content(tmp_path):
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        put(tmp_path, name, png(7))
    put(tmp_path, "b/3.png", png(8))
    put(tmp_path, "b/4.png", png(8))
    found = open_folder(tmp_path).found
    assert found.duplicates == (("a/1.png", "b/1.png", "b/2.png"), ("b/3.png", "b/4.png"))
    assert found.repeats == 3
    assert "a/1.png = b/1.png = b/2.png" in str(found)


def test_broken_files_are_listed_excluded_and_counted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    for i in range(4):
        put(tmp_path, f"good{i}.png", png(i, (64, 64)))
    put(tmp_path, "cut.jpg", out.getvalue()[:-2000])
    put(tmp_path, "text.png", b"just text")
    put(tmp_path, "zero.gif", b"")
    os.symlink("nowhere.png", tmp_path / "dangling.png")
    os.symlink("self.png", tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe.png")
    data = open_folder(tmp_path)
    assert set(data.found.broken) == {
        "text.png", "zero.gif", "dangling.png", "self.png", "pipe.png",
    }  # fmt: skip
    assert data.found.images == len(data.pool) == 5
    assert "5 broken images left out" in str(data.found)
    # the truncated one passes by its header: the first decode finds it
    cut = data.pool.row("cut.jpg")
    assert data.pool.broken == {}
    images = data.pool.read(np.arange(5))
    assert (images[cut] == 0).all()
    assert set(data.pool.broken) == {cut}
    assert "truncated" in data.pool.broken[cut]
    assert verify(data.pool) == {cut: data.pool.broken[cut]}
    good = np.setdiff1d(np.arange(5), [cut])
    kept = data.subset(good)
    assert "cut.jpg" not in list(kept.pool.ids)
    assert kept.pool.broken == {}
    assert data.pool.subset(np.array([cut])).broken == {0: data.pool.broken[cut]}


def test_a_file_that_vanishes_after_the_scan_is_broken_not_fatal(tmp_path):
    put(tmp_path, "a.png", png(1))
    put(tmp_path, "b.png", png(2))
    pool = open_folder(tmp_path).pool
    os.remove(tmp_path / "a.png")
    assert verify(pool) == {0: "the file is not there (removed, or a link to nothing)"}
    assert (pool.read([0, 1])[:, 0, 0, 0] == [0, 2]).all()


def test_an_empty_folder_and_one_without_a_readable_image(tmp_path):
    with pytest.raises(PoolError, match=r"no images in .* it is empty"):
        open_folder(tmp_path)
    put(tmp_path, "readme.txt", b"x")
    with pytest.raises(PoolError, match=r"no images in .*looked for JPEG.*1 other file"):
        open_folder(tmp_path)
    put(tmp_path, "a.png", b"text")
    put(tmp_path, "b.png", b"")
    with pytest.raises(PoolError, match=r"of 2 image files in .* none can be read.*a.png"):
        open_folder(tmp_path)
    with pytest.raises(PoolError, match="cannot be listed"):
        open_folder(tmp_path / "missing")


def test_links_are_followed_outwards_once_and_loops_end(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(root, "a/1.png", png(1))
    put(outside, "deep/2.png", png(2))
    os.symlink(root, root / "a" / "loop")
    os.symlink("..", root / "a" / "up")
    os.symlink("a", root / "same")
    os.symlink(outside, root / "out")
    os.symlink(outside, root / "out again")
    os.symlink(tmp_path, outside / "back")  # leads above the root, hence into it again
    os.symlink("a/1.png", root / "file.png")
    data = open_folder(root)
    ids = list(data.pool.ids)
    assert ids == sorted(ids)
    assert ids == ["a/1.png", "file.png", "out again/deep/2.png"]
    assert "not followed" in str(data.found)


def test_a_folder_nobody_may_write_and_one_nobody_may_list():
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    old = os.geteuid()
    try:
        put(folder, "a.png", png(1))
        put(folder, "b.png", png(2))
        put(folder, "secret/c.png", png(3))
        os.chmod(folder / "b.png", 0o000)
        os.chmod(folder / "secret", 0o000)
        os.chmod(folder, 0o555)
        if old == 0:
            os.seteuid(65534)
        data = open_folder(folder)
        assert list(data.pool.ids) == ["a.png"]
        assert data.found.broken == {"b.png": "no right to read it"}
        assert "1 folder cannot be listed, e.g. 'secret/'" in str(data.found)
        assert data.pool.read([0])[0, 0, 0, 0] == 1
    finally:
        os.seteuid(old)
        for place in (folder, folder / "secret"):
            os.chmod(place, 0o755)
        shutil.rmtree(folder)


def test_mixed_sizes_and_colour_take_the_most_frequent(tmp_path):
    for i in range(3):
        put(tmp_path, f"{i}.png", png(100 + i, (20, 30)))
    put(tmp_path, "large.png", png(7, (200, 300)))
    out = BytesIO()
    Image.new("RGB", (20, 20), (10, 20, 30)).save(out, "PNG")
    put(tmp_path, "red.png", out.getvalue())
    data = open_folder(tmp_path)
    assert (data.pool.channels, data.pool.size) == (3, (20, 30))
    assert data.found.sizes == {(20, 30): 3, (200, 300): 1, (20, 20): 1}
    assert data.found.colours == {"gray": 4, "colour": 1}
    assert "3 sizes: 2 images resized to the most frequent, 20 x 30" in str(data.found)
    images = data.pool.read(np.arange(5))
    assert images[4, :, 5, 5].tolist() == [10, 20, 30]
    assert (images[3] == 7).all()
    gray = open_folder(tmp_path, channel=0)
    assert (gray.pool.channels, gray.pool.read([4])[0, 0, 3, 3]) == (1, 10)


def test_among_equally_frequent_sizes_the_larger_wins(tmp_path):
    put(tmp_path, "a.png", png(1, (9, 9)))
    put(tmp_path, "b.png", png(1, (30, 40)))
    assert open_folder(tmp_path).pool.size == (30, 40)


def test_large_and_tiny_images_are_said_once(tmp_path):
    for i in range(3):
        put(tmp_path, f"{i}.png", png(i, (300, 400)))
    data = open_folder(tmp_path)
    assert data.pool.size == (72, 96)
    assert sum("shrunk to 72 x 96" in note for note in data.found.notes) == 1
    assert open_folder(tmp_path, max_side=200).pool.size == (150, 200)
    assert data.pool.read([0], (150, 200)).shape == (1, 1, 150, 200)
    with pytest.raises(InputError, match="max_side"):
        open_folder(tmp_path, max_side=4)
    for path in tmp_path.iterdir():
        path.write_bytes(png(5, (3, 5)))
    data = open_folder(tmp_path)
    assert data.pool.size == (8, 8)
    assert (data.pool.read([0, 2]) == 5).all()
    assert "padded" in str(data.found)


def pages(root: Path, name: str, values: list[int]) -> None:
    stack = np.stack([np.full((10, 12), v, dtype=np.uint8) for v in values])
    tifffile.imwrite(root / name, stack, photometric="minisblack")


def test_multi_page_tiff_first_page_another_or_each(tmp_path):
    pages(tmp_path, "s.tif", [10, 20, 30])
    pages(tmp_path, "s.tif!.tif", [40, 50])
    put(tmp_path, "single.png", png(99))
    first = open_folder(tmp_path)
    assert first.pool.read(np.arange(3))[:, 0, 0, 0].tolist() == [10, 40, 99]
    assert "2 TIFF files with several pages: page 0 is used" in str(first.found)
    third = open_folder(tmp_path, page=2)
    assert third.found.broken == {"s.tif!.tif": "page 2 was chosen, it has 2 (counted from 0)"}
    assert third.pool.read(np.arange(2))[:, 0, 0, 0].tolist() == [30, 99]
    with pytest.raises(InputError, match="page is 'each': a number from 0, or 'all'"):
        open_folder(tmp_path, page="each")
    each = open_folder(tmp_path, page="all")
    ids = list(each.pool.ids)
    assert ids == sorted(ids)
    got = each.pool.read(np.arange(len(ids)))[:, 0, 0, 0].tolist()
    assert dict(zip(ids, got, strict=True)) == {
        "s.tif#00000000": 10,
        "s.tif#00000001": 20,
        "s.tif#00000002": 30,
        "s.tif!.tif#00000000": 40,
        "s.tif!.tif#00000001": 50,
        "single.png": 99,
    }
    assert each.found.repeats == 0
    assert len({each.pool.digest(i) for i in range(len(ids))}) == 6


def test_files_beyond_the_memory_limit_are_hashed_in_pieces(tmp_path, monkeypatch):
    put(tmp_path, "a.png", png(5))
    whole = open_folder(tmp_path).pool.digest(0)
    monkeypatch.setattr("handful.pool.folder._IN_MEMORY", 10)
    again = open_folder(tmp_path).pool
    assert again.digest(0) == whole
    assert (again.read([0]) == 5).all()


def test_ids_are_sorted_stable_and_independent_of_the_order_of_writing(tmp_path):
    names = ["b.png", "b/x.png", "b-1.png", "a/z.png", "B.png", "b/a/y.png", "b!.png", "ä.png"]
    for place, order in (("one", names), ("two", names[::-1])):
        for i, name in enumerate(order):
            put(tmp_path / place, name, png(i))
    one, two = (open_folder(tmp_path / place).pool.ids for place in ("one", "two"))
    assert list(one) == list(two) == sorted(names)


def test_more_files_than_wait_at_a_time_keep_their_order(tmp_path):
    for i in range(700):
        put(tmp_path, f"{i:04d}.png", png(i % 251, (8, 8 + i % 2)))
    data = open_folder(tmp_path)
    assert data.found.sizes == {(8, 9): 350, (8, 8): 350}
    assert (data.pool.read(np.arange(700))[:, 0, 0, 0] == np.arange(700) % 251).all()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(3)
    for i in range(30):
        shape = (16, 16) if i % 3 else (24, 20)
        out = BytesIO()
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(out, "PNG")
        put(root, f"{i:02d}.png", out.getvalue() if i != 7 else out.getvalue()[:-60])
    return root


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 29), max_size=40), st.booleans(), st.data())
def test_reading_some_rows_equals_rows_of_reading_all(mixed, rows, keep, draw):
    with pytest.MonkeyPatch.context() as patch:
        if not keep:
            patch.setattr("handful.pool.encoded.CACHE_BYTES", 0)
        pool = open_folder(mixed).pool
        every = open_folder(mixed).pool.read(np.arange(30))
        assert (pool.read(np.array(rows, dtype=int)) == every[rows]).all()
        chosen = np.array(sorted(draw.draw(st.sets(st.integers(0, 29), min_size=1))))
        part = pool.subset(chosen)
        assert (part.read(np.arange(len(chosen))) == every[chosen]).all()
        assert list(part.ids) == [pool.ids[i] for i in chosen]
        assert [part.digest(i) for i in range(len(chosen))] == [pool.digest(i) for i in chosen]
        assert part.ids[1:3] == [pool.ids[i] for i in chosen[1:3]]
        half = part.subset(np.arange(len(chosen)) % 2 == 0)
        assert (half.read(np.arange(len(half))) == every[chosen[::2]]).all()
        assert all(half.row(id) == i for i, id in enumerate(half.ids))


def test_reading_asks_the_disk_once(mixed, monkeypatch):
    pool = open_folder(mixed).pool
    before = pool.read(np.arange(30))
    monkeypatch.setattr("handful.pool.encoded.decode", lambda *a, **k: pytest.fail("decoded again"))
    assert (pool.subset(np.arange(5)).read([1, 1, 0]) == before[[1, 1, 0]]).all()


def test_what_is_read_may_be_written_to(mixed):
    pool = open_folder(mixed).pool
    first = pool.read([0])
    expected = first.copy()
    first[:] = 0
    assert (pool.read([0]) == expected).all()


@pytest.mark.parametrize("rows", [[30], [-1], [[0, 1]], [0.5], ["a"]])
def test_rows_that_do_not_exist_are_an_error(mixed, rows):
    with pytest.raises(InputError, match="row"):
        open_folder(mixed).pool.read(np.array(rows))


@pytest.mark.parametrize("rows", [[3, 1], [1, 1], [-1, 2], [30], [[1]], [0.5], [True, False]])
def test_subsets_rise_strictly(mixed, rows):
    with pytest.raises(InputError, match=r"subset|mask"):
        open_folder(mixed).subset(np.array(rows))


def test_reading_no_row_gives_no_image(mixed):
    assert open_folder(mixed).pool.read([]).shape == (0, 1, 16, 16)
