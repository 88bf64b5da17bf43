"""``handful doctor``: what this machine offers, what is missing and the remedy."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import click

from handful.cli.options import common

__all__ = ["doctor"]

_ROOM = 2 * 2**30  # bytes: a run of 60,000 images leaves about a tenth of it


@click.command()
@common
def doctor() -> None:
    """Check this machine and name what is missing."""
    from handful.cli.console import print_table, say

    say("looking at this machine ...")
    troubles: list[str] = []
    rows = [*_versions(troubles), *_machine(), *_torch(troubles), *_places(troubles)]
    print_table(("what", "found"), rows, right=2)
    for trouble in troubles:
        click.echo(f"! {trouble}")
    click.echo("everything is in place" if not troubles else f"{len(troubles)} to look at")


def _versions(troubles: list[str]) -> list[tuple[str, str]]:
    from handful.bench.machine import versions

    found = versions()
    troubles += [f"{name} is missing: pip install {name}" for name, v in found.items() if not v]
    return [(name, v or "missing") for name, v in found.items()]


def _machine() -> list[tuple[str, str]]:
    from handful.bench.machine import machine

    return [
        ("system", f"{platform.system()} {platform.machine()}"),
        ("machine", machine()),
        ("OMP_WAIT_POLICY", os.environ.get("OMP_WAIT_POLICY", "unset")),
        ("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "unset (all cores)")),
    ]


def _torch(troubles: list[str]) -> list[tuple[str, str]]:
    try:
        import torch
    except ImportError as error:
        troubles.append(f"torch does not load ({error}): install it again, `make demo` does")
        return [("torch threads", "torch does not load")]
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        ("torch threads", str(torch.get_num_threads())),
        ("GPU", ", ".join(gpus) or "none: the fast schedule is the default"),
    ]


def _places(troubles: list[str]) -> list[tuple[str, str]]:
    free = shutil.disk_usage(Path.cwd()).free
    if free < _ROOM:
        troubles.append(f"{free / 2**30:.1f} GB free here: make room or give --out elsewhere")
    root = os.environ.get("HANDFUL_DATA")
    if root is None:
        shown = "unset: only digits and your own folders"
    elif Path(root).is_dir():
        sets = sorted(p.name for p in Path(root).iterdir() if p.suffix in (".npz", ".parquet"))
        shown = f"{root}: {', '.join(sets) or 'no set in it'}"
    else:
        shown = f"{root}: no such folder"
        troubles.append(f"HANDFUL_DATA names {root}, which is no folder: correct or unset it")
    return [
        ("free disk here", f"{free / 2**30:.0f} GB"),
        ("HANDFUL_DATA", shown),
        ("cache of features", _cache()),
        ("installed in", sys.prefix),
    ]


def _cache() -> str:
    """Where features are kept, and how much of the disk they take."""
    from handful import cache

    matrices, size = cache.usage()
    named = "HANDFUL_CACHE" if os.environ.get("HANDFUL_CACHE") else "HANDFUL_CACHE moves it"
    held = f"{matrices} matrices, {size / 2**20:,.0f} MB" if matrices else "empty"
    return f"{cache.folder()}: {held} ({named}; may be deleted at any time)"
