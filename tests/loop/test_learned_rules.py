"""Rules that train a network of their own, in whole runs on digits at the smallest size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.bench.run import run
from handful.recipes import recipe

TINY: dict[str, dict[str, Any]] = {
    "core-gcn": {"steps": 5},
    "sraal": {"network": "mlp", "steps": 3, "hidden": 8},
    "uncertain-gcn": {"steps": 5},
    "vaal": {"network": "mlp", "steps": 3, "hidden": 8},
}


@pytest.mark.parametrize("name", TINY)
def test_three_rounds_on_digits(name: str, tmp_path: Path) -> None:
    made = recipe(
        name, learner={"steps": 20}, query=TINY[name], initial=20, batch=10, budget=40, seed=1
    )
    record = run("digits", made, out=tmp_path / name, report=False)
    assert [row["labels"] for row in record.rounds] == [20, 30, 40]
    scores = [row["accuracy_test"] for row in record.rounds]
    assert np.isfinite(scores).all()
    assert max(scores) > 0.15  # ten classes: chance is .1
