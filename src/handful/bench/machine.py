"""What a result was measured on: processor, memory, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from handful import __version__

__all__ = ["cores", "machine", "memory", "versions"]

PACKAGES = (
    "numpy", "scipy", "scikit-learn", "torch", "lightning-fabric", "safetensors", "pillow",
    "tifffile", "imagecodecs", "pyarrow", "matplotlib", "openTSNE", "rich", "click",
)  # fmt: skip


def cores() -> int:
    """Cores that this process may use."""
    able = getattr(os, "sched_getaffinity", None)
    return len(able(0)) if able else os.cpu_count() or 1


def memory() -> float:
    """Memory of the machine in GB (2^30 bytes)."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def machine() -> str:
    """One line, e.g. ``2 cores, 24 GB, AMD EPYC``."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    n = cores()
    return f"{n} core{'s' if n > 1 else ''}, {memory():.0f} GB, {model}"


def versions() -> dict[str, str]:
    """Version of handful, Python and each package it stands on; empty for a missing one."""
    found = {"handful": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found
