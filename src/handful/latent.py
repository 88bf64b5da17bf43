"""The latent space of a pool: an auto-encoder, its pre-training, and where each image lies.

CCL, DCEC, DEC and the probe on latent numbers stand on the same ground: a convolutional
auto-encoder (images) or a small MLP one (ready features), pre-trained on everything without
a label.  Each of them owns what it does next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from handful.augment import AUGMENTS, Augment, augmentation
from handful.errors import InputError, RecipeError, TrainingError
from handful.networks.cae import CAE, MLPAutoEncoder, Norm
from handful.progress import Progress
from handful.training import (
    Images,
    Precision,
    device_for,
    embed,
    load_weights,
    pretrain_autoencoder,
    seeded,
    variance,
    weights_of,
)
from handful.types import Array, Pool, View, Weights

__all__ = ["AutoEncoderOptions", "LatentSpace", "by_class", "cluster_count"]
LEAST_STEPS = 300  # of pre-training, unless epochs are asked for


@dataclass(frozen=True)
class AutoEncoderOptions:
    """The auto-encoder and its pre-training; ``None`` is settled by ``schedule``."""

    schedule: Literal["published", "fast"] = "published"  # as the paper, or for a CPU
    embedding_dim: int = 10  # d, the width of the latent space
    filters: tuple[int, int, int] = (32, 64, 128)  # of the three convolutions
    norm: Norm = "block"  # batch-norm: after each block, once ("single"), "none" as DCEC
    activation: Literal["relu", "leaky"] = "relu"  # leaky: slope 0.01
    out_activation: Literal["linear", "sigmoid"] = "linear"  # of the reconstruction
    hidden: int = 256  # width of the auto-encoder for ready features
    augment: Literal["none", "glyph", "object", "photo", "auto"] = "none"  # auto: glyph or photo
    pretrain_epochs: int | None = None  # 50 published, 15 fast
    pretrain_steps: int | None = None  # at most; unlimited published, 1,500 fast
    least_steps: int | None = None  # of pre-training: 300 where the schedule sets the epochs
    lr: float = 1e-3  # of Adam
    batch_size: int = 256  # of the stream of all images
    precision: Precision = "32-true"  # bf16-mixed is faster where the processor has it
    devices: int = 1  # GPUs of this machine to split a batch over


class LatentSpace:
    """An auto-encoder over one pool.  ``z`` of all rows is kept while the weights stand still.

    Images enter in [0, 1]; features are standardised by the mean and deviation of the pool
    they were first trained on, which travel with the weights.
    """

    def __init__(self, options: AutoEncoderOptions) -> None:
        self.options = options
        self._network: CAE | MLPAutoEncoder | None = None
        self._images: Images | None = None
        self._shape: tuple[int, int, int] = (0, 0, 0)  # channels (0: features), height, width
        self._scale = (torch.zeros(1), torch.ones(1))  # of features: mean, deviation
        self._z: Tensor | None = None

    @property
    def built(self) -> bool:
        return self._network is not None

    @property
    def network(self) -> CAE | MLPAutoEncoder:
        if self._network is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self._network

    @property
    def device(self) -> torch.device:
        return device_for(self.options.precision, self.options.devices)

    def attach(self, pool: Pool, progress: Progress | None = None) -> Images:
        """The pixels of ``pool``; read once and kept for as long as it is the same pool."""
        if self._images is None or self._images.pool is not pool:
            self._images = Images(pool, device=self.device, progress=progress)
            self._z = None
        return self._images

    def pretrain(self, rng: Generator, progress: Progress) -> int:
        """Build the network for the attached pool and train it on ``mean (x - x_hat)^2``.

        Returns the number of images that passed.
        """
        o, images = self.options, self.images
        fast = o.schedule == "fast"
        least = o.least_steps
        if least is None:  # an epoch of a small folder is a step or two
            least = LEAST_STEPS if o.pretrain_epochs is None else 0
        epochs = o.pretrain_epochs or (15 if fast else 50)
        epochs = max(epochs, math.ceil(least / math.ceil(len(images) / o.batch_size)))
        self._measure(images)
        with seeded(rng):
            self._network = self._new_network()
        figures = pretrain_autoencoder(
            self.network,
            images,
            epochs=epochs,
            steps=o.pretrain_steps or (1500 if fast else None),
            lr=o.lr,
            batch_size=o.batch_size,
            augment=self.augment,
            prepare=self.prepare,
            precision=o.precision,
            devices=o.devices,
            rng=rng,
            progress=progress,
        )
        self.moved()
        self.z()
        return int(figures["images"])

    def moved(self) -> None:
        """Say that the weights have changed: the kept ``z`` is no longer theirs."""
        self._z = None

    def z(self) -> Tensor:
        """``(n, d)`` of all rows in evaluation mode, on the CPU.

        `TrainingError` on NaN, and when all images lie on one point though they differ: a
        dead encoder after pre-training, a collapse after clustering.
        """
        if self._z is None:
            self._z = embed(
                lambda x: self.network.encode(self.prepare(x)),
                self.images,
                network=self.network,
            )
            if not torch.isfinite(self._z).all():
                raise TrainingError(
                    f"the latent space holds NaN or inf: lower learner.lr (now {self.options.lr:g})"
                )
            if self._collapsed(self._z):
                raise TrainingError(
                    "the latent space has collapsed: every image lies on the same point though the"
                    " images differ; lower learner.lr or set learner.activation to 'leaky'"
                )
        return self._z

    def _collapsed(self, z: Tensor) -> bool:
        one_point = len(z) > 1 and float(z.std(dim=0, correction=0).max()) < 1e-6
        return one_point and variance(self.images, self.prepare) > 1e-8

    def encode(self, images: Array) -> Tensor:
        """``(B, d)`` of new images, uint8 ``(B, C, H, W)``, or of feature rows ``(B, D)``."""
        network = self.network
        wanted = self._shape if self._shape[0] else self._shape[2:]
        if tuple(images.shape[1:]) != wanted:
            raise InputError(f"images of shape {images.shape[1:]}: this model takes {wanted}")
        x = Images.scale(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        network.eval()
        with torch.inference_mode():
            return network.encode(self.prepare(x)).float().cpu().clone()

    def prepare(self, x: Tensor) -> Tensor:
        """Standardise features; pixels stay in [0, 1]."""
        if self._shape[0]:
            return x
        mean, deviation = self._scale
        return (x - mean.to(x)) / deviation.to(x)

    @property
    def augment(self) -> Augment:
        kind = augmentation(self.options.augment, self._shape[0], max(self._shape[1:]))
        return AUGMENTS[kind]

    def state(self) -> Weights:
        return {
            **weights_of(self.network, "network."),
            "shape": np.array(self._shape),
            "feature_mean": self._scale[0].cpu().numpy().copy(),
            "feature_deviation": self._scale[1].cpu().numpy().copy(),
        }

    def load(self, state: Weights) -> None:
        channels, height, width = (int(v) for v in state["shape"])
        self._shape = (channels, height, width)
        mean, deviation = state["feature_mean"], state["feature_deviation"]
        self._scale = (torch.from_numpy(np.array(mean)), torch.from_numpy(np.array(deviation)))
        with seeded(np.random.default_rng(0)):  # its first weights are overwritten at once
            self._network = self._new_network()
        load_weights(self._network, state, "network.")
        self.moved()

    @property
    def images(self) -> Images:
        """The attached images."""
        if self._images is None:
            raise InputError("no images are attached to this model: call fit or snapshot first")
        return self._images

    def _measure(self, images: Images) -> None:
        pool = images.pool
        if pool.features is None:
            self._shape = (pool.channels, *pool.size)
            return
        features = np.asarray(pool.features)
        if not np.isfinite(features).all():
            raise InputError("the features hold NaN or inf: clean them first")
        deviation = features.std(axis=0)
        deviation[deviation <= 1e-6] = 1.0
        self._scale = (
            torch.from_numpy(features.mean(axis=0).astype(np.float32)),
            torch.from_numpy(deviation.astype(np.float32)),
        )
        self._shape = (0, 0, features.shape[1])

    def _new_network(self) -> CAE | MLPAutoEncoder:
        o, (channels, height, width) = self.options, self._shape
        if channels == 0:
            mlp = MLPAutoEncoder(width, embedding_dim=o.embedding_dim, hidden=o.hidden)
            return mlp.to(self.device)
        cae = CAE(
            channels,
            (height, width),
            embedding_dim=o.embedding_dim,
            filters=o.filters,
            norm=o.norm,
            activation=o.activation,
            out_activation=o.out_activation,
        )
        # channels last: a tenth faster on a CPU, more on a GPU
        placed: CAE = cae.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed


def cluster_count(view: View, known: NDArray[np.int64], n_clusters: int | None) -> int:
    """How many clusters to look for: as asked, as many as classes, or the view's hint."""
    n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1)
    k = n_clusters or n_classes or view.clusters or 0
    if k < 1:
        raise RecipeError(
            "the number of clusters is unknown: name the classes or set learner.n_clusters"
        )
    if k > len(view.pool):
        raise InputError(
            f"fewer images ({len(view.pool)}) than clusters ({k}): set learner.n_clusters"
        )
    return k


def by_class(
    q: NDArray[np.float32], class_of: NDArray[np.int64], n_classes: int
) -> NDArray[np.float32]:
    """Sum q ``(n, K)`` over the clusters of each class: ``(n, C)``, rows sum to 1.

    ``class_of (K,)`` is -1 where a cluster has no name, which happens only while nothing at
    all is labelled: then every class is as likely as any other.
    """
    proba = np.zeros((len(q), max(n_classes, 1)), dtype=np.float32)
    if (class_of < 0).any():
        proba[:] = 1 / proba.shape[1]
        return proba
    for cluster, c in enumerate(class_of):
        proba[:, c] += q[:, cluster]
    proba /= proba.sum(axis=1, keepdims=True)
    return proba
