"""The interface of every network: stages by name, pooled features, logits; and networks by name."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from project.errors import ConfigError
from project.models import BACKBONES, Backbone, backbone_names, build_backbone
from project.models.torchvision_models import TORCHVISION_NAMES

# the others are the same functions with larger numbers
NAMES = [
    name for name in BACKBONES if name not in ("wrn_28_10", "wrn_40_2", "vgg13", "vgg16", "resnet32x4", "resnet110")
]


@pytest.fixture
def backbone() -> Backbone:
    """Two stages that anyone can compute: a 1 × 1 convolution, and a sum over 2 × 2 squares."""
    torch.manual_seed(0)
    summed = nn.AvgPool2d(2, divisor_override=1)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone({"mix": nn.Conv2d(3, 5, 1), "sum": summed}, pool, 5, 7)


def test_stages_features_and_logits_are_one_chain(backbone):
    images = torch.randn(4, 3, 6, 8)
    weight, bias = (p.detach().double().numpy() for p in backbone.stages["mix"].parameters())
    mixed = np.einsum("oc,bchw->bohw", weight[:, :, 0, 0], images.double().numpy()) + bias[:, None, None]
    summed = mixed.reshape(4, 5, 3, 2, 4, 2).sum((3, 5))
    features = summed.mean((2, 3))
    logits = features @ backbone.head.weight.detach().double().numpy().T + backbone.head.bias.detach().double().numpy()

    stages = backbone.forward_stages(images)
    assert list(stages) == ["mix", "sum"]
    for output, expected in (
        (stages["mix"], mixed),
        (stages["sum"], summed),
        (backbone.feature_maps(images), summed),
        (backbone.features(images), features),
        (backbone(images), logits),
    ):
        np.testing.assert_allclose(output.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    assert (backbone.num_features, backbone.num_classes) == (5, 7)

    together = backbone.forward_with_stages(images)
    assert list(together[0]) == ["mix", "sum"]
    for output, expected in zip(
        (*together[0].values(), *together[1:]),
        (*stages.values(), backbone.features(images), backbone(images)),
        strict=True,
    ):
        assert torch.equal(output, expected)


def test_a_head_of_ones_own_and_a_note_are_kept():
    head = nn.Linear(3, 4, bias=False)
    network = Backbone({"same": nn.Identity()}, nn.Flatten(), 3, 4, head, note="one line")
    assert network.head is head
    assert network.note == "one line"
    assert build_backbone("small_resnet", 3, 16).note == ""


def test_stage_shapes_are_those_of_a_run(backbone):
    assert backbone.stage_shapes(6) == {"mix": (5, 6, 6), "sum": (5, 3, 3)}
    assert backbone.stage_shapes(9) == {"mix": (5, 9, 9), "sum": (5, 4, 4)}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_asking_for_stage_shapes_changes_nothing(name, training):
    network = build_backbone(name, 3, 16).train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    network.stage_shapes(16)
    assert all(module.training is training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


class Twice(nn.Module):
    """Convolves twice with the same weights, and changes what it has in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 5, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(self.conv(x)))


