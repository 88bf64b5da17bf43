"""What a report needs from a run's last model, small enough to keep: ``figures.npz``.

A pool may hold a million images; a page shows a few thousand points and a few hundred
thumbnails.  `collect` draws that sample while pool, model and truth are at hand, so
that the report can be made again later from the run folder alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from handful.errors import InputError, RunFolderError
from handful.store.files import write_whole
from handful.types import Array, Classes, Pool, Snapshot

FILE = "figures.npz"
STAGES = "stages"  # folder of stage-<round>.npz
STAGE_SAMPLE = 800  # rows whose embedding is kept every round
SAMPLE = 4000  # rows that may become points of the map
THUMBNAILS = 400
SIDE = 48  # px
_WIDTH = 32  # columns of an embedding that are kept: its first principal axes
_THUMBNAIL_BYTES = 1_300_000
_CONFUSION_CLASSES = 2000


@dataclass(frozen=True, slots=True)
class Figures:
    """The sample of one run.  ``m`` sampled rows of ``n``, ``a`` thumbnails, ``C`` classes.

    Class numbers are positions in ``classes``; -1 stands for unknown, and for a row that
    was never asked.  ``embedding (m, <=32) float32`` is scaled to [-1, 1] and has no
    columns when the learner gives none.
    """

    n: int
    classes: tuple[str, ...]
    rows: Array
    embedding: Array
    truth: Array
    predicted: Array
    asked_round: Array
    thumbnails: Array  # (a, C, h, w) uint8
    thumbnail_rows: Array
    thumbnail_round: Array
    thumbnail_class: Array  # the answer that was given
    thumbnail_predicted: Array
    thumbnail_tag: tuple[str, ...]
    asked_per_round: Array  # (rounds,) how many were asked, shown or not
    confusion: Array  # (C, C): rows are the truth, columns the prediction
    confusion_scope: str  # which images: "not bought" or "all"


def collect(
    folder: Path | str,
    *,
    snapshot: Snapshot | None,
    pool: Pool,
    truth: Array | None,
    predicted: Array | None,
    asked: Sequence[tuple[int, int, str]],
    classes: Classes | Sequence[str],
    rng: np.random.Generator,
) -> None:
    """Write ``figures.npz`` into a run folder, atomically; under about 2 MB, no pickle.

    ``truth (n,)`` and ``predicted (n,)`` are positions in ``classes``, -1 unknown;
    ``asked`` lists ``(round, row, tag)`` in the order of asking.  Without a truth there
    is no confusion matrix, without images no thumbnail, without an embedding no map.
    """
    n = len(pool)
    names = tuple(classes.names if isinstance(classes, Classes) else classes)
    truth_ = _labels(truth, n, "truth")
    predicted_ = _labels(predicted, n, "predicted")
    known = snapshot.known if snapshot is not None else np.full(n, -1)
    asked_round = np.full(n, -1, dtype=np.int32)
    for round_, row, _ in asked:
        if not 0 <= row < n:
            raise InputError(f"figures: row {row} was asked of a pool of {n}: hand in pool rows")
        asked_round[row] = round_
    staged = [stage.rows for stage in load_stages(folder, 1)]
    rows = _sample(asked_round, staged[0] if staged else np.empty(0, dtype=np.int64), rng)
    shown = _shown(asked)
    counts, scope = _confusion(truth_, predicted_, asked_round < 0, len(names))
    thumbnail_rows = np.array([row for _, row, _ in shown], dtype=np.int64)
    arrays: dict[str, Any] = {
        "n": np.int64(n),
        "classes": _words(names),
        "rows": rows,
        "embedding": _embedding(snapshot, rows),
        "truth": truth_[rows].astype(np.int32),
        "predicted": predicted_[rows].astype(np.int32),
        "asked_round": asked_round[rows],
        "thumbnails": thumbnails(pool, thumbnail_rows),
        "thumbnail_rows": thumbnail_rows,
        "thumbnail_round": np.array([round_ for round_, _, _ in shown], dtype=np.int32),
        "thumbnail_class": known[thumbnail_rows].astype(np.int32),
        "thumbnail_predicted": predicted_[thumbnail_rows].astype(np.int32),
        "thumbnail_tag": _words([tag for _, _, tag in shown]),
        "asked_per_round": np.bincount([round_ for round_, _, _ in asked] or [0]) * bool(asked),
        "confusion": counts,
        "confusion_scope": _words([scope]),
    }
    write(Path(folder) / FILE, arrays)


def write(path: Path, arrays: dict[str, Any]) -> None:
    """Arrays into one compressed file, whole or not at all; no pickle."""
    content = BytesIO()
    np.savez_compressed(content, **arrays)
    write_whole(path, content.getvalue())


def keep_stage(folder: Path | str, snapshot: Snapshot, rng: np.random.Generator) -> None:
    """Keep the embedding of a sample of rows at one round, to show how the space took shape.

    Hand in the same ``rng`` every round (``rng_for(seed, None, "figures")``): the sample
    is drawn from it alone, so that the same rows are kept each time.  40 kB a round.
    """
    n = len(snapshot.ids)
    rows = np.sort(rng.choice(n, min(n, STAGE_SAMPLE), replace=False))
    embedding = _embedding(snapshot, rows)
    if not embedding.shape[1]:
        return
    path = Path(folder) / STAGES / f"stage-{snapshot.round:04d}.npz"
    path.parent.mkdir(exist_ok=True)
    known = int((snapshot.known >= 0).sum())
    write(path, {"rows": rows, "embedding": embedding, "labels": np.int64(known)})


@dataclass(frozen=True, slots=True)
class Stage:
    """The embedding ``(s, d)`` of the sampled ``rows (s,)`` after the fit of one round."""

    round: int
    labels: int
    rows: Array
    embedding: Array


def load_stages(folder: Path | str, most: int = 3) -> list[Stage]:
    """The first, the last and evenly many stages between; only those of the same rows."""
    paths = sorted((Path(folder) / STAGES).glob("stage-*.npz"))
    if len(paths) > most:
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, most).round().astype(int)]
    stages = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as file:
                stages.append(
                    Stage(
                        int(path.stem.removeprefix("stage-")),
                        int(file["labels"]),
                        file["rows"],
                        file["embedding"].astype(np.float64),
                    )
                )
        except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
            raise RunFolderError(f"{path} cannot be read: delete it to go without") from error
    return [stage for stage in stages if np.array_equal(stage.rows, stages[-1].rows)]


def load(folder: Path | str) -> Figures | None:
    """Read ``figures.npz`` of a run folder; ``None`` when the run left none."""
    path = Path(folder) / FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
        for name in ("classes", "thumbnail_tag", "confusion_scope"):
            arrays[name] = tuple(json.loads(arrays[name].tobytes()))
        arrays["confusion_scope"] = arrays["confusion_scope"][0]
        arrays["n"] = int(arrays["n"])
        return Figures(**arrays)
    except (OSError, ValueError, TypeError, BadZipFile, EOFError) as error:
        raise RunFolderError(
            f"{path} cannot be read: delete it and run again with --resume"
        ) from error


def _labels(labels: Array | None, n: int, name: str) -> Array:
    if labels is None:
        return np.full(n, -1, dtype=np.int64)
    out = np.asarray(labels, dtype=np.int64)
    if out.shape != (n,):
        raise InputError(f"figures: {name} has shape {out.shape}, the pool has {n} images")
    return out


def _words(words: Sequence[str]) -> Array:
    """JSON in ASCII bytes: keeps surrogates and NULs, which numpy's strings lose."""
    return np.frombuffer(json.dumps(list(words)).encode("ascii"), dtype=np.uint8)


