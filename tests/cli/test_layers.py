"""What a later configuration, or the command line, keeps of an earlier one."""

from __future__ import annotations

import inspect
import json
from itertools import chain

import pytest
import torch
import yaml

from project.cli.command import read_command
from project.cli.layers import merge_items
from project.losses.distillation import LOSSES, LossTerm
from project.runs.schema import subclasses
from project.tasks import Distiller

KD = {"name": "kd", "weight": 0.5, "options": {"temperature": 7.0}}
MONITOR = {"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "step", "log_momentum": True}}
STOP = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 9, "verbose": True}}


def resolved(*arguments: object) -> dict:
    return read_command(["fit", *map(str, arguments)]).plain_config()


@pytest.fixture
def layer(tmp_path):
    """Makes `--config FILE` of a content."""

    def write(content: dict) -> list[str]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump(content))
        return ["--config", str(path)]

    return write


@pytest.fixture
def given(layer):
    """A value as a later configuration gives it, or the command line in its two forms."""

    def options(form: str, option: str, value: object) -> list[str]:
        if form == "config":
            section, name = option.split(".")
            return layer({section: {name: value}})
        text = value if isinstance(value, str) else json.dumps(value)
        return [f"--{option}", text] if form == "two words" else [f"--{option}={text}"]

    return options


def distilled(*losses: dict, **options: object) -> dict:
    init = {"teacher": "absent", "losses": list(losses), **options}
    return {"model": {"class_path": "Distiller", "init_args": init}, "data": "Digits"}


FORMS = pytest.mark.parametrize("form", ["config", "two words", "one word"])


@FORMS
@pytest.mark.parametrize("name", ["crd", "lskd", "dist", "dkd", "at"])
def test_losses_another_name_has_its_published_weight_and_options(layer, given, form, name):
    config = resolved(*layer(distilled(KD)), *given(form, "model.losses", [{"name": name}]))["model"]["init_args"]
    (term,) = [LossTerm(**each) for each in config["losses"]]
    assert (term.name, term.weight_at(0), term.options) == (name, LOSSES[name].weight, {})
    task = Distiller(["a", "b"], 32, **{key: config[key] for key in ("teacher", "losses", "label_weight")})
    assert task.label_weight == LOSSES[name].label_weight


def test_losses_of_a_shipped_configuration_are_replaced_with_their_label_weight():
    shipped = ["--config", "configs/distiller/cifar100_resnet32x4_resnet8x4.yaml"]
    before = resolved(*shipped)["model"]["init_args"]
    after = resolved(*shipped, "--model.losses", "[{name: crd}]")["model"]["init_args"]
    assert before["label_weight"] is after["label_weight"] is None
    assert after["losses"] == [{"name": "crd", "weight": None, "options": {}, "warmup_epochs": 0}]


def test_label_weight_given_by_hand_stays_when_the_losses_change(layer):
    config = resolved(*layer(distilled(KD, label_weight=0.3)), "--model.losses", "[{name: crd}]")
    assert config["model"]["init_args"]["label_weight"] == 0.3


@FORMS
def test_losses_the_same_name_keeps_what_is_not_given(layer, given, form):
    later = [{"name": "dist"}, {"name": "kd", "weight": 2.0}]  # at another place, in a longer list
    config = resolved(*layer(distilled(KD)), *given(form, "model.losses", later))
    assert config["model"]["init_args"]["losses"] == [
        {"name": "dist", "weight": None, "options": {}, "warmup_epochs": 0},
        {"name": "kd", "weight": 2.0, "options": {"temperature": 7.0}, "warmup_epochs": 0},
    ]


@FORMS
def test_callbacks_merge_by_class_and_not_by_place(layer, given, form):
    under = layer(distilled(KD) | {"trainer": {"callbacks": [MONITOR, STOP]}})
    later = [{"class_path": "EarlyStopping", "init_args": {"monitor": "val/accuracy"}}, "LearningRateMonitor"]
    stop, monitor = resolved(*under, *given(form, "trainer.callbacks", later))["trainer"]["callbacks"]
    assert {name: stop["init_args"][name] for name in ("monitor", "patience", "verbose")} == {
        "monitor": "val/accuracy", "patience": 9, "verbose": True,
    }  # fmt: skip
    assert (monitor["init_args"]["logging_interval"], monitor["init_args"]["log_momentum"]) == ("step", True)
    (other,) = resolved(*under, *given(form, "trainer.callbacks", ["ModelCheckpoint"]))["trainer"]["callbacks"]
    assert other["init_args"]["monitor"] is None


@FORMS
def test_callbacks_of_another_class_at_the_same_place_start_anew(layer, given, form):
    under = layer(distilled(KD) | {"trainer": {"callbacks": [STOP]}})
    (found,) = resolved(*under, *given(form, "trainer.callbacks", ["ModelCheckpoint"]))["trainer"]["callbacks"]
    assert (found["init_args"]["monitor"], found["init_args"]["verbose"]) == (None, False)


