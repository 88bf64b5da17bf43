"""A recipe: learner + query rule + rounds, as frozen dataclasses and as TOML, both ways.

::

    name = "ccl"            # what ran, for tables
    schedule = "auto"       # fast | published | auto: fast on a CPU, published on a GPU
    split = "auto"          # 80/20 | official | none | auto: official where the set has one
    classes = "known"       # known: the set's list | grow: a class exists once it was answered
    seed = 0

    [learner]
    name = "ccl"
    ccl_form = "centroids"  # any option of the learner

    [query]
    name = "entropy"
    on = "clusters"         # any field of the rule

    [rounds]
    initial = 75            # left out: chosen by the size of the training part
    batch = 75
    budget = 750

An option that is left out has its default.  `Recipe.resolved` writes every option down;
that text, its hash, the seed and the version of handful are kept with every run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from hashlib import sha256
from typing import Any, Literal, TypeAlias, get_type_hints

from handful.errors import MissingPart, RecipeError, UnknownName
from handful.loop import Plan
from handful.registry import LEARNERS, QUERIES, Registry, asks_pairs, learns_pairs
from handful.settings import (
    check_fields,
    check_type,
    field_type,
    field_types,
    frozen,
    key,
    parse,
    toml,
)
from handful.types import Learner, Query

__all__ = [
    "RECIPES",
    "LearnerPart",
    "QueryPart",
    "Recipe",
    "Rounds",
    "combine",
    "from_toml",
    "recipe",
    "to_toml",
]

Schedule: TypeAlias = Literal["auto", "fast", "published"]
Split: TypeAlias = Literal["auto", "80/20", "official", "none"]
FAST_TRAIN = 20_000  # images of the training part that the fast schedule looks at
_LARGE = 20_000  # from here on the paper's 250 + 250 k, below 1 % of the training part
_FAST_COUNTS = (250, 500, 1_000, 1_500, 2_500, 4_000, 5_000)


@dataclass(frozen=True)
class LearnerPart:
    """A learner by name, with the options that differ from its defaults."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(sorted(self.options.items())))


