"""What lasts: the book in SQLite, run folders, checkpoints, model files."""

from __future__ import annotations

from handful.store.runs import (
    LABEL_COLUMNS,
    PREDICTION_COLUMNS,
    ROUND_COLUMNS,
    RunFolder,
    RunRecord,
    SavedCheckpoints,
    label_rows,
    load_model,
    read_run,
)
from handful.store.sqlite import FollowedBook, SqliteBook, read_events

__all__ = [
    "LABEL_COLUMNS",
    "PREDICTION_COLUMNS",
    "ROUND_COLUMNS",
    "FollowedBook",
    "RunFolder",
    "RunRecord",
    "SavedCheckpoints",
    "SqliteBook",
    "label_rows",
    "load_model",
    "read_events",
    "read_run",
]