@FORMS
def test_loggers_of_another_class_start_anew(layer, given, form):
    csv = {"class_path": "CSVLogger", "init_args": {"save_dir": "a", "name": "mine", "version": "v"}}
    board = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "b"}}
    for earlier in (csv, [csv]):
        for later in (board, [board]):
            config = resolved(
                *layer(distilled(KD) | {"trainer": {"logger": earlier}}), *given(form, "trainer.logger", later)
            )
            found = config["trainer"]["logger"]
            found = found[0] if isinstance(found, list) else found
            assert found["class_path"].endswith("TensorBoardLogger")
            assert (found["init_args"]["save_dir"], found["init_args"]["version"]) == ("b", None)


def test_losses_of_three_layers_each_over_the_one_before(layer):
    lists = ([KD], [{"name": "at"}, {"name": "kd", "options": {"temperature": 3.0}}], [{"name": "kd", "weight": 4.0}])
    configs = [layer(distilled(*lists[0])), *(layer({"model": {"init_args": {"losses": each}}}) for each in lists[1:])]
    config = resolved(*chain(*configs), "--model.losses+", "{name: sp}")
    assert config["model"]["init_args"]["losses"] == [
        {"name": "kd", "weight": 4.0, "options": {"temperature": 3.0}, "warmup_epochs": 0},
        {"name": "sp", "weight": None, "options": {}, "warmup_epochs": 0},
    ]


def test_callbacks_of_a_checkpoint_are_the_first_layer(run, images, fit_options, tmp_path):
    monitor = yaml.safe_dump([MONITOR], default_flow_style=True)
    assert run(*fit_options(images, tmp_path, "--trainer.callbacks", monitor)) == 0
    resumed = ["--ckpt_path", tmp_path / "r" / "version_0"]
    (same,) = resolved(*resumed, "--trainer.callbacks", "[LearningRateMonitor]")["trainer"]["callbacks"]
    assert same["init_args"] == {"logging_interval": "step", "log_momentum": True, "log_weight_decay": False}
    (other,) = resolved(*resumed, "--trainer.callbacks", "[ModelCheckpoint]")["trainer"]["callbacks"]
    assert other["init_args"]["monitor"] is None


def test_items_of_one_name_match_in_their_order():
    earlier = [{"name": "kd", "weight": 1}, {"name": "kd", "weight": 2}]
    assert merge_items(earlier, [{"name": "kd"}, {"name": "kd"}, {"name": "kd"}]) == [*earlier, {"name": "kd"}]
    assert merge_items([{"weight": 1}], [{"rate": 2}]) == [{"rate": 2}]  # without names


@pytest.mark.parametrize("form", ["config", "two words", "one word"])
@pytest.mark.parametrize("name", ["AdamW", "RMSprop", "MuonSGD"])
@pytest.mark.parametrize("earlier", [{"class_path": "SGD", "init_args": {"lr": 0.2, "momentum": 0.3}}, None])
def test_optimizer_of_another_class_has_its_own_defaults(layer, given, form, name, earlier):
    """Also in the place of the task's default."""
    model = {"class_path": "Classifier", "init_args": {"optimizer": earlier} if earlier else {}}
    config = resolved(*layer({"model": model, "data": "Digits"}), *given(form, "model.optimizer", name))
    found = config["model"]["init_args"]["optimizer"]
    cls = next(each for each in subclasses(torch.optim.Optimizer) if each.__name__ == name)
    defaults = {key: each.default for key, each in inspect.signature(cls).parameters.items() if key != "params"}
    assert {key: found["init_args"][key] for key in ("lr", "weight_decay")} == {
        key: defaults[key] for key in ("lr", "weight_decay")
    }
    assert found["init_args"].get("momentum") == defaults.get("momentum")


def test_optimizer_of_the_same_class_keeps_what_is_not_given(layer):
    sgd = {"class_path": "SGD", "init_args": {"lr": 0.2}}
    for earlier in (sgd, {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.2}}):
        model = {"class_path": "Classifier", "init_args": {"optimizer": earlier}}
        config = resolved(*layer({"model": model, "data": "Digits"}), "--model.optimizer", "SGD")
        found = config["model"]["init_args"]["optimizer"]["init_args"]
        assert (found["lr"], found["momentum"], found["nesterov"]) == (0.2, 0.9, True)  # two of them the task's


def test_lr_scheduler_of_another_class_has_its_own_defaults(layer, fails):
    steps = {"class_path": "Steps", "init_args": {"gamma": 0.3, "warmup": 0.4}}
    model = {"class_path": "Classifier", "init_args": {"lr_scheduler": steps}}
    under = layer({"model": model, "data": "Digits"})
    found = resolved(*under, "--model.lr_scheduler", "WarmupCosine")["model"]["init_args"]["lr_scheduler"]
    assert found["init_args"]["warmup"] != 0.4
    line = fails("fit", *under, "--model.lr_scheduler", "ExponentialLR")
    assert line.startswith("error: model.lr_scheduler.gamma: is required")


def test_data_of_another_class_keep_options_of_the_same_meaning(layer):
    content = {"model": "Classifier", "data": {"class_path": "Digits", "init_args": {"batch_size": 7}}}
    config = resolved(*layer(content), "--data", "ImageFolder", "--data.root", "x")
    assert config["data"]["init_args"]["batch_size"] == 7
