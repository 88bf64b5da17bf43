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
HEADINGS = {
    "Needs": "Needs",
    "Cost": "Cost",
    "Memory": "Memory",
    "When": "When to use it, and when not",
    "Source": "Source",
    "Here": "Where we differ",
}
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


def sections(rule: Any) -> dict[str, str]:
    """A rule's card by its headings; memory, which stands under Cost, apart."""
    text = inspect.cleandoc(rule.__doc__ or "").partition("\n\nParameters\n")[0]
    parts = re.split(r"^(Formula|Needs|Cost|When|Source|Here) +", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    cost, said, memory = " ".join(found["Cost"].split()).partition("Memory: ")
    return {**found, "Cost": cost} | ({"Memory": memory} if said else {})


def prose(text: str) -> str:
    """A section as Markdown: what would be markup outside of code is meant as it stands."""
    quoted = " ".join(text.split()).replace("``", "`").split("`")
    quoted[::2] = [re.sub(r"([*_<>\[\]\\|])", r"\\\1", part) for part in quoted[::2]]
    return "`".join(quoted)


def rule_card(rule: Any) -> str:
    """What a rule does in two sentences, then its card, heading by heading."""
    found = sections(rule)
    second = (inspect.getmodule(rule).__doc__ or "").partition(": ")[2].partition("\n")[0]
    first = inspect.cleandoc(rule.__doc__ or "").partition("\n\n")[0]
    lines = [f"{prose(first)} In short: {prose(second)}" if second else prose(first)]
    formula = inspect.cleandoc(found["Formula"]).replace("``", "")
    lines.append(f"**Formula**\n\n```text\n{formula}\n```")
    for heading, title in HEADINGS.items():
        if heading in found:
            text = prose(found[heading])
            lines.append(f"**{title}**\n: {text[0].upper()}{text[1:]}")
    return "\n\n".join(lines)


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
        yield f"## {name}\n\n{rule_card(rule)}\n\nParts that the learner must give: {needs}."
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
