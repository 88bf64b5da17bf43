"""Learners: one method a file, each with its training loop on one screen.

Importing this package registers them all (and imports torch).
"""

from __future__ import annotations

from handful.learners import (
    adc,
    autoembedder,
    ccl,
    cnn,
    dec,
    dsac,
    encoder_head,
    fixmatch,
    flexmatch,
    kmeans,
    lada,
    mcdal,
    probe,
    propagation,
    sdec,
    self_training,
    tod,
)

__all__ = [
    "adc",
    "autoembedder",
    "ccl",
    "cnn",
    "dec",
    "dsac",
    "encoder_head",
    "fixmatch",
    "flexmatch",
    "kmeans",
    "lada",
    "mcdal",
    "probe",
    "propagation",
    "sdec",
    "self_training",
    "tod",
]
