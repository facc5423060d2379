"""The slow weights against ones computed in float64 from the trained weights of each step."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import FSDPStrategy

from project.callbacks.lookahead import Lookahead, LookaheadOptions
from project.errors import ConfigError
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier

BEFORE: list[dict[str, torch.Tensor]] = []
AFTER: list[tuple[int, dict[str, torch.Tensor]]] = []


class Recorder(Callback):
    """Notes the weights before each batch, and after it, where Lookahead has not seen them yet."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        BEFORE.append(weights(pl_module.state_dict()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        AFTER.append((trainer.global_step, weights(pl_module.state_dict())))


def weights(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of the network, with the statistics of its norms."""
    names = [n for n in state_dict if n.startswith("network.") and not n.endswith("num_batches_tracked")]
    return {name: state_dict[name].clone() for name in names}


RECORD = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Recorder"}]))


@pytest.fixture
def fit(run, images, fit_options, tmp_path):
    """Trains with the arguments and a recorder; returns the last checkpoint."""

    def fit_and_record(root: str, *more: object) -> dict:
        BEFORE.clear()
        AFTER.clear()
        assert run(*fit_options(images, tmp_path / root, "--data.batch_size", 8, *RECORD, *more)) == 0
        return read_checkpoint(tmp_path / root / "r" / "version_0" / "checkpoints" / "last.ckpt")

    return fit_and_record


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("decay", "every", "total", "more"),
    [
        (0.95, 5, 12, ()),  # the last two steps are dropped
        (0.95, 3, 12, ()),
        (0.5, 1, 12, ()),
        (0.95, 2, 4, ("--trainer.accumulate_grad_batches", 4)),
    ],
)
def test_the_network_returns_to_the_slow_weights(fit, decay, every, total, more):
    checkpoint = fit("runs", "--lookahead.decay", decay, "--lookahead.every", every, *more)
    slow = {name: value.double().numpy() for name, value in BEFORE[0].items()}
    returned, previous = 0, 0
    following = [*BEFORE[1:], weights(checkpoint["state_dict"])]
    for (step, trained), then in zip(AFTER, following, strict=True):
        made, previous = step != previous, step
        if made and step % every == 0:
            kept = decay**every * (step / total) ** 3
            slow = {n: kept * value + (1 - kept) * trained[n].double().numpy() for n, value in slow.items()}
            returned += 1
        if made and (step % every == 0 or step == total):
            assert_close(then, slow)
        else:
            assert all(torch.equal(then[name], value) for name, value in trained.items())
    assert (previous, returned) == (total, total // every)
    assert checkpoint["global_step"] == total


def test_without_a_decay_there_is_none(fit):
    checkpoint = fit("runs")
    assert all(torch.equal(weights(checkpoint["state_dict"])[name], value) for name, value in AFTER[-1][1].items())
    assert "Lookahead" not in checkpoint["callbacks"]


def test_the_state_is_the_slow_weights(fit):
    state = fit("runs", "--lookahead.decay", 0.95)["callbacks"]["Lookahead"]["slow"]
    assert state.keys() == BEFORE[0].keys()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--lookahead.decay", 1.0), "lookahead.decay: must be at least 0 and below 1; got 1.0"),
        (("--lookahead.decay", 0.9, "--lookahead.every", 0), "lookahead.every: must be at least 1; got 0"),
        (("--lookahead.decay", 0.9, "--trainer.precision", "bf16-true"), "lookahead.decay: 16-bit weights are too"),
        (("--lookahead.decay", 0.9, "--trainer.max_epochs", "null", "--trainer.max_time", "00:00:00:05",
          "--model.lr_scheduler", "null"), "trainer.max_epochs: "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(fails, images, fit_options, tmp_path, more, message):
    assert message in fails(*fit_options(images, tmp_path / "runs", *more))


def test_weights_in_pieces_are_refused():
    """fsdp itself runs on GPUs alone."""
    trainer, task = (
        SimpleNamespace(strategy=FSDPStrategy(), global_step=0, max_epochs=-1, max_steps=1),
        Classifier(["a", "b"], 12),
    )
    with pytest.raises(ConfigError, match=r"^lookahead\.decay: .*fsdp.*ddp"):
        Lookahead(LookaheadOptions(0.9)).on_train_start(trainer, task)
