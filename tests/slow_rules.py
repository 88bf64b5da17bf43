"""Every rule once more, as plain loops over small pools: what the fast forms must equal.

A loop takes the snapshot, the number wanted and a generator, and gives rows; ties fall to the
smaller index.  Written from the papers' formulas, number by number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import dist, exp, log, sqrt
from typing import Any, NamedTuple

import numpy as np

from handful import queries
from handful.types import Array, Query, Snapshot

Loop = Callable[[Snapshot, int, np.random.Generator], list[int]]


class Case(NamedTuple):
    """A rule with ties by index, and its loop."""

    rule: Query
    loop: Loop


def open_rows(s: Snapshot) -> list[int]:
    return [i for i in range(len(s.ids)) if s.open[i]]


def by_score(score: Callable[[Snapshot, int], float]) -> Loop:
    """The open rows of highest score, one score at a time."""

    def loop(s: Snapshot, k: int, rng: np.random.Generator) -> list[int]:
        scored = {i: round(score(s, i), 12) for i in open_rows(s)}
        return sorted(scored, key=lambda i: (-scored[i], i))[:k]

    return loop


def entropy_of(p: Sequence[float]) -> float:
    return -sum(x * log(x) for x in p if x > 0)


def entropy(s: Snapshot, i: int) -> float:
    return entropy_of(s.proba[i])


def least_confidence(s: Snapshot, i: int) -> float:
    return 1 - max(s.proba[i])


def margin(s: Snapshot, i: int) -> float:
    top = sorted(s.proba[i])
    return float(top[-2] - top[-1])


def bald(s: Snapshot, i: int) -> float:
    passes = s.part("draws")[:, i]
    mean = [sum(p[c] for p in passes) / len(passes) for c in range(len(passes[0]))]
    return entropy_of(mean) - sum(entropy_of(p) for p in passes) / len(passes)


def tod(s: Snapshot, i: int) -> float:
    return dist(s.proba[i], s.part("previous")[i])


def mcdal(s: Snapshot, i: int) -> float:
    heads = s.part("heads")[:, i]
    return float(
        sum(
            abs(a - b)
            for h, one in enumerate(heads)
            for other in heads[h + 1 :]
            for a, b in zip(one, other, strict=True)
        )
    )


def core_set(s: Snapshot, k: int, rng: np.random.Generator) -> list[int]:
    """The open row farthest from every labelled and chosen one; first the nearest to the mean."""
    x, left = s.embedding.astype(float), open_rows(s)
    near = [i for i in range(len(x)) if s.known[i] >= 0]
    chosen: list[int] = []
    while left and len(chosen) < k:
        if near:
            away = {i: min(dist(x[i], x[j]) for j in near) for i in left}
        else:
            mean = [sum(x[i][j] for i in left) / len(left) for j in range(x.shape[1])]
            away = {i: -dist(x[i], mean) for i in left}
        best = max(left, key=lambda i: (round(away[i], 12), -i))
        chosen.append(best)
        near.append(best)
        left.remove(best)
    return chosen


def badge(s: Snapshot, k: int, rng: np.random.Generator) -> list[int]:
    """k-means++ over gradients written out in full, one uniform number a pick."""
    g = {}
    for i in open_rows(s):
        guess = int(s.proba[i].argmax())
        a = [p - (c == guess) for c, p in enumerate(s.proba[i])]
        g[i] = [u * v for u in a for v in s.embedding[i].astype(float)]
    if k >= len(g):
        return list(g)
    size = {i: sum(v * v for v in one) for i, one in g.items()}
    chosen = [max(g, key=lambda i: (round(size[i] / max(size.values()), 12), -i))]
    while len(chosen) < k:
        weight = [0.0 if i in chosen else min(dist(g[i], g[j]) ** 2 for j in chosen) for i in g]
        aim, seen = rng.random() * sum(weight), 0.0
        for i, w in zip(g, weight, strict=True):
            seen += w
            if seen > aim:
                chosen.append(i)
                break
    return chosen


def typicality(x: Array, k: int) -> list[float]:
    away = [sorted(dist(a, b) for j, b in enumerate(x) if j != i)[:k] for i, a in enumerate(x)]
    return [round(1 / (sum(d) / len(d) + 1e-5), 12) for d in away]


def typiclust(s: Snapshot, k: int, rng: np.random.Generator) -> list[int]:
    """Clusters with few labels first, then large ones; the small ones when no other is left."""
    x, group = s.embedding.astype(float), s.clusters.argmax(axis=1).tolist()
    size = {c: group.count(c) for c in group}
    labels = {c: sum(g == c and s.known[i] >= 0 for i, g in enumerate(group)) for c in size}
    order = sorted(size, key=lambda c: (labels[c], -size[c], c))
    left, chosen = open_rows(s), []
    if k >= len(left):
        return left
    for ring in ([c for c in order if size[c] >= 5], [c for c in order if size[c] < 5]):
        while len(chosen) < k and any(group[i] in ring for i in left):
            for c in ring:
                rows = [i for i in left if group[i] == c]
                if rows and len(chosen) < k:
                    near = max(1, min(20, len(rows) // 2))
                    t = typicality(x[rows], near) if len(rows) > 1 else [1.0]
                    chosen.append(rows[t.index(max(t))])
                    left.remove(chosen[-1])
    return chosen


def probcover(s: Snapshot, k: int, rng: np.random.Generator, *, delta: float = 1.5) -> list[int]:
    """Greedy cover by balls; the farthest row when nothing is left to cover."""
    x, left = s.embedding, open_rows(s)
    if k >= len(left):
        return left
    near = [i for i in range(len(x)) if s.known[i] >= 0]
    covered = {j for j in range(len(x)) for i in near if dist(x[i], x[j]) < delta}
    chosen: list[int] = []
    while left and len(chosen) < k:
        gain = {i: sum(dist(x[i], y) < delta and j not in covered for j, y in enumerate(x))
                for i in left}  # fmt: skip
        if not any(gain.values()):
            gain = {i: round(min(dist(x[i], x[j]) for j in near), 12) for i in left}
        best = max(left, key=lambda i: (gain[i], -i))
        covered |= {j for j in range(len(x)) if dist(x[best], x[j]) < delta}
        chosen.append(best)
        near.append(best)
        left.remove(best)
    return chosen


def dcom(
    s: Snapshot, k: int, rng: np.random.Generator, *, start: float = 0.9, radii: Any = None
) -> list[int]:
    """The seven steps; ``radii`` (row -> radius) are those of older labels and gain the new."""
    x, p, n = s.embedding, s.proba, len(s.ids)
    radii = {} if radii is None else radii
    near = [i for i in range(n) if s.known[i] >= 0]
    if k >= len(open_rows(s)):
        return open_rows(s)
    if not near:
        return probcover(s, k, rng, delta=start)
    r = {i: radii.get(i, start) for i in near}
    cov = sum(any(dist(x[i], y) < r[i] for i in near) for y in x) / n
    for i in near:
        low, high = 0.0, 1.1
        while high - low > 0.05 and i not in radii:
            r[i] = (low + high) / 2
            ball = [j for j in range(n) if dist(x[i], x[j]) < r[i]]
            agree = sum(int(p[j].argmax()) == s.known[i] for j in ball) / len(ball)
            low, high = (low, r[i]) if agree < 0.4 + 0.2 * cov else (r[i], high)
            r[i] = (low + high) / 2
    radii |= r
    mean = float(np.mean([r[i] for i in near]))
    covered = {j for j in range(n) for i in near if dist(x[i], x[j]) < r[i]}
    weight = (1 + exp(-50 * 0.2)) / (1 + exp(-50 * (len(covered) / n - 0.8)))
    gap = [sorted(one)[-1] - sorted(one)[-2] for one in p]
    spread = max(gap) - min(gap)
    u = [1 - (g - min(gap)) / spread if spread else 0.0 for g in gap]
    chosen: list[int] = []
    while len(chosen) < k:
        left = [i for i in open_rows(s) if i not in chosen]
        gain = {i: sum(dist(x[i], y) < mean and j not in covered for j, y in enumerate(x))
                for i in left}  # fmt: skip
        most = max(gain.values())
        rank = {i: weight * u[i] + (1 - weight) * (gain[i] / most if most else 0) for i in left}
        chosen.append(max(left, key=lambda i: (round(rank[i], 12), -i)))
        covered |= {j for j in range(n) if dist(x[chosen[-1]], x[j]) < mean}
    return chosen


def graph_coverage(s: Snapshot, k: int, rng: np.random.Generator) -> list[int]:
    """Plain greedy over the inverse of the whole Laplacian; neighbours among sorted distances."""
    x, n, left = s.embedding, len(s.ids), open_rows(s)
    if k >= len(left):
        return left
    many = min(10, n - 1)
    d2 = [[sum((float(a) - float(b)) ** 2 for a, b in zip(y, z, strict=True)) for z in x]
          for y in x]  # fmt: skip
    near = [sorted((j for j in range(n) if j != i), key=lambda j: (d2[i][j], j))[:many]
            for i in range(n)]  # fmt: skip
    scale = [max(sqrt(d2[i][near[i][min(7, many) - 1]]), 1e-12) if many else 1e-12
             for i in range(n)]  # fmt: skip
    W = np.zeros((n, n))
    for i in range(n):
        for j in near[i]:
            W[i, j] = W[j, i] = exp(-d2[i][j] / scale[i] / scale[j])
    root = np.array([1 / sqrt(degree) if degree > 0 else 0.0 for degree in W.sum(axis=1)])
    R = 0.2 * np.linalg.inv(np.eye(n) - 0.8 * root[:, None] * W * root)
    reached = [max([R[i, j] for j in range(n) if s.known[j] >= 0], default=0.0) for i in range(n)]
    chosen: list[int] = []
    for _ in range(k):
        gain = {j: round(sum(max(R[i, j] - reached[i], 0) for i in range(n)), 5) for j in left}
        chosen.append(max(left, key=lambda j: (gain[j], -j)))
        left.remove(chosen[-1])
        reached = [max(r, R[i, chosen[-1]]) for i, r in enumerate(reached)]
    return chosen


def unit(x: Array) -> Array:
    """Rows of length 1."""
    return np.array([[v / (sqrt(sum(w * w for w in row)) or 1) for v in row] for row in x])


LOOPS: dict[str, Case] = {
    "badge": Case(queries.BADGE(ties="index"), badge),
    "bald": Case(queries.BALD(ties="index"), by_score(bald)),
    "core-set": Case(queries.CoreSet(ties="index"), core_set),
    "dcom": Case(queries.DCoM(delta=0.9, ties="index"), dcom),
    "entropy": Case(queries.Entropy(ties="index"), by_score(entropy)),
    "graph-coverage": Case(queries.GraphCoverage(normalise=False, ties="index"), graph_coverage),
    "least-confidence": Case(queries.LeastConfidence(ties="index"), by_score(least_confidence)),
    "margin": Case(queries.Margin(ties="index"), by_score(margin)),
    "mcdal": Case(queries.MCDAL(ties="index"), by_score(mcdal)),
    "probcover": Case(queries.ProbCover(delta=1.5, normalise="none", ties="index"), probcover),
    "tod": Case(queries.TOD(ties="index"), by_score(tod)),
    "typiclust": Case(queries.TypiClust(on="clusters", normalise=False, ties="index"), typiclust),
}
# rules whose loop needs more than a snapshot, and the test that has it
ELSEWHERE: dict[str, str] = {
    "dsac": "reference/test_dsac_selection.py::test_the_rule_is_the_slow_one",
    "vaal": "reference/test_queries_vaal.py::test_slow_twins",
    "adc": "reference/test_queries_pairs.py::test_adc_chooses_as_its_slow_twin",
    "core-gcn": "reference/test_queries_gcn.py::test_products_equal_those_of_the_dense_adjacency",
    "lada": "reference/test_lada.py::test_the_rule_equals_its_loop",
    "uncertain-gcn": "reference/test_queries_gcn.py::"
    "test_products_equal_those_of_the_dense_adjacency",
    "sraal": "reference/test_queries_sraal.py::test_the_doubt_against_its_slow_twin",
}
# rules that cannot have one, and why
WITHOUT: dict[str, str] = {
    "random": "it computes nothing: the draw is the definition",
    "random-pairs": "it computes nothing: the draw is the definition",
}
# a test of each rule against numbers worked by hand
WORKED: dict[str, str] = {
    "adc": "reference/test_queries_pairs.py::test_the_worked_similarities_and_entropies",
    "badge": "reference/test_queries_badge.py::test_worked_first_pick",
    "bald": "reference/test_queries_bald.py::test_worked_numbers",
    "core-set": "reference/test_queries_core_set.py::test_worked_greedy",
    "core-gcn": "reference/test_queries_gcn.py::test_worked_numbers_of_the_picks",
    "dcom": "reference/test_queries_dcom.py::test_ranks",
    "dsac": "reference/test_dsac_selection.py::test_round_one",
    "entropy": "reference/test_queries_uncertainty.py::test_entropy_of_the_table",
    "graph-coverage": "reference/test_queries_graph_coverage.py::test_worked_reach_of_three",
    "lada": "reference/test_lada.py::test_scores_of_the_worked_example",
    "least-confidence": "reference/test_queries_uncertainty.py::"
    "test_least_confidence_and_margin_of_the_table",
    "margin": "reference/test_queries_uncertainty.py::"
    "test_least_confidence_and_margin_of_the_table",
    "mcdal": "reference/test_mcdal.py::test_scores_of_the_worked_example",
    "probcover": "reference/test_queries_probcover.py::test_picks_on_a_line",
    "random": "reference/test_queries_uncertainty.py::test_random_is_uniform_and_extends_itself",
    "random-pairs": "reference/test_queries_pairs.py::test_random_pairs_are_uniform",
    "sraal": "reference/test_queries_sraal.py::test_worked_numbers_of_the_doubt",
    "tod": "reference/test_tod.py::test_cod_of_the_worked_example",
    "typiclust": "reference/test_queries_typiclust.py::test_worked_picks",
    "uncertain-gcn": "reference/test_queries_gcn.py::test_worked_numbers_of_the_network",
    "vaal": "reference/test_queries_vaal.py::test_worked_numbers_of_the_game",
}
