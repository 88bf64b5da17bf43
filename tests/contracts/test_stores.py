"""Books in memory and on disk, kills, full disks, run folders."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.book import LabelBook
from handful.errors import InputError, RunFolderError, StoreError, UnknownName
from handful.events import class_events
from handful.paths import from_text, to_text
from handful.store import (
    ROUND_COLUMNS,
    RunFolder,
    SavedCheckpoints,
    SqliteBook,
    load_model,
    read_events,
    read_run,
)
from handful.store import files as files_module
from handful.store import lock as lock_module
from handful.store.migrations import MIGRATIONS, migrate
from handful.testing.learners import TinyPool
from handful.testing.stores import StoreContract, derived, story
from handful.types import Answer, Event, Fit


class TestMemory(StoreContract):
    lasts = False

    def open_book(self, folder: Path) -> LabelBook:
        return LabelBook()


class TestSqlite(StoreContract):
    def open_book(self, folder: Path) -> LabelBook:
        return SqliteBook(folder / "book.sqlite")


# --- the book in SQLite ---------------------------------------------------------------------


def test_the_export_is_the_book(tmp_path: Path) -> None:
    with SqliteBook(tmp_path / "b.sqlite") as book:
        book.append(story())
        book.export(tmp_path / "events.jsonl")
        lines = (tmp_path / "events.jsonl").read_text("ascii").splitlines()
        assert tuple(Event(**json.loads(line)) for line in lines) == book.events
        assert book.events == read_events(tmp_path / "b.sqlite")


def test_a_read_only_place_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteBook(tmp_path / "b.sqlite") as book:
        book.append(story())
    connect = sqlite3.connect

    def refuse_the_log(address: str, **options: object) -> sqlite3.Connection:
        if "mode=ro" in str(address):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(address, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse_the_log)
    assert [e.id for e in read_events(tmp_path / "b.sqlite")] == [e.id for e in story()]
    (tmp_path / "b.sqlite-wal").touch()
    assert [e.id for e in read_events(tmp_path / "b.sqlite")] == [e.id for e in story()]
    (tmp_path / "b.sqlite-wal").write_bytes(b"events that the file does not hold yet")
    with pytest.raises(StoreError, match="cannot be used"):  # never silently an older state
        read_events(tmp_path / "b.sqlite")


def test_reading_leaves_nothing_beside_the_book(tmp_path: Path) -> None:
    with SqliteBook(tmp_path / "b.sqlite") as book:
        book.append(story())
        # while somebody writes, what is in the log alone is read too
        assert (tmp_path / "b.sqlite-wal").stat().st_size
        assert read_events(tmp_path / "b.sqlite") == book.events
    assert read_events(tmp_path / "b.sqlite") == book.events
    assert [p.name for p in tmp_path.iterdir()] == ["b.sqlite"]


def test_two_writers_see_each_other(tmp_path: Path) -> None:
    with SqliteBook(tmp_path / "b.sqlite") as one, SqliteBook(tmp_path / "b.sqlite") as two:
        one.append(class_events(["cat"]))
        two.append(class_events(["cat", "dog"]))  # the first id is known: left out
        assert two.classes.names == ("cat", "dog")
        assert one.classes.names == ("cat",)
        assert one.refresh() == 1
        assert one.events == two.events

        def write(book: SqliteBook, who: str) -> None:
            for i in range(20):
                book.append([Event("labelled", f"{who}{i}", {"image": f"{i}", "class": 0})])

        threads = [threading.Thread(target=write, args=a) for a in ((one, "a"), (two, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.refresh()
        two.refresh()
        assert one.events == two.events
        assert len(one) == 42


_VICTIM = """
import sys
from handful.store import SqliteBook
from handful.types import Event
book = SqliteBook(sys.argv[1])
start = len(book)
for i in range(start // 3, 100_000):
    book.append([Event("lease_taken", f"{i}/{j}", {"n": i}) for j in range(3)])
    print(i, flush=True)
"""


def test_a_kill_leaves_whole_appends(tmp_path: Path) -> None:
    path = tmp_path / "b.sqlite"
    rng = np.random.default_rng(0)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _VICTIM, str(path)], stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            victim.stdout.readline()
            time.sleep(float(rng.uniform(0.0, 0.1)))
            victim.send_signal(signal.SIGKILL)
            said = [line for line in victim.stdout.read().splitlines(keepends=True) if "\n" in line]
        ids = [event.id for event in read_events(path)]  # the log of the dead is read too
        with SqliteBook(path) as book:
            assert [event.id for event in book.events] == ids
            assert ids == [f"{i}/{j}" for i in range(len(ids) // 3) for j in range(3)]
            if said:  # what was reported as stored is there
                assert len(ids) >= 3 * (int(said[-1]) + 1)


def test_a_full_disk_keeps_what_was_stored(tmp_path: Path) -> None:
    with SqliteBook(tmp_path / "b.sqlite") as book:
        book.append(story())
        before = book.events, derived(book)
        pages = book._connection.execute("PRAGMA page_count").fetchone()[0]
        book._connection.execute(f"PRAGMA max_page_count = {pages}")
        big = Event("setting_changed", "big", {"key": "k", "new": "x" * 100_000})
        with pytest.raises(StoreError, match=r"disk is full.*b\.sqlite.*--resume"):
            book.append([big])
        assert (book.events, derived(book)) == before
        book._connection.execute("PRAGMA max_page_count = 100000")
        book.append([big])
        assert len(book) == len(before[0]) + 1
    assert len(read_events(tmp_path / "b.sqlite")) == len(before[0]) + 1


def test_a_log_without_room_is_a_full_disk(tmp_path: Path, monkeypatch: Any) -> None:
    """The index of the log is memory: where it cannot grow SQLite speaks of an I/O error."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE

    def fails(*_: object, **__: object) -> None:
        raise error

    book = SqliteBook(tmp_path / "b.sqlite")
    monkeypatch.setattr("handful.store.sqlite._select", fails)
    for free, said in ((1000, "disk is full.*free some space"), (2**30, "check the disk")):
        monkeypatch.setattr(
            "handful.store.sqlite.disk_usage", lambda _, f=free: SimpleNamespace(free=f)
        )
        with pytest.raises(StoreError, match=said):
            book.refresh()
    book.close()


def test_a_newer_book_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.sqlite"
    SqliteBook(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO migration VALUES ('0002-from-the-future', 0)")
    with pytest.raises(StoreError, match=r"newer handful \(step 0002-from-the-future\)"):
        SqliteBook(path)


def test_a_migration_copies_the_file_aside_first(tmp_path: Path) -> None:
    path = tmp_path / "b.sqlite"
    with SqliteBook(path) as book:
        book.append(story())

    def more(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE event ADD COLUMN mood TEXT")

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM event")
        raise RuntimeError("killed here")

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(RuntimeError, match="killed here"):
            migrate(connection, path, [*MIGRATIONS, ("0002-mood", more), ("0003-bad", fails)])
        assert connection.execute("SELECT count(mood), count(*) FROM event").fetchone() == (
            0,
            len(story()),
        )
        migrate(connection, path, [*MIGRATIONS, ("0002-mood", more)])  # nothing left to do
    with SqliteBook(tmp_path / "b.sqlite.before-0002-mood") as copy:
        assert [e.id for e in copy.events] == [e.id for e in story()]


def test_what_is_no_book_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.sqlite").write_bytes(b"no book at all, just a line of text that is long" * 40)
    with pytest.raises(StoreError, match="damaged or no book"):
        SqliteBook(tmp_path / "b.sqlite")
    with pytest.raises(StoreError, match="damaged or no book"):
        read_events(tmp_path / "b.sqlite")
    with pytest.raises(StoreError, match="no book at"):
        read_events(tmp_path / "missing.sqlite")
    with pytest.raises(StoreError, match="cannot be used"):
        SqliteBook(tmp_path / "no" / "such" / "folder.sqlite")


def test_a_locked_book_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handful.store.sqlite._SECONDS_TO_WAIT", 0.05)
    with SqliteBook(tmp_path / "b.sqlite") as book, SqliteBook(tmp_path / "b.sqlite") as other:
        other._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use by another process"):
            book.append(class_events(["cat"]))
        other._connection.execute("ROLLBACK")
        book.append(class_events(["cat"]))


def test_an_event_id_must_be_text(tmp_path: Path) -> None:
    with SqliteBook(tmp_path / "b.sqlite") as book:
        with pytest.raises(InputError, match="no UTF-8"):
            book.append([Event("export_made", "a\udcff")])
        assert len(book) == 0


# --- files ----------------------------------------------------------------------------------


def test_an_id_is_written_and_read_back() -> None:
    assert to_text("a\udcff.png") == "a%FF.png"
    assert to_text("100 %.png") == "100 %.png"
    assert to_text("a%20b") == "a%2520b"


@given(st.binary(max_size=12).map(os.fsdecode) | st.text(alphabet="%25Aaé\n\r\",'", max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_file_name_survives_text_and_csv(id: str) -> None:
    text = to_text(id)
    assert from_text(text) == id
    content = b"".join(files_module.csv_lines(["path", "n"], [{"path": text, "n": 1}]))
    rows = list(csv.reader(StringIO(content.decode(), newline="")))
    assert rows == [["path", "n"], [text, "1"]]


def run_folder(path: Path) -> tuple[RunFolder, TinyPool]:
    """A small run with names that are hard to write."""
    ids = ["a,b.png", 'q"x".png', "line\nbreak.png", "cr\rx.png", "bytes\udcff.png", "é 100%41"]
    pool = TinyPool(sorted(ids), images=np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1))
    folder = RunFolder.create(path)
    folder.book.append(class_events(["cat", 'say "dog", twice']))
    ids_asked = list(pool.ids)[:5]
    folder.book.append(
        [
            Event(
                "asked",
                "asked/0",
                {
                    "round": 0, "question": "class", "ids": ids_asked, "pairs": [], "memo": {},
                    "tags": ["t"] * 5, "draw": "rule", "rule": "r",
                },
            )
        ]
    )  # fmt: skip
    question = folder.book.pending()
    said = [Answer(id, 'say "dog", twice', person="P1") for id in ids_asked[:4]]
    said.append(Answer(ids_asked[4], state="broken"))
    folder.book.append(folder.book.events_of(said, question=question))
    folder.book.append([Event("round_closed", "closed/0", {"round": 0})])
    return folder, pool


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    folder, pool = run_folder(tmp_path / "run")
    folder.write_recipe('name = "ccl"\n')
    folder.write_run({"seed": 3, "seconds": 1.5, "machine": "é"})
    folder.write_row(0, {"labels": 5, "accuracy_test": 0.1 + 0.2, "loss_b": np.float32(0.5)})
    folder.write_row(1, {"labels": 9, "loss_a": 1e-9, "nmi_all": float("nan"), "ari_all": None})
    folder.write_training([{"round": 0, "stage": "pre", "step": 1, "loss": 0.25, "acc": 1}])
    folder.write_labels(pool)
    folder.write_predictions(
        {"path": id, "class": "cat", "confidence": 0.5, "source": "model"} for id in pool.ids
    )
    folder.save_model({"w": np.eye(2, dtype=np.float32)}, {"recipe": "ccl", "classes": ["cat"]})
    assert folder.seconds == 1.5
    folder.close()

    record = read_run(tmp_path / "run")
    assert record.recipe == 'name = "ccl"\n'
    assert record.run["machine"] == "é"
    assert record.book.paid == 5
    assert record.rounds[0]["accuracy_test"] == 0.1 + 0.2
    assert record.rounds[0]["loss_b"] == 0.5
    assert record.rounds[0]["loss_a"] is None
    assert record.rounds[1]["nmi_all"] is None
    assert record.rounds[1]["ari_all"] is None
    assert record.training == ({"round": 0, "stage": "pre", "step": 1, "acc": 1, "loss": 0.25},)
    assert [row["path"] for row in record.labels] == list(pool.ids)[:5]
    assert {row["class"] for row in record.labels} == {'say "dog", twice', ""}
    first = record.labels[0]
    assert (first["class_id"], first["state"], first["source"]) == ("1", "labelled", "oracle")
    assert (first["round"], first["tag"], first["person"]) == ("0", "t", "P1")
    assert first["sha256"] == pool.digest(0)
    assert first["time"].endswith("+00:00")
    assert first["confidence"] == ""
    assert [row["path"] for row in record.predictions()] == list(pool.ids)
    assert record.card == {"recipe": "ccl", "classes": ["cat"]}
    weights, card = load_model(tmp_path / "run")
    np.testing.assert_array_equal(weights["w"], np.eye(2))
    assert card == record.card


def test_columns_of_rounds_stand_in_their_order(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    folder.write_row(1, {"labels": 9, "loss_b": 1.0})
    folder.write_row(0, {"labels": 5, "loss_a": 2.0})
    folder.write_row(1, {"labels": 10, "loss_b": 1.0})
    lines = (tmp_path / "rounds.csv").read_text().splitlines()
    at = ROUND_COLUMNS.index("seconds_fit")
    assert lines[0].split(",") == [*ROUND_COLUMNS[:at], "loss_a", "loss_b", *ROUND_COLUMNS[at:]]
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "5"], ["1", "10"]]
    with pytest.raises(UnknownName, match="did you mean 'nmi_all'"):
        folder.write_row(2, {"nmi_al": 1.0})
    folder.close()


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path / "run")
    folder.close()
    with pytest.raises(RunFolderError, match=r"holds a run already.*--resume.*another folder"):
        RunFolder.create(tmp_path / "run")
    again = RunFolder.create(tmp_path / "run", resume=True)
    assert again.book.round == 1
    again.close()
    with pytest.raises(RunFolderError, match="no run to resume"):
        RunFolder.create(tmp_path / "other", resume=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    RunFolder.create(tmp_path / "foreign").close()
    assert (tmp_path / "foreign" / "notes.txt").read_text() == "mine"
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "labels.csv").write_text("mine")
    with pytest.raises(RunFolderError, match=r"'labels\.csv' that a run would overwrite"):
        RunFolder.create(tmp_path / "taken")
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder.create(tmp_path / "taken" / "labels.csv")
    with pytest.raises(RunFolderError, match="cannot be made"):
        RunFolder.create(tmp_path / "taken" / "labels.csv" / "below")
    with pytest.raises(RunFolderError, match=r"no book\.sqlite"):
        read_run(tmp_path / "taken")


_HOLDS = """
import sys, time
from handful.store import RunFolder
folder = RunFolder.create(sys.argv[1], resume=True)
print("held", flush=True)
time.sleep(60)
"""


def test_one_process_writes_a_run(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path / "run")
    assert (tmp_path / "run" / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(RunFolderError, match=rf"another process \(number {os.getpid()}\): wait"):
        RunFolder.create(tmp_path / "run", resume=True)
    folder.close()
    assert not (tmp_path / "run" / "lock").exists()
    command = [sys.executable, "-c", _HOLDS, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match=rf"number {other.pid}\)"):
            RunFolder.create(tmp_path / "run", resume=True)
        other.kill()
    assert (tmp_path / "run" / "lock").exists(), "the dead leave their file, and no lock"
    RunFolder.create(tmp_path / "run", resume=True).close()
    assert not (tmp_path / "run" / "lock").exists()


def test_a_read_only_folder_is_refused_with_its_remedy(tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunFolderError, match="Read-only file system; choose another folder"):
        RunFolder.create(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_lock_taken_away_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: Any) -> None:
    """Between opening the file and locking it, the one before may have removed it."""
    locks, calls = lock_module._locks, 0

    def late(handle: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / "lock").unlink()
        return locks(handle)

    monkeypatch.setattr(lock_module, "_locks", late)
    lock = lock_module.FolderLock(tmp_path)
    assert calls == 2
    with pytest.raises(RunFolderError, match="another process"):
        lock_module.FolderLock(tmp_path)
    lock.release()
    with pytest.raises(RunFolderError, match="cannot be written"):
        lock_module.FolderLock(tmp_path / "nowhere")


def test_figures_and_an_unfinished_run(tmp_path: Path) -> None:
    folder, _ = run_folder(tmp_path)
    assert folder.figures.is_dir()
    assert folder.seconds == 0.0
    record = read_run(tmp_path)
    assert (record.recipe, record.rounds, record.card) == ("", (), {})
    assert list(record.predictions()) == []
    folder.write_training([{"round": r, "stage": "s", "step": 1} for r in range(3)])
    assert [row["round"] for row in folder.training_rows(before=2)] == [0, 1]
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StoreError, match="no JSON"):
        read_run(tmp_path)
    folder.close()


# --- checkpoints and models -----------------------------------------------------------------


def test_checkpoints_keep_the_last_two_rounds(tmp_path: Path) -> None:
    kept = SavedCheckpoints(tmp_path)
    odd = {"m": np.arange(6.0).reshape(2, 3).T, "z": np.array(3, np.int64), "b": np.array([True])}
    for round in range(4):
        kept.save(round, {**odd, "r": np.array([round])}, Fit({"total": 0.5}, 10, 1.25))
    assert kept.load(0) is None
    assert kept.load(1) is None
    loaded = kept.load(2)
    assert loaded is not None
    weights, fit = loaded
    assert fit == Fit({"total": 0.5}, 10, 1.25)
    for name, array in odd.items():
        np.testing.assert_array_equal(weights[name], array)
        assert weights[name].dtype == array.dtype
        assert weights[name].shape == array.shape
    SavedCheckpoints(tmp_path / "all", keep=None).save(0, {}, Fit())
    SavedCheckpoints(tmp_path / "all", keep=None).save(9, {}, Fit())
    assert SavedCheckpoints(tmp_path / "all").load(0) == ({}, Fit())


def test_a_damaged_checkpoint_is_as_good_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = SavedCheckpoints(tmp_path)
    kept.save(0, {"w": np.ones(3)}, Fit())
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:20])
    assert kept.load(0) is None
    assert "cannot be read" in caplog.text


