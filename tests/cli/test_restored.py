"""What of a checkpoint's options `fit` and evaluation restore, and what they refuse."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from project.cli.arguments import Arguments
from project.cli.restored import RestoredOptions
from project.errors import CheckpointError
from project.runs.checkpoints import read_checkpoint


@pytest.fixture
def checkpoint(trained) -> dict[str, Any]:
    """The content of a small classifier's checkpoint."""
    return read_checkpoint(trained / "checkpoints" / "last.ckpt")


def restore(checkpoint: dict[str, Any], *arguments: str) -> RestoredOptions:
    return RestoredOptions(checkpoint, "stranger.ckpt", Arguments("fit", list(arguments)))


def test_options_of_a_run_are_restored(checkpoint):
    restored = restore(checkpoint)
    training, model, data = restored.training(), restored.model(), restored.data()
    assert training["trainer"]["max_epochs"] == 2
    assert training["seed"] == 0
    assert model["class_path"].endswith("Classifier")
    assert model["init_args"]["backbone_options"] == {"width": 4}
    assert model["init_args"]["optimizer"]["class_path"].endswith("SGD")
    assert not {"class_names", "image_size"} & model["init_args"].keys()  # the data have these again
    assert data["class_path"].endswith("ImageFolder")
    assert data["init_args"]["batch_size"] == 16


def test_places_to_write_to_are_left_out_and_named(checkpoint):
    config = checkpoint["config"]
    config["name"] = "theirs"
    config["trainer"]["default_root_dir"] = "/etc"
    config["data"]["init_args"]["cache_dir"] = "/etc"
    restored = restore(checkpoint)
    training, data = restored.training(), restored.data()
    assert "default_root_dir" not in training["trainer"]
    assert "name" not in training
    assert "cache_dir" not in data["init_args"]
    assert restored.left_out == {"trainer.default_root_dir": "/etc", "data.cache_dir": "/etc"}


LOGGER = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "."}}
CALLING = {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"on_fit_start": "os.getcwd"}}


@pytest.mark.parametrize(
    ("section", "name", "value", "given"),
    [
        ("trainer", "logger", LOGGER, ["--trainer.logger", "false"]),
        ("trainer", "callbacks", [CALLING], ["--trainer.callbacks", "null"]),
        ("trainer", "callbacks", "os.system", ["--trainer.callbacks", "null"]),
        ("trainer", "profiler", "simple", ["--trainer.profiler", "null"]),
        ("trainer", "callbacks", [{"class_path": "ModelCheckpoint"}], ["--trainer.callbacks", "null"]),
        ("trainer", "num_nodes", 2, ["--trainer.num_nodes", "1"]),
        ("trainer", "devices", 10**6, ["--trainer.devices", "1"]),
        ("trainer", "devices", "1000", ["--trainer.devices", "1"]),
        ("trainer", "strategy", "deepspeed", ["--trainer.strategy", "auto"]),
        ("trainer", "strategy", {"class_path": "DeepSpeedStrategy"}, ["--trainer.strategy", "auto"]),
        ("model", "optimizer", '{"class_path": "os\\u002esystem"}', ["--model.optimizer", "SGD"]),
        ("model", "lr_scheduler", {"class_path": "antigravity.fly"}, ["--model.lr_scheduler", "null"]),
        ("model", "backbone_options", {"width": {"class_path": "os.system"}}, ["--model.backbone_options", "{}"]),
    ],
)
def test_option_that_cannot_be_restored_is_refused_unless_the_user_gives_it(checkpoint, section, name, value, given):
    options = checkpoint["config"][section]
    (options["init_args"] if section == "model" else options)[name] = value

    def read(restored: RestoredOptions) -> dict[str, Any]:
        return restored.training()["trainer"] if section == "trainer" else restored.model()["init_args"]

    with pytest.raises(
        CheckpointError, match=rf"stranger\.ckpt: of its run's options, {section}\.{name}.*give the rest with"
    ):
        read(restore(checkpoint))
    assert read(restore(checkpoint, *given)).get(name) in (None, {"width": 4})
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "key",
    ["callbacks+", "optimizer.class_path", "model.init_args.optimizer", "config.x", "plugins+", 3, "__path__", "<<"],
)
def test_key_that_is_no_option_is_refused(checkpoint, key):
    for section in ("trainer", "data"):
        changed = {**checkpoint["config"][section]}
        if section == "data":
            changed["init_args"] = {**changed["init_args"], key: []}
        else:
            changed[key] = []
        broken = {**checkpoint, "config": {**checkpoint["config"], section: changed}}
        restored = restore(broken)
        with pytest.raises(CheckpointError, match="there is no"):
            restored.training() if section == "trainer" else restored.data()
    with pytest.raises(CheckpointError, match="there is no such option"):
        restore({**checkpoint, "config": {**checkpoint["config"], key: []}}).training()


