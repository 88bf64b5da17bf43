"""``report.html`` and the figures in it, each callable on its own for a paper."""

from __future__ import annotations

from handful.report import clusters, curves, figures, maps
from handful.report.page import render
from handful.report.runs import Run, load

__all__ = ["Run", "clusters", "curves", "figures", "load", "maps", "render"]
