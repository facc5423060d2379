"""R6: nothing in a checkpoint is run, nothing that it names is imported, and it names no place to write to."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from project.runs.checkpoints import read_checkpoint
from tests.faults.outcomes import TASKS

PROMISE = "R6"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def popen(exploded: Path) -> dict:
    """The configuration of an object whose making runs a command."""
    return {"class_path": "subprocess.Popen", "init_args": {"args": ["mkdir", str(exploded)]}}


def text(exploded: Path) -> str:
    """JSON of a call, in which no dot stands between the names."""
    call = {"class_path": "os.system", "init_args": {"command": f"mkdir {exploded}"}}
    return json.dumps(call).replace("os.system", "os\\u002esystem")


def hidden_in(checkpoint: dict, kind: str, exploded: Path) -> dict:
    """The checkpoint with something in it that would make a folder."""
    options, config = checkpoint["hyper_parameters"], checkpoint["config"]
    if kind == "pickle":
        return checkpoint | {"extra": Bomb(exploded)}
    if kind == "pickled option":
        return checkpoint | {"hyper_parameters": options | {"seed": Bomb(exploded)}}
    if kind == "pickled weight":
        return checkpoint | {"state_dict": OrderedDict(checkpoint["state_dict"], more=Bomb(exploded))}
    if kind == "instantiator":
        named = {"_instantiator": "subprocess.call", "_class_path": "subprocess.call", "args": ["mkdir", str(exploded)]}
        return checkpoint | {"hyper_parameters": options | named}
    if kind == "class of an option":
        config["model"]["init_args"]["backbone_options"] = options["backbone_options"] = {"width": popen(exploded)}
    elif kind == "class of the model":
        config["model"] = popen(exploded)
    elif kind == "callback":
        config["trainer"]["callbacks"] = [popen(exploded)]
    elif kind == "optimizer":
        config["model"]["init_args"]["optimizer"] = options["optimizer"] = popen(exploded)
    elif kind == "text of an optimizer":
        config["model"]["init_args"]["optimizer"] = options["optimizer"] = text(exploded)
    elif kind == "text of a schedule":
        config["model"]["init_args"]["lr_scheduler"] = text(exploded)
    elif kind == "text of an untyped option":
        options["backbone_options"] = config["model"]["init_args"]["backbone_options"] = {"width": text(exploded)}
    elif kind == "text of callbacks":
        config["trainer"] = {**config["trainer"], "callbacks": f"[{text(exploded)}]"}
    elif kind == "text of the trainer":
        config["trainer"] = text(exploded)
    elif kind == "callback that calls":
        calling = {
            "class_path": "lightning.pytorch.callbacks.LambdaCallback",
            "init_args": {"on_fit_start": "tests.faults.places.explode"},
        }
        config["trainer"]["callbacks"] = [calling]
    elif kind == "appended callback":
        config["trainer"]["callbacks+"] = [popen(exploded)]
    elif kind == "dotted key":
        config["model"]["init_args"]["optimizer.class_path"] = "subprocess.Popen"
        config["model.init_args.optimizer"] = popen(exploded)
    elif kind == "module beside it":
        (exploded.parent / "beside.py").write_text(f"import os; os.mkdir({str(exploded)!r})\n")
        config["trainer"]["callbacks"] = ["beside.Callback"]
    elif kind == "logger":
        init = {"save_dir": str(exploded.parent), "name": exploded.name, "version": ""}
        config["trainer"]["logger"] = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": init}
    elif kind == "callback that writes":
        saving = {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"dirpath": str(exploded), "save_last": True},
        }
        config["trainer"]["callbacks"] = [saving]
    elif kind == "places":
        config["name"] = f"../../{exploded.name}"
        config["trainer"]["default_root_dir"] = config["data"]["init_args"]["cache_dir"] = str(exploded)
    return checkpoint


KINDS = ("pickle", "pickled option", "pickled weight", "instantiator", "class of an option", "class of the model",
         "callback", "optimizer", "text of an optimizer", "text of a schedule", "text of an untyped option",
         "text of callbacks", "text of the trainer", "callback that calls", "appended callback", "dotted key",
         "module beside it", "logger", "callback that writes", "places")  # fmt: skip


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
@pytest.mark.parametrize(
    ("task", "kind"), [("Classifier", kind) for kind in KINDS] + [("Captioner", kind) for kind in KINDS[:8]]
)
def test_is_not_run(start, wholes, image_folder, tmp_path, task, kind, verb):
    exploded, path = tmp_path / "exploded", tmp_path / "from_a_stranger.ckpt"
    found = read_checkpoint(wholes.run(task) / "checkpoints" / "last.ckpt")
    torch.save(hidden_in(found, kind, exploded), path)
    where = ["--trainer.default_root_dir", tmp_path / "runs", "--name", "s"]
    more = {"fit": ["--trainer.max_epochs", 4], "test": [], "predict": ["--data.predict", image_folder / "test"]}[verb]
    command = start([verb, "--ckpt_path", path, *where, *more])
    status = command.wait()
    assert not exploded.exists()
    # what is not opened is said; what is only passed over, such as an option that no task has, may go unsaid
    assert status == 2 or (status == 0 and not kind.startswith("pickle")), command.output
    if status == 2:
        assert str(path) in command.output or "model." in command.output
        assert "Traceback" not in command.output


@pytest.mark.parametrize("option", ["model.init_from", "model.teacher", "model.decoding.ensemble"])
def test_nor_where_another_checkpoint_is_asked_for(mends, wholes, tmp_path, option):
    exploded, path = tmp_path / "exploded", tmp_path / "from_a_stranger.ckpt"
    task = {"model.teacher": "Distiller", "model.decoding.ensemble": "Captioner"}.get(option, "Classifier")
    found = read_checkpoint(wholes.run(task) / "checkpoints" / "last.ckpt")
    torch.save(hidden_in(found, "pickle", exploded), path)
    value = [str(path)] if option.endswith("ensemble") else path
    line = mends(wholes.options(task, tmp_path / "runs", {option: value}))
    assert str(path) in line
    assert not exploded.exists()


@pytest.mark.parametrize("task", TASKS)
def test_the_bomb_is_a_real_one(wholes, tmp_path, record_property, task):
    """Opened as torch once did by itself, each goes off."""
    record_property("faults", 0)
    found = read_checkpoint(wholes.run(task) / "checkpoints" / "last.ckpt")
    for kind in KINDS[:3]:
        exploded = tmp_path / kind
        torch.save(hidden_in(found, kind, exploded), tmp_path / "bomb.ckpt")
        torch.load(tmp_path / "bomb.ckpt", weights_only=False)
        assert exploded.exists()
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "bomb.ckpt", weights_only=True)
