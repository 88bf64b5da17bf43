"""A whole sitting by keys alone: first look, groups, queue, a kill, the blind check, the export."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from browsing import Server, script, shuffled

N = 600
ACTIONS = 85


def by_hand(person: Any) -> int:
    return sum(item["source"] == "hand" for item in person.pictures())


def killed(person: Any, server: Server) -> None:
    """The program dies; the keys pressed meanwhile wait, and are stored once."""
    person.until_stored()
    before = by_hand(person)
    assert person.page.faults == []
    time.sleep(1)  # the next pictures are at hand by now, as they are for anybody who looks
    server.kill()
    waiting = sum(person.answer() for _ in range(3))
    person.wait(f"document.body.textContent.includes('Answers are kept here ({waiting})')")
    server.start()
    person.come(server.url)
    person.until_stored()
    person.page.faults.clear()  # nobody answered, then the old window was refused: rightly
    assert by_hand(person) == before + waiting


def test_eighty_actions_label_every_picture(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    truth = shuffled(folder, N)
    browser.faults.clear()
    browser.requests.clear()
    browser.size(1280, 720)
    server = Server(folder, learns=True)
    person = script("person").Person(browser, truth)
    try:
        person.come(server.url)
        person.first_look(8)
        person.gallery(until=46)
        person.until_stored()
        grouped = person.number("count-group") + person.number("count-you") - 8
        assert grouped >= 8 * (person.actions - 8), "few pictures an action"

        before = person.labels()
        told = person.undo(2)
        assert all(words.startswith("Undo (Ctrl+Z): ") for words in told), told
        assert person.labels() != before
        person.redo(2)
        assert person.labels() == before

        person.queue(until=person.actions + 2)
        killed(person, server)
        person.settled(quiet=3)
        person.audit(answers=30)
        result = person.close_audit()
        assert result["n"] == 30
        said = browser.run("document.querySelector('[data-testid=audit-result]').textContent")
        assert f"{result['k']} of 30" in said
        assert person.export().startswith("Written: labels.csv (600 rows)")
    finally:
        browser.go("about:blank")
        server.stop()
    (path,) = folder.glob("handful-export/*/labels.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row["path"]: row["class"] for row in csv.DictReader(file)}
    assert set(rows) == set(truth)
    assert all(rows.values()), "a picture has no label"
    right = float(np.mean([rows[file] == word for file, word in truth.items()]))
    assert right > 0.95, right
    strange = [r for r in browser.requests if not r.startswith((server.origin, "about:", "blob:"))]
    assert strange == []
    assert browser.faults == []
    assert person.actions <= ACTIONS
