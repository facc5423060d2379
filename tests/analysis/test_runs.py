"""Runs as tables: what the files say, whatever state they are in."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from project.analysis import load_runs
from project.errors import RunError
from tests.hostile import HOSTILE_NAMES, UNPRINTABLE

CONFIG = {
    "name": None,
    "seed": 3,
    "model": {
        "class_path": "project.tasks.Classifier",
        "init_args": {
            "backbone": "vgg8",
            "backbone_options": {"width": 4},
            "mean": [0.5, 0.25],
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.2}},
        },
    },
    "data": {"class_path": "project.data.Digits", "init_args": {"image_size": 16}},
}
METRICS = "epoch,step,train/loss,val/accuracy\n0,9,1.5,0.25\n1,14,1.25,\n1,19,0.5,0.75\n"


def make(root, name="r/version_0", config=CONFIG, metrics=METRICS, status="finished", time="2026-01-02T03:04:05+00:00"):
    """A run's directory from nothing but the texts of its files."""
    path = root / name
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / "best.ckpt").touch()
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "metrics.csv").write_text(metrics)
    (path / "status.json").write_text(json.dumps({"status": status}))
    (path / "provenance.json").write_text(json.dumps([{"time": time}, {"time": "2027-01-01T00:00:00+00:00"}]))
    return path


def test_a_row_is_one_value(tmp_path):
    make(tmp_path)
    found = load_runs(tmp_path)
    assert found.metrics[["epoch", "step", "metric", "value"]].to_numpy().tolist() == [
        [0, 9, "train/loss", 1.5],
        [0, 9, "val/accuracy", 0.25],
        [1, 14, "train/loss", 1.25],
        [1, 19, "train/loss", 0.5],
        [1, 19, "val/accuracy", 0.75],
    ]
    keys = found.metrics[["run", "task", "name", "version", "seed"]].drop_duplicates()
    assert keys.to_numpy().tolist() == [["r/version_0", "Classifier", "r", 0, 3]]
    assert found.problems == []


def test_options_have_the_names_of_the_command_line(tmp_path):
    path = make(tmp_path)
    row = load_runs(tmp_path).configs.iloc[0]
    assert row["model"] == "Classifier"
    assert row["model.backbone"] == "vgg8"
    assert row["model.backbone_options.width"] == 4
    assert row["model.optimizer"] == "SGD"
    assert row["model.optimizer.lr"] == 0.2
    assert row["model.mean"] == "[0.5, 0.25]"
    assert row["data.image_size"] == 16
    assert (row["name"], row["seed"], row["status"], row["epochs"]) == ("r", 3, "finished", 2)
    assert row["started"] == pd.Timestamp("2026-01-02T03:04:05Z")
    assert row["best_checkpoint"] == str(path / "checkpoints" / "best.ckpt")


def test_a_real_run_is_read_as_it_was_written(trained):
    found = load_runs(trained.parents[1])
    assert found.problems == []
    with open(trained / "metrics.csv", newline="") as file:
        expected = {
            (int(row["epoch"]), int(row["step"]), name): float(value)
            for row in csv.DictReader(file)
            for name, value in row.items()
            if name not in ("epoch", "step") and value
        }
    rows = found.metrics[["epoch", "step", "metric", "value"]].itertuples(index=False)
    assert {(row.epoch, row.step, row.metric): row.value for row in rows} == expected
    assert found.configs["epochs"].tolist() == [2]
    assert found.newest("Classifier") == trained


def test_results_of_both_commands(tmp_path):
    path = make(tmp_path)
    (path / "test_metrics.json").write_text(
        '{"test/accuracy": 1, "test/nll": NaN, "test/f1": null, "test/odd": "high"}'
    )
    (path / "validate_metrics.json").write_text('{"val/accuracy": 0.5}')
    found = load_runs(tmp_path)
    rows = dict(zip(found.results["metric"], found.results["value"], strict=True))
    assert math.isnan(rows.pop("test/nll"))
    assert math.isnan(rows.pop("test/f1"))
    assert rows == {"val/accuracy": 0.5, "test/accuracy": 1.0}
    assert found.problems == ["r/version_0: test_metrics.json: test/odd is no number"]


def test_however_deep_and_in_a_stable_order(tmp_path):
    for name in ("b/version_1", "a/version_10", "deep/er/c/version_0", "a/version_2"):
        make(tmp_path, name)
    make(tmp_path, "a/version_2/checkpoints/inner")  # part of a run
    runs = load_runs(tmp_path)
    assert runs.configs["run"].tolist() == ["a/version_10", "a/version_2", "b/version_1", "deep/er/c/version_0"]
    assert runs.paths[0] == tmp_path / "a/version_10"


def test_one_run_alone(tmp_path):
    path = make(tmp_path)
    found = load_runs(path)
    assert found.configs[["run", "name", "version"]].to_numpy().tolist() == [[".", "r", 0]]
    assert found.newest("Classifier") == path


# ---- what is broken

