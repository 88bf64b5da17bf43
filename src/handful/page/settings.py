"""What a person may set: the goal of the stop advice, what pictures are compared by, a name."""

from __future__ import annotations

from typing import Any

from handful.page.classes import clean
from handful.page.project import Project
from handful.page.schema import Settings, SettingsChange
from handful.page.words import refuse
from handful.types import Event

__all__ = ["FEATURES", "GOAL", "change_settings", "features", "goal", "person", "settings"]

GOAL = 0.95
_LOW, _HIGH = 0.5, 0.999
FEATURES = ("auto", "pixels", "autoencoder", "lite0")


def goal(project: Project) -> float:
    """The share of labels that should be right."""
    return float(project.book.settings.get("goal", GOAL))


def features(project: Project) -> str:
    """What the worker is to compare pictures by."""
    return str(project.book.settings.get("features", FEATURES[0]))


def person(project: Project) -> str:
    """The person's name, empty until it is given."""
    if project.people.several:
        return project.person if project.people.named else ""
    return str(project.book.settings.get("person", "")) or project.person


def settings(project: Project) -> Settings:
    """All of them."""
    return {
        "goal": goal(project),
        "features": features(project),
        "features_choices": list(FEATURES),
        "person": person(project),
    }


def change_settings(project: Project, asked: SettingsChange) -> str:
    """Change one of them; gives its name, empty for a repeat.  One decision, one undo."""
    with project.lock:
        if project.book.find(asked["id"]) is not None:
            return ""
        wanted: dict[str, Any] = {key: value for key, value in asked.items() if key != "id"}
        if len(wanted) != 1:
            refuse("request", "Change one setting at a time.", status=400)
        (key, new), *_ = wanted.items()
        if key == "goal" and not _LOW <= new <= _HIGH:
            refuse("request", "A goal is between 50 % and 99.9 %. Nothing was done.", status=400)
        if key == "features" and new not in FEATURES:
            known = ", ".join(FEATURES)
            refuse("request", f"Pictures are compared by one of {known}.", status=400)
        if key == "person":
            new = clean(str(new))
            if project.people.several:  # who speaks from this browser; nothing of the book
                project.people.call(new)
                return key
        old = settings(project)[key]  # type: ignore[literal-required]
        if old != new:
            data = {"key": key, "old": old, "new": new}
            project.append([Event("setting_changed", asked["id"], data, person=project.person)])
        return key
