"""Out of one project and into another: the same labels, whatever the form; all or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_serving import opened, paint

from handful.errors import InputError
from handful.exports import FORMS, Incoming, Said, read_any, write, write_folders
from handful.page import decisions
from handful.page.answers import decide
from handful.page.classes import clean
from handful.page.gathering import Choice, Live, Still, about, label_rows
from handful.page.imports import Plan, apply, check_fresh, plan
from handful.page.project import Project
from handful.page.scan import Scanner
from handful.page.words import Refused

NAMES = [
    "a,b.png", "a\nb.png", 'q"d.png', "=1+1.png", "🐙.png", "עברית.png", "\u202egnp.png", "%41.png",
    "odd\udcff.png", "sub/same.png", "other/same.png", "x.png", "y.png", "z.png",
]  # fmt: skip
STATES = {3: "unsure", 5: "none", 7: "broken", 9: "later", 10: "open"}


def looked(folder: Path, **more: Any) -> Project:
    project = opened(folder, **more)
    Scanner(project).look()
    return project


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports") / "pictures"
    for number, name in enumerate(NAMES):
        paint(folder / name, number, (8, 6))
    return folder


@pytest.fixture
def answered(pictures: Path, tmp_path: Path) -> Iterator[Project]:
    """A project with an answer of each kind, three classes, one renamed and one merged."""
    project = looked(pictures, place=tmp_path / "first")
    for number, row in enumerate(sorted(project.index.walk(100, 0), key=lambda r: r.path)):
        said: dict[str, Any] = {"id": f"tab.{number + 1}", "seen_rev": project.rev}
        if number in STATES:
            if STATES[number] == "open":
                continue
            said |= {"kind": "state_set", "images": [row.id], "state": STATES[number]}
        else:
            name = ["copepod", '=n, "big"', "🐙 x", "gone"][number % 4]
            said |= {"kind": "labelled", "image": row.id, "name": name}
        decide(project, [said])  # type: ignore[list-item]
    change: Any = {"id": "tab.90", "seen_rev": project.rev, "name": "nauplius"}
    decisions.change_class(project, 1, change)
    merge: Any = {"id": "tab.91", "seen_rev": project.rev, "into": 0}
    decisions.merge_class(project, 3, merge)
    yield project
    project.close()


@pytest.fixture
def fresh(pictures: Path, tmp_path: Path) -> Iterator[Project]:
    project = looked(pictures, place=tmp_path / "second")
    yield project
    project.close()


def label_hash(project: Project) -> str:
    """Of every picture with its class's name or its state."""
    said = sha256()
    for row in label_rows(Live(project), Choice(states=True, open=True)):
        said.update(
            repr((row["path"], row["state"], row["class"])).encode("utf-8", "surrogatepass")
        )
    return said.hexdigest()


def out(project: Project, form: str, target: Path) -> Path:
    """Everything answered, written in a form."""
    source = Live(project)

    def rows() -> Iterator[Any]:
        return label_rows(source, Choice())

    if form == "folders":
        write_folders(target / "by class", rows, about(source))
        return target / "by class"
    write(form, target, rows, about(source))
    return target / FORMS[form].file


def into(project: Project, path: Path, id: str = "tab.1", *, over: bool = False) -> Plan:
    made = plan(project, read_any(path, beside=project.folder))
    apply(project, made, id, over=over)
    return made


