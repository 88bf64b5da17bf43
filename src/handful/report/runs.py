"""Run folders as a report reads them: files in, tables and words out; nothing is written.

A file that is missing or damaged costs its own part of the report, never the report.
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from handful.errors import HandfulError, InputError, RunFolderError
from handful.report.clusters import FILE as CLUSTERS
from handful.report.clusters import Clusters
from handful.report.clusters import load as load_clusters
from handful.report.figures import STAGES, Figures, Stage, load_stages
from handful.report.figures import load as load_figures
from handful.types import Array

METRICS: Mapping[str, str] = {
    "accuracy_test": "test accuracy",
    "accuracy_unlabelled": "accuracy on the images not bought",
    "acc_unlabelled": "clustering accuracy on the images not bought",
    "acc_all": "clustering accuracy on all images",
}
TRANSDUCTIVE = frozenset(METRICS) - {"accuracy_test"}


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file: named columns of words, of which some are numbers."""

    columns: Mapping[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def words(self, name: str) -> list[str]:
        """One column as written; empty words where there is no such column."""
        return self.columns.get(name, [""] * len(self))

    def numbers(self, name: str) -> Array:
        """One column ``(rows,) float64``; NaN where a cell is empty or no number."""
        return np.array([_number(word) for word in self.words(name)], dtype=np.float64)

    def has(self, name: str) -> bool:
        """Whether a column holds at least one finite number."""
        return bool(np.isfinite(self.numbers(name)).any())


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what it was told (``recipe``), what it is (``facts``), what it measured."""

    path: Path
    rounds: Table
    training: Table = field(default_factory=Table)
    labels: Table = field(default_factory=Table)
    facts: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    figures: Figures | None = None
    clusters: Clusters | None = None
    stages: tuple[Stage, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The recipe's name, else the folder's."""
        return str(self.recipe.get("name") or self.facts.get("recipe") or self.path.name)

    @property
    def data(self) -> str:
        return str(self.facts.get("data") or self.recipe.get("data") or "")

    @property
    def images(self) -> int | None:
        """Images in the pool."""
        if self.figures is not None:
            return self.figures.n
        count = self.facts.get("images")
        return int(count) if isinstance(count, int | float) else None

    @property
    def unit(self) -> str:
        """What was paid for, one a question: labels, or answers about pairs."""
        return "pair answers" if self.facts.get("unit") == "pairs" else "labels"

    @property
    def metric(self) -> str | None:
        """The first of `METRICS` that this run has measured."""
        return next((name for name in METRICS if self.rounds.has(name)), None)

    def curve(self, metric: str) -> tuple[Array, Array]:
        """Labels and values ``(r,)`` where both are known, by rising labels; last row wins."""
        labels, values = self.rounds.numbers("labels"), self.rounds.numbers(metric)
        at = {
            x: y for x, y in zip(labels, values, strict=True) if np.isfinite(x) and np.isfinite(y)
        }
        xs = sorted(at)
        return np.array(xs, dtype=np.float64), np.array([at[x] for x in xs], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seed alone: one line of a learning curve."""

    title: str
    runs: tuple[Run, ...]
    baseline: bool = False

    def curve(self, metric: str) -> tuple[Array, Array, Array]:
        """Labels, mean and standard deviation (NaN below three seeds) over the runs.

        Only label counts that every run has measured are averaged.
        """
        curves = [dict(zip(*run.curve(metric), strict=True)) for run in self.runs]
        curves = [curve for curve in curves if curve]
        if not curves:
            return np.empty(0), np.empty(0), np.empty(0)
        xs = np.array(sorted(set.intersection(*(set(curve) for curve in curves))))
        values = np.array([[curve[x] for x in xs] for curve in curves]).reshape(len(curves), -1)
        spread = np.full(xs.size, np.nan)
        if len(curves) >= 3:
            spread = values.std(axis=0, ddof=1)
        return xs, values.mean(axis=0), spread


def load(path: Path | str) -> Run:
    """Read a run folder, or a CSV of rounds (a bare curve).

    Raises `RunFolderError` when there is neither ``rounds.csv`` nor ``run.json``.
    """
    path = Path(path)
    if path.is_file():
        return Run(path.with_suffix(""), _table(path), facts={"recipe": path.stem})
    if not ((path / "rounds.csv").is_file() or (path / "run.json").is_file()):
        raise RunFolderError(
            f"{path} is no run folder, it holds neither rounds.csv nor run.json:"
            " give a folder made by handful run"
        )
    problems: list[str] = []

    def attempt(read: Any, name: str, empty: Any) -> Any:
        try:
            return read(path / name) if (path / name).exists() else empty
        except (OSError, ValueError, csv.Error, HandfulError) as error:
            problems.append(f"{name} cannot be read and is left out ({error})")
            return empty

    return Run(
        path,
        rounds=attempt(_table, "rounds.csv", Table()),
        training=attempt(_table, "training.csv", Table()),
        labels=attempt(_table, "labels.csv", Table()),
        facts=attempt(_json, "run.json", {}),
        recipe=attempt(_toml, "recipe.toml", {}),
        figures=attempt(lambda file: load_figures(file.parent), "figures.npz", None),
        clusters=attempt(lambda file: load_clusters(file.parent), CLUSTERS, None),
        stages=tuple(attempt(lambda folder: load_stages(folder.parent), STAGES, ())),
        problems=tuple(problems),
    )


def load_baselines(runs: Sequence[Run], given: Iterable[Path | str]) -> list[Run]:
    """The random-query runs: those given, else ``baseline*`` inside the runs' own folders."""
    paths = [Path(path) for path in given]
    if not paths:
        for run in runs:
            if run.path.is_dir():
                paths += sorted(p for p in run.path.glob("baseline*") if _is_run(p))
    return [load(path) for path in paths]


def group(runs: Sequence[Run], *, baseline: bool = False) -> list[Group]:
    """Gather the seeds of one setting, in the order of their first run."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        recipe = {k: v for k, v in run.recipe.items() if k != "seed"}
        setting = [run.name, run.data, recipe]
        found.setdefault(json.dumps(setting, sort_keys=True, default=str), []).append(run)
    names = [members[0].name for members in found.values()]
    groups = []
    for members in found.values():
        title = members[0].name
        if names.count(title) > 1:  # say what tells them apart, at the least where they lie
            title = f"{title} ({members[0].path.name})"
        groups.append(Group(title, tuple(members), baseline))
    return groups


def common_metric(runs: Sequence[Run]) -> str | None:
    """The first of `METRICS` that all runs have measured, else the first run's own."""
    measured = [run for run in runs if run.metric is not None]
    for name in METRICS:
        if measured and all(run.rounds.has(name) for run in measured):
            return name
    return measured[0].metric if measured else None


def _is_run(path: Path) -> bool:
    return path.suffix == ".csv" or (path / "rounds.csv").is_file()


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _table(path: Path) -> Table:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        columns: dict[str, list[str]] = {name: [] for name in header}
        for line in reader:
            if line:
                for place, name in enumerate(header):
                    columns[name].append(line[place] if place < len(line) else "")
    return Table(columns)


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object: run again")
    return content


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
