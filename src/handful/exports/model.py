"""The model as one file, ``model.handful``: safetensors with its card in the metadata, no code.

The card says what the model stands on (encoder and its preprocessing), the classes by id and
name, who may use it, how many answers taught it, and the blind check of the folder that it comes
from, with what that covers.  Weights are those of a revision, byte for byte.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handful import __version__
from handful.errors import InputError, StoreError
from handful.revisions import Revision
from handful.store.files import write_whole

__all__ = ["MODEL_FILE", "is_page_model", "model_bytes", "read_model", "write_model"]

MODEL_FILE = "model.handful"
_KIND = "handful page model"
_LARGEST_HEADER = 32 << 20
_LICENCE = (
    "The weights learnt from your answers are yours. The packaged encoder is EfficientNet-Lite,"
    " Apache-2.0; it is not in this file."
)


def write_model(
    path: Path,
    revision: Revision,
    *,
    folder: str,
    names: Callable[[int], tuple[int, str] | None],
    audit: Mapping[str, Any] | None,
) -> int:
    """Write the model of a revision; gives its size in bytes.

    ``names(id)`` is the class that an id leads to now.  `InputError` where the revision holds no
    model that could be written.
    """
    body = model_bytes(revision, folder=folder, names=names, audit=audit)
    write_whole(path, body)
    return len(body)


def model_bytes(
    revision: Revision,
    *,
    folder: str,
    names: Callable[[int], tuple[int, str] | None],
    audit: Mapping[str, Any] | None,
) -> bytes:
    """The file as bytes: the tensors as they are, another header before them."""
    try:
        card = json.loads((revision.folder / "card.json").read_text(encoding="utf-8"))
        weights = (revision.folder / "model.safetensors").read_bytes()
        header, tensors = _split(weights)
        classes = [_now(kind, names) for kind in card["classes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "there is no model to write yet: it is made after a few more answers"
        ) from error
    card |= {
        "kind": _KIND, "version": __version__, "folder": folder, "classes": classes,
        "licence": _LICENCE, "audit": None if audit is None else dict(audit),
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    header["__metadata__"] = {"format": "handful", "card": json.dumps(card, sort_keys=True)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors


def _now(kind: Mapping[str, Any], names: Callable[[int], tuple[int, str] | None]) -> dict[str, Any]:
    """A class of the card as it is called now; merged ones share an id."""
    found = names(int(kind["id"])) if int(kind["id"]) >= 0 else None
    id, name = found if found is not None else (int(kind["id"]), str(kind["name"]))
    return {"id": id, "name": name}


def _split(weights: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(weights[:8], "little")
    if not 2 <= size <= min(_LARGEST_HEADER, len(weights) - 8):
        raise ValueError("no safetensors")
    header = json.loads(weights[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("no safetensors")
    return header, weights[8 + size :]


def read_model(path: Path) -> tuple[dict[str, Any], bytes]:
    """The card and the file's bytes, which safetensors reads; `InputError` when it is none."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    try:
        header, _ = _split(body)
        card = json.loads(header["__metadata__"]["card"])
        if card["kind"] != _KIND:
            raise ValueError("of another kind")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is no model of the labelling page: export one there") from error
    return card, body


def is_page_model(path: Path) -> bool:
    """Whether a file is such a model; only its head is read."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if 2 <= size <= _LARGEST_HEADER else {}
        card = json.loads(header["__metadata__"]["card"])
        return bool(card.get("kind") == _KIND)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