@dataclass(frozen=True)
class QueryPart:
    """A query rule by name, with the fields that differ from its defaults."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(sorted(self.options.items())))


@dataclass(frozen=True)
class Rounds:
    """How many labels, and when.  ``None``: by the size of the training part.

    ``budget`` includes ``initial``; ``counts`` (totals of labels, rising) replaces all three.
    ``initial_draw="balanced"`` draws the first batch evenly over the true classes: knowledge
    that nobody has before paying for it, kept to repeat experiments that had it.
    """

    initial: int | None = None
    batch: int | None = None
    budget: int | None = None
    counts: tuple[int, ...] = ()
    initial_draw: Literal["random", "rule", "balanced"] = "random"

    def __post_init__(self) -> None:
        low = {"initial": 0, "batch": 1, "budget": 0}
        for name, least in low.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise RecipeError(f"rounds.{name} is {value}: it must be {least} or more")
        if any(b <= a for a, b in zip((0, *self.counts), self.counts, strict=False)):
            raise RecipeError(f"rounds.counts must rise from above 0, got {list(self.counts)}")

    def resolved(self, n_train: int, *, fast: bool) -> Rounds:
        """Fill in what was left open.

        Large sets follow the CCL paper, 250 + 250 k up to 5,000 labels (``fast``: seven points
        of that curve).  Small sets get 1 % of the training part, rounded up to 25, ten times.
        """
        if self.counts:
            counts = self.counts
            return replace(self, initial=counts[0], batch=counts[0], budget=counts[-1])
        untouched = (self.initial, self.batch, self.budget) == (None, None, None)
        if n_train >= _LARGE and fast and untouched:
            return replace(self, counts=_FAST_COUNTS).resolved(n_train, fast=fast)
        step = 250 if n_train >= _LARGE else 25 * max(1, -(-n_train // 2_500))
        batch = self.batch or step
        initial = self.initial if self.initial is not None else (self.batch or step)
        if self.budget is not None:
            initial = min(initial, self.budget)
        rounds = 20 if n_train >= _LARGE else 10
        budget = self.budget if self.budget is not None else max(initial, rounds * batch)
        draw = "rule" if initial == 0 else self.initial_draw
        return replace(self, initial=initial, batch=batch, budget=budget, initial_draw=draw)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run, apart from the data."""

    name: str
    learner: LearnerPart
    query: QueryPart = QueryPart("random")
    rounds: Rounds = Rounds()
    schedule: Schedule = "auto"
    split: Split = "auto"
    classes: Literal["known", "grow"] = "known"
    seed: int = 0

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in ("schedule", "split", "classes"):
            check_type(name, getattr(self, name), hints[name])

    @property
    def plan(self) -> Plan:
        """The loop's plan; what the recipe leaves open is filled in as for a small set."""
        rounds = self.rounds.resolved(0, fast=True)
        return Plan(
            initial=rounds.initial or 0,
            batch=rounds.batch or 1,
            budget=rounds.budget or 0,
            counts=rounds.counts,
            initial_draw="rule" if rounds.initial_draw == "rule" else "random",
        )

    @property
    def hash(self) -> str:
        """16 hex digits of the TOML without the seed: equal for runs that may be pooled."""
        return sha256(to_toml(replace(self, seed=0)).encode()).hexdigest()[:16]

    def checked(self) -> Recipe:
        """The recipe itself when its names and options exist and have the right types."""
        check_fields(f"learner {self.learner.name!r}", *_learner(self.learner))
        check_fields(f"query {self.query.name!r}", *_query(self.query))
        return self

    def resolved(self, n_train: int, *, official: bool, gpu: bool = False) -> Recipe:
        """Write everything down: schedule, split, rounds and every option with its value."""
        self.checked()
        schedule = self.schedule
        if schedule == "auto":
            schedule = "published" if gpu else "fast"
        split = self.split
        if split == "auto":
            split = "official" if official else "80/20"
        options = _options(self.learner, schedule)
        options = options.resolved() if hasattr(options, "resolved") else options
        rule, given = _query(self.query)
        return replace(
            self,
            learner=LearnerPart(self.learner.name, _written(options)),
            query=QueryPart(self.query.name, _written(rule(**given))),
            rounds=self.rounds.resolved(n_train, fast=schedule == "fast"),
            schedule=schedule,
            split=split,
        )

    def build(self) -> tuple[Learner, Query]:
        """Make learner and rule; a rule that needs what the learner does not give is an error."""
        self.checked()
        learner: Learner = LEARNERS.get(self.learner.name)(_options(self.learner, self.schedule))
        rule, given = _query(self.query)
        query: Query = rule(**given)
        able = ", ".join(n for n in LEARNERS if _would_do(LEARNERS.get(n), query)) or "none"
        if missing := sorted(query.needs - learner.gives):
            raise MissingPart(
                f"query {self.query.name!r} needs {missing[0]!r}, which learner"
                f" {self.learner.name!r} does not give: take one of {able}"
            )
        if asks_pairs(query) and not learns_pairs(learner):
            raise RecipeError(
                f"query {self.query.name!r} asks same or different, which learner"
                f" {self.learner.name!r} does not learn from: take one of {able}"
            )
        return learner, query

    def set(self, assignment: str) -> Recipe:
        """A copy with one ``KEY=VALUE`` changed, e.g. ``learner.lr=1e-3`` or ``seed=3``."""
        path, equals, text = assignment.partition("=")
        part, _, option = path.strip().rpartition(".")
        if not equals or not option:
            raise RecipeError(f"--set {assignment!r} is no KEY=VALUE: write learner.lr=1e-3")
        if part in ("learner", "query") and option != "name":
            holder = getattr(self, part)
            known = field_types(*(_learner if part == "learner" else _query)(holder)[:1])
            if option not in known:
                raise UnknownName(f"option of {part} {holder.name!r}", option, known)
            value = parse(text.strip(), known[option], where=path.strip())
            return replace(
                self, **{part: replace(holder, options={**holder.options, option: value})}
            )
        if part == "rounds":
            value = parse(text.strip(), field_type(Rounds, option), where=path.strip())
            return replace(self, rounds=replace(self.rounds, **{option: value}))
        if part == "" and option not in ("learner", "query", "rounds"):
            value = parse(text.strip(), field_type(Recipe, option), where=option)
            return replace(self, **{option: value})
        raise UnknownName("part of a recipe", path.strip(), _settable(self))


RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe")


def recipe(name: str, **changes: Any) -> Recipe:
    """A registered recipe, with changes.

    ``learner`` and ``query`` take a mapping of options; ``initial``, ``batch``, ``budget``,
    ``counts`` and ``initial_draw`` go to the rounds; the rest are fields of `Recipe`.
    """
    made = RECIPES.get(name)()
    rounds = {f.name: changes.pop(f.name) for f in fields(Rounds) if f.name in changes}
    for part in ("learner", "query"):
        if isinstance(changes.get(part), Mapping):
            holder = getattr(made, part)
            changes[part] = replace(holder, options={**holder.options, **changes[part]})
    known = {f.name for f in fields(Recipe)}
    if unknown := sorted(set(changes) - known):
        raise UnknownName("key of a recipe", unknown[0], known | {f.name for f in fields(Rounds)})
    return replace(made, rounds=replace(made.rounds, **rounds), **changes).checked()


def combine(base: Recipe, *, learner: str | None = None, query: str | None = None) -> Recipe:
    """Any learner with any rule: replace either, with default options."""
    if learner is not None and learner != base.learner.name:
        base = replace(base, learner=LearnerPart(learner))
    if query is not None and query != base.query.name:
        base = replace(base, query=QueryPart(query))
    if learner is not None or query is not None:
        base = replace(base, name=f"{base.learner.name}+{base.query.name}")
    return base.checked()


# --- the recipes of this version -----------------------------------------------------------

_BY_CLUSTERS = QueryPart("entropy", {"on": "clusters"})
_PRINTED = {"ccl_form": "centroids", "similarity": "neg_sq", "tau": 1.0, "augment": "none"}
_NO_LABELS = Rounds(initial=0, batch=1, budget=0)
# the rule opens, also where --counts or a grid names its own totals; the whole set is the pool
_FROM_NOTHING = Rounds(initial=0, batch=20, budget=100, initial_draw="rule")


@RECIPES.register("ccl")
def ccl() -> Recipe:
    """CCL as the paper prints it: Eq. 7 over centroids, entropy of the clusters."""
    return Recipe("ccl", LearnerPart("ccl", _PRINTED), _BY_CLUSTERS)


@RECIPES.register("ccl-student")
def ccl_student() -> Recipe:
    """CCL with one Student distribution for training, query and prediction, and augmentation."""
    options = {"ccl_form": "student", "augment": "auto"}
    return Recipe("ccl-student", LearnerPart("ccl", options), _BY_CLUSTERS)


@RECIPES.register("ccl-clustering-only")
def ccl_clustering_only() -> Recipe:
    """CCL without its labelled loss: labels place the centroids, nothing else (Table 2)."""
    options = {**_PRINTED, "w_ccl": 0.0}
    return Recipe("ccl-clustering-only", LearnerPart("ccl", options), _BY_CLUSTERS)


@RECIPES.register("ccl-random")
def ccl_random() -> Recipe:
    """CCL with images asked at random: what the query adds is the difference."""
    return Recipe("ccl-random", LearnerPart("ccl", _PRINTED), QueryPart("random"))


@RECIPES.register("dcec")
def dcec() -> Recipe:
    """Deep convolutional embedded clustering: a clustering without one label."""
    return Recipe("dcec", LearnerPart("dcec"), QueryPart("random"), _NO_LABELS)


@RECIPES.register("dec")
def dec() -> Recipe:
    """Deep embedded clustering: a clustering without one label."""
    return Recipe("dec", LearnerPart("dec"), QueryPart("random"), _NO_LABELS)


