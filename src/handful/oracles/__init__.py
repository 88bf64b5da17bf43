"""Who answers in a simulated run: the truth, the truth with errors, a table, pairs.

Truth lives here and in the scorer, on the far side of the loop's ``yield``.
"""

from __future__ import annotations

from handful.oracles.noisy import NoisyOracle
from handful.oracles.pair import PairOracle
from handful.oracles.table import TableOracle
from handful.oracles.truth import TruthOracle

__all__ = ["NoisyOracle", "PairOracle", "TableOracle", "TruthOracle"]
