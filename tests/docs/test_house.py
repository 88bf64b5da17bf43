"""The house rules that neither ruff nor import-linter can say, read from the source itself."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import handful

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "handful"
FILES = sorted(SOURCE.rglob("*.py"))
HEAVY = (
    "networks", "losses", "training", "augment", "features", "inputs", "latent", "classifier",
    "learners", "randaugment", "semisupervised", "simclr", "seen", "worker",
)  # fmt: skip
LONGEST = 60
MOST_OPTIONS = 22  # page, channel and size of images have no place in a recipe

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def where(path: Path, node: ast.AST | None = None) -> str:
    place = str(path.relative_to(ROOT))
    return place if node is None else f"{place}:{getattr(node, 'lineno', 0)}"


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def floor(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def text_files() -> Iterator[Path]:
    """What a reader of the project reads: not the measured rows, not what a build made."""
    places = ("src", "tests", "benchmarks", "docs", "scripts", ".ci")
    made = {"_build", "generated", "__pycache__", "results"}
    for place in places:
        for path in sorted((ROOT / place).rglob("*")):
            readable = path.suffix in {".py", ".md", ".toml", ".sh", ".svg", ".css", ".txt", ""}
            if path.is_file() and readable and not made & set(path.relative_to(ROOT).parts):
                yield path
    for pattern in ("*.md", "*.toml", "Makefile"):
        yield from sorted(ROOT.glob(pattern))


def length(node: FunctionNode) -> int:
    """Lines of a function without its docstring: the card may be as long as it must."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        card = node.body[0]
        lines -= (card.end_lineno or card.lineno) - card.lineno + 1
    return lines


def too_long(module: ast.Module) -> list[FunctionNode]:
    return [n for n in ast.walk(module) if isinstance(n, FunctionNode) and length(n) > LONGEST]


def does_work(node: ast.stmt) -> bool:
    """Whether a statement at module level does more than define, import or register."""
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Constant):
            return False
        call = node.value
        named = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        allowed = {"register", "rename", "add_command", "setdefault"}
        return not (named and call.func.attr in allowed)  # type: ignore[attr-defined]
    if isinstance(node, ast.For):  # a loop over definitions registers each of them
        return any(map(does_work, node.body))
    if isinstance(node, ast.If):
        if ast.unparse(node.test) == "__name__ == '__main__'":
            return False
        return any(map(does_work, node.body + node.orelse))
    if isinstance(node, ast.Try):
        handlers = [s for h in node.handlers for s in h.body]
        return any(map(does_work, node.body + handlers + node.orelse + node.finalbody))
    definitions = (
        ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef,
        ast.Assign, ast.AnnAssign, ast.Pass,
    )  # fmt: skip
    return not isinstance(node, definitions)


def prints(module: ast.Module) -> list[ast.Call]:
    calls = [n for n in ast.walk(module) if isinstance(n, ast.Call)]
    return [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("print", "pprint")]


def imported(module: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every module that a file imports, at any depth, in absolute names."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node, node.module
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}"


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    named = [where(p) for p in FILES if drawers & {p.stem, *p.relative_to(SOURCE).parts}]
    assert not named, f"name these after the one idea they hold: {named}"


def test_functions_fit_on_a_screen() -> None:
    found = [f"{where(p, n)} {n.name}: {length(n)} lines" for p in FILES for n in too_long(tree(p))]
    assert not found, f"longer than {LONGEST} lines: {found}"


def test_only_the_command_line_prints() -> None:
    found = [where(p, c) for p in FILES if floor(p) != "cli" for c in prints(tree(p))]
    assert not found, f"use logging or Progress: {found}"


def test_modules_only_define() -> None:
    found = [where(p, s) for p in FILES for s in tree(p).body if does_work(s)]
    assert not found, f"work at import time: {found}"


def test_no_towers_of_classes() -> None:
    """A class of ours may inherit from one class of ours that inherits from none of ours.

    Two kinds are left out: the tree of errors, and options, which are data without behaviour.
    """
    bases: dict[str, set[str]] = {}
    for path in FILES:
        if path.name == "errors.py":  # the tree of errors is its content
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.endswith("Options"):
                names = {ast.unparse(b).split("[")[0].split(".")[-1] for b in node.bases}
                bases[node.name] = names - {"Protocol"}
    own = {name: parents & bases.keys() for name, parents in bases.items()}
    towers = [name for name, parents in own.items() if any(own[p] - {name} for p in parents)]
    assert not towers, f"more than one of our own classes above: {towers}"


def test_public_names_have_docstrings() -> None:
    found = []
    for path in FILES:
        for node in tree(path).body:
            public = isinstance(node, FunctionNode | ast.ClassDef) and not node.name.startswith("_")
            if public and ast.get_docstring(node) is None:
                found.append(where(path, node))
        if path.name != "__init__.py" and ast.get_docstring(tree(path)) is None:
            found.append(where(path))
    assert not found, f"no docstring: {found}"


def test_a_rule_imports_the_vocabulary_and_nothing_else_of_ours() -> None:
    allowed = {"types", "registry", "geometry", "graph", "pairs", "errors", "rng"}
    found = [
        f"{where(path, node)} {name}"
        for path in FILES
        if floor(path) == "queries" and path.name != "__init__.py"
        for node, name in imported(tree(path))
        if name.startswith("handful.") and name.split(".")[1] not in allowed
    ]
    assert not found, found


