"""The whitening layer against its definition in float64, and the networks against what is published of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from project.errors import ConfigError
from project.models import build_backbone
from project.models.airbench import WhiteningConv, airbench94, airbench96, airbench_small

SMALL = (8, 12, 16)


def images(count: int = 40, size: int = 12) -> torch.Tensor:
    """Smooth ones of unequal channels: their patches are correlated."""
    noise = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool2d(noise, 3, 1, 1)
    return smooth * torch.tensor([2.0, 1.0, 0.5]).view(3, 1, 1) + smooth.roll(1, 1)


def patches(pictures: torch.Tensor, kernel: int, stride: int) -> np.ndarray:
    """Every patch of every image as a row, in float64."""
    places = range(0, pictures.shape[-1] - kernel + 1, stride)
    pixels = pictures.double().numpy()
    corners = [pixels[:, :, y : y + kernel, x : x + kernel] for y in places for x in places]
    return np.concatenate([corner.reshape(len(corner), -1) for corner in corners])


@pytest.mark.parametrize(("kernel", "stride", "directions"), [(2, 1, None), (3, 1, None), (4, 2, 12), (4, 2, None)])
def test_what_it_gives_of_its_images_is_uncorrelated_and_of_unit_variance(kernel, stride, directions):
    layer = WhiteningConv(kernel, stride, directions)
    torch.nn.init.zeros_(layer.bias)
    layer.whiten(images().split(16))
    half = directions or 3 * kernel**2
    rows = patches(images(), kernel, stride)
    weight = layer.weight.detach().double().flatten(1).numpy()
    output = rows @ weight.T
    second_moments = output[:, :half].T @ output[:, :half] / len(rows)
    values = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1][:half]
    np.testing.assert_allclose(second_moments, np.diag(values / (values + 5e-4)), atol=2e-4)
    np.testing.assert_array_equal(weight[half:], -weight[:half])


def test_the_batches_do_not_matter():
    found = []
    for size in (40, 7):
        layer = WhiteningConv(2)
        layer.whiten(images().split(size))
        found.append(layer.weight.detach().abs())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "learned", "logits"),
    [
        (airbench94, 1_971_352, [-0.9996546345530416, 0.4841582853678543, 1.391074160206748]),
        (airbench96, 9_915_416, [0.22940123307474614, 0.32401414539739576, 3.1103650481655944]),
    ],
)
def test_they_are_the_published_networks(frozen_logits, build, learned, logits):
    """The numbers are those of cifar10-airbench's own networks with the same weights."""
    assert sum(p.numel() for p in build(10, 32).parameters() if p.requires_grad) == learned
    assert frozen_logits(build(100, 32)) == pytest.approx(logits, rel=1e-6)
    assert [side for _, side, _ in build(10, 32).stage_shapes(32).values()] == [31, 15, 7, 3]


def test_the_small_one_halves_the_resolution_at_once():
    shapes = airbench_small(10, 32).stage_shapes(32)
    assert list(shapes.values()) == [(24, 16, 16), (64, 8, 8), (128, 4, 4)]


@pytest.mark.parametrize("build", [airbench94, airbench96, airbench_small])
def test_what_is_computed_is_not_learned_and_the_loss_reaches_the_rest(build):
    torch.manual_seed(0)
    network = build(4, 16, SMALL)
    before = {name: value.clone() for name, value in network.named_parameters()}
    functional.cross_entropy(network(images(16, 16)), torch.arange(16) % 4).backward()
    still = {name for name, p in network.named_parameters() if not p.requires_grad}
    norms = {name for name, p in before.items() if p.ndim == 1 and name.endswith("weight")}
    assert still == norms | {"stages.whiten.0.weight"}
    assert all((before[name] == 1).all() for name in norms)
    assert {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0} == (
        before.keys() - still
    )


@pytest.mark.parametrize("build", [airbench94, airbench96])
def test_convolutions_begin_as_the_identity_as_far_as_there_are_channels(build):
    for name, weight in build(4, 12, SMALL).named_parameters():
        if weight.ndim == 4 and "whiten" not in name:
            pixels, same = torch.randn(1, weight.shape[1], 5, 5), min(weight.shape[:2])
            torch.testing.assert_close(functional.conv2d(pixels, weight, padding=1)[:, :same], pixels[:, :same])


def test_logits_are_a_ninth_of_the_heads():
    network = airbench94(4, 12, SMALL).eval()
    features = network.features(images(3))
    torch.testing.assert_close(network(images(3)), features @ network.head.weight.T / 9)
    assert network.head.bias is None


def test_of_three_convolutions_the_last_two_add_to_the_first():
    """With their filters at zero a block is its first convolution and the shift of the last norm."""
    block = airbench96(4, 12, SMALL).stages["block1"].eval()
    for conv in (block.others[0], block.others[3]):
        torch.nn.init.zeros_(conv.weight)
    x = torch.randn(2, 24, 11, 11)
    torch.testing.assert_close(block(x), functional.gelu(functional.gelu(block.first(x))))


def test_only_a_network_that_computes_something_reads_images():
    read = []
    batches = lambda: (read.append(1) or batch for batch in images().split(20))  # noqa: E731
    plain, network = build_backbone("small_resnet", 4, 12), airbench94(4, 12, SMALL)
    plain.initialize_from(batches())
    assert read == []
    before = network.stages["whiten"][0].weight.clone()
    network.initialize_from(batches())
    assert read == [1, 1]
    assert not torch.equal(network.stages["whiten"][0].weight, before)


@pytest.mark.parametrize(
    ("build", "size", "widths"), [(airbench94, 8, SMALL), (airbench96, 4, (8, 8)), (airbench_small, 7, (8, 8))]
)
def test_too_small_images_are_the_users_mistake(build, size, widths):
    with pytest.raises(ConfigError, match="pixels"):
        build(4, size, widths)
    build(4, size + 1, widths)(torch.randn(2, 3, size + 1, size + 1))


@pytest.mark.parametrize("widths", [(), (8, 0)])
def test_widths_that_are_none_are_the_users_mistake(widths):
    with pytest.raises(ConfigError, match=r"^model\.backbone_options\.widths: "):
        airbench94(4, 32, widths)
