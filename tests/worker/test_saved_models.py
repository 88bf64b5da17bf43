"""A model that leaves: on another machine it says the same, and it says when it knows nothing."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load
from worker_running import Project, digits, png, running

from handful.cli import main
from handful.errors import InputError
from handful.exports.model import is_page_model, read_model
from handful.metrics import wilson
from handful.page.gathering import Choice, Still, label_rows
from handful.page.reporting import model_file, report_file, report_of
from handful.paths import from_text
from handful.types import Event
from handful.worker.modelfile import ModelFile
from handful.worker.naming import about, named, opened, predict

N, ANSWERED = 300, 120
AUDIT: dict[str, Any] = {
    "n": 40, "k": 38, "low": 0.835, "high": 0.986, "population": 290, "pictures": N, "unsure": 2,
    "unlabelled": 0, "label_rev": 9, "compared": [["0200.png", 2, "model", 2]] * 12,
    "agreement": {"text": None},
}  # fmt: skip


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, np.ndarray]]:
    """Digits, of which the worker has learnt from 120 answers; an audit was closed."""
    folder = tmp_path_factory.mktemp("learnt") / "pictures"
    pixels, truth = digits(N)
    project = Project(
        folder / ".handful", folder, {f"{i:04d}.png": png(one) for i, one in enumerate(pixels)}
    )
    begun = {"seed": "seed", "folder": "pictures"}
    project.book.append([Event("folder_opened", "folder/0", begun)])
    names = [f"{i:04d}.png" for i in range(N)]
    with running(project) as worker:
        worker.tell(images=N, complete=True)
        worker.hear("published", published="groups")
        project.answer(names[:ANSWERED], truth[:ANSWERED])
        worker.tell(seq=len(project.book))
        worker.hear("published", published="model")
        worker.end()
    project.book.append([Event("audit_closed", "audit/1", AUDIT, person="P1", at=1.8e9)])
    project.book.append([Event("class_renamed", "r", {"class": 9, "new": "=9"})])
    project.book.append([Event("class_merged", "m", {"class": 7, "into": 1})])
    yield project, truth
    project.close()


@pytest.fixture(scope="module")
def saved(learnt: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.handful"
    model_file(Still(learnt[0].folder), path, "pictures")
    return path


@pytest.fixture(scope="module")
def tomorrow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Digits that nobody has seen, noise, and a file that is none."""
    folder = tmp_path_factory.mktemp("tomorrow") / "new"
    (folder / "noise").mkdir(parents=True)
    pixels, truth = digits(N + 100)
    for i, one in enumerate(pixels[N:]):
        (folder / f"{i:03d}.png").write_bytes(png(one))
    rng = np.random.default_rng(0)
    for i in range(15):
        small = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        one = np.kron(small, np.ones((8, 8), np.uint8))
        Image.fromarray(one).save(folder / "noise" / f"a{i}.png")
        large = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(large).save(folder / "noise" / f"b{i}.jpg")
    (folder / "broken.png").write_bytes(b"\x89PNG no")
    os.rename(folder / "000.png", os.fsencode(folder) + b"/=odd\xff.png")
    return folder, truth[N:]


def test_it_is_data_with_a_card(saved: Path) -> None:
    """safetensors alone, with classes as they are called now, licence and audit."""
    card, body = read_model(saved)
    assert set(load(body)) >= {"mean", "projection", "W", "b", "references"}
    assert is_page_model(saved)
    names = {c["name"] for c in card["classes"]}
    assert "=9" in names
    assert not names & {"seven", "nine"}
    assert [c["id"] for c in card["classes"]].count(1) == 2
    assert (card["audit"]["k"], card["audit"]["n"]) == (38, 40)
    assert "Apache-2.0" in card["licence"]
    assert card["features"]["words"]
    assert card["folder"] == "pictures"
    assert str(saved.parent.parent) not in body.decode("latin-1")
    assert "38 of 40 blind answers agreed (83.5 to 98.6 %)" in about(card)
    assert "not of this one" in about(card)
    assert "never checked" in about({**card, "audit": None})


