"""Options that every command takes, and where they are kept while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

__all__ = ["Settings", "common", "settings"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """What ``--quiet`` and ``--debug`` were set to."""

    quiet: bool = False
    debug: bool = False


_SETTINGS = Settings()  # one process runs one command


def settings() -> Settings:
    """The settings of this process."""
    return _SETTINGS


def common(command: F) -> F:
    """Add ``--quiet`` and ``--debug``; both may stand before or after the command's name."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def put(ctx: click.Context, _: click.Parameter, value: bool) -> None:
            if ctx.parent is None or value:
                setattr(_SETTINGS, name, value)

        return put

    quiet = click.option(
        "--quiet", is_flag=True, expose_value=False, callback=keep("quiet"),
        help="Print results only, no progress.",
    )  # fmt: skip
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, callback=keep("debug"),
        help="Show the traceback of an error.",
    )  # fmt: skip
    return quiet(debug(command))
