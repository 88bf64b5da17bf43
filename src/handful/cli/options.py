"""Options that every command takes, and where they are kept while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["Settings", "common", "data_root", "given", "max_side", "reading", "settings"]

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


def _page(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """A number from 0, or ``all``."""
    if value is None or value == "all":
        return value
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is no page: a number from 0 (the first), or all")
    return int(value)


def reading(command: F) -> F:
    """Add ``--page`` and ``--channel``: which part of each file is its image."""
    page = click.option(
        "--page", callback=_page, metavar="N|all",
        help="Page of multi-page TIFF files, counted from 0; `all`: each page is an image. [0]",
    )  # fmt: skip
    channel = click.option(
        "--channel", type=int, metavar="N",
        help="One channel of every image, counted from 0, taken as gray: --channel 1. [all]",
    )  # fmt: skip
    return page(channel(command))


data_root = click.option(
    "--data-root", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Where named sets lie, as NAME.npz or NAME.parquet. [$HANDFUL_DATA]",
)  # fmt: skip
max_side = click.option(
    "--max-side", type=int, metavar="PIXELS",
    help="Larger images are shrunk to this side: --max-side 128. [96; 224 for encoders]",
)  # fmt: skip


def given(**options: Any) -> dict[str, Any]:
    """The options that were typed."""
    return {name: value for name, value in options.items() if value is not None}


def common(command: F) -> F:
    """Add ``--quiet`` and ``--debug``; both may stand before or after the command's name."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def put(ctx: click.Context, _: click.Parameter, value: bool) -> None:
            if ctx.parent is None or value:
                setattr(_SETTINGS, name, value)

        return put

    quiet = click.option(
        "--quiet", is_flag=True, expose_value=False, callback=keep("quiet"),
        help="Print results only, no progress. [off]",
    )  # fmt: skip
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, callback=keep("debug"),
        help="Show the traceback of an error. [off]",
    )  # fmt: skip
    return quiet(debug(command))
