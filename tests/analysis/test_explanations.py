"""Maps of a classifier, beside those computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from project.analysis import explanations
from project.analysis.explanations import grad_cam, integrated_gradients
from project.errors import ConfigError
from project.models.backbone import Backbone
from project.models.torchvision_models import Tokens
from project.tasks import Classifier

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


@pytest.fixture
def images():
    return torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Classifier(["a", "b", "c"], 16, backbone_options={"width": 4}, mean=MEAN, std=STD).eval()


def normalized(images):
    return (images.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def test_grad_cam_by_hand(classifier, images):
    classes = torch.tensor([2, 0, 1])
    maps = grad_cam(classifier, images, classes)
    assert maps.shape == (3, 16, 16)
    network = classifier.network
    for image, label, found in zip(images, classes, maps, strict=True):
        x = normalized(image[None])
        for stage in network.stages.values():
            x = stage(x)
        features = x.detach().requires_grad_()
        logit = network.head(network.pool(features))[0, label]
        (gradient,) = torch.autograd.grad(logit, features)
        cam = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu().detach()
        cam = functional.interpolate(cam, (16, 16), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(found, cam / cam.max() if cam.max() > 0 else cam, atol=1e-4, rtol=1e-4)
    assert maps.amax().item() == pytest.approx(1.0)


def test_integrated_gradients_of_a_linear_network_are_its_terms(images):
    classifier = Classifier(["a", "b"], 16, backbone_options={"width": 4}, mean=MEAN, std=STD)
    torch.manual_seed(1)
    stage = nn.Conv2d(3, 5, 1)
    classifier.network = Backbone({"only": stage}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 5, 2)
    weight = classifier.network.head.weight.detach() @ stage.weight.detach()[:, :, 0, 0] / 256  # of each colour
    classes = torch.tensor([1, 0, 1])
    found = integrated_gradients(classifier.eval(), images, classes)
    # black is where the integral begins: each pixel adds its weight times its distance from black
    terms = (weight[classes][:, :, None, None] * images.float() / 255 / torch.tensor(STD).view(3, 1, 1)).sum(1)
    torch.testing.assert_close(found, terms, atol=1e-5, rtol=1e-3)


def test_integrated_gradients_add_up_to_the_logit(classifier, images):
    classes = torch.tensor([0, 1, 2])
    found = integrated_gradients(classifier, images, classes)
    with torch.no_grad():
        change = classifier(images) - classifier(torch.zeros_like(images))
    expected = change.gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(found.sum((1, 2)), expected, atol=0.05 * change.abs().max().item(), rtol=0)


class Patches(nn.Module):
    """Tokens of 4 × 4 pixels, and a first one that is their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 5, 4, stride=4)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


class First(nn.Module):
    def forward(self, tokens):
        return tokens[:, 0]


def test_a_network_of_tokens_has_no_map(images):
    classifier = Classifier(["a", "b"], 16, backbone_options={"width": 4}).eval()
    classifier.network = Tokens({"only": Patches()}, First(), 5, 2)
    assert grad_cam(classifier, images, torch.tensor([0, 1, 0])) is None
    assert integrated_gradients(classifier, images, torch.tensor([0, 1, 0])).shape == (3, 16, 16)


def test_without_captum_one_line_says_how_to_get_it(classifier, images, monkeypatch):
    monkeypatch.setattr(explanations.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'captum>=0.8'"):
        grad_cam(classifier, images, torch.tensor([0, 1, 2]))
