"""One tidy row per measured value, appended by the benchmark that measured it.

``record(...)`` appends to ``benchmarks/results/BENCH.csv``; ``read(bench)`` gives the rows
back.  Several processes may append at once: each row is written under a file lock.
Nobody types a row by hand: machine, commit, date and command are looked up here.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from handful.bench.machine import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COLUMNS = (
    "bench", "data", "recipe", "variant", "seed", "labels", "metric", "value", "unit",
    "seconds", "machine", "commit", "date", "command",
)  # fmt: skip


def record(
    bench: str,
    data: str,
    recipe: str,
    variant: str,
    seed: int | str,
    labels: int | str,
    metric: str,
    value: float,
    unit: str = "",
    seconds: float | None = None,
    *,
    results: Path | None = None,
    where: str | None = None,
) -> Path:
    """Append one value and return the file it went to.

    ``metric`` is a column of ``rounds.csv`` or a plain word; ``variant`` names schedule,
    split or size; ``unit`` is empty for a share.  ``where`` is for rows that were measured
    on another machine (default: this one).
    """
    folder = results if results is not None else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{bench}.csv"
    row = {
        "bench": bench,
        "data": data,
        "recipe": recipe,
        "variant": variant,
        "seed": seed,
        "labels": labels,
        "metric": metric,
        "value": f"{float(value):.10g}",
        "unit": unit,
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "machine": where or machine(),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(),
    }
    line = io.StringIO()
    csv.DictWriter(line, COLUMNS, lineterminator="\n").writerow(row)
    with path.open("a", newline="", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        if file.seek(0, os.SEEK_END) == 0:
            file.write(",".join(COLUMNS) + "\n")
        file.write(line.getvalue())
        file.flush()
        os.fsync(file.fileno())
    return path


def read(bench: str, *, results: Path | None = None) -> list[dict[str, str]]:
    """All rows of one benchmark, oldest first; none when it has not run yet."""
    path = (results if results is not None else RESULTS) / f"{bench}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def commit() -> str:
    """Short hash of HEAD when the benchmark started; ``+`` when ``src`` differed from it."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def command() -> str:
    """What was typed, with paths relative to the repository (others by their name)."""
    return " ".join(["python", *(_relative(a) for a in sys.argv)])


def _relative(argument: str) -> str:
    flag, equals, value = argument.rpartition("=")
    path = Path(value)
    if path.is_absolute():
        value = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    elif path.suffix == ".py" and path.exists() and path.resolve().is_relative_to(ROOT):
        value = str(path.resolve().relative_to(ROOT))
    return f"{flag}{equals}{value}"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
