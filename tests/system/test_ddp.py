"""Two processes give the numbers of one, to the last bit: each sample counts once, and predictions keep their order."""

from __future__ import annotations

import csv
import json
import warnings

import pytest

from project.runs.checkpoints import read_checkpoint
from tests.system.ranks import TWO, launch, run_ranks

pytestmark = pytest.mark.slow

EXACT = (
    "--trainer.precision",
    "32-true",
    "--data.eval_batch_size",
    1,
)  # of a batch of another size the last bits differ


@pytest.fixture
def in_two(tmp_path):
    """Runs a command as two processes, which must succeed; returns what they print."""

    def command(*arguments: object) -> str:
        statuses, outputs = run_ranks([*arguments, *TWO], tmp_path)
        assert statuses == [0, 0], "\n".join(outputs)
        assert "Traceback" not in "".join(outputs)
        return "".join(outputs)

    return command


FACTS = {"checkpoint": "last.ckpt", "precision": "32-true"}


def metrics(directory) -> dict[str, float]:
    (path,) = (path for path in directory.glob("test_metrics*.json") if "earlier" not in path.name)
    return {name: value for name, value in json.loads(path.read_text()).items() if "/" in name}


def assert_same(found: dict[str, float], expected: dict[str, float]) -> None:
    """Counts to the last bit; sums of float64 up to the order of their terms."""
    assert found == pytest.approx(expected, rel=1e-14, abs=0)
    summed = ("loss", "nll", "brier", "ece", "ece_uncalibrated")
    counted = {name: value for name, value in expected.items() if name.split("/")[1] not in summed}
    assert len(counted) >= 4
    assert {name: found[name] for name in counted} == counted


