"""Recipes: TOML both ways without loss, checked names and types, sensible rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful import settings as checks
from handful.errors import MissingPart, RecipeError, UnknownName
from handful.recipes import (
    RECIPES,
    LearnerPart,
    QueryPart,
    Recipe,
    Rounds,
    combine,
    from_toml,
    recipe,
    to_toml,
)
from handful.registry import LEARNERS

NAMES = [
    "ccl",
    "ccl-student",
    "ccl-clustering-only",
    "ccl-random",
    "dcec",
    "dec",
    "kmeans",
    "random",
    "entropy",
    "least-confidence",
    "margin",
    "probe",
    "encoder-head",
    "typiclust",
    "probcover",
    "dcom",
    "bald",
    "self-training",
    "propagation",
    "graph-coverage",
    "dsac",
    "dsac-raw",
    "dsac-steady",
    "dsac-adapted",
    "dsac-r",
    "dsac-r-pl",
    "dsac-no-pseudo",
    "dsac-only-difficult",
    "dsac-only-representative",
    "dsac-linear",
    "cluster-label",
]

plain_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    plain_text,
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
options = st.dictionaries(plain_text.filter(lambda k: k != "name"), values, max_size=5)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    rising = draw(st.lists(st.integers(1, 9999), unique=True, max_size=4).map(sorted))
    small = st.one_of(st.none(), st.integers(1, 500))
    return Recipe(
        name=draw(plain_text),
        learner=LearnerPart(draw(plain_text), draw(options)),
        query=QueryPart(draw(plain_text), draw(options)),
        rounds=Rounds(draw(small), draw(small), draw(small), tuple(rising)),
        schedule=draw(st.sampled_from(["auto", "fast", "published"])),
        split=draw(st.sampled_from(["auto", "80/20", "official", "none"])),
        classes=draw(st.sampled_from(["known", "grow"])),
        seed=draw(st.integers(0, 2**40)),
    )


@settings(max_examples=200, deadline=None)
@given(recipes())
def test_toml_both_ways_without_loss(made: Recipe) -> None:
    back = from_toml(to_toml(made), check=False)
    assert back == made
    assert back.hash == made.hash
    # equality alone would take 1 for 1.0 and True for 1
    assert repr(back) == repr(made)


@pytest.mark.parametrize("name", NAMES)
def test_each_recipe_builds_and_resolves_to_a_text_that_builds_the_same(name: str) -> None:
    made = recipe(name)
    assert RECIPES.summary(name).endswith(".")
    full = made.resolved(7_438, official=False)
    assert full.schedule == "fast"
    assert full.split == ("80/20" if made.split == "auto" else made.split)
    again = from_toml(to_toml(full))
    assert again == full
    assert again.resolved(7_438, official=False) == full, "resolving twice changes something"
    learner, query = again.build()
    assert (learner.name, query.name) == (made.learner.name, made.query.name)
    assert query.needs <= learner.gives


def test_the_registry_holds_the_recipes_of_this_version() -> None:
    assert set(NAMES) <= set(RECIPES.names())


def test_the_recipes_say_what_the_paper_says() -> None:
    options = recipe("ccl").resolved(100, official=False).learner.options
    assert (options["ccl_form"], options["similarity"], options["tau"]) == (
        "centroids",
        "neg_sq",
        1,
    )
    assert options["augment"] == "none"
    assert recipe("ccl").query == QueryPart("entropy", {"on": "clusters"})
    assert recipe("ccl-student").learner.options["ccl_form"] == "student"
    assert recipe("ccl-student").learner.options["augment"] == "auto"
    assert recipe("ccl-clustering-only").learner.options["w_ccl"] == 0
    assert recipe("ccl-random").query.name == "random"
    for name in ("random", "entropy", "least-confidence", "margin"):
        assert recipe(name).learner.name == "cnn"
        assert recipe(name).query.name == name


def test_published_and_fast_differ_in_the_options() -> None:
    fast = recipe("ccl", schedule="fast").resolved(100, official=False).learner.options
    slow = recipe("ccl", schedule="published").resolved(100, official=False).learner.options
    assert (fast["epochs"], slow["epochs"]) == (3, 10)
    assert (fast["pretrain_epochs"], slow["pretrain_epochs"]) == (15, 50)
    assert recipe("ccl").resolved(100, official=False, gpu=True).schedule == "published"


@pytest.mark.parametrize(
    ("n", "fast", "expected"),
    [
        (7_438, True, (75, 75, 750, ())),
        (7_438, False, (75, 75, 750, ())),
        (1_437, True, (25, 25, 250, ())),
        (48_000, False, (250, 250, 5_000, ())),
        (48_000, True, (250, 250, 5_000, (250, 500, 1_000, 1_500, 2_500, 4_000, 5_000))),
        (10, True, (25, 25, 250, ())),
    ],
)
def test_rounds_by_the_size_of_the_training_part(
    n: int, fast: bool, expected: tuple[int, int, int, tuple[int, ...]]
) -> None:
    rounds = Rounds().resolved(n, fast=fast)
    assert (rounds.initial, rounds.batch, rounds.budget, rounds.counts) == expected


def test_what_was_asked_for_is_kept() -> None:
    assert Rounds(initial=0).resolved(100, fast=True).initial_draw == "rule"
    assert Rounds(initial=0).resolved(100, fast=True).initial == 0
    assert Rounds(budget=10).resolved(7_438, fast=True).initial == 10
    assert Rounds(batch=40).resolved(48_000, fast=True) == Rounds(40, 40, 800)
    assert Rounds(counts=(20, 50)).resolved(48_000, fast=True).budget == 50


@pytest.mark.parametrize(
    ("change", "near"),
    [
        ("learner.lrr=1", "lr"),
        ("query.onn=proba", "on"),
        ("rounds.budgett=3", "budget"),
        ("sede=3", "seed"),
        ("learnr.lr=1", "learner.lr"),
    ],
)
def test_an_unknown_key_suggests_the_nearest(change: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{near}'"):
        recipe("ccl").set(change)


def test_unknown_names_everywhere() -> None:
    with pytest.raises(UnknownName, match="did you mean 'ccl-student'"):
        recipe("ccl-studnt")
    with pytest.raises(UnknownName, match="did you mean 'budget'"):
        recipe("ccl", budgt=3)
    with pytest.raises(UnknownName, match="did you mean 'entropy'"):
        combine(recipe("ccl"), query="entrpy")
    with pytest.raises(UnknownName, match="did you mean 'kmeans'"):
        combine(recipe("ccl"), learner="kmean")
    text = to_toml(recipe("ccl"))
    with pytest.raises(UnknownName, match="did you mean 'seed'"):
        from_toml("sead = 1\n" + text)
    with pytest.raises(UnknownName, match="did you mean 'tau'"):
        from_toml(text.replace("tau =", "tauu ="))
    with pytest.raises(UnknownName, match="did you mean 'budget'"):
        from_toml(text + "budgett = 3\n")


@pytest.mark.parametrize(
    "change",
    ["learner.lr=fast", "learner.batch_size=1.5", "learner.ccl_form=best", "schedule=slow",
     "rounds.initial=-1", "rounds.counts=[5,3]", "learner.warm_start=1", "nonsense",
     "learner.filters=[1,2]", "split=70/30"],
)  # fmt: skip
def test_a_wrong_value_is_an_error(change: str) -> None:
    with pytest.raises(RecipeError):
        recipe("ccl").set(change)


def test_set_reads_what_a_person_types() -> None:
    made = recipe("ccl")
    for change in ("learner.lr=1e-3", "learner.epochs=none", "learner.filters=8,16,32",
                   "learner.norm=block", "rounds.counts=[20, 40]", "seed=7", "split=80/20",
                   "learner.warm_start=false", "query.on=proba", "rounds.budget=60"):  # fmt: skip
        made = made.set(change)
    assert made.learner.options["lr"] == 1e-3
    assert made.learner.options["epochs"] is None
    assert made.learner.options["filters"] == (8, 16, 32)
    assert made.learner.options["warm_start"] is False
    assert made.query.options == {"on": "proba"}
    assert (made.rounds.counts, made.rounds.budget) == ((20, 40), 60)
    assert (made.seed, made.split) == (7, "80/20")


def test_any_learner_with_any_query() -> None:
    made = combine(recipe("ccl"), learner="probe", query="margin")
    assert (made.name, made.learner.name, made.query.name) == ("probe+margin", "probe", "margin")
    assert made.learner.options == {}
    assert combine(recipe("ccl"), query="entropy").query.options == {"on": "clusters"}


def test_a_rule_that_its_learner_cannot_serve() -> None:
    blind = next((n for n in LEARNERS if "clusters" not in LEARNERS.get(n).gives), None)
    assert blind is not None
    made = Recipe("x", LearnerPart(blind), QueryPart("entropy", {"on": "clusters"}))
    with pytest.raises(MissingPart, match=r"needs 'clusters'.*take one of .*ccl"):
        made.build()


def test_the_hash_is_of_the_recipe_and_not_of_the_seed() -> None:
    a, b = recipe("ccl", seed=1), recipe("ccl", seed=2)
    assert a.hash == b.hash
    assert a.hash != recipe("ccl", learner={"lr": 0.01}).hash
    assert len(a.hash) == 16


def test_broken_texts() -> None:
    for text in ("name = ", "[query]\nname='random'", "learner = 3", "[learner]\nname = 3"):
        with pytest.raises(RecipeError):
            from_toml(text)
    with pytest.raises(RecipeError, match="no UTF-8"):
        to_toml(replace(recipe("ccl"), name="\udcff"))
    with pytest.raises(RecipeError, match="cannot hold"):
        to_toml(Recipe("x", LearnerPart("ccl", {"lr": object()})))


def test_the_plan_is_the_loops() -> None:
    plan = recipe("ccl", initial=10, batch=5, budget=30).plan
    assert (plan.initial, plan.batch, plan.budget) == (10, 5, 30)
    assert recipe("ccl", initial=0).plan.initial_draw == "rule"


@dataclass(frozen=True)
class Sample:
    """Options of every kind that a learner may have."""

    whole: int = 1
    share: float | None = None
    kind: Literal["a", 2] = "a"
    sides: tuple[int, ...] = ()
    pair: tuple[int, str] = (1, "x")
    anything: Any = None
    hidden: ClassVar[int] = 3


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("whole", [1, -3], [True, 1.0, "1", None]),
        ("share", [1, 0.5, None], ["x", True]),
        ("kind", ["a", 2], ["b", 2.0, None]),
        ("sides", [(), (1, 2)], [(1, "x"), 3]),
        ("pair", [(1, "x")], [(1,), (1, 2), ()]),
        ("anything", [1, "x", None], []),
    ],
)
def test_types_of_settings(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        checks.check_fields("sample", Sample, {name: value})
    for value in bad:
        with pytest.raises(RecipeError, match="takes"):
            checks.check_fields("sample", Sample, {name: value})


def test_settings_of_what_is_no_dataclass() -> None:
    with pytest.raises(RecipeError, match="no dataclass"):
        checks.field_types(int)
    assert "hidden" not in checks.field_types(Sample)
