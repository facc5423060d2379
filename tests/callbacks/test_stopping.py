"""What several processes agree on; that real ones stop and go on exactly is in tests/system/test_ddp_stops.py."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from project.callbacks.stopping import StopTogether


class Two(SimpleNamespace):
    """What the callback asks of the Trainer of one of two processes; `other` is what the other one says."""

    def __init__(self, world_size: int = 2) -> None:
        strategy = SimpleNamespace(
            root_device=torch.device("cpu"), reduce=self._least, reduce_boolean_decision=self._either
        )
        super().__init__(
            world_size=world_size, strategy=strategy, sanity_checking=False, fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()),
            _signal_connector=SimpleNamespace(received_sigterm=False, _sigterm_notifier_fn="Lightning's"),
            _accelerator_connector=SimpleNamespace(cluster_environment=None), num_val_batches=[3], num_test_batches=[3],
            num_predict_batches=[3], other=False, others_batches=9, asked=0,
        )  # fmt: skip

    @property
    def received_sigterm(self) -> bool:
        return self._signal_connector.received_sigterm

    def _either(self, decision: bool, all: bool) -> bool:  # noqa: A002
        assert not all
        self.asked += 1
        return decision or self.other

    def _least(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "min"
        return tensor.clamp_max(self.others_batches)


@pytest.fixture
def two() -> tuple[Two, StopTogether]:
    trainer, callback = Two(), StopTogether()
    callback.setup(trainer, None, "fit")
    return trainer, callback


def test_a_signal_to_this_process_or_the_other_is_known_after_the_batch_and_not_before(two):
    trainer, callback = two
    callback.on_train_batch_end(trainer, None, None, None, 0)
    assert not trainer.received_sigterm
    trainer._signal_connector._sigterm_notifier_fn(signal.SIGTERM, None)  # as Lightning's handler calls it
    assert trainer.asked == 1, "nothing is exchanged inside a handler"
    assert not trainer.received_sigterm
    callback.on_train_batch_end(trainer, None, None, None, 1)
    assert trainer.received_sigterm

    trainer = Two()
    trainer.other = True
    StopTogether().on_train_batch_end(trainer, None, None, None, 0)
    assert trainer.received_sigterm


@pytest.mark.parametrize("stage", ["validation", "test", "predict"])
def test_evaluation_asks_while_every_process_has_more_batches(two, stage):
    trainer, callback = two
    trainer.others_batches = 2
    getattr(callback, f"on_{stage}_start")(trainer, None)
    for batch in range(3):
        getattr(callback, f"on_{stage}_batch_end")(trainer, None, None, None, batch)
    assert trainer.asked == 1  # after the first: the second is the other's last, and Lightning does not stop after it


def test_what_was_agreed_on_before_a_validation_waits_for_its_first_common_batch(two):
    trainer, callback = two
    trainer._signal_connector.received_sigterm = True  # the guard's, or a signal's in the last batch of an epoch
    callback.on_validation_start(trainer, None)
    assert not trainer.received_sigterm
    trainer.sanity_checking = True
    callback.on_validation_batch_end(trainer, None, None, None, 0)
    assert not trainer.received_sigterm
    trainer.sanity_checking = False
    callback.on_validation_batch_end(trainer, None, None, None, 0)
    assert trainer.received_sigterm


def test_what_came_too_late_in_a_validation_stops_the_run_after_the_epoch(two):
    trainer, callback = two
    trainer.others_batches = 1
    callback.on_validation_start(trainer, None)
    callback._note()
    callback.on_validation_batch_end(trainer, None, None, None, 0)
    assert not trainer.received_sigterm
    callback.on_train_epoch_end(trainer, None)
    assert trainer.received_sigterm


def test_one_process_is_left_to_lightning(two):
    trainer, callback = Two(world_size=1), StopTogether()
    callback.setup(trainer, None, "fit")
    assert trainer._signal_connector._sigterm_notifier_fn == "Lightning's"
    trainer._signal_connector.received_sigterm = True
    callback.on_validation_start(trainer, None)
    callback.on_train_batch_end(trainer, None, None, None, 0)
    assert trainer.received_sigterm
    assert trainer.asked == 0


class Warn(Callback):
    """Sends this process the scheduler's warning in its second batch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_under_slurm_a_warning_stops_the_run_and_makes_no_other_checkpoint(
    run, images, fit_options, tmp_path, monkeypatch
):
    job = {"JOB_ID": "12345", "JOB_NAME": "train", "NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1", "PROCID": "0",
           "LOCALID": "0", "NODEID": "0"}  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text(f"#!/bin/sh\necho >> {tmp_path}/requeued\n")
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    warned = ("--trainer.callbacks", f'[{{"class_path": "{__name__}.Warn"}}]')
    assert run(*fit_options(images, tmp_path / "runs"), *warned) == 143
    assert [path.name for path in tmp_path.rglob("*.ckpt")] == ["last.ckpt"]
    assert not (tmp_path / "requeued").exists()
