"""Which stages of student and teacher a term compares."""

from __future__ import annotations

from typing import NamedTuple

from project.errors import ConfigError, did_you_mean
from project.losses.distillation.outputs import FEATURES, Shapes
from project.losses.distillation.registry import LOSSES, STAGE_OPTIONS
from project.losses.distillation.terms import LossTerm


class Stages(NamedTuple):
    """Names of stages, or paths of modules inside them.

    student: the student's.
    teacher: the teacher's.
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()


def compared_stages(term: LossTerm, student: Shapes, teacher: Shapes) -> Stages:
    """As many stages of the one as of the other, in the order in which they are compared.

    By default a loss of one stage takes the last one of each network, and a loss of several pairs all of them by order.

    Raises:
        ConfigError: a network has no such stage or module, the numbers differ, or the teacher's classifier does not follow it.
    """
    for given, options in STAGE_OPTIONS.items():
        if given in LOSSES[term.name].inputs:
            several = given.endswith("maps")
            sides = [
                _chosen(term, option, whose, shapes, several)
                for option, whose, shapes in zip(options, ("student", "teacher"), (student, teacher), strict=True)
            ]
            if len(sides[0]) != len(sides[1]):
                counts = " and ".join(
                    f"{len(side)} of the {whose} ({', '.join(side)})"
                    for side, whose in zip(sides, ("student", "teacher"), strict=True)
                )
                raise ConfigError(f"model.losses.{term.name}.options: {counts} cannot be paired; name as many in "
                                  f"{options[0]} as in {options[1]}")  # fmt: skip
            last = list(teacher.stages)[-1:]
            if "teacher_head" in LOSSES[term.name].parameters and list(sides[1]) != last:
                which = f"its last stage, '{last[0]}'" if last else "a stage, and it has none"
                raise ConfigError(f"model.losses.{term.name}.options.{options[1]}: the teacher's classifier follows {which}; "
                                  "leave it out")  # fmt: skip
            return Stages(*sides)
    return Stages()


def _chosen(term: LossTerm, option: str, whose: str, shapes: Shapes, several: bool) -> tuple[str, ...]:
    """One network's."""
    where = f"model.losses.{term.name}.options.{option}"
    chosen = term.options.get(option)
    if chosen is None:
        if not shapes.stages:
            raise ConfigError(f"{where}: the {whose} has no stages; use a loss of logits or features")
        return tuple(shapes.stages) if several else (list(shapes.stages)[-1],)
    names = tuple(chosen) if several else (chosen,)
    known = [*shapes.stages, *([FEATURES] if shapes.num_features else [])]
    for name in names:
        if name in known or name in shapes.modules:
            continue
        if "." in name and shapes.modules:
            near = did_you_mean(name, [*known, *shapes.modules])
            raise ConfigError(f"{where}: the {whose} has no module '{name}' that gives maps; {near}")
        raise ConfigError(f"{where}: the {whose} has no stage '{name}'; {did_you_mean(name, known)}")
    return names
