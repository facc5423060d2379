"""Redaction of passwords and tokens: what a run keeps of its options can be shared, and the running program has the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from project.yaml_files import dump_yaml, load_yaml

HIDDEN = "***"
_SECRET_NAME = re.compile(
    "token|.*(passw(or)?d|passphrase|pwd|secret|credentials?|authorization|(api|access|auth|private)[_-]?(key|token))",
    re.IGNORECASE,
)
_SECRETS_IN_ADDRESSES = (
    re.compile(r"(://[^\s/?#:@]*:)[^\s/?#]+(?=@)"),  # http://user:password@host
    re.compile(r"(://)[^\s/?#:@]{20,}(?=@)"),  # http://token@host; names of users are shorter
    re.compile(r"([?&;][\w.-]*(?:token|key|secret|passw|pwd|sig|credential|auth)[\w.-]*=)[^\s&;#'\"]+", re.IGNORECASE),
)
_IS_HIDDEN = re.compile(r"(?:^|[:/=])\*\*\*(?:[@&;#]|$)")


def hide_secrets(value: Any, name: str = "") -> Any:
    """A tree of plain types with `***` for passwords and tokens: what has such a name, and those inside addresses.

    Args:
        value: options; it is not changed.
        name: of the option that has this value.
    """
    if isinstance(value, dict):
        return {key: hide_secrets(each, name if _is_secret(name) else str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(hide_secrets(each, name) for each in value)
    if _is_secret(name) and not isinstance(value, bool | None):
        return HIDDEN
    return _hide_in_addresses(value) if isinstance(value, str) else value


def hide_in_arguments(arguments: list[str]) -> list[str]:
    """Arguments of a command line likewise, `--option value` and `--option=value`, also where a value is YAML."""
    hidden: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("--") and "=" not in argument:
            option = argument
            hidden.append(argument)
            continue
        start, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        hidden.append(start + equals + _hide_in_value(value, (start or option).lstrip("-").rpartition(".")[2]))
        option = ""
    return hidden


def hide_in_yaml(text: str) -> str:
    """A YAML document likewise; the same text where it holds no secret."""
    content = load_yaml(text)
    hidden = hide_secrets(content)
    return text if hidden == content else dump_yaml(hidden)


def hidden_options(value: Any, name: str = "") -> Iterator[str]:
    """Names of the options whose secret was hidden when they were kept, so that they cannot be used as they are."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from hidden_options(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from hidden_options(each, name)
    elif isinstance(value, str) and _IS_HIDDEN.search(value):
        yield name


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.fullmatch(name) is not None


def _hide_in_value(text: str, name: str) -> str:
    try:
        content = load_yaml(text)
    except ValueError:
        content = text
    if not isinstance(content, (dict, list)):
        return str(hide_secrets(text, name))
    hidden = hide_secrets(content, name)
    return text if hidden == content else json.dumps(hidden, default=str)


def _hide_in_addresses(text: str) -> str:
    for pattern in _SECRETS_IN_ADDRESSES:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text
