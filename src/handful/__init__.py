"""handful: label a folder of images from a handful of answers.

Public names are looked up when they are first used: ``import handful`` loads neither
torch nor anything else that takes time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handful import geometry, metrics, queries
    from handful.bench.run import run
    from handful.book import LabelBook
    from handful.errors import HandfulError
    from handful.loop import AskTell, Plan, drive
    from handful.pool import Data, open_data
    from handful.progress import Progress, Silent
    from handful.recipes import Recipe, from_toml, recipe, to_toml
    from handful.registry import ScoreRule, register_learner, register_query
    from handful.report import render
    from handful.rng import rng_for
    from handful.types import (
        Answer,
        Fit,
        Learner,
        Oracle,
        PairAnswer,
        Picks,
        Pool,
        Query,
        Question,
        Snapshot,
        View,
    )

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "AskTell",
    "Data",
    "Fit",
    "HandfulError",
    "LabelBook",
    "Learner",
    "Oracle",
    "PairAnswer",
    "Picks",
    "Plan",
    "Pool",
    "Progress",
    "Query",
    "Question",
    "Recipe",
    "ScoreRule",
    "Silent",
    "Snapshot",
    "View",
    "drive",
    "from_toml",
    "geometry",
    "metrics",
    "open_data",
    "queries",
    "recipe",
    "register_learner",
    "register_query",
    "render",
    "rng_for",
    "run",
    "to_toml",
]

_HOME = {
    **dict.fromkeys(("Answer", "Fit", "Learner", "Oracle", "PairAnswer", "Picks"), "types"),
    **dict.fromkeys(("Pool", "Query", "Question", "Snapshot", "View"), "types"),
    **dict.fromkeys(("AskTell", "Plan", "drive"), "loop"),
    **dict.fromkeys(("Data", "open_data"), "pool"),
    **dict.fromkeys(("Progress", "Silent"), "progress"),
    **dict.fromkeys(("Recipe", "from_toml", "recipe", "to_toml"), "recipes"),
    **dict.fromkeys(("ScoreRule", "register_learner", "register_query"), "registry"),
    "HandfulError": "errors",
    "LabelBook": "book",
    "render": "report",
    "rng_for": "rng",
    "run": "bench.run",
}
_MODULES = frozenset({"geometry", "metrics", "queries"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"handful.{name}")
    if name in _HOME:
        value = getattr(import_module(f"handful.{_HOME[name]}"), name)
        globals()[name] = value  # a module of the same name must not hide it later
        return value
    raise AttributeError(f"module 'handful' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
