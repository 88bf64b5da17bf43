"""What a rule needs to be registered: a loop that it equals, a worked number, a bound of memory.

`slow_rules` holds the loops and names the tests; a rule that is in none of its tables fails.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import handful.queries
import handful.queries_learned
from handful.registry import QUERIES, asks_pairs
from handful.rng import rng_for
from handful.testing.queries import made_up_parts
from handful.types import Snapshot
from slow_rules import ELSEWHERE, LOOPS, WITHOUT, WORKED

TESTS = Path(__file__).parents[1]
ROWS, WIDTH = 200_000, 128
BOUND = re.compile(r"Memory: at most (\d+) MB at 200,000 x 128")
# the network of a rule that trains is as small as it gets here: what is bounded is the pool's part
SMALL = {
    "vaal": "network='mlp', steps=1, latent=4, hidden=8",
    "sraal": "network='mlp', steps=1, latent=4, hidden=8",
    "uncertain-gcn": "steps=1, hidden=8",
    "core-gcn": "steps=1, hidden=8",
}
of_images = pytest.mark.parametrize(
    "name", [name for name in QUERIES if not asks_pairs(QUERIES.get(name))]
)
names = pytest.mark.parametrize("name", QUERIES.names())


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def cost(name: str) -> str:
    """The section Cost of a card, in one line."""
    card = inspect.cleandoc(QUERIES.get(name).__doc__ or "")
    section = re.search(r"^Cost +(.+(?:\n .+)*)", card, re.MULTILINE)
    assert section, f"{name}: the card lacks Cost"
    return " ".join(section.group(1).split())


@names
def test_every_rule_has_a_loop_that_it_equals(name: str) -> None:
    where = [table for table in (LOOPS, ELSEWHERE, WITHOUT) if name in table]
    assert len(where) == 1, f"write a loop for {name!r} in tests/slow_rules.py, or say who has it"
    if name in LOOPS:
        assert LOOPS[name].rule.name == name
    if name in ELSEWHERE:
        path, _, test = ELSEWHERE[name].partition("::")
        assert test in functions(path)


@names
def test_every_rule_has_a_worked_number(name: str) -> None:
    path, _, test = WORKED.get(name, "::").partition("::")
    assert path, f"name a worked number of {name!r} in tests/slow_rules.py"
    assert test in functions(path)


def test_the_tables_name_no_rule_that_is_gone() -> None:
    named = {*LOOPS, *ELSEWHERE, *WITHOUT, *WORKED}
    assert named <= {*QUERIES.names()}


@of_images
def test_every_card_bounds_its_memory(name: str) -> None:
    assert BOUND.search(cost(name)), f"{name}: Cost has no 'Memory: at most N MB at 200,000 x 128'"


@pytest.mark.parametrize("name", LOOPS)
def test_equals_its_loop(name: str) -> None:
    rule, loop = LOOPS[name]

    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(
        st.lists(st.sampled_from(["open", "aside", 0, 1, 2]), min_size=2, max_size=22),
        st.integers(1, 12),
        st.integers(0, 999),
        st.sampled_from(["plain", "duplicates"]),
    )
    def check(kinds: list[str | int], k: int, seed: int, shape: str) -> None:
        parts = made_up_parts(rule.needs, len(kinds), n_classes=3, seed=seed, shape=shape)
        if "embedding" in parts and getattr(rule, "normalise", None) == "l2":
            x = parts["embedding"].astype(np.float64)
            parts["embedding"] = x / np.linalg.norm(x, axis=1, keepdims=True)
        snapshot = Snapshot.from_arrays(
            known=np.array([kind if isinstance(kind, int) else -1 for kind in kinds]),
            open=np.array([kind == "open" for kind in kinds]),
            **parts,
        )
        found = rule.select(snapshot, k, rng_for(seed, 0, "query")).rows.tolist()
        assert found == loop(snapshot, k, rng_for(seed, 0, "query"))

    check()


MEASURE = """
import gc, sys
import numpy as np, scipy.sparse, scipy.special, scipy.optimize, sklearn.cluster, threadpoolctl
import handful.queries, handful.queries_learned
from handful.registry import QUERIES
from handful.types import Snapshot

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

n, d, rng = {rows}, {width}, np.random.default_rng(0)
rule = QUERIES.get({name!r})({options})
def chances(*shape):
    p = rng.standard_exponential(shape, dtype=np.float32)
    p /= p.sum(axis=-1, keepdims=True)
    return p
makers = dict(
    embedding=lambda: rng.standard_normal((n, d), dtype=np.float32), proba=lambda: chances(n, 10),
    previous=lambda: chances(n, 10), clusters=lambda: chances(n, 10),
    centres=lambda: rng.standard_normal((10, d), dtype=np.float32),
    draws=lambda: chances(10, n, 10), heads=lambda: chances(3, n, 10),
    weights=lambda: rng.random(n),
)
known = np.where(np.arange(n) % 1000 == 0, np.arange(n) // 1000 % 10, -1)
images = rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
snapshot = Snapshot.from_arrays(
    known=known, images=images, predict=lambda x: np.full((len(x), 10), 0.1, dtype=np.float32),
    **{{part: makers[part]() for part in rule.needs}},
)
small = Snapshot.from_arrays(
    known=known[:3000], images=images[:3000], predict=snapshot.predict,
    **{{part: a if part == "centres" else a[:, :3000] if part in ("draws", "heads") else a[:3000]
       for part, a in snapshot.parts.items()}},
)
rule.select(small, 100, np.random.default_rng(0))  # imports and buffers of libraries
gc.collect()
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = status("VmRSS")
assert len(rule.select(snapshot, 100, np.random.default_rng(0)).ids) == 100
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@of_images
def test_memory_is_within_the_bound_of_the_card(name: str) -> None:
    """Beside the parts of the snapshot, in a process of its own; the peak is the kernel's."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the peak of a process is read from /proc")
    code = MEASURE.format(rows=ROWS, width=WIDTH, name=name, options=SMALL.get(name, ""))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    match = BOUND.search(cost(name))
    assert match
    assert float(done.stdout) <= int(match.group(1)), f"{name} took {float(done.stdout):.0f} MB"


assert handful.queries, handful.queries_learned  # imported for what they register
