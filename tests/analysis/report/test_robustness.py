"""Accuracy under attacks and corruptions, beside a linear network whose worst case is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from project.analysis.corruptions import CORRUPTIONS, corrupt
from project.analysis.report.robustness import RADII, attacked, frozen, right, robustness_section
from project.losses.adversarial import fgsm
from project.models.backbone import Backbone
from project.tasks import Classifier


def test_an_attack_on_a_linear_network_flips_what_lies_within_the_radius():
    classifier = Classifier(["a", "b"], 16, backbone_options={"width": 4}, mean=[0.5] * 3, std=[0.25] * 3).eval()
    torch.manual_seed(0)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier.network = Backbone({"only": nn.Identity()}, pool, 3, 2)
    images = torch.randint(60, 196, (40, 3, 16, 16), dtype=torch.uint8)
    # logits are linear in the mean colour: a margin falls by at most ε · |w|₁, and the attack reaches that
    weight = (classifier.network.head.weight[1] - classifier.network.head.weight[0]).detach() / 255 / 0.25
    with torch.no_grad():
        logits = classifier(images)
    labels, margin = logits.argmax(1), (logits[:, 1] - logits[:, 0]).abs()
    radius = float(margin.median() / weight.abs().sum())
    assert radius < 50
    kept = attacked(classifier, images, labels, fgsm, radius)
    assert (kept == (margin > radius * weight.abs().sum())).all()
    assert 0 < kept.sum() < 40
    assert right(classifier, images, labels).all()


def test_freezing_is_for_a_while():
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    with frozen(network):
        assert not network.weight.requires_grad
    assert network.weight.requires_grad
    assert not network.bias.requires_grad


def test_the_section(subject):
    plain = robustness_section(subject).plain()
    outcomes = subject.outcomes
    clean = outcomes.correct.double().mean().item()
    assert plain["all"]["clean_accuracy"]["value"] == pytest.approx(clean)
    assert plain["all"]["samples"] == 6
    assert [row["radius"] for row in plain["attacks"]] == list(RADII)
    assert plain["attacks"][-1]["pgd_accuracy"]["value"] <= clean
    images = subject.pictures(outcomes.indices)
    errors = []
    for row in plain["severities"]:
        worn = corrupt(images, row["corruption"], row["severity"], outcomes.indices.tolist())
        accuracy = (subject.task(worn).argmax(1) == outcomes.labels).double().mean().item()
        assert row["corrupted_accuracy"]["value"] == pytest.approx(accuracy)
        errors.append(1 - accuracy)
    assert len(errors) == 5 * len(CORRUPTIONS)
    assert plain["all"]["mean_corruption_error"]["value"] == pytest.approx(sum(errors) / len(errors))
    means = [row["corrupted_accuracy"]["value"] for row in plain["corruptions"]]
    assert means == sorted(means)
    assert sum(means) / len(means) == pytest.approx(1 - sum(errors) / len(errors))
    assert all(parameter.requires_grad for parameter in subject.task.network.parameters())


def test_it_is_the_same_again(subject):
    assert robustness_section(subject).plain() == robustness_section(subject).plain()
