"""``import handful`` is light, and its list of public names is true."""

from __future__ import annotations

import subprocess
import sys

import pytest

import handful


def test_the_list_is_sorted_and_each_name_is_there() -> None:
    assert handful.__all__ == sorted(set(handful.__all__))
    for name in handful.__all__:
        assert getattr(handful, name) is not None
        assert name in dir(handful)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'recipee'"):
        handful.recipee  # noqa: B018  (the access is the test)


def test_the_library_use_without_torch() -> None:
    """Importing, reading a pool and asking a rule need no torch."""
    code = """
import sys
import handful
assert not {"torch", "sklearn", "pandas", "matplotlib"} & set(sys.modules), "not light"
import numpy as np
picked = handful.queries.entropy(np.full((4, 2), 0.5), 2)
assert len(picked) == 2
handful.LabelBook, handful.AskTell, handful.ScoreRule, handful.register_query
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