def _sample(asked_round: Array, staged: Array, rng: np.random.Generator) -> Array:
    """At most `SAMPLE` rows, sorted: what was asked, what the stages keep, then at random."""
    rank = np.full(asked_round.size, 2)
    rank[staged[staged < rank.size]] = 1
    rank[asked_round >= 0] = 0
    order = rng.permutation(rank.size)
    return np.sort(order[np.argsort(rank[order], kind="stable")][:SAMPLE])


def _shown(asked: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """The first few of every round, equally many, `THUMBNAILS` in all."""
    rounds: dict[int, list[tuple[int, int, str]]] = {}
    for entry in asked:
        rounds.setdefault(entry[0], []).append(entry)
    left = THUMBNAILS
    out: list[tuple[int, int, str]] = []
    # short rounds first: what they do not use goes to the longer ones
    by_length = sorted(rounds, key=lambda r: len(rounds[r]))
    for place, round_ in enumerate(by_length):
        share = min(len(rounds[round_]), left // (len(by_length) - place))
        out += rounds[round_][:share]
        left -= share
    order = {id(entry): place for place, entry in enumerate(asked)}
    return sorted(out, key=lambda entry: (entry[0], order[id(entry)]))


def thumbnails(pool: Pool, rows: Array, limit: int = _THUMBNAIL_BYTES) -> Array:
    """Small pictures of these rows ``(m, C, h, w) uint8``, in ``limit`` bytes; none of features."""
    if pool.features is not None or not rows.size:
        return np.empty((0, 1, 1, 1), dtype=np.uint8)
    side = min(SIDE, int((limit / (rows.size * max(pool.channels, 1))) ** 0.5))
    height, width = pool.size
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return np.asarray(pool.read(rows, size), dtype=np.uint8)


def _embedding(snapshot: Snapshot | None, rows: Array) -> Array:
    """Sampled rows on their first principal axes, scaled to [-1, 1], in half precision."""
    if snapshot is None or "embedding" not in snapshot.parts:
        return np.empty((rows.size, 0), dtype=np.float16)
    x = np.asarray(snapshot.parts["embedding"][rows], dtype=np.float64).reshape(rows.size, -1)
    x = np.where(np.isfinite(x), x, 0.0)
    x = x - x.mean(axis=0, keepdims=True) if rows.size else x
    if x.shape[1] > _WIDTH:
        x = _first_axes(x)
    return (x / max(float(np.abs(x).max(initial=0.0)), 1e-12)).astype(np.float16)


def _first_axes(x: Array) -> Array:
    """``(n, d)`` centred rows on their first principal axes, by the smaller of d x d and n x n."""
    n, d = x.shape
    if d <= n:
        _, axes = np.linalg.eigh(x.T @ x)  # ascending: the last axes vary most
        return np.asarray(x @ axes[:, ::-1][:, :_WIDTH])
    squares, left = np.linalg.eigh(x @ x.T)  # the pixels of a photo are more than the rows
    lengths = np.sqrt(np.maximum(squares[::-1][:_WIDTH], 0))
    return np.asarray(left[:, ::-1][:, :_WIDTH] * lengths)


def _confusion(truth: Array, predicted: Array, bought_not: Array, c: int) -> tuple[Array, str]:
    """Counts over the images that were not bought, or over all when every one was."""
    both = (truth >= 0) & (predicted >= 0) & (truth < c) & (predicted < c)
    scope = "not bought" if (both & bought_not).any() else "all"
    use = both & bought_not if scope == "not bought" else both
    if not use.any() or c > _CONFUSION_CLASSES:
        return np.zeros((0, 0), dtype=np.int64), scope
    counts = np.bincount(truth[use] * c + predicted[use], minlength=c * c)
    return counts.reshape(c, c).astype(np.int64), scope
