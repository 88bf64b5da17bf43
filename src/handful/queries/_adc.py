"""ADC's pairs: *same or different?* where the model cannot tell, beside the hearts of clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.pairs import Closure, closure_of
from handful.registry import register_pair_query, top_k
from handful.rng import as_rng
from handful.types import Array, PairAnswer, Snapshot

__all__ = ["ADCPairs", "adc_pairs", "pair_entropy", "similarities"]

Ints = NDArray[np.int64]
TYPICAL = 20  # neighbours of a typicality
_FLOOR = 1e-6  # of a similarity, and of its distance from 1


@register_pair_query("adc")
@dataclass(frozen=True)
class ADCPairs:
    """Ask about pairs of which the model is least sure, near the borders of clusters.

    Formula   the highest H_b(s_ij) = -s ln s - (1 - s) ln(1 - s), s_ij = <p_i, p_j> / (|p_i| |p_j|)
              over (i, representatives of the two likeliest clusters of i) and (i, j) for j among
              the 10 nearest of i, i among the 10 k images of smallest margin p_(1) - p_(2).
              Representatives: the most typical image (1 / mean distance to 20 neighbours) of
              each cluster, and of each group that answers have made, in the cluster it lies in.
    Needs     ``clusters (n, K)``, ``embedding (n, d)``; may start cold.
    Cost      10 k n d for neighbours, m^2 d for a cluster of m; blocks of 64 MB.
    Source    a reconstruction: Sun, Zhou, Du & Li, Knowledge-Based Systems 2022 ask about pairs;
              their score is not known to us.  Similarity: Chang et al., ICCV 2017 (DAC).
    Here      pairs that answers imply, or that nobody could tell, are never asked; nor those
              that the rest of the batch might imply, so that all can be shown at once.  At most
              two questions about one image a round, representatives exempt.
    When      to buy few answers and keep them informative.  Not for an unbiased sample of pairs.

    Parameters
    ----------
    near : neighbours that are candidates.
    margins : images of small margin for each question.
    most : questions about one image a round.
    control : share of the questions spent on implied pairs, to find wrong answers.
    two_classes : the user vouches for two classes: two differences make a sameness.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"clusters", "embedding"})
    name: ClassVar[str] = "adc"

    near: int = 10
    margins: int = 10
    most: int = 2
    control: float = 0.0
    two_classes: bool = False
    ties: Literal["random", "index"] = "random"

    def __post_init__(self) -> None:
        if not 0 <= self.control < 1:
            raise RecipeError(f"query.control is {self.control}: a share of questions, below 1")
        for name in ("near", "margins", "most"):
            if getattr(self, name) < 1:
                raise RecipeError(f"query.{name} is {getattr(self, name)}: it must be 1 or more")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> tuple[tuple[str, str], ...]:
        p = np.asarray(snapshot.part("clusters", self.name))
        z = np.asarray(snapshot.part("embedding", self.name))
        closure = closure_of(snapshot, two_classes=self.two_classes)
        rows = np.flatnonzero(snapshot.open | (snapshot.known >= 0))
        if k <= 0 or len(rows) < 2:
            return ()
        chosen = closure.controls(round(self.control * k), rng)
        pairs, hearts = self._candidates(p, z, rows, closure, k)
        best = top_k(pair_entropy(p, pairs), len(pairs), rng, ties=self.ties, who=self.name)
        order = ((int(a), int(b)) for a, b in pairs[best])
        chosen += closure.choose(order, k - len(chosen), most=self.most, exempt=hearts)
        return tuple((snapshot.ids[a], snapshot.ids[b]) for a, b in chosen)

    def _candidates(
        self, p: Array, z: Array, rows: Ints, closure: Closure[int], k: int
    ) -> tuple[Ints, set[int]]:
        """Distinct pairs ``(m, 2)`` with i < j, sorted, and the representatives."""
        falling = np.argsort(-p[rows], axis=1, kind="stable")[:, :2]
        top = np.take_along_axis(p[rows], falling, axis=1)
        margin = top[:, 0] - (top[:, 1] if top.shape[1] > 1 else 0)
        least = np.argsort(margin, kind="stable")[: self.margins * k]
        unsure, likeliest = rows[least], falling[least]
        hearts = _hearts(z, rows, falling[:, 0], closure)
        beside = [
            (int(i), heart)
            for i, clusters in zip(unsure, likeliest, strict=True)
            for cluster in clusters.tolist()
            for heart in hearts.get(cluster, ())
        ]
        near = _near(z, unsure, rows, self.near)
        around = np.stack([np.repeat(unsure, near.shape[1]), near.ravel()], axis=1)
        pairs = np.concatenate([np.array(beside, dtype=np.int64).reshape(-1, 2), around])
        pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
        return pairs, {heart for found in hearts.values() for heart in found}


