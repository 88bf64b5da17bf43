"""What a person sees while a command works: bars, lines and tables.

On a terminal a bar with images a second and the time left; anywhere else one plain line
when a task ends, or every ten seconds; with ``--quiet`` nothing but results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)
from rich.table import Table
from rich.text import Text

from handful.cli.options import settings
from handful.progress import Array, Progress, Silent, Task

__all__ = ["print_table", "say", "watching"]


def say(message: str) -> None:
    """One line of talk, on stderr: results go to stdout, so that they can be piped."""
    if not settings().quiet:
        click.echo(message, err=True)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "", right: int = 1
) -> None:
    """A table on stdout; columns from ``right`` on are numbers."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i >= right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(v)) for v in row))
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, highlight=False, width=width).print(table)


@contextmanager
def watching() -> Iterator[Progress]:
    """The progress that suits this process: bars, plain lines or silence."""
    if settings().quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _Bars() as bars:
            yield bars
    else:
        yield _Lines()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Any) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "images")
        return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="progress.data.speed")


class _Bars:
    """Rich bars on a terminal."""

    def __init__(self) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            transient=True,
        )

    def __enter__(self) -> _Bars:
        self._rich.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._rich.stop()

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "images") -> Iterator[Task]:
        bar = self._rich.add_task(name, total=total, unit=unit, figures="")
        try:
            yield _Bar(self._rich, bar)
        finally:
            self._rich.remove_task(bar)

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        return None


class _Bar:
    def __init__(self, rich: RichProgress, bar: TaskID) -> None:
        self._rich, self._bar = rich, bar

    def advance(self, n: int = 1, **figures: float) -> None:
        if figures:
            self._rich.update(self._bar, advance=n, figures=_figures(figures))
        else:
            self._rich.advance(self._bar, n)


class _Lines:
    """Plain lines for logs and pipes."""

    every = 10.0  # seconds between two lines of one task

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "images") -> Iterator[Task]:
        line = _Line(name, total, unit, self.every)
        yield line
        line.end()

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        return None


class _Line:
    def __init__(self, name: str, total: int | None, unit: str, every: float) -> None:
        self.name, self.total, self.unit, self.every = name, total, unit, every
        self.done, self.start = 0, time.monotonic()
        self.last = self.start

    def advance(self, n: int = 1, **figures: float) -> None:
        self.done += n
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            rate = self.done / (now - self.start)
            of = f" of {self.total:,}" if self.total else ""
            left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and rate else ""
            shown = f", {_figures(figures)}" if figures else ""
            self._say(f"{self.done:,}{of} {self.unit}, {rate:,.0f}/s{left}{shown}")

    def end(self) -> None:
        seconds = time.monotonic() - self.start
        if seconds >= self.every:
            self._say(f"{self.done:,} {self.unit} in {seconds:.1f} s")

    def _say(self, what: str) -> None:
        click.echo(f"{self.name}: {what}", err=True)


def _figures(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in figures.items())


def print_rounds(rounds: Sequence[Mapping[str, float | None]], *, unit: str = "labels") -> None:
    """The table of rounds: answers paid by their unit, and the figures that this run has."""
    shown = [
        (column, unit if column == "labels" else title)
        for column, title in _ROUNDS
        if any(r.get(column) is not None for r in rounds)
    ]
    rows = [[_figure(r.get(column)) for column, _ in shown] for r in rounds]
    print_table([title for _, title in shown], rows, right=0)


_ROUNDS = (
    ("round", "round"),
    ("labels", "labels"),
    ("accuracy_test", "test acc."),
    ("accuracy_unlabelled", "unlabelled acc."),
    ("acc_all", "ACC"),
    ("nmi_all", "NMI"),
    ("ari_all", "ARI"),
    ("implied_same", "known same"),
    ("implied_different", "known different"),
    ("undecided", "undecided"),
    ("contradictions", "contradictions"),
    ("name_questions", "names to ask"),
    ("accuracy_named", "acc. with names"),
    ("seconds_fit", "fit s"),
    ("images_per_second", "images/s"),
)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3f}"
