"""Minutes of `make demo` and `make test` in a fresh clone, with empty caches.

Clones HEAD into an empty folder, runs both commands there with no pip cache and no user
cache, runs `make demo`'s install a second time, and appends the seconds of each.  The
folder is removed afterwards.  Takes about as long as a user has to wait.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from record import ROOT, record


def main() -> None:
    """Clone, run, record."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "handful")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        empty = {"PIP_NO_CACHE_DIR": "1", "XDG_CACHE_HOME": str(Path(folder, "cache"))}
        environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"} | empty
        steps = (
            ("install for the demo", ["make", ".venv/.handful-core"]),
            ("second call", ["make", ".venv/.handful-core"]),
            ("make demo, installed", ["make", "demo"]),
            ("make test, tools included", ["make", "test"]),
        )
        for variant, command in steps:
            started = perf_counter()
            done = subprocess.run(
                command, cwd=clone, env=environment, stdin=subprocess.DEVNULL, check=False
            )
            seconds = perf_counter() - started
            if done.returncode:
                sys.exit(f"{' '.join(command)} failed with {done.returncode} in a fresh clone")
            record("fresh_clone", "", "", variant, "", "", "seconds", seconds, "s", seconds)
            print(f"{variant:<28} {seconds:8.1f} s")


if __name__ == "__main__":
    main()
