"""The report's clusters: who was asked in each, what took its class unasked, and how rightly."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.bench.run import _AskedIn, run
from handful.errors import InputError, RunFolderError
from handful.pool.arrays import open_arrays
from handful.recipes import recipe
from handful.report import clusters, curves, load, render
from handful.types import Snapshot

NAMES = ("cat", "<b>dog</b>", "owl")
# 12 images in three clusters: 0 is cat and right, 1 says dog and is wrong once, 2 knows nothing
CLUSTER = np.repeat([0, 1, 2], 4)
KNOWN = np.array([0, -1, -1, -1, 1, 2, -1, -1, -1, -1, -1, -1])
PSEUDO = np.array([-1, 0, 0, 0, -1, -1, 1, 1, -1, -1, -1, -1])
TRUTH = np.array([0, 0, 0, -1, 1, 2, 1, 2, 0, 0, 1, 2])
ASKED = [(0, "representative"), (4, "representative"), (5, "difficult")]


class Pool:
    """Twelve images of eight pixels, or twelve vectors."""

    def __init__(self, channels: int = 1) -> None:
        self.channels, self.size = channels, (8, 8)
        self.features = None if channels else np.zeros((12, 3), dtype=np.float32)

    def __len__(self) -> int:
        return 12

    def read(self, rows: Any, size: Any) -> Any:
        shape = (12, self.channels, 8, 8)
        return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)[rows]


def collect(folder: Path, *, channels: int = 1, truth: Any = TRUTH, **given: Any) -> Any:
    folder.mkdir(exist_ok=True)
    told: dict[str, Any] = {
        "pool": Pool(channels), "clusters": CLUSTER, "asked": ASKED, "known": KNOWN,
        "pseudo": PSEUDO, "truth": truth, "n_classes": 3, "rng": np.random.default_rng(0),
    }  # fmt: skip
    clusters.collect(folder, **(told | given))
    return clusters.load(folder)


def test_what_is_kept_counts_every_pseudo_label(tmp_path):
    found = collect(tmp_path)
    assert found.sizes.tolist() == [4, 4, 4]
    assert found.named.tolist() == [0, 1, -1]
    assert found.pseudo.tolist() == [3, 2, 0]
    assert found.scored.tolist() == [2, 2, 0]  # of row 3 nobody knows the truth
    assert found.right.tolist() == [2, 1, 0]
    kept = list(zip(found.cluster.tolist(), found.role.tolist(), found.label.tolist(), strict=True))
    assert kept[:3] == [(0, 0, 0), (1, 0, 1), (1, 1, 2)]
    assert kept[3:] == [(0, 2, 0)] * 3 + [(1, 2, 1)] * 2
    assert found.truth.tolist() == [0, 1, 2, 0, 0, -1, 1, 2]
    assert len(found.thumbnails) == 8


def test_an_answered_image_is_no_pseudo_label(tmp_path):
    pseudo = PSEUDO.copy()
    pseudo[0] = 2
    assert collect(tmp_path, pseudo=pseudo).pseudo.tolist() == [3, 2, 0]


def test_few_pictures_of_many(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "EXAMPLES", 1)
    monkeypatch.setattr(clusters, "SHOWN", 1)
    found = collect(tmp_path)
    assert found.cluster.tolist() == [0, 0]
    assert found.pseudo.tolist() == [3, 2, 0]  # counted, not shown


def test_a_wrong_pseudo_label_is_marked_and_names_are_escaped(tmp_path):
    html = clusters.sheet(collect(tmp_path), NAMES)
    assert html.count('class="wrong"') == 1
    assert "pseudo-labelled: &lt;b&gt;dog&lt;/b&gt;; it is owl" in html
    assert "✗ owl" in html
    assert "<b>dog" not in html
    assert "Cluster 1: &lt;b&gt;dog" in html
    assert "2 pseudo-labels, 50.0 % of them right" in html
    assert "Cluster 2" not in html  # nobody was asked there and nothing was labelled
    assert [row[3:] for row in clusters.table_rows(collect(tmp_path), NAMES)] == [
        ["3", "100.0"], ["2", "50.0"], ["0", ""],
    ]  # fmt: skip


def test_without_a_truth_nothing_is_called_right_or_wrong(tmp_path):
    found = collect(tmp_path, truth=None)
    html = clusters.sheet(found, NAMES)
    assert "right" not in html
    assert "✗" not in html
    assert [row[4] for row in clusters.table_rows(found, NAMES)] == ["", "", ""]


def test_a_pool_of_features_has_a_table_and_no_picture(tmp_path):
    found = collect(tmp_path, channels=0)
    assert clusters.sheet(found, NAMES) == ""
    assert len(clusters.table_rows(found, NAMES)) == 3


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(InputError, match="all 12"):
        collect(tmp_path, pseudo=PSEUDO[:5])
    assert clusters.load(tmp_path) is None
    (tmp_path / clusters.FILE).write_bytes(b"no archive")
    with pytest.raises(RunFolderError, match="resume"):
        clusters.load(tmp_path)
    (tmp_path / "rounds.csv").write_text("round,labels\n0,0\n", encoding="utf-8")
    assert "clusters.npz cannot be read" in load(tmp_path).problems[0]


# --- curves --------------------------------------------------------------------------------


def rounds(folder: Path, **columns: list[Any]) -> Any:
    names = ["round", "labels", *columns]
    with (folder / "rounds.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for r in range(3):
            writer.writerow([r, 20 * r, *(values[r] for values in columns.values())])
    return load(folder)


def test_purity_is_what_is_not_wrong(tmp_path):
    made = rounds(tmp_path, pseudo_error=["", 0.1, 0.25], pseudo_count=[0, 90, 1360])
    figure = curves.pseudo_purity(made)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [20, 40]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [90, 75])
    assert [text.get_text() for text in axes.texts] == ["90", "1,360"]
    assert curves.pseudo_purity(rounds(tmp_path, pseudo_count=[0, 1, 2])) is None


def test_predictions_clusters_and_the_control_stand_in_one_figure(tmp_path):
    made = rounds(
        tmp_path, ari_all=["", 0.5, 0.6], ari_clusters=[0.4, 0.5, 0.7], ari_kmeans=[0.4] * 3
    )
    figure = curves.ari_by_round(made)
    assert figure is not None
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["predictions"], [50, 60])
    np.testing.assert_allclose(lines["clusters"], [40, 50, 70])
    np.testing.assert_allclose(lines["k-means, no label"], [40] * 3)
    assert curves.ari_by_round(rounds(tmp_path, ari_all=[0.1] * 3)) is None


def test_counts_are_no_losses(tmp_path):
    made = rounds(tmp_path, loss_pseudo=[1, 90, 360], loss_class=[2.0, 1.0, 0.5])
    figure = curves.losses_by_round(made)
    assert figure is not None
    assert [line.get_label() for line in figure.axes[0].lines] == ["class"]


# --- a run ---------------------------------------------------------------------------------


def test_clusters_are_kept_for_two_rounds(tmp_path):
    kept = _AskedIn(tmp_path)
    for r in range(4):
        q = np.eye(3, dtype=np.float32)[[r % 3, 0, 2]]
        kept.keep(Snapshot.from_arrays(clusters=q, round=r))
    assert kept.of(3).tolist() == [0, 0, 2]
    assert kept.of(2).tolist() == [2, 0, 2]
    assert kept.of(1) is None
    (tmp_path / "asked-in-3.npy").write_bytes(b"cut")
    assert kept.of(3) is None
    kept.keep(Snapshot.from_arrays(known=np.array([0]), round=9))
    assert kept.of(9) is None


def test_a_run_of_dsac_shows_its_clusters(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = rng.integers(0, 90, (120, 8, 8), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label : 2 * label + 2] += 150
    names = np.array([f"bar {c}" for c in range(3)])
    data = open_arrays("bars", {"images": images, "labels": labels, "classes": names})
    learner = {"m": 8, "epochs": 2, "n_init": 2}
    made = recipe("dsac", batch=6, budget=12, learner=learner)
    record = run(data, made, out=tmp_path / "run", report=False)
    last = record.rounds[-1]
    assert last["pseudo_count"] > 0
    assert last["ari_clusters"] is not None
    found = load(tmp_path / "run").clusters
    assert found.pseudo.sum() == last["pseudo_count"]
    share = found.right.sum() / found.scored.sum()
    assert share == pytest.approx(1 - last["pseudo_error"])
    page = render([tmp_path / "run"]).read_text(encoding="utf-8")
    section = page.partition("Clusters and pseudo-labels")[2]
    assert "representative" in section
    assert "<script" not in page
