"""Write the document of the page's API to ``ui/src/api.schema.json``; a test compares the two."""

from __future__ import annotations

import json
from pathlib import Path

from handful.page.openapi import document

if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "ui" / "src" / "api.schema.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