@RECIPES.register("kmeans")
def kmeans() -> Recipe:
    """k-means on pixels or features: the control that sees no label."""
    return Recipe("kmeans", LearnerPart("kmeans"), QueryPart("random"), _NO_LABELS)


@RECIPES.register("random")
def random() -> Recipe:
    """A supervised CNN, images asked at random."""
    return Recipe("random", LearnerPart("cnn"), QueryPart("random"))


@RECIPES.register("entropy")
def entropy() -> Recipe:
    """A supervised CNN, images of highest entropy asked."""
    return Recipe("entropy", LearnerPart("cnn"), QueryPart("entropy"))


@RECIPES.register("least-confidence")
def least_confidence() -> Recipe:
    """A supervised CNN, images with the lowest best probability asked."""
    return Recipe("least-confidence", LearnerPart("cnn"), QueryPart("least-confidence"))


@RECIPES.register("margin")
def margin() -> Recipe:
    """A supervised CNN, images with the smallest gap between the best two asked."""
    return Recipe("margin", LearnerPart("cnn"), QueryPart("margin"))


@RECIPES.register("core-set")
def core_set() -> Recipe:
    """A supervised CNN, images asked that lie farthest from every labelled one."""
    return Recipe("core-set", LearnerPart("cnn"), QueryPart("core-set"))


@RECIPES.register("badge")
def badge() -> Recipe:
    """A supervised CNN, images asked whose guessed labels would move it much, and differently."""
    return Recipe("badge", LearnerPart("cnn"), QueryPart("badge"))


@RECIPES.register("probe")
def probe() -> Recipe:
    """Logistic regression on pixels, images asked at random: the control of every table."""
    return Recipe("probe", LearnerPart("probe"), QueryPart("random"))


@RECIPES.register("encoder-head")
def encoder_head() -> Recipe:
    """Logistic regression on a pre-trained auto-encoder's code, images asked at random."""
    return Recipe("encoder-head", LearnerPart("encoder-head"), QueryPart("random"))


@RECIPES.register("typiclust")
def typiclust() -> Recipe:
    """Logistic regression from the most typical image of each cluster; starts with no label."""
    alone = LearnerPart("self-training", {"rounds": 0})  # the probe, without a label too
    return Recipe("typiclust", alone, QueryPart("typiclust"), _FROM_NOTHING, split="none")


@RECIPES.register("probcover")
def probcover() -> Recipe:
    """Logistic regression from the images whose surroundings hold most; starts with no label."""
    alone = LearnerPart("self-training", {"rounds": 0})
    return Recipe("probcover", alone, QueryPart("probcover"), _FROM_NOTHING, split="none")


@RECIPES.register("dcom")
def dcom() -> Recipe:
    """Logistic regression from images that cover the pool, then that it hesitates about."""
    alone = LearnerPart("self-training", {"rounds": 0})
    return Recipe("dcom", alone, QueryPart("dcom"), _FROM_NOTHING, split="none")


@RECIPES.register("bald")
def bald() -> Recipe:
    """A supervised CNN, images asked where its passes with dropout disagree."""
    return Recipe("bald", LearnerPart("cnn"), QueryPart("bald"))


@RECIPES.register("self-training")
def self_training() -> Recipe:
    """Logistic regression that teaches itself its surest guesses, from typical images."""
    learner = LearnerPart("self-training")
    return Recipe("self-training", learner, QueryPart("typiclust"), _FROM_NOTHING, split="none")


@RECIPES.register("fixmatch")
def fixmatch() -> Recipe:
    """A network taught to see in strong views what it is sure of in weak ones; random images."""
    return Recipe("fixmatch", LearnerPart("fixmatch"), QueryPart("random"))


@RECIPES.register("flexmatch")
def flexmatch() -> Recipe:
    """FixMatch with a threshold for each class, images asked at random."""
    return Recipe("flexmatch", LearnerPart("flexmatch"), QueryPart("random"))


