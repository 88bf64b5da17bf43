"""The command line: it parses and prints, nothing else.

Commands import what they need when they run, so that ``handful --help`` is quick and
never loads torch.  Exit codes: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import click

from handful import __version__
from handful.cli.data import data
from handful.cli.demo import demo
from handful.cli.doctor import doctor
from handful.cli.export import export
from handful.cli.imports import import_labels
from handful.cli.label import label
from handful.cli.names import learners, queries, recipes
from handful.cli.options import common, settings
from handful.cli.predict import predict
from handful.cli.pretrain import pretrain
from handful.cli.report import report
from handful.cli.run import run
from handful.errors import HandfulError

__all__ = ["app", "main"]


class _Commands(click.Group):
    """A group that takes a folder for a command, and says what to do on a near miss."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None:
            if os.sep in name and not Path(name).exists():
                raise click.UsageError(f"there is no folder {name}: check the path")
            if Path(name).is_dir():
                return label.name, label, args
            if Path(name).exists():
                raise click.UsageError(
                    f"{name} is a file: `handful FOLDER` labels the folder that it is in,"
                    f" `handful data {name}` says what is in it"
                )
            near = get_close_matches(name, self.commands, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`handful --help` lists commands"
            raise click.UsageError(f"{name!r} is neither a command nor a folder here: {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", prog_name="handful")
@common
def app() -> None:
    """Label a folder of images from a handful of answers.

    `handful FOLDER` opens the labelling page; `handful label --help` has its options.
    """


app.add_command(label)
app.add_command(demo)
app.add_command(run)
app.add_command(recipes)
app.add_command(queries)
app.add_command(learners)
app.add_command(data)
app.add_command(report)
app.add_command(predict)
app.add_command(export)
app.add_command(import_labels)
app.add_command(pretrain)
app.add_command(doctor)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code."""
    # torch's idle threads spin and starve whatever else runs; read when torch loads
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(format="handful: %(message)s", level=logging.WARNING)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # a broken file has its reason from us
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        app.main(arguments, prog_name="handful", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort) as stop:
        _say(str(stop.__cause__ or stop) or "interrupted")  # click hides what was said
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (nothing may flush to the pipe at exit)
        return 0
    except HandfulError as error:
        if settings().debug:
            raise
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if settings().debug:
            raise
        reason = str(error).strip().partition("\n")[0] or "no reason given"
        _say(f"{type(error).__name__}: {reason} (--debug shows where)")
        return 1
    return 0


def _say(message: str) -> None:
    click.echo(f"handful: {message}", err=True)
