"""A simulated run from data to report: what it leaves, what it refuses, how it resumes."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import handful.store.files
from handful import metrics
from handful.bench.grid import Cell, grid
from handful.bench.predict import predict
from handful.bench.run import Until, _Steady
from handful.bench.run import run as run_whole
from handful.bench.score import Scored, Scorer
from handful.bench.split import balanced, has_official, limit, split
from handful.errors import (
    HandfulError,
    InputError,
    RecipeError,
    RunFolderError,
    StoreError,
    UnknownName,
)
from handful.pool import Data, open_arrays
from handful.progress import Silent
from handful.recipes import LearnerPart, Recipe, from_toml, recipe
from handful.store import PREDICTION_COLUMNS, ROUND_COLUMNS, RunFolder, RunRecord, read_run
from handful.types import Classes, Fit, Snapshot

MEASURED = ("seconds_", "images_per_second", "peak_mb")  # may differ from run to run
run = partial(run_whole, report=False)
TINY = {"initial": 12, "batch": 6, "budget": 30}


def blobs(n: int = 90, classes: int = 3, *, seed: int = 0, name: str = "blobs") -> Data:
    """Small images of a bright bar whose place is the class; sorted by nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    labels[:classes] = np.arange(classes)
    images = rng.integers(0, 90, size=(n, 8, 8), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label : 2 * label + 2] += 150
    names = np.array([f"bar {c}" for c in range(classes)])
    return open_arrays(name, {"images": images, "labels": labels, "classes": names})


def figures(record: RunRecord) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if not k.startswith(MEASURED)} for r in record.rounds]


def told(record: RunRecord) -> list[tuple[str, str, Any]]:
    return [(e.kind, e.id, e.data) for e in record.events]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return run_whole(blobs(), recipe("probe", **TINY), out=tmp_path_factory.mktemp("run") / "a")


# --- the split ------------------------------------------------------------------------------


def test_80_20_is_stratified_seeded_and_sized() -> None:
    data = blobs(93)
    train, test = split(data, "80/20", seed=4)
    assert len(test) == round(0.2 * 93) == 19
    assert sorted([*train, *test]) == list(range(93))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert data.labels is not None
    for c in range(3):  # each class gives its share, to within one image
        share = (data.labels[test] == c).sum() / (data.labels == c).sum()
        assert share == pytest.approx(0.2, abs=1 / (data.labels == c).sum())
    again = split(blobs(93), "80/20", seed=4)
    assert np.array_equal(again[1], test)
    assert not np.array_equal(split(data, "80/20", seed=5)[1], test)


def test_a_class_with_one_image_makes_the_split_plain() -> None:
    data = blobs(50)
    assert data.labels is not None
    data.labels[data.labels == 2] = 1
    data.labels[0] = 2
    train, test = split(data, "80/20", seed=0)
    assert (len(train), len(test)) == (40, 10)


def test_images_nobody_knows_stay_in_the_training_part() -> None:
    data = blobs(60)
    assert data.labels is not None
    data.labels[10:30] = -1
    _, test = split(data, "80/20", seed=0)
    assert len(test) == 8
    assert (data.labels[test] >= 0).all()


def test_official_none_and_what_cannot_be() -> None:
    plain = blobs(20)
    assert [len(r) for r in split(plain, "none", seed=0)] == [20, 0]
    with pytest.raises(InputError, match="no official split"):
        split(plain, "official", seed=0)
    parts = np.repeat([0, 1], [15, 5])
    images = np.zeros((20, 8, 8), np.uint8)
    data = open_arrays("mnist", {"images": images, "labels": np.arange(20) % 2, "split": parts})
    assert has_official(data)
    assert [r.tolist() for r in split(data, "official", seed=0)] == [
        list(range(15)),
        list(range(15, 20)),
    ]
    train, test = split(data, "80/20", seed=0)  # MNIST: cut from the training images
    assert (len(train), len(test), max(test) < 15) == (12, 3, True)
    with pytest.raises(InputError, match="too few"):
        split(plain.subset(np.array([0])), "80/20", seed=0)


def test_the_fast_schedule_looks_at_a_seeded_part() -> None:
    rows = np.arange(0, 3000, 3)
    some = limit(rows, 100, seed=1)
    assert len(some) == 100
    assert set(some) <= set(rows)
    assert np.array_equal(some, limit(rows, 100, seed=1))
    assert limit(rows, 1000, seed=1) is rows


# --- what a run leaves ----------------------------------------------------------------------


