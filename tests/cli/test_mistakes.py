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
        (("extra",), ["extra: is another value of --name"]),
        (("--data.batch_size", "[16, 32]"), ["data.batch_size: expected int; got '[16, 32]'"]),
        (("--config", '{"trainer": {"max_epochs": [1, 2]}}'), ["trainer.max_epochs: expected int; got '[1, 2]'"]),
        (("--trainer.max_epochs", "ten epochs"), ["expected int; got 'ten epochs'"]),
        (("--data.batch_size", str(list(range(99)))), ["expected int; got '[0, 1, 2", "...'"]),
        (("--model.lr_scheduler", "none"), ["model.lr_scheduler: got 'none'; for none of it give null"]),
        (
            ("--config", '{"model": {"class_path": "Classifier", "init_args": {"lr_scheduler": "None"}}}'),
            ["model.lr_scheduler: got 'None'; for none of it give null"],
        ),
        (("--early_stopping.patience", "none"), ["early_stopping.patience: got 'none'; for none of it give null"]),
        (("--model.optimizer", "none"), ["model.optimizer: there is no class 'none'"]),
        (("model.label_smoothing=0.1",), ["options begin with two dashes; give --model.label_smoothing 0.1"]),
        (("+trainer.max_epochs=3",), ["options begin with two dashes; give --trainer.max_epochs 3"]),
        (("data.root=a b",), ["options begin with two dashes; give --data.root 'a b'"]),
        (("--seed_everything", "3"), ["seed_everything: there is no such option; give --seed"]),
        (("--config", '{"seed_everything": 3}'), ["seed_everything: there is no such option; give --seed"]),
        (("--max_epochs", "3"), ["max_epochs: there is no such option; did you mean --trainer.max_epochs?"]),
        (("--optimizer.lr", "3"), ["optimizer.lr: there is no such option; did you mean --model.optimizer.lr?"]),
        (("--name", "a.png", "b.png", "c.png"), ["b.png: is another value of --name", "in quotes"]),
        (("--config", "{}", "b.yaml"), ["b.yaml: belongs to no option; give each configuration its own --config"]),
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
        (
            ("fit", "--model", "Classifier", "--data", "KarpathyCaptions"),
            ["are required; give them with --data.annotations VALUE --data.images VALUE"],
        ),
        (("test", "runs/x"), ["runs/x: belongs to no option; name it, such as --ckpt_path runs/x"]),
        (
            ("fit", "c.yaml"),
            ["c.yaml: belongs to no option; give each configuration its own --config, here --config c.yaml"],
        ),
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
