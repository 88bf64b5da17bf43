"""What the documents promise: blocks that run, names that exist, figures that are the rows'."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def load(path: Path) -> ModuleType:
    """A script beside the package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


cells = load(ROOT / "benchmarks" / "cells.py")  # recipe_cells imports it
recipe_cells = load(ROOT / "benchmarks" / "recipe_cells.py")  # groups imports it
groups = load(ROOT / "benchmarks" / "groups.py")  # render imports it by this name
draw = load(ROOT / "benchmarks" / "draw.py")  # and this
render = load(ROOT / "benchmarks" / "render.py")
cards = load(ROOT / "docs" / "cards.py")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as the documents assume it: photos, answers, and a small set called usps."""
    digits = load_digits()
    images = (digits.images[:60] / 16 * 255).astype(np.uint8)
    names = np.array([f"digit {t}" for t in digits.target[:60]])
    with (tmp_path / "answers.csv").open("w", encoding="utf-8") as file:
        file.write("path,label\n")
        for i, (image, name) in enumerate(zip(images, names, strict=True)):
            folder = tmp_path / ("photos" if i < 50 else "more-photos")
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:02d}.png")
            file.write(f"{i:02d}.png,{name}\n")
    np.savez(tmp_path / "usps.npz", images=images, labels=digits.target[:60])
    return tmp_path


def run(command: list[str], desk: Path) -> str:
    environment = os.environ | {
        "HANDFUL_DATA": str(desk),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, cwd=desk, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def typed(path: Path) -> list[list[str]]:
    """Every line of a document that calls handful, as words."""
    lines = [line for text in blocks(path, "sh") for line in text.splitlines()]
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


# --- blocks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(path: Path, desk: Path) -> None:
    """In order, in one process of their own, with warnings as errors."""
    script = desk / "blocks.py"
    script.write_text("\n".join(blocks(path, "python")), encoding="utf-8")
    run([sys.executable, "-W", "error", str(script)], desk)


def test_shell_blocks_of_the_readme_run(desk: Path) -> None:
    for text in blocks(ROOT / "README.md", "sh"):
        if "make " not in text:
            run(["bash", "-euc", text], desk)
    assert (desk / "photos-run" / "report.html").stat().st_size > 10_000
    documented = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    left = {p.name for p in (desk / "usps-student").iterdir()}
    assert [name for name in sorted(left) if f"`{name}" not in documented] == []


@pytest.mark.slow
def test_shell_blocks_of_the_quickstart_run(desk: Path) -> None:
    for text in blocks(ROOT / "docs" / "quickstart.md", "sh"):
        run(["bash", "-euc", text], desk)


@pytest.mark.parametrize("path", [p for p in PAGES if typed(p)], ids=lambda p: p.name)
def test_commands_in_documents_exist(
    path: Path, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flag that a document shows is one that the command takes."""
    from handful.cli import app
    from handful.recipes import RECIPES

    monkeypatch.chdir(desk)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for words in typed(path):
        if words[0] == "make":
            assert words[1] in targets, words
            continue
        assert words[0] == "handful", words
        parent = click.Context(app)
        app.commands[words[1]].make_context(words[1], list(words[2:]), parent=parent)
        if "--recipe" in words:
            assert words[words.index("--recipe") + 1] in RECIPES


def test_the_readme_opens_with_the_two_commands() -> None:
    first = blocks(ROOT / "README.md", "sh")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]
    before = (ROOT / "README.md").read_text(encoding="utf-8").partition("```")[0]
    assert before.strip() == "# handful"


# --- everything is documented ---------------------------------------------------------------


