"""The contracts, shipped: inherit one, name your class, run pytest.

``QueryContract``, ``PairQueryContract``, ``LearnerContract``, ``OracleContract`` and
``StoreContract`` check a part written elsewhere exactly as the parts in this package are checked.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "LearnerContract": "learners",
    "OracleContract": "oracles",
    "PairQueryContract": "pairs",
    "QueryContract": "queries",
    "StoreContract": "stores",
}

__all__ = [
    "LearnerContract",
    "OracleContract",
    "PairQueryContract",
    "QueryContract",
    "StoreContract",
]


def __getattr__(name: str) -> Any:
    """Import a contract when it is asked for: that of learners needs torch, the others do not."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
