"""Values from files against signatures: what fits is kept as it is, and nothing is parsed, imported or called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch.optim import SGD, Optimizer

from project.data import ImageFolder
from project.files import OutputPath
from project.runs.schema import Schema, SchemaError, brief, check_like, is_object, loaded_class, parameters
from project.tasks import Captioner, Distiller

HOSTILE = '{"class_path": "os\\u002esystem", "init_args": {"command": "x"}}'


@dataclass(frozen=True)
class Size:
    side: int = 1
    name: str = ""


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, int), (3, float), (0.5, float), (True, bool), ("x", str), (HOSTILE, str), (None, int | None), ([1, 2], list[int]),
        (["a"], Sequence[str]), ({"a": 1}, dict[str, int]), ("a", Literal["a", "b"]), ([1, "a"], tuple[int, str]),
        ({"side": 3}, Size), ({"width": 4, "stem": "small", "depths": [1, 2]}, dict[str, Any]), (1, int | float),
        ("os.system", str | list[str]), ([1.5, 2], tuple[float, ...]), ({}, Any),
    ],
)  # fmt: skip
def test_value_that_fits_is_kept(value, hint):
    assert Schema().value(value, hint, "x") == value
    assert type(Schema().value(value, hint, "x")) is type(value)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int, "x: must be int"), (1, bool, "x: must be bool"), ("3", int, "x: must be int"), ("3", float, "a number"),
        (None, str, "a text"), (1, Literal["1"], "must be '1'"), (True, Literal[1], "must be 1"), ("ab", list[str], "a list"),
        ([1, "a"], list[int], r"x\[1\]: must be int"), ({"a": "b"}, dict[str, int], r"x\.a: must be int"),
        ([1], tuple[int, int], "2 values"), ({"sides": 1}, Size, "x: there is no 'sides'; did you mean 'side'"),
        ({"class_path": "os.system"}, Any, "'class_path' cannot be the name"), ({"class_path": "a"}, dict[str, Any], "class_path"),
        ({"a": {"init_args": 1}}, Any, "init_args"),
        ("a: b", dict[str, Any], "a mapping"), ({1: 2}, Any, "1 cannot be the name"), ({"a.b": 1}, Any, "a.b"),
        (b"x", str, "a text"), (object(), Any, "a plain value"), ({"a"}, Any, "a plain value"),
        ({"class_path": "torch.optim.SGD"}, Optimizer, "must be given by yourself"), ("os.system", Callable[[], int], "yourself"),
    ],
)  # fmt: skip
def test_value_that_does_not_fit_is_refused_by_its_place(value, hint, message):
    with pytest.raises(SchemaError, match=message):
        Schema().value(value, hint, "x")


def make(
    lr: Callable[[Iterable], Optimizer], names: list[str], cache_dir: OutputPath | None = None, *, size: Size = Size()
):
    """A signature with one of each kind."""


make.__module__ = "project.made"  # foreign signatures take no texts


def test_arguments_are_checked_built_and_cannot_name_places_to_write():
    given = {"names": ["a"], "cache_dir": "/etc", "size": {"side": 2}}
    assert Schema().arguments(make, given) == {"names": ["a"], "size": {"side": 2}}
    assert Schema(build=True).arguments(make, given) == {"names": ["a"], "size": Size(2)}
    for wrong in ({"name": []}, {"names": [], "callbacks+": 1}, {1: 2}, [], "names"):
        with pytest.raises(SchemaError, match=r"there is no |must be a mapping"):
            Schema().arguments(make, wrong)


def test_numbers_stand_under_any_name_and_all_else_under_those_of_options():
    weights = {"hot dog": 2.0, "0": 1, "": 0.5}
    assert Schema().value(weights, dict[str, float], "x") == weights
    for wrong in ({"cat": "2"}, {0: 1.0}, {"class_path": 1.0}):
        with pytest.raises(SchemaError):
            Schema().value(wrong, dict[str, float], "x")
    for hint in (dict[str, Any], dict[str, str]):
        with pytest.raises(SchemaError, match="cannot be the name of an option"):
            Schema().value({"hot dog": "a"}, hint, "x")


def test_parameters_follow_options_that_are_passed_on():
    assert {"root", "test_fraction", "batch_size", "cache_dir"} <= parameters(ImageFolder).keys()
    assert set(parameters(Distiller, required=True)) == {"class_names", "image_size", "teacher"}
    assert {"backbone", "label_smoothing", "teacher_decay"} <= parameters(Distiller).keys()
    assert set(parameters(Captioner, required=True)) == {"vocabulary", "max_words", "image_size"}
    assert "self" not in parameters(SGD)


def test_loaded_class_finds_short_and_full_names_and_imports_nothing():
    known = ["torch.optim.sgd.SGD", "torch.optim.SGD", "SGD"]
    assert all(loaded_class(name, (Optimizer,), "x") is SGD for name in known)
    for name in ("antigravity.fly", "os.system", "LambdaCallback", "", None, ["SGD"], "torch.optim"):
        with pytest.raises(SchemaError, match="no Optimizer that is loaded"):
            loaded_class(name, (Optimizer,), "x")
    assert "antigravity" not in sys.modules


RESTORING = Schema((Optimizer, Callback, DDPStrategy), frozenset({"ddp", "auto"}))


def test_class_with_plain_arguments_is_restored_by_its_full_name():
    spec = {"class_path": "SGD", "init_args": {"lr": 0.1, "nesterov": True, "momentum": 0.9}}
    found = RESTORING.value(spec, Callable[[Iterable], Optimizer], "model.optimizer")
    assert found == {"class_path": "torch.optim.sgd.SGD", "init_args": spec["init_args"]}
    monitor = {"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "step"}}
    (found,) = RESTORING.value([monitor], parameters(Trainer)["callbacks"], "trainer.callbacks")
    assert found == {
        "class_path": f"{LearningRateMonitor.__module__}.LearningRateMonitor",
        "init_args": monitor["init_args"],
    }
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 3}}
    assert (
        RESTORING.value([stopping], parameters(Trainer)["callbacks"], "trainer.callbacks")[0]["init_args"]["patience"]
        == 3
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callbacks", [{"class_path": "LambdaCallback", "init_args": {"on_fit_start": "os.getcwd"}}]),
        ("callbacks", [{"class_path": "ModelCheckpoint", "init_args": {"dirpath": "x"}}]),
        ("callbacks", [{"class_path": "ModelCheckpoint", "init_args": {"filename": "../x"}}]),
        ("callbacks", [{"class_path": "ModelCheckpoint", "dict_kwargs": {"dirpath": "x"}}]),
        ("callbacks", [{"class_path": "os.system"}]),
        ("callbacks", ["evil.Evil"]),
        ("callbacks", HOSTILE),
        ("logger", {"class_path": "CSVLogger", "init_args": {"save_dir": "x"}}),
        ("logger", "CSVLogger"),
        ("profiler", "simple"),
        ("strategy", HOSTILE),
        ("strategy", "a-file"),
        ("plugins", ["evil"]),
        ("gradient_clip_algorithm", "a/b"),
        ("default_root_dir", "/etc"),
        ("callbacks+", []),
    ],
)
def test_trainer_option_that_calls_writes_or_imports_is_refused(name, value):
    with pytest.raises(SchemaError):
        RESTORING.arguments(Trainer, {name: value}, "trainer")


@pytest.mark.parametrize(
    ("name", "value"),
    [("strategy", "ddp"), ("devices", 2), ("devices", "auto"), ("limit_train_batches", 1), ("limit_train_batches", 0.5),
     ("max_time", "00:12:00:00"), ("callbacks", None), ("callbacks", [{"class_path": "ModelCheckpoint"}]), ("logger", False),
     ("strategy", {"class_path": "DDPStrategy", "init_args": {"static_graph": True}}), ("default_root_dir", None)],
)  # fmt: skip
def test_trainer_option_that_is_plain_is_restored(name, value):
    found = RESTORING.arguments(Trainer, {name: value}, "trainer")
    if isinstance(value, (str, int)):
        assert found == {name: value}


def test_objects_are_told_from_plain_values():
    assert is_object(Callable[[], int])
    assert is_object(ModelCheckpoint | None)
    assert is_object(list[Callback])
    for hint in (
        int,
        str | None,
        list[str],
        dict[str, Any],
        Size,
        list[Size],
        Literal["a"],
        Any,
        dict[str, Any] | None,
    ):
        assert not is_object(hint)
    assert is_object(Path)


def test_text_without_a_type_is_kept_from_the_parser():
    assert Schema().value({"a": HOSTILE}, Any, "x") == {"a": HOSTILE}  # a constructor takes it as it is
    for value in (HOSTILE, "a: b", "[a]", "!!python/name:os.system", "*a", "&a b", "a/b", "a\nb"):
        with pytest.raises(SchemaError, match=r"x.a: must be given by yourself"):
            RESTORING.value({"a": value}, Any, "x")
    assert RESTORING.value({"a": "small"}, dict[str, Any], "x") == {"a": "small"}


def test_state_is_compared_with_the_one_that_an_object_has():
    own = {"current": {"ready": 3, "done": True}, "other": None, "more": {}}
    check_like({"current": {"ready": 7, "done": False, "new": 1}, "other": "x", "more": {"a": 1}}, own, "loops")
    for wrong, place in (
        ({"current": 1, "other": 0, "more": {}}, "loops.current"), (None, "loops"),
        ({"current": {"ready": "7", "done": True}, "other": 0, "more": {}}, "loops.current.ready"),
        ({"current": {"ready": -1, "done": True}, "other": 0, "more": {}}, "loops.current.ready"),
        ({"current": {"ready": True, "done": True}, "other": 0, "more": {}}, "loops.current.ready"),
        ({"current": {"ready": 1, "done": 1}, "other": 0, "more": {}}, "loops.current.done"),
    ):  # fmt: skip
        with pytest.raises(SchemaError, match=f"^{place}: "):
            check_like(wrong, own, "loops")


def test_brief_neither_walks_through_large_values_nor_shows_them_whole():
    loop: list = []
    loop.append(loop)
    assert brief(loop) == "a list"
    assert brief("x" * 10**6) == repr("x" * 80)
    assert brief(10**5000) == "a huge number"
    assert brief("\x1b[31m\n") == r"'\x1b[31m\n'"
