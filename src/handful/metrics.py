"""What a result is worth: agreement with the truth, learning curves, paired statistics.

Labels are anything that sorts (numbers, strings, negative numbers) and are taken as names.
Every score is a share in [0, 1] but `ari`, which chance agreement makes 0 and worse than
chance negative.  Errors are `InputError`: nothing to score, other lengths, NaN.
Out of reach for learners and rules: scoring needs the truth.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, copysign, inf, isfinite, nan, sqrt
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment

from handful.errors import InputError
from handful.rng import as_rng

__all__ = [
    "Friedman", "PairedTest", "acc", "accuracy", "ari", "aulc", "balanced_accuracy", "bootstrap",
    "contingency", "friedman", "holm", "kappa", "labels_to_reach", "macro_f1", "nmi", "paired_test",
    "purity", "restrict", "saving", "wilson", "win_matrix",
]  # fmt: skip

Float: TypeAlias = NDArray[np.float64]


# --- one result against the truth ----------------------------------------------------------


def _codes(true: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both label lists as positions in the sorted list of all their values."""
    t, p = np.asarray(true), np.asarray(predicted)
    if t.ndim != 1 or p.shape != t.shape:
        raise InputError(f"{t.size} true labels and {p.size} predictions: one for each is needed")
    if not t.size:
        raise InputError("nothing to score: the scored set is empty")
    for name, a in (("true labels", t), ("predictions", p)):
        if a.dtype.kind == "f" and (bad := int(np.isnan(a).sum())):
            raise InputError(f"{bad} of {a.size} {name} are NaN: give each item a label")
    codes = np.unique(np.concatenate([t, p]), return_inverse=True)[1]
    return codes[: t.size], codes[t.size :]


def contingency(true: ArrayLike, predicted: ArrayLike) -> NDArray[np.int64]:
    """N_ij: items of the i-th true value in the j-th predicted one, values sorted.  O(n log n)."""
    t, p = (np.unique(codes, return_inverse=True)[1] for codes in _codes(true, predicted))
    width = int(p.max()) + 1
    cells = np.bincount(t * width + p, minlength=(int(t.max()) + 1) * width)
    return cells.reshape(-1, width)


def accuracy(true: ArrayLike, predicted: ArrayLike) -> float:
    """mean [t = p]; only for predictions that name classes."""
    t, p = _codes(true, predicted)
    return float((t == p).mean())


def acc(true: ArrayLike, clusters: ArrayLike) -> float:
    """ACC = 1/n max over one-to-one maps of clusters to classes of sum N.  O(n + K^3).

    On the rectangular table: surplus clusters, or classes, count as wrong.  Kuhn 1955.
    """
    table = contingency(true, clusters)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def purity(true: ArrayLike, clusters: ArrayLike) -> float:
    """1/n sum_j max_i N_ij; grows to 1 with the number of clusters."""
    table = contingency(true, clusters)
    return float(table.max(axis=0).sum() / table.sum())


def nmi(true: ArrayLike, clusters: ArrayLike) -> float:
    """2 I(t; p) / (H(t) + H(p)), the arithmetic form; 1 when both are one block, 0 when one is."""
    joint = contingency(true, clusters) / np.size(true)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    spread = stats.entropy(rows) + stats.entropy(columns)
    if spread == 0:
        return 1.0
    # relative entropy of the joint to the product of its margins; rounding may leave -1e-17
    mutual = stats.entropy(joint.ravel(), np.outer(rows, columns).ravel())
    return float(max(0.0, 2 * mutual / spread))


def ari(true: ArrayLike, clusters: ArrayLike) -> float:
    """(S - E) / ((A + B)/2 - E): pairs kept together, corrected for chance.

    S = sum C(N_ij, 2); A, B the same of the row and column sums; E = A B / C(n, 2).
    1 when the denominator is 0: both partitions are trivial.  Hubert & Arabie 1985.
    """
    table = contingency(true, clusters)
    s, a, b = (_pairs(counts) for counts in (table, table.sum(axis=1), table.sum(axis=0)))
    expected = a * b / max(1, comb(int(table.sum()), 2))
    spread = (a + b) / 2 - expected
    return 1.0 if spread == 0 else (s - expected) / spread