def test_another_process_says_the_same(
    learnt: Any, saved: Path, tomorrow: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """Moved away from folder and book: equal classes, probabilities within 1e-4."""
    project, _ = learnt
    folder, truth = tomorrow
    model = project.newest("model")
    card = (model.folder / "card.json").read_bytes()
    here = ModelFile.read(card, (model.folder / "model.safetensors").read_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(saved, elsewhere / "m.handful")
    threads = {"OMP_NUM_THREADS": "2", "HOME": str(elsewhere)}
    done = subprocess.run(
        [sys.executable, "-m", "handful", "predict", "m.handful", str(folder), "--out", "p.csv"],
        cwd=elsewhere, env={**os.environ, **threads}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 file cannot be read and are left out, e.g. broken.png" in done.stderr
    with (elsewhere / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = {from_text(row["path"].lstrip("'")): row for row in csv.DictReader(file)}
    paths = sorted(rows)
    assert len(paths) == 130
    p, unlike = here.predict([(folder / path).read_bytes() for path in paths])
    seven, one = 7, 1
    merged = p.astype(np.float64)
    merged[:, one] += merged[:, seven]
    merged[:, seven] = 0
    names = [name for _, name in opened(saved).classes]
    for path, share, strange in zip(paths, merged, unlike, strict=True):
        row = rows[path]
        assert row["class"].lstrip("'") == names[int(share.argmax())]
        assert abs(float(row["confidence"]) - share.max()) < 1e-4
        assert row["unlike"] == str(int(strange))
        assert row["source"] == "model"
    assert "'=odd%FF.png" in (elsewhere / "p.csv").read_text()
    assert "'=9" in (elsewhere / "p.csv").read_text()
    strange = [rows[path]["unlike"] == "1" for path in paths if path.startswith("noise/")]
    known = [rows[path]["unlike"] == "1" for path in paths if not path.startswith("noise/")]
    assert np.mean(strange) >= 0.95
    assert np.mean(known) <= 0.05
    words = {7: "one", 9: "=9"}
    digit = [words.get(int(t), names[int(t)]) for t in truth]
    got = [rows[f"{i:03d}.png"]["class"].lstrip("'") for i in range(1, 100)]
    assert np.mean([g == d for g, d in zip(got, digit[1:], strict=True)]) >= 0.85


def test_what_is_no_model_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no pictures"
    folder.mkdir()
    body = saved.read_bytes()
    bad = {
        "short": body[:100], "text": b"no model", "huge": (2**62).to_bytes(8, "little") + body[8:],
        "empty": b"", "pickle": b"\x80\x04cos\nsystem\n", "cut": body[: len(body) // 2],
    }  # fmt: skip
    for name, content in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert name == "cut" or not is_page_model(path)
        with pytest.raises(InputError):
            predict(path, folder, out=tmp_path / "p.csv")
    with pytest.raises(InputError, match="no picture that can be read"):
        predict(saved, folder, out=tmp_path / "p.csv")
    with pytest.raises(InputError, match="is no folder"):
        predict(saved, saved, out=tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    assert not list(named(opened(saved), folder))


def test_the_export_takes_the_models_word(learnt: Any) -> None:
    project, truth = learnt
    rows = list(label_rows(Still(project.folder), Choice()))
    assert len(rows) == N
    guessed = [row for row in rows if row["source"] == "model"]
    assert len(guessed) == N - ANSWERED
    assert {row["state"] for row in guessed} == {"open"}
    assert all(0 < row["confidence"] <= 1 for row in guessed)
    merged = np.where(truth == 7, 1, truth)
    right = [row["class_id"] == merged[int(row["path"][:4])] for row in rows]
    assert np.mean(right) >= 0.9
    assert not [r for r in label_rows(Still(project.folder), Choice(model=False))
                if r["source"] == "model"]  # fmt: skip
    arrays = project.newest("features")
    assert arrays is not None


def test_a_report_to_share(learnt: Any, tmp_path: Path) -> None:
    """One file, no script, no address, no place; its numbers are those of the rows."""
    project, _ = learnt
    source = Still(project.folder)
    report_file(source, tmp_path / "report.html", "<pic>tures")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"https?:|src=|url\((?!#)|<img|<link|@import", page)
    assert "<pic>" not in page
    assert "&lt;pic&gt;tures" in page
    assert str(tmp_path.parent) not in page
    assert "95.0 %" in page
    assert "38 of 40; the true value is between 83.5 % and 98.6 %" in page
    assert "300 images of 300 were assigned to 9 classes" in page
    assert "40 images drawn at random from all 300 readable ones were labelled again" in page
    assert f"12 of 12 ({100 * wilson(12, 12)[0]:.1f} to 100.0 %)" in page
    found = report_of(source, "pictures")
    rows = list(label_rows(source, Choice(open=True)))
    assert sum(found.sources.values()) + sum(found.states.values()) == found.pictures == len(rows)
    assert found.sources["hand"] == found.answers == ANSWERED
    assert found.audit is not None
    assert found.audit.since == 0
    thumbs = project.place / "derived" / "thumbs"
    for row in rows:
        place = thumbs / row["sha256"][:2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row['sha256']}-192.webp").write_bytes(b"webp")
    report_file(source, tmp_path / "report.html", "pictures", pictures=True)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<img alt="" src="data:image/webp;base64,d2VicA==">') == 9 * 6
    assert not re.search(r"https?:|<script", page)


def test_a_report_without_audit_or_labels(tmp_path: Path) -> None:
    project = Project(tmp_path / "p" / ".handful", tmp_path / "p", {"a.png": png(digits(1)[0][0])})
    begun = {"seed": "seed", "folder": "p"}
    project.book.append([Event("folder_opened", "folder/0", begun)])
    report_file(Still(tmp_path / "p"), tmp_path / "r.html", "p")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "how many are right was not checked" in page
    assert "The accuracy of the labels was not measured." in page
    assert "0 images of 1 were assigned" in page
    with pytest.raises(InputError, match="no model to write yet"):
        model_file(Still(tmp_path / "p"), tmp_path / "m", "p")
    project.book.append([
        Event("audit_closed", "audit/1", AUDIT | {"n": 3, "k": 3, "low": None, "high": None,
                                                  "compared": []}),
        Event("labelled", "l", {"image": "a.png", "class": 0}),
    ])  # fmt: skip
    report_file(Still(tmp_path / "p"), tmp_path / "r.html", "p")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "3 of 3" in page
    assert "a percentage needs 30" in page
    assert "1 label changed since" in page
    project.close()


def test_commands(learnt: Any, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = learnt[0].folder
    for arguments in (["export", folder, "--format", "model,report", "--out", "out"],
                      ["report", folder, "--out", "r.html"]):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        assert end.value.code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model.handful", "report.html"]
    assert capsys.readouterr().out.split()[-1] == "r.html"
    assert is_page_model(tmp_path / "out" / "model.handful")


def test_onnx_says_the_same(saved: Path, tomorrow: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip(
        "onnxruntime", reason="ONNX is not installed: pip install 'handful[onnx]'"
    )
    pytest.importorskip("onnxscript", reason="ONNX is not installed: pip install 'handful[onnx]'")
    from handful.worker.onnx_file import write_onnx

    model = opened(saved)
    assert write_onnx(tmp_path / "m.onnx", model) == (tmp_path / "m.onnx").stat().st_size
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == [name for _, name in model.classes]
    assert json.loads(told["images"])["shape"] == ["n", 1, 8, 8]
    paths = sorted(tomorrow[0].glob("0*.png")) + sorted(tomorrow[0].glob("noise/a*.png"))
    images = np.stack([np.asarray(Image.open(path))[::8, ::8][None] for path in paths])
    p, unlike = session.run(None, {"images": images})
    wanted, strange = model.judge(model.encoder.encode(images))
    np.testing.assert_allclose(p, wanted, atol=1e-4)
    np.testing.assert_array_equal(unlike, strange)


def test_onnx_that_is_not_installed_is_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from handful.worker.onnx_file import as_onnx

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"handful\[onnx\]"):
        as_onnx(opened(saved))


def test_the_network_of_a_model_is_the_model(saved: Path) -> None:
    """Without any ONNX: the twin in torch agrees, on shapes, noise and flat pictures."""
    import torch

    from handful.worker.onnx_file import OnnxModel, sample

    model = opened(saved)
    images = sample((2, 1, 8, 8))
    with torch.inference_mode():
        p, unlike = OnnxModel(model).eval()(torch.from_numpy(images))
    wanted, strange = model.judge(model.encoder.encode(images))
    np.testing.assert_allclose(p.numpy(), wanted, atol=1e-4)
    np.testing.assert_array_equal(unlike.numpy(), strange)
