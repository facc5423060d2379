"""R8: an option that is given beats the checkpoint's, and what is printed is what runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from project.runs.checkpoints import read_checkpoint
from tests.faults.outcomes import TASKS

PROMISE = "R8"
GIVEN = {"model.optimizer.lr": 0.0125, "model.label_smoothing": 0.125, "data.batch_size": 3, "trainer.max_epochs": 4}


def value_at(config: dict, name: str) -> object:
    for part in name.split("."):
        config = config.get("init_args", {}).get(part, config.get(part))
    return config


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("source", ["the command line", "a file"])
def test_given_options_win(start, wholes, tmp_path, task, source):
    directory = Path(shutil.copytree(wholes.run(task), tmp_path / "runs" / "r" / "version_0"))
    before = yaml.safe_load((directory / "config.yaml").read_text())
    assert all(value_at(before, name) != value for name, value in GIVEN.items())
    given = [text for name, value in GIVEN.items() for text in (f"--{name}", str(value))]
    if source == "a file":
        init = lambda section: {name.partition(".")[2]: v for name, v in GIVEN.items() if name.startswith(section)}  # noqa: E731
        smoothing = {"label_smoothing": 0.125, "optimizer": {"init_args": {"lr": 0.0125}}}
        content = {"model": {"init_args": smoothing}, "data": {"init_args": init("data")}, "trainer": init("trainer")}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        given = ["--config", tmp_path / "mine.yaml"]
    arguments = ["fit", "--ckpt_path", directory, *given]
    printing = start([*arguments, "--print_config"])
    assert printing.wait() == 0, printing.output
    printed = yaml.safe_load(printing.output)
    running = start(arguments)
    assert running.wait() == 0, running.output
    ran = yaml.safe_load((directory / "config.yaml").read_text())
    saved = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    for name, value in GIVEN.items():
        assert value_at(printed, name) == value_at(ran, name) == value_at(saved["config"], name) == value
    assert saved["hyper_parameters"]["label_smoothing"] == 0.125
    assert {group["initial_lr"] for group in saved["optimizer_states"][0]["param_groups"]} == {0.0125}
    printed.pop("ckpt_path", None)
    assert printed == ran | {"progress": printed["progress"]}
