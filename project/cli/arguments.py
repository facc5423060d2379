"""A first look at the arguments, before the options are known that a checkpoint adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import yaml

from project.errors import ConfigError
from project.files import read_text
from project.yaml_files import dump_yaml, load_yaml

_SECTIONS = ("model", "data", "trainer", "checkpoint", "early_stopping", "budget")
_CLASSES = ("model", "data", "model.optimizer", "model.lr_scheduler", "trainer.callbacks", "trainer.strategy")
_LISTS = ("--data.predict",)
"""Options that take several arguments."""
_FOLLOWS = {
    "data.seed": "--seed",
    "model.class_names": "the data",
    "model.image_size": "--data.image_size",
}


class Arguments:
    """The arguments after the command, with the configuration files that they name.

    Args:
        verb: the command.
        arguments: as given.

    Raises:
        ConfigError: a file is absent or no configuration, or an option is given that follows another.
    """

    def __init__(self, verb: str, arguments: list[str]) -> None:
        self._options: list[tuple[str, str]] = []
        configs, rest = [], []
        position = 0
        while position < len(arguments):
            option, equals, value = arguments[position].partition("=")
            width = 1
            if option in _LISTS and (files := _following(arguments[position + 1 :])) and (equals or len(files) > 1):
                # as an unquoted glob pattern becomes; the parser takes one argument
                files = [value, *files] if equals else files
                text = dump_yaml(files, in_line=True).strip()
                rest.append(f"{option}={text}")
                self._options.append((option.removeprefix("--"), text))
                position += len(files) + (not equals)
                continue
            if not equals and position + 1 < len(arguments):
                value, width = arguments[position + 1], 2
            if option in ("--config", "-c") and value:
                configs.append(value)
            else:
                width = 1
                rest.append(arguments[position])
                self._options.append((option.removeprefix("--").replace(".init_args.", "."), value))
            position += width
        texts = [_read_text(config) for config in configs]
        self.configs = [_parse_config(*named) for named in zip(configs, texts, strict=True)]
        for name, _ in self._options:
            if name in _FOLLOWS and (verb == "fit" or name == "data.seed"):
                raise ConfigError(f"{name}: follows {_FOLLOWS[name]}; leave it out")
        # a configuration file never wins over an option, wherever it stands; one of comments alone says nothing
        # by their text: jsonargparse would read a file in the locale's encoding
        said = [text for text, content in zip(texts, self.configs, strict=True) if content]
        self.ordered = [f"--config={_in_ascii(text)}" for text in said] + rest

    def last(self, name: str) -> Any:
        """The value of an option: the last one given, or else that of the last file which has it."""
        given = None
        for config in self.configs:
            value: Any = config
            for key in name.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            given = given if value is None else value
        for option, value in self._options:
            if option == name:
                given = value
        return None if given in ("", "null") else given

    def gives(self, name: str) -> bool:
        """True if the user gives a whole value for an option, such as `model.optimizer`; one option inside it does not count."""
        if any(option == name for option, _ in self._options):
            return True
        for config in self.configs:
            value: Any = config
            for key in name.split("."):
                inside = value.get("init_args") if isinstance(value, dict) else None
                value = (
                    value.get(key, inside.get(key) if isinstance(inside, dict) else None)
                    if isinstance(value, dict)
                    else None
                )
            if isinstance(value, dict) and "class_path" not in value:
                value = None
            if value is not None:
                return True
        return False

    @property
    def class_names(self) -> set[str]:
        """Dotted names of the classes that the user gives."""
        named = {
            value for name, value in self._options if name.removesuffix("+") in _CLASSES or name.endswith(".class_path")
        }
        given = [*self.configs, *(_parsed(value) for _, value in self._options)]
        return {name for name in (*named, *_class_paths(given)) if "." in name}


def _following(arguments: list[str]) -> list[str]:
    """The arguments up to the next option."""
    return list(takewhile(lambda argument: not argument.startswith("-"), arguments))


def _parsed(value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value  # the parser will say what is wrong with it


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str) and (key == "class_path" or key in ("model", "data")):
                yield each
            yield from _class_paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _class_paths(each)


def _read_text(name: str) -> str:
    """Text of a `--config`: of the file that it names, or its own."""
    if name.lstrip().startswith("{"):
        return name
    try:
        return read_text(name)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"config: {name}: cannot be read ({reason})") from None


def _in_ascii(text: str) -> str:
    """The same configuration; jsonargparse asks whether there is a file of that name, which some locales cannot spell."""
    return text if text.isascii() else yaml.serialize(yaml.compose(text, yaml.SafeLoader))


def _parse_config(name: str, text: str) -> dict[str, Any]:
    where = "config" if text == name else f"config: {name}"
    try:
        content = load_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: needs sections such as model, data and trainer; found only {content!r}")
    for section in _SECTIONS:
        value = content.get(section, {})
        if not isinstance(value, dict) and not (section in ("model", "data") and isinstance(value, str | None)):
            raise ConfigError(f"{where}: {section}: needs options below it; found only {value!r}")
    return content
