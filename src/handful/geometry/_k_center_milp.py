"""k-center to the end: the smallest radius there is, by mixed integer programs."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry._blocks import Array, Ints
from handful.geometry._distances import squared_distances
from handful.geometry._k_center import k_center

MILP_ROWS = 3000
_ROUNDING = 1 + 1e-9  # of a radius that is itself one of the distances


class Optimum(NamedTuple):
    """Rows ``(k,)`` rising, the radius that they leave, and how far below it the smallest may be,
    as a share of it: 0 where it was found."""

    rows: Ints
    radius: float
    gap: float


def k_center_milp(
    x: Array,
    chosen: Ints,
    k: int,
    rng: Generator,
    *,
    free: NDArray[np.bool_],
    outliers: int = 0,
    seconds: float = 60.0,
) -> Optimum:
    """``k`` further centres among the ``free`` rows of ``x (n, d)`` of smallest radius.

    Bisection over the distinct distances, from greedy's radius down to half of it (to 0 with
    ``outliers``: there greedy promises nothing).  A radius r will do when there are y, z in
    {0, 1} with sum y = k, sum z <= outliers and, for every row i that no centre of ``chosen``
    covers, sum over |x_i - x_j| <= r of y_j + z_i >= 1.  HiGHS, ``seconds`` in all; what was best
    until then comes back with its gap.

    Errors: more than 3,000 rows to cover.  O(n^2) memory.  Sener & Savarese, ICLR 2018.
    """
    greedy = k_center(x, chosen, k, rng, free=free, outliers=outliers)
    rows = np.flatnonzero(free)
    if len(rows) > MILP_ROWS:
        raise InputError(
            f"the smallest radius of {len(rows)} images takes too long: leave solver at greedy"
            f" above {MILP_ROWS}"
        )
    if len(greedy.rows) == len(rows) or not len(greedy.rows):
        return Optimum(np.sort(greedy.rows), 0.0, 0.0)
    away = np.sqrt(squared_distances(x[rows].astype(np.float64), x[rows].astype(np.float64)))
    reach = np.full(len(rows), np.inf)
    if len(chosen):
        near = squared_distances(x[rows].astype(np.float64), x[chosen].astype(np.float64))
        reach = np.sqrt(near.min(axis=1))
    best, radius = np.sort(greedy.rows), float(greedy.radii[-1])
    below = 0.0 if outliers else radius / 2
    candidates = np.unique(np.concatenate([away.ravel(), reach[np.isfinite(reach)]]))
    candidates = candidates[(candidates >= below / _ROUNDING) & (candidates < radius / _ROUNDING)]
    low, high, end = 0, len(candidates), monotonic() + seconds
    while low < high:
        middle = (low + high) // 2
        left = end - monotonic()
        found = _cover(away, reach, candidates[middle], len(best), outliers, left)
        if found is None:
            break
        if len(found):
            best, radius, high = rows[found], float(candidates[middle]), middle
        else:
            low = middle + 1
    smallest = float(candidates[low]) if low < high else radius
    return Optimum(best, radius, (radius - smallest) / radius if radius else 0.0)


def _cover(
    away: NDArray[np.float64], reach: NDArray[np.float64], r: float, k: int, outliers: int,
    seconds: float,
) -> Ints | None:  # fmt: skip
    """``k`` rows within ``r`` of all but ``outliers``; empty when there are none; None: no time."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack

    n, bare = len(away), np.flatnonzero(reach > r * _ROUNDING)
    if seconds <= 0:
        return None
    within = csr_array((away[bare] <= r * _ROUNDING).astype(np.float64))
    counts = np.zeros((2, n + len(bare)))
    counts[0, :n], counts[1, n:] = 1, 1
    constraints = [LinearConstraint(counts, [k, 0], [k, outliers])]
    if len(bare):
        constraints.append(LinearConstraint(hstack([within, eye_array(len(bare))]).tocsc(), 1))
    found = milp(
        np.zeros(n + len(bare)),
        integrality=np.ones(n + len(bare)),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"time_limit": seconds},
    )
    if found.x is not None:
        return np.flatnonzero(found.x[:n] > 0.5)
    return np.empty(0, dtype=np.int64) if found.status == 2 else None
