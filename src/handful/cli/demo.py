"""``handful demo``: CCL on scikit-learn's 1,797 digits, with a simulated oracle."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["demo"]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Where the run is kept.")
@click.option("--seed", type=int, default=0, show_default=True, help="Every draw follows from it.")
@common
def demo(out: Path | None, seed: int) -> None:
    """Label 1,797 real images from 120 answers."""
    from handful.bench.run import run
    from handful.cli.console import print_rounds, say, watching
    from handful.recipes import recipe

    made = recipe("ccl-student", split="none", seed=seed, schedule="fast", counts=COUNTS)
    folder = out or Path("handful-runs") / "demo"
    if out is None and folder.exists():
        shutil.rmtree(folder)  # the demo's own folder: it is made again each time
    say(f"labelling scikit-learn's digits from {COUNTS[-1]} answers; the rest is never shown")
    with watching() as progress:
        record = run("digits", made, out=folder, progress=progress, say=say)
    print_rounds(record.rounds)
    click.echo(f"report: {record.path / 'report.html'}")


COUNTS = (20, 40, 60, 80, 100, 120)
