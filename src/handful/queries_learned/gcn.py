"""UncertainGCN and CoreGCN: a graph network learns who has a label; ask by what it has learned."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.registry import register_query, top_k
from handful.types import Array, Picks, Snapshot

__all__ = ["CoreGCN", "SequentialGCN", "UncertainGCN", "projected"]

Matrix: TypeAlias = NDArray[np.float64]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequentialGCN:
    """The graph network of both rules, trained from scratch at every query."""

    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    name: ClassVar[str]

    nodes: int = 10_000  # open images in the graph, drawn at random; all labelled ones are in it
    project: int = 128  # width of the features at most, by their main directions; 0: as they are
    affinity: Literal["auto", "cosine", "shifted"] = "auto"  # auto: shifted for signed features
    adjacency_norm: Literal["row", "column"] = "row"  # column: as the released code
    hidden: int = 64  # width of H
    steps: int = 100  # of Adam, each over the whole graph
    lr: float = 1e-3
    weight_decay: float = 5e-4
    dropout: float = 0.3  # while training; never where images are chosen
    lam: float = 1.2  # weight of the open images
    ties: Literal["random", "index"] = "random"  # index: for worked numbers

    def __post_init__(self) -> None:
        if min(self.nodes, self.hidden, self.steps) < 1 or self.project < 0:
            raise RecipeError(
                f"query {self.name!r} needs nodes, hidden and steps of 1 or more, project of 0"
            )

    def _nodes(self, snapshot: Snapshot, k: int, rng: Generator) -> tuple[Array, Array, Matrix]:
        """Open rows of the graph, labelled rows, and the unit features of both in this order."""
        z = snapshot.part("embedding", self.name)
        free, labelled = np.flatnonzero(snapshot.open), np.flatnonzero(snapshot.known >= 0)
        if len(free) > max(self.nodes, k):
            free = np.sort(rng.choice(free, max(self.nodes, k), replace=False))
        v = np.asarray(z[np.concatenate([free, labelled])], dtype=np.float64)
        if bad := int((~np.isfinite(v).all(axis=1)).sum()):
            raise InputError(
                f"{self.name} got {bad} of {len(v)} embeddings of {snapshot.learner} that hold NaN"
                " or inf: lower the learning rate or check the images"
            )
        return free, labelled, geometry.unit_rows(v).astype(np.float64, copy=False)

    def _trained(
        self, v: Matrix, labelled: NDArray[np.bool_], rng: Generator
    ) -> tuple[Matrix, Matrix]:
        """``H (n, hidden)`` and ``f (n,)`` of the trained network, dropout off, in float64."""
        import torch

        from handful.losses.gcn import labelled_loss
        from handful.networks.gcn import GCN, CosineGraph
        from handful.training import check_finite, device_for, seeded

        signed = bool(v.min() < 0)
        shape: dict[str, Any] = {"adjacency_norm": self.adjacency_norm, "affinity": self.affinity}
        if self.affinity == "auto":
            shape["affinity"] = "shifted" if signed else "cosine"
        v = projected(v, self.project)
        x = torch.from_numpy(v).float().to(device_for())
        graph, mine = CosineGraph(x, **shape), torch.from_numpy(labelled).to(x.device)
        AV = graph(x)
        with seeded(rng):
            network = GCN(x.shape[1], hidden=self.hidden, dropout=self.dropout).to(x.device)
            optimizer = torch.optim.Adam(
                network.parameters(), lr=self.lr, weight_decay=self.weight_decay
            )
            for _ in range(self.steps):
                loss = labelled_loss(network(graph, AV)[1], mine, lam=self.lam)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
        check_finite({"labelled": loss}, stage=self.name, step=self.steps, lr=self.lr)
        network.eval().double().cpu()
        exact = CosineGraph(torch.from_numpy(v), **shape)
        with torch.inference_mode():
            H, o = network(exact, exact(exact.v))
        f = o.sigmoid().numpy()
        said = float(loss.detach()), f.min(), f.max()
        _log.info("%s: loss %.4f, f from %.3f to %.3f", self.name, *said)
        # equal images must tie wherever they stand in a product
        return H.numpy().round(9), f


@register_query("uncertain-gcn")
@dataclass(frozen=True)
class UncertainGCN(SequentialGCN):
    """Ask about images that a graph network takes for unlabelled, but not beyond doubt.

    Formula   the k open images of least |f_j - s_margin|;  f = sigmoid(A ReLU(A V W1 + b1) W2 +
              b2), trained on -mean_S log f - lam mean_U log(1 - f);  A = D^-1 S + I, S = V V^T
              without its diagonal, V the embeddings at length 1 (`networks.gcn`).
    Needs     ``embedding``; no class label enters.  Without a label the batch is random.
    Cost      O(steps n d hidden) time and O(n (d + hidden)) memory for n = labelled + ``nodes``
              open images: A is never formed, and nothing is approximated.
              Memory: at most 96 MB at 200,000 x 128, the network aside.
    Source    Caramalau, Bhattarai & Kim, CVPR 2021.
    Here      rows of D^-1 S sum to 1, as printed; the released code's columns do
              (``adjacency_norm``).  Nearest to s_margin is asked, as the released code does; the
              printed argmax would ask the other end.  Features with a negative sign take
              (1 + cosine) / 2, for their degrees may vanish.
    When      the embedding is good.  All nodes are neighbours, so f varies little: the order is
              that of f itself.

    A rule does not see the recipe's schedule: published are ``hidden`` 128, ``steps`` 200 and
    ``project`` 0, the defaults are fast.
    """

    cold: ClassVar[bool] = False
    name: ClassVar[str] = "uncertain-gcn"

    s_margin: float = 0.1  # where f of the images to ask about lies

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        free, labelled, v = self._nodes(snapshot, k, rng)
        if k <= 0 or k >= len(free):
            return snapshot.picks(free[: max(k, 0)])
        if not len(labelled):
            _log.warning("uncertain-gcn has no labelled image to start from: the batch is random")
            return snapshot.picks(rng.permutation(free)[:k])
        _, f = self._trained(v, np.arange(len(v)) >= len(free), rng)
        scores = -np.abs(f[: len(free)] - self.s_margin)
        return snapshot.picks(free[top_k(scores, k, rng, ties=self.ties, who=self.name)])


@register_query("core-gcn")
@dataclass(frozen=True)
class CoreGCN(SequentialGCN):
    """Ask about the images farthest from all labelled ones in what a graph network makes of them.

    Formula   k times the open j of largest min_i ||H_j - H_i||, i over the labelled and those
              picked before;  H = ReLU(A V W1 + b1) of the network of `UncertainGCN`.
    Needs     ``embedding``; no class label enters.  Starts cold: the image nearest to the mean
              is the first pick, and stands for the labelled.
    Cost      that of `UncertainGCN`, and O(n (labelled + k) hidden) for the picks.
              Memory: at most 96 MB at 200,000 x 128, the network aside.
    Source    Caramalau, Bhattarai & Kim, CVPR 2021; k-center greedy: Sener & Savarese, ICLR 2018.
    Here      dropout is off where distances are taken.  Memo: the ``radius`` after each pick.
    When      as core-set, on an embedding whose graph says more than its distances.

    Published values and defaults of the network: as for `UncertainGCN`.
    """

    cold: ClassVar[bool] = True
    name: ClassVar[str] = "core-gcn"

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        free, labelled, v = self._nodes(snapshot, k, rng)
        if k <= 0 or k >= len(free):
            return snapshot.picks(free[: max(k, 0)])
        mine, open_ = np.arange(len(v)) >= len(free), np.arange(len(v)) < len(free)
        first = np.empty(0, dtype=np.int64)
        if not len(labelled):
            first = geometry.k_center(v, first, 1, rng, ties=self.ties).rows
            mine[first], open_[first] = True, False
        H, _ = self._trained(v, mine, rng)
        more = geometry.k_center(
            H, np.flatnonzero(mine), k - len(first), rng, free=open_, ties=self.ties
        )
        chosen = free[np.concatenate([first, more.rows])]
        return snapshot.picks(chosen, memo={"radius": more.radii.tolist()})


def projected(v: Matrix, width: int) -> Matrix:
    """``v (n, d)`` on its ``width`` main directions, not centred: inner products stay nearly.

    ``width`` 0, or d and more: ``v`` itself.  O(n d^2 + d^3) time.
    """
    if not 0 < width < v.shape[1]:
        return v
    _, directions = np.linalg.eigh(v.T @ v)
    return np.asarray(v @ directions[:, -width:])