def test_randomness_is_an_argument() -> None:
    """Global generators are named only where they are guarded, or disturbed to test for them."""
    guards = ("training", "testing")
    pattern = re.compile(r"\b(?:np|numpy)\.random\.(?:seed|rand|randn|randint|choice|shuffle)\b")
    torch_global = re.compile(r"\btorch\.(?:random\.)?(?:manual_seed|seed|set_rng_state)\b")
    found = []
    for path in FILES:
        if floor(path) in guards:
            continue
        text = path.read_text(encoding="utf-8")
        if pattern.search(text) or torch_global.search(text):
            found.append(where(path))
        found += [where(path, n) for n, name in imported(tree(path)) if name == "random"]
    assert not found, f"take a Generator: {found}"


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of somebody's machine, no document that a reader has not got, nothing put off."""
    unwanted = re.compile(
        r"/(?:work|root|home|tmp|Users)/\w"
        r"|\.\./shared|shared/specs|\b(?:design|ux|style|peers|specs|weights)\.md\b"
        r"|\bspecs? \d|\bspecs?\.md|\b[T]ODO\b|\b[F]IXME\b|\bX{3}\b|raise [N]otImplementedError"
    )
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path != Path(__file__) and (match := unwanted.search(line)):
                found.append(f"{where(path)}:{number} {match.group()!r}")
    assert not found, found


def test_imports_are_quiet_and_light() -> None:
    """Every module imports without a network; those beside the heavy floors without torch."""
    names = [module_name(p) for p in FILES if p.name != "__main__.py"]
    light = [n for n in names if n.partition(".")[2].split(".")[0] not in HEAVY]
    heavy = [n for n in names if n not in light]
    code = f"""
import importlib, random, socket, sys
import numpy as np
import rich.default_styles  # numbers its links by the global generator, when it is imported
def refuse(*a, **k):
    raise OSError("no network at import time")
socket.socket.connect = refuse
before = random.getstate(), np.random.get_state()[1].tolist()
for name in {light!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name + " imports torch"
for name in {heavy!r}:
    importlib.import_module(name)
assert before == (random.getstate(), np.random.get_state()[1].tolist()), "an import drew"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""


@pytest.mark.parametrize("path", FILES, ids=where)
def test_all_lists_what_is_there(path: Path) -> None:
    if "__all__" not in path.read_text(encoding="utf-8"):
        return
    module = importlib.import_module(module_name(path))
    listed = module.__all__
    assert len(set(listed)) == len(listed)
    assert [name for name in listed if not hasattr(module, name)] == []


def test_every_dependency_is_pinned_to_a_version_that_fits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert re.fullmatch(r"[A-Za-z0-9._-]+", name), line
            assert version, line
            pinned[name.lower().replace("_", "-")] = version
    wanted = project["dependencies"]
    for extra in ("dev", "docs", "onnx"):
        wanted = wanted + project["optional-dependencies"][extra]
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), text
    assert pinned["torch"] == "2.13.0"


def test_the_core_needs_neither_torchvision_nor_timm() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {Requirement(d).name.lower() for d in project["dependencies"]}
    assert not names & {"torchvision", "timm"}


def test_the_command_line_stays_small() -> None:
    from handful.cli import app

    for name, command in app.commands.items():
        own = [p for p in command.params if p.name not in ("quiet", "debug")]
        assert len(own) <= MOST_OPTIONS, f"handful {name}: {len(own)} flags"


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_every_package_of_the_tree_is_importable() -> None:
    """A folder of modules without ``__init__.py`` would be left out of the wheel's walk."""
    walked = {m.name for m in pkgutil.walk_packages([str(SOURCE)], prefix="handful.")}
    assert {module_name(p) for p in FILES} - {"handful"} == walked
    assert Path(handful.__file__ or "").parent == SOURCE


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    """Built without a network: every module, the data files, the licence, the command."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        archive.extractall(tmp_path / "elsewhere")
    ours = {p for p in SOURCE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {str(p.relative_to(SOURCE.parent)) for p in ours} <= packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)
    code = "import handful; from handful.cli import app; print(handful.__file__, app.name)"
    run = [sys.executable, "-P", "-c", code]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "elsewhere")}
    said = subprocess.run(
        run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(str(tmp_path / "elsewhere")), said


class TestTheChecksSeeWhatTheyLookFor:
    """Each reader of source, on a source that breaks its rule."""

    def test_long_functions(self) -> None:
        body = "\n".join(f"    x{i} = {i}" for i in range(LONGEST))
        assert too_long(ast.parse(f"def f():\n{body}\n"))
        card = "\n".join(f"    line {i}" for i in range(LONGEST))
        assert not too_long(ast.parse(f'def f():\n    """Card.\n{card}\n    """\n    return 1\n'))

    @pytest.mark.parametrize("text", ["f()", "for i in x: f(i)", "with f(): pass", "x += 1"])
    def test_work_at_import(self, text: str) -> None:
        assert does_work(ast.parse(text).body[0])

    @pytest.mark.parametrize("text", ["'doc'", "x = f()", "import os", "R.register('a')(b)"])
    def test_definitions(self, text: str) -> None:
        allowed = text != "R.register('a')(b)"
        assert does_work(ast.parse(text).body[0]) is not allowed

    def test_prints(self) -> None:
        assert prints(ast.parse("def f():\n    print(1)\n"))

    def test_imports_at_any_depth(self) -> None:
        module = ast.parse("def f():\n    from handful import metrics\n")
        assert "handful.metrics" in {name for _, name in imported(module)}
