"""From vectors to groups, suggestions, what to ask next, likely mistakes, a map and a model."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from worker_running import digits, png

from handful.book import LabelBook
from handful.errors import InputError
from handful.events import class_events
from handful.geometry import squared_distances
from handful.types import Event
from handful.worker import groups as grouping
from handful.worker.encoders import Strokes
from handful.worker.groups import Opinion, grouped
from handful.worker.kept import Kept
from handful.worker.map import drawn
from handful.worker.model import NONE, Answered, answered, learn, mistakes
from handful.worker.modelfile import ModelFile, Names, written
from handful.worker.order import BETWEEN, STANDS, UNLIKE, coverage, useful
from handful.worker.pictures import Listing
from handful.worker.space import Space, main_directions, space_of
from handful.worker.voice import Ear, Ended, Voice

WORDS = tuple("abcdefghij")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Space, np.ndarray, Kept]:
    """The space of all digits as the worker sees them, what they are, and their vectors."""
    pixels, truth = digits()
    small = np.ascontiguousarray(pixels[:, None, ::8, ::8])
    encoder = Strokes(True, 8, 8)
    n = len(truth)
    digests = np.random.default_rng(1).integers(0, 256, (n, 32), dtype=np.uint8)
    listing = Listing(
        "m",
        np.arange(n, dtype=np.int64) * 2 + 1,
        tuple(f"{i:04d}" for i in range(n)),
        digests,
        np.full((n, 2), 64, np.int32),
    )
    kept = Kept(tmp_path_factory.mktemp("kept"), encoder.about, encoder.width, "float16")
    kept.append(digests, encoder.encode(small))
    return space_of(listing, kept, np.full(n, -1, np.int32), encoder), truth, kept


def said_of(truth: np.ndarray, rows: Any, by_hand: bool = True) -> Answered:
    known = np.full(len(truth), -1, dtype=np.int64)
    known[rows] = truth[rows]
    hand = np.zeros(len(truth), dtype=bool)
    hand[rows] = by_hand
    return Answered(known, np.arange(10, dtype=np.int32), hand)


def drawn_rows(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(n, k, replace=False)


class TestSpace:
    def test_main_directions_are_those_of_the_covariance(self) -> None:
        v = np.random.default_rng(0).normal(size=(300, 20)) @ np.diag(np.linspace(3, 0.1, 20))
        unit = v / np.linalg.norm(v, axis=1, keepdims=True)
        found = main_directions(v, 5)
        values = np.linalg.eigvalsh(np.cov(unit.T, bias=True))[::-1][:5]
        spread = ((unit - unit.mean(0)) @ found.P).var(axis=0)
        assert np.allclose(spread, values, rtol=1e-3)
        assert np.allclose(found.P.T @ found.P, np.eye(5), atol=1e-4)
        assert np.allclose(np.linalg.norm(found(v), axis=1), 1, atol=1e-5)
        again = main_directions(v[::-1], 5)
        assert np.allclose(again.P, found.P, atol=1e-3)  # signs are fixed

    def test_few_pictures_have_few_directions(self) -> None:
        v = np.random.default_rng(0).normal(size=(6, 50))
        found = main_directions(v)
        assert found.P.shape == (50, 5)
        assert np.allclose(found.P.T @ found.P, np.eye(5), atol=1e-4)
        assert main_directions(v[:1]).P.shape == (50, 1)

    def test_what_is_published_is_short_and_of_length_one(self, seen: Any) -> None:
        space, _, _ = seen
        assert space.vectors.shape == (1797, 64)
        assert space.vectors.dtype == np.float16
        assert np.allclose(np.linalg.norm(space.vectors.astype("f4"), axis=1), 1, atol=2e-3)

    def test_a_stack_is_asked_through_its_first(self, seen: Any) -> None:
        space, _, _ = seen
        stack = np.full(len(space), -1, np.int32)
        stack[[3, 5, 9]] = 3
        first = replace(space, stack=stack).first
        assert np.flatnonzero(~first).tolist() == [5, 9]


class TestGroups:
    def test_ten_pictures_an_action_and_few_wrong_tiles(self, seen: Any) -> None:
        """A key for each group of at most 6 wrong tiles and one for each of these."""
        space, truth, _ = seen
        found = grouped(space, np.ones(len(space), bool), None)
        members = np.split((found["rows"] - 1) // 2, found["starts"][1:-1])
        actions = labelled = wrong_tiles = 0
        for group in members:
            wrong = len(group) - int(np.bincount(truth[group]).max())
            actions += 1 + (wrong if wrong <= 6 else 0)
            labelled += len(group) - wrong if wrong <= 6 else 0
            wrong_tiles += wrong
        assert labelled / actions >= 15
        assert labelled / len(truth) >= 0.9
        assert wrong_tiles / len(truth) <= 0.04
        assert sorted(found["rows"].tolist()) == space.listing.rows.tolist()
        assert 20 <= len(members) <= 200

    def test_groups_that_settle_most_come_first(self, seen: Any) -> None:
        """Open pictures x purity x doubt: what is known well already is asked last."""
        space, truth, _ = seen
        groups = [np.flatnonzero(truth == c)[:30] for c in range(4)]
        groups[2] = groups[2][:10]
        purity = np.array([0.9, 0.8, 0.9, 0.9])
        free = np.ones(len(space), bool)
        assert grouping.turns(groups, purity, free, None).tolist() == [0, 3, 1, 2]
        free[groups[3][:25]] = False
        assert grouping.turns(groups, purity, free, None).tolist() == [0, 1, 2, 3]
        proba = np.full((len(space), 2), 0.5, dtype=np.float32)
        proba[groups[0]] = 0.99, 0.01
        proba[groups[2]] = 0.7, 0.3
        opinion = Opinion(proba, np.arange(2, dtype=np.int32))
        assert grouping.turns(groups, purity, free, opinion).tolist() == [1, 2, 3, 0]
        assert grouping.turns([], np.empty(0), free, opinion).tolist() == []

    def test_purity_counts_neighbours_within(self, seen: Any) -> None:
        space, truth, _ = seen
        groups = [np.flatnonzero(truth == c) for c in (3, 8)]
        slow = [np.isin(space.near.ids[m], m).mean() for m in groups]
        assert grouping.purities(space, groups) == pytest.approx(slow)

    def test_typical_first_and_the_largest_and_purest_groups_first(self, seen: Any) -> None:
        space, _, _ = seen
        found = grouped(space, np.ones(len(space), bool), None)
        members = np.split((found["rows"] - 1) // 2, found["starts"][1:-1])
        worth = [len(m) * p for m, p in zip(members, found["purity"], strict=True)]
        assert (np.diff(worth) <= 1e-4).all()
        for group in members[:5]:
            centre = space.smooth[group].mean(axis=0)
            assert (np.diff(space.smooth[group] @ centre) <= 1e-6).all()
        for a, b in found["near"]:
            assert 0 <= a < b < len(members)

    def test_an_opinion_gives_the_likely_class(self, seen: Any) -> None:
        space, truth, _ = seen
        proba = np.eye(10, dtype=np.float32)[truth]
        ids = np.arange(10, 20, dtype=np.int32)
        found = grouped(space, np.arange(len(space)) < 600, Opinion(proba, ids))
        members = np.split((found["rows"] - 1) // 2, found["starts"][1:-1])
        for k, group in enumerate(members):
            counts = np.bincount(truth[group], minlength=10)
            assert counts[found["likely"][k] - 10] == counts.max()
            assert found["p"][k] == pytest.approx(counts.max() / len(group), abs=1e-5)
        assert (np.concatenate(members) < 600).all()
        sure = found["p"] >= 0.9
        for a, b in found["near"]:
            assert not (sure[a] and sure[b] and found["likely"][a] != found["likely"][b])

    def test_too_few_pictures_have_no_groups(self, seen: Any) -> None:
        space, _, _ = seen
        found = grouped(space, np.arange(len(space)) < 29, None)
        assert len(found["rows"]) == len(found["likely"]) == 0
        assert found["starts"].tolist() == [0]
        assert found["near"].shape == (0, 2)

    def test_no_group_is_too_large_for_a_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(grouping, "LARGEST", 50)
        x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
        parts = grouping._cut(np.arange(300), x)
        assert sorted(np.concatenate(parts).tolist()) == list(range(300))
        assert max(map(len, parts)) <= 50
        same = grouping._cut(np.arange(120), np.ones((120, 4), np.float32))
        assert max(map(len, same)) <= 50

    def test_many_pictures_start_from_a_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(grouping, "SAMPLE", 5)
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(8, 6)) * 10
        truth = rng.integers(0, 8, 400)
        x = (centres[truth] + rng.normal(size=(400, 6))).astype(np.float32)
        labels = grouping._clustered(x, 8)
        assert len({(a, b) for a, b in zip(labels.tolist(), truth.tolist(), strict=True)}) <= 12


class TestModel:
    def test_suggestions_are_right_and_know_how_sure(self, seen: Any) -> None:
        """Mean probability within 6 points of the share that is right; the surest almost all."""
        space, truth, _ = seen
        for k, least in ((40, 0.85), (150, 0.95)):
            rows = drawn_rows(len(truth), k)
            found = learn(space, said_of(truth, rows))
            free = np.setdiff1d(np.arange(len(truth)), rows)
            top, p = found.proba[free].argmax(axis=1), found.proba[free].max(axis=1)
            right = top == truth[free]
            assert right.mean() >= least
            assert abs(p.mean() - right.mean()) <= 0.06
            assert right[p >= 0.95].mean() >= 0.96
            assert np.allclose(found.proba.sum(axis=1), 1, atol=1e-4)
            assert found.loss[found.learner] == min(found.loss.values())

    def test_held_out_answers_never_saw_themselves(self, seen: Any) -> None:
        """An answer turned to nonsense changes what the others say, not what is said of it."""
        space, truth, _ = seen
        rows = np.sort(drawn_rows(len(truth), 80))
        plain = learn(space, said_of(truth, rows))
        turned = truth.copy()
        turned[rows[7]] = (truth[rows[7]] + 5) % 10
        other = learn(space, said_of(turned, rows))
        if plain.learner == other.learner and plain.temperature == other.temperature:
            assert np.allclose(plain.held[7], other.held[7], atol=1e-3)
        assert plain.held[7].argmax() == other.held[7].argmax()

    def test_near_duplicates_share_a_fold(self, seen: Any) -> None:
        space, _, _ = seen
        stack = np.full(len(space), -1, np.int32)
        stack[[2, 40, 900]] = 2
        from handful.worker import model

        fold = model._folds(replace(space, stack=stack))
        assert fold[2] == fold[40] == fold[900]
        assert np.bincount(fold, minlength=5).min() > 300

    def test_groups_weigh_no_more_than_what_was_looked_at_one_by_one(self, seen: Any) -> None:
        from handful.worker import model

        _, truth, _ = seen
        said = said_of(truth, np.arange(500), by_hand=False)
        said.by_hand[:50] = True
        weight = model._weights(said)
        assert weight[:50].sum() == pytest.approx(weight[50:].sum()) == 50
        said.by_hand[:50] = False
        assert (model._weights(said) == 1).all()

    def test_many_answers_are_thinned_class_by_class(self, seen: Any) -> None:
        from handful.worker import model

        space, truth, _ = seen
        said = said_of(truth, np.arange(1797), by_hand=False)
        said.by_hand[:30] = True
        chosen = model._some(space, said, said.rows, 200)
        assert len(chosen) == 200
        assert np.bincount(truth[chosen]).min() >= 15
        assert set(range(30)) <= set(chosen.tolist())

    def test_the_book_says_who_is_known_and_audits_are_not(self, seen: Any) -> None:
        space, _, _ = seen
        book = LabelBook(class_events(["x", "y", "z"]))
        for i, event in enumerate(
            [
                ("labelled", {"image": "0000", "class": 0}),
                ("labelled", {"image": "0001", "class": 1}),
                ("group_labelled", {"class": 2, "images": ["0002", "0003"]}),
                ("state_set", {"images": ["0004"], "state": "none"}),
                ("state_set", {"images": ["0005"], "state": "later"}),
                ("state_set", {"images": ["0006"], "state": "unsure"}),
                ("audit_answered", {"image": "0007", "class": 1}),
                ("class_merged", {"class": 0, "into": 1}),
            ]
        ):
            book.append([Event(event[0], f"e{i}", event[1])])
        found = answered(book, space)
        assert found.ids.tolist() == [1, 2, NONE]
        assert found.named()[:9].tolist() == [1, 1, 2, 2, NONE, -1, -1, -1, -1]
        assert found.by_hand[:5].tolist() == [True, True, False, False, True]
        assert not found.enough
        book.append([Event("class_archived", "gone", {"class": 2})])
        assert answered(book, space).ids.tolist() == [1, NONE]

    def test_a_class_of_one_answer_does_no_harm(self, seen: Any) -> None:
        space, truth, _ = seen
        rows = np.append(np.flatnonzero(truth == 0)[:9], np.flatnonzero(truth == 1)[0])
        known = np.full(len(truth), -1, dtype=np.int64)
        known[rows] = truth[rows]
        said = Answered(known, np.array([0, 1], np.int32), known >= 0)
        assert said.enough
        found = learn(space, said)
        assert np.isfinite(found.proba).all()
        assert found.held.shape == (10, 2)

    def test_three_in_a_hundred_flipped_answers_are_found(self, seen: Any) -> None:
        """80 % of them within the first twice as many."""
        space, truth, _ = seen
        rows = drawn_rows(len(truth), 1000, seed=4)
        flipped = rows[:30]
        wrong = truth.copy()
        wrong[flipped] = (truth[flipped] + 1 + np.arange(30) % 9) % 10
        said = said_of(wrong, rows)
        found = learn(space, said)
        none = np.zeros(len(truth), dtype=bool)
        at, label, to, score = mistakes(found, said, none)
        assert len(set(flipped.tolist()) & set(at[:60].tolist())) >= 24
        assert (np.diff(score) <= 1e-6).all()
        assert (label == wrong[at]).all()
        assert (to != label).all()
        assert (to[:20] == truth[at[:20]]).mean() >= 0.9
        kept = none.copy()
        kept[at[:3]] = True
        assert not set(at[:3].tolist()) & set(mistakes(found, said, kept)[0].tolist())

    def test_groups_with_flipped_answers_give_them_away_too(self, seen: Any) -> None:
        space, truth, _ = seen
        wrong = truth.copy()
        flipped = drawn_rows(len(truth), 54, seed=9)
        wrong[flipped] = (truth[flipped] + 3) % 10
        said = said_of(wrong, np.arange(len(truth)), by_hand=False)
        said.by_hand[:100] = True
        at = mistakes(learn(space, said), said, np.zeros(len(truth), bool))[0]
        assert len(set(flipped.tolist()) & set(at[:108].tolist())) >= 43


class TestOrder:
    def test_first_what_stands_for_most_then_what_is_between_two(self, seen: Any) -> None:
        space, truth, _ = seen
        few = said_of(truth, drawn_rows(len(truth), 20))
        free = few.known < 0
        order, reason, stands, covered = useful(space, few.known, free, learn(space, few))
        assert covered < 0.9
        assert len(set(order.tolist())) == len(order) == free.sum()
        assert free[order].all()
        assert set(reason[:50].tolist()) <= {STANDS, UNLIKE}
        assert stands.sum() == free.sum() - 200
        many = said_of(truth, drawn_rows(len(truth), 1500))
        found = learn(space, many)
        order, reason, stands, covered = useful(space, many.known, many.known < 0, found)
        assert covered >= 0.9
        assert (stands == 0).all()
        assert set(reason.tolist()) <= {BETWEEN, UNLIKE}
        two = np.sort(found.proba[order], axis=1)[:, -2:]
        gap = two[:, 1] - two[:, 0]
        assert gap[:40].mean() < gap[-40:].mean()
        assert (truth[order[:40]] != found.proba[order[:40]].argmax(1)).mean() > (
            truth[order[-40:]] != found.proba[order[-40:]].argmax(1)
        ).mean()

    def test_the_rules_are_those_of_the_registry(self, seen: Any) -> None:
        from handful.queries import margin, typiclust
        from handful.rng import rng_for

        space, truth, _ = seen
        said = said_of(truth, drawn_rows(len(truth), 20))
        order, *_ = useful(space, said.known, said.known < 0, learn(space, said))
        plain = typiclust(space.x, said.known, 200, rng=rng_for(0, None, "order/typiclust"))
        assert order[:200].tolist() == plain.tolist()
        many = said_of(truth, drawn_rows(len(truth), 1700))
        found = learn(space, many)
        order, *_ = useful(space, many.known, many.known < 0, found)
        first = margin(found.proba, 97, known=many.known, rng=rng_for(0, None, "order/margin"))
        assert sorted(order.tolist()) == sorted(first.tolist())
        assert order[0] == first[0]

    def test_of_close_neighbours_one_comes_first(self, seen: Any) -> None:
        space, truth, _ = seen
        said = said_of(truth, drawn_rows(len(truth), 1200))
        found = learn(space, said)
        order, *_ = useful(space, said.known, said.known < 0, found)
        x = space.x[order[:60]]
        d2 = squared_distances(x, x)
        np.fill_diagonal(d2, np.inf)
        assert np.sqrt(d2.min()) >= space.radius / 2 * 0.999

    def test_coverage_is_its_formula(self, seen: Any) -> None:
        """Slow twin: from neighbour to neighbour, whoever of two has the other among its ten."""
        space, _, _ = seen
        done = np.zeros(len(space), dtype=bool)
        done[[3, 500, 501]] = True
        free = ~done
        free[::3] = False
        near: list[set[int]] = [set() for _ in range(len(space))]
        for a, row in enumerate(space.near.ids.tolist()):
            for b in row:
                near[a].add(b)
                near[b].add(a)
        two = {3, 500, 501}
        for _ in range(2):
            two |= {b for a in two for b in near[a]}
        share = np.mean([at in two for at in np.flatnonzero(free)])
        assert 0 < share < 1
        assert coverage(space, done, free) == pytest.approx(share)
        assert coverage(space, done, np.zeros(len(space), bool)) == 1.0

    def test_before_any_answer_it_starts_with_the_typical(self, seen: Any) -> None:
        space, truth, _ = seen
        known = np.full(len(truth), -1, dtype=np.int64)
        order, reason, stands, covered = useful(space, known, known < 0, None)
        assert covered == 0
        assert len(order) == len(truth)
        assert set(reason[:200].tolist()) == {STANDS}
        assert np.bincount(truth[order[:40]], minlength=10).min() >= 1
        assert stands[:200].sum() == len(truth) - 200

    def test_a_stack_is_asked_once_and_stands_for_its_members(self, seen: Any) -> None:
        space, truth, _ = seen
        stack = np.full(len(space), -1, np.int32)
        stack[100:140] = 100
        known = np.full(len(truth), -1, dtype=np.int64)
        order, *_ = useful(replace(space, stack=stack), known, known < 0, None)
        assert not set(range(101, 140)) & set(order.tolist())


@pytest.fixture(scope="module")
def made(seen: Any) -> tuple[ModelFile, Any, Any]:
    space, truth, kept = seen
    said = said_of(truth, drawn_rows(len(truth), 150))
    learned = learn(space, said)
    card, weights = written(space, kept, said, learned, Names(WORDS))
    return ModelFile.read(json.dumps(card), weights), learned, said


class TestModelFile:
    def test_it_says_what_the_page_says(self, seen: Any, made: Any) -> None:
        _, truth, _ = seen
        file, learned, _ = made
        pixels, _ = digits()
        p, unlike = file.predict([png(one) for one in pixels[:300]])
        assert p.shape == (300, 10)
        assert np.allclose(p.sum(axis=1), 1, atol=1e-4)
        assert (p.argmax(1) == truth[:300]).mean() >= 0.93
        agree = (p.argmax(1) == learned.proba[:300].argmax(1)).mean()
        assert agree >= 0.93
        assert unlike.mean() <= 0.03
        assert [name for _, name in file.classes] == list(WORDS)

    def test_noise_and_other_things_are_unlike_anything_seen(self, made: Any) -> None:
        file, _, _ = made
        rng = np.random.default_rng(0)
        noise = [png(rng.integers(0, 255, (64, 64), dtype=np.uint8)) for _ in range(20)]
        stripes = np.tile(np.array([0, 255] * 32, np.uint8), (64, 1))
        _, unlike = file.predict([*noise, png(stripes)])
        assert unlike[:20].mean() >= 0.95
        assert unlike[20]

    def test_the_same_on_any_machine(self, made: Any) -> None:
        """Rounding of the encoder's numbers moves no probability by 1e-4."""
        file, _, _ = made
        v = file.vectors([png(one) for one in digits(50)[0]])
        near = v * (1 + 1e-7 * np.random.default_rng(0).normal(size=v.shape)).astype(np.float32)
        assert np.abs(file.judge(v)[0] - file.judge(near)[0]).max() < 1e-4

    def test_what_is_no_model_is_refused(self, made: Any) -> None:
        file, _, _ = made
        from safetensors.numpy import save

        whole = save(dict(file.arrays))
        with pytest.raises(InputError, match="no model"):
            ModelFile.read("{", whole)
        with pytest.raises(InputError, match="no model"):
            ModelFile.read(json.dumps(file.card), whole[:100])
        with pytest.raises(InputError, match="format"):
            ModelFile.read(json.dumps({**file.card, "format": 99}), whole)
        lacking = {name: a for name, a in file.arrays.items() if name != "W"}
        with pytest.raises(InputError, match="'W'"):
            ModelFile.read(json.dumps(file.card), save(lacking))

    def test_none_of_these_has_a_name(self) -> None:
        assert Names(WORDS).of(NONE) == "none of these"
        assert Names(WORDS).of(2) == "c"


