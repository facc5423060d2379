"""Trains what the notebooks show: small, real runs of every task, with several seeds where a spread is shown.

    python scripts/make_runs.py                  # below runs/notebooks, in about five minutes on two cores
    python scripts/make_runs.py --recipes classifier-digits --seeds 5

Each is an ordinary run of `python -m project`. Those that are finished are not trained again, and those that were
interrupted go on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# so that `python scripts/make_runs.py` finds the project without installing it
sys.path.insert(0, str(ROOT))

from project.cli import main as project_main
from project.cli import start_program
from project.errors import one_line_for_mistakes
from project.runs.directory import RunDirectory, find_runs


class Recipe(NamedTuple):
    """What `fit` is given besides name, root and seed; `{root}` is the folder of the runs."""

    config: str
    options: tuple[str, ...] = ()
    seeds: int | None = None
    """How many, where it is not `--seeds`."""


_STUDENT = ("--model.backbone_options.width", "4", "--model.label_smoothing", "0")
RECIPES = {
    "classifier-digits-simple_cnn": Recipe(
        "configs/classifier/digits.yaml", ("--model.backbone", "simple_cnn", "--model.optimizer.lr", "0.05")
    ),
    "student-alone": Recipe("configs/classifier/digits.yaml", _STUDENT),
    # the newest classifier, which the notebook looks at closely, and the teacher of all that follow
    "classifier-digits": Recipe("configs/classifier/digits.yaml"),
    "student-distilled": Recipe("configs/distiller/digits.yaml", ("--model.teacher", "{teacher}")),
    # a quarter of the usual training, which takes seven minutes
    "captioner-emoji": Recipe("configs/captioner/emoji.yaml", ("--trainer.max_epochs", "10"), seeds=1),
}


def main(arguments: list[str] | None = None) -> None:
    """Trains and tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=str(ROOT / "runs" / "notebooks"), help="where the runs lie (runs/notebooks)")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME",
                        help=f"some of {', '.join(RECIPES)}")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="0 to N - 1 (3)")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1:
        parser.error("--seeds: one or more")
    with one_line_for_mistakes():
        for name in chosen.recipes:
            for seed in range(RECIPES[name].seeds or chosen.seeds):
                make_run(chosen.root, name, seed)


def make_run(root: str, name: str, seed: int) -> None:
    """Trains and tests one, unless it has been."""
    recipe = RECIPES[name]
    teacher = _finished(root, "classifier-digits", 0)
    given = (option.format(teacher=teacher and teacher.path) for option in recipe.options)
    options = ["--config", str(ROOT / recipe.config), *given]
    where = ["--trainer.default_root_dir", root, "--name", name, "--seed", str(seed), "--progress", "none"]
    if _finished(root, name, seed) is None:
        project_main(["fit", *options, *where, "--ckpt_path", "auto"])
    run = _finished(root, name, seed)
    assert run is not None, "it has just come to its end"
    if not (run.path / "test_metrics.json").exists():
        project_main(["test", "--ckpt_path", str(run.path), "--progress", "none"])


def _finished(root: str, name: str, seed: int) -> RunDirectory | None:
    runs = find_runs(root, name)
    return next((run for run in runs if run.finished and run.read_config()["seed"] == seed), None)


if __name__ == "__main__":
    start_program()
    main()
