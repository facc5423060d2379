"""YAML and JSON files: what `dump_yaml` writes is read back as the same value, whatever is in its names.

Names may have characters beyond the Basic Multilingual Plane, or stand for bytes that are not UTF-8, as Python keeps them in
file names (lone surrogates). In files of strangers, size is bounded before anything walks through the content.

A few hundred bytes of YAML can stand for billions of nodes (aliases of aliases), and a file of brackets for a tree that no
recursive function survives. Both are a `ValueError` here, as is whatever else is wrong with a file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from project.files import read_text

MAX_DEPTH = 100  # of a tree; the deepest configuration has about 10 levels
MAX_NODES = 100_000  # of a YAML document, each alias counted as what it stands for


def load_yaml(text: str) -> Any:
    """The content of a YAML document, as plain Python types.

    Raises:
        ValueError: it is not valid, has a tag of another type, or is too large; the message is one line with the place.
    """
    try:
        return yaml.load(text, Loader=_BoundedLoader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"not valid YAML: {place}{getattr(error, 'problem', None) or _joined(error)}") from None


def load_option(text: str) -> Any:
    """The value of an option or of a configuration, as jsonargparse understands it.

    Other than in YAML 1.1, `1e-3` is a number, and a date is a text, as are `name:`, `{name}` and `#name`.

    Raises:
        yaml.YAMLError: it is not valid, or is too large.
    """
    value = yaml.load(text, Loader=_OptionLoader)  # noqa: S506  a SafeLoader
    if isinstance(value, dict) and value and all(each is None for each in value.values()):
        bare = text.strip(" {}").replace(" ", "").split(",")
        if set(bare) == value.keys() or [text.strip()] == [f"{name}:" for name in value]:
            return text
    return text if value is None and text.strip().lower() not in ("", "~", "null") else value


def dump_yaml(value: Any, in_line: bool = False) -> str:
    """Plain Python types as YAML that `load_yaml` and `load_option` read back as the same value.

    Args:
        value: texts, numbers, truth values and None, in lists and dictionaries.
        in_line: one line of ASCII, such as `{a: [1, 2]}`, for the command line.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=not in_line,
                     default_flow_style=in_line, width=float("inf") if in_line else None)  # fmt: skip


def load_json(text: str | bytes, parse_int: Callable[[str], Any] | None = None) -> Any:
    """The content of a JSON document; NaN and Infinity are numbers.

    Args:
        text: bytes may be UTF-8, UTF-16 or UTF-32.
        parse_int: makes whole numbers of their digits, by default `int`.

    Raises:
        ValueError: it is not valid, or nested too deep.
    """
    try:
        content = json.loads(text, parse_int=parse_int)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    level = [content]
    for _ in range(MAX_DEPTH):  # without recursion, and a level at a time, as quickly as Python can
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return content
    raise ValueError(_TOO_DEEP)


def dump_json(content: Any, indent: int | None = None) -> str:
    """JSON of plain types; NaN and Infinity, which JSON lacks, become null."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, (list, tuple)) else content


def read_yaml(path: str | Path) -> Any:
    """`load_yaml` of a file, with `OSError` where it cannot be read."""
    return load_yaml(read_text(path))


def read_json(path: str | Path) -> Any:
    """`load_json` of a file, with `OSError` where it cannot be read."""
    return load_json(read_text(path))


_TOO_DEEP = f"more than {MAX_DEPTH} levels deep"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MAX_DIGITS = 400
_BREAK = re.compile("[\n\r\x85\u2028\u2029]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_OPTION_FLOAT = re.compile(
    r"""(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class _BoundedLoader(yaml.SafeLoader):
    """Counts nodes and levels while the tree is composed, which is before an object is made of it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = self._deepest = 0
        self._sizes: dict[Any, tuple[int, int]] = {}  # nodes and levels of what has an anchor

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if node not in self._sizes:
                self._refuse("an alias inside of what it stands for", event)
            nodes, levels = self._sizes[node]
            self._count(nodes, self._depth + levels, event)
            return node
        nodes, deepest = self._nodes, self._deepest
        self._depth += 1
        self._deepest = self._depth
        self._count(1, self._depth, event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[node] = self._nodes - nodes, self._deepest - self._depth
        self._deepest = max(deepest, self._deepest)
        return node

    def scan_flow_scalar(self, style: str) -> yaml.ScalarToken:
        """JSON writes a character beyond U+FFFF as two escapes, which PyYAML leaves as they are."""
        token: Any = super().scan_flow_scalar(style)
        if _PAIR.search(token.value):
            token.value = token.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return token

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
                raise ValueError(f"more than {_MAX_DIGITS} digits")  # which take long to read, and cannot be printed
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:  # such as a 40th of May
            raise yaml.constructor.ConstructorError(
                None, None, f"no value of {node.tag.rpartition(':')[2]} ({_joined(error)})", node.start_mark
            ) from None

    def _count(self, nodes: int, deepest: int, event: Any) -> None:
        self._nodes += nodes
        self._deepest = max(self._deepest, deepest)
        if self._nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES:,} values, aliases included", event)
        if deepest > MAX_DEPTH:
            self._refuse(_TOO_DEEP, event)

    def _refuse(self, what: str, event: Any) -> None:
        raise yaml.composer.ComposerError(None, None, what, event.start_mark)


class _OptionLoader(_BoundedLoader):
    """With jsonargparse's numbers, without dates, and with texts as keys, such as names of classes that are numbers."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [each for each in resolvers if not each[0].endswith((":float", ":timestamp"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that either loader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each alias would count as what it stands for."""
        return True

    def analyze_scalar(self, scalar: str) -> Any:
        """Escapes line breaks; PyYAML would read those of Unicode back as spaces."""
        analysis: Any = super().analyze_scalar(scalar)
        if _BREAK.search(scalar):
            analysis.allow_flow_plain = analysis.allow_block_plain = False
            analysis.allow_single_quoted = analysis.allow_block = False
        return analysis


for _class in (_OptionLoader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _OPTION_FLOAT, list("-+0123456789."))


def _joined(error: Exception) -> str:
    return " ".join(str(error).split())
