"""Freezing, staged unfreezing, rates by layer: what changes in a real run, and when."""

from __future__ import annotations

import itertools

import pytest
import torch
from lightning.pytorch import Trainer

from project.data import ImageFolder
from project.errors import CheckpointError, ConfigError
from project.models import build_backbone
from project.tasks import Classifier
from project.tasks.fine_tuning import FineTuner, FineTuning

PARTS = ["stem", "stage1", "stage2", "head"]  # small_resnet's pool has no weights


def tuner(**options) -> FineTuner:
    return FineTuner(build_backbone("small_resnet", 3, 12, {"width": 4}), FineTuning(**options))


def part(name: str) -> str:
    return name.removeprefix("network.").removeprefix("stages.").split(".")[0]


@pytest.mark.parametrize(
    ("options", "frozen"),
    [
        ({}, [[], [], []]),
        ({"frozen": ["stem"]}, [["stem"]] * 3),
        ({"frozen": "all"}, [PARTS[:3]] * 3),
        ({"head_epochs": 2}, [PARTS[:3], PARTS[:3], []]),
        ({"unfreeze_epochs": 1}, [PARTS[:2], PARTS[:1], []]),
        ({"head_epochs": 1, "unfreeze_epochs": 2}, [PARTS[:3], PARTS[:2], PARTS[:2], PARTS[:1], PARTS[:1], []]),
        ({"head_epochs": 1, "unfreeze_epochs": 1, "frozen": ["stem"]}, [PARTS[:3], PARTS[:2], ["stem"], ["stem"]]),
        ({"freeze_after": {"stem": 1, "stage1": 2}}, [[], ["stem"], PARTS[:2], PARTS[:2]]),
    ],
)
def test_which_parts_are_frozen_in_each_epoch(options, frozen):
    assert [tuner(**options).frozen_at(epoch) for epoch in range(len(frozen))] == [set(names) for names in frozen]


def test_the_learning_rate_falls_from_the_head_down():
    scale = tuner(layer_decay=0.5).lr_scale
    assert [scale(f"stages.{name}.0.weight") for name in PARTS[:3]] == [0.125, 0.25, 0.5]
    assert scale("head.weight") == 1.0


def test_biases_of_batch_norms_have_their_own_factor():
    scale = tuner(layer_decay=0.5, norm_bias_lr=64.0).lr_scale
    assert [scale(f"stages.stem.1.{kind}") for kind in ("bias", "weight")] == [8.0, 0.125]
    assert scale("stages.stage2.4.convs.1.1.bias") == 32.0
    assert scale("head.bias") == 1.0


def test_a_pool_with_weights_is_a_part():
    cnn = FineTuner(build_backbone("simple_cnn", 3, 8), FineTuning(frozen=["pool"], layer_decay=0.5))
    assert cnn.frozen_at(0) == {"pool"}
    assert [cnn.lr_scale(name) for name in ("head.bias", "pool.1.weight", "stages.conv2.0.bias")] == [1, 0.5, 0.25]


# ---- in a run


