"""What answers to *same or different?* say together: closure, contradictions, names of groups.

::

    same + same            gives same        (groups: the components of the must-links)
    same + different       gives different   (whole groups differ)
    different + different  gives nothing     (with two classes: same)

The log of answers is the only truth, the rest is a fold over it: whoever takes an answer back
folds again.  An answer that opposes what the ones before it imply is a contradiction; it is
kept with the chain of answers against it, and with ``policy="keep"`` changes nothing else.

Pairs give a partition, not names: `groups_to_name`, `name_clusters` and `named` go from groups
to named classes, at one question a group.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.book import row_of
from handful.errors import AnswerError, InputError
from handful.types import UNKNOWN, Array, PairAnswer, Snapshot, View

__all__ = [
    "Closure", "Constraints", "Contradiction", "Counts", "Link", "closure_of", "expected_questions",
    "groups_to_name", "name_clusters", "named",
]  # fmt: skip

Item = TypeVar("Item", bound=Hashable)
Policy: TypeAlias = Literal["keep", "newest", "error"]
Heard: TypeAlias = Literal["new", "implied", "contradiction", "undecided"]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Link(Generic[Item]):
    """One answer: ``a`` and ``b`` are the same, different, or (None) nobody can tell."""

    a: Item
    b: Item
    same: bool | None


@dataclass(frozen=True, slots=True)
class Contradiction(Generic[Item]):
    """An answer, and the shortest chain of answers that implies the opposite."""

    answer: Link[Item]
    chain: tuple[Link[Item], ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """What was asked and what is known now, in pairs; implied ones hold those asked."""

    questions: int = 0
    implied_same: int = 0
    implied_different: int = 0
    undecided: int = 0
    contradictions: int = 0


class Closure(Generic[Item]):
    """Everything that the answers so far imply.

    ``policy`` : what becomes of an answer that contradicts.  ``keep`` counts it and leaves it
    aside; ``newest`` withdraws the oldest answer of the chain against it, until it fits;
    ``error`` raises `AnswerError`.  ``two_classes`` : the user vouches that there are two, so
    that two differences make a sameness.

    Cost: O(1) a look-up, O(log q) amortised an answer, O(q) memory for q answers (a
    contradiction: one search of their graph); no pair is ever listed.
    """

    def __init__(self, *, policy: Policy = "keep", two_classes: bool = False) -> None:
        if policy not in ("keep", "newest", "error"):
            raise InputError(f"the policy {policy!r} is not known: keep, newest or error")
        self.policy, self.two_classes = policy, two_classes
        self.log: list[Link[Item]] = []
        self.contradictions: list[Contradiction[Item]] = []
        self._paid = 0
        self._aside: set[int] = set()  # places in the log of answers that do not count
        self._fold()

    def _fold(self) -> None:
        """The state anew from what counts of the log."""
        self._root: dict[Item, Item] = {}  # in the order of mention
        self._members: dict[Item, list[Item]] = {}
        self._apart: dict[Item, dict[Item, None]] = {}  # dicts keep an order, sets of words do not
        self._said: dict[Item, list[tuple[Item, int]]] = {}  # the graph of answers
        self._blocked: dict[frozenset[Item], None] = {}
        for place, link in enumerate(self.log):
            if place not in self._aside:
                self._apply(place, link)

    # ------------------------------------------------------------------ answers

    def add(self, a: Item, b: Item, same: bool | None, *, free: bool = False) -> Heard:
        """Take one answer, in the order of the log; ``free`` ones are no questions.

        Errors: a thing with itself; with ``policy="error"`` a contradiction.
        """
        if a == b:
            raise InputError(f"{a!r} cannot be compared with itself: give two different images")
        link, place = Link(a, b, same), len(self.log)
        now = self.known(a, b)
        opposed = same is not None and now == (-1 if same else 1)
        if opposed and self.policy == "error":
            chain = " and ".join(_words(one) for one in self.chain(a, b))
            raise AnswerError(
                f"the answer that {_words(link)} contradicts that {chain}: take one of them back"
            )
        self.log.append(link)
        self._paid += not free
        if opposed:
            self.contradictions.append(Contradiction(link, self.chain(a, b)))
            if self.policy == "keep":
                self._aside.add(place)
                return "contradiction"
            self._aside.add(place)
            while self.known(a, b) == (-1 if same else 1):
                self._aside.add(min(self._chain(a, b)))
                self._fold()
            self._aside.discard(place)
        self._apply(place, link)
        if opposed:
            return "contradiction"
        if same is None:
            return "undecided"
        return "implied" if now else "new"

    def _apply(self, place: int, link: Link[Item]) -> None:
        if link.same is None:
            self._blocked[frozenset((link.a, link.b))] = None
            return
        for one, other in ((link.a, link.b), (link.b, link.a)):
            self._said.setdefault(one, []).append((other, place))
            if one not in self._root:
                self._root[one], self._members[one], self._apart[one] = one, [one], {}
        if link.same:
            self._merge(link.a, link.b)
        else:
            a, b = self._root[link.a], self._root[link.b]
            self._apart[a][b] = self._apart[b][a] = None
            self._two(a, b)

    def _merge(self, a: Item, b: Item) -> None:
        """Two groups become one, which inherits what both differ from."""
        big, small = self._root[a], self._root[b]
        if big == small:
            return
        if len(self._members[big]) < len(self._members[small]):
            big, small = small, big
        for item in self._members[small]:
            self._root[item] = big
        self._members[big] += self._members.pop(small)
        for other in self._apart.pop(small):
            del self._apart[other][small]
            self._apart[other][big] = self._apart[big][other] = None
        self._two(big)

    def _two(self, *roots: Item) -> None:
        """With two classes, all that differ from one group are the same."""
        for root in roots if self.two_classes else ():
            while len(others := list(self._apart.get(root, ()))) > 1:
                self._merge(others[0], others[1])

    # ------------------------------------------------------------------ what is known

    def known(self, a: Item, b: Item) -> int:
        """+1 the same, -1 different, 0 not known."""
        one, other = self._root.get(a, a), self._root.get(b, b)
        if one == other:
            return 1
        return -1 if other in self._apart.get(one, ()) else 0

    def mentions(self, item: Item) -> bool:
        """Whether some answer says anything about it."""
        return item in self._root

    def group_of(self, item: Item) -> Item:
        """The item that stands for a group: equal for members of one, for now."""
        return self._root.get(item, item)

    def blocked(self, a: Item, b: Item) -> bool:
        """Whether somebody could not tell; such a pair is not asked again."""
        return frozenset((a, b)) in self._blocked

    def open(self, a: Item, b: Item) -> bool:
        """Whether the pair may be asked: two images, not known, not blocked."""
        return a != b and self.known(a, b) == 0 and not self.blocked(a, b)

    def groups(self) -> list[list[Item]]:
        """The must-link components of everything that was compared, in the order of mention."""
        found: dict[Item, list[Item]] = {}
        for item, root in self._root.items():
            found.setdefault(root, []).append(item)
        return list(found.values())

    def edges(self) -> list[tuple[int, int]]:
        """Which `groups` differ: pairs of their places, rising."""
        place = {self._root[group[0]]: i for i, group in enumerate(self.groups())}
        return sorted(
            (i, place[other]) for root, i in place.items() for other in self._apart[root]
            if i < place[other]
        )  # fmt: skip

    @property
    def counts(self) -> Counts:
        """Questions paid; pairs known, by component sizes s: s(s - 1)/2 and s_a s_b."""
        sizes = [len(group) for group in self.groups()]
        return Counts(
            questions=self._paid,
            implied_same=sum(s * (s - 1) // 2 for s in sizes),
            implied_different=sum(sizes[a] * sizes[b] for a, b in self.edges()),
            undecided=sum(link.same is None for link in self.log),
            contradictions=len(self.contradictions),
        )

    def different_groups(self) -> int:
        """How many groups are known to differ from one another: a clique, found greedily."""
        clique: list[Item] = []
        for root in sorted(self._apart, key=lambda r: -len(self._apart[r])):
            if all(root in self._apart[one] for one in clique):
                clique.append(root)
        return len(clique)

    def chain(self, a: Item, b: Item) -> tuple[Link[Item], ...]:
        """The shortest chain of answers that says what is known of a pair; empty if nothing is.

        At most one of its answers is *different*; any number of the right parity with two classes.
        """
        return tuple(self.log[place] for place in self._chain(a, b))

    def _chain(self, a: Item, b: Item) -> list[int]:
        now = self.known(a, b)
        if now == 0 or a not in self._said:
            return []
        start, goal = (a, 0), (b, 0 if now == 1 else 1)
        came: dict[tuple[Item, int], tuple[tuple[Item, int], int] | None] = {start: None}
        queue = deque([start])
        while queue and goal not in came:
            item, crossed = queue.popleft()
            for other, place in self._said[item]:
                side = crossed + (not self.log[place].same)
                step = (other, side % 2 if self.two_classes else side)
                if step[1] < 2 and step not in came:
                    came[step] = ((item, crossed), place)
                    queue.append(step)
        found: list[int] = []
        at = came[goal]
        while at is not None:
            found.append(at[1])
            at = came[at[0]]
        return found[::-1]

    # ------------------------------------------------------------------ choosing questions

    def choose(
        self,
        candidates: Iterable[tuple[Item, Item]],
        k: int,
        *,
        most: int | None = None,
        exempt: Container[Item] = (),
    ) -> list[tuple[Item, Item]]:
        """The first ``k`` open pairs that no answers to the others of them can imply.

        So a whole batch may be shown at once and every answer is worth its price.  A pair is
        left out when the batch before it and the answers so far join its ends by a path with at
        most one known difference; and when an item that is not ``exempt`` is in ``most`` pairs
        already.  O(1) amortised a candidate, O(q) for the copy of the state.
        """
        as_if: Closure[Item] = Closure(two_classes=self.two_classes)
        as_if._root = dict(self._root)
        as_if._members = {root: list(items) for root, items in self._members.items()}
        as_if._apart = {root: dict(others) for root, others in self._apart.items()}
        chosen: list[tuple[Item, Item]] = []
        times: Counter[Item] = Counter()
        for a, b in candidates if k > 0 else ():
            if most is not None and any(times[x] >= most and x not in exempt for x in (a, b)):
                continue
            if self.open(a, b) and as_if.known(a, b) == 0:
                as_if._apply(0, Link(a, b, True))
                times.update((a, b))
                chosen.append((a, b))
                if len(chosen) >= k:
                    break
        return chosen

    def controls(self, k: int, rng: Generator) -> list[tuple[Item, Item]]:
        """At most ``k`` implied pairs that nobody was asked about, to catch wrong answers.

        Each is drawn from an answer: two members of the group that it made, or one of either
        side of the difference.  Uniform over the answers that count.
        """
        asked = {frozenset((link.a, link.b)) for link in self.log}
        links = [
            one for i, one in enumerate(self.log) if one.same is not None and i not in self._aside
        ]
        found: dict[frozenset[Item], tuple[Item, Item]] = {}
        for _ in range(20 * k if links else 0):
            if len(found) >= k:
                break
            link = links[int(rng.integers(len(links)))]
            sides = (self._members[self._root[link.a]], self._members[self._root[link.b]])
            a, b = (side[int(rng.integers(len(side)))] for side in sides)
            pair = frozenset((a, b))
            if a != b and pair not in asked:
                found[pair] = (a, b)
        return list(found.values())


def _words(link: Link[Any]) -> str:
    verb = {True: "is the same as", False: "differs from", None: "cannot be told from"}[link.same]
    return f"{link.a!r} {verb} {link.b!r}"


# --- from a book to rows ------------------------------------------------------------------------


def closure_of(seen: View | Snapshot, *, two_classes: bool = False) -> Closure[int]:
    """The closure over rows of labels and pair answers; labels give all their pairs, for free.

    Labels come first: a pair answer that opposes them is the contradiction.  Pairs that name an
    image which is not there are left out.  O(labels + C^2 + answers).
    """
    found: Closure[int] = Closure(two_classes=two_classes)
    known = np.asarray(seen.known)
    labelled = np.flatnonzero(known >= 0)
    groups = [labelled[known[labelled] == c].tolist() for c in np.unique(known[labelled])]
    for place, group in enumerate(groups):
        for a, b in pairwise(group):
            found.add(a, b, True, free=True)
        for before in groups[:place]:
            found.add(before[0], group[0], False, free=True)
    for row_a, row_b, answer in _rows(seen):
        if row_a is not None and row_b is not None and row_a != row_b:
            found.add(row_a, row_b, answer.same)
    return found


def _rows(seen: View | Snapshot) -> Iterator[tuple[int | None, int | None, PairAnswer]]:
    find: Callable[[str], int | None]
    if isinstance(seen, View):
        pool = seen.pool

        def find(id: str) -> int | None:
            return row_of(pool, id)
    else:
        ids = seen.ids

        def find(id: str) -> int | None:  # rows are sorted by id
            row = bisect_left(ids, id)
            return row if row < len(ids) and ids[row] == id else None

    for answer in seen.pairs:
        yield find(answer.a), find(answer.b), answer


class Constraints:
    """The groups of a closure as arrays, to draw training pairs from.

    ``n_same`` and ``n_different`` count all pairs that are known.  Draws are with replacement,
    ``(k, 2)`` rows; O(k log g) each for g groups and edges.
    """

    def __init__(self, closure: Closure[int]) -> None:
        groups = closure.groups()
        self.sizes: Ints = np.array([len(group) for group in groups], dtype=np.int64)
        self.members: Ints = np.array([row for group in groups for row in group], dtype=np.int64)
        self.starts: Ints = np.cumsum(self.sizes) - self.sizes
        self.edges: Ints = np.array(closure.edges(), dtype=np.int64).reshape(-1, 2)
        self._links = self.sizes * (self.sizes - 1) // 2
        self._crossings = self.sizes[self.edges].prod(axis=1)
        self.n_same, self.n_different = int(self._links.sum()), int(self._crossings.sum())

    def __len__(self) -> int:
        """All known pairs."""
        return self.n_same + self.n_different

    def same(
        self, k: int, rng: Generator, *, by: Literal["pair", "link", "group"] = "pair"
    ) -> Ints:
        """Two distinct members of a group.

        The group is drawn by its pairs s(s - 1)/2, by the links s - 1 that hold it together, or
        each as often as any other that has two members.
        """
        weights = {"pair": self._links, "link": self.sizes - 1, "group": self.sizes > 1}[by]
        if not self.n_same or k <= 0:
            return np.empty((0, 2), dtype=np.int64)
        group = _drawn(weights, k, rng)
        first = rng.integers(self.sizes[group])
        second = (first + 1 + rng.integers(self.sizes[group] - 1)) % self.sizes[group]
        at = self.starts[group][:, None] + np.stack([first, second], axis=1)
        return np.asarray(self.members[at])

    def different(self, k: int, rng: Generator, *, by: Literal["pair", "edge"] = "pair") -> Ints:
        """A member of each side of a difference, drawn by its pairs s_a s_b or uniformly."""
        if not self.n_different or k <= 0:
            return np.empty((0, 2), dtype=np.int64)
        weights = self._crossings if by == "pair" else np.ones(len(self.edges))
        sides = self.edges[_drawn(weights, k, rng)]
        return np.asarray(self.members[self.starts[sides] + rng.integers(self.sizes[sides])])

    def stated(self, k: int, rng: Generator) -> tuple[Ints, Ints]:
        """Pairs drawn uniformly from all that are known, and +1 (same) or -1 for each."""
        share = self.n_same / max(len(self), 1)
        n_same = int(rng.binomial(k, share))
        same, different = self.same(n_same, rng), self.different(k - n_same, rng)
        signs = np.repeat(np.array([1, -1], dtype=np.int64), [len(same), len(different)])
        return np.concatenate([same, different]), signs


def _drawn(weights: Array, k: int, rng: Generator) -> Ints:
    ends = np.cumsum(weights, dtype=np.float64)
    at = np.searchsorted(ends, rng.random(k) * ends[-1], side="right")
    return np.asarray(at, dtype=np.int64)


# --- from groups to named classes ---------------------------------------------------------------


def groups_to_name(closure: Closure[int]) -> list[list[int]]:
    """The groups that get a name, one question each.

    Those of two members or more, and each single image that is known to differ from every
    other group with a name, in the order of mention.
    """
    groups = closure.groups()
    wanted = [i for i, group in enumerate(groups) if len(group) > 1]
    apart = {frozenset(edge) for edge in closure.edges()}
    for i, group in enumerate(groups):
        if len(group) == 1 and wanted and all(frozenset((i, j)) in apart for j in wanted):
            wanted.append(i)
    return [groups[i] for i in sorted(wanted)]


def name_clusters(clusters: Array, names: Mapping[int, int], n_clusters: int) -> tuple[Ints, int]:
    """The class of each cluster ``(n_clusters,)``, -1 without one, and the members that agree.

    ``clusters (n,)``; ``names`` gives the class of each row in a named group.  The one-to-one
    map with the largest agreement; a cluster that would share no member with its class gets
    none: it is one more question, about its medoid.
    """
    rows = np.array(list(names), dtype=np.int64)
    given = np.array(list(names.values()), dtype=np.int64)
    table = np.zeros((n_clusters, int(given.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(table, (np.asarray(clusters)[rows], given), 1)
    class_of = np.full(n_clusters, UNKNOWN, dtype=np.int64)
    places, classes = geometry.hungarian(table)
    held = table[places, classes] > 0
    class_of[places[held]] = classes[held]
    return class_of, int(table[places, classes].sum())


def named(clusters: Array, names: Mapping[int, int], class_of: Array) -> Ints:
    """The class of every row: its group's name, else that of its cluster; -1 without either."""
    found: Ints = np.take(class_of, clusters).astype(np.int64)
    for row, name in names.items():
        found[row] = name
    return found


def expected_questions(p: Sequence[float] | Array) -> float:
    """What a label costs in pair questions: ``sum_k min(k, g - 1) p_(k)``, p falling.

    ``p (g,)`` is how likely the image belongs to each of g groups, asked in that order; the
    last one needs no question.
    """
    falling = np.sort(np.asarray(p, dtype=np.float64))[::-1]
    asked = np.minimum(np.arange(1, len(falling) + 1), len(falling) - 1)
    return float(asked @ falling)