def test_a_run_leaves_what_is_promised(done: RunRecord) -> None:
    names = {p.name for p in done.path.iterdir()}
    assert names >= {
        "book.sqlite", "events.jsonl", "recipe.toml", "run.json", "rounds.csv", "labels.csv",
        "predictions.csv", "model.safetensors", "model.json", "report.html", "figures.npz",
    }  # fmt: skip
    assert [r["labels"] for r in done.rounds] == [12, 18, 24, 30]
    assert [r["asked"] for r in done.rounds] == [12, 6, 6, 6]
    header = (done.path / "rounds.csv").read_text().partition("\n")[0].split(",")
    assert [c for c in header if not c.startswith("loss_")] == list(ROUND_COLUMNS)
    assert len(done.labels) == 30
    facts = json.loads((done.path / "run.json").read_text())
    assert facts["reason"] == "the budget is spent"
    assert (facts["images"], facts["test_images"]) == (72, 18)
    assert facts["recipe_hash"] == from_toml(done.recipe).hash
    assert str(done.path.parent) not in (done.path / "run.json").read_text()


def test_the_recipe_is_kept_with_every_option(done: RunRecord) -> None:
    kept = from_toml(done.recipe)
    assert kept == kept.resolved(72, official=False)
    assert (kept.schedule, kept.split) == ("fast", "80/20")
    assert len(kept.learner.options) > len(recipe("probe").learner.options)


def test_predictions_name_every_image_once(done: RunRecord) -> None:
    rows = list(done.predictions())
    assert len({r["path"] for r in rows}) == len(rows) == 72
    assert tuple(rows[0]) == PREDICTION_COLUMNS
    answered = {r["path"]: r["class"] for r in done.labels}
    for row in rows:
        if row["path"] in answered:
            assert row["class"] == answered[row["path"]]
            assert row["source"] in ("initial", "oracle")
        else:
            assert row["source"] == "model"
            assert 0 < float(row["confidence"]) <= 1


def test_the_figures_are_right(done: RunRecord, tmp_path: Path) -> None:
    """The last row's accuracies, from the model that was kept and nothing else."""
    data = blobs()
    train, test = split(data, "80/20", seed=0)
    for name, rows in (("test", test), ("train", train)):
        part = data.subset(rows)
        images = part.pool.read(np.arange(len(rows)))
        np.savez(tmp_path / f"{name}.npz", images=images[:, 0])
        predict(done.path, tmp_path / f"{name}.npz", out=tmp_path / f"{name}.csv")
    assert data.labels is not None

    def right(name: str, rows: Any) -> Any:
        with (tmp_path / f"{name}.csv").open() as file:
            found = [r["class"] for r in csv.DictReader(file)]
        return np.array([f == f"bar {c}" for f, c in zip(found, data.labels[rows], strict=True)])

    answered = {r["path"] for r in done.labels}
    ids = data.subset(train).pool.ids
    bought = np.array([i in answered for i in ids])
    last = done.rounds[-1]
    assert last["accuracy_test"] == pytest.approx(right("test", test).mean())
    assert last["accuracy_unlabelled"] == pytest.approx(right("train", train)[~bought].mean())


def test_without_a_label_accuracy_is_empty_and_clustering_is_not(tmp_path: Path) -> None:
    record = run(blobs(), recipe("kmeans"), out=tmp_path / "k")
    (row,) = record.rounds
    assert row["labels"] == row["asked"] == 0
    assert row["accuracy_test"] is row["accuracy_unlabelled"] is row["macro_f1_test"] is None
    assert row["acc_all"] is not None
    assert not any(r["class"] for r in record.predictions())


def test_without_a_test_part_the_rest_is_scored(tmp_path: Path) -> None:
    record = run(blobs(), recipe("probe", split="none", **TINY), out=tmp_path / "n")
    assert record.rounds[-1]["accuracy_test"] is None
    assert record.rounds[-1]["accuracy_unlabelled"] is not None
    assert record.run["images"] == 90


def test_the_same_seed_gives_the_same_run(done: RunRecord, tmp_path: Path) -> None:
    again = run(blobs(), recipe("probe", **TINY), out=tmp_path / "b")
    assert figures(again) == figures(done)
    assert told(again) == told(done)
    other = run(blobs(), recipe("probe", seed=1, **TINY), out=tmp_path / "c")
    assert told(other) != told(done)


# --- oracles, classes, conditions -----------------------------------------------------------


