"""A term as YAML writes it: parsed, refused, and warmed up."""

from __future__ import annotations

import dataclasses

import pytest
from jsonargparse import ArgumentParser

from project.errors import ConfigError
from project.losses.distillation import LOSSES, LossTerm


def test_a_list_of_terms_is_read_from_yaml(tmp_path):
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--losses", type=list[LossTerm])
    path = tmp_path / "c.yaml"
    path.write_text(
        "losses:\n- {name: kd, weight: 1, options: {temperature: 2}}\n- name: at\n  warmup_epochs: 5\n"
        "  options: {student_stages: [a, b]}\n"
    )
    config = parser.parse_args([f"--config={path}"])
    assert parser.instantiate(config).losses == [
        LossTerm("kd", 1.0, {"temperature": 2}),
        LossTerm("at", None, {"student_stages": ["a", "b"]}, 5),
    ]


def test_a_term_is_plain_data():
    term = LossTerm("dkd", options={"beta": 2.0}, warmup_epochs=20)
    assert LossTerm(**dataclasses.asdict(term)) == term
    assert LossTerm("kd", options=None) == LossTerm("kd")  # what an empty `options:` is
    with pytest.raises(dataclasses.FrozenInstanceError):
        term.weight = 2


def test_the_weight_is_the_published_one_unless_given():
    assert LossTerm("at").weight_at(0) == 1000
    assert LossTerm("at", 3.0).weight_at(7.5) == 3
    assert LossTerm("at", 0).weight_at(1) == 0


def test_the_weight_rises_linearly():
    term = LossTerm("dkd", 2.0, warmup_epochs=20)
    assert [term.weight_at(epoch) for epoch in (0, 0.5, 10, 20, 100)] == [0, 0.05, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dkdd"}, r"^model\.losses: there is no 'dkdd'; did you mean 'dkd'\?$"),
        ({"name": "ofd?!"}, r"^model\.losses: there is no 'ofd\?!'; there are 14, among them at, cc, "),
        ({"name": "kd", "weight": -1}, r"^model\.losses\.kd\.weight: must be at least 0; got -1$"),
        ({"name": "kd", "weight": float("nan")}, r"weight: must be at least 0; got nan$"),
        ({"name": "kd", "warmup_epochs": -2}, r"^model\.losses\.kd\.warmup_epochs: must be at least 0; got -2$"),
        ({"name": "kd", "options": {"temperature": 0}}, r"^model\.losses\.kd\.options\.temperature: must be above 0"),
        ({"name": "kd", "options": {"x": 0}}, r"^model\.losses\.kd\.options: kd takes no 'x'; "),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message):
        LossTerm(**arguments)


def test_the_docstring_names_every_loss():
    for name in LOSSES:
        assert f"{name}," in LossTerm.__doc__ or f"{name} " in LossTerm.__doc__ or f"{name}." in LossTerm.__doc__
