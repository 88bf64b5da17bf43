"""Every error that handful raises on purpose, and where it stands.

::

    HandfulError                      one sentence: what, where, and the remedy
    ├── InputError                    the user's data, folder or file            (exit code 2)
    │   ├── PoolError                 a source of images that cannot be used
    │   └── AnswerError               an answer or a table of answers that cannot be used
    ├── RecipeError                   a recipe, an option or a name              (exit code 2)
    │   ├── UnknownName               not in a registry or a dataclass; suggests the nearest
    │   └── MissingPart               a rule needs what its learner does not give
    ├── RunFolderError                an output folder that holds something else (exit code 2)
    ├── StoreError                    the book on disk
    └── TrainingError                 NaN, a dead encoder, a collapsed latent space

Messages are one sentence that names the thing, its place and the remedy; a
``__cause__`` keeps what the library underneath said.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AnswerError",
    "HandfulError",
    "InputError",
    "MissingPart",
    "PoolError",
    "RecipeError",
    "RunFolderError",
    "StoreError",
    "TrainingError",
    "UnknownName",
]


class HandfulError(Exception):
    """Base of every error raised on purpose; ``exit_code`` is what a command ends with."""

    exit_code: int = 1


class InputError(HandfulError):
    """The data that a user handed over cannot be used as it is."""

    exit_code = 2


class PoolError(InputError):
    """A source of images that cannot be opened, or holds nothing to label."""


class AnswerError(InputError):
    """An answer, or a table of answers, that does not fit the pool or the classes."""


class RecipeError(HandfulError):
    """A recipe, an option or its value is wrong."""

    exit_code = 2


class UnknownName(RecipeError):
    """A name that nobody registered.

    Parameters
    ----------
    kind : what was looked for, e.g. ``"recipe"``.
    name : the name as given.
    known : the names that exist; the nearest is suggested.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}: {hint}")
        self.kind, self.name, self.near = kind, name, near[0] if near else None


class MissingPart(RecipeError):
    """A query rule needs a part of the snapshot that this learner does not give."""


class RunFolderError(HandfulError):
    """The output folder holds a run already, or is no run at all."""

    exit_code = 2


class StoreError(HandfulError):
    """The book on disk cannot be read or written."""


class TrainingError(HandfulError):
    """Training went wrong in a way that more steps do not mend."""