class TestMap:
    def test_neighbours_stay_neighbours(self, seen: Any) -> None:
        space, truth, _ = seen
        steps: list[int] = []
        some = np.arange(600)
        rows, xy = drawn(space.x[some], steps.append)
        assert rows.tolist() == some.tolist()
        assert sum(steps) == 350
        assert xy.dtype == np.uint16
        assert xy.max() == 65_535
        d2 = squared_distances(xy.astype(float), xy.astype(float))
        np.fill_diagonal(d2, np.inf)
        near = d2.argsort(axis=1)[:, :5]
        assert (truth[some][near] == truth[some][:, None]).mean() >= 0.9
        again = drawn(space.x[some], lambda k: None)[1]
        assert np.array_equal(xy, again)

    def test_others_are_placed_among_landmarks(
        self, seen: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from handful.worker import map as maps

        space, truth, _ = seen
        monkeypatch.setattr(maps, "LANDMARKS", 200)
        monkeypatch.setattr(maps, "SHOWN", 500)
        rows, xy = drawn(space.x, lambda k: None)
        assert len(rows) == len(set(rows.tolist())) == 500
        d2 = squared_distances(xy.astype(float), xy.astype(float))
        np.fill_diagonal(d2, np.inf)
        assert (truth[rows][d2.argmin(axis=1)] == truth[rows]).mean() >= 0.7

    def test_a_handful_of_pictures_and_copies(self) -> None:
        x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
        rows, xy = drawn(x, lambda k: None)
        assert len(rows) == 5
        assert np.ptp(xy, axis=0).max() == 65_535
        assert len(drawn(x[:0], lambda k: None)[0]) == 0
        assert len(set(map(tuple, drawn(np.ones((30, 4), np.float32), lambda k: None)[1]))) == 1


class TestVoice:
    def test_lines_come_in_and_the_end_is_heard(self) -> None:
        left = threading.Event()
        import handful.worker.voice as voices

        lines = io.StringIO('{"seq": 1}\nhalf a li\n[1]\n{"images": 2, "complete": true}\n')
        original, voices.GRACE = voices.GRACE, 0.01
        try:
            ear = Ear(lines, left.set)
            heard: list[Any] = []
            with suppress(Ended):
                for _ in range(100):
                    for said in ear.said(0.05):
                        heard.append(said)  # noqa: PERF402 - the end comes in the middle
            assert heard == [{"seq": 1}, {"images": 2, "complete": True}]
            assert left.wait(5)
            for _ in range(2):
                with pytest.raises(Ended):
                    list(ear.said(1.0))
        finally:
            voices.GRACE = original

    def test_work_is_told_and_breathes(self) -> None:
        out, breaths = io.StringIO(), []
        voice = Voice(out)
        voice.breathe = lambda: breaths.append(1)
        with voice.work("map", "Drawing the map", 10) as work:
            work.advance(4)
            time.sleep(0.3)
            work.advance(1)
        with voice.task("x", 5) as task:
            task.advance(2)
        told = [json.loads(line)["task"] for line in out.getvalue().splitlines()]
        assert [t["done"] for t in told] == [0, 5, 10, 0, 5]
        assert {t["name"] for t in told} == {"map", "features"}
        assert len(breaths) == 3
        voice.log("pre-training", 1, rec=0.5)

    def test_time_left_comes_from_the_pace(self) -> None:
        from handful.worker.voice import Work

        work = Work(Voice(io.StringIO()), "map", "", 10, began=time.monotonic() - 20)
        assert work.eta is None
        work.done = 4
        assert work.eta == pytest.approx(30, rel=0.01)

    def test_nobody_who_reads_is_the_end(self) -> None:
        out = io.StringIO()
        out.close()
        with pytest.raises(Ended):
            Voice(out).say(published="map", rev=1)
