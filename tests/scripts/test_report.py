"""The command that reports on a checkpoint, as a user runs it."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest

from project.analysis.opening import open_run
from project.analysis.outcomes import collect_outcomes


@pytest.fixture
def report(script):
    return partial(script, "report")


def test_a_run_is_all_that_it_needs(run, report, trained):
    assert run("test", "--ckpt_path", trained) == 0
    status, out, err = report("--ckpt_path", trained)
    assert (status, err) == (0, "")
    content = json.loads((trained / "report.json").read_text(), parse_constant=pytest.fail)
    expected = json.loads((trained / "test_metrics.json").read_text())
    sections = content["sections"]
    for name in ("accuracy", "precision", "recall", "f1"):
        assert sections["accuracy"]["all"][name]["value"] == pytest.approx(expected[f"test/{name}"], abs=1e-6)
    after = sections["calibration"]["errors"][1]
    for name in ("ece", "nll", "brier"):
        assert after[name]["value"] == pytest.approx(expected[f"test/{name}"], abs=1e-4)
    rows = (trained / "test_confusion.csv").read_text().splitlines()[1:]
    assert sections["confusion"]["confusion"] == [[int(cell) for cell in row.split(",")[1:]] for row in rows]
    assert content["checkpoint"]["path"] == str(trained / "checkpoints" / "best.ckpt")
    assert content["provenance"]["command"] == f"python scripts/report.py --ckpt_path {trained}"
    assert [line.split()[0] for line in out.splitlines()] == [*sections, "numbers:", "report:"]
    assert f"report: {(trained / 'report.html').as_uri()}" in out.splitlines()
    assert (trained / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(("of_run", "given"), [("bf16-mixed", None), ("32-true", None), ("32-true", "bf16-mixed")])
def test_all_commands_compute_in_the_precision_of_the_run(
    run, report, images, fit_options, tmp_path, monkeypatch, of_run, given
):
    """On a machine whose fastest precision is the other one."""
    fastest = "32-true" if of_run == "bf16-mixed" else "bf16-mixed"
    monkeypatch.setattr("project.cli.parser.fastest_precision", lambda: fastest)
    assert run(*fit_options(images, tmp_path / "runs", "--trainer.precision", of_run)) == 0
    path = tmp_path / "runs" / "r" / "version_0"
    more = ("--trainer.precision", given) if given else ()
    assert run("test", "--ckpt_path", path, *more) == 0
    assert report("--ckpt_path", path, "--sections", "accuracy,calibration", *more)[0] == 0
    tested = json.loads((path / "test_metrics.json").read_text())
    reported = json.loads((path / "report.json").read_text())
    assert tested["precision"] == reported["precision"] == (given or of_run)
    assert f", {given or of_run}, threads" in (path / "report.html").read_text()
    nll = reported["sections"]["calibration"]["errors"][1]["nll"]["value"]
    assert nll == pytest.approx(tested["test/nll"], rel=1e-6)
    task, data = open_run(path)
    task.precision = given or of_run
    outcomes = collect_outcomes(task, data)
    assert outcomes.probabilities.log().gather(1, outcomes.labels[:, None]).mean().item() == pytest.approx(
        -nll, rel=1e-6
    )
    assert run("predict", "--ckpt_path", path, "--data.predict", images, *more) == 0
    rows = [json.loads(line) for line in (path / "predictions.jsonl").read_text().splitlines()]
    files, top5 = [row["path"] for row in rows], [row["top5"] for row in rows]
    assert [answer["top5"] for answer in task.predict(files)] == top5
    task.precision = fastest if given is None else of_run
    assert [answer["top5"] for answer in task.predict(files)] != top5


def test_options_of_its_own_and_of_test(report, trained, trained_images, tmp_path):
    moved = shutil.copytree(trained_images, tmp_path / "moved")
    checkpoint = shutil.copy(trained / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    status, out, _ = report(
        "--ckpt_path", checkpoint, "--output", tmp_path / "out", "--split", "val", "--sections", "explanations,cost",
        "--data.root", moved, "--images", moved / "a" / "00.png", "--seed", 3,
    )  # fmt: skip
    assert status == 0
    assert "numbers: " + str(tmp_path / "out" / "report.json") in out
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(content["sections"]) == ["explanations", "cost"]
    assert (content["split"], content["seed"]) == ("val", 3)
    assert [row["file"] for row in content["sections"]["explanations"]["images"]] == [str(moved / "a" / "00.png")]


def test_a_distillers_report_is_its_students(run, report, fit_options, trained, trained_images, tmp_path):
    options = fit_options(trained_images, tmp_path / "runs", "--model", "Distiller", "--model.teacher", trained)
    assert run(*options, "--name", "d") == 0
    folder = tmp_path / "runs" / "d" / "version_0"
    (tmp_path / "student").mkdir()
    found = {}
    for name, checkpoint in (("d", folder), ("s", folder / "checkpoints" / "student.ckpt")):
        status, _, err = report("--ckpt_path", checkpoint, "--output", tmp_path / name, "--sections", "accuracy")
        assert (status, err) == (0, "")
        found[name] = json.loads((tmp_path / name / "report.json").read_text())
    assert found["d"]["checkpoint"]["task"] == "Distiller"
    assert found["s"]["checkpoint"]["task"] == "Classifier"
    assert found["d"]["sections"] == found["s"]["sections"]


def test_a_captioner(run, report, captioned, caption_options, tmp_path):
    assert run(*caption_options(captioned, tmp_path / "runs")) == 0
    status, out, err = report("--ckpt_path", tmp_path / "runs" / "c" / "version_0", "--sections", "captions,groups")
    assert (status, err) == (0, "")
    content = json.loads((tmp_path / "runs" / "c" / "version_0" / "report.json").read_text())
    assert len(content["sections"]["captions"]["scores"]) == 4
    assert "captions" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "error: --ckpt_path: is required"),
        (["--ckpt_path", "RUN", "--seed", "-1"], "error: --seed: must be in 0..4294967295; got -1"),
        (["--ckpt_path", "absent.ckpt"], "error: ckpt_path: absent.ckpt: there is no such file"),
        (
            ["--ckpt_path", "RUN", "--sections", "acuracy"],
            "error: --sections: a report of a Classifier has no 'acuracy'",
        ),
        (["--ckpt_path", "RUN", "--data.rot", "x"], "error: data.rot: there is no such option; did you mean 'root'?"),
        (["--ckpt_path", "RUN", "--data.root", "absent"], "error: data.root: absent: there is no such folder"),
        (["--ckpt_path", "RUN", "--groups", "absent.csv"], "error: --groups: absent.csv: there is no such file"),
        (["--ckpt_path", "RUN", "--images", "absent.png", "--sections", "explanations"], "error: absent.png"),
        (["--ckpt_path", "RUN", "--model.mean", "[0.1,0.1,0.1]"], "error: model.mean: [0.1, 0.1, 0.1] contradicts"),
        (
            ["--ckpt_path", "RUN", "--output", "file", "--sections", "confusion"],
            "error: --output: file: cannot be written",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(report, trained, tmp_path, options, message):
    (tmp_path / "file").write_text("in the way")
    status, _, err = report(*[trained if option == "RUN" else option for option in options])
    assert status == 2
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not (trained / "report.json").exists()


def test_a_checkpoint_alone_needs_a_place_for_its_report(report, trained, tmp_path):
    checkpoint = shutil.copy(trained / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    status, _, err = report("--ckpt_path", checkpoint)
    assert status == 2
    assert err == f"error: --output: {checkpoint} lies in no run; say where the report goes\n"
