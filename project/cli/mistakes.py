"""jsonargparse's messages in one line, with the nearest name where one is misspelt."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.callbacks.averaging import AveragingOptions
from project.callbacks.checkpointing import CheckpointOptions
from project.callbacks.guard import GuardOptions
from project.callbacks.lookahead import LookaheadOptions
from project.callbacks.watching import Watching
from project.data.augmentation import Augmentation
from project.errors import did_you_mean
from project.runs.budget import Budget, EarlyStoppingOptions
from project.tasks import Task
from project.tasks.fine_tuning import FineTuning

_TYPES: dict[str, tuple[type, ...]] = {
    "model": (Task, Optimizer, LRScheduler, FineTuning),
    "data": (LightningDataModule, Augmentation),
    "trainer": (Trainer, Callback, Logger),
    "checkpoint": (CheckpointOptions,),
    "early_stopping": (EarlyStoppingOptions,),
    "ema": (AveragingOptions,),
    "lookahead": (LookaheadOptions,),
    "guard": (GuardOptions,),
    "watch": (Watching,),
    "budget": (Budget,),
}
_CLASSES: dict[str, tuple[type, ...]] = {
    "model": (Task,),
    "data": (LightningDataModule,),
    "model.optimizer": (Optimizer,),
    "model.lr_scheduler": (LRScheduler,),
    "trainer.callbacks": (Callback,),
    "trainer.logger": (Logger,),
}
"""What the classes are that an option may name."""
_ELSEWHERE = {"seed_everything": "seed", "ckpt": "ckpt_path", "resume_from_checkpoint": "ckpt_path"}
"""Options of other command lines, with their names here."""
_LONGEST_VALUE = 80  # characters
_NOISE = re.compile(r"Subtypes: \[.*?\]\s+Errors:|Problem with given class_path \S+:|Does not validate against any of the Union subtypes|"
                    r"- Expected a <class 'NoneType'>|- Expected a path but \S+ either not accessible or invalid|"
                    r"Given value type: .*", re.DOTALL)  # fmt: skip


def explain(message: str, root_options: Iterable[str]) -> str:
    """One line that says what, where and how to mend it.

    Args:
        message: what jsonargparse prints, many lines of types it tried.
        root_options: names of the options at the root, for suggestions.
    """
    keys = re.findall(r"Parser key ['\"]([\w.]+)['\"]", message)
    where = ".".join(dict.fromkeys(keys)) if keys else ""
    section = where.partition(".")[0]

    unknown = re.search(r"(?:Option|option|argument) '([\w.+]+)'(?: is not accepted)?|"
                        r"[Uu]nrecognized arguments: --([\w.+-]+)", message)  # fmt: skip
    if unknown and re.search(r"not accept|[Uu]nrecognized", message):
        name = unknown[1] or unknown[2]
        group = re.search(r"Group '([\w.]+)'", message)
        place, _, last = name.rpartition(".")
        section = section or (group[1] if group else name.partition(".")[0])
        if section in _TYPES and (where or group or place):
            option = ".".join(filter(None, [section, place.removeprefix(section).strip("."), last]))
            return f"{option}: there is no such option; {did_you_mean(last, _parameters(section))}"
        return f"{name}: there is no such option; {_did_you_mean_root(name, root_options)}"

    kinds = [
        _kind(each) for each in re.findall(r"Expected a (<class '(?:int|float|bool)'>|typing\.Literal\[.*?\])", message)
    ]
    wrong = re.search(r"Given value: NestedArg\(key='[^']*', val='(.*)'\)", message) or re.search(
        r"(?:Given|Got) value: (.+?)\.?\s*$", message, re.MULTILINE
    )
    unknown_class = re.search(r"Expected a dot import path string: (\w+)", message)
    if wrong and where and wrong[1].lower() == "none" and where != "model.optimizer" and "NoneType" in message:
        return f"{where}: got '{wrong[1]}'; for none of it give null"
    if kinds and wrong and "." in where:
        return f"{where}: expected {' or '.join(dict.fromkeys(kinds))}; got '{_shortened(wrong[1])}'"

    if unknown_class:
        return f"{where}: there is no class '{unknown_class[1]}'; {did_you_mean(unknown_class[1], _classes(where))}"

    required = re.search(r"the following arguments are required: ([\w., ]+?)(?: -|$)", " ".join(message.split()))
    if required and where:
        names = [f"{where}.{name}" for name in required[1].split(", ")]
        values, verb = (
            " ".join(f"--{name} VALUE" for name in names),
            "is required; give it" if len(names) == 1 else "are required; give them",
        )
        return f"{', '.join(names)}: {verb} with {values}"

    given = re.search(r"Given value: (.*)", message, re.DOTALL)
    what = " ".join(re.sub(_NOISE, " ", re.sub(r"Parser key ['\"][\w.]+['\"]:", " ", message)).split())
    what = re.sub(r"<class '([\w.]+)'>|typing\.", lambda match: match[1] or "", what).strip(" -")
    if given and len(given[1]) < 60 and "Got value" not in what:
        what = f"{what}. Got value: {given[1].strip()}"
    if 'in "<unicode string>"' in what:
        what = "not valid YAML: " + re.sub(r" in \"<unicode string>\",?", ",", what)
    return f"{where}: {what}" if where else what


def _did_you_mean_root(name: str, root_options: Iterable[str]) -> str:
    """As `did_you_mean`, of an option without its section or with the name that LightningCLI has for it."""
    first = name.partition(".")[0]
    if first in _ELSEWHERE:
        return f"give --{_ELSEWHERE[first]}"
    places = {"trainer": (Trainer,), "model": (Task,), **_CLASSES}
    place = next((place for place, types in places.items() if first in _parameters_of(types)), None)
    return f"did you mean --{place}.{name}?" if place else did_you_mean(first, root_options)


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else value[:_LONGEST_VALUE] + "..."


def _kind(expected: str) -> str:
    """What a type is called, such as `int`, or the words that a literal takes."""
    literal = re.search(r"Literal\[(.*)\]", expected)
    return literal[1].replace(", ", " or ") if literal else expected.removeprefix("<class '").removesuffix("'>")


def _parameters(section: str) -> set[str]:
    return _parameters_of(_TYPES.get(section, ()))


def _parameters_of(types: Iterable[type]) -> set[str]:
    names: set[str] = set()
    for cls in (each for base in types for each in _below(base)):
        constructor = cls.__init__  # type: ignore[misc]  # it is looked at, not called
        names |= inspect.signature(constructor).parameters.keys() - {"self", "args", "kwargs", "options", "params"}
    return names


def _classes(option: str) -> set[str]:
    types = _CLASSES.get(option, _TYPES.get(option.partition(".")[0], ()))
    return {name for base in types for name in class_names(base)}


def class_names(base: type) -> list[str]:
    """The short names of every imported public class below `base`, sorted."""
    return sorted({cls.__name__ for cls in _below(base) if not cls.__name__.startswith("_")})


def _below(base: type) -> Iterable[type]:
    pending = [base]
    while pending:
        cls = pending.pop()
        yield cls
        pending += cls.__subclasses__()
