"""``report.html`` of a labelling project: one page to share, with a sentence for a methods section.

No script, no request: style and pictures are in the file, and pictures only where they were asked
for.  Names are data and are escaped; no place of a computer is in it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path

from handful import __version__
from handful.pool.ids import counted, shown
from handful.store.files import write_whole

__all__ = ["Audit", "ClassLine", "ProjectReport", "write_report"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SOURCES: Sequence[tuple[str, str]] = (
    ("hand", "one by one"), ("audit", "by the blind check"), ("group", "in groups"),
    ("imported", "imported"), ("copied", "copied to near-duplicates"),
    ("accepted", "accepted above a threshold"), ("model", "by the model"),
)  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """A blind check that was closed; ``low`` None: too few for a percentage."""

    n: int
    k: int
    low: float | None
    high: float | None
    population: int
    pictures: int
    unsure: int
    unlabelled: int
    at: float
    person: str = ""
    by_class: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # id -> k, n
    since: int = 0  # labels given after it


@dataclass
class ClassLine:
    """One class: pictures by source; its guide; thumbnails as bytes with their type.

    ``nots``: pictures that were pinned because they are not of this class.
    """

    id: int
    name: str
    sources: dict[str, int] = field(default_factory=dict)
    guide: str = ""
    pictures: list[tuple[str, bytes]] = field(default_factory=list)
    nots: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.sources.values())


@dataclass
class ProjectReport:
    """All that the page says."""

    folder: str
    pictures: int
    missing: int
    problems: int
    classes: list[ClassLine]
    states: dict[str, int]
    open: int  # neither answered nor suggested with any certainty
    guessed: int  # of these, that take the model's word all the same
    audit: Audit | None
    persons: list[str]
    began: float | None
    ended: float | None
    answers: int
    model: str = ""  # what it stands on
    trained_on: int = 0
    agreement: str = ""
    interval: Callable[[int, int], tuple[float, float]] | None = None

    @property
    def sources(self) -> dict[str, int]:
        """Pictures with a class, by source."""
        found: dict[str, int] = {}
        for line in self.classes:
            for source, n in line.sources.items():
                found[source] = found.get(source, 0) + n
        return found


def write_report(path: Path, report: ProjectReport) -> None:
    """Write the page; `StoreError` when the disk refuses."""
    write_whole(path, _html(report).encode("utf-8", "backslashreplace"))


def _html(report: ProjectReport) -> str:
    style = resources.files("handful").joinpath("report", "report.css").read_text("utf-8")
    title = escape(shown(report.folder, 120))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Labels of {title}</title><style>{style}{_STYLE}</style></head>"
        f"<body><main>{''.join(_parts(report, title))}</main></body></html>\n"
    )


_STYLE = """
.methods { max-width: 46em; font-size: 16px; padding: 16px; background: var(--surface);
  border: 1px solid var(--hairline); }
.guide { color: var(--text-2); white-space: normal; }
.tiles li { width: 98px; } .frame { height: 98px; } .frame img { max-width: 96px; max-height: 96px;
  image-rendering: auto; }
