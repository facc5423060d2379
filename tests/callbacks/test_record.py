"""The run's status, its configuration in every checkpoint, and the list of skipped files."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from project.callbacks.record import RunRecord
from project.runs.checkpoints import read_checkpoint
from project.runs.directory import RunDirectory
from tests.system.ranks import TWO, run_ranks

SEEN: list[str] = []


class LookAtStatus(Callback):
    """Notes the status while training."""

    def on_train_batch_end(self, trainer, *args):
        (record,) = [callback for callback in trainer.callbacks if isinstance(callback, RunRecord)]
        SEEN.append((record.run.path / "status.json").read_text())


def status(run_directory) -> str:
    return json.loads((run_directory / "status.json").read_text())["status"]


def test_running_while_it_trains_and_finished_afterwards(run, images, fit_options, tmp_path):
    SEEN.clear()
    look = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.LookAtStatus"}]))
    assert run(*fit_options(images, tmp_path, *look)) == 0
    assert {json.loads(text)["status"] for text in SEEN} == {"running"}
    assert status(tmp_path / "r" / "version_0") == "finished"


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (ValueError("x"), "failed"),
        (SIGTERMException(signal.SIGTERM, None), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_an_exception_is_noted_in_training_alone(tmp_path, exception, expected, verb):
    directory = RunDirectory.create(tmp_path, "r")
    directory.write_status("finished")
    record = RunRecord(directory, {})
    trainer = SimpleNamespace(
        callbacks=[record], is_global_zero=True, state=SimpleNamespace(fn=verb),
        strategy=SimpleNamespace(broadcast=lambda x: x),
    )  # fmt: skip
    record.setup(trainer, None, verb)
    record.on_exception(trainer, None, exception)
    assert status(directory.path) == "finished", "nothing was trained yet"
    record.on_train_batch_start(trainer, None, None, 0)
    directory.write_status("finished")
    record.on_exception(trainer, None, exception)
    assert status(directory.path) == (expected if verb == "fit" else "finished")


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
def test_evaluation_leaves_the_status_and_the_configuration_alone(run, trained, trained_images, verb):
    before = (trained / "config.yaml").read_bytes()
    assert run(verb, "--ckpt_path", trained, "--data.predict", trained_images) == 0
    assert status(trained) == "finished"
    assert (trained / "config.yaml").read_bytes() == before


def test_a_checkpoint_holds_the_configuration_of_its_run(trained):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    for which in ("best", "last"):
        assert read_checkpoint(trained / "checkpoints" / f"{which}.ckpt")["config"] == config
    assert config["model"]["init_args"]["backbone_options"] == {"width": 4}
    assert config["trainer"]["max_epochs"] == 2
    assert config["name"] == "r"


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_skipped_images_are_counted_and_listed(run, images, fit_options, tmp_path, capsys, storage):
    # in training for certain: a tree with splits
    (tmp_path / "tree").mkdir()
    images.rename(tmp_path / "tree" / "train")
    (tmp_path / "tree" / "train" / "b" / "99.png").write_bytes(b"")
    (tmp_path / "tree" / "train" / "c" / "98.png").write_text("no image")
    options = fit_options(tmp_path / "tree", tmp_path, "--data.storage", storage, "--data.val_fraction", 0.05)
    run_status = run(*options, "--data.on_bad_image", "skip", "--data.split_seed", 1)
    assert run_status == 0
    lines = (tmp_path / "r" / "version_0" / "skipped_images.txt").read_text().splitlines()
    assert len(lines) == 2
    assert sorted(line.split("/train/")[1].split(":")[0] for line in lines) == ["b/99.png", "c/98.png"]
    assert capsys.readouterr().out.count("skipped 2 unreadable training images") == 1


@pytest.mark.slow
def test_those_of_all_processes_and_of_before_are_listed(images, fit_options, tmp_path):
    (tmp_path / "tree").mkdir()
    images.rename(tmp_path / "tree" / "train")
    for number in range(90, 96):
        (tmp_path / "tree" / "train" / "b" / f"{number}.png").write_bytes(b"")
    options = fit_options(tmp_path / "tree", tmp_path, "--data.storage", "stream", "--data.val_fraction", 0.05,
                          "--data.on_bad_image", "skip", "--data.split_seed", 1, "--data.num_workers", 0)  # fmt: skip
    listed = tmp_path / "r" / "version_0" / "skipped_images.txt"
    statuses, outputs = run_ranks([*options, *TWO, "--trainer.max_epochs", 1], tmp_path)
    assert statuses == [0, 0], outputs
    first = listed.read_text().splitlines()
    assert len(first) > 3
    listed.write_text("\n".join(["0 of before", *first[1:]]) + "\n")
    statuses, outputs = run_ranks(["fit", "--ckpt_path", listed.parent, *TWO, "--trainer.max_epochs", 2], tmp_path)
    assert statuses == [0, 0], outputs
    assert set(listed.read_text().splitlines()) >= {"0 of before", *first}
