"""Any learner with any query where what one needs is what the other gives; else, who would do."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import handful.learners
import handful.queries
import handful.queries_learned
from handful.cli import app
from handful.cli.run import choose
from handful.errors import RecipeError
from handful.registry import LEARNERS, QUERIES, asks_pairs

assert all((handful.learners, handful.queries, handful.queries_learned))  # they register


@pytest.mark.parametrize("query", QUERIES.names())
def test_every_pair_is_made_or_refused_with_who_would_do(query: str) -> None:
    needs = QUERIES.get(query)().needs
    made, refused = set(), {}
    for learner in LEARNERS:
        try:
            built, rule = choose(None, learner, query, None).build()
        except RecipeError as error:
            refused[learner] = str(error)
        else:
            assert (built.name, rule.name) == (learner, query)
            made.add(learner)
    for learner, said in refused.items():
        assert repr(learner) in said
        assert repr(query) in said
        named = set(re.split(r"take one of ", said)[1].split(", "))
        assert named == made, "who would do is not who does"
    if not asks_pairs(QUERIES.get(query)):
        assert made == {name for name in LEARNERS if LEARNERS.get(name).gives >= needs}
    assert made, "no learner gives what it needs"


def test_refused_before_any_data_is_read(tmp_path: Path) -> None:
    """There is no such data: the pair is refused first."""
    command = ["run", str(tmp_path / "nowhere"), "--learner", "probe", "--query", "bald"]
    done = CliRunner().invoke(app, command, standalone_mode=False)
    assert isinstance(done.exception, RecipeError)
    assert done.exception.exit_code == 2
    assert "needs 'draws'" in str(done.exception)
    assert "take one of cnn" in str(done.exception)


@pytest.mark.parametrize(("learner", "query"), [("self-training", "probcover"), ("cnn", "bald")])
def test_a_pair_runs(learner: str, query: str, tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 90, (60, 8, 8), dtype=np.uint8)
    images[np.arange(60), 2 * labels] += 150
    np.savez(tmp_path / "bars.npz", images=images, labels=labels)
    command = [
        "run", str(tmp_path / "bars.npz"), "--learner", learner, "--query", query,
        "--out", str(tmp_path / "run"), "--initial", "9", "--batch", "6", "--budget", "21",
        "--quiet",
    ]  # fmt: skip
    if learner == "cnn":
        command += ["--set", "learner.steps=20", "--set", "learner.draws=4"]
    done = CliRunner().invoke(app, command, standalone_mode=False)
    assert done.exception is None, done.exception
    assert (tmp_path / "run" / "report.html").exists()
    bought = (tmp_path / "run" / "labels.csv").read_text(encoding="utf-8").splitlines()
    assert len(bought) == 22


@pytest.mark.parametrize("name", QUERIES.names())
def test_the_card_of_a_rule_is_printed(name: str) -> None:
    done = CliRunner().invoke(app, ["queries", name], standalone_mode=False)
    assert done.exception is None
    assert isinstance(app, click.Group)
    for heading in ("Formula", "Needs", "Cost", "When", "Source", "Here"):
        assert re.search(rf"^{heading} ", done.output, re.MULTILINE), heading
