"""Labels, out and in: every form a writer and a reader of its own, none of them with pickle.

::

    rows --write, write_folders--> files      a file, a folder --read_any--> Incoming
"""

from __future__ import annotations

from handful.exports.about import About, LabelRow, Rows
from handful.exports.folders import safe_name, write_folders
from handful.exports.incoming import Fault, Incoming, Said
from handful.exports.labels import FORMATS, read_labels, write_labels
from handful.exports.reading import read_any
from handful.exports.writing import FORMS, Form, write

__all__ = [
    "FORMATS", "FORMS", "About", "Fault", "Form", "Incoming", "LabelRow", "Rows", "Said",
    "read_any", "read_labels", "safe_name", "write", "write_folders", "write_labels",
]  # fmt: skip
