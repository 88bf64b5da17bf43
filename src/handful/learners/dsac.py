"""DSAC: deep self-paced active clustering, from tens of answers on a pretrained encoder.

Source: H. Zhao, W. Chen, P. Zhou, "Deep self-paced active learning for image clustering",
2024 (Eqs. 1-7, Algorithm 2).  Where paper and published code differ, the paper is followed;
what it leaves open is an `Options` field.

::

    F = E(G(x)), E isometric at first;  a, mu := k-means of F                 no label so far
    w_i = max(1 - d_i / lambda, 0),  d_i = ||F_i - mu_{a_i}||^2                   (Eqs. 1-2)
    each round, with the answers to its question in:
        L := answers and pseudo-labels of the cores of the clusters;  U := the rest
        g := compactness of L, normalised;  c' := class means of L                  (Eq. 3)
        train E, f (and G) on  lambda_u L_u(U) + L_class(L) + gamma L_center(L)  (Eqs. 4-7)
        F := E(G(x));  a, mu := k-means seeded by L, answers pinned to their class
        w, lambda anew

Prediction: argmax of f, or what ``predict`` says.  Query: `dsac`, which reads embedding, centres
and clusters.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from handful import geometry, graph, pseudo
from handful.errors import InputError, RecipeError, TrainingError
from handful.inputs import WAYS, InputOptions, Inputs, Way
from handful.losses.self_paced import (
    SupervisedWeight,
    grown_quantile,
    self_paced_lambda,
    self_paced_weights,
    supervised_loss,
    supervised_weights,
    unlabelled_loss,
)
from handful.networks.backbones import Backbone
from handful.networks.embedding import EmbeddedClassifier, EmbedNorm, HeadKind
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Meter,
    batches,
    check_finite,
    fabric,
    known_classes,
    load_weights,
    seeded,
    weights_of,
)
from handful.types import UNKNOWN, Array, Fit, Pool, Snapshot, View, Weights

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["DSAC", "DSACOptions"]

Ints: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = NDArray[np.float32]
Order: TypeAlias = Iterator[tuple[int, Ints, Ints]]  # epoch, rows of U, rows of L
PseudoLabel: TypeAlias = Literal[
    "newest", "plurality", "labels", "hungarian", "agreed", "none"
]  # fmt: skip
Predict: TypeAlias = Literal["row", "column-softmax", "centre", "cluster", "views"]
PUBLISHED_SETS = {(13_000, 10), (60_000, 10), (60_000, 20)}  # images and classes: k_2 as printed
GRAPH_SHARE = 0.8  # of predict = "views"
LEAST_STEPS = 300  # of a round: an epoch of a small folder is a step or two
_NOTHING: Matrix = np.empty((0, 0), dtype=np.float32)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DSACOptions(InputOptions):
    """Every choice the paper makes or leaves open; ``None`` is settled by ``schedule``."""

    schedule: Literal["published", "fast"] = "published"  # as the paper, or for a CPU
    m: int | None = None  # width of the embedding: 200 published, 64 fast
    embed_norm: EmbedNorm = "none"  # l2: on the unit sphere
    head: HeadKind = "linear"  # f; the second is the authors' code
    n_clusters: int | None = None  # as many as classes, or the view's hint, when None
    n_init: int = 10  # starts of k-means while a class has no seed; 0: greedy at first
    # --- losses
    lambda_u: float = 1.0  # weight of the self-paced term (Eq. 7 has none)
    gamma: float = 0.01  # weight of the centre loss: .001, 1, .01 on the paper's three sets
    sup_weight: SupervisedWeight = "mean1"  # scale of the compactness in Eqs. 4-5
    human_weight: float = 1.0  # times g of the images that a person answered
    label_smoothing: float = 0.0  # .2 in the authors' code
    lambda_q: float = 0.95  # quantile of d that gets the weight 0, and all beyond
    lambda_scope: Literal["global", "cluster"] = "global"  # one lambda, or one a cluster
    lambda_schedule: Literal["fixed", "grow"] = "fixed"  # grow: from lambda_q0 to lambda_q
    lambda_q0: float = 0.5  # of grow, in the first round
    k: int = 6  # neighbours of the compactness
    comp_floor: float = 1e-3  # of its sum of distances, times the median
    # --- pseudo-labels
    # who names a cluster; agreed: where cluster and graph name alike, the rest below is not used
    pseudo_label: PseudoLabel = "newest"
    graph_k: int = 10  # neighbours of the graph, of the untrained vectors at unit length
    graph_alpha: float = 0.9  # how far answers are spread over it
    # embedding: F, anew each round; both: F beside the untrained vectors, each at unit length
    graph_of: Literal["vectors", "embedding", "both"] = "vectors"
    pseudo_policy: Literal["rebuild", "accumulate"] = "rebuild"  # each round anew, or kept
    pseudo_cap: float = 1.0  # at most this share of a cluster
    cap_by_share: bool = False  # times the share of agreeing representatives; none below .5
    agree_tau: float = 0.0  # only where this share of the neighbours is in the cluster
    # of agreed: at most this many a class, in shares of a mean class; the surest by the graph
    pseudo_share: float | None = None
    k2_mode: Literal["auto", "absolute", "fraction", "code"] = "auto"  # auto: by set size
    k2_start: float | None = None  # 50 images, .05 of a mean cluster, or 200 by code
    k2_step: float | None = None  # a round: 1,000 images, .15, or 10
    k2_scope: Literal["cluster", "total"] = "cluster"  # k_2 a cluster, or shared by all
    # --- k-means
    # times that the embedding is averaged over the graph before: digits gain, pairs of digits lose
    smooth_steps: int = 0  # 0: the embedding as it is
    constrain: Literal["human", "none", "human+pseudo"] = "human"  # who is pinned to a class
    seed_from: Literal["labels+pseudo", "labels"] = "labels+pseudo"  # whose means it starts from
    # --- training
    lr: float | None = None  # of AdamW: 1e-3 frozen, 2e-5 finetune
    weight_decay: float = 0.01  # none on biases and norm layers
    batch_size: int | None = None  # of each stream: 128 published, 256 fast
    lr_body: float | None = None  # of finetune: of G alone; lr when None
    norms: Literal["train", "keep"] = "train"  # of finetune: keep the statistics of G's batch norms
    hold: float = 0.0  # of finetune: this share of G's layers, from the pixels on, stays as it is
    head_steps: int = 0  # of finetune: of E and f on the untrained vectors, before the first round
    epochs: int | None = None  # of a round: 50 frozen, 100 finetune, 20 fast
    least_steps: int | None = None  # of a round: 300 where the schedule sets the epochs
    max_steps: int | None = None  # of a round: 600 fast
    epochs_total: int | None = None  # over all planned rounds, in place of epochs
    planned_rounds: int = 5  # for epochs_total and for lambda_schedule = "grow"
    warm_start: bool = True  # False: every round begins with the first weights
    refresh: Literal["round", "epoch"] = "round"  # of C, w, lambda and all centres
    batching: Literal["two-stream", "mixed"] = "two-stream"  # U and L apart, or one stream
    loss_schedule: Literal["joint", "alternate"] = "joint"  # alternate: the authors' code
    alternate_epochs: tuple[int, int] = (300, 7)  # on L, then on U
    passes: int = 1  # over pseudo-labels and training within a round: 3 in the authors' code
    # column-softmax assumes classes of one size; centre: the class whose centre is nearest, after
    # the k-means that labels seeded; cluster: the class of the cluster, and nothing is trained;
    # views: a fifth of what centre says and four of what the graph says, for the pool's own images
    # (for new ones, which no graph knows, f in its place)
    predict: Predict = "row"  # row column-softmax centre cluster views: argmax of f, or else
    # what rules are given: F; the F that it set out from; or the two side by side, each at unit
    # length. What is trained draws the classes it knows together and hides what else there is
    describe: Literal["embedding", "first", "both"] = "embedding"

    def resolved(self) -> DSACOptions:
        """Fill in what depends on the schedule alone."""
        if not 0 <= self.hold <= 1:
            raise RecipeError(f"learner.hold is {self.hold}: a share of the layers, from 0 to 1")
        fast, least = self.schedule == "fast", self.least_steps
        if least is None:
            least = LEAST_STEPS if self.epochs is None and self.epochs_total is None else 0
        return replace(
            self,
            least_steps=least,
            m=self.m or (64 if fast else 200),
            batch_size=self.batch_size or (256 if fast else 128),
            max_steps=self.max_steps or (600 if fast else None),
        )

    def settled(self, way: Way) -> DSACOptions:
        """Fill in what depends on the way to train."""
        epochs = self.epochs
        if self.epochs_total is not None:
            epochs = max(1, round(self.epochs_total / self.planned_rounds))
        if epochs is None:
            slow = 100 if way == "finetune" else 50
            epochs = 20 if self.schedule == "fast" else slow
        lr = self.lr or (2e-5 if way == "finetune" else 1e-3)
        return replace(self.resolved(), epochs=epochs, lr=lr)


@dataclass(frozen=True)
class _Constants:
    """What stands still while a round trains, by pool row."""

    y: Tensor  # (n,) answers and pseudo-labels, -1: U
    g: Tensor  # (n,) weights of L
    w: Tensor  # (n,) self-paced weights of U
    lam: Tensor  # (n,) lambda
    a: Tensor  # (n,) cluster
    centres: Tensor  # (K, m)
    class_means: Tensor  # (c, m), NaN where a class has nothing in L


@register_learner("dsac")
class DSAC:
    """Deep self-paced active clustering: answers and the cores of clusters train E and f.

    Warm: each ``fit`` goes on from the last; without a label it embeds and clusters.  Gives
    ``proba (n, C)`` of f, ``embedding`` F ``(n, m)`` (or more, by ``describe``), ``clusters
    (n, K)`` as one-hot rows, ``centres (K, m)`` and ``weights`` w ``(n,)``.  Cluster p stands for
    class p once p has a label.  Cost of a round: the k nearest neighbours of n m-vectors (asked
    for by the rule as well, paid once), ``epochs`` of 2 x n p m each, Lloyd steps of n K m; memory
    n (p + m) floats.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset(
        {"proba", "embedding", "clusters", "centres", "weights"}
    )
    Options: ClassVar[type[DSACOptions]] = DSACOptions

    def __init__(self, options: DSACOptions | None = None) -> None:
        self.options = (options or DSACOptions()).resolved()
        self.inputs = Inputs(self.options)
        self._net: EmbeddedClassifier | None = None
        self._z: Matrix | None = None
        self._tuned = True  # False: G is what the untrained vectors were made with
        self._graph: csr_array | None = None  # of the attached pool
        self._first: Weights = {}  # kept only for cold starts
        self._outset: tuple[Matrix, Matrix] = (_NOTHING, _NOTHING)  # E at first, and its mean
        self.n_classes = 0
        self.round = 0  # rounds trained
        self.a: Ints = np.empty(0, dtype=np.int64)
        self.centres: Matrix = np.empty((0, 0), dtype=np.float32)
        self.lam = np.zeros(1)  # one, or one a cluster
        self.w = np.empty(0)
        self.since: Ints = np.empty(0, dtype=np.int64)  # (n,) round of the answer, -1: none
        self.pseudo: Ints = np.empty(0, dtype=np.int64)  # (n,) pseudo-labels of the last round
        self.class_of: Ints = np.empty(0, dtype=np.int64)  # (K,) of predict = "cluster"
        self.log_mass: Matrix = np.zeros(1, dtype=np.float32)  # of column-softmax
        self.spread = 1.0  # of predict = "centre" and "views": mean d of the pool
        self.reach: Matrix = np.empty((0, 0), dtype=np.float32)  # (n, C) of predict = "views"

    @property
    def transductive(self) -> bool:
        """Whether the pool's own images are predicted otherwise than new ones."""
        return self.options.predict == "views"

    # ------------------------------------------------------------------ learning

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Embed and cluster at first; with answers, Algorithm 2 from pseudo-labels on."""
        meter, known = Meter(), known_classes(view)
        start, order, clustering = rng.spawn(3)
        k = self._count(view, known)
        if self.inputs.attach(view.pool, progress):
            self._graph = None
            self._moved()
        o = self.options.settled(self.inputs.way or "frozen")
        if self._net is None:
            self._build(o, start, progress)
        with seeded(start):
            self._grow(self.n_classes)
        if len(self.a) != len(known):
            self._begin(o, known, k, clustering)
        fresh = (known >= 0) & (self.since < 0)
        self.since[fresh] = self.round
        self.since[known < 0] = UNKNOWN
        figures: dict[str, float] = {}
        if (known >= 0).any():
            figures = self._learn(o, view, known, k, (order, clustering), progress, meter)
        figures |= {
            "lambda": float(self.lam.mean()),
            "zero_weight": float((self.w[known < 0] == 0).mean()) if (known < 0).any() else 0.0,
            "pseudo": float((self.pseudo >= 0).sum()),
            "classes_covered": float(len(np.unique(known[known >= 0]))),
        }
        progress.log("clustering", meter.steps, assignment=self.a, **figures)
        return Fit(losses=figures, images=meter.images, seconds=meter.seconds)

    def _learn(
        self,
        o: DSACOptions,
        view: View,
        known: Ints,
        k: int,
        rngs: tuple[Generator, Generator],
        progress: Progress,
        meter: Meter,
    ) -> dict[str, float]:
        """Steps 4 to 7 of a round: pseudo-labels, constants, training, clustering."""
        z = self.embedding()
        d = _distances(z, self.centres, self.a)
        near = None
        if o.agree_tau > 0 and o.pseudo_label != "none":
            near = geometry.neighbours(z, o.k).ids
        if o.predict == "cluster":
            self._name_clusters(o, view, known, d)
            self.round += 1
            return {}
        if not o.warm_start:
            self._restart()
        for inner in range(1, o.passes + 1):
            self.pseudo = self._pseudo_labels(o, view, known, d, near, inner)
            y = np.where(known >= 0, known, self.pseudo)
            if self.inputs.way == "finetune" and o.head_steps and not self.round and inner == 1:
                first = replace(o, max_steps=o.head_steps, least_steps=o.head_steps)
                self._train(first, y, known, rngs[0], progress, meter, seen=True)
            self._train(o, y, known, rngs[0], progress, meter)
        self.round += 1  # from here on it is about the next one
        z = self.embedding()
        self._recluster(o, z, known, k, rngs[1])
        self._weigh(o, z, known)
        self._measure_classes(z)
        if o.predict == "views":
            self.reach = self._reach(o, self._with_stand_ins(z, known)).astype(np.float32)
        return meter.means()

    def _train(
        self,
        o: DSACOptions,
        y: Ints,
        known: Ints,
        rng: Generator,
        progress: Progress,
        meter: Meter,
        *,
        seen: bool = False,
    ) -> None:
        """Eq. 7 over two streams, the images with a class and those without.

        ``seen``: E and f alone, on the vectors of the untrained G.
        """
        assert o.lr is not None
        net, device = self.network, self.inputs.device
        accelerator = fabric(o.precision, o.devices)
        optimizer = torch.optim.AdamW(_groups(net, o, seen=seen), lr=o.lr)
        model, optimizer = accelerator.setup(net, optimizer)
        consts = self._constants(o, y, known, anew=not o.warm_start)
        source = self.inputs.seen() if seen else self.inputs.training(rng)
        order = _order(o, y, rng)
        meter.restart()
        net.train()
        epoch, step = 0, 0
        with progress.task(f"round {self.round}: training", None, "steps") as task:
            for now, free, mine in islice(order, o.max_steps):
                if now != epoch:
                    epoch = now
                    if o.refresh == "epoch":
                        self._moved()
                        consts = self._constants(o, y, known, anew=True)
                        net.train()  # looking at all images was in evaluation mode
                x = source(np.concatenate([free, mine]))
                z, logits = model(x, len(free), seen)
                u, i = (torch.from_numpy(rows).to(device) for rows in (free, mine))
                unlabelled = o.lambda_u * unlabelled_loss(
                    z[: len(free)], consts.centres[consts.a[u]], consts.w[u], consts.lam[u]
                )
                labelled = supervised_loss(
                    z[len(free) :], logits, consts.y[i], consts.g[i], consts.class_means,
                    gamma=o.gamma, smoothing=o.label_smoothing,
                )  # fmt: skip
                total = unlabelled + labelled.total
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(total)
                optimizer.step()
                losses = {
                    "unlabelled": unlabelled,
                    "labelled": labelled.total,
                    "class": labelled.by_class,
                    "center": labelled.center,
                    "total": total,
                }
                meter.add(len(x), losses)
                step += 1
                task.advance(1)
                if step % 50 == 1:
                    check_finite({"total": total}, stage="DSAC", step=step, lr=o.lr)
        check_finite(meter.sums, stage="DSAC", step=step, lr=o.lr)
        net.eval()
        self._tuned = self._tuned or not seen
        self._moved()

    def _constants(self, o: DSACOptions, y: Ints, known: Ints, *, anew: bool) -> _Constants:
        """Weights and centres of a round; ``anew``: clusters' centres, w and lambda as well."""
        z = self.embedding()
        if anew:
            means, sizes = geometry.class_means(z, self.a, len(self.centres))
            self.centres[sizes > 0] = means[sizes > 0]
            self._weigh(o, z, known)
        mine = np.flatnonzero(y >= 0)
        g = np.zeros(len(y))
        c = np.ones(len(y))
        if o.sup_weight != "none":
            near = geometry.neighbours(z, o.k)
            c = geometry.compactness(near.d2, floor=o.comp_floor)
        g[mine] = supervised_weights(c[mine], o.sup_weight)
        g[known >= 0] *= o.human_weight
        lam = self.lam[self.a] if len(self.lam) > 1 else np.full(len(y), self.lam[0])
        means = geometry.class_means(z, y, self.n_classes)[0]

        def put(x: Array, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.from_numpy(np.array(x)).to(self.inputs.device, dtype)

        return _Constants(
            y=put(y, torch.int64),
            a=put(self.a, torch.int64),
            g=put(g),
            w=put(self.w),
            lam=put(lam),
            centres=put(self.centres),
            class_means=put(means),
        )

    # ------------------------------------------------------------ clusters and labels

    def _begin(self, o: DSACOptions, known: Ints, k: int, rng: Generator) -> None:
        """Cluster without a label, however many there are: what every later round starts from."""
        z = self.embedding()
        nobody = np.full(len(z), UNKNOWN)
        x = self._smoothed(o, z)
        if o.n_init:
            found = geometry.constrained_kmeans(x, nobody, k, rng, n_init=o.n_init)
        else:
            found = geometry.greedy_kmeans(x, k)
        self._place(found, o, z)
        self.since = np.full(len(z), UNKNOWN, dtype=np.int64)
        self.pseudo, self.round = self.since.copy(), 0
        self._weigh(o, z, known)

    def _recluster(self, o: DSACOptions, z: Matrix, known: Ints, k: int, rng: Generator) -> None:
        """Semi-supervised k-means: L seeds, answers stay with their class."""
        both = np.where(known >= 0, known, self.pseudo)
        pinned = {"human": known, "none": np.full_like(known, UNKNOWN), "human+pseudo": both}
        found = geometry.constrained_kmeans(
            self._smoothed(o, z),
            pinned[o.constrain],
            k,
            rng,
            seeds=both if o.seed_from == "labels+pseudo" else known,
            n_init=o.n_init or 10,
        )
        self._place(found, o, z)

    def _smoothed(self, o: DSACOptions, z: Matrix) -> Matrix:
        """What is clustered: the embedding, or its average over the graph of neighbours."""
        if not o.smooth_steps:
            return z
        x = graph.smooth(self._neighbourhood(o), z, o.smooth_steps)
        return (geometry.unit_rows(x) if o.embed_norm == "l2" else x).astype(np.float32, copy=False)

    def _place(self, found: geometry.Clustering, o: DSACOptions, z: Matrix) -> None:
        """Take over the clusters; their centres are means of the embedding as it is."""
        self.a = np.asarray(found.labels, dtype=np.int64)
        self.centres = np.array(found.centres, dtype=np.float32)
        if o.smooth_steps:
            means, sizes = geometry.class_means(z, self.a, len(self.centres))
            self.centres[sizes > 0] = means[sizes > 0]

    def _weigh(self, o: DSACOptions, z: Matrix, known: Ints) -> None:
        """lambda over the images that nobody answered, and w of all."""
        d, free, q = _distances(z, self.centres, self.a), known < 0, o.lambda_q
        if o.lambda_schedule == "grow":
            q = grown_quantile(o.lambda_q0, o.lambda_q, self.round, o.planned_rounds)
        if o.lambda_scope == "cluster":
            k = len(self.centres)
            self.lam = self_paced_lambda(d[free], q, clusters=self.a[free], k=k)
            self.w = self_paced_weights(d, self.lam[self.a])
        else:
            self.lam = self_paced_lambda(d[free], q)
            self.w = self_paced_weights(d, self.lam)

    def _pseudo_labels(
        self,
        o: DSACOptions,
        view: View,
        known: Ints,
        d: NDArray[np.float64],
        near: Ints | None,
        inner: int,
    ) -> Ints:
        """Classes of the cores of the clusters, in the clustering that was asked about."""
        n, k = len(known), len(self.centres)
        if o.pseudo_label == "none":
            return np.full(n, UNKNOWN, dtype=np.int64)
        if o.pseudo_label == "agreed":
            reach = self._reach(o, known)
            spread = np.where(reach.any(axis=1), reach.argmax(axis=1), UNKNOWN)
            agreed = pseudo.agreed_labels(self.a, d, known, spread, n_clusters=k)
            if o.pseudo_share is None:
                return agreed
            most = max(1, round(o.pseudo_share * n / max(self.n_classes, 1)))
            return pseudo.surest(agreed, reach, most)
        mode = o.k2_mode
        if mode == "auto":
            mode = "absolute" if (n, k) in PUBLISHED_SETS else "fraction"
        k2 = pseudo.pseudo_size(
            self.round, n, k, mode=mode, start=o.k2_start, step=o.k2_step, inner=inner
        )
        asked = _representatives(view)
        return pseudo.pseudo_labels(
            self.a,
            d,
            known,
            asked,
            k2=k2,
            mode=o.pseudo_label,
            fresh=self._newest(asked),
            n_clusters=k,
            scope=o.k2_scope,
            cap=o.pseudo_cap,
            by_share=o.cap_by_share,
            agree=None if near is None else pseudo.agreement(near, self.a),
            agree_tau=o.agree_tau,
            previous=self.pseudo if o.pseudo_policy == "accumulate" else None,
        )

    def _reach(self, o: DSACOptions, known: Ints) -> NDArray[np.float64]:
        """Shares of the classes that labels spread over the graph give each image ``(n, C)``."""
        W = self._neighbourhood(o)
        return graph.normalised(graph.spread(W, known, self.n_classes, alpha=o.graph_alpha).X)

    def _with_stand_ins(self, z: Matrix, known: Ints) -> Ints:
        """The answers, and for a class without any the innermost image of its cluster."""
        known, d = known.copy(), _distances(z, self.centres, self.a)
        for p in np.setdiff1d(np.arange(self.n_classes), known[known >= 0]):
            mine = np.flatnonzero((self.a == p) & (known < 0))
            if len(mine):
                known[mine[d[mine].argmin()]] = p
        return known

    def _neighbourhood(self, o: DSACOptions) -> csr_array:
        """The graph of the untrained vectors at unit length, made once a pool, or of F now."""
        if self._graph is None:
            parts = [] if o.graph_of == "vectors" else [geometry.unit_rows(self.embedding())]
            if o.graph_of != "embedding":
                parts.append(geometry.unit_rows(self.inputs.vectors()))
            x = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
            near = geometry.neighbours(x, o.graph_k)
            self._graph = graph.knn_graph(near.ids, near.d2).W
        return self._graph

    def _newest(self, asked: Ints) -> Ints:
        """Of the representatives in each cluster, those of its last round that had any."""
        latest = np.full(len(self.centres), UNKNOWN, dtype=np.int64)
        np.maximum.at(latest, self.a[asked], self.since[asked])
        newest: Ints = asked[self.since[asked] == latest[self.a[asked]]]
        return newest

    def _name_clusters(
        self, o: DSACOptions, view: View, known: Ints, d: NDArray[np.float64]
    ) -> None:
        """The control without training: each image takes the class of its cluster."""
        asked = _representatives(view)
        mode: pseudo.NamedBy = "labels"
        if o.pseudo_label != "none" and o.pseudo_label != "agreed":
            mode = o.pseudo_label
        named = pseudo.cluster_classes(
            self.a, d, known, asked,
            mode=mode, fresh=self._newest(asked), n_clusters=len(self.centres),
        )  # fmt: skip
        self.class_of = named.classes
        self.pseudo = np.where(known < 0, named.classes[self.a], UNKNOWN)

    def pseudo_labels(self) -> Ints:
        """``(n,)`` class that the last round took for each image, -1 where none (or answered)."""
        return self.pseudo.copy()

    def cluster_labels(self) -> Ints:
        """``(n,)`` cluster of each image; cluster p stands for class p once p has a label."""
        return self.a.copy()

    # ---------------------------------------------------------------- description

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        found: dict[str, Array] = {}
        if parts & self.gives:
            z = self._look(view.pool)
            if len(self.a) != len(z):
                raise InputError(
                    f"this model clustered {len(self.a)} images and the pool holds {len(z)}: fit it"
                )
            x = self._described(z) if parts & {"embedding", "centres"} else z
            if "embedding" in parts:
                found["embedding"] = z.copy() if x is z else x
            if "centres" in parts:
                found["centres"] = self.centres.copy() if x is z else self._means(x)
            if "weights" in parts:
                found["weights"] = self.w.astype(np.float32)
            if "clusters" in parts:
                found["clusters"] = _one_hot(self.a, len(self.centres))
            if "proba" in parts:
                found["proba"] = self._proba(z, self.a, self.reach)
        return Snapshot.of(
            view, found, learner=self.name, n_classes=self.n_classes, predict=self.predict
        )

    def _described(self, z: Matrix) -> Matrix:
        """What rules see: F, or rows of length 1 of what it set out from, alone or beside it."""
        if self.options.describe == "embedding":
            return z
        weight, mean = self._outset
        x, m = self.inputs.vectors(), z.shape[1]
        before = m if self.options.describe == "both" else 0
        seen = np.empty((len(z), before + m), dtype=np.float32)
        for rows in geometry.row_blocks(*x.shape):
            seen[rows, before:] = geometry.unit_rows((x[rows] - mean) @ weight.T)
        if before:
            seen[:, :m] = geometry.unit_rows(z)
            seen *= math.sqrt(0.5)
        return seen

    def _means(self, x: Matrix) -> Matrix:
        """Means of the clusters ``(K, d)`` in ``x``; zeros for an empty one."""
        means = geometry.class_means(x, self.a, len(self.centres))[0]
        return np.nan_to_num(means).astype(np.float32)

    def predict(self, images: Array) -> Matrix:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        z = self._embed(images)
        a = geometry.nearest(z, self.centres)[0] if len(z) else np.empty(0, dtype=np.int64)
        return self._proba(z, a)

    def _look(self, pool: Pool) -> Matrix:
        """F of this pool."""
        net = self.network  # before anything is read
        if self.inputs.attach(pool):
            net.eval()
            self._moved()
        return self.embedding()

    def embedding(self) -> Matrix:
        """F of the attached pool ``(n, m)`` in evaluation mode, kept until the weights move."""
        if self._z is None:
            self._z = self._embed() if self._tuned else self._embed_seen()
            self._check_embedding(self._z)
        return self._z

    def _embed(self, images: Array | None = None) -> Matrix:
        net = self.network.eval()
        return self.inputs.embed(net.embed, net.embedding.linear.out_features, images)

    def _embed_seen(self) -> Matrix:
        """F of the pool while G is still what its vectors were made with: no image is read."""
        net, read, m = self.network.eval(), self.inputs.seen(), self._outset[0].shape[0]
        z = np.empty((len(self.inputs), m), dtype=np.float32)
        with torch.inference_mode():
            for rows in geometry.row_blocks(len(z), m):
                z[rows] = net.embedding(read(np.arange(rows.start, rows.stop))).cpu().numpy()
        return z

    def _proba(self, z: Matrix, a: Ints, reach: Matrix | None = None) -> Matrix:
        """Softmax of f, or what ``predict`` says; every class alike before anything is trained.

        ``reach`` : of the pool's own images, where the graph has a say.
        """
        c = max(self.n_classes, 1)
        alike = np.full((len(z), c), 1 / c, dtype=np.float32)
        if not self.round:
            return alike
        if self.options.predict == "cluster":
            named = self.class_of[a]
            return np.where((named >= 0)[:, None], _one_hot(named, c), alike)
        if self.options.predict in ("centre", "views"):
            logits = -geometry.squared_distances(z, self.centres[:c]) / self.spread
        else:
            logits = self._logits(z)
        if self.options.predict == "column-softmax":
            logits -= self.log_mass
        near: Matrix = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
        if self.options.predict != "views":
            return near
        if reach is None:
            reach = torch.softmax(torch.from_numpy(self._logits(z)), dim=1).numpy()
        mixed = (1 - GRAPH_SHARE) * near + GRAPH_SHARE * reach
        return np.asarray(graph.normalised(mixed), dtype=np.float32)  # reach is 0 where no label is

    def _logits(self, z: Matrix) -> Matrix:
        net = self.network.eval()
        with torch.inference_mode():
            found: Matrix = net.logits(torch.from_numpy(z).to(self.inputs.device)).cpu().numpy()
        return found

    def _measure_classes(self, z: Matrix) -> None:
        """What predicting any image needs to know of the pool.

        The mean distance to a centre; log sum_j exp(z_jk), for the column softmax.
        """
        self.spread = max(float(_distances(z, self.centres, self.a).mean()), 1e-12)
        if self.options.predict == "column-softmax":
            self.log_mass = torch.logsumexp(torch.from_numpy(self._logits(z)), dim=0).numpy()

    # ------------------------------------------------------------------- network

    @property
    def network(self) -> EmbeddedClassifier:
        """G, E and f."""
        if self._net is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self._net

    def _moved(self) -> None:
        """Say that the weights (or the images) have changed: the kept F is no longer theirs."""
        self._z = None
        if self.options.graph_of != "vectors":
            self._graph = None

    def _new_network(self, p: int, m: int, c: int) -> EmbeddedClassifier:
        o, body = self.options, self.inputs.body()
        if isinstance(body, Backbone):
            body.keeps_statistics = o.norms == "keep"
            layers = list(body.parameters())  # in the order in which the pixels meet them
            for layer in layers[: round(o.hold * len(layers))]:
                layer.requires_grad_(False)
        made = EmbeddedClassifier(body, p, m, c, norm=o.embed_norm, head=o.head)
        return made.to(self.inputs.device)

    def _build(self, o: DSACOptions, rng: Generator, progress: Progress) -> None:
        """E isometric on the vectors of the pool, f random."""
        assert o.m is not None
        x = self.inputs.vectors(progress)
        with seeded(rng):
            self._net = self._new_network(x.shape[1], o.m, max(self.n_classes, 1))
        embedding = self._net.embedding
        embedding.start(x, rng)
        weight, mean = embedding.linear.weight.detach().cpu(), embedding.mean.cpu()
        self._outset = weight.numpy().copy(), mean.numpy().copy()
        self._first = {} if o.warm_start else weights_of(self._net)
        self._tuned = self.inputs.way != "finetune"
        self._moved()

    def _restart(self) -> None:
        """Back to the first weights (``warm_start=False``)."""
        load_weights(self.network, self._first)
        self._moved()

    def _grow(self, n_classes: int) -> None:
        """A row of f for each class that came since; the others keep theirs."""
        had = self.network.last.out_features
        self.network.grow(n_classes)
        if self._first and n_classes > had:
            for name, rows in weights_of(self.network.last, "last.").items():
                rows[:had] = self._first[name]
                self._first[name] = rows

    # -------------------------------------------------------------------- checks

    def _count(self, view: View, known: Ints) -> int:
        """Set the number of classes; the number of clusters."""
        self.n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1, self.n_classes)
        k = max(self.n_classes, self.options.n_clusters or view.clusters or 0)
        if k < 1:
            raise RecipeError(
                "the number of clusters is unknown: name the classes, label some images or set"
                " learner.n_clusters"
            )
        if k > len(known):
            raise InputError(
                f"fewer images ({len(known)}) than clusters ({k}): label them by hand, or shorten"
                " the class list"
            )
        return k

    def _check_embedding(self, z: Matrix) -> None:
        """`TrainingError` on NaN, or when all images lie on one point though they differ."""
        if not np.isfinite(z).all():
            raise TrainingError(
                f"the embedding holds NaN or inf: lower learner.lr (now {self.options.lr})"
            )
        if len(z) > 1 and (z.max(axis=0) - z.min(axis=0)).max() < 1e-6:
            seen = self.inputs(np.linspace(0, len(z) - 1, min(len(z), 256)).astype(np.int64))
            if bool((seen != seen[:1]).any()):
                raise TrainingError(
                    "the embedding has collapsed: every image lies on the same point though the"
                    " images differ; lower learner.lambda_u or learner.gamma"
                )

    # --------------------------------------------------------------------- state

    def state(self) -> Weights:
        return {
            **weights_of(self.network, "network."),
            **{f"first.{name}": array for name, array in self._first.items()},
            "assignment": self.a.copy(),
            "centres": self.centres.copy(),
            "lambda": self.lam.copy(),
            "weights": self.w.copy(),
            "since": self.since.copy(),
            "pseudo": self.pseudo.copy(),
            "class_of": self.class_of.copy(),
            "log_mass": self.log_mass.copy(),
            "reach": self.reach.copy(),
            "outset": self._outset[0].copy(),
            "outset_mean": self._outset[1].copy(),
            "spread": np.array([self.spread]),
            "tuned": np.array([self._tuned]),
            "counts": np.array(
                [self.n_classes, self.round, WAYS.index(self.inputs.way or "frozen")]
            ),
        }

    def load(self, state: Weights) -> None:
        self.n_classes, self.round, way = (int(v) for v in state["counts"])
        self.inputs = Inputs(self.options)
        self.inputs.way = WAYS[way]
        weight, last = state["network.embedding.linear.weight"], state["network.last.weight"]
        with seeded(np.random.default_rng(0)):  # its first weights are overwritten at once
            self._net = self._new_network(weight.shape[1], len(weight), len(last))
        load_weights(self._net, state, "network.")
        self._first = {
            k.removeprefix("first."): np.array(v)
            for k, v in state.items()
            if k.startswith("first.")
        }
        self.a, self.since, self.pseudo, self.class_of = (
            np.array(state[name], dtype=np.int64)
            for name in ("assignment", "since", "pseudo", "class_of")
        )
        self.centres, self.lam, self.w = (
            np.array(state[name]) for name in ("centres", "lambda", "weights")
        )
        self.log_mass, self.spread = np.array(state["log_mass"]), float(state["spread"][0])
        # a model of an earlier version knows no such thing
        self.reach = np.array(state.get("reach", self.reach))
        weight, mean = (np.array(state.get(k, _NOTHING)) for k in ("outset", "outset_mean"))
        self._outset = weight, mean
        self._tuned = bool(np.all(state.get("tuned", True)))
        self._moved()


