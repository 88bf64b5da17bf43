"""How long work speaks: a task that advances, and figures that are logged.

The library never prints.  It is handed a `Progress` and reports to it; the
command line draws a bar, a test hands in `Silent`, a page may publish a revision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

__all__ = ["Progress", "Silent", "Task"]


@runtime_checkable
class Task(Protocol):
    """One piece of long work."""

    def advance(self, n: int = 1, **figures: float) -> None:
        """Say that ``n`` more units are done; ``figures`` (a loss, a share) may be shown."""


@runtime_checkable
class Progress(Protocol):
    """Receives what long work has to say."""

    def task(
        self, name: str, total: int | None, unit: str = "images"
    ) -> AbstractContextManager[Task]:
        """Open a task of ``total`` units (``None``: unknown), as a context manager."""

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        """Record figures of training (losses, cluster shares): a row of ``training.csv``.

        ``assignment (n,)`` is the hard cluster of every pool row: whoever drives a
        simulated run may score it against the truth; nothing ever comes back.
        """


class _SilentTask:
    def advance(self, n: int = 1, **figures: float) -> None:
        return None


class Silent:
    """Hears everything and says nothing."""

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "images") -> Iterator[Task]:
        yield _SilentTask()

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        return None