def test_every_name_has_its_card(tmp_path: Path) -> None:
    from handful.cli import app
    from handful.recipes import RECIPES
    from handful.registry import LEARNERS, QUERIES

    cards.write(tmp_path)
    known = {"recipes": RECIPES, "queries": QUERIES, "learners": LEARNERS}
    for page, registry in known.items():
        text = (tmp_path / f"{page}.md").read_text(encoding="utf-8")
        titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert titles == list(registry.names())
        assert len(titles) > 3
        assert [n for n in registry if not registry.summary(n).endswith((".", ")"))] == []
    text = (tmp_path / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^## handful (.+)$", text, re.MULTILINE) == list(app.commands)
    for name, command in app.commands.items():
        assert command.help, f"handful {name} says nothing about itself"
        options = [p for p in command.params if isinstance(p, click.Option)]
        undocumented = [option.name for option in options if not option.help]
        assert undocumented == [], f"handful {name}: {undocumented}"


def test_every_option_of_a_learner_is_in_its_table() -> None:
    from handful.registry import LEARNERS

    for name in LEARNERS:
        options = LEARNERS.get(name).Options
        table = cards.options_table(options)
        assert all(f"| `{field}` |" in table for field in options.__dataclass_fields__)


def test_a_rule_is_documented_heading_by_heading() -> None:
    from handful.registry import QUERIES, asks_pairs

    page = "\n\n".join(cards.queries())
    found = dict(
        zip(*[iter(re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:])] * 2, strict=True)
    )
    for name in QUERIES:
        heads = ["Formula", *cards.HEADINGS.values()]
        if asks_pairs(QUERIES.get(name)):
            heads.remove("Memory")
        assert re.findall(r"^\*\*(.+)\*\*$", found[name], re.MULTILINE) == heads, name
        said = found[name].split("**Formula**")[0]
        assert "In short: " in said
        assert cards.sections(QUERIES.get(name))["Cost"], name


def test_what_looks_like_markup_stands_as_it_is() -> None:
    assert cards.prose("O(|s| * n_i)  of ``a_b*`` <x>") == r"O(\|s\| \* n\_i) of `a_b*` \<x\>"


