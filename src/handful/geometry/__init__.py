"""Distances, neighbours and k-means: exact, in blocks, on numpy arrays.

Every function here takes ``(n, d)`` arrays of any float type (a memory map will do) and
holds O(n) numbers beside its result plus a few blocks of 64 MB.  Nothing is n x n.
Squared Euclidean distances throughout, called ``d2``.

scipy and scikit-learn are imported by the functions that use them: every query rule imports
this package, and they take a second that listing the rules should not cost.
"""

from __future__ import annotations

from handful.geometry._balls import (
    Balls,
    ball_agreement,
    ball_radius,
    ball_union,
    cluster_radius,
    looked_at,
    neighbour_radius,
    pure_radius,
)
from handful.geometry._blocks import BLOCK_BYTES, row_blocks
from handful.geometry._classes import hungarian, vote
from handful.geometry._distances import nearest, squared_distances, unit_rows
from handful.geometry._facility import Facilities, facility_location
from handful.geometry._k_center import Centres, k_center
from handful.geometry._k_center_milp import Optimum, k_center_milp
from handful.geometry._kmeans import (
    class_means,
    greedy_kmeans,
    greedy_start,
    kmeans,
    kmeans_plus_plus,
    seeded_kmeans,
    seeding_probabilities,
)
from handful.geometry._lloyd import Clustering, constrained_kmeans, lloyd
from handful.geometry._neighbours import Neighbours, compactness, knn, neighbours

__all__ = [
    "BLOCK_BYTES",
    "Balls",
    "Centres",
    "Clustering",
    "Facilities",
    "Neighbours",
    "Optimum",
    "ball_agreement",
    "ball_radius",
    "ball_union",
    "class_means",
    "cluster_radius",
    "compactness",
    "constrained_kmeans",
    "facility_location",
    "greedy_kmeans",
    "greedy_start",
    "hungarian",
    "k_center",
    "k_center_milp",
    "kmeans",
    "kmeans_plus_plus",
    "knn",
    "lloyd",
    "looked_at",
    "nearest",
    "neighbour_radius",
    "neighbours",
    "pure_radius",
    "row_blocks",
    "seeded_kmeans",
    "seeding_probabilities",
    "squared_distances",
    "unit_rows",
    "vote",
]
