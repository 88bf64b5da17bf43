"""1,000,000 pictures on the page: rows without files, over a real socket.

The index holds 1,000,000 rows that nobody reads, a model suggests a class for each, 100,000 are
labelled; then each request is asked 200 times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from page_learned import publish
from page_serving import Client, Served, serving

import handful.page.server
from handful.page.index import Found
from handful.page.scan import Scanner

N, LABELLED, CLASSES = 1_000_000, 100_000, 24
TIMES, SEVERAL = 200, 10
GROUP = 5_000


class Nobody(Scanner):
    """Looks at no file: there are none."""

    def start(self) -> None:
        return None


def filled(page: Served) -> None:
    """Rows as a scan would leave them, and what the worker would publish of them."""
    index = page.project.index
    for start in range(0, N, 50_000):
        index.add(Found(f"{i // 1000:04d}/{i:07d}.png", 1, 1) for i in range(start, start + 50_000))
    with index.writing() as connection:
        connection.execute("UPDATE picture SET looked = 2, w = 64, h = 64, sha256 = hex(id)")
    rng = np.random.default_rng(0)
    rows = np.arange(1, N + 1)
    vectors = rng.normal(size=(N, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    publish(
        page.project, "features",
        {"rows": rows, "vectors": vectors.astype(np.float16), "stack": np.full(N, -1)},
        source="noise", dim=32, images=N,
    )  # fmt: skip


def taught(page: Served) -> None:
    rng = np.random.default_rng(1)
    top = np.stack([rng.integers(0, CLASSES, N), rng.integers(0, CLASSES, N)], axis=1)
    p = rng.uniform(0.5, 1, N)
    publish(
        page.project, "model",
        {
            "rows": np.arange(1, N + 1), "top": top, "p": np.stack([p, 1 - p], axis=1),
            "order": rng.choice(np.arange(LABELLED + 1, N + 1), 5_000, replace=False),
            "reason": np.zeros(5_000), "stands": np.zeros(5_000),
        },
        label_rev=page.project.rev, trained_on=LABELLED, changed=0.02, answers_since=40,
        learner="probe", thin=[],
    )  # fmt: skip


def measured(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Each request: its median and the time that 95 of 100 stay below."""
    folder.mkdir()
    handful.page.server.Scanner = Nobody  # type: ignore[misc]
    with serving(folder) as page:
        begun = time.monotonic()
        filled(page)
        client = page.client()
        for c in range(CLASSES):
            assert client.make(f"class {c}").status == 200
        ids = page.project.index.ids(np.arange(1, LABELLED + 1))
        for start in range(0, LABELLED, GROUP):
            grouped(client, ids[start : start + GROUP], start // GROUP % CLASSES)
        taught(page)
        print(f"    made in {time.monotonic() - begun:.0f} s", flush=True)
        for name, times in asked(page, client).items():
            yield f"{name}, p50", 1000 * float(np.percentile(times, 50)), "ms"
            yield f"{name}, p95", 1000 * float(np.percentile(times, 95)), "ms"


def grouped(client: Client, ids: list[str], to: int) -> None:
    said = client.decide({"kind": "group_labelled", "images": ids, "class": to, "from": "grid"})
    assert said["results"][0]["ok"], said


def asked(page: Served, client: Client) -> dict[str, list[float]]:
    rng, took = np.random.default_rng(2), {}
    fresh = iter(page.project.index.ids(np.arange(LABELLED + 1, LABELLED + 200_000)))
    cursors: list[str] = []
    cursor: str | None = None
    for _ in range(50):
        more = {} if cursor is None else {"cursor": cursor}
        said = client.get("/images", limit=200, **more).json
        cursor = said["next"]
        cursors.append(str(cursor))

    def timed(name: str, times: int, act: Callable[[], Any]) -> None:
        found = took.setdefault(name, [])
        for _ in range(times):
            begun = time.perf_counter()
            act()
            found.append(time.perf_counter() - begun)

    def good(path: str, **query: Any) -> None:
        assert client.get(path, **query).status == 200

    timed("counts and state", TIMES, lambda: good("/state"))
    timed("queue, the most useful 20", TIMES, lambda: good("/queue", mode="useful", n=20))
    timed("queue, 20 at random", TIMES, lambda: good("/queue", mode="random", n=20))
    timed("a page of 200", TIMES, lambda: good(
        "/images", limit=200, cursor=cursors[int(rng.integers(len(cursors)))]
    ))  # fmt: skip
    timed("a page of one class, newest first", TIMES, lambda: good(
        "/images", limit=200, sort="-time", filter=f'{{"class": [{rng.integers(CLASSES)}]}}'
    ))  # fmt: skip
    timed("history", TIMES, lambda: good("/history"))
    timed("an answer", TIMES, lambda: client.label(next(fresh), int(rng.integers(CLASSES))))
    timed("undo of an answer", TIMES, client.undo)
    timed("redo of an answer", TIMES, client.redo)
    for _ in range(SEVERAL):
        some = [next(fresh) for _ in range(GROUP)]
        timed("a group of 5,000", 1, lambda some=some: grouped(client, some, 1))  # type: ignore[misc]
        timed("undo of 5,000", 1, client.undo)
    return took
