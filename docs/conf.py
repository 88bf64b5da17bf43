"""How Sphinx builds these pages; the cards of recipes, rules, learners and commands first."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import handful

project = "handful"
author = "The handful authors"
copyright = "The handful authors, Apache-2.0"
release = handful.__version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "handful"
html_show_sphinx = False
html_static_path: list[str] = []
suppress_warnings = ["misc.highlighting_failure"]  # formulas in cards are no code


def setup(app: Any) -> None:
    """Write docs/generated before Sphinx looks for pages."""
    import cards
    import toy

    generated = Path(__file__).parent / "generated"
    cards.write(generated)
    toy.write(generated)