def test_weights_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'w' cannot be kept"):
        SavedCheckpoints(tmp_path).save(0, {"w": np.array([object()])}, Fit())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    kept = SavedCheckpoints(tmp_path)
    kept.save(0, {"w": np.zeros(3)}, Fit())
    kept.save(1, {"w": np.ones(3)}, Fit())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if step == "fsync":
            patch.setattr(files_module.os, "fsync", full)
        else:
            patch.setattr(Path, "open", full)
        with pytest.raises(StoreError, match=r"disk is full: .* in .*free some space.*--resume"):
            kept.save(2, {"w": np.full(3, 2.0)}, Fit())
    assert kept.load(2) is None
    for round in (0, 1):
        loaded = kept.load(round)
        assert loaded is not None
        assert loaded[0]["w"].tolist() == [round] * 3
    assert not list(tmp_path.glob(".*"))


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    files_module.write_whole(path, b"old")

    def breaks() -> object:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files_module.write_whole(path, breaks())
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.csv"]
    with pytest.raises(StoreError, match="cannot be written"):
        files_module.write_whole(tmp_path / "no" / "folder", b"x")


def test_a_model_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model at"):
        load_model(tmp_path)
    SavedCheckpoints(tmp_path).save(0, {"w": np.ones(1)}, Fit())
    with pytest.raises(InputError, match="no model card"):
        load_model(next(tmp_path.glob("*.safetensors")))
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(StoreError, match="damaged"):
        load_model(tmp_path)
