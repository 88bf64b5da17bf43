"""The promise behind every contract: global random states are neither read nor changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

__all__ = ["global_states_untouched", "same_under_global_seeds"]

T = TypeVar("T")


@contextmanager
def global_states_untouched(seed: int) -> Iterator[None]:
    """Set the global states of random, numpy and torch by ``seed``; fail if the body moves one.

    The states of before come back afterwards.
    """
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global state is what is under test
        torch.manual_seed(seed)
        python, array = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
        tensor = torch.get_rng_state()
        yield
        assert random.getstate() == python, "the global state of `random` was changed"
        after = np.random.get_state(legacy=False)  # noqa: NPY002
        assert repr(after) == repr(array), "numpy's global state was changed"
        assert torch.equal(torch.get_rng_state(), tensor), "torch's global state was changed"
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def same_under_global_seeds(draw: Callable[[], T], *, seeds: int = 10) -> T:
    """What ``draw()`` returns, after asserting that it does so under ``seeds`` global seeds."""
    found: list[T] = []
    for seed in range(seeds):
        with global_states_untouched(seed):
            found.append(draw())
    assert all(f == found[0] for f in found), "the answer depends on a global random state"
    return found[0]
