"""DCoM: cover the pool while the model knows little, ask where it hesitates once it knows more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import RecipeError
from handful.registry import register_query
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["DCoM", "agreeing_radii", "competence", "dcom", "ranks", "uncertainty"]

Ties = Literal["random", "index"]
Doubles = NDArray[np.float64]


@register_query("dcom")
@dataclass(frozen=True)
class DCoM:
    """Cover the pool with balls that fit what the model knows; the more is covered, ask by margin.

    Formula   r_i of the images labelled last: bisection for the radius at which a share of
              tau = 0.4 + 0.2 cov of the ball is predicted as y_i; cov = share of images in a
              labelled ball; S = (1 + exp(-k (1 - a))) / (1 + exp(-k (cov - a))); u = 1 - margin,
              scaled to [0, 1] over the pool; g = uncovered images within the mean of all r;
              the open image of largest S u + (1 - S) g / max g, its ball covered, b times.
    Needs     ``embedding``, ``proba``; keeps its radii in the memo.  Starts cold, as probcover.
    Cost      n^2 d products at most twice, in tiles, and 5 b n d for the radii.  Pairs within
              the mean radius are kept as by probcover.  Above ``reference`` images so many open
              ones take part.  Memory: at most 640 MB at 200,000 x 128, or at any n.
    Source    Mishal & Weinshall 2024, arXiv 2407.01804, Algorithms 1 and 2.
    When      From the first label to many, without choosing a rule for each.  Not where the
              embedding is learned anew each round: radii belong to one embedding.
    Here      u is scaled once a round; only open images are ranked; nothing is rounded.  The
              first radius is that of probcover, and whoever was labelled without being asked
              starts from it as well.  Equal ranks fall by a seeded permutation.

    Parameters
    ----------
    a : coverage at which margin and density weigh the same.
    steepness : k, how fast the one takes over from the other.
    tau : share of a ball that must agree, at no coverage, and what full coverage adds.
    most : largest radius, of unit vectors; others are measured by their median distance / 1.3.
    resolution : the bisection ends below it.
    delta : radius while there is no label; by ``purity`` when it is not given.
    purity : share of balls that must be pure, for delta.
    n_clusters : of delta's k-means; the number of classes, or 10 where there are fewer than 2.
    normalise : ``"l2"``: vectors of length 1; or ``"none"``.
    reference : images looked at, at most; all when it is none.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embedding", "proba"})
    cold: ClassVar[bool] = True
    name: ClassVar[str] = "dcom"

    a: float = 0.8
    steepness: float = 50.0
    tau: tuple[float, float] = (0.4, 0.2)
    most: float = 1.1
    resolution: float = 0.05
    delta: float | None = None
    purity: float = 0.95
    n_clusters: int | None = None
    normalise: Literal["l2", "none"] = "l2"
    reference: int | None = 50_000
    ties: Ties = "random"

    def __post_init__(self) -> None:
        for field in ("most", "resolution", "purity", "delta", "n_clusters", "reference"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise RecipeError(f"query.{field} is {value}: it must be above 0")
        if self.normalise not in ("l2", "none"):
            raise RecipeError(f"query.normalise is {self.normalise!r}: take 'l2' or 'none'")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        z = snapshot.part("embedding", self.name)
        p = snapshot.part("proba", self.name)
        free = np.flatnonzero(snapshot.open)
        if k >= len(free) or k <= 0:
            return snapshot.picks(free[: max(k, 0)], memo=_carried(snapshot.memo))
        rows = geometry.looked_at(snapshot.open, snapshot.known >= 0, k, self.reference, rng)
        x = geometry.unit_rows(z[rows]) if self.normalise == "l2" else np.asarray(z[rows])
        labelled = np.flatnonzero(snapshot.known[rows] >= 0)
        start = self._first_radius(x, snapshot, rng)
        if not len(labelled):
            balls, weight, radii = geometry.Balls(x, start), 0.0, {}
        else:
            radii = dict(_carried(snapshot.memo)["radii"])
            predicted = np.asarray(p[rows]).argmax(axis=1)
            found = self._radii(x, rows, labelled, predicted, snapshot, start)
            radii |= {snapshot.ids[rows[i]]: float(r) for i, r in zip(labelled, found, strict=True)}
            balls = geometry.Balls(x, float(found.mean()), geometry.ball_union(x, labelled, found))
            weight = competence(float(balls.covered.mean()), self.a, self.steepness)
        u = uncertainty(p)[rows]
        coverage = [float(balls.covered.mean())]
        chosen = self._greedy(balls, weight, u, snapshot.open[rows], labelled, k, rng)
        memo = {
            "radii": radii, "radius": balls.radius, "competence": weight,
            "coverage": [*coverage, float(balls.covered.mean())],
        }  # fmt: skip
        return snapshot.picks(rows[chosen], memo=memo)

    def _first_radius(self, x: Array, snapshot: Snapshot, rng: Generator) -> float:
        """Of a label without a radius: the last round's mean, or delta."""
        if (radius := _carried(snapshot.memo)["radius"]) is not None:
            return float(radius)
        if self.delta is not None:
            return self.delta
        classes = snapshot.n_classes if snapshot.n_classes > 1 else 10
        return geometry.ball_radius(x, self.n_clusters or classes, self.purity, rng)

    def _radii(
        self,
        x: Array,
        rows: Array,
        labelled: Array,
        predicted: Array,
        snapshot: Snapshot,
        start: float,
    ) -> Doubles:
        """The radius of every labelled row: as it was, or found now for those labelled last."""
        settled = _carried(snapshot.memo)["radii"]
        ids = [snapshot.ids[rows[i]] for i in labelled]
        radii = np.array([settled.get(one, start) for one in ids], dtype=np.float64)
        new = np.array([one not in settled for one in ids])
        if new.any():
            cov = float(geometry.ball_union(x, labelled, radii).mean())
            scale = 1.0 if self.normalise == "l2" else _spread(x) / 1.3
            radii[new] = agreeing_radii(
                x, labelled[new], predicted, snapshot.known[rows][labelled[new]],
                tau=self.tau[0] + self.tau[1] * cov,
                most=self.most * scale, resolution=self.resolution * scale,
            )  # fmt: skip
        return radii

    def _greedy(
        self,
        balls: geometry.Balls,
        weight: float,
        u: Doubles,
        free: Array,
        labelled: Array,
        k: int,
        rng: Generator,
    ) -> NDArray[np.int64]:
        free = free.copy()
        order = rng.permutation(len(free)) if self.ties == "random" else np.arange(len(free))
        chosen: list[int] = []
        while len(chosen) < k:
            left = np.flatnonzero(free)
            if not len(labelled) and not balls.gain[left].any():  # as probcover: the farthest
                far = geometry.k_center(
                    balls.screen.x,
                    np.array(chosen),
                    k - len(chosen),
                    rng,
                    free=free,
                    ties=self.ties,
                )
                return np.append(chosen, far.rows).astype(np.int64)
            rank = np.round(ranks(u[left], balls.gain[left], weight), 12)
            best = left[rank == rank.max()]
            row = int(best[order[best].argmin()])
            balls.cover(row)
            free[row] = False
            chosen.append(row)
        return np.array(chosen, dtype=np.int64)


def _carried(memo: Mapping[str, Any]) -> dict[str, Any]:
    """What the rounds before left: radii by id, and the radius of who was asked last."""
    return {"radii": dict(memo.get("radii", {})), "radius": memo.get("radius")}


def _spread(x: Array, sample: int = 1000) -> float:
    """The median distance between two rows, of at most 1,000 evenly spaced ones."""
    some = x[np.linspace(0, len(x) - 1, min(len(x), sample)).astype(int)]
    d2 = geometry.squared_distances(some, some)[np.triu_indices(len(some), 1)]
    return float(np.sqrt(np.median(d2))) if len(d2) else 1.0


def competence(cov: float, a: float = 0.8, k: float = 50.0) -> float:
    """S = (1 + exp(-k (1 - a))) / (1 + exp(-k (cov - a))): weight of the margin at a coverage."""
    from scipy.special import expit

    return float((1 + np.exp(-k * (1 - a))) * expit(k * (cov - a)))


def uncertainty(p: Array) -> Doubles:
    """u = 1 - minmax(p(1) - p(2)) of the rows of ``p (n, C)``: ``(n,)``; 0 where all are equal."""
    m = np.zeros(len(p))
    if p.shape[1] > 1:
        for rows in geometry.row_blocks(*p.shape):
            top = np.partition(p[rows], -2, axis=1)[:, -2:].astype(np.float64)
            m[rows] = top[:, 1] - top[:, 0]
    low, high = m.min(initial=np.inf), m.max(initial=-np.inf)
    if not high > low:
        return np.zeros(len(p))
    return np.asarray(1 - (m - low) / (high - low))


def ranks(u: Array, gain: Array, weight: float) -> Doubles:
    """S u + (1 - S) g / max g of the candidates; the density counts nothing where max g is 0."""
    most = gain.max(initial=0)
    density = gain / most if most > 0 else np.zeros(len(gain))
    return np.asarray(weight * u + (1 - weight) * density, dtype=np.float64)


def agreeing_radii(
    x: Array,
    rows: Array,
    predicted: Array,
    wanted: Array,
    *,
    tau: float,
    most: float = 1.1,
    resolution: float = 0.05,
) -> Doubles:
    """Radii ``(m,)`` where a share ``tau`` of the ball of each of ``rows`` is predicted ``wanted``.

    Bisection of [0, ``most``]: below ``tau`` the upper end comes down, else the lower one goes up,
    until they are within ``resolution``.  The share is not monotone: this is *a* crossing.
    O(n m d) a step.
    """
    low, high = np.zeros(len(rows)), np.full(len(rows), float(most))
    middle: Doubles = (low + high) / 2
    while len(rows) and high[0] - low[0] > resolution:  # all intervals are equally long
        below = geometry.ball_agreement(x, rows, middle, predicted, wanted) < tau
        high, low = np.where(below, middle, high), np.where(below, low, middle)
        middle = (low + high) / 2
    return middle


def dcom(
    embedding: Array,
    proba: Array,
    known: Array | None,
    k: int,
    *,
    rng: Generator | int = 0,
    memo: Mapping[str, Any] | None = None,
    delta: float | None = None,
    n_clusters: int | None = None,
    normalise: Literal["l2", "none"] = "l2",
    reference: int | None = 50_000,
    ties: Ties = "random",
) -> Picks:
    """``k`` rows of ``embedding (n, d)`` whose ``known (n,)`` is -1, as chosen by `DCoM`.

    ``.rows`` are those of the caller's arrays, in the order of the choice; ``.memo`` holds the
    radii: hand it over in the next round.
    """
    rule = DCoM(
        delta=delta, n_clusters=n_clusters, normalise=normalise, reference=reference, ties=ties
    )
    parts: dict[str, Any] = {"embedding": np.asarray(embedding), "proba": np.asarray(proba)}
    snapshot = Snapshot.from_arrays(known=known, memo=memo or {}, **parts)
    return rule.select(snapshot, k, as_rng(rng))
