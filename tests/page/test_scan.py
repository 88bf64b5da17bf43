"""What the folder holds against what was known: new, gone, moved, changed, broken."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from handful.errors import InputError, RunFolderError
from handful.page.answers import decide
from handful.page.index import Cell
from handful.page.project import Project, place_of
from handful.page.scan import Scanner, walk


class Desk:
    """A project and its scanner, without a server."""

    def __init__(self, project: Project) -> None:
        self.project, self.scanner, self.number = project, Scanner(project), 0

    def look(self) -> Counter[str]:
        self.scanner.look()
        return self.scanner.result

    def label(self, path: str, name: str) -> None:
        row = self.project.index.at(path)
        assert row is not None
        self.number += 1
        (said,) = decide(self.project, [{
            "kind": "labelled", "id": f"tab{id(self)}.{self.number}", "seen_rev": 10**6,
            "image": row.id, "name": name,
        }])  # fmt: skip
        assert said["ok"], said

    def labels(self) -> dict[str, str | None]:
        """Name of the class of every picture that is there, None where it is open."""
        found: dict[str, str | None] = {}
        for row in self.project.index.walk(10_000, 0):
            cell = self.project.index.cell(row.cell)
            if cell.presence == "here":
                now = self.project.classes.now(cell.class_id) if cell.state == "labelled" else None
                found[row.path] = now.name if now else None
        return found

    def counts(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for cell, n in self.project.index.cells():
            total[cell.presence] += n
        return total


@pytest.fixture
def desk_of(project_of: Callable[..., Project]) -> Iterator[Callable[..., Desk]]:
    """Opens desks, one at a time, and closes them."""
    open_desks: list[Desk] = []

    def of(folder: Path, **options: Any) -> Desk:
        while open_desks:
            open_desks.pop().project.close()
        open_desks.append(Desk(project_of(folder, **options)))
        return open_desks[-1]

    yield of
    while open_desks:
        open_desks.pop().project.close()


class TestWhatChanged:
    def test_exact_counts_and_every_label_kept(
        self, pictures: Path, desk_of: Any, painted: Any
    ) -> None:
        desk = desk_of(pictures)
        assert not desk.look().total()
        for number in range(12):
            sub = "sub/" if number > 7 else ""
            desk.label(f"{sub}{number:02d}.png", f"class {number}")
        for number in (0, 1):
            (pictures / f"{number:02d}.png").unlink()
        for number in (2, 3, 4):
            (pictures / f"{number:02d}.png").rename(pictures / "sub" / f"moved {number}.png")
        painted(pictures / "05.png", 105)
        for number in range(4):
            painted(pictures / "new" / f"{number}.png", 200 + number)
        assert desk.look() == Counter(added=4, missing=2, moved=3, changed=1)
        labels = desk.labels()
        assert labels["05.png"] is None  # another picture now: asked again
        assert [labels[f"sub/moved {n}.png"] for n in (2, 3, 4)] == [
            f"class {n}" for n in (2, 3, 4)
        ]
        assert labels["06.png"] == "class 6"
        assert sum(name is None for name in labels.values()) == 5
        assert desk.counts() == Counter(here=14, missing=2)
        assert not desk.look().total()  # nothing is told twice

    def test_what_went_may_come_back(self, pictures: Path, desk_of: Any) -> None:
        desk = desk_of(pictures)
        desk.look()
        desk.label("00.png", "a")
        shutil.move(pictures / "00.png", pictures.parent / "away.png")
        assert desk.look() == Counter(missing=1)
        assert "00.png" not in desk.labels()
        shutil.move(pictures.parent / "away.png", pictures / "other name.png")
        assert desk.look() == Counter(moved=1)
        assert desk.labels()["other name.png"] == "a"
        shutil.move(pictures / "other name.png", pictures / "x.png")
        desk.look()
        (pictures / "x.png").unlink()
        desk.look()
        shutil.copy(pictures / "01.png", pictures / "x.png")  # its name comes back, not itself
        desk.look()
        assert desk.labels()["x.png"] is None

    def test_two_files_change_names(self, pictures: Path, desk_of: Any) -> None:
        desk = desk_of(pictures)
        desk.look()
        for name in ("00", "01", "02"):
            desk.label(f"{name}.png", name)
        for old, new in (("00", "tmp"), ("01", "00"), ("02", "01"), ("tmp", "02")):
            (pictures / f"{old}.png").rename(pictures / f"{new}.png")
        result = desk.look()
        assert (result["moved"], result["changed"], result["added"]) == (3, 0, 0)
        labels = desk.labels()
        assert [labels[f"{name}.png"] for name in ("00", "01", "02")] == ["01", "02", "00"]

    def test_a_file_written_over_by_another_one(self, pictures: Path, desk_of: Any) -> None:
        """Its own label stays with its lost content, and is there again when that is."""
        desk = desk_of(pictures)
        desk.look()
        desk.label("00.png", "zero")
        desk.label("01.png", "one")
        lost = (pictures / "01.png").read_bytes()
        (pictures / "00.png").replace(pictures / "01.png")
        desk.look()
        assert desk.labels()["01.png"] == "zero"
        (pictures / "again.png").write_bytes(lost)
        desk.look()
        assert desk.labels()["again.png"] == "one"
        assert desk.labels()["01.png"] == "zero"

    def test_everything_derived_may_be_thrown_away(self, pictures: Path, desk_of: Any) -> None:
        """Also when files were renamed meanwhile: the book knows what each label was given to."""
        desk = desk_of(pictures)
        desk.look()
        for number in range(6):
            desk.label(f"{number:02d}.png", str(number))
        rows = {r.path: r.id for r in desk.project.index.walk(100, 0)}
        desk.project.close()
        shutil.rmtree(pictures / ".handful" / "derived")
        (pictures / "03.png").rename(pictures / "three.png")
        (pictures / "04.png").write_bytes((pictures / "sub" / "08.png").read_bytes())
        desk = desk_of(pictures)
        desk.look()
        labels = desk.labels()
        assert [labels[f"{n:02d}.png"] for n in (0, 1, 2, 5)] == ["0", "1", "2", "5"]
        assert labels["three.png"] == "3"
        assert labels["04.png"] is None
        same = {r.path: r.id for r in desk.project.index.walk(100, 0)}
        assert all(same[path] == id for path, id in rows.items() if path in same)

    def test_a_damaged_index_is_made_again(self, pictures: Path, desk_of: Any) -> None:
        desk = desk_of(pictures)
        desk.look()
        desk.label("00.png", "a")
        desk.project.close()
        (pictures / ".handful" / "derived" / "index.sqlite").write_bytes(b"no database at all" * 99)
        desk = desk_of(pictures)
        desk.look()
        assert desk.labels()["00.png"] == "a"
        assert desk.counts() == Counter(here=12)

    def test_an_index_that_fell_behind_catches_up(self, pictures: Path, desk_of: Any) -> None:
        desk = desk_of(pictures)
        desk.look()
        desk.label("00.png", "a")
        desk.project.index.keep("seq", 2)
        row = desk.project.index.at("00.png")
        desk.project.index.place([(row, Cell(), 0.0)])
        desk.project.close()
        desk = desk_of(pictures)
        assert desk.labels()["00.png"] == "a"

    def test_a_folder_that_went_away_loses_nothing(self, pictures: Path, desk_of: Any) -> None:
        place = pictures.parent / "work"
        desk = desk_of(pictures, place=place)
        desk.look()
        desk.label("00.png", "a")
        pictures.rename(pictures.parent / "elsewhere")
        desk.look()
        assert desk.scanner.error
        assert desk.counts() == Counter(here=12)
        (pictures.parent / "elsewhere").rename(pictures)
        desk.look()
        assert desk.scanner.error is None

    @settings(
        max_examples=15, deadline=None, derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )  # fmt: skip
    @given(st.data())
    def test_labels_follow_the_content(
        self, tmp_path: Path, desk_of: Any, painted: Any, data: st.DataObject
    ) -> None:
        """Whatever is renamed into whatever: a picture has the label of its content, or none."""
        folder = tmp_path / str(data.draw(st.uuids()))
        for number in range(5):
            painted(folder / f"{number}.png", number, (8, 8))
        content = {n: (folder / f"{n}.png").read_bytes() for n in range(5)}
        desk = desk_of(folder)
        desk.look()
        for number in range(5):
            desk.label(f"{number}.png", str(number))
        for _ in range(data.draw(st.integers(1, 2))):
            names = data.draw(st.permutations([f"{n}.png" for n in range(7)]))
            for path in folder.glob("*.png"):
                path.unlink()
            kept = data.draw(st.sets(st.sampled_from(range(5))))
            for number in kept:
                (folder / names[number]).write_bytes(content[number])
            desk.look()
        assert desk.labels() == {names[number]: str(number) for number in kept}


class TestFaults:
    """Every fault by its reason; all others can be labelled."""

    @pytest.fixture
    def faulty(self, pictures: Path) -> Path:
        photo = Image.fromarray(
            np.arange(120 * 90 * 3, dtype=np.uint32).astype(np.uint8).reshape(90, 120, 3)
        )
        photo.save(pictures / "whole.jpg")
        whole = (pictures / "whole.jpg").read_bytes()
        (pictures / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        photo.save(pictures / "whole.webp")
        webp = (pictures / "whole.webp").read_bytes()
        (pictures / "cut.webp").write_bytes(webp[: len(webp) // 2])
        (pictures / "empty.jpg").write_bytes(b"")
        (pictures / "text.png").write_text("hello")
        png = bytearray((pictures / "00.png").read_bytes())
        png[len(png) // 2] ^= 0xFF
        (pictures / "wrong.png").write_bytes(png)
        (pictures / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
        (pictures / "renamed.jpg").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
        header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (12_000).to_bytes(4, "big") * 2
        Image.new("1", (12_000, 12_000)).save(pictures / "bomb.png")
        assert (pictures / "bomb.png").read_bytes().startswith(header)
        os.mkfifo(pictures / "pipe.png")
        (pictures / "notes.txt").write_text("left alone")
        (pictures / ".hidden.png").write_bytes(b"x")
        return pictures

    def test_each_has_its_reason(self, faulty: Path, desk_of: Any) -> None:
        desk = desk_of(faulty)
        desk.look()
        found = {
            row.path: (row.problem, row.reason)
            for row in desk.project.index.walk(100, 0)
            if row.problem
        }
        half = (faulty / "cut.jpg").stat().st_size
        webp, part = ((faulty / f"{n}.webp").stat().st_size for n in ("whole", "cut"))
        heic = "This kind of picture (HEIC) cannot be read here. Save it as JPEG or PNG."
        damaged = found.pop("wrong.png")
        assert damaged[0] == "damaged"
        assert found == {
            "cut.jpg": ("E6", f"The file is cut off after {half:,} bytes."),
            "cut.webp": ("E6", f"The file is cut off ({part:,} of {webp:,} bytes)."),
            "empty.jpg": ("E6", "The file is empty (0 bytes)."),
            "text.png": ("E7", "This is not a picture, whatever its name says."),
            "phone.heic": ("E8", heic),
            "renamed.jpg": ("E8", heic),
            "bomb.png": ("E9", "Picture is too large (144 megapixels; limit 100)."),
            "pipe.png": (
                "no-file",
                "This is no regular file (a pipe, a device or a link to itself).",
            ),
        }
        assert desk.counts() == Counter(here=14, unreadable=9)
        assert desk.scanner.others == Counter({".txt": 1})

    def test_what_was_mended_joins_as_open(self, faulty: Path, desk_of: Any) -> None:
        desk = desk_of(faulty)
        desk.look()
        shutil.copy(faulty / "01.png", faulty / "cut.jpg")
        desk.look()
        assert desk.counts() == Counter(here=15, unreadable=8)
        assert desk.labels()["cut.jpg"] is None


def test_orientation_and_depth(tmp_path: Path, desk_of: Any) -> None:
    """Eight orientations of one picture are one thumbnail; a ramp of 16 bits keeps its grays."""
    folder = tmp_path / "p"
    folder.mkdir()
    upright = Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64).astype(np.uint8))
    turns = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    for number, turn in turns.items():
        exif = Image.Exif()
        exif[274] = number
        image = upright if turn is None else upright.transpose(turn)
        image.save(folder / f"{number}.png", exif=exif)
    ramp = np.linspace(0, 65_535, 1024).astype(np.uint16).reshape(32, 32)
    tifffile.imwrite(folder / "ramp.tif", ramp)
    tifffile.imwrite(
        folder / "pages.tif", np.stack([np.full((20, 20), n * 40, np.uint8) for n in range(5)])
    )
    desk = desk_of(folder)
    desk.look()
    shown = {}
    for row in desk.project.index.walk(100, 0):
        shown[row.path] = desk.project.thumbs.get(row.sha256, 192)
    assert len({shown[f"{number}.png"] for number in turns}) == 1
    rows = {row.path: row for row in desk.project.index.walk(100, 0)}
    assert (rows["6.png"].w, rows["6.png"].h) == (64, 48)
    from io import BytesIO

    grays = np.asarray(Image.open(BytesIO(shown["ramp.tif"])).convert("L"))
    assert len(np.unique(grays)) > 200
    assert rows["pages.tif"].pages == 5
    third = desk.project.read(rows["pages.tif"], side=192, page=3)
    assert np.asarray(Image.open(BytesIO(third.body)).convert("L")).mean() == 120


class TestWhereTheWorkIsKept:
    def test_beside_the_pictures(self, pictures: Path) -> None:
        assert place_of(pictures) == (pictures / ".handful", False)

    def test_in_the_users_folder_when_nothing_may_be_written(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project_of: Any
    ) -> None:
        """A test may run as root, whom no right stops: the disk itself says no."""
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        (pictures / ".handful").write_text("in the way")
        place, read_only = place_of(pictures)
        assert read_only
        assert place.parent == tmp_path / "data" / "handful" / "projects"
        project = project_of(pictures)
        assert "/" not in project.where
        assert project.read_only
        project.close()
        assert place_of(pictures) == (place, True)  # the same folder, the same place

    def test_where_it_was_told(self, pictures: Path, tmp_path: Path) -> None:
        assert place_of(pictures, tmp_path / "mine") == (tmp_path / "mine", False)
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="choose another --project"):
            place_of(pictures, tmp_path / "file" / "below")

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            place_of(tmp_path / "nowhere")

    def test_one_process_at_a_time(self, pictures: Path, project_of: Any) -> None:
        project = project_of(pictures)
        with pytest.raises(RunFolderError, match="another process"):
            project_of(pictures)
        project.close()
        project_of(pictures).close()

    def test_a_run_is_no_project(self, pictures: Path, tmp_path: Path, project_of: Any) -> None:
        from handful.events import class_events
        from handful.store import SqliteBook

        with SqliteBook(tmp_path / "book.sqlite") as book:
            book.append(class_events(["a"]))
        with pytest.raises(InputError, match="no labelling project"):
            project_of(pictures, place=tmp_path)


def test_a_walk_counts_what_it_leaves_alone(pictures: Path) -> None:
    (pictures / "a.txt").write_text("")
    (pictures / "b").write_text("")
    (pictures / "handful-export").mkdir()
    (pictures / "handful-export" / "x.png").write_text("")
    deep = pictures.joinpath(*"abcdefghijkl")
    deep.mkdir(parents=True)
    shutil.copy(pictures / "00.png", deep / "deep.png")
    others: Counter[str] = Counter()
    names = [found.path for found in walk(str(pictures), follow=False, others=others)]
    assert names == sorted(names, key=lambda n: (n.count("/") > 0, n))
    assert "a/b/c/d/e/f/g/h/i/j/k/l/deep.png" in names
    assert len(names) == 13
    assert others == Counter({".txt": 1, "no suffix": 1})
