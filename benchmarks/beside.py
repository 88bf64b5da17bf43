"""Puts the scripts and the page's tests on the path: what drives the page is theirs."""

from __future__ import annotations

import sys

from record import ROOT

sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "page")]