@RECIPES.register("propagation")
def propagation() -> Recipe:
    """Labels of typical images spread over the graph of nearest neighbours."""
    learner = LearnerPart("propagation")
    return Recipe("propagation", learner, QueryPart("typiclust"), _FROM_NOTHING, split="none")


@RECIPES.register("graph-coverage")
def graph_coverage() -> Recipe:
    """Labels spread over the graph of neighbours, from the images that they reach most from."""
    learner, rule = LearnerPart("propagation"), QueryPart("graph-coverage")
    return Recipe("graph-coverage", learner, rule, _FROM_NOTHING, split="none")


# chosen on digits (benchmarks/results/dsac_choice*.csv): a wrong representative moves its
# cluster or the graph, seldom both; an image that was paid for weighs more than one that cost
# nothing; the image between two clusters that the paper asks about names few of its neighbours
_STEADY = {
    "describe": "first", "embed_norm": "l2", "human_weight": 5.0, "lambda_u": 0.0,
    "predict": "views", "pseudo_label": "agreed", "sup_weight": "none",
}  # fmt: skip
# chosen on STL-10's training part at 32 pixels (benchmarks/dsac_cells.py)
_ADAPTED = {
    "describe": "both", "train": "finetune", "norms": "keep", "hold": 0.35, "lr": 1e-3,
    "lr_body": 1e-4, "head_steps": 300, "graph_of": "both", "batch_size": 32, "max_steps": 500,
    "label_smoothing": 0.1, "pseudo_share": 0.4,
}  # fmt: skip


def _dsac(name: str, learner: Mapping[str, Any], query: QueryPart = QueryPart("dsac")) -> Recipe:
    """The paper's rounds: 20 answers each, 100 in all, none before the rule asks."""
    return Recipe(name, LearnerPart("dsac", learner), query, _FROM_NOTHING, split="none")


@RECIPES.register("dsac")
def dsac() -> Recipe:
    """DSAC as the paper prints it: self-paced clusters whose cores take the answers."""
    return _dsac("dsac", {})


@RECIPES.register("dsac-raw")
def dsac_raw() -> Recipe:
    """DSAC with the compactness as it is in the losses, whatever the scale of the embedding."""
    return _dsac("dsac-raw", {"sup_weight": "raw"})


@RECIPES.register("dsac-steady")
def dsac_steady() -> Recipe:
    """DSAC made steady: asked where answers reach most, pseudo-labels where two views agree."""
    return _dsac("dsac-steady", _STEADY, QueryPart("graph-coverage"))


@RECIPES.register("dsac-adapted")
def dsac_adapted() -> Recipe:
    """DSAC made steady whose encoder learns from the surest pseudo-labels: small photos, hours."""
    return _dsac("dsac-adapted", _STEADY | _ADAPTED, QueryPart("typiclust", {"starts": 10}))


@RECIPES.register("dsac-r")
def dsac_r() -> Recipe:
    """DSAC with images asked at random and no pseudo-label: the paper's control."""
    return _dsac("dsac-r", {"pseudo_label": "none"}, QueryPart("random"))


@RECIPES.register("dsac-r-pl")
def dsac_r_pl() -> Recipe:
    """DSAC with images asked at random; clusters take the class of most answers in them."""
    return _dsac("dsac-r-pl", {"pseudo_label": "labels"}, QueryPart("random"))


@RECIPES.register("dsac-no-pseudo")
def dsac_no_pseudo() -> Recipe:
    """DSAC without pseudo-labels: what its questions alone are worth (Table III)."""
    return _dsac("dsac-no-pseudo", {"pseudo_label": "none"})


@RECIPES.register("dsac-only-difficult")
def dsac_only_difficult() -> Recipe:
    """DSAC that asks about difficult images alone; clusters get classes one to one (Table III)."""
    rule = QueryPart("dsac", {"picks": "difficult"})
    return _dsac("dsac-only-difficult", {"pseudo_label": "hungarian"}, rule)


