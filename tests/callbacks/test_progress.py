"""What people see of a run."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
import time

import pytest
from lightning.pytorch import Callback

from project.callbacks.progress import Bar, EpochLines, progress_callbacks
from project.cli import main


@pytest.mark.parametrize(
    ("style", "terminal", "kinds"),
    [
        ("auto", True, [Bar, EpochLines]),
        ("auto", False, [EpochLines]),
        ("bar", False, [Bar, EpochLines]),
        ("lines", True, [EpochLines]),
        ("none", True, []),
    ],
)
def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch, style, terminal, kinds):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert [type(callback) for callback in progress_callbacks(style)] == kinds


def epoch_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("epoch ")]


def test_one_line_an_epoch_with_the_numbers_of_the_table(images, fit_options, tmp_path, capsys):
    main([*fit_options(images, tmp_path, "--trainer.max_epochs", 3), "--progress", "lines"])
    lines = epoch_lines(capsys.readouterr().out)
    with open(tmp_path / "r/version_0/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(lines) == len(rows) == 3
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), 1):
        match = re.fullmatch(rf"epoch {number}/3  \d+\.\d s  (.*)", line)
        names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
        assert match[1] == "  ".join(f"{name} {float(row[name]):.4f}" for name in names)


def test_a_run_of_steps_names_no_number_of_epochs_that_is_not_one(images, fit_options, tmp_path, capsys):
    options = fit_options(images, tmp_path, "--trainer.max_steps", 6, "--progress", "lines")
    at = options.index("--trainer.max_epochs")
    main(options[:at] + options[at + 2 :])
    lines = epoch_lines(capsys.readouterr().out)
    assert len(lines) == 2
    assert "-1" not in "".join(lines)


class StopInMidEpoch(Callback):
    """Asks to stop in the second batch of the second epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)


def test_an_epoch_that_goes_on_in_its_middle_has_its_own_time_and_bar(images, fit_options, tmp_path, capsys):
    stop = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.StopInMidEpoch"}]))
    with pytest.raises(SystemExit):
        main([*fit_options(images, tmp_path, *stop), "--progress", "none"])
    capsys.readouterr()
    start = time.monotonic()
    main(["fit", "--ckpt_path", str(tmp_path / "r/version_0"), "--trainer.callbacks", "[]", "--progress", "bar"])
    captured = capsys.readouterr()
    (line,) = epoch_lines(captured.out)
    assert float(re.fullmatch(r"epoch 2/2  (\d+\.\d) s  .*", line)[1]) <= time.monotonic() - start
    assert re.search(r"epoch 2/2.*[23]/3", captured.err)


def test_the_bar_shows_the_validation_of_the_epoch_before(images, fit_options, tmp_path, capsys):
    main([*fit_options(images, tmp_path, "--trainer.max_epochs", 3), "--progress", "bar"])
    captured = capsys.readouterr()
    with open(tmp_path / "r/version_0/metrics.csv") as file:
        accuracy = [f"{float(row['val/accuracy']):.4f}" for row in csv.DictReader(file)]
    shown = re.findall(r"val/accuracy (\d\.\d+)", captured.err)
    assert set(accuracy[:2]) <= set(shown) <= set(accuracy)
    assert "v_num" not in captured.out + captured.err
    assert "\x1b" not in captured.out  # what is printed stays plain where it is written to a file


@pytest.mark.parametrize("style", ["bar", "lines", "none"])
def test_a_run_has_the_bar_that_was_asked_for_and_no_other(images, fit_options, tmp_path, capsys, style):
    main([*fit_options(images, tmp_path, "--trainer.max_epochs", 1), "--progress", style])
    captured = capsys.readouterr()
    assert ("epoch 1/1" in captured.err, bool(epoch_lines(captured.out))) == (style == "bar", style != "none")


@pytest.mark.parametrize(("verb", "what"), [("test", "testing"), ("predict", "predicting")])
def test_testing_and_predicting_have_a_bar_each(trained, trained_images, capsys, verb, what):
    files = ["--data.predict", str(trained_images / "a")] if verb == "predict" else []
    main([verb, "--ckpt_path", str(trained), *files, "--progress", "bar"])
    assert re.search(rf"{what}.*1/1", capsys.readouterr().err)


def test_switched_off_it_is_silent(images, fit_options, tmp_path, capsys):
    options = fit_options(images, tmp_path, "--trainer.enable_progress_bar", "false", "--progress", "bar")
    main(options)
    captured = capsys.readouterr()
    assert "epoch" not in captured.out + captured.err


def test_a_bar_of_lightnings_own_in_the_list_takes_the_place_of_the_standing_one(images, fit_options, tmp_path, capsys):
    main([*fit_options(images, tmp_path, "--trainer.max_epochs", 1), "--trainer.callbacks", "[TQDMProgressBar]"])
    captured = capsys.readouterr()
    assert "Epoch 0" in captured.out + captured.err  # as Lightning's begins
