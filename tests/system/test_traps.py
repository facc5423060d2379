"""Lightning's measured traps: one test for each, of what happens here instead."""

from __future__ import annotations

import csv
import json
import os
import signal

import pytest
import torch
import yaml
from lightning.pytorch import Callback

from project.runs.checkpoints import read_checkpoint

SEEN: list[list[int]] = []


class SignalDuringValidation(Callback):
    """Sends SIGTERM at the first validation batch of the second epoch."""

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)


class FaultDuringValidation(Callback):
    """Fails there."""

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if trainer.current_epoch == 1:
            raise ZeroDivisionError("in validation")


class NoteIndices(Callback):
    """Notes the training indices of each batch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        SEEN.append(batch.indices.tolist())


class SpoilWeights(Callback):
    """Makes the loss NaN from the second epoch on."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            with torch.no_grad():
                pl_module.network.head.weight.fill_(float("nan"))


def callback(name: str) -> tuple[str, str]:
    return "--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.{name}"}])


def test_a_second_config_leaves_the_standing_callbacks_and_a_plus_appends(run, images, fit_options, tmp_path):
    (tmp_path / "one.yaml").write_text(
        "trainer: {callbacks: [{class_path: GradientAccumulationScheduler, init_args: {scheduling: {1: 2}}}]}\n"
    )
    (tmp_path / "two.yaml").write_text("trainer: {callbacks+: [{class_path: LearningRateMonitor}]}\n")
    configs = ("--config", tmp_path / "one.yaml", "--config", tmp_path / "two.yaml")
    assert run(*fit_options(images, tmp_path, *configs)) == 0
    config = yaml.safe_load((tmp_path / "r/version_0/config.yaml").read_text())
    named = [entry["class_path"].rpartition(".")[2] for entry in config["trainer"]["callbacks"]]
    assert named == ["GradientAccumulationScheduler", "LearningRateMonitor"]
    assert read_checkpoint(tmp_path / "r/version_0/checkpoints/last.ckpt")["random_state"]
    assert (tmp_path / "r/version_0/checkpoints/best.ckpt").is_file()


def test_an_option_beats_the_checkpoint_and_what_is_printed_is_what_runs(run, trained, capsys):
    arguments = ("fit", "--ckpt_path", trained, "--model.label_smoothing", 0.25, "--trainer.max_epochs", 3)
    capsys.readouterr()
    assert run(*arguments, "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["label_smoothing"] == 0.25
    assert run(*arguments) == 0
    ran = read_checkpoint(trained / "checkpoints" / "last.ckpt")
    assert ran["hyper_parameters"]["label_smoothing"] == 0.25
    assert ran["epoch"] == 2
    for section in ("model", "data", "trainer"):
        assert ran["config"][section] == printed[section]


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
@pytest.mark.parametrize("given", [(), ("--ckpt_path", "null"), ("--ckpt_path=",)])
def test_nothing_is_measured_with_random_weights(fails, images, fit_options, tmp_path, verb, given):
    options = [verb, *fit_options(images, tmp_path / "runs")[1:]]
    assert "trained weights" in fails(*options, *given, "--data.predict", images)
    assert not (tmp_path / "runs").exists()


def test_another_tasks_configuration_does_not_run_the_checkpoints_task(fails, trained, tmp_path, monkeypatch):
    from project.tasks import Classifier

    class OtherTask(Classifier):
        """Another task, with a name of its own."""

    monkeypatch.setitem(globals(), "OtherTask", OtherTask)
    (tmp_path / "other.yaml").write_text(f"model: {{class_path: {__name__}.OtherTask}}\n")
    for verb in ("test", "fit", "predict"):
        line = fails(verb, "--config", tmp_path / "other.yaml", "--ckpt_path", trained, "--data.predict", tmp_path)
        assert "OtherTask" in line
        assert "Classifier" in line


def test_resuming_keeps_the_earlier_rows_and_draws_a_new_order(run, images, fit_options, tmp_path):
    SEEN.clear()
    assert run(*fit_options(images, tmp_path, *callback("NoteIndices"), "--trainer.max_epochs", 1)) == 0
    assert run("fit", "--ckpt_path", tmp_path / "r" / "version_0", "--trainer.max_epochs", 3) == 0
    with open(tmp_path / "r/version_0/metrics.csv") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [2, 5, 8]
    assert len(SEEN) == 9
    epochs = [SEEN[first : first + 3] for first in (0, 3, 6)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    for epoch in epochs:
        assert sorted(index for batch in epoch for index in batch) == list(range(48))


def test_a_fault_in_validation_leaves_the_best_checkpoint(run, images, fit_options, tmp_path):
    with pytest.raises(ZeroDivisionError):
        run(*fit_options(images, tmp_path, *callback("FaultDuringValidation")))
    checkpoints = tmp_path / "r" / "version_0" / "checkpoints"
    assert {path.name: read_checkpoint(path)["global_step"] for path in checkpoints.iterdir()} == {
        "best.ckpt": 3, "last.ckpt": 3,
    }  # fmt: skip


def test_sigterm_in_validation_is_143_with_a_last_and_an_untouched_best_checkpoint(run, images, fit_options, tmp_path):
    more = (*callback("SignalDuringValidation"), "--data.eval_batch_size", 1)
    assert run(*fit_options(images, tmp_path, *more)) == 143
    checkpoints = tmp_path / "r" / "version_0" / "checkpoints"
    assert read_checkpoint(checkpoints / "best.ckpt")["global_step"] == 3
    assert read_checkpoint(checkpoints / "last.ckpt")["global_step"] == 6
    assert json.loads((tmp_path / "r/version_0/status.json").read_text()) == {"status": "interrupted"}


def test_a_loss_that_is_not_a_number_is_no_green_exit_and_spoils_no_checkpoint(run, images, fit_options, tmp_path):
    assert run(*fit_options(images, tmp_path, "--trainer.max_epochs", 3, *callback("SpoilWeights"))) == 1
    directory = tmp_path / "r" / "version_0"
    for name in ("best", "last"):
        checkpoint = read_checkpoint(directory / "checkpoints" / f"{name}.ckpt")
        assert checkpoint["global_step"] == 3
        assert checkpoint["state_dict"]["network.head.weight"].isfinite().all()
    assert json.loads((directory / "status.json").read_text()) == {"status": "failed"}


def test_the_distributed_sampler_is_off_unless_asked_for(images, fit_options, capsys):
    from project.cli import main

    with pytest.raises(SystemExit):
        main([*fit_options(images, "x", "--trainer.strategy", "ddp"), "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["use_distributed_sampler"] is False
