"""How the values of a picture are shown: a stretch for the eye, and nothing else.

::

    shown = 255 (x - low) / (high - low), cut to 0..255; inverted on request

Pictures of more than 8 bits are stretched between the percentiles 0.5 and 99.5 of their values
unless something else is asked for: a camera of 12 bits in a file of 16 would be black.  What is
learned from a picture, its file and every export know nothing of this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from handful.errors import PoolError
from handful.pool.decode import as_bytes

__all__ = ["PERCENTILES", "Stretch", "Wanted"]

PERCENTILES = (0.5, 99.5)
_LOOKED_AT = 1_000_000  # values that percentiles are taken of
Bytes = NDArray[np.uint8]


class Wanted(TypedDict, total=False):
    """What the page asks for: the values that become black and white, or ``auto``."""

    low: float
    high: float
    auto: bool
    invert: bool


@dataclass
class Stretch:
    """Makes bytes of values, once a picture; remembers what they were like."""

    wanted: Wanted = field(default_factory=Wanted)
    bits: int = 8
    least: float = 0.0
    most: float = 255.0
    low: float = 0.0  # the percentiles
    high: float = 255.0
    measured: bool = False  # whether to look at them though nothing is stretched

    def __call__(self, values: NDArray[Any], bits: int) -> Bytes:
        """uint8 of the same shape; `PoolError` where a value is no number."""
        if values.dtype.kind == "b":
            return as_bytes(values, bits)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise PoolError("its pixels hold NaN or infinite values")
        deep = values.dtype != np.uint8 or bits != 8
        own = "low" in self.wanted and "high" in self.wanted
        auto = self.wanted.get("auto", deep) and not own
        if auto or self.measured:
            self._measure(values, bits)
        if not auto and not own:
            return self._turned(as_bytes(values, bits))
        low = self.low if auto else self.wanted["low"]
        high = self.high if auto else self.wanted["high"]
        if not low < high:  # one value only: by what the type can hold
            return self._turned(as_bytes(values, bits))
        if deep:
            numbers = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
            return self._turned(np.rint(numbers.clip(0, 255)).astype(np.uint8))
        table = np.rint(((np.arange(256) - low) * (255 / (high - low))).clip(0, 255))
        return self._turned(table.astype(np.uint8)[values])

    def _turned(self, pixels: Bytes) -> Bytes:
        return 255 - pixels if self.wanted.get("invert") else pixels

    def _measure(self, values: NDArray[Any], bits: int) -> None:
        some = values.ravel()
        some = some[:: max(1, len(some) // _LOOKED_AT)].astype(np.float64)
        low, high = np.percentile(some, PERCENTILES)
        self.bits, self.least, self.most = bits, float(values.min()), float(values.max())
        self.low, self.high = float(low), float(high)
