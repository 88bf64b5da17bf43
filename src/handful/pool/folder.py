"""A folder of images: flat, or with one sub-folder a class.

Walking and reading headers never writes, renames or moves anything.  Left out are hidden
names, ``.handful/``, ``handful-export/`` and whatever has no image suffix.  Links to files
are followed; links to folders only when they lead out of the folder (inside, the images
are found at their real place), each real folder once, so that a loop ends.

Classes are the first folders below the root.  When these are called ``train`` and ``test``
(or ``val``), they are the split and the classes are the folders below.
"""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError, PoolError
from handful.pool.data import (
    TEST_NAMES,
    TRAIN_NAMES,
    VALIDATION_NAMES,
    Data,
    Found,
    class_counts,
    form_notes,
    layout_of,
    same_content,
    size_table,
)
from handful.pool.decode import KINDS, Header, look, why
from handful.pool.encoded import EncodedPool, Item, workers
from handful.pool.ids import DIGITS, PackedIds, counted, shown
from handful.progress import Progress, Silent

__all__ = ["SUFFIXES", "image_paths", "open_folder"]

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
)
_SKIPPED = frozenset({"handful-export", "__MACOSX"})
_IN_MEMORY = 64 << 20  # files up to here are read once, for hash and header
_CHUNK = 32  # files a thread takes at a time


def open_folder(
    folder: str | os.PathLike[str],
    *,
    page: int | Literal["all"] = 0,
    channel: int | None = None,
    max_side: int = 96,
    progress: Progress | None = None,
) -> Data:
    """Scan a folder and open it as `Data`; bad images are listed in ``found.broken``.

    ``page``: which page of a multi-page TIFF is its image (0, the first), or ``"all"``:
    each page is an image ``path#00000002`` of its own.  ``channel``: one channel of every
    image, taken as gray.  ``max_side``: larger images are shrunk to it.

    Reads every byte once (SHA-256) and decodes nothing.  `PoolError` when there is no
    image, or none that can be used.
    """
    if page != "all" and (not isinstance(page, int) or page < 0):
        raise InputError(f"page is {page!r}: a number from 0, or 'all'")
    root = os.fspath(folder)
    walk = _Walk(root)
    paths = PackedIds(walk.images())
    if len(paths) == 0:
        raise PoolError(_nothing_here(root, walk))
    scan = _scan(root, paths, page, channel, progress or Silent())
    good = np.flatnonzero(scan.good)
    broken = {paths[row]: reason for row, reason in sorted(scan.broken.items())}
    if good.size == 0:
        name, reason = next(iter(broken.items()))
        raise PoolError(
            f"of {counted(len(paths), 'image file')} in {shown(root)!r} none can be read, e.g."
            f" {shown(name)!r}: {reason}; check that they were copied whole"
        )
    source = _source(root, paths, scan, good, page)
    sizes, size = size_table(scan.sizes[source.files])
    layout = layout_of(
        size, colour=bool(scan.colour[good].any()), max_side=max_side, channel=channel
    )
    labels, classes, split, notes = _truth(source.ids)
    pool = EncodedPool(source, layout)
    groups, repeats = same_content(source.digests(), source.ids)
    found = Found(
        kind="folder",
        where=root,
        images=len(pool),
        size=layout.size,
        channels=layout.channels,
        sizes=sizes,
        colours=_colours(scan.colour[source.files]),
        formats=_formats(scan.kinds[good]),
        classes=class_counts(labels, classes),
        split=class_counts(split, ("train", "test")),
        duplicates=groups,
        repeats=repeats,
        broken=broken,
        notes=(*notes, *form_notes(sizes, size, layout), *scan.notes(page), *walk.notes()),
    )
    name = os.path.basename(os.path.abspath(root)) or "images"
    return Data(name, pool, found, labels, classes, split)


def image_paths(root: str | os.PathLike[str]) -> Iterator[str]:
    """Paths below a folder that are called like images, sorted; none of them is opened.

    `PoolError` when the folder cannot be listed.
    """
    yield from _Walk(os.fspath(root)).images()