def test_a_growing_class_list_ends_at_the_same_place(tmp_path: Path) -> None:
    record = run(blobs(), recipe("probe", classes="grow", **TINY), out=tmp_path / "g")
    created = [e.data["name"] for e in record.events if e.kind == "class_created"]
    assert sorted(created) == ["bar 0", "bar 1", "bar 2"]
    assert record.rounds[-1]["accuracy_test"] is not None


def test_answers_from_a_table(tmp_path: Path) -> None:
    data = blobs()
    assert data.labels is not None
    lines = [f"{i},{data.classes[c]}" for i, c in zip(data.pool.ids, data.labels, strict=True)]
    (tmp_path / "a.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    blind = Data(data.name, data.pool, data.found)
    record = run(
        blind, recipe("probe", **TINY), out=tmp_path / "t", oracle=f"table:{tmp_path / 'a.csv'}"
    )
    assert len(record.labels) == 30
    assert record.rounds[-1]["accuracy_unlabelled"] is None  # nobody knows the truth
    assert record.run["split"] == "none"
    assert "a.csv" not in json.dumps(record.run["oracle"])


def test_sub_folders_of_other_names_are_no_classes_to_a_table(tmp_path: Path) -> None:
    """Plates in folders, cells in a table: nothing is held back, scored or named by plates."""
    data = blobs()
    assert data.labels is not None
    lines = [f"{i},cell {c}" for i, c in zip(data.pool.ids, data.labels, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(lines[:60]) + "\n")
    said: list[str] = []
    oracle = f"table:{tmp_path / 'a.csv'}"
    record = run(data, recipe("probe", **TINY), out=tmp_path / "t", oracle=oracle, say=said.append)
    assert record.run["split"] == "none"
    assert record.book.classes.names == ("cell 0", "cell 1", "cell 2")
    assert record.rounds[-1]["acc_all"] is None
    assert len(list(record.predictions())) == 90
    assert "answers for 60 of 90 images" in said[0]
    assert "no sub-folders of blobs" in said[1]
    lines = [line.replace("cell", "bar") for line in lines]  # now the names are the folder's
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    record = run(data, recipe("probe", **TINY), out=tmp_path / "s", oracle=oracle)
    assert record.run["split"] == "none"
    assert record.rounds[-1]["accuracy_unlabelled"] is not None
    held = recipe("probe", split="80/20", **TINY)
    record = run(data, held, out=tmp_path / "h", oracle=oracle)
    assert record.rounds[-1]["accuracy_test"] is not None


@pytest.mark.parametrize("name", ["probe", "ccl-student"])
def test_a_table_that_names_no_image_asked(name: str, tmp_path: Path) -> None:
    """Nothing to learn from: the run ends with its budget, its reason and all it was told."""
    data = blobs()
    asked = run(blobs(), recipe("probe", initial=80, budget=80, split="none"), out=tmp_path / "a")
    never = next(r["path"] for r in asked.predictions() if r["source"] == "model")
    (tmp_path / "t.csv").write_text(f"path,label\n{never},cat\n")
    made = recipe(name, initial=5, batch=3, budget=10, split="none", classes="grow")
    where = {"out": tmp_path / "x", "oracle": f"table:{tmp_path / 't.csv'}"}
    record = run_whole(data, made, report=True, **where)
    if "cat" in {row["class"] for row in record.labels}:
        pytest.fail("the draw found the one image that has an answer: choose another seed")
    assert "none of 10 answers names a class" in record.run["reason"]
    assert [row["state"] for row in record.labels] == ["unsure"] * 10
    assert not (record.path / "model.safetensors").exists()
    assert (record.path / "report.html").exists()
    with pytest.raises(InputError, match="no model"):
        predict(record.path, "digits", out=tmp_path / "p.csv")


def test_a_noisy_oracle_errs(tmp_path: Path) -> None:
    data = blobs(300)
    assert data.labels is not None
    plan = {"initial": 200, "batch": 10, "budget": 200}
    record = run(
        data, recipe("probe", split="none", **plan), out=tmp_path / "y", oracle="noisy:0.3"
    )
    truth = {i: data.classes[c] for i, c in zip(data.pool.ids, data.labels, strict=True)}
    wrong = np.mean([r["class"] != truth[r["path"]] for r in record.labels])
    assert 0.2 < wrong < 0.4  # 3 standard deviations around 0.3


@pytest.mark.parametrize("bad", ["truht", "noisy", "noisy:2", "noisy:x", "truth:1", "table:"])
def test_oracles_that_are_none(bad: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"truth, noisy:0\.05 or table:FILE"):
        run(blobs(), recipe("probe"), out=tmp_path / "x", oracle=bad)
    assert not (tmp_path / "x").exists(), "a refused run leaves no folder behind"


def test_until_an_accuracy_is_reached(tmp_path: Path) -> None:
    record = run(blobs(), recipe("probe", **TINY), out=tmp_path / "u", until="acc=.5")
    *before, last = [r["accuracy_test"] for r in record.rounds]
    assert last is not None
    assert last >= 0.5
    assert all(a is not None and a < 0.5 for a in before)
    assert "reached 0.5" in record.run["reason"]
    assert record.run["reason"] == read_run(tmp_path / "u").run["reason"]


def test_until_the_predictions_are_steady(tmp_path: Path) -> None:
    plan = {"initial": 12, "batch": 6, "budget": 70}
    record = run(blobs(), recipe("probe", **plan), out=tmp_path / "s", until="steady")
    assert record.run["reason"] in ("the predictions are steady", "the budget is spent")
    again = run(blobs(), None, out=tmp_path / "s", until="steady", resume=True)
    assert figures(again) == figures(record)
    assert again.run["reason"] == record.run["reason"]


def test_steady_is_kept_whole_and_read_with_care(tmp_path: Path) -> None:
    steady = _Steady(tmp_path)

    def look(round: int) -> bool:
        proba = np.eye(2)[[0, 1, 1, 0]]
        return steady.reached(Snapshot.from_arrays(proba=proba, round=round))

    assert [look(r) for r in range(4)] == [False, False, True, True]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"predicted-{r}.npy" for r in (1, 2, 3)]
    (tmp_path / "predicted-2.npy").write_bytes(b"")  # a disk that lost what was written
    assert not look(3)
    (tmp_path / "predicted-2.npy").write_bytes(b"\x93NUMPY\x01\x00 half a header")
    assert not look(3)
    np.save(tmp_path / "predicted-2.npy", np.zeros(3, np.int32))  # of other images
    assert not look(3)


def test_minutes(tmp_path: Path) -> None:
    record = run(blobs(), recipe("probe", **TINY), out=tmp_path / "m", minutes=1e-9)
    assert len(record.rounds) == 1
    assert "minutes are over" in record.run["reason"]


@pytest.mark.parametrize("bad", ["acc", "acc=", "acc=2", "acc=0", "stedy", "acc=x"])
def test_until_what(bad: str) -> None:
    with pytest.raises(RecipeError, match=r"write acc=\.95 .* or steady"):
        Until.parse(bad)
    with pytest.raises(RecipeError, match="above 0"):
        Until.parse(None, 0)


# --- bad input ------------------------------------------------------------------------------


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    images = np.zeros((20, 8, 8), np.uint8)
    labels = {"labels": np.zeros(20, int), "classes": np.array(["cat"])}
    one = open_arrays("cats", {"images": images, **labels})
    with pytest.raises(InputError, match="one class 'cat'"):
        run(one, recipe("probe"), out=tmp_path / "x")
    bare = open_arrays("cats", {"images": images})
    with pytest.raises(InputError, match="no labels to answer from: give --oracle table:FILE"):
        run(bare, recipe("probe"), out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_class_with_one_image(tmp_path: Path) -> None:
    data = blobs(60)
    assert data.labels is not None
    data.labels[data.labels == 2] = 1
    data.labels[0] = 2
    record = run(data, recipe("probe", split="none", **TINY), out=tmp_path / "x")
    assert len(record.rounds) == 4


@pytest.mark.parametrize("learner", ["probe", "ccl"])
def test_more_classes_than_labels(learner: str, tmp_path: Path) -> None:
    data = blobs(60, classes=4)
    options = {"pretrain_epochs": 1, "epochs": 1} if learner == "ccl" else {}
    made = Recipe("x", LearnerPart(learner, options))
    made = made.set("rounds.counts=[2,3]").set("split=none")
    record = run(data, made, out=tmp_path / "x")
    assert [r["labels"] for r in record.rounds] == [2, 3]


def test_a_budget_larger_than_the_pool(tmp_path: Path) -> None:
    plan = {"initial": 20, "batch": 30, "budget": 5000}
    record = run(blobs(60), recipe("probe", split="none", **plan), out=tmp_path / "x")
    assert [r["labels"] for r in record.rounds] == [20, 50, 60]
    assert record.run["reason"] == "every image is answered"
    assert record.rounds[-1]["accuracy_unlabelled"] is None  # nothing is left to score


@pytest.mark.parametrize("name", ["probe", "kmeans"])
def test_initial_0(name: str, tmp_path: Path) -> None:
    plan = {"initial": 0, "batch": 10, "budget": 20}
    record = run(blobs(), recipe(name, **plan), out=tmp_path / "x")
    assert record.rounds[-1]["labels"] == 20


def test_a_balanced_first_draw_is_named_as_given(tmp_path: Path) -> None:
    made = recipe("probe", initial=9, batch=6, budget=15, initial_draw="balanced")
    record = run(blobs(), made, out=tmp_path / "a")
    first = next(e for e in record.events if e.kind == "asked")
    assert first.data["draw"] == "given"
    answers = [e.data["class"] for e in record.events if e.kind == "labelled"][:9]
    assert sorted(answers) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    flat = open_arrays("flat", {"images": np.zeros((20, 8, 8), dtype=np.uint8)})
    answers_file = tmp_path / "answers.csv"
    answers_file.write_text("path,label\n" + "".join(f"{i},a\n" for i in flat.pool.ids))
    with pytest.raises(RecipeError, match="no labels to balance by"):
        run(flat, made, out=tmp_path / "b", oracle=f"table:{answers_file}")


def test_a_balanced_draw_takes_what_there_is() -> None:
    labels = np.array([0] * 50 + [1] * 2 + [2] * 10 + [-1] * 5)
    rows = balanced(labels, 12, seed=0)
    assert np.bincount(labels[rows]).tolist() == [5, 2, 5]
    assert np.array_equal(rows, balanced(labels, 12, seed=0))
    assert not np.array_equal(rows, balanced(labels, 12, seed=1))
    assert len(balanced(labels, 500, seed=0)) == 62


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        run(blobs(), Recipe("x", LearnerPart("prob")), out=tmp_path / "x")
    with pytest.raises(UnknownName):
        run("digitz", recipe("probe"), out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_holds_a_run(done: RunRecord, tmp_path: Path) -> None:
    before = (done.path / "rounds.csv").read_bytes()
    with pytest.raises(RunFolderError, match="--resume"):
        run(blobs(), recipe("probe", **TINY), out=done.path)
    with pytest.raises(RunFolderError, match="no run to resume"):
        run(blobs(), None, out=tmp_path / "nothing", resume=True)
    with pytest.raises(RecipeError, match=r"another recipe .*; seed was 0, now 3"):
        run(blobs(), recipe("probe", seed=3, **TINY), out=done.path, resume=True)
    with pytest.raises(InputError, match="same data"):
        run(blobs(80), None, out=done.path, resume=True)
    with pytest.raises(RecipeError, match="no recipe"):
        run(blobs(), None, out=tmp_path / "nothing")
    assert (done.path / "rounds.csv").read_bytes() == before


# --- killed and resumed ---------------------------------------------------------------------


class Stop(BaseException):
    """A kill: nothing catches it."""


@pytest.mark.parametrize("at", range(1, 9))
def test_killed_and_resumed(at: int, done: RunRecord, tmp_path: Path, monkeypatch: Any) -> None:
    """Die at the n-th file that is written; go on with the same command; nothing differs."""
    written = 0
    write = handful.store.files.write_whole

    def dying(path: Path, content: Any) -> None:
        nonlocal written
        written += path.suffix != ".json"
        if written == 2 * at:
            raise Stop
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("handful.store.runs.write_whole", dying)
        with pytest.raises(Stop):
            run(blobs(), recipe("probe", **TINY), out=tmp_path / "x")
    record = run(blobs(), recipe("probe", **TINY), out=tmp_path / "x", resume=True)
    assert figures(record) == figures(done)
    assert told(record) == told(done)


def test_a_disk_that_fills_up(done: RunRecord, tmp_path: Path, monkeypatch: Any) -> None:
    """The error names folder and remedy, the last good checkpoint survives, resume goes on."""
    rows = 0

    def full(descriptor: int) -> None:
        nonlocal rows
        rows += os.readlink(f"/proc/self/fd/{descriptor}").endswith(".part")
        if rows > 12:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("handful.store.files.os.fsync", full)
        with pytest.raises(StoreError, match=r"disk is full.*free some space.*--resume"):
            run(blobs(), recipe("probe", **TINY), out=tmp_path / "x")
    assert any((tmp_path / "x" / "checkpoint").glob("round-*.safetensors"))
    record = run(blobs(), None, out=tmp_path / "x", resume=True)
    assert figures(record) == figures(done)


def test_every_file_of_a_run_meets_a_full_disk_in_words(tmp_path: Path, monkeypatch: Any) -> None:
    """Whichever file finds no room, one sentence says so, and --resume ends the run."""
    sync = os.fsync
    full = ""

    def fsync(descriptor: int) -> None:
        if full and full in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr("handful.store.files.os.fsync", fsync)
    names = ("figures.npz", "report.html", "predictions.csv", "labels.csv", "training.csv")
    for full in names:
        with pytest.raises(StoreError, match=f"disk is full: {full}"):
            run_whole(blobs(), recipe("probe", **TINY), out=tmp_path / full[:4])
        assert not list((tmp_path / full[:4]).glob("*.part"))
        assert not (tmp_path / full[:4] / "lock").exists()
    full = ""
    record = run_whole(blobs(), None, out=tmp_path / "trai", resume=True)
    assert (record.path / "report.html").exists()


def test_a_recipe_that_was_damaged(done: RunRecord, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(done.path, tmp_path / "r"))
    (copy / "recipe.toml").write_text("x = [")
    with pytest.raises(RecipeError, match=r"recipe\.toml cannot be read .*: restore it"):
        run(blobs(), None, out=copy, resume=True)


def test_a_finished_run_resumes_to_itself(done: RunRecord) -> None:
    again = run(blobs(), None, out=done.path, resume=True)
    assert figures(again) == figures(done)
    assert told(again) == told(done)


@pytest.mark.parametrize("dies_in", ["training.csv", "round-00002.safetensors", "rounds.csv"])
def test_what_training_said_is_kept_with_its_checkpoint(
    dies_in: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Die around the checkpoint of round 2: training.csv comes out as if nothing had happened."""
    ccl = recipe("ccl", learner={"pretrain_epochs": 1, "epochs": 1}, **TINY)
    whole = run(blobs(), ccl, out=tmp_path / "whole")
    assert {r["round"] for r in whole.training} == {r["round"] for r in whole.rounds}
    write = handful.store.files.write_whole
    left = {"training.csv": 2, "round-00002.safetensors": 1, "rounds.csv": 2}[dies_in]

    def dying(path: Path, content: Any) -> None:
        nonlocal left
        left -= path.name == dies_in
        if not left:
            raise Stop
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("handful.store.runs.write_whole", dying)
        with pytest.raises(Stop):
            run(blobs(), ccl, out=tmp_path / "x")
    record = run(blobs(), None, out=tmp_path / "x", resume=True)
    assert record.training == whole.training
    again = run(blobs(), None, out=tmp_path / "x", resume=True)  # finished: nothing is fitted
    assert again.training == whole.training


def test_a_resumed_run_is_answered_by_whom_it_began_with(tmp_path: Path) -> None:
    noisy = recipe("probe", **TINY)
    whole = run(blobs(), noisy, out=tmp_path / "n", oracle="noisy:0.3", minutes=1e-9)
    assert len(whole.rounds) == 1
    with pytest.raises(RecipeError, match=r"began with answers from noisy:0\.3: give --oracle as"):
        run(blobs(), None, out=tmp_path / "n", oracle="truth", resume=True)
    again = run(blobs(), None, out=tmp_path / "n", resume=True)
    assert again.run["oracle"] == "noisy:0.3"
    assert told(again) == told(run(blobs(), noisy, out=tmp_path / "m", oracle="noisy:0.3"))
    data = blobs()
    assert data.labels is not None
    lines = [f"{i},{data.classes[c]}\n" for i, c in zip(data.pool.ids, data.labels, strict=True)]
    (tmp_path / "a.csv").write_text("".join(lines))
    table = f"table:{tmp_path / 'a.csv'}"
    run(data, noisy, out=tmp_path / "t", oracle=table, minutes=1e-9)
    with pytest.raises(RecipeError, match=r"from a table.*--oracle table:FILE"):
        run(data, None, out=tmp_path / "t", resume=True)
    assert run(data, None, out=tmp_path / "t", oracle=table, resume=True).rounds[-1]["labels"] == 30


def test_facts_that_were_edited(done: RunRecord, tmp_path: Path) -> None:
    """run.json is for people: one that is gone does no harm, one that lies is found out."""
    copy = Path(shutil.copytree(done.path, tmp_path / "r"))
    kept = json.loads((copy / "run.json").read_text())
    for change, said in {
        '"images": 7': "began with 7 images of blobs",
        '"reading": {"pages": 3}': "reading images has no setting 'pages'",
        '"reading": {"page": -3}': "page is -3",
        '"seconds": "long"': "could not convert|seconds",
    }.items():
        changed = {**kept, **json.loads("{" + change + "}")}
        (copy / "run.json").write_text(json.dumps(changed))
        with pytest.raises(HandfulError, match=said):
            run(blobs(), None, out=copy, resume=True)
    (copy / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"run\.json is no JSON.*delete it"):
        run(blobs(), None, out=copy, resume=True)
    (copy / "run.json").unlink()
    assert figures(run(blobs(), None, out=copy, resume=True)) == figures(done)


def test_a_run_that_is_under_way_is_let_be(done: RunRecord) -> None:
    held = RunFolder.create(done.path, resume=True)
    with pytest.raises(RunFolderError, match="being written by another process"):
        run("no/such/data", None, out=done.path, resume=True)  # before any data is looked at
    held.close()
    with pytest.raises(InputError, match="no file or folder"):
        run("no/such/data", None, out=done.path, resume=True)
    assert not (done.path / "lock").exists()


# --- scores ---------------------------------------------------------------------------------


class Oracled:
    """A learner that predicts what it is told."""

    name, gives = "oracled", frozenset({"proba"})

    def __init__(self, proba: Any) -> None:
        self.proba = proba

    def predict(self, images: Any) -> Any:
        return self.proba[: len(images)]


def test_class_names_join_the_books_ids_and_the_truths() -> None:
    """The book met the classes in another order, and one that the truth does not have."""
    data = blobs(6)
    scorer = Scorer(data.pool, np.array([0, 1, 2, 0, 1, -1]), None, None, data.classes, seed=0)
    book = Classes(("bar 2", "other", "bar 0", "bar 1"))
    assert scorer.to_truth(np.array([0, 1, 2, 3]), book).tolist() == [2, -1, 0, 1]
    proba = np.eye(4)[[2, 3, 0, 1, 3, 3]].astype(np.float32)
    known = np.array([2, -1, -1, -1, -1, -1])
    snapshot = Snapshot.from_arrays(proba=proba, known=known, ids=data.pool.ids)
    learner: Any = Oracled(proba)
    row = scorer.row(snapshot, book, learner, asked=1, paid=1, fit=Fit(), seconds_query=0.0)
    assert row["accuracy_unlabelled"] == 0.75  # rows 1, 2, 4 right, 3 wrong, 0 bought, 5 unknown
    assert row["entropy_mean"] == 0
    assert "images_per_second" not in row
    assert "accuracy_test" not in row


def test_what_is_logged_is_scored_against_the_truth() -> None:
    truth = np.array([0, 0, 1, 1, -1])
    scored = Scored(Silent(), truth, lambda: 3)
    scored.log("training", 80, assignment=np.array([1, 1, 0, 0, 0]), rec=0.5)
    scored.log("training", 160, rec=0.4)
    first, second = scored.rows
    assert first == {
        "round": 3, "stage": "training", "step": 80, "rec": 0.5, "acc": 1, "nmi": 1, "ari": 1,
    }  # fmt: skip
    assert "acc" not in second
    blind = Scored(Silent(), None, lambda: 0)
    blind.log("training", 0, assignment=truth)
    assert "acc" not in blind.rows[0]


def test_clustering_scores_use_the_hungarian_match(tmp_path: Path) -> None:
    record = run(blobs(), recipe("kmeans"), out=tmp_path / "k")
    data = blobs()
    train, _ = split(data, "80/20", seed=0)
    assert data.labels is not None
    from handful.registry import LEARNERS
    from handful.rng import rng_for
    from handful.types import View

    made = from_toml(record.recipe)
    learner, _ = made.build()
    assert isinstance(learner, LEARNERS.get("kmeans"))
    part = data.subset(train)
    view = View(part.pool, np.full(len(train), -1), Classes(data.classes))
    learner.fit(view, rng_for(0, 0, "fit"), Silent())
    groups = learner.snapshot(view, frozenset({"clusters"})).clusters.argmax(axis=1)
    assert record.rounds[0]["acc_all"] == pytest.approx(metrics.acc(data.labels[train], groups))


# --- prediction and grids -------------------------------------------------------------------


def test_predict_reads_other_sizes_and_colours(done: RunRecord, tmp_path: Path) -> None:
    data = blobs()
    gray = data.pool.read(np.arange(20))
    large = gray.repeat(2, axis=2).repeat(2, axis=3)
    np.savez(tmp_path / "rgb.npz", images=np.repeat(large, 3, axis=1).transpose(0, 2, 3, 1))
    np.savez(tmp_path / "gray.npz", images=gray[:, 0])
    counts = [
        predict(done.path, tmp_path / f"{name}.npz", out=tmp_path / f"{name}.csv")
        for name in ("gray", "rgb")
    ]
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) == 20


def test_predict_refuses_what_does_not_fit(done: RunRecord, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=np.zeros((5, 4), np.float32))
    with pytest.raises(InputError, match="trained on images and this data holds 4 features"):
        predict(done.path, tmp_path / "f.npz", out=tmp_path / "p.csv")
    record = run(blobs(), recipe("kmeans"), out=tmp_path / "k")
    with pytest.raises(InputError, match="never saw an answer"):
        predict(record.path, tmp_path / "f.npz", out=tmp_path / "p.csv")
    with pytest.raises(InputError, match="no model"):
        predict(tmp_path, tmp_path / "f.npz", out=tmp_path / "p.csv")


def test_a_grid_runs_what_is_missing_and_records_it_once(tmp_path: Path) -> None:
    data = blobs()
    np.savez(
        tmp_path / "blobs.npz",
        images=data.pool.read(np.arange(90))[:, 0],
        labels=data.labels,  # type: ignore[arg-type]
    )
    made = [recipe("probe", seed=seed, **TINY) for seed in range(1)]
    cells = [Cell("small", str(tmp_path / "blobs.npz"), r, "80/20", max_side=16) for r in made]
    broken = Cell("small", str(tmp_path / "nothing.npz"), made[0], "80/20")
    seen: list[tuple[str, float | None]] = []

    def record(cell: Cell, left: RunRecord) -> None:
        seen.append((cell.name, left.rounds[-1]["accuracy_test"]))

    said: list[str] = []
    failed = grid([*cells, broken], runs=tmp_path / "runs", record=record, say=said.append)
    assert failed == [broken]
    assert "nothing" in (tmp_path / "runs" / f"{broken.name}.log").read_text()
    assert [n for n, _ in seen] == ["small-blobs-probe-80_20-seed0"]
    kept = read_run(tmp_path / "runs" / cells[0].name).run
    assert kept["reading"]["max_side"] == 16
    assert grid(cells, runs=tmp_path / "runs", record=record) == []
    assert len(seen) == 1
    with pytest.raises(InputError, match="two cells"):
        grid([cells[0], cells[0]], runs=tmp_path / "runs", record=record)


def test_truth_beyond_the_yield_moves_nothing_before_it_is_bought(tmp_path: Path) -> None:
    """Shuffle the labels of images that are never asked: every event and prediction stays."""
    data, other = blobs(), blobs()
    first = run(data, recipe("probe", split="none", **TINY), out=tmp_path / "a")
    bought = {r["path"] for r in first.labels}
    assert other.labels is not None
    free = np.array([i not in bought for i in other.pool.ids])
    other.labels[free] = np.random.default_rng(9).permutation(other.labels[free])
    second = run(other, recipe("probe", split="none", **TINY), out=tmp_path / "b")
    assert told(first) == told(second)
    assert list(first.predictions()) == list(second.predictions())


def test_an_encoder_sees_larger_images_than_a_network_from_scratch(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(12):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (180, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[i % 2] / f"{i}.png")
    encoder = {"features": "backbone", "backbone": "small", "backbone_weights": "random",
               "image_size": 32}  # fmt: skip
    plan = {"initial": 2, "batch": 1, "budget": 3, "split": "none"}
    sides = {}
    for name, learner in (("encoder", encoder), ("pixels", {"features": "pixels"})):
        out = tmp_path / name
        record = run(str(folder), recipe("probe", learner=learner, **plan), out=out, report=False)
        sides[name] = record.run["reading"]["max_side"]
        again = run(str(folder), None, out=out, resume=True, report=False)
        assert again.run["reading"]["max_side"] == sides[name]
    assert sides == {"encoder": 224, "pixels": 96}
    told = run(
        str(folder), recipe("probe", learner=encoder, **plan), out=tmp_path / "told",
        reading={"max_side": 64}, report=False,
    )  # fmt: skip
    assert told.run["reading"]["max_side"] == 64
