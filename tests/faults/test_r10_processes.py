"""R10: when a process of a run dies, the run ends soon, says so with its status, and leaves no process behind."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.commands import ROOT, state
from tests.faults.outcomes import STEPS, leftovers, steps_of

PROMISE = "R10"
STREAM = {"data.storage": "stream", "data.num_workers": 2}


def workers(command) -> list[int]:
    return [pid for pid in command.processes() if pid != command.pid]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("task", ["Classifier", "Captioner", "Distiller"])
def test_a_loader_worker_dies(fit, directory, ends_as_whole, task, number):
    """The run goes on as if nothing had been: from there, where it is noticed between two batches, or a step earlier."""
    command = fit(task, "train 29", more=STREAM)
    command.wait_for_pause()
    for pid in workers(command):
        os.kill(pid, number)
    command.go_on()
    assert command.wait_for_all() not in (0, None)
    assert "worker" in command.output
    # torch may notice in the middle of a batch, which leaves the checkpoint before; what had been read is trained on
    assert steps_of(directory) == STEPS or 29 <= steps_of(directory) < 2 * STEPS
    ends_as_whole(task, STREAM)


@pytest.mark.parametrize("task", ["Classifier", "Captioner", "Distiller"])
def test_the_main_process_dies(fit, task):
    command = fit(task, "train 29", more=STREAM)
    command.wait_for_pause()
    assert len(workers(command)) >= 2
    command.send(signal.SIGKILL)
    assert command.wait_for_all() == -signal.SIGKILL


@pytest.mark.parametrize(("task", "rank"), [("Classifier", 0), ("Classifier", 1), ("Captioner", 1)])
def test_one_of_two_processes_dies(fit, directory, task, rank):
    config = {"config": ROOT / "configs" / "trainer" / "ddp.yaml", "trainer.strategy": "ddp", "trainer.devices": 2}
    command = fit(task, "train 14", more=config, environment={"PAUSE_RANK": str(rank)}, imports=True)
    paused: list[int] = []
    command.wait_for(lambda: paused.extend(pid for pid in command.processes() if state(pid) == "T") or paused)
    os.kill(paused[0], signal.SIGKILL)
    assert command.wait_for_all() not in (0, None)
    assert steps_of(directory) == STEPS // 2  # of the first epoch, which two share
    assert set(leftovers(directory)) <= {".lock"}
