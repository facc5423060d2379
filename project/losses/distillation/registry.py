"""Losses by name. A new one is a function or a module of its own file, and one line here.

What a loss is given follows from the names of its parameters: those in `INPUTS` are a batch's, those in `SIZES`, of a
module's constructor, are the networks', and the others are options, whose defaults are the published ones. So
`def kd(student_logits, teacher_logits, temperature=4.0)` is given both networks' logits and has one option.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from project.errors import ConfigError, did_you_mean
from project.losses.attention_transfer import attention_transfer
from project.losses.correlation import correlation
from project.losses.crd import CRD
from project.losses.dist import dist
from project.losses.dkd import dkd
from project.losses.fitnets import FitNets
from project.losses.kd import kd
from project.losses.pkt import pkt
from project.losses.review_kd import ReviewKD
from project.losses.rkd import rkd
from project.losses.similarity import similarity
from project.losses.simkd import SimKD
from project.losses.vid import VID

INPUTS = (
    "student_logits",  # (B, K)
    "teacher_logits",
    "student_features",  # (B, D)
    "teacher_features",
    "student_map",  # (B, C, h, w), of one stage
    "teacher_map",
    "student_maps",  # a list, of several
    "teacher_maps",
    "labels",  # (B,) int64
    "indices",
)
SIZES = (
    "student_shape",  # (C, h, w), of one stage
    "teacher_shape",
    "student_shapes",  # a list, of several
    "teacher_shapes",
    "num_student_features",
    "num_teacher_features",
    "num_samples",  # of the training split
    "teacher_head",  # a module from the teacher's last map to logits
)
STAGE_OPTIONS = {
    "student_map": ("student_stage", "teacher_stage"),
    "student_maps": ("student_stages", "teacher_stages"),
}


class Published(NamedTuple):
    """A loss as it was published.

    build: the function, or the module's class.
    weight: what it is multiplied by before it is added to cross-entropy.
    label_weight: what the cross-entropy with the labels is multiplied by beside it.
    """

    build: Callable[..., Any]
    weight: float
    label_weight: float = 1.0

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Of the function, or of the constructor."""
        return dict(inspect.signature(self.build).parameters)

    @property
    def inputs(self) -> list[str]:
        """What it is given of a batch, in order."""
        build: Any = self.build
        takes = build.forward if inspect.isclass(self.build) else build
        return [name for name in inspect.signature(takes).parameters if name in INPUTS]

    @property
    def options(self) -> dict[str, Any]:
        """Everything that can be set, with its default."""
        stages = [name for given, names in STAGE_OPTIONS.items() if given in self.inputs for name in names]
        given = {*INPUTS, *SIZES}
        own = {name: parameter.default for name, parameter in self.parameters.items() if name not in given}
        return {**own, **dict.fromkeys(stages)}

    def made(self, sizes: dict[str, Any], options: dict[str, Any]) -> Callable[..., Tensor]:
        """The function with its options, or a module of its own."""
        needed = {name: sizes[name] for name in self.parameters if name in SIZES}
        build: Any = self.build
        return build(**needed, **options) if inspect.isclass(self.build) else partial(build, **options)


LOSSES: dict[str, Published] = {
    "kd": Published(kd, 0.9, label_weight=0.1),
    "lskd": Published(partial(kd, temperature=2.0, standardize=True), 9.0, label_weight=0.1),
    "dkd": Published(dkd, 1.0),
    "dist": Published(dist, 2.0),
    "fitnets": Published(FitNets, 100.0),
    "at": Published(attention_transfer, 1000.0),
    "sp": Published(similarity, 3000.0),
    "cc": Published(correlation, 0.02),
    "rkd": Published(rkd, 1.0),
    "pkt": Published(pkt, 30_000.0),
    "vid": Published(VID, 1.0),
    "review_kd": Published(ReviewKD, 1.0),
    "simkd": Published(SimKD, 1.0, label_weight=0.0),
    "crd": Published(CRD, 0.8),
}


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raises `ConfigError` in one line where the loss called `name` has no such option, or not of such a value."""
    known = LOSSES[name].options
    for option, value in options.items():
        where = f"model.losses.{name}.options"
        if option not in known:
            raise ConfigError(f"{where}: {name} takes no '{option}'; {did_you_mean(option, known)}")
        wanted = _wanted(option, known[option], value)
        if wanted:
            raise ConfigError(f"{where}.{option}: must be {wanted}; got {value!r}")


def _wanted(option: str, default: Any, value: Any) -> str | None:
    """What the option must be, if the value is not that. Its kind is its default's."""
    if default is None:  # of a stage
        if option.endswith("stages"):
            good = isinstance(value, (list, tuple)) and value and all(isinstance(stage, str) for stage in value)
            return None if value is None or good else "a list of stages"
        return None if value is None or isinstance(value, str) else "the name of a stage"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "a whole number" if whole else "a number"
    if whole:
        return None if value >= 1 else "at least 1"
    if option == "momentum":
        return None if 0 <= value <= 1 else "in 0..1"
    if option == "temperature":
        return None if 0 < value < math.inf else "above 0"
    return None if 0 <= value < math.inf else "at least 0"
