"""The label that a picture has: in the counts, in an export, and for the blind check.

A picture that nobody answered has the label of its suggestion (source ``model``), one put off
until later too.  A blind answer stays beside the label; once the check is closed the export
takes it, unless a hand spoke later.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from handful.page.classes import LiveClass
from handful.page.index import Cell, Row
from handful.page.learned import NO_CLASS, NONE_OF_THESE
from handful.page.project import Project

__all__ = ["BY_YOU", "IN_GROUPS", "Label", "Side", "label_of", "meaning", "side_of"]

BY_YOU = {"hand", "initial", "oracle", "imported", "audit"}
IN_GROUPS = {"group", "copied"}
Side: TypeAlias = Literal["by_you", "in_groups", "by_model"]


class Label(NamedTuple):
    """``class_id`` as it is now, -1 none; ``p`` where a model says it."""

    state: str  # labelled, none, unsure, broken, later, open
    class_id: int = NO_CLASS
    source: str = ""
    p: float | None = None
    person: str = ""
    at: float = 0.0

    @property
    def judged(self) -> int | None:
        """What can be right or wrong: a class, `NONE_OF_THESE`, or None."""
        if self.state == "labelled":
            return self.class_id
        return NONE_OF_THESE if self.state == "none" else None


def meaning(project: Project, cell: Cell) -> tuple[str, LiveClass | None]:
    """State and class of a cell now, merges and archives applied."""
    if cell.state != "labelled":
        return cell.state, None
    found = project.classes.now(cell.class_id)
    return ("open", None) if found is None else ("labelled", found)


def side_of(source: str) -> Side:
    """Which of the counts an answered picture belongs to."""
    return "by_you" if source in BY_YOU else "in_groups" if source in IN_GROUPS else "by_model"


def label_of(project: Project, row: Row, *, audited: bool) -> Label:
    """The label of a picture; ``audited``: blind answers speak, once their check is closed."""
    cell = project.index.cell(row.cell)
    state, found = meaning(project, cell)
    if audited:
        said = project.book.standing(row.path, audited=True)
        if said.source == "audit" and said.state in ("labelled", "none", "broken"):
            return Label(said.state, said.class_id, "audit", None, said.person, said.at)
    if state in ("open", "later"):
        guess = project.learned.suggestion(row.row)
        if guess is None:
            return Label(state, person=cell.person, at=row.at)
        of = "none" if guess[0] == NONE_OF_THESE else "labelled"
        return Label(of, max(NO_CLASS, guess[0]), "model", guess[1])
    class_id = NO_CLASS if found is None else found.id
    return Label(state, class_id, cell.source, None, cell.person, row.at)
