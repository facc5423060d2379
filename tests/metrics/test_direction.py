"""Which way every metric goes that a validation records."""

from __future__ import annotations

import csv

import pytest

from project.metrics.direction import direction

LESS = {"loss", "ece_uncalibrated", "cut_rate", "unknown_rate"}
MORE = {
    "accuracy", "f1", "precision", "recall",
    "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "exact_match",
    "distinct_1", "distinct_2", "distinct_captions", "vocabulary_used",
}  # fmt: skip
NEITHER = {"temperature", "mean_length"}


@pytest.mark.parametrize("task", ["classifier", "captioner"])
def test_each_metric_of_a_validation_is_known(trained, run, captioned, caption_options, tmp_path, task):
    if task == "captioner":
        assert run(*caption_options(captioned, tmp_path / "runs", "--trainer.max_epochs", 1)) == 0
    path = tmp_path / "runs" / {"classifier": "r", "captioner": "c"}[task] / "version_0" / "metrics.csv"
    with open(path, newline="") as file:
        names = {name for name in csv.DictReader(file).fieldnames if name.startswith("val/")}
    assert len(names) > 5
    for name in names:
        kind = name.removeprefix("val/")
        assert kind in LESS | MORE | NEITHER, "say here and in project/metrics/direction.py which way it goes"
        assert direction(name) == ("min" if kind in LESS else "max")


@pytest.mark.parametrize("name", ["test/nll", "test/brier", "test/ece", "train/teacher_kl", "val/my_loss"])
def test_others_of_which_less_is_better(name):
    assert direction(name) == "min"