@RECIPES.register("dsac-only-representative")
def dsac_only_representative() -> Recipe:
    """DSAC that asks about representatives alone (Table III)."""
    rule = QueryPart("dsac", {"picks": "representative"})
    return _dsac("dsac-only-representative", {}, rule)


@RECIPES.register("dsac-linear")
def dsac_linear() -> Recipe:
    """DSAC's questions and pseudo-labels, and a plain classifier: no weights, no other loss."""
    return _dsac("dsac-linear", {"lambda_u": 0.0, "gamma": 0.0, "sup_weight": "none"})


@RECIPES.register("cluster-label")
def cluster_label() -> Recipe:
    """One round that names the clusters by their representatives: DSAC with nothing trained."""
    rule = QueryPart("dsac", {"picks": "representative"})
    made = _dsac("cluster-label", {"predict": "cluster"}, rule)
    return replace(made, rounds=replace(_FROM_NOTHING, budget=20))


@RECIPES.register("vaal")
def vaal() -> Recipe:
    """A supervised CNN, images asked that an adversarial auto-encoder cannot pass as labelled."""
    return Recipe("vaal", LearnerPart("cnn"), QueryPart("vaal"))


@RECIPES.register("sraal")
def sraal() -> Recipe:
    """As vaal, where an image that the CNN is sure of counts as labelled."""
    return Recipe("sraal", LearnerPart("cnn"), QueryPart("sraal"))


@RECIPES.register("uncertain-gcn")
def uncertain_gcn() -> Recipe:
    """A supervised CNN, images asked that a graph network takes for unlabelled."""
    return Recipe("uncertain-gcn", LearnerPart("cnn"), QueryPart("uncertain-gcn"))


@RECIPES.register("core-gcn")
def core_gcn() -> Recipe:
    """A supervised CNN, images asked that lie farthest apart in a graph network's layer."""
    return Recipe("core-gcn", LearnerPart("cnn"), QueryPart("core-gcn"))


@RECIPES.register("tod")
def tod() -> Recipe:
    """A consistent classifier; images asked whose prediction has changed since the last round."""
    return Recipe("tod", LearnerPart("tod"), QueryPart("tod"))


@RECIPES.register("lada")
def lada() -> Recipe:
    """A CNN and its own augmentation: pairs asked whose mixtures are unsure, and trained on."""
    return Recipe("lada", LearnerPart("lada"), QueryPart("lada"))


@RECIPES.register("lada-acq")
def lada_acq() -> Recipe:
    """LADA's questions and a plain CNN: nothing is trained on the mixtures."""
    return Recipe("lada-acq", LearnerPart("cnn"), QueryPart("lada"))


@RECIPES.register("mcdal")
def mcdal() -> Recipe:
    """A classifier with two more heads; images asked on which the three disagree."""
    return Recipe("mcdal", LearnerPart("mcdal"), QueryPart("mcdal"))


# the rule opens, as many pairs a round as the papers' tables have labels
_BY_PAIRS = Rounds(initial=0, batch=100, budget=500, initial_draw="rule")


@RECIPES.register("sdec")
def sdec() -> Recipe:
    """Deep embedded clustering with random pairs, weighed as published: hardly at all."""
    return Recipe("sdec", LearnerPart("sdec"), QueryPart("random-pairs"), _BY_PAIRS)


@RECIPES.register("sdec-strong")
def sdec_strong() -> Recipe:
    """SDEC with pairs that count, and different images that are far enough apart left alone."""
    learner = LearnerPart("sdec", {"lam": 0.1})
    return Recipe("sdec-strong", learner, QueryPart("random-pairs"), _BY_PAIRS)


@RECIPES.register("autoembedder")
def autoembedder() -> Recipe:
    """An embedding trained on random pairs alone, grouped by k-means."""
    return Recipe("autoembedder", LearnerPart("autoembedder"), QueryPart("random-pairs"), _BY_PAIRS)


@RECIPES.register("adc")
def adc() -> Recipe:
    """ADC, a reconstruction: pairs asked where the model cannot tell, and sure guesses beside."""
    return Recipe("adc", LearnerPart("adc"), QueryPart("adc"), _BY_PAIRS)


