"""``report.html``: one self-contained page from one run folder or several.

No script, no request: the style, the SVG figures and the thumbnails are in the file.
Whatever stands in a run folder is data and is escaped; a part that a run did not leave
is left out, and the notes at the end say what could not be shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from itertools import count
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from handful.errors import InputError
from handful.metrics import aulc, wilson
from handful.report import clusters, curves, maps, protocol, sheets
from handful.report.clusters import Clusters
from handful.report.look import CLASS_COLOURS, PATTERNS, shown, to_svg
from handful.report.runs import (
    METRICS,
    TRANSDUCTIVE,
    Group,
    Run,
    common_metric,
    group,
    load,
    load_baselines,
)
from handful.store.files import write_whole

_DETAILED = 6  # settings of a comparison that are shown in full
_OPEN_CLASSES = 30  # longer tables of classes start folded


def render(
    runs: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    baselines: Sequence[Path | str] = (),
) -> Path:
    """Write the report of one run, or of several beside each other; return its path.

    Runs that differ in their seed alone are averaged into one line.  ``baselines`` are
    runs with random queries (folders, or CSV files like ``rounds.csv``); by default what
    is called ``baseline*`` inside a run's folder.  Without ``out`` one run gets its own
    ``report.html``; several get ``comparison.html`` beside the first.
    """
    if not runs:
        raise InputError("no run was given: name a folder made by handful run")
    loaded = [load(run) for run in runs]
    beside = load_baselines(loaded, baselines)
    if out is None:
        first = loaded[0].path
        out = first / "report.html" if len(loaded) == 1 else first.parent / "comparison.html"
    out = Path(out)
    out = out / "report.html" if out.is_dir() else out
    write_whole(out, _Page(loaded, beside).html().encode("utf-8", "backslashreplace"))
    return out


class _Page:
    """One page while it is written: counts figures and tables, collects notes."""

    def __init__(self, runs: list[Run], baselines: list[Run]) -> None:
        self.runs, self.baselines = runs, baselines
        self.groups = group(runs)
        self.beside = group(baselines, baseline=True)
        self.metric = common_metric([*runs, *baselines])
        self.notes: list[str] = []
        self._figures, self._tables, self._keys = count(1), count(1), count(1)

    def html(self) -> str:
        title = shown(self._title(), 120)
        style = resources.files("handful.report").joinpath("report.css").read_text("utf-8")
        body = "".join(self._parts())
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>{style}</style></head>"
            f"<body><main>{body}</main></body></html>\n"
        )

    def _title(self) -> str:
        data = " and ".join(dict.fromkeys(run.data for run in self.runs if run.data))
        names = ", ".join(one.title for one in self.groups)
        return f"{names} on {data}" if data else names

    def _parts(self) -> Iterator[str]:
        yield self._header()
        yield self._learning()
        for place, one in enumerate(self.groups[:_DETAILED]):
            yield from self._details(one.runs[0], titled=len(self.groups) > 1, place=place)
        if len(self.groups) > _DETAILED:
            self.notes.append(
                f"Only the first {_DETAILED} of {len(self.groups)} settings are shown in full."
            )
        for one in self.groups[:_DETAILED]:
            yield self._protocol(one)
        yield self._notes()

    # -- the head ---------------------------------------------------------------------

    def _header(self) -> str:
        run = self.groups[0].runs[0]
        seeds = len(self.groups[0].runs)
        title = escape(shown(self._title(), 120))
        head = f'<header><p class="over">handful report</p><h1>{title}</h1>'
        head += self._headline(self.groups[0])
        facts = {
            f"{run.unit} paid for": _integer(_last(run, "labels")),
            "images": _integer(run.images),
            "classes": _integer(len(run.figures.classes)) if run.figures else "",
            "models trained": _integer(len(run.rounds)),
            "seeds": _integer(seeds) if seeds > 1 else "",
            "time": _duration(_seconds(run)),
            "schedule": str(run.facts.get("schedule") or run.recipe.get("schedule") or ""),
        }
        cells = "".join(
            f"<div><dt>{escape(k)}</dt><dd>{escape(shown(v))}</dd></div>"
            for k, v in facts.items()
            if v
        )
        return head + f'<dl class="facts">{cells}</dl></header>'

    def _headline(self, one: Group) -> str:
        run = one.runs[0]
        of = f" of {run.images:,} images" if run.images else ""
        if self.metric is None or not one.curve(self.metric)[0].size:
            labels = _integer(_last(run, "labels")) or "0"
            self.notes.append(
                "No accuracy is shown: without a truth to compare with, none can be measured."
            )
            rest = f"{run.unit}{of}; no truth to score by"
            return f'<p class="result"><b>{labels}</b><span>{rest}</span></p>'
        xs, mean, spread = one.curve(self.metric)
        label, value, sd = xs[-1], mean[-1], spread[-1]
        span = f"from {label:,.0f} {run.unit}{of}"
        if len(self.groups) > 1:
            span = f"{shown(one.title)}, {span}"
        text = f'<p class="result"><b>{100 * value:.1f} %</b><span>{escape(span)}</span></p>'
        detail = f"{METRICS[self.metric][0].upper()}{METRICS[self.metric][1:]}"
        if len(one.runs) > 1:
            detail += f", mean of {len(one.runs)} seeds"
            detail += f", standard deviation {100 * sd:.2f} points" if math.isfinite(sd) else ""
        elif (n := _scored(run, self.metric, label)) is not None and n > 0:
            low, high = wilson(round(value * n), n)
            detail += f" (n = {n:,}); 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
            self.notes.append(
                "The interval is Wilson's: it treats the scored images as a random sample of"
                " images like them. It says nothing about another seed or another choice of"
                " labels."
            )
        detail += ". "
        return text + f'<p class="lead">{escape(detail)}{escape(self._against_random(one))}</p>'

    def _against_random(self, one: Group) -> str:
        assert self.metric is not None
        xs, mean, _ = one.curve(self.metric)
        for other in self.beside:
            bx, bm, _ = other.curve(self.metric)
            both = np.intersect1d(xs, bx)
            if both.size:
                at = both[-1]
                gain = 100 * (mean[xs == at][0] - bm[bx == at][0])
                word = "above" if gain >= 0 else "below"
                return (
                    f"At {at:,.0f} {one.runs[0].unit} this is {abs(gain):.1f} points {word} random"
                    f" queries ({100 * bm[bx == at][0]:.1f} %)."
                )
        return ""

    def _comparison(self) -> str:
        rows = []
        for one in [*self.groups, *self.beside]:
            xs, mean, spread = one.curve(self.metric) if self.metric else (np.empty(0),) * 3
            if not xs.size:
                continue
            sd = f" ± {100 * spread[-1]:.2f}" if math.isfinite(spread[-1]) else ""
            title = shown(one.title)
            if one.baseline and "random" not in title:
                title += " (random queries)"
            row = [title, f"{len(one.runs)}", f"{100 * mean[0]:.1f} at {xs[0]:,.0f}"]
            row += [f"{100 * mean[-1]:.1f}{sd} at {xs[-1]:,.0f}"]
            rows.append([*row, f"{100 * aulc(xs, mean):.1f}" if xs.size > 1 else ""])
        if len(rows) < 2:
            return ""
        head = ["setting", "seeds", "first, %", "last, %", "mean over the curve, %"]
        what = METRICS[self.metric] if self.metric else ""
        return self._table(
            head,
            rows,
            f"<b>Table {{n}}.</b> The settings side by side: {escape(what)} at the first and at the"
            " last number of labels that all seeds of a setting share, and its mean over the area"
            " under the curve. ± is one standard deviation, from three seeds on.",
        )

    # -- the curve and what labels cost -----------------------------------------------

    def _learning(self) -> str:
        if self.metric is None:
            return ""
        run = self.groups[0].runs[0]
        what = METRICS[self.metric]
        seeds = [len(one.runs) for one in self.groups]
        many = f"Seeds: {', '.join(map(str, seeds))}" if max(seeds) > 1 else "One seed"
        if len(seeds) > 1 and len(set(seeds)) == 1:
            many = f"{seeds[0]} seeds each" if seeds[0] > 1 else "One seed each"
        spread = "; bands are one standard deviation" if max(seeds) >= 3 else ""
        dashed = " Dashed: the same learner with random queries." if self.beside else ""
        if not self.beside:
            self.notes.append(
                "No run with random queries was given, so this page cannot say what the query"
                " rule adds: put such a run, or a CSV like rounds.csv, into the run's folder under"
                " the name baseline."
            )
        if self.metric in TRANSDUCTIVE:
            self.notes.append(
                f"The {what} is transductive: the learner has seen these images, never their"
                " labels. It says how well this collection is labelled, not how the model does"
                " on images it has not seen."
            )
        chart = curves.learning_curve(self.runs, baselines=self.baselines, metric=self.metric)
        n = _scored(run, self.metric, _last(run, "labels"))
        size = f", n = {n:,} at the last point" if n else ""
        caption = (
            f"Learning curve: {what}{size}, against {run.unit} paid for, the first question"
            f" included. {many}{spread}.{dashed}"
        )
        cost = curves.label_cost(
            run, baseline=self.baselines[0] if self.baselines else None, metric=self.metric
        )
        paid = (
            "What a label bought. Above: accuracy gained from one model to the next, divided by"
            " the labels bought between them"
            f"{'; the dash is random queries' if self.baselines else ''}. Below: seconds spent on"
            f" training and on choosing the next images. {self._run_words(run)}"
        )
        return (
            "<h2>Accuracy for labels</h2>"
            f'<div class="pair">{self._figure(chart, caption)}{self._figure(cost, paid)}</div>'
            + self._comparison()
            + self._rounds(run)
        )

    def _run_words(self, run: Run) -> str:
        seed = run.facts.get("seed", run.recipe.get("seed"))
        return f"{run.name}, seed {seed}." if seed is not None else f"{run.name}."

    def _rounds(self, run: Run) -> str:
        assert self.metric is not None
        wanted = {
            "round": ("model", _integer),
            "labels": (run.unit, _integer),
            "accuracy_test": ("test, %", _percent),
            "macro_f1_test": ("macro F1, test, %", _percent),
            "accuracy_unlabelled": ("not bought, %", _percent),
            "acc_unlabelled": ("ACC, not bought, %", _percent),
            "acc_all": ("ACC, all, %", _percent),
            "nmi_all": ("NMI, all, %", _percent),
            "ari_all": ("ARI, all, %", _percent),
            "ari_kmeans": ("ARI, k-means, %", _percent),
            "ari_clusters": ("ARI, clusters, %", _percent),
            "implied_same": ("known same", _integer),
            "implied_different": ("known different", _integer),
            "contradictions": ("contradictions", _integer),
            "name_questions": ("names to ask", _integer),
            "accuracy_named": ("with names, %", _percent),
            "pseudo_count": ("pseudo-labels", _integer),
            "pseudo_error": ("wrong, %", _percent),
            "entropy_mean": ("mean entropy", lambda v: f"{v:.3f}"),
            "seconds_fit": ("training, s", lambda v: f"{v:,.1f}"),
            "seconds_query": ("choosing, s", lambda v: f"{v:,.2f}"),
        }
        use = {k: v for k, v in wanted.items() if run.rounds.has(k)}
        xs, bought, points = curves.gain_per_label(run, self.metric)
        gained = dict(zip(xs.tolist(), zip(bought, points, strict=True), strict=True))
        columns = {k: run.rounds.numbers(k) for k in use}
        labels = run.rounds.numbers("labels")
        rows = []
        for i in range(len(run.rounds)):
            cells = [use[k][1](v[i]) if math.isfinite(v[i]) else "" for k, v in columns.items()]
            new, each = gained.get(float(labels[i]), (math.nan, math.nan))
            per = _amount(1 / each) if math.isfinite(each) and each > 0 else ""
            points_gained = f"{new * each:+.1f}".replace("-", "−") if math.isfinite(each) else ""
            rows.append([*cells, points_gained, per])
        head = [words for words, _ in use.values()] + ["points gained", "labels a point"]
        caption = (
            "<b>Table {n}.</b> Every model of the run: accuracy of its predictions, and ACC, NMI"
            " and ARI of its clusters (k-means: of a k-means on the embedding, which sees no"
            " label; pseudo-labels: what the learner labelled by itself). Points gained: against"
            " the model before."
            " Labels a point: labels bought for each point of accuracy gained; empty where"
            f" nothing was gained. {escape(shown(self._run_words(run)))}"
        )
        return self._table(head, rows, caption, mark_last=True)

    # -- one run in full --------------------------------------------------------------

    def _details(self, run: Run, *, titled: bool, place: int) -> Iterator[str]:
        self.notes += [shown(f"{run.path.name}: {p}.", 300) for p in run.problems]
        prefix = f"{shown(self.groups[place].title)}: " if titled else ""
        yield self._latent(run, prefix)
        yield self._training(run, prefix)
        yield self._asked(run, prefix)
        yield self._clusters(run, prefix)
        yield self._classes(run, prefix)

    def _latent(self, run: Run, prefix: str) -> str:
        figures = run.figures
        if figures is None or not maps.has_map(figures):
            self.notes.append(
                f"{shown(run.name)}: no map of the latent space, for the run left no embedding."
            )
            return ""
        panels = [
            to_svg(panel, key=self._key(), label=f"latent space, part {number + 1}")
            for number, panel in enumerate(maps.latent_panels(figures, seed=_seed(run)))
        ]
        points = min(maps.POINTS, len(figures.rows))
        by = maps.coloured_by(figures)
        if by == "true class":
            self.notes.append(
                "The map shows true classes: they were read for this report, never by the learner."
            )
        self.notes.append(
            "t-SNE keeps neighbours, not distances: sizes of groups and gaps between them mean"
            " nothing, and the map is no measurement."
        )
        caption = (
            f"<b>Figure {next(self._figures)}.</b> The latent space of the last model by t-SNE"
            f" (seed {_seed(run)}), coloured by {by}: {points:,} of {figures.n:,} images. Rings"
            " mark what was asked at that stage, small dots what had been asked before. The"
            " points lie at the same place in every panel."
        )
        return (
            f"<h2>{escape(prefix)}The latent space and what was asked</h2>"
            f"{_panels(panels, figures.classes, caption)}{self._growth(run)}"
        )

    def _growth(self, run: Run) -> str:
        """How the latent space took shape, where the run kept its stages."""
        if run.figures is None:
            return ""
        drawn = maps.growth_panels(run.figures, run.stages, seed=_seed(run))
        if not drawn:
            return ""
        panels = [
            to_svg(panel, key=self._key(), label=f"latent space, stage {number + 1}")
            for number, panel in enumerate(drawn)
        ]
        caption = (
            f"<b>Figure {next(self._figures)}.</b> How the latent space took shape:"
            f" {len(run.stages[-1].rows):,} images, the same in every panel, coloured by"
            f" {maps.coloured_by(run.figures)}. t-SNE, each map begun from the one after it."
        )
        return f'<div class="block">{_panels(panels, (), caption)}</div>'

    def _training(self, run: Run, prefix: str) -> str:
        quality, losses = curves.training_quality(run), curves.training_losses(run)
        out = ""
        if quality is not None:
            caption = (
                "Agreement of clusters with the true classes over training, all images of the"
                " pool: ACC (Hungarian matching), NMI and ARI. Hairlines mark where a new round"
                f" begins. Scored beside the training, which never sees it. {self._run_words(run)}"
            )
            out += self._figure(quality, caption)
        if losses is not None:
            left = len(curves.losses_logged(run)) - curves.LOSSES_SHOWN
            more = f" {left} more are in training.csv." if left > 0 else ""
            out += self._figure(losses, f"Losses within training, as logged.{more}")
        by_round = curves.losses_by_round(run)
        if by_round is not None:
            out += self._figure(
                by_round,
                "Mean losses of the last epoch of each round, each as a share of its first value,"
                " so that terms of any size can be compared.",
            )
        return (
            f'<h2>{escape(prefix)}Training from within</h2><div class="pair">{out}</div>'
            if out
            else ""
        )

    def _asked(self, run: Run, prefix: str) -> str:
        if run.figures is None or not run.figures.asked_per_round.any():
            return ""
        sheet = sheets.contact_sheet(run.figures)
        if not sheet:
            self.notes.append("This pool holds features, not images: there is no picture to show.")
            return ""
        total = int(run.figures.asked_per_round.sum())
        caption = (
            f"<b>Figure {next(self._figures)}.</b> What was asked, in the order of asking, with the"
            f" answer that was given: {len(run.figures.thumbnails):,} of {total:,} images. Bars"
            " carry the colour of the class."
        )
        return (
            f"<h2>{escape(prefix)}What was asked</h2><figure>{sheet}"
            f"<figcaption>{caption}</figcaption></figure>"
        )

    def _clusters(self, run: Run, prefix: str) -> str:
        """What a learner with clusters and pseudo-labels of its own made of the answers."""
        names = run.figures.classes if run.figures is not None else ()
        curve, purity = curves.ari_by_round(run), curves.pseudo_purity(run)
        out = ""
        if curve is not None:
            out += self._figure(
                curve,
                "Adjusted Rand index of all images of the pool against their true classes: of the"
                " predictions, of the learner's own clusters, and of a k-means on the same"
                " features before the first label.",
            )
        if purity is not None:
            out += self._figure(
                purity,
                "Labels that the learner gave by itself and trained on: the share that the truth"
                " bears out. Scored beside the training, which never sees the truth.",
            )
        out = f'<div class="pair">{out}</div>' if out else ""
        if (found := run.clusters) is not None and len(found.sizes):
            out += self._cluster_sheet(found, names)
        return f"<h2>{escape(prefix)}Clusters and pseudo-labels</h2>{out}" if out else ""

    def _cluster_sheet(self, found: Clusters, names: Sequence[str]) -> str:
        sheet, more = clusters.sheet(found, names), len(found.sizes) - clusters.SHOWN
        out = ""
        if sheet:
            some = f" The first {clusters.SHOWN} clusters are shown." if more > 0 else ""
            caption = (
                f"<b>Figure {next(self._figures)}.</b> Cluster by cluster: the images of the last"
                f" question by what they were asked for, and up to {clusters.EXAMPLES}"
                " pseudo-labelled images drawn at random. ✗ and another name: the truth"
                f" differs.{some}"
            )
            out = f"<figure>{sheet}<figcaption>{caption}</figcaption></figure>"
        if sheet and more <= 0:
            return out
        table = self._table(
            ["cluster", "class", "images", "pseudo-labels", "right, %"],
            clusters.table_rows(found, names),
            "<b>Table {n}.</b> The clusters in which the last question was asked, the class that"
            " each took from the answers, and the images that took it without being asked"
            f"{'; right: as far as the truth is known' if found.scored.any() else ''}.",
        )
        if len(found.sizes) > _OPEN_CLASSES:
            count = f"{len(found.sizes):,} clusters"
            table = f"<details><summary>Table of {count}</summary>{table}</details>"
        return out + table

    def _classes(self, run: Run, prefix: str) -> str:
        figures = run.figures
        if figures is None:
            return ""
        matrix = maps.confusion_matrix(figures)
        out = ""
        if matrix is not None:
            n, right = int(figures.confusion.sum()), int(np.trace(figures.confusion))
            scope = "that were not bought" if figures.confusion_scope == "not bought" else "scored"
            out += self._figure(
                matrix,
                f"Confusion matrix of the last model on the {n:,} images {scope}: {right:,} right,"
                f" {n - right:,} wrong. Rows are true classes; depth of colour is the square root"
                " of the share of the row.",
            )
        out += self._class_table(run)
        return f'<h2>{escape(prefix)}Classes</h2><div class="pair">{out}</div>' if out else ""

    def _class_table(self, run: Run) -> str:
        figures = run.figures
        assert figures is not None
        names, counts = figures.classes, figures.confusion
        bought = dict.fromkeys(range(len(names)), 0)
        places = {name: i for i, name in enumerate(names)}
        for name, state in zip(run.labels.words("class"), run.labels.words("state"), strict=True):
            if state == "labelled" and name in places:
                bought[places[name]] += 1
        if not names or (not len(counts) and not sum(bought.values())):
            return ""
        rows = []
        for i, name in enumerate(names):
            cell = f"{sheets.swatch(i)}{escape(shown(name, 26))}"
            row = [cell, f"{bought[i]:,}"]
            if len(counts):
                true, said, hit = counts[i].sum(), counts[:, i].sum(), counts[i, i]
                row += [f"{true:,}", f"{said:,}"]
                row += [f"{100 * hit / true:.1f}" if true else ""]
                row += [f"{100 * hit / said:.1f}" if said else ""]
            rows.append(row)
        head = ["class", "labels"]
        head += ["true", "predicted", "found, %", "right, %"] if len(counts) else []
        caption = "<b>Table {n}.</b> Labels in the book by class."
        if len(counts):
            caption += (
                " On the images of the confusion matrix: how many are of the class, how many the"
                " model puts there, the share of its images found (recall) and the share of its"
                " predictions that are right (precision)."
            )
        table = self._table(head, rows, caption, raw_first=True)
        if len(names) > _OPEN_CLASSES:
            return f"<details><summary>Table of {len(names):,} classes</summary>{table}</details>"
        return table

    # -- the end ----------------------------------------------------------------------

    def _protocol(self, one: Group) -> str:
        run = one.runs[0]
        if str(run.facts.get("schedule") or run.recipe.get("schedule")) == "fast":
            self.notes.append(
                "Schedule: fast. It trains for fewer steps than the published one, on at most a"
                " part of a large set; figures of the two are not to be mixed."
            )
        title = f": {shown(one.title)}" if len(self.groups) > 1 else ""
        return f"<h2>Protocol{escape(title)}</h2>{protocol.box(one)}"

    def _notes(self) -> str:
        if any(len(one.runs) == 1 for one in self.groups) and self.metric is not None:
            self.notes.append(
                "One seed shows no spread: a difference of a point or two may be chance. Five"
                " seeds tell."
            )
        rules = {protocol.part_name(one.runs[0], "query") for one in self.groups}
        if rules - {"random", ""}:
            self.notes.append(
                "Labels after the first question were chosen, not drawn at random: shares of"
                " classes among them do not estimate shares in the collection."
            )
        items = "".join(f"<li>{escape(note)}</li>" for note in dict.fromkeys(self.notes))
        return f'<h2>How to read this</h2><ul class="notes">{items}</ul>'

    # -- figures and tables -----------------------------------------------------------

    def _key(self) -> str:
        return f"g{next(self._keys)}"

    def _figure(self, figure: Figure, caption: str) -> str:
        svg = to_svg(figure, key=self._key(), label=caption)
        number = next(self._figures)
        return (
            f"<figure>{svg}<figcaption><b>Figure {number}.</b> {escape(shown(caption, 2000))}"
            "</figcaption></figure>"
        )

    def _table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        caption: str,
        *,
        raw_first: bool = False,
        mark_last: bool = False,
    ) -> str:
        """``raw_first``: the first cell of each row is HTML already."""
        top = "".join(f'<th scope="col">{escape(word)}</th>' for word in head)
        body = []
        for place, row in enumerate(rows):
            first = row[0] if raw_first else escape(row[0])
            rest = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            last = ' class="last"' if mark_last and place == len(rows) - 1 else ""
            body.append(f'<tr{last}><td class="name">{first}</td>{rest}</tr>')
        text = caption.replace("{n}", str(next(self._tables)))
        return (
            f'<div class="block"><div class="scroll"><table><thead><tr>{top}</tr></thead>'
            f'<tbody>{"".join(body)}</tbody></table></div><p class="caption">{text}</p></div>'
        )


def _panels(panels: Sequence[str], classes: Sequence[str], caption: str) -> str:
    return (
        f'<figure><div class="panels">{"".join(f"<div>{panel}</div>" for panel in panels)}</div>'
        f"{_legend(classes)}<figcaption>{caption}</figcaption></figure>"
    )


def _legend(classes: Sequence[str]) -> str:
    coloured = len(CLASS_COLOURS) * PATTERNS
    items = [
        f"<li>{sheets.mark(i)}{escape(shown(name, 30))}</li>"
        for i, name in enumerate(classes[:coloured])
    ]
    if len(classes) > coloured:
        items.append(f"<li>{sheets.mark(coloured)}{len(classes) - coloured:,} more, in grey</li>")
    return f'<ul class="legend">{"".join(items)}</ul>' if items else ""


def _scored(run: Run, metric: str, labels: float | None) -> int | None:
    """How many images a figure was measured on, where the run says so."""
    if metric == "accuracy_test":
        n = run.facts.get("test_images")
        return int(n) if isinstance(n, int | float) else None
    if metric == "acc_all":
        return run.images
    if run.figures is not None and run.figures.confusion_scope == "not bought":
        return int(run.figures.confusion.sum()) or None
    return None


def _last(run: Run, column: str) -> float | None:
    values = run.rounds.numbers(column)
    values = values[np.isfinite(values)]
    return float(values[-1]) if values.size else None


def _seconds(run: Run) -> float | None:
    seconds = run.facts.get("seconds")
    if isinstance(seconds, int | float):
        return float(seconds)
    parts = [run.rounds.numbers(c) for c in ("seconds_fit", "seconds_query") if run.rounds.has(c)]
    return float(sum(np.nansum(part) for part in parts)) if parts else None


def _seed(run: Run) -> int:
    seed = run.facts.get("seed", run.recipe.get("seed", 0))
    return seed % 2**31 if isinstance(seed, int) else 0


def _integer(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
