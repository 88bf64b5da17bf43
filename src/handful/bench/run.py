"""A simulated run: from a source of images to a run folder with its report.

::

    open -> leave out what cannot be read -> split -> resolve the recipe -> run folder
         -> loop (each model is scored before its question is answered) -> report

The loop never sees a label that was not bought: truth goes to the oracle and to the
scorer.  Everything that a run has to remember is in its folder, so it may be killed at
any time and resumed.
"""

from __future__ import annotations

import io
import logging
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from handful import __version__, geometry
from handful.bench.machine import machine, versions
from handful.bench.score import Scored, Scorer
from handful.bench.split import balanced, has_official, limit, split
from handful.errors import HandfulError, InputError, RecipeError
from handful.events import class_events
from handful.loop import Plan, drive, loop
from handful.oracles import NoisyOracle, PairOracle, TableOracle, TruthOracle
from handful.pairs import Closure
from handful.paths import to_text
from handful.pool import Data, Reading, open_data, verify
from handful.pool.ids import counted
from handful.progress import Progress, Silent
from handful.recipes import FAST_TRAIN, Recipe, from_toml, to_toml
from handful.registry import LEARNERS, QUERIES, asks_pairs
from handful.rng import rng_for
from handful.store import RunFolder, RunRecord, read_run
from handful.store.files import write_whole
from handful.types import SOURCES, Array, Fit, Oracle, Outcome, Question, Snapshot, Weights

__all__ = ["Prepared", "Until", "make_oracle", "prepare", "run", "unit"]

Say = Callable[[str], None]
_log = logging.getLogger(__name__)
_AS_KEPT: Mapping[str, Any] = MappingProxyType({})
_PLAIN = Reading()


def run(
    data: str | Path | Data,
    recipe: Recipe | None,
    *,
    out: Path | str,
    oracle: str | None = None,
    until: str | None = None,
    minutes: float | None = None,
    resume: bool = False,
    reading: Mapping[str, Any] = _AS_KEPT,
    data_root: Path | str | None = None,
    progress: Progress | None = None,
    say: Say = lambda message: None,
    report: bool = True,
) -> RunRecord:
    """Run ``recipe`` on ``data`` and leave a run folder at ``out``.

    ``recipe=None`` goes on with the recipe of the folder (``resume=True``).  ``until`` is
    ``acc=.95`` or ``steady``; ``minutes`` ends the asking.  ``reading`` : fields of
    `handful.pool.Reading` that are not the default.  ``oracle`` : ``truth`` (the default),
    ``noisy:0.05`` or ``table:FILE``.  A resumed run keeps both as it began.  Ctrl-C raises
    `KeyboardInterrupt` with the state saved.  ``report=False`` leaves the page out (grids of
    many runs; `handful.report.render` makes it any time later).
    """
    progress = progress if progress is not None else Silent()
    stop = Until.parse(until, minutes)
    out = Path(out)
    if resume or (out / "book.sqlite").exists():
        RunFolder.create(out, resume=resume).close()  # raises, before any work is done
    kept = _kept_recipe(out) if resume else None
    chosen = recipe or kept
    if chosen is None:
        raise RecipeError(f"no recipe was given for {out}: name one of `handful recipes`")
    chosen.build()  # raises when the rule needs what the learner does not give
    began = read_run(out).run if resume else {}
    oracle = _who_answers(out, oracle, began)
    ready = prepare(
        data,
        chosen,
        oracle=oracle,
        reading=_reading(out, reading if began else {**_side(chosen), **reading}, began),
        data_root=data_root,
        progress=progress,
        say=say,
    )
    answers = make_oracle(oracle, ready)
    _check_same(out, ready, kept, began)
    with closing(RunFolder.create(out, resume=resume)) as folder:
        folder.write_recipe(to_toml(ready.recipe))
        session = _Session(ready, folder, stop, progress, oracle)
        say(_opening(ready, folder))
        session.write_facts("running")
        try:
            outcome = session.drive(answers)
            session.finish(outcome, report=report)
        except KeyboardInterrupt as stopped:
            session.write_facts("interrupted")
            raise KeyboardInterrupt(
                f"interrupted after {folder.book.paid} answers, all kept: go on with --resume"
                f" --out {out}"
            ) from stopped
    return read_run(out)