@pytest.fixture
def deep() -> Backbone:
    """A convolution that is asked twice, behind a batch norm that is changed in place."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone({"first": first, "second": Twice()}, pool, 5, 7)


WATCHED = ["stages.first.1", "stages.second.conv"]


def test_what_is_watched_is_what_modules_inside_gave(deep):
    images = torch.randn(4, 3, 6, 8)
    with torch.no_grad():
        normed = deep.stages["first"][1](deep.stages["first"][0](images))
        conv = deep.stages["second"].conv
        expected = [normed, conv(conv(normed.relu()))]
    before = deep.forward_with_stages(images)
    deep.watch(WATCHED)
    deep.watch(WATCHED[1:])
    for passed in (deep.forward_stages(images), deep.forward_with_stages(images)[0]):
        assert list(passed) == ["first", "second", *WATCHED]
        for path, value in zip(WATCHED, expected, strict=True):
            assert value.min() < 0  # or the layer in place would change nothing
            torch.testing.assert_close(passed[path], value)
    after = deep.forward_with_stages(images)
    assert all(torch.equal(after[0][name], before[0][name]) for name in before[0])
    assert torch.equal(deep(images), before[2])
    after[0][WATCHED[0]].sum().backward()
    assert deep.stages["first"][0].weight.grad is not None
    assert len(deep.stages["second"].conv._forward_hooks) == 1


def test_a_copy_of_a_watched_network_looks_at_its_own_modules(deep):
    deep.watch(WATCHED)
    other, images = copy.deepcopy(deep), torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        other.stages["first"][1].bias += 1
        difference = other.forward_stages(images)[WATCHED[0]] - deep.forward_stages(images)[WATCHED[0]]
    torch.testing.assert_close(difference, torch.ones_like(difference))


def test_a_compiled_pass_gives_what_is_watched(deep):
    images = torch.randn(2, 3, 6, 6)
    deep.watch(WATCHED)
    expected = deep.forward_with_stages(images)[0]
    compiled = torch.compile(deep.forward_with_stages, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        found = compiled(images)[0]
        assert list(found) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


def test_all_shapes_are_those_of_what_modules_give(deep):
    stages, modules = deep.all_shapes(6)
    assert stages == {"first": (5, 6, 6), "second": (5, 6, 6)}
    layers = ["first.0", "first.1", "first.2", "first", "second.conv", "second.relu", "second"]
    assert modules == dict.fromkeys((f"stages.{layer}" for layer in layers), (5, 6, 6))
    assert not any(module._forward_hooks for module in deep.modules())
    deep.watch(WATCHED)
    assert deep.stage_shapes(6) == stages


def test_of_tokens_modules_inside_are_maps_of_them_without_the_class_token():
    network = build_backbone("vit_b_16", 3, 32).eval()
    path = "stages.block3.mlp.0"
    assert network.all_shapes(32)[1][path] == (3072, 8, 8)
    network.watch([path])
    seen = []
    network.get_submodule(path).register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        found = network.forward_stages(torch.randn(2, 3, 32, 32))[path]
    assert torch.equal(found[1, :, 2, 5], seen[0][1, 1 + 2 * 8 + 5])


@pytest.mark.parametrize("name", NAMES)
def test_every_network_by_name_keeps_to_the_interface(name):
    torch.manual_seed(0)
    network = build_backbone(name, 7, 24).eval()
    images = torch.randn(3, 3, 24, 24)
    stages = network.forward_stages(images)
    assert {stage: tuple(output.shape[1:]) for stage, output in stages.items()} == network.stage_shapes(24)
    last = list(stages.values())[-1]
    torch.testing.assert_close(network.feature_maps(images), last, rtol=0, atol=0)
    features = network.features(images)
    torch.testing.assert_close(features, network.pool(last), rtol=0, atol=0)
    assert features.shape == (3, network.num_features)
    torch.testing.assert_close(network(images), network.head(features), rtol=0, atol=0)
    assert network(images).shape == (3, 7)


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_drawn_from_the_global_random_state(name):
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build_backbone(name, 3, 16).parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("name", NAMES)
def test_the_last_map_has_a_classifier(name):
    torch.manual_seed(0)
    network = build_backbone(name, 7, 24).eval()
    images = torch.randn(3, 3, 24, 24)
    classifier = network.map_classifier(network.head)
    torch.testing.assert_close(classifier(network.feature_maps(images)), network(images), rtol=0, atol=0)


def test_who_makes_logits_in_another_way_has_no_classifier_of_maps_unless_it_says_so():
    class Doubled(Backbone):
        def _classify(self, last):
            return self.pool(last), 2 * self.head(self.pool(last))

    class Turned(Backbone):
        def as_map(self, x):
            return x.transpose(2, 3)

    for kind in (Doubled, Turned):
        network = kind({"same": nn.Identity()}, nn.Flatten(), 3, 4)
        assert network.map_classifier(network.head) is None


@pytest.mark.parametrize(
    ("wanted", "learning"),
    [
        ((), set()),
        (("first",), {"first"}),
        (("second",), {"first", "second"}),
        (("first", "features"), {"first", "second", "pool"}),
        (("logits",), {"first", "second", "pool", "head"}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, (set, tuple)) else str(value),
)
@pytest.mark.parametrize("training", [True, False])
def test_what_no_output_depends_on_learns_no_more(wanted, learning, training):
    stages = {"first": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), "second": nn.Conv2d(4, 4, 1)}
    network = Backbone(stages, nn.Sequential(nn.Flatten(), nn.Linear(4 * 9, 5)), 5, 7).train(training)
    network.stages["first"][0].bias.requires_grad_(False)  # by someone else, so it stays
    before = {key: value.clone() for key, value in network.state_dict().items()}

    def outputs(images: torch.Tensor) -> list[torch.Tensor]:
        maps, features, logits = network.forward_with_stages(images)
        return [{**maps, "features": features, "logits": logits}[name] for name in wanted]

    with torch.no_grad():
        network.freeze_unused(3, outputs)
    assert all(module.training is training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    names = {key.removeprefix("stages.") for key, p in network.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in names} == learning
    assert "first.0.bias" not in names
    assert {"first.0.weight", "first.1.weight", "first.1.bias"} <= names or not learning


def test_options_reach_the_network():
    narrow, wide = (build_backbone("small_resnet", 3, 16, {"width": width}) for width in (4, 8))
    assert wide.num_features == 2 * narrow.num_features


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("small_resnt", {}, r"^model\.backbone: there is no 'small_resnt'; did you mean 'small_resnet'\?$"),
        (
            "small_resnet",
            {"widht": 3},
            r"^model\.backbone_options: small_resnet takes no 'widht'; did you mean 'width'",
        ),
        ("simple_cnn", {"width": 3}, r"^model\.backbone_options: simple_cnn takes no 'width'; there is none\.$"),
        ("resnet51", {}, r"^model\.backbone: there is no 'resnet51'; did you mean 'resnet5[06]'\?$"),
        ("torchvision/vgg14", {}, r"there is no 'torchvision/vgg14'; did you mean 'torchvision/vgg1[139]'\?$"),
        ("nowhere/resnet18", {}, r"there is no 'nowhere/resnet18'; "),
        ("torchvision/resnet20", {}, r"there is no 'torchvision/resnet20'; "),
        ("resnet18", {"stm": "small"}, r"^model\.backbone_options: resnet18 takes no 'stm'; did you mean 'stem'\?$"),
        ("small_resnet", {"image_size": 3}, r"^model\.backbone_options: small_resnet takes no 'image_size'"),
    ],
)
def test_unknown_names_and_options_are_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(name, 3, 16, options)


def test_names_of_torchvision_have_a_prefix_only_where_ours_have_them():
    names = backbone_names()
    assert len(names) == len(set(names)) == len(BACKBONES) + len(TORCHVISION_NAMES)
    assert {"resnet18", "vit_b_16", "vgg16", "torchvision/vgg16", "mobilenetv2", "mobilenet_v2"} <= set(names)
    assert not {"torchvision/resnet18", "vgg16_b"} & set(names)
    assert build_backbone("vgg13", 3, 32).num_features == 512
    with torch.device("meta"):
        assert build_backbone("torchvision/vgg13", 3, 224).num_features == 4096
        assert build_backbone("torchvision/resnet18", 3, 32).note == build_backbone("resnet18", 3, 32).note != ""
