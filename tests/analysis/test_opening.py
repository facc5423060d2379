"""A run opened from Python is the network that was tested, with the data that it was tested on."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from project.analysis.opening import open_run
from project.errors import CheckpointError, RunError


def test_it_measures_what_test_measured(trained, run):
    assert run("test", "--ckpt_path", trained) == 0
    recorded = json.loads((trained / "test_metrics.json").read_text())["test/accuracy"]
    task, data = open_run(trained)
    assert not task.training
    with torch.no_grad():
        right = [(task(batch.images).argmax(1) == batch.labels) for batch in data.batches_in_order("test", task.device)]
    assert torch.cat(right).float().mean().item() == pytest.approx(recorded)


def test_data_that_have_moved(trained, trained_images, tmp_path):
    trained_images_there = tmp_path / "elsewhere"
    trained_images_there.symlink_to(trained_images)
    data = open_run(trained, root=str(trained_images_there)).data
    assert str(data.splits["train"].images[0]).startswith(str(trained_images_there))


def test_what_only_training_needs_is_left_out(trained):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    config["data"]["init_args"]["augment"] = {"flip": True}
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    assert not open_run(trained).data.augment.flip


@pytest.mark.parametrize("name", ["os.system", "project.data.Batch", "project.data.base", None])
def test_only_data_sets_of_this_codebase_are_opened(trained, name):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    config["data"]["class_path"] = name
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match="names no data set"):
        open_run(trained)


def test_open_run_options_of_a_stranger_are_checked_and_write_nowhere(trained, tmp_path):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    config["data"]["init_args"]["cache_dir"] = str(tmp_path / "theirs")
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    assert open_run(trained).data.cache_dir != tmp_path / "theirs"
    config["data"]["init_args"]["batch_size"] = {"class_path": "os.system"}
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match=r"config\.yaml: data\.batch_size: must be int"):
        open_run(trained)


def test_a_run_without_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no checkpoints/best\.ckpt"):
        open_run(tmp_path)