BROKEN = {
    "config.yaml": ["config.yaml: damaged", "model: [", "- a list", "\x00"],
    "status.json": ["status.json: damaged", "{", "[]"],
    "provenance.json": ["provenance.json: damaged", "nonsense", "{}"],
    "test_metrics.json": ["test_metrics.json: damaged", '{"test/accuracy": 0.', "3"],
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, (_, *texts) in BROKEN.items() for text in texts])
def test_a_broken_file_is_reported_and_the_other_runs_are_there(tmp_path, file, text):
    (make(tmp_path, "bad/version_0") / file).write_text(text)
    make(tmp_path, "good/version_0")
    found = load_runs(tmp_path)
    assert found.problems == [f"bad/version_0: {BROKEN[file][0]}"]
    assert "good/version_0" in set(found.metrics["run"])
    assert ("bad/version_0" in set(found.configs["run"])) == (file != "config.yaml")


@pytest.mark.parametrize("file", ["metrics.csv", "status.json", "provenance.json"])
def test_a_missing_file_is_reported(tmp_path, file):
    (make(tmp_path) / file).unlink()
    found = load_runs(tmp_path)
    assert found.problems == [f"r/version_0: has no {file}"]
    assert len(found) == 1


def test_bytes_and_folders_in_a_files_place(tmp_path):
    path = make(tmp_path)
    (path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    (path / "status.json").unlink()
    (path / "status.json").mkdir()
    assert load_runs(tmp_path).problems == [
        "r/version_0: metrics.csv: damaged",
        "r/version_0: status.json: cannot be read (not a regular file)",
    ]


def test_a_run_without_its_configuration(tmp_path):
    (make(tmp_path, "lost/version_0") / "config.yaml").unlink()
    make(tmp_path)
    found = load_runs(tmp_path)
    assert found.problems == ["lost/version_0: has no config.yaml, and is left out"]
    assert found.configs["run"].tolist() == ["r/version_0"]


@pytest.mark.parametrize("length", range(len(METRICS) - 1))
def test_a_table_that_was_cut_anywhere_gives_its_whole_rows(tmp_path, length):
    make(tmp_path, metrics=METRICS[:length])
    found = load_runs(tmp_path)
    whole = METRICS[:length].count("\n")
    assert len(found.metrics) == [0, 0, 2, 3, 5][whole]
    cut = length > 0 and METRICS[length - 1] != "\n"
    said = ["r/version_0: metrics.csv: cut off in its last row, which is left out"] if cut else []
    assert found.problems == said


def test_damaged_rows_are_counted(tmp_path):
    rows = ["0,9,1.5,0.25", "x,1,1,1", "1,1", "1,1,1,1,1", "1,2,abc,1", f"1,{'9' * 30},1,1", "1,19,inf,nan"]
    make(tmp_path, metrics="\n".join(["epoch,step,train/loss,val/accuracy", *rows, ""]))
    found = load_runs(tmp_path)
    assert found.problems == ["r/version_0: metrics.csv: 5 damaged rows are left out"]
    assert found.metrics["value"].tolist()[:3] == [1.5, 0.25, math.inf]
    make(tmp_path, "q/version_0", metrics='epoch,step,train/loss\n0,9,"1.5\n1,19,0.5\n2,29,0.25\n')
    found = load_runs(tmp_path / "q")
    assert found.problems == ["version_0: metrics.csv: 1 damaged rows are left out"]
    assert found.metrics["value"].tolist() == [0.5, 0.25]


def test_a_quote_that_never_ends(tmp_path):
    make(tmp_path, metrics='epoch,step,"train/loss\n' + 100_000 * "1,1,1\n")
    assert load_runs(tmp_path).problems == ["r/version_0: metrics.csv: damaged"]


@pytest.mark.parametrize(("field", "value"), [("seed", 10**30), ("seed", True), ("seed", "x"), ("model", None)])
def test_odd_values_in_a_configuration(tmp_path, field, value):
    make(tmp_path, config={**CONFIG, field: value})
    row = load_runs(tmp_path).configs.iloc[0]
    assert pd.isna(row["seed"]) if field == "seed" else row["task"] == "None"


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_is_reported_and_read(tmp_path, status):
    path = make(tmp_path, status=status)
    found = load_runs(tmp_path)
    assert found.problems == [
        f"r/version_0: unfinished ({status}); resume with python -m project fit --ckpt_path {path}"
    ]
    assert len(found.metrics) == 5


def test_a_directory_of_an_evaluation_has_only_results(tmp_path):
    path = make(tmp_path)
    for file in ("metrics.csv", "status.json"):
        (path / file).unlink()
    (path / "test_metrics.json").write_text('{"test/accuracy": 0.5}')
    found = load_runs(tmp_path)
    assert found.problems == []
    assert found.results["value"].tolist() == [0.5]
    assert found.configs["status"].tolist() == [""]
    assert found.configs["epochs"].isna().all()


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    make(tmp_path)
    (tmp_path / "secret").mkdir()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = load_runs(tmp_path)
    assert found.problems == [f"{tmp_path / 'secret'}: cannot be looked into (Permission denied)"]
    assert len(found) == 1


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_no_runs_at_all_is_one_line(tmp_path, kind):
    root = tmp_path / kind
    if kind == "file":
        root.touch()
    elif kind == "empty":
        (root / "notes").mkdir(parents=True)
    with pytest.raises(RunError, match="train first") as raised:
        load_runs(root)
    assert "\n" not in str(raised.value)
    assert raised.value._render_traceback_() == [f"error: {raised.value}"]


def test_only_broken_runs_give_empty_tables(tmp_path):
    (make(tmp_path) / "config.yaml").write_text("[")
    found = load_runs(tmp_path)
    assert len(found) == 0
    assert list(found.metrics.columns[-4:]) == ["epoch", "step", "metric", "value"]
    assert found.metrics.dtypes["value"] == "float64"
    assert repr(found).splitlines() == [f"0 runs in {tmp_path}, 1 to look at", "r/version_0: config.yaml: damaged"]


# ---- choosing


def test_where_chooses_of_every_table(tmp_path):
    other = {**CONFIG, "seed": 4, "model": {"class_path": "Captioner", "init_args": {"backbone": "vgg8"}}}
    for name, config in (("a/version_0", CONFIG), ("b/version_0", other)):
        (make(tmp_path, name, config) / "test_metrics.json").write_text('{"test/x": 1}')
    runs = load_runs(tmp_path)
    chosen = runs.where(task="Captioner")
    for table in (chosen.metrics, chosen.results, chosen.configs):
        assert set(table["run"]) == {"b/version_0"}
    assert len(runs.where(seed=[3, 4])) == 2
    assert len(runs.where(seed=3, task="Captioner")) == 0
    assert runs.where(**{"model.backbone": "vgg8"}).configs["seed"].tolist() == [3, 4]
    with pytest.raises(RunError, match="no column 'tasks'; did you mean 'task'"):
        runs.where(tasks="Captioner")


def test_the_newest_is_the_one_that_was_started_last_and_finished(tmp_path):
    make(tmp_path, "a/version_0", time="2026-03-01T00:00:00+00:00")
    make(tmp_path, "b/version_0", time="2026-02-01T00:00:00+00:00")
    make(tmp_path, "c/version_0", time="2026-04-01T00:00:00+00:00", status="failed")
    (make(tmp_path, "e/version_0") / "provenance.json").unlink()  # nobody knows when
    (make(tmp_path, "d/version_0", time="2026-05-01T00:00:00+00:00") / "checkpoints/best.ckpt").unlink()
    runs = load_runs(tmp_path)
    assert runs.newest("Classifier") == tmp_path / "a/version_0"
    assert runs.newest("Classifier", name="b") == tmp_path / "b/version_0"
    with pytest.raises(
        RunError, match=r"no finished run of a Captioner, seed 1; python scripts/make_runs\.py"
    ) as raised:
        runs.newest("Captioner", seed=1)
    assert "\n" not in str(raised.value)


def test_what_a_notebook_shows_is_escaped(tmp_path):
    make(tmp_path, "<script>/version_0", {**CONFIG, "model": {"class_path": "<b>"}}, status="<i>")
    page = load_runs(tmp_path)._repr_html_()
    assert "&lt;script&gt;/version_0" in page
    for tag in ("<script>", "<b>", "<i>"):
        assert tag not in page
    text = repr(load_runs(tmp_path))
    assert text.startswith(f"1 run in {tmp_path}, 1 to look at\n")
    assert "unfinished (<i>)" in text


def test_who_draws_during_training_does_without_pandas():
    code = "import sys, project.analysis.style; print('pandas' in sys.modules, project.analysis.load_runs.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "load_runs"]


def test_the_package_has_nothing_else():
    import project.analysis

    with pytest.raises(AttributeError, match="no attribute 'load_run'"):
        _ = project.analysis.load_run


def test_hostile_names_are_printable_and_columns_stay_columns(tmp_path):
    for number, name in enumerate(HOSTILE_NAMES):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([["epoch", "step", f"test/{name}"], [0, 9, 0.5]])
        path = make(tmp_path, f"{number}{name.replace('/', '')}/version_0", metrics="")
        (path / "metrics.csv").write_bytes(text.getvalue().encode(errors="replace"))
        (path / "test_metrics.json").write_text(json.dumps({f"test/{name}": "much"}))
    runs = load_runs(tmp_path)
    assert len(runs) == len(HOSTILE_NAMES)
    assert len(runs.metrics) == len(HOSTILE_NAMES) - 1  # the csv module leaves a carriage return unquoted, as we do not
    lines = repr(runs).split("\n")
    assert len(lines) == 2 * len(HOSTILE_NAMES) + 3  # a summary, a header, lines and problems, one more of a cut table
    assert not any(map(UNPRINTABLE.search, lines))
