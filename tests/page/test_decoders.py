"""Children that read files: what they say, and that their end is nobody else's."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from handful.page.decoders import BEHIND, NOW, Decoders
from handful.page.reasons import TOO_SLOW


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    made = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        Image.new("RGB", (400, 300), (number * 50, 0, 0)).save(made / f"{number}.jpg")
    return made


@pytest.fixture
def one(folder: Path) -> Iterator[Decoders]:
    decoders = Decoders(folder, n=1)
    yield decoders
    decoders.close()


def process(decoders: Decoders) -> Any:
    return decoders._children[0]._process


def test_it_says_what_it_read_and_lives_on(one: Decoders) -> None:
    said = one.read("0.jpg").result(60)
    assert (said.w, said.h, said.kind, said.body, said.problem) == (400, 300, "JPEG", b"", None)
    assert len(one.read("0.jpg", side=96).result(60).body) > 30
    assert one.read("nothing.jpg").result(60).problem == (
        "gone", "The file is not there any more.",
    )  # fmt: skip
    assert one.read("../outside.jpg").result(60).problem is not None
    assert one.read("0.jpg").result(60).sha256 == said.sha256


def test_one_that_dies_costs_one_file(one: Decoders) -> None:
    """A decoder that crashes marks the file, not the program."""
    one.read("0.jpg").result(60)
    os.kill(process(one).pid, signal.SIGSTOP)
    hit = one.read("1.jpg", side=192)
    waits = one.read("2.jpg", side=192)
    time.sleep(0.1)
    os.kill(process(one).pid, signal.SIGKILL)
    assert hit.result(60).problem == TOO_SLOW
    assert waits.result(60).problem is None


def test_one_that_takes_too_long_is_ended(folder: Path) -> None:
    decoders = Decoders(folder, n=1, seconds=1.0)
    try:
        until = time.monotonic() + 60
        while decoders.read("0.jpg").result(60).problem and time.monotonic() < until:
            pass  # a child may take longer than that to begin
        os.kill(process(decoders).pid, signal.SIGSTOP)
        assert decoders.read("1.jpg").result(60).problem == TOO_SLOW
        assert process(decoders).poll() is None  # another one has begun
    finally:
        decoders.close()


def test_what_is_looked_at_comes_first_the_newest_before(one: Decoders) -> None:
    one.read("0.jpg").result(60)
    os.kill(process(one).pid, signal.SIGSTOP)
    held = one.read("0.jpg")
    time.sleep(0.1)  # it is in the child's hands; the rest stands in line
    order: list[str] = []
    jobs = [("behind", BEHIND), ("first seen", NOW), ("seen since", NOW)]
    futures = [one.read("1.jpg", rank=rank) for _, rank in jobs]
    for (name, _), future in zip(jobs, futures, strict=True):
        future.add_done_callback(lambda _, name=name: order.append(name))
    os.kill(process(one).pid, signal.SIGCONT)
    for future in [held, *futures]:
        future.result(60)
    assert order == ["seen since", "first seen", "behind"]


def test_one_that_is_closed_cancels_what_waits(folder: Path) -> None:
    decoders = Decoders(folder, n=1)
    waiting = [decoders.read("0.jpg", side=192) for _ in range(50)]
    decoders.close()
    late = decoders.read("0.jpg")
    assert late.cancelled()
    for future in waiting:
        with contextlib.suppress(CancelledError):
            future.result(30)
    process(decoders).wait(20)


def test_memory_has_an_end(tmp_path: Path) -> None:
    """A file that needs more than a child may have is a problem of that file alone."""
    resource = pytest.importorskip("resource")
    code = tmp_path / "greedy.py"
    code.write_text(
        "import resource, sys\n"
        "import handful.page.decoder as d\n"
        "d.decode = lambda *a, **k: bytearray(1 << 40)\n"
        f"sys.argv = ['', {str(tmp_path)!r}, 'stay']\n"
        "d.main()\n"
    )
    from PIL import Image

    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    import json
    import subprocess
    import sys

    line = json.dumps({"path": str(tmp_path / "a.png"), "side": 96, "page": 0}) + "\n"
    done = subprocess.run(
        [sys.executable, str(code)], input=line * 2, capture_output=True, text=True, check=False
    )
    said = [json.loads(text) for text in done.stdout.splitlines()]
    assert [tuple(one["problem"]) for one in said] == [TOO_SLOW] * 2
    assert resource.RLIMIT_AS is not None
