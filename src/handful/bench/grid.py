"""Many runs, a few at a time: each cell in a process of its own, finished ones left alone.

A grid may be killed and started again: a cell that was under way is resumed, a cell that
is done is not run twice, and ``record`` is called once for each.  By default two processes
of one thread each: torch's threads starve one another on a small machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from handful.bench.run import run
from handful.errors import InputError
from handful.recipes import Recipe, from_toml, to_toml
from handful.store import RunRecord, read_run

__all__ = ["Cell", "grid", "start"]

_UNFINISHED = ("running", "interrupted", "")


@dataclass(frozen=True)
class Cell:
    """One run of a grid: ``variant`` names schedule, split or option in the rows it leaves.

    ``max_side``: images are shrunk to it, as by the option of that name.
    """

    bench: str
    data: str
    recipe: Recipe  # its seed is the cell's
    variant: str = ""
    oracle: str = "truth"
    max_side: int | None = None

    @property
    def name(self) -> str:
        """A folder name, distinct for distinct cells of one grid."""
        words = (self.bench, Path(self.data).stem, self.recipe.name, self.variant)
        text = "-".join([*filter(None, words), f"seed{self.recipe.seed}"])
        return re.sub(r"[^A-Za-z0-9._+=-]+", "_", text)


def grid(
    cells: Iterable[Cell],
    *,
    runs: Path,
    record: Callable[[Cell, RunRecord], None],
    processes: int = 2,
    threads: int = 1,
    data_root: Path | str | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> list[Cell]:
    """Run the cells in order, ``processes`` at a time; returns those that failed.

    The log of a cell is ``runs/NAME.log``.  A cell that fails does not stop the others.
    """
    waiting = list(cells)
    names = [cell.name for cell in waiting]
    if doubled := {n for n in names if names.count(n) > 1}:
        raise InputError(f"two cells of the grid are called {min(doubled)}: name their variants")
    runs.mkdir(parents=True, exist_ok=True)
    going: dict[subprocess.Popen[bytes], tuple[Cell, float]] = {}
    failed: list[Cell] = []
    try:
        while waiting or going:
            while waiting and len(going) < processes:
                cell = waiting.pop(0)
                if _finished(runs / cell.name):
                    _record(cell, runs, record)
                    continue
                say(f"{cell.name}: starts, {len(waiting)} to come")
                process = start(
                    cell,
                    out=runs / cell.name,
                    log=runs / f"{cell.name}.log",
                    threads=threads,
                    data_root=data_root,
                )
                going[process] = cell, time.monotonic()
            for process in [p for p in going if p.poll() is not None]:
                cell, began = going.pop(process)
                if process.returncode == 0 and _finished(runs / cell.name):
                    say(f"{cell.name}: done in {time.monotonic() - began:.0f} s")
                    _record(cell, runs, record)
                else:
                    say(f"{cell.name}: failed, {runs / cell.name}.log says why")
                    failed.append(cell)
            if going:
                time.sleep(0.2)
    finally:
        for process in going:  # interrupted: the cells under way are resumed next time
            process.terminate()
        for process in going:
            process.wait()
    return failed


def start(
    cell: Cell,
    *,
    out: Path,
    log: Path,
    threads: int = 1,
    data_root: Path | str | None = None,
) -> subprocess.Popen[bytes]:
    """Run one cell in a process of its own; what it has to say goes to ``log``."""
    task = {
        "data": cell.data,
        "recipe": to_toml(cell.recipe),
        "out": str(out),
        "oracle": cell.oracle,
        "reading": {} if cell.max_side is None else {"max_side": cell.max_side},
        "data_root": None if data_root is None else str(data_root),
    }
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "handful.bench.grid", json.dumps(task)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def _finished(out: Path) -> bool:
    if not (out / "book.sqlite").is_file():
        return False
    return str(read_run(out).run.get("reason", "")) not in _UNFINISHED


def _record(cell: Cell, runs: Path, record: Callable[[Cell, RunRecord], None]) -> None:
    done = runs / cell.name / "recorded"
    if not done.exists():
        record(cell, read_run(runs / cell.name))
        done.touch()


def _work(task: str) -> None:
    """What a worker process does: one cell, from where it was."""
    given = json.loads(task)
    out = Path(given["out"])
    run(
        given["data"],
        from_toml(given["recipe"]),
        out=out,
        oracle=given["oracle"],
        reading=given["reading"],
        data_root=given["data_root"],
        resume=(out / "book.sqlite").is_file(),
        report=False,  # `handful report` makes one of many runs
    )


if __name__ == "__main__":
    _work(sys.argv[1])
