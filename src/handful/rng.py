"""Randomness is an argument: one generator for every (seed, round, role).

Nothing in handful reads or writes a global random state.  A draw depends on the
seed, the round and the *role* it plays, never on how many draws came before it:
that is what makes a killed run go on exactly where it was.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.random import Generator

__all__ = ["as_rng", "rng_for"]


def rng_for(seed: int, round: int | None, role: str) -> Generator:
    """Make the generator of one role in one round.

    ``round=None`` gives a draw that stays the same over all rounds.  The stream
    is ``PCG64(SeedSequence(blake2b("seed/round/role")))``: stable across
    processes, platforms and versions of Python.
    """
    place = "always" if round is None else str(int(round))
    digest = blake2b(f"{int(seed)}/{place}/{role}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(np.frombuffer(digest, dtype=np.uint32).tolist()))


def as_rng(rng: Generator | int | None) -> Generator:
    """Accept what a person types: a generator, a seed, or nothing (seed 0)."""
    if isinstance(rng, Generator):
        return rng
    return np.random.default_rng(0 if rng is None else int(rng))