# --- TOML ----------------------------------------------------------------------------------


def to_toml(made: Recipe) -> str:
    """The recipe as TOML; `from_toml` gives an equal recipe back."""
    lines = [f"{f} = {toml(getattr(made, f))}" for f in _TOP]
    for part in ("learner", "query"):
        holder = getattr(made, part)
        lines += ["", f"[{part}]", f"name = {toml(holder.name)}"]
        lines += [f"{key(k)} = {toml(v)}" for k, v in holder.options.items()]
    chosen = {f.name: getattr(made.rounds, f.name) for f in fields(Rounds)}
    lines += ["", "[rounds]"]
    lines += [f"{k} = {toml(v)}" for k, v in chosen.items() if v is not None and v != ()]
    return "\n".join(lines) + "\n"


def from_toml(text: str, *, check: bool = True) -> Recipe:
    """Read a recipe; ``check=False`` leaves names and options unlooked at until it is built."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"the recipe is no TOML: {error}") from error
    if unknown := sorted(set(table) - {*_TOP, "learner", "query", "rounds"}):
        raise UnknownName("key of a recipe", unknown[0], {*_TOP, "learner", "query", "rounds"})
    if not isinstance(table.get("learner"), dict) or "name" not in table["learner"]:
        raise RecipeError("the recipe names no learner: add a table [learner] with its name")
    hints = get_type_hints(Recipe)
    top = {k: check_type(k, frozen(table[k]), hints[k]) for k in _TOP if k in table}
    rounds = {k: frozen(v) for k, v in table.get("rounds", {}).items()}
    check_fields("rounds", Rounds, rounds)
    learner, query = (
        {k: frozen(v) for k, v in table.get(part, {"name": "random"}).items()}
        for part in ("learner", "query")
    )
    name = check_type("learner.name", learner.pop("name"), str)
    made = Recipe(
        name=top.pop("name", name),
        learner=LearnerPart(name, learner),
        query=QueryPart(check_type("query.name", query.pop("name", "random"), str), query),
        rounds=Rounds(**rounds),
        **top,
    )
    return made.checked() if check else made


_TOP = ("name", "schedule", "split", "classes", "seed")


# --- names, options and their types --------------------------------------------------------


def _learner(part: LearnerPart) -> tuple[type[Any], Mapping[str, Any]]:
    import handful.learners  # fills the registry; torch comes with it, so not before it is needed

    assert handful.learners  # the import is for its effect
    return LEARNERS.get(part.name).Options, part.options


def _query(part: QueryPart) -> tuple[type[Any], Mapping[str, Any]]:
    import handful.queries
    import handful.queries_learned

    assert handful.queries  # both are imported for what they register
    assert handful.queries_learned
    return QUERIES.get(part.name), part.options


def _would_do(learner: type[Any], query: Query) -> bool:
    """Whether a learner gives what a rule needs, and learns from what it asks."""
    given: frozenset[str] = learner.gives
    return given >= query.needs and (learns_pairs(learner) or not asks_pairs(query))


def _options(part: LearnerPart, schedule: str) -> Any:
    """The learner's options; a schedule that is still open is a CPU's."""
    kind, given = _learner(part)
    if "schedule" in field_types(kind) and "schedule" not in given:
        given = {**given, "schedule": "fast" if schedule == "auto" else schedule}
    return kind(**given)


def _written(options: Any) -> dict[str, Any]:
    """Every field with its value; what is ``None`` by default and still ``None`` is left out."""
    default = {f.name: f.default for f in fields(options)}
    return {
        k: v
        for k, v in asdict(options).items()
        if not (v is None and default[k] in (None, MISSING))
    }


def _settable(made: Recipe) -> list[str]:
    parts = [f"learner.{k}" for k in field_types(_learner(made.learner)[0])]
    parts += [f"query.{k}" for k in field_types(_query(made.query)[0])]
    return [*_TOP, *parts, *(f"rounds.{f.name}" for f in fields(Rounds))]