@dataclass(frozen=True)
class Until:
    """When to stop asking before the budget is spent.

    ``acc=X``: test accuracy (without a test part: accuracy over what was not bought) is at
    least X.  ``steady``: fewer than 0.5 % of all predictions changed in each of the last two
    rounds; no label is looked at.  ``minutes``: time is up.
    """

    accuracy: float | None = None
    steady: bool = False
    minutes: float | None = None

    @classmethod
    def parse(cls, text: str | None, minutes: float | None = None) -> Until:
        """Read ``acc=.95`` or ``steady``."""
        if minutes is not None and not minutes > 0:
            raise RecipeError(f"--minutes is {minutes}: it must be above 0")
        if text is None:
            return cls(minutes=minutes)
        if text == "steady":
            return cls(steady=True, minutes=minutes)
        name, _, value = text.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if name != "acc" or not 0 < share <= 1:
            raise RecipeError(
                f"--until {text!r} is not understood: write acc=.95 (above 0, at most 1) or steady"
            )
        return cls(accuracy=share, minutes=minutes)


@dataclass(frozen=True)
class Prepared:
    """Everything that is settled before the first question."""

    data: Data
    train: Data
    test: Data | None
    recipe: Recipe
    excluded: Mapping[str, str]
    reading: Reading
    table: TableOracle | None  # over all images: what is held back has its rows in it, too
    names: tuple[str, ...]  # the class list, as far as truth or the table of answers has one


def prepare(
    data: str | Path | Data,
    recipe: Recipe,
    *,
    oracle: str = "truth",
    reading: Reading = _PLAIN,
    data_root: Path | str | None = None,
    progress: Progress,
    say: Say = lambda message: None,
) -> Prepared:
    """Open, leave out broken images, split, and write the recipe down in full."""
    opened = data
    if not isinstance(opened, Data):
        opened = open_data(opened, data_root=data_root, progress=progress, **asdict(reading))
    opened, excluded = _readable(opened, progress)
    if excluded:
        n = counted(len(excluded), "image")
        say(f"{n} cannot be read, hence left out: `handful data` says why")
    table = _table(oracle, opened, say)
    if table is not None:
        opened = _named_by(table, opened, say)
    else:
        _check_answerable(opened)
    official = has_official(opened)
    how = recipe.split
    if how == "auto":
        how = "official" if official else "80/20"
        if opened.labels is None or table is not None:
            how = "none"  # nobody could score a test part; a table is there to label everything
    train, test = split(opened, how, seed=recipe.seed)
    recipe = replace(recipe, split=how)
    resolved = recipe.resolved(len(train), official=official, gpu=_gpu())
    if resolved.schedule == "fast" and how != "none":
        train = limit(train, FAST_TRAIN, seed=recipe.seed)
    return Prepared(
        data=opened,
        train=opened.subset(train),
        test=opened.subset(test) if len(test) else None,
        recipe=resolved,
        excluded=excluded,
        reading=reading,
        table=table,
        names=opened.classes if opened.labels is not None else (),
    )


