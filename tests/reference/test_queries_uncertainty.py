"""Random, entropy, least confidence and margin: the worked numbers and a loop for each."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from handful import queries
from handful.errors import InputError, MissingPart, RecipeError
from handful.geometry import row_blocks
from handful.rng import rng_for
from handful.types import Snapshot

P = np.array(
    [[0.5, 0.25, 0.25], [0.4, 0.4, 0.2], [0.6, 0.39, 0.01], [1, 0, 0], [0.34, 0.33, 0.33],
     [0.4, 0.4, 0.2]]
)  # fmt: skip
LOGITS = np.array([[1000, 0, -1000], [3, 2.9, -50], [88, 88, 88]])
# CCL's q of five images, and its order of asking
Q = np.array(
    [[0.642909, 0.253267, 0.103824], [0.627273, 0.209091, 0.163636],
     [0.190961, 0.640282, 0.168757], [0.248831, 0.639153, 0.112016],
     [0.161439, 0.148777, 0.689784]]
)  # fmt: skip
RULES = (queries.Entropy, queries.LeastConfidence, queries.Margin)
SIX_DIGITS = 5e-7  # the printed numbers are rounded to six


def scores(rule: type, p: np.ndarray) -> np.ndarray:
    return rule().score(Snapshot.from_arrays(proba=p), rng_for(0, None, "unused"))


def soft(n: int, c: int, seed: int = 0) -> np.ndarray:
    logits = rng_for(seed, None, "soft").normal(0, 3, (n, c))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


# --- worked numbers


def test_entropy_of_the_table() -> None:
    nats = scores(queries.Entropy, P)
    np.testing.assert_allclose(
        nats, [1.039721, 1.054920, 0.719774, 0.0, 1.098513, 1.054920], atol=SIX_DIGITS
    )
    np.testing.assert_allclose(
        nats / math.log(3), [0.946395, 0.960230, 0.655167, 0, 0.999909, 0.960230], atol=SIX_DIGITS
    )
    np.testing.assert_allclose(
        nats / math.log(2), [1.5, 1.521928, 1.038415, 0, 1.584819, 1.521928], atol=SIX_DIGITS
    )


def test_least_confidence_and_margin_of_the_table() -> None:
    np.testing.assert_allclose(
        scores(queries.LeastConfidence, P), [0.5, 0.6, 0.4, 0, 0.66, 0.6], atol=SIX_DIGITS
    )
    np.testing.assert_allclose(
        -scores(queries.Margin, P), [0.25, 0, 0.21, 1, 0.01, 0], atol=SIX_DIGITS
    )


def test_order_of_the_table() -> None:
    assert queries.entropy(P, 6, ties="index").tolist() == [4, 1, 5, 0, 2, 3]
    assert queries.least_confidence(P, 6, ties="index").tolist() == [4, 1, 5, 0, 2, 3]
    assert queries.margin(P, 6, ties="index").tolist() == [1, 5, 4, 2, 0, 3]


def test_entropy_of_clusters_is_eq_4() -> None:
    h = queries.entropies(Q)
    # q itself is printed to six digits, so the last digit of H may move
    np.testing.assert_allclose(h, [0.866988, 0.915968, 0.901907, 0.877428, 0.834040], atol=2e-6)
    snapshot = Snapshot.from_arrays(clusters=Q)
    rule = queries.Entropy(on="clusters")
    assert rule.select(snapshot, 5, rng_for(0, 0, "query")).rows.tolist() == [1, 2, 3, 0, 4]
    assert rule.needs == {"clusters"}
    assert queries.Entropy.needs == queries.Entropy().needs == {"proba"}
    with pytest.raises(MissingPart, match=r"entropy needs 'proba'"):
        queries.Entropy().select(snapshot, 1, rng_for(0, 0, "query"))
    with pytest.raises(RecipeError, match="'classes'"):
        queries.Entropy(on="classes")  # type: ignore[arg-type]


def test_logits_too_large_to_exponentiate() -> None:
    np.testing.assert_allclose(
        queries.entropy_from_logits(LOGITS), [0.0, 0.691899, 1.098612], atol=SIX_DIGITS
    )
    np.testing.assert_allclose(
        queries.margin_from_logits(LOGITS), [1, 0.049958, 0], atol=SIX_DIGITS
    )


# --- slow twins


def slow_entropy(row: np.ndarray) -> float:
    return -sum(p * math.log(p) for p in row.tolist() if p > 0)


def slow_least_confidence(row: np.ndarray) -> float:
    return 1 - max(row.tolist())


def slow_margin(row: np.ndarray) -> float:
    first, second = sorted(row.tolist())[-1:-3:-1]
    return second - first


@pytest.mark.parametrize(
    ("rule", "slow"),
    list(zip(RULES, (slow_entropy, slow_least_confidence, slow_margin), strict=True)),
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_equal_their_loops(
    rule: type, slow: Callable[[np.ndarray], float], dtype: type
) -> None:
    p = soft(60, 7).astype(dtype)
    np.testing.assert_allclose(scores(rule, p), [slow(r) for r in p], rtol=1e-9, atol=1e-12)


def test_logits_and_probabilities_agree() -> None:
    logits = rng_for(4, None, "logits").normal(0, 2, (40, 5))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(queries.entropy_from_logits(logits), queries.entropies(p))
    np.testing.assert_allclose(queries.margin_from_logits(logits), queries.margins(p), atol=1e-12)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    p = soft(503, 6)
    whole = [scores(rule, p) for rule in RULES]
    monkeypatch.setattr(row_blocks, "__kwdefaults__", {"itemsize": 8, "limit": 1000})
    assert len(list(row_blocks(*p.shape))) == 26
    for rule, expected in zip(RULES, whole, strict=True):
        np.testing.assert_array_equal(scores(rule, p), expected)


# --- order, ties, degenerate input


def test_two_classes_give_one_order() -> None:
    first = rng_for(5, None, "two").permutation(np.arange(0.501, 1, 0.004))
    p = np.stack([first, 1 - first], axis=1)
    orders = [f(p, 9).tolist() for f in (queries.entropy, queries.least_confidence, queries.margin)]
    assert orders[0] == orders[1] == orders[2] == np.argsort(first)[:9].tolist()


@pytest.mark.parametrize("ask", [queries.entropy, queries.least_confidence, queries.margin])
def test_equal_scores_fall_by_the_seed_and_not_by_place(ask: Callable[..., np.ndarray]) -> None:
    saturated = np.tile([1.0, 0.0], (400, 1))
    first, again, other = (ask(saturated, 40, rng=s) for s in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert 120 < first.mean() < 280  # spread over the pool: sd of this mean is 18
    assert ask(saturated, 3, ties="index").tolist() == [0, 1, 2]
    assert ask(np.ones((5, 1)), 9, rng=3).tolist() != [0, 1, 2, 3, 4]  # one class alone
    assert sorted(ask(np.ones((5, 1)), 9).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ask", [queries.entropy, queries.least_confidence, queries.margin])
def test_functions_ask_only_what_is_unknown(ask: Callable[..., np.ndarray]) -> None:
    known = np.array([-1, 0, -1, -1, 2, -1])
    assert set(ask(P, 9, known=known).tolist()) == {0, 2, 3, 5}
    assert ask(P, 1, known=known, ties="index").tolist() == [5]
    assert ask(P, 2, known=np.zeros(6)).size == 0
    assert ask(P[:0], 2).size == 0
    assert P.flags.writeable  # the caller keeps his array


@pytest.mark.parametrize("ask", [queries.entropy, queries.least_confidence, queries.margin])
def test_what_is_no_distribution_is_refused(ask: Callable[..., np.ndarray]) -> None:
    for bad, words in (([[0.5, np.nan]], "NaN"), ([[0.5, 0.4]], "sum 1"), ([[1.5, -0.5]], ">= 0")):
        with pytest.raises(InputError, match=words):
            ask(np.array(bad), 1)


def test_random_is_uniform_and_extends_itself() -> None:
    known = np.where(np.arange(10) < 4, 1, -1)
    counts = np.zeros(10)
    rng = rng_for(0, None, "draws")
    for _ in range(3000):
        counts[queries.random(10, 2, known=known, rng=rng)] += 1
    assert not counts[:4].any()
    assert (np.abs(counts[4:] - 1000) < 4 * math.sqrt(3000 * (1 / 3) * (2 / 3))).all()
    more, fewer = queries.random(50, 20, rng=7), queries.random(50, 5, rng=7)
    assert more[:5].tolist() == fewer.tolist()
    assert queries.random(3, 0).size == 0