@pytest.fixture
def fit(images, tmp_path):
    """Trains a small classifier; returns it with its state after each epoch, the first being before training."""

    def run(epochs: int, hook=None, **options) -> list[dict[str, torch.Tensor]]:
        states = []

        class Watched(Classifier):
            def on_train_epoch_start(self):
                super().on_train_epoch_start()
                states.append({name: value.clone() for name, value in self.state_dict().items()})
                if hook:
                    hook(self)

        torch.manual_seed(0)
        task = Watched(["a", "b", "c"], 12, backbone_options={"width": 4}, **options)
        data = ImageFolder(str(images), image_size=12, batch_size=16, cache_dir=str(tmp_path / "cache"))
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(task, datamodule=data)
        # once more at the start (`on_train_start`), and at the end
        return [*states[1:], task.state_dict()]

    return run


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Parts in which anything of the network changed: weights, or statistics of its norms."""
    names = [name for name in before if name.startswith("network.") and not torch.equal(before[name], after[name])]
    return {part(name) for name in names}


def test_staged_unfreezing_changes_one_part_more_each_epoch_and_nothing_below(fit):
    states = fit(4, fine_tuning=FineTuning(head_epochs=1, unfreeze_epochs=1))
    steps = [changed(one, other) for one, other in itertools.pairwise(states)]
    counted = [
        {part(name) for name in before if name.endswith("num_batches_tracked") and before[name] != after[name]}
        for before, after in itertools.pairwise(states)
    ]
    assert counted == [set(), {"stage2"}, {"stage2", "stage1"}, set(PARTS[:3])], "norms count where they learn"
    assert steps == [{"head"}, {"head", "stage2"}, {"head", "stage2", "stage1"}, set(PARTS)]


def test_what_is_frozen_for_good_never_changes_and_is_in_no_optimizer(fit):
    seen = []

    def hook(task: Classifier) -> None:
        held = {id(p) for group in task.trainer.optimizers[0].param_groups for p in group["params"]}
        seen.append({part(name) for name, p in task.network.named_parameters() if id(p) in held})

    states = fit(2, hook, fine_tuning=FineTuning(frozen=["stem", "stage1"]))
    assert changed(states[0], states[-1]) == {"stage2", "head"}
    assert seen[0] == {"stage2", "head"}


def test_frozen_norms_keep_their_statistics_and_learn_their_scale(fit):
    states = fit(1, fine_tuning=FineTuning(freeze_norms=True))
    for name, before in states[0].items():
        if name.startswith("network.") and name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(before, states[-1][name]), name
    scale = "network.stages.stem.1.weight"
    assert not torch.equal(states[0][scale], states[-1][scale])


def test_layer_decay_sets_the_rates_of_the_groups_and_a_schedule_keeps_them_apart(fit):
    rates = []

    def hook(task: Classifier) -> None:
        optimizer = task.trainer.optimizers[0]
        rates.append({g["lr"] for g in optimizer.param_groups})
        for group in optimizer.param_groups:
            for p in group["params"]:
                name = next(name for name, q in task.network.named_parameters() if q is p)
                assert group["initial_lr"] == pytest.approx(0.1 * 0.5 ** (3 - PARTS.index(part(name))))
                assert (group["weight_decay"] == 0) == (p.ndim < 2)

    fit(2, hook, fine_tuning=FineTuning(layer_decay=0.5))
    for one in rates:
        top = max(one)
        assert sorted(one) == pytest.approx([top / 8, top / 4, top / 2, top])


def test_without_saving_work_gradients_of_frozen_parts_are_dropped():
    """As with several processes, which agree on the parameters that have gradients when training begins."""
    task = Classifier(["a", "b"], 12, backbone_options={"width": 4}, fine_tuning=FineTuning(head_epochs=1))
    task.fine_tuner.freeze_for_good()
    task.fine_tuner.set_epoch(0, save_work=False)
    task(torch.zeros(2, 3, 12, 12, dtype=torch.uint8)).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in task.network.parameters())
    task.fine_tuner.drop_gradients()
    assert {part(name) for name, p in task.network.named_parameters() if p.grad is not None} == {"head"}


def test_training_mode_leaves_frozen_parts_in_evaluation_mode():
    task = Classifier(["a", "b"], 12, backbone_options={"width": 4}, fine_tuning=FineTuning(frozen=["stem"]))
    task.eval().train()
    assert not task.network.stages["stem"].training
    assert task.network.stages["stage1"].training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen": ["stage3"]}, r"model.fine_tuning.frozen: the network has no part 'stage3'; did you mean 'stage"),
        ({"frozen": ["all", "head"]}, None),
        ({"freeze_after": {"stage3": 1}}, r"model.fine_tuning.freeze_after: the network has no part 'stage3'; did you"),
        ({"freeze_after": {"stem": -1}}, r"model.fine_tuning.freeze_after.stem: must be at least 0; got -1"),
        ({"norm_bias_lr": -1.0}, r"model.fine_tuning.norm_bias_lr: must be at least 0; got -1.0"),
        ({"layer_decay": 0.0}, "layer_decay"),
        ({"layer_decay": 1.5}, "layer_decay"),
        ({"head_epochs": -1}, "head_epochs"),
        ({"frozen": ["stem", "stage1", "stage2", "head"]}, "nothing would learn"),
    ],
)
def test_options_that_cannot_be_are_config_errors(options, message):
    if message is None:
        tuner(**options)
        return
    with pytest.raises(ConfigError, match=message):
        tuner(**options)


@pytest.mark.parametrize(
    ("earlier", "now", "option"),
    [
        ({"frozen": "all"}, {"frozen": []}, "frozen"),
        ({"frozen": ["stem"]}, {"frozen": ["stem", "stage1"]}, "frozen"),
        ({}, {"layer_decay": 0.9}, "layer_decay"),
        ({"norm_bias_lr": 64.0}, {}, "norm_bias_lr"),
        ({"frozen": "all"}, {"frozen": ["stage2", "stage1", "stem"]}, None),
        ({"layer_decay": 0.8, "norm_bias_lr": 2.0}, {"layer_decay": 0.9, "norm_bias_lr": 3.0}, None),
        ({"head_epochs": 1, "freeze_after": {"stem": 1}}, {"unfreeze_epochs": 3, "freeze_norms": True}, None),
    ],
)
def test_check_resumable_refuses_other_parameter_groups_alone(earlier, now, option):
    tuner = FineTuner(build_backbone("small_resnet", 3, 16, {"width": 4}), FineTuning(**now))
    if option is None:
        tuner.check_resumable(FineTuning(**earlier))
    else:
        with pytest.raises(CheckpointError, match=rf"^model\.fine_tuning\.{option}: .* --model\.init_from$"):
            tuner.check_resumable(FineTuning(**earlier))
