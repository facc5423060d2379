"""Loader workers: how many there are changes nothing, and when one dies the run ends soon and loses nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal

import pytest
from lightning.pytorch import Callback

from project.runs.checkpoints import read_checkpoint


class KillWorkers(Callback):
    """Ends all loader workers with SIGKILL in the second epoch, as a system does that is short of memory."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 16:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)


KILL = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.KillWorkers"}]))
STREAM = ("--data.storage", "stream", "--data.augment.flip", "true", "--data.batch_size", 4)  # 12 batches an epoch


def checkpoint(directory) -> dict:
    return read_checkpoint(directory / "r" / "version_0" / "checkpoints" / "last.ckpt")


def weights(directory) -> list[bytes]:
    return [value.numpy().tobytes() for value in checkpoint(directory)["state_dict"].values()]


def metrics(directory) -> str:
    return (directory / "r" / "version_0" / "metrics.csv").read_text()


def test_a_dead_worker_ends_the_run_soon(run, images, fit_options, tmp_path):
    with pytest.raises((RuntimeError, OSError)):  # whichever notices it first
        run(*fit_options(images, tmp_path / "cut", *STREAM, *KILL))
    assert multiprocessing.active_children() == []
    assert 12 <= checkpoint(tmp_path / "cut")["global_step"] < 24
    resume = ("--ckpt_path", "last", "--trainer.callbacks", "null")
    assert run(*fit_options(images, tmp_path / "cut", *STREAM, *resume)) == 0
    assert run(*fit_options(images, tmp_path / "whole", *STREAM)) == 0
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_the_number_of_workers_changes_no_bit(run, images, fit_options, tmp_path):
    for workers in (0, 1, 2):
        assert run(*fit_options(images, tmp_path / str(workers), *STREAM, "--data.num_workers", workers)) == 0
    assert weights(tmp_path / "0") == weights(tmp_path / "1") == weights(tmp_path / "2")
    assert metrics(tmp_path / "0") == metrics(tmp_path / "1") == metrics(tmp_path / "2")
