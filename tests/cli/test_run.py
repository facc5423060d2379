"""Where a command writes, what it refuses to mix, and what it prints at its end."""

from __future__ import annotations

import csv
import json
import re
import sys

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from project.callbacks.checkpointing import CheckpointOptions
from project.cli import main
from project.cli.run import monitored
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier


def versions(root, name: str = "r") -> list[str]:
    return sorted(path.name for path in (root / name).iterdir())


def test_a_fit_fills_a_new_directory_and_says_where(run, images, fit_options, tmp_path, capsys):
    for number in range(2):
        assert run(*fit_options(images, tmp_path / "runs")) == 0
        directory = tmp_path / "runs" / "r" / f"version_{number}"
        assert capsys.readouterr().out.splitlines()[-1] == f"run: {directory}"
    names = {path.name for path in directory.iterdir()}
    assert {"config.yaml", "metrics.csv", "provenance.json", "status.json", "checkpoints"} <= names
    assert list(directory.glob("events.out.tfevents.*"))
    assert not [name for name in names if name.startswith(".")]


def test_the_default_root_and_name(run, images, fit_options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = fit_options(images, tmp_path)
    at = options.index("--trainer.default_root_dir")
    assert run(*options[:at]) == 0
    assert (tmp_path / "runs" / "classifier-imagefolder" / "version_0" / "checkpoints" / "best.ckpt").is_file()


def test_evaluation_writes_into_the_checkpoints_run_and_predict_beside_it(run, trained, trained_images, tmp_path):
    for verb in ("test", "validate", "predict"):
        assert run(verb, "--ckpt_path", trained, "--data.predict", trained_images) == 0
    for name in ("test_metrics.json", "validate_metrics.json", "predictions.jsonl", "index.html"):
        assert (trained / name).is_file()
    assert versions(tmp_path / "runs") == ["version_0"]


def test_each_command_says_which_checkpoint_it_looked_at(run, trained, monkeypatch):
    monkeypatch.chdir(trained.parents[2])
    best = trained / "checkpoints" / "best.ckpt"
    for given in (trained, "runs/r/version_0", best, "best", "last"):
        name = ("--name", "r") if given in ("best", "last") else ()
        assert run("test", "--ckpt_path", given, *name) == 0
    entries = json.loads((trained / "provenance.json").read_text())
    steps = {name: read_checkpoint(best.with_name(f"{name}.ckpt"))["global_step"] for name in ("best", "last")}
    looked_at = ["best", "best", "best", "best", "last"]
    assert [entry["checkpoint"] for entry in entries] == [
        None,  # the fit, which began anew
        *({"file": f"{name}.ckpt", "steps": steps[name]} for name in looked_at),
    ]


def test_a_checkpoint_without_its_run_gets_a_new_one(run, trained, trained_images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (trained / "checkpoints" / "best.ckpt").rename(tmp_path / "moved.ckpt")
    assert run("predict", "--ckpt_path", "moved.ckpt", "--data.predict", trained_images) == 0
    assert (tmp_path / "runs" / "classifier-predict" / "version_0" / "predictions.jsonl").is_file()
    assert run("test", "--ckpt_path", "moved.ckpt") == 0
    assert (tmp_path / "runs" / "classifier-imagefolder" / "version_0" / "test_metrics.json").is_file()


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        (
            "test",
            ("--model.backbone", "simple_cnn", "--model.backbone_options", "null"),
            ["model.backbone", "contradicts"],
        ),
        ("test", ("--model.backbone_options", '{"width": 8}'), ["model.backbone_options", "contradicts"]),
        ("validate", ("--model.mean", "[0.1, 0.1, 0.1]"), ["model.mean", "contradicts"]),
        ("test", ("--model.class_names", "[x, y, z]"), ["model.class_names", "contradicts"]),
        ("predict", ("--model.image_size", "24"), ["model.image_size", "contradicts"]),
        ("test", ("--data.image_size", "24"), ["data.image_size", "contradicts"]),
        ("fit", ("--data.image_size", "24"), ["model.image_size", "contradicts", "init_from"]),
        ("fit", ("--model.std", "[0.1, 0.1, 0.1]"), ["model.std", "contradicts"]),
        ("fit", ("--data.root", "other"), ["model.class_names", "contradicts"]),
        ("test", ("--data.root", "other"), ["classes", "d"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_contradiction_is_an_error(fails, trained, trained_images, image_tree, tmp_path, verb, arguments, words):
    image_tree(tmp_path / "other", count=4, classes=("a", "b", "d"))
    arguments = [str(tmp_path / "other") if argument == "other" else argument for argument in arguments]
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    line = fails(verb, "--ckpt_path", trained, *arguments, "--data.predict", trained_images)
    for word in words:
        assert word in line
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


@pytest.mark.parametrize("arguments", [("fit", "--data.split_seed", 1), ("test", "--data.test_fraction", 0.5)])
def test_data_that_mix_the_checkpoints_splits_are_refused_and_nothing_is_written(fails, trained, arguments):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    line = fails(*arguments, "--ckpt_path", trained)
    assert re.search(r"data: \d+ of the \d+ images of the (val|test) split were in the train split when", line)
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_data_are_compared_with_the_checkpoints_once(run, trained, trained_images, tmp_path, caplog):
    assert run("test", "--ckpt_path", trained) == 0
    assert "the checkpoint was" not in caplog.text
    other = tmp_path / "other"
    for path in trained_images.rglob("*.png"):
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        (other / path.parent.name / f"{path.parent.name}{path.name}").write_bytes(path.read_bytes())
    assert run("test", "--ckpt_path", trained, "--data.root", other) == 0
    assert caplog.text.count("data: another data set than the one that the checkpoint was trained on") == 1


def test_saying_what_the_checkpoint_says_is_no_contradiction(run, trained, trained_images):
    same = ("--model.backbone", "small_resnet", "--model.backbone_options", '{"width": 4}', "--data.image_size", 12)
    assert run("test", "--ckpt_path", trained, *same) == 0
    assert run("predict", "--ckpt_path", trained, "--data.predict", trained_images, *same[:4]) == 0


def test_another_tasks_checkpoint_is_refused(fails, trained, images, fit_options, tmp_path):
    path = trained / "checkpoints" / "last.ckpt"
    torch.save(read_checkpoint(path) | {"task": "Captioner"}, path)
    for arguments in (("test",), fit_options(images, tmp_path / "other")):
        line = fails(*arguments, "--ckpt_path", path)
        assert "Captioner" in line
        assert "Classifier" in line or "do not fit a Captioner" in line


def test_early_stopping_on_an_unknown_metric_is_one_line(fails, images, fit_options, tmp_path):
    more = ("--checkpoint.monitor", "val/acuracy", "--early_stopping.patience", 1)
    for switch in ((), ("--trainer.enable_checkpointing", "false")):
        assert "val/accuracy" in fails(*fit_options(images, tmp_path, *more, *switch))


def test_test_prints_its_metrics_and_where_they_lie(run, trained, capsys):
    assert run("test", "--ckpt_path", trained) == 0
    found = json.loads((trained / "test_metrics.json").read_text())
    out = capsys.readouterr().out
    for name in ("test/loss", "test/accuracy", "test/f1"):
        assert re.search(rf"^{name} +{found[name]:.4f}$", out, re.MULTILINE)
    assert f"metrics: {trained / 'test_metrics.json'}" in out
    assert "class_accuracy" not in out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("val/accuracy", "max")),
        ({"monitor": "val/loss"}, ("val/loss", "min")),
        ({"monitor": "val/f1"}, ("val/f1", "max")),
        ({"monitor": "val/ece", "mode": "min"}, ("val/ece", "min")),
    ],
)
def test_what_is_monitored(options, expected):
    assert monitored(CheckpointOptions(**options), Classifier) == expected


def test_secrets_are_hidden_from_what_a_run_keeps_and_used_while_it_runs(
    run, fails, images, fit_options, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(CSVLogger, "log_metrics", lambda self, metrics, step=None: seen.append(self._prefix))
    given = {"save_dir": str(tmp_path / "elsewhere"), "prefix": "http://user:hunter2@host"}
    logger = json.dumps({"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": given})
    assert run(*fit_options(images, tmp_path, "--trainer.logger", logger, "--trainer.max_epochs", 1)) == 0
    assert set(seen) == {"http://user:hunter2@host"}
    directory = tmp_path / "r" / "version_0"
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {"config.yaml", "provenance.json", "last.ckpt"} <= {path.name for path in files}
    assert [path.name for path in files if b"hunter2" in path.read_bytes()] == []
    assert read_checkpoint(directory / "checkpoints" / "last.ckpt")["config"]["trainer"]["logger"]["init_args"]["prefix"] == (
        "http://user:***@host"
    )  # fmt: skip
    again = ["fit", "--config", directory / "config.yaml", "--trainer.default_root_dir", tmp_path / "again"]
    line = fails(*again)
    assert "trainer.logger.init_args.prefix: its secret was hidden when the run kept its options; give it again" in line
    assert run(*again, "--trainer.logger", logger) == 0


@pytest.mark.parametrize(
    "change",
    [
        ("model.fine_tuning.frozen", "all"),
        ("model.fine_tuning.layer_decay", "0.5"),
        ("model.optimizer", "AdamW"),
        ("model.optimizer", "MuonSGD"),  # whose state torch would take
    ],
    ids=" ".join,
)
def test_resuming_with_what_cannot_change_leaves_the_finished_run_untouched(fails, trained, change):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and path.name != ".lock"}
    option, value = change
    line = fails("fit", "--ckpt_path", trained, "--trainer.max_epochs", 3, f"--{option}", value)
    assert line.startswith(f"error: {option}: ")
    assert "--model.init_from" in line
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file() and path.name != ".lock"} == before
    assert json.loads((trained / "status.json").read_text()) == {"status": "finished"}


