"""Options of the commands: help, version, completion, standing callbacks, short names."""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from project import __version__
from project.cli import main
from project.cli.parser import FACTS, VERBS, build_parser
from project.data.augmentation import Augmentation
from project.yaml_files import dump_yaml, load_yaml


def printed(capsys, *arguments: str) -> str:
    capsys.readouterr()
    status = 0
    try:
        main(list(arguments))
    except SystemExit as stop:
        status = stop.code or 0
    assert status == 0
    return capsys.readouterr().out


def test_version(capsys):
    assert printed(capsys, "--version") == f"project {__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), *[(verb, "--help") for verb in VERBS]])
def test_help_within_seconds(capsys, arguments):
    start = time.monotonic()
    text = printed(capsys, *arguments)
    assert time.monotonic() - start < 10
    expected = VERBS if not arguments or arguments == ("--help",) else ["--ckpt_path", "--seed", "--checkpoint.monitor"]
    for word in expected:
        assert word in text


@pytest.mark.parametrize("hint", [float | int | None, int | float | None], ids=str)
@pytest.mark.parametrize(("given", "kind"), [("1", int), ("1.0", float), ("0.5", float)])
def test_one_batch_is_not_all_of_them(capsys, monkeypatch, hint, given, kind):
    """`typing` gives the Trainer's union in the order in which any library asked for it first."""
    monkeypatch.setitem(Trainer.__init__.__annotations__, "limit_train_batches", hint)
    text = printed(capsys, "fit", "--trainer.limit_train_batches", given, "--print_config")
    found = yaml.safe_load(text)["trainer"]["limit_train_batches"]
    assert (type(found), found) == (kind, float(given))


def test_shell_completion_names_commands_and_options(capsys):
    text = printed(capsys, "--print_completion", "bash")
    for word in (*VERBS, "--trainer.max_epochs", "--ckpt_path"):
        assert word in text
    assert len(text) < 2_000_000  # a shell reads it at every start


def test_what_completion_needs_is_one_line(fails, monkeypatch):
    assert fails("--print_completion", "cmd").startswith("error: --print_completion: 'cmd' is none of bash, ")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert fails("--print_completion", "bash").endswith("needs shtab; install it with pip install shtab")


def config(capsys, *arguments: str) -> dict:
    return yaml.safe_load(printed(capsys, "fit", *arguments, "--print_config"))


def test_short_names_become_full_ones(capsys):
    given = config(
        capsys, "--model", "Classifier", "--data", "Digits", "--model.optimizer", "AdamW", "--model.optimizer.lr", "0.01",
        "--model.lr_scheduler", "WarmupCosine", "--trainer.callbacks",
        '[{"class_path": "EarlyStopping", "init_args": {"monitor": "x"}}, LearningRateFinder]',
    )  # fmt: skip
    assert given["model"]["class_path"] == "project.tasks.Classifier"
    assert given["data"]["class_path"] == "project.data.Digits"
    assert given["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert given["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.01
    assert given["model"]["init_args"]["lr_scheduler"]["class_path"] == "project.optim.WarmupCosine"
    assert [entry["class_path"] for entry in given["trainer"]["callbacks"]] == [
        f"lightning.pytorch.callbacks.{name}" for name in ("EarlyStopping", "LearningRateFinder")
    ]


def test_a_printed_configuration_is_a_configuration(capsys, tmp_path):
    arguments = ("--model", "Classifier", "--data", "Digits", "--data.augment.shift", "2", "--seed", "5")
    first = config(capsys, *arguments, "--budget.images", "3")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(first))
    assert config(capsys, "--config", str(tmp_path / "c.yaml")) == first
    assert first["seed"] == 5
    assert "seed" not in first["data"]["init_args"]  # said once
    augment = first["data"]["init_args"]["augment"]
    assert augment == dataclasses.asdict(Augmentation(shift=2)) | {"fill": [124, 116, 104]}  # YAML has no tuples


