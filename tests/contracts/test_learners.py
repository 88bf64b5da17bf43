"""Every registered learner keeps the contract; a learner without an entry here fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handful.learners
from handful.progress import Silent
from handful.registry import LEARNERS
from handful.testing.learners import LearnerContract, refusal, tiny_pool, view_of
from handful.types import Fit, Snapshot

assert handful.learners.__all__  # importing it fills the registry

_ENCODER: dict[str, Any] = {"pretrain_epochs": 2, "filters": (4, 4, 4), "hidden": 16}
_DSAC: dict[str, Any] = {"m": 5, "epochs": 2, "batch_size": 8, "n_init": 2}

# learner -> the options of a fit that takes a blink; more than one where a branch needs it
TINY: dict[str, tuple[dict[str, Any], ...]] = {
    "adc": ({**_ENCODER, "epochs": 2, "n_init": 2, "n_images": 12, "n_pairs": 8},),
    "autoembedder": (
        {**_ENCODER, "steps": 3, "n_init": 2},
        {**_ENCODER, "epochs": 1, "n_pairs": 12, "n_init": 2, "alpha": 1.5, "normalise": True},
    ),
    "ccl": (
        {**_ENCODER, "epochs": 2, "n_init": 2},
        {**_ENCODER, "epochs": 1, "n_init": 2, "ccl_form": "student", "augment": "auto"},
        {**_ENCODER, "epochs": 1, "n_init": 2, "warm_start": False, "refresh": "running"},
    ),
    "cnn": (
        {"steps": 4, "draws": 3},
        {"steps": 4, "draws": 3, "warm_start": True, "augment": "shift"},
    ),
    "dcec": ({**_ENCODER, "steps": 4, "n_init": 2},),
    "dec": ({**_ENCODER, "steps": 4, "n_init": 2},),
    "dsac": (
        _DSAC,
        {
            **_DSAC,
            "warm_start": False,
            "embed_norm": "l2",
            "head": "relu-bn-linear",
            "predict": "column-softmax",
            "refresh": "epoch",
            "lambda_scope": "cluster",
            "lambda_schedule": "grow",
            "pseudo_label": "labels",
            "agree_tau": 0.3,
            "cap_by_share": True,
        },
        {**_DSAC, "predict": "cluster", "pseudo_label": "labels"},
        {**_DSAC, "predict": "views", "pseudo_label": "agreed", "graph_k": 5},
        {
            **_DSAC,
            "batching": "mixed",
            "pseudo_label": "hungarian",
            "passes": 2,
            "pseudo_policy": "accumulate",
            "constrain": "human+pseudo",
            "schedule": "fast",
        },
        {
            **_DSAC,
            "loss_schedule": "alternate",
            "alternate_epochs": (2, 1),
            "predict": "centre",
            "lambda_u": 0.0,
            "constrain": "none",
            "seed_from": "labels",
            "sup_weight": "none",
        },
    ),
    "encoder-head": (
        _ENCODER,
        {**_ENCODER, "finetune": True, "finetune_steps": 3, "scale": "unit", "C": 1.0},
    ),
    "fixmatch": (
        {"schedule": "fast", "steps": 3, "batch_size": 4, "mu": 2},
        {"steps": 2, "batch_size": 4, "mu": 1, "depth": 10, "widen": 1, "warm_start": True},
    ),
    "flexmatch": (
        {"schedule": "fast", "steps": 3, "batch_size": 4, "mu": 2},
        {"schedule": "fast", "steps": 3, "batch_size": 4, "mu": 2, "warm_start": True},
    ),
    "kmeans": (
        {"n_init": 2},
        {"n_init": 2, "assignment": "soft", "n_clusters": 5},
        {**_ENCODER, "n_init": 2, "features": "cae", "assignment": "soft"},
    ),
    "lada": ({"steps": 4}, {"steps": 4, "warm_start": True, "augment": "auto"}),
    "mcdal": (
        {"epochs": 2, "epoch_images": 64, "schedule": "fast"},
        {"epochs": 2, "epoch_images": 256, "augment": "auto"},
    ),
    "probe": ({}, {"scale": "standard", "C": "cv"}, {"scale": "none", "C": 0.1}),
    "propagation": (
        {},
        {"method": "harmonic", "cmn": "on", "scale": "standard", "references": 9},
    ),
    "sdec": (
        {**_ENCODER, "steps": 4, "n_init": 2},
        {**_ENCODER, "steps": 3, "n_init": 2, "lam": 0.1, "schedule": "fast", "n_pairs": 4},
    ),
    "self-training": ({}, {"rounds": 2, "scale": "standard", "threshold": 0.5}, {"rounds": 0}),
    "tod": (
        {"least_steps": 4, "first_epochs": 1, "epochs": 1, "schedule": "fast"},
        {"least_steps": 4, "first_epochs": 1, "epochs": 1, "two_head": True, "augment": "auto"},
    ),
}


def _contract(name: str, number: int, options: dict[str, Any]) -> type[LearnerContract]:
    kind = LEARNERS.get(name)
    title = "Test" + name.title().replace("-", "") + (str(number + 1) if number else "")
    return type(title, (LearnerContract,), {"learner": kind, "tiny": kind.Options(**options)})


for _name in LEARNERS:
    for _number, _options in enumerate(TINY.get(_name, ())):
        _made = _contract(_name, _number, _options)
        globals()[_made.__name__] = _made


def test_every_registered_learner_has_an_entry():
    assert set(TINY) == set(LEARNERS)


# --- the contract itself notices -----------------------------------------------------------


# mypy cannot see the class behind a registry name
class Sloppy(LEARNERS.get("probe")):  # type: ignore[misc]
    """A learner with one fault at a time."""

    fault = ""
    fits = 0

    def fit(self, view: Any, rng: np.random.Generator, progress: Any) -> Fit:
        if self.fault == "global":
            # the fault on purpose: the global state, which NPY002 forbids everywhere else
            np.random.rand()  # noqa: NPY002
        fit = super().fit(view, rng, progress)
        if self.fault == "seedless":
            rng = np.random.default_rng()
            self._head.b[0] += rng.random()
        if self.fault == "reads":
            # the same fault, hidden by putting the state back
            state = np.random.get_state()  # noqa: NPY002
            self._head.b[0] += np.random.rand()  # noqa: NPY002
            np.random.set_state(state)  # noqa: NPY002
        if self.fault == "memory":
            self.fits += 1  # and not in the state
            self._head.b[0] += self.fits
        return fit

    def snapshot(self, view: Any, parts: frozenset[str]) -> Snapshot:
        if self.fault == "extra":
            parts = self.gives
        if self.fault == "changes":
            self._head.b[0] += 0.5
        snapshot = super().snapshot(view, parts)
        if self.fault == "writable":
            for part in snapshot.parts.values():
                part.flags.writeable = True
        return snapshot

    def predict(self, images: Any) -> Any:
        p = super().predict(images)
        return p[:, ::-1] if self.fault == "predict" else p

    def state(self) -> Any:
        state = super().state()
        return {k: v * 2 for k, v in state.items()} if self.fault == "state" else state


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        ("global", "test_same_seed_same_output_whatever_the_global_seeds"),
        ("seedless", "test_same_seed_same_output_whatever_the_global_seeds"),
        ("reads", "test_same_seed_same_output_whatever_the_global_seeds"),
        ("memory", "test_resumed_equals_never_killed"),
        ("extra", "test_gives_the_parts_that_were_asked_for_and_no_other"),
        ("writable", "test_gives_the_parts_that_were_asked_for_and_no_other"),
        ("changes", "test_a_snapshot_changes_nothing"),
        ("predict", "test_predict_agrees_with_the_snapshot"),
        ("state", "test_state_makes_the_round_trip"),
    ],
)
def test_the_contract_notices(fault, promise):
    kind = type("Faulty", (Sloppy,), {"fault": fault, "name": "probe", "__doc__": "x"})
    contract = LearnerContract()
    # class variables set on an instance: this contract runs over a table
    contract.learner, contract.tiny = kind, kind.Options()  # type: ignore[misc]
    with pytest.raises(AssertionError):
        getattr(contract, promise)()


def test_a_refusal_that_does_not_come_is_noticed():
    with pytest.raises(AssertionError, match="must be refused"):
        refusal(lambda: None)
    pool, truth = tiny_pool()
    learner = LEARNERS.get("probe")()
    empty = view_of(pool, truth, [])
    assert "label" in refusal(lambda: learner.fit(empty, np.random.default_rng(0), Silent()))