# --- leaves ----------------------------------------------------------------------------------


def _order(o: DSACOptions, y: Ints, rng: Generator) -> Order:
    """``(epoch, rows of U, rows of L)`` for every step of a round.

    Two streams, each a permutation of its own; an epoch is one pass over the longer one, and
    the shorter starts again with a new permutation.  All of L in each step while it fits.
    """
    assert o.batch_size is not None
    assert o.epochs is not None
    assert o.least_steps is not None
    size, none = o.batch_size, np.empty(0, dtype=np.int64)
    free, mine = np.flatnonzero(y < 0), np.flatnonzero(y >= 0)
    if o.loss_schedule == "alternate":
        on_mine, on_free = o.alternate_epochs
        for epoch in range(on_mine):
            yield from ((epoch, none, rows) for rows in batches(mine, size, rng))
        for epoch in range(on_mine, on_mine + on_free):
            if len(free):
                yield from ((epoch, rows, none) for rows in batches(free, size, rng))
        return
    mixed = o.batching == "mixed"
    a_epoch = _steps(len(y) if mixed else max(len(free), len(mine)), size)
    epochs = max(o.epochs, math.ceil(o.least_steps / a_epoch))
    if mixed:
        for epoch in range(epochs):
            for rows in batches(len(y), size, rng):
                yield epoch, rows[y[rows] < 0], rows[y[rows] >= 0]
        return
    u, i = _endless(free, size, rng), _endless(mine, size, rng)
    for epoch in range(epochs):
        for _ in range(a_epoch):
            rows = next(u)
            # without its loss the stream of U only sets the length of the epoch
            yield epoch, rows if o.lambda_u else none, next(i)


