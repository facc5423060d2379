"""What a real TensorBoard serves of a run of each task."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from project.cli import main


@pytest.fixture(scope="module")
def root(tmp_path_factory, image_tree, fit_options, captioned, caption_options) -> Path:
    """Runs of the four tasks, the classifier's tested."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tensorboard")
    runs, images = folder / "runs", image_tree(folder / "images")
    often = ("--trainer.log_every_n_steps", 1, "--data.cache_dir", folder / "cache", "--watch.pictures", 1)

    def start(options: list[str], task: str = "", *more: object) -> None:
        options = [task if task and option in ("Classifier", "Captioner") else option for option in options]
        main([*options, *map(str, more), "--progress", "none"])

    start(fit_options(images, runs, *often, "--name", "classifier", "--watch.graph", True, "--watch.histograms", True))
    main(["test", "--ckpt_path", str(runs / "classifier/version_0"), "--data.cache_dir", str(folder / "cache")])
    start(
        fit_options(images, runs, *often, "--name", "distiller"),
        "Distiller",
        "--model.teacher",
        runs / "classifier/version_0",
    )
    start(caption_options(captioned, runs, *often, "--name", "captioner"))
    teacher = ("--model.teacher", runs / "captioner/version_0", "--model.word_weight", 1)
    start(caption_options(captioned, runs, *often, "--name", "caption_distiller"), "CaptionDistiller", *teacher)
    return runs


