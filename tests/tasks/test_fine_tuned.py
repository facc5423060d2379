"""That tasks follow their fine-tuner; what it does to a network is in `test_fine_tuning`."""

from __future__ import annotations

import pytest
from torch import nn

from project.models.captioning import DecoderOptions
from project.tasks import Captioner, Classifier
from project.tasks.fine_tuned import FineTunedTask
from project.tasks.fine_tuning import FineTuning

FROZEN = FineTuning(frozen=["stem"])
TASKS = {
    "classifier": lambda: Classifier(["a", "b"], 16, backbone_options={"width": 4}, fine_tuning=FROZEN),
    "captioner": lambda: Captioner(
        ["a", "b"], 4, 16, backbone_options={"width": 4}, decoder=DecoderOptions(hidden_size=4), fine_tuning=FROZEN
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_is_frozen_stays_in_evaluation_mode(name):
    task = TASKS[name]()
    assert isinstance(task, FineTunedTask)
    network = task.network if name == "classifier" else task.network.encoder.network
    norms = {
        part: [m for m in network.stages[part].modules() if isinstance(m, nn.BatchNorm2d)] for part in network.stages
    }
    task.eval().train()
    assert [norm.training for norm in norms["stem"]] == [False]
    assert all(norm.training for part in ("stage1", "stage2") for norm in norms[part])


@pytest.mark.parametrize("name", TASKS)
def test_gradients_of_what_is_frozen_are_dropped_before_a_step(name):
    task = TASKS[name]()
    task.fine_tuner._learning = {"stem": list(task.parameters())[:1]}
    parameter = next(iter(task.parameters()))
    parameter.grad = parameter.detach().clone()
    task.on_before_optimizer_step(None)
    assert parameter.grad is None
