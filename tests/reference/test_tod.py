"""TOD: worked numbers of the query and the losses, slow twins, and what a resumed run keeps."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from handful.errors import InputError, MissingPart, RecipeError
from handful.learners.tod import TOD, TODOptions
from handful.losses.tod import ema_decay, output_mse, two_head_loss, unsupervised_loss
from handful.progress import Silent
from handful.queries import cod, tod
from handful.recipes import combine, recipe
from handful.rng import rng_for
from handful.testing.learners import TinyPool, tiny_pool, view_of
from handful.training import ema
from handful.types import Array

Z = np.array([[2, 0.5, -1], [0.2, 0.1, 0], [1, 3, 0], [0, 0, 1.5]])
BEFORE = np.array([[0.5, 1.5, -0.5], [0, 0.3, 0.1], [1, 2.5, 0.2], [1.5, 0, 0]])
SECOND = np.array([[1.8, 0.4, -0.8], [0, 0.2, 0.1], [1.2, 2.6, 0.1], [0.2, 0.1, 1]])
QUICK = TODOptions(schedule="fast", least_steps=30, first_epochs=1, epochs=1)


def softmax(z: Array) -> Array:
    e: Array = np.exp(z - z.max(axis=1, keepdims=True))
    p: Array = e / e.sum(axis=1, keepdims=True)
    return p


def fit(view: Any, options: TODOptions = QUICK, seed: int = 0) -> TOD:
    learner = TOD(options)
    learner.fit(view, np.random.default_rng(seed), Silent())
    return learner


# --- the query ------------------------------------------------------------------------------


def test_cod_of_the_worked_example() -> None:
    p, q = softmax(Z), softmax(BEFORE)
    want = [0.731562, 0.099156, 0.108956, 0.759656]
    np.testing.assert_allclose(cod(p, q), want, atol=5e-7)
    half = [0.267592, 0.004916, 0.005936, 0.288538]  # the authors' form: the same order
    np.testing.assert_allclose(cod(p, q) ** 2 / 2, half, atol=5e-7)
    assert tod(p, q, 4, ties="index").tolist() == [3, 0, 2, 1]
    # of logits it would be another quantity
    np.testing.assert_allclose(cod(Z, BEFORE), [1.870829, 0.3, 0.538516, 2.121320], atol=5e-7)


def test_the_first_round_asks_what_is_nearest_to_uniform() -> None:
    p = softmax(Z)
    want = [0.562215, 0.047082, 0.627265, 0.438587]
    np.testing.assert_allclose(cod(p, np.full((4, 3), 1 / 3)), want, atol=5e-7)
    assert tod(p, None, 4, ties="index").tolist() == [1, 3, 0, 2]
    # what a learner of float32 gives as "nothing known" is seen as such
    flat = np.full((4, 3), 1 / 3, dtype=np.float32)
    assert tod(p, flat, 2, ties="index").tolist() == [1, 3]


def test_cod_equals_its_slow_twin() -> None:
    rng = np.random.default_rng(0)
    p, q = (softmax(rng.normal(size=(40, 5))) for _ in range(2))
    slow = [math.sqrt(sum((p[i, c] - q[i, c]) ** 2 for c in range(5))) for i in range(40)]
    np.testing.assert_allclose(cod(p, q), slow, rtol=1e-12)
    known = np.where(np.arange(40) % 4 == 0, 1, -1)
    free = [i for i in range(40) if known[i] < 0]
    best = sorted(free, key=lambda i: -slow[i])[:7]
    assert tod(p, q, 7, known=known).tolist() == best


def test_nothing_has_changed(caplog: pytest.LogCaptureFixture) -> None:
    p = softmax(Z)
    assert tod(p, p.copy(), 2, ties="index").tolist() == [1, 3]
    assert "no prediction has changed" in caplog.text
    caplog.clear()
    ones = np.ones((5, 1))
    assert tod(ones, ones, 3, ties="index").tolist() == [0, 1, 2]
    assert "one class" in caplog.text


def test_a_subset_comes_first_and_the_rest_follows() -> None:
    rng = np.random.default_rng(1)
    p, q = (softmax(rng.normal(size=(50, 4))) for _ in range(2))
    order, limited = tod(p, q, 50).tolist(), tod(p, q, 50, subset=20).tolist()
    assert sorted(limited) == list(range(50))
    rank = {row: i for i, row in enumerate(order)}
    for part in (limited[:20], limited[20:]):
        assert part == sorted(part, key=rank.__getitem__)
    assert limited != order
    with pytest.raises(RecipeError, match=r"query\.subset is 0"):
        tod(p, q, 3, subset=0)


def test_what_does_not_fit_is_refused() -> None:
    p = softmax(Z)
    with pytest.raises(InputError, match=r"\(4, 3\).*\(4, 2\)"):
        tod(p, np.full((4, 2), 0.5), 1)
    with pytest.raises(InputError, match="'00000002' are NaN"):
        tod(p, np.where(np.arange(4)[:, None] == 2, np.nan, p), 1)
    with pytest.raises(MissingPart, match="'tod' needs 'previous', which learner 'cnn'"):
        combine(recipe("random"), query="tod").build()


# --- the losses -----------------------------------------------------------------------------


def test_losses_of_the_worked_example() -> None:
    z, t, g = (torch.tensor(a) for a in (Z, BEFORE, SECOND))
    assert float(output_mse(z[:2], t[:2])) == pytest.approx(0.598333, abs=5e-7)
    assert float(output_mse(z[2:], t[2:])) == pytest.approx(0.798333, abs=5e-7)
    unsupervised = unsupervised_loss(z, t, 2)
    assert float(unsupervised) == pytest.approx(1.396667, abs=5e-7)
    ce = F.cross_entropy(z[:2], torch.tensor([0, 1]))
    assert float(ce) == pytest.approx(0.671627, abs=5e-7)
    assert float(ce + 0.05 * unsupervised) == pytest.approx(0.741460, abs=5e-7)
    assert float(two_head_loss(z, g, t, 2)) == pytest.approx(1.070000, abs=5e-7)


def test_losses_equal_their_slow_twins() -> None:
    rng = np.random.default_rng(2)
    f, g, t = (rng.normal(size=(7, 4)) for _ in range(3))

    def mse(a: Array, b: Array, rows: range) -> float:
        return float(
            sum((a[i, c] - b[i, c]) ** 2 for i in rows for c in range(4)) / (4 * len(rows))
        )

    s, u = range(3), range(3, 7)
    ft, gt, tt = (torch.tensor(a) for a in (f, g, t))
    assert float(unsupervised_loss(ft, tt, 3)) == pytest.approx(mse(f, t, s) + mse(f, t, u))
    want = mse(f, g, s) + mse(f, g, u) + mse(g, t, s) + mse(g, t, u)
    assert float(two_head_loss(ft, gt, tt, 3)) == pytest.approx(want)
    assert float(unsupervised_loss(ft, tt, 7)) == pytest.approx(mse(f, t, range(7)))  # no U


def test_the_teacher_gets_no_gradient_and_the_student_the_right_one() -> None:
    f, g, t = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    loss = two_head_loss(f, g, t, 2)
    of_f, of_t = torch.autograd.grad(loss, (f, t), allow_unused=True)
    assert of_t is None
    assert of_f.abs().sum() > 0  # the first head is not detached
    constant = t.detach()
    assert torch.autograd.gradcheck(lambda a: unsupervised_loss(a, constant, 2), (f,))


@pytest.mark.parametrize(("alpha", "want"), [(0.999, [0.5, 1.0, 1.75]), (0.6, [0.5, 1.1, 2.26])])
def test_the_average_over_time(alpha: float, want: list[float]) -> None:
    teacher, student = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    teacher.weight.data.fill_(0)
    for step, (w, mean) in enumerate(zip([1.0, 2.0, 4.0], want, strict=True), start=1):
        student.weight.data.fill_(w)
        ema(teacher, student, ema_decay(step, alpha))
        assert teacher.weight.item() == pytest.approx(mean, abs=5e-7)


def test_one_step_moves_the_output_by_no_more_than_the_bound() -> None:
    """Of a linear model the bound is an equality."""
    w, x, target, eta = torch.tensor(2.0, requires_grad=True), 3.0, 4.0, 0.01
    half_square = (w * x - target) ** 2 / 2
    (slope,) = torch.autograd.grad(half_square, w)
    moved = abs((w - eta * slope) * x - w * x).item()
    assert moved == pytest.approx(0.18, abs=1e-6)
    assert moved == pytest.approx(eta * math.sqrt(2 * half_square.item()) * x**2, abs=1e-6)


# --- the learner ----------------------------------------------------------------------------


def test_schedules() -> None:
    published, fast = TODOptions().resolved(), TODOptions(schedule="fast").resolved()
    assert (published.optimizer, published.lr, published.epochs) == ("sgd", 0.1, 200)
    assert (published.lam, published.alpha, published.batch_size) == (0.02, 0.999, 128)
    assert (fast.optimizer, fast.lr, fast.first_epochs, fast.epochs) == ("adam", 1e-3, 15, 8)
    assert (fast.lam, fast.alpha, fast.batch_size, fast.unlabelled_size) == (0.05, 0.99, 32, 96)
    with pytest.raises(RecipeError, match="batch_size"):
        TOD(TODOptions(batch_size=1))
    with pytest.raises(RecipeError, match="alpha"):
        TOD(TODOptions(alpha=1.0))


def test_steps_follow_the_epochs_but_are_never_few() -> None:
    pool, truth = tiny_pool()
    options = replace(QUICK, least_steps=3, first_epochs=4, epochs=2, batch_size=4)
    learner = TOD(options)
    for view, steps, batch in (
        (view_of(pool, truth, range(9)), 4 * 3, 4 + 15),  # three batches of 4 cover 9 labels
        (view_of(pool, truth, range(9), round=1), 2 * 3, 4 + 15),
        (view_of(pool, truth, range(2), round=2), 3, 2 + 22),
    ):
        report = learner.fit(view, np.random.default_rng(0), Silent())
        assert report.images == steps * batch
        assert set(report.losses) == {"ce", "consistency"}


def test_previous_is_what_the_round_before_said() -> None:
    pool, truth = tiny_pool()
    first, second, third = (view_of(pool, truth, range(n), round=n) for n in (6, 9, 12))
    learner = fit(first)
    both = frozenset({"proba", "previous"})
    was = learner.snapshot(first, both)
    np.testing.assert_allclose(was.part("previous"), 1 / 4)
    for view in (second, third):
        learner.fit(view, np.random.default_rng(1), Silent())
        now = learner.snapshot(view, both)
        np.testing.assert_array_equal(now.part("previous"), was.proba)
        assert not np.array_equal(now.proba, was.proba)
        was = now


def test_previous_is_of_the_image_and_not_of_its_place() -> None:
    pool, truth = tiny_pool()
    learner = fit(view_of(pool, truth, range(6)))
    view = view_of(pool, truth, range(9), round=1)
    learner.fit(view, np.random.default_rng(1), Silent())
    whole = learner.snapshot(view, frozenset({"previous"})).part("previous")
    rows = np.array([3, 17, 20])
    part = pool.subset(rows)
    seen = learner.snapshot(view_of(part, truth[rows], [0]), frozenset({"previous"}))
    np.testing.assert_allclose(seen.part("previous"), whole[rows], atol=1e-6)


def test_a_new_class_has_no_previous_and_a_new_teacher() -> None:
    pool, truth = tiny_pool()
    learner = fit(view_of(pool, truth, range(9), n_classes=3))
    steps = learner.step
    wider = view_of(pool, truth, range(9), n_classes=5, round=1)
    learner.fit(wider, np.random.default_rng(1), Silent())
    q = learner.snapshot(wider, frozenset({"previous"})).part("previous")
    assert q.shape == (24, 5)
    assert (q[:, 3:] == 0).all()
    np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-5)
    assert learner.step == 30
    learner.fit(replace(wider, round=2), np.random.default_rng(2), Silent())
    assert learner.step == 60 == 2 * steps


def test_one_class_says_nothing_of_the_next_round() -> None:
    pool, truth = tiny_pool()
    learner = fit(view_of(pool, truth, [0, 3, 6]))
    assert learner.teacher is None
    view = view_of(pool, truth, range(9), round=1)
    learner.fit(view, np.random.default_rng(1), Silent())
    q = learner.snapshot(view, frozenset({"previous"})).part("previous")
    np.testing.assert_allclose(q, 1 / 4)


def test_the_teacher_is_the_mean_of_the_students_while_the_ramp_is_on() -> None:
    pool, truth = tiny_pool()
    learner = TOD(replace(QUICK, least_steps=3, alpha=0.999))
    seen: list[torch.Tensor] = []

    def look(n: int = 1, **figures: float) -> None:
        seen.append(learner.model.trained.state_dict()["top.1.weight"].clone())

    class Watch(Silent):
        @contextmanager
        def task(self, name: str, total: int | None, unit: str = "images") -> Iterator[Any]:
            look()
            yield SimpleNamespace(advance=look)

    learner.fit(view_of(pool, truth, range(9)), np.random.default_rng(0), Watch())
    assert len(seen) == 4
    assert learner.teacher is not None
    mean = torch.stack(seen).mean(dim=0)
    torch.testing.assert_close(learner.teacher.state_dict()["top.1.weight"], mean)
    assert not any(p.requires_grad for p in learner.teacher.parameters())
    for mine, theirs in zip(
        learner.teacher.buffers(), learner.model.trained.buffers(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_the_unlabelled_images_train_and_change_from_step_to_step() -> None:
    pool, truth = tiny_pool()
    view = view_of(pool, truth, range(6))
    options = replace(QUICK, unlabelled_size=4, lam=1.0)
    read: list[tuple[int, ...]] = []
    learner = TOD(options)
    learner.model.begin(view, np.random.default_rng(0))
    source = learner.model.source(pool)
    inner = source.float

    def watched(rows: Any) -> Any:
        read.append(tuple(sorted(int(r) for r in rows if r >= 6)))
        return inner(rows)

    source.float = watched  # type: ignore[method-assign]
    learner.fit(view, np.random.default_rng(0), Silent())
    assert len(set(read)) > 15, "the same unlabelled batch again and again"
    assert set().union(*read) == set(range(6, 24))
    alone = fit(view, replace(options, lam=0.0))
    x = pool.read(np.arange(24))
    assert not np.array_equal(learner.predict(x), alone.predict(x))


def test_two_heads_train_and_the_first_predicts() -> None:
    pool, truth = tiny_pool(60)
    view = view_of(pool, truth, range(12), n_classes=3)
    learner = fit(view, replace(QUICK, two_head=True))
    net = learner.model.trained
    assert net.heads is not None
    z = learner.model.embed(pool.read(np.arange(60)))
    weights = net.state_dict()
    want, other = (
        F.linear(z, weights[f"{head}.weight"], weights[f"{head}.bias"]).softmax(1).numpy()
        for head in ("top.1", "heads.0")
    )
    p = learner.predict(pool.read(np.arange(60)))
    np.testing.assert_allclose(p, want, atol=1e-5)
    assert not np.allclose(p, other, atol=1e-3)
    assert (p.argmax(1) == truth).mean() > 0.9


def test_everything_labelled_leaves_the_labelled_term() -> None:
    pool, truth = tiny_pool()
    learner = fit(view_of(pool, truth, range(24), n_classes=3))
    assert (learner.predict(pool.read(np.arange(24))).argmax(1) == truth).mean() > 0.9


def test_no_label_is_refused() -> None:
    pool, truth = tiny_pool()
    with pytest.raises(InputError, match="'tod' needs a label"):
        fit(view_of(pool, truth, []))


# --- end to end -----------------------------------------------------------------------------


def digits(n: int = 150) -> tuple[TinyPool, Array]:
    data = load_digits()
    images = (data.images[:n] * 15.9).astype(np.uint8)[:, None]
    return TinyPool([f"{i:04d}.png" for i in range(n)], images=images), data.target[:n]


def test_the_rule_of_the_first_round_is_followed_by_cod() -> None:
    pool, truth = digits()
    view = view_of(pool, truth, range(40), n_classes=10)
    learner, rule = recipe("tod", learner={"least_steps": 20, "first_epochs": 1}).build()
    learner.fit(view, np.random.default_rng(0), Silent())
    first = learner.snapshot(view, rule.needs)
    picks = rule.select(first, 8, rng_for(0, 0, "query")).rows
    flat = np.linalg.norm(first.proba - 0.1, axis=1)
    assert set(picks) == set(40 + np.argsort(flat[40:], kind="stable")[:8])
    later = replace(view, round=1)
    learner.fit(later, np.random.default_rng(1), Silent())
    second = learner.snapshot(later, rule.needs)
    picks = rule.select(second, 8, rng_for(0, 1, "query")).rows
    moved = np.linalg.norm(second.proba - second.part("previous"), axis=1)
    assert set(picks) == set(40 + np.argsort(-moved[40:], kind="stable")[:8])


def test_weights_of_a_state_are_not_shared() -> None:
    pool, truth = tiny_pool()
    learner = fit(view_of(pool, truth, range(6)))
    state = copy.deepcopy(learner.state())
    learner.fit(view_of(pool, truth, range(9), round=1), np.random.default_rng(1), Silent())
    back = TOD(QUICK)
    back.load(state)
    assert back.before is None
    assert back.step == 30
    assert back.teacher is not None
    for name, array in back.state().items():
        np.testing.assert_array_equal(array, state[name])
