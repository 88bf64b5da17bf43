"""Pictures to pixels, pixels to vectors, vectors kept by content."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from worker_running import Project, digits, png

from handful.errors import InputError, StoreError
from handful.geometry import unit_rows
from handful.pool.decode import Layout
from handful.worker import encoders, pictures
from handful.worker.copies import are_copies, stacks
from handful.worker.encoders import Glance, Strokes, chosen, opened, strokes
from handful.worker.kept import Kept, short
from handful.worker.looking import Looking, Small
from handful.worker.pictures import Detail, Listing, Reader, detail, listed
from handful.worker.voice import Voice

Maker = Callable[..., Project]
GLANCE = Layout(3, (16, 16), (16, 16))


def digests(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)


class TestKept:
    def test_rows_come_back_by_content(self, tmp_path: Path) -> None:
        kept, names = Kept(tmp_path, {"a": 1}, 3, "float16"), digests(5)
        kept.append(names[:3], np.arange(9).reshape(3, 3))
        kept.append(names[3:4], np.full((1, 3), 7))
        again = Kept(tmp_path, {"a": 1}, 3, "float16")
        for one in (kept, again):
            assert one.places(short(names)).tolist() == [0, 1, 2, 3, -1]
            assert one.rows(np.array([3, 0])).tolist() == [[7, 7, 7], [0, 1, 2]]
        assert len(Kept(tmp_path, {"a": 2}, 3, "float16")) == 0
        assert kept.rows(np.empty(0, np.int64)).shape == (0, 3)
        assert Kept(tmp_path, {"a": 3}, 3, "f4").places(short(names)).tolist() == [-1] * 5

    @pytest.mark.parametrize(
        ("harm", "left"), [("cut rows", 2), ("cut keys", 2), ("end", 2), ("inside", 0)]
    )
    def test_what_was_cut_off_or_altered_is_noticed(
        self, tmp_path: Path, harm: str, left: int
    ) -> None:
        kept, names = Kept(tmp_path, {}, 4, "uint8"), digests(3)
        kept.append(names, np.arange(12, dtype=np.uint8).reshape(3, 4))
        rows, keys = kept.folder / "rows.bin", kept.folder / "keys.bin"
        if harm == "cut rows":
            os.truncate(rows, 11)
        elif harm == "cut keys":
            os.truncate(keys, 2 * 36 + 5)
        else:
            data = bytearray(rows.read_bytes())
            data[11 if harm == "end" else 1] ^= 255
            rows.write_bytes(bytes(data))
        again = Kept(tmp_path, {}, 4, "uint8")
        assert len(again) == left
        assert rows.stat().st_size == left * 4
        again.append(names[left:], np.arange(left * 4, 12, dtype=np.uint8).reshape(-1, 4))
        assert Kept(tmp_path, {}, 4, "uint8").rows(np.array([2])).tolist() == [[8, 9, 10, 11]]

    def test_a_disk_that_refuses_shifts_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept, names = Kept(tmp_path, {}, 4, "uint8"), digests(2)
        kept.append(names[:1], np.ones((1, 4)))
        plain = Path.open

        def refusing(path: Path, *a: Any, **k: Any) -> Any:
            if path.name == "keys.bin":
                raise OSError(28, "no space left")
            return plain(path, *a, **k)

        monkeypatch.setattr(Path, "open", refusing)
        with pytest.raises(OSError, match="no space"):
            kept.append(names[1:], np.ones((1, 4)))
        monkeypatch.undo()
        assert (kept.folder / "rows.bin").stat().st_size == 4
        kept.append(names[1:], np.full((1, 4), 9))
        assert kept.rows(kept.places(short(names[1:]))).tolist() == [[9] * 4]


class TestListing:
    def test_only_readable_pictures_are_listed(self, project_of: Maker) -> None:
        files = {f"{i}.png": png(np.full((8, 9), i * 20, np.uint8)) for i in range(4)}
        project = project_of(files)
        project.hide("2.png")
        found = listed(project.place / "derived" / "index.sqlite")
        rows = project.rows()
        assert found.paths == ("0.png", "1.png", "3.png")
        assert found.rows.tolist() == [rows[p] for p in found.paths]
        assert found.sizes.tolist() == [[9, 8]] * 3
        assert (found.row("3.png"), found.made) == (2, project.made)
        with pytest.raises(KeyError):
            found.row("2.png")
        assert found.same(listed(project.place / "derived" / "index.sqlite"))
        assert not found.same(found.of(np.array([0, 1])))
        with project.index.writing() as connection:
            connection.execute("UPDATE picture SET looked = 0 WHERE path = ?", (b"3.png",))
        assert listed(project.place / "derived" / "index.sqlite").paths == ("0.png", "1.png")

    def test_no_index_and_an_old_one_are_errors(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="cannot be read"):
            listed(tmp_path / "index.sqlite")
        with sqlite3.connect(tmp_path / "old.sqlite") as old:
            old.executescript(
                "CREATE TABLE meta (key, value); CREATE TABLE cell (cell, presence);"
                "CREATE TABLE picture (row, path, sha256, w, h, cell, looked);"
            )
        with pytest.raises(StoreError, match="older"):
            listed(tmp_path / "old.sqlite")


class TestReader:
    def read(self, reader: Reader, path: Path, name: str) -> Any:
        from hashlib import sha256

        return reader.read(name, sha256((path / name).read_bytes()).hexdigest(), GLANCE)

    def test_a_file_is_read_while_it_holds_what_was_listed(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png(np.eye(8, dtype=np.uint8) * 255))
        (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
        reader = Reader(tmp_path, tmp_path / "notes")
        (found,) = self.read(reader, tmp_path, "a.png")
        assert found.shape == (3, 16, 16)
        assert reader.read("a.png", "0" * 64, GLANCE) is None
        assert reader.out("0" * 64)
        assert self.read(reader, tmp_path, "bad.png") is None
        assert reader.left_out(np.zeros((1, 32), np.uint8)).tolist() == [True]
        reader.close()

    def test_nothing_outside_and_nothing_but_files(self, tmp_path: Path) -> None:
        inside = tmp_path / "in"
        inside.mkdir()
        (tmp_path / "out.png").write_bytes(png(np.eye(8, dtype=np.uint8) * 255))
        (inside / "link.png").symlink_to(tmp_path / "out.png")
        os.mkfifo(inside / "pipe.png")
        reader = Reader(inside, tmp_path / "notes")
        assert self.read(reader, inside, "link.png") is None
        assert reader.read("pipe.png", "1" * 64, GLANCE) is None
        reader.close()
        follower = Reader(inside, tmp_path / "notes", follow=True)
        assert self.read(follower, inside, "link.png") is not None
        follower.close()

    def test_a_file_in_hand_at_two_deaths_is_left_out_and_named_once(self, tmp_path: Path) -> None:
        name, content = "naïve \u202e.png", "ab" * 32
        for deaths in (1, 2, 3):
            reader = Reader(tmp_path, tmp_path / "notes")
            reader._noted(f"{content} {json.dumps(name)}".encode("ascii"))
            reader.close()  # as if it died here
            after = Reader(tmp_path, tmp_path / "notes")
            assert after.out(content) == (deaths >= 2)
            assert after.news == ([name] if deaths == 2 else [])
            after.close()

    def test_a_death_by_chance_is_forgotten(self, tmp_path: Path) -> None:
        from hashlib import sha256

        data = png(np.eye(8, dtype=np.uint8) * 255)
        (tmp_path / "a.png").write_bytes(data)
        content = sha256(data).hexdigest()
        reader = Reader(tmp_path, tmp_path / "notes")
        reader._noted(f'{content} "a.png"'.encode())
        reader.close()
        after = Reader(tmp_path, tmp_path / "notes")
        assert after.suspects == {content: 1}
        assert self.read(after, tmp_path, "a.png") is not None
        after.close()
        assert Reader(tmp_path, tmp_path / "notes").suspects == {}

    def test_notes_that_make_no_sense_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "suspects.json").write_text("[1]")
        (tmp_path / "notes" / "in-hand").write_bytes(b"\xff\xfe")
        assert Reader(tmp_path, tmp_path / "notes").suspects == {}


class TestDetail:
    def test_an_enlargement_by_repetition_is_undone(self) -> None:
        small = np.random.default_rng(0).integers(0, 255, (1, 6, 8), dtype=np.uint8)
        for factor in (1, 2, 5):
            big = np.kron(small, np.ones((1, factor, factor), np.uint8))
            assert detail(big) == Detail(True, 6, 8)

    def test_colour_and_flat_pictures(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (3, 6, 8), dtype=np.uint8)
        assert detail(pixels) == Detail(False, 6, 8)
        assert detail(np.full((3, 6, 8), 9, np.uint8)) is None
        stripes = np.zeros((1, 8, 8), np.uint8)
        stripes[:, 4:] = 255
        assert detail(stripes) == Detail(True, 2, 2)

    def test_auto_takes_the_pixels_of_small_gray_pictures_alone(self) -> None:
        gray, photo, tiny = Detail(True, 28, 28), Detail(False, 480, 640), Detail(False, 32, 32)
        assert chosen("auto", [gray] * 20)[0] == "pixels"
        assert chosen("auto", [gray] * 18 + [photo] * 2)[0] == "lite0"
        assert chosen("auto", [tiny] * 20)[0] == "lite0"
        assert chosen("auto", [Detail(True, 400, 400)] * 20)[0] == "lite0"
        assert chosen("auto", []) == ("lite0", Detail(False, 160, 160))
        assert chosen("pixels", [photo]) == ("pixels", photo)


def slow_strokes(x: np.ndarray) -> np.ndarray:
    """Strokes of one picture of at least 16 pixels, with loops."""
    from scipy.ndimage import gaussian_filter

    x = gaussian_filter(x, 0.5)
    dy, dx = np.gradient(x)
    dealt = np.zeros((*x.shape, 8))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            turn = (np.arctan2(dy[i, j], dx[i, j]) % (2 * np.pi)) / (2 * np.pi) * 8
            strength = np.hypot(dy[i, j], dx[i, j])
            dealt[i, j, int(turn) % 8] += strength * (1 - turn % 1)
            dealt[i, j, (int(turn) + 1) % 8] += strength * (turn % 1)
    cells = np.stack([gaussian_filter(dealt[..., k], 1.0) for k in range(8)], axis=-1)[1::2, 1::2]
    flat = np.sqrt(cells).ravel()
    return flat / np.linalg.norm(flat)


class TestEncoders:
    def test_strokes_are_their_formula(self) -> None:
        x = np.random.default_rng(3).random((2, 16, 18)).astype(np.float32)
        found = strokes(x, (16, 18))
        for one, row in zip(x, found, strict=True):
            assert np.allclose(slow_strokes(one.astype(np.float64)), row, atol=2e-4)

    def test_strokes_do_not_depend_on_brightness_and_tell_directions(self) -> None:
        x = np.random.default_rng(3).random((1, 16, 16)).astype(np.float32)
        assert np.allclose(strokes(x, (16, 16)), strokes(0.5 * x + 0.2, (16, 16)), atol=1e-3)
        across = np.zeros((1, 16, 16), np.float32)
        across[:, 7:9] = 1
        down = across.transpose(0, 2, 1)
        assert float(np.sum(strokes(across, (16, 16)) * strokes(down, (16, 16)))) < 0.5

    def test_pixels_that_were_enlarged_are_seen_as_they_were(self) -> None:
        big, _ = digits(4)
        encoder = Strokes.of(Detail(True, 8, 8))
        layout = encoder.layout(64, 64)
        from handful.pool.decode import decode

        seen = np.stack([decode(png(one), layout) for one in big])
        assert np.array_equal(seen[:, 0], big[:, ::8, ::8])
        v = encoder.encode(seen)
        assert v.shape == (4, encoder.width)
        assert np.isfinite(v).all()
        assert "8 x 8" in encoder.words

    def test_large_pictures_are_seen_small(self) -> None:
        encoder = Strokes.of(Detail(False, 480, 640))
        assert encoder.layout(640, 480) == Layout(3, (24, 32), (24, 32))
        images = np.random.default_rng(0).integers(0, 255, (2, 3, 24, 32), dtype=np.uint8)
        assert encoder.encode(images).shape == (2, encoder.width)

    def test_a_glance_is_the_pixels(self) -> None:
        images = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), dtype=np.uint8)
        found = Glance().encode(images)
        assert np.array_equal(found, images.reshape(2, -1))

    def test_a_long_photo_keeps_its_form(self) -> None:
        encoder = encoders.Pretrained()
        assert encoder.layout(640, 480) == Layout(3, (160, 160), (160, 160))
        assert encoder.layout(1600, 400) == Layout(3, (64, 160), (160, 160))
        images = np.random.default_rng(0).integers(0, 255, (2, 3, 160, 160), dtype=np.uint8)
        found = encoder.encode(images)
        assert found.shape == (2, encoder.width)
        assert np.allclose(opened(encoder.about, {}).encode(images), found)
        with pytest.raises(InputError, match="other weights"):
            opened({**encoder.about, "weights": "0"}, {})

    def test_an_encoder_comes_back_from_its_description(self) -> None:
        encoder = Strokes.of(Detail(True, 8, 8))
        assert opened(json.loads(json.dumps(encoder.about)), {}) == encoder
        with pytest.raises(InputError, match="not known"):
            opened({"kind": "pigeon"}, {})


def encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def listing_of(n: int, size: tuple[int, int] = (64, 64), seed: int = 0) -> Listing:
    names = tuple(f"{i:04d}" for i in range(n))
    sizes = np.tile(np.array(size, np.int32), (n, 1))
    return Listing("m", np.arange(1, n + 1), names, digests(n, seed), sizes)


class TestCopies:
    def test_forty_copies_are_found_and_no_two_digits_are_one(self) -> None:
        """All digits, ten of them in four further encodings each."""
        from handful.pool.decode import decode

        pixels, _ = digits()
        files = [png(one) for one in pixels]
        origin = list(range(len(pixels)))
        for i in range(10):
            one = pixels[i]
            files += [
                encoded(one, "JPEG", quality=60),
                encoded(one, "WEBP", quality=70),
                png(resized(one, 128)),
                png(resized(one, 32)),
            ]
            origin += [i] * 4
        glances = np.stack([decode(data, GLANCE).ravel() for data in files])
        stack = stacks(listing_of(len(files)), glances)
        members = {a: np.flatnonzero(stack == a).tolist() for a in np.unique(stack[stack >= 0])}
        wanted = {i: [k for k, o in enumerate(origin) if o == i] for i in range(10)}
        assert members == wanted

    @pytest.mark.parametrize("size", [(96, 64), (100, 75), (640, 480)])
    def test_a_photo_saved_in_another_format_is_the_same(self, size: tuple[int, int]) -> None:
        """A JPEG decoded at the very size of a glance would be 7 levels off."""
        from handful.pool.decode import decode

        rng = np.random.default_rng(0)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        photo = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
        forms = [("PNG", {}), ("JPEG", {"quality": 85}), ("WEBP", {"quality": 80})]
        files = [encoded(photo, form, **options) for form, options in forms]
        glances = np.stack([decode(data, GLANCE).ravel() for data in files])
        assert np.std(glances[1:].astype(float) - glances[0], axis=1).max() < 2.5
        assert stacks(listing_of(3, size), glances).tolist() == [0, 0, 0]

    def test_bursts_of_photos_are_one_and_other_scenes_are_not(self) -> None:
        from scipy.ndimage import gaussian_filter

        from handful.pool.decode import decode

        rng = np.random.default_rng(5)
        files = []
        for _scene in range(12):
            base = gaussian_filter(rng.random((240, 322, 3)), (12, 12, 0))
            base = (base - base.min()) / np.ptp(base)
            for shot in range(3):
                moved = base[:, :320] * (1 - 0.01 * shot)
                noisy = moved + rng.normal(0, 0.01, moved.shape)
                files.append(
                    encoded((np.clip(noisy, 0, 1) * 255).astype(np.uint8), "JPEG", quality=85)
                )
        glances = np.stack([decode(data, GLANCE).ravel() for data in files])
        stack = stacks(listing_of(36, (320, 240)), glances)
        assert stack.tolist() == [i - i % 3 for i in range(36)]

    def test_flat_pictures_are_copies_only_with_the_same_bytes(self) -> None:
        glances = np.full((4, 768), 200, np.uint8)
        glances[1] += 1
        assert not are_copies(glances[:1], glances[1:2]).any()
        listing = listing_of(4)
        listing.digests[3] = listing.digests[0]
        assert stacks(listing, glances).tolist() == [0, -1, -1, 0]

    def test_other_forms_and_broken_stacks_stay_apart(self) -> None:
        glances = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 768)), 3, axis=0)
        listing = listing_of(3)
        listing.sizes[2] = (64, 80)
        glances = glances.astype(np.uint8)
        assert stacks(listing, glances).tolist() == [0, 0, -1]
        alone = np.array([False, True, False])
        assert stacks(listing, glances, alone).tolist() == [-1, -1, -1]
        assert stacks(listing_of(1), glances[:1]).tolist() == [-1]


class TestLooking:
    def make(self, project: Project) -> tuple[Looking, Listing]:
        looking = Looking(project.folder, project.place / "derived" / "worker", follow=False)
        return looking, listed(project.place / "derived" / "index.sqlite")

    def look(self, looking: Looking, listing: Listing) -> None:
        looking.plan(listing, whole=True)
        while (missing := looking.missing(listing)).any():
            looking.look(listing, missing)

    def test_digits_are_read_once_and_kept(self, project_of: Maker) -> None:
        pixels, _ = digits(70)
        files = {f"{i:02d}.png": png(one) for i, one in enumerate(pixels)}
        files["copy.png"] = files["00.png"]
        project = project_of(files)
        looking, listing = self.make(project)
        assert not looking.plan(listing.of(np.arange(5)), whole=False)
        self.look(looking, listing)
        assert looking.encoder == Strokes(True, 8, 8)
        assert looking.seen is not None
        assert len(looking.seen) == len(looking.glances) == 70
        for file in project.folder.iterdir():
            file.unlink()
        again, listing = self.make(project)
        assert again.plan(listing, whole=True)
        assert again.encoder == Strokes(True, 8, 8)
        assert again.glanced(listing).all()
        assert again.encoded(listing).all()
        assert not again.plan(listing, whole=True)

    def test_a_broken_file_is_left_out_and_nothing_else(self, project_of: Maker) -> None:
        pixels, _ = digits(6)
        files = {f"{i}.png": png(one) for i, one in enumerate(pixels)}
        project = project_of(files)
        (project.folder / "3.png").write_bytes(b"gone bad")
        looking, listing = self.make(project)
        self.look(looking, listing)
        assert looking.wanted(listing).tolist() == [True, True, True, False, True, True]
        assert looking.glanced(listing).sum() == 5

    def test_photos_go_through_the_pretrained_encoder(self, project_of: Maker) -> None:
        rng = np.random.default_rng(0)
        files = {
            f"{i}.jpg": encoded(rng.integers(0, 255, (70, 600, 3), dtype=np.uint8), "JPEG")
            for i in range(3)
        }
        project = project_of(files)
        looking, listing = self.make(project)
        self.look(looking, listing)
        assert looking.encoder is not None
        assert looking.encoder.about["name"] == "lite0"
        assert looking.encoded(listing).all()
        looking.set_source("pixels")
        assert looking.plan(listing, whole=True)
        self.look(looking, listing)
        assert looking.encoder.kind == "pixels"
        assert looking.encoded(listing).all()

    def test_an_auto_encoder_is_trained_once(
        self, project_of: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from handful.latent import AutoEncoderOptions

        few = AutoEncoderOptions(schedule="fast", embedding_dim=32, pretrain_steps=3)
        monkeypatch.setattr(encoders, "_latent", lambda: few)
        pixels, _ = digits(40)
        files = {f"{i:02d}.png": png(one) for i, one in enumerate(pixels)}
        project = project_of(files)
        voice = Voice(io.StringIO())
        found = []
        for _ in range(2):
            looking, listing = self.make(project)
            looking.set_source("autoencoder")
            self.look(looking, listing)
            assert isinstance(looking.files, Small)
            assert looking.untrained
            looking.train(listing, voice)
            assert not looking.untrained
            looking.reduce(listing, lambda: None)
            assert looking.seen is not None
            found.append(looking.seen.rows(looking.seen.places(listing.keys)))
            assert looking.encoder is not None
            opened_again = opened(looking.encoder.about, looking.encoder.state())
            images = looking.files.images(looking.held.rows(looking.held.places(listing.keys)))
            v = opened_again.encode(images)
            assert np.allclose(v, found[-1].astype(np.float32), atol=1e-2)
        assert np.array_equal(*found)
        assert unit_rows(found[0].astype(np.float32)).std() > 0
        assert len(list((looking.place).glob("autoencoder-*.safetensors"))) == 1


def test_a_decoder_that_never_ends_ends_the_process() -> None:
    """The watch is set before each file: seconds, and an end for good."""
    assert pictures.TOO_LONG >= 20
    code = (
        "import faulthandler, time; from handful.worker import pictures as p;"
        "p.TOO_LONG = 0.2; r = p.Reader(__import__('pathlib').Path('.'),"
        "__import__('pathlib').Path(__import__('tempfile').mkdtemp()));"
        "r._bytes = lambda path: time.sleep(30); r.read('x', '0' * 64)"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"Timeout" in done.stderr