def similarities(p: Array, pairs: Ints) -> NDArray[np.float64]:
    """``s = <p_i, p_j> / (|p_i| |p_j|)`` of pairs ``(m, 2)`` of rows of ``p (n, K)``: ``(m,)``."""
    a, b = (np.asarray(p[pairs[:, side]], dtype=np.float64) for side in (0, 1))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.einsum("mk,mk->m", a, b) / np.maximum(lengths, 1e-12))


def pair_entropy(p: Array, pairs: Ints) -> NDArray[np.float64]:
    """Binary entropy, in nats, of the similarities of pairs ``(m, 2)``: ``(m,)``."""
    s = np.clip(similarities(p, pairs), _FLOOR, 1 - _FLOOR)
    return np.asarray(-s * np.log(s) - (1 - s) * np.log1p(-s))


def _hearts(z: Array, rows: Ints, cluster: Ints, closure: Closure[int]) -> dict[int, list[int]]:
    """The representatives in each cluster: its own, and those of the groups that lie there."""
    found = {int(c): [_most_typical(z, rows[cluster == c])] for c in np.unique(cluster)}
    place = dict(zip(rows.tolist(), cluster.tolist(), strict=True))
    for group in closure.groups():
        inside = np.array(sorted(row for row in group if row in place), dtype=np.int64)
        if len(inside) > 1:
            heart = _most_typical(z, inside)
            if heart not in found[place[heart]]:
                found[place[heart]].append(heart)
    return found


def _most_typical(z: Array, rows: Ints) -> int:
    """The row whose 20 nearest of these rows are nearest; of a huge cluster, evenly spread rows."""
    rows = rows[:: max(1, len(rows) // 20_000)]
    d2 = geometry.knn(z[rows], min(TYPICAL, len(rows) - 1))[1]
    return int(rows[np.argmin(np.sqrt(d2).mean(axis=1))]) if d2.shape[1] else int(rows[0])


def _near(z: Array, some: Ints, rows: Ints, k: int) -> Ints:
    """The ``k`` nearest others of ``some`` rows among ``rows``: ``(m, min(k, n - 1))``."""
    k = min(k, len(rows) - 1)
    found = np.empty((len(some), k), dtype=np.int64)
    others = np.asarray(z[rows])
    for block in geometry.row_blocks(len(some), len(rows)):
        d2 = geometry.squared_distances(z[some[block]], others)
        d2[rows[None, :] == some[block][:, None]] = np.inf
        nearest = np.argpartition(d2, k - 1, axis=1)[:, :k]
        found[block] = rows[nearest]
    return found


def adc_pairs(
    clusters: Array,
    embedding: Array,
    k: int,
    *,
    pairs: tuple[PairAnswer, ...] = (),
    rng: Generator | int = 0,
    ties: Literal["random", "index"] = "random",
) -> Array:
    """``(m, 2)`` rows of at most ``k`` pairs, as chosen by `ADCPairs`, in the order of the choice.

    ``clusters (n, K)`` are probabilities, ``embedding (n, d)``; ``pairs`` : answers so far,
    about images named ``00000000`` and so on.
    """
    if len(clusters) != len(embedding):
        raise InputError(f"{len(clusters)} rows of clusters for {len(embedding)} embedded images")
    snapshot = Snapshot.from_arrays(
        clusters=np.asarray(clusters), embedding=np.asarray(embedding), pairs=pairs
    )
    found = ADCPairs(ties=ties).select(snapshot, k, as_rng(rng))
    return np.array([[int(a), int(b)] for a, b in found], dtype=np.int64).reshape(-1, 2)
