"""kill -9 at random moments of a run, then --resume: the rounds must come out equal.

``python benchmarks/kill.py [KILLS]``  (20 by default)

A reference run on digits goes through undisturbed.  Then the same run is started again and
again, killed at a random moment of its life and resumed, until KILLS kills were made; each
run that reaches its end is compared: ``rounds.csv`` without its clocks, the events of the
book, and the predictions must be equal to the reference, byte for byte.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from record import record

CLOCKS = ("seconds_fit", "seconds_query", "images_per_second", "peak_mb")
COMMAND = (
    "run", "digits", "--recipe", "ccl-student", "--initial", "30", "--batch", "30", "--budget",
    "150", "--split", "80/20", "--seed", "1",
)  # fmt: skip


def start(out: Path) -> subprocess.Popen[bytes]:
    resume = ["--resume"] if (out / "book.sqlite").exists() else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [sys.executable, "-m", "handful", "--quiet", *COMMAND, "--out", str(out), *resume],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(out: Path) -> None:
    process = start(out)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"the run at {out} ended with {process.returncode}: {errors.decode()}")


def essence(out: Path) -> tuple[object, ...]:
    with (out / "rounds.csv").open(newline="") as file:
        rounds = [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    for event in events:
        event.pop("at", None)
    return rounds, events, (out / "predictions.csv").read_text()


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rng = np.random.default_rng(0)
    place = Path(tempfile.mkdtemp(prefix="handful-kill-"))
    began = time.perf_counter()
    finish(place / "reference")
    life = time.perf_counter() - began
    wanted = essence(place / "reference")
    made, compared, equal, number = 0, 0, 0, 0
    while made < kills:
        out = place / f"run{number}"
        number += 1
        for _ in range(5):  # five kills at most a run, then it may reach its end
            if made == kills:
                break
            process = start(out)
            try:
                process.wait(timeout=float(rng.uniform(0.1, 1.0)) * life)
                break  # it came to its end before the blow
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                made += 1
                print(f"kill {made}: {out.name}", flush=True)
        if not (out / "report.html").exists():
            finish(out)
        compared += 1
        equal += essence(out) == wanted
    seconds = time.perf_counter() - began
    shutil.rmtree(place)
    record("kill", "digits", "ccl-student", "fast 80/20", 1, 150, "kills", made, "", seconds)
    record("kill", "digits", "ccl-student", "fast 80/20", 1, 150, "runs compared", compared, "")
    record("kill", "digits", "ccl-student", "fast 80/20", 1, 150, "runs equal", equal, "")
    print(f"{made} kills, {compared} runs, {equal} equal to the reference, {seconds:.0f} s")
    return 0 if equal == compared else 1


if __name__ == "__main__":
    sys.exit(main())
