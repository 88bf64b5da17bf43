"""Labels as NumPy arrays, ready for scikit-learn: ``labels.npz``, read with ``allow_pickle=False``.

``y`` is the class id (-1: none), ``classes`` the names by id, ``X (n, d)`` the vectors by which
the pictures are compared where there are any (rows without one are NaN), and each column of every
``labels.csv`` is an array of its name; texts that are not there are empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from handful.exports.about import About, Rows
from handful.paths import to_text
from handful.store import LABEL_COLUMNS
from handful.store.files import replacing

__all__ = ["write_arrays"]

_WHOLE = {"class_id": -1, "round": -1}


def write_arrays(path: Path, rows: Rows, about: About) -> int:
    """Write ``path``; gives the number of rows."""
    columns: dict[str, list[Any]] = {name: [] for name in LABEL_COLUMNS}
    places: list[int] = []
    for row in rows():
        for name in LABEL_COLUMNS:
            columns[name].append(row.get(name))
        places.append(row.get("row", -1))
    arrays = {name: _array(name, values) for name, values in columns.items()}
    arrays["y"] = arrays["class_id"]
    highest = max((id for id, _ in about.classes), default=-1)
    names = about.names
    arrays["classes"] = np.array([names.get(id, "") for id in range(highest + 1)], dtype=np.str_)
    vectors = about.features(places) if about.features is not None and places else None
    if vectors is not None:
        arrays["X"] = vectors
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return len(places)


def _array(name: str, values: list[Any]) -> Any:
    if name in _WHOLE:
        return np.array([_WHOLE[name] if v is None else v for v in values], dtype=np.int64)
    if name == "confidence":
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    texts = [to_text(v) if name == "path" else v or "" for v in values]
    return np.array(texts, dtype=np.str_)
