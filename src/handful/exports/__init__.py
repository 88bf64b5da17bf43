"""Label files out: CSV and JSON Lines with the columns of every ``labels.csv``, and back."""

from __future__ import annotations

from handful.exports.labels import FORMATS, LabelRow, read_labels, write_labels

__all__ = ["FORMATS", "LabelRow", "read_labels", "write_labels"]
