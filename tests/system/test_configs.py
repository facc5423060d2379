"""Every configuration file says what it is, parses, and where it needs nothing from outside, runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from project.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
EVERY = sorted(CONFIGS.rglob("*.yaml"))
TASKS = [path for path in EVERY if path.parent.name != "trainer"]
OVERLAYS = [path for path in EVERY if path.parent.name == "trainer"]
DOWNLOADED = {"CIFAR10"}
ON_ANY_MACHINE = {"cpu", "debug", "profile"}

name = lambda path: str(path.relative_to(CONFIGS))  # noqa: E731


def test_they_are_found():
    assert len(EVERY) > 5
    assert {"cpu", "gpu", "ddp", "fsdp", "debug", "profile"} <= {path.stem for path in OVERLAYS}
    assert {"digits", "imagefolder", "article_cifar10"} <= {path.stem for path in TASKS}
    assert not list(CONFIGS.rglob("*.yml"))


def printed(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments), "--print_config"])
    assert not stop.value.code
    return yaml.safe_load(capsys.readouterr().out)


def flat(config: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(config, dict):
        return {prefix: config}
    return {key: value for part, inside in config.items() for key, value in flat(inside, f"{prefix}.{part}").items()}


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_it_parses_and_every_line_of_it_takes_effect(capsys, path):
    more = ("--data.root", "x") if path.stem == "imagefolder" else ()
    result = flat(printed(capsys, "fit", "--config", path, *more))
    for key, value in flat(yaml.safe_load(path.read_text())).items():
        if key.endswith("class_path"):
            assert result[key].rpartition(".")[2] == value.rpartition(".")[2]
        else:
            assert result[key] == value, key


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_it_opens_with_what_it_is_and_a_task_with_its_command(path):
    header = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        header.append(line)
    assert header
    if path in TASKS:
        assert f"python -m project fit --config {path.relative_to(CONFIGS.parent)}" in "\n".join(header)


@pytest.mark.parametrize("path", TASKS, ids=name)
def test_a_task_runs_a_batch(run, images, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(path.read_text())
    if config["data"]["class_path"].rpartition(".")[2] in DOWNLOADED:
        return
    more = ("--data.root", images) if path.stem == "imagefolder" else ()
    assert run("fit", "--config", path, *more, "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu") == 0


@pytest.mark.parametrize("path", [path for path in OVERLAYS if path.stem in ON_ANY_MACHINE], ids=name)
def test_an_overlay_goes_with_a_task(run, images, fit_options, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*fit_options(images, tmp_path / "runs", "--config", path, "--trainer.accelerator", "cpu")) == 0
    assert (tmp_path / "runs" / "r" / "version_0" / "checkpoints" / "last.ckpt").is_file()
