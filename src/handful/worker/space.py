"""The space in which pictures are alike: vectors of length 1, and who is near whom.

::

    v    what an encoder says of a picture, scaled to length 1
    u    (v - mean) P, scaled to length 1;  P (D, d) the d <= 128 main directions

so that an inner product is a likeness.  The first 64 directions are published.
Mean and directions come from at most 5,000 pictures, spread over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import geometry, graph
from handful.geometry import unit_rows
from handful.worker.encoders import Encoder
from handful.worker.kept import Kept
from handful.worker.pictures import Listing

__all__ = ["Projection", "Space", "main_directions", "space_of"]

Matrix: TypeAlias = NDArray[np.float32]
DIRECTIONS = 128
PUBLISHED = 64
SAMPLE = 5_000
NEAR = 10  # neighbours in the graph
BLOCK = 4096


@dataclass(frozen=True)
class Projection:
    """``mean (D,)`` and ``P (D, d)``, the main direction first."""

    mean: Matrix
    P: Matrix

    def __call__(self, v: NDArray[Any]) -> Matrix:
        """``v (n, D)`` -> unit rows ``(n, d)``."""
        return np.asarray(unit_rows(self.raw(v)), dtype=np.float32)

    def raw(self, v: NDArray[Any]) -> Matrix:
        """As above, lengths as they are: at most 1 of what ``v - mean`` has."""
        found: Matrix = (self.centred(v)) @ self.P
        return found

    def centred(self, v: NDArray[Any]) -> Matrix:
        """Unit rows minus their mean, ``(n, D)``."""
        return np.asarray(unit_rows(np.asarray(v, dtype=np.float32)) - self.mean, np.float32)


@dataclass(frozen=True, eq=False)
class Space:
    """Pictures that have a vector, in the order of their rows; ``listing`` holds just these."""

    listing: Listing
    x: Matrix  # (n, d), unit rows
    stack: NDArray[np.int32]  # place of the first of its near-duplicates, -1 alone
    projection: Projection
    encoder: Encoder

    def __len__(self) -> int:
        return len(self.x)

    @property
    def vectors(self) -> NDArray[np.float16]:
        """What is published: the first 64 directions, length 1."""
        return unit_rows(self.x[:, :PUBLISHED]).astype(np.float16)

    @cached_property
    def near(self) -> geometry.Neighbours:
        """The 10 nearest others of every picture."""
        return geometry.neighbours(self.x, NEAR)

    @cached_property
    def graph(self) -> graph.Graph:
        """Who is near whom, and how near."""
        return graph.knn_graph(self.near.ids, self.near.d2)

    @cached_property
    def smooth(self) -> Matrix:
        """Vectors after two steps towards their neighbours: groups of them are purer."""
        if len(self) <= NEAR:
            return self.x
        found = unit_rows(graph.smooth(self.graph.W, self.x, 2))
        return np.asarray(found, dtype=np.float32)

    @cached_property
    def radius(self) -> float:
        """Typical distance of a picture to the last of its neighbours."""
        d2 = self.near.d2
        return float(np.sqrt(np.median(d2[:, -1]))) if d2.shape[1] else 0.0

    @property
    def first(self) -> NDArray[np.bool_]:
        """Pictures that are asked about: alone, or the first of their stack."""
        found: NDArray[np.bool_] = (self.stack < 0) | (self.stack == np.arange(len(self)))
        return found


def main_directions(v: NDArray[Any], d: int = DIRECTIONS) -> Projection:
    """Mean and main directions of the unit rows of ``v (n, D)``; signs fixed by the largest."""
    from scipy.linalg import eigh

    x = unit_rows(np.asarray(v, dtype=np.float32)).astype(np.float64)
    mean = x.mean(axis=0)
    x -= mean
    D = x.shape[1]
    d = max(1, min(d, D, len(x) - 1))
    if len(x) < D:  # few pictures: the small side of the matrix
        values, left = eigh(x @ x.T, subset_by_index=[len(x) - d, len(x) - 1])
        P = x.T @ left / np.sqrt(np.maximum(values, 1e-12))
    else:
        _, P = eigh(x.T @ x, subset_by_index=[D - d, D - 1])
    P = P[:, ::-1]
    largest = np.abs(P).argmax(axis=0)
    P = P * np.where(P[largest, np.arange(d)] < 0, -1, 1)
    return Projection(mean.astype(np.float32), P.astype(np.float32))


def space_of(listing: Listing, kept: Kept, stack: NDArray[np.int32], encoder: Encoder) -> Space:
    """The space of these pictures, each of which has a row in ``kept``."""
    places = kept.places(listing.keys)
    spread = np.argsort(listing.keys, kind="stable")  # by content: no order of the folder
    some = np.sort(
        places[spread[np.linspace(0, len(places) - 1, min(len(places), SAMPLE)).astype(np.int64)]]
    )
    projection = main_directions(kept.rows(some))
    x = np.empty((len(places), projection.P.shape[1]), dtype=np.float32)
    for start in range(0, len(places), BLOCK):
        part = slice(start, start + BLOCK)
        x[part] = projection(kept.rows(places[part]))
    return Space(listing, x, stack, projection, encoder)
