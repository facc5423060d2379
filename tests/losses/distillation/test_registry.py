"""What losses are called, given and set by, read from their own signatures."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from project.errors import ConfigError
from project.losses.distillation import registry
from project.losses.distillation.registry import INPUTS, LOSSES, SIZES, Published, check_options
from project.losses.kd import kd


def test_the_published_weights():
    assert {name: published.weight for name, published in LOSSES.items()} == {
        "kd": 0.9,
        "lskd": 9,
        "dkd": 1,
        "dist": 2,
        "fitnets": 100,
        "at": 1000,
        "sp": 3000,
        "cc": 0.02,
        "rkd": 1,
        "pkt": 30_000,
        "vid": 1,
        "review_kd": 1,
        "simkd": 1,
        "crd": 0.8,
    }


def test_the_published_options():
    assert LOSSES["kd"].options == {"temperature": 4, "standardize": False}
    assert LOSSES["lskd"].options == {"temperature": 2, "standardize": True}
    assert LOSSES["dkd"].options == {"temperature": 4, "alpha": 1, "beta": 8, "standardize": False}
    assert LOSSES["rkd"].options == {"distance": 25, "angle": 50}
    assert LOSSES["crd"].options == {"size": 128, "negatives": 16384, "temperature": 0.07, "momentum": 0.5}
    assert LOSSES["fitnets"].options == {"student_stage": None, "teacher_stage": None}
    assert LOSSES["review_kd"].options == {"channels": 512, "student_stages": None, "teacher_stages": None}


@pytest.mark.parametrize("name", LOSSES)
def test_every_parameter_is_given_or_has_a_default(name):
    published = LOSSES[name]
    takes = published.build.forward if inspect.isclass(published.build) else published.build
    assert published.inputs[0].startswith("student_")
    assert published.inputs[1].startswith("teacher_")
    for parameter in inspect.signature(takes).parameters.values():
        assert parameter.name in (*INPUTS, "self") or parameter.default is not parameter.empty
    for parameter in published.parameters.values():
        assert parameter.name in (*INPUTS, *SIZES) or parameter.default is not parameter.empty


def test_a_function_and_a_module_are_made_with_their_options():
    student, teacher = torch.randn(2, 3, 4)
    made = LOSSES["kd"].made({}, {"temperature": 2.0})
    assert made(student, teacher) == kd(student, teacher, 2.0)
    assert made(student, teacher) != kd(student, teacher)
    module = LOSSES["vid"].made({"student_shape": (2, 1, 1), "teacher_shape": (3, 1, 1)}, {})
    assert isinstance(module, nn.Module)


def test_a_new_loss_is_one_line(monkeypatch):
    def mine(student_logits: Tensor, teacher_features: Tensor, labels: Tensor, power: float = 2.0) -> Tensor:
        return (student_logits - teacher_features).abs().pow(power).sum(1)[labels].mean()

    monkeypatch.setitem(registry.LOSSES, "mine", Published(mine, 3.0))
    given = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2), torch.tensor([0, 0])
    assert LOSSES["mine"].made({}, {})(*given) == 10
    assert LOSSES["mine"].made({}, {"power": 1})(*given) == 4
    assert LOSSES["mine"].inputs == ["student_logits", "teacher_features", "labels"]
    assert LOSSES["mine"].options == {"power": 2.0}
    check_options("mine", {"power": 1})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "kd",
            {"temprature": 4},
            r"^model\.losses\.kd\.options: kd takes no 'temprature'; did you mean 'temperature'\?$",
        ),
        ("pkt", {"alpha": 4}, r"^model\.losses\.pkt\.options: pkt takes no 'alpha'; there is none\.$"),
        ("sp", {"student_stages": ["a"]}, r"sp takes no 'student_stages'; did you mean 'student_stage'\?$"),
        ("kd", {"temperature": 0}, r"^model\.losses\.kd\.options\.temperature: must be above 0; got 0$"),
        ("dist", {"temperature": -1.5}, r"dist\.options\.temperature: must be above 0; got -1\.5$"),
        ("kd", {"temperature": float("nan")}, r"temperature: must be above 0; got nan$"),
        ("kd", {"temperature": "hot"}, r"temperature: must be a number; got 'hot'$"),
        ("kd", {"temperature": True}, r"temperature: must be a number; got True$"),
        ("kd", {"temperature": None}, r"temperature: must be a number; got None$"),
        ("kd", {"standardize": 1}, r"standardize: must be true or false; got 1$"),
        ("dkd", {"beta": -1}, r"beta: must be at least 0; got -1$"),
        ("rkd", {"angle": float("inf")}, r"angle: must be at least 0; got inf$"),
        ("crd", {"negatives": 0}, r"negatives: must be at least 1; got 0$"),
        ("crd", {"size": 1.5}, r"size: must be a whole number; got 1\.5$"),
        ("crd", {"momentum": 2}, r"momentum: must be in 0\.\.1; got 2$"),
        ("fitnets", {"student_stage": ["a"]}, r"student_stage: must be the name of a stage; got \['a'\]$"),
        ("at", {"student_stages": "a"}, r"student_stages: must be a list of stages; got 'a'$"),
        ("at", {"student_stages": []}, r"student_stages: must be a list of stages; got \[\]$"),
    ],
)
def test_mistakes_are_one_line(name, options, message):
    with pytest.raises(ConfigError, match=message):
        check_options(name, options)


def test_what_can_be_set():
    check_options("kd", {"temperature": 1, "standardize": True})
    check_options("crd", {"momentum": 0, "negatives": 5})
    check_options("at", {"student_stages": ("a", "b"), "teacher_stages": None})
    check_options("sp", {"student_stage": "features"})
