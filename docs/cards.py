"""The reference, made from the registries and the command line when the pages are built.

What is registered is documented: a card is the docstring, the table of options comes from
the dataclass, its types, defaults and comments.  Nothing here is kept by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import click

from handful import learners as _learners
from handful import queries as _queries
from handful import queries_learned as _queries_learned
from handful.cli import app
from handful.recipes import RECIPES, to_toml
from handful.registry import LEARNERS, QUERIES

assert _learners
assert _queries  # these are imported for what they register
assert _queries_learned
_COMMENT = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)
_PARAMETER = re.compile(r"^(\w+) : (.+)$", re.MULTILINE)


def comments(options: type[Any]) -> dict[str, str]:
    """What is said of each field: in the docstring, or behind it, parents first."""
    found: dict[str, str] = dict(_PARAMETER.findall(inspect.getdoc(options) or ""))
    for one in reversed(options.__mro__):
        if is_dataclass(one):
            found |= dict(_COMMENT.findall(inspect.getsource(one)))
    return found


def card(thing: Any) -> str:
    """The first line of a docstring as a sentence, the rest as it was set."""
    first, _, rest = inspect.cleandoc(thing.__doc__ or "").partition("\n")
    first, rest = first.replace("``", "`"), rest.replace("``", "").replace("::\n", "").strip()
    return f"{first}\n\n```text\n{rest}\n```" if rest else first


def options_table(options: type[Any]) -> str:
    """Every field with its type, default and comment."""
    said = comments(options)
    lines = ["| option | type | default | what it does |", "|---|---|---|---|"]
    for one in fields(options):
        made = one.default_factory() if one.default_factory is not MISSING else one.default
        kind = one.type if isinstance(one.type, str) else inspect.formatannotation(one.type)
        kind = kind.replace("|", "\\|")
        lines.append(f"| `{one.name}` | `{kind}` | `{made!r}` | {said.get(one.name, '')} |")
    return "\n".join(lines) if len(lines) > 2 else "No options."


def recipes() -> Iterator[str]:
    """One section a recipe, with its TOML."""
    yield "# Recipes\n\nA recipe is a learner, a rule and rounds. `handful run DATA --recipe NAME`."
    for name in RECIPES:
        yield f"## {name}\n\n{RECIPES.summary(name)}\n\n```toml\n{to_toml(RECIPES.get(name)())}```"


def queries() -> Iterator[str]:
    """One section a rule."""
    yield "# Query rules\n\nWhich images to ask about next. `handful run DATA --query NAME`."
    for name in QUERIES:
        rule = QUERIES.get(name)
        needs = ", ".join(f"`{part}`" for part in sorted(rule.needs)) or "nothing"
        yield f"## {name}\n\n{card(rule)}\n\nNeeds of the learner: {needs}."
        yield options_table(rule)


def learners() -> Iterator[str]:
    """One section a learner."""
    yield "# Learners\n\nWhat learns from all images and the answers. `--learner NAME`."
    for name in LEARNERS:
        learner = LEARNERS.get(name)
        gives = ", ".join(f"`{part}`" for part in sorted(learner.gives)) or "nothing"
        yield f"## {name}\n\n{card(learner)}\n\nGives to rules: {gives}."
        yield f"### {name}: the method\n\n{card(inspect.getmodule(learner))}"
        yield f"### {name}: options"
        yield options_table(learner.Options)


def commands() -> Iterator[str]:
    """One section a command, as ``--help`` prints it."""
    yield (
        "# Commands\n\nExit codes: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted"
        " (state saved)."
    )
    top = click.Context(app, info_name="handful", terminal_width=96)
    yield f"```text\n{app.get_help(top)}\n```"
    for name, command in app.commands.items():
        context = click.Context(command, info_name=name, parent=top, terminal_width=96)
        yield f"## handful {name}\n\n```text\n{command.get_help(context)}\n```"


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "recipes": recipes,
    "queries": queries,
    "learners": learners,
    "commands": commands,
}


def write(folder: Path) -> None:
    """Write every page; one that has not changed keeps its time stamp."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in PAGES.items():
        path, text = folder / f"{name}.md", "\n\n".join(parts()) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
