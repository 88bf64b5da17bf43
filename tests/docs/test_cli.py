"""The command line: what it prints, what it refuses, the codes it leaves with."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

import handful.bench.run
from handful.cli import app, main
from handful.cli.console import print_rounds, print_table, watching
from handful.cli.options import settings
from handful.recipes import RECIPES, from_toml
from handful.registry import LEARNERS, QUERIES
from handful.store import read_run

TINY = ["--recipe", "probe", "--initial", "12", "--batch", "6", "--budget", "24"]
MEASURED = ("seconds_", "images_per_second", "peak_mb")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings(), "quiet", False)
    monkeypatch.setattr(settings(), "debug", False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.delenv("HANDFUL_DATA", raising=False)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """A file of 60 small images in three classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 90, size=(60, 8, 8), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label : 2 * label + 2] += 150
    np.savez(tmp_path / "bars.npz", images=images, labels=labels)
    return tmp_path / "bars.npz"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_is_quick_and_light() -> None:
    """Under half a second (the best of three: the machine may be busy), torch not imported."""
    code = """
import sys, time
began = time.perf_counter()
from handful.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
took = time.perf_counter() - began
heavy = {"torch", "numpy", "sklearn", "matplotlib", "rich"} & set(sys.modules)
assert not heavy, heavy
print(f"took {took}", file=sys.stderr)
"""
    seconds = []
    for _ in range(3):
        done = python(code)
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stderr.split()[-1]))
    assert min(seconds) < 0.5
    for name in ("demo", "run", "recipes", "queries", "learners", "data", "report", "predict"):
        assert f"  {name} " in done.stdout


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in app.commands.items():
        assert call(name, "--help") == 0
        out = capsys.readouterr().out
        assert command.help
        assert command.help.splitlines()[0] in out
        assert "--quiet" in out
        for option in command.params:
            if isinstance(option, click.Option):
                assert re.search(r" \[.+\]$", option.help or ""), f"{name}: {option} has no default"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"handful, version {handful.__version__}\n"