def make_oracle(spec: str, ready: Prepared) -> Oracle:
    """``truth``, ``noisy:0.05`` or ``table:FILE``; for images, or for pairs of them."""
    kind, _, rest = spec.partition(":")
    pool, labels = ready.train.pool, ready.train.labels
    of_pairs = _asks_pairs(ready.recipe)
    if ready.table is not None:
        if of_pairs:
            raise RecipeError(
                f"a table names classes, and the query {ready.recipe.query.name!r} asks same or"
                " different: take --oracle truth or noisy:0.05, or another query"
            )
        return ready.table
    if labels is None:
        raise InputError(f"{ready.data.name} has no labels to answer from: {_GIVE_A_TABLE}")
    if kind == "truth" and not rest:
        return (PairOracle if of_pairs else TruthOracle)(pool, labels, ready.names)
    if kind == "noisy":
        try:
            rate = float(rest)
        except ValueError:
            rate = -1.0
        if 0 <= rate < 1:
            noisy = PairOracle if of_pairs else NoisyOracle
            return noisy(pool, labels, ready.names, rate=rate, seed=ready.recipe.seed)
    raise RecipeError(f"--oracle {spec!r} is not understood: truth, noisy:0.05 or table:FILE")


class _Session:
    """The driver: scores each model, keeps what it says, and knows when to stop."""

    def __init__(
        self, ready: Prepared, folder: RunFolder, stop: Until, progress: Progress, oracle: str
    ) -> None:
        self.ready, self.folder, self.stop, self.oracle = ready, folder, stop, oracle
        self.pool, self.book = ready.train.pool, folder.book
        self.learner, self.query = ready.recipe.build()
        self.started = time.monotonic()
        self.last: dict[str, Any] = {}  # the newest row of rounds.csv
        self.why = ""  # the condition that ended the run before its budget
        self.before = folder.seconds
        self.progress = Scored(progress, ready.train.labels, lambda: self.book.round)
        self.progress.rows += folder.training_rows(before=self.book.round + 1)
        self.steady = _Steady(folder.path / "checkpoint")
        self.clusters = _AskedIn(folder.path / "checkpoint")
        self.scorer = Scorer(
            pool=self.pool,
            truth=ready.train.labels,
            test=ready.test.pool if ready.test is not None else None,
            test_truth=ready.test.labels if ready.test is not None else None,
            names=ready.names,
            seed=ready.recipe.seed,
            pairs=asks_pairs(self.query),
            two_classes=self.two_classes,
        )

    @property
    def two_classes(self) -> bool:
        """Whether the user vouched for two classes."""
        return bool(getattr(self.query, "two_classes", False))

    @property
    def seconds(self) -> float:
        """Time spent, earlier sessions of the same run included."""
        return self.before + time.monotonic() - self.started

    def drive(self, oracle: Oracle) -> Outcome:
        """Ask, answer and learn until the budget is spent or a condition holds."""
        if self.ready.recipe.classes == "known" and not self.book.classes.names:
            names = self.ready.names or getattr(oracle, "classes", ())
            self.book.append(class_events(names))
        going = loop(
            self.pool,
            self.book,
            self.learner,
            self.query,
            self._plan(),
            seed=self.ready.recipe.seed,
            progress=self.progress,
            checkpoints=_Logged(self.folder, self.progress),
            parts=_SCORED_PARTS,
        )
        outcome = drive(going, oracle, self.watch)
        if self.why:
            return replace(outcome, reason=self.why)
        if outcome.snapshot is not None:
            self.score(outcome.snapshot, outcome.fit or Fit(), 0.0)
        return outcome

    def _plan(self) -> Plan:
        recipe, labels = self.ready.recipe, self.ready.train.labels
        plan = recipe.plan
        if recipe.rounds.initial_draw != "balanced":
            return plan
        if labels is None:
            raise RecipeError(
                "rounds.initial_draw is 'balanced' and the data hold no labels to balance by:"
                " take 'random'"
            )
        rows = balanced(labels, plan.initial, seed=recipe.seed)
        return replace(plan, initial_ids=tuple(self.pool.ids[int(row)] for row in rows))

    def watch(self, question: Question) -> bool:
        """Score the model behind a question, before it is answered; True ends the run."""
        if question.snapshot is None:
            return False
        row = self.score(question.snapshot, question.fit or Fit(), question.seconds_query)
        if hasattr(self.learner, "pseudo_labels"):
            self.clusters.keep(question.snapshot)
        stop = self.stop
        steady = stop.steady and self.steady.reached(question.snapshot)
        spent = time.monotonic() - self.started
        reached = row.get("accuracy_test", row.get("accuracy_unlabelled", 0.0))
        if self.scorer.pairs and not (question.snapshot.known >= 0).any():
            reached = row.get("acc_all", 0.0)  # nothing has a name yet
        if stop.accuracy is not None and reached >= stop.accuracy:
            self.why = f"accuracy {reached:.4f} reached {stop.accuracy:g}"
        elif steady:
            self.why = "the predictions are steady"
        elif stop.minutes is not None and spent > 60 * stop.minutes:
            self.why = f"{stop.minutes:g} minutes are over"
        return bool(self.why)

    def score(self, snapshot: Snapshot, fit: Fit, seconds_query: float) -> dict[str, Any]:
        """Write the row of one model."""
        closed = self.book.asked[: snapshot.round]
        row = self.scorer.row(
            snapshot,
            self.book.classes,
            self.learner,
            asked=len(closed[-1].data["ids"] or closed[-1].data["pairs"]) if closed else 0,
            paid=self.book.paid,
            fit=fit,
            seconds_query=seconds_query,
            ari_kmeans=self.folder.without_a_label("ari_kmeans"),
        )
        if row.get("contradictions", 0) > self.last.get("contradictions", 0):
            _log.warning(
                "%d answers contradict others and are left aside: pairs.csv will say which,"
                " and the chain of answers against each",
                row["contradictions"],
            )
        self.folder.write_row(snapshot.round, row)
        self.last = row
        return row

    def finish(self, outcome: Outcome, *, report: bool) -> None:
        """Write what is left to read: labels, predictions, model, figures, report."""
        from handful.report import render  # matplotlib, only now
        from handful.report.figures import collect

        folder, snapshot = self.folder, outcome.snapshot
        folder.write_labels(self.pool)
        if self.book.pairs:
            folder.write_pairs(self._against())
        if snapshot is not None:  # else nothing was learned: not one answer names a class
            folder.save_model(self.learner.state(), self._card())
            folder.write_predictions(self._predictions(snapshot))
        names = list(self.book.classes.names)
        names += [name for name in self.ready.names if name not in names]
        collect(
            folder.path,
            snapshot=snapshot,
            pool=self.pool,
            truth=_renamed(self.ready.train.labels, self.ready.names, names),
            predicted=_named(snapshot, self.book.known(self.pool)),
            asked=self._asked(),
            classes=names,
            rng=rng_for(self.ready.recipe.seed, None, "figures"),
        )
        self._keep_clusters(names)
        self.write_facts(outcome.reason)
        if report:
            render([folder.path])

    def _against(self) -> dict[frozenset[str], str]:
        """Of each answer that contradicts others: the chain of those, in words."""
        closure: Closure[str] = Closure(two_classes=self.two_classes)
        for one in self.book.pairs:
            closure.add(one.a, one.b, one.same)
        sign = {True: " = ", False: " != "}
        return {
            frozenset((found.answer.a, found.answer.b)): "; ".join(
                sign[bool(link.same)].join((to_text(link.a), to_text(link.b)))
                for link in found.chain
            )
            for found in closure.contradictions
        }

    def _keep_clusters(self, names: list[str]) -> None:
        """What the report shows of a learner that clusters and labels by itself."""
        from handful.report import clusters

        last = self.book.round - 1
        if (asked_in := self.clusters.of(last)) is None or len(asked_in) != len(self.pool):
            return
        clusters.collect(
            self.folder.path,
            pool=self.pool,
            clusters=asked_in,
            asked=[(row, tag) for round, row, tag in self._asked() if round == last],
            known=self.book.known(self.pool),
            pseudo=getattr(self.learner, "pseudo_labels")(),  # noqa: B009 - not every learner's
            truth=_renamed(self.ready.train.labels, self.ready.names, names),
            n_classes=len(names),
            rng=rng_for(self.ready.recipe.seed, None, "clusters"),
        )

    def write_facts(self, reason: str) -> None:
        """Bring run.json up to date: data, protocol, machine; ``reading`` is read on resuming."""
        ready, recipe, pool = self.ready, self.ready.recipe, self.pool
        n_classes = len(self.book.classes) or len(ready.names)
        self.folder.write_run(
            {
                "data": ready.data.name,
                "images": len(pool),
                "test_images": len(ready.test.pool) if ready.test is not None else 0,
                "images_found": ready.data.found.images,
                "image_size": list(pool.size),
                "channels": pool.channels,
                "broken": len(ready.excluded),
                "broken_files": {to_text(k): v for k, v in sorted(ready.excluded.items())[:1000]},
                "reading": asdict(ready.reading),
                "class_names": list(ready.names),
                "classes": f"{n_classes}, {_CLASSES[recipe.classes]}",
                "recipe": recipe.name,
                "recipe_hash": recipe.hash,
                "schedule": recipe.schedule,
                "split": recipe.split,
                "seed": recipe.seed,
                "saw": f"the images that were bought, and {len(pool):,} images without their"
                f" labels{', none of them of the test part' if ready.test is not None else ''}",
                "oracle": _described(self.oracle),
                "unit": unit(recipe),
                "versions": versions(),
                "machine": machine(),
                "threads": _threads(),
                "command": _command(),
                "seconds": round(self.seconds, 1),
                "reason": reason,
            }
        )

    def _card(self) -> dict[str, Any]:
        """What somebody needs to use the model elsewhere, and to know what it is."""
        recipe = self.ready.recipe
        return {
            "handful": __version__,
            "recipe": to_toml(recipe),
            "recipe_hash": recipe.hash,
            "classes": list(self.book.classes.names),
            "size": list(self.pool.size),
            "channels": self.pool.channels,
            "reading": asdict(self.ready.reading),
            "features": 0 if self.pool.features is None else self.pool.features.shape[1],
            "data": self.ready.data.name,
            "answers": self.book.paid,
            "score": {k: v for k, v in self.last.items() if k.startswith("accuracy")},
        }

    def _predictions(self, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
        """Class of each pool image: the answer where there is one, else the model's.

        ``unlike``: share of the pool that lies nearer to an answered image, in the latent
        space; near 1 stands for an image unlike anything that was answered.
        """
        known, sources = self.book.known(self.pool), self.book.sources(self.pool)
        names = self.book.classes.names
        proba = snapshot.parts.get("proba")
        clusters = snapshot.parts.get("clusters") if self.book.pairs else None
        unlike = _unlike(snapshot.parts.get("embedding"), known)
        for row, id in enumerate(self.pool.ids):
            line: dict[str, Any] = {"path": id}
            if known[row] >= 0:
                line |= {"class": names[known[row]], "confidence": 1.0}
                line["source"] = SOURCES[sources[row]] if sources[row] >= 0 else "none"
            elif proba is not None and (known >= 0).any():
                best = int(proba[row].argmax())
                line |= {"class": names[best], "confidence": round(float(proba[row, best]), 6)}
                line["source"] = "model"
            elif clusters is not None:
                best = int(clusters[row].argmax())
                line |= {"class": f"cluster {best}", "source": "model"}
                line["confidence"] = round(float(clusters[row, best]), 6)
            if unlike is not None:
                line["unlike"] = round(float(unlike[row]), 6)
            yield line

    def _asked(self) -> list[tuple[int, int, str]]:
        """Round, row and tag of each image of a closed round, in the order of asking."""
        tags = self.book.tags
        return [
            (event.data["round"], self.pool.row(id), tags.get(id, ""))
            for event in self.book.asked[: self.book.round]
            for id in event.data["ids"]
        ]


class _Logged:
    """Checkpoints whose rounds have their rows in training.csv, whenever the process dies."""

    def __init__(self, folder: RunFolder, log: Scored) -> None:
        self.folder, self.log = folder, log

    def save(self, round: int, weights: Weights, fit: Fit) -> None:
        """Rows first: a round that has a checkpoint is never fitted, hence never logged, again."""
        self.folder.write_training(self.log.rows)
        self.folder.checkpoints.save(round, weights, fit)

    def load(self, round: int) -> tuple[Weights, Fit] | None:
        """What was kept; the rows of a round that has to be fitted once more are dropped."""
        kept = self.folder.checkpoints.load(round)
        if kept is None and round == self.log.round():
            self.log.rows[:] = [row for row in self.log.rows if row["round"] < round]
        return kept


class _Steady:
    """Counts rounds in which hardly a prediction changed; kept on disk for a resumed run."""

    share = 0.005
    rounds = 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reached(self, snapshot: Snapshot) -> bool:
        """Whether fewer than ``share`` of the predictions changed, ``rounds`` times in a row."""
        found = self._groups(snapshot)
        content = io.BytesIO()
        np.save(content, found, allow_pickle=False)
        write_whole(self._path(snapshot.round), content.getvalue())
        self._path(snapshot.round - self.rounds - 1).unlink(missing_ok=True)
        for back in range(1, self.rounds + 1):
            before = self._predicted(snapshot.round - back)
            if before is None or before.shape != found.shape:
                return False
            if np.mean(found != before) >= self.share:
                return False
            found = before
        return True

    def _groups(self, snapshot: Snapshot) -> Array:
        """The class of every row; while nothing has a name its cluster, numbered as before."""
        named = (snapshot.known >= 0).any() or "clusters" not in snapshot.parts
        part = np.asarray(snapshot.proba if named else snapshot.clusters)
        found: Array = part.argmax(axis=1).astype(np.int32)
        before = self._predicted(snapshot.round - 1)
        if named or before is None or before.shape != found.shape:
            return found
        k = max(part.shape[1], int(before.max(initial=0)) + 1)
        table = np.zeros((k, k), dtype=np.int64)
        np.add.at(table, (found, before), 1)
        as_before: Array = geometry.hungarian(table)[1].astype(np.int32)
        return np.asarray(as_before[found])

    def _predicted(self, round: int) -> Array | None:
        """What was kept of a round; a file that cannot be read is as good as none."""
        try:
            return np.asarray(np.load(self._path(round), allow_pickle=False))
        except (OSError, ValueError, EOFError):
            return None

    def _path(self, round: int) -> Path:
        return self.folder / f"predicted-{round}.npy"


class _AskedIn:
    """The clusters in which the last questions were asked; on disk for a resumed run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, snapshot: Snapshot) -> None:
        """Keep the cluster of every row; of the round before as well, nothing older."""
        if "clusters" in snapshot.parts:
            content = io.BytesIO()
            found = np.asarray(snapshot.clusters).argmax(axis=1).astype(np.int32)
            np.save(content, found, allow_pickle=False)
            write_whole(self._path(snapshot.round), content.getvalue())
            self._path(snapshot.round - 2).unlink(missing_ok=True)

    def of(self, round: int) -> Array | None:
        """``(n,)``; None where nothing was kept, or what was kept cannot be read."""
        try:
            found = np.load(self._path(round), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return np.asarray(found, dtype=np.int64)

    def _path(self, round: int) -> Path:
        return self.folder / f"asked-in-{round}.npy"


_SCORED_PARTS = frozenset({"proba", "clusters", "embedding"})
_GIVE_A_TABLE = "give --oracle table:FILE with lines of path,label, or sort it into class folders"


def _readable(data: Data, progress: Progress) -> tuple[Data, dict[str, str]]:
    """The data without images that cannot be read, and why each was left out."""
    broken = dict(data.found.broken)
    bad = verify(data.pool, progress)
    if not bad:
        return data, broken
    broken |= {data.pool.ids[row]: reason for row, reason in bad.items()}
    if len(bad) == len(data.pool):
        raise InputError(f"no image of {data.name} can be read: {next(iter(bad.values()))}")
    good = np.ones(len(data.pool), dtype=bool)
    good[list(bad)] = False
    return data.subset(good), broken


def _table(oracle: str, data: Data, say: Say) -> TableOracle | None:
    """The table that answers, where one does."""
    kind, _, path = oracle.partition(":")
    if kind != "table" or not path:
        return None
    table, n = TableOracle(Path(path), data.pool), len(data.pool)
    if len(table) < n:
        say(
            f"{path} answers for {len(table):,} of {n:,} images: a question about another one is"
            " answered unsure, and costs an answer too"
        )
    return table


def _named_by(table: TableOracle, data: Data, say: Say) -> Data:
    """The data as the table sees it: sub-folders that it names no class after are no classes."""
    if data.labels is None or set(table.classes) & set(data.classes):
        return data
    say(f"the classes of {table.path} are no sub-folders of {data.name}: those are left aside")
    return replace(data, labels=None, classes=())


def _check_answerable(data: Data) -> None:
    """Refuse what no answer could teach anything about."""
    if data.labels is None or not (data.labels >= 0).any():
        raise InputError(f"{data.name} has no labels to answer from: {_GIVE_A_TABLE}")
    if len(np.unique(data.labels[data.labels >= 0])) < 2:
        name = data.classes[int(data.labels.max())]
        raise InputError(
            f"every image of {data.name} is of the one class {name!r}, so there is nothing to"
            " tell apart: add images of a second class, or give --oracle table:FILE"
        )


def _gpu() -> bool:
    """Whether torch sees a GPU."""
    import torch

    return torch.cuda.is_available()


ENCODER_SIDE = 224  # images are kept this large where an encoder looks at them
_ORACLES = {"truth": "the truth", "table": "a table of answers"}


def _asks_pairs(recipe: Recipe) -> bool:
    return asks_pairs(QUERIES.get(recipe.query.name))


def unit(recipe: Recipe) -> str:
    """What one answer is about: ``pairs`` or ``labels``."""
    return "pairs" if _asks_pairs(recipe) else "labels"


def _described(oracle: str) -> str:
    """What run.json says of the oracle; the path of a table is somebody's own."""
    return _ORACLES.get(oracle.partition(":")[0], oracle)


_CLASSES = {"known": "known to the learner", "grow": "known once they were answered"}


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _command() -> str:
    """What was typed; a long path is somebody's own, so only its name is kept."""
    words = [Path(w).name if i == 0 or Path(w).is_absolute() else w for i, w in enumerate(sys.argv)]
    return " ".join(words)


def _opening(ready: Prepared, folder: RunFolder) -> str:
    """What is about to happen, in one line."""
    recipe, n = ready.recipe, len(ready.train.pool)
    of_pairs = _asks_pairs(recipe)
    most, what = (n * (n - 1) // 2, "answers about pairs") if of_pairs else (n, "answers")
    held = f", {len(ready.test.pool):,} held back for the test" if ready.test is not None else ""
    begun = f"round {folder.book.round} of a run begun before: " if folder.book.round else ""
    return (
        f"{begun}{recipe.name} on {ready.data.name}: {n:,} images{held}; up to"
        f" {min(recipe.plan.total, most):,} {what}, {recipe.schedule} schedule, seed {recipe.seed}"
    )


def _kept_recipe(out: Path) -> Recipe | None:
    """The recipe that a run began with."""
    path = out / "recipe.toml"
    if not path.is_file():
        return None
    try:
        return from_toml(path.read_text(encoding="utf-8"))
    except (HandfulError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read ({error}): restore it") from error


def _who_answers(out: Path, given: str | None, began: Mapping[str, Any]) -> str:
    """The oracle, of a resumed run the one that it began with."""
    kept = str(began.get("oracle") or _described(given or "truth"))
    if given is not None and _described(given) == kept:
        return given
    if given is not None or kept == _ORACLES["table"]:
        again = "table:FILE" if kept == _ORACLES["table"] else "as it was, or leave it out"
        raise RecipeError(f"{out} began with answers from {kept}: give --oracle {again}")
    return {_ORACLES["truth"]: "truth"}.get(kept, kept)


def _side(recipe: Recipe) -> dict[str, int]:
    """Encoders were trained on larger images than networks from scratch can afford."""
    options: dict[str, Any] = {
        f.name: f.default for f in fields(LEARNERS.get(recipe.learner.name).Options)
    }
    options |= recipe.learner.options
    if "image_size" not in options or options["features"] not in ("auto", "backbone"):
        return {}
    return {"max_side": max(ENCODER_SIDE, options["image_size"] or 0)}


def _reading(out: Path, given: Mapping[str, Any], began: Mapping[str, Any]) -> Reading:
    """How images are read: as the run began, and as was asked for where it begins."""
    if not began:
        return Reading.of(given)
    kept = began.get("reading") or {}
    was = Reading.of(kept)
    if Reading.of({**kept, **given}) != was:
        raise InputError(
            f"{out} began with page {was.page}, channel {was.channel} and max_side"
            f" {was.max_side}: leave --page, --channel and --max-side out, or choose another"
            " folder"
        )
    return was


def _check_same(out: Path, ready: Prepared, kept: Recipe | None, began: Mapping[str, Any]) -> None:
    """A resumed run must find the recipe and the images that it began with."""
    if kept is None:
        return
    if ready.recipe != kept:
        raise RecipeError(
            f"{out} ran another recipe ({kept.name}, seed {kept.seed};"
            f" {_first_difference(kept, ready.recipe)}): leave out all options but --resume and"
            " --out, or choose another folder"
        )
    images = len(ready.train.pool)
    if began and (began.get("data"), began.get("images")) != (ready.data.name, images):
        raise InputError(
            f"{out} began with {began.get('images')} images of {began.get('data')} and there are"
            f" {images} of {ready.data.name} now: give the same data, or another folder"
        )


def _first_difference(kept: Recipe, asked: Recipe) -> str:
    """The first setting that two recipes do not share: ``learner.lr was 0.001, now 0.01``."""
    was, now = (_flat(tomllib.loads(to_toml(r))) for r in (kept, asked))
    for name in {**was, **now}:
        if was.get(name) != now.get(name):
            return f"{name} was {was.get(name, 'unset')}, now {now.get(name, 'unset')}"
    return "other types"


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        inside = isinstance(value, Mapping)
        found |= _flat(value, f"{above}{name}.") if inside else {f"{above}{name}": value}
    return found


def _unlike(embedding: Array | None, known: Array) -> Array | None:
    """Rank in (0, 1) of the distance to the nearest answered image; 0 for that image itself."""
    answered = np.flatnonzero(known >= 0)
    if embedding is None or not answered.size:
        return None
    _, d2 = geometry.nearest(np.asarray(embedding), np.asarray(embedding)[answered])
    d2[answered] = 0.0
    rank = np.searchsorted(np.sort(d2), d2, side="left")
    return np.asarray(rank / len(d2))


def _named(snapshot: Snapshot | None, known: Array) -> Array | None:
    """The model's class of every row; None while nothing was answered."""
    if snapshot is None or "proba" not in snapshot.parts or not (known >= 0).any():
        return None
    return np.asarray(np.asarray(snapshot.proba).argmax(axis=1))


def _renamed(truth: Array | None, names: tuple[str, ...], into: list[str]) -> Array | None:
    """Truth as positions in another list of names."""
    if truth is None:
        return None
    place = np.array([*(into.index(name) for name in names), -1])
    return place[truth]
