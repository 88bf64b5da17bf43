"""A run folder: what a run leaves behind, each file whole at any time.

::

    book.sqlite  events.jsonl       what was asked and answered; the rest follows from it
    recipe.toml  run.json           what ran: the resolved recipe; seed, versions, machine
    rounds.csv   training.csv       what was measured after each round; during training
    labels.csv   predictions.csv    what was answered; what the last model says of the rest
    pairs.csv                       answers to same or different, where those were asked
    model.safetensors  model.json   the last weights with their card; the card once more
    checkpoint/                     weights of the last two rounds, to resume from
    lock                            while a process writes the folder
    report.html  figures/           written by others
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
from safetensors.numpy import load as weights_from
from safetensors.numpy import save as weights_to

from handful.book import LabelBook, row_of
from handful.errors import InputError, RunFolderError, StoreError, UnknownName
from handful.paths import from_text, to_text
from handful.store.files import csv_lines, write_json, write_whole
from handful.store.lock import FolderLock
from handful.store.sqlite import SqliteBook, read_events
from handful.types import Event, Fit, Pool, Weights

__all__ = [
    "LABEL_COLUMNS",
    "PAIR_COLUMNS",
    "PREDICTION_COLUMNS",
    "ROUND_COLUMNS",
    "RunFolder",
    "RunRecord",
    "SavedCheckpoints",
    "label_rows",
    "load_model",
    "read_run",
]

# ``loss_<name>`` columns, sorted, stand before seconds_fit.
ROUND_COLUMNS = (
    "round", "labels", "asked", "accuracy_test", "accuracy_unlabelled", "acc_all", "nmi_all",
    "ari_all", "acc_unlabelled", "nmi_unlabelled", "ari_unlabelled", "ari_kmeans", "purity_all",
    "acc_clusters", "nmi_clusters", "ari_clusters", "pseudo_count", "pseudo_error",
    "questions", "implied_same", "implied_different", "undecided", "contradictions",
    "name_questions", "accuracy_named",
    "macro_f1_test", "balanced_accuracy_test", "entropy_mean", "seconds_fit", "seconds_query",
    "images_per_second", "peak_mb",
)  # fmt: skip
LABEL_COLUMNS = (
    "path", "sha256", "class_id", "class", "state", "source", "confidence", "round", "tag",
    "person", "time",
)  # fmt: skip
PAIR_COLUMNS = ("path_a", "path_b", "answer", "source", "round", "person", "time", "against")
PREDICTION_COLUMNS = ("path", "class", "confidence", "unlike", "source")
_FILES = (
    "book.sqlite", "events.jsonl", "recipe.toml", "run.json", "rounds.csv", "training.csv",
    "labels.csv", "pairs.csv", "predictions.csv", "model.safetensors", "model.json", "report.html",
    "checkpoint", "figures", "clusters.npz",
)  # fmt: skip
_log = logging.getLogger(__name__)


class RunFolder:
    """Writes a run.  Make one with `create`; every write replaces a whole file."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock: FolderLock | None = None

    @classmethod
    def create(cls, path: Path | str, resume: bool = False) -> Self:
        """A new run folder, or with ``resume`` the one that is there.

        Other files in the folder are let be.  Raises `RunFolderError` when it holds a run, or
        one of the names a run writes, when there is nothing to resume, and while another
        process writes it.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file: choose a folder for the run")
        if resume and not (path / "book.sqlite").is_file():
            raise RunFolderError(f"{path} holds no run to resume: leave out --resume to start one")
        if not resume:
            if (path / "book.sqlite").exists():
                raise RunFolderError(
                    f"{path} holds a run already: go on with --resume, or choose another folder"
                )
            if taken := [name for name in _FILES if (path / name).exists()]:
                raise RunFolderError(
                    f"{path} holds a file {taken[0]!r} that a run would overwrite:"
                    " choose another folder"
                )
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "checkpoint").mkdir(exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"{path} cannot be made or written: {error.strerror}; choose another folder"
            ) from error
        folder._lock = FolderLock(path)
        try:
            folder.book.refresh()
        except BaseException:
            folder._lock.release()
            raise
        return folder

    @cached_property
    def book(self) -> SqliteBook:
        """The book of this run."""
        return SqliteBook(self.path / "book.sqlite")

    @cached_property
    def checkpoints(self) -> SavedCheckpoints:
        """Weights of the last rounds."""
        return SavedCheckpoints(self.path / "checkpoint")

    @property
    def figures(self) -> Path:
        """A folder for pictures, made when it is missing."""
        folder = self.path / "figures"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken so far, by its run.json."""
        seconds = _read_json(self.path / "run.json").get("seconds") or 0.0
        if not isinstance(seconds, int | float):
            raise StoreError(f"{self.path / 'run.json'}: seconds is {seconds!r}: restore it")
        return float(seconds)

    def write_recipe(self, toml: str) -> None:
        """Keep the resolved recipe."""
        write_whole(self.path / "recipe.toml", toml.encode())

    def write_run(self, facts: Mapping[str, Any]) -> None:
        """Keep what ran: seed, versions, machine, command, seconds."""
        write_json(self.path / "run.json", facts)

    def write_row(self, round: int, row: Mapping[str, Any]) -> None:
        """Put the figures of one round into rounds.csv; the same round again replaces them."""
        known = set(ROUND_COLUMNS)
        for name in row:
            if name not in known and not name.startswith("loss_"):
                raise UnknownName("column of rounds.csv", name, known)
        rows: dict[int, Mapping[str, Any]] = {
            int(r["round"]): r for r in _read_numbers(self.path / "rounds.csv")
        }
        rows[round] = {**row, "round": round}
        losses = sorted({name for r in rows.values() for name in r if name.startswith("loss_")})
        at = ROUND_COLUMNS.index("seconds_fit")
        columns = [*ROUND_COLUMNS[:at], *losses, *ROUND_COLUMNS[at:]]
        lines = csv_lines(columns, (rows[r] for r in sorted(rows)))
        write_whole(self.path / "rounds.csv", lines)

    def without_a_label(self, column: str) -> float | None:
        """A figure of the model that no label had shaped yet; None where the run had no such."""
        first = next(_read_numbers(self.path / "rounds.csv"), {})
        return first.get(column) if first.get("labels") == 0 else None

    def write_training(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all of training.csv: round, stage, step, then the figures by name."""
        first = ("round", "stage", "step")
        rest = sorted({name for row in rows for name in row} - set(first))
        write_whole(self.path / "training.csv", csv_lines([*first, *rest], rows))

    def training_rows(self, *, before: int) -> list[dict[str, Any]]:
        """The rows of training.csv of the rounds before ``before``, for a resumed run."""
        rows = _read_numbers(self.path / "training.csv")
        return [row for row in rows if row.get("round") is not None and row["round"] < before]

    def write_labels(self, pool: Pool) -> None:
        """Write labels.csv and events.jsonl from the book."""
        write_whole(self.path / "labels.csv", csv_lines(LABEL_COLUMNS, label_rows(self.book, pool)))
        self.book.export(self.path / "events.jsonl")

    def write_pairs(self, against: Mapping[frozenset[str], str]) -> None:
        """Write pairs.csv, every answer as it was given, and what is said ``against`` it."""
        rows = (_pair_row(event, against) for event in self.book.events)
        lines = csv_lines(PAIR_COLUMNS, [row for row in rows if row])
        write_whole(self.path / "pairs.csv", lines)

    def write_predictions(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write predictions.csv; ``path`` is an image id, rows may come one by one."""
        encoded = ({**row, "path": to_text(row["path"])} for row in rows)
        write_whole(self.path / "predictions.csv", csv_lines(PREDICTION_COLUMNS, encoded))

    def save_model(self, weights: Weights, card: Mapping[str, Any]) -> None:
        """Write model.safetensors with the card in its metadata, and model.json beside it."""
        text = json.dumps(card, sort_keys=True, default=str)
        write_whole(
            self.path / "model.safetensors",
            _packed(weights, {"format": "handful", "card": text}, self.path),
        )
        write_json(self.path / "model.json", card)

    def close(self) -> None:
        """Close the book, and let others write the folder."""
        self.book.close()
        if self._lock is not None:
            self._lock.release()


class SavedCheckpoints:
    """The weights of the last rounds in a folder, one file a round, its `Fit` within.

    ``keep`` : how many rounds stay; None keeps all.  A file that cannot be read is as good
    as none: the round is fitted again.
    """

    def __init__(self, folder: Path | str, *, keep: int | None = 2) -> None:
        self.folder, self.keep = Path(folder), keep

    def save(self, round: int, weights: Weights, fit: Fit) -> None:
        """Keep a round; older ones go only when it is safely there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        packed = _packed(weights, {"fit": json.dumps(asdict(fit))}, self.folder)
        write_whole(self._path(round), packed)
        if self.keep is not None:
            for path in sorted(self.folder.glob("round-*.safetensors")):
                if _round(path) <= round - self.keep:
                    path.unlink()

    def load(self, round: int) -> tuple[Weights, Fit] | None:
        """Weights and fit of a round, None where it was not kept."""
        path = self._path(round)
        if not path.is_file():
            return None
        try:
            weights, metadata = _unpacked(path)
            return weights, Fit(**json.loads(metadata["fit"]))
        except (StoreError, KeyError, TypeError, ValueError) as error:
            _log.warning("%s cannot be read and is left out: %s", path, error)
            return None

    def _path(self, round: int) -> Path:
        return self.folder / f"round-{round:05d}.safetensors"


@dataclass(frozen=True)
class RunRecord:
    """A run as it was left.  Figures are numbers, None where the cell is empty."""

    path: Path
    recipe: str
    run: Mapping[str, Any]
    events: tuple[Event, ...]
    rounds: tuple[Mapping[str, float | None], ...]
    training: tuple[Mapping[str, Any], ...]
    labels: tuple[Mapping[str, str], ...]
    card: Mapping[str, Any]

    @property
    def book(self) -> LabelBook:
        """The book, in memory."""
        return LabelBook(self.events)

    def predictions(self) -> Iterator[Mapping[str, str]]:
        """Rows of predictions.csv, one by one."""
        return _read_rows(self.path / "predictions.csv")


def read_run(path: Path | str) -> RunRecord:
    """Read a run folder; a file that is not there yet is empty.

    Raises `RunFolderError` when there is no book.
    """
    path = Path(path)
    if not (path / "book.sqlite").is_file():
        raise RunFolderError(f"{path} is no run folder: it has no book.sqlite")
    recipe = path / "recipe.toml"
    return RunRecord(
        path=path,
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        run=_read_json(path / "run.json"),
        events=read_events(path / "book.sqlite"),
        rounds=tuple(_read_numbers(path / "rounds.csv")),
        training=tuple(_read_numbers(path / "training.csv")),
        labels=tuple(_read_rows(path / "labels.csv")),
        card=_read_json(path / "model.json"),
    )


def label_rows(book: LabelBook, pool: Pool) -> Iterator[dict[str, Any]]:
    """One row for each image of the pool that somebody has spoken of; audits count once closed."""
    names, tags = book.classes.names, book.tags
    for id in book.images():
        standing, row = book.standing(id, audited=True), row_of(pool, id)
        if standing.state == "open" or row is None:
            continue
        labelled = standing.class_id >= 0
        yield {
            "path": to_text(id),
            "sha256": pool.digest(row),
            "class_id": standing.class_id if labelled else None,
            "class": names[standing.class_id] if labelled else None,
            "state": standing.state,
            "source": standing.source,
            "round": standing.round,
            "tag": tags.get(id),
            "person": standing.person,
            "time": datetime.fromtimestamp(standing.at, UTC).isoformat(timespec="milliseconds"),
        }


def _pair_row(event: Event, against: Mapping[frozenset[str], str]) -> dict[str, Any]:
    if event.kind != "pair_answered":
        return {}
    a, b = event.data["a"], event.data["b"]
    return {
        "path_a": to_text(a),
        "path_b": to_text(b),
        "answer": event.data["answer"],
        "source": event.data.get("source", "hand"),
        "round": event.data.get("round"),
        "person": event.person,
        "time": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds"),
        "against": against.get(frozenset((a, b))),
    }


def load_model(path: Path | str) -> tuple[Weights, Mapping[str, Any]]:
    """Weights and card of a model file, or of the one in a run folder."""
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise InputError(f"there is no model at {path}: give a run folder or a .safetensors file")
    weights, metadata = _unpacked(path)
    if "card" not in metadata:
        raise InputError(f"{path} carries no model card: it was not written by handful")
    card: Mapping[str, Any] = json.loads(metadata["card"])
    return weights, card


def _packed(weights: Weights, metadata: dict[str, str], where: Path) -> bytes:
    for name, array in weights.items():
        if not isinstance(array, np.ndarray | np.generic) or array.dtype.kind not in "biuf":
            raise StoreError(f"the weights {name!r} cannot be kept in {where}: no array of numbers")
    whole = {name: np.require(np.asarray(a), requirements="C") for name, a in weights.items()}
    packed: bytes = weights_to(whole, metadata)
    return packed


def _unpacked(path: Path) -> tuple[Weights, dict[str, str]]:
    try:
        content = path.read_bytes()
        weights: Weights = weights_from(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise StoreError(f"{path} is damaged: {error}; run again or take a copy") from error
    metadata: dict[str, str] = header.get("__metadata__", {})
    return weights, metadata


def _round(path: Path) -> int:
    digits = re.fullmatch(r"round-(\d+)", path.stem)
    return int(digits[1]) if digits else -1


def _read_json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise StoreError(f"{path} is no JSON: {error}; restore it or delete it") from error
    return content


def _read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV, with image ids as the pool gives them."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if "path" in row:
                row["path"] = from_text(row["path"])
            yield row


def _read_numbers(path: Path) -> Iterator[dict[str, Any]]:
    for row in _read_rows(path):
        yield {name: _number(text) for name, text in row.items()}


def _number(text: str) -> Any:
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
