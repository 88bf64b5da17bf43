"""``handful demo``: CCL on scikit-learn's 1,797 digits, with a simulated oracle."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import click

from handful.cli.options import common
from handful.errors import RunFolderError

__all__ = ["demo"]

COUNTS = (20, 40, 60, 80, 100, 120)
LEARNER = {"epochs": 15}  # the published schedule has 10: 1,797 images make short epochs


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A new folder for the run. [handful-runs/demo, made anew each time]",
)
@click.option("--seed", type=int, default=0, metavar="N",
              help="Every draw follows from it: --seed 1. [0]")  # fmt: skip
@common
def demo(out: Path | None, seed: int) -> None:
    """Label 1,797 real images from 120 answers.

    The same learner with random queries runs beside it, for comparison in the report.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two runs at once: before torch loads
    from handful.bench.grid import Cell, start
    from handful.bench.run import run
    from handful.cli.console import print_rounds, say, watching
    from handful.recipes import QueryPart, recipe
    from handful.report import render

    made = recipe(
        "ccl-student", split="none", seed=seed, schedule="published", counts=COUNTS,
        learner=LEARNER,
    )  # fmt: skip
    beside = replace(made, name="ccl-student, random queries", query=QueryPart("random"))
    folder = out or Path("handful-runs") / "demo"
    if (folder / "book.sqlite").exists():
        if out is not None:
            raise RunFolderError(f"{out} holds a run already: choose another folder")
        shutil.rmtree(folder)  # the demo's own folder: it is made again each time
    folder.mkdir(parents=True, exist_ok=True)
    say(f"labelling scikit-learn's digits from {COUNTS[-1]} answers; the rest is never shown")
    process = start(
        Cell("demo", "digits", beside), out=folder / "baseline", log=folder / "baseline.log"
    )
    try:
        with watching() as progress:
            record = run("digits", made, out=folder, progress=progress, say=say, report=False)
        say("waiting for the run with random queries ...")
        process.wait()
    finally:
        process.terminate()
        process.wait()
    page = render([folder])
    print_rounds(record.rounds)
    click.echo(f"report: {page}")
