"""torchvision's networks by name: stems for small images, options, and mistakes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.ops import StochasticDepth

from project.errors import ConfigError
from project.models import build_backbone


def on_meta(name: str, image_size: int, **options: object) -> nn.Module:
    with torch.device("meta"):
        return build_backbone(name, 10, image_size, options)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_original_is_drawn_as_torchvision_draws_it(name):
    images = torch.randn(2, 3, 96, 96)
    torch.manual_seed(1)
    theirs = models.get_model(name, num_classes=5).eval()
    torch.manual_seed(1)
    ours = build_backbone(name, 5, 96).eval()
    assert ours.note == ""
    torch.testing.assert_close(ours(images), theirs(images))


SMALL = {  # (C, h, w) of the first stage at 32 pixels, and h of the last
    "alexnet": (64, 32, 15), "convnext_tiny": (96, 32, 4), "densenet121": (64, 32, 4), "efficientnet_b0": (32, 32, 2),
    "googlenet": (192, 32, 4), "inception_v3": (192, 28, 2), "mnasnet0_5": (8, 32, 2), "mobilenet_v2": (32, 32, 2),
    "mobilenet_v3_small": (16, 32, 2), "resnet50": (64, 32, 4), "shufflenet_v2_x0_5": (24, 32, 4),
    "squeezenet1_0": (96, 32, 8), "swin_t": (96, 32, 4), "swin_v2_t": (96, 32, 4), "vgg11": (64, 32, 2),
    "vit_b_16": (768, 8, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_small_images_keep_their_resolution_at_first(name):
    network = on_meta("torchvision/" + name, 32)
    channels, first, last = SMALL[name]
    shapes = list(network.stage_shapes(32).values())
    assert shapes[0] == (channels, first, first)
    assert shapes[-1][1:] == (last, last)
    assert network.training
    assert network.note.startswith(f"{name}: at 32 px ")
    assert network.note.endswith("; --model.backbone_options.stem imagenet gives the original")


def test_the_note_says_what_was_chosen():
    assert on_meta("resnet18", 32).note == (
        "resnet18: at 32 px its stem is 3×3, stride 1, without max-pool; "
        "--model.backbone_options.stem imagenet gives the original"
    )


@pytest.mark.parametrize(
    ("image_size", "stem", "side"),
    [(64, "auto", 64), (65, "auto", 17), (64, "imagenet", 16), (96, "small", 96)],
)
def test_the_stem_follows_from_the_image_size_unless_it_is_given(image_size, stem, side):
    network = on_meta("resnet18", image_size, stem=stem)
    assert network.stage_shapes(image_size)["stem"] == (64, side, side)
    assert bool(network.note) == (side == image_size)


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small", "regnet_x_400mf"])
def test_small_networks_learn_and_take_either_layout(name):
    torch.manual_seed(0)
    network = build_backbone(name, 4, 32)
    images = torch.randn(4, 3, 32, 32)
    nn.functional.cross_entropy(network(images), torch.arange(4)).backward()
    assert [key for key, p in network.named_parameters() if p.grad is None] == []
    network.eval()
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    output = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


def test_vits_maps_are_those_of_the_image_and_not_of_the_class_token():
    network = on_meta("vit_b_16", 32)
    assert network.stages["patches"].conv.kernel_size == (4, 4)
    assert on_meta("vit_b_16", 224).stages["patches"].conv.kernel_size == (16, 16)
    tokens = torch.arange(2 * 7 * 3).view(2, 7, 3)[:, :5]  # a class token and 2 × 2 others
    maps = network.as_map(tokens)
    assert maps.shape == (2, 3, 2, 2)
    assert torch.equal(maps[0, :, 0, 1], tokens[0, 2])
    assert torch.equal(maps[1, :, 1, 0], tokens[1, 3])


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("alexnet", 64), ("convnext_tiny", 32), ("mobilenet_v3_small", 32), ("resnet18", 32), ("squeezenet1_1", 32),
        ("squeezenet1_0", 96), ("swin_t", 32), ("torchvision/vgg11", 32),
    ],
)  # fmt: skip
def test_the_last_map_has_a_classifier(name, image_size):
    torch.manual_seed(0)
    network = build_backbone(name, 7, image_size).eval()
    head = copy.deepcopy(network.head)
    head.weight.data.mul_(2)
    classifier = network.map_classifier(head)
    images = torch.randn(3, 3, image_size, image_size)
    with torch.no_grad():
        maps = network.feature_maps(images)
        network.head.weight.mul_(2)
        torch.testing.assert_close(classifier(maps), network(images))


def test_vits_last_map_has_no_classifier_since_the_class_token_is_not_in_it():
    network = on_meta("vit_b_16", 32)
    assert network.map_classifier(network.head) is None


def test_options_are_those_of_torchvision():
    assert on_meta("torchvision/vgg11", 224, dropout=0.1).pool[5].p == 0.1
    assert on_meta("densenet121", 32, drop_rate=0.2).stages["block1"].denselayer1.drop_rate == 0.2
    residual = build_backbone("resnet18", 3, 32, {"zero_init_residual": True})
    assert (residual.stages["layer1"][0].bn2.weight == 0).all()


@pytest.mark.parametrize(("name", "image_size"), [("swin_t", 32), ("maxvit_t", 224), ("convnext_tiny", 32)])
def test_stochastic_depth_rises_to_what_is_given(name, image_size):
    network = on_meta(name, image_size, stochastic_depth_prob=0.4)
    probabilities = [m.p for m in network.modules() if isinstance(m, StochasticDepth)]
    assert probabilities[0] == 0
    assert probabilities[-1] == pytest.approx(0.4)
    assert probabilities == sorted(probabilities)


@pytest.mark.parametrize(
    ("name", "image_size", "options", "message"),
    [
        ("maxvit_t", 32, {}, r"^model\.backbone: maxvit_t needs images whose side is a multiple of 224; got 32$"),
        ("maxvit_t", 224, {"stem": "small"}, r"^model\.backbone_options\.stem: maxvit_t has no small one$"),
        ("vit_b_16", 100, {}, r"^model\.backbone: vit_b_16 needs .* a multiple of its patches' 16; got 100$"),
        ("vit_b_16", 28, {}, r"a multiple of its patches' 3; got 28$"),
        ("inception_v3", 65, {}, r"^model\.backbone: inception_v3 needs images of more than 65 pixels$"),
        ("vgg11", 16, {"stem": "imagenet"}, r"^model\.backbone: vgg11 needs images of more than 16 pixels$"),
        ("resnet18", 32, {"stem": "tiny"}, r"^model\.backbone_options\.stem: 'auto', 'small' or 'imagenet'"),
        ("alexnet", 64, {"dropout": 3}, r"^model\.backbone_options: alexnet does not take {'dropout': 3}: "),
        ("resnet18", 32, {"dropout": 0.1}, r"^model\.backbone_options: resnet18 takes no 'dropout'; "),
        ("resnet18", 32, {"weights": "x"}, r"^model\.backbone_options: resnet18 takes no 'weights'; "),
    ],
)
def test_what_cannot_be_is_said_in_one_line(name, image_size, options, message):
    with pytest.raises(ConfigError, match=message):
        on_meta(name, image_size, **options)
