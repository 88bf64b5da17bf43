"""Spreading and propagation on a graph: worked numbers, slow twins, scikit-learn's opinion."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array
from sklearn.semi_supervised import LabelSpreading

from handful import geometry, graph
from handful.errors import InputError
from handful.geometry import knn
from handful.rng import rng_for

KNOWN = np.array([0, -1, -1, -1, 1, -1])


def path_graph() -> csr_array:
    """w01 = 1, w12 = .5, w23 = .8, w34 = 1, w13 = .2, node 5 alone."""
    W = np.zeros((6, 6))
    for i, j, w in ((0, 1, 1), (1, 2, 0.5), (2, 3, 0.8), (3, 4, 1), (1, 3, 0.2)):
        W[i, j] = W[j, i] = w
    return csr_array(W)


def scaled(W):
    """S = D^-1/2 W D^-1/2, entry by entry."""
    n, degree = len(W), W.sum(axis=1)
    S = np.zeros_like(W)
    for i in range(n):
        for j in range(n):
            if W[i, j] > 0:
                S[i, j] = W[i, j] / np.sqrt(degree[i] * degree[j])
    return S


def slow_spread(W, known, n_classes, alpha, steps=3000):
    """The fixed point F <- alpha S F + (1 - alpha) Y, walked."""
    S, Y = scaled(W), np.zeros((len(W), n_classes))
    for i, c in enumerate(known):
        if c >= 0:
            Y[i, c] = 1
    F = Y.copy()
    for _ in range(steps):
        F = alpha * S @ F + (1 - alpha) * Y
    return F


def slow_harmonic(W, known, n_classes, steps=3000):
    """Every free row becomes the weighted mean of its neighbours, again and again."""
    F = np.zeros((len(W), n_classes))
    for i, c in enumerate(known):
        if c >= 0:
            F[i, c] = 1
    for _ in range(steps):
        for i, c in enumerate(known):
            if c < 0 and W[i].sum() > 0:
                F[i] = sum(W[i, j] * F[j] for j in range(len(W))) / W[i].sum()
    return F


def blobs(n=120, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    return rng.normal(size=(n, 4)) + 4 * np.eye(4)[truth], truth


# --- worked numbers ------------------------------------------------------------------------


def test_worked_degrees_and_scaling():
    W = path_graph()
    np.testing.assert_allclose(W.sum(axis=1), [1, 1.7, 1.3, 2, 1, 0])
    want = [0.766965, 0, 0.336336, 0.108465, 0, 0]
    np.testing.assert_allclose(scaled(W.toarray())[1], want, atol=5e-7)


def test_worked_spreading():
    found = graph.spread(path_graph(), KNOWN, 2, tol=1e-10)
    want = [[0.261554, 0.087641], [0.234046, 0.126966], [0.132339, 0.143621],
            [0.137714, 0.235570], [0.087641, 0.249916], [0, 0]]  # fmt: skip
    np.testing.assert_allclose(found.X, want, atol=5e-7)
    share = [[0.749021, 0.250979], [0.648305, 0.351695], [0.479559, 0.520441],
             [0.368926, 0.631074], [0.259633, 0.740367], [0, 0]]  # fmt: skip
    np.testing.assert_allclose(graph.normalised(found.X), share, atol=5e-7)
    # five connected nodes: five steps in exact arithmetic, and here
    assert found.iterations == 5
    assert found.residual < 1e-10
    assert graph.reached(path_graph(), KNOWN).tolist() == [True] * 5 + [False]
    # the random walk D^-1 W in place of S gives another second row: .116069, .125964
    assert abs(found.X[2] - [0.116069, 0.125964]).min() > 0.01


def test_worked_harmonic_and_class_mass():
    F = graph.harmonic(path_graph(), KNOWN, 2, eps=0, tol=1e-12).X
    want = [[0.748092, 0.251908], [0.442748, 0.557252], [0.251908, 0.748092]]
    np.testing.assert_allclose(F[1:4], want, atol=5e-7)
    assert F[0].tolist() == [1, 0]
    assert F[5].tolist() == [0, 0]
    prior = graph.class_prior(np.array([0, 0, 0, 1, -1, -1]), 2)
    np.testing.assert_allclose(prior, [2 / 3, 1 / 3])
    massed = graph.normalised(graph.class_mass(F[1:4], prior))
    want = [[0.865061, 0.134939], [0.631697, 0.368303], [0.420934, 0.579066]]
    np.testing.assert_allclose(massed, want, atol=5e-7)
    assert F[2].argmax() != massed[1].argmax()  # node 2 changes class


def test_worked_local_scaling():
    made = graph.knn_graph(*knn(np.array([[0.0], [1], [3], [4]]), 2))
    assert made.sigma.tolist() == [3, 2, 2, 3]
    W = made.W.toarray()
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    want = [0.846482, 0.223130, 0, 0.367879, 0.223130, 0.846482]
    np.testing.assert_allclose([W[i, j] for i, j in pairs], want, atol=5e-7)
    np.testing.assert_array_equal(W, W.T)


def test_equals_scikit_learn_on_the_worked_graph():
    W = path_graph().toarray()
    W[5, 5] = 1  # scikit-learn divides by the degree of a lonely node
    other = LabelSpreading(kernel=lambda a, b: W, alpha=0.9, max_iter=10_000, tol=1e-12)
    labels = np.where(KNOWN >= 0, KNOWN, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it divides the lonely node's zeros
        other.fit(np.arange(6.0)[:, None], labels)
    found = graph.normalised(graph.spread(path_graph(), KNOWN, 2, tol=1e-12).X)
    np.testing.assert_allclose(other.label_distributions_[:5], found[:5], atol=1e-6)


# --- slow twins ----------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 0.9, 0.99])
def test_spreading_equals_the_walk_to_its_fixed_point(alpha):
    x, truth = blobs()
    W = graph.knn_graph(*knn(x, 6)).W
    known = np.where(np.arange(len(x)) < 12, truth, -1)
    found = graph.spread(W, known, 3, alpha=alpha, tol=1e-10)
    np.testing.assert_allclose(found.X, slow_spread(W.toarray(), known, 3, alpha), atol=1e-7)
    assert found.residual <= 1e-10
    rough = graph.spread(W, known, 3, alpha=alpha)
    assert rough.residual <= 1e-6
    assert rough.iterations < found.iterations


def test_harmonic_equals_the_mean_of_its_neighbours():
    x, truth = blobs(60)
    W = graph.knn_graph(*knn(x, 6)).W
    known = np.where(np.arange(len(x)) < 12, truth, -1)
    found = graph.harmonic(W, known, 3, eps=0, tol=1e-12)
    np.testing.assert_allclose(found.X, slow_harmonic(W.toarray(), known, 3), atol=1e-6)
    np.testing.assert_allclose(found.X.sum(axis=1), 1, atol=1e-9)
    # eps costs what it says: sums below 1 by about eps / degree
    held = graph.harmonic(W, known, 3, eps=1e-3, tol=1e-12).X.sum(axis=1)
    assert 0.95 < held.min() < 1


def test_graph_equals_the_double_loop():
    x, _ = blobs(40)
    k = 9
    ids, d2 = knn(x, k)
    made = graph.knn_graph(ids, d2)
    near = [set(row) for row in ids]
    sigma = [sorted(np.linalg.norm(x - x[i], axis=1))[7] for i in range(40)]  # the 7th other
    np.testing.assert_allclose(made.sigma, sigma, rtol=1e-6)
    want = np.zeros((40, 40))
    for i in range(40):
        for j in range(40):
            if j in near[i] or i in near[j]:
                want[i, j] = np.exp(-((x[i] - x[j]) ** 2).sum() / (sigma[i] * sigma[j]))
    np.testing.assert_allclose(made.W.toarray(), want, rtol=1e-5, atol=1e-12)
    assert made.W.dtype == np.float64
    assert made.W.nnz <= 2 * 40 * k


def test_vote_of_new_rows_equals_its_double_loop():
    rng = np.random.default_rng(3)
    ids, d2 = rng.integers(0, 9, (5, 8)), np.sort(rng.random((5, 8)), axis=1)
    sigma, F = rng.random(9) + 0.1, rng.random((9, 3))
    want = np.zeros((5, 3))
    for b in range(5):
        own = np.sqrt(d2[b, 6])
        for j, d in zip(ids[b], d2[b], strict=True):
            want[b] += np.exp(-d / (own * sigma[j])) * F[j]
    np.testing.assert_allclose(graph.vote_of_neighbours(ids, d2, sigma, F), want)


def test_conjugate_gradients_solve_each_column_and_stop():
    rng = np.random.default_rng(4)
    M = rng.normal(size=(30, 30))
    A, B = M @ M.T + np.eye(30), rng.normal(size=(30, 4))
    B[:, 2] = 0
    for diagonal in (None, np.diag(A).copy()):
        found = graph.conjugate_gradients(lambda P: A @ P, B, diagonal=diagonal, tol=1e-10)
        np.testing.assert_allclose(found.X, np.linalg.solve(A, B), atol=1e-7)
    short = graph.conjugate_gradients(lambda P: A @ P, B, max_iter=3)
    assert short.iterations == 3
    assert short.residual > 1e-6


# --- degenerate input ----------------------------------------------------------------------


def test_duplicates_and_constant_rows_stay_finite():
    x = np.repeat(np.arange(5.0), 4)[:, None]
    made = graph.knn_graph(*knn(x, 3))
    assert (made.sigma == 1e-12).all()
    assert set(made.W.data) == {1.0}
    known = np.array([0, -1, -1, -1, 1, *[-1] * 15])
    assert graph.reached(made.W, known).sum() == 8
    for solve in (graph.spread, graph.harmonic):
        share = graph.normalised(solve(made.W, known, 2).X)
        assert share[:8].argmax(axis=1).tolist() == [0] * 4 + [1] * 4
        assert (share[8:] == 0).all()


def test_few_rows_and_no_label():
    for n in (1, 2):
        made = graph.knn_graph(*knn(np.zeros((n, 2)), 10))
        none = np.full(n, -1)
        assert made.W.shape == (n, n)
        assert not graph.reached(made.W, none).any()
        for solve in (graph.spread, graph.harmonic):
            assert (solve(made.W, none, 3).X == 0).all()
            everything = solve(made.W, np.zeros(n, dtype=int), 3).X
            assert (everything.argmax(axis=1) == 0).all()


def test_class_mass_leaves_a_class_without_mass_at_nothing():
    F = np.array([[0.5, 0.0], [0.2, 0.0]])
    assert (graph.class_mass(F, np.array([0.5, 0.5]))[:, 1] == 0).all()
    with pytest.raises(InputError, match="shares"):
        graph.class_mass(F, np.array([1.0]))


def test_large_graphs_hold_half_the_bytes(monkeypatch):
    monkeypatch.setattr(graph, "_DOUBLE_UP_TO", 50)
    x, truth = blobs()
    small = graph.knn_graph(*knn(x, 6)).W
    assert small.dtype == np.float32
    known = np.where(np.arange(len(x)) < 12, truth, -1)
    found = graph.spread(small, known, 3, tol=1e-10).X
    assert found.dtype == np.float64
    monkeypatch.undo()
    want = graph.spread(graph.knn_graph(*knn(x, 6)).W, known, 3, tol=1e-10).X
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_smoothing_equals_its_double_loop_and_leaves_a_lone_row():
    W, x = path_graph(), np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    dense, slow = W.toarray(), x.astype(np.float64)
    for _ in range(3):
        before = slow.copy()
        for i in range(6):
            if dense[i].sum() > 0:
                near = sum(dense[i, j] * before[j] for j in range(6)) / dense[i].sum()
                slow[i] = (before[i] + near) / 2
    found = graph.smooth(W, x, 3)
    np.testing.assert_allclose(found, slow, atol=1e-6)
    assert found.dtype == np.float32
    assert np.array_equal(found[5], x[5])
    assert np.array_equal(graph.smooth(W, x, 0), x)


def test_many_steps_of_smoothing_leave_the_mean_of_each_part():
    W = csr_array(np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3)))  # two triangles
    x = np.arange(6.0)[:, None]
    np.testing.assert_allclose(graph.smooth(W, x, 60)[:, 0], [1, 1, 1, 4, 4, 4], atol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 0.95])
def test_the_reach_of_single_answers_is_the_inverse_within_its_bound(alpha: float) -> None:
    x = rng_for(3, None, "test").normal(size=(40, 4))
    near = geometry.neighbours(x[:38].astype(np.float32), 5)
    W = csr_array(block_diag([graph.knn_graph(near.ids, near.d2).W, np.zeros((2, 2))]))
    degree = np.asarray(W.sum(axis=1)).ravel()
    root = np.divide(1, np.sqrt(degree), out=np.zeros(40), where=degree > 0)
    S = root[:, None] * W.toarray() * root
    exact = (1 - alpha) * np.linalg.inv(np.eye(40) - alpha * S)
    rows = np.array([0, 17, 39])  # the last has no neighbour and keeps what it is given
    for tol in (1e-2, 1e-4, 1e-6):
        found = graph.reach(W, rows, alpha=alpha, tol=tol)
        assert np.linalg.norm(found - exact[:, rows], axis=0).max() <= tol + 1e-6
    assert found[39].tolist() == [0, 0, pytest.approx(1 - alpha, abs=1e-6)]