def _steps(n: int, size: int) -> int:
    """How many `batches` there are: a last one of one row joins the one before it."""
    return max(1, math.ceil(n / size) - (n > size and n % size == 1))


def _endless(rows: Ints, size: int, rng: Generator) -> Iterator[Ints]:
    while True:
        yield from batches(rows, size, rng) if len(rows) else (rows,)


def _distances(z: Matrix, centres: Array, a: Ints) -> NDArray[np.float64]:
    """``||z_i - mu_{a_i}||^2`` by differences, ``(n,)``, in blocks."""
    d = np.empty(len(z))
    for rows in geometry.row_blocks(len(z), z.shape[1]):
        apart = z[rows].astype(np.float64) - centres[a[rows]]
        d[rows] = np.einsum("nd,nd->n", apart, apart)
    return d


def _representatives(view: View) -> Ints:
    """Rows asked as representatives in any round."""
    ids = [id for id, tag in view.tags.items() if tag == "representative"]
    return np.array(sorted(view.pool.row(id) for id in ids), dtype=np.int64)


def _one_hot(labels: Ints, k: int) -> Matrix:
    """``(n, k)``; a row of zeros for -1."""
    hot = np.zeros((len(labels), k), dtype=np.float32)
    some = np.flatnonzero(labels >= 0)
    hot[some, labels[some]] = 1
    return hot


def _groups(net: EmbeddedClassifier, o: DSACOptions, *, seen: bool) -> list[dict[str, object]]:
    """AdamW's groups: matrices and filters decay, biases and the weights of norm layers do not.

    G has a rate of its own where ``lr_body`` says so, and no part in it when ``seen``.
    """
    body = {id(p) for p in net.body.parameters()}
    found: list[dict[str, object]] = []
    for mine in (True, False):
        if mine and seen:
            continue
        here = [p for p in net.parameters() if (id(p) in body) == mine]
        rate = {"lr": o.lr_body} if mine and o.lr_body is not None else {}
        decay, other = [p for p in here if p.ndim > 1], [p for p in here if p.ndim <= 1]
        found += [
            {"params": decay, "weight_decay": o.weight_decay, **rate},
            {"params": other, "weight_decay": 0.0, **rate},
        ]
    return [group for group in found if group["params"]]
