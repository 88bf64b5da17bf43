"""What a rule with a network of its own trains on: the images behind a snapshot, in [0, 1].

A learner has a pool; a rule has a snapshot that reads rows.  `seen` makes of it what the
leaves of training take, so that batches, read-ahead and evaluation are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handful import features
from handful.errors import InputError
from handful.training import Images, device_for
from handful.types import Array, Pool, Snapshot

__all__ = ["form", "seen", "unit_range"]


class _Rows:
    """Some rows of a snapshot with the members of a pool that `Images` and `moments` use."""

    def __init__(self, snapshot: Snapshot, rows: NDArray[np.int64], rule: str) -> None:
        self._snapshot, self._rows, self._rule = snapshot, rows, rule
        first = snapshot.images(rows[:1], rule)
        self.features: Array | None = None
        self.channels, self.size = 0, (1, 1)
        if first.ndim == 2:
            self.features = np.asarray(snapshot.images(rows, rule), dtype=np.float32)
        elif first.ndim == 4 and first.dtype == np.uint8:
            self.channels, self.size = first.shape[1], (first.shape[2], first.shape[3])
        else:
            raise InputError(
                f"{rule} got images of {first.dtype} {first.shape}: give uint8 (n, C, H, W),"
                " or features (n, d)"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: Array) -> Array:
        return self._snapshot.images(self._rows[rows], self._rule)


def seen(snapshot: Snapshot, rows: NDArray[np.int64], *, rule: str) -> Images:
    """The images of these rows; row 0 of the result is ``rows[0]``."""
    pool = cast(Pool, _Rows(snapshot, rows, rule))  # ids and digests are nobody's business here
    if pool.features is not None and not np.isfinite(pool.features).all():
        raise InputError(f"{rule} got features that hold NaN or inf: leave such rows out")
    return Images(pool, device=device_for())


def form(images: Images) -> tuple[int, ...]:
    """``(C, H, W)``, or ``(d,)`` of features."""
    ready = images.pool.features
    return (images.channels, *images.size) if ready is None else (int(ready.shape[1]),)


def unit_range(images: Images) -> Callable[[Tensor], Tensor]:
    """What brings a batch to [0, 1], where a squared error has its usual meaning.

    Pixels are there already.  Features: mean 1/2 and deviation 1/4 in every column, clipped.
    """
    if images.channels:
        return lambda x: x
    mean, deviation = (torch.from_numpy(m).float() for m in features.moments(images.pool))
    mean, deviation = mean.to(images.device), deviation.to(images.device)
    return lambda x: (0.5 + (x - mean) / (4 * deviation)).clamp(0, 1)
