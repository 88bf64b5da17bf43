"""Projects of digits for the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from worker_running import Project, digits, png


@pytest.fixture
def project_of(tmp_path: Path) -> Iterator[Callable[[dict[str, bytes]], Project]]:
    """Makes a project of files."""
    made: list[Project] = []

    def make(files: dict[str, bytes], name: str = "project") -> Project:
        made.append(Project(tmp_path / name / "place", tmp_path / name / "pictures", files))
        return made[-1]

    yield make
    for project in made:
        project.close()


@pytest.fixture(scope="session")
def some_digits() -> tuple[dict[str, bytes], np.ndarray]:
    """300 digits as files, and what they are."""
    pixels, truth = digits(300)
    return {f"{i:04d}.png": png(one) for i, one in enumerate(pixels)}, truth
