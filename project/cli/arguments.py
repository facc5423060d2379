"""A first look at the arguments, before the options are known that a checkpoint adds to them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import yaml

from project.cli.layers import order_layers
from project.cli.parser import how_to_set
from project.errors import ConfigError
from project.files import read_text
from project.yaml_files import dump_yaml, load_yaml

_SECTIONS = ("model", "data", "trainer", "checkpoint", "early_stopping", "budget")
_CLASSES = ("model", "data", "model.optimizer", "model.lr_scheduler", "trainer.callbacks", "trainer.strategy")
_LISTS = ("--data.predict",)
"""Options that take several arguments."""
_SHORT = ("-c", "-h")
_FLAGS = ("-h", "--help", "--print_config")  # they take no value, or one behind an equals sign


class Arguments:
    """The arguments after the command, with the configuration files that they name.

    Args:
        verb: the command.
        arguments: as given.

    Raises:
        ConfigError: a file is absent or no configuration.
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
            following = arguments[position + 1 : position + 2]
            if not equals and following and option not in _FLAGS and not following[0].startswith("--"):
                value, width = following[0], 2
            if not option.startswith("--") and option not in _SHORT:
                raise ConfigError(_without_option(arguments[position], arguments[:position]))
            if option in ("--config", "-c") and value:
                configs.append(value)
            else:
                rest += arguments[position : position + width]
                self._options.append((option.removeprefix("--").replace(".init_args.", "."), value))
            position += width
        texts = [_read_text(config) for config in configs]
        self.configs = [_parse_config(*named) for named in zip(configs, texts, strict=True)]
        # a configuration file never wins over an option, wherever it stands; one of comments alone says nothing
        # by their text: jsonargparse would read a file in the locale's encoding
        self._layers = [
            (_in_ascii(text), content) for text, content in zip(texts, self.configs, strict=True) if content
        ]
        self._rest = rest

    @property
    def ordered(self) -> list[str]:
        """The arguments for the parser."""
        return order_layers(self._layers, self._rest)

    def over(self, under: dict[str, Any]) -> list[str]:
        """The arguments for the parser, over a configuration such as a checkpoint's."""
        return order_layers([(dump_yaml(under, in_line=True), under), *self._layers], self._rest)

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
        values = [_inside(config, name) for config in self.configs]
        return any(
            value is not None and not (isinstance(value, dict) and "class_path" not in value) for value in values
        )

    def check_links(self, links: dict[str, str]) -> None:
        """Raises a `ConfigError` where an option is given that follows from others.

        Args:
            links: these options, and what they follow from.
        """
        sections = [{name: _parsed(value)} for name, value in self._options if name in ("model", "data")]
        for option, source in links.items():
            given = [_inside(config, option) for config in (*self.configs, *sections)]
            if any(value is not None for value in given) or any(name == option for name, _ in self._options):
                raise ConfigError(f"{option}: {how_to_set(source)}")

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


def _without_option(argument: str, earlier: list[str]) -> str:
    """One line on an argument that is no option and no option's value."""
    if override := re.fullmatch(r"[+~-]*([A-Za-z_][\w.]*)=(.*)", argument, re.DOTALL):
        return f"{argument}: options begin with two dashes; give --{override[1]} {shlex.quote(override[2])}"
    option = next((each for each in reversed(earlier) if each.startswith("-")), "").partition("=")[0]
    if option in ("--config", "-c") or (not option and argument.endswith((".yaml", ".yml"))):
        return f"{argument}: belongs to no option; give each configuration its own --config, here --config {argument}"
    if not option or option in _FLAGS:
        return f"{argument}: belongs to no option; name it, such as --ckpt_path {argument}"
    return f"{argument}: is another value of {option}, which takes one; put patterns such as '*.png' in quotes"


def _inside(config: dict[str, Any], name: str) -> Any:
    """The value of an option in a configuration, in which `init_args` may be left out."""
    value: Any = config
    for key in name.split("."):
        inside = value.get("init_args") if isinstance(value, dict) else None
        value = (
            value.get(key, inside.get(key) if isinstance(inside, dict) else None) if isinstance(value, dict) else None
        )
    return value


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
