"""Label Studio's JSON: a task an image; what people said are annotations, the rest predictions.

Beside the tasks goes the labelling set-up, ``label-studio.xml``.  Pictures are named as its local
storage serves them, ``/data/local-files/?d=FOLDER/path``, with the folder *above* the pictures as
its document root.  What has no class is kept in ``meta``; *later* is a cancelled annotation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit
from xml.sax.saxutils import quoteattr

from handful.exports.about import About, LabelRow, Rows
from handful.exports.incoming import Incoming, Said, state_of, text_of
from handful.paths import to_text
from handful.store import LABEL_COLUMNS
from handful.store.files import write_whole

__all__ = ["SETUP", "read_label_studio", "write_label_studio"]

SETUP = "label-studio.xml"
_HERE = "/data/local-files/?d="
_UPLOAD = re.compile(r"/data/upload/\d+/[0-9a-f]{8}-(.+)", re.DOTALL)
_NOT_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def write_label_studio(path: Path, rows: Rows, about: About) -> int:
    """Write the tasks to ``path`` and the set-up beside them; gives the number of tasks."""
    lines = _Lines()
    write_whole(path, lines.document(rows, about))
    write_whole(path.with_name(SETUP), _setup(about).encode())
    return lines.n


def _setup(about: About) -> str:
    choices = "".join(
        f"    <Choice value={quoteattr(_NOT_XML.sub(' ', name))}/>\n" for _, name in about.classes
    )
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        '  <Choices name="class" toName="image" choice="single">\n'
        f"{choices}  </Choices>\n</View>\n"
    )


class _Lines:
    def __init__(self) -> None:
        self.n = 0

    def document(self, rows: Rows, about: About) -> Iterator[bytes]:
        yield b"["
        for row in rows():
            self.n += 1
            text = json.dumps(_task(self.n, row, about.name), ensure_ascii=False)
            yield (b",\n" if self.n > 1 else b"\n") + text.encode()
        yield b"]\n"


def _task(id: int, row: LabelRow, folder: str) -> dict[str, Any]:
    result = [] if row["class"] is None else [{
        "id": f"h{id}", "from_name": "class", "to_name": "image", "type": "choices",
        "value": {"choices": [row["class"]]},
    }]  # fmt: skip
    task: dict[str, Any] = {
        "id": id,
        "data": {
            "image": _HERE + quote(f"{folder}/{row['path']}".encode(errors="surrogateescape"))
        },
        "annotations": [],
        "predictions": [],
        "meta": {**{n: row.get(n) for n in LABEL_COLUMNS}, "path": to_text(row["path"])},
    }
    if row["source"] == "model":
        task["predictions"] = [{"result": result, "score": row["confidence"], "model_version":
                                "handful"}]  # fmt: skip
    elif row["state"] != "open":
        task["annotations"] = [{
            "id": id, "result": result, "was_cancelled": row["state"] == "later",
            "ground_truth": row["source"] == "audit", "created_at": row["time"],
        }]  # fmt: skip
    return task


def read_label_studio(tasks: list[Any]) -> Incoming:
    """What such a list says: the full form, or the short one (JSON_MIN)."""
    found = Incoming("label_studio")
    for place, task in enumerate(tasks, 1):
        if not isinstance(task, dict):
            found.fault(place, "no task")
            continue
        meta = task["meta"] if isinstance(task.get("meta"), dict) else {}
        own = text_of(meta.get("path"))
        path = own or _path(task["data"] if isinstance(task.get("data"), dict) else task)
        if not path:
            found.fault(place, "a task that names no picture")
            continue
        if isinstance(task.get("data"), dict):
            labels = _choices(task, "annotations") or _choices(task, "completions")
            guess = _choices(task, "predictions")
        else:
            labels, guess = _short(task), []
        if len(labels) > 1:
            found.fault(place, f"{path}: {len(labels)} classes for one picture")
            continue
        sha256 = text_of(meta.get("sha256"))
        class_id = meta["class_id"] if type(meta.get("class_id")) is int else None
        if not labels and (guess or meta.get("source") == "model"):
            state = state_of(meta.get("state") if own and not guess else None, None)
            found.take(Said(path, next(iter(guess), None), state, sha256, class_id), model=True)
            continue
        label = labels[0] if labels else None
        state = state_of(meta.get("state") if own and not label else None, label)
        found.take(Said(path, label, state, sha256, class_id))
    return found


def _choices(task: dict[str, Any], kind: str) -> list[str]:
    """The classes that people (or models) chose, each once; cancelled answers choose nothing."""
    chosen: list[str] = []
    for answer in task[kind] if isinstance(task.get(kind), list) else ():
        if not isinstance(answer, dict) or answer.get("was_cancelled") is True:
            continue
        for part in answer["result"] if isinstance(answer.get("result"), list) else ():
            value = part.get("value") if isinstance(part, dict) else None
            named = value.get("choices") if isinstance(value, dict) else None
            chosen += [n for n in map(text_of, named if isinstance(named, list) else ()) if n]
    return list(dict.fromkeys(chosen))


def _short(task: dict[str, Any]) -> list[str]:
    """JSON_MIN: the choice stands as a plain value, or as a list in ``choices``."""
    for name in ("class", "choice", "label", "category"):
        value = task.get(name)
        if isinstance(value, dict):
            value = value.get("choices")
        values = value if isinstance(value, list) else [value]
        if chosen := [text for text in map(text_of, values) if text]:
            return list(dict.fromkeys(chosen))
    return []


def _path(data: dict[str, Any]) -> str | None:
    """The picture of a task: a value called image, else the first that looks like a name."""
    texts = [v for v in (data.get("image"), data.get("img"), *data.values()) if text_of(v)]
    for value in texts:
        if isinstance(value, str) and ("/" in value or "." in value):
            return _plain(value)
    return None


def _plain(address: str) -> str:
    """The name in an address of a picture, written as `handful.paths.to_text` writes names."""
    if address.startswith(_HERE):
        return _decoded(address[len(_HERE) :])
    if uploaded := _UPLOAD.fullmatch(address):
        return _decoded(uploaded[1])
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https", "s3", "gs"):
            inner = parse_qs(parts.query).get("d")
            return to_text(inner[0]) if inner else _decoded(parts.path.lstrip("/"))
    except ValueError:
        return address
    return address


def _decoded(text: str) -> str:
    name = unquote_to_bytes(text.encode(errors="surrogatepass")).decode("utf-8", "surrogateescape")
    return to_text(name)