@dataclass
class _Walk:
    """Paths of image files below a root, in sorted order of the whole path."""

    root: str
    others: Counter[str] = field(default_factory=Counter)
    closed: list[str] = field(default_factory=list)  # folders nobody may list
    links: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def images(self) -> Iterator[str]:
        try:
            real = os.path.realpath(self.root)
            self._seen.add(_identity(real))
            os.listdir(real)
        except OSError as error:
            raise PoolError(f"{shown(self.root)!r} cannot be listed: {why(error)}") from error
        yield from self._below("", real)

    def _below(self, prefix: str, real: str) -> Iterator[str]:
        # a stack instead of recursion: folders may be nested deeper than Python's limit.
        # A folder sorts as name + "/", which makes the whole order that of full paths.
        stack = [iter(self._entries(prefix))]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif not entry.endswith("/"):
                yield entry
            elif self._enter(entry, real):
                stack.append(iter(self._entries(entry)))

    def _entries(self, prefix: str) -> list[str]:
        names = []
        try:
            with os.scandir(os.path.join(self.root, prefix)) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith(".") or name in _SKIPPED:
                        continue
                    if _is_folder(entry):
                        names.append(f"{prefix}{name}/")
                    elif os.path.splitext(name)[1].lower() in SUFFIXES:
                        names.append(prefix + name)
                    else:
                        self.others[os.path.splitext(name)[1].lower() or "no suffix"] += 1
        except OSError:
            self.closed.append(prefix)
        return sorted(names)

    def _enter(self, prefix: str, real_root: str) -> bool:
        """Whether a folder is to be walked: each real one once, links inside never."""
        path = os.path.join(self.root, prefix.rstrip("/"))
        try:
            if os.path.islink(path):
                target = os.path.realpath(path)
                if os.path.commonpath([target, real_root]) == real_root:
                    self.links += 1
                    return False
            identity = _identity(path)
        except OSError:
            self.closed.append(prefix)
            return False
        if identity in self._seen:
            self.links += 1
            return False
        self._seen.add(identity)
        return True

    def notes(self) -> list[str]:
        notes = []
        if self.others:
            kinds = ", ".join(f"{n} {shown(kind)}" for kind, n in self.others.most_common(3))
            notes.append(f"{counted(self.others.total(), 'other file')} left alone ({kinds})")
        if self.closed:
            example = shown(self.closed[0])
            notes.append(
                f"{counted(len(self.closed), 'folder')} cannot be listed, e.g. {example!r}"
            )
        if self.links:
            notes.append(f"{counted(self.links, 'link')} to folders already seen not followed")
        return notes


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: listed as a broken file
        return False


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _nothing_here(root: str, walk: _Walk) -> str:
    looked = "looked for JPEG, PNG, WebP, BMP, GIF and TIFF in it and below"
    notes = "; ".join(walk.notes())
    return f"no images in {shown(root)!r}: {looked}" + (f"; {notes}" if notes else "; it is empty")


class _Looked(NamedTuple):
    digest: bytes
    header: Header | None
    reason: str


class _Scan:
    """What the headers say, one row a file."""

    def __init__(self, n: int) -> None:
        self.good = np.zeros(n, dtype=np.bool_)
        self.sizes = np.zeros((n, 2), dtype=np.int32)  # height, width
        self.colour = np.zeros(n, dtype=np.bool_)
        self.pages = np.ones(n, dtype=np.int32)
        self.channels = np.zeros(n, dtype=np.int32)
        self.digests = np.zeros((n, 32), dtype=np.uint8)
        self.kinds = np.zeros(n, dtype=np.int8)  # place in KINDS
        self.broken: dict[int, str] = {}

    def put(self, row: int, looked: _Looked) -> None:
        header = looked.header
        if header is None:
            self.broken[row] = looked.reason
            return
        self.good[row] = True
        self.digests[row] = np.frombuffer(looked.digest, dtype=np.uint8)
        self.sizes[row] = header.height, header.width
        self.colour[row], self.pages[row] = header.colour, header.pages
        self.channels[row], self.kinds[row] = header.channels, KINDS.index(header.kind)

    def notes(self, page: int | Literal["all"]) -> list[str]:
        notes = []
        if many := int((self.pages[self.good] > 1).sum()):
            used = "each is an image" if page == "all" else f"page {page} is used (0 is the first)"
            notes.append(f"{counted(many, 'TIFF file')} with several pages: {used}")
        if odd := int((~np.isin(self.channels[self.good], (1, 3, 4))).sum()):
            notes.append(
                f"{counted(odd, 'TIFF file')} with channels that are no colours: the first is used"
            )
        return notes


def _scan(
    root: str,
    paths: Sequence[str],
    page: int | Literal["all"],
    channel: int | None,
    progress: Progress,
) -> _Scan:
    scan = _Scan(len(paths))
    needed_page = 0 if page == "all" else page

    def look_at(start: int) -> list[_Looked]:
        names = paths[start : start + _CHUNK]
        return [_look_at(os.path.join(root, name), needed_page, channel) for name in names]

    with (
        ThreadPoolExecutor(workers()) as threads,
        progress.task("scanning", len(paths), "files") as task,
    ):
        waiting: deque[tuple[int, Future[list[_Looked]]]] = deque()
        for start in range(0, len(paths), _CHUNK):
            waiting.append((start, threads.submit(look_at, start)))
            if len(waiting) > 4 * workers():  # bounded: results do not pile up
                task.advance(_collect(scan, *waiting.popleft()))
        while waiting:
            task.advance(_collect(scan, *waiting.popleft()))
    return scan


