"""DSAC round by round: its constants, its two streams, its training against a slow twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from torch.nn import functional as F

from handful import geometry, graph, pseudo
from handful.errors import InputError, RecipeError, TrainingError
from handful.learners import dsac
from handful.learners.dsac import DSAC, DSACOptions
from handful.losses.self_paced import supervised_weights
from handful.progress import Silent
from handful.testing.learners import TinyPool, tiny_pool, view_of
from handful.types import Classes, Fit, View

QUICK: dict[str, Any] = {"m": 5, "epochs": 2, "batch_size": 16, "n_init": 3, "k2_mode": "fraction"}


def pool_of(n: int = 60) -> tuple[TinyPool, np.ndarray]:
    return tiny_pool(n, features=6)


def asked(
    pool: TinyPool, truth: np.ndarray, rows: Sequence[int], *, round: int = 1, n_classes: int = 3
) -> View:
    """A view whose labels were all asked as representatives."""
    view = view_of(pool, truth, rows, n_classes, round=round)
    return replace(view, tags={pool.ids[i]: "representative" for i in rows})


def fit(learner: DSAC, view: View, seed: int = 0) -> Fit:
    return learner.fit(view, np.random.default_rng(seed), Silent())


def begun(pool: TinyPool, **options: Any) -> DSAC:
    """A learner that has clustered and was given no label yet."""
    learner = DSAC(DSACOptions(**{**QUICK, **options}))
    fit(learner, view_of(pool, np.zeros(len(pool), dtype=np.int64), [], 3))
    return learner


def nearest_to_centres(learner: DSAC) -> list[int]:
    d = geometry.squared_distances(learner.embedding(), learner.centres)
    return [int(i) for i in d.argmin(axis=0)]


def test_rules_may_see_the_embedding_beside_the_one_it_set_out_from() -> None:
    pool, truth = pool_of()
    learner = begun(pool, describe="both")
    first = learner.embedding().copy()
    view = asked(pool, truth, nearest_to_centres(learner))
    fit(learner, view)
    again = DSAC(learner.options)
    again.load(learner.state())
    for one in (learner, again):
        seen = one.snapshot(view, frozenset({"embedding", "centres"}))
        given, centres = (seen.part(name, "a rule") for name in ("embedding", "centres"))
        z = learner.embedding()
        assert not np.allclose(z, first)
        for i in (0, 17, 59):  # an inner product is the mean of the two cosines
            for j in (3, 41):
                cosines = [
                    x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for x in (z, first)
                ]
                assert given[i] @ given[j] == pytest.approx(np.mean(cosines), abs=1e-5)
        for p in range(3):
            np.testing.assert_allclose(centres[p], given[learner.a == p].mean(axis=0), atol=1e-5)
    assert DSACOptions().describe == "embedding"


def test_rules_may_see_the_embedding_that_it_set_out_from_alone() -> None:
    pool, truth = pool_of()
    learner = begun(pool, describe="first")
    first = geometry.unit_rows(learner.embedding())
    view = asked(pool, truth, nearest_to_centres(learner))
    fit(learner, view)
    assert not np.allclose(geometry.unit_rows(learner.embedding()), first)
    again = DSAC(learner.options)
    again.load(learner.state())
    for one in (learner, again):
        given = one.snapshot(view, frozenset({"embedding"})).part("embedding", "a rule")
        np.testing.assert_allclose(given, first, atol=1e-5)


# --- no label yet ----------------------------------------------------------------------------


def test_without_a_label_it_clusters_what_keeps_distances() -> None:
    pool, truth = pool_of()
    learner = begun(pool, m=8)
    x = np.asarray(pool.features, dtype=np.float64)
    z = learner.embedding().astype(np.float64)
    apart = [np.square(v[:, None] - v[None]).sum(axis=2) for v in (x, z)]
    assert np.allclose(*apart, rtol=1e-3, atol=1e-3)
    snapshot = learner.snapshot(view_of(pool, truth, [], 3), learner.gives)
    assert np.allclose(snapshot.proba, 1 / 3)
    assert np.array_equal(snapshot.clusters.argmax(axis=1), learner.cluster_labels())
    assert (snapshot.clusters.sum(axis=1) == 1).all()
    d = np.square(z - learner.centres[learner.a]).sum(axis=1)
    lam = np.quantile(d, 0.95)
    assert learner.lam == pytest.approx([lam], rel=1e-5)
    assert snapshot.part("weights") == pytest.approx(np.maximum(1 - d / lam, 0), abs=1e-5)
    assert (learner.pseudo_labels() == -1).all()


def test_figures_of_a_fit_without_a_label() -> None:
    pool, _ = pool_of()
    learner = DSAC(DSACOptions(**QUICK))
    told = fit(learner, view_of(pool, np.zeros(60, dtype=np.int64), [], 3)).losses
    assert told["lambda"] == pytest.approx(float(learner.lam[0]))
    assert told["zero_weight"] == pytest.approx(3 / 60)
    assert (told["pseudo"], told["classes_covered"]) == (0, 0)
    assert "labelled" not in told


def test_lambda_by_cluster_and_growing() -> None:
    pool, truth = pool_of()
    options = {"lambda_scope": "cluster", "lambda_schedule": "grow", "lambda_q0": 0.25}
    learner = begun(pool, **options, planned_rounds=4)
    rows = nearest_to_centres(learner)
    known = np.full(60, -1)
    for round, q in enumerate([0.25, 0.25 + 0.7 / 3]):
        d = np.square(learner.embedding() - learner.centres[learner.a]).sum(axis=1)
        free = known < 0
        for p in range(3):
            own = d[(learner.a == p) & free]
            assert learner.lam[p] == pytest.approx(np.quantile(own, q), rel=1e-4), (round, p)
        if not round:
            view = asked(pool, truth, rows)
            fit(learner, view)
            known = np.asarray(view.known)
            learner.round = 1


# --- a round ---------------------------------------------------------------------------------


def test_one_round_against_a_slow_twin() -> None:
    """Both streams fit in a batch, so every step sees everything and no order matters."""
    pool, truth = pool_of()
    options = DSACOptions(m=5, epochs=3, batch_size=64, k2_mode="fraction", k2_start=0.5, lr=0.01)
    learner = DSAC(options)
    fit(learner, view_of(pool, truth, [], 3))
    rows = nearest_to_centres(learner)
    view = asked(pool, truth, rows)
    known, a, mu, w, lam = (
        np.array(v) for v in (view.known, learner.a, learner.centres, learner.w, learner.lam)
    )
    z = learner.embedding().copy()
    net = learner.network
    E, b, W, c, mean = (
        torch.tensor(v.detach().numpy(), dtype=torch.float64, requires_grad=True)
        for v in (net.embedding.linear.weight, net.embedding.linear.bias, net.last.weight,
                  net.last.bias, net.embedding.mean)
    )  # fmt: skip
    fit(learner, view)

    d = np.square(z.astype(np.float64) - mu[a]).sum(axis=1)
    k2 = pseudo.pseudo_size(0, 60, 3, mode="fraction", start=0.5)
    y = pseudo.pseudo_labels(a, d, known, np.array(rows), k2=k2, n_clusters=3)
    assert (y >= 0).sum() == 30
    assert np.array_equal(y, learner.pseudo_labels())
    y = np.where(known >= 0, known, y)
    near = geometry.neighbours(z, 6)
    g = torch.tensor(supervised_weights(geometry.compactness(near.d2)[y >= 0]))
    labels = torch.tensor(y[y >= 0])
    means = torch.tensor(geometry.class_means(z, y, 3)[0])
    x = torch.tensor(np.asarray(pool.features, dtype=np.float64))
    optimizer = torch.optim.AdamW(
        [{"params": [E, W], "weight_decay": 0.01}, {"params": [b, c], "weight_decay": 0.0}], lr=0.01
    )
    free = y < 0
    for _ in range(3):
        now = (x - mean.detach()) @ E.T + b
        du = (now[free] - torch.tensor(mu[a[free]])).square().sum(dim=1)
        wu = torch.tensor(w[free])
        unlabelled = (wu * du + lam[0] * (wu**2 / 2 - wu)).mean()
        own = now[~free]
        terms = F.cross_entropy(own @ W.T + c, labels, reduction="none")
        center = (own - means[labels]).square().sum(dim=1)
        loss = unlabelled + (g * terms).mean() + 0.01 * (g * center).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for mine, theirs in ((net.embedding.linear.weight, E), (net.embedding.linear.bias, b),
                         (net.last.weight, W), (net.last.bias, c)):  # fmt: skip
        assert np.allclose(mine.detach().numpy(), theirs.detach().numpy(), atol=2e-4)
    found = geometry.constrained_kmeans(
        learner.embedding(), known, 3, np.random.default_rng(0), seeds=y
    )
    assert np.array_equal(learner.a, found.labels)
    assert np.array_equal(learner.a[known >= 0], known[known >= 0]), "an answer stays in its class"


def test_figures_of_a_round() -> None:
    pool, truth = pool_of()
    learner = begun(pool, lambda_u=0.5)
    told = fit(learner, asked(pool, truth, nearest_to_centres(learner))).losses
    parts = told["class"] + 0.01 * told["center"]
    assert told["labelled"] == pytest.approx(parts, rel=1e-4)
    assert told["total"] == pytest.approx(told["unlabelled"] + told["labelled"], rel=1e-4)
    assert told["unlabelled"] < 0, "right after the weights were made"
    assert told["pseudo"] == (learner.pseudo_labels() >= 0).sum() > 0
    assert told["classes_covered"] == 3


def test_three_answers_are_enough_for_three_easy_kinds() -> None:
    pool, truth = tiny_pool(90)
    learner = DSAC(DSACOptions(m=16, epochs=40, batch_size=32, k2_mode="fraction"))
    fit(learner, view_of(pool, truth, [], 3))
    view = asked(pool, truth, nearest_to_centres(learner))
    fit(learner, view)
    proba = learner.snapshot(view, frozenset({"proba"})).proba
    assert (proba.argmax(axis=1) == truth).mean() > 0.95


# --- the order of a round --------------------------------------------------------------------


def order(y: np.ndarray, **options: Any) -> list[tuple[int, np.ndarray, np.ndarray]]:
    o = DSACOptions(**{**QUICK, **options}).settled("frozen")
    return list(dsac._order(o, y, np.random.default_rng(0)))


def classes(n_free: int, n_mine: int) -> np.ndarray:
    return np.concatenate([np.full(n_free, -1), np.zeros(n_mine, dtype=np.int64)])


def test_an_epoch_is_one_pass_over_the_longer_stream() -> None:
    y = classes(50, 20)
    steps = order(y, epochs=3)
    assert [e for e, _, _ in steps] == [e for e in range(3) for _ in range(4)]  # ceil(50 / 16)
    for epoch in range(3):
        free = np.concatenate([u for e, u, _ in steps if e == epoch])
        assert sorted(free) == list(range(50))
    mine = np.concatenate([i for _, _, i in steps])
    for start in range(0, len(mine) - 20, 20):  # one permutation after another
        assert sorted(mine[start : start + 20]) == list(range(50, 70))
    assert len({tuple(u) for _, u, _ in steps}) == len(steps)


def test_few_labelled_images_are_in_every_step() -> None:
    for _, _, i in order(classes(50, 16)):
        assert sorted(i) == list(range(50, 66))


def test_the_labelled_stream_may_be_the_longer_one() -> None:
    steps = order(classes(10, 40), epochs=1)
    assert len(steps) == 3
    assert sorted(np.concatenate([i for _, _, i in steps])) == list(range(10, 50))
    assert all(sorted(u) == list(range(10)) for _, u, _ in steps)


def test_no_unlabelled_image_leaves_the_labelled_stream() -> None:
    steps = order(classes(0, 40), epochs=1)
    assert len(steps) == 3
    assert all(len(u) == 0 and u.dtype == np.int64 for _, u, _ in steps)


def test_a_last_batch_of_one_image_joins_the_one_before() -> None:
    steps = order(classes(33, 4), epochs=2)
    assert [len(u) for _, u, _ in steps] == [16, 17, 16, 17]


def test_the_mixed_stream() -> None:
    y = classes(30, 30)[np.random.default_rng(0).permutation(60)]
    steps = order(y, batching="mixed", epochs=2)
    assert len(steps) == 8
    for epoch in range(2):
        both = [np.concatenate([u, i]) for e, u, i in steps if e == epoch]
        assert sorted(np.concatenate(both)) == list(range(60))
    assert all((y[u] < 0).all() and (y[i] >= 0).all() for _, u, i in steps)


def test_the_alternating_schedule() -> None:
    steps = order(classes(50, 20), loss_schedule="alternate", alternate_epochs=(2, 1))
    assert [(len(u), len(i)) for _, u, i in steps] == [
        (0, 16), (0, 4), (0, 16), (0, 4), (16, 0), (16, 0), (16, 0), (2, 0),
    ]  # fmt: skip
    none = order(classes(0, 5), loss_schedule="alternate", alternate_epochs=(1, 4))
    assert [(len(u), len(i)) for _, u, i in none] == [(0, 5)]


def test_without_its_loss_the_unlabelled_stream_only_sets_the_length() -> None:
    steps = order(classes(50, 20), lambda_u=0.0, epochs=1)
    assert len(steps) == 4
    assert all(len(u) == 0 for _, u, _ in steps)


def test_small_sets_get_steps_enough_and_large_ones_not_too_many() -> None:
    def length(n: int, **options: Any) -> int:
        o = DSACOptions(**options).settled("frozen")
        steps = islice(dsac._order(o, classes(n, 20), np.random.default_rng(0)), o.max_steps)
        return sum(1 for _ in steps)

    assert length(60, schedule="fast") == 300
    assert length(60_000, schedule="fast") == 600
    assert length(60, schedule="fast", epochs=3) == 3
    assert length(1_280) == 50 * 10
    assert length(1_280, epochs_total=40, planned_rounds=5) == 8 * 10


def test_what_the_schedule_settles() -> None:
    fast, slow = DSACOptions(schedule="fast"), DSACOptions()
    assert (fast.resolved().m, fast.resolved().batch_size) == (64, 256)
    assert (slow.resolved().m, slow.resolved().batch_size) == (200, 128)
    assert (slow.settled("frozen").lr, slow.settled("frozen").epochs) == (1e-3, 50)
    assert (slow.settled("finetune").lr, slow.settled("finetune").epochs) == (2e-5, 100)
    assert fast.settled("frozen").epochs == 20


# --- pseudo-labels ---------------------------------------------------------------------------


def test_a_round_without_representatives_has_no_pseudo_labels() -> None:
    pool, truth = pool_of()
    learner = begun(pool)
    fit(learner, view_of(pool, truth, nearest_to_centres(learner), 3, round=1))
    assert (learner.pseudo_labels() == -1).all()
    by_votes = begun(pool, pseudo_label="labels")
    fit(by_votes, view_of(pool, truth, nearest_to_centres(by_votes), 3, round=1))
    assert (by_votes.pseudo_labels() >= 0).any()


def test_pseudo_labels_grow_with_the_rounds_and_spare_the_answered() -> None:
    pool, truth = pool_of(90)
    learner, rows, counts = begun(pool), [], []
    for round in range(1, 4):
        rows += nearest_to_centres(learner)
        view = asked(pool, truth, sorted(set(rows)), round=round)
        fit(learner, view)
        made = learner.pseudo_labels()
        assert (made[np.asarray(view.known) >= 0] == -1).all()
        counts.append(int((made >= 0).sum()))
    assert counts == sorted(set(counts)), "k_2 grows by .15 n / c"


def test_a_representative_asked_later_renames_its_cluster() -> None:
    pool, truth = pool_of()
    learner = begun(pool, seed_from="labels")
    first = nearest_to_centres(learner)
    wrong = (truth + 1) % 3
    fit(learner, asked(pool, wrong, first))
    second = [int(np.flatnonzero((learner.a == p) & ~np.isin(np.arange(60), first))[0])
              for p in range(3)]  # fmt: skip
    a = learner.a.copy()
    known = np.full(60, -1)
    known[first], known[second] = wrong[first], truth[second]
    view = replace(asked(pool, truth, first + second, round=2), known=known)
    fit(learner, view)
    made = learner.pseudo_labels()
    for p in range(3):
        of_cluster = made[(a == p) & (made >= 0)]
        assert set(of_cluster) == {truth[second[p]]}


def test_pseudo_labels_where_cluster_and_graph_agree() -> None:
    """The graph is that of the untrained vectors at unit length, and is built once a pool."""
    pool, truth = pool_of()
    learner = begun(pool, pseudo_label="agreed", graph_k=4, graph_alpha=0.8)
    rows = nearest_to_centres(learner)
    view, a, z = asked(pool, truth, rows), learner.a.copy(), learner.embedding()
    d = np.square(z - learner.centres[a]).sum(axis=1)
    fit(learner, view)
    x = pool.features / np.linalg.norm(pool.features, axis=1, keepdims=True)
    found = geometry.knn(x, 4)
    spread = graph.spread(graph.knn_graph(*found).W, np.asarray(view.known), 3, alpha=0.8).X
    there = spread.sum(axis=1) > graph.NOTHING
    named = np.where(there, spread.argmax(axis=1), -1)
    expected = pseudo.agreed_labels(a, d, np.asarray(view.known), named, n_clusters=3)
    assert learner.pseudo_labels().tolist() == expected.tolist()
    assert (expected >= 0).sum() > 30
    built = learner._graph
    fit(learner, asked(pool, truth, [*rows, 5, 6], round=2))
    assert learner._graph is built


def test_clusters_of_the_averaged_embedding_are_nearer_to_the_digits() -> None:
    images, y = load_digits(return_X_y=True)
    pool = TinyPool([f"{i:04d}" for i in range(900)], features=images[:900].astype(np.float32))
    scores = []
    for steps in (0, 6):
        learner = DSAC(DSACOptions(m=64, embed_norm="l2", smooth_steps=steps))
        fit(learner, view_of(pool, np.zeros(900, dtype=np.int64), [], 10))
        scores.append(adjusted_rand_score(y[:900], learner.cluster_labels()))
        z = learner.embedding()
        means = [z[learner.a == p].mean(axis=0) for p in range(10)]
        np.testing.assert_allclose(learner.centres, means, atol=1e-4)  # of what the rule sees
    assert scores[1] > scores[0] + 0.03


def test_accumulated_pseudo_labels_stay() -> None:
    pool, truth = pool_of()
    learner = begun(pool, pseudo_policy="accumulate")
    rows = nearest_to_centres(learner)
    fit(learner, asked(pool, truth, rows))
    before = learner.pseudo_labels()
    # a second round that asks nothing about clusters: none is named anew
    some = int(np.flatnonzero(before >= 0)[0])
    view = view_of(pool, truth, [*rows, some], 3, round=2)
    fit(learner, view)
    kept = learner.pseudo_labels()
    others = np.arange(60) != some
    assert np.array_equal(kept[others], before[others])
    assert kept[some] == -1


def test_only_where_neighbours_agree() -> None:
    pool, truth = pool_of()
    learner = begun(pool, agree_tau=1.0, k2_start=1.0, k=5)
    rows, a = nearest_to_centres(learner), learner.a.copy()
    near = geometry.neighbours(learner.embedding(), 5).ids
    fit(learner, asked(pool, truth, rows))
    made = learner.pseudo_labels() >= 0
    agree = pseudo.agreement(near, a)
    assert made.any()
    assert (agree[made] == 1).all()


@pytest.mark.parametrize(("n", "c", "k2"), [(13_000, 10, 50), (60_000, 20, 50), (9_999, 20, 25)])
def test_k2_follows_the_size_of_the_set(
    n: int, c: int, k2: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = DSAC(DSACOptions())
    learner.a, learner.centres = np.arange(n) % c, np.zeros((c, 2), dtype=np.float32)
    learner.since = np.full(n, -1)
    seen: dict[str, int] = {}
    monkeypatch.setattr(pseudo, "pseudo_labels", lambda *_, **given: seen.update(given))
    view = View(pool=TinyPool([]), known=np.full(n, -1), classes=Classes())
    learner._pseudo_labels(learner.options, view, view.known, np.zeros(n), None, 1)
    assert seen["k2"] == k2


def test_passes_take_more_pseudo_labels_within_a_round() -> None:
    pool, truth = pool_of()
    told = []
    for passes in (1, 3):
        learner = begun(pool, passes=passes, k2_mode="code", k2_start=4, k2_step=0)
        told.append(fit(learner, asked(pool, truth, nearest_to_centres(learner))).losses["pseudo"])
    assert told == [12, 36]


# --- options of the constants ------------------------------------------------------------------


def test_answers_may_weigh_more_than_pseudo_labels() -> None:
    pool, truth = pool_of()
    learner = begun(pool, human_weight=3.0)
    rows = nearest_to_centres(learner)
    known = np.full(60, -1)
    known[rows] = truth[rows]
    y = known.copy()
    y[rows[0] - 1] = 0  # one pseudo-label
    plain, heavy = (
        learner._constants(replace(learner.options, human_weight=h), y, known, anew=False).g
        for h in (1.0, 3.0)
    )
    assert torch.allclose(heavy[rows], 3 * plain[rows])
    assert heavy[rows[0] - 1] == plain[rows[0] - 1] > 0
    assert (plain[torch.tensor(y < 0)] == 0).all()
    assert float(plain[torch.tensor(y >= 0)].mean()) == pytest.approx(1)


def test_refresh_every_epoch_moves_the_constants() -> None:
    pool, truth = pool_of()
    weights = []
    for refresh in ("round", "epoch"):
        learner = begun(pool, refresh=refresh, epochs=4, lr=0.05, head="relu-bn-linear")
        fit(learner, asked(pool, truth, nearest_to_centres(learner)))
        weights.append(learner.state()["network.embedding.linear.weight"])
        moments = learner.network.before[1].num_batches_tracked
        assert int(moments) == 4 * 4, "batch norm kept training after each look at all images"
    assert not np.allclose(*weights)


def test_a_cold_start_forgets_the_last_round() -> None:
    pool, truth = pool_of()
    through, skipping = begun(pool, warm_start=False), begun(pool, warm_start=False)
    first = {k: v for k, v in through.state().items() if k.startswith("network.")}
    rows = nearest_to_centres(through)
    fit(through, asked(pool, truth, rows))
    assert not np.array_equal(through.state()["network.last.weight"], first["network.last.weight"])
    for learner in (through, skipping):
        learner._restart()
        now = learner.state()
        assert all(np.array_equal(now[k], v) for k, v in first.items())


def test_a_class_that_comes_later_survives_cold_starts() -> None:
    pool, truth = pool_of()
    learner = begun(pool, warm_start=False)
    view = asked(pool, truth, nearest_to_centres(learner), n_classes=5)
    fit(learner, view)
    assert learner.state()["first.last.weight"].shape == (5, 5)
    assert learner.snapshot(view, frozenset({"proba"})).proba.shape == (60, 5)
    assert learner.centres.shape == (5, 5)


def test_column_softmax_of_the_worked_example() -> None:
    z = np.array([(2, 1.8, -1), (1.9, 0.2, 0.1), (2.2, 2.1, 0), (1, -0.5, 0.9)], dtype=np.float32)
    for predict, expected in (("row", [0, 0, 0, 0]), ("column-softmax", [1, 0, 1, 2])):
        pool, _ = pool_of()
        learner = begun(pool, m=3, predict=predict)
        with torch.no_grad():
            learner.network.last.weight.copy_(torch.eye(3))
            learner.network.last.bias.zero_()
        learner.round = 1
        learner._measure_classes(z)
        proba = learner._proba(z, np.zeros(4, dtype=np.int64))
        assert proba.argmax(axis=1).tolist() == expected
        if predict == "column-softmax":
            column = np.exp(z) / np.exp(z).sum(axis=0)
            assert np.allclose(proba, column / column.sum(axis=1, keepdims=True), atol=1e-6)


def test_prediction_by_two_views_of_the_answers() -> None:
    pool, truth = pool_of()
    learner = begun(pool, predict="views", pseudo_label="agreed")
    rows = [i for i in nearest_to_centres(learner) if truth[i] != 2]  # nobody has named class 2
    view = asked(pool, truth, rows)
    fit(learner, view)
    proba = learner.snapshot(view, frozenset({"proba"})).proba
    z = learner.embedding().astype(np.float64)
    d = np.square(z[:, None] - learner.centres[None]).sum(axis=2)
    own = d[np.arange(60), learner.a]
    near = np.exp(-d / own.mean()) / np.exp(-d / own.mean()).sum(axis=1, keepdims=True)
    known = view.known.copy()
    mine = np.flatnonzero(learner.a == 2)
    known[mine[own[mine].argmin()]] = 2  # its cluster stands in for it
    found = geometry.neighbours(geometry.unit_rows(pool.features), 10)
    F = graph.spread(graph.knn_graph(found.ids, found.d2).W, known, 3).X
    reach = F / np.maximum(F.sum(axis=1, keepdims=True), 1e-300)
    mixed = near / 5 + 4 * reach / 5
    assert np.allclose(proba, mixed / mixed.sum(axis=1, keepdims=True), atol=1e-4)
    assert (proba.argmax(axis=1) == 2).any()
    fresh = learner.predict(pool.features)  # no graph knows a new image: f speaks in its place
    f = torch.softmax(torch.from_numpy(learner._logits(learner.embedding())), dim=1).numpy()
    assert np.allclose(fresh, near / 5 + 4 * f / 5, atol=1e-4)
    twin = DSAC(learner.options)
    twin.load(learner.state())
    assert np.array_equal(twin.snapshot(view, frozenset({"proba"})).proba, proba)


def test_prediction_by_the_nearest_centre_of_a_class() -> None:
    pool, truth = pool_of()
    learner = begun(pool, predict="centre")
    view = asked(pool, truth, nearest_to_centres(learner))
    fit(learner, view)
    proba = learner.snapshot(view, frozenset({"proba"})).proba
    z = learner.embedding().astype(np.float64)
    d = np.square(z[:, None] - learner.centres[None]).sum(axis=2)
    own = d[np.arange(60), learner.a].mean()
    slow = np.exp(-d / own) / np.exp(-d / own).sum(axis=1, keepdims=True)
    assert np.allclose(proba, slow, atol=1e-4)
    assert (proba.argmax(axis=1) == truth).mean() > 0.9
    assert np.allclose(learner.predict(pool.features), proba, atol=1e-5)


@pytest.mark.parametrize("constrain", ["human", "none", "human+pseudo"])
def test_who_is_pinned_to_a_class(constrain: str) -> None:
    pool, truth = pool_of()
    learner = begun(pool, constrain=constrain)
    rows = nearest_to_centres(learner)
    wrong = truth.copy()
    wrong[rows[0]] = (truth[rows[0]] + 1) % 3
    view = asked(pool, wrong, [*rows, *(int(i) for i in np.flatnonzero(truth == 2)[:4])])
    fit(learner, view)
    known, made = np.asarray(view.known), learner.pseudo_labels()
    if constrain != "none":
        assert np.array_equal(learner.a[known >= 0], known[known >= 0])
    if constrain == "human+pseudo":
        assert np.array_equal(learner.a[made >= 0], made[made >= 0])


def test_cluster_label_names_clusters_and_trains_nothing() -> None:
    pool, truth = pool_of()
    learner = begun(pool, predict="cluster")
    before, a = learner.state(), learner.a.copy()
    rows = nearest_to_centres(learner)[:2]
    view = asked(pool, truth, rows)
    told = fit(learner, view)
    proba = learner.snapshot(view, frozenset({"proba"})).proba
    for p, row in enumerate(rows):
        assert (proba[a == p].argmax(axis=1) == truth[row]).all()
        assert (proba[a == p].max(axis=1) == 1).all()
    assert np.allclose(proba[a == 2], 1 / 3), "nobody has named this one"
    after = learner.state()
    assert all(np.array_equal(after[k], v) for k, v in before.items() if k.startswith("network."))
    assert np.array_equal(learner.a, a)
    assert told.losses["pseudo"] == ((a < 2).sum() - 2)
    assert np.array_equal(learner.predict(pool.features), proba)


# --- finetune ----------------------------------------------------------------------------------


def test_finetune_trains_the_backbone_and_goes_on_from_its_state() -> None:
    pool, truth = tiny_pool(18, (12, 12), 3)
    options = {"train": "finetune", "backbone": "small", "lr": 1e-3, "train_aug": "none"}
    learner = begun(pool, **options)
    frozen = DSAC(DSACOptions(**{**QUICK, **options, "train": "frozen"}))
    fit(frozen, view_of(pool, truth, [], 3))
    assert np.allclose(frozen.embedding(), learner.embedding(), atol=1e-3), "one and the same start"
    before = learner.state()
    rows = nearest_to_centres(learner)
    view = asked(pool, truth, rows)
    twin = DSAC(learner.options)
    twin.load(before)
    for one in (learner, twin):
        fit(one, view, seed=4)
    after = learner.state()
    body = [k for k in after if k.startswith("network.body.") and k.endswith("weight")]
    assert body
    assert all(not np.array_equal(after[k], before[k]) for k in body)
    snapshots = [one.snapshot(view, one.gives) for one in (learner, twin)]
    for name in learner.gives:
        assert np.array_equal(snapshots[0].parts[name], snapshots[1].parts[name]), name
    proba = learner.predict(pool.read(np.arange(18)))
    assert np.allclose(proba, snapshots[0].proba, atol=1e-4)


def adapting(pool: TinyPool, **options: Any) -> DSAC:
    return begun(pool, train="finetune", backbone="small", train_aug="none", lr=1e-2, **options)


def norms_of(learner: DSAC) -> dict[str, np.ndarray]:
    return {k: v for k, v in learner.state().items() if "running_" in k and "body" in k}


def weights_of_body(learner: DSAC) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in learner.network.body.parameters()])


def test_the_head_may_learn_first_and_the_body_at_a_rate_of_its_own() -> None:
    pool, truth = tiny_pool(18, (12, 12), 3)
    moved = []
    for rate in (0.0, 1e-4, 1e-2):
        learner = adapting(pool, lr_body=rate, weight_decay=0.0, max_steps=3)
        before = weights_of_body(learner)
        fit(learner, asked(pool, truth, nearest_to_centres(learner)))
        moved.append(float(np.abs(weights_of_body(learner) - before).max()))
    assert moved[0] == 0
    assert moved[1] == pytest.approx(3e-4, rel=0.4)  # a step of Adam is about its rate
    assert moved[2] > 30 * moved[1]
    losses = []
    for steps in (0, 40):
        learner = adapting(pool, lr_body=0.0, weight_decay=0.0, head_steps=steps, max_steps=1)
        before = weights_of_body(learner)
        told = fit(learner, asked(pool, truth, nearest_to_centres(learner)))
        assert np.array_equal(weights_of_body(learner), before)
        assert told.images == 18 * (1 + steps)
        losses.append(told.losses["class"])
    assert losses[1] < 0.8 * losses[0]


def test_norms_of_the_body_may_keep_their_statistics() -> None:
    pool, truth = tiny_pool(18, (12, 12), 3)
    for norms, stay in (("keep", True), ("train", False)):
        learner = adapting(pool, norms=norms)
        before = norms_of(learner)
        assert before
        fit(learner, asked(pool, truth, nearest_to_centres(learner)))
        assert all(np.array_equal(before[k], v) for k, v in norms_of(learner).items()) is stay


def test_the_graph_of_the_embedding_is_made_anew_each_round() -> None:
    pool, truth = pool_of()
    learner = begun(pool, pseudo_label="agreed", graph_of="embedding", predict="views")
    rows = nearest_to_centres(learner)
    fit(learner, asked(pool, truth, rows))
    near = geometry.neighbours(geometry.unit_rows(learner.embedding()), 10)
    expected = graph.knn_graph(near.ids, near.d2).W
    assert abs(learner._neighbourhood(learner.options) - expected).max() < 1e-12
    fit(learner, asked(pool, truth, [*rows, 5, 6], round=2))
    assert abs(learner._neighbourhood(learner.options) - expected).max() > 1e-6


def test_the_graph_of_both_is_of_the_embedding_beside_the_untrained_vectors() -> None:
    pool, truth = pool_of()
    learner = begun(pool, pseudo_label="agreed", graph_of="both", predict="views")
    fit(learner, asked(pool, truth, nearest_to_centres(learner)))
    parts = [geometry.unit_rows(x) for x in (learner.embedding(), learner.inputs.vectors())]
    near = geometry.neighbours(np.concatenate(parts, axis=1), 10)
    expected = graph.knn_graph(near.ids, near.d2).W
    assert abs(learner._neighbourhood(learner.options) - expected).max() < 1e-12
    for part in parts:  # neither alone
        near = geometry.neighbours(part, 10)
        other = graph.knn_graph(near.ids, near.d2).W
        assert abs(learner._neighbourhood(learner.options) - other).max() > 1e-6


def test_a_share_of_the_layers_may_stay_from_the_pixels_on() -> None:
    pool, truth = tiny_pool(18, (12, 12), 3)
    for share in (0.0, 0.5, 1.0):
        learner = adapting(pool, hold=share, norms="keep")
        before = [p.detach().clone() for p in learner.network.body.parameters()]
        fit(learner, asked(pool, truth, nearest_to_centres(learner)))
        after = list(learner.network.body.parameters())
        moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        held = round(share * len(moved))
        assert moved == [False] * held + [True] * (len(moved) - held)
    for share in (-0.1, 1.5):
        with pytest.raises(RecipeError, match=r"learner\.hold is .*: a share of the layers"):
            DSAC(DSACOptions(hold=share))


def test_before_the_body_moves_no_image_is_embedded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, truth = tiny_pool(18, (12, 12), 3)
    learner = adapting(pool)
    body, passes = learner.network.body, []
    monkeypatch.setattr(
        body, "forward", lambda x, run=body.forward: (passes.append(len(x)), run(x))[1]
    )
    first = learner._embed()  # by the images
    assert passes == [18]
    learner._moved()
    assert np.allclose(learner.embedding(), first, atol=1e-3)
    assert passes == [18], "from the vectors that are at hand"
    fit(learner, asked(pool, truth, nearest_to_centres(learner)))
    passes.clear()
    learner._moved()
    assert not np.allclose(learner.embedding(), first, atol=1e-3)
    assert passes == [18]


def test_only_the_surest_of_a_class_are_trained_on() -> None:
    pool, truth = pool_of()
    counts = []
    for share in (None, 0.25):
        learner = begun(pool, pseudo_label="agreed", pseudo_share=share)
        fit(learner, asked(pool, truth, nearest_to_centres(learner)))
        counts.append(np.bincount(learner.pseudo[learner.pseudo >= 0], minlength=3))
    assert (counts[1] <= 5).all()  # a quarter of 60 / 3
    assert (counts[1] == np.minimum(counts[0], 5)).all()
    assert (counts[0] > 5).any()


# --- degenerate input ----------------------------------------------------------------------------


def test_everything_is_answered() -> None:
    pool, truth = pool_of()
    learner = begun(pool)
    told = fit(learner, asked(pool, truth, range(60))).losses
    assert told["unlabelled"] == 0
    assert told["pseudo"] == 0
    assert learner.lam == [0]
    assert np.array_equal(learner.a, truth)


@pytest.mark.parametrize("rows", [[0], [0, 3, 6]])
def test_labels_of_one_class_or_one_image(rows: list[int]) -> None:
    pool, truth = pool_of()
    learner = begun(pool)
    told = fit(learner, asked(pool, truth, rows)).losses
    assert told["classes_covered"] == 1
    assert all(np.isfinite(v) for v in told.values())


def test_fewer_images_than_a_batch_and_a_single_one() -> None:
    for n, c in ((5, 3), (1, 1)):
        pool, truth = tiny_pool(n, features=6)
        learner = DSAC(DSACOptions(**{**QUICK, "batch_size": 64}))
        for labelled in ([], [0]):
            view = asked(pool, truth, labelled, n_classes=c)
            fit(learner, view)
            assert np.isfinite(learner.snapshot(view, learner.gives).proba).all()


@pytest.mark.parametrize("norm", ["none", "l2"])
def test_copies_of_two_images_and_three_clusters(norm: str) -> None:
    pool, _ = pool_of()
    assert pool.features is not None
    copies = TinyPool(pool.ids, features=pool.features[np.arange(60) % 2])
    learner = begun(copies, embed_norm=norm)
    view = asked(copies, np.arange(60) % 2, [0, 1])
    told = fit(learner, view).losses
    assert all(np.isfinite(v) for v in told.values())
    snapshot = learner.snapshot(view, learner.gives)
    assert (snapshot.proba.argmax(axis=1) == np.arange(60) % 2).all()
    assert np.isfinite(snapshot.centres).all()


def test_an_image_that_nobody_could_answer() -> None:
    pool, truth = pool_of()
    learner = begun(pool)
    rows = nearest_to_centres(learner)
    view = asked(pool, truth, rows[:2])
    refused = replace(view, tags={**view.tags, pool.ids[rows[2]]: "representative"})
    a = learner.a.copy()
    fit(learner, refused)
    made = learner.pseudo_labels()
    assert (made[a == a[rows[2]]] == -1).all()
    assert (made[a != a[rows[2]]] >= 0).any()


def test_all_images_on_one_point_are_a_collapse_where_the_images_differ() -> None:
    pool, truth = pool_of()
    learner = begun(pool)
    with torch.no_grad():
        learner.network.embedding.linear.weight.zero_()
    learner._moved()
    with pytest.raises(TrainingError, match="collapsed"):
        fit(learner, asked(pool, truth, [0, 1, 2]))
    assert pool.features is not None
    flat = TinyPool(pool.ids, features=np.ones_like(pool.features))
    same = begun(flat)
    told = fit(same, asked(flat, truth, [0, 1, 2])).losses
    assert all(np.isfinite(v) for v in told.values())


def test_an_embedding_with_nan_is_reported() -> None:
    pool, truth = pool_of()
    learner = begun(pool)
    with torch.no_grad():
        learner.network.embedding.linear.weight.fill_(torch.nan)
    learner._moved()
    with pytest.raises(TrainingError, match=r"learner\.lr"):
        fit(learner, asked(pool, truth, [0, 1, 2]))


def test_what_is_refused() -> None:
    pool, truth = tiny_pool(4, features=6)
    with pytest.raises(InputError, match="fewer images"):
        fit(DSAC(DSACOptions(**QUICK)), view_of(pool, truth, [], 5))
    nameless = replace(view_of(pool, truth, []), classes=Classes())
    with pytest.raises(RecipeError, match="number of clusters"):
        fit(DSAC(DSACOptions(**QUICK)), nameless)
    with pytest.raises(InputError, match="not in the list"):
        fit(DSAC(DSACOptions(**QUICK)), view_of(pool, truth, range(3), 2))
    with pytest.raises(InputError, match="labels for"):
        fit(DSAC(DSACOptions(**QUICK)), replace(nameless, known=np.full(3, -1)))
    learner = DSAC(DSACOptions(**QUICK))
    fit(learner, replace(nameless, clusters=2))
    other = tiny_pool(6, features=6)[0]
    with pytest.raises(InputError, match="fit it"):
        learner.snapshot(view_of(other, truth, [], 3), learner.gives)


def test_another_pool_is_clustered_anew() -> None:
    pool, truth = pool_of()
    learner = begun(pool)
    fit(learner, asked(pool, truth, nearest_to_centres(learner)))
    other, theirs = pool_of(45)
    view = asked(other, theirs, [0, 1, 2])
    fit(learner, view)
    assert len(learner.cluster_labels()) == 45
    assert learner.round == 1
    assert learner.snapshot(view, frozenset({"proba"})).proba.shape == (45, 3)
