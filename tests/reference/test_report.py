"""The report: what is kept, what is drawn, and that no data can break the page."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import random
import re
import sys
import warnings
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from handful.errors import InputError, RunFolderError
from handful.metrics import wilson
from handful.report import curves, figures, load, maps, render, sheets
from handful.report.look import (
    ACCENT,
    CLASS_COLOURS,
    LINE,
    _style,
    canvas,
    class_look,
    drawing,
    shown,
    to_svg,
)
from handful.report.runs import Table, common_metric, group
from handful.types import Snapshot

TEN = tuple(str(i) for i in range(10))
NASTY = (
    "</svg><script>alert(1)</script>",
    "quo\"te's & <b>",
    "two\nlines\r\tand tab",
    "bad\udc80\udcffbytes",
    "$\\frac{1}{0}$ {n} %s",
    "nul\x00 and \ufffe and \u202egnp.exe",
    "猫 🐈 ñ",
    "#16181d id=x url(#a)",
    "",
    "long " * 60,
)


class FakePool:
    """An array pool of ``n`` images, or of features where ``channels`` is 0."""

    broken = MappingProxyType({})

    def __init__(self, n: int, channels: int = 1, size: tuple[int, int] = (8, 8)) -> None:
        self.n, self.channels, self.size = n, channels, size
        self.ids = [f"{i:05d}.png" for i in range(n)]
        self.features = None if channels else np.zeros((n, 3), dtype=np.float32)

    def __len__(self) -> int:
        return self.n

    def read(self, rows, size=None):
        height, width = size or self.size
        shape = (len(rows), self.channels, height, width)
        return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_run(
    folder: Path,
    *,
    seed: int = 0,
    name: str = "ccl-student",
    query: str = "entropy",
    classes: tuple[str, ...] = TEN,
    n: int = 60,
    rounds: int = 3,
    batch: int = 5,
    accuracy: tuple[float, ...] = (0.5, 0.7, 0.8),
    truth: bool = True,
    channels: int = 1,
    embedding: int = 3,
) -> Path:
    """A small run folder with every file that a report reads."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(classes), n)
    known = np.full(n, -1)
    chosen = rng.permutation(n)[: rounds * batch]
    asked = [(place // batch, int(row), "") for place, row in enumerate(chosen)]
    known[chosen] = labels[chosen]
    predicted = np.where(rng.random(n) < 0.8, labels, 0)
    table = [
        {
            "round": r, "labels": (r + 1) * batch, "asked": batch, "accuracy_test": "",
            "accuracy_unlabelled": accuracy[r] + seed / 100 if truth else "",
            "entropy_mean": 1.0 / (r + 1), "loss_rec": 0.1, "seconds_fit": 1.5,
            "seconds_query": 0.1,
        }
        for r in range(rounds)
    ]  # fmt: skip
    if table:
        write_csv(folder / "rounds.csv", table)
    log = [
        {"round": r, "stage": "cluster", "step": 20 * s, "acc": 0.5 + 0.01 * s, "nmi": 0.4,
         "ari": "", "loss_rec": 1.0 / (1 + 10 * r + 5 * s)}
        for r in range(rounds)
        for s in range(4)
    ]  # fmt: skip
    if log:
        write_csv(folder / "training.csv", log)
    book = [
        {"path": f"{row:05d}.png", "class": classes[labels[row]], "state": "labelled", "round": r}
        for r, row, _ in asked
    ]
    if book:
        write_csv(folder / "labels.csv", book)
    facts = {"data": "digits", "seed": seed, "images": n, "schedule": "fast", "seconds": 61.2}
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    recipe = f'name = "{name}"\nseed = {seed}\n[learner]\nname = "ccl"\nlr = 1e-3\n'
    (folder / "recipe.toml").write_text(recipe + f'[query]\nname = "{query}"\n', encoding="utf-8")
    parts = {"embedding": rng.normal(size=(n, embedding))} if embedding else {}
    figures.collect(
        folder,
        snapshot=Snapshot.from_arrays(known=known, **parts),
        pool=FakePool(n, channels),
        truth=labels if truth else None,
        predicted=predicted,
        asked=asked,
        classes=classes,
        rng=np.random.default_rng(0),
    )
    return folder


class Strict(HTMLParser):
    """Checks that tags nest, ids are unique, and collects what a browser would fetch."""

    void = frozenset({"meta", "img", "br", "input", "link", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids, f"id {value} twice"
                self.ids.add(value)
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href"):
                self.fetched.append(value)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read_page(path: Path) -> Strict:
    text = path.read_text(encoding="utf-8")
    page = Strict(text)
    assert all(url.startswith(("data:image/png;base64,", "#")) for url in page.fetched)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "one")


class TestCollect:
    def test_round_trip(self, run):
        kept = figures.load(run)
        assert kept.n == 60
        assert kept.classes == TEN
        assert (kept.rows == np.arange(60)).all()
        assert (kept.asked_round >= 0).sum() == 15
        assert kept.thumbnails.shape == (15, 1, 8, 8)
        assert kept.asked_per_round.tolist() == [5, 5, 5]
        assert (kept.thumbnail_class == kept.truth[kept.thumbnail_rows]).all()

    def test_confusion_counts_what_was_not_bought(self, run):
        kept = figures.load(run)
        slow = np.zeros((10, 10), dtype=int)
        for t, p, asked in zip(kept.truth, kept.predicted, kept.asked_round, strict=True):
            if asked < 0:
                slow[t, p] += 1
        assert (kept.confusion == slow).all()
        assert kept.confusion_scope == "not bought"

    def test_confusion_of_all_when_all_were_bought(self, tmp_path):
        kept = figures.load(make_run(tmp_path / "r", n=15))
        assert kept.confusion_scope == "all"
        assert kept.confusion.sum() == 15

    def test_a_large_pool_stays_small(self, tmp_path):
        n, rng = 50_000, np.random.default_rng(0)
        asked = [(i // 500, int(row), "") for i, row in enumerate(rng.permutation(n)[:3000])]
        figures.collect(
            tmp_path,
            snapshot=Snapshot.from_arrays(embedding=rng.normal(size=(n, 64))),
            pool=FakePool(n, channels=3, size=(96, 64)),
            truth=rng.integers(0, 10, n),
            predicted=rng.integers(0, 10, n),
            asked=asked,
            classes=TEN,
            rng=rng,
        )
        kept = figures.load(tmp_path)
        assert (tmp_path / "figures.npz").stat().st_size < 2_000_000
        assert len(kept.rows) == figures.SAMPLE
        assert {row for _, row, _ in asked} <= set(kept.rows.tolist())
        assert len(kept.thumbnails) <= figures.THUMBNAILS
        assert np.bincount(kept.thumbnail_round).tolist() == [66] * 2 + [67] * 4
        height, width = kept.thumbnails.shape[2:]
        assert max(height, width) <= figures.SIDE
        assert height / width == pytest.approx(96 / 64, rel=0.1)
        assert kept.embedding.shape == (4000, 32)
        assert np.abs(kept.embedding).max() <= 1.0

    def test_first_axes_hold_the_most_variance(self, tmp_path):
        rng = np.random.default_rng(1)
        x = rng.normal(size=(300, 40)) * np.linspace(5, 0.01, 40)
        figures.keep_stage(tmp_path, Snapshot.from_arrays(embedding=x), np.random.default_rng(0))
        (stage,) = figures.load_stages(tmp_path)
        x = x - x.mean(axis=0)
        values = np.linalg.svd(x, compute_uv=False)[:32]
        own = np.linalg.norm(stage.embedding, axis=0)
        assert own / own[0] == pytest.approx(values / values[0], abs=2e-3)  # half precision

    @pytest.mark.parametrize("channels", [0, 1, 3])
    def test_every_kind_of_pool(self, tmp_path, channels):
        kept = figures.load(make_run(tmp_path / "r", channels=channels))
        assert len(kept.thumbnails) == (15 if channels else 0)

    def test_names_survive_as_they_are(self, tmp_path):
        assert figures.load(make_run(tmp_path / "r", classes=NASTY)).classes == NASTY

    def test_wrong_shapes_are_refused(self, tmp_path):
        make = {"snapshot": None, "pool": FakePool(4), "classes": TEN, "asked": []}
        make["rng"] = np.random.default_rng(0)
        with pytest.raises(InputError, match="truth has shape"):
            figures.collect(tmp_path, truth=np.zeros(3), predicted=None, **make)
        with pytest.raises(InputError, match="row 4 was asked of a pool of 4"):
            figures.collect(tmp_path, truth=None, predicted=None, **{**make, "asked": [(0, 4, "")]})
        assert list(tmp_path.iterdir()) == []

    def test_no_file_and_a_damaged_file(self, tmp_path):
        assert figures.load(tmp_path) is None
        (tmp_path / "figures.npz").write_bytes(b"PK no archive")
        with pytest.raises(RunFolderError, match="cannot be read"):
            figures.load(tmp_path)

    def test_stages_keep_the_same_rows(self, tmp_path):
        rng = np.random.default_rng(0)
        for round_ in range(5):
            snapshot = Snapshot.from_arrays(embedding=rng.normal(size=(1500, 4)), round=round_)
            figures.keep_stage(tmp_path, snapshot, np.random.default_rng(7))
        stages = figures.load_stages(tmp_path)
        assert [stage.round for stage in stages] == [0, 2, 4]
        assert all((stage.rows == stages[0].rows).all() for stage in stages)
        assert stages[0].embedding.shape == (800, 4)
        (tmp_path / "stages" / "stage-0004.npz").write_bytes(b"no")
        with pytest.raises(RunFolderError, match=r"stage-0004\.npz"):
            figures.load_stages(tmp_path)

    def test_a_learner_without_embedding_leaves_no_stage(self, tmp_path):
        figures.keep_stage(
            tmp_path, Snapshot.from_arrays(known=np.zeros(5)), np.random.default_rng(0)
        )
        assert figures.load_stages(tmp_path) == []


class TestLook:
    def test_classes_differ_in_colour_or_pattern(self):
        looks = [class_look(i) for i in range(21)]
        assert len(set(looks)) == 21
        assert looks[0] == ("#0072b2", 0)
        assert looks[7] == ("#0072b2", 1)
        assert class_look(21) == class_look(-1) == (LINE, 0)
        assert len(CLASS_COLOURS) == 7

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("cat", "cat"),
            ("a\nb\rc\td", "a↵b↵c d"),
            ("x\udc80\udcff", "x%80%FF"),
            ("\ud800\x00\x1b\ufffe\u202e", "\ufffd" * 5),
            (3, "3"),
        ],
    )
    def test_any_name_is_one_printable_line(self, name, line):
        assert shown(name) == line

    def test_long_names_are_cut_in_the_middle(self):
        assert shown("a" * 40 + "b" * 40, 21) == "a" * 13 + "…" + "b" * 7
        assert len(shown("x" * 1000)) == 60

    @pytest.mark.parametrize("name", NASTY)
    def test_svg_is_well_formed_whatever_the_text(self, name):
        with drawing():
            figure = canvas(540, 340)
            figure.add_subplot().set_title(shown(name))
        svg = to_svg(figure, key="k", label=name)
        texts = [e.text for e in ElementTree.fromstring(svg).iter("text")]
        assert shown(name).strip() in [(t or "").strip() for t in [*texts, ""]]

    def test_theme_colours_become_variables(self):
        with drawing():
            figure = canvas(200, 100)
            figure.add_subplot().plot([0, 1], color=ACCENT)
        svg = to_svg(figure, key="k7", label="a line")
        assert "stroke: var(--accent)" in svg
        assert ACCENT not in svg
        assert "font-family" not in svg
        assert "DejaVu" not in svg
        assert set(re.findall(r'\bid="(\w+)-', svg)) == {"k7"}
        assert "<style" not in svg

    def test_matplotlib_and_random_states_are_left_alone(self, run, tmp_path):
        render([run], tmp_path / "r.html")  # a first import of rich draws from random by itself
        settings, state = matplotlib.rcParams.copy(), random.getstate()
        # the global state itself is what is tested here, hence NPY002 is off
        numbers = np.random.get_state()[1].copy()  # noqa: NPY002
        render([run], tmp_path / "r.html")
        assert matplotlib.rcParams.copy() == settings
        assert random.getstate() == state
        assert (np.random.get_state()[1] == numbers).all()  # noqa: NPY002
        assert "matplotlib.pyplot" not in sys.modules

    def test_the_short_font_of_older_matplotlibs_loses_its_family_as_well(self):
        style = _style("font: 700 11px 'DejaVu Sans', sans-serif; fill: #16181D; ; opacity: 0.5")
        assert style == "font-size: 11px; font-weight: 700; fill: var(--text); opacity: 0.5"


class TestRuns:
    def test_numbers_and_words(self):
        table = Table({"a": ["1", "", "x"], "b": ["", "", ""]})
        assert table.numbers("a")[0] == 1.0
        assert np.isnan(table.numbers("a")[1:]).all()
        assert table.words("c") == ["", "", ""]
        assert table.has("a")
        assert not table.has("b")

    def test_seeds_are_gathered_and_averaged(self, tmp_path):
        runs = [load(make_run(tmp_path / f"s{s}", seed=s)) for s in range(3)]
        runs.append(load(make_run(tmp_path / "other", name="margin")))
        groups = group(runs)
        assert [one.title for one in groups] == ["ccl-student", "margin"]
        xs, mean, spread = groups[0].curve("accuracy_unlabelled")
        assert xs.tolist() == [5, 10, 15]
        assert mean == pytest.approx([0.51, 0.71, 0.81])
        assert spread == pytest.approx([0.01] * 3)  # sd of .00, .01, .02 with n - 1
        assert np.isnan(groups[1].curve("accuracy_unlabelled")[2]).all()

    def test_only_shared_label_counts_are_averaged(self, tmp_path):
        short = load(make_run(tmp_path / "a", rounds=2, seed=1))
        long = load(make_run(tmp_path / "b", rounds=3, seed=0))
        (one,) = group([short, long])
        assert one.curve("accuracy_unlabelled")[0].tolist() == [5, 10]

    def test_equal_names_are_told_apart(self, tmp_path):
        a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
        recipe = (b / "recipe.toml").read_text()
        (b / "recipe.toml").write_text(recipe.replace("1e-3", "1e-2"))
        titles = [one.title for one in group([load(a), load(b)])]
        assert titles == ["ccl-student (a)", "ccl-student (b)"]

    def test_metric_is_one_that_all_runs_have(self, tmp_path):
        a = load(make_run(tmp_path / "a"))
        bare = tmp_path / "b.csv"
        bare.write_text("labels,accuracy_test,acc_all\n5,.5,.6\n10,.6,.7\n")
        assert common_metric([a]) == "accuracy_unlabelled"
        assert common_metric([load(bare)]) == "accuracy_test"
        assert common_metric([a, load(bare)]) == "accuracy_unlabelled"  # nothing shared
        assert common_metric([]) is None

    def test_no_run_folder(self, tmp_path):
        with pytest.raises(RunFolderError, match="is no run folder"):
            load(tmp_path)

    def test_damaged_files_cost_their_own_part(self, tmp_path):
        run = make_run(tmp_path / "r")
        for name in ("run.json", "recipe.toml", "figures.npz"):
            (run / name).write_bytes(b"\xff{ not this")
        loaded = load(run)
        assert len(loaded.problems) == 3
        page = read_page(render([run]))
        assert "figures.npz cannot be read" in page.text
        assert "80.0 %" in page.text


class TestCurves:
    def test_gain_per_label(self, run):
        xs, bought, points = curves.gain_per_label(load(run), "accuracy_unlabelled")
        assert xs.tolist() == [10, 15]
        assert bought.tolist() == [5, 5]
        assert points == pytest.approx([20 / 5, 10 / 5])

    def test_learning_curve_shows_percent(self, run):
        figure = curves.learning_curve([load(run)], baselines=[load(run)])
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
        assert [line.get_ydata().tolist() for line in lines] == [[50.0, 70.0, 80.0]] * 2
        assert figure.axes[0].get_ylabel() == "accuracy on the images not bought (%)"

    def test_names_at_the_ends_do_not_touch(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            values = rng.uniform(0, 10, 6).tolist()
            placed = sorted(curves._spread(values, 1.0, 0.0, 10.0))
            assert min(b - a for a, b in pairwise(placed)) >= 1.0 - 1e-9
            assert placed[-1] <= 10.0 + 1e-9
        assert curves._spread([1.0, 5.0], 1.0, 0.0, 10.0) == [1.0, 5.0]

    def test_training_is_drawn_as_logged(self, run):
        quality, losses = curves.training_quality(load(run)), curves.training_losses(load(run))
        acc = next(line for line in quality.axes[0].lines if line.get_label() == "ACC")
        assert acc.get_ydata() == pytest.approx([50, 51, 52, 53] * 3)
        assert [t.get_text() for t in losses.axes[0].get_legend().get_texts()] == ["reconstruction"]
        starts = [line for line in losses.axes[0].lines if line.get_zorder() == 0]
        assert [line.get_xdata()[0] for line in starts] == [4.5, 8.5]
        assert losses.axes[0].get_yscale() == "log"

    def test_losses_of_rounds_are_shares_of_their_first(self, tmp_path):
        run = make_run(tmp_path / "r")
        text = "round,labels,loss_rec,loss_ccl,loss_total,loss_odd\n1,5,.2,2,2.2,0\n2,9,.1,,1,1\n"
        (run / "rounds.csv").write_text(text + "3,12,.05,3,3,1\n")
        lines = curves.losses_by_round(load(run)).axes[0].lines
        assert [line.get_label() for line in lines] == ["reconstruction", "contrastive"]
        assert [line.get_ydata().tolist() for line in lines] == [[1, 0.5, 0.25], [1, 1.5]]
        (run / "rounds.csv").write_text(text[:60])
        assert curves.losses_by_round(load(run)) is None

    @pytest.mark.parametrize("kind", ["pdf", "png", "svg"])
    def test_figures_stand_alone_in_a_paper(self, tmp_path, kind):
        run = load(make_run(tmp_path / "r", classes=NASTY))
        drawn = (
            curves.learning_curve([run]), curves.label_cost(run), curves.training_losses(run),
            maps.latent_map(run.figures), maps.confusion_matrix(run.figures),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            for place, figure in enumerate(drawn):
                path = tmp_path / f"{place}.{kind}"
                figure.savefig(path)
                assert path.stat().st_size > 2000

    def test_nothing_logged_draws_nothing(self, tmp_path):
        run = make_run(tmp_path / "r")
        (run / "training.csv").unlink()
        assert curves.training_quality(load(run)) is None
        assert curves.training_losses(load(run)) is None


class TestMaps:
    def test_same_seed_same_map_that_keeps_groups(self):
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(3), 40)
        x = rng.normal(size=(120, 6)) + 12 * np.eye(6)[labels]
        xy = maps.layout(x, 3)
        assert (xy == maps.layout(x, 3)).all()
        distance = ((xy[:, None] - xy[None]) ** 2).sum(axis=2)
        np.fill_diagonal(distance, np.inf)
        assert (labels[distance.argmin(axis=1)] == labels).all()

    @pytest.mark.parametrize(
        "x",
        [np.ones((50, 4)), np.arange(6.0).reshape(3, 2), np.arange(4.0).reshape(4, 1),
         np.zeros((1, 5)), np.repeat(np.eye(3), 20, axis=0)],
    )  # fmt: skip
    def test_degenerate_embeddings(self, x):
        xy = maps.layout(x)
        assert xy.shape == (len(x), 2)
        assert np.isfinite(xy).all()

    def test_few_columns_are_shown_as_they_are(self):
        x = np.random.default_rng(0).normal(size=(40, 2))
        assert (maps.layout(x) == x).all()

    @pytest.mark.parametrize(
        ("counts", "spans"),
        [
            ([5, 5, 5], [(0, 0), (1, 1), (2, 2)]),
            ([5, 0, 5], [(0, 0), (2, 2)]),
            ([1] * 8, [(0, 1), (2, 3), (4, 4), (5, 5), (6, 6), (7, 7)]),
            ([0], []),
        ],
    )
    def test_stages(self, counts, spans):
        assert maps.stages(np.array(counts)) == spans

    def test_rings_mark_what_was_asked_then(self, run):
        kept = figures.load(run)
        drawn = maps.latent_panels(kept)
        assert [len(p.axes[0].lines[1].get_xdata()) for p in drawn] == [5, 5, 5]
        assert [len(p.axes[0].lines[0].get_xdata()) for p in drawn] == [0, 5, 10]
        together = maps.latent_map(kept)
        assert [axes.get_title(loc="left") for axes in together.axes] == [
            "first question: 5 asked", "question 1: 5 asked", "question 2: 5 asked",
        ]  # fmt: skip

    @pytest.mark.parametrize("class_id", [0, 8, 15])
    def test_every_sign_leaves_ink_in_a_bitmap(self, class_id):
        colour, pattern = class_look(class_id)
        figure = Figure(figsize=(100 / 72, 100 / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 100), ylim=(0, 100))
        axes.axis("off")
        xy = np.random.default_rng(0).uniform(10, 90, (5, 2))
        axes.add_patch(maps._dots(xy, colour, pattern, 4.0, 1.0))
        file = io.BytesIO()
        figure.savefig(file, dpi=72, facecolor="white")
        pixels = np.asarray(Image.open(file).convert("L"))
        for x, y in xy:
            near = pixels[99 - int(y) - 2 : 99 - int(y) + 3, int(x) - 2 : int(x) + 3]
            assert near.min() < 200

    def test_thin_keeps_what_was_asked(self, run):
        kept = figures.load(run)
        few = maps.thin(kept, points=20)
        assert len(few) == 20
        assert set(np.flatnonzero(kept.asked_round >= 0)) <= set(few.tolist())
        assert len(maps.thin(kept, points=7)) == 7

    def test_growth_needs_two_stages(self, tmp_path):
        run, rng = make_run(tmp_path / "r"), np.random.default_rng(0)
        for round_ in range(2):
            snapshot = Snapshot.from_arrays(embedding=rng.normal(size=(60, 3)), round=round_)
            figures.keep_stage(run, snapshot, np.random.default_rng(1))
            drawn = maps.growth_panels(load(run).figures, load(run).stages)
            assert len(drawn) == (0, 2)[round_]
        assert "How the latent space took shape" in read_page(render([run])).text

    @pytest.mark.parametrize("c", [1, 10, 30, 60])
    def test_confusion_matrix_of_any_size(self, tmp_path, c):
        run = make_run(tmp_path / "r", classes=tuple(f"class {i}" for i in range(c)))
        kept = figures.load(run)
        axes = maps.confusion_matrix(kept).axes[0]
        written = sum(int(t.get_text()) for t in axes.texts)
        assert written == (kept.confusion.sum() if c <= 20 else 0)
        assert len(axes.images) == (c > 40)


class TestPage:
    def test_headline_is_the_last_figure_with_its_interval(self, run):
        page = read_page(render([run]))
        assert "80.0 %from 15 labels of 60 images" in page.text
        low, high = wilson(36, 45)
        assert f"(n = 45); 95 % interval {100 * low:.1f} to {100 * high:.1f} %" in page.text
        for word in ("transductive", "One seed shows no spread", "61 s"):
            assert word in page.text
        assert page.tags.count("img") == 15
        assert "No run with random queries was given" in page.text

    def test_a_baseline_inside_the_folder_stands_beside(self, tmp_path):
        run = make_run(tmp_path / "r")
        text = "labels,accuracy_unlabelled\n5,0.4\n10,0.5\n15,0.75\n"
        (run / "baseline.csv").write_text(text)
        page = read_page(render([run]))
        assert "At 15 labels this is 5.0 points above random queries (75.0 %)" in page.text
        assert "Dashed: the same learner with random queries." in page.text
        make_run(run / "baseline-seed1", accuracy=(0.4, 0.5, 0.9), name="ccl-random")
        (run / "baseline.csv").unlink()
        assert "10.0 points below random queries" in read_page(render([run])).text

    def test_several_seeds_and_settings(self, tmp_path):
        runs = [make_run(tmp_path / f"s{s}", seed=s) for s in range(3)]
        runs += [make_run(tmp_path / "m", name="margin", accuracy=(0.4, 0.5, 0.6))]
        out = render(runs)
        assert out == tmp_path / "comparison.html"
        page = read_page(out)
        assert "mean of 3 seeds, standard deviation 1.00 points" in page.text
        assert "81.0 ± 1.00 at 15" in page.text
        assert "60.0 at 15" in page.text
        assert "95 % interval" not in page.text

    @pytest.mark.parametrize(
        "options",
        [
            {"truth": False},
            {"rounds": 1, "accuracy": (0.3,)},
            {"rounds": 0},
            {"classes": ("only",)},
            {"channels": 0},
            {"channels": 3},
            {"embedding": 0},
            {"embedding": 1},
            {"truth": False, "channels": 0, "embedding": 0},
            {"n": 15},
            {"classes": tuple(f"class {i}" for i in range(150))},
        ],
        ids=lambda options: ",".join(f"{k}={str(v)[:12]}" for k, v in options.items()),
    )
    def test_whatever_a_run_lacks(self, tmp_path, options):
        page = read_page(render([make_run(tmp_path / "r", **options)]))
        assert not re.search(r"\bnan\b", page.text)
        assert ("no truth to score by" in page.text) == (
            options.get("truth") is False or options.get("rounds") == 0
        )
        assert ("there is no picture" in page.text) == (options.get("channels") == 0)
        assert ("left no embedding" in page.text) == (options.get("embedding") == 0)

    def test_names_are_data(self, tmp_path):
        run = make_run(tmp_path / "r", classes=NASTY, name="<i>&amp;{n}</i>")
        facts = {"data": NASTY[0], "command": 'x "<img src=http://a onerror=b>"', "odd": NASTY[3]}
        (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
        (run / "recipe.toml").write_text('name = "</pre><script>"\n', encoding="utf-8")
        page = read_page(render([run]))
        assert page.tags.count("i") == 15 + len(NASTY)  # bars and swatches, none from a name
        for name in NASTY:
            assert shown(name, 40) in page.text
        assert 'x "<img src=http://a onerror=b>"' in page.text
        assert "</pre><script>" in page.text

    def test_the_protocol_says_what_was_done(self, tmp_path):
        run = make_run(tmp_path / "r")
        facts = {
            "images": 12345, "seed": 20260101, "versions": {"torch": "2.13", "numpy": "2"},
            "broken_files": {"a <b>.png": "cut short"}, "class_names": ["hidden"], "odd": True,
            "rate": 0.25, "empty": "", "test_images": 0,
        }  # fmt: skip
        (run / "run.json").write_text(json.dumps(facts))
        options = "".join(f"option{i} = {i}\n" for i in range(9))
        (run / "recipe.toml").write_text(
            f'name = "x"\n[learner]\nname = "ccl"\n{options}[query]\nname = "random"\nk = 3\n'
        )
        page = read_page(render([run]))
        for entry in (
            "images in the pool12,345", "seed20260101", "versionstorch 2.13, numpy 2", "oddyes",
            "rate0.25", "learnerccl: 9 settings, in the whole recipe below", "queryrandom: k 3",
            "1 unreadable images, left out", "a <b>.png: cut short", "option8 = 8",
            "images held back for the test0",
        ):  # fmt: skip
            assert entry in page.text, entry
        assert "hidden" not in page.text.partition("</style>")[2]
        assert "were chosen, not drawn at random" not in page.text

    def test_same_files_same_page(self, run, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first = render([run], tmp_path / "a.html").read_bytes()
            second = render([run], tmp_path).read_bytes()
        assert first == second
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "report.html"]

    def test_no_run_at_all(self):
        with pytest.raises(InputError, match="no run was given"):
            render([])

    def test_a_table_of_many_classes_starts_folded(self, tmp_path):
        run = make_run(tmp_path / "r", classes=tuple(f"c{i}" for i in range(31)))
        assert "Table of 31 classes" in read_page(render([run])).text

    def test_tile_of_an_image_nobody_answered(self, tmp_path):
        figures.collect(
            tmp_path,
            snapshot=Snapshot.from_arrays(known=np.full(4, -1)),
            pool=FakePool(4),
            truth=None,
            predicted=None,
            asked=[(0, 1, "difficult")],
            classes=TEN,
            rng=np.random.default_rng(0),
        )
        sheet = sheets.contact_sheet(figures.load(tmp_path))
        assert 'title="no answer, difficult"' in sheet
        assert "--c:transparent" in sheet

    def test_thumbnails_decode_to_what_was_stored(self, run):
        kept = figures.load(run)
        data = sheets.png(kept.thumbnails[0]).partition(",")[2]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert (pixels == kept.thumbnails[0, 0]).all()
        assert math.prod(pixels.shape) == 64


@pytest.mark.parametrize(("n", "d"), [(40, 90), (90, 70)])
def test_the_first_axes_are_those_of_the_singular_values(n: int, d: int) -> None:
    """A photo has more pixels than a report has rows: d x d would not fit."""
    from handful.report.figures import _first_axes

    x = np.random.default_rng(0).normal(size=(n, d)) * np.linspace(1, 3, d)
    x -= x.mean(axis=0)
    u, lengths, _ = np.linalg.svd(x, full_matrices=False)
    found = _first_axes(x)
    expected = (u * lengths)[:, : found.shape[1]]
    assert np.abs(np.abs(found) - np.abs(expected)).max() < 1e-9  # an axis has no sign
