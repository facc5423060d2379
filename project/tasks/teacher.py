"""Networks that a student learns from, and that learn nothing themselves.

Shapes: B images of S × S pixels, K classes, D pooled features, C channels, h × w the size of a map.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.nn import functional

from project.data.batch import Batch
from project.errors import CheckpointError, ConfigError, did_you_mean
from project.losses.distillation import Outputs, Shapes
from project.models import BACKBONES, Backbone
from project.models.pretrained import load_pretrained, weights_info
from project.models.torchvision_models import TORCHVISION_NAMES
from project.tasks.classifier import Classifier
from project.tasks.student import check_measured, find_teacher, fingerprint, load_teacher

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""As Lightning's Trainer calls them."""
_DTYPES: dict[Precision, torch.dtype] = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "16-mixed": torch.float16,
}
_IMAGENET = 1000
_WORDNET = re.compile(r"n\d{8}")


class Measured(NamedTuple):
    """How a teacher does on a split of N images.

    guesses: (N,) int64, the classes that it names.
    accuracy: 0..1.
    of_each: each member's, 0..1.
    """

    guesses: Tensor
    accuracy: float
    of_each: list[float]


class Teacher:
    """One classifier, or the mean of several ones' probabilities.

    It is no module: its weights are in nobody's parameters, optimizer, average, gradient synchronisation or checkpoint.
    Its networks are in evaluation mode and nothing changes it.

    Args:
        members: the classifiers.
        class_names: the student's K classes, in their order.
        precision: what the networks compute in; by default what the caller does.

    Raises:
        CheckpointError: a member tells other classes apart.
    """

    def __init__(
        self, members: Sequence[Classifier], class_names: Sequence[str], precision: Precision | None = None
    ) -> None:
        self.precision = precision
        self.members = [member.eval().requires_grad_(False) for member in members]
        self._orders = [_order(member, class_names) for member in members]

    @property
    def shapes(self) -> Shapes:
        """Of the outputs; several teachers have logits alone in common."""
        if len(self.members) > 1:
            return Shapes(len(self.members[0].class_names), 0, {})
        member = self.members[0]
        return shapes_of(member.network, len(member.class_names), member.image_size)

    @property
    def head(self) -> torch.nn.Module | None:
        """From the last map to the student's K logits; several have none, and what needs more than the map has none."""
        if len(self.members) > 1:
            return None
        network, order = self.members[0].network, self._orders[0]
        head = copy.deepcopy(network.head)
        if order is not None:
            head.out_features = len(order)
            for parameter in head.parameters():
                parameter.data = parameter[order]
        return network.map_classifier(head)

    def to(self, device: torch.device) -> Teacher:
        """On another device."""
        self.members = [member.to(device) for member in self.members]
        self._orders = [None if order is None else order.to(device) for order in self._orders]
        return self

    def watch(self, paths: Collection[str]) -> None:
        """Lets what is asked for name modules inside of a single teacher, see `Backbone.watch`."""
        if paths:
            self.members[0].network.watch(paths)

    def compile(self) -> None:
        """Compiles the networks, in place."""
        for member in self.members:
            network: Any = member.network
            network.forward_with_stages = torch.compile(network.forward_with_stages)

    def __call__(self, images: Tensor, stages: Sequence[str] = ()) -> Outputs:
        """What it says of images (B, 3, S, S) uint8, as the student sees them.

        Args:
            images: see `each`.
            stages: of a single teacher, by name, that the outputs hold, or modules that are watched.
        """
        return self.mean(self.each(images, stages))

    @torch.no_grad()
    def each(self, images: Tensor, stages: Sequence[str] = ()) -> list[Outputs]:
        """What every member says of images, which it normalises, and where need be resizes, its own way."""
        with self._arithmetic(images.device):
            return [self._outputs(*pair, images, stages) for pair in zip(self.members, self._orders, strict=True)]

    def _arithmetic(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.precision is None:
            return nullcontext()
        dtype = _DTYPES[self.precision]
        return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

    @staticmethod
    def mean(found: Sequence[Outputs]) -> Outputs:
        """Of what members say: the logarithm of the mean of their probabilities."""
        if len(found) == 1:
            return found[0]
        log_probs = torch.stack([outputs.logits.float().log_softmax(1) for outputs in found])
        return Outputs(log_probs.logsumexp(0) - math.log(len(found)), found[0].features, {})

    @staticmethod
    def _outputs(member: Classifier, order: Tensor | None, images: Tensor, stages: Sequence[str]) -> Outputs:
        size = member.image_size
        if images.shape[-1] != size:
            images = functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
        normalized = member.normalize(images).to(member.network.head.weight.dtype)
        maps, features, logits = member.network.forward_with_stages(normalized)
        if order is not None:
            logits = logits[:, order]
        return Outputs(logits, features, {name: maps[name] for name in stages})

    def measure(self, batches: Iterable[Batch], arithmetic: Callable[[], AbstractContextManager[Any]]) -> Measured:
        """How it does on a split.

        Args:
            batches: of the split.
            arithmetic: gives the context that training computes in.
        """
        guesses, right = [], []
        for batch in batches:
            with arithmetic():
                found = self.each(batch.images)
                both = [self.mean(found), *found]
            guesses.append(both[0].logits.argmax(1))
            right.append(torch.stack([(outputs.logits.argmax(1) == batch.labels).sum() for outputs in both]))
        accuracy, *of_each = (torch.stack(right).sum(0) / sum(map(len, guesses))).tolist()
        return Measured(torch.cat(guesses), accuracy, of_each)

    def fingerprint(self) -> str:
        """A hash of all parameters and buffers."""
        return fingerprint(member.network for member in self.members)


def shapes_of(network: Backbone, num_classes: int, image_size: int) -> Shapes:
    """What sizes a network's outputs have, found by running it; it may answer for other classes than its own."""
    return Shapes(num_classes, network.num_features, *network.all_shapes(image_size))


def check_teacher(
    teacher: Teacher,
    sources: Sequence[str],
    batches: Iterable[Batch],
    arithmetic: Callable[[], AbstractContextManager[Any]],
    allowed_drop: float,
) -> Tensor:
    """Measures a teacher before training, prints its accuracy, and returns its predicted classes, (N,) int64.

    Args:
        teacher: on its device.
        sources: of its members, as they were given.
        batches: of the validation split.
        arithmetic: gives the context that training computes in.
        allowed_drop: how far a member may be below what its checkpoint recorded.

    Raises:
        CheckpointError: one is further below.
    """
    found = teacher.measure(batches, arithmetic)
    rank_zero_info(f"teacher: {', '.join(sources)}: accuracy {found.accuracy:.4f} on the validation split")
    for source, member, alone in zip(sources, teacher.members, found.of_each, strict=True):
        check_measured(source, member, "accuracy", alone, allowed_drop)
    return found.guesses


def open_teacher(source: str, class_names: Sequence[str], image_size: int) -> Classifier:
    """A classifier to learn from.

    Args:
        source: a checkpoint, a run's folder (its best checkpoint), or `BACKBONE:WEIGHTS` for pretrained ones, such as
            `resnet34:IMAGENET1K_V1`.
        class_names: the student's, which pretrained weights must know.
        image_size: the student's, which pretrained networks are given.

    Raises:
        CheckpointError: there is no such checkpoint, or it is no classifier's.
        ConfigError: there are no such weights, or a configuration stands where a trained teacher is needed.
    """
    backbone, _, weights = source.rpartition(":")
    if _has_weights(backbone) and not Path(source).exists():
        try:
            return _pretrained(backbone, weights, class_names, image_size)
        except ConfigError as error:
            raise ConfigError(str(error).replace("model.weights", "model.teacher", 1)) from None
    forms = "a classifier's configuration, or pretrained weights such as resnet34:IMAGENET1K_V1"
    path = find_teacher(source, forms)
    member: Any = load_teacher(path, source, Classifier)
    if getattr(member, "answers_through_teacher", False):
        raise CheckpointError(f"model.teacher: {source} answers through its own teacher's classifier (simkd); give that "
                              f"teacher, {', '.join(member.sources)}")  # fmt: skip
    return member


def _has_weights(backbone: str) -> bool:
    """Whether it may be the name of a network with pretrained weights."""
    return backbone.startswith("timm/") or backbone.removeprefix("torchvision/") in {*BACKBONES, *TORCHVISION_NAMES}


def _pretrained(backbone: str, weights: str, class_names: Sequence[str], image_size: int) -> Classifier:
    mean, std, known = weights_info(backbone, weights)
    if len(class_names) == len(known) == _IMAGENET and all(map(_WORDNET.fullmatch, class_names)):
        known = list(class_names)  # its folders are numbered by WordNet, whose order is that of the weights
    if missing := [name for name in class_names if name not in known]:
        raise CheckpointError(f"model.teacher: {backbone}:{weights} does not know {len(missing)} of the "
                              f"{len(class_names)} classes; {did_you_mean(missing[0], known)}")  # fmt: skip
    member = Classifier(known, image_size, backbone, mean=mean, std=std)
    load_pretrained(member.network, backbone, weights)
    return member


def _order(member: Classifier, class_names: Sequence[str]) -> Tensor | None:
    """Where each of the student's classes is among the member's; nothing where it is in the same place."""
    if list(member.class_names) == list(class_names):
        return None
    place = {name: index for index, name in enumerate(member.class_names)}
    odd = [name for name in class_names if name not in place]
    if odd:
        raise CheckpointError(f"model.teacher: tells {len(place)} classes apart, and the student {len(class_names)}; it "
                              f"does not know {odd[0]!r}; {did_you_mean(odd[0], place)}")  # fmt: skip
    return torch.tensor([place[name] for name in class_names])
