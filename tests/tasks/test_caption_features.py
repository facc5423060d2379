"""Features that are kept: training on them is training on the images, up to float16."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from project.runs.checkpoints import read_checkpoint

FROZEN = ("--model.fine_tuning.frozen", "all")


@pytest.fixture
def fit(run, captioned, caption_options, tmp_path):
    """Trains a captioner; returns its last weights and its first process's record of losses."""

    def train(name: str, *options: object) -> tuple[dict, list[str]]:
        cache = ("--data.cache_dir", tmp_path / "cache")
        assert run(*caption_options(captioned, tmp_path / name, *FROZEN, *cache, *options)) == 0
        directory = tmp_path / name / "c" / "version_0"
        rows = (directory / "metrics.csv").read_text().splitlines()
        return read_checkpoint(directory / "checkpoints" / "last.ckpt")["state_dict"], rows

    return train


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_training_on_kept_features_is_training_on_the_images(fit, storage):
    live, _ = fit("live", "--data.storage", storage)
    kept, _ = fit("kept", "--data.storage", storage, "--data.cache_features", True)
    assert live.keys() == kept.keys()
    for name, value in live.items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=3e-4)


def test_they_are_found_again_and_those_of_another_network_are_not(fit, tmp_path):
    kept = lambda: {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("features-*.cache")}  # noqa: E731
    first, rows = fit("first", "--data.cache_features", True)
    files = kept()
    assert len(files) == 2
    again, same_rows = fit("again", "--data.cache_features", True)
    assert kept() == files
    assert rows == same_rows
    assert all(torch.equal(again[name], value) for name, value in first.items())
    fit("other", "--data.cache_features", True, "--seed", 1)
    assert len(kept()) == 4


def test_those_of_an_image_that_was_changed_are_not_found(run, captioned, caption_options, tmp_path):
    """In place, so that size, captions and time stay."""
    drawings = Path(shutil.copytree(captioned, tmp_path / "drawings"))
    options = (
        *FROZEN,
        "--data.cache_dir",
        tmp_path / "cache",
        "--data.cache_features",
        True,
        "--trainer.max_epochs",
        1,
    )
    assert run(*caption_options(drawings, tmp_path / "runs", *options)) == 0
    before = set((tmp_path / "cache").glob("features-*.cache"))
    for path in drawings.glob("*.png"):
        status = path.stat()
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run(*caption_options(drawings, tmp_path / "runs", *options)) == 0
    assert len(set((tmp_path / "cache").glob("features-*.cache")) - before) == 2


def test_features_that_cannot_be_kept_are_computed_without_it(fit, tmp_path, capsys):
    kept, rows = fit("kept", "--data.cache_features", True)
    (tmp_path / "file").write_text("in the way")
    capsys.readouterr()
    live, same_rows = fit("memory", "--data.cache_features", True, "--data.cache_dir", tmp_path / "file")
    assert capsys.readouterr().out.count("features are not kept: ") == 1
    assert rows == same_rows
    assert all(torch.equal(live[name], value) for name, value in kept.items())


def test_an_ensemble_wants_images(fails, run, captioned, caption_options, tmp_path):
    assert run(*caption_options(captioned, tmp_path / "other", "--trainer.max_epochs", 1)) == 0
    other = tmp_path / "other" / "c" / "version_0" / "checkpoints" / "last.ckpt"
    options = (*FROZEN, "--data.cache_features", True, "--model.decoding.ensemble", f"[{other}]")
    line = fails(*caption_options(captioned, tmp_path / "runs", *options))
    assert (
        line
        == "error: data.cache_features: the other networks of model.decoding.ensemble want images; give one of both"
    )


def test_a_network_that_learns_is_refused(fails, captioned, caption_options, tmp_path):
    line = fails(*caption_options(captioned, tmp_path / "runs", "--data.cache_features", True))
    assert line.startswith("error: data.cache_features: the network that sees learns, too; freeze it")
    options = ("--data.cache_features", True, *FROZEN, "--data.augment.crop", 1)
    line = fails(*caption_options(captioned, tmp_path / "runs", *options))
    assert line.startswith("error: data.cache_features: keeps what is seen in every image as it is")


def test_images_are_seen_again_in_testing(run, fit, captioned, tmp_path):
    fit("kept", "--data.cache_features", True)
    assert run("test", "--ckpt_path", tmp_path / "kept" / "c" / "version_0") == 0
    metrics = json.loads((tmp_path / "kept" / "c" / "version_0" / "test_metrics.json").read_text())
    assert "test/cider_d" in metrics
