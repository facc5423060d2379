"""Several processes of one run, forked from one that has imported the project: importing takes seconds, a fork none."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from project.models import BACKBONES, Backbone
from project.runs.checkpoints import read_checkpoint
from tests.forks import ROOT, fork, printed, run_here

PATIENCE = 100  # seconds until processes are taken to hang
TWO = ("--config", ROOT / "configs" / "trainer" / "ddp.yaml", "--trainer.devices", 2, "--trainer.accelerator", "cpu",
       "--trainer.precision", "32-true")  # fmt: skip


def run_ranks(args: Sequence[object], folder: Path, rank_name: str = "LOCAL_RANK") -> tuple[list[int], list[str]]:
    """Runs a command as two processes, as a cluster would start them; returns their statuses and outputs.

    `LOCAL_RANK` tells them apart, or `NODE_RANK`, as on two machines.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    args = [*map(str, args), "--progress", "none"]
    logs = [folder / f"rank{rank}.txt" for rank in range(2)]
    processes = [fork(_run, args, log, folder, world | {rank_name: str(rank)}) for rank, log in enumerate(logs)]
    for process in processes:
        process.join(PATIENCE)
    hung = [process.is_alive() for process in processes]
    for process in processes:
        if process.is_alive():
            os.kill(process.pid, signal.SIGABRT)  # where it was stands in its output then
            process.join(5)
        process.kill()
    outputs = [printed(log) for log in logs]
    assert not any(hung), "\n".join(["some hang:", *outputs])
    return [process.exitcode for process in processes], outputs


def launch(args: Sequence[object], folder: Path) -> tuple[int, str]:
    """Runs `python -m project`, as a user starts it, and Lightning the other processes; returns status and output."""
    command = [sys.executable, "-m", "project", *map(str, args), "--progress", "none"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout


def _run(args: list[str], log: Path, folder: Path, world: dict[str, str]) -> None:
    os.environ |= world
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    rank_zero_only.rank = int(world.get("LOCAL_RANK", 0))  # which Lightning looks up when it is imported
    run_here(args, log, folder)


def everything(directory: Path) -> dict[str, object]:
    """Weights, their averages, optimizer, schedule, random state of both, and metrics, bit by bit."""
    checkpoint = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    kept = (
        "state_dict",
        "raw_weights",
        "ema",
        "optimizer_states",
        "lr_schedulers",
        "random_state",
        "global_step",
        "epoch",
    )
    with open(directory / "metrics.csv") as file:
        return {**flat({name: checkpoint.get(name) for name in kept}), "metrics.csv": list(csv.DictReader(file))}


def flat(value: Any, name: str = "") -> dict[str, object]:
    if isinstance(value, torch.Tensor):
        return {name: (value.dtype, value.shape, value.numpy().tobytes())}
    if not isinstance(value, (dict, list, tuple)):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {path: leaf for key, inside in items for path, leaf in flat(inside, f"{name}/{key}").items()}


class SignalAt(Callback):
    """Sends processes SIGTERM, once, at a step of training or at the second batch of the validation after it.

    Args:
        step: optimizer steps before it.
        ranks: which processes send it to themselves.
        validating: whether in validation.
    """

    def __init__(self, step: int, ranks: list[int], validating: bool = False) -> None:
        self.step, self.ranks, self.validating = step, ranks, validating

    def _send(self, trainer) -> None:
        if trainer.global_rank in self.ranks:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not self.validating and trainer.global_step == self.step:
            self._send(trainer)
            self.step = -1

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.validating and trainer.global_step == self.step and batch_idx == 1:
            self._send(trainer)
            self.step = -1


class SignalInEvaluation(Callback):
    """Sends the second process SIGTERM after its first batch of a test or a prediction."""

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if trainer.global_rank == 1 and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    on_predict_batch_start = on_test_batch_start


class White(nn.Module):
    """Divides by zero where an image is white."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.amin((1, 2, 3), keepdim=True) < 1.9).float()


def dropout_net(num_classes: int, image_size: int, trap: bool = False) -> Backbone:
    """Small, with batch norm and with dropout, whose draws show when the random state is not restored."""
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)]
    stage = nn.Sequential(*([White()] if trap else []), *layers)
    return Backbone({"only": stage}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8, num_classes)


BACKBONES["ranks_net"] = dropout_net
