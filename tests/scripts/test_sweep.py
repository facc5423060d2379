"""The command that sweeps, up to the start of a trial; tests/sweeps has the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import optuna
import pytest

ROOT = Path(__file__).parents[2]
SPACES = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
DIGITS = ("--config", str(ROOT / "configs" / "classifier" / "digits.yaml"))


@pytest.fixture
def sweep(script):
    return partial(script, "sweep")


@pytest.fixture
def space(tmp_path):
    """Writes a space; returns its path."""

    def write(text: str) -> Path:
        (tmp_path / "s.yaml").write_text(text)
        return tmp_path / "s.yaml"

    return write


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("model.optimizer.lrr: {low: 1, high: 2}", (), "model.lrr: there is no such option; did you mean 'lr'?"),
        (
            "model.label_smoothing: {low: 0, high: 2}",
            ("--model.backbon", "x"),
            "model.backbon: there is no such option",
        ),
        ("data.batch_size: {choices: [32, many]}", (), "data.batch_size: expected int; got 'many'"),
        ("model.optimizer: {choices: [SGD, AdamWW]}", (), "model.optimizer: "),
        ("data.batch_size: {low: 32, high: 8}", (), "--space: "),
        ("data.batch_size: {low: 8, high: 32}", ("--data.batch_size", "8"), "--space: "),
        ("data.batch_size: {low: 8, high: 32}", ("--ckpt_path", "last"), "--ckpt_path: a trial is a new run"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_started(sweep, space, tmp_path, text, options, message):
    status, _, err = sweep("--space", space(text), "--trials", 3, *DIGITS, *options)
    assert status == 2
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", ["0", "-1"])
def test_numbers_are_positive(sweep, number):
    assert sweep("--space", "s.yaml", "--trials", number)[0] == 2


def test_a_sweep_that_is_done_says_what_it_found(sweep, space, tmp_path, trained):
    file = space("model.optimizer.lr: {low: 0.1, high: 0.4}")
    options = ("--space", file, "--trials", 1, *DIGITS)
    # a trial whose process was killed after its training had ended
    folder = tmp_path / "runs" / "sweep-classifier-digits"
    (folder / "trial_000").mkdir(parents=True)
    trained.rename(folder / "trial_000" / "version_0")
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name=folder.name, direction="maximize"
    )
    study.ask({"model.optimizer.lr": optuna.distributions.FloatDistribution(0.1, 0.4)})
    status, out, err = sweep(*options)
    assert (status, err) == (0, "")
    assert "0 of 1 trials finished" in out
    best = Path("runs") / "sweep-classifier-digits" / "trial_000" / "version_0"
    assert f"next: python -m project test --ckpt_path {best}" in out
    assert f"page: {(folder / 'index.html').as_uri()}" in out
    # with other options these are other trials
    status, _, err = sweep(*options, "--model.label_smoothing", "0.2")
    assert status == 2
    assert "has trials of another config; give another --name" in err
    status, _, err = sweep("--space", space("model.optimizer.lr: {low: 0.1, high: 0.5}"), "--trials", 1, *DIGITS)
    assert status == 2
    assert "has trials of another " in err


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_an_example_opens_with_its_command_and_fits_its_configuration(path):
    from project.cli.command import read_command
    from project.sweeps.space import as_arguments, read_space

    header = path.read_text().partition("\n#\n#   ")[2].partition("\n")[0]
    assert header.startswith("python scripts/sweep.py --config configs/")
    assert f"--space {path.relative_to(ROOT)}" in header
    config = ROOT / header.split("--config ")[1].split()[0]
    for sample in read_space(path).examples():
        read_command(["fit", "--config", str(config), *as_arguments(sample)])
