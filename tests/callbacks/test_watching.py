"""Watching shows and changes nothing."""

from __future__ import annotations

import pytest
import torch


def test_who_watches_changes_nothing(run, watched, fit_options, tmp_path, shown):
    """The same run with nothing drawn: the same weights, optimizer and random state, and the same metrics.csv."""
    options = ("--data.eval_batch_size", 4, "--trainer.log_every_n_steps", 1, "--watch.pictures", 0)
    options += ("--model.optimizer.lr", 0.015)
    assert run(*fit_options(watched.images, tmp_path / "runs", *options)) == 0
    other = tmp_path / "runs/r/version_0"
    tags = shown(other).Tags()
    assert tags["images"] == tags["tensors"] == tags["histograms"] == []
    assert tags["graph"] is False
    assert (other / "metrics.csv").read_bytes() == (watched.path / "metrics.csv").read_bytes()
    one, two = (torch.load(path / "checkpoints/last.ckpt", weights_only=True) for path in (watched.path, other))
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(one[part], two[part], rtol=0, atol=0)
    mine, other = one["random_state"][0], two["random_state"][0]
    assert torch.equal(mine.pop("torch"), other.pop("torch"))
    assert mine == other


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(fails, images, fit_options, tmp_path, share):
    assert "watch.pictures: must lie in 0..1" in fails(*fit_options(images, tmp_path, "--watch.pictures", share))


def test_a_misspelt_option_is_named(fails, images, fit_options, tmp_path):
    said = fails(*fit_options(images, tmp_path, "--watch.picture", 0))
    assert said == "error: watch.picture: there is no such option; did you mean 'pictures'?"


def test_one_batch_to_try_shows_nothing(run, images, fit_options, tmp_path):
    assert run(*fit_options(images, tmp_path / "runs", "--trainer.fast_dev_run", True, "--watch.graph", True)) == 0
    assert not (tmp_path / "runs").exists()


def test_without_loggers_there_is_nothing_to_show(run, images, fit_options, tmp_path):
    assert run(*fit_options(images, tmp_path / "runs", "--trainer.logger", False, "--watch.graph", True)) == 0
    assert not list((tmp_path / "runs").rglob("events*"))