"""


def _parts(report: ProjectReport, title: str) -> Iterator[str]:
    yield f'<header><p class="over">handful report</p><h1>Labels of {title}</h1>'
    yield _headline(report)
    facts = {
        "pictures": f"{report.pictures:,}",
        "classes": f"{len(report.classes):,}",
        "answers": f"{report.answers:,}",
        "people": f"{len(report.persons):,}" if len(report.persons) > 1 else "",
        "begun": _day(report.began),
        "last answer": _day(report.ended),
    }
    cells = (f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items() if v)
    yield f'<dl class="facts">{"".join(cells)}</dl></header>'
    yield f'<h2>For a methods section</h2><p class="methods">{escape(_methods(report))}</p>'
    yield f"<h2>How the labels arose</h2>{_arose(report)}"
    if report.classes:
        yield f"<h2>Classes</h2>{_classes(report)}"
    if any(line.pictures or line.nots or line.guide for line in report.classes):
        yield "<h2>Examples</h2>"
        yield from map(_example, report.classes)
    yield '<h2>What this does not say</h2><ul class="notes">'
    yield "".join(f"<li>{escape(text)}</li>" for text in _limits(report))
    yield f"</ul><footer>handful {__version__}</footer>"


def _headline(report: ProjectReport) -> str:
    audit = report.audit
    if audit is None:
        n = sum(report.sources.values())
        said = f"of {report.pictures:,} pictures have a class; how many are right was not checked"
        return f'<p class="result"><b>{n:,}</b><span>{said}</span></p>'
    if audit.low is None or audit.high is None:
        said = "labels agreed with a blind check; a percentage needs 30"
        return f'<p class="result"><b>{audit.k} of {audit.n}</b><span>{said}</span></p>'
    return (
        f'<p class="result"><b>{_percent(audit.k / audit.n)}</b><span>of the labels are right:'
        f" {audit.k:,} of {audit.n:,}; the true value is between {_percent(audit.low)} and"
        f" {_percent(audit.high)} (95 % interval)</span></p>"
    )


def _methods(report: ProjectReport) -> str:
    """One paragraph that can stand in a paper."""
    n, sources = sum(report.sources.values()), report.sources
    when = _between(report.began, report.ended)
    text = (
        f"{counted(n, 'image')} of {report.pictures:,} were assigned to"
        f" {len(report.classes):,} class{'' if len(report.classes) == 1 else 'es'} with handful"
        f" {__version__}{when}."
    )
    how = []
    by = {s: k for s, k in sources.items() if k}
    if k := by.get("hand", 0) + by.get("audit", 0):
        how.append(f"{k:,} individually by eye")
    if k := by.get("group", 0):
        how.append(f"{k:,} as members of groups of similar images that were labelled as one")
    if k := by.get("copied", 0):
        how.append(f"{k:,} as near-duplicates of a labelled image")
    if k := by.get("imported", 0):
        how.append(f"{k:,} from an earlier table of labels")
    if k := by.get("accepted", 0):
        how.append(f"{k:,} by accepting predictions above a threshold after a blind check of them")
    if k := by.get("model", 0):
        learnt = f" trained on {report.trained_on:,} answers" if report.trained_on else ""
        stands = f" on {report.model}" if report.model else ""
        how.append(f"{k:,} by a classifier{stands}{learnt}")
    if how:
        text += f" Labels were given: {_listed(how)}."
    audit = report.audit
    if audit is None:
        return f"{text} The accuracy of the labels was not measured."
    text += (
        f" In a blind check, {counted(audit.n, 'image')} drawn at random from all"
        f" {audit.pictures:,} readable ones {'was' if audit.n == 1 else 'were'} labelled again"
        f" without sight of label or prediction; {audit.k:,} agreed"
    )
    if audit.low is None or audit.high is None:
        return f"{text}, too few for a percentage."
    return (
        f"{text} ({_percent(audit.k / audit.n)}; 95 % Wilson interval with finite population"
        f" correction {_percent(audit.low)} to {_percent(audit.high)})."
    )


def _arose(report: ProjectReport) -> str:
    by = report.sources
    rows = [(text, by.get(source, 0)) for source, text in _SOURCES if source != "model"]
    rows += [
        ("by the model", by.get("model", 0) - report.guessed),
        ("by the model, less than 80 % sure", report.guessed),
        *((f"{name}, no class", n) for name, n in report.states.items()),
        ("open, no label", report.open - report.guessed),
    ]
    cells = "".join(f"<tr><td>{escape(text)}</td><td>{n:,}</td></tr>" for text, n in rows if n)
    return (
        f'<div class="scroll"><table><tr><th>labels</th><th>pictures</th></tr>{cells}'
        f'<tr class="last"><td>all that can be read</td><td>{report.pictures:,}</td></tr>'
        "</table></div>"
    )


def _classes(report: ProjectReport) -> str:
    present = [(s, t) for s, t in _SOURCES if report.sources.get(s)]
    audit = report.audit
    head = "".join(f"<th>{escape(text)}</th>" for _, text in present)
    checked = "<th>right in the check</th>" if audit is not None else ""
    rows = []
    for line in sorted(report.classes, key=lambda line: (-line.total, line.id)):
        of = [line.sources.get(source, 0) for source, _ in present]
        cells = "".join(f"<td>{f'{n:,}' if n else ''}</td>" for n in of)
        right = f"<td>{_right(report, line.id)}</td>" if audit is not None else ""
        rows.append(
            f'<tr><td class="name">{escape(shown(line.name))}</td><td>{line.total:,}</td>'
            f"{cells}{right}</tr>"
        )
    return (
        f'<div class="scroll"><table><tr><th>class</th><th>pictures</th>{head}{checked}</tr>'
        f"{''.join(rows)}</table></div>"
    )


def _right(report: ProjectReport, id: int) -> str:
    """``38 of 40 (83.5 to 98.6 %)``; the interval from 10 on."""
    k, n = report.audit.by_class.get(id, (0, 0)) if report.audit is not None else (0, 0)
    if not n:
        return ""
    if n < 10 or report.interval is None:
        return f"{k} of {n}"
    low, high = report.interval(k, n)
    return f"{k} of {n} ({100 * low:.1f} to {_percent(high)})"


def _example(line: ClassLine) -> str:
    if not (line.pictures or line.nots or line.guide):
        return ""
    guide = f'<p class="guide">{escape(shown(line.guide, 1_000))}</p>' if line.guide else ""
    name = escape(shown(line.name))
    nots = f'<p class="guide">Not {name}:</p>{_shelf(line.nots)}' if line.nots else ""
    return f'<div class="block"><h3>{name}</h3>{guide}{_shelf(line.pictures)}{nots}</div>'


def _shelf(pictures: Sequence[tuple[str, bytes]]) -> str:
    tiles = "".join(
        f'<li><span class="frame"><img alt="" src="data:{kind};base64,'
        f'{base64.b64encode(body).decode("ascii")}"></span></li>'
        for kind, body in pictures
    )
    return f'<ul class="tiles">{tiles}</ul>' if tiles else ""


def _limits(report: ProjectReport) -> Iterator[str]:
    audit = report.audit
    if audit is None:
        yield "The labels were not audited: no number here says how many of them are right."
    else:
        who = audit.person or "the person who checked"
        yield (
            f"The check says how often {who} would agree with the label, not whether {who} is"
            " right."
        )
        yield (
            f"It was closed on {_day(audit.at)}; {counted(audit.since, 'label')} changed since."
            if audit.since
            else f"It was closed on {_day(audit.at)}, over the labels as they are here."
        )
        if audit.unsure:
            worse = _percent(audit.k / (audit.n + audit.unsure))
            yield f"{audit.unsure:,} unsure answers are left out; as mistakes it would be {worse}."
        if audit.unlabelled:
            yield f"{counted(audit.unlabelled, 'picture')} drawn had no label and are left out."
        yield (
            "The running number is shown at 60, 150 and 300 answers; the interval is not corrected"
            " for these looks."
        )
    if report.agreement:
        yield report.agreement
    if report.sources.get("group"):
        yield "Of a group labelled as one, not every picture was on the screen."
    if report.guessed:
        yield (
            f"{report.guessed:,} pictures take a label of which the model was less than 80 % sure."
        )
    if report.problems:
        yield f"{counted(report.problems, 'file')} could not be read and are in no count."
    if report.missing:
        yield f"{counted(report.missing, 'picture')} labelled earlier are no longer in the folder."
    yield "A model that leaves this folder may do worse on pictures that were made otherwise."


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _day(at: float | None) -> str:
    if not at:
        return ""
    when = datetime.fromtimestamp(at).astimezone()
    return f"{when.day} {when:%b %Y}"


def _between(began: float | None, ended: float | None) -> str:
    first, last = _day(began), _day(ended)
    if not first:
        return ""
    return f" on {first}" if first == last else f" between {first} and {last}"
