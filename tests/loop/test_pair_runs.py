"""Pair questions end to end: what is asked, paid, written, resumed and refused."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.bench.run import run as run_whole
from handful.book import LabelBook
from handful.cli import main
from handful.errors import RecipeError
from handful.loop import AskTell, drive, loop
from handful.metrics import accuracy
from handful.oracles import PairOracle
from handful.pairs import Closure
from handful.pool import Data, open_arrays
from handful.recipes import combine, recipe
from handful.store import RunRecord, read_run

run = partial(run_whole, report=False)
MEASURED = ("seconds_", "images_per_second", "peak_mb")
TINY: dict[str, dict[str, Any]] = {
    "adc": {"pretrain_epochs": 2, "filters": (4, 4, 4), "epochs": 1, "n_init": 2},
    "autoembedder": {"pretrain_epochs": 2, "filters": (4, 4, 4), "steps": 20, "n_init": 2},
    "sdec": {"pretrain_epochs": 2, "filters": (4, 4, 4), "steps": 4, "n_init": 2},
}


def bars(n: int = 90, classes: int = 3) -> Data:
    """Small images of a bright bar whose place is the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=n)
    images = rng.integers(0, 90, size=(n, 8, 8), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label : 2 * label + 2] += 150
    names = np.array([f"bar {c}" for c in range(classes)])
    return open_arrays("bars", {"images": images, "labels": labels, "classes": names})


def tiny(name: str, **changes: Any) -> Any:
    rounds = {"initial": 0, "batch": 6, "budget": 15} | changes
    return recipe(name, learner=TINY[name.partition("-")[0]], split="none", **rounds)


def figures(record: RunRecord) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if not k.startswith(MEASURED)} for r in record.rounds]


def told(record: RunRecord) -> list[tuple[str, str, Any]]:
    return [(e.kind, e.id, e.data) for e in record.events]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return run_whole(bars(), tiny("adc"), out=tmp_path_factory.mktemp("pairs") / "a")


def test_every_answer_costs_one_and_none_was_implied(done: RunRecord) -> None:
    assert [r["labels"] for r in done.rounds] == [0, 6, 12, 15]
    assert [r["asked"] for r in done.rounds] == [0, 6, 6, 3]
    assert done.book.paid == len(done.book.pairs) == 15
    closure: Closure[str] = Closure()
    for one in done.book.pairs:
        assert closure.open(one.a, one.b), "an implied pair was asked"
        closure.add(one.a, one.b, one.same)
    last, counts = done.rounds[-1], closure.counts
    assert last["questions"] == counts.questions == 15
    assert last["implied_same"] == counts.implied_same
    assert last["implied_different"] == counts.implied_different
    assert (last["undecided"], last["contradictions"]) == (0, 0)
    assert done.rounds[0]["implied_same"] == 0


def test_scores_need_no_class_names(done: RunRecord) -> None:
    for row in done.rounds:
        for name in ("acc_all", "nmi_all", "ari_all", "ari_kmeans"):
            assert row[name] is not None
        for name in ("accuracy_unlabelled", "acc_unlabelled", "accuracy_test"):
            assert row.get(name) is None
        assert row["name_questions"] >= 1
        assert 0 < row["accuracy_named"] <= 1
    assert {r["ari_kmeans"] for r in done.rounds} == {done.rounds[0]["ari_kmeans"]}


def test_the_unit_is_said(done: RunRecord) -> None:
    assert done.run["unit"] == "pairs"
    page = (done.path / "report.html").read_text(encoding="utf-8")
    assert "pair answers paid for" in page
    assert "labels paid for" not in page


