"""The protocol box: on what, how, by which settings and on which machine a run was made."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from handful.report.look import shown
from handful.report.runs import Group, Run

_FACTS = {  # what run.json may say, in the order of the protocol box
    "data": "data",
    "images": "images in the pool",
    "images_found": "images found",
    "image_size": "height and width, px",
    "channels": "channels",
    "test_images": "images held back for the test",
    "broken": "unreadable images, left out",
    "split": "split",
    "schedule": "schedule",
    "classes": "classes",
    "saw": "the learner saw",
    "oracle": "answers came from",
    "seed": "seed",
    "version": "handful",
    "versions": "versions",
    "machine": "machine",
    "threads": "threads",
    "started": "started",
    "seconds": "seconds in all",
    "reason": "ended because",
    "command": "command",
}
_HIDDEN = frozenset({"recipe", "class_names", "broken_files"})
_COUNTS = frozenset({"images", "images_found", "test_images", "broken"})
_LISTED = 8  # more settings than this are left to the whole recipe
_ABSENT: tuple[Any, ...] = (None, "", [], {})


def box(one: Group) -> str:
    """HTML of the box, with the whole recipe and the unreadable images to unfold."""
    run = one.runs[0]
    items = "".join(
        f"<dt>{escape(shown(name))}</dt><dd>{escape(shown(value, 600))}</dd>"
        for name, value in _entries(one)
    )
    more = ""
    recipe = run.path / "recipe.toml"
    if recipe.is_file():
        text = recipe.read_text(encoding="utf-8", errors="replace")
        more += _folded("The whole recipe", text)
    broken = run.facts.get("broken_files")
    if isinstance(broken, Mapping) and broken:
        lines = "\n".join(f"{file}: {reason}" for file, reason in broken.items())
        more += _folded(f"{len(broken):,} unreadable images, left out", lines)
    return f'<dl class="protocol">{items}</dl>{more}'


def part_name(run: Run, part: str) -> str:
    """Name of the recipe's learner or query; empty where the recipe does not say."""
    table = run.recipe.get(part)
    return str(table.get("name", "")) if isinstance(table, Mapping) else ""


def _entries(one: Group) -> list[tuple[str, str]]:
    run = one.runs[0]
    facts: dict[str, Any] = {
        name: run.recipe[name] for name in ("seed", "split", "schedule") if name in run.recipe
    }
    facts |= run.facts
    if len(one.runs) > 1:
        facts["seed"] = [r.facts.get("seed", r.recipe.get("seed")) for r in one.runs]
    parts = (part for part in ("learner", "query", "rounds") if part in run.recipe)
    entries = [(part, _settings(run.recipe[part])) for part in parts]
    ordered = [*_FACTS, *(name for name in facts if name not in _FACTS and name not in _HIDDEN)]
    for name in ordered:
        value = facts.get(name)
        if value in _ABSENT:
            continue
        text = f"{value:,}" if name in _COUNTS and isinstance(value, int) else _words(value)
        entries.append((_FACTS.get(name, name.replace("_", " ")), text))
    return entries


def _settings(part: Any) -> str:
    """A recipe's part by its name, and its settings where a line can hold them."""
    if not isinstance(part, Mapping):
        return _words(part)
    settings = {k: v for k, v in part.items() if k != "name" and v not in _ABSENT}
    listed = _words(settings)
    if len(settings) > _LISTED:
        listed = f"{len(settings)} settings, in the whole recipe below"
    return ": ".join(text for text in (str(part.get("name", "")), listed) if text)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{str(k).replace('_', ' ')} {_words(v)}" for k, v in value.items() if v not in _ABSENT
        )
    if isinstance(value, list | tuple):
        return ", ".join(_words(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)


def _folded(title: str, text: str) -> str:
    lines = "\n".join(escape(shown(line, 400)) for line in text.split("\n"))
    return f"<details><summary>{escape(title)}</summary><pre>{lines}</pre></details>"