def test_standing_callbacks_survive_an_overlay_that_lists_others(run, images, fit_options, tmp_path):
    (tmp_path / "overlay.yaml").write_text("trainer:\n  callbacks:\n    - class_path: LearningRateMonitor\n")
    (tmp_path / "second.yaml").write_text(
        "trainer:\n  callbacks: [{class_path: GradientAccumulationScheduler, init_args: {scheduling: {1: 2}}}]\n"
    )
    overlays = ("--config", tmp_path / "overlay.yaml", "--config", tmp_path / "second.yaml")
    assert run(*fit_options(images, tmp_path, *overlays)) == 0
    directory = tmp_path / "r" / "version_0"
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.csv", "status.json", "config.yaml"):
        assert (directory / name).is_file()


@pytest.mark.parametrize(
    ("switch", "gone"),
    [
        (("--trainer.enable_checkpointing", "false"), {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}),
        (("--trainer.logger", "false"), {"metrics.csv"}),
        (("--trainer.logger", "false", "--trainer.enable_checkpointing", "false"),
         {"metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}),
    ],
)  # fmt: skip
def test_standing_callbacks_go_quiet_with_what_they_serve(run, images, fit_options, tmp_path, switch, gone):
    assert run(*fit_options(images, tmp_path, *switch)) == 0
    directory = tmp_path / "r" / "version_0"
    every = {"metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "status.json", "config.yaml"}
    assert {name for name in every if (directory / name).is_file()} == every - gone


def test_a_logger_of_ones_own_comes_beside_the_standing_ones(run, images, fit_options, tmp_path):
    init = f'{{"save_dir": "{tmp_path}/own", "name": "n", "version": "v"}}'
    logger = ("--trainer.logger", f'{{"class_path": "CSVLogger", "init_args": {init}}}')
    assert run(*fit_options(images, tmp_path, *logger)) == 0
    assert (tmp_path / "own/n/v/metrics.csv").is_file()
    assert (tmp_path / "r/version_0/metrics.csv").is_file()


def test_fast_dev_run_runs_one_batch_and_writes_nothing(run, images, fit_options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*fit_options(images, tmp_path / "runs", "--trainer.fast_dev_run", "true")) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "images"]


def test_every_command_takes_the_same_configuration(tmp_path):
    keys = [set(build_parser(verb).get_defaults().keys()) for verb in VERBS]
    assert all(other == keys[0] for other in keys)


def test_nothing_heavy_is_imported_for_the_version(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "project.cli.run", None)  # importing it would fail
    assert printed(capsys, "--version").startswith("project ")


CHARACTERS = st.characters() | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)  # of bytes that are not UTF-8
TEXTS = st.text(CHARACTERS, min_size=1) | st.sampled_from(["1e5", "#1", "2024-05-06", "\U0001f600", "\udce9", "yes"])


@pytest.fixture(scope="module")
def parser():
    return build_parser("predict", FACTS)


@given(name=TEXTS, root=TEXTS)
def test_parser_any_names_are_written_and_read_back(parser, name, root):
    assume(name.strip().lower() not in ("null", "~"))  # which stand for none
    under = {"name": name, "data": {"class_path": "project.data.ImageFolder", "init_args": {"root": root}}}
    for text in (dump_yaml(under, in_line=True), json.dumps(under).replace("\x7f", "\\u007f")):
        config = parser.parse_args(["--config", text])
        assert (config.name, config.data.init_args.root) == (name, root)
        assert load_yaml(parser.dump(config))["name"] == name


@pytest.mark.parametrize("text", ["\U0001f600", "caf\udce9", "#1", "1e5", "2024-05-06", "x:"])
def test_parser_names_on_the_command_line_are_taken_as_they_are(parser, text):
    arguments = ["--name", text, "--data", "ImageFolder", "--data.root", text, "--data.predict", text]
    config = parser.parse_args(arguments)
    assert (config.name, config.data.init_args.root, config.data.init_args.predict) == (text, text, text)
