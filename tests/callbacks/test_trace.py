"""`configs/trainer/profile.yaml` as it is, on a real run."""

from __future__ import annotations

import json
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"


def test_five_steps_are_traced_and_the_actions_timed(run, tmp_path, caplog):
    overlay = ("--config", CONFIGS / "classifier/digits.yaml", "--config", CONFIGS / "trainer/profile.yaml")
    options = ("--trainer.max_steps", 20, "--data.batch_size", 16, "--model.backbone_options", '{"width": 4}',
               "--trainer.default_root_dir", tmp_path, "--name", "n", "--watch.pictures", 0)  # fmt: skip
    assert run("fit", *overlay, *options) == 0
    assert "run_training_batch" in caplog.text
    events = json.loads((tmp_path / "n/version_0/trace.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if event["name"].startswith("ProfilerStep")}
    assert steps == {f"ProfilerStep#{number}" for number in range(12, 17)}
    assert any("aten::convolution" in event["name"] for event in events)


def test_a_shorter_run_leaves_no_trace(run, images, fit_options, tmp_path):
    trace = ("--trainer.callbacks+", "project.callbacks.trace.Trace", "--watch.pictures", 0)
    assert run(*fit_options(images, tmp_path / "runs", *trace)) == 0
    assert not list((tmp_path / "runs").rglob("trace.json"))
