"""Makes the frozen checkpoints that `test_frozen.py` opens: one of each task, of this version, with what it measures.

    python -m tests.system.freeze

They stay as they are when the code goes on: a change that they do not open after raises `SCHEMA` and translates them.
Then this file can add a folder of the new version beside the old one.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

FROZEN = Path(__file__).parents[1] / "runs" / "frozen"
TEACHERS = {"Distiller": "Classifier", "CaptionDistiller": "Captioner"}
EPOCHS, EPOCHS_RESUMED = 1, 2


def make_data() -> None:
    """The images and the captioned drawings, in the folder that this runs in: paths in checkpoints are relative to it."""
    from tests.conftest import _captioned, _image_tree

    _image_tree(Path("images"), count=10)
    _captioned(Path("drawings"))


def options(task: str) -> list[str]:
    """The arguments of a fit whose checkpoint has a few kilobytes, with everything on that a checkpoint holds."""
    from tests.conftest import _caption_options, _fit_options

    small = ["--model.backbone_options", '{"width": 1}', "--ema.decay", "0.9", "--trainer.max_epochs", str(EPOCHS)]
    if "Caption" in task:
        small += ["--model.decoder.embedding_size", "4", "--model.decoder.hidden_size", "4"]
        found = _caption_options(Path("drawings"), Path("runs"), *small)
    else:
        found = _fit_options(Path("images"), Path("runs"), *small)
    if task == "Distiller":
        found += ["--model.losses", '[{"name": "kd"}, {"name": "vid", "weight": 0.1}]', "--model.allowed_drop", "1"]
    if task in TEACHERS:
        found += ["--model.teacher", f"runs/{TEACHERS[task]}/version_0"]
    found[found.index("--model") + 1] = task
    return [*found, "--name", task, "--data.cache_dir", "cache", "--progress", "none"]


def main() -> None:
    """Writes `tests/runs/frozen`."""
    from project.cli import main as project

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_data()
        for task in ("Classifier", "Captioner", "Distiller", "CaptionDistiller"):
            project(options(task))
            run = Path("runs", task, "version_0")
            project(["test", "--ckpt_path", f"{run}/checkpoints/last.ckpt", "--trainer.precision", "32-true"])
            target = FROZEN / task
            shutil.rmtree(target, ignore_errors=True)
            (target / "checkpoints").mkdir(parents=True)
            for name in ("checkpoints/last.ckpt", "config.yaml", "metrics.csv"):
                shutil.copy(run / name, target / name)
            shutil.copy(run / "test_metrics_last.json", target / "test_metrics.json")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
