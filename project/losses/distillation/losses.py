"""Any weighted sum of distillation losses, with what they need of two networks and what they learn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from project.errors import CheckpointError, ConfigError
from project.losses.distillation.outputs import FEATURES, Outputs, Shapes, Targets
from project.losses.distillation.registry import LOSSES
from project.losses.distillation.stages import Stages, compared_stages
from project.losses.distillation.terms import LossTerm


class Sum(NamedTuple):
    """What `DistillationLosses` finds.

    total: scalar float32, with gradient: the sum of `weighted`.
    raw: each term before its weight, scalars without gradient.
    weighted: each term times its weight at this time, scalars with gradient.
    logits: (B, K), with gradient: what the student answers, see `DistillationLosses.student_logits`.
    """

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]
    logits: Tensor


class DistillationLosses(nn.Module):
    """Σ weight · loss over terms, of which one may appear several times: the second `kd` is called `kd_2`.

    What the losses learn (projectors) and keep (memories) are this module's parameters and buffers, none of them the
    student's: its optimizer must have them beside the student's, and the student's state does without them. Losses are
    in float32 whatever the networks compute in, and no gradient reaches the teacher's outputs.

    Under several processes, kd, lskd, dkd, at, fitnets and vid average to what one finds in the whole batch; so do
    review_kd and simkd but for their batch norms. dist (between images), sp, cc, rkd and pkt see the pairs of each
    process's share, and crd has a memory in each.

    Args:
        terms: what is added up.
        student: sizes of the student's outputs.
        teacher: of the teacher's.
        num_samples: images of the training split, for `crd`.
        teacher_head: from the teacher's last map (B, C, h, w) to logits (B, K), for `simkd`, which copies it.

    Raises:
        ConfigError: a term names a stage that there is not, or needs something that these networks have not.
    """

    def __init__(
        self,
        terms: Sequence[LossTerm],
        student: Shapes,
        teacher: Shapes,
        num_samples: int | None = None,
        teacher_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.terms = _named(terms)
        self._stages = {name: compared_stages(term, student, teacher) for name, term in self.terms.items()}
        self._calls: dict[str, Callable[..., Tensor]] = {}
        self.learned = nn.ModuleDict()
        for name, term in self.terms.items():
            sizes = _sizes(self._stages[name], student, teacher)
            made = _made(term, sizes | {"num_samples": num_samples, "teacher_head": teacher_head}, student, teacher)
            if isinstance(made, nn.Module):
                self.learned[name] = made
            else:
                self._calls[name] = made
        answering = [name for name, module in self.learned.items() if hasattr(module, "logits")]
        if len(answering) > 1:
            raise ConfigError(f"model.losses: {' and '.join(answering)} both answer for the student; leave one out")
        self._answering = answering[0] if answering else None

    @property
    def needs_stages(self) -> Stages:
        """Whose outputs `forward` and `student_logits` look at, each once; others need not be kept."""
        student, teacher = (
            dict.fromkeys(stage for pair in self._stages.values() for stage in pair[side] if stage != FEATURES)
            for side in (0, 1)
        )
        return Stages(tuple(student), tuple(teacher))

    @property
    def needs_features(self) -> bool:
        """Whether `forward` looks at the teacher's pooled features."""
        return any(
            "teacher_features" in LOSSES[term.name].inputs or FEATURES in self._stages[name].teacher
            for name, term in self.terms.items()
        )

    @property
    def needs_student_features(self) -> bool:
        """Whether `forward` or `student_logits` looks at the student's pooled features."""
        return any(
            "student_features" in LOSSES[term.name].inputs or FEATURES in self._stages[name].student
            for name, term in self.terms.items()
        )

    @property
    def needs_labels(self) -> tuple[str, ...]:
        """The terms that look at labels, one an image: with mixed images they cannot be used."""
        return tuple(name for name, term in self.terms.items() if "labels" in LOSSES[term.name].inputs)

    @property
    def needs_classifier(self) -> bool:
        """Whether anything follows from the student's own logits."""
        return not self.replaces_logits or any("student_logits" in LOSSES[t.name].inputs for t in self.terms.values())

    @property
    def replaces_logits(self) -> bool:
        """Whether the student answers with another classifier than its own, as with `simkd`."""
        return self._answering is not None

    def student_logits(self, student: Outputs) -> Tensor:
        """What the student answers, (B, K): its own logits, or with `simkd` those of the teacher's classifier."""
        if self._answering is None:
            return student.logits
        answering: Any = self.learned[self._answering]
        return answering.logits(student.map(self._stages[self._answering].student[0]))

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets, epoch: float) -> Sum:
        """All terms for a batch.

        Args:
            student: its outputs, with the stages of `needs_stages`.
            teacher: its outputs for the same images.
            targets: what is known of the images.
            epoch: the time in epochs, counted from 0, for the terms that warm up.
        """
        raw, weighted, logits = {}, {}, student.logits
        for name, term in self.terms.items():
            given = _given(student, teacher, targets, self._stages[name])
            call: Any = self._calls[name] if name in self._calls else self.learned[name]
            inputs = (given[each] for each in LOSSES[term.name].inputs)
            if name == self._answering:
                loss, logits = call.both(*inputs)
            else:
                loss = call(*inputs)
            raw[name], weighted[name] = loss.detach(), loss * term.weight_at(epoch)
        nothing = torch.zeros((), device=student.logits.device)
        return Sum(sum(weighted.values(), nothing), raw, weighted, logits)


