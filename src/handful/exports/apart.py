"""A label file read in a process of its own, so that no file can take the page down with it.

The child may use so much memory and time and answers in lines of JSON: a head, then a row each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from handful.errors import InputError
from handful.exports.incoming import Fault, Incoming, Said
from handful.exports.reading import read_any

__all__ = ["read_apart"]

SECONDS = 120
MEMORY = 4 << 30


def read_apart(path: Path, *, seconds: float = SECONDS, memory: int = MEMORY) -> Incoming:
    """`read_any` of a file in a child; `InputError` when it is refused, too slow or too large."""
    asked = [sys.executable, "-m", "handful.exports.apart", os.fspath(path), str(memory)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            asked, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, **threads},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{path.name} takes longer than {seconds:g} s to read: import it in parts"
        ) from error
    lines = child.stdout.splitlines()
    if not lines or child.returncode not in (0, 2):
        raise InputError(f"{path.name} cannot be read: it is damaged, or too large; split it")
    head = json.loads(lines[0])
    if child.returncode:
        raise InputError(str(head["refused"]))
    rows = [json.loads(line) for line in lines[1:]]
    return Incoming(
        head["form"],
        said=[Said(*row[1:]) for row in rows if not row[0]],
        guessed=[Said(*row[1:]) for row in rows if row[0]],
        faults=[Fault(*fault) for fault in head["faults"]],
        faulty=head["faulty"],
        empty=head["empty"],
    )


def _limited(memory: int) -> None:
    with suppress(ImportError, ValueError, OSError):  # where there is no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(path: Path, memory: int) -> int:
    _limited(memory)
    out = sys.stdout
    try:
        found = read_any(path)
    except InputError as error:
        out.write(json.dumps({"refused": str(error)}) + "\n")
        return 2
    head = {"form": found.form, "faults": found.faults, "faulty": found.faulty,
            "empty": found.empty}  # fmt: skip
    out.write(json.dumps(head) + "\n")
    for guessed, rows in ((0, found.said), (1, found.guessed)):
        out.writelines(json.dumps([guessed, *said]) + "\n" for said in rows)
    return 0


if __name__ == "__main__":
    sys.exit(_answer(Path(sys.argv[1]), int(sys.argv[2])))