@pytest.fixture(scope="module")
def ask(root) -> Iterator[Callable[..., Any]]:
    """Asks a running TensorBoard: ask("scalars/tags"), with a query, or with a body to post; JSON is parsed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(root),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def request(path: str, body: dict | None = None, **query: object) -> Any:
        url = f"http://127.0.0.1:{port}/data/{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        question = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(question, timeout=20) as answer:
            content = answer.read()
            return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    try:
        for _ in range(300):
            try:
                if len(request("plugin/scalars/tags")) == 4:
                    break
            except urllib.error.URLError:
                assert server.poll() is None, "TensorBoard has stopped"
            time.sleep(0.1)
        yield request
    finally:
        server.terminate()
        server.wait(20)


RUNS = {f"{task}/version_0" for task in ("classifier", "distiller", "captioner", "caption_distiller")}
EVERY = {"train/loss", "train/loss_step", "train/gradient_norm", "lr", "val/loss",
         "speed/images_per_second", "speed/waiting", "speed/memory_gib"}  # fmt: skip
OWN = {
    "classifier": {"train/accuracy", "val/accuracy", "val/f1", "best/val/accuracy", "test/accuracy", "test/ece"},
    "distiller": {"train/loss_kd", "train/weighted_kd", "train/loss_labels", "train/agreement", "train/cached",
                  "val/agreement", "val/teacher_accuracy", "best/val/accuracy"},
    "captioner": {"val/cider_d", "val/bleu_4", "val/rouge_l", "best/val/cider_d"},
    "caption_distiller": {"val/cider_d", "best/val/cider_d", "train/loss_labels"},
}  # fmt: skip


@pytest.mark.parametrize("task", OWN)
def test_scalars_are_grouped_by_split(ask, task):
    tags = set(ask("plugin/scalars/tags")[f"{task}/version_0"])
    assert tags >= EVERY | OWN[task]
    groups = {"train", "val", "test", "best", "speed"}
    assert {tag.split("/")[0] for tag in tags if "/" in tag} <= groups
    assert {tag for tag in tags if "/" not in tag} == {"epoch", "lr"}


def test_a_scalar_has_the_values_of_the_csv_file(ask, root):
    import csv

    with open(root / "distiller/version_0/metrics.csv") as file:
        rows = {int(row["step"]): float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]}
    points = ask("plugin/scalars/scalars", run="distiller/version_0", tag="val/loss")
    assert {step: value for _, step, value in points} == pytest.approx(rows)


FIGURES = {"figures/confusion", "figures/reliability", "figures/class_accuracy", "images/mistakes", "images/unlikely"}
CAPTIONS = {f"captions/{number}" for number in range(8)}


@pytest.mark.parametrize(
    ("task", "expected"),
    [("classifier", FIGURES), ("distiller", FIGURES), ("captioner", CAPTIONS), ("caption_distiller", CAPTIONS)],
)
def test_images_open_and_have_something_on_them(ask, task, expected):
    run = f"{task}/version_0"
    assert set(ask("plugin/images/tags")[run]) == expected | {"images/training_batch"}
    for tag in (*expected, "images/training_batch"):
        shown = ask("plugin/images/images", run=run, tag=tag, sample=0)
        assert len(shown) == (1 if tag == "images/training_batch" else 2)
        picture = Image.open(io.BytesIO(ask(f"plugin/images/individualImage?{shown[-1]['query']}&"))).convert("RGB")
        assert min(picture.size) > 100
        assert np.asarray(picture).std() > 5


def test_captions_are_text(ask):
    tags = ask("plugin/text/tags")
    assert {run for run, texts in tags.items() if texts} == {"captioner/version_0", "caption_distiller/version_0"}
    texts = ask("plugin/text/text", run="captioner/version_0", tag="captions/text_summary")
    assert len(texts) == 2
    assert "<table>" in texts[-1]["text"]
    assert "A red square." in texts[-1]["text"]


def test_classifiers_have_curves_of_precision_and_recall(ask):
    tags = ask("plugin/pr_curves/tags")
    classes = {f"precision_recall/{name}" for name in ("all", "a", "b", "c")}
    assert {run: set(found) for run, found in tags.items() if found} == {
        "classifier/version_0": classes,
        "distiller/version_0": classes,
    }
    (curve,) = ask("plugin/pr_curves/pr_curves", run="classifier/version_0", tag="precision_recall/a").values()
    assert len(curve) == 2
    assert len(curve[-1]["precision"]) == len(curve[-1]["recall"]) > 10
    assert curve[-1]["recall"][0] == 1


def test_the_graph_and_histograms_are_there_on_request(ask):
    assert set(ask("plugin/graphs/info")) == {"classifier/version_0"}
    graph = ask("plugin/graphs/graph", run="classifier/version_0", conceptual="false")
    assert b"[stage1]" in graph
    histograms = ask("plugin/histograms/tags")
    assert {run for run, tags in histograms.items() if tags} == {"classifier/version_0"}
    assert "gradients/network.head.weight" in histograms["classifier/version_0"]


def test_hparams_has_options_and_metrics_of_all_runs(ask):
    body = {"experimentName": "", "includeMetrics": True}
    experiment = ask("plugin/hparams/experiment", body)
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert {"model", "model.optimizer.lr", "data.batch_size", "trainer.max_epochs", "seed"} <= names
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"best/val/accuracy", "best/val/cider_d", "val/accuracy", "test/accuracy"} <= metrics
    asked = {
        "experimentName": "", "startIndex": 0, "sliceSize": 50, "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"hparam": "model"}, {"metric": {"group": "", "tag": "test/accuracy"}}],
    }  # fmt: skip
    groups = ask("plugin/hparams/session_groups", asked)["sessionGroups"]
    assert {group["sessions"][0]["name"] for group in groups} == RUNS
    assert {group["hparams"]["model"] for group in groups} == {
        "Classifier", "Distiller", "Captioner", "CaptionDistiller",
    }  # fmt: skip
    tested = next(group for group in groups if group["hparams"]["model"] == "Classifier")
    values = {metric["name"]["tag"]: metric["value"] for metric in tested["metricValues"]}
    points = ask("plugin/scalars/scalars", run="classifier/version_0", tag="test/accuracy")
    assert values["test/accuracy"] == pytest.approx(points[-1][2])
