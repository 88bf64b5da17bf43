"""What the groups of long runs share: one cell is one run of one recipe with one seed."""

from __future__ import annotations

from dataclasses import replace

from handful.bench.grid import Cell
from handful.recipes import QueryPart, recipe


def cell(
    bench: str,
    data: str,
    name: str,
    variant: str,
    seed: int,
    *,
    label: str | None = None,
    random: bool = False,
    split: str = "80/20",
    max_side: int | None = None,
    **changes: object,
) -> Cell:
    """One run: ``label`` renames the recipe in the rows, ``random`` swaps in random queries."""
    if random:
        changes["query"] = QueryPart("random")
    made = recipe(name, seed=seed, split=split, **changes)
    return Cell(
        bench, data, replace(made, name=label) if label else made, variant, max_side=max_side
    )
