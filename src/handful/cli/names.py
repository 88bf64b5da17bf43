"""``handful recipes``, ``queries`` and ``learners``: what there is to choose from."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import click

from handful.cli.options import common

__all__ = ["learners", "queries", "recipes"]

_names = click.option("--names", is_flag=True, help="Names only, one a line. [off]")
_name = click.argument("name", required=False)


@click.command()
@_name
@_names
@common
def recipes(name: str | None, names: bool) -> None:
    """List recipes; print NAME as TOML."""
    from handful.recipes import RECIPES, to_toml

    if name is not None:
        click.echo(to_toml(RECIPES.get(name)()), nl=False)
        return
    rows = []
    for one in RECIPES:
        made = RECIPES.get(one)()
        rows.append((one, made.learner.name, made.query.name, RECIPES.summary(one)))
    _show(("recipe", "learner", "query", "what it is"), rows, names=names)


@click.command()
@_name
@_names
@common
def queries(name: str | None, names: bool) -> None:
    """List query rules; print the card of NAME."""
    import handful.queries  # both fill the registry
    import handful.queries_learned
    from handful.registry import QUERIES

    assert handful.queries
    assert handful.queries_learned
    if name is not None:
        click.echo(_card(QUERIES.get(name)))
        return
    rows = [(n, ", ".join(sorted(_needs(QUERIES.get(n)))), QUERIES.summary(n)) for n in QUERIES]
    _show(("query", "needs", "what it asks"), rows, names=names)


@click.command()
@_name
@_names
@common
def learners(name: str | None, names: bool) -> None:
    """List learners; print the card of NAME."""
    import handful.learners  # fills the registry
    from handful.registry import LEARNERS

    assert handful.learners
    if name is not None:
        learner = LEARNERS.get(name)
        click.echo(f"{_card(learner)}\n\nOptions\n-------\n{_card(learner.Options)}")
        return
    rows = [(n, ", ".join(sorted(LEARNERS.get(n).gives)), LEARNERS.summary(n)) for n in LEARNERS]
    _show(("learner", "gives", "what it is"), rows, names=names)


def _card(thing: type[Any]) -> str:
    return inspect.cleandoc(thing.__doc__ or "no card")


def _needs(rule: type[Any]) -> frozenset[str]:
    return rule().needs  # type: ignore[no-any-return]  # an option may change what a rule needs


def _show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, names: bool) -> None:
    if names:
        for row in rows:
            click.echo(row[0])
        return
    from handful.cli.console import print_table

    print_table(columns, rows, right=len(columns))
