"""Revisions are whole or not there, and a reader never sees anything else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful import revisions
from handful.errors import InputError, StoreError


def features(n: int = 5, value: float = 1.0) -> dict[str, Any]:
    return {
        "rows": np.arange(1, n + 1, dtype=np.int64) * 3,
        "vectors": np.full((n, 4), value, dtype=np.float16),
        "stack": np.full(n, -1, dtype=np.int32),
    }


def groups(sizes: list[int], rows: list[int]) -> dict[str, Any]:
    g = len(sizes)
    return {
        "rows": np.array(rows, dtype=np.int64),
        "starts": np.cumsum([0, *sizes]).astype(np.int64),
        "likely": np.full(g, -1, dtype=np.int32),
        "p": np.zeros(g, dtype=np.float32),
        "purity": np.ones(g, dtype=np.float32),
        "near": np.empty((0, 2), dtype=np.int32),
    }


def test_what_is_published_is_read(tmp_path: Path) -> None:
    given = features()
    rev = revisions.publish(
        tmp_path, "features", given, made="a", meta={"dim": 4}, files={"card.json": b"{}"}
    )
    found = revisions.newest(tmp_path, "features", made="a")
    assert found is not None
    assert (rev, found.rev, revisions.rev_of(tmp_path, "features")) == (1, 1, 1)
    assert found.meta["dim"] == 4
    assert (found.folder / "card.json").read_bytes() == b"{}"
    for name, array in given.items():
        assert np.array_equal(found[name], array)
        assert not found[name].flags.writeable


def test_rows_are_found_wherever_they_stand(tmp_path: Path) -> None:
    revisions.publish(tmp_path, "features", features(4), made="a")
    rising = revisions.newest(tmp_path, "features", made="a")
    revisions.publish(tmp_path, "groups", groups([2, 1], [9, 4, 7]), made="a")
    mixed = revisions.newest(tmp_path, "groups", made="a")
    assert rising is not None
    assert mixed is not None
    assert rising.at(np.array([12, 3, 4, 99])).tolist() == [3, 0, -1, -1]
    assert mixed.at(np.array([7, 9, 1, 4, 10])).tolist() == [2, 0, -1, 1, -1]
    revisions.publish(tmp_path, "groups", groups([], []), made="a")
    empty = revisions.newest(tmp_path, "groups", made="a")
    assert empty is not None
    assert empty.at(np.array([1])).tolist() == [-1]


def test_another_index_means_other_pictures(tmp_path: Path) -> None:
    revisions.publish(tmp_path, "features", features(), made="a")
    assert revisions.newest(tmp_path, "features", made="b") is None
    assert revisions.newest(tmp_path, "map", made="a") is None
    assert revisions.rev_of(tmp_path, "map") == 0


def test_two_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    for number in range(4):
        left = tmp_path / "features" / f".{number}.1.part"
        left.mkdir(parents=True)
        revisions.publish(tmp_path, "features", features(value=number), made="a")
    assert sorted(os.listdir(tmp_path / "features")) == ["000003", "000004"]
    assert revisions.read(tmp_path, "features", 3, made="a") is not None
    assert revisions.read(tmp_path, "features", 2, made="a") is None


@pytest.mark.parametrize("harm", ["cut", "text", "gone", "json", "shape"])
def test_a_damaged_revision_gives_way_to_the_one_before(tmp_path: Path, harm: str) -> None:
    for number in (1, 2):
        revisions.publish(tmp_path, "features", features(value=number), made="a")
    place = tmp_path / "features" / "000002"
    if harm == "cut":
        whole = (place / "vectors.npy").read_bytes()
        (place / "vectors.npy").write_bytes(whole[:-3])
    elif harm == "text":
        (place / "vectors.npy").write_text("no array")
    elif harm == "gone":
        (place / "stack.npy").unlink()
    elif harm == "json":
        (place / "meta.json").write_text("{")
    else:
        np.save(place / "stack.npy", np.zeros(2, np.int32))
    found = revisions.newest(tmp_path, "features", made="a")
    assert found is not None
    assert (found.rev, float(found["vectors"][0, 0])) == (1, 1.0)
    assert revisions.publish(tmp_path, "features", features(), made="a") == 3


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    wrong = [
        features() | {"rows": np.arange(5)[::-1].astype(np.int64)},
        features() | {"vectors": np.zeros((5, 4), np.float32)},
        features() | {"stack": np.zeros(4, np.int32)},
        features() | {"more": np.zeros(4, np.int32)},
        {k: v for k, v in features().items() if k != "stack"},
    ]
    for arrays in wrong:
        with pytest.raises(InputError):
            revisions.publish(tmp_path, "features", arrays, made="a")
    with pytest.raises(InputError):
        revisions.publish(tmp_path, "groups", groups([2, 0], [1, 2]), made="a")
    with pytest.raises(InputError):
        revisions.publish(tmp_path, "other", {}, made="a")
    assert revisions.newest(tmp_path, "features", made="a") is None


def test_a_disk_that_refuses_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revisions.publish(tmp_path, "features", features(), made="a")

    def full(path: Path, content: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(revisions, "write_whole", full)
    with pytest.raises(StoreError, match="full"):
        revisions.publish(tmp_path, "features", features(value=2), made="a")
    monkeypatch.undo()
    monkeypatch.setattr(Path, "mkdir", lambda *a, **k: (_ for _ in ()).throw(OSError(30, "ro")))
    with pytest.raises(StoreError, match="cannot be written"):
        revisions.publish(tmp_path, "features", features(value=2), made="a")
    monkeypatch.undo()
    found = revisions.newest(tmp_path, "features", made="a")
    assert found is not None
    assert found.rev == 1
    assert os.listdir(tmp_path / "features") == ["000001"]


WRITER = """
import sys
from pathlib import Path
import numpy as np
from handful import revisions
n = 20_000
while True:
    value = revisions.rev_of(Path(sys.argv[1]), "features") + 1
    arrays = {
        "rows": np.arange(n), "vectors": np.full((n, 8), value % 1000, np.float16),
        "stack": np.full(n, value, np.int32),
    }
    revisions.publish(Path(sys.argv[1]), "features", arrays, made="a", meta={"value": value})
"""


def test_a_kill_at_any_moment_leaves_one_or_the_other(tmp_path: Path) -> None:
    """Each time the revision that is named is whole, and its number never goes back."""
    last = 0
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        begun = time.monotonic()
        while revisions.rev_of(tmp_path, "features") <= last and time.monotonic() - begun < 20:
            time.sleep(0.005)
        time.sleep(0.003 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = revisions.newest(tmp_path, "features", made="a")
        assert found is not None
        value = found.meta["value"]
        assert found.rev == json.loads((tmp_path / "features.json").read_text())["rev"] > last
        assert (found["stack"] == value).all()
        assert (found["vectors"] == value % 1000).all()
        last = found.rev
