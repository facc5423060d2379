"""What a sweep chooses from: a YAML file of options with their values.

model.optimizer.lr: {low: 0.01, high: 1.0, log: true}
model.optimizer: {choices: [SGD, AdamW]}
data.augment.shift: {low: 0, high: 2}              # whole numbers where both ends are
pruner: {class_path: MedianPruner, init_args: {n_startup_trials: 5}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.pruners import BasePruner, MedianPruner

from project.errors import ConfigError, did_you_mean
from project.yaml_files import read_yaml

_OWN = ("config", "name", "seed", "ckpt_path", "trainer.default_root_dir", "checkpoint.monitor", "checkpoint.mode")
_RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Space:
    """Options, in the order in which they stand on the command line, and what stops a trial early.

    Attributes:
        distributions: what each option may be.
        pruner: of Optuna.
    """

    distributions: dict[str, BaseDistribution]
    pruner: BasePruner

    def examples(self) -> Iterator[dict[str, Any]]:
        """Samples in which every choice and both ends of every range are met once."""
        ends = {name: _ends(distribution) for name, distribution in self.distributions.items()}
        first = {name: values[0] for name, values in ends.items()}
        yield first
        yield from (first | {name: value} for name, values in ends.items() for value in values[1:])

    def contains(self, name: str, value: Any) -> bool:
        """Whether an option of this name may have the value."""
        distribution = self.distributions.get(name)
        if isinstance(distribution, CategoricalDistribution):
            return value in distribution.choices
        return distribution is not None and type(value) in (int, float) and distribution._contains(value)

    def plain(self) -> dict[str, str]:
        """Two spaces that choose from the same say the same."""
        return {name: distribution_to_json(distribution) for name, distribution in self.distributions.items()}


def as_arguments(sample: dict[str, Any]) -> list[str]:
    """A sample as options of the command line; numbers in full precision."""
    return [f"--{name}={value if isinstance(value, str) else repr(value)}" for name, value in sample.items()]


def read_space(path: str | Path, given: Sequence[str] = ()) -> Space:
    """Reads a space.

    Args:
        path: the file.
        given: the arguments that all trials share, in which no option of the space may be.

    Raises:
        ConfigError: the file cannot be read, or something in it cannot be.
    """
    where = f"--space: {path}"
    content = _read(path, where)
    pruner = _pruner(content.pop("pruner", None), f"{where}: pruner")
    if not content:
        raise ConfigError(f"{where}: names no option; add one such as model.optimizer.lr: {{low: 0.01, high: 1.0}}")
    options = {argument.partition("=")[0].removeprefix("--") for argument in given if argument.startswith("--")}
    for name in content:
        if name in _OWN:
            raise ConfigError(f"{where}: {name}: is the same for all trials; leave it out")
        if _short(name) in map(_short, options):
            raise ConfigError(f"{where}: {name}: stands on the command line, too; leave one of them out")
    return Space({name: _distribution(value, f"{where}: {name}") for name, value in content.items()}, pruner)


def _short(name: str) -> str:
    return name.replace(".init_args.", ".")


def _read(path: str | Path, where: str) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: needs options such as model.optimizer.lr: {{low: 0.01, high: 1.0}}")
    return {str(name): value for name, value in content.items()}


def _distribution(value: Any, where: str) -> BaseDistribution:
    if not isinstance(value, dict) or ("choices" in value) == ("low" in value or "high" in value):
        raise ConfigError(f"{where}: needs either low and high, or choices; got {value!r}")
    if "choices" in value:
        _check_keys(value, ("choices",), where)
        choices = value["choices"]
        texts = [_text(choice, where) for choice in choices] if isinstance(choices, list) else []
        if len(set(texts)) < max(len(texts), 2):
            raise ConfigError(f"{where}: choices: needs a list of two or more different values; got {choices!r}")
        return CategoricalDistribution(texts)
    return _range(value, where)


def _range(value: dict[str, Any], where: str) -> FloatDistribution | IntDistribution:
    _check_keys(value, _RANGE, where)
    if not {"low", "high"} <= value.keys():
        raise ConfigError(f"{where}: needs both low and high")
    low, high, step = (_number(value.get(key), f"{where}: {key}") for key in ("low", "high", "step"))
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log: is true or false; got {log!r}")
    if low >= high:
        raise ConfigError(f"{where}: low {low} is not below high {high}")
    if log and (low <= 0 or step is not None):
        raise ConfigError(f"{where}: log: needs a low above 0, and no step")
    if step is not None and (step <= 0 or not _leads(low, high, step)):
        raise ConfigError(f"{where}: step {step} does not lead from low {low} to high {high}")
    if all(isinstance(number, int | None) for number in (low, high, step)):
        return IntDistribution(low, high, log, step or 1)
    return FloatDistribution(low, high, log, step)


def _leads(low: float, high: float, step: float) -> bool:
    """Whether so many whole steps, at most a million, lead from one to the other."""
    steps = (Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))
    return steps <= 1e6 and steps == int(steps)


def _check_keys(value: dict[str, Any], known: Sequence[str], where: str) -> None:
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}: {key}: there is no such key; {did_you_mean(str(key), known)}")


def _number(value: Any, where: str) -> Any:
    """A number, also where YAML takes it for a text, as it does 1e-4."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
        raise ConfigError(f"{where}: is a number; got {value!r}")
    return value


def _text(choice: Any, where: str) -> str:
    """As on the command line."""
    try:
        return choice if isinstance(choice, str) else json.dumps(choice)
    except TypeError:  # such as YAML's dates
        raise ConfigError(f"{where}: choices: {choice} is a {type(choice).__name__}; put it in quotes") from None


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high


def _pruner(given: Any, where: str) -> BasePruner:
    """Optuna's by its name; the default stops what is worse than the median of the others at the same validation."""
    if given is None:
        return MedianPruner()
    name = given if isinstance(given, str) else given.get("class_path") if isinstance(given, dict) else None
    known = [each for each in dir(optuna.pruners) if each.endswith("Pruner") and each != "BasePruner"]
    if name not in known:
        raise ConfigError(f"{where}: there is no pruner '{name}'; {did_you_mean(str(name), known)}")
    try:
        return getattr(optuna.pruners, name)(**(given.get("init_args") or {} if isinstance(given, dict) else {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {name}: {error}") from None
