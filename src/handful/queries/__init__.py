"""Query rules: which images to ask about next.  One rule, one file; importing this names them.

Each rule is twice here: as a frozen dataclass for the loop (``Entropy``, in the registry as
``entropy``), and as a function of plain arrays (``entropy(proba, k)``), rows in, rows out.
"""

from __future__ import annotations

from handful.queries._adc import ADCPairs, adc_pairs, pair_entropy, similarities
from handful.queries._badge import BADGE, badge
from handful.queries._bald import BALD, StochasticScores, bald, stochastic_scores
from handful.queries._core_set import CoreSet, core_set
from handful.queries._dcom import DCoM, competence, dcom
from handful.queries._dsac import DSAC, Chosen, dsac, far_set, near_set, quotas
from handful.queries._entropy import Entropy, entropies, entropy, entropy_from_logits
from handful.queries._graph_coverage import GraphCoverage, graph_coverage
from handful.queries._lada import LADA, beta_nodes, expected_entropies, lada
from handful.queries._least_confidence import LeastConfidence, least_confidence
from handful.queries._margin import Margin, margin, margin_from_logits, margins
from handful.queries._mcdal import MCDAL, discrepancies, mcdal
from handful.queries._probcover import ProbCover, probcover
from handful.queries._random import Random, random
from handful.queries._random_pairs import RandomPairs, random_pairs
from handful.queries._tod import TOD, cod, tod
from handful.queries._typiclust import TypiClust, typicality, typiclust

__all__ = [
    "BADGE",
    "BALD",
    "DSAC",
    "LADA",
    "MCDAL",
    "TOD",
    "ADCPairs",
    "Chosen",
    "CoreSet",
    "DCoM",
    "Entropy",
    "GraphCoverage",
    "LeastConfidence",
    "Margin",
    "ProbCover",
    "Random",
    "RandomPairs",
    "StochasticScores",
    "TypiClust",
    "adc_pairs",
    "badge",
    "bald",
    "beta_nodes",
    "cod",
    "competence",
    "core_set",
    "dcom",
    "discrepancies",
    "dsac",
    "entropies",
    "entropy",
    "entropy_from_logits",
    "expected_entropies",
    "far_set",
    "graph_coverage",
    "lada",
    "least_confidence",
    "margin",
    "margin_from_logits",
    "margins",
    "mcdal",
    "near_set",
    "pair_entropy",
    "probcover",
    "quotas",
    "random",
    "random_pairs",
    "similarities",
    "stochastic_scores",
    "tod",
    "typicality",
    "typiclust",
]
