"""Numbers that are refused in one line, before anything is made."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("trainer.accumulate_grad_batches", 0, "must be at least 1; got 0"),
        ("trainer.check_val_every_n_epoch", 0, "must be at least 1; got 0"),
        ("trainer.gradient_clip_val", -1, "must be at least 0; got -1"),
        ("trainer.log_every_n_steps", -1, "must be at least 0; got -1"),
        ("trainer.val_check_interval", 0, "must be above 0; got 0"),
        ("seed", -1, "must be at least 0; got -1"),
        ("seed", 2**32, "must be at most 4294967295; got 4294967296"),
        ("budget.images", -5, "must be at least 1; got -5"),
        ("data.num_workers", -1, "must be at least 0; got -1"),
        ("name", "../x", "must be the name of a folder below trainer.default_root_dir; got '../x'"),
        ("name", "", "must be the name of a folder below trainer.default_root_dir; got ''"),
    ],
)
def test_what_is_out_of_range_is_one_line(fails, images, fit_options, tmp_path, option, value, message):
    assert fails(*fit_options(images, tmp_path / "runs", f"--{option}={value}")) == f"error: {option}: {message}"
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "options", "instead"),
    [
        ("StochasticWeightAveraging", {"swa_lrs": 0.05}, "ema.decay"),
        ("BackboneFinetuning", {}, "model.fine_tuning.head_epochs"),
        ("ModelPruning", {"pruning_fn": "l1_unstructured"}, "channels-last"),
        ("Timer", {"duration": "00:00:01:00"}, "trainer.max_time"),
    ],
)
def test_callback_that_cannot_run_here_is_one_line(fails, images, fit_options, tmp_path, name, options, instead):
    for callbacks in ([{"class_path": name, "init_args": options}], {"class_path": name, "init_args": options}):
        line = fails(*fit_options(images, tmp_path / "runs", "--trainer.callbacks", json.dumps(callbacks)))
        assert line.startswith(f"error: trainer.callbacks: {name} ")
        assert instead in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--trainer.val_check_interval", 1000),
            "error: trainer: `val_check_interval` (1000) must be less than or equal",
        ),
        (("--model.optimizer.lr", -1), "error: model.optimizer: Invalid learning rate: -1"),
        (("--trainer.accelerator", "tpu"), "error: trainer: "),
        (
            (
                "--model.lr_scheduler",
                "OneCycleLR",
                "--model.lr_scheduler.max_lr",
                0.1,
                "--model.lr_scheduler.total_steps",
                0,
            ),
            "error: model.lr_scheduler: ",
        ),
    ],
)
def test_what_libraries_refuse_is_one_line(fails, images, fit_options, tmp_path, options, message):
    assert fails(*fit_options(images, tmp_path / "runs", *options)).startswith(message)
