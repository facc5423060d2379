"""What is left of a classifier's accuracy when images are attacked or worn.

Shapes: n samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from project.analysis.bootstrap import Estimate, bootstrap_mean
from project.analysis.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from project.analysis.figures import image_figure
from project.analysis.report.document import Block, Note, Numbers, Picture, Section, Table, Value
from project.analysis.report.figures import attack_figure, corruption_figure
from project.analysis.report.subject import Subject
from project.losses.adversarial import fgsm, pgd
from project.models.multi_view import mean_logits
from project.tasks import Classifier

RADII = (1, 2, 4, 8, 16)
PGD_STEPS = 10
_MOST_SAMPLES, _AT_A_TIME = 1000, 128
_SHOWN_SEVERITY = 3


def robustness_section(subject: Subject) -> Section:
    """Accuracy under attacks of several radii, and under corruptions of all severities."""
    classifier, places = subject.classifier, subject.some(_MOST_SAMPLES)
    images, labels = subject.pictures(places), subject.outcomes.labels[places].to(classifier.device)
    generator = torch.Generator(classifier.device).manual_seed(subject.seed)
    attacks = {
        "FGSM": lambda loss, pixels, radius: fgsm(loss, pixels, radius),
        "PGD": lambda loss, pixels, radius: pgd(loss, pixels, radius, 2.5 * radius / PGD_STEPS, PGD_STEPS, generator),
    }
    columns = [right(classifier, images, labels)]
    with frozen(classifier):
        for attack in attacks.values():
            columns += [attacked(classifier, images, labels, attack, radius) for radius in RADII]
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            worn = corrupt(images, name, severity, places.tolist(), subject.seed)
            columns.append(right(classifier, worn, labels))
    scores = torch.stack(columns, 1).cpu().double()  # (n, 1 + 2 · radii + 10 · severities)
    num_attacks = len(attacks) * len(RADII)
    worn = scores[:, 1 + num_attacks :].unflatten(1, (len(CORRUPTIONS), len(SEVERITIES)))
    estimates = bootstrap_mean(scores, subject.seed)
    clean, under_attack, under_corruption = estimates[0], estimates[1 : 1 + num_attacks], estimates[1 + num_attacks :]
    mean_of_corruption = bootstrap_mean(worn.mean(2), subject.seed)
    (error,) = bootstrap_mean(1 - worn.mean((1, 2)), subject.seed)
    few = (
        f" Of {len(places):,} samples drawn from {subject.num_samples:,}." if len(places) < subject.num_samples else ""
    )
    return Section(
        "robustness",
        "Robustness",
        f"Images that are changed to be misread, and images that are worn.{few}",
        [
            Numbers(
                "all",
                {
                    "clean_accuracy": clean,
                    "mean_corruption_error": error,
                    "attack_steps": PGD_STEPS,
                    "samples": len(places),
                },
            ),
            *_attack_blocks(list(attacks), clean, under_attack, len(classifier.class_names)),
            *_corruption_blocks(clean, under_corruption, mean_of_corruption),
            _sample(images, places[:1].tolist(), subject.seed),
            Note("Strengths are those of CIFAR-10-C for images of up to 96 pixels, and of ImageNet-C for larger ones."),
        ],
    )


@torch.no_grad()
def right(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Which images (n, 3, S, S), uint8 or float in 0..255, are classified right, (n,) bool."""
    with classifier.computing():
        logits = [mean_logits(classifier, part, classifier.tta) for part in images.split(_AT_A_TIME)]
    return torch.cat(logits).argmax(1) == labels


def attacked(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    attack: Callable[[Callable[[Tensor], Tensor], Tensor, float], Tensor],
    radius: float,
) -> Tensor:
    """Which images are still classified right after an attack, (n,) bool."""
    found = []
    for part, its in zip(images.split(_AT_A_TIME), labels.split(_AT_A_TIME), strict=True):

        def loss(pixels: Tensor, its: Tensor = its) -> Tensor:
            with classifier.computing():
                logits = mean_logits(classifier, pixels, classifier.tta)
            return functional.cross_entropy(logits.float(), its, reduction="sum")

        found.append(right(classifier, attack(loss, part.float(), radius), its))
    return torch.cat(found)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside it no parameter asks for a gradient: those of the images alone cost less."""
    asking = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def _attack_blocks(names: list[str], clean: Estimate, estimates: list[Estimate], num_classes: int) -> list[Block]:
    each = {name: estimates[i * len(RADII) : (i + 1) * len(RADII)] for i, name in enumerate(names)}
    rows = [list(row) for row in zip(RADII, *each.values(), strict=True)]
    figure = attack_figure((0, *RADII), {name: [clean, *found] for name, found in each.items()}, num_classes)
    last = ", ".join(f"{name} {found[-1].value:.0%}" for name, found in each.items())
    text = f"Accuracy falls from {clean.value:.1%} as ε grows; at ε = {RADII[-1]} it is {last}."
    return [
        Picture.of(figure, text, "Accuracy against the radius of attacks; bands are 95 % intervals."),
        Table("attacks", ("radius", "fgsm_accuracy", "pgd_accuracy"), rows, "Under attack"),
    ]


def _corruption_blocks(clean: Estimate, estimates: list[Estimate], means: list[Estimate]) -> list[Block]:
    each = {name: estimates[i * len(SEVERITIES) : (i + 1) * len(SEVERITIES)] for i, name in enumerate(CORRUPTIONS)}
    rows: list[list[Value]] = [
        [name, severity, estimate]
        for name, found in each.items()
        for severity, estimate in zip(SEVERITIES, found, strict=True)
    ]
    means_by_name = sorted(zip(each, means, strict=True), key=lambda pair: pair[1].value)
    figure = corruption_figure((0, *SEVERITIES), {name: [clean, *found] for name, found in each.items()})
    text = f"Accuracy against severity of ten corruptions; the worst is {means_by_name[0][0]}."
    columns = ("corruption", "severity", "corrupted_accuracy")
    return [
        Picture.of(figure, text, "Accuracy against severity; bands are 95 % intervals."),
        Table(
            "corruptions",
            (columns[0], columns[2]),
            [list(row) for row in means_by_name],
            "Under corruption, worst first",
        ),
        Table("severities", columns, rows, "At each severity", 0),
    ]


def _sample(images: Tensor, key: list[int], seed: int) -> Picture:
    worn = [corrupt(images[:1], name, _SHOWN_SEVERITY, key, seed) for name in CORRUPTIONS]
    figure = image_figure(torch.cat(worn).cpu(), list(CORRUPTIONS), columns=len(CORRUPTIONS) // 2)
    return Picture.of(
        figure, "One image under each of the ten corruptions.", f"One image at severity {_SHOWN_SEVERITY}."
    )
