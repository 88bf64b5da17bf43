"""UncertainGCN and CoreGCN: the graph against its dense form, the worked numbers, the picks."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from handful.errors import InputError, RecipeError, TrainingError
from handful.losses.gcn import labelled_loss
from handful.networks.gcn import GCN, CosineGraph
from handful.queries_learned import CoreGCN, UncertainGCN
from handful.queries_learned.gcn import SequentialGCN, projected
from handful.registry import top_k
from handful.rng import rng_for
from handful.testing.randomness import global_states_untouched
from handful.types import Snapshot

V = torch.tensor([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [0.28, 0.96]], dtype=torch.float64)
LABELLED = torch.tensor([False, False, False, True, True])
RULES = (UncertainGCN, CoreGCN)


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(np.asarray(a.detach() if isinstance(a, torch.Tensor) else a), b,
                               atol=5.1e-7)  # fmt: skip


def worked_network() -> GCN:
    with torch.random.fork_rng():
        network = GCN(2, hidden=2).double().eval()
    weights = {
        "W1": [[0.5, -0.3], [0.2, 0.4]], "b1": [0.1, -0.05], "W2": [[0.7], [-0.6]], "b2": [0.05],
    }  # fmt: skip
    network.load_state_dict({k: torch.tensor(w, dtype=torch.float64) for k, w in weights.items()})
    return network


def dense(v: np.ndarray, affinity: str, norm: str) -> np.ndarray:
    """A as it is printed, n x n."""
    n = len(v)
    S, A = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            cosine = float(v[i] @ v[j])
            S[i, j] = 0 if i == j else (cosine if affinity == "cosine" else (1 + cosine) / 2)
    degree = np.array([S[i].sum() if abs(S[i].sum()) > 1e-9 else 1.0 for i in range(n)])
    for i in range(n):
        for j in range(n):
            A[i, j] = S[i, j] / degree[i if norm == "row" else j] + (i == j)
    return A


# --- worked numbers -------------------------------------------------------------------------


def test_worked_numbers_of_the_graph() -> None:
    row, column = (CosineGraph(V, adjacency_norm=norm) for norm in ("row", "column"))
    close(row.degrees, [1.68, 3.16, 3.296, 2.36, 2.976])
    eye = torch.eye(5, dtype=torch.float64)
    close(row(eye)[0], [1, 0.476190, 0.357143, 0, 0.166667])
    close(column(eye)[0], [1, 0.253165, 0.182039, 0, 0.094086])
    signed = torch.tensor([[1, 0], [-0.6, 0.8], [0, -1]], dtype=torch.float64)
    close(CosineGraph(signed).degrees, [-0.6, -1.4, -0.8])
    close(CosineGraph(signed, affinity="shifted").degrees, [0.7, 0.3, 0.6])


def test_worked_numbers_of_the_network() -> None:
    network, graph = worked_network(), CosineGraph(V)
    H, o = network(graph, graph(V))
    close(H, [[1.067238, 0], [1.008354, 0.068481], [0.945301, 0.217670], [0.723186, 0.519492],
              [0.828022, 0.394839]])  # fmt: skip
    f = o.sigmoid()
    close(f, [0.795828, 0.766551, 0.741784, 0.675460, 0.705057])
    columns = CosineGraph(V, adjacency_norm="column")
    _, of_columns = network(columns, columns(V))
    close(of_columns.sigmoid(), [0.728193, 0.805426, 0.782323, 0.647364, 0.718957])
    loss = labelled_loss(o, LABELLED)
    close(loss, 2.129937)
    loss.backward()
    assert network.W1.grad is not None
    close(network.W1.grad, [[1.205186, -0.603401], [0.957594, -0.629411]])
    other = -1.2 * torch.log(f[LABELLED]).mean() - torch.log(1 - f[~LABELLED]).mean()
    close(other, 1.910951)


class Worked:
    """The worked network in place of a trained one."""

    def _trained(self, v: np.ndarray, labelled: np.ndarray, rng: Any) -> tuple[Any, Any]:
        assert labelled.tolist() == LABELLED.tolist()
        graph = CosineGraph(torch.from_numpy(v))
        H, o = worked_network()(graph, graph(graph.v))
        return H.detach().numpy(), o.sigmoid().detach().numpy()


def test_worked_numbers_of_the_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SequentialGCN, "_trained", Worked._trained)
    snapshot = Snapshot.from_arrays(known=np.array([-1, -1, -1, 0, 0]), embedding=V.numpy())
    graph = CosineGraph(V)
    of_graph, o = (t.detach() for t in worked_network()(graph, graph(V)))
    away = np.abs(o.sigmoid().numpy() - 0.1)[:3]
    close(away, [0.695828, 0.666551, 0.641784])
    rng = rng_for(0, 0, "q")
    assert UncertainGCN().select(snapshot, 1, rng).rows.tolist() == [2]
    assert top_k(away, 1, rng).tolist() == [0]  # the other end
    picks = CoreGCN().select(snapshot, 1, rng)
    assert picks.rows.tolist() == [0]
    H = of_graph.numpy()
    nearest = np.linalg.norm(H[:3, None] - H[None, 3:], axis=2).min(axis=1)
    close(nearest, [0.461652, 0.372866, 0.212469])
    two = CoreGCN().select(snapshot, 2, rng)
    assert two.rows.tolist() == [0, 2]
    left = [min(nearest[i], np.linalg.norm(H[i] - H[0])) for i in (1, 2)]
    assert two.memo["radius"][0] == pytest.approx(max(left))


# --- never n x n ----------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["row", "column"])
@pytest.mark.parametrize("affinity", ["cosine", "shifted"])
def test_products_equal_those_of_the_dense_adjacency(affinity: Any, norm: Any) -> None:
    for seed, (n, d, q) in enumerate([(1, 1, 1), (2, 3, 2), (17, 4, 6), (40, 9, 1)]):
        rng = rng_for(seed, 0, "v")
        v = rng.normal(size=(n, d)) if affinity == "shifted" else rng.random((n, d))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        if n > 5:
            v[3] = 0  # an image without a feature
        x = rng.normal(size=(n, q))
        leaf = torch.from_numpy(x.copy()).requires_grad_()
        graph = CosineGraph(torch.from_numpy(v), affinity=affinity, adjacency_norm=norm)
        A = dense(v, affinity, norm)
        np.testing.assert_allclose(graph(leaf).detach(), A @ x, rtol=1e-12, atol=1e-12)
        graph(leaf).square().sum().backward()
        np.testing.assert_allclose(leaf.grad, 2 * A.T @ A @ x, rtol=1e-11, atol=1e-11)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation of torch makes."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, list | tuple) else (out,):
            self.numel = max(self.numel, getattr(made, "numel", int)())
        return out


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("norm", ["row", "column"])
def test_nothing_is_n_by_n(kind: Any, norm: Any) -> None:
    """Neither A nor a diagonal as a matrix, as the released code has both; nor in a gradient."""
    n, d, hidden = 200, 6, 7
    rule = kind(steps=2, hidden=hidden, adjacency_norm=norm)
    with Largest() as seen:
        rule.select(made(n, d=d), 3, rng_for(0, 0, "q"))
    assert seen.numel == n * hidden


def test_a_vector_of_zeros_is_its_own_neighbourhood() -> None:
    v = torch.cat([V, torch.zeros(1, 2, dtype=torch.float64)])
    for norm in ("row", "column"):
        row = CosineGraph(v, adjacency_norm=norm)(torch.eye(6, dtype=torch.float64))[5]
        assert row.tolist() == [0, 0, 0, 0, 0, 1]
    opposite = torch.tensor([[1.0, 0], [-1, 0], [-1, 0]], dtype=torch.float64)
    graph = CosineGraph(opposite, affinity="shifted")
    assert graph(torch.eye(3, dtype=torch.float64))[0].tolist() == [1, 0, 0]


# --- losses and network ---------------------------------------------------------------------


def test_the_loss_against_its_slow_twin_and_far_out() -> None:
    o = torch.tensor([0.3, -1.2, 2.0, 0.0])
    mine = torch.tensor([True, False, True, False])
    f = (1 / (1 + np.exp(-o.numpy()))).tolist()
    twin = -(np.log(f[0]) + np.log(f[2])) / 2 - 0.7 * (np.log(1 - f[1]) + np.log(1 - f[3])) / 2
    assert float(labelled_loss(o, mine, lam=0.7)) == pytest.approx(twin, rel=1e-6)
    far = torch.tensor([-1e4, 1e4], requires_grad=True)  # log(1 - f) has no floor in the code
    loss = labelled_loss(far, torch.tensor([True, False]), lam=1.2)
    assert loss.item() == pytest.approx(2.2e4)
    loss.backward()
    assert torch.isfinite(far.grad).all()


def test_dropout_is_for_training_alone() -> None:
    network, graph = worked_network(), CosineGraph(V)
    AV = graph(V)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network.train()
        H, o = network(graph, AV)
        still = [network(graph, AV)[1] for _ in range(4)]
    assert len({tuple(s.tolist()) for s in still}) > 1
    quiet = network.eval()(graph, AV)
    assert torch.equal(quiet[0], H)
    assert torch.equal(quiet[1], network(graph, AV)[1])
    assert not torch.equal(quiet[1], o)


def test_first_weights_lie_within_the_width_of_the_output() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = GCN(50, hidden=16)
    for weight, bound in ((network.W1, 0.25), (network.b1, 0.25), (network.W2, 1), (network.b2, 1)):
        assert float(weight.detach().abs().max()) <= bound
    assert float(network.W1.detach().std()) == pytest.approx(0.25 / np.sqrt(3), rel=0.1)


def test_projection_keeps_the_inner_products_it_can() -> None:
    rng = rng_for(0, 0, "v")
    v = rng.random((30, 3)) @ rng.normal(size=(3, 20))  # rank 3
    low = projected(v, 3)
    assert low.shape == (30, 3)
    np.testing.assert_allclose(low @ low.T, v @ v.T, atol=1e-9)
    assert projected(v, 0) is v
    assert projected(v, 20) is v


# --- picks ----------------------------------------------------------------------------------


def made(n: int = 30, *, labelled: int = 6, d: int = 5, signed: bool = True) -> Snapshot:
    z = rng_for(0, 0, "z").normal(size=(n, d)).astype(np.float32)
    known = np.where(np.arange(n) < labelled, np.arange(n) % 3, -1)
    return Snapshot.from_arrays(known=known, embedding=z if signed else np.abs(z))


def without_a_side() -> tuple[Snapshot, np.ndarray]:
    """Two heaps of directions; labels in one of them alone."""
    rng = rng_for(0, 0, "sides")
    side = np.repeat([0, 1], [60, 20])
    z = np.abs(np.where(side[:, None] == 1, [0.1, 0.1, 3, 3], [3, 3, 0.1, 0.1]))
    z = np.abs(z + rng.normal(0, 0.3, z.shape))
    known = np.where(np.arange(80) < 15, 0, -1)
    return Snapshot.from_arrays(known=known, embedding=z), side


@pytest.mark.parametrize("affinity", ["auto", "shifted"])
def test_the_side_without_a_label_is_asked_first(affinity: Any) -> None:
    snapshot, side = without_a_side()
    core = CoreGCN(affinity=affinity, steps=200).select(snapshot, 1, rng_for(1, 0, "q"))
    assert side[core.rows].tolist() == [1]
    asked = UncertainGCN(affinity=affinity, steps=300, lr=3e-2)
    assert (side[asked.select(snapshot, 8, rng_for(1, 0, "q")).rows] == 1).all()


@pytest.mark.parametrize("kind", RULES)
def test_affinity_goes_by_the_sign_of_the_features(kind: Any) -> None:
    def same(signed: bool, forced: str) -> bool:
        snapshot = made(signed=signed)
        auto = kind(steps=5).select(snapshot, 20, rng_for(0, 0, "q"))
        other = kind(steps=5, affinity=forced).select(snapshot, 20, rng_for(0, 0, "q"))
        return auto.ids == other.ids

    assert same(signed=True, forced="shifted")
    assert same(signed=False, forced="cosine")
    assert not same(signed=False, forced="shifted")


@pytest.mark.parametrize("kind", RULES)
def test_same_seed_same_picks_and_torch_is_left_alone(kind: Any) -> None:
    found = []
    for seed in (0, 1):
        with global_states_untouched(seed):
            found.append(kind(steps=4, nodes=12).select(made(), 5, rng_for(7, 0, "query")))
    assert found[0].ids == found[1].ids


@pytest.mark.parametrize("kind", RULES)
def test_scale_and_class_labels_do_not_enter(kind: Any) -> None:
    snapshot = made()
    scales = rng_for(1, 0, "scales").choice([0.25, 2, 8], (30, 1))
    known = np.where(snapshot.known >= 0, 2 - snapshot.known, -1)
    other = Snapshot.from_arrays(known=known, embedding=snapshot.embedding * scales)
    rule = kind(steps=5)
    first, second = (rule.select(s, 6, rng_for(0, 0, "q")).ids for s in (snapshot, other))
    assert first == second


@pytest.mark.parametrize("kind", RULES)
def test_a_graph_of_fewer_nodes(kind: Any) -> None:
    snapshot = made(60)
    few = [kind(steps=3, nodes=8).select(snapshot, 8, rng_for(s, 0, "q")).ids for s in range(3)]
    assert len({frozenset(ids) for ids in few}) == 3  # each time other nodes
    more = kind(steps=3, nodes=8).select(snapshot, 20, rng_for(0, 0, "q"))
    assert len(set(more.ids)) == 20


@pytest.mark.parametrize("kind", RULES)
def test_wide_features_are_projected(kind: Any) -> None:
    z = rng_for(0, 0, "z").random((40, 3)) @ rng_for(1, 0, "z").random((3, 200))
    known = np.where(np.arange(40) < 9, 0, -1)
    snapshot = Snapshot.from_arrays(known=known, embedding=z)
    assert len(set(kind(steps=4).select(snapshot, 5, rng_for(0, 0, "q")).ids)) == 5


def test_nobody_has_a_label(caplog: pytest.LogCaptureFixture) -> None:
    nobody = made(labelled=0)
    v = nobody.embedding / np.linalg.norm(nobody.embedding, axis=1, keepdims=True)
    first = int(np.linalg.norm(v - v.mean(axis=0), axis=1).argmin())
    core = CoreGCN(steps=5).select(nobody, 4, rng_for(0, 0, "q"))
    assert core.rows[0] == first
    assert len(set(core.ids)) == 4
    with caplog.at_level(logging.WARNING):
        found = {UncertainGCN().select(nobody, 4, rng_for(s, 0, "q")).ids for s in range(3)}
    assert len(found) == 3
    assert "no labelled image" in caplog.text


def test_equal_images_fall_by_the_seed(caplog: pytest.LogCaptureFixture) -> None:
    known = np.where(np.arange(30) < 4, 0, -1)
    same = Snapshot.from_arrays(known=known, embedding=np.full((30, 3), 0.7))
    for kind in RULES:
        with caplog.at_level(logging.WARNING):
            found = {kind(steps=3).select(same, 4, rng_for(s, 0, "q")).ids for s in range(4)}
        assert len(found) > 1, kind
        by_index = kind(steps=3, ties="index").select(same, 4, rng_for(0, 0, "q"))
        assert by_index.rows.tolist() == [4, 5, 6, 7]
    assert "fewer than 4 distinct rows" in caplog.text


@pytest.mark.parametrize("kind", RULES)
def test_what_cannot_be_done(kind: Any) -> None:
    z = np.ones((9, 2))
    z[4, 1] = np.nan
    broken = Snapshot.from_arrays(known=np.array([0] + [-1] * 8), embedding=z)
    with pytest.raises(InputError, match=f"{kind.name} got 1 of 9 embeddings"):
        kind().select(broken, 2, rng_for(0, 0, "q"))
    with pytest.raises(TrainingError, match=f"of {kind.name}: lower the learning rate"):
        kind(lr=1e30, steps=3).select(made(), 2, rng_for(0, 0, "q"))
    for wrong in ({"nodes": 0}, {"steps": 0}, {"hidden": 0}, {"project": -1}):
        with pytest.raises(RecipeError, match=kind.name):
            kind(**wrong)
