"""What every writer of labels is told besides its rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from handful.types import Array

__all__ = ["About", "LabelRow", "source_of"]

LabelRow: TypeAlias = Mapping[str, Any]  # `LABEL_COLUMNS`, perhaps row, w and h besides


@dataclass(frozen=True)
class About:
    """The folder of the pictures and the classes in use, ``(id, name)`` by id.

    ``features(rows)`` gives the vectors of rows of the index, ``(m, d)``, where there are any.
    """

    folder: Path
    classes: Sequence[tuple[int, str]] = ()
    follow: bool = False
    features: Callable[[Sequence[int]], Array | None] | None = None

    @property
    def name(self) -> str:
        """What the folder is called."""
        return os.path.basename(os.path.realpath(self.folder)) or "pictures"

    @property
    def names(self) -> dict[int, str]:
        """Names by id."""
        return dict(self.classes)


Rows: TypeAlias = Callable[[], Iterator[LabelRow]]  # each call gives all of them anew


def source_of(about: About, path: str) -> Path | None:
    """The file of a picture; None where it is gone or a link leads it out of the folder."""
    root = os.path.realpath(about.folder)
    real = os.path.realpath(os.path.join(root, path))
    inside = about.follow or real.startswith(root.rstrip(os.sep) + os.sep)
    return Path(real) if inside and os.path.isfile(real) else None