def _pairs(counts: NDArray[np.int64]) -> int:
    return int((counts * (counts - 1) // 2).sum())


def kappa(one: ArrayLike, other: ArrayLike) -> float | None:
    """Cohen's kappa: how far two people agree beyond chance; 1 always, 0 as chance would.

    (p_o - p_e) / (1 - p_e); p_o the share of items with the same answer, p_e the sum over
    answers of the product of both people's shares of it.  None where both always give one
    answer, for which it is not defined.  Cohen 1960.
    """
    a, b = _codes(one, other)
    n = len(a)
    highest = int(max(a.max(), b.max())) + 1
    both = np.bincount(a, minlength=highest), np.bincount(b, minlength=highest)
    chance = int(both[0] @ both[1])  # in whole numbers: 1 - p_e is exactly 0 or it is not
    if chance == n * n:
        return None
    return float((int((a == b).sum()) * n - chance) / (n * n - chance))


def macro_f1(true: ArrayLike, predicted: ArrayLike) -> float:
    """Mean over the classes of ``true`` of 2 TP / (|t = k| + |p = k|).

    A class that is never predicted gives 0; classes that only predictions name are left out,
    and what was given to them counts as missed.
    """
    return float(np.mean([2 * hit / (size + named) for hit, size, named in _hits(true, predicted)]))


def balanced_accuracy(true: ArrayLike, predicted: ArrayLike) -> float:
    """Mean recall over the classes of ``true``."""
    return float(np.mean([hit / size for hit, size, _ in _hits(true, predicted)]))


def _hits(true: ArrayLike, predicted: ArrayLike) -> list[tuple[int, int, int]]:
    """For each class of ``true``: items hit, items of the class, items given to it."""
    t, p = _codes(true, predicted)
    k = int(max(t.max(), p.max())) + 1
    hit, size, named = (np.bincount(codes, minlength=k) for codes in (t[t == p], t, p))
    return [(int(hit[c]), int(size[c]), int(named[c])) for c in np.flatnonzero(size)]


# --- learning curves -----------------------------------------------------------------------


def _curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Float, Float]:
    x, y = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise InputError(f"a curve of {x.size} label counts and {y.size} scores: give as many")
    if not np.isfinite([x, y]).all():
        raise InputError("a curve with NaN or inf: leave out the points that were not scored")
    if (np.diff(x) <= 0).any():
        raise InputError("the label counts of a curve must rise from point to point")
    return x, y


def aulc(labels: ArrayLike, scores: ArrayLike, *, log: bool = False) -> float:
    """Area under the learning curve by the unit of its axis: a mean score, trapezoidal.

    1/(l_T - l_0) sum (l_{k+1} - l_k)(s_k + s_{k+1})/2; ``log=True`` with ln l, which weighs
    the first labels more.  One point: its score.  Curves to compare share a grid: `restrict`.
    """
    x, y = _curve(labels, scores)
    if log and x[0] <= 0:
        raise InputError("the logarithmic area starts at 1 label: leave out the point without any")
    x = np.log(x) if log else x
    return float(np.trapezoid(y, x) / (x[-1] - x[0])) if x.size > 1 else float(y[0])


def restrict(
    labels: ArrayLike, scores: ArrayLike, *, low: float, high: float
) -> tuple[Float, Float]:
    """The part of a curve from ``low`` to ``high`` labels, interpolated linearly at both ends."""
    x, y = _curve(labels, scores)
    if not x[0] <= low <= high <= x[-1]:
        raise InputError(f"{low:g} to {high:g} is not within the curve, {x[0]:g} to {x[-1]:g}")
    grid = np.unique([low, *x[(x > low) & (x < high)], high])
    return grid, np.interp(grid, x, y)


def labels_to_reach(
    labels: ArrayLike, scores: ArrayLike, value: float, *, sustained: bool = False
) -> float:
    """Labels at which a curve first reaches ``value``, interpolated; ``inf`` when it never does.

    ``sustained=True``: the point after which it never falls below again.
    Over seeds take medians: a mean of ``inf`` says nothing.
    """
    x, y = _curve(labels, scores)
    if sustained:
        below = np.flatnonzero(y < value)
        k = int(below[-1]) + 1 if below.size else 0
    else:
        k = int(np.argmax(y >= value)) if (y >= value).any() else x.size
    if k == x.size:
        return inf
    if k == 0:
        return float(x[0])
    return float(x[k - 1] + (x[k] - x[k - 1]) * (value - y[k - 1]) / (y[k] - y[k - 1]))


def saving(method: float, random: float) -> float:
    """Share of labels saved at one score, 1 - method/random; NaN when either was not reached."""
    return 1 - method / random if isfinite(method) and isfinite(random) and random > 0 else nan


# --- statistics over seeds -----------------------------------------------------------------


@dataclass(frozen=True)
class PairedTest:
    """A - B over ``n`` common seeds; fields are NaN where ``n < 3`` allows no test."""

    n: int
    mean: float
    sd: float  # with n - 1
    t: float
    p: float  # two-sided, n - 1 degrees of freedom
    low: float  # t interval of the mean
    high: float
    effect: float  # mean / sd
    p_sign_flip: float
    p_wilcoxon: float

    def verdict(self, p_holm: float | None = None, *, alpha: float = 0.05) -> str:
        """``better`` or ``worse`` only with (Holm's) p < alpha and the interval on one side."""
        p = self.p if p_holm is None else p_holm
        if p < alpha and (self.low > 0 or self.high < 0):
            return "better" if self.mean > 0 else "worse"
        return "no difference shown"


Scores: TypeAlias = Sequence[float] | Float | Mapping[Any, float]


def paired_test(
    a: Scores, b: Scores, *, level: float = 0.95, rng: Generator | int = 0
) -> PairedTest:
    """Paired t-test of two methods over seeds, with two exact tests beside it.

    t = mean d / (sd d / sqrt n), d_r = a_r - b_r.  ``a``, ``b``: scores in the same order of
    seeds, or ``{seed: score}``, of which the common seeds are taken.  sd = 0: p = 0, or 1 when
    the mean is 0 too.  Sign flips of the mean (all 2^n up to n = 16, else 10,000 by ``rng``)
    and Wilcoxon: with 5 seeds neither can reach .05.
    """
    d = np.round(_differences(a, b), 12)  # .825 - .806 and .819 - .8 are the same difference
    n, mean = d.size, float(d.mean()) if d.size else nan
    if n < 3:
        return PairedTest(n, mean, *[nan] * 8)
    sd = float(d.std(ddof=1)) if np.ptp(d) else 0.0
    error = sd / sqrt(n)
    t = mean / error if error else copysign(inf, mean) if mean else 0.0
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    moved = d[d != 0]
    p = float(2 * stats.t.sf(abs(t), n - 1))
    effect = mean / sd if sd else t
    flip = _sign_flip(d, as_rng(rng))
    rank = float(stats.wilcoxon(moved).pvalue) if moved.size else 1.0
    return PairedTest(n, mean, sd, t, p, mean - half, mean + half, effect, flip, rank)


def _differences(a: Scores, b: Scores) -> Float:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        common: list[Hashable] = [seed for seed in a if seed in b]
        a, b = [a[s] for s in common], [b[s] for s in common]
    elif isinstance(a, Mapping) or isinstance(b, Mapping):
        raise InputError("one method has named seeds and the other has not: name both or neither")
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise InputError(f"{x.size} and {y.size} scores cannot be paired: give {{seed: score}}")
    if not np.isfinite([x, y]).all():
        raise InputError("a score is NaN or inf: leave that seed out of both methods")
    return x - y


def _sign_flip(d: Float, rng: Generator, flips: int = 10_000) -> float:
    """Share of sign patterns whose mean is as far from 0 as the one seen."""
    if d.size <= 16:
        signs = 1 - 2 * ((np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1)
    else:  # the pattern that was seen is one of them
        signs = np.vstack([np.ones(d.size), rng.choice([-1, 1], (flips, d.size))])
    far = np.abs(signs @ d) >= abs(d.sum()) - 1e-12
    return float(far.mean())


def holm(p: ArrayLike) -> Float:
    """Holm's adjusted p over a family named beforehand, in the order given.

    adj_(k) = max_{j <= k} (m - j + 1) p_(j), at most 1.  Holm 1979.
    """
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    steps = (raw.size - np.arange(raw.size)) * raw[order]
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def win_matrix(settings: Sequence[ArrayLike], *, level: float = 0.95) -> Float:
    """How often each method (row) beats each other (column) significantly, ``(M, M)``.

    ``settings``: one array ``(M, budgets, seeds)`` for each data set or setting.  A budget adds
    1 / budgets to P_ij where t_ij of the paired test passes t's quantile: at most
    ``len(settings)``.  A low column mean is good.  Ash et al., ICLR 2020.
    """
    tables = [np.asarray(s, dtype=np.float64) for s in settings]
    if not tables or any(s.ndim != 3 or len(s) != len(tables[0]) for s in tables):
        raise InputError("a win matrix needs (methods, budgets, seeds) with one list of methods")
    won = np.zeros((len(tables[0]),) * 2)
    for table in tables:
        methods, budgets, seeds = table.shape
        least = stats.t.ppf((1 + level) / 2, seeds - 1)
        for i, j, k in np.ndindex(methods, methods, budgets):
            won[i, j] += (i != j and paired_test(table[i, k], table[j, k]).t > least) / budgets
    return won


class Friedman(NamedTuple):
    """What `friedman` found about ``k`` methods."""

    ranks: Float  # (k,), the mean over sets; 1 is best
    chi2: float
    chi2_ties: float  # corrected for ties
    f: float  # Iman and Davenport's
    p: float
    cd: float  # Nemenyi's critical difference of two mean ranks
    differ: NDArray[np.bool_]  # (k, k)


def friedman(scores: ArrayLike, *, alpha: float = 0.05) -> Friedman:
    """Do ``k`` methods differ over ``N`` data sets?  ``scores (N, k)``, higher is better.

    Mid-ranks; chi2_F = 12 N / (k (k+1)) (sum R_j^2 - k (k+1)^2 / 4);
    F = (N-1) chi2 / (N (k-1) - chi2) with (k-1), (k-1)(N-1) degrees of freedom;
    CD = q sqrt(k (k+1) / (6 N)), q the studentised range over sqrt 2.  Blocks are sets, not
    seeds, and at least 5.  Same ranking everywhere: F = inf, p = 0.  Demsar, JMLR 7, 2006.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 5 or table.shape[1] < 2:
        raise InputError(f"Friedman's test needs 5 sets and 2 methods at least, got {table.shape}")
    n, k = table.shape
    ranks = stats.rankdata(-table, axis=1)
    mean = ranks.mean(axis=0)
    chi2 = 12 * n / (k * (k + 1)) * ((mean**2).sum() - k * (k + 1) ** 2 / 4)
    ties = sum((c**3 - c).sum() for c in (np.unique(r, return_counts=True)[1] for r in ranks))
    free = 1 - ties / (n * k * (k**2 - 1))
    left = n * (k - 1) - chi2
    f = (n - 1) * chi2 / left if left > 1e-9 else inf
    p = float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    cd = float(stats.studentized_range.ppf(1 - alpha, k, inf)) / sqrt(2) * sqrt(k * (k + 1) / 6 / n)
    differ = (p < alpha) & (np.abs(mean[:, None] - mean) > cd)
    return Friedman(mean, float(chi2), float(chi2 / free) if free else 0.0, float(f), p, cd, differ)


def bootstrap(
    values: ArrayLike, *, level: float = 0.95, resamples: int = 10_000, rng: Generator | int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean over ``values`` (seeds: training; items: one test set).

    All n^n resamples up to n = 6, exactly; else ``resamples`` by ``rng``.  Linear quantiles.
    With 5 seeds it is too narrow: the t interval of `paired_test` is the one to print.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise InputError(f"a bootstrap needs at least one finite value, got {x.size} values")
    if x.size <= 6:
        means = x[np.indices((x.size,) * x.size).reshape(x.size, -1)].mean(axis=0)
    else:
        draws = as_rng(rng)
        means = np.array([draws.choice(x, x.size).mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson(
    k: int, n: int, *, population: int | None = None, level: float = 0.95
) -> tuple[float, float]:
    """Wilson's interval for a share of which ``k`` of ``n`` sampled items are an instance.

    centre (s + z^2/2n) / (1 + z^2/n), half-width z sqrt(s (1-s)/n + z^2/4n^2) / (1 + z^2/n),
    s = k/n.  Drawn without replacement from ``population`` items M: n (M-1)/(M-n) in place of
    n; all of them: the point s.  Nothing drawn: (0, 1).  Wilson 1927.
    """
    if not 0 <= k <= n or (population is not None and n > population):
        raise InputError(f"{k} of {n} drawn from {population} items is no sample")
    if n == 0:
        return 0.0, 1.0
    share, size = k / n, float(n)
    if population is not None:
        if n == population:
            return share, share
        size = n * (population - 1) / (population - n)
    z = float(stats.norm.ppf((1 + level) / 2))
    centre = share + z**2 / (2 * size)
    half = z * sqrt(share * (1 - share) / size + z**2 / (4 * size**2))
    low, high = ((centre + sign * half) / (1 + z**2 / size) for sign in (-1, 1))
    return (0.0 if k == 0 else low), (1.0 if k == n else high)
