"""Revisions written by hand: what the worker would publish, for tests that run none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from handful import revisions
from handful.page.project import Project

NOBODY = -1


def rows_of(project: Project) -> dict[str, int]:
    """Row of each picture, by the number that its name begins with."""
    return {row.path: row.row for row in project.index.walk(10**6, 0)}


def publish(project: Project, kind: str, arrays: dict[str, Any], **meta: Any) -> int:
    """Publish a revision and let the page take it up."""
    made = str(project.index.meta("made"))
    folder = project.place / "derived" / "revisions"
    typed = {
        name: np.asarray(arrays.get(name, np.zeros(_shape(form), dtype)), dtype=dtype)
        for name, (dtype, form) in revisions.ARRAYS[kind].items()
    }
    rev = revisions.publish(folder, kind, typed, made=made, meta=meta)
    assert project.learned.refresh(kind)
    return rev


def _shape(form: str) -> tuple[int, ...]:
    return tuple(int(axis) if axis.isdecimal() else 0 for axis in form.split())


def teach_model(
    project: Project,
    guesses: dict[int, tuple[int, float]],
    *,
    second: int = NOBODY,
    order: Sequence[int] = (),
    reasons: Sequence[int] = (),
    stands: Sequence[int] = (),
    errors: Sequence[tuple[int, int, int, float]] = (),
    held: Sequence[tuple[int, int, int]] = (),
    turns: Sequence[int] = (),
    **meta: Any,
) -> int:
    """A model: row -> class and probability; ``errors`` row, label, to, score."""
    rows = sorted(guesses)
    said = {
        "label_rev": project.rev, "trained_on": 10, "changed": 0.06, "answers_since": 40,
        "learner": "probe", "thin": [], **meta,
    }  # fmt: skip
    arrays = {
        "rows": rows,
        "top": [[guesses[r][0], second] for r in rows],
        "p": [[guesses[r][1], 1 - guesses[r][1]] for r in rows],
        "order": list(order),
        "reason": list(reasons) or [0] * len(order),
        "stands": list(stands) or [0] * len(order),
        "groups": list(turns),
    }
    for at, name in enumerate(("errors_row", "errors_label", "errors_to", "errors_score")):
        arrays[name] = [e[at] for e in errors]
    for at, name in enumerate(("held_row", "held_label", "held_to")):
        arrays[name] = [h[at] for h in held]
    return publish(project, "model", arrays, **said)


def teach_features(
    project: Project,
    vectors: dict[int, Sequence[float]],
    stacks: Sequence[Sequence[int]] = (),
    **meta: Any,
) -> int:
    """Features: row -> vector, made to length 1; ``stacks``: rows that are near-duplicates."""
    rows = sorted(vectors)
    x = np.array([vectors[r] for r in rows], dtype=np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    stack = np.full(len(rows), -1)
    for members in stacks:
        at = sorted(rows.index(m) for m in members)
        stack[at] = at[0]
    said = {"source": "small pixels", "dim": x.shape[1], "images": len(rows), **meta}
    return publish(project, "features", {"rows": rows, "vectors": x, "stack": stack}, **said)


def teach_groups(
    project: Project,
    groups: Sequence[Sequence[int]],
    *,
    likely: Sequence[tuple[int, float]] = (),
    near: Sequence[tuple[int, int]] = (),
) -> int:
    """Groups of rows, the most typical first."""
    likely = likely or [(NOBODY, 0.0)] * len(groups)
    arrays = {
        "rows": [row for group in groups for row in group],
        "starts": np.cumsum([0, *map(len, groups)]),
        "likely": [id for id, _ in likely],
        "p": [p for _, p in likely],
        "purity": [1.0] * len(groups),
        "near": np.array(near, dtype=np.int32).reshape(-1, 2),
    }
    return publish(project, "groups", arrays, label_rev=project.rev)


def teach_map(project: Project, points: dict[int, tuple[int, int]], images: int) -> int:
    """A map: row -> x, y."""
    rows = sorted(points)
    return publish(project, "map", {"rows": rows, "xy": [points[r] for r in rows]}, images=images)
