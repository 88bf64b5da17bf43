"""A person in the chair: labels the pictures of a page by keys alone, and knows what they show.

    with chromium.Chromium() as browser:
        person = Person(browser, origin, truth)   # truth: file name -> word
        person.come(url)
        person.first_look(20)
        person.gallery(until=120)
        person.queue(until=190)

An *action* is a decision: an answer, a tile taken out, a group refused, a name typed with Enter,
an undo.  Keys that only move (arrows, Tab, to another screen) are counted in ``moves``, apart.
Whatever the person decides is read off the screen: a picture by its ``data-image``.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

PICTURE = "document.querySelector('[data-testid=picture]')"
SHOWN = f"({PICTURE}?.complete && {PICTURE}.naturalWidth > 0)"
GROUP = "document.querySelector('[data-testid=group]')"
TILES = """[...document.querySelectorAll('[data-testid=group] [data-testid=tile]')].map((t) => ({
  id: t.dataset.image, index: Number(t.dataset.index), out: t.dataset.out === 'true',
  row: Number(t.parentElement.getAttribute('aria-rowindex')),
}))"""
DRAWN_TILES = """((tiles) => tiles.length > 0 && tiles.every((t) => {
  const image = t.querySelector('img');
  return image && image.complete;
}))([...document.querySelectorAll('[data-testid=group] [data-testid=tile]')])"""
AT = "Number(document.querySelector('.spot.at')?.dataset.index ?? -1)"
CLOCK = """(() => {
  if (window.clock) return;
  window.clock = { next: [], answer: [], long: 0 };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) clock.long = Math.max(clock.long, entry.duration);
  }).observe({ type: 'longtask' });
  const picture = () => document.querySelector('[data-testid=picture]');
  const painted = (done) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => done(performance.now());
    channel.port2.postMessage(0);
  });
  addEventListener('keydown', (event) => {
    const before = picture()?.dataset.image;
    if (before === undefined || !/^[0-9a-z]$/.test(event.key)) return; // answers alone
    const training = Boolean(document.querySelector('[data-task=model]'));
    const from = event.timeStamp, screen = location.hash;
    painted((now) => clock.answer.push({ ms: now - from, training }));
    const look = () => {
      const image = picture();
      if (performance.now() - from > 5000 || location.hash !== screen) return; // the last one
      if (!image || image.dataset.image === before || !image.complete || !image.naturalWidth) {
        return requestAnimationFrame(look);
      }
      const channel = new MessageChannel();  // the frame that holds it has been painted
      channel.port1.onmessage = () => {
        clock.next.push({ ms: performance.now() - from, training, where: location.hash });
      };
      channel.port2.postMessage(0);
    };
    requestAnimationFrame(look);
  }, true);
})()"""
SEEN = """[location.hash, document.activeElement?.outerHTML.slice(0, 120),
  document.querySelector('dialog')?.textContent, document.querySelector('.status')?.textContent,
  document.querySelector('.class-column, aside')?.textContent?.slice(0, 300)]"""
END = "document.querySelector('.nothing:not([aria-busy=true]) .row')"  # of the groups
MAKING = {"scan", "pictures", "features", "groups"}  # tasks that more groups come from
WRONG = 6  # tiles: a group with more is refused
PATIENCE = 300.0  # seconds: a busy machine takes its time


class Person:
    """Answers as ``truth`` says: the word of every file; ``pace``: seconds an action takes.

    ``reach``: seconds that a key takes that only moves, or a letter of a name; ``look``: seconds
    for each tile of a group; ``slip``: share of class keys that are the key of another class,
    unnoticed.  ``slips``: pictures that this person calls by another word, by file name.
    """

    def __init__(
        self, page: Any, truth: Mapping[str, str], *, pace: float = 0.0, reach: float = 0.0,
        look: float = 0.0, slip: float = 0.0, seed: int = 0,
        slips: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.page, self.truth = page, dict(truth)
        self.pace, self.reach, self.look = pace, reach, look
        self.slip, self.chance, self.slipped = slip, random.Random(seed), 0
        self.slips = dict(slips or {})
        self.actions = self.moves = self.ignored = self.refused = 0
        self.keys: dict[str, str] = {}  # word -> key of its class
        self.called = {word: word for word in truth.values()}  # word -> name of its class
        self.files: dict[str, str] = {}  # image id -> file
        self.advice: list[str] = []
        self.times: dict[str, list[dict[str, Any]]] = {"next": [], "answer": []}
        self._last = 0.0  # when the hand was free again

    # ------------------------------------------------------------ hands

    def act(self, chord: str) -> None:
        """One decision by one key."""
        self._take(self.pace)
        self.actions += 1
        self.page.press(chord)

    def move(self, chord: str) -> None:
        self._take(self.reach)
        self.moves += 1
        self.page.press(chord)

    def _take(self, seconds: float) -> None:
        """Lets so much time pass since the last key."""
        if seconds:
            time.sleep(max(0.0, self._last + seconds - time.monotonic()))
        self._last = time.monotonic()

    def say(self, word: str) -> None:
        """Answers by the key of a class, or by typing its name where it has none yet."""
        if word in self.keys:
            return self.act(self._key(word))
        self.name(self.called[word])
        self.until_stored()
        self.look_at_keys()
        return None

    def _key(self, word: str) -> str:
        """The key of a class, or of another one by a slip of the finger."""
        others = [key for other, key in sorted(self.keys.items()) if other != word]
        if others and self.chance.random() < self.slip:
            self.slipped += 1
            return self.chance.choice(others)
        return self.keys[word]

    def name(self, name: str) -> None:
        self.move("/")
        self.wait("document.activeElement.dataset.testid === 'class-box'")
        self._take(self.reach * len(name))
        self.page.type(name)
        self.act("Enter")

    def go(self, key: str, ready: str, *, seconds: float = PATIENCE) -> None:
        """To another screen: ``Shift+Q`` and the like."""
        self.move(key)
        self.wait(ready, seconds=seconds)

    def tab(self, words: str, *, most: int = 300) -> None:
        """Tab until what has the focus begins with these words."""
        there = (
            "((e) => (e.getAttribute('aria-label') ?? e.textContent).trim()"
            f".startsWith({json.dumps(words)}))(document.activeElement)"
        )
        for _ in range(most):
            if self.page.run(f"Boolean({there})"):
                return
            self.move("Tab")
        raise RuntimeError(f"{words!r} is not reached by Tab")

    # ------------------------------------------------------------ eyes

    def wait(self, script: str, *, seconds: float = PATIENCE) -> float:
        """Until the page is so, looked at by itself; the seconds that it took."""
        begun = time.monotonic()
        look = f"""new Promise((done) => {{
          const end = performance.now() + 5000;
          const look = () => {{
            if ({script}) done(true);
            else if (performance.now() > end) done(false);
            else setTimeout(look, 15);
          }};
          look();
        }})"""
        while not self.page.run(look):
            if time.monotonic() - begun > seconds:
                seen = self.page.run(SEEN)
                raise RuntimeError(f"after {seconds} s still not: {script}; the page: {seen}")
        return time.monotonic() - begun

    def come(self, url: str) -> float:
        """Opens the address; the seconds until there is something to answer."""
        begun = time.monotonic()
        self.keep_times()
        self.page.go(url)
        ready = f"{SHOWN} || {GROUP} || document.querySelector('.nothing')"
        self.page.until(ready, seconds=PATIENCE)
        took = time.monotonic() - begun
        self.page.run(CLOCK)
        return took

    def keep_times(self) -> dict[str, list[dict[str, Any]]]:
        """What the clock in the page has measured; it starts anew with each page."""
        if self.page.run("Boolean(window.clock)"):
            for kind, times in self.times.items():
                times += self.page.run(f"clock.{kind}.splice(0)")
        return self.times

    def api(self, path: str) -> Any:
        return self.page.run(f"fetch('/api/v1{path}').then((r) => r.json())")

    def look_at_keys(self) -> None:
        named = {c["name"]: c["key"] for c in self.api("/state")["classes"] if not c["archived"]}
        self.keys = {w: named[n] for w, n in self.called.items() if named.get(n) is not None}

    def pictures(self) -> list[dict[str, Any]]:
        """Every picture as the page knows it."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.api(f"/images?limit=500{cursor}")
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    def learn_files(self) -> None:
        """The table of ids and files, made before anything is asked blind."""
        self.files = {item["id"]: item["name"] for item in self.pictures()}

    def word_of(self, image: str) -> str:
        if image not in self.files:
            self.learn_files()
        file = self.files[image]
        return self.slips.get(file, self.truth[file])

    def labels(self) -> list[tuple[Any, ...]]:
        """Every decision as it stands: what undo has to bring back."""
        return sorted((i["id"], i["state"], i["class"], i["source"]) for i in self.pictures())

    def number(self, testid: str) -> int:
        text = self.page.run(f"document.querySelector('[data-testid={testid}]')?.textContent ?? ''")
        return int("".join(c for c in text if c.isdigit()) or 0)

    def until_stored(self, *, seconds: float = PATIENCE) -> float:
        stored = "document.querySelector('[data-testid=stored]')?.textContent === 'Stored'"
        return self.wait(stored, seconds=seconds)

    def hear_advice(self) -> None:
        case = self.page.run("document.querySelector('[data-testid=advice]')?.dataset.case ?? ''")
        if case and (not self.advice or self.advice[-1] != case):
            self.advice.append(case)

    # ------------------------------------------------------------ one picture, one key

    def picture(self) -> str | None:
        """The picture in view, when it is drawn; None at the end of the queue."""
        over = "document.querySelector('main .empty:not([aria-busy=true]) p')"
        self.wait(f"{SHOWN} || {over}")
        image: str | None = self.page.run(f"{PICTURE}?.dataset.image ?? null")
        return image

    def answer(self) -> bool:
        """Answers what is in view; False at the end."""
        image = self.picture()
        if image is None:
            return False
        self.say(self.word_of(image))
        changed = f"{PICTURE}?.dataset.image !== {json.dumps(image)}"
        try:
            self.wait(changed, seconds=20)
        except RuntimeError:  # a key that nobody has heard is pressed again
            self.ignored += 1
            self.say(self.word_of(image))
            self.wait(changed)
        return True

    def first_look(self, n: int) -> None:
        for _ in range(n):
            self.answer()

    def queue(self, *, until: int) -> None:
        """The queue, until so many actions were made in all."""
        self.go("Shift+Q", f"{SHOWN} || document.querySelector('main .empty')")
        while self.actions < until and self.answer():
            self.hear_advice()

    # ------------------------------------------------------------ groups

    def gallery(self, *, until: int, patience: float = PATIENCE) -> int:
        """Group after group until so many actions were made in all; groups that were seen."""
        self.go("Shift+G", f"{GROUP} || {END}", seconds=patience)
        seen = 0
        while self.actions < until and self.group():
            self.hear_advice()
            seen += 1
        return seen

    def group(self) -> bool:
        """Answers the group in view: wrong tiles out, then the key of its class."""
        self.wait(f"{DRAWN_TILES} || {END}")
        tiles = self.page.run(TILES)
        if not tiles:
            return self._more_groups()
        group = self.page.run(f"{GROUP}.dataset.group")
        words = [self.word_of(tile["id"]) for tile in tiles]
        self._take(self.look * len(tiles))
        word = Counter(words).most_common(1)[0][0]
        wrong = [t for t, w in zip(tiles, words, strict=True) if w != word]
        if len(wrong) > WRONG:
            self.refused += 1
            self.act("o")
        else:
            for tile in wrong:
                if self._to(tile):
                    self.act(" ")
            self.say(word)
        self.wait(f"{GROUP}?.dataset.group !== {json.dumps(group)}")
        return True

    def _more_groups(self) -> bool:
        """Whether more groups are on their way; waits until they are there."""
        for _ in range(3):
            time.sleep(0.5)
            if self.groups_are_made():
                self.wait(f"{DRAWN_TILES} || {END}")
                return True
            if self.page.run(f"Boolean({DRAWN_TILES})"):
                return True
        return False

    def groups_are_made(self) -> bool:
        """Whether something is on its way that more groups come from."""
        state = self.api("/state")
        return bool(state["scanning"] or MAKING & {task["name"] for task in state["tasks"]})

    def _to(self, tile: Mapping[str, Any]) -> bool:
        """Moves to a tile, row first, then along it; looked up anew: news may move or remove it."""
        for _ in range(200):
            tiles = self.page.run(TILES)
            rows = {t["index"]: t["row"] for t in tiles}
            now = next((t for t in tiles if t["id"] == tile["id"]), None)
            at = self.page.run(AT)
            if now is None or at == now["index"]:
                return now is not None
            here, there = rows.get(at, 1), now["row"]
            if here != there:
                self.move("ArrowDown" if here < there else "ArrowUp")
            else:
                self.move("ArrowRight" if at < now["index"] else "ArrowLeft")
            self.wait(f"{AT} !== {at}")
        raise RuntimeError(f"tile {tile} is not reached")

    # ------------------------------------------------------------ undo, classes

    def undo(self, n: int) -> list[str]:
        """So many decisions back; what each was, in the words of the page."""
        told = []
        for _ in range(n):
            self.until_stored()
            told.append(
                self.page.run(
                    "document.querySelector('[data-testid=undo-text]')?.textContent ?? ''"
                )
            )
            self.act("Ctrl+z")
        self.until_stored()
        return told

    def redo(self, n: int) -> None:
        for _ in range(n):
            self.until_stored()
            self.act("Ctrl+Shift+z")
        self.until_stored()

    def rename(self, word: str, name: str) -> None:
        old = self.called[word]
        self._menu(old, "Rename")
        self.wait("document.querySelector('dialog input') === document.activeElement")
        self.page.type(name)
        self.act("Enter")
        self.wait("!document.querySelector('dialog')")
        self.called[word] = name

    def merge(self, name: str, into: str) -> None:
        self._menu(name, "Merge into...")
        self.wait("document.querySelector('dialog select') === document.activeElement")
        chosen = "document.querySelector('dialog select').selectedOptions[0].textContent"
        for _ in range(40):
            if self.page.run(f"{chosen}.startsWith({json.dumps(into + ' (')})"):
                break
            self.move("ArrowDown")
        self.tab("Merge ")
        self.act("Enter")
        self.wait("!document.querySelector('dialog')")

    def _menu(self, name: str, entry: str) -> None:
        self.go("Shift+C", "document.querySelector('[data-testid=class]')")
        self.tab(f"What to do with {name}")
        self.move("Enter")
        self.wait("document.activeElement.getAttribute('role') === 'menuitem'")
        for _ in range(12):
            if self.page.run(f"document.activeElement.textContent === {json.dumps(entry)}"):
                break
            self.move("ArrowDown")
        self.move("Enter")
        self.wait("document.querySelector('dialog')")

    # ------------------------------------------------------------ audit, review, export

    def audit(self, *, answers: int) -> None:
        """Blind answers until there are so many."""
        self.go("Shift+A", SHOWN)
        while self.number_of_audit() < answers and self.answer():
            pass
        self.until_stored()

    def number_of_audit(self) -> int:
        text = self.page.run("document.querySelector('[data-testid=audit-n]')?.textContent ?? '0'")
        return int(text.split(" of ")[0].replace(",", ""))

    def close_audit(self) -> dict[str, Any]:
        self.tab("Stop here and see the result")
        self.act("Enter")
        self.wait("document.querySelector('[data-testid=audit-result]')")
        result: dict[str, Any] = self.api("/audit")["result"]
        return result

    def review(self, n: int) -> int:
        """Keeps or changes up to so many likely mistakes; how many there were."""
        end = "document.querySelector('main .empty')"
        self.go("Shift+R", f"{SHOWN} || {end}")
        for done in range(n):
            self.wait(f"{SHOWN} || {end}")
            image = self.page.run(f"{PICTURE}?.dataset.image ?? null")
            if image is None:
                return done
            label = self.api(f"/images/{image}")["picture"]["class"]
            right = self.word_of(image)
            name = next(c["name"] for c in self.api("/state")["classes"] if c["id"] == label)
            self.act("Enter") if name == self.called[right] else self.say(right)
            self.wait(f"{PICTURE}?.dataset.image !== {json.dumps(image)}")
        self.until_stored()
        return n

    def settled(self, *, seconds: float = 60.0, quiet: float = 8.0) -> None:
        """Waits until nothing is computed any more: the last answers were learned from."""
        self.until_stored()
        end = time.monotonic() + seconds
        since = time.monotonic()
        while time.monotonic() < end and time.monotonic() - since < quiet:
            if self.api("/state")["tasks"]:
                since = time.monotonic()
            time.sleep(0.5)

    def export(self) -> str:
        """Labels, model and report, by keys; the sentence that says what was written."""
        self.go("Shift+E", "document.querySelector('.carry-form button.main')")
        for row in ("model", "report"):
            self._tick(row)
        self.tab("Export")
        self.act("Enter")
        self.wait("document.querySelector('[data-testid=export-done]')")
        text: str = self.page.run("document.querySelector('[data-testid=export-done]').textContent")
        return text

    def _tick(self, row: str) -> None:
        box = (
            "[...document.querySelectorAll('.carry-form th input[type=checkbox]')]"
            f".find((b) => b.parentElement.textContent.trim() === {json.dumps(row)})"
        )
        for _ in range(80):
            if self.page.run(f"document.activeElement === {box}"):
                break
            self.move("Tab")
        if not self.page.run(f"{box}.checked"):
            self.act(" ")
