"""A mistake gets one line that says what, where and how to mend it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model.backbon", "x"), ["model.backbon", "'backbone'"]),
        (("--model.optimizer.momentun", "1"), ["momentun", "'momentum'"]),
        (("--data.batchsize", "3"), ["data.batchsize", "'batch_size'"]),
        (("--data.augment.flop", "true"), ["flop", "'flip'"]),
        (("--trainer.max_epoch", "3"), ["trainer.max_epoch", "'max_epochs'"]),
        (("--chekpoint.monitor", "x"), ["chekpoint", "'checkpoint'"]),
        (("--checkpoint.monitr", "x"), ["monitr", "'monitor'"]),
        (("--early_stopping.patiense", "1"), ["patiense", "'patience'"]),
        (("--budget.image", "1"), ["budget.image", "'images'"]),
        (("--sed", "1"), ["sed", "'seed'"]),
        (("--model.optimizer", "AdamX"), ["optimizer", "AdamX", "'Adam"]),
        (("--model.lr_scheduler", "OneCycl"), ["lr_scheduler", "OneCycl", "'OneCycle"]),
        (("--trainer.callbacks", "[EarlyStoping]"), ["trainer.callbacks", "EarlyStoping", "'EarlyStopping'"]),
        (("--model.optimizer.lr", "abc"), ["lr", "abc", "float"]),
        (("--watch.pictures", "false"), ["watch.pictures: expected float; got 'False'"]),
        (("--data.batch_size", "many"), ["data", "batch_size", "many", "int"]),
        (("--data.batch_size", "0"), ["data.batch_size", "at least 1"]),
        (("--data.storage", "cloud"), ["storage", "cloud", "resident"]),
        (("--data.val_fraction", "1.5"), ["data.val_fraction", "1.5"]),
        (("--seed", "x"), ["seed", "x"]),
        (("--progress", "loud"), ["progress", "loud"]),
        (("--checkpoint.mode", "up"), ["mode", "up"]),
        (("--trainer.accelerator", "quantum"), ["accelerator", "quantum"]),
        (("--trainer.precision", "7-bit"), ["precision", "7-bit"]),
        (("--trainer.devices", "0"), ["devices"]),
        (("--trainer.profiler", "nothing"), ["profiler"]),
        (("--config", "absent.yaml"), ["absent.yaml"]),
        (("--model.backbone", "resnett"), ["model.backbone", "resnett", "did you mean"]),
        (("--model.backbone_options", '{"widht": 3}'), ["model.backbone_options", "widht", "'width'"]),
        (("--model.label_smoothing", "2"), ["model.label_smoothing", "2"]),
        (("extra",), ["extra"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_one_line_with_the_option_and_the_nearest_name(fails, images, fit_options, tmp_path, arguments, words):
    line = fails(*fit_options(images, tmp_path / "runs", *arguments))
    for word in words:
        assert word in line
    assert len(line) < 400
    assert "Subtypes" not in line
    assert "Parser key" not in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fitt",), ["fitt", "'fit'"]),
        (("train",), ["train", "there is", "fit"]),
        (("--seed", "3", "fit"), ["fit", "validate", "test", "predict"]),
        (("fit",), ["model", "--config"]),
        (("fit", "--model", "Classifier"), ["data"]),
        (("fit", "--model", "Clasifier", "--data", "Digits"), ["model", "Clasifier", "'Classifier'"]),
        (("fit", "--model", "Classifier", "--data", "Digit"), ["data", "Digit", "'Digits'"]),
        (("fit", "--model", "Classifier", "--data", "ImageFolder"), ["data.root", "required"]),
        (("fit", "--model", "Classifier", "--data", "Digits"), ["trainer.max_epochs"]),
        (("fit", "--model", "Classifier", "--data", "Digits", "--data.seed", "3"), ["seed"]),
        (("test",), ["ckpt_path", "trained weights"]),
        (("test", "--ckpt_path", "auto", "--name", "r"), ["auto"]),
        (("fit", "--ckpt_path", "last"), ["last", "--name"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_missing_or_misspelt_in_the_whole(fails, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    line = fails(*arguments)
    for word in words:
        assert word in line
    assert list(tmp_path.glob("runs*")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [unclosed", ["c.yaml"]),
        ("model: {class_path: Classifier, init_args: {backbon: x}}", ["backbon", "'backbone'"]),
        ("modle: {class_path: Classifier}", ["modle", "'model'"]),
        ("trainer: {max_epoch: 3}", ["max_epoch", "'max_epochs'"]),
        ("just a text", ["c.yaml"]),
        ("trainer: 3", ["trainer"]),
    ],
)
def test_mistakes_in_a_file(fails, tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    line = fails("fit", "--config", "c.yaml", "--data", "Digits", "--model", "Classifier")
    for word in words:
        assert word in line
    assert len(line) < 400
