"""A table answers: a CSV file of path and label, made by hand or by another tool."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import cast, get_args

from handful.book import row_of
from handful.errors import AnswerError
from handful.paths import from_text
from handful.types import Answer, Answers, Pool, Question, State

__all__ = ["TableOracle"]

_PATH = ("path", "file", "filename", "file_name", "image", "image_path", "id")
_LABEL = ("label", "class", "class_name", "category", "target", "species")
_log = logging.getLogger(__name__)


class TableOracle:
    """Answers from a CSV of ``path,label``: comma, semicolon or tab, with or without header.

    A header is a first line that names a path column and a label column (any order, any
    further columns; ``state`` may hold later, unsure, none or broken).  Without one the
    first two columns count.  Rows for images outside the pool are left out, listed in
    ``unknown`` and logged; a path given twice with two labels is an error.  An image
    without an answer is *unsure* (set aside, costs 1), so that no run asks it for ever.
    ``labels.csv`` of a run, with its percent-encoded names, is such a table.
    """

    def __init__(self, path: Path | str, pool: Pool) -> None:
        self.path, self.pool = Path(path), pool
        self.asked = 0
        self.unknown: list[str] = []
        self._answers: dict[str, Answer] = {}
        rows = _rows(self.path)
        path_at, label_at, state_at, start = _columns(self.path, rows)
        first_line: dict[str, int] = {}
        for line, row in rows[start:]:
            if len(row) <= max(path_at, label_at):
                raise AnswerError(
                    f"{self.path}, line {line}: {len(row)} columns where path and label are"
                    f" column {path_at + 1} and {label_at + 1}: complete the line"
                )
            state = row[state_at].strip() if state_at is not None and len(row) > state_at else ""
            self._take(line, row[path_at], row[label_at].strip(), state, first_line)
        if not self._answers:
            raise AnswerError(
                f"{self.path} answers for no image of this pool: its paths must be relative to"
                f" the folder, such as {pool.ids[0] if len(pool) else 'a/b.png'!r}"
            )
        if self.unknown:
            _log.warning(
                "%s: %d rows name images that are not in this pool and are left out, first %r",
                self.path,
                len(self.unknown),
                self.unknown[0],
            )

    def _take(
        self, line: int, name: str, label: str, state: str, first_line: dict[str, int]
    ) -> None:
        id = self._id(name)
        if id is None:
            self.unknown.append(name)
            return
        if state in ("", "labelled"):
            if not label:
                return
            answer = Answer(id, label)
        elif state in get_args(State):
            answer = Answer(id, state=cast(State, state))
        else:
            raise AnswerError(
                f"{self.path}, line {line}: the state {state!r} is none of {get_args(State)}"
            )
        if self._answers.get(id, answer) != answer:
            raise AnswerError(
                f"{self.path}: {name!r} is {self._answers[id].label or self._answers[id].state!r}"
                f" in line {first_line[id]} and {label or state!r} in line {line}: keep one"
            )
        self._answers[id] = answer
        first_line.setdefault(id, line)

    def _id(self, name: str) -> str | None:
        """The id behind a written path: as it stands, decoded, or in the Windows manner."""
        for id in (name, from_text(name), name.replace("\\", "/")):
            id = id.removeprefix("./")
            if row_of(self.pool, id) is not None:
                return id
        return None

    def __len__(self) -> int:
        """How many images it answers for."""
        return len(self._answers)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of the table, sorted."""
        return tuple(sorted({a.label for a in self._answers.values() if a.label}))

    def answer(self, question: Question) -> Answers:
        if question.kind != "class":
            raise AnswerError(f"{self.path} answers class questions: use the pair oracle")
        self.asked += len(question.ids)
        return [self._answers.get(id, Answer(id, state="unsure")) for id in question.ids]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Lines with content, each with its number."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AnswerError(f"{path} cannot be read: {error.strerror}; check the name") from error
    except UnicodeDecodeError as error:
        raise AnswerError(f"{path} is not UTF-8 text: save the table as CSV UTF-8") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, row) for row in reader if any(map(str.strip, row)))
    except csv.Error as error:
        where = f"{path}, line {reader.line_num}"
        raise AnswerError(f"{where}: {error}; check the quotes") from error
    if not rows:
        raise AnswerError(f"{path} is empty: write one line path,label for each answer")
    return rows


def _columns(path: Path, rows: Sequence[tuple[int, list[str]]]) -> tuple[int, int, int | None, int]:
    """Places of path, label and state, and where the answers start."""
    header = [cell.strip().lower() for cell in rows[0][1]]
    paths = [header.index(name) for name in _PATH if name in header]
    labels = [header.index(name) for name in _LABEL if name in header]
    if paths and labels:
        return paths[0], labels[0], header.index("state") if "state" in header else None, 1
    if len(header) < 2:
        raise AnswerError(f"{path} has one column: write path,label, divided by a comma")
    return 0, 1, None, 0
