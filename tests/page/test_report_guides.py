"""What the report shows of the class guides."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from page_serving import Client, Served


def written(client: Client, folder: Path, **more: bool) -> str:
    body = {"id": client.id(), "formats": [], "report": True, **more}
    made = client.send("/export", {k: v for k, v in body.items() if k != "id"})
    assert made.status == 200, made.body
    newest = max(folder.glob("handful-export/*/report.html"), key=lambda p: p.stat().st_mtime_ns)
    return newest.read_text(encoding="utf-8")


def shelf(html: str, name: str) -> list[list[bytes]]:
    """The rows of pictures of a class."""
    block = html.partition(f"<h3>{name}</h3>")[2].partition("</div>")[0]
    rows = re.findall(r"<ul class=\"tiles\">(.*?)</ul>", block)
    return [[base64.b64decode(b) for b in re.findall(r"base64,([^\"]+)", row)] for row in rows]


def test_pinned_pictures_come_first_and_what_it_is_not(
    served: Served, client: Client, pictures: Path
) -> None:
    ids = client.ids()
    for image in ids[:5]:
        client.label(image, "horned")
    thumbs = {id: client.get(f"/t/{id}/192").body for id in ids}
    guide = {"text": "two <horns>", "examples": [ids[7], ids[2]], "nots": [ids[9]]}
    assert client.change(0, guide=guide).status == 200
    (pictures / "07.png").rename(pictures / "seven.png")  # it goes by another name now
    client.send("/rescan", {})
    served.settled()

    html = written(client, pictures, report_pictures=True)
    assert "two &lt;horns&gt;" in html
    likes, nots = shelf(html, "horned")
    assert likes[:2] == [thumbs[ids[7]], thumbs[ids[2]]]
    assert len(likes) == len(set(likes)) == 6  # the others are labelled ones
    assert nots == [thumbs[ids[9]]]
    assert "Not horned:" in html

    plain = written(client, pictures)
    assert "two &lt;horns&gt;" in plain
    assert "base64," not in plain.partition("<h3>horned</h3>")[2]
