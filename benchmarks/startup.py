"""How soon the command line answers: `handful --help` and `import handful`, in fresh processes.

``python benchmarks/startup.py``: the best and the median of ten; fails when torch is imported.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from record import record

HELP = """
import atexit, os, sys
atexit.register(lambda: os._exit(3) if "torch" in sys.modules else None)
from handful.cli import main
sys.argv[1:] = ["--help"]
main()
"""
IMPORT = "import sys, handful; sys.exit('torch' in sys.modules)"


def main() -> None:
    for name, code in (("handful --help", HELP), ("import handful", IMPORT)):
        seconds = []
        for _ in range(10):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - began)
        for what, value in (("best of 10", min(seconds)), ("median of 10", median(seconds))):
            record("startup", "", name, f"fresh process, {what}", 0, "", "seconds", value, "s")
            print(f"{name:16} {what:12} {value:.3f} s")


if __name__ == "__main__":
    main()
