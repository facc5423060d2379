"""The article's network, counted and computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from project.errors import ConfigError
from project.models.simple_cnn import simple_cnn


@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize(("image_size", "side"), [(4, 1), (28, 7), (30, 7), (32, 8), (64, 16)])
def test_its_size_follows_from_the_image_size(image_size, side, num_classes):
    with torch.device("meta"):
        network = simple_cnn(num_classes, image_size)
    convolutions = (3 * 9 + 1) * 64 + (64 * 9 + 1) * 128
    linear = (128 * side * side + 1) * 1024 + (1024 + 1) * num_classes
    assert sum(p.numel() for p in network.parameters()) == convolutions + linear
    assert network.stage_shapes(image_size) == {
        "conv1": (64, image_size // 2, image_size // 2),
        "conv2": (128, side, side),
    }
    assert network(torch.zeros(2, 3, image_size, image_size, device="meta")).shape == (2, num_classes)


def test_the_articles_count_at_64_pixels():
    with torch.device("meta"):
        assert sum(p.numel() for p in simple_cnn(10, 64).parameters()) == 33_641_354


def test_it_computes_convolution_relu_pool_twice_then_two_linear_layers():
    torch.manual_seed(0)
    network = simple_cnn(3, 8).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    w1, b1, w2, b2, w3, b3, w4, b4 = network.parameters()

    def stage(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """A padded 3 × 3 convolution as a matrix product over patches, ReLU, and the largest of 2 × 2."""
        size = x.shape[-1]
        patches = functional.unfold(x, 3, padding=1)
        x = (weight.flatten(1) @ patches + bias[:, None]).clamp(min=0)
        return x.view(len(x), -1, size // 2, 2, size // 2, 2).amax((3, 5))

    hidden = (stage(stage(images, w1, b1), w2, b2).flatten(1) @ w3.T + b3).clamp(min=0)
    torch.testing.assert_close(network.features(images), hidden, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network(images), hidden @ w4.T + b4, rtol=1e-10, atol=1e-10)


def test_images_that_two_poolings_leave_nothing_of_are_refused():
    with pytest.raises(ConfigError, match=r"at least 4 pixels; got 3$"):
        simple_cnn(10, 3)
