"""``handful run DATA``: a simulated run, from data to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from handful.cli.options import common, data_root, given, max_side, reading
from handful.errors import InputError, RecipeError

if TYPE_CHECKING:
    from handful.recipes import Recipe

__all__ = ["run"]

DEFAULT_RECIPE = "ccl-student"


@click.command()
@click.argument("data")
@click.option("--recipe", metavar="NAME", help=f"Of `handful recipes`. [{DEFAULT_RECIPE}]")
@click.option("--learner", metavar="NAME", help="Of `handful learners`. [the recipe's]")
@click.option("--query", metavar="NAME", help="Of `handful queries`. [the recipe's]")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A recipe as TOML: `handful recipes ccl > mine.toml` writes one. [none]",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="K=V",
    help="One setting of the recipe, again and again: --set learner.lr=1e-3. [none]",
)
@click.option(
    "--initial",
    type=int,
    metavar="N",
    help="Images asked before the first training: --initial 75. [by size]",
)
@click.option("--batch", type=int, metavar="N", help="Images asked a round: --batch 75. [by size]")
@click.option(
    "--budget",
    type=int,
    metavar="N",
    help="Answers in all, the initial ones included: --budget 750. [by size]",
)
@click.option("--until", metavar="WHEN", help="Stop earlier: acc=.95 or steady. [the budget]")
@click.option(
    "--minutes", type=float, metavar="N", help="Stop asking after so many: --minutes 5. [no limit]"
)
@click.option("--schedule", metavar="NAME", help="fast or published. [fast on a CPU]")
@click.option(
    "--split",
    metavar="HOW",
    help="80/20, official or none. [official where the set has one, none with a table, else 80/20]",
)
@click.option(
    "--classes", metavar="HOW", help="known, or grow: a class exists once it was answered. [known]"
)
@click.option("--seed", type=int, metavar="N", help="Every draw follows from it: --seed 1. [0]")
@click.option(
    "--oracle",
    metavar="WHO",
    help="Who answers: truth, noisy:0.05 or table:FILE. [truth]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the run. [handful-runs/DATA-RECIPE-SEED]",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out. [off]")
@reading
@max_side
@data_root
@common
def run(
    data: str,
    recipe: str | None,
    learner: str | None,
    query: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    initial: int | None,
    batch: int | None,
    budget: int | None,
    until: str | None,
    minutes: float | None,
    schedule: str | None,
    split: str | None,
    classes: str | None,
    seed: int | None,
    oracle: str | None,
    out: Path | None,
    resume: bool,
    page: Any,
    channel: int | None,
    max_side: int | None,
    data_root: Path | None,
) -> None:
    """Run a recipe on DATA with a simulated oracle.

    Writes a folder with the book, every figure, the model and report.html.

    DATA is a folder, a parquet or .npz file, or a name such as digits or usps.
    """
    from handful.bench.run import run as run_it
    from handful.cli.console import print_rounds, say, watching

    chosen = (recipe, learner, query, config)
    typed = {"schedule": schedule, "split": split, "classes": classes, "seed": seed}
    numbers = {"initial": initial, "batch": batch, "budget": budget}
    made: Recipe | None
    if (
        resume
        and not any((*chosen, assignments))
        and all(v is None for v in (*typed.values(), *numbers.values()))
    ):
        made = None  # the folder knows its own recipe
        if out is None:
            raise InputError("--resume needs --out with the folder of the run to go on with")
    else:
        made = choose(*chosen)
        settings = [f"{k}={v}" for k, v in typed.items() if v is not None]
        settings += [f"rounds.{k}={v}" for k, v in numbers.items() if v is not None]
        for assignment in (*settings, *assignments):
            made = made.set(assignment)
        out = out or _default_out(data, made)
    with watching() as progress:
        record = run_it(
            data, made, out=out, oracle=oracle, until=until, minutes=minutes, resume=resume,
            reading=given(page=page, channel=channel, max_side=max_side), data_root=data_root,
            progress=progress, say=say,
        )  # fmt: skip
    print_rounds(record.rounds, unit=str(record.run.get("unit", "labels")))
    say(f"ended: {record.run['reason']}")
    click.echo(record.path / "report.html")


def choose(
    recipe: str | None, learner: str | None, query: str | None, config: Path | None
) -> Recipe:
    """The recipe that these options name together."""
    from handful.recipes import RECIPES, LearnerPart, combine, from_toml
    from handful.recipes import Recipe as Made

    if recipe is not None and config is not None:
        raise RecipeError("--recipe and --config both name a recipe: give one of them")
    if config is not None:
        try:
            base = from_toml(config.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"--config {config} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"--config {config} is no UTF-8 text: give a TOML file") from error
        except RecipeError as error:
            error.args = (f"--config {config}: {error}",)
            raise
    elif recipe is None and learner is not None:
        base = Made(learner, LearnerPart(learner))
    else:
        base = RECIPES.get(recipe or DEFAULT_RECIPE)()
    return combine(base, learner=learner, query=query)


def _default_out(data: str, recipe: Recipe) -> Path:
    name = Path(data.split(",")[0]).stem or "run"
    return Path("handful-runs") / f"{name}-{recipe.name}-{recipe.seed}"