def test_answers_and_predictions_are_written(done: RunRecord) -> None:
    with (done.path / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert {r["answer"] for r in rows} <= {"same", "different"}
    assert {r["source"] for r in rows} == {"oracle"}
    assert {r["against"] for r in rows} == {""}
    assert done.labels == ()
    assert {r["class"] for r in done.predictions()} <= {f"cluster {k}" for k in range(3)}


@pytest.mark.parametrize("name", ["sdec", "sdec-strong", "autoembedder"])
def test_the_other_recipes_of_pairs_run(name: str, tmp_path: Path) -> None:
    record = run(bars(), tiny(name), out=tmp_path / "r")
    assert [r["labels"] for r in record.rounds] == [0, 6, 12, 15]
    assert record.run["unit"] == "pairs"


@pytest.mark.parametrize("name", ["sdec", "autoembedder", "adc"])
def test_labels_give_all_their_pairs(name: str, tmp_path: Path) -> None:
    record = run(bars(), combine(tiny(name), query="random"), out=tmp_path / "r")
    assert record.run["unit"] == "labels"
    assert record.rounds[-1]["labels"] == 15
    assert record.rounds[-1]["accuracy_unlabelled"] is not None
    assert record.rounds[-1].get("questions") is None
    assert not (record.path / "pairs.csv").exists()


def test_the_first_batch_is_of_pairs_too(tmp_path: Path) -> None:
    record = run(bars(), tiny("sdec", initial=9, initial_draw="random"), out=tmp_path / "r")
    assert [r["labels"] for r in record.rounds] == [0, 9, 15]
    assert record.book.asked[0].data["question"] == "pair"


@pytest.mark.parametrize("name", ["adc", "sdec", "autoembedder"])
def test_killed_and_resumed_pairs(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    whole = run(bars(), tiny(name), out=tmp_path / "whole")
    answer = PairOracle.answer
    for at in (0, 2) if name == "adc" else (1,):
        out = tmp_path / f"killed {at}"
        monkeypatch.setattr(PairOracle, "answer", _dies(answer, at))
        with pytest.raises(KeyboardInterrupt):
            run(bars(), tiny(name), out=out)
        monkeypatch.setattr(PairOracle, "answer", answer)
        again = run(bars(), None, out=out, resume=True)
        assert told(again) == told(whole)
        assert figures(again) == figures(whole)


def _dies(answer: Any, at: int) -> Any:
    def dying(self: PairOracle, question: Any) -> Any:
        if question.round == at:
            raise KeyboardInterrupt
        return answer(self, question)

    return dying


def test_errors_that_controls_find_are_written_with_their_chain(tmp_path: Path) -> None:
    made = tiny("adc", batch=10, budget=60, query={"control": 0.5})
    record = run(bars(), made, out=tmp_path / "r", oracle="noisy:0.3")
    assert record.rounds[-1]["contradictions"] > 0
    with (record.path / "pairs.csv").open(encoding="utf-8", newline="") as file:
        against = [r for r in csv.DictReader(file) if r["against"]]
    assert len(against) == record.rounds[-1]["contradictions"]
    assert all(" = " in r["against"] or " != " in r["against"] for r in against)


def test_until(tmp_path: Path) -> None:
    record = run(bars(), tiny("adc"), out=tmp_path / "acc", until="acc=.01")
    assert record.rounds[0]["acc_all"] >= 0.01
    assert (record.book.paid, len(record.rounds)) == (0, 1)
    record = run(bars(), tiny("autoembedder"), out=tmp_path / "steady", until="steady")
    assert record.run["reason"] in ("the budget is spent", "the predictions are steady")


def test_what_cannot_learn_or_answer_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"asks same or different.*one of adc, autoembedder, sdec"
    ):
        combine(recipe("probe"), query="random-pairs").build()
    table = tmp_path / "answers.csv"
    data = bars()
    table.write_text("path,label\n" + "".join(f"{id},x\n" for id in list(data.pool.ids)[:5]))
    with pytest.raises(RecipeError, match="a table names classes"):
        run(data, tiny("adc"), out=tmp_path / "r", oracle=f"table:{table}")


def test_ask_and_tell_about_pairs() -> None:
    data = bars()
    assert data.labels is not None
    oracle = PairOracle(data.pool, data.labels, data.classes)
    made = tiny("sdec").set("learner.n_clusters=3")
    session = AskTell(made, data.pool, seed=made.seed)
    while (question := session.ask()) is not None:
        assert question.kind == "pair"
        session.tell(oracle.answer(question)[:3])  # some answers now
        session.tell(oracle.answer(question))  # and the rest
    driven = LabelBook()
    learner, rule = made.build()
    drive(loop(data.pool, driven, learner, rule, made.plan, seed=made.seed), oracle)
    assert session.book.pairs == driven.pairs
    assert session.book.paid == driven.paid == 15


def test_the_command(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    data = bars()
    images = data.pool.read(np.arange(90))[:, 0]
    np.savez(tmp_path / "bars.npz", images=images, labels=data.labels)
    options = [f"--set=learner.{k}={v}" for k, v in TINY["adc"].items() if k != "filters"]
    words = ["run", "bars.npz", "--recipe", "adc", "--initial", "0", "--batch", "6"]
    words += ["--budget", "12", "--split", "none", *options, "--out", "r", "--quiet"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.split()[:2] == ["round", "pairs"]
    assert "known different" in out
    assert read_run("r").run["unit"] == "pairs"


def test_named_accuracy_is_that_of_names_given_by_the_truth(done: RunRecord) -> None:
    """With every answer in, groups are classes and each has its name."""
    data = bars(12)
    assert data.labels is not None
    closure: Closure[int] = Closure()
    for i in range(12):
        for j in range(i):
            closure.add(i, j, bool(data.labels[i] == data.labels[j]))
    from handful.bench.score import Scorer
    from handful.types import PairAnswer, Snapshot

    ids = [f"{i:08d}" for i in range(12)]
    pairs = tuple(PairAnswer(ids[x.a], ids[x.b], x.same) for x in closure.log)
    snapshot = Snapshot.from_arrays(
        clusters=np.eye(3)[np.zeros(12, dtype=int)], embedding=np.zeros((12, 2)), pairs=pairs
    )
    scorer = Scorer(data.pool, data.labels, None, None, data.classes, 0, pairs=True)
    row = scorer._pairs(snapshot)
    assert row["accuracy_named"] == accuracy(data.labels, data.labels) == 1
    assert row["name_questions"] == len(closure.groups())