def test_fit_test_and_predict_with_two_processes(run, in_two, image_tree, fit_options, tmp_path):
    images = tmp_path / "images"
    for split, count in (("train", 17), ("val", 3), ("test", 3)):
        image_tree(images / split, count)
    for split in ("train", "val", "test"):  # 50, 7 and 7: the processes' shares differ, and so do their batches
        (images / split / "a" / "00.png").unlink()
    for split in ("val", "test"):
        (images / split / "b" / "00.png").unlink()
    options = fit_options(images, tmp_path / "runs", "--data.batch_size", 8, "--data.eval_batch_size", 1)
    status, out = launch([*options, *TWO], tmp_path)
    assert status == 0, out
    assert out.count("\nrun: ") == 2  # said once at the start and once at the end, by one process
    directory = tmp_path / "runs" / "r" / "version_0"
    assert [path.name for path in (tmp_path / "runs" / "r").iterdir()] == ["version_0"]
    last = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    trained_on = json.loads((directory / "provenance.json").read_text())[0]["data"]["train"]["samples"]
    assert last["global_step"] == 2 * -(-trained_on // 16)
    assert len(last["random_state"]) == 2
    with open(directory / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1]

    # validation in training, pooled over processes, is what one process finds for the same weights
    path = directory / "checkpoints" / "last.ckpt"
    assert run("validate", "--ckpt_path", path, *EXACT) == 0
    alone = json.loads((directory / "validate_metrics_last.json").read_text())
    for name in ("loss", "accuracy", "precision", "recall", "f1"):
        assert float(rows[-1][f"val/{name}"]) == pytest.approx(alone[f"val/{name}"], rel=1e-14, abs=0)

    alone_root, two_root = tmp_path / "alone", tmp_path / "two"
    one = (*EXACT, "--trainer.accelerator", "cpu", "--trainer.devices", 1, "--name", "t")
    assert run("test", "--ckpt_path", path, *one, "--trainer.default_root_dir", alone_root) == 0
    in_two("test", "--ckpt_path", path, *EXACT, "--trainer.default_root_dir", two_root, "--name", "t")
    assert_same(metrics(two_root / "t" / "version_0"), metrics(alone_root / "t" / "version_0"))
    confusion = [(root / "t/version_0/test_confusion.csv").read_text() for root in (alone_root, two_root)]
    assert confusion[0] == confusion[1]

    given = ("--data.predict", images, "--name", "p")
    assert run("predict", "--ckpt_path", path, *one[:-2], *given, "--trainer.default_root_dir", alone_root) == 0
    in_two("predict", "--ckpt_path", path, *EXACT, *given, "--trainer.default_root_dir", two_root)
    answers = [(root / "p/version_0/predictions.jsonl").read_text() for root in (alone_root, two_root)]
    assert answers[0].count("\n") == 64
    assert answers[0] == answers[1]
    assert not list((two_root / "p" / "version_0").glob(".*"))


def test_one_process_on_each_of_two_machines(image_tree, fit_options, tmp_path):
    image_tree(tmp_path / "images", 6)
    options = [
        *fit_options(tmp_path / "images", tmp_path / "runs"),
        *TWO,
        "--trainer.devices",
        1,
        "--trainer.num_nodes",
        2,
    ]
    statuses, outputs = run_ranks(options, tmp_path, "NODE_RANK")
    assert statuses == [0, 0], "\n".join(outputs)
    assert [path.name for path in (tmp_path / "runs" / "r").iterdir()] == ["version_0"]
    assert len(read_checkpoint(tmp_path / "runs/r/version_0/checkpoints/last.ckpt")["random_state"]) == 2


def test_two_processes_keep_a_teachers_answers_in_one_file(run, in_two, trained, trained_images, fit_options, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's protocol buffers
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    options = fit_options(trained_images, tmp_path / "students", "--model.teacher", trained, "--model.allowed_drop", 1)
    options[options.index("Classifier")] = "Distiller"
    options += ["--data.cache_dir", str(tmp_path / "kept"), "--trainer.max_epochs", "1"]
    in_two(*options)
    assert len(list((tmp_path / "kept").glob("teacher-*.cache"))) == 1
    assert run(*options) == 0
    for version, share in ((0, 0.0), (1, 1.0)):
        events = EventAccumulator(str(tmp_path / "students" / "r" / f"version_{version}"))
        events.Reload()
        assert [event.value for event in events.Scalars("train/cached")] == [share]


def test_a_student_in_two_processes(run, in_two, trained, image_tree, fit_options, tmp_path):
    """One whose own classifier has no gradient, since the teacher's answers for it."""
    images = tmp_path / "images"
    for split, count in (("train", 10), ("val", 3), ("test", 3)):
        image_tree(images / split, count)
        (images / split / "a" / "00.png").unlink()  # the processes' shares differ
    more = ("--model.teacher", trained, "--model.allowed_drop", 1, "--model.optimizer.lr", 0.02, "--data.batch_size", 8,
            "--model.losses", '[{"name": "simkd"}, {"name": "crd", "options": {"negatives": 8, "size": 4}}]',
            "--data.eval_batch_size", 1)  # fmt: skip
    options = fit_options(images, tmp_path / "students", *more)
    options[options.index("Classifier")] = "Distiller"
    in_two(*options)
    directory = tmp_path / "students" / "r" / "version_0"
    path = directory / "checkpoints" / "last.ckpt"
    with open(directory / "metrics.csv") as file:
        last = list(csv.DictReader(file))[-1]
    one = (*EXACT, "--trainer.accelerator", "cpu", "--trainer.devices", 1)
    assert run("validate", "--ckpt_path", path, *one) == 0
    alone = json.loads((directory / "validate_metrics_last.json").read_text())
    for name in ("loss", "accuracy", "teacher_accuracy", "agreement"):
        assert float(last[f"val/{name}"]) == pytest.approx(alone[f"val/{name}"], rel=1e-14, abs=0)
    assert run("test", "--ckpt_path", path, *one) == 0
    expected = metrics(directory)
    in_two("test", "--ckpt_path", path, *EXACT)
    assert_same(metrics(directory), expected)
    assert {"test/accuracy", "test/teacher_accuracy", "test/agreement"} <= expected.keys()


def test_a_captioner_in_two_processes(run, in_two, captioned, caption_options, tmp_path):
    one = (*EXACT, "--trainer.accelerator", "cpu", "--trainer.devices", 1)
    more = ("--model.decoder", '{"embedding_size": 12, "hidden_size": 32, "dropout": 0.1, "bidirectional": true}',
            "--model.optimizer", "torch.optim.AdamW", "--data.eval_batch_size", 1)  # fmt: skip
    options = (*more, "--model.optimizer.lr", 0.02, "--trainer.max_epochs", 20, "--name", "alone")
    assert run(*caption_options(captioned, tmp_path / "runs", *options)) == 0
    begun = tmp_path / "runs" / "alone" / "version_0" / "checkpoints" / "last.ckpt"
    options = (*more, "--model.optimizer.lr", 0.001, "--trainer.max_epochs", 1, "--model.init_from", begun)
    in_two(*caption_options(captioned, tmp_path / "runs", *options))
    directory = tmp_path / "runs" / "c" / "version_0"
    path = directory / "checkpoints" / "last.ckpt"
    with open(directory / "metrics.csv") as file:
        last = list(csv.DictReader(file))[-1]
    assert run("validate", "--ckpt_path", path, *one) == 0
    alone = json.loads((directory / "validate_metrics_last.json").read_text())
    assert {name: float(last[name]) for name in alone if "/" in name} | FACTS == alone

    assert run("test", "--ckpt_path", path, *one) == 0
    expected = metrics(directory)
    in_two("test", "--ckpt_path", path, *EXACT)
    assert metrics(directory) == expected
    assert expected["test/cider_d"] > 1  # it has learned something
    assert expected["test/distinct_1"] != expected["test/greedy_distinct_1"]


def test_filters_that_follow_from_the_images_are_those_of_one_process(run, in_two, images, fit_options, tmp_path):
    more = ("--model.backbone", "airbench94", "--model.backbone_options", '{"widths": [4, 6]}', "--model.optimizer",
            "MuonSGD", "--lookahead.decay", 0.95, "--model.fine_tuning.freeze_after", '{"whiten": 1}')  # fmt: skip
    found = []
    for command, root in ((run, "alone"), (in_two, "two")):
        command(*fit_options(images, tmp_path / root, *more))
        checkpoint = read_checkpoint(tmp_path / root / "r" / "version_0" / "checkpoints" / "last.ckpt")
        found.append(checkpoint["state_dict"]["network.stages.whiten.0.weight"])
    assert found[0].equal(found[1])
