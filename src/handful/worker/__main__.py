"""``python -m handful.worker --place PLACE --folder FOLDER [--follow]``: see `handful.worker`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

NICE = 10


def main() -> None:
    """Work until what comes in ends."""
    asked = argparse.ArgumentParser(prog="python -m handful.worker")
    asked.add_argument("--place", type=Path, required=True, help="where the project is kept")
    asked.add_argument("--folder", type=Path, required=True, help="the pictures")
    asked.add_argument("--follow", action="store_true", help="follow links out of the folder")
    given = asked.parse_args()
    # before numpy and torch load: threads of several processes starve each other
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this
    with suppress(OSError, AttributeError):
        os.nice(max(0, NICE - os.nice(0)))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # nothing else may speak on the pipe
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from handful.worker.voice import Ear, Voice
    from handful.worker.work import Worker

    ear, voice = Ear(sys.stdin), Voice(out)
    with threadpool_limits(1):
        Worker(given.place, given.folder, ear, voice, follow=given.follow).run()


if __name__ == "__main__":
    main()
