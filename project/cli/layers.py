"""Layers of options, the later over the earlier: configurations in their order, then the command line.

jsonargparse merges lists by their places, and keeps options of a class that another class replaces where both have one of
that name: `[{name: crd}]` over `[{name: kd, weight: 0.9}]` would have kd's weight, and AdamW over SGD its learning rate.
Here an item of another name, and a class in the place of another, start anew; the same item keeps what is not given.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from jsonargparse import _typehints
from jsonargparse._util import import_object
from lightning.pytorch import LightningDataModule

from project.tasks import Task
from project.yaml_files import dump_yaml, load_yaml

_SHARING = (Task, LightningDataModule)
"""Classes whose options of one name mean the same in all subclasses, such as `data.batch_size`."""
_Path = tuple[str, ...]


def order_layers(configs: list[tuple[str, dict[str, Any]]], options: list[str]) -> list[str]:
    """Arguments for the parser, in which no list of named items merges with an earlier one by place.

    Args:
        configs: texts of configurations with their contents; the later one wins.
        options: the arguments beside them, which win over all configurations.
    """
    earlier: dict[_Path, list[Any]] = {}
    ordered = []
    for text, content in configs:
        merged, emptied = copy.deepcopy(content), dict[str, Any]()
        for parent, key, path in _lists(merged):
            if isinstance(parent[key], list) and path in earlier:
                parent[key] = merge_items(earlier[path], parent[key])
                _put(emptied, path, [])  # its length differs from the next one's, so that nothing merges by place
            items = parent[key] if isinstance(parent[key], list) else [parent[key]]
            if any(_name(item) for item in items):
                earlier[path] = items
        layers = [emptied, merged] if emptied else []
        ordered += [f"--config={dump_yaml(layer, in_line=True)}" for layer in layers] or [f"--config={text}"]
    position = 0
    while position < len(options):
        name, equals, value = options[position].partition("=")
        if not equals:
            value = options[position + 1] if position + 1 < len(options) else ""
        path = tuple(part for part in name.removeprefix("--").split(".") if part != "init_args")
        given = _parsed(value) if name.startswith("--") and path in earlier else None
        if isinstance(given, list):
            earlier[path] = merge_items(earlier[path], given)
            ordered += [f"{name}=[]", f"{name}={dump_yaml(earlier[path], in_line=True)}"]
            position += 1 if equals else 2
        else:
            ordered.append(options[position])
            position += 1
    return ordered


def merge_items(earlier: list[Any], later: list[Any]) -> list[Any]:
    """The items of the later list, each with what the earlier item of its name has and it does not give."""
    remaining, merged = list(earlier), []
    for item in later:
        same = next((each for each in remaining if _name(each) is not None and _name(each) == _name(item)), None)
        if same is not None:
            remaining.remove(same)
        merged.append(item if same is None else _merge(same, item))
    return merged


def _merge(earlier: Any, later: Any) -> Any:
    if isinstance(earlier, dict) and isinstance(later, dict):
        return earlier | {key: _merge(earlier.get(key), value) for key, value in later.items()}
    if isinstance(earlier, dict) and _name(later) == _name(earlier):
        # as it is given now: a path may be spelt otherwise
        return earlier | {"class_path": later} if "class_path" in earlier else earlier
    return later


def _name(item: Any) -> str | None:
    """What an item is called: `name`, or its class without the module, whose path may be given or not."""
    name = item.get("class_path", item.get("name")) if isinstance(item, dict) else item
    return name.rpartition(".")[2] if isinstance(name, str) else None


def _lists(content: dict[str, Any], path: _Path = ()) -> Iterator[tuple[dict[str, Any], str, _Path]]:
    """Where lists are, and single items that could be in one: their parents, keys, and paths without `init_args`."""
    for key, value in content.items():
        inner = path if key == "init_args" else (*path, str(key))
        if isinstance(value, list) or (isinstance(value, dict) and "class_path" in value):
            yield content, key, inner
        if isinstance(value, dict):
            yield from _lists(value, inner)


def _put(content: dict[str, Any], path: _Path, value: Any) -> None:
    for key in path[:-1]:
        content = content.setdefault(key, {})
    content[path[-1]] = value


def _parsed(value: str) -> Any:
    try:
        return load_yaml(value)
    except ValueError:
        return None  # the parser finds what is wrong with it


def start_anew_with_another_class() -> None:
    """Has jsonargparse drop all options of a class that another one replaces, but for tasks and data sets."""
    discard: Any = _typehints.discard_init_args_on_class_path_change

    def discard_all(parser: Any, earlier: Any, later: Any) -> None:
        if (
            earlier
            and "init_args" in earlier
            and earlier["class_path"] != later["class_path"]
            and not issubclass(import_object(later["class_path"]), _SHARING)
        ):
            earlier["init_args"] = type(earlier)()
        discard(parser, earlier, later)

    _typehints.discard_init_args_on_class_path_change = discard_all
