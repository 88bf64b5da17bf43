"""``open_data``: whatever a person may point to, as `Data`.

In this order: the name ``digits`` and the names under the data root; a folder; one or
several parquet files (separated by commas, a pattern with ``*``, or a folder of them); an
``.npz``.  A folder that is called like a named set is meant by ``./NAME``.
"""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path
from typing import Literal

import numpy as np

from handful.errors import PoolError, UnknownName
from handful.pool.arrays import open_arrays, open_npz
from handful.pool.data import Data
from handful.pool.folder import SUFFIXES, open_folder
from handful.pool.ids import shown
from handful.progress import Progress, Silent

__all__ = ["named_sets", "open_data"]


def open_data(
    spec: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    max_side: int = 96,
    page: int | Literal["all"] = 0,
    channel: int | None = None,
    thorough: bool = False,
) -> Data:
    """Open ``spec``: a folder, parquet file(s), an ``.npz`` or a name.

    Parameters
    ----------
    data_root : where named sets lie (``NAME.npz`` or ``NAME.parquet``); default: the
        environment's ``HANDFUL_DATA``.
    max_side : larger images are shrunk to it, their aspect ratio kept.
    page : of multi-page TIFF files in a folder: one page, or ``"all"``, each an image.
    channel : one channel of every image, taken as gray.
    thorough : read every header of a large parquet file, look for duplicates in large arrays.

    Raises `PoolError` (nothing that can be used, and why) or `UnknownName`.
    """
    progress = progress or Silent()
    text = os.fspath(spec)
    known = named_sets(data_root)
    if text == "digits":
        return _digits(max_side)
    path = known.get(text) or Path(text)
    if path.is_dir():
        files = _parquet_in(path)
        if not files:
            return open_folder(
                path, page=page, channel=channel, max_side=max_side, progress=progress
            )
    elif path.suffix == ".npz" and path.is_file():
        return open_npz(path, channel=channel, max_side=max_side, thorough=thorough)
    else:
        files = [path] if path.is_file() else _several(text)
    if not files:
        raise _missing(text, known, data_root)
    from handful.pool.parquet import open_parquet  # pyarrow takes a while to import

    for file in files:
        if file.suffix != ".parquet":
            raise PoolError(
                f"{shown(file)!r} is no source of images: give a folder, .parquet or .npz"
            )
    return open_parquet(
        files, channel=channel, max_side=max_side, thorough=thorough, progress=progress
    )


def named_sets(data_root: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Names under the data root and their files; ``digits``, which is always there, is not."""
    root = data_root or os.environ.get("HANDFUL_DATA")
    if not root or not Path(root).is_dir():
        return {}
    sets = {path.stem: path for path in sorted(Path(root).glob("*.parquet"))}
    return sets | {path.stem: path for path in sorted(Path(root).glob("*.npz"))}


def _digits(max_side: int) -> Data:
    """The 1,797 handwritten digits, 8 x 8, that scikit-learn brings along."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    arrays = {"images": images, "labels": digits.target, "classes": digits.target_names.astype(str)}
    return open_arrays("digits", arrays, where="scikit-learn's digits", max_side=max_side)


def _several(text: str) -> list[Path]:
    files: list[Path] = []
    for part in text.split(","):
        if Path(part).is_file():
            files.append(Path(part))
        elif matches := sorted(glob(part, recursive=True)):
            files += [Path(match) for match in matches]
        elif "," in text:
            raise PoolError(f"no file {shown(part)!r}: check the list {shown(text)!r}")
    return sorted(set(files))


def _parquet_in(folder: Path) -> list[Path]:
    """Parquet files of images in a folder, or in its ``data``; none beside plain images."""
    for place in (folder, folder / "data"):
        files = sorted(place.glob("*.parquet")) if place.is_dir() else []
        if files:
            from handful.pool.parquet import image_column

            files = [file for file in files if image_column(file)]
        if files and not any(p.suffix.lower() in SUFFIXES for p in place.iterdir()):
            return files
    return []


def _missing(
    text: str, known: dict[str, Path], data_root: str | os.PathLike[str] | None
) -> PoolError | UnknownName:
    if os.sep in text or "," in text or "*" in text or Path(text).suffix in (".parquet", ".npz"):
        return PoolError(f"there is no file or folder {shown(text)!r}: check the path")
    error = UnknownName("data set", text, {"digits", *known})
    root = data_root or os.environ.get("HANDFUL_DATA")
    place = (
        f"there is no such folder, and no such set under {shown(root)}"
        if root
        else (
            "there is no such folder; further sets are looked up where --data-root or HANDFUL_DATA"
            " points"
        )
    )
    error.args = (f"{error} ({place})",)
    return error
