"""Images in: folders, parquet files, arrays and named sets, as a `Pool` without labels.

`open_data` opens whatever somebody points to; `verify` decodes everything once, so that
a run may start without broken images.
"""

from __future__ import annotations

from handful.pool.arrays import ArrayPool, FeaturePool, open_arrays, open_npz
from handful.pool.data import Data, Found, Reading
from handful.pool.encoded import EncodedPool, verify
from handful.pool.folder import open_folder
from handful.pool.ids import shown
from handful.pool.named import named_sets, open_data

__all__ = [
    "ArrayPool",
    "Data",
    "EncodedPool",
    "FeaturePool",
    "Found",
    "Reading",
    "named_sets",
    "open_arrays",
    "open_data",
    "open_folder",
    "open_npz",
    "shown",
    "verify",
]
