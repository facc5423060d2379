"""timm's networks: refused in one line without timm, and the same as timm's with it."""

from __future__ import annotations

import builtins
import copy

import pytest
import torch

from project.errors import ConfigError
from project.models import build_backbone
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