@pytest.mark.parametrize("form", [*(f for f in FORMS if f != "npz"), "folders"])
def test_out_and_in_again_is_the_same(
    form: str, answered: Project, fresh: Project, tmp_path: Path
) -> None:
    """Equal label hash; one undo takes all of it back, one redo gives it again."""
    empty, wanted = label_hash(fresh), label_hash(answered)
    made = into(fresh, out(answered, form, tmp_path))
    assert label_hash(fresh) == wanted != empty
    assert (len(made.new), len(made.change), made.same) == (13, 0, 0)
    assert [name for name, _ in made.classes] == ["copepod", "nauplius", "🐙 x"]
    took = decisions.turn(fresh, "undone", "tab.2")
    assert took.text == "Undone: 13 labels imported"
    assert label_hash(fresh) == empty
    decisions.turn(fresh, "redone", "tab.3")
    assert label_hash(fresh) == wanted
    sources = {row["source"] for row in label_rows(Live(fresh), Choice())}
    assert sources == {"imported"}
    twice = plan(fresh, read_any(out(answered, form, _new(tmp_path / "again"))))
    assert (len(twice.new), len(twice.change), twice.same) == (0, 0, 13)
    with pytest.raises(Refused, match="nothing to import"):
        apply(fresh, twice, "tab.4", over=True)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_files_alone_give_the_same_rows(answered: Project) -> None:
    """Read beside the open page, and after it was closed, without anything derived as well."""
    live = list(label_rows(Live(answered), Choice(open=True)))
    folder, place = answered.folder, answered.place
    assert list(label_rows(Still(folder, place=place), Choice(open=True))) == live
    answered.close()
    before = {p.name for p in place.rglob("*")}
    assert list(label_rows(Still(folder, place=place), Choice(open=True))) == live
    assert list(label_rows(Still(place), Choice(open=True))) == live
    assert {p.name for p in place.rglob("*")} == before
    shutil.rmtree(place / "derived")
    kept = [(r["path"], r["class"], r["state"]) for r in label_rows(Still(folder, place=place),
            Choice())]  # fmt: skip
    assert kept == [(r["path"], r["class"], r["state"]) for r in live if r["state"] != "open"]


def test_what_nobody_has_labelled_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody has labelled"):
        Still(tmp_path)
    assert not list(tmp_path.iterdir())


def test_changes_are_counted_and_made_only_when_wanted(answered: Project) -> None:
    """Earlier answers stay unless somebody wants them changed; a merged name finds its class."""
    rows = {row.path: row for row in answered.index.walk(100, 0)}
    before = label_hash(answered)
    said = [
        Said("x.png", "Nauplius"), Said("y.png", "gone"), Said("z.png", "new one"),
        Said("other/same.png", None, "unsure"), Said("nowhere.png", "copepod"),
        Said("a%0Ab.png", "copepod"),
    ]  # fmt: skip
    state = {p: answered.book.standing(p) for p in rows}
    made = plan(answered, Incoming("csv", said))
    assert made.missing == ["nowhere.png"]
    changed = [c.row.path for c in made.change]
    assert len(made.new) + len(changed) + made.same == 5
    assert all(state[c.row.path].state in ("open", "later") for c in made.new)
    assert made.text == f"{len(made.new)} new label{'' if len(made.new) == 1 else 's'}," \
        f" {len(changed)} would change, 1 file not found."  # fmt: skip
    assert made.left_out is not None
    assert made.left_out.startswith("1 of 6 rows names a file that is not here.")
    apply(answered, made, "tab.200", over=False)
    for path in changed:
        assert answered.book.standing(path) == state[path]
    decisions.turn(answered, "undone", "tab.201")
    assert label_hash(answered) == before
    apply(answered, plan(answered, Incoming("csv", said)), "tab.202", over=True)
    names = {c.id: c.name for c in answered.classes.items}
    assert names[answered.book.standing("x.png").class_id] == "nauplius"
    assert names[answered.book.standing("y.png").class_id] == "copepod"
    assert names[answered.book.standing("z.png").class_id] == "new one"
    assert answered.book.standing("other/same.png").state == "unsure"
    decisions.turn(answered, "undone", "tab.203")
    assert label_hash(answered) == before


