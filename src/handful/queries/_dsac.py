"""DSAC query: the most typical image of each cluster, and a hard one that is no outlier."""

from __future__ import annotations

import logging
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.registry import register_query
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["DSAC", "Chosen", "dsac", "far_set", "near_set", "quotas"]

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

TAGS = ("representative", "difficult")
_logger = logging.getLogger(__name__)


class Chosen(NamedTuple):
    """What to ask, in order, all ``(m,)``: rows, their clusters, and whether each is its
    cluster's representative or a difficult one."""

    rows: Ints
    cluster: Ints
    representative: NDArray[np.bool_]

    def first(self, k: int) -> Chosen:
        return Chosen(self.rows[:k], self.cluster[:k], self.representative[:k])


@register_query("dsac")
@dataclass(frozen=True)
class DSAC:
    """Ask about each cluster's most typical image, and about a hard one that is no outlier.

    Formula   S_i = sum over the k nearest j of |F_i - F_j|^2,  C_i = 1 / S_i (Eq. 3; floored),
              d_i = |F_i - mu_p|^2 in its cluster p.  Of the answers of a round each cluster
              gets its share.  Representative: the largest C of the k_1 open images with the
              smallest d.  Difficult: the largest C of the k_1 with the largest d.
              F (n, m), mu (K, m), the k nearest among all n images but itself.
    Needs     ``embedding``, ``centres``, ``clusters`` (an image belongs to its largest entry);
              may start cold.
    Cost      the neighbours, O(n^2 m) or what `geometry.neighbours` makes of it, once a matrix;
              then O(n (m + log n)) time, O(n k) memory.
              Memory: at most 320 MB at 200,000 x 128.
    Source    Zhao, Chen & Zhou 2024 (DSAC), II-B, Eq. 3, Algorithm 1.
    When      With the learner ``dsac``, whose clusters and embedding it belongs to, and no label
              yet.  Not where clusters have nothing to do with the classes.
    Here      the answers divide exactly among the clusters (the paper's rounding may ask for
              none at all); C is floored, or exact copies would win every choice; images are
              ranked by d, not by the self-paced weight, which is 0 for many; of equal images
              one is asked in a round; equal scores fall by a seeded permutation.
              Tags: ``representative``, ``difficult``.  Memo: ``cluster`` of each id.

    Parameters
    ----------
    k1 : k_1, candidates of a cluster at its centre, and as many at its rim.
    k1_share : at least this share of a cluster's open images are candidates on either side: six
        of a thousand are the outliers that the rule means to pass over.
    neighbours : k of Eq. 3.
    reps_per_cluster : representatives of a cluster and round; the rest of its share is difficult.
    reps_first_round : the same in the rule's first round, where the cluster's share is as large;
        None: as in every round.
    rep_rounds : ``first``: no more once the cluster's class has one.
    rep_rule : ``nearest``: the smallest d instead of the largest C (the authors' code).
    difficult_skip : this many farthest images are passed over (200 in the authors' code).
    difficult_rule : ``rank``: the largest d instead of the largest C (the authors' code).
    picks : one kind alone, for ablations.
    budget_rule : ``round``: floor(b / c + 1/2) answers a cluster (the paper), as far as the round's
        answers go.
    knn_scope : where the neighbours of Eq. 3 are looked for.
    comp_floor : S is at least this share of its median.
    dedupe : of open images with equal embeddings only one is asked while others are left.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    name: ClassVar[str] = "dsac"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding", "centres", "clusters"})
    cold: ClassVar[bool] = True

    k1: int = 6
    k1_share: float = 0.0
    neighbours: int = 6
    reps_per_cluster: int = 1
    reps_first_round: int | None = None
    rep_rounds: Literal["all", "first"] = "all"
    rep_rule: Literal["compact", "nearest"] = "compact"
    difficult_skip: int = 0
    difficult_rule: Literal["compact", "rank"] = "compact"
    picks: Literal["both", "representative", "difficult"] = "both"
    budget_rule: Literal["exact", "round"] = "exact"
    knn_scope: Literal["all", "cluster", "unlabelled"] = "all"
    comp_floor: float = 1e-3
    dedupe: bool = True
    ties: Literal["random", "index"] = "random"

    def __post_init__(self) -> None:
        for field in ("k1", "neighbours", "reps_per_cluster", "reps_first_round"):
            if getattr(self, field) is not None and getattr(self, field) < 1:
                raise RecipeError(
                    f"dsac needs at least 1 for {field}, not {getattr(self, field)}: see its card"
                )
        if not 0 <= self.k1_share <= 1:
            raise RecipeError(f"k1_share is a share of a cluster, 0 to 1, not {self.k1_share}")
        if self.difficult_skip < 0:
            raise RecipeError(f"dsac cannot skip {self.difficult_skip} images: take 0 or more")

    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        chosen = self.choose(snapshot, k, rng)
        if len(chosen.rows) > k:  # only by rounding
            _logger.warning(
                "dsac: rounding asks for %d answers, the last %d are left out",
                len(chosen.rows), len(chosen.rows) - k,
            )  # fmt: skip
            chosen = chosen.first(k)
        ids = [snapshot.ids[int(row)] for row in chosen.rows]
        memo: dict[str, Any] = {
            "cluster": dict(zip(ids, chosen.cluster.tolist(), strict=True)),
        }
        if self.rep_rounds == "first":  # whose class has one, is known when they are answered
            new = [id for id, rep in zip(ids, chosen.representative, strict=True) if rep]
            memo["representatives"] = [*snapshot.memo.get("representatives", ()), *new]
        tags = [TAGS[0] if rep else TAGS[1] for rep in chosen.representative]
        return snapshot.picks(chosen.rows, tags, memo)

    def choose(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Chosen:
        """What to ask, in order; more than ``k`` images only by ``budget_rule="round"``."""
        x = snapshot.part("embedding", self.name)
        centres = snapshot.part("centres", self.name)
        assignment = snapshot.part("clusters", self.name).argmax(axis=1)
        n, c = len(x), len(centres)
        rank = np.arange(n) if self.ties == "index" else rng.permutation(n)
        members = _members(assignment, snapshot.open, c)
        share = quotas(k, [len(m) for m in members], rule=self.budget_rule)
        if share.sum() < k:
            _logger.info("dsac asks about %d images where %d were wanted", share.sum(), k)
        if not share.any():
            nothing = np.empty(0, dtype=np.int64)
            return Chosen(nothing, nothing, nothing.astype(bool))
        keys = _keys(x)
        if self.dedupe:
            copies = _copies(x, keys, np.flatnonzero(snapshot.open), rank)
            members = [_without(m, copies[m], rank, s) for m, s in zip(members, share, strict=True)]
        d = _to_own_centre(x, centres, assignment)
        compact = self._compactness(x, assignment, snapshot.open)
        reps = [self._representatives(p, int(s), snapshot) for p, s in enumerate(share)]
        rows = [
            self._of_cluster(members[p], d, compact, rank, int(s), reps[p])
            for p, s in enumerate(share)
        ]
        typical = [np.arange(s) < reps[p] for p, s in enumerate(share)]
        return Chosen(np.concatenate(rows), np.repeat(np.arange(c), share), np.concatenate(typical))

    def _representatives(self, cluster: int, share: int, snapshot: Snapshot) -> int:
        """How many of the cluster's ``share`` are representatives."""
        if self.picks != "both":
            return share if self.picks == "representative" else 0
        memo = snapshot.memo
        if self.rep_rounds == "first":
            rows = [bisect_left(snapshot.ids, id) for id in memo.get("representatives", ())]
            if cluster in snapshot.known[rows]:  # cluster p is class p once there are labels
                return 0
        opening = None if "cluster" in memo else self.reps_first_round
        if opening is not None and share >= opening:
            return opening
        return min(self.reps_per_cluster, share)

    def _of_cluster(
        self, members: Ints, d: Floats, compact: Floats, rank: Ints, share: int, reps: int
    ) -> Ints:
        """Representatives first, then difficult ones; ``share`` of the cluster's ``members``."""
        k1 = max(self.k1, int(self.k1_share * len(members)))
        near = near_set(members, d, max(k1, reps), rank)
        if self.rep_rule == "compact":
            near = near[np.argsort(-compact[near], kind="stable")]
        first = near[:reps]
        rest, hard = members[~np.isin(members, first)], share - reps
        skip = max(0, min(self.difficult_skip, len(rest) - hard))
        far = far_set(rest, d, max(k1, 2 * hard), rank, skip=skip)
        if self.difficult_rule == "compact":
            far = far[np.argsort(-compact[far], kind="stable")]
        return np.concatenate([first, far[:hard]])

    def _compactness(self, x: Array, assignment: Ints, still_open: NDArray[np.bool_]) -> Floats:
        """C of Eq. 3, ``(n,)``."""
        if self.rep_rule == "nearest" and self.difficult_rule == "rank":
            return np.ones(len(x))  # nobody asks for it
        if self.knn_scope == "all":
            d2 = geometry.neighbours(x, self.neighbours).d2
        else:
            everywhere = np.ones(len(x), dtype=bool)
            groups = (
                _members(assignment, everywhere, int(assignment.max()) + 1)
                if self.knn_scope == "cluster"
                else [np.flatnonzero(still_open)]
            )
            d2 = np.zeros((len(x), self.neighbours))
            for rows in groups:
                found = geometry.knn(x[rows], self.neighbours)[1]
                d2[rows, : found.shape[1]] = found
        return geometry.compactness(d2, floor=self.comp_floor)


