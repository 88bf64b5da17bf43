"""ProbCover: worked numbers, the radius and the greedy cover against loops over all pairs."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from math import dist

import numpy as np
import pytest

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.geometry import Balls, ball_union, neighbour_radius, pure_radius
from handful.queries import ProbCover, probcover
from handful.registry import QUERIES
from handful.rng import rng_for
from handful.types import Array, Snapshot

LINE = np.array([0, 0.125, 0.25, 0.5, 1, 1.125, 1.25, 3])[:, None]
GROUPS = np.array([0, 0, 0, 1, 1, 1, 1, 2])


def unit(n: int, d: int = 5, seed: int = 0) -> Array:
    return geometry.unit_rows(rng_for(seed, None, "test").normal(size=(n, d)))


def known(n: int, *rows: int) -> Array:
    out = np.full(n, -1)
    out[list(rows)] = 0
    return out


def apart(x: Array) -> Array:
    """All distances, (n, n): these pools are small."""
    d: Array = np.sqrt(((x[:, None].astype(float) - x) ** 2).sum(axis=2))
    return d


def counted(x: Array, radius: float, covered: Array) -> list[int]:
    """The definition: |B(i) \\ C| of every row, pair by pair."""
    return [sum(dist(a, b) < radius and not c for b, c in zip(x, covered, strict=True)) for a in x]


# --- worked numbers


def test_degrees_on_a_line() -> None:
    assert Balls(LINE, 0.25).gain.tolist() == [2, 3, 2, 1, 2, 3, 2, 1]
    wide = Balls(LINE, np.nextafter(0.25, 1))  # as it would be with <=
    assert wide.gain.tolist() == [3, 3, 4, 2, 3, 3, 3, 1]


def test_picks_on_a_line() -> None:
    rule = ProbCover(delta=0.25, normalise="none", ties="index")
    picks = rule.select(Snapshot.from_arrays(embedding=LINE), 5, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == [1, 5, 3, 7, 0]
    assert picks.memo == {"delta": 0.25, "coverage": [0, 0.375, 0.75, 0.875, 1, 1]}
    labelled = Snapshot.from_arrays(embedding=LINE, known=known(8, 4))
    picks = rule.select(labelled, 3, rng_for(0, 0, "query"))
    assert picks.rows.tolist() == [1, 3, 5]
    assert picks.memo["coverage"] == [0.25, 0.625, 0.75, 0.875]


def test_purity_on_a_line() -> None:
    e = [min(abs(a - b) for b, h in zip(LINE[:, 0], GROUPS, strict=True) if h != g)
         for a, g in zip(LINE[:, 0], GROUPS, strict=True)]  # fmt: skip
    assert e == [0.5, 0.375, 0.25, 0.25, 0.75, 0.875, 1, 1.75]
    purity = {r: np.mean([r <= one for one in e]) for r in (0.25, 0.375, 0.5, 1)}
    assert purity == {0.25: 1, 0.375: 0.75, 0.5: 0.625, 1: 0.25}
    assert pure_radius(LINE, GROUPS, 0.95) == 0.25
    assert pure_radius(LINE, GROUPS, 0.75) == 0.375
    ten = np.arange(10.0)[:, None] ** 2  # (1 - 0.9) * 10 is below 1 in floating point
    assert pure_radius(ten, np.arange(10), 0.9) == 1.0


# --- the fast forms against the definitions


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("edges", [geometry.BLOCK_BYTES, 10, 0])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
def test_counts_are_the_same_with_and_without_a_graph(seed: int, edges: int, share: float) -> None:
    x, covered = unit(60, seed=seed), rng_for(seed, None, "covered").random(60) < share
    balls = Balls(x, 0.7, covered, edges=edges)
    assert (balls._graph is None) is (edges < 1000 or share == 1), "nothing is left to be gained"
    for row in (3, 41, 41, 8):
        assert balls.gain.tolist() == counted(x, 0.7, balls.covered)
        before, ball = balls.covered.copy(), balls.ball(row)
        assert ball.tolist() == [j for j in range(60) if dist(x[row], x[j]) < 0.7]
        assert balls.cover(row).tolist() == [j for j in ball if not before[j]]
    assert balls.gain.tolist() == counted(x, 0.7, balls.covered)


def test_counts_over_several_tiles() -> None:
    x = unit(2500, 3)
    d = apart(x)
    graph, free = Balls(x, 0.2), Balls(x, 0.2, edges=0)
    most = np.arange(2500) % 4 > 0
    rest = Balls(x, 0.2, most)
    assert np.array_equal(rest.gain, ((d < 0.2) & ~most).sum(axis=1))
    assert rest.cover(2400).tolist() == np.flatnonzero((d[2400] < 0.2) & ~most).tolist()
    assert np.array_equal(rest.gain, ((d < 0.2) & ~rest.covered).sum(axis=1))
    for balls in (graph, free):
        assert np.array_equal(balls.gain, (d < 0.2).sum(axis=1))
        balls.cover(2400)
        balls.cover(17)
        assert np.array_equal(balls.covered, (d[[17, 2400]] < 0.2).any(axis=0))
        assert np.array_equal(balls.gain, ((d < 0.2) & ~balls.covered).sum(axis=1))
    radii = np.array([0.1, 0.3])
    assert np.array_equal(
        ball_union(x, np.array([5, 2000]), radii), (d[[5, 2000]] < radii[:, None]).any(axis=0)
    )
    labels = rng_for(0, None, "labels").integers(0, 3, 2500)
    labels[x[:, 0] > 0] += 3
    e = np.where(labels[:, None] == labels, np.inf, d).min(axis=1)
    assert pure_radius(x, labels, 0.9) == pytest.approx(np.sort(e)[250], abs=1e-15)


def test_the_test_is_strict_to_the_last_digit() -> None:
    """float32 cannot tell these pairs from the radius: float64 must."""
    angle = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    d = apart(x)
    for other in (1, 7, 100):
        assert np.array_equal(Balls(x, d[0, other]).gain, (d < d[0, other]).sum(axis=1))


def test_far_from_the_origin() -> None:
    x = LINE + 2.0**20  # dyadic: exact in float64, lost in float32 without centring
    assert Balls(x, 0.25).gain.tolist() == [2, 3, 2, 1, 2, 3, 2, 1]
    assert pure_radius(x, GROUPS, 0.95) == 0.25


def test_the_greedy_cover_is_never_far_from_the_best() -> None:
    """1 - 1/e of the largest coverage that any choice of the same size reaches."""
    for seed in range(5):
        x = unit(14, 2, seed)
        inside = np.array([[dist(a, b) < 0.6 for b in x] for a in x])
        best = max(inside[list(some)].any(axis=0).sum() for some in combinations(range(14), 3))
        rows = probcover(x, None, 3, delta=0.6, ties="index")
        assert inside[rows].any(axis=0).sum() >= (1 - 1 / np.e) * best


def test_the_distance_to_the_twentieth_neighbour() -> None:
    x = unit(90)
    d = np.sort(apart(x), axis=1)
    assert neighbour_radius(x, 20, rng_for(0, 0, "t")) == pytest.approx(np.median(d[:, 20]))
    few = np.sort(apart(x[:6]), axis=1)
    assert neighbour_radius(x[:6], 20, rng_for(0, 0, "t")) == pytest.approx(np.median(few[:, 5]))
    assert neighbour_radius(x[:1], 20, rng_for(0, 0, "t")) == geometry._balls.LEAST


# --- what other implementations get wrong


def test_other_features_are_looked_at_anew() -> None:
    rule = ProbCover(n_clusters=4)
    one, two = unit(80, seed=1), unit(80, seed=2)
    alone = rule.select(Snapshot.from_arrays(embedding=two), 6, rng_for(0, 0, "query"))
    rule.select(Snapshot.from_arrays(embedding=one), 6, rng_for(0, 0, "query"))
    again = rule.select(Snapshot.from_arrays(embedding=two), 6, rng_for(0, 0, "query"))
    assert (again.ids, again.memo) == (alone.ids, alone.memo)
    larger = Snapshot.from_arrays(embedding=unit(120, seed=3))
    assert len(rule.select(larger, 6, rng_for(0, 0, "query")).ids) == 6


def test_the_last_rows_have_balls_too() -> None:
    """Blocks that leave the rest out would never pick the largest ball here."""
    x = np.concatenate([np.eye(12)[:10], np.tile(np.eye(12)[11], (5, 1))]).astype(np.float32)
    assert probcover(x, None, 1, delta=0.5)[0] >= 10


def test_nobody_is_asked_twice_when_all_is_covered() -> None:
    rows = probcover(LINE, None, 7, delta=0.25, normalise="none", ties="index")
    assert rows.tolist()[:6] == [1, 5, 3, 7, 0, 2]
    assert len(set(rows.tolist())) == 7
    same = probcover(np.ones((9, 3)), known(9, 0), 5)
    assert len({*same.tolist(), 0}) == 6


def test_without_labels_delta_is_not_that_of_two_clusters() -> None:
    rng = rng_for(0, None, "groups")
    centres = rng.normal(size=(10, 16)) * 3
    x = centres[np.arange(400) % 10] + rng.normal(size=(400, 16)) * 0.3

    def delta(**options: object) -> float:
        rule = ProbCover(**options)  # type: ignore[arg-type]
        return float(
            rule.select(Snapshot.from_arrays(embedding=x), 5, rng_for(0, 0, "q")).memo["delta"]
        )

    assert delta() == delta(n_clusters=10)
    assert delta() != delta(n_clusters=2)


def test_the_scale_of_the_features_does_not_matter() -> None:
    rng = rng_for(0, None, "scale")
    x = rng.normal(size=(5, 8))[np.arange(200) % 5] + rng.normal(size=(200, 8)) * 0.2
    for normalise in ("l2", "none"):
        first = probcover(x, None, 8, normalise=normalise)  # type: ignore[arg-type]
        large = probcover(x * 1024, None, 8, normalise=normalise)  # type: ignore[arg-type]
        assert first.tolist() == large.tolist()


# --- what it does with little, or with much


def test_balls_that_hold_one_image_are_widened(caplog: pytest.LogCaptureFixture) -> None:
    x = unit(40, 30)
    rule = ProbCover(n_clusters=40)
    picks = rule.select(Snapshot.from_arrays(embedding=x), 4, rng_for(0, 0, "query"))
    assert "20th neighbour" in caplog.text
    d = np.sort(apart(x), axis=1)
    assert picks.memo["delta"] == pytest.approx(np.median(d[:, 20]))


def test_one_cluster_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert len(probcover(unit(30), None, 4, n_clusters=1)) == 4
    assert "no radius" in caplog.text


def test_a_large_pool_is_sampled() -> None:
    x = unit(600, 3)
    labelled = known(600, *range(0, 600, 5))
    free = labelled < 0
    rows = geometry.looked_at(free, ~free, 10, 100, rng_for(0, 0, "t"))
    assert len(rows) == 200
    assert int(free[rows].sum()) == 100
    rule = ProbCover(delta=0.3, reference=100)
    for k in (10, 150, 479):
        picks = rule.select(
            Snapshot.from_arrays(embedding=x, known=labelled), k, rng_for(0, 0, "q")
        )
        assert len(set(picks.ids)) == k
    whole = probcover(x, labelled, 10, delta=0.3, reference=600)
    assert whole.tolist() == probcover(x, labelled, 10, delta=0.3, reference=None).tolist()


def test_a_sample_loses_little() -> None:
    rng = rng_for(0, None, "loss")
    x = geometry.unit_rows(
        rng.normal(size=(8, 6))[np.arange(4000) % 8] + rng.normal(size=(4000, 6))
    )
    covered = {}
    for reference in (None, 1000):
        rows = probcover(x, None, 20, delta=0.8, reference=reference)
        covered[reference] = ball_union(x, rows, np.full(20, 0.8)).mean()
    assert covered[1000] > 0.9 * covered[None]


def test_the_graph_takes_18_bytes_a_pair() -> None:
    x = unit(2000, 8)
    tracemalloc.start()
    balls = Balls(x, 9.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert balls._graph.nnz == 2000**2
    assert peak < 18 * 2000**2 + 40e6  # and a few tiles


def test_memory_is_a_few_blocks() -> None:
    x = unit(6000, 8)
    tracemalloc.start()
    probcover(x, None, 10, delta=0.05)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # all distances would be 144 MB in float32


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delta": 0.0}, "a radius is above 0"),
        ({"purity": 0.0}, "a share above 0"),
        ({"purity": 1.1}, "up to 1"),
        ({"n_clusters": 0}, "at least one"),
        ({"reference": 0}, "at least one"),
        ({"normalise": "standard"}, "'l2' or 'none'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        QUERIES.get("probcover")(**options)


def test_input_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="NaN"):
        probcover(np.where(np.arange(20)[:, None] == 7, np.nan, unit(20)), None, 3)
    with pytest.raises(InputError, match="flatten"):
        Balls(np.zeros((2, 3, 3)), 1.0)
    with pytest.raises(InputError, match="one label a row"):
        pure_radius(LINE, GROUPS[:4], 0.95)
