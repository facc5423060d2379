"""What a run says of itself, word for word."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

from lightning.pytorch import Callback

from project.cli.summary import closing, how_to_go_on
from project.runs.directory import RunDirectory
from project.tasks import Classifier


class StopInTheSecondEpoch(Callback):
    """Sends this process SIGTERM."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def said(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_start_and_the_end_of_a_fit(run, images, fit_options, tmp_path, capsys):
    assert run(*fit_options(images, tmp_path / "runs")) == 0
    lines, directory = said(capsys), tmp_path / "runs" / "r" / "version_0"
    weights = Classifier.load_from_checkpoint(directory / "checkpoints" / "last.ckpt").network.parameters()
    assert lines[:5] == [
        "data: ImageFolder, 48 training, 6 validation and 6 test images of 12 × 12 pixels, 3 classes",
        f"network: Classifier, small_resnet, {sum(each.numel() for each in weights):,} parameters",
        "device: cpu with 1 thread, 32-true",
        f"watch: tensorboard --logdir {tmp_path / 'runs'}",
        f"run: {directory}",
    ]
    assert re.fullmatch(r"best val/accuracy \d\.\d{4} at step \d+", lines[5])
    assert lines[6:] == [
        f"checkpoints: {directory / 'checkpoints'} (best.ckpt, last.ckpt)",
        f"next: python -m project test --ckpt_path {directory}",
        f"next: python -m project predict --ckpt_path {directory} --data.predict IMAGES",
        f"next: python scripts/report.py --ckpt_path {directory}",
        f"run: {directory}",
    ]


def test_the_next_commands_run(run, trained, trained_images, capsys):
    assert run("test", "--ckpt_path", trained) == 0
    lines = said(capsys)
    results = json.loads((trained / "test_metrics.json").read_text())
    assert f"metrics: {trained / 'test_metrics.json'}" in lines
    table = dict(line.split() for line in lines if line.startswith("test/"))
    assert {
        name: f"{value:.4f}" for name, value in results.items() if "/" in name and "class_accuracy" not in name
    } == table
    assert run("predict", "--ckpt_path", trained, "--data.predict", trained_images / "a") == 0
    lines = said(capsys)
    assert lines[0] == f"images: {trained_images / 'a'}"
    assert f"predictions: {trained / 'predictions.jsonl'}" in lines


def test_a_captioner_has_words_in_place_of_classes(run, captioned, caption_options, tmp_path, capsys):
    assert run(*caption_options(captioned, tmp_path, "--trainer.max_epochs", 1)) == 0
    lines = said(capsys)
    assert lines[0] == "data: KarpathyCaptions, 24 training, 12 validation and 12 test images of 16 × 16 pixels"
    assert re.fullmatch(
        r"network: Captioner, small_resnet and lstm decoder with attention soft, [\d,]+ parameters", lines[1]
    )


def test_a_run_that_is_stopped_says_how_it_goes_on(run, images, fit_options, tmp_path, capsys):
    more = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.StopInTheSecondEpoch"}]))
    assert run(*fit_options(images, tmp_path, *more)) == 143
    lines, directory = said(capsys), tmp_path / "r" / "version_0"
    assert lines[-1] == f"to go on: python -m project fit --ckpt_path {directory}"
    assert run("fit", "--ckpt_path", directory, "--trainer.callbacks", "[]") == 0


def test_commands_of_a_directory_with_a_hostile_name_are_quoted(trained):
    for name in ("$(touch owned)", "a; b", "it's"):
        run = RunDirectory(Path(shutil.copytree(trained, trained.parent / name)))
        lines = [how_to_go_on(run), *closing(None, run, "fit")]
        commands = [line.partition(": ")[2] for line in lines if line.startswith(("to go on: ", "next: "))]
        assert len(commands) == 4
        for command in commands:
            words = shlex.split(command)
            assert words[words.index("--ckpt_path") + 1] == str(run.path)
