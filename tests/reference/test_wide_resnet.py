"""The networks of semi-supervised learning: their layers, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from handful.errors import RecipeError
from handful.networks.wide_resnet import SlimCNN, WideResNet
from handful.training import seeded


def weights(network):
    return sum(p.numel() for p in network.parameters())


def made(kind, *args, **options):
    with seeded(np.random.default_rng(0)):
        return kind(*args, **options)


def by_hand(channels, classes, blocks, widths):
    """Convolutions without bias; each norm layer has two numbers a channel."""
    total = 9 * channels * widths[0]
    for g in range(3):
        for i in range(blocks):
            a, b = (widths[g] if i == 0 else widths[g + 1]), widths[g + 1]
            total += 2 * a + 9 * a * b + 2 * b + 9 * b * b + (a * b if a != b else 0)
    return total + 2 * widths[3] + widths[3] * classes + classes


def test_the_published_network_has_its_known_number_of_weights():
    assert by_hand(3, 10, 4, (16, 32, 64, 128)) == 1_467_610
    assert weights(made(WideResNet, 3, 10)) == 1_467_610
    small = made(WideResNet, 1, 4, depth=10, widen=1)
    assert weights(small) == by_hand(1, 4, 1, (16, 16, 32, 64))
    convolutions = [m for m in made(WideResNet, 3, 10).modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.kernel_size == (3, 3) for m in convolutions) == 25
    assert sum(m.kernel_size == (1, 1) for m in convolutions) == 3
    leaky = [m.negative_slope for m in small.modules() if isinstance(m, nn.LeakyReLU)]
    assert leaky == [0.1]


def test_the_slim_network_has_its_layers():
    network = made(SlimCNN, 1, 10, side=28)
    assert weights(network) == 61_050
    want = 9 * 16 + 32 + 9 * 16 * 32 + 64 + 9 * 32 * 64 + 128 + 9 * 64 * 64 + 128 + 64 * 10 + 10
    assert weights(network) == want
    strides = {side: made(SlimCNN, 1, 10, side=side).stem[0].stride for side in (8, 16, 23, 24, 96)}
    assert strides == {8: (1, 1), 16: (1, 1), 23: (1, 1), 24: (2, 2), 96: (2, 2)}


@pytest.mark.parametrize("size", [(8, 8), (17, 28), (96, 96)])
def test_any_size_and_a_vector_before_the_last_layer(size):
    for network in (
        made(WideResNet, 3, 7, depth=10, widen=1),
        made(SlimCNN, 3, 7, side=min(size)),
    ):
        network.eval()
        x = torch.rand(2, 3, *size)
        z = network.embed(x)
        assert z.shape == (2, network.width) == (2, 64)
        torch.testing.assert_close(network(x), network.top(z))


def test_the_shortcut_begins_behind_the_first_norm_in_the_first_block_alone():
    """By hand: one block with a shortcut, from its own layers."""
    network = made(WideResNet, 1, 3, depth=10, widen=2).eval()
    first, second = network.body[0], network.body[1]
    x = torch.randn(2, 16, 6, 6)

    def unit(norm, x):
        y = norm(x)
        return torch.where(y > 0, y, 0.1 * y)

    h = unit(first.bn1, x)
    torch.testing.assert_close(
        first(x), first.conv2(unit(first.bn2, first.conv1(h))) + first.short(h)
    )
    x = torch.randn(2, 32, 6, 6)
    h = second.conv2(unit(second.bn2, second.conv1(unit(second.bn1, x))))
    torch.testing.assert_close(second(x), h + second.short(x))
    assert second(x).shape == (2, 64, 3, 3)


@pytest.mark.parametrize("depth", [4, 12, 27])
def test_depths_that_make_no_whole_blocks_are_refused(depth):
    with pytest.raises(RecipeError, match="depth"):
        made(WideResNet, 3, 10, depth=depth)
