"""The first look at the arguments."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from project.cli.arguments import Arguments
from project.cli.parser import FACTS, build_parser
from project.errors import ConfigError


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("name: a\nckpt_path: last\ntrainer: {default_root_dir: here}\n")
    (tmp_path / "b.yaml").write_text("name: b\ntrainer: {max_epochs: 3}\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")


@pytest.mark.usefixtures("files")
def test_configurations_come_first_in_their_order():
    given = Arguments("fit", ["--seed", "1", "--config", "a.yaml", "--name=x", "-c", "b.yaml", "--config=empty.yaml"])
    texts = [f"--config={Path(name).read_text(encoding='utf-8')}" for name in ("a.yaml", "b.yaml")]  # not the empty one
    assert given.ordered == [*texts, "--seed", "1", "--name=x"]


def test_arguments_config_in_another_locale_reads_utf8(tmp_path):
    text = "# für\nname: größer × 2\nmodel: {a: &a [1e-3, '1'], b: *a, c: !!str 2}\n"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    code = "from project.cli.arguments import Arguments; print(ascii(Arguments('fit', ['-c', 'c.yaml']).ordered))"
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    (config,) = ast.literal_eval(done.stdout)
    assert config.startswith("--config=")
    assert config.isascii()
    assert yaml.safe_load(config.removeprefix("--config=")) == yaml.safe_load(text)
    assert "1e-3" in config, "a number to jsonargparse, and a text to PyYAML"


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ("-c a.yaml -c b.yaml", "name", "b"),
        ("-c b.yaml -c a.yaml", "name", "a"),
        ("--name x -c b.yaml", "name", "x"),
        ("--name x --name=y", "name", "y"),
        ("-c a.yaml -c b.yaml", "trainer.default_root_dir", "here"),
        ("-c a.yaml", "ckpt_path", "last"),
        ("-c a.yaml --ckpt_path null", "ckpt_path", None),
        ("-c empty.yaml", "name", None),
    ],
)
def test_the_last_value_of_an_option(arguments, name, value):
    assert Arguments("fit", arguments.split()).last(name) == value


LINKS = build_parser("fit", FACTS).links


@pytest.mark.parametrize("option", LINKS)
@pytest.mark.parametrize("form", ["option", "init_args", "equals", "config", "short config", "section"])
def test_linked_option_given_by_hand_is_refused(option, form):
    section, name = option.split(".")
    arguments = {
        "option": [f"--{option}", "3"],
        "init_args": [f"--{section}.init_args.{name}", "3"],
        "equals": [f"--{option}=3"],
        "config": ["--config", json.dumps({section: {"class_path": "X", "init_args": {name: 3}}})],
        "short config": ["--config", json.dumps({section: {name: 3}})],
        "section": [f"--{section}", json.dumps({"class_path": "X", "init_args": {name: 3}})],
    }[form]
    with pytest.raises(ConfigError, match=f"^{option}: follows .*leave it out$"):
        Arguments("fit", arguments).check_links(LINKS)


@pytest.mark.parametrize(
    ("option", "end"),
    [
        ("data.seed", "follows --seed; set that, and leave it out"),
        ("model.image_size", "follows --data.image_size; set that, and leave it out"),
        ("model.center_crop", "follows --data.center_crop; set that, and leave it out"),
        ("model.max_words", "follows --data.max_words; set that, and leave it out"),
        ("model.vocabulary", "follows from the data; leave it out"),
    ],
)
def test_linked_option_names_what_to_set(option, end):
    with pytest.raises(ConfigError) as error:
        Arguments("fit", [f"--{option}=3"]).check_links(LINKS)
    assert str(error.value) == f"{option}: {end}"


def test_class_names_at_any_depth_are_found_and_other_texts_are_not(tmp_path):
    (tmp_path / "c.yaml").write_text("trainer: {callbacks: [{class_path: my.Own, init_args: {rate: 3}}]}\n")
    inline = ["--trainer.plugins", '[{"class_path": "my.Plugin"}]', "--model", "my.Task", "--name={half",
              "--ckpt_path", "evil.ckpt", "--data.root", "a.b", "--model.optimizer", "my.Optimizer"]  # fmt: skip
    found = Arguments("fit", ["-c", str(tmp_path / "c.yaml"), *inline]).class_names
    assert found == {"my.Own", "my.Plugin", "my.Task", "my.Optimizer"}


@pytest.mark.parametrize(
    ("arguments", "name", "gives"),
    [
        (["--trainer.callbacks", "[A]"], "trainer.callbacks", True),
        (["--model.optimizer.lr", "1"], "model.optimizer", False),
        (["--config", '{"model": {"init_args": {"optimizer": {"class_path": "SGD"}}}}'], "model.optimizer", True),
        (["--config", '{"model": {"init_args": {"optimizer": {"init_args": {"lr": 1}}}}}'], "model.optimizer", False),
        (["--config", '{"trainer": {"callbacks": [{"class_path": "A"}]}}'], "trainer.callbacks", True),
        (["--config", '{"data": {"class_path": "A"}}'], "data", True),
        (["--config", '{"data": {"init_args": {"root": "A"}}}'], "data", False),
        ([], "data", False),
    ],
)
def test_gives_only_what_replaces_a_whole_option(arguments, name, gives):
    assert Arguments("fit", arguments).gives(name) is gives


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data.predict", "a.png", "--seed", "1"], ["--data.predict", "a.png", "--seed", "1"]),
        (["--data.predict", "a b.png", "c.png", "--seed", "1"], ["--data.predict=[a b.png, c.png]", "--seed", "1"]),
        (["--data.predict=a.png", "b: c.png"], ["--data.predict=[a.png, 'b: c.png']"]),
        (["--data.predict=a.png", "--seed", "1"], ["--data.predict=a.png", "--seed", "1"]),
        (["--data.predict"], ["--data.predict"]),
    ],
)
def test_arguments_several_files_become_a_list(arguments, expected):
    assert Arguments("predict", arguments).ordered == expected
