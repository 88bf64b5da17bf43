"""Rules of pairs: ADC's worked scores and a slow twin of its candidates; random pairs by share."""

from __future__ import annotations

import numpy as np
import pytest

from handful.errors import InputError, RecipeError
from handful.pairs import closure_of
from handful.queries import (
    ADCPairs,
    RandomPairs,
    adc_pairs,
    pair_entropy,
    random_pairs,
    similarities,
)
from handful.types import Array, PairAnswer, Snapshot

LOGITS = np.array([[2, 0, 0], [1.5, 0.5, 0], [0, 2, 1], [0, 0.5, 2.5]])
P = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
PAIRS = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])


def test_the_worked_similarities_and_entropies() -> None:
    expected = [0.974370, 0.293036, 0.228686, 0.500564, 0.322089, 0.472962]
    assert similarities(P, PAIRS) == pytest.approx(expected, abs=5e-7)
    entropies = [0.119208, 0.604848, 0.537684, 0.693147, 0.628434, 0.691684]
    assert pair_entropy(P, PAIRS) == pytest.approx(entropies, abs=5e-7)
    assert tuple(PAIRS[np.argmax(pair_entropy(P, PAIRS))]) == (1, 2)
    assert adc_pairs(P, LOGITS, 1, ties="index").tolist() == [[1, 2]]


def made(n: int = 60, c: int = 4, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3)) + 3 * np.eye(c, 3)[np.arange(n) % c]
    logits = z @ rng.normal(size=(3, c))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), z


def slow_adc(p: Array, z: Array, k: int, pairs: tuple[PairAnswer, ...]) -> list[tuple[int, int]]:
    """Step by step, with every loop written out."""
    n, c = p.shape
    closure = closure_of(Snapshot.from_arrays(known=np.full(n, -1), pairs=pairs))
    d = np.array([[np.linalg.norm(z[i] - z[j]) for j in range(n)] for i in range(n)])

    def typical(rows: list[int]) -> int:
        best, least = rows[0], np.inf
        for i in rows:
            near = sorted(d[i, j] for j in rows if j != i)[:20]
            mean = np.mean(near) if near else 0.0
            if mean < least - 1e-12:
                best, least = i, mean
        return best

    cluster = [int(np.argmax(p[i])) for i in range(n)]
    hearts: dict[int, set[int]] = {
        j: {typical([i for i in range(n) if cluster[i] == j])} for j in set(cluster)
    }
    for group in closure.groups():
        if len(group) > 1:
            heart = typical(sorted(group))
            hearts[cluster[heart]].add(heart)
    everyone = set().union(*hearts.values())
    margin = [sorted(p[i])[-1] - sorted(p[i])[-2] for i in range(n)]
    candidates = set()
    for i in sorted(range(n), key=lambda i: (margin[i], i))[: 10 * k]:
        for j in sorted(range(c), key=lambda j: -p[i, j])[:2]:
            candidates |= {(min(i, h), max(i, h)) for h in hearts.get(j, ()) if h != i}
        nearest = sorted((j for j in range(n) if j != i), key=lambda j: d[i, j])[:10]
        candidates |= {(min(i, j), max(i, j)) for j in nearest}

    def score(pair: tuple[int, int]) -> float:
        a, b = p[pair[0]], p[pair[1]]
        s = min(max(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), 1e-6), 1 - 1e-6)
        return float(-s * np.log(s) - (1 - s) * np.log(1 - s))

    chosen: list[tuple[int, int]] = []
    times = [0] * n
    for i, j in sorted(candidates, key=lambda pair: (-round(score(pair), 12), pair)):
        full = any(times[x] >= 2 and x not in everyone for x in (i, j))
        if len(chosen) < k and not full and closure.choose([*chosen, (i, j)], k)[-1:] == [(i, j)]:
            chosen.append((i, j))
            times[i] += 1
            times[j] += 1
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_adc_chooses_as_its_slow_twin(seed: int) -> None:
    p, z = made(seed=seed)
    said = tuple(
        PairAnswer(f"{a:08d}", f"{b:08d}", (a - b) % 4 == 0)
        for a, b in ((0, 4), (4, 8), (1, 0), (2, 6), (9, 13), (13, 17), (9, 2))
    )
    for pairs in ((), said):
        found = adc_pairs(p, z, 7, pairs=pairs, ties="index")
        assert [tuple(pair) for pair in found.tolist()] == slow_adc(p, z, 7, pairs)


def test_no_image_is_asked_about_more_often_than_it_may() -> None:
    p, z = made(200, seed=3)
    for most in (1, 2):
        snapshot = Snapshot.from_arrays(clusters=p, embedding=z)
        rng = np.random.default_rng(0)
        chosen = ADCPairs(most=most).select(snapshot, 60, rng)
        _, times = np.unique([id for pair in chosen for id in pair], return_counts=True)
        hearts = int((times > most).sum())
        assert hearts <= 4, "one a cluster is exempt, and nobody else"


def test_random_pairs_are_uniform() -> None:
    n, times = 6, np.zeros((6, 6))
    for seed in range(1500):
        for a, b in random_pairs(n, 2, rng=seed).tolist():
            times[a, b] += 1
    upper = times[np.triu_indices(n, 1)]
    assert upper.sum() == times.sum() == 3000
    assert np.abs(upper / 3000 - 1 / 15).max() < 4 * np.sqrt(1 / 15 / 3000)


def test_random_pairs_find_the_last_open_pair() -> None:
    """600 images, of which answers leave one pair open."""
    n = 600
    ids = [f"{i:08d}" for i in range(n)]
    said = [PairAnswer(ids[i], ids[i + 2], True) for i in range(n - 2)]
    found = random_pairs(n, 5, pairs=tuple(said))
    assert len(found) == 1
    assert sum(found[0]) % 2 == 1
    said.append(PairAnswer(ids[0], ids[1], False))
    assert len(random_pairs(n, 5, pairs=tuple(said))) == 0


def test_a_pair_nobody_could_tell_is_not_the_end() -> None:
    ids = [f"{i:08d}" for i in range(4)]
    said = (
        PairAnswer(ids[0], ids[1], True), PairAnswer(ids[2], ids[3], True),
        PairAnswer(ids[0], ids[2], None),
    )  # fmt: skip
    for seed in range(5):
        (found,) = random_pairs(4, 3, pairs=said, rng=seed).tolist()
        assert found != [0, 2]


@pytest.mark.parametrize("rule", [RandomPairs(control=0.5), ADCPairs(control=0.5)])
def test_controls_are_asked_on_purpose(rule: RandomPairs | ADCPairs) -> None:
    p, z = made(30)
    ids = [f"{i:08d}" for i in range(30)]
    said = tuple(PairAnswer(ids[i], ids[i + 4], True) for i in range(0, 12, 4))
    snapshot = Snapshot.from_arrays(clusters=p, embedding=z, pairs=said)
    closure = closure_of(snapshot)
    chosen = rule.select(snapshot, 4, np.random.default_rng(0))
    known = [closure.known(int(a), int(b)) for a, b in chosen]
    assert known == [1, 1, 0, 0]


def test_what_pair_rules_refuse() -> None:
    for rule in (RandomPairs, ADCPairs):
        with pytest.raises(RecipeError, match=r"query\.control is 1"):
            rule(control=1.0)
    with pytest.raises(RecipeError, match=r"query\.near is 0"):
        ADCPairs(near=0)
    with pytest.raises(InputError, match="3 rows of clusters for 4"):
        adc_pairs(P[:3], LOGITS, 1)
