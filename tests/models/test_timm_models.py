"""timm's networks: refused in one line without timm, and the same as timm's with it."""

from __future__ import annotations

import builtins
import copy

import pytest
import torch

from project.errors import ConfigError
from project.models import build_backbone
from project.models.captioning.encoder import ImageEncoder
from project.models.pretrained import load_pretrained, weights_info


def test_without_timm_the_line_says_how_to_get_it(monkeypatch):
    original = builtins.__import__

    def without_timm(name: str, *args: object, **options: object) -> object:
        if name == "timm":
            raise ImportError(name)
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_timm)
    message = r"^timm/resnet18: needs timm; install it with pip install timm$"
    with pytest.raises(ConfigError, match=message):
        build_backbone("timm/resnet18", 3, 32)
    with pytest.raises(ConfigError, match=message):
        weights_info("timm/resnet18", "DEFAULT")


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="timm is optional")


@pytest.mark.parametrize(
    ("name", "stage", "shape"),
    [
        ("resnet18.a1_in1k", "layer3", (256, 4, 4)),
        ("vit_tiny_patch16_224", "blocks.11", (192, 4, 4)),
        ("swin_tiny_patch4_window7_224", "layers.3", (768, 2, 2)),
        ("convnext_atto", "stages.3", (320, 2, 2)),
    ],
)
def test_a_network_is_timms(timm, name, stage, shape):
    torch.manual_seed(0)
    network = build_backbone(f"timm/{name}", 7, 64).eval()
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=7, **network.arguments).eval()
    images = torch.randn(2, 3, 64, 64)
    stages, features, logits = network.forward_with_stages(images)
    assert torch.equal(logits, theirs(images))
    assert torch.equal(network(images), logits)
    assert torch.equal(network.features(images), features)
    assert stages[stage].shape == (2, *shape)
    assert all(output.dim() == 4 for output in stages.values())
    path = f"stages.trunk.model.{stage}"
    assert network.all_shapes(64)[1][path] == shape
    network.watch([path])
    assert torch.equal(network.forward_stages(images)[path], stages[stage])
    assert network.feature_maps(images).dim() == 4
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert torch.equal(copy.deepcopy(network)(images), logits)
    assert network.map_classifier(network.head) is None  # what timm does after its last map is no module by itself


def test_weights_are_loaded_but_for_the_head_of_other_classes(timm, tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "weights.pth")
    overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pth")}}
    for num_classes in (1000, 4):
        network = build_backbone("timm/resnet18", num_classes, 64, overlay)
        head = network.head.weight.clone()
        found = load_pretrained(network, "timm/resnet18", "DEFAULT")
        expected = torch.load(tmp_path / "weights.pth")["layer4.1.conv2.weight"]
        assert torch.equal(network.stages["trunk"].model.layer4[1].conv2.weight, expected)
        assert found.head_loaded == (num_classes == 1000) == (not torch.equal(network.head.weight, head))
        assert found.class_names[0] == "tench"
        assert found.mean == (0.485, 0.456, 0.406)


def test_mistakes_are_said_in_one_line(timm):
    for option in ("pretrained", "checkpoint_path", "cache_dir"):
        with pytest.raises(ConfigError, match=f"^model.backbone_options.{option}: says where weights are from"):
            build_backbone("timm/resnet18", 3, 32, {option: "x"})
    with pytest.raises(ConfigError, match=r"^model\.backbone: timm has no 'resnt18'; did you mean 'resnet18'\?$"):
        build_backbone("timm/resnt18", 3, 32)
    with pytest.raises(ConfigError, match=r"^model\.backbone: timm/resnet18 cannot be made with {'foo': 1}: "):
        build_backbone("timm/resnet18", 3, 32, {"foo": 1})
    message = r"^model\.weights: timm has no weights 'nowhere' of resnet18; there "
    for call in (
        lambda: weights_info("timm/resnet18", "nowhere"),
        lambda: load_pretrained(build_backbone("timm/resnet18", 3, 32), "timm/resnet18", "nowhere"),
        lambda: build_backbone("timm/resnet18.nowhere", 3, 32),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


# ---- every family, as classifier, teacher, student and encoder

SMALL = ("test_", "atto", "femto", "pico", "nano", "xxt", "xxs", "xx_small", "ti_", "tiny", "_t0", "_xs", "_s0", "_035", "_050",
         "small", "_b0", "18", "_t", "_s", "_a", "_b")  # fmt: skip


def smallest(timm, module: str) -> str:
    """A small network of a module, by what its name says."""
    names = timm.list_models(module=module)
    return min(names, key=lambda name: (next((n for n, word in enumerate(SMALL) if word in name), len(SMALL)), name))


def tried(name: str, size: int) -> str:
    """Whether a network serves in all parts, or which line refuses it."""
    try:
        network = build_backbone(f"timm/{name}", 3, size)
    except ConfigError as error:
        return str(error)
    images = torch.randn(2, 3, size, size)
    stages, inside = network.all_shapes(size)
    assert stages
    assert inside
    network.eval()
    maps, features, logits = network.forward_with_stages(images)
    assert {stage: tuple(value.shape[1:]) for stage, value in maps.items()} == stages
    assert features.shape == (2, network.num_features)
    assert torch.equal(network(images), logits)
    logits.sum().backward()
    try:
        encoder = ImageEncoder(f"timm/{name}", size)
    except ConfigError as error:
        return str(error)
    grid = encoder.eval()(images).grid
    assert grid.shape == (2, encoder.height * encoder.width, encoder.num_features)
    return ""


@pytest.mark.parametrize(
    "name", ["test_efficientnet", "mobilenetv2_035", "ghostnet_050", "lcnet_035", "mixnet_s", "tinynet_e", "test_vit", "test_resnet"]
)  # fmt: skip
def test_a_network_whose_last_map_follows_its_last_stage_serves_in_all_parts(timm, name):
    assert tried(name, 32) == ""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("inception_v3", "model.backbone: timm/inception_v3 cannot take images of 32 pixels: "),
        ("dla46x_c", "model.backbone: timm/dla46x_c does not end with one linear layer"),
        (
            "coat_lite_tiny",
            "model.backbone: timm/coat_lite_tiny ends with no map, which a captioner needs: unflatten: ",
        ),
        ("coat_tiny", "model.backbone: this network has several last maps, and a captioner needs one; take another"),
    ],
)
def test_a_network_that_cannot_serve_is_refused_in_one_line(timm, name, line):
    found = tried(name, 32)
    assert found.startswith(line)
    assert "\n" not in found


def test_trying_an_image_size_leaves_weights_and_random_numbers_alone(timm):
    torch.manual_seed(0)
    network = build_backbone("timm/test_resnet", 3, 32)
    after = torch.rand(1)
    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", num_classes=3)
    assert torch.equal(torch.rand(1), after)
    assert network.training
    expected = theirs.state_dict()
    found = {key.removeprefix("stages.trunk.model."): value for key, value in network.state_dict().items()}
    assert all(torch.equal(found[key], value) for key, value in expected.items() if key in found)


def modules() -> list[str]:
    try:
        import timm
    except ImportError:
        return []
    return [module for module in timm.list_modules() if timm.list_models(module=module)]


@pytest.mark.nightly
@pytest.mark.parametrize("module", modules())
def test_every_family_serves_in_all_parts_or_is_refused_in_one_line(timm, module):
    name = smallest(timm, module)
    line = tried(name, 64)
    assert not line or (line.startswith("model.backbone: ") and "\n" not in line)
