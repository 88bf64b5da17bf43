"""Our files in the hands of the programs that they are for; needs ``scripts/readers.sh``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from exporting import about, again, hard_folder

from handful.exports import FORMS, write, write_folders
from handful.paths import to_text

SCRIPT = Path(__file__).with_name("real_readers.py")


@pytest.mark.slow
def test_what_the_real_readers_read(tmp_path: Path) -> None:
    python = os.environ.get("HANDFUL_READERS")
    if not python:
        pytest.skip("HANDFUL_READERS names no Python with the readers: run scripts/readers.sh")
    rows = hard_folder(tmp_path / "pictures")
    for form in FORMS:
        write(form, tmp_path, again(rows), about(tmp_path / "pictures"))
    write_folders(tmp_path / "by-class", again(rows), about(tmp_path / "pictures"))
    wanted = ("class", "state", "source")
    expected = {to_text(row["path"]): {name: row[name] for name in wanted} for row in rows}
    (tmp_path / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    done = subprocess.run(
        [python, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False,
        env={**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "+ " in done.stdout, done.stdout
    print(done.stdout)  # noqa: T201 - which readers there were
