"""Oracles: truth, noise, tables and pairs under one contract, and what each is for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from handful.errors import AnswerError
from handful.oracles import NoisyOracle, PairOracle, TableOracle, TruthOracle
from handful.testing.learners import TinyPool
from handful.testing.oracles import OracleContract
from handful.types import Answer, Oracle, PairAnswer, Question, RowIds

NAMES = ("cat", "dog", "owl")
IDS = ["a.png", "b\udcff.png", "c d.png", "sub/e.png", "sub/f.png", "g,h.png"]
LABELS = np.array([0, 1, 2, 0, -1, 1])
POOL = TinyPool(IDS, images=np.zeros((6, 1, 1, 1), np.uint8))


class Known(OracleContract):
    def ids(self) -> Sequence[str]:
        return list(POOL.ids)


class TestTruth(Known):
    def oracle(self) -> Oracle:
        return TruthOracle(POOL, LABELS, NAMES)


class TestNoisy(Known):
    def oracle(self) -> Oracle:
        return NoisyOracle(POOL, LABELS, NAMES, rate=0.5, seed=3)


class TestPairs(Known):
    pairs = True

    def oracle(self) -> Oracle:
        return PairOracle(POOL, LABELS, NAMES)


class TestNoisyPairs(Known):
    pairs = True

    def oracle(self) -> Oracle:
        return PairOracle(POOL, LABELS, NAMES, rate=0.5, seed=3)


class TestTable(Known):
    @pytest.fixture(autouse=True)
    def _table(self, tmp_path: Path) -> None:
        self.table = tmp_path / "answers.csv"
        self.table.write_text('path,label\na.png,cat\nb%FF.png,dog\n"g,h.png",owl\n')

    def oracle(self) -> Oracle:
        return TableOracle(self.table, POOL)


def ask(*ids: str) -> Question:
    return Question("class", 0, ids=ids)


def table(folder: Path, text: str | bytes) -> TableOracle:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return TableOracle(path, POOL)


def test_truth_says_the_class_or_unsure() -> None:
    said = TruthOracle(POOL, LABELS, NAMES).answer(ask(*POOL.ids))
    expected = {
        id: Answer(id, NAMES[y]) if y >= 0 else Answer(id, state="unsure")
        for id, y in zip(POOL.ids, LABELS, strict=True)
    }
    assert said == [expected[id] for id in POOL.ids]


def test_pairs_are_same_different_or_unknown() -> None:
    oracle = PairOracle(POOL, np.array([0, 0, 1, -1, 1, 1]), NAMES)
    a, b, c, d = list(POOL.ids)[:4]
    said = oracle.answer(Question("pair", 0, pairs=((a, b), (a, c), (a, d))))
    assert said == [PairAnswer(a, b, True), PairAnswer(a, c, False), PairAnswer(a, d, None)]
    assert [x.label for x in oracle.answer(ask(a)) if isinstance(x, Answer)] == ["cat"]
    assert oracle.asked == 4
    with pytest.raises(AnswerError, match="use the pair oracle"):
        TruthOracle(POOL, LABELS, NAMES).answer(Question("pair", 0, pairs=((a, b),)))


def test_noisy_pairs_err_as_often_as_was_asked_for_and_never_change_their_mind() -> None:
    n, rate = 2000, 0.3

    class Many(TinyPool):
        def row(self, id: str) -> int:
            return int(id)

    ids, truth = RowIds(n), np.arange(n) % 2
    pool = Many(ids)
    pairs = tuple((ids[i], ids[(7 * i + 3) % n]) for i in range(n))
    oracle = PairOracle(pool, truth, NAMES, rate=rate, seed=1)
    said = [a for a in oracle.answer(Question("pair", 0, pairs=pairs)) if isinstance(a, PairAnswer)]
    right = np.array([truth[int(a.a)] == truth[int(a.b)] for a in said])
    wrong = np.array([a.same for a in said]) != right
    assert abs(wrong.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / n)
    turned = oracle.answer(Question("pair", 1, pairs=tuple((b, a) for a, b in pairs)))
    assert [a.same for a in turned if isinstance(a, PairAnswer)] == [a.same for a in said]
    assert (oracle.asked, oracle.undecided) == (2 * n, 0)
    unknown = PairOracle(POOL, LABELS, NAMES, rate=0.9)
    e, f = IDS[3], IDS[4]
    assert unknown.answer(Question("pair", 0, pairs=((e, f),))) == [PairAnswer(e, f, None)]
    assert unknown.undecided == 1
    with pytest.raises(AnswerError, match="must be in"):
        PairOracle(POOL, LABELS, NAMES, rate=1.0)


def test_truth_must_fit_the_pool() -> None:
    with pytest.raises(AnswerError, match="6 images: one each"):
        TruthOracle(POOL, LABELS[:5], NAMES)
    with pytest.raises(AnswerError, match="0 to 2 for 2 classes"):
        TruthOracle(POOL, np.array([0, 1, 2, 0, 0, 1]), NAMES[:2])
    with pytest.raises(AnswerError, match="for 3 classes"):
        TruthOracle(POOL, LABELS - 1, NAMES)


def test_noise_flips_the_share_that_was_asked_for_to_every_other_class() -> None:
    n, rate = 4000, 0.3

    class Many(TinyPool):
        def row(self, id: str) -> int:
            return int(id)

    pool = Many(RowIds(n))
    truth = np.arange(n) % 3
    said = NoisyOracle(pool, truth, NAMES, rate=rate, seed=1).answer(ask(*RowIds(n)))
    given = np.array([NAMES.index(a.label or "") for a in said if isinstance(a, Answer)])
    assert abs((given != truth).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / n)
    shift = np.bincount((given - truth) % 3, minlength=3) / n
    assert abs(shift[1] - shift[2]) < 0.04  # 4 standard errors of a difference, about .034
    other = NoisyOracle(pool, truth, NAMES, rate=rate, seed=2).answer(ask(*RowIds(n)))
    assert list(said) != list(other)
    assert NoisyOracle(pool, truth, NAMES, rate=0.0).answer(ask("00000001")) == [
        Answer("00000001", "dog")
    ]


def test_noise_needs_another_class_and_a_rate() -> None:
    one = NoisyOracle(POOL, np.zeros(6, np.int64), NAMES[:1], rate=0.9)
    assert {a.label for a in one.answer(ask(*IDS)) if isinstance(a, Answer)} == {"cat"}
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(AnswerError, match="must be in"):
            NoisyOracle(POOL, LABELS, NAMES, rate=rate)


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,cat\nsub/e.png,dog\n",
        "a.png,cat\nsub/e.png,dog\n",
        "\ufeffpath,label\r\na.png,cat\r\n\r\nsub/e.png,dog\r\n",
        "label;extra;File\ncat;1;a.png\ndog;2;sub\\e.png\n",
        "path\tlabel\n./a.png\tcat\nsub/e.png\tdog\na.png\tcat\n",
        "path,label,state\na.png,cat,labelled\nsub/e.png,dog,\n",
    ],
)
def test_tables_are_written_in_many_ways(tmp_path: Path, text: str) -> None:
    oracle = table(tmp_path, text)
    assert oracle.answer(ask("a.png", "sub/e.png")) == [
        Answer("a.png", "cat"),
        Answer("sub/e.png", "dog"),
    ]
    assert oracle.classes == ("cat", "dog")


def test_an_image_without_an_answer_is_unsure_and_costs(tmp_path: Path) -> None:
    oracle = table(tmp_path, "path,label,state\na.png,cat,\nc d.png,,\nsub/e.png,,broken\n")
    said = oracle.answer(ask("c d.png", "sub/f.png", "sub/e.png"))
    assert [a.state for a in said if isinstance(a, Answer)] == ["unsure", "unsure", "broken"]
    assert oracle.asked == 3


def test_rows_for_other_images_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        oracle = table(tmp_path, "path,label\na.png,cat\nzzz.png,dog\n")
    assert oracle.unknown == ["zzz.png"]
    assert "1 rows name images that are not in this pool" in caplog.text
    with pytest.raises(AnswerError, match=r"answers for no image.*relative to the folder"):
        table(tmp_path, "path,label\nzzz.png,dog\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (b"path,label\na.png,caf\xe9\n", "not UTF-8"),
        ("path\na.png\n", "one column"),
        ("path,label\na.png\n", "line 2: 1 columns"),
        ("path,label\na.png,cat\na.png,dog\n", "'cat' in line 2 and 'dog' in line 3: keep one"),
        ('path,label\n"a.png,cat\n', "check the quotes"),
        ("path,label,state\na.png,,asleep\n", "the state 'asleep' is none of"),
    ],
)
def test_a_table_that_cannot_be_used_says_where(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(AnswerError, match=message):
        table(tmp_path, text)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match="cannot be read"):
        TableOracle(tmp_path / "no.csv", POOL)
    with pytest.raises(AnswerError, match="class questions"):
        table(tmp_path, "a.png,cat\n").answer(Question("pair", 0, pairs=(("a.png", "c d.png"),)))