def test_teacher_that_is_a_configuration_is_the_users_to_give(checkpoint):
    checkpoint |= {"task": "Distiller"}
    checkpoint["hyper_parameters"] |= {"teacher": "theirs.yaml"}
    checkpoint["config"]["model"] = {"class_path": "project.tasks.Distiller", "init_args": {"teacher": "theirs.yaml"}}
    with pytest.raises(CheckpointError, match=r"model\.teacher: 'theirs\.yaml' is a configuration"):
        restore(checkpoint).model()
    for text in ("[theirs.yaml]", '["theirs.yaml"]', " - theirs.yaml", "? theirs.yaml", "a: b"):  # lists to a parser
        checkpoint["hyper_parameters"]["teacher"] = text
        with pytest.raises(CheckpointError, match=r"model\.teacher: must be given by yourself"):
            restore(checkpoint).model()
    assert restore(checkpoint, "--model.teacher", "mine.yaml").model()


def test_class_of_the_task_is_the_checkpoints_and_no_other(checkpoint):
    assert restore(checkpoint).task_class().__name__ == "Classifier"
    assert restore(checkpoint, "--model", "Classifier").task_class().__name__ == "Classifier"
    with pytest.raises(CheckpointError, match=r"holds a Classifier, and model\.class_path is a Captioner"):
        restore(checkpoint, "--model", "Captioner").task_class()
    with pytest.raises(CheckpointError, match="holds a Stranger"):
        restore(checkpoint | {"task": "Stranger"}).task_class()


def test_classes_that_the_user_names_may_be_named_by_the_checkpoint(checkpoint, tmp_path, monkeypatch):
    code = "from lightning.pytorch import Callback\nclass Mine(Callback):\n    def __init__(self, rate=1): pass\n"
    (tmp_path / "mine_of_the_user.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint["config"]["trainer"]["callbacks"] = [{"class_path": "mine_of_the_user.Mine", "init_args": {"rate": 3}}]
    with pytest.raises(CheckpointError, match=r"'mine_of_the_user\.Mine' is no Callback"):
        restore(checkpoint).training()
    given = '{"trainer": {"callbacks": [{"class_path": "mine_of_the_user.Mine"}]}}'
    (found,) = restore(checkpoint, "--config", given).training()["trainer"]["callbacks"]
    assert found == {"class_path": "mine_of_the_user.Mine", "init_args": {"rate": 3}}
    monkeypatch.delitem(sys.modules, "mine_of_the_user")


def test_place_of_downloads_is_the_users_to_give(checkpoint, caplog):
    checkpoint["config"]["data"] = {"class_path": "CIFAR10", "init_args": {"root": "/etc", "batch_size": 3}}
    restored = restore(checkpoint)
    assert restored.data()["init_args"] == {"batch_size": 3}
    assert restored.left_out == {"data.root": "/etc"}
    with caplog.at_level("INFO"):
        restored.name_places()
    assert "only you say where files are written: data.root" in caplog.text


def test_number_of_workers_of_a_larger_machine_is_left_out(checkpoint):
    checkpoint["config"]["data"]["init_args"]["num_workers"] = 10**6
    assert "num_workers" not in restore(checkpoint).data()["init_args"]
    checkpoint["config"]["data"]["init_args"]["num_workers"] = 1
    assert restore(checkpoint).data()["init_args"]["num_workers"] == 1
