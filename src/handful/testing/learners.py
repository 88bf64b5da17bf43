"""What every learner promises, as tests that a plug-in inherits.

::

    class TestMine(LearnerContract):
        learner = Mine
        tiny = Mine.Options(steps=3)      # a fit on 24 images of 8x8 in well under a second

An exception is not a skipped test but a declared class variable of the learner, with its
reason in the docstring:

``needs_labels = True``     zero labels are refused, with a clear error
``transductive = True``     `predict` on the pool's own images may differ from the snapshot
``order_free = True``       *more* is promised: renaming the images, hence another order of
                            rows, changes nothing but rounding
``takes = {"images"}``      refuses ready features (default: images and features)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from hashlib import sha256
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from handful.errors import HandfulError
from handful.progress import Silent
from handful.types import PARTS, SOURCES, UNKNOWN, Array, Classes, Fit, Learner, Snapshot, View

__all__ = ["LearnerContract", "TinyPool", "same_under_any_global_seed", "tiny_pool", "view_of"]


@dataclass(frozen=True)
class TinyPool:
    """A pool in memory: ``images (n, C, H, W) uint8``, or ``features (n, d)``; sorted by id."""

    ids: Sequence[str]
    images: NDArray[np.uint8] | None = None
    features: NDArray[np.float32] | None = None
    broken: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = sorted(range(len(self.ids)), key=lambda i: self.ids[i])
        object.__setattr__(self, "ids", [self.ids[i] for i in order])
        for name in ("images", "features"):
            if (array := getattr(self, name)) is not None:
                object.__setattr__(self, name, array[order])

    @property
    def channels(self) -> int:
        return 0 if self.images is None else int(self.images.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        return (0, 0) if self.images is None else (self.images.shape[2], self.images.shape[3])

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, id: str) -> int:
        try:
            return list(self.ids).index(id)
        except ValueError:
            raise KeyError(id) from None

    def read(self, rows: Array, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        if self.images is None:
            raise HandfulError("this pool holds features and no images")
        images = self.images[np.asarray(rows, dtype=np.int64)]
        if size is None or size == self.size:
            return images
        down = np.arange(size[0]) * self.size[0] // size[0]
        across = np.arange(size[1]) * self.size[1] // size[1]
        return np.ascontiguousarray(images[:, :, down][:, :, :, across])

    def digest(self, row: int) -> str:
        content = self.features if self.images is None else self.images
        return sha256(b"" if content is None else content[row].tobytes()).hexdigest()

    def subset(self, rows: Array) -> TinyPool:
        keep = np.asarray(rows, dtype=np.int64)
        return TinyPool(
            [self.ids[i] for i in keep],
            None if self.images is None else self.images[keep],
            None if self.features is None else self.features[keep],
        )


def tiny_pool(
    n: int = 24, size: tuple[int, int] = (8, 8), channels: int = 1, *, features: int = 0
) -> tuple[TinyPool, NDArray[np.int64]]:
    """Three easy kinds of image (or of feature) and noise, with the truth: ``n`` rows."""
    rng = np.random.default_rng(7)
    truth = np.arange(n, dtype=np.int64) % 3
    ids = [f"image-{i:03d}" for i in range(n)]
    if features:
        means = rng.normal(size=(3, features)) * 3
        x = means[truth] + rng.normal(size=(n, features))
        return TinyPool(ids, features=x.astype(np.float32)), truth
    images = rng.integers(0, 60, (n, channels, *size), dtype=np.uint8)
    third = size[1] // 3
    for i, c in enumerate(truth):
        images[i, :, :, c * third : (c + 1) * third] += 180
    return TinyPool(ids, images=images), truth


def view_of(
    pool: TinyPool, truth: Array, labelled: Sequence[int], n_classes: int = 4, *, round: int = 0
) -> View:
    """A view in which the rows ``labelled`` are known, the class list ``n_classes`` long."""
    known = np.full(len(pool), UNKNOWN, dtype=np.int64)
    known[list(labelled)] = truth[list(labelled)]
    source = np.where(known >= 0, SOURCES.index("oracle"), -1).astype(np.int8)
    known.flags.writeable = source.flags.writeable = False
    names = tuple(f"class {c}" for c in range(n_classes))
    return View(pool=pool, known=known, classes=Classes(names), round=round, source=source)


@contextmanager
def same_under_any_global_seed(seed: int) -> Iterator[None]:
    """Set the global states of random, numpy and torch; fail if the body changes one of them."""
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global state is what is under test
    torch.manual_seed(seed)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    yield
    assert random.getstate() == before[0], "the global state of `random` was changed"
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    assert np.array_equal(after, before[1]), "numpy's global state was changed"
    assert torch.equal(torch.get_rng_state(), before[2]), "torch's global state was changed"


def _equal(a: Snapshot, b: Snapshot) -> bool:
    return set(a.parts) == set(b.parts) and all(
        np.array_equal(a.parts[name], b.parts[name]) for name in a.parts
    )


def refusal(use: Callable[[], Any]) -> str:
    """The sentence with which ``use()`` is refused; a failure when it is not."""
    try:
        use()
    except HandfulError as error:
        return str(error)
    raise AssertionError("this must be refused with an error of ours, and is not")


class LearnerContract:
    """Set ``learner`` (the class) and ``tiny`` (its options for a quick fit), and run pytest."""

    learner: ClassVar[type[Any]]
    tiny: ClassVar[Any]

    def new(self) -> Any:
        return self.learner(self.tiny)

    def declared(self, what: str) -> bool:
        return bool(getattr(self.new(), what, False))  # options may decide

    def fitted(self, view: View, seed: int = 0) -> Any:
        """A new learner after one fit that must work."""
        learner = self.new()
        fit = learner.fit(view, np.random.default_rng(seed), Silent())
        assert isinstance(fit, Fit)
        assert all(np.isfinite(v) for v in fit.losses.values()), f"losses {dict(fit.losses)}"
        return learner

    def checked(self, learner: Any, view: View) -> Snapshot:
        """Everything the learner gives, with what always holds checked."""
        snapshot = learner.snapshot(view, learner.gives)
        assert isinstance(snapshot, Snapshot)
        assert set(snapshot.parts) == set(learner.gives), f"gives {sorted(snapshot.parts)}"
        assert list(snapshot.ids) == list(view.pool.ids), "one row an image, in the pool's order"
        assert np.array_equal(snapshot.known, view.known)
        assert not snapshot.open[view.known >= 0].any(), "a labelled image is still open"
        assert snapshot.learner == learner.name
        assert snapshot.round == view.round
        for name, part in snapshot.parts.items():
            assert not part.flags.writeable, f"{name} can be written to"
            assert np.isfinite(part).all(), f"{name} holds NaN or inf"
        if "proba" in snapshot.parts:
            columns = max(len(view.classes), 1)
            assert snapshot.proba.shape == (len(view.pool), columns), "a column for each class"
            assert np.allclose(snapshot.proba.sum(axis=1), 1, atol=1e-4)
            assert snapshot.proba.min() >= 0
        for name in {"draws", "heads"} & set(snapshot.parts):
            assert np.allclose(snapshot.parts[name].sum(axis=2), 1, atol=1e-4), name
        return snapshot

    def try_both(self, view: View) -> Snapshot | None:
        """Fit and look, or a declared refusal: an error of ours, which says something."""
        if not self.declared("needs_labels") or (view.known >= 0).any():
            return self.checked(self.fitted(view), view)
        said = refusal(lambda: self.new().fit(view, np.random.default_rng(0), Silent()))
        assert "label" in said, f"the error does not say what is missing: {said!r}"
        return None

    def test_is_a_learner(self) -> None:
        assert isinstance(self.new(), Learner)
        assert self.learner.name
        assert self.learner.gives <= PARTS
        assert (self.learner.__doc__ or "").strip(), "no docstring: the card of the method"
        assert is_dataclass(self.learner.Options)
        options: Any = self.learner.Options
        assert options.__dataclass_params__.frozen
        assert options() == options(**{f.name: getattr(options(), f.name) for f in fields(options)})
        if hasattr(options, "resolved"):
            resolved = options().resolved()
            empty = [f.name for f in fields(resolved) if getattr(resolved, f.name) is None]
            assert resolved.resolved() == resolved, f"resolved() is not settled: {empty}"

    def test_gives_the_parts_that_were_asked_for_and_no_other(self) -> None:
        pool, truth = tiny_pool()
        view = view_of(pool, truth, range(9))
        learner = self.fitted(view)
        self.checked(learner, view)
        for part in sorted(PARTS):
            asked = frozenset({part})
            assert set(learner.snapshot(view, asked).parts) == asked & learner.gives
        assert not learner.snapshot(view, frozenset()).parts

    def test_a_snapshot_changes_nothing(self) -> None:
        pool, truth = tiny_pool()
        view = view_of(pool, truth, range(9))
        learner, quiet = self.fitted(view), self.fitted(view)
        first = self.checked(learner, view)
        assert _equal(first, self.checked(learner, view)), "two snapshots of one fit differ"
        later = view_of(pool, truth, range(12), round=1)
        for one in (learner, quiet):
            one.fit(later, np.random.default_rng(1), Silent())
        same = _equal(self.checked(learner, later), self.checked(quiet, later))
        assert same, "looking at a learner changed its next fit"

    def test_zero_labels(self) -> None:
        pool, truth = tiny_pool()
        self.try_both(view_of(pool, truth, []))

    def test_one_label(self) -> None:
        pool, truth = tiny_pool()
        self.try_both(view_of(pool, truth, [4]))

    def test_one_class(self) -> None:
        pool, truth = tiny_pool()
        self.try_both(view_of(pool, truth, [0, 3, 6, 9], n_classes=1))
        self.try_both(view_of(pool, truth, [0, 3, 6, 9], n_classes=4))

    def test_a_class_without_a_label(self) -> None:
        pool, truth = tiny_pool()
        labelled = np.flatnonzero(truth != 1)[:8].tolist()
        self.try_both(view_of(pool, truth, labelled, n_classes=4))

    def test_more_classes_than_labels(self) -> None:
        pool, truth = tiny_pool()
        self.try_both(view_of(pool, truth, [0, 1], n_classes=20))

    def test_everything_is_labelled(self) -> None:
        pool, truth = tiny_pool()
        self.try_both(view_of(pool, truth, range(len(pool)), n_classes=3))

    def test_the_class_list_grows(self) -> None:
        pool, truth = tiny_pool()
        grown = truth.copy()
        grown[8] = 4
        learner = self.fitted(view_of(pool, truth, [0, 1, 3, 4], n_classes=2))
        for view in (
            view_of(pool, truth, range(6), n_classes=3, round=1),
            view_of(pool, grown, range(9), n_classes=5, round=2),
        ):
            learner.fit(view, np.random.default_rng(view.round), Silent())
            self.checked(learner, view)

    def test_same_seed_same_output_whatever_the_global_seeds(self) -> None:
        pool, truth = tiny_pool()
        view = view_of(pool, truth, range(9))
        first: Snapshot | None = None
        for seed in range(10):
            with same_under_any_global_seed(seed):
                snapshot = self.checked(self.fitted(view, seed=3), view)
            first = first or snapshot
            assert _equal(first, snapshot), "the output depends on a global random state"

    def test_state_makes_the_round_trip(self) -> None:
        from safetensors.numpy import load, save

        pool, truth = tiny_pool()
        view = view_of(pool, truth, range(9))
        learner = self.fitted(view)
        state = learner.state()
        for name, array in state.items():
            assert isinstance(name, str)
            assert isinstance(array, np.ndarray), f"{name} is no numpy array"
        frozen = {name: array.copy() for name, array in state.items()}
        twin = self.new()
        twin.load(load(save({k: np.ascontiguousarray(v) for k, v in state.items()})))
        assert _equal(self.checked(learner, view), self.checked(twin, view))
        if "proba" in learner.gives:
            images = _inputs(pool)[:5]
            assert np.array_equal(learner.predict(images), twin.predict(images))
        learner.fit(view, np.random.default_rng(5), Silent())
        for name, array in frozen.items():
            assert np.array_equal(array, state[name]), f"a later fit wrote into state {name}"

    def test_resumed_equals_never_killed(self) -> None:
        pool, truth = tiny_pool()
        first = view_of(pool, truth, range(6))
        second = view_of(pool, truth, range(12), round=1)
        through = self.fitted(first)
        resumed = self.new()
        resumed.load(through.state())
        for learner in (through, resumed):
            learner.fit(second, np.random.default_rng(1), Silent())
        assert _equal(self.checked(through, second), self.checked(resumed, second))

    def test_predict_agrees_with_the_snapshot(self) -> None:
        pool, truth = tiny_pool()
        view = view_of(pool, truth, range(9))
        learner = self.fitted(view)
        p = learner.predict(_inputs(pool))
        assert p.dtype == np.float32
        assert p.shape == (len(pool), len(view.classes))
        assert np.allclose(p.sum(axis=1), 1, atol=1e-4)
        if "proba" in learner.gives and not self.declared("transductive"):
            # other batches may add in another order: float32 rounding and no more
            assert np.allclose(p, self.checked(learner, view).proba, atol=1e-4)
        assert learner.predict(_inputs(pool)[:0]).shape == (0, len(view.classes))

    def test_predict_before_a_fit_is_a_clear_error(self) -> None:
        pool, truth = tiny_pool()
        for use in (
            lambda: self.new().predict(_inputs(pool)),
            lambda: self.new().snapshot(view_of(pool, truth, [0]), PARTS),
        ):
            refusal(use)

    def test_renaming_the_images_changes_nothing_where_declared(self) -> None:
        if not self.declared("order_free"):
            return
        pool, truth = tiny_pool()
        order = np.random.default_rng(2).permutation(len(pool))
        renamed = TinyPool([f"x{order[i]:03d}" for i in range(len(pool))], images=pool.images)
        at = np.argsort(order)  # row of the renamed pool -> row of the first one
        a = self.fitted(view_of(pool, truth, range(9)))
        there = [int(order[i]) for i in range(9)]
        b = self.fitted(view_of(renamed, truth[at], there))
        p, q = a.predict(_inputs(pool)), b.predict(_inputs(pool))
        assert np.allclose(p, q, atol=1e-3), "the order of the rows matters"

    def test_constant_images(self) -> None:
        pool, truth = tiny_pool()
        flat = TinyPool(pool.ids, images=np.full((len(pool), 1, 8, 8), 77, dtype=np.uint8))
        self.try_both(view_of(flat, truth, range(6)))

    def test_three_images(self) -> None:
        pool, truth = tiny_pool(3)
        self.try_both(view_of(pool, truth, [0, 1], n_classes=3))

    def test_colour_images_that_are_not_square(self) -> None:
        pool, truth = tiny_pool(15, (9, 13), channels=3)
        self.try_both(view_of(pool, truth, range(6)))

    def test_ready_features(self) -> None:
        pool, truth = tiny_pool(features=6)
        view = view_of(pool, truth, range(9))
        if "features" in getattr(self.learner, "takes", {"images", "features"}):
            snapshot = self.try_both(view)
            assert snapshot is not None
            return
        refusal(lambda: self.fitted(view))

    def test_features_with_nan_are_refused(self) -> None:
        pool, truth = tiny_pool(features=6)
        assert pool.features is not None
        pool.features[11, 2] = np.nan
        refusal(lambda: self.fitted(view_of(pool, truth, range(9))))


def _inputs(pool: TinyPool) -> Array:
    """What `predict` takes: images uint8, or features."""
    if pool.features is not None:
        return pool.features
    return pool.read(np.arange(len(pool)))
