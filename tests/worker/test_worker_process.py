"""The worker as a process: pictures and a book in, revisions out; killed, ended, started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_running import Project, running

from handful import revisions
from handful.worker.modelfile import ModelFile

Maker = Callable[..., Project]
Digits = tuple[dict[str, bytes], np.ndarray]


def everything(project: Project) -> dict[str, dict[str, np.ndarray]]:
    found = {kind: project.newest(kind) for kind in revisions.KINDS}
    return {kind: dict(one.arrays) for kind, one in found.items() if one is not None}


def test_the_whole_way(project_of: Maker, some_digits: Digits) -> None:
    """Groups before any answer, suggestions after some, audit answers nowhere."""
    files, truth = some_digits
    project, names = project_of(files), list(files)
    of = dict(zip(names, truth, strict=True))
    row = project.rows()
    with running(project) as worker:
        worker.tell(images=len(files), complete=True)
        worker.hear("published", published="map")
        kinds = [line["published"] for line in worker.lines if "published" in line]
        assert kinds == ["features", "groups", "map"]
        tasks = {line["task"]["name"]: line["task"] for line in worker.lines if "task" in line}
        assert {"pictures", "features", "groups", "map"} <= set(tasks)
        assert all(t["done"] == t["total"] for n, t in tasks.items())

        features = project.newest("features")
        assert features is not None
        assert sorted(row.values()) == features.rows.tolist()
        assert "8 x 8" in features.meta["source"]
        lengths = np.linalg.norm(features["vectors"].astype(np.float32), axis=1)
        assert np.allclose(lengths, 1, atol=2e-3)

        groups = project.newest("groups")
        assert groups is not None
        assert (groups["likely"] == -1).all()
        named = {r: of[name] for name, r in row.items()}
        members = np.split(np.array([named[r] for r in groups.rows]), groups["starts"][1:-1])
        right = sum(int(np.bincount(m).max()) for m in members)
        assert right / len(files) >= 0.9
        worth = np.diff(groups["starts"]) * groups["purity"]
        assert (np.diff(worth) <= 1e-4).all()

        # blind answers come first and must leave no trace
        for name in names[-60:]:
            project.say("audit_answered", image=name, **{"class": int((of[name] + 1) % 10)})
        project.answer(names[:100], truth[:100])
        worker.tell(seq=len(project.book))
        worker.hear("published", published="model")
        model = project.newest("model")
        assert model is not None
        assert model.meta["trained_on"] == 100
        assert model.meta["label_rev"] == len(project.book)
        assert set(model["held_row"].tolist()) == {row[name] for name in names[:100]}
        answered = {row[name] for name in names[:100]}
        assert not answered & set(model["order"].tolist())
        top = dict(zip(model.rows.tolist(), model["top"][:, 0].tolist(), strict=True))
        blind = [top[row[name]] == of[name] for name in names[-60:]]
        assert np.mean(blind) >= 0.8
        assert np.mean([top[r] == c for r, c in named.items()]) >= 0.88
        assert (model["p"][:, 0] >= model["p"][:, 1]).all()

        card = (model.folder / "card.json").read_bytes()
        file = ModelFile.read(card, (model.folder / "model.safetensors").read_bytes())
        p, unlike = file.predict([files[name] for name in names[200:300]])
        right = [
            file.classes[c][0] == of[n] for c, n in zip(p.argmax(1), names[200:300], strict=True)
        ]
        assert np.mean(right) >= 0.85
        assert unlike.mean() <= 0.05
        assert worker.end() == 0


def test_the_same_book_gives_the_same_revisions(project_of: Maker, some_digits: Digits) -> None:
    files, truth = some_digits
    found = []
    for name in ("one", "two"):
        project = project_of(files, name)
        project.answer(list(files)[:60], truth[:60])
        with running(project) as worker:
            worker.tell(images=len(files), complete=True)
            for kind in ("groups", "model", "map"):
                project.wait_for(kind)
            worker.end()
        found.append(everything(project))
    for kind in revisions.KINDS:
        for name, array in found[0][kind].items():
            assert np.array_equal(array, found[1][kind][name]), (kind, name)


def test_a_second_start_goes_on_from_what_is_there(project_of: Maker, some_digits: Digits) -> None:
    files, truth = some_digits
    project = project_of(files)
    project.answer(list(files)[:60], truth[:60])
    with running(project) as worker:
        worker.tell(images=len(files), complete=True)
        project.wait_for("map")
        worker.end()
    before = {kind: revisions.rev_of(project.place / "derived" / "revisions", kind)
              for kind in revisions.KINDS}  # fmt: skip
    for file in project.folder.iterdir():
        file.unlink()  # nothing is read again
    with running(project) as worker:
        worker.tell(images=len(files), complete=True)
        worker.hear("task", seconds=60)
        while worker.hear("task")["task"]["name"] != "model":
            pass
        time.sleep(1)
        project.answer(list(files)[60:90], truth[60:90])
        worker.tell(seq=len(project.book))
        assert worker.hear("published")["published"] == "model"
        worker.end()
    after = {kind: revisions.rev_of(project.place / "derived" / "revisions", kind)
             for kind in revisions.KINDS}  # fmt: skip
    assert after == {**before, "model": before["model"] + 1}


def test_killed_at_any_moment_it_leaves_whole_revisions(
    project_of: Maker, some_digits: Digits
) -> None:
    """Kills while it reads, groups, learns and draws; the last start makes everything."""
    files, truth = some_digits
    files = dict(list(files.items())[:200])
    project = project_of(files)
    project.answer(list(files)[:80], truth[:80])
    said: set[str] = set()
    for kind in ("pictures", "features", "model", "map"):
        with running(project) as worker:
            worker.tell(images=len(files), complete=True)
            while worker.hear("task")["task"]["name"] != kind:
                pass
            worker.kill()
        for found in (project.newest(k) for k in revisions.KINDS):
            if found is not None:
                said.add(found.kind)
                assert np.isfinite(found.rows).all()
    with running(project) as worker:
        worker.tell(images=len(files), complete=True)
        for kind in revisions.KINDS:
            project.wait_for(kind)
        assert worker.end() == 0
    assert set(everything(project)) == set(revisions.KINDS)
    left = list((project.place / "derived" / "revisions").rglob(".*.part"))
    assert len(left) <= 1


def test_it_ends_with_whoever_started_it(project_of: Maker, some_digits: Digits) -> None:
    files, _ = some_digits
    project = project_of(files)
    with running(project) as worker:
        worker.tell(images=len(files), complete=True)
        worker.hear("task")
        begun = time.monotonic()
        assert worker.end() == 0
        assert time.monotonic() - begun < 15


def test_only_derived_is_written(project_of: Maker, some_digits: Digits) -> None:
    files, truth = some_digits
    few = dict(list(files.items())[:40])
    project = project_of(few)
    project.answer(list(few)[:20], truth[:20])
    book = (project.place / "book.sqlite").read_bytes()
    with running(project) as worker:
        worker.tell(images=40, complete=True)
        project.wait_for("model")
        project.wait_for("map")
        worker.end()
    assert (project.place / "book.sqlite").read_bytes() == book
    assert {p.name for p in project.place.iterdir()} <= {
        "book.sqlite", "book.sqlite-wal", "book.sqlite-shm", "derived",
    }  # fmt: skip
    assert {p.name for p in project.folder.iterdir()} == set(few)
    assert all((project.folder / name).read_bytes() == data for name, data in few.items())


@pytest.mark.parametrize("arguments", [[], ["--place", "x"]])
def test_wrong_usage_says_so(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    import subprocess
    import sys

    done: Any = subprocess.run([sys.executable, "-m", "handful.worker", *arguments], check=False)
    assert done.returncode == 2
    assert "--folder" in capfd.readouterr().err


def test_a_missing_book_is_an_error(tmp_path: Path) -> None:
    import subprocess
    import sys

    place = ["--place", str(tmp_path), "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "handful.worker", *place],
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"book" in done.stderr