@pytest.mark.parametrize(
    ("command", "registry"), [("recipes", RECIPES), ("queries", QUERIES), ("learners", LEARNERS)]
)
def test_tables_of_names(command: str, registry: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--names") == 0
    assert capsys.readouterr().out.split() == list(registry.names())
    assert call(command) == 0
    table = capsys.readouterr().out
    for name in registry:
        assert registry.summary(name)[:40] in table
    first = registry.names()[0]
    assert call(command, first) == 0
    card = capsys.readouterr().out
    if command == "recipes":
        assert from_toml(card) == RECIPES.get(first)()
    else:
        assert registry.summary(first) in card
    assert call(command, first + "x") == 2
    assert f"did you mean {first!r}" in capsys.readouterr().err


def test_data_and_doctor(bars: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    assert call("data", bars) == 0
    out = capsys.readouterr().out
    assert "60 images" in out
    assert call("doctor") == 0
    out = capsys.readouterr().out
    for word in ("handful", "torch", "machine", "free disk", "HANDFUL_DATA", "everything is in"):
        assert word in out
    monkeypatch.setenv("HANDFUL_DATA", "nowhere")
    assert call("doctor") == 0
    out = capsys.readouterr().out
    assert "! HANDFUL_DATA names nowhere" in out
    assert "1 to look at" in out


def test_a_run_and_what_follows(bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", bars, *TINY, "--split", "80/20", "--seed", 3, "--out", "r") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == os.path.join("r", "report.html")
    assert [line.split()[1] for line in shown.out.splitlines()[1:4]] == ["12", "18", "24"]
    record = read_run("r")
    kept = from_toml(record.recipe)
    assert (kept.seed, kept.split, kept.rounds.budget) == (3, "80/20", 24)
    assert record.run["command"]

    assert call("report", "r", "--out", "again.html") == 0
    assert Path("again.html").read_text().startswith("<!doctype html>")
    assert call("predict", "r", bars, "--out", "p.csv") == 0
    with open("p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert list(rows[0]) == ["path", "class", "confidence", "unlike", "source"]

    assert call("run", bars, *TINY, "--out", "r") == 2
    assert "--resume" in capsys.readouterr().err
    assert call("run", bars, "--resume", "--out", "r") == 0
    assert [r["labels"] for r in read_run("r").rounds] == [12, 18, 24]
    assert call("run", bars, "--resume") == 2
    assert "--out" in capsys.readouterr().err


def test_options_of_a_run_reach_the_recipe(
    bars: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    class Record:
        rounds, path, run = (), Path("x"), {"reason": "it was over"}

    def keep(data: str, recipe: Any, **options: Any) -> Any:
        seen.append((recipe, options))
        return Record

    monkeypatch.setattr(handful.bench.run, "run", keep)
    assert call(
        "--quiet", "run", bars, "--learner", "probe", "--query", "margin",
        "--schedule", "published", "--classes", "grow", "--set", "learner.C=0.5",
        "--set", "rounds.counts=[5,9]",
        "--until", "acc=.9", "--minutes", 2, "--oracle", "noisy:0.1",
    ) == 0  # fmt: skip
    recipe, options = seen.pop()
    assert (recipe.name, recipe.schedule, recipe.classes) == ("probe+margin", "published", "grow")
    assert recipe.learner.options == {"C": 0.5}
    assert recipe.rounds.counts == (5, 9)
    assert options["out"] == Path("handful-runs/bars-probe+margin-0")
    assert (options["until"], options["minutes"], options["oracle"]) == ("acc=.9", 2, "noisy:0.1")
    assert call("run", bars) == 0
    assert seen.pop()[0].name == "ccl-student"
    Path("mine.toml").write_text('name = "mine"\n[learner]\nname = "probe"\n')
    assert call("run", bars, "--config", "mine.toml", "--seed", 4) == 0
    recipe, _ = seen.pop()
    assert (recipe.name, recipe.seed, recipe.learner.name) == ("mine", 4, "probe")
    assert call("run", bars, "--config", "mine.toml", "--recipe", "ccl") == 2
    assert call("run", bars, "--config", "none.toml") == 2
    assert "none.toml cannot be read" in capsys.readouterr().err
    Path("broken.toml").write_text("x = [")
    assert call("run", bars, "--config", "broken.toml") == 2
    assert "--config broken.toml: the recipe is no TOML" in capsys.readouterr().err
    assert not seen


def test_stacks_are_read_alike_by_data_run_resume_and_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second page of each stack tells the classes apart; the first is noise."""
    rng = np.random.default_rng(0)
    for i in range(36):
        noise, bar = rng.integers(0, 90, size=(2, 12, 12), dtype=np.uint8)
        bar[4 * (i % 3) : 4 * (i % 3) + 4] += 150
        (tmp_path / "stacks" / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
        pages = [Image.fromarray(noise), Image.fromarray(bar)]
        pages[0].save(
            tmp_path / "stacks" / "abc"[i % 3] / f"{i}.tif", save_all=True, append_images=pages[1:]
        )
    assert call("data", "stacks", "--thorough") == 0
    assert "page 0 is used" in capsys.readouterr().out
    assert call("data", "stacks", "--page", "all") == 0
    assert "72 images" in capsys.readouterr().out
    assert call("data", "stacks", "--page", 2) == 2
    assert "page 2 was chosen, it has 2" in capsys.readouterr().err
    how = ["--page", 1, "--channel", 0, "--max-side", 10]
    assert call("run", "stacks", *TINY, *how, "--out", "r") == 0
    record = read_run("r")
    kept = {"page": 1, "channel": 0, "max_side": 10}
    assert record.run["reading"] == record.card["reading"] == kept
    assert record.run["image_size"] == [10, 10]
    assert record.rounds[-1]["accuracy_test"] == 1.0, "page 0 holds noise alone"
    assert call("run", "stacks", "--resume", "--out", "r") == 0
    assert read_run("r").run["reading"] == kept
    assert call("run", "stacks", "--resume", "--out", "r", "--page", 0) == 2
    assert "began with page 1, channel 0" in capsys.readouterr().err

    def right() -> float:
        with open("predictions.csv", newline="") as file:
            return float(np.mean([r["class"] == r["path"][0] for r in csv.DictReader(file)]))

    assert call("predict", "r", "stacks") == 0
    assert right() == 1.0
    assert call("predict", "r", "stacks", "--page", 0) == 0
    assert right() < 0.8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--page", "first"], "a number from 0 (the first), or all"),
        (["--page", "-1"], "a number from 0 (the first), or all"),
        (["--channel", "-1"], "a number from 0"),
        (["--max-side", "4"], "at least 8 pixels"),
        (["--recipe", "ccl-studnt"], "did you mean 'ccl-student'"),
        (["--learner", "prob"], "did you mean 'probe'"),
        (["--query", "entropi"], "did you mean 'entropy'"),
        (["--set", "learner.lrr=3"], "did you mean 'lr'"),
        (["--set", "learner.lr=quick"], "takes a number"),
        (["--set", "lr"], "write learner.lr=1e-3"),
        (["--split", "70/30"], "80/20"),
        (["--schedule", "slow"], "fast"),
        (["--until", "never"], "acc=.95"),
        (["--initial", "-3"], "0 or more"),
        (["--batch", "0"], "1 or more"),
        (["--oracle", "table:none.csv"], "none.csv"),
        (["--initial", "many"], "not a valid integer"),
        (["--bugdet", "3"], "--budget"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(
    arguments: list[str], said: str, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", bars, "--out", "x", *arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert len(shown.err.strip().splitlines()) <= 4
    assert shown.out == ""
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos"], "'photos' is neither a command nor a folder here: `handful --help`"),
        (["reprot"], "did you mean 'report'?"),
        (["photos/"], "there is no folder photos/"),
        (["data", "photos"], "there is no such folder"),
        (["predict", "nowhere", "digits"], "give a run folder or a .safetensors file"),
        (["report", "nowhere"], "give a folder made by handful run"),
        (["queries", "entorpy"], "did you mean 'entropy'?"),
        (["learners", "prob"], "did you mean 'probe'?"),
        (["recipes", "ccll"], "did you mean 'ccl'?"),
        (["run", "digits", "--resume", "--out", "nowhere"], "holds no run to resume"),
        (["run", "digits", "--config", "none.toml"], "none.toml cannot be read: No such file"),
        (["run", "digits", "--until", "acc=95"], "at most 1"),
    ],
)
def test_slips_of_the_hand(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.out == ""


def test_a_folder_instead_of_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens the page; the options of the page may follow."""
    asked: list[Any] = []
    monkeypatch.setattr("handful.page.serve.serve", lambda *args: asked.append(args[:2]))
    assert call(tmp_path, "--port", "8123", "--no-browser") == 0
    ((folder, options),) = asked
    assert (folder, options.port, options.browser) == (tmp_path, 8123, False)
    (tmp_path / "a.png").write_bytes(b"")
    assert call(tmp_path / "a.png") == 2
    assert "is a file" in capsys.readouterr().err
    assert call("dmeo") == 2
    assert "did you mean 'demo'" in capsys.readouterr().err
    assert call("xyzzy") == 2
    assert "handful --help" in capsys.readouterr().err


def test_broken_images_are_left_out_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for row in range(40):
        folder = tmp_path / "pictures" / f"class {row % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 90, (12, 12), dtype=np.uint8) + np.uint8(150 * (row % 2))
        Image.fromarray(pixels).save(folder / f"{row}.png")
    (tmp_path / "pictures" / "class 0" / "empty.png").write_bytes(b"")
    (tmp_path / "pictures" / "class 1" / "words.png").write_text("no image at all")
    assert call("data", "pictures") == 0
    out = capsys.readouterr().out
    assert "empty.png" in out
    assert "words.png" in out
    assert call("run", "pictures", *TINY, "--out", "r") == 0
    assert "2 images cannot be read" in capsys.readouterr().err
    facts = read_run("r").run
    assert facts["broken"] == 2
    assert set(facts["broken_files"]) == {"class 0/empty.png", "class 1/words.png"}
    assert facts["images"] + facts["test_images"] == 40


def test_unforeseen_errors(
    bars: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("over nothing\nsecond line")

    monkeypatch.setattr(handful.bench.run, "run", fail)
    assert call("run", bars) == 1
    said = capsys.readouterr().err
    assert said == "handful: ZeroDivisionError: over nothing (--debug shows where)\n"
    with pytest.raises(ZeroDivisionError):
        main(["run", str(bars), "--debug"])


def test_ctrl_c_keeps_the_state(tmp_path: Path, bars: Path) -> None:
    """A real SIGINT while it trains: exit 130, and --resume ends where it would have."""
    plan = ["--recipe", "ccl", "--initial", "12", "--batch", "6", "--budget", "24", "--split",
            "none", "--set", "learner.pretrain_epochs=2", "--set", "learner.epochs=40"]  # fmt: skip
    command = [sys.executable, "-m", "handful", "--quiet", "run", str(bars), *plan, "--out"]
    command.append("r")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # a shell starts what runs in its background with SIGINT ignored, and that is inherited
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, preexec_fn=heard
    )
    began = time.monotonic()
    while not (tmp_path / "r" / "rounds.csv").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - began < 120
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert b"--resume" in said
    assert b"Traceback" not in said
    stopped = read_run(tmp_path / "r")
    assert stopped.run["reason"] == "interrupted"
    assert len(stopped.rounds) < 3
    done = subprocess.run([*command, "--resume"], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
    command[-1] = "whole"
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)

    def figures(name: str) -> list[dict[str, Any]]:
        rows = read_run(tmp_path / name).rounds
        return [{k: v for k, v in r.items() if not k.startswith(MEASURED)} for r in rows]

    assert figures("r") == figures("whole")


def test_plain_lines_say_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    clock = iter(np.arange(0.0, 1000.0, 4.0))
    monkeypatch.setattr("handful.cli.console.time.monotonic", lambda: float(next(clock)))
    with watching() as progress, progress.task("training", 100) as task:
        for _ in range(8):
            task.advance(10, loss=0.5)
        progress.log("training", 1, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 30 of 100 images, 2/s, 28 s left, loss 0.5"
    assert lines[-1].startswith("training: 80 images in ")
    monkeypatch.setattr(settings(), "quiet", True)
    with watching() as progress, progress.task("training", 100) as task:
        task.advance(100)
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with watching() as progress:
        with progress.task("training", 100) as task:
            task.advance(40, loss=0.25)
            task.advance(60)
        with progress.task("looking", None, unit="files") as task:
            task.advance()
        progress.log("training", 1, loss=0.5)


def test_tables_print_what_is_there_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("[bold]x[/bold]", 3), ("y", 0.12345), ("z", None)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["name", "n"], ["[bold]x[/bold]", "3"], ["y", "0.123"], ["z"]]
    rows = [{"round": 1, "labels": 1500, "accuracy_test": 0.98765, "acc_all": None}]
    print_rounds(rows)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["round", "labels", "test", "acc."], ["1", "1,500", "0.988"]]


def test_the_demo_runs_random_queries_beside(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    module = sys.modules["handful.cli.demo"]  # the package's attribute is the command
    monkeypatch.setattr(module, "COUNTS", (10, 20))
    monkeypatch.setattr(module, "LEARNER", {"epochs": 1, "pretrain_epochs": 1})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert call("demo", "--quiet") == 0
    shown = capsys.readouterr().out
    here = Path("handful-runs/demo")
    assert shown.splitlines()[-1] == f"report: {here / 'report.html'}"
    for folder in (here, here / "baseline"):
        assert [r["labels"] for r in read_run(folder).rounds] == [10, 20]
    first = [read_run(f).rounds[0]["accuracy_unlabelled"] for f in (here, here / "baseline")]
    assert first[0] == first[1], "both begin with the same draw"
    assert "random" in (here / "report.html").read_text()
    assert call("demo", "--out", here) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_reaches_what_it_promises(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "handful", "demo", "--out", "d"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = read_run(tmp_path / "d")
    last = record.rounds[-1]
    assert last["labels"] is not None
    assert last["labels"] <= 120
    assert last["accuracy_unlabelled"] is not None
    assert last["accuracy_unlabelled"] >= 0.96
    assert (tmp_path / "d" / "baseline" / "rounds.csv").exists()
    assert done.stdout.splitlines()[-1] == f"report: {Path('d') / 'report.html'}"
