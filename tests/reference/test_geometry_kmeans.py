"""K-means from a start that is not drawn, against the definition of that start."""

from __future__ import annotations

import numpy as np
import pytest

from handful import geometry
from handful.errors import InputError


def greedy_by_definition(x: np.ndarray, k: int, candidates: list[int]) -> list[int]:
    chosen: list[int] = []
    for _ in range(k):
        inertia = {}
        for row in candidates:
            if row not in chosen:
                centres = x[[*chosen, row]]
                apart = ((x[:, None] - centres[None]) ** 2).sum(axis=2)
                inertia[row] = apart.min(axis=1).sum()
        chosen.append(min(inertia, key=inertia.__getitem__))
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_each_greedy_centre_lowers_the_inertia_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 3))
    candidates = np.sort(rng.choice(40, 25, replace=False))
    found = geometry.greedy_start(x, 6, candidates)
    assert found.tolist() == greedy_by_definition(x, 6, candidates.tolist())


def test_greedy_kmeans_finds_what_lies_apart_and_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(7, 5)) * 50
    truth = rng.integers(0, 7, 3000)
    x = (centres[truth] + rng.normal(size=(3000, 5))).astype(np.float32)
    found = geometry.greedy_kmeans(x, 7)
    assert len({*zip(truth.tolist(), found.labels.tolist(), strict=True)}) == 7
    assert np.array_equal(found.labels, geometry.greedy_kmeans(x, 7).labels)
    drawn = geometry.kmeans(x, 7, np.random.default_rng(1), n_init=20)
    assert found.inertia == pytest.approx(drawn.inertia, rel=1e-4)


def test_greedy_kmeans_with_as_many_clusters_as_rows_and_with_copies() -> None:
    x = np.arange(12.0)[:, None].astype(np.float32)
    assert sorted(geometry.greedy_kmeans(x, 12).labels.tolist()) == list(range(12))
    copies = np.repeat(x[:2], 6, axis=0)
    assert len(set(geometry.greedy_kmeans(copies, 4).labels.tolist())) == 2
    with pytest.raises(InputError, match="fewer images \\(12\\) than clusters \\(13\\)"):
        geometry.greedy_kmeans(x, 13)
    with pytest.raises(InputError, match="cannot take 3 centres from 2 rows"):
        geometry.greedy_start(x, 3, np.array([0, 1]))
