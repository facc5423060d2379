"""The default network: what it promises, and not how wide its layers are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from project.errors import ConfigError
from project.models.small_resnet import small_resnet


@pytest.mark.parametrize("image_size", [8, 16, 28, 33, 64])
def test_from_stage_to_stage_maps_become_smaller_and_deeper(image_size):
    shapes = small_resnet(10, image_size, width=4).stage_shapes(image_size)
    assert len(shapes) >= 2
    channels, heights, widths = zip(*shapes.values(), strict=True)
    assert heights == widths
    assert heights == tuple(sorted(heights, reverse=True))
    assert 1 <= heights[-1] <= image_size // 4
    assert channels == tuple(sorted(channels))
    assert channels[-1] > channels[0]


@pytest.mark.parametrize("width", [3, 8])
def test_width_is_that_of_the_first_stage_and_of_all_in_proportion(width):
    channels, unit = ([c for c, _, _ in small_resnet(10, 16, width=w).stage_shapes(16).values()] for w in (width, 1))
    assert channels[0] == width
    assert channels == [width * c for c in unit]


def test_one_network_takes_images_of_any_size_and_shape():
    network = small_resnet(5, 16, width=4).eval()
    for height, width in ((8, 8), (16, 40), (50, 31)):
        assert network(torch.randn(2, 3, height, width)).shape == (2, 5)


def test_the_loss_reaches_every_parameter():
    torch.manual_seed(0)
    network = small_resnet(4, 16, width=4)
    functional.cross_entropy(network(torch.randn(16, 3, 16, 16)), torch.arange(16) % 4).backward()
    untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert untouched == []


def test_in_evaluation_an_image_is_judged_by_itself():
    torch.manual_seed(0)
    network = small_resnet(4, 16, width=4)
    images = torch.randn(8, 3, 16, 16)
    network(images)  # running statistics that are not the initial ones
    network.eval()
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=1e-5, atol=1e-5)


def test_it_learns_labels_by_heart_in_a_few_steps():
    torch.manual_seed(0)
    network = small_resnet(4, 16, width=8)
    images, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 4
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    assert (network.train()(images).argmax(1) == labels).all()


def test_images_too_small_for_its_stages_are_refused_as_a_mistake_of_the_user():
    with pytest.raises(ConfigError, match="pixels"):
        small_resnet(10, 4)