def _collect(scan: _Scan, start: int, future: Future[list[_Looked]]) -> int:
    batch = future.result()
    for i, looked in enumerate(batch):
        scan.put(start + i, looked)
    return len(batch)


def _look_at(path: str, page: int, channel: int | None) -> _Looked:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise PoolError("no regular file (a pipe, a device or a folder)")
        with open(path, "rb") as file:
            if status.st_size <= _IN_MEMORY:
                content = file.read()
                digest = sha256(content).digest()
                header = look(content, page=page, channel=channel)
            else:
                digest = file_digest(file, "sha256").digest()
                header = look(path, page=page, channel=channel)
    except Exception as error:  # noqa: BLE001 - a parser of headers may raise anything at all
        return _Looked(b"", None, why(error))
    return _Looked(digest, header, "")


class _FolderSource:
    """Files of a folder as a source of encoded images; several images may share a file."""

    def __init__(
        self,
        root: str,
        ids: Sequence[str],
        paths: Sequence[str],
        files: NDArray[np.int64],
        pages: NDArray[np.int32],
        scan: _Scan,
    ) -> None:
        self.ids, self.files = ids, files
        self._root, self._paths, self._pages = root, paths, pages
        self._digests, self._several = scan.digests, scan.pages > 1

    def items(self, rows: NDArray[np.int64]) -> list[Item | Exception]:
        return [
            Item(os.path.join(self._root, self._paths[int(self.files[r])]), int(self._pages[r]))
            for r in rows
        ]

    def digest(self, row: int) -> str:
        return bytes(self.digests(np.array([row]))[0]).hex()

    def digests(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """SHA-256 of the file; of its digest and the page number when a page is the image."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        digests: NDArray[np.uint8] = self._digests[self.files[rows]]
        for i in np.flatnonzero(self._several[self.files[rows]]).tolist():
            paged = digests[i].tobytes() + b"#%d" % int(self._pages[rows[i]])
            digests[i] = np.frombuffer(sha256(paged).digest(), dtype=np.uint8)
        return digests


def _source(
    root: str,
    paths: PackedIds,
    scan: _Scan,
    good: NDArray[np.int64],
    page: int | Literal["all"],
) -> _FolderSource:
    if page != "all":
        pages = np.where(scan.pages[good] > 1, page, 0).astype(np.int32)
        ids = paths if len(good) == len(paths) else PackedIds(paths[row] for row in good.tolist())
        return _FolderSource(root, ids, paths, good, pages, scan)
    counts = scan.pages[good]
    files = np.repeat(good, counts)
    pages = np.concatenate([np.arange(c, dtype=np.int32) for c in counts.tolist()])
    names = [
        f"{paths[file]}#{p:0{DIGITS}d}" if scan.pages[file] > 1 else paths[file]
        for file, p in zip(files.tolist(), pages.tolist(), strict=True)
    ]
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    ids = PackedIds(names[i] for i in order.tolist())
    return _FolderSource(root, ids, paths, files[order], pages[order], scan)


def _colours(colour: NDArray[np.bool_]) -> dict[str, int]:
    counts = {"gray": int((~colour).sum()), "colour": int(colour.sum())}
    return {name: count for name, count in counts.items() if count}


def _formats(kinds: NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(kinds, minlength=len(KINDS)).tolist()
    return {kind: count for kind, count in zip(KINDS, counts, strict=True) if count}


def _truth(
    ids: Sequence[str],
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], NDArray[np.int8] | None, list[str]]:
    """Classes (and split) from the names of sub-folders; ``None`` for a flat folder."""
    tops: dict[str, int] = {}
    split_tops = {t.lower() for t in {id.partition("/")[0] for id in ids if "/" in id}}
    tests = split_tops & TEST_NAMES or split_tops & VALIDATION_NAMES
    parted = bool(tests and split_tops & TRAIN_NAMES)
    parted &= split_tops <= TRAIN_NAMES | TEST_NAMES | VALIDATION_NAMES
    labels = np.full(len(ids), -1, dtype=np.int64)
    split = np.zeros(len(ids), dtype=np.int8)
    for row, id in enumerate(ids):
        first, slash, rest = id.partition("/")
        if parted and slash:
            split[row] = first.lower() in tests
            first, slash, rest = rest.partition("/")
        if slash:
            labels[row] = tops.setdefault(first, len(tops))
    notes = []
    if len(tops) == 1:
        only = shown(next(iter(tops)))
        notes.append(f"one sub-folder, {only!r}: one class; open it itself if it holds the classes")
    if not tops:
        return None, (), split if parted else None, notes
    classes = tuple(sorted(tops))
    place = np.array([classes.index(name) for name in tops], dtype=np.int64)
    labels = np.where(labels >= 0, place[labels], -1)
    if unknown := int((labels < 0).sum()):
        notes.append(f"{counted(unknown, 'image')} outside the class folders: class unknown")
    return labels, classes, split if parted else None, notes
