"""A folder of small pictures, and the page served from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import ROOT, script
from page_serving import Client, Served, opened, paint, serving

from handful.page.project import Project


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures, four of them in a folder below."""
    folder = tmp_path / "pictures"
    for number in range(12):
        paint(folder / ("sub" if number > 7 else "") / f"{number:02d}.png", number)
    return folder


@pytest.fixture
def served(pictures: Path) -> Iterator[Served]:
    """The page of ``pictures``, looked at."""
    with serving(pictures) as page:
        page.settled()
        yield page


@pytest.fixture
def client(served: Served) -> Client:
    """One tab of it."""
    return served.client()


@pytest.fixture(scope="session")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One page for all tests to which it does not matter what others did to it."""
    folder = tmp_path_factory.mktemp("steady")
    for number in range(6):
        paint(folder / f"{number}.png", number)
    with serving(folder) as page:
        page.settled()
        yield page


@pytest.fixture
def serve() -> Callable[..., Any]:
    """`serving`."""
    return serving


@pytest.fixture
def painted() -> Callable[..., None]:
    """`paint`."""
    return paint


@pytest.fixture
def project_of() -> Callable[..., Project]:
    """`opened`."""
    return opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests that look at the page."""
    if not (ROOT / "src" / "handful" / "page" / "static" / "index.html").is_file():
        pytest.skip("the page is not built here: no Node, or no registry")
    chromium = script("chromium")
    if chromium.found() is None:
        pytest.skip("no Chromium on the path")
    with chromium.Chromium() as opened:
        opened.size(1280, 720)
        yield opened
