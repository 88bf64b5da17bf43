"""What a label file says, whatever its form, before anybody asks whether it fits a folder.

::

    a file, a folder --read--> Incoming: who is what, and what cannot be used and why

Nothing is executed (no pickle), sizes are bounded, and a row that makes no sense is a fault of
its own: the others stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from handful.errors import InputError
from handful.events import STATES, Standings
from handful.pool.ids import shown

__all__ = ["MOST_ROWS", "Fault", "Incoming", "Said", "items", "number", "state_of", "text_of"]

MOST_ROWS = 5_000_000
_FAULTS_SHOWN = 200


class Said(NamedTuple):
    """One picture: ``path`` as the file writes it; a label, or a state without one."""

    path: str
    label: str | None
    state: Standings = "labelled"
    sha256: str | None = None
    class_id: int | None = None  # of whoever wrote the file: only the order of new classes


class Fault(NamedTuple):
    """A row that is left out, and why."""

    row: int
    text: str


@dataclass
class Incoming:
    """See above.  ``empty``: rows that say nothing; ``model``: that say what a model guessed."""

    form: str
    said: list[Said] = field(default_factory=list)
    guessed: list[Said] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    faulty: int = 0
    empty: int = 0

    @property
    def rows(self) -> int:
        """How many rows there were."""
        return len(self.said) + len(self.guessed) + self.faulty + self.empty

    def take(self, said: Said, *, model: bool = False) -> None:
        """Keep a row; `InputError` when there are too many."""
        if self.rows >= MOST_ROWS:
            raise InputError(f"more than {MOST_ROWS:,} rows: import the file in parts")
        if model and (said.label or said.state == "none"):
            self.guessed.append(said._replace(state="labelled" if said.label else "none"))
        elif said.state == "open" or (said.state == "labelled" and not said.label):
            self.empty += 1
        else:
            self.said.append(said if said.state == "labelled" else said._replace(label=None))

    def fault(self, row: int, text: str) -> None:
        """Note a row that is left out."""
        self.faulty += 1
        if len(self.faults) < _FAULTS_SHOWN:
            self.faults.append(Fault(row, shown(text)))


def text_of(value: object) -> str | None:
    """A text that is not empty, else None; a number or a truth value is the text of it."""
    if isinstance(value, int | float):
        value = str(value)
    return value if isinstance(value, str) and value else None


def number(value: object) -> int | None:
    """A whole number from 0, else None."""
    return value if type(value) is int and 0 <= value < 2**31 else None


def state_of(value: object, label: str | None) -> Standings:
    """A state by its name; without one, what has a label is labelled."""
    if isinstance(value, str) and value in STATES:
        return value
    return "labelled" if label else "open"


def items(value: object) -> Iterator[dict[str, Any]]:
    """The records of a list, whatever else is in it left out; nothing where it is no list."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
