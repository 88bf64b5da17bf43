"""The model as a file: what an encoder, a projection and one layer need to name new pictures.

::

    card.json           encoder, classes (ids and names), learner, thresholds: words and numbers
    model.safetensors   mean, projection, W, b, references; weights of an auto-encoder

    p = (1 - floor) softmax((W u + b) / T) + floor / C,  u = unit((unit(v) - mean) P)

The layer is logistic regression on the answers.  Where suggestions spread over the graph of
neighbours, which a new picture has no part in, it learns from the surest suggestions as well,
and its temperature is that at which it agrees best with the suggestions shown on the page.

A picture is unlike anything seen when it is further from every reference, or lies further off the
main directions, than all but 0.5 % of these pictures are from those of the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from handful import geometry
from handful.errors import InputError
from handful.networks.heads import logistic_probabilities
from handful.pool.decode import Encoded, Header, decode, look
from handful.rng import rng_for
from handful.worker.encoders import Encoder, opened
from handful.worker.kept import Kept
from handful.worker.model import NONE, TEMPERATURES, Answered, Learned, probe
from handful.worker.space import Projection, Space, main_directions

__all__ = ["ModelFile", "Names", "written"]

Matrix: TypeAlias = NDArray[np.float32]
FORMAT = 1
SURE = 0.9
PSEUDO = 2_000
REFERENCES = 300
COMPARED = 2_000
HALVES = 1_000  # pictures that are judged by one another
RARE = 0.995
LEEWAY = 1.1


@dataclass(frozen=True)
class Names:
    """What the classes are called, by id."""

    names: Sequence[str]

    def of(self, id: int) -> str:
        """A name; that of *none of these* as well."""
        return "none of these" if id == NONE else self.names[id]


def written(
    space: Space, kept: Kept, said: Answered, learned: Learned, names: Names
) -> tuple[dict[str, Any], bytes]:
    """The card and the weights of a model.  Cost: one regression, one k-means of a sample."""
    taught = said
    if learned.learner != "probe":
        taught = _taught(space, said, learned)
    W, b = probe(space, taught, taught.rows)
    some = np.linspace(0, len(space) - 1, min(len(space), COMPARED)).astype(np.int64)
    floor = learned.floor
    T = _agreeing(space.x[some] @ W.T + b, learned.proba[some], floor)
    references = _references(space.x[some])
    places = kept.places(space.listing.keys[some[:: max(1, len(some) // HALVES)]])
    thresholds = _thresholds(kept.rows(places))
    card = {
        "format": FORMAT,
        "features": {**space.encoder.about, "words": space.encoder.words},
        "classes": [{"id": int(id), "name": names.of(int(id))} for id in learned.ids],
        "none": NONE if NONE in learned.ids.tolist() else None,
        "learner": learned.learner,
        "answers": len(said.rows),
        "temperature": T,
        "floor": floor,
        "unlike": thresholds,
    }
    arrays = {
        "mean": space.projection.mean,
        "projection": space.projection.P,
        "W": W.astype(np.float32),
        "b": b.astype(np.float32),
        "class_ids": learned.ids.astype(np.int64),
        "references": references.astype(np.float16),
    }
    arrays |= {f"encoder.{name}": array for name, array in space.encoder.state().items()}
    return card, save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _taught(space: Space, said: Answered, learned: Learned) -> Answered:
    """The answers, and the surest suggestions as further ones, at most 2,000."""
    sure = np.flatnonzero((said.known < 0) & (learned.proba.max(axis=1) >= SURE))
    sure = sure[np.argsort(space.listing.keys[sure], kind="stable")][:PSEUDO]
    known = said.known.copy()
    known[sure] = learned.proba[sure].argmax(axis=1)
    return replace(said, known=known)


def _agreeing(logits: NDArray[np.float64], p: Matrix, floor: float) -> float:
    """The temperature whose probabilities lose least against ``p``."""
    C = logits.shape[1]

    def loss(T: float) -> float:
        z = logits / T
        z = z - z.max(axis=1, keepdims=True)
        q = np.exp(z)
        q = (1 - floor) * q / q.sum(axis=1, keepdims=True) + floor / C
        return round(float(-(p * np.log(q)).sum(axis=1).mean()), 9)

    losses = {T: loss(T) for T in TEMPERATURES}
    best: float = min(TEMPERATURES, key=losses.__getitem__)
    return best


def _references(x: Matrix) -> Matrix:
    """Centres that these pictures lie around, unit rows."""
    if len(x) <= REFERENCES:
        return x
    found = geometry.kmeans(x, REFERENCES, rng_for(0, None, "references"), n_init=1).centres
    return np.asarray(geometry.unit_rows(found), dtype=np.float32)


def _thresholds(v: NDArray[Any]) -> dict[str, float]:
    """How far pictures like these lie from references and directions that never saw them.

    Each half of the sample is judged by the other: by its own directions a small folder lies
    near them, and every new picture would be unlike it.
    """
    away, off = [np.zeros(1)], [np.zeros(1)]
    for mine, other in ((v[0::2], v[1::2]), (v[1::2], v[0::2])):
        if len(mine) > 1 and len(other):
            projection = main_directions(mine)
            references, u = _references(projection(mine)), projection(other)
            away.append(np.sqrt(np.maximum(geometry.nearest(u, references)[1], 0)))
            off.append(_off(projection, other))
    far, aside = (float(np.quantile(np.concatenate(x), RARE)) for x in (away, off))
    return {"away": far * LEEWAY, "off": aside * LEEWAY}


def _off(projection: Projection, v: NDArray[Any]) -> NDArray[np.float64]:
    """Share of each vector's length that the main directions do not hold."""
    centred, held = projection.centred(v), projection.raw(v)
    length = np.square(centred, dtype=np.float64).sum(axis=1)
    left = length - np.square(held, dtype=np.float64).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(left, 0) / np.maximum(length, 1e-12)))


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model that was written; names new pictures without book, index or folder.

    ``predict(pictures)`` takes files or their bytes; `InputError` where the file is no model,
    and what the decoder raises where a picture is none.
    """

    card: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @classmethod
    def read(cls, card: bytes | str, weights: bytes) -> ModelFile:
        """From the two files of a revision."""
        try:
            said, arrays = json.loads(card), load(weights)
            if said["format"] != FORMAT:
                raise InputError(f"the model is of format {said['format']}: update handful")
            missing = {"mean", "projection", "W", "b", "class_ids", "references"} - set(arrays)
            if missing:
                raise KeyError(sorted(missing)[0])
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"this is no model, or a damaged one ({error}): save it anew"
            ) from error
        return cls(said, arrays)

    @cached_property
    def encoder(self) -> Encoder:
        """What turns pixels into vectors."""
        start = "encoder."
        weights = {
            name.removeprefix(start): a for name, a in self.arrays.items() if name.startswith(start)
        }
        return opened(self.card["features"], weights)

    @property
    def projection(self) -> Projection:
        """From vectors to directions."""
        return Projection(self.arrays["mean"], self.arrays["projection"])

    @property
    def classes(self) -> list[tuple[int, str]]:
        """Id and name of each column."""
        return [(int(c["id"]), str(c["name"])) for c in self.card["classes"]]

    def predict(self, pictures: Sequence[Encoded]) -> tuple[Matrix, NDArray[np.bool_]]:
        """Probabilities ``(B, C)`` of files or bytes, and which are unlike anything seen."""
        return self.judge(self.vectors(pictures))

    def vectors(self, pictures: Sequence[Encoded]) -> Matrix:
        """What the encoder makes of files or bytes: ``(B, D)``."""
        out = np.empty((len(pictures), self.encoder.width), dtype=np.float32)
        for start in range(0, len(pictures), self.encoder.batch):
            part = pictures[start : start + self.encoder.batch]
            pixels = [self._decoded(picture, look(picture)) for picture in part]
            out[start : start + len(part)] = self.encoder.encode(np.stack(pixels))
        return out

    def _decoded(self, picture: Encoded, header: Header) -> NDArray[np.uint8]:
        return decode(picture, self.encoder.layout(header.width, header.height))

    def judge(self, v: NDArray[Any]) -> tuple[Matrix, NDArray[np.bool_]]:
        """As `predict`, of vectors ``(B, D)``."""
        u, card, arrays = self.projection(v), self.card, self.arrays
        T, floor = float(card["temperature"]), float(card["floor"])
        q = logistic_probabilities(u, arrays["W"] / T, arrays["b"] / T)
        away = np.sqrt(
            np.maximum(geometry.nearest(u, arrays["references"].astype(np.float32))[1], 0)
        )
        unlike = (away > card["unlike"]["away"]) | (
            _off(self.projection, v) > card["unlike"]["off"]
        )
        return np.asarray((1 - floor) * q + floor / q.shape[1], dtype=np.float32), unlike