def test_resuming_that_fails_while_restoring_keeps_status_and_configuration(fails, trained):
    path = trained / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint["optimizer_states"][0]["param_groups"][0]["params"].pop()
    torch.save(checkpoint, path)
    kept = ("status.json", "config.yaml", "provenance.json", "metrics.csv")
    before = [(trained / name).read_bytes() for name in kept]
    assert "its state cannot be restored" in fails("fit", "--ckpt_path", trained, "--trainer.max_epochs", 3)
    assert [(trained / name).read_bytes() for name in kept] == before


def test_a_new_run_from_a_runs_directory_may_change_what_resuming_may_not(
    run, trained, trained_images, fit_options, tmp_path
):
    more = ("--model.init_from", trained, "--model.fine_tuning.frozen", "all", "--trainer.max_epochs", 1)
    assert run(*fit_options(trained_images, tmp_path / "new", *more)) == 0


def test_main_returns_the_run_its_metrics_and_the_predictions(images, fit_options, tmp_path, capsys):
    quiet = ("--progress", "none")
    fitted = main([*fit_options(images, tmp_path / "runs"), *quiet])
    assert fitted.run == tmp_path / "runs" / "r" / "version_0"
    with open(fitted.run / "metrics.csv") as file:
        last = list(csv.DictReader(file))[-1]
    assert {name: fitted.metrics[name] for name in ("train/loss", "val/accuracy")} == {
        name: float(last[name]) for name in ("train/loss", "val/accuracy")
    }
    tested = main(["test", "--ckpt_path", str(fitted.run), *quiet])
    written = json.loads((fitted.run / "test_metrics.json").read_text())
    assert tested == (fitted.run, {name: value for name, value in written.items() if "/" in name}, None)
    given = ["predict", "--ckpt_path", str(fitted.run), "--data.predict", str(images), *quiet]
    for name in ("predictions.jsonl", "predictions_1/predictions.jsonl"):
        assert main(given).predictions == fitted.run / name
    assert main([*fit_options(images, tmp_path / "runs"), *quiet, "--trainer.fast_dev_run", "true"]).run is None
    assert main(["--version"]) is None


def test_main_as_a_program_returns_nothing(monkeypatch, trained):
    """What the entry point returns becomes the status."""
    monkeypatch.setattr(sys, "argv", ["project", "validate", "--ckpt_path", str(trained), "--progress", "none"])
    assert main() is None
