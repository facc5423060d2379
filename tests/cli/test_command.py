"""Precedence: command line, later config, earlier config, checkpoint, defaults; and what is printed is what runs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback

from project.cli.command import _contradicts, read_command
from project.errors import CheckpointError
from project.runs.checkpoints import read_checkpoint


@pytest.fixture
def configs(tmp_path):
    for name, smoothing, size in (("one", 0.1, 10), ("two", 0.2, None)):
        content = {"model": {"init_args": {"label_smoothing": smoothing}}}
        if size:
            content["data"] = {"init_args": {"batch_size": size}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def resolved(*arguments: object) -> dict:
    command = read_command([str(argument) for argument in arguments])
    return command.plain_config()


@pytest.mark.parametrize(
    ("arguments", "smoothing", "batch_size"),
    [
        ("", 0.0, 16),
        ("--config one.yaml", 0.1, 10),
        ("--config one.yaml --config two.yaml", 0.2, 10),
        ("--config two.yaml --config one.yaml", 0.1, 10),
        ("--config one.yaml --model.label_smoothing 0.3", 0.3, 10),
        ("--model.label_smoothing 0.3 --config one.yaml", 0.3, 10),  # wherever it stands
        ("--model.label_smoothing=0.3 --config=one.yaml", 0.3, 10),
        ("--data.batch_size 7 --config one.yaml --config two.yaml", 0.2, 7),
    ],
)
def test_precedence_over_a_checkpoint(trained, configs, monkeypatch, arguments, smoothing, batch_size):
    monkeypatch.chdir(configs)
    config = resolved("fit", "--ckpt_path", trained, *arguments.split())
    assert config["model"]["init_args"]["label_smoothing"] == smoothing
    assert config["data"]["init_args"]["batch_size"] == batch_size
    assert config["trainer"]["max_epochs"] == 2  # the checkpoint's
    assert config["model"]["init_args"]["backbone_options"] == {"width": 4}


def test_a_resumed_run_has_the_configuration_that_it_was_started_with(run, images, fit_options, tmp_path):
    """So that `auto` finds it again and again."""
    options = fit_options(images, tmp_path, "--trainer.max_epochs", 1)
    at = options.index("--model.backbone_options")
    del options[at : at + 2]  # what the task makes of none is {}
    assert run(*options) == 0
    written = yaml.safe_load((tmp_path / "r" / "version_0" / "config.yaml").read_text())
    assert written["model"]["init_args"]["backbone_options"] is None
    assert resolved(*options, "--ckpt_path", tmp_path / "r" / "version_0") == written


class Idle(Callback):
    """A callback without options."""


@pytest.mark.parametrize("callback", ["LearningRateMonitor", {"class_path": f"{__name__}.Idle"}], ids=["short", "idle"])
def test_resumed_run_with_classes_without_options_has_its_configuration(run, images, fit_options, tmp_path, callback):
    options = fit_options(
        images, tmp_path / "runs", "--trainer.callbacks", json.dumps([callback]), "--trainer.max_epochs", 1
    )
    options = [*options, "--progress", "none"]
    assert run(*options) == 0
    assert resolved(*options, "--ckpt_path", tmp_path / "runs" / "r" / "version_0") == resolved(*options)


@pytest.mark.parametrize("word", ["path", "directory", "last", "best", "auto", "last in a file"])
def test_print_config_shows_what_runs(trained, tmp_path, capsys, word):
    if word == "auto":
        (trained / "status.json").unlink()
    path = {"path": trained / "checkpoints/last.ckpt", "directory": trained}.get(word, word)
    arguments = ["fit", "--ckpt_path", path, "--model.label_smoothing", 0.4, "--name", "r"]
    if word == "last in a file":
        (tmp_path / "c.yaml").write_text("ckpt_path: last\n")
        arguments[1:3] = ["--config", tmp_path / "c.yaml"]
    arguments += ["--trainer.default_root_dir", tmp_path / "runs"]
    if word == "auto":  # finds a run of this very configuration
        kept = yaml.safe_load((trained / "config.yaml").read_text())
        kept["trainer"]["default_root_dir"] = str(tmp_path / "runs")
        (trained / "config.yaml").write_text(yaml.safe_dump(kept))
        arguments = ["fit", "--config", trained / "config.yaml", "--ckpt_path", "auto"]
    expected = resolved(*arguments)
    with pytest.raises(SystemExit) as stop:
        read_command([*map(str, arguments), "--print_config"])
    assert not stop.value.code
    shown = yaml.safe_load(capsys.readouterr().out)
    shown.pop("ckpt_path", None)
    assert shown == expected
    assert shown["model"]["init_args"]["backbone_options"] == {"width": 4}


def test_a_directory_means_last_to_train_on_and_best_to_measure(trained):
    for verb, which in (("fit", "last"), ("test", "best"), ("validate", "best"), ("predict", "best")):
        more = ["--data.predict", "x"] if verb == "predict" else []
        command = read_command([verb, "--ckpt_path", str(trained), *more])
        assert command.checkpoint_path == str(trained / "checkpoints" / f"{which}.ckpt")
        assert "state_dict" not in command.checkpoint


@pytest.mark.parametrize("absent", ["loops", "optimizer_states"])
def test_weights_without_a_state_of_training_are_for_measuring(trained, absent):
    path = trained / "checkpoints" / "last.ckpt"
    torch.save({name: value for name, value in read_checkpoint(path).items() if name != absent}, path)
    for verb in ("test", "validate"):
        assert read_command([verb, "--ckpt_path", str(path)]).checkpoint_path == str(path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: holds weights and no state of training.*model\.init_from$"):
        read_command(["fit", "--ckpt_path", str(trained)])


def test_the_last_ckpt_path_wins_and_the_command_line_beats_a_file(trained, tmp_path):
    (tmp_path / "c.yaml").write_text(f"ckpt_path: {trained}\n")
    best = trained / "checkpoints" / "best.ckpt"
    found = read_command(["fit", "--config", str(tmp_path / "c.yaml")])
    assert found.checkpoint_path == str(trained / "checkpoints/last.ckpt")
    for arguments in (
        ["--config", tmp_path / "c.yaml", "--ckpt_path", best],
        [f"--ckpt_path={best}", "-c", tmp_path / "c.yaml"],
        ["--ckpt_path", "absent", "--ckpt_path", best],
    ):
        assert read_command(["fit", *map(str, arguments)]).checkpoint_path == str(best)


def test_evaluation_takes_facts_from_the_checkpoint_and_not_its_trainer(trained):
    config = resolved("test", "--ckpt_path", trained)
    assert config["model"]["init_args"]["class_names"] == ["a", "b", "c"]
    assert config["data"]["init_args"]["image_size"] == 12
    assert config["trainer"]["max_epochs"] is None
    assert config["trainer"]["default_root_dir"] is None


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
@pytest.mark.parametrize("option", ["model.max_words", "model.vocabulary", "model.center_crop", "data.seed"])
def test_options_that_the_data_determine_are_refused_by_all_commands(fails, captioned, tmp_path, verb, option):
    section, name = option.split(".")
    model = {"class_path": "Captioner", "init_args": {"weights": "IMAGENET1K_V1"}}
    content = {
        "model": model,
        "data": {"class_path": "KarpathyCaptions", "init_args": {"annotations": "x", "images": "y"}},
    }
    content[section]["init_args"][name] = 3
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    assert fails(verb, "--config", tmp_path / "c.yaml").startswith(f"error: {option}: follows ")


def test_a_configuration_that_a_run_wrote_is_one_for_every_command(run, trained, trained_images, tmp_path):
    """Also one that an evaluation wrote elsewhere, which has what the checkpoint determines."""
    assert run("test", "--ckpt_path", trained, "--trainer.default_root_dir", tmp_path / "other") == 0
    (elsewhere,) = (tmp_path / "other").rglob("config.yaml")
    assert "class_names" in yaml.safe_load(elsewhere.read_text())["model"]["init_args"]
    for config in (trained / "config.yaml", elsewhere):
        for verb in ("test", "predict"):
            given = (verb, "--config", config, "--ckpt_path", trained, "--data.predict", trained_images)
            assert run(*given, "--trainer.default_root_dir", tmp_path / "third") == 0
    read_command(["fit", "--config", str(trained / "config.yaml")])


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["trainer"].update(callbacks=["antigravity.webbrowser"]),
        lambda config: config["trainer"].update(callbacks="antigravity.webbrowser"),
        lambda config: config["trainer"].update(callbacks=[{"class_path": "antigravity.webbrowser"}]),
        lambda config: config["model"]["init_args"].update(optimizer="antigravity.webbrowser"),
        lambda config: config["model"]["init_args"].update(lr_scheduler="antigravity.webbrowser"),
        lambda config: config.update(model="antigravity.webbrowser"),
        lambda config: config.update(data="antigravity.webbrowser"),
    ],
)
def test_a_checkpoint_cannot_have_a_module_imported(fails, trained, monkeypatch, change):
    import sys
    import webbrowser

    monkeypatch.setattr(webbrowser, "open", lambda url: True)
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    path = trained / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    change(checkpoint["config"])
    torch.save(checkpoint, path)
    assert "antigravity" in fails("fit", "--ckpt_path", path)
    assert "antigravity" not in sys.modules


def test_predicting_needs_no_class_of_the_data(run, fails, trained, images):
    """Such as one that another program defined."""
    path = trained / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint["config"]["data"]["class_path"] = "elsewhere.Shapes"
    torch.save(checkpoint, path)
    assert "'elsewhere.Shapes'" in fails("test", "--ckpt_path", path)
    assert run("predict", "--ckpt_path", path, "--data.predict", images) == 0


def test_a_class_among_a_networks_options_is_not_made(fails, trained, tmp_path):
    path = trained / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    popen = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(tmp_path / "made")]}}
    for options in (checkpoint["hyper_parameters"], checkpoint["config"]["model"]["init_args"]):
        options["backbone_options"] = {"width": popen}
    torch.save(checkpoint, path)
    fails("test", "--ckpt_path", path)
    assert not (tmp_path / "made").exists()


# ---- whatever the options

OPTIONS = {
    "seed": st.integers(0, 2**32 - 1),
    "name": st.text("abc-_:#'\" é0", max_size=8).map("run{}".format),
    "trainer.max_epochs": st.integers(1, 10**6),
    "trainer.gradient_clip_val": st.none() | st.floats(1e-3, 1e3),
    "trainer.precision": st.sampled_from(["32-true", "bf16-mixed", "64-true"]),
    "ema.decay": st.none() | st.floats(0, 0.999),
    "early_stopping.patience": st.none() | st.integers(1, 9),
    "model.label_smoothing": st.floats(0, 0.9),
    "model.backbone": st.sampled_from(["small_resnet", "simple_cnn", "resnet18", "wrn_16_2"]),
    "model.fine_tuning.frozen": st.lists(st.sampled_from(["stem", "stage1"]), unique=True),
    "data.batch_size": st.integers(1, 10**4),
    "data.augment.flip": st.sampled_from([True, False, "alternate"]),
    "data.augment.hue": st.floats(0, 0.5),
    "data.augment.policy": st.sampled_from(["trivial", "rand"]),
    "data.augment.fill": st.lists(st.integers(0, 255), min_size=3, max_size=3),
    "data.cache_dir": st.none() | st.sampled_from(["a b", "1e3", "0x1f", "yes", "~/a", "[x]", "{a: b}", "a # b", "é"]),
}  # fmt: skip
# a second each, and hundreds where a failing one is made smaller
FEWER = settings(max_examples=settings().max_examples // 25 + 3, phases=[Phase.generate])
some_options = st.fixed_dictionaries({}, optional=OPTIONS)
# what begins with a bracket is a list to jsonargparse, and no text, where it is typed
typed_options = some_options.filter(lambda options: str(options.get("data.cache_dir"))[0] not in "[{")


def nested(options: dict[str, object]) -> dict:
    """As a configuration file has them."""
    content: dict = {"model": {"class_path": "Classifier"}, "data": {"class_path": "Digits"}}
    for name, value in options.items():
        first, *rest = name.split(".")
        path = [first, "init_args", *rest] if first in ("model", "data") else [first, *rest]
        place = content
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return content


def given_value(config: dict, name: str) -> object:
    for part in name.split("."):
        config = config["init_args"][part] if "init_args" in config else config[part]
    return config


@FEWER
@given(some_options)
def test_any_configuration_that_is_printed_runs_as_it_did(options):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "given.yaml")
        file.write_text(yaml.safe_dump(nested(options)))
        first = read_command(["fit", "--config", str(file)])
        for name, value in options.items():
            assert given_value(first.plain_config(), name) == value
        printed = Path(folder, "printed.yaml")
        printed.write_text(first.dump())
        again = read_command(["fit", "--config", str(printed)])
    assert again.plain_config() == first.plain_config()
    assert again.dump() == first.dump()


@FEWER
@given(some_options, some_options, typed_options)
def test_any_option_is_the_command_lines_then_the_later_files_then_the_earlier_ones(earlier, later, line):
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, options in enumerate((earlier, later)):
            files += ["--config", str(Path(folder, f"{number}.yaml"))]
            Path(files[-1]).write_text(yaml.safe_dump(nested(options)))
        arguments = [
            f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in line.items()
        ]
        config = read_command(["fit", *arguments, *files]).plain_config()  # wherever they stand
        defaults = read_command(["fit", "--model", "Classifier", "--data", "Digits"]).plain_config()
    for name in OPTIONS:
        expected = next((given[name] for given in (line, later, earlier) if name in given), given_value(defaults, name))
        assert given_value(config, name) == expected, name


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "contradicts"),
    [
        ("decoder", {"layers": 2, "dropout": 0.1}, {"layers": 2, "dropout": 0.5}, False),  # may be another one
        ("decoder", {"layers": 2, "newer": 1}, {"layers": 2}, False),  # from before the option was there
        ("decoder", {"layers": 2}, {"layers": 1}, True),
        ("backbone_options", {"width": 8}, {}, True),
        ("backbone_options", {"width": 8}, {"width": 8}, False),
        ("vocabulary", ["a"], ["b"], True),
        ("center_crop", 0.5, None, False),
    ],
)
def test_what_contradicts_a_checkpoint(name, ours, theirs, contradicts):
    assert _contradicts(name, ours, theirs, ("decoder.dropout",)) == contradicts