def means_of(terms: Sequence[LossTerm]) -> list[str]:
    """Names of the losses, with that of the labels, as they are and as they are weighted."""
    return [f"{kind}_{name}" for name in ("labels", *_named(terms)) for kind in ("loss", "weighted")]


def check_learned(terms: Sequence[LossTerm], earlier: Sequence[dict[str, Any]]) -> None:
    """Raises a `CheckpointError` where other losses have parameters or a memory than in an earlier run, by its options."""
    ours, theirs = (
        sorted(name for name in names if inspect.isclass(LOSSES[name].build))
        for names in ([term.name for term in terms], [str(term["name"]) for term in earlier])
    )
    if ours != theirs:
        raise CheckpointError(f"model.losses: {_listed(ours)} contradicts the checkpoint's {_listed(theirs)} among losses with "
                              "a state; leave them out, or start a new run from its weights with --model.init_from")  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _named(terms: Sequence[LossTerm]) -> dict[str, LossTerm]:
    """By their losses' names, from the second on with a number."""
    named: dict[str, LossTerm] = {}
    for term in terms:
        count = sum(other.name == term.name for other in named.values())
        named[f"{term.name}_{count + 1}" if count else term.name] = term
    return named


def _made(term: LossTerm, sizes: dict[str, Any], student: Shapes, teacher: Shapes) -> Callable[..., Tensor]:
    """The term's function or module."""
    published = LOSSES[term.name]
    where = f"model.losses.{term.name}"
    if "student_logits" in published.inputs and student.num_classes != teacher.num_classes:
        raise ConfigError(f"{where}: compares classes, of which the student has {student.num_classes} and the teacher "
                          f"{teacher.num_classes}; use a loss of features")  # fmt: skip
    if "teacher_features" in published.inputs and not teacher.num_features:
        raise ConfigError(f"{where}: compares features, and several teachers have logits alone in common; use a loss of "
                          "logits")  # fmt: skip
    for size, what in (("num_samples", "the number of training images"), ("teacher_head", "a teacher's classifier")):
        if size in published.parameters and sizes[size] is None:
            raise ConfigError(f"{where}: needs {what}, and there is none here; leave {term.name} out")
    own = {option: value for option, value in term.options.items() if option in published.parameters}
    return published.made(sizes, own)


def _sizes(stages: Stages, student: Shapes, teacher: Shapes) -> dict[str, Any]:
    """Values of `registry.SIZES`."""
    of_student, of_teacher = (
        [student.of(name) for name in stages.student],
        [teacher.of(name) for name in stages.teacher],
    )
    return {
        "student_shape": of_student[0] if of_student else None,
        "teacher_shape": of_teacher[0] if of_teacher else None,
        "student_shapes": of_student,
        "teacher_shapes": of_teacher,
        "num_student_features": student.num_features,
        "num_teacher_features": teacher.num_features,
    }


def _given(student: Outputs, teacher: Outputs, targets: Targets, stages: Stages) -> dict[str, Any]:
    """Values of `registry.INPUTS`."""
    student_maps, teacher_maps = [student.map(n) for n in stages.student], [teacher.map(n) for n in stages.teacher]
    return {
        "student_logits": student.logits,
        "teacher_logits": teacher.logits,
        "student_features": student.features,
        "teacher_features": teacher.features,
        "student_map": student_maps[0] if student_maps else None,
        "teacher_map": teacher_maps[0] if teacher_maps else None,
        "student_maps": student_maps,
        "teacher_maps": teacher_maps,
        **targets._asdict(),
    }
