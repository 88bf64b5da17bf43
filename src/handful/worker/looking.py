"""Looking at pictures: each is read once, and what was seen is kept by its content.

::

    plan     a sample of at most 64 pictures says what stands for them (`encoders.chosen`)
    look     every picture in 16 x 16 pixels, and for the encoder that was chosen, in one reading

Work is done a second at a time, so that whoever calls can turn to something else in between.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from handful.pool.decode import Layout
from handful.progress import Progress
from handful.store.files import write_whole
from handful.types import Weights
from handful.worker.encoders import (
    AutoEncoded,
    Encoder,
    Glance,
    Pretrained,
    Source,
    Strokes,
    chosen,
    small_form,
)
from handful.worker.kept import Kept
from handful.worker.pictures import Detail, Listing, Reader, detail

__all__ = ["Looking", "Small"]

Pixels: TypeAlias = NDArray[np.uint8]
SAMPLE = 64
LARGEST = 512  # sides up to which an enlargement by repetition is looked for
SECONDS = 1.0
TOGETHER = 16  # pictures read at least, whatever they take


class Small:
    """Pictures of small size as bytes: what an auto-encoder is trained on."""

    kind: ClassVar[str] = "small"
    batch = 64

    def __init__(self, gray: bool, height: int, across: int) -> None:
        self.gray, self.height, self.across = gray, height, across
        self.width = (1 if gray else 3) * height * across

    @property
    def about(self) -> dict[str, Any]:
        form = {"gray": self.gray, "height": self.height, "across": self.across}
        return {"kind": self.kind, **form}

    @property
    def words(self) -> str:
        return "small pictures"

    def layout(self, width: int, height: int) -> Layout:
        size = (self.height, self.across)
        return Layout(1 if self.gray else 3, size, size)

    def encode(self, images: Pixels) -> NDArray[np.float32]:
        return np.asarray(images.reshape(len(images), -1), dtype=np.float32)

    def images(self, rows: Pixels) -> Pixels:
        """Kept rows as pictures ``(n, C, H, W)``."""
        return rows.reshape(len(rows), -1, self.height, self.across)

    def state(self) -> Weights:
        return {}


class Looking:
    """What was seen of the pictures below ``folder``, kept below ``place``.

    ``glances`` and ``seen`` hold rows by content; ``encoder`` is what made those of ``seen``,
    None before there was a plan.  ``files`` is what files are read for: the encoder itself, or
    `Small` where an auto-encoder is wanted.
    """

    def __init__(self, folder: Path, place: Path, *, follow: bool) -> None:
        self.place = place
        self.reader = Reader(folder, place, follow=follow)
        self.glance = Glance()
        self.glances = self._kept(self.glance, "uint8")
        self.source: Source = "auto"
        self.encoder: Encoder | None = None
        self.seen: Kept | None = None
        self.files: Encoder | None = None
        self.held: Kept | None = None  # what files were read for
        self._planned = 0
        self._details: dict[str, Detail | None] = {}

    def _kept(self, encoder: Encoder, dtype: str = "float16") -> Kept:
        return Kept(self.place / "kept", encoder.about, encoder.width, dtype)

    # ---------------------------------------------------------------- the plan

    def set_source(self, source: Source) -> None:
        """Another source is wanted."""
        if source != self.source:
            self.source, self._planned = source, 0

    def plan(self, listing: Listing, *, whole: bool) -> bool:
        """Choose the encoder, again each time there are twice as many; whether it is another.

        ``whole``: these are all.
        """
        n, before = len(listing), self._planned
        due = n >= 2 * before if before else n >= SAMPLE
        if not n or not (due or (whole and n > 1.25 * before)):
            return False
        self._planned = n
        look, seen = self._recalled(n) or self._look_at_some(listing)
        self._remember(n, look, seen)
        files = self._encoder(look, seen)
        if self.files is not None and dict(files.about) == dict(self.files.about):
            return False
        self.files, self.encoder = files, None if look == "autoencoder" else files
        self.held = self._kept(files, "uint8" if isinstance(files, Small) else "float16")
        self.seen = None if look == "autoencoder" else self.held
        return True

    def _recalled(self, n: int) -> tuple[str, Detail] | None:
        """The plan of the last time, where it was made for about as many pictures."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads((self.place / "plan.json").read_text(encoding="utf-8"))
            if said["source"] == self.source and n <= 2 * said["n"] and 2 * n >= said["n"]:
                gray, height, width = said["detail"]
                return str(said["look"]), Detail(bool(gray), int(height), int(width))
        return None

    def _remember(self, n: int, look: str, seen: Detail) -> None:
        said = {"source": self.source, "n": n, "look": look, "detail": list(seen)}
        write_whole(self.place / "plan.json", json.dumps(said).encode())

    def _look_at_some(self, listing: Listing) -> tuple[str, Detail]:
        """A sample by content, so that the order of the folder plays no part."""
        some = np.argsort(listing.keys, kind="stable")[:SAMPLE].tolist()
        found = [self._detail(listing, at) for at in some]
        return chosen(self.source, [d for d in found if d is not None])

    def _detail(self, listing: Listing, at: int) -> Detail | None:
        content = listing.digests[at].tobytes().hex()
        if content not in self._details and not self.reader.out(content):
            w, h = listing.sizes[at].tolist()
            scale = 1.0 if max(w, h) <= LARGEST else 64 / max(w, h)
            form = (max(1, round(h * scale)), max(1, round(w * scale)))
            read = self.reader.read(listing.paths[at], content, Layout(3, form, form))
            found = None if read is None else detail(read[0])
            if found is not None and scale < 1:
                found = Detail(found.gray, h, w)
            self._details[content] = found
        return self._details.get(content)

    @staticmethod
    def _encoder(look: str, seen: Detail) -> Encoder:
        if look == "pixels":
            return Strokes.of(seen)
        if look == "autoencoder":
            return Small(*small_form(seen))
        return Pretrained(look)

    # ---------------------------------------------------------------- reading

    def wanted(self, listing: Listing) -> NDArray[np.bool_]:
        """Pictures that are not left out, ``(n,)``."""
        return ~self.reader.left_out(listing.digests)

    def glanced(self, listing: Listing) -> NDArray[np.bool_]:
        """Pictures that were glanced at, ``(n,)``."""
        return self.glances.places(listing.keys) >= 0

    def encoded(self, listing: Listing) -> NDArray[np.bool_]:
        """Pictures that files were read for, ``(n,)``."""
        if self.held is None:
            return np.zeros(len(listing), dtype=bool)
        return self.held.places(listing.keys) >= 0

    def missing(self, listing: Listing) -> NDArray[np.bool_]:
        """Pictures still to be looked at, ``(n,)``; none before there is a plan."""
        if self.files is None:
            return np.zeros(len(listing), dtype=bool)
        return self.wanted(listing) & ~(self.glanced(listing) & self.encoded(listing))

    def look(self, listing: Listing, missing: NDArray[np.bool_]) -> None:
        """Look at some of these, for a second."""
        if self.files is not None and self.held is not None:
            makers: list[tuple[Encoder, Kept]] = [
                (self.glance, self.glances), (self.files, self.held),
            ]  # fmt: skip
            self._read(listing, np.flatnonzero(missing), makers)

    def _read(
        self, listing: Listing, places: NDArray[np.int64], makers: list[tuple[Encoder, Kept]]
    ) -> None:
        until = time.monotonic() + SECONDS
        places = self._distinct(listing, places)
        lacks = [kept.places(listing.keys[places]) < 0 for _, kept in makers]
        batch = min(encoder.batch for encoder, _ in makers)
        for start in range(0, len(places), batch):
            part = slice(start, start + batch)
            self._batch(listing, places[part], makers, [lack[part] for lack in lacks])
            if start + batch >= TOGETHER and time.monotonic() > until:
                break

    @staticmethod
    def _distinct(listing: Listing, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """One of each content."""
        return places[np.sort(np.unique(listing.keys[places], return_index=True)[1])]

    def _batch(
        self,
        listing: Listing,
        places: NDArray[np.int64],
        makers: list[tuple[Encoder, Kept]],
        lacks: list[NDArray[np.bool_]],
    ) -> None:
        pixels: list[list[Pixels]] = []
        whole: list[int] = []
        for i, at in enumerate(places.tolist()):
            w, h = listing.sizes[at].tolist()
            content = listing.digests[at].tobytes().hex()
            layouts = [encoder.layout(w, h) for encoder, _ in makers]
            read = self.reader.read(listing.paths[at], content, *layouts)
            if read is not None:
                pixels.append(read)
                whole.append(i)
        for number, (encoder, kept) in enumerate(makers):
            new = [k for k, i in enumerate(whole) if lacks[number][i]]
            if new:
                images = np.stack([pixels[k][number] for k in new])
                digests = listing.digests[places[[whole[k] for k in new]]]
                kept.append(digests, encoder.encode(images))

    # ---------------------------------------------------------------- the auto-encoder

    @property
    def untrained(self) -> bool:
        """Whether an auto-encoder is wanted that is not there yet."""
        return isinstance(self.files, Small) and self.encoder is None

    def train(self, listing: Listing, progress: Progress) -> None:
        """Train the auto-encoder on these pictures, or take the one that was trained before."""
        form, held = self.files, self.held
        if not isinstance(form, Small) or held is None:
            return
        mark = json.dumps(form.about, sort_keys=True).encode().hex()[-16:]
        path = self.place / f"autoencoder-{form.across}x{form.height}-{mark}.safetensors"
        if path.is_file():
            weights = load_file(path)
        else:
            rows = held.rows(held.places(listing.keys))
            weights = AutoEncoded.train(form.images(rows), progress)
            write_whole(path, save(weights))
        self.encoder = AutoEncoded(form.gray, form.height, form.across, weights)
        self.seen = self._kept(self.encoder)

    def reduce(self, listing: Listing, breathe: Callable[[], None]) -> None:
        """Latent vectors of what has none yet; no file is read."""
        form, held, seen = self.files, self.held, self.seen
        if not isinstance(form, Small) or held is None or seen is None or self.encoder is None:
            return
        new = np.flatnonzero(seen.places(listing.keys) < 0)
        new = self._distinct(listing, new)
        for start in range(0, len(new), self.encoder.batch):
            part = new[start : start + self.encoder.batch]
            images = form.images(held.rows(held.places(listing.keys[part])))
            seen.append(listing.digests[part], self.encoder.encode(images))
            breathe()
