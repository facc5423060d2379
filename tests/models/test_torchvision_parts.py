"""torchvision's networks taken apart, against torchvision's networks in one piece."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.inception import InceptionAux
from torchvision.models.regnet import BlockParams

from project.models.torchvision_models import TORCHVISION_NAMES, assemble, family_of, original_model
from project.models.torchvision_parts import FAMILIES, small_conv

# the smallest of every family, and the smallest images that it takes
SMALLEST = {
    "alexnet": 63, "convnext_tiny": 32, "densenet121": 32, "efficientnet_b0": 32, "googlenet": 32,
    "inception_v3": 75, "maxvit_t": 224, "mnasnet0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32, "resnet18": 32, "resnet50": 32, "shufflenet_v2_x0_5": 32, "squeezenet1_0": 32,
    "squeezenet1_1": 32, "swin_t": 32, "swin_v2_t": 32, "vgg11_bn": 32, "vit_b_32": 64,
}  # fmt: skip


@torch.no_grad()
def with_random_numbers(name: str) -> nn.Module:
    """Everything that a network may have learned is something, also what begins as 0 or 1."""
    tables = family_of(name)[0] in ("swin_transformer", "maxvit")  # which hold indices that are not to be drawn
    with torch.device("cpu" if tables else "meta"):
        model = original_model(name, 7, SMALLEST[name])
    if not tables:
        model.to_empty(device="cpu")  # the larger ones take seconds to be initialised
    torch.manual_seed(0)
    for tensor in model.state_dict().values():
        if tensor.dim() > 1 and tensor.is_floating_point():
            tensor.uniform_(-1, 1).mul_((3 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def regnets_on_meta(monkeypatch):
    """RegNet computes its widths with tensors, which needs a device that computes."""
    original = BlockParams.from_init_params

    def on_cpu(*args: object, **options: object) -> BlockParams:
        with torch.device("cpu"):
            return original(*args, **options)

    monkeypatch.setattr(BlockParams, "from_init_params", on_cpu)


def test_every_family_is_tried():
    assert {family_of(name)[0] for name in SMALLEST} == set(FAMILIES)
    assert models.list_models(module=models) == TORCHVISION_NAMES


@pytest.mark.parametrize("name", SMALLEST)
def test_logits_are_torchvisions(name, regnets_on_meta):
    model = with_random_numbers(name)
    if hasattr(model, "transform_input"):
        model.transform_input = True  # which torchvision sets for its weights
    images = torch.randn(1, 3, SMALLEST[name], SMALLEST[name])
    family, known = family_of(name)
    with torch.no_grad():
        expected = model(images)
        backbone = assemble(family, known.take_apart(model, False)).eval()
        stages, features, logits = backbone.forward_with_stages(images)
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
        assert expected.std() > 1e-3
        assert torch.equal(backbone(images), logits)
        assert torch.equal(backbone.features(images), features)
        # no stage writes into what the one before it gave
        for (stage, module), output in zip(backbone.stages.items(), stages.values(), strict=True):
            images = module(images)
            assert torch.equal(backbone.as_map(images.clone()), output), stage
            assert output.dim() == 4
    assert features.shape == (1, backbone.num_features)
    assert all(type(tensor) is torch.Tensor for tensor in backbone.state_dict().values())


@pytest.mark.slow
def test_every_network_has_the_parameters_that_torchvision_states(regnets_on_meta):
    wrong = {}
    for name in TORCHVISION_NAMES:
        weights = next(iter(models.get_model_weights(name)))
        family, known = family_of(name)
        with torch.device("meta"):
            model = original_model(name, 1000, weights.meta.get("min_size", (224,))[0])
            backbone = assemble(family, known.take_apart(model, False))
            auxiliary = [InceptionAux(768, 1000)] if name == "inception_v3" else []  # which torchvision counts
        count = sum(p.numel() for module in (backbone, *auxiliary) for p in module.parameters())
        if count != weights.meta["num_params"]:
            wrong[name] = (count, weights.meta["num_params"])
    assert len(TORCHVISION_NAMES) >= 80
    assert wrong == {}


def test_small_and_original_networks_have_the_same_keys(regnets_on_meta):
    for name in SMALLEST:
        if not family_of(name)[1].small:
            continue
        family, known = family_of(name)
        with torch.device("meta"):
            keys = [set(assemble(family, known.take_apart(original_model(name, 7, SMALLEST[name]), small)).state_dict())
                    for small in (True, False)]  # fmt: skip
        differing = {key.partition(".")[0] for key in keys[0] ^ keys[1]}
        assert differing == ({"pool"} if family == "vgg" else set()), name  # VGG loses its two large layers


@pytest.mark.parametrize(("kernel", "size", "stride"), [(7, 3, 1), (4, 3, 1), (3, 3, 1), (16, 4, 4)])
def test_a_small_convolution_answers_with_the_variance_of_the_original(kernel, size, stride):
    torch.manual_seed(0)
    original = nn.Conv2d(3, 512, kernel, 2)
    before = copy.deepcopy(original)
    small = small_conv(original, size, stride)
    assert (small.kernel_size, small.stride) == ((size, size), (stride, stride))
    sums = [conv.weight.square().sum((1, 2, 3)).mean().item() for conv in (small, original)]
    assert sums[0] == pytest.approx(sums[1], rel=0.03)
    assert torch.equal(small.bias, original.bias)
    assert torch.equal(original.weight, before.weight)
    side = 12 if stride == 1 else 12 // stride
    assert small(torch.randn(1, 3, 12, 12)).shape[-1] == side
