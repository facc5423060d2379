"""R13: whatever is wrong in a configuration is named in one line, and nothing is written."""

from __future__ import annotations

import pytest

from tests.faults.outcomes import TASKS, assert_same_run

PROMISE = "R13"

_BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]\n" for i in range(1, 30))
FILES = {
    # what: (the file's content, words of the line)
    "no YAML": ("model: {init_args: [1, 2\n", ["YAML"]),
    "a tab": ("trainer:\n\tmax_epochs: 3\n", ["YAML"]),
    "a bad indent": ("trainer:\n  max_epochs: 3\n devices: 1\n", ["YAML"]),
    "a list": ("- model\n- data\n", ["config"]),
    "a word": ("hello\n", ["config"]),
    "bytes": (bytes(range(128, 256)), ["config"]),
    "a Python object": ("model: !!python/object/apply:os.mkdir [exploded]\n", ["python/object"]),
    "aliases of aliases": (_BOMB, ["aliases"]),
    "deep": ("[" * 100_000, ["levels deep"]),
    "an unknown section": ("trainr: {max_epochs: 3}\n", ["trainr", "trainer"]),
    "an unknown option": ("trainer: {max_epoch: 3}\n", ["max_epoch", "max_epochs"]),
    "an unknown option of the model": ("model: {init_args: {backbon: simple_cnn}}\n", ["backbon", "backbone"]),
    "an unknown option of the data": ("data: {init_args: {batchsize: 3}}\n", ["batchsize", "batch_size"]),
    "an unknown option of the average": ("ema: {decy: 0.9}\n", ["decy", "decay"]),
    "an unknown class": ("model: {class_path: Clasifier}\n", ["Clasifier", "Classifier"]),
    "an unknown optimizer": ("model: {init_args: {optimizer: {class_path: Adamm}}}\n", ["Adamm"]),
    "an unknown backbone": ("model: {init_args: {backbone: smal_resnet}}\n", ["smal_resnet", "small_resnet"]),
    "a word for a number": ("trainer: {max_epochs: many}\n", ["trainer.max_epochs", "many"]),
    "a list for a number": ("data: {init_args: {batch_size: [1, 2]}}\n", ["batch_size"]),
    "a number for a section": ("trainer: 3\n", ["trainer"]),
    "a negative number": ("data: {init_args: {batch_size: -1}}\n", ["data.batch_size", "-1"]),
    "a share above one": ("ema: {decay: 1.5}\n", ["ema.decay", "1.5"]),
    "no number at all": ("model: {init_args: {label_smoothing: .nan}}\n", ["label_smoothing"]),
    "no length": ("trainer: {max_epochs: null}\n", ["trainer.max_epochs"]),
    "an unknown precision": ("trainer: {precision: 31-true}\n", ["precision"]),
    "a device that is not there": ("trainer: {accelerator: cpu, devices: 0}\n", ["trainer"]),
    "a metric that is not there": ("checkpoint: {monitor: val/acuracy}\n", ["val/acuracy"]),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("task", ["Classifier", "Captioner", "Distiller"])
def test_is_named(mends, wholes, tmp_path, task, what):
    """Laid over a configuration that is right."""
    content, words = FILES[what]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    right = wholes.run(task) / "config.yaml"
    line = mends(["fit", "--config", right, "--config", path, "--trainer.default_root_dir", tmp_path / "runs"])
    assert all(word in line for word in words), line
    assert not (tmp_path / "exploded").exists()
    if what != "a metric that is not there":  # which shows when there are some
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("given", ["absent.yaml", "", "."])
@pytest.mark.parametrize("task", TASKS)
def test_a_file_that_is_not_there(mends, wholes, tmp_path, task, given):
    line = mends(wholes.options(task, tmp_path / "runs", {"config": given}))
    assert "config" in line
    assert not (tmp_path / "runs").exists()


def test_an_empty_file_changes_nothing(fit, wholes, tmp_path, directory):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    command = fit("Classifier", more={"config": tmp_path / "empty.yaml"})
    assert command.wait() == 0, command.output
    assert_same_run(directory, wholes.run("Classifier"))
