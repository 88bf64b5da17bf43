"""May I stop?  One sentence and what it rests on; the person decides.

===============  ==================================================================
goal met         a closed check of at least 30 answers whose interval begins at the goal or above
early            no suggestions yet, or the last answers changed 1 % of them or more
thin             before a check: a class with fewer than 10 examples given by a person
cannot           the goal was missed, and the person answers at least 20 own pictures anew
                 with a share of other answers above what the goal leaves room for
goal not met     the goal was missed
steady           nothing of this: time for a check
===============  ==================================================================
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from handful.page.audit import MIN, minutes, sheet
from handful.page.learned import NONE_OF_THESE
from handful.page.project import Project
from handful.page.schema import Advice, ClassInfo
from handful.page.settings import goal
from handful.types import Event

__all__ = ["FEW", "REPEATS", "STEADY", "advise"]

STEADY = 0.01  # share of the suggestions that the last answers may change
FEW = 10  # examples of a class
REPEATS = 20  # own answers asked again that say something of the person


def advise(project: Project, infos: list[ClassInfo]) -> Advice:
    """The advice now; ``infos``: the classes as they count."""
    with project.lock:
        wanted, now, model = goal(project), sheet(project), project.learned.model
        meta: dict[str, Any] = dict(model.meta) if model is not None else {}
        changed = meta.get("changed") if project.learned.suggests else None
        answers = int(meta.get("answers_since") or 0)
        closed = now.closed if now.closed is not None and now.closed.data["n"] >= MIN else None
        low: float | None = None if closed is None else closed.data["low"]
        high: float | None = None if closed is None else closed.data["high"]

        def says(case: Any, screen: Any, text: str, class_id: int | None = None) -> Advice:
            return {
                "case": case, "text": text, "goal": wanted, "screen": screen,
                "class_id": class_id, "changed": changed, "answers": answers, "low": low,
                "high": high,
            }  # fmt: skip

        if low is not None and low >= wanted:
            return says("goal_met", "export", _met(project, low, wanted, infos))
        if not project.learned.suggests:
            screen = "gallery" if project.learned.groups is not None else "queue"
            return says("early", screen, "Go on. There are no suggestions yet.")
        if changed is None or changed >= STEADY:
            share = "all of" if changed is None else f"{_short(changed)} of"
            last = "answer" if answers == 1 else f"{answers:,} answers"
            text = f"Go on. The last {last} changed {share} the suggestions; below 1 % is steady."
            return says("early", "queue", text)
        thin = min(
            (c for c in infos if not c["archived"] and c["merged_into"] is None),
            key=_examples,
            default=None,
        )
        if closed is None and thin is not None and _examples(thin) < FEW:
            n = _examples(thin)
            many = "1 example" if n == 1 else f"{n:,} examples"
            text = f'Go on with "{thin["name"]}": only {many}. Find more like this.'
            return says("thin", "find", text, thin["id"])
        if closed is not None:
            apart = _contradicting(closed)
            if apart is not None and apart > 1 - wanted:
                text = (
                    "More answers help little here: you and the pictures disagree with yourself"
                    f" in {_short(apart)} of repeats."
                )
                return says("cannot", "review", text)
            return says("goal_not_met", "review", _missed(project, closed, wanted))
        left = max(1, now.wanted - now.answered)
        text = (
            f"Suggestions are steady ({_short(changed)} changed). Check the result now:"
            f" {left:,} blind answers, about {minutes(left)} min."
        )
        return says("steady", "audit", text)


def _examples(info: ClassInfo) -> int:
    return info["by_you"] + info["in_groups"]


def _met(project: Project, low: float, wanted: float, infos: list[ClassInfo]) -> str:
    text = f"You can stop. Audit: at least {100 * low:.1f} %, your goal is {_short(wanted)}."
    taken = sum(info["by_model"] for info in infos)
    pictures = "1 picture takes" if taken == 1 else f"{taken:,} pictures take"
    return f"{text} {pictures} the model's label." if taken else text


def _missed(project: Project, closed: Event, wanted: float) -> str:
    d = closed.data
    text = (
        f"Not yet. Audit: {100 * d['low']:.1f} to {100 * d['high']:.1f} %,"
        f" your goal is {_short(wanted)}."
    )
    wrong = Counter((c[3], c[1]) for c in d["compared"] if c[1] != c[3])
    if not wrong:
        return text
    (answer, label), n = min(wrong.items(), key=lambda found: (-found[1], found[0]))
    names = f"{_name(project, answer)} taken for {_name(project, label)}"
    return f"{text} Most mistakes: {names} ({n:,} of {wrong.total():,})."


def _name(project: Project, id: int) -> str:
    if id == NONE_OF_THESE:
        return "none of these"
    found = project.classes.now(id)
    return project.classes.items[id].name if found is None else found.name


def _contradicting(closed: Event) -> float | None:
    """Share of pictures labelled by hand that the blind answer calls something else."""
    by_hand = [c for c in closed.data["compared"] if c[2] == "hand"]
    if len(by_hand) < REPEATS:
        return None
    other = sum(1 for c in by_hand if c[1] != c[3])
    return other / len(by_hand)


def _short(share: float) -> str:
    """``6 %``, ``0.4 %``: as many digits as say something."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text} %"
