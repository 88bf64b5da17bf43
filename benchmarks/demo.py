"""`handful demo`: seconds, labels and accuracy over the digits that nobody was asked about.

``python benchmarks/demo.py [SEEDS]``  (1 by default; further seeds show the spread)
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record


def main() -> None:
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "demo"
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "handful", "--quiet", "demo", "--out", str(out),
                 "--seed", str(seed)],
                check=True,
            )  # fmt: skip
            seconds = time.perf_counter() - began
            with (out / "rounds.csv").open(newline="") as file:
                rounds = list(csv.DictReader(file))
        for row in rounds:
            labels, accuracy = int(row["labels"]), float(row["accuracy_unlabelled"])
            record(
                "demo", "digits", "ccl-student", "demo", seed, labels, "accuracy_unlabelled",
                accuracy, "", seconds,
            )  # fmt: skip
        record("demo", "digits", "ccl-student", "demo", seed, labels, "seconds", seconds, "s")
        print(f"seed {seed}: {accuracy:.4f} from {labels} labels in {seconds:.0f} s")


if __name__ == "__main__":
    main()
