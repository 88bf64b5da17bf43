"""What opening a source gives: a pool, what was found, and (kept apart) the truth.

``Data.labels`` and ``Data.split`` travel to the oracle and to the scorer only; a learner
or a rule is handed ``Data.pool``, which has no field for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.pool.decode import MIN_SIDE, Layout
from handful.pool.ids import counted, shown
from handful.types import Array, Pool

__all__ = [
    "Data",
    "Found",
    "Reading",
    "as_rows",
    "class_counts",
    "form_notes",
    "layout_of",
    "same_content",
    "size_table",
]

TEST_NAMES = frozenset({"test", "testing"})
VALIDATION_NAMES = frozenset({"val", "valid", "validation", "dev"})
TRAIN_NAMES = frozenset({"train", "training"})
_SHOWN_GROUPS = 1000
_SHOWN_LINES = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """Which part of each file is its image: the same all through a run, and to predict with it.

    page : of multi-page TIFF files, counted from 0, or ``"all"``: each page is an image.
    channel : one channel of every image, counted from 0, taken as gray; None: gray or RGB.
    max_side : larger images are shrunk to this many pixels, their aspect ratio kept.
    """

    page: int | Literal["all"] = 0
    channel: int | None = None
    max_side: int = 96

    def __post_init__(self) -> None:
        if self.page != "all" and not _counts(self.page, 0):
            raise InputError(f"page is {self.page!r}: a number from 0, or 'all'")
        if self.channel is not None and not _counts(self.channel, 0):
            raise InputError(f"channel is {self.channel!r}: a number from 0, the first channel")
        if not _counts(self.max_side, MIN_SIDE):
            raise InputError(f"max_side is {self.max_side!r}: at least {MIN_SIDE} pixels")

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Reading:
        """What was written down with a run or a model; nothing written stands for the default."""
        if unknown := sorted(set(kept) - {f.name for f in fields(cls)}):
            raise InputError(
                f"reading images has no setting {unknown[0]!r}: page, channel, max_side"
            )
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found where somebody pointed: the answer of ``handful data DATA``.

    ``sizes`` maps ``(height, width)`` after rotation to a count, the most frequent first;
    ``colours`` counts ``gray`` and ``colour``; ``formats`` counts encodings.
    ``duplicates`` are groups of ids with the same content, at most 1,000 of them;
    ``repeats`` counts every image that repeats an earlier one (``None``: not looked for).
    ``broken`` maps an id to the reason why it is left out.  Ids may hold bytes that are no
    UTF-8, as surrogate escapes: ``str(found)`` escapes them.
    """

    kind: str
    where: str
    images: int
    size: tuple[int, int]
    channels: int
    features: int = 0
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    colours: Mapping[str, int] = field(default_factory=dict)
    formats: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    split: Mapping[str, int] = field(default_factory=dict)
    duplicates: tuple[tuple[str, ...], ...] = ()
    repeats: int | None = None
    broken: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        h, w = self.size
        form = f"{h} x {w} {'gray' if self.channels == 1 else 'RGB'}" if self.channels else ""
        lines = [
            f"{shown(self.where)} ({self.kind})",
            f"  {self.images:,} images, used as {form}"
            if form
            else f"  {self.images:,} rows of {self.features} features, no images",
        ]
        sizes = [(f"{a} x {b}", count) for (a, b), count in self.sizes.items()]
        for name, counts in (
            ("sizes", sizes),
            ("colours", list(self.colours.items())),
            ("formats", list(self.formats.items())),
            ("classes", list(self.classes.items())),
            ("split", list(self.split.items())),
        ):
            if counts:
                parts = [f"{shown(key)}: {count:,}" for key, count in counts[:_SHOWN_LINES]]
                more = len(counts) - _SHOWN_LINES
                lines.append(f"  {name}: {', '.join(parts)}{f', {more} more' if more > 0 else ''}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.repeats:
            lines.append(f"  {counted(self.repeats, 'image')} of the same content as another:")
            groups = [" = ".join(shown(id) for id in group[:5]) for group in self.duplicates]
            lines += _cut(groups, len(self.duplicates))
        if self.broken:
            lines.append(f"  {counted(len(self.broken), 'broken image')} left out:")
            lines += _cut([f"{shown(i)}: {r}" for i, r in self.broken.items()], len(self.broken))
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Data:
    """A named source: pool, truth where there is any, official split where there is one.

    ``labels (n,) int64`` indexes ``classes``, -1 where nobody knows; ``split (n,) int8`` is
    0 for training, 1 for test.
    """

    name: str
    pool: Pool
    found: Found
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    split: NDArray[np.int8] | None = None

    def subset(self, rows: Array) -> Data:
        """The same source with some rows only; ``rows`` rise, or are a mask ``(n,) bool``."""
        rows = as_rows(rows, len(self.pool))
        labels = None if self.labels is None else self.labels[rows]
        split = None if self.split is None else self.split[rows]
        return replace(self, pool=self.pool.subset(rows), labels=labels, split=split)


def _counts(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _cut(lines: Sequence[str], total: int) -> list[str]:
    cut = [f"    {line}" for line in lines[:_SHOWN_LINES]]
    return cut + ([f"    and {total - len(cut):,} more"] if total > len(cut) else [])


def as_rows(rows: Array, n: int) -> NDArray[np.int64]:
    """Rows of a subset, checked: they rise strictly (ids stay sorted) and exist."""
    rows = np.asarray(rows)
    if rows.dtype == np.bool_:
        if rows.shape != (n,):
            raise InputError(f"a mask of shape {rows.shape} cannot choose among {n} images")
        return np.flatnonzero(rows).astype(np.int64)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise InputError("rows of a subset are a flat array of whole numbers, or a mask")
    rows = rows.astype(np.int64)
    if rows.size and (rows[0] < 0 or rows[-1] >= n or (np.diff(rows) <= 0).any()):
        raise InputError(
            f"rows of a subset must rise strictly within 0..{n - 1}: pass numpy.unique(rows)"
        )
    return rows


def layout_of(
    size: tuple[int, int], *, colour: bool, max_side: int, channel: int | None = None
) -> Layout:
    """The form of a pool whose most frequent image is ``size (h, w)``.

    Shrunk to ``max_side`` with its aspect ratio kept, padded up to 8 x 8.
    """
    if max_side < MIN_SIDE:
        raise InputError(f"max_side is {max_side}: at least {MIN_SIDE} pixels are needed")
    h, w = size
    scale = min(1.0, max_side / max(h, w))
    inner = (max(1, round(h * scale)), max(1, round(w * scale)))
    padded = (max(MIN_SIDE, inner[0]), max(MIN_SIDE, inner[1]))
    return Layout(3 if colour and channel is None else 1, inner, padded, channel)


def same_content(
    digests: NDArray[np.uint8], ids: Sequence[str]
) -> tuple[tuple[tuple[str, ...], ...], int]:
    """Groups of ids whose digests ``(n, 8 m) uint8`` are equal, and how many images repeat.

    O(n log n), no Python object for an image that is alone.
    """
    if len(digests) == 0:
        return (), 0
    words = np.ascontiguousarray(digests).view(np.uint64)
    order = np.lexsort(words.T)
    new = (words[order][1:] != words[order][:-1]).any(axis=1)
    starts = np.flatnonzero(np.concatenate([[True], new]))
    counts = np.diff(np.concatenate([starts, [len(order)]]))
    groups = [
        np.sort(order[s : s + c])
        for s, c in zip(starts[counts > 1], counts[counts > 1], strict=True)
    ]
    groups.sort(key=lambda rows: int(rows[0]))
    named = tuple(tuple(ids[int(i)] for i in rows) for rows in groups[:_SHOWN_GROUPS])
    return named, int((counts - 1).sum())


def class_counts(labels: Any, classes: Sequence[str]) -> dict[str, int]:
    """Images a class, in the order of the classes; classes without an image count 0."""
    if labels is None:
        return {}
    known = np.bincount(labels[labels >= 0], minlength=len(classes))
    return dict(zip(classes, known.tolist(), strict=True))


def size_table(sizes: Array) -> tuple[dict[tuple[int, int], int], tuple[int, int]]:
    """Counts of ``(height, width)``, the most frequent first, and that one."""
    kinds, counts = np.unique(sizes, axis=0, return_counts=True)
    # the most frequent first; among equals the larger, so that nothing is blown up
    order = np.lexsort((-kinds.astype(np.int64).prod(axis=1), -counts))
    table = {(int(kinds[i, 0]), int(kinds[i, 1])): int(counts[i]) for i in order}
    return table, next(iter(table))


def form_notes(
    sizes: dict[tuple[int, int], int], size: tuple[int, int], layout: Layout
) -> list[str]:
    """What is done to the images so that all have one form, in words."""
    notes = []
    (h, w), (to_h, to_w) = size, layout.size
    if len(sizes) > 1:
        others = sum(sizes.values()) - sizes[size]
        notes.append(
            f"{len(sizes)} sizes: {counted(others, 'image')} resized to the most frequent,"
            f" {h} x {w}"
        )
    if layout.inner != size:
        notes.append(f"images of {h} x {w} are shrunk to {layout.inner[0]} x {layout.inner[1]}")
    if layout.inner != layout.size:
        notes.append(f"smaller than 8 pixels: padded with edge pixels to {to_h} x {to_w}")
    return notes