def test_rows_find_their_pictures(fresh: Project) -> None:
    """By path, by content when the name is another, by the end of the path when that is enough."""
    content = fresh.index.at("x.png")
    assert content is not None
    said = [
        Said("./x.png", "a"), Said("elsewhere/renamed.png", "b", sha256=content.sha256),
        Said("C:\\photos\\pictures\\sub\\same.png", "c"),
        Said("/data/pictures/other/same.png", "d"), Said("same.png", "e"),
        Said("odd%FF.png", "f"), Said("%41.png", "g"), Said("", "h"),
    ]  # fmt: skip
    made = plan(fresh, Incoming("csv", said))
    found = {c.row.path: c.label for c in made.new}
    assert found == {
        "sub/same.png": "c",
        "other/same.png": "d",
        "odd\udcff.png": "f",
        "%41.png": "g",
    }
    assert made.conflicts == ["x.png"]
    assert made.missing == ["same.png", ""]
    assert (made.by_content, made.by_end) == (1, 2)


def test_a_plan_that_was_seen_and_is_another_now_is_not_applied(fresh: Project) -> None:
    said = Incoming("csv", [Said("x.png", "cat"), Said("y.png", "cat")])
    seen = plan(fresh, said).hash
    check_fresh(plan(fresh, said), seen)
    row = fresh.index.at("x.png")
    assert row is not None
    dog: Any = {"id": "o.1", "seen_rev": 0, "kind": "labelled", "image": row.id, "name": "dog"}
    decide(fresh, [dog])
    with pytest.raises(Refused, match="This changed elsewhere"):
        check_fresh(plan(fresh, said), seen)


def test_names_of_classes_are_held_to_their_rules(fresh: Project) -> None:
    said = [Said("x.png", "x" * 61), Said("y.png", " Two\n words "), Said("z.png", "TWO words")]
    made = plan(fresh, Incoming("csv", said))
    assert made.faulty == 1
    assert "1 to 60 characters" in made.faults[0].text
    assert made.classes == [("Two words", 2)]
    apply(fresh, made, "tab.1", over=False)
    assert [c.name for c in fresh.classes.items] == ["Two words"]
    many = Incoming("csv", [Said("x.png", f"class {n}") for n in range(2_001)])
    with pytest.raises(Refused, match="column of classes"):
        plan(fresh, many)


def test_guesses_come_in_only_when_wanted(fresh: Project) -> None:
    incoming = Incoming("csv", [Said("x.png", "cat")], [Said("y.png", "dog")])
    made = plan(fresh, incoming)
    assert (len(made.new), made.guesses) == (1, 1)
    assert len(plan(fresh, incoming, guesses=True).new) == 2


names = st.one_of(
    st.sampled_from([*NAMES, "same.png", "odd%FF.png", "%41.png"]), st.text(max_size=6)
)
labels = st.one_of(
    st.none(), st.sampled_from(["cat", "CAT", "dog", " ", "\0"]), st.text(max_size=70)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.builds(
        Said, names, labels, st.sampled_from(["labelled", "unsure", "none", "later"]), st.none(),
        st.one_of(st.none(), st.integers(0, 9)),
    ), max_size=12),
    over=st.booleans(),
)  # fmt: skip
def test_any_rows_are_imported_whole_or_not_at_all(
    fresh: Project, rows: list[Said], over: bool, counter: Callable[[], int]
) -> None:
    incoming = Incoming("csv")
    for said in rows:
        incoming.take(said)
    before, rev = label_hash(fresh), fresh.rev
    try:
        made = plan(fresh, incoming)
        n = apply(fresh, made, f"fuzz.{counter()}", over=over)
    except Refused:
        assert fresh.rev == rev
        return
    event = fresh.book.event(fresh.rev)
    assert event.kind == "import_applied"
    assert n == len(event.data["images"]) == len(made.new) + (len(made.change) if over else 0)
    for change in [*made.new, *(made.change if over else ())]:
        now = fresh.book.standing(change.row.path)
        assert now.state == change.state
        if change.label is not None:
            held = fresh.classes.now(now.class_id)
            assert held is not None
            assert held.name.casefold() == clean(change.label).casefold()
    decisions.turn(fresh, "undone", f"fuzz.{counter()}")
    assert label_hash(fresh) == before


@pytest.fixture(scope="module")
def counter() -> Callable[[], int]:
    numbers = iter(range(10_000))
    return lambda: next(numbers)
