"""Schema checks of plain values from untrusted files, against the signatures that they are arguments of.

What a file holds stays data: no text is parsed, and a name only selects among classes that are loaded already. What a
parameter may be follows from its annotation, so a new option needs no entry in a list.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from project.errors import did_you_mean
from project.files import OUTPUT

_WORD = re.compile(r"[\w.+:,-]*")
_METRIC = re.compile(r"[\w.+-]+(/[\w.+-]+)?")
_YAML = re.compile(r"\s*[\[\]{}!&*|>%@`'\",#]|\s*[-?](\s|$)|.*(:\s|:$|\n)", re.DOTALL)  # what may be more than a scalar
_SCALARS = (bool, int, float, str)
_EMPTY = inspect.Parameter.empty
_MORE = "**"
_OF_OBJECTS = ("class_path", "init_args", "dict_kwargs")
_HUGE = 2**63  # what tensors cannot count


class SchemaError(ValueError):
    """A value that does not fit its place, which the message begins with."""


class Texts(Enum):
    """Which texts a signature may receive from a file.

    A text can name a place to write to, and a signature that is not the project's does not say whether it does.
    """

    ALL = "all"
    """But for parameters that are annotated as `OutputPath`."""
    WORDS = "words"
    """Without a slash, as names in a registry are."""
    METRICS = "metrics"
    """Those of `Literal`, and metric names."""


@dataclasses.dataclass(frozen=True)
class Schema:
    """Checks values against annotations.

    Args:
        classes: bases of the classes that may be named, as `{"class_path": ..., "init_args": {...}}`.
        words: texts that may stand in the place of an object, such as the name of a strategy.
        build: whether mappings become the dataclasses that they are checked against.
    """

    classes: tuple[type, ...] = ()
    words: frozenset[str] = frozenset()
    build: bool = False

    def arguments(self, owner: Callable[..., Any], values: Any, where: str = "", skip: int = 0) -> dict[str, Any]:
        """Checked keyword arguments of a class or a function; those that name a place to write to are left out.

        Args:
            owner: the class or function.
            values: names and values.
            where: the name of the whole, for messages.
            skip: leading parameters that somebody else passes.

        Raises:
            SchemaError: a name is unknown, or a value does not fit.
        """
        if not isinstance(values, Mapping):
            raise SchemaError(f"{where or 'options'}: must be a mapping; found {brief(values)}")
        known = parameters(owner, skip)
        texts = _texts_of(owner)
        found = {}
        for name, value in values.items():
            if not isinstance(name, str) or not name.isidentifier() or not {name, _MORE} & known.keys():
                nearest = did_you_mean(str(name)[:80], known.keys() - {_MORE})
                raise SchemaError(f"{where or 'options'}: there is no {brief(name)}; {nearest}")
            place, hint = f"{where}.{name}" if where else name, known.get(name, _EMPTY)
            if not is_output(hint):
                found[name] = self.value(value, hint, place, texts)
            elif texts is not Texts.ALL and value is not None:
                raise SchemaError(f"{place}: must be given by yourself; found {brief(value)}")
        return found

    def value(self, value: Any, hint: Any, where: str, texts: Texts = Texts.ALL) -> Any:
        """A checked value; see `arguments`."""
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self.value(value, args[0], where, texts)
        if origin in (Union, types.UnionType):
            return self._union(value, args, where, texts)
        if hint is None or hint is type(None):
            return _expect(value is None, value, "null", where, None)
        if origin is Literal:
            fits = any(type(value) is type(choice) and value == choice for choice in args)
            return _expect(fits, value, " or ".join(map(repr, args)), where, value)
        if hint in (Any, object, _EMPTY) or isinstance(hint, typing.TypeVar):
            # with classes the values go to a parser, which reads a text without a type as YAML
            return _untyped(value, where, Texts.WORDS if self.classes and texts is Texts.ALL else texts)
        if type(value) is int and abs(value) >= _HUGE:
            raise SchemaError(f"{where}: must be less; found {brief(value)}")
        if hint is float:
            return _expect(type(value) in (int, float), value, "a number", where, value)
        if hint in (bool, int):
            return _expect(type(value) is hint, value, hint.__name__, where, value)
        if hint is str:
            return self._checked_text(value, where, texts)
        if origin in (dict, Mapping) or hint is dict:
            return self._mapping(value, args or (str, Any), where, texts)
        if origin is tuple or origin in (list, set, Sequence, Iterable) or hint in (list, tuple):
            return self._sequence(value, origin or hint, args, where, texts)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            options = value if value.__class__ is not hint else vars(value)
            checked = self.arguments(hint, options, where)
            return hint(**checked) if self.build else checked
        return self._instance(value, hint, where)

    def _checked_text(self, value: Any, where: str, texts: Texts) -> str:
        text = _text(value, where, texts)
        if self.classes and _YAML.match(text):  # the parser would make a list or a mapping of it
            raise SchemaError(f"{where}: must be given by yourself; found {brief(value)}")
        return text

    def _union(self, value: Any, args: tuple[Any, ...], where: str, texts: Texts) -> Any:
        if type(value) is str and any(is_object(arg) for arg in args):
            return _expect(value in self.words, value, "given by yourself", where, value)
        reasons = []
        for arg in args:
            try:
                return self.value(value, arg, where, texts)
            except SchemaError as error:
                if arg is not type(None):
                    reasons.append(error)
        # of several the one that was found deepest inside of the value
        raise max(reasons, key=lambda error: len(str(error).partition(": ")[0]))

    def _mapping(self, value: Any, args: tuple[Any, ...], where: str, texts: Texts) -> dict[Any, Any]:
        _expect(isinstance(value, Mapping), value, "a mapping", where, None)
        if args[1] in (int, float):  # numbers are harmless under any name, such as that of a class
            names = all(type(key) is str and key not in _OF_OBJECTS for key in value)
            _expect(names, value, "numbers by their names", where, None)
        else:
            _untyped_keys(value, where)
        return {key: self.value(item, args[1], f"{where}.{key}", texts) for key, item in value.items()}

    def _sequence(self, value: Any, origin: Any, args: tuple[Any, ...], where: str, texts: Texts) -> list[Any]:
        _expect(isinstance(value, (list, tuple)), value, "a list", where, None)
        if origin is tuple and args and args[-1] is not ...:
            _expect(len(value) == len(args), value, f"{len(args)} values", where, None)
            hints = list(args)
        else:
            hints = [args[0] if args else Any] * len(value)
        pairs = enumerate(zip(value, hints, strict=True))
        return [self.value(item, hint, f"{where}[{index}]", texts) for index, (item, hint) in pairs]

    def _instance(self, value: Any, hint: Any, where: str) -> Any:
        """Of a class, or of what a callable returns: a loaded class by its name, with plain arguments."""
        base, skip = hint, 0
        if get_origin(hint) is Callable:
            called, base = get_args(hint) or (None, None)
            skip = len(called) if isinstance(called, list) else 0
        bases = tuple(b for b in (get_args(base) if get_origin(base) else (base,)) if isinstance(b, type))
        if not bases or not self.classes:
            raise SchemaError(f"{where}: must be given by yourself; found {brief(value)}")
        spec = {"class_path": value} if isinstance(value, str) else value
        if not isinstance(spec, Mapping) or "class_path" not in spec or spec.keys() - {"class_path", "init_args"}:
            raise SchemaError(f"{where}: must be the name of a class, with its options; found {brief(value)}")
        found = loaded_class(spec["class_path"], bases, where)
        if not issubclass(found, self.classes):
            raise SchemaError(f"{where}: must be given by yourself; found {brief(value)}")
        options = spec.get("init_args")
        options = self.arguments(found, {} if options is None else options, where, skip)
        return {"class_path": import_path(found), "init_args": options}


def check_like(found: Any, reference: Any, where: str) -> None:
    """Raises a `SchemaError` where saved state has other types than an object's own state, or negative counts.

    Args:
        found: plain types from a file.
        reference: the state that the object has now; `None` stands for anything.
        where: the name of the whole, for the message.
    """
    if isinstance(reference, Mapping):
        _expect(isinstance(found, Mapping), found, "a mapping", where, None)
        for name in reference.keys() & found.keys():
            check_like(found[name], reference[name], f"{where}.{name}")
    elif isinstance(reference, bool):
        _expect(type(found) is bool, found, "true or false", where, None)
    elif isinstance(reference, int):
        _expect(type(found) is int and 0 <= found < 2**53, found, "a count", where, None)


def parameters(owner: Callable[..., Any], skip: int = 0, required: bool = False) -> dict[str, Any]:
    """Names and annotations of the parameters of a function, or of a class and of what its `**options` go to.

    Those of foreign classes may go anywhere: the name `**` stands for them.

    Args:
        owner: the function or class.
        skip: leading ones to leave out.
        required: whether to leave out those that have a default.
    """
    found: dict[str, Any] = {}
    constructors = (
        [vars(c)["__init__"] for c in owner.__mro__ if "__init__" in vars(c)] if isinstance(owner, type) else [owner]
    )
    for function in constructors:
        named = list(inspect.signature(function).parameters.values())
        hints = _hints(function)
        own = [p for p in named[isinstance(owner, type) :] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        own = [p for p in own if not required or p.default is _EMPTY]
        found = {p.name: hints.get(p.name, _EMPTY) for p in own} | found
        if not any(p.kind is p.VAR_KEYWORD for p in named):
            break
        if _texts_of(owner) is Texts.METRICS:
            found[_MORE] = _EMPTY
    return dict(list(found.items())[skip:]) if skip else found


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}


def loaded_class(name: Any, bases: tuple[type, ...], where: str) -> type:
    """The subclass of `bases` with this name, short or full, among those that are loaded; nothing is imported.

    Raises:
        SchemaError: there is none, or several have the short name.
    """
    named = [c for base in bases for c in (base, *subclasses(base)) if name in (c.__name__, *_paths(c))]
    # of several with one name, such as those of a module that was reloaded, the one that the name stands for now
    found = {c for c in named if _attribute(c.__module__, c.__name__) is c} or set(named)
    if len(found) != 1:
        kind = " or ".join(base.__name__ for base in bases)
        raise SchemaError(f"{where}: {brief(name)} is no {kind} that is loaded")
    return found.pop()


def import_path(cls: type) -> str:
    """The name by which a parser finds a loaded class."""
    return f"{cls.__module__}.{cls.__name__ if _attribute(cls.__module__, cls.__name__) is cls else cls.__qualname__}"


def _paths(cls: type) -> Iterator[str]:
    """Import paths of a class: its own, and shorter ones under which its package offers it, such as `torch.optim.SGD`."""
    parts = cls.__module__.split(".")
    for end in range(len(parts), 0, -1):
        yield f"{'.'.join(parts[:end])}.{cls.__name__}"


def _attribute(module: str, name: str) -> Any:
    """Attribute of a loaded module, without letting it import more."""
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


def subclasses(cls: type) -> set[type]:
    """All loaded subclasses of a class, at any depth."""
    found: set[type] = set(type.__subclasses__(cls))
    return found.union(*map(subclasses, found))


def is_output(hint: Any) -> bool:
    """True for the annotation of a parameter that names a place to write to: an `OutputPath`, or what may be a `Path` in foreign signatures."""
    if get_origin(hint) is Annotated:
        return OUTPUT in get_args(hint)[1:] or is_output(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return any(map(is_output, get_args(hint)))
    return hint is Path


def is_object(hint: Any) -> bool:
    """True for the annotation of a parameter that takes objects, such as optimizers, which no plain value can be."""
    if get_origin(hint) is not None:
        return get_origin(hint) is Callable or any(map(is_object, get_args(hint)))
    plain = (*_SCALARS, type(None), list, dict, tuple, object, Any, timedelta)
    return isinstance(hint, type) and hint not in plain and not dataclasses.is_dataclass(hint)


def _texts_of(owner: Callable[..., Any]) -> Texts:
    if owner is Trainer:
        return Texts.WORDS
    own = dataclasses.is_dataclass(owner) or owner.__module__.startswith("project.")
    is_plug_in = isinstance(owner, type) and issubclass(owner, (LightningModule, LightningDataModule))
    return Texts.ALL if own or is_plug_in else Texts.METRICS


def _text(value: Any, where: str, texts: Texts) -> str:
    _expect(type(value) is str, value, "a text", where, None)
    _expect("\0" not in value, value, "a text without NUL", where, None)
    if texts is Texts.WORDS and not _WORD.fullmatch(value):
        raise SchemaError(f"{where}: must be given by yourself; found {brief(value)}")
    name = where.rpartition(".")[2]
    if texts is Texts.METRICS and not (name in ("monitor", "mode") and _METRIC.fullmatch(value)):
        raise SchemaError(f"{where}: must be given by yourself; found {brief(value)}")
    return value


def _untyped(value: Any, where: str, texts: Texts) -> Any:
    """A value of a parameter without a type: numbers, words, and lists and mappings of them."""
    if type(value) is int and abs(value) >= _HUGE:
        raise SchemaError(f"{where}: must be less; found {brief(value)}")
    if value is None or type(value) in _SCALARS:
        return _text(value, where, texts) if type(value) is str else value
    if isinstance(value, (list, tuple)):
        return [_untyped(item, f"{where}[{index}]", texts) for index, item in enumerate(value)]
    _expect(isinstance(value, Mapping), value, "a plain value", where, None)
    _untyped_keys(value, where)
    return {key: _untyped(item, f"{where}.{key}", texts) for key, item in value.items()}


def _untyped_keys(value: Mapping[Any, Any], where: str) -> None:
    for key in value:
        if not (type(key) is str and key.isidentifier()) or key in _OF_OBJECTS:
            raise SchemaError(f"{where}: {brief(key)} cannot be the name of an option")


def _expect(fits: bool, value: Any, kind: str, where: str, result: Any) -> Any:
    if not fits:
        raise SchemaError(f"{where}: must be {kind}; found {brief(value)}")
    return result


def brief(value: Any) -> str:
    """A value for a message: shortened, and not walked through where it is large."""
    if type(value) in (bool, int, float, str, type(None)):
        if type(value) is str:
            return repr(value[:80])
        return repr(value) if type(value) is not int or abs(value) < 10**30 else "a huge number"
    return f"a {type(value).__name__}"
