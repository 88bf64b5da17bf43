"""Labels on a graph of neighbours: the kNN graph, label spreading, the harmonic function.

::

    w_ij = exp(-d_ij^2 / (sigma_i sigma_j))  for j among the k nearest of i,   W = max(W, W^T)
    spreading   F   = (1 - alpha) (I - alpha S)^-1 Y,      S = D^-1/2 W D^-1/2
    harmonic    F_u = (D_uu - W_uu + eps I)^-1 W_ul Y_l,   F_l = Y_l
    class mass  F'_ic = F_ic q_c / sum_{u} F_uc

``Y (n, C)`` is one-hot on the labelled rows and 0 elsewhere; sigma_i is the distance to the
min(7, k)-th neighbour.  Both systems are symmetric and positive definite: conjugate gradients
solve them for all classes at once, in O(iterations nnz(W) C) time and four arrays (n, C).

Zhou, Bousquet, Lal, Weston & Schoelkopf, NIPS 2003; Zhu, Ghahramani & Lafferty, ICML 2003;
local scaling: Zelnik-Manor & Perona, NIPS 2004.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry import row_blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "Graph",
    "Solution",
    "class_mass",
    "class_prior",
    "conjugate_gradients",
    "harmonic",
    "knn_graph",
    "local_scale",
    "normalised",
    "reach",
    "reached",
    "smooth",
    "spread",
    "vote_of_neighbours",
]

Array: TypeAlias = NDArray[Any]
Matrix: TypeAlias = NDArray[np.float64]
Single: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]

SCALE_AT = 7  # Zelnik-Manor & Perona: the 7th neighbour says how wide a place is
_LEAST_SCALE = 1e-12  # of duplicates, which have no width
NOTHING = 1e-12  # a row of F that sums to less has heard of no label
_DOUBLE_UP_TO = 200_000  # rows whose weights are float64


class Graph(NamedTuple):
    """``W (n, n)`` symmetric, sparse, zero diagonal; ``sigma (n,)``, the local scales."""

    W: csr_array
    sigma: Matrix


class Solution(NamedTuple):
    """``X (n, C)``, the steps taken, and the largest relative residual of a column."""

    X: Matrix
    iterations: int
    residual: float


# --- the graph -----------------------------------------------------------------------------


def local_scale(d2: Array) -> Matrix:
    """sigma ``(n,)``: distance to the min(7, k)-th of the neighbours ``d2 (n, k)``, at least 1e-12.

    Rows of ``d2`` rise; no neighbour at all gives the floor.
    """
    if not d2.shape[1]:
        return np.full(len(d2), _LEAST_SCALE)
    at = d2[:, min(SCALE_AT, d2.shape[1]) - 1].astype(np.float64)
    return np.asarray(np.maximum(np.sqrt(at), _LEAST_SCALE))


def knn_graph(ids: Array, d2: Array) -> Graph:
    """The symmetric graph of neighbours ``ids (n, k)`` at squared distances ``d2 (n, k)``.

    Neighbours are given nearest first, a row never among its own.  A duplicate has weight 1.
    float64 up to 200,000 rows, float32 above; at most 2 n k entries.  O(n k) time and memory.
    """
    from scipy.sparse import csr_array

    n, k = ids.shape
    sigma = local_scale(d2)
    kind = np.float64 if n <= _DOUBLE_UP_TO else np.float32
    data = np.empty((n, k), dtype=kind)
    for rows in row_blocks(n, 3 * max(k, 1)):
        # one division after the other: the product of two floors would be 0 in float32
        scaled = d2[rows] / sigma[rows][:, None] / sigma[ids[rows]]
        data[rows] = np.exp(-scaled)
    starts = np.arange(n + 1, dtype=np.int64) * k
    one_way = csr_array((data.ravel(), ids.ravel().astype(np.int64), starts), shape=(n, n))
    one_way.sort_indices()
    W = csr_array(one_way.maximum(one_way.T))
    W.setdiag(0)
    W.eliminate_zeros()  # distances so large that they underflow are no edge
    return Graph(W, sigma)


def smooth(W: csr_array, x: Array, steps: int) -> Matrix:
    """``x (n, d)`` after ``steps`` times  x := (x + D^-1 W x) / 2: half itself, half neighbours.

    A random walk on the graph, lazy by a half: what varies within a cluster fades before what
    tells clusters apart (F. Wu et al., ICML 2019, without a network; the limit of many steps is
    the mean of each component).  A row without an edge stays.  O(steps nnz d); two copies of x.
    """
    from scipy.sparse import diags_array

    degree = np.asarray(W.sum(axis=1)).ravel()
    share = diags_array(np.divide(1, degree, out=np.zeros_like(degree), where=degree > 0)) @ W
    x, alone = np.array(x), degree <= 0
    for _ in range(steps):
        near = share @ x
        near[alone] = x[alone]
        x = ((x + near) / 2).astype(x.dtype, copy=False)
    return x


def reached(W: csr_array, known: Array) -> NDArray[np.bool_]:
    """Rows ``(n,)`` whose connected component holds a label.  O(n + nnz), by a search."""
    from scipy.sparse.csgraph import connected_components

    n_components, component = connected_components(W, directed=False)
    has_label = np.zeros(n_components, dtype=bool)
    has_label[component[known >= 0]] = True
    found: NDArray[np.bool_] = has_label[component]
    return found


# --- the two systems -----------------------------------------------------------------------


def conjugate_gradients(
    product: Callable[[Matrix], Matrix],
    B: Matrix,
    *,
    diagonal: Matrix | None = None,
    tol: float = 1e-6,
    max_iter: int = 500,
) -> Solution:
    """Solve A X = B, A symmetric positive definite, for all columns of ``B (n, C)`` at once.

    ``product(P)`` is A P; ``diagonal (n,)`` of A preconditions (Jacobi).  A column rests once
    its residual is at most ``tol`` times its right-hand side.  Hestenes & Stiefel 1952.
    """
    X = np.zeros_like(B)
    R = B.copy()
    size = np.linalg.norm(B, axis=0)
    going = size > 0
    scale = np.ones((len(B), 1)) if diagonal is None else diagonal[:, None]
    P = R / scale
    energy = np.einsum("nc,nc->c", R, P)
    steps = 0
    while going.any() and steps < max_iter:
        AP = product(P)
        curvature = np.einsum("nc,nc->c", P, AP)
        going &= curvature > 0
        step = np.divide(energy, curvature, out=np.zeros_like(energy), where=going)
        X += step * P
        R -= step * AP
        steps += 1
        going &= np.linalg.norm(R, axis=0) > tol * size
        Z = R / scale
        before, energy = energy, np.einsum("nc,nc->c", R, Z)
        turn = np.divide(energy, before, out=np.zeros_like(energy), where=going)
        P *= turn
        P += Z
    left = np.divide(np.linalg.norm(R, axis=0), size, out=np.zeros_like(size), where=size > 0)
    return Solution(X, steps, float(left.max(initial=0)))


def spread(
    W: csr_array,
    known: Array,
    n_classes: int,
    *,
    alpha: float = 0.9,
    tol: float = 1e-6,
    max_iter: int = 500,
) -> Solution:
    """F ``(n, C)`` of label spreading; ``known (n,)`` is -1 where there is no label.

    F = (1 - alpha) (I - alpha S)^-1 Y.  A row without an edge keeps its own label alone.
    The condition number is at most (1 + alpha) / (1 - alpha), so a few dozen steps do.
    Zhou et al., NIPS 2003 (alpha .99 there).
    """
    scaled = _scaled(W)

    def product(P: Matrix) -> Matrix:
        return np.asarray(P - alpha * (scaled @ P))

    Y = _one_hot(known, n_classes)
    found = conjugate_gradients(product, (1 - alpha) * Y, tol=tol, max_iter=max_iter)
    return found._replace(X=np.maximum(found.X, 0))  # below 0 by rounding alone


def reach(W: csr_array, rows: Array, *, alpha: float = 0.8, tol: float = 1e-5) -> Single:
    """R ``(n, r)``: what `spread` gives every image from an answer to each of ``rows (r,)`` alone.

    R = (1 - alpha) (I - alpha S)^-1 E by Chebyshev's semi-iteration: S has no eigenvalue beyond
    [-1, 1], so that k steps leave at most 2 q^k of the error, q = alpha / (1 + sqrt(1 - alpha^2)),
    and nothing is measured on the way.  O(r nnz) a step, 18 of them at alpha .8; float32, four
    times n r.  Golub & Varga, Numerische Mathematik 3, 1961.
    """
    scaled = _scaled(W).astype(np.float32)
    n, r = W.shape[0], len(rows)
    B = np.zeros((n, r), dtype=np.float32)
    B[rows, np.arange(r)] = 1 - alpha
    if not alpha:
        return B
    q = alpha / (1 + math.sqrt(1 - alpha**2))
    steps = max(1, math.ceil(math.log(tol / 2) / math.log(q)))
    before, X = B, B + np.float32(alpha) * (scaled @ B)
    weight = 1 / (1 - alpha**2 / 2)
    for _ in range(1, steps):
        after = scaled @ X
        after *= alpha
        after += B
        after -= before
        after *= weight
        after += before
        before, X = X, after
        weight = 1 / (1 - alpha**2 * weight / 4)
    return np.asarray(np.maximum(X, 0))  # below 0 by rounding alone


def harmonic(
    W: csr_array,
    known: Array,
    n_classes: int,
    *,
    eps: float = 1e-6,
    tol: float = 1e-6,
    max_iter: int = 500,
) -> Solution:
    """F ``(n, C)`` of the harmonic function: each unlabelled row is the mean of its neighbours.

    (D_uu - W_uu + eps I) F_u = W_ul Y_l with F_l = Y_l held fast.  Rows sum to 1, up to ``eps``,
    where a label can be reached, and to 0 elsewhere.  Zhu, Ghahramani & Lafferty, ICML 2003.
    """
    labelled, free = np.flatnonzero(known >= 0), np.flatnonzero(known < 0)
    F = _one_hot(known, n_classes)
    if not len(labelled) or not len(free):
        return Solution(F, 0, 0.0)
    rows = W[free]
    inside, across = rows[:, free], rows[:, labelled]
    # without eps a part that no label reaches is singular: its right-hand side is 0 as well
    diagonal = _degrees(rows) + eps
    diagonal[diagonal == 0] = 1.0

    def product(P: Matrix) -> Matrix:
        return np.asarray(diagonal[:, None] * P - inside @ P)

    B = np.asarray(across @ F[labelled])
    found = conjugate_gradients(product, B, diagonal=diagonal, tol=tol, max_iter=max_iter)
    F[free] = np.maximum(found.X, 0)
    return found._replace(X=F)


# --- what F says ---------------------------------------------------------------------------


def class_prior(known: Array, n_classes: int) -> Matrix:
    """q_c = (n_c + 1) / (l + C), ``(C,)``: shares of the classes among the labels, smoothed."""
    counts = np.bincount(known[known >= 0], minlength=n_classes).astype(np.float64)
    return np.asarray((counts + 1) / (counts.sum() + n_classes))


def class_mass(F: Matrix, prior: Array) -> Matrix:
    """F'_ic = F_ic q_c / m_c, m_c = sum over the rows of ``F (u, C)``; a class of mass 0 stays 0.

    ``F`` holds the unlabelled rows alone.  Zhu, Ghahramani & Lafferty, ICML 2003.
    """
    if prior.shape != (F.shape[1],) or (prior < 0).any() or not np.isfinite(prior).all():
        raise InputError(
            f"class shares of shape {prior.shape} for {F.shape[1]} classes: give one share, 0 or"
            " more, a class"
        )
    mass = F.sum(axis=0)
    return np.asarray(F * np.divide(prior, mass, out=np.zeros_like(mass), where=mass > 0))


def normalised(F: Array) -> Matrix:
    """``F (n, C)`` with rows that sum to 1; a row that heard of no label stays 0."""
    total = F.sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(np.divide(F, total, out=np.zeros(F.shape), where=total > NOTHING))


def vote_of_neighbours(ids: Array, d2: Array, sigma: Array, F: Array) -> Matrix:
    """F of new rows ``(B, C)``: sum over their neighbours j of exp(-d^2 / (sigma sigma_j)) F_j.

    ``ids, d2 (B, k)`` are rows of ``F (n, C)`` and ``sigma (n,)``, nearest first.
    """
    own = local_scale(d2)
    w = np.exp(-(d2 / own[:, None] / np.asarray(sigma, dtype=np.float64)[ids]))
    return np.asarray(np.einsum("bk,bkc->bc", w, np.asarray(F, dtype=np.float64)[ids]))


def _scaled(W: csr_array) -> csr_array:
    """S = D^-1/2 W D^-1/2; a row without an edge stays empty."""
    from scipy.sparse import csr_array, diags_array

    degree = _degrees(W)
    root = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return csr_array(diags_array(root) @ W @ diags_array(root))


def _degrees(W: csr_array) -> Matrix:
    return np.asarray(W.sum(axis=1, dtype=np.float64)).ravel()


def _one_hot(known: Array, n_classes: int) -> Matrix:
    Y = np.zeros((len(known), n_classes))
    labelled = np.flatnonzero(known >= 0)
    Y[labelled, known[labelled]] = 1
    return Y
