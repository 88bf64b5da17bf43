"""Closure of pair answers: the worked log, brute-force twins, contradictions and names."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.errors import AnswerError, InputError
from handful.pairs import (
    Closure,
    Constraints,
    Link,
    closure_of,
    expected_questions,
    groups_to_name,
    name_clusters,
    named,
)
from handful.testing.learners import tiny_pool
from handful.types import Classes, PairAnswer, Snapshot, View

WORKED = (
    (0, 1, True), (2, 3, True), (1, 2, False), (4, 5, True), (3, 4, True), (6, 7, False),
    (5, 6, True), (0, 4, True), (2, 6, True),
)  # fmt: skip
N = 9
answers = st.lists(
    st.tuples(st.integers(0, N - 1), st.integers(0, N - 1), st.booleans()).filter(
        lambda t: t[0] != t[1]
    ),
    max_size=25,
)
quick = settings(max_examples=60, deadline=None, database=None, derandomize=True)


def folded(log: Any, **options: Any) -> Closure[int]:
    made: Closure[int] = Closure(**options)
    for a, b, same in log:
        made.add(a, b, same)
    return made


def brute(log: Any, n: int = N, *, two: bool = False) -> np.ndarray:
    """``(n, n)`` of +1, -1, 0: rules applied over and over until nothing changes."""
    K = np.eye(n, dtype=int)
    for a, b, same in log:
        K[a, b] = K[b, a] = 1 if same else -1
    while True:
        before = K.copy()
        for i, j, k in product(range(n), repeat=3):
            sides = (K[i, j], K[j, k])
            if sides == (1, 1) or (two and sides == (-1, -1)):
                K[i, k] = 1
            elif sides in ((1, -1), (-1, 1)):
                K[i, k] = -1
        if np.array_equal(K, before):
            return K


def consistent(log: Any, *, two: bool = False) -> list[Any]:
    """What a slow book with the policy *keep* would have applied."""
    kept: list[Any] = []
    for a, b, same in log:
        if brute(kept, two=two)[a, b] != (-1 if same else 1):
            kept.append((a, b, same))
    return kept


def matrix(closure: Closure[int], n: int = N) -> np.ndarray:
    return np.array([[closure.known(i, j) for j in range(n)] for i in range(n)])


# --- the worked log -----------------------------------------------------------------------------


def test_the_worked_log() -> None:
    closure: Closure[int] = Closure()
    heard = [closure.add(*answer) for answer in WORKED]
    assert heard == ["new"] * 7 + ["contradiction", "implied"]
    assert [sorted(group) for group in closure.groups()] == [[0, 1], [2, 3, 4, 5, 6], [7]]
    counts = closure.counts
    assert (counts.implied_same, counts.implied_different) == (11, 15)
    assert 8 * 7 // 2 - 11 - 15 == 2
    assert (counts.questions, counts.contradictions, counts.undecided) == (9, 1, 0)
    pairs = [(1, 6), (3, 6), (1, 7), (5, 7)]
    assert [closure.known(*pair) for pair in pairs] == [-1, 1, 0, -1]
    (found,) = closure.contradictions
    assert found.answer == Link(0, 4, True)
    assert found.chain == (Link(0, 1, True), Link(1, 2, False), Link(2, 3, True), Link(3, 4, True))


def test_the_worked_names() -> None:
    closure = folded(WORKED)
    assert [sorted(g) for g in groups_to_name(closure)] == [[0, 1], [2, 3, 4, 5, 6]]
    names = {0: 0, 1: 0, **dict.fromkeys(range(2, 7), 1), 7: 2}  # cat dog owl
    clusters = np.array([0, 0, 1, 1, 1, 2, 1, 2])
    class_of, agreement = name_clusters(clusters, names, 3)
    assert (class_of.tolist(), agreement) == ([0, 1, 2], 7)
    final = named(clusters, names, class_of)
    assert final.tolist() == [0, 0, 1, 1, 1, 1, 1, 2]
    assert named(np.array([2, 0]), {0: 1}, np.array([0, 1, -1])).tolist() == [1, 0]


def test_a_single_image_is_named_once_it_differs_from_all_named_groups() -> None:
    closure = folded([*WORKED, (0, 7, False)])
    assert [sorted(g) for g in groups_to_name(closure)] == [[0, 1], [2, 3, 4, 5, 6], [7]]
    assert groups_to_name(folded([(0, 1, False)])) == []


def test_a_cluster_that_shares_nothing_stays_without_a_name() -> None:
    class_of, agreement = name_clusters(np.array([0, 1, 2, 2]), {0: 1, 2: 0}, 4)
    assert (class_of.tolist(), agreement) == ([1, -1, 0, -1], 2)
    class_of, agreement = name_clusters(np.array([0, 1]), {}, 2)
    assert (class_of.tolist(), agreement) == ([-1, -1], 0)


def test_the_price_of_a_label() -> None:
    assert expected_questions((0.6, 0.3, 0.1)) == pytest.approx(1.4, abs=1e-6)
    assert expected_questions((0.1, 0.6, 0.3)) == pytest.approx(1.4, abs=1e-6)
    assert expected_questions((1.0,)) == 0


# --- slow twins ---------------------------------------------------------------------------------


@quick
@given(answers, st.booleans())
def test_equals_the_brute_force_closure(log: Any, two: bool) -> None:
    closure = folded(log, two_classes=two)
    kept = consistent(log, two=two)
    expected = brute(kept, two=two)
    assert (matrix(closure) == expected).all()
    upper = np.triu_indices(N, 1)
    assert closure.counts.implied_same == (expected[upper] == 1).sum()
    assert closure.counts.implied_different == (expected[upper] == -1).sum()
    assert closure.counts.contradictions == len(log) - len(kept)


@quick
@given(answers, st.booleans())
def test_a_chain_is_answers_that_imply_what_is_known_and_none_is_too_many(
    log: Any, two: bool
) -> None:
    closure = folded(log, two_classes=two)
    for a, b in combinations(range(N), 2):
        now, chain = closure.known(a, b), closure.chain(a, b)
        assert bool(chain) == bool(now)
        if not now:
            continue
        assert all(link in closure.log for link in chain)
        said = [(link.a, link.b, link.same) for link in chain]
        assert brute(said, two=two)[a, b] == now
        for left_out in range(len(said)):
            rest = said[:left_out] + said[left_out + 1 :]
            assert brute(rest, two=two)[a, b] == 0
        if not two:
            assert sum(not link.same for link in chain) == (now == -1)


@quick
@given(answers)
def test_the_newest_answer_holds(log: Any) -> None:
    closure: Closure[int] = Closure(policy="newest")
    for a, b, same in log:
        closure.add(a, b, same)
        assert closure.known(a, b) == (1 if same else -1)
    counted = [link for i, link in enumerate(closure.log) if i not in closure._aside]
    said = [(link.a, link.b, link.same) for link in counted]
    assert consistent(said) == said
    assert (matrix(closure) == brute(said)).all()


def test_the_oldest_answer_of_the_chain_goes() -> None:
    closure = folded([(1, 2, True), (0, 1, True), (0, 2, False)], policy="newest")
    assert (closure.known(0, 2), closure.known(0, 1), closure.known(1, 2)) == (-1, 1, -1)
    assert closure.counts.contradictions == 1


@quick
@given(answers, st.permutations(list(combinations(range(N), 2))), st.booleans())
def test_a_chosen_batch_cannot_answer_itself(log: Any, order: Any, two: bool) -> None:
    closure = folded(log, two_classes=two)
    chosen = closure.choose(order, 3)
    first = next((pair for pair in order if closure.open(*pair)), None)
    assert chosen[:1] == ([] if first is None else [first])
    for said in product((True, False), repeat=len(chosen)):
        for order_of_answers in (chosen, chosen[::-1]):
            again = folded(log, two_classes=two)
            for pair in order_of_answers:
                assert again.open(*pair)
                again.add(*pair, said[chosen.index(pair)])


def test_choosing_leaves_the_closure_as_it_is() -> None:
    closure = folded(WORKED)
    before = matrix(closure, 8)
    assert closure.choose([(0, 7), (1, 7), (3, 4)], 5) == [(0, 7)]
    assert (matrix(closure, 8) == before).all()
    assert closure.groups() == folded(WORKED).groups()


# --- answers of all kinds -----------------------------------------------------------------------


def test_undecided_blocks_and_says_nothing() -> None:
    closure = folded([(0, 1, None), (1, 0, None)])
    assert closure.known(0, 1) == 0
    assert closure.blocked(1, 0)
    assert not closure.open(0, 1)
    assert closure.groups() == []
    assert (closure.counts.undecided, closure.counts.questions) == (2, 2)


def test_a_repeat_costs_again_and_changes_nothing() -> None:
    closure = folded([(0, 1, True)])
    assert closure.add(1, 0, True) == "implied"
    assert closure.counts.questions == 2


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be compared with itself"):
        Closure[int]().add(3, 3, True)
    with pytest.raises(InputError, match="policy 'hope'"):
        Closure[int](policy="hope")  # type: ignore[arg-type]
    closure = folded([(0, 1, True), (1, 2, False)], policy="error")
    said = r"0 is the same as 2 contradicts that 0 is the same as 1 and 1 differs from 2"
    with pytest.raises(AnswerError, match=said):
        closure.add(0, 2, True)
    assert closure.counts.questions == 2


def test_how_many_classes_the_answers_show() -> None:
    assert Closure[int]().different_groups() == 0
    assert (
        folded([(0, 1, False), (1, 2, False), (0, 2, False), (2, 3, True)]).different_groups() == 3
    )
    assert folded([(0, 1, False), (2, 3, False)]).different_groups() == 2


def test_controls_are_implied_and_were_never_asked() -> None:
    closure = folded(WORKED)
    asked = {frozenset(a[:2]) for a in WORKED}
    found = closure.controls(6, np.random.default_rng(0))
    assert len({frozenset(pair) for pair in found}) == len(found) == 6
    for a, b in found:
        assert closure.known(a, b) != 0
        assert frozenset((a, b)) not in asked
    assert Closure[int]().controls(4, np.random.default_rng(0)) == []
    assert folded([(0, 1, True)]).controls(4, np.random.default_rng(0)) == []


def test_the_order_of_strings_does_not_depend_on_their_hash() -> None:
    made: Closure[str] = Closure()
    for a, b, same in WORKED:
        made.add(f"i{a}", f"i{b}", same)
    assert made.groups() == [["i0", "i1"], ["i2", "i3", "i4", "i5", "i6"], ["i7"]]
    assert made.edges() == [(0, 1), (1, 2)]


# --- rows and draws -----------------------------------------------------------------------------


def test_labels_give_all_their_pairs_for_free() -> None:
    pool, _ = tiny_pool(6)
    known = np.array([1, -1, 0, 1, -1, 2])
    ids = pool.ids
    pairs = (
        PairAnswer(ids[1], ids[0], True), PairAnswer(ids[0], ids[3], False),
        PairAnswer("gone.png", ids[0], True), PairAnswer(ids[1], ids[4], None),
    )  # fmt: skip
    view = View(pool, known, Classes(("a", "b", "c")), pairs=pairs)
    snapshot = Snapshot.from_arrays(known=known, ids=ids, pairs=pairs)
    for seen in (view, snapshot):
        closure = closure_of(seen)
        assert [sorted(g) for g in closure.groups()] == [[0, 1, 3], [2], [5]]
        assert matrix(closure, 6)[0].tolist() == [1, 1, -1, 1, 0, -1]
        counts = closure.counts
        assert (counts.questions, counts.contradictions, counts.undecided) == (3, 1, 1)


def test_draws_come_as_often_as_they_should() -> None:
    closure = folded([(0, 1, True), (1, 2, True), (3, 4, True), (0, 3, False), (5, 3, False)])
    cons, rng, k = Constraints(closure), np.random.default_rng(0), 20_000
    assert (cons.n_same, cons.n_different, len(cons)) == (4, 8, 12)

    def shares(pairs: np.ndarray) -> dict[frozenset[int], float]:
        found, times = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
        return {frozenset(p.tolist()): t / k for p, t in zip(found, times, strict=True)}

    expected: dict[str, list[float]] = {  # of (0,1) (0,2) (1,2) and (3,4)
        "pair": [1 / 4] * 4, "link": [2 / 9] * 3 + [1 / 3], "group": [1 / 6] * 3 + [1 / 2],
    }  # fmt: skip
    order = [frozenset(p) for p in ((0, 1), (0, 2), (1, 2), (3, 4))]
    for by, wanted in expected.items():
        seen = shares(cons.same(k, rng, by=by))  # type: ignore[arg-type]
        assert [seen[p] for p in order] == pytest.approx(wanted, abs=0.015)
    for by, first in (("pair", 6 / 8), ("edge", 1 / 2)):
        seen = shares(cons.different(k, rng, by=by))  # type: ignore[arg-type]
        assert len(seen) == 8
        assert sum(v for p, v in seen.items() if 5 not in p) == pytest.approx(first, abs=0.015)
    pairs, signs = cons.stated(k, rng)
    assert len(pairs) == len(signs) == k
    assert all(v == pytest.approx(1 / 12, abs=0.01) for v in shares(pairs).values())
    known = np.array([closure.known(*pair) for pair in pairs.tolist()])
    assert (known == signs).all()


def test_draws_from_nothing() -> None:
    rng = np.random.default_rng(0)
    empty = Constraints(Closure())
    assert (len(empty), empty.same(5, rng).shape, empty.different(5, rng).shape) == (
        0,
        (0, 2),
        (0, 2),
    )
    pairs, signs = empty.stated(5, rng)
    assert (pairs.shape, signs.shape) == ((0, 2), (0,))
    only = Constraints(folded([(0, 1, False)]))
    pairs, signs = only.stated(5, rng)
    assert signs.tolist() == [-1] * 5
    assert only.same(5, rng).shape == (0, 2)
