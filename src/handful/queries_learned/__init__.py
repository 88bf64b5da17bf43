"""Query rules that train a network of their own before they ask.

The same contract as in `handful.queries`.  Importing this names them and stays light: torch
comes when a rule is asked, not before.
"""

from __future__ import annotations

from handful.queries_learned.gcn import CoreGCN, UncertainGCN
from handful.queries_learned.sraal import SRAAL, uncertainty
from handful.queries_learned.vaal import VAAL

__all__ = ["SRAAL", "VAAL", "CoreGCN", "UncertainGCN", "uncertainty"]
