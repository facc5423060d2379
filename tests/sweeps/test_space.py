"""Spaces: what they allow, what they become on the command line, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

from project.errors import ConfigError
from project.sweeps.space import as_arguments, read_space


@pytest.fixture
def read(tmp_path):
    """Reads a space from its text."""

    def from_text(text: str, given: tuple[str, ...] = ()):
        (tmp_path / "s.yaml").write_text(text)
        return read_space(tmp_path / "s.yaml", given)

    return from_text


def test_each_kind_of_values(read):
    space = read("""
        model.optimizer: {choices: [SGD, AdamW]}
        model.optimizer.lr: {low: 1e-4, high: 1, log: true}
        model.label_smoothing: {low: 0, high: 0.2, step: 0.05}
        data.batch_size: {low: 16, high: 64, step: 16}
        data.augment.shift: {low: 0, high: 2}
        data.augment.flip: {choices: [true, false, alternate, null, 3, [1, 2]]}
    """)
    assert space.distributions == {
        "model.optimizer": CategoricalDistribution(["SGD", "AdamW"]),
        "model.optimizer.lr": FloatDistribution(0.0001, 1.0, log=True),
        "model.label_smoothing": FloatDistribution(0.0, 0.2, step=0.05),
        "data.batch_size": IntDistribution(16, 64, step=16),
        "data.augment.shift": IntDistribution(0, 2),
        "data.augment.flip": CategoricalDistribution(["true", "false", "alternate", "null", "3", "[1, 2]"]),
    }
    assert list(space.distributions)[:2] == ["model.optimizer", "model.optimizer.lr"]  # a class before its options
    assert isinstance(space.pruner, MedianPruner)


def test_the_command_line_has_every_digit():
    sample = {"a.lr": 0.1 + 0.2, "a.small": 1e-05, "a.n": 3, "a.optimizer": "SGD", "a.negative": -1.5}
    arguments = as_arguments(sample)
    assert arguments == ["--a.lr=0.30000000000000004", "--a.small=1e-05", "--a.n=3", "--a.optimizer=SGD", "--a.negative=-1.5"]  # fmt: skip


def test_examples_meet_every_choice_and_both_ends(read):
    space = read("{a.x: {low: 1, high: 5}, a.y: {choices: [p, q, r]}}")
    assert list(space.examples()) == [
        {"a.x": 1, "a.y": "p"},
        {"a.x": 5, "a.y": "p"},
        {"a.x": 1, "a.y": "q"},
        {"a.x": 1, "a.y": "r"},
    ]


def test_spaces_are_the_same_when_they_choose_from_the_same(read):
    first = read("{a.x: {low: 1, high: 5}, pruner: NopPruner}")
    assert first.plain() == read("a.x: {high: 5, low: 1}").plain()
    assert first.plain() != read("a.x: {high: 5.0, low: 1}").plain()


def test_pruners_by_name(read):
    assert isinstance(read("{a.x: {low: 1, high: 5}, pruner: NopPruner}").pruner, NopPruner)
    chosen = "{class_path: HyperbandPruner, init_args: {min_resource: 3}}"
    pruner = read(f"{{a.x: {{low: 1, high: 5}}, pruner: {chosen}}}").pruner
    assert isinstance(pruner, HyperbandPruner)
    assert pruner._min_resource == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.x: {low: 2, high: 1}", "a.x: low 2 is not below high 1"),
        ("a.x: {low: 1}", "a.x: needs both low and high"),
        ("a.x: 3", "a.x: needs either low and high, or choices; got 3"),
        ("a.x: {low: 1, high: 2, choices: [1]}", "a.x: needs either low and high, or choices"),
        ("a.x: {low: one, high: 2}", "a.x: low: is a number; got 'one'"),
        ("a.x: {low: true, high: 2}", "a.x: low: is a number; got True"),
        ("a.x: {low: 1, high: .inf}", "a.x: high: is a number; got inf"),
        ("a.x: {low: 0, high: 2, log: true}", "a.x: log: needs a low above 0, and no step"),
        ("a.x: {low: 1, high: 2, log: true, step: 1}", "a.x: log: needs a low above 0, and no step"),
        ("a.x: {low: 1, high: 2, log: 1}", "a.x: log: is true or false; got 1"),
        ("a.x: {low: 0, high: 1, step: 0.3}", "a.x: step 0.3 does not lead from low 0 to high 1"),
        ("a.x: {low: 0, high: 1, step: -1}", "a.x: step -1 does not lead from low 0 to high 1"),
        ("a.x: {low: 0, hihg: 1}", "a.x: hihg: there is no such key; did you mean 'high'?"),
        ("a.x: {choices: [2020-01-01, 2020-01-02]}", "a.x: choices: 2020-01-01 is a date; put it in quotes"),
        ("a.x: {low: 0, high: 1, step: 1.0e-40}", "a.x: step 1e-40 does not lead from low 0 to high 1"),
        ("a.x: {choices: [1]}", "a.x: choices: needs a list of two or more different values; got [1]"),
        ("a.x: {choices: [1, '1']}", "a.x: choices: needs a list of two or more different values"),
        ("a.x: {choices: ab}", "a.x: choices: needs a list of two or more different values; got 'ab'"),
        ("name: {choices: [a, b]}", "name: is the same for all trials; leave it out"),
        ("seed: {low: 0, high: 3}", "seed: is the same for all trials; leave it out"),
        ("pruner: NopPruner", "names no option; add one"),
        ("{}", "names no option; add one"),
        ("- a", "needs options such as model.optimizer.lr"),
        ("a: [", "not valid YAML"),
        ("{a.x: {low: 1, high: 2}, pruner: MedianPrunner}", "there is no pruner 'MedianPrunner'; did you mean 'MedianPruner'?"),
        ("{a.x: {low: 1, high: 2}, pruner: {class_path: MedianPruner, init_args: {q: 1}}}", "pruner: MedianPruner: "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(read, tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert str(error.value).startswith(f"--space: {tmp_path / 's.yaml'}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", ["--model.optimizer.lr", "--model.optimizer.init_args.lr=3"])
def test_an_option_is_chosen_in_one_place(read, given):
    with pytest.raises(ConfigError, match="lr: stands on the command line, too"):
        read("model.optimizer.init_args.lr: {low: 1, high: 2}", ("--config", "c.yaml", given, "0.1"))
    assert read("model.optimizer.init_args.lr: {low: 1, high: 2}", ("--model.optimizer", "SGD")).distributions


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read .No such file"):
        read_space(tmp_path / "absent.yaml")


def test_the_example_can_be_read():
    space = read_space(Path(__file__).parents[2] / "configs" / "sweeps" / "digits.yaml")
    assert isinstance(space.distributions["model.optimizer.lr"], FloatDistribution)