def test_cards_are_written_once(tmp_path: Path) -> None:
    cards.write(tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    cards.write(tmp_path)
    assert before == {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = [Requirement(t).name for t in project["dependencies"] + extras["dev"] + extras["docs"]]
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8").lower()
    covered = {"pytest-cov": "pytest", "pytest-timeout": "pytest", "myst-parser": "myst"}
    reasonless = [n for n in names if covered.get(n, n).lower() not in text and n != "build"]
    assert reasonless == []


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "handful"
    rooms = {p.stem for p in source.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert [r for r in sorted(rooms - {"__init__", "__main__"}) if f"`{r}`" not in text] == []


@pytest.mark.parametrize("path", [*PAGES, ROOT / "benchmarks" / "README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in t]
    assert [t for t in links if not (path.parent / t).exists()] == []


def test_the_map_of_benchmarks_is_whole() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for group in render.GROUPS:
        assert f"`{group.command}`" in text, group.bench
        assert f"`results/{group.bench}.csv`" in text, group.bench
    scripts = set(re.findall(r"python (benchmarks/\w+\.py)", text))
    assert [s for s in sorted(scripts) if not (ROOT / s).exists()] == []
    made = {p.stem for p in (ROOT / "benchmarks" / "results").glob("*.csv")}
    assert made <= {group.bench for group in render.GROUPS}, "rows that no page shows"


def test_the_changelog_knows_the_version() -> None:
    import handful

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{handful.__version__}]" in text


# --- figures --------------------------------------------------------------------------------


def test_rendered_figures_are_those_of_the_rows() -> None:
    for path, text in render.rendered().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make results"
    pictures = render.drawn()
    for path, rows in pictures.items():
        assert f"rows {draw.mark(rows)}" in path.read_text(encoding="utf-8"), f"{path.name}: stale"
    assert {p.name for p in (ROOT / "docs" / "figures").iterdir()} == {p.name for p in pictures}


def test_the_published_figures_are_complete() -> None:
    with (ROOT / "benchmarks" / "published" / "ccl.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["table", "data", "percent", "method", "value"]
    assert [sum(r["table"] == t for r in rows) for t in "2345"] == [4, 20, 20, 15]
    ccl = {(r["table"], r["percent"]): r["value"] for r in rows if r["method"] == "ccl"}
    assert [ccl["5", p] for p in ("3", "5", "10")] == ["0.865", "0.895", "0.933"]
    assert [ccl["4", p] for p in ("1", "3", "5", "10")] == ["0.490", "0.671", "0.697", "0.758"]


def test_the_published_figures_of_dsac_are_complete() -> None:
    with (ROOT / "benchmarks" / "published" / "dsac.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [sum(r["table"] == t for r in rows) for t in "123"] == [135, 135, 40]
    dsac = {(r["table"], r["data"], r["labels"], r["metric"]): r["value"]
            for r in rows if r["method"] == "dsac"}  # fmt: skip
    counts = ("20", "40", "60", "80", "100")
    ari = {d: [dsac["1", d, n, "ari_all"] for n in counts] for d in ("stl10", "cifar10")}
    assert ari["stl10"] == ["0.7590", "0.8058", "0.8069", "0.8123", "0.8210"]
    assert ari["cifar10"] == ["0.4354", "0.7553", "0.7646", "0.7672", "0.7664"]
    assert dsac["3", "stl10", "80", "ari_all"] == "0.8156"  # Table I prints .8123


def test_figures_of_a_paper_stand_by_their_label_counts(tmp_path: Path) -> None:
    paper = render.published(ROOT / "benchmarks" / "published" / "dsac.csv", (1,))
    measured = [
        {"data": "stl10", "recipe": "dsac", "variant": "frozen", "labels": str(n), "seed": "0",
         "metric": "ari_all", "value": "0.5"}
        for n in (20, 40)
    ]  # fmt: skip
    lines = render.curve(measured, "stl10", paper, "ari_all").splitlines()
    assert "| dsac | published |  | 0.7590 | 0.8058 |" in lines
    assert "| dsac | frozen | 1 | 0.500 | 0.500 |" in lines
    assert not any(line.startswith("| sdec") for line in lines)  # 200 labels and more


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Measured rows as a benchmark appends them, one of them measured twice."""
    head = (
        "bench,data,recipe,variant,seed,labels,metric,value,unit,"
        "seconds,machine,commit,date,command"
    )
    tail = ",,12.0,2 cores,abc,2026-01-02,python benchmarks/run_all.py usps"
    lines = [
        f"usps,usps,ccl,published,{seed},{labels},accuracy_test,{value}{tail}"
        for seed, offset in enumerate((0.0, 0.01, 0.02))
        for labels, value in ((225, 0.9 + offset), (300, 0.5), (375, 0.93), (750, 0.95))
    ]
    lines.insert(0, f"usps,usps,ccl,published,0,225,accuracy_test,0.1{tail}")
    lines.append(f"usps,usps,probe,published,0,225,accuracy_test,0.867{tail}")
    lines.append(f"usps,usps,ccl,published,0,225,seconds_fit,7{tail}")
    lines.append(f"usps,usps,ccl,published,,225,p_value,0.04{tail}")
    (tmp_path / "usps.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return tmp_path


def test_tables_show_means_spread_and_the_paper(rows: Path) -> None:
    text = render.page(rows, ROOT / "benchmarks" / "published")
    ours = next(line for line in text.splitlines() if line.startswith("| ccl | published | 3"))
    spread = np.std([0.90, 0.91, 0.92], ddof=1)
    assert ours == f"| ccl | published | 3 | 0.910 ± {spread:.3f} | 0.930 ± 0.000 | 0.950 ± 0.000 |"
    assert "| probe | published | 1 | 0.867 |" in text  # one seed: no spread
    assert "| ccl | published |  | 0.865 | 0.895 | 0.933 |" in text
    assert "| usps ccl published | p_value | 225 | 0.04 |" in text
    assert "seconds_fit" not in text  # a column of the rounds, kept in the file
    assert "at commit abc" in text
    assert "300 labels" not in text


def test_a_picture_holds_its_lines_and_knows_its_rows(rows: Path) -> None:
    measured = render.load(rows, "usps")
    text = draw.svg(draw.curves(measured, "accuracy_test", "accuracy", {"X": {225: 0.8}}), measured)
    assert f"rows {draw.mark(measured)}" in text
    for said in ("labels paid for", "accuracy", "ccl", "probe", "X, as published"):
        assert f">{said}</text>" in text
    changed = [{**measured[0], "value": "0.2"}, *measured[1:]]
    assert draw.mark(changed) != draw.mark(measured)
    assert draw.mark(measured[::-1]) == draw.mark(measured)


def test_the_sweep_rings_the_value_of_the_recipe() -> None:
    row = {"data": "stl10", "variant": "", "labels": "20", "metric": "ari_all", "seed": "0"}
    swept = [{**row, "recipe": f"dsac k={k}", "value": "0.5"} for k in (3, 12)]
    own = [{**row, "recipe": "dsac", "value": "0.7"}, {**row, "recipe": "kmeans", "value": "0"}]
    axes = draw.sensitivity(swept, own).axes[list(draw.SYMBOLS).index("k")]
    line, ring = axes.lines
    assert list(line.get_ydata()) == [0.5, 0.7, 0.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["3", "6", "12"]
    assert list(ring.get_xdata()) == [1]


def test_a_run_in_two_files_counts_once(rows: Path) -> None:
    text = (rows / "usps.csv").read_text(encoding="utf-8")
    for bench in ("clustering", "mnist"):
        (rows / f"{bench}.csv").write_text(text.replace("usps,usps,", f"{bench},mnist,"))
    group = next(g for g in render.GROUPS if g.bench == "clustering")
    assert group.borrows == ("mnist",)
    assert "| ccl | published | 3 |" in render.section(group, rows, ROOT / "none")


def test_comparisons_are_paired_and_corrected() -> None:
    """The worked example of a paired t test: A beats B in every mean, and nothing is shown."""
    scores = {"a": (0.812, 0.798, 0.825, 0.801, 0.819), "b": (0.801, 0.795, 0.806, 0.803, 0.800)}
    scores["c"] = tuple(value - 0.1 for value in scores["a"])
    measured = [
        {"data": "usps", "recipe": name, "variant": "fast", "labels": "225", "seed": str(seed),
         "metric": "accuracy_test", "value": str(value)}
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    measured += [{**row, "labels": "0"} for row in measured]  # before any answer: no comparison
    lines = render.comparisons(measured, [("a", "b"), ("c", "a"), ("a", "gone")]).splitlines()
    assert lines[2:] == [
        "| a against b | USPS fast | 225 | +0.010 | -0.002 to +0.022 | 0.077 | 5 |"
        " no difference shown |",
        "| c against a | USPS fast | 225 | -0.100 | -0.100 to -0.100 | 0.000 | 5 | worse |",
    ]
    assert render.comparisons(measured[:2], [("a", "b")]) == ""
    for row in measured:
        row["recipe"] = {"a": "ccl cosine", "b": "probe"}.get(row["recipe"], row["recipe"])
        row["variant"] = "80/20" if row["recipe"] == "probe" else "published 80/20"
    text = render.comparisons(measured, [("ccl", "probe")])
    assert "| ccl cosine against probe | USPS published 80/20 |" in text


def test_what_has_not_run_says_so(tmp_path: Path) -> None:
    text = render.page(tmp_path, tmp_path / "none")
    assert text.count("Not run yet") == len(render.GROUPS)
    assert "not run yet" in render.readme_block(tmp_path, tmp_path / "none")


def test_a_block_replaces_only_itself() -> None:
    text = f"above\n{render.BEGIN}\nold\n{render.END}\nbelow\n"
    once = render.put(text, "new")
    assert once == f"above\n{render.BEGIN}\n\nnew\n\n{render.END}\nbelow\n"
    assert render.put(once, "new") == once
    with pytest.raises(ValueError, match="lacks"):
        render.put("no markers", "new")


def test_grids_of_other_counts_are_thinned_to_six() -> None:
    labels = [{"labels": str(n)} for n in range(250, 5001, 250)]
    assert render.points(labels, "digits")[0] == 250
    assert render.points(labels, "digits")[-1] == 5000
    assert len(render.points(labels, "digits")) == 6
    assert render.points(labels, "mnist") == [500, 1500, 2500, 5000]
    literal = [{"labels": str(n)} for n in (250, 500, 750)]
    assert render.points(literal, "usps") == [250, 500, 750]