def quotas(b: int, sizes: Any, *, rule: Literal["exact", "round"] = "exact") -> Ints:
    """How many of ``b`` answers go to each cluster ``(c,)``, given its open images ``sizes (c,)``.

    ``exact``  b // c each, one more to the largest b % c clusters; what a cluster cannot use
               goes, one at a time, where the most images are left.  The sum is min(b, sum of
               sizes); ties: lower cluster.
    ``round``  floor(b / c + 1/2) each, cut to the sizes: the paper's [b/c].  `InputError` when
               that is 0 everywhere.
    O(c log b).
    """
    size = np.asarray(sizes, dtype=np.int64)
    c = len(size)
    if b <= 0 or not size.any():
        return np.zeros(c, dtype=np.int64)
    if rule == "round":
        if not (each := (2 * b + c) // (2 * c)):
            raise InputError(
                f"{b} answers for {c} clusters round to 0 each: ask for {-(-c // 2)} or more in a"
                " round, or take budget_rule = 'exact'"
            )
        return np.minimum(each, size)
    each, more = divmod(b, c)
    share = np.full(c, each)
    share[np.argsort(-size, kind="stable")[:more]] += 1
    over = int(np.maximum(share - size, 0).sum())
    share = np.minimum(share, size)
    return np.asarray(share + _levelled(size - share, over), dtype=np.int64)


def _levelled(room: Ints, over: int) -> Ints:
    """``over`` units taken one by one from the largest of ``room (c,)``, ties: the lower one."""
    low, high = 0, int(room.max())
    while low < high:  # the lowest level to which all rooms can be brought down
        middle = (low + high) // 2
        if np.maximum(room - middle, 0).sum() <= over:
            high = middle
        else:
            low = middle + 1
    taken = np.maximum(room - low, 0)
    left = over - int(taken.sum())
    if low:
        taken[np.flatnonzero(room >= low)[:left]] += 1
    return np.asarray(taken, dtype=np.int64)


def near_set(members: Ints, d: Floats, size: int, rank: Ints | None = None) -> Ints:
    """The ``size`` of ``members`` with the smallest ``d``, nearest first; ties by ``rank``."""
    tie = members if rank is None else rank[members]
    return members[np.lexsort((tie, d[members]))[:size]]


def far_set(
    members: Ints, d: Floats, size: int, rank: Ints | None = None, *, skip: int = 0
) -> Ints:
    """The ``size`` of ``members`` with the largest ``d`` after ``skip``, farthest first."""
    tie = members if rank is None else rank[members]
    return members[np.lexsort((tie, -d[members]))[skip : skip + size]]


def dsac(
    embedding: Array,
    assignment: Array,
    centres: Array,
    k: int,
    *,
    known: Array | None = None,
    rng: np.random.Generator | int = 0,
    **options: Any,
) -> Chosen:
    """Rows of ``k`` images by `DSAC`: representatives and difficult ones, cluster by cluster.

    ``embedding (n, m)``, ``assignment (n,)`` of rows to ``centres (K, m)``; rows whose ``known``
    is -1 may be asked.  ``options`` are those of `DSAC`; rows are the caller's.
    """
    clusters = np.zeros((len(assignment), len(centres)), dtype=np.float32)
    clusters[np.arange(len(clusters)), assignment] = 1
    snapshot = Snapshot.from_arrays(
        known=known, embedding=embedding, clusters=clusters, centres=centres
    )
    return DSAC(**options).choose(snapshot, k, as_rng(rng))


# --- rows of arrays ------------------------------------------------------------------------


def _members(assignment: Ints, chosen: NDArray[np.bool_], c: int) -> list[Ints]:
    """The ``chosen`` rows of each of ``c`` clusters, rising."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(assignment[rows], kind="stable")]
    return np.split(rows, np.searchsorted(assignment[rows], np.arange(1, c)))


def _to_own_centre(x: Array, centres: Array, assignment: Ints) -> Floats:
    """|x_i - mu_p|^2 for the cluster p of each row, ``(n,)``; equal rows get equal distances."""
    d = np.empty(len(x))
    mu = centres.astype(np.float64)
    for rows in geometry.row_blocks(*x.shape):
        apart = x[rows] - mu[assignment[rows]]
        d[rows] = np.square(apart, out=apart).sum(axis=1)
    return d


def _keys(x: Array) -> Floats:
    """A number of each row ``(n,)``, the same for equal rows; NaN and inf are refused by row."""
    keys = np.empty(len(x))
    weights = np.sqrt(np.arange(2.0, 2.0 + x.shape[1]))
    for rows in geometry.row_blocks(*x.shape):
        keys[rows] = (x[rows] * weights).sum(axis=1)
    if not (finite := np.isfinite(keys)).all():
        raise InputError(
            f"the embedding of row {int(finite.argmin())} holds NaN or inf: lower the learning"
            " rate or check the image"
        )
    return keys


def _copies(x: Array, keys: Floats, rows: Ints, rank: Ints) -> NDArray[np.bool_]:
    """Mask ``(n,)``: rows among ``rows`` that equal another of them of a lower rank.

    Rows with the same key are few; only they are compared, byte by byte, by sorting.
    """
    mask = np.zeros(len(x), dtype=bool)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    same = np.diff(keys[rows]) == 0
    tied = rows[np.concatenate([same, [False]]) | np.concatenate([[False], same])]
    if tied.size:
        tied = tied[np.argsort(rank[tied])]
        values = np.ascontiguousarray(x[tied]) + 0  # -0 becomes 0
        bytes_ = values.view(np.dtype((np.void, values.itemsize * values.shape[1]))).ravel()
        mask[tied] = True
        mask[tied[np.unique(bytes_, return_index=True)[1]]] = False
    return mask


def _without(members: Ints, copy: NDArray[np.bool_], rank: Ints, share: int) -> Ints:
    """Members that are no copy; as many copies as it takes to fill the share, by rank."""
    lacking = max(0, share - int((~copy).sum()))
    copies = members[copy]
    back = copies[np.argsort(rank[copies])[:lacking]]
    return np.sort(np.concatenate([members[~copy], back]))
