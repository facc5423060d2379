"""The record of a sweep: nothing is lost or counted twice, whoever is killed."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import struct
import threading
from pathlib import Path

import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import NopPruner
from optuna.trial import TrialState, create_trial

from project.errors import RunError
from project.runs.directory import RunDirectory
from project.sweeps.space import Space
from project.sweeps.study import best_value, validations

COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING


def states(sweep) -> list[TrialState]:
    return [trial.state for trial in sweep.study.trials]


def played(play, curve, sweep, turn):
    """A trial's process, started as `Work` starts it."""
    options = [f"--{name}={value}" for name, value in turn.trial.params.items()]
    where = ["--trainer.default_root_dir", str(sweep.folder), "--name", turn.folder]
    return play(curve)(["fit", *options, *where], sweep.folder / turn.folder / "output.txt", turn.lock)


def killed(turn) -> None:
    """What the system does with the lock of a process that is killed."""
    turn.lock.close()


def test_a_dead_process_is_found_at_once_and_its_options_are_tried_again(new_sweep):
    first = new_sweep()
    turn = first.begin(5)
    assert (turn.folder, turn.goes_on) == ("trial_000", False)
    second = new_sweep()
    assert second.begin(1) is None  # the first is alive
    killed(turn)
    again = second.begin(1)
    assert (again.folder, again.goes_on) == ("trial_000", True)
    assert again.trial.params == turn.trial.params
    assert states(second) == [FAIL, RUNNING]
    assert second.finished() == 0
    # killed again, before it was told
    killed(again)
    third = new_sweep().begin(1)
    assert (third.folder, third.trial.params) == ("trial_000", turn.trial.params)


def test_training_that_outlived_its_sweep_counts(new_sweep, play, curve):
    first = new_sweep()
    turn = first.begin(1)
    process = played(play, curve, first, turn)
    inherited = os.dup(turn.lock.fileno())  # as a child has it
    killed(turn)
    second = new_sweep()
    assert second.begin(1) is None
    while process.poll() is None:
        pass
    assert second.begin(1) is None
    assert states(second) == [RUNNING]
    os.close(inherited)
    assert second.begin(1) is None
    assert states(second) == [COMPLETE]
    values = curve({k: str(v) for k, v in turn.trial.params.items()})
    assert second.study.trials[0].value == max(values)
    assert second.study.trials[0].intermediate_values == pytest.approx(
        dict(enumerate(values))
    )  # as others are judged by


def test_what_is_interrupted_is_gone_on_with_and_what_failed_is_not(new_sweep):
    sweep = new_sweep()
    turns = [sweep.begin(3) for _ in range(3)]
    assert sweep.begin(3) is None
    sweep.give_back(turns[0])
    sweep.fail(turns[1], "error: no such thing")
    assert sweep.finished() == 1
    assert sweep.study.trials[1].user_attrs["reason"] == "error: no such thing"
    again = sweep.begin(3)
    assert (again.folder, again.goes_on, again.trial.params) == ("trial_000", True, turns[0].trial.params)
    assert sweep.begin(3) is None


def test_what_is_chosen_follows_from_the_seed_and_the_number_alone(new_sweep, tmp_path):
    def params(sweep, count: int) -> list[dict]:
        return [sweep.begin(99).trial.params for _ in range(count)]

    whole = params(new_sweep(folder=tmp_path / "a"), 4)
    parts = [params(new_sweep(folder=tmp_path / "b"), 2) for _ in range(2)]  # two processes
    assert [*parts[0], *parts[1]] == whole
    assert len({each["model.optimizer.lr"] for each in whole}) == 4
    stopped = new_sweep(folder=tmp_path / "d")
    first = stopped.begin(99)
    stopped.give_back(first)
    assert [stopped.begin(99).trial.params for _ in range(4)] == whole
    assert params(new_sweep(folder=tmp_path / "c", seed=1), 4) != whole


def test_processes_that_begin_at_once_share_the_trials(new_sweep):
    sweeps = [new_sweep() for _ in range(3)]
    found: list[str] = []

    def take(sweep) -> None:
        while turn := sweep.begin(9):
            found.append(turn.folder)

    threads = [threading.Thread(target=take, args=(sweep,)) for sweep in sweeps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"trial_{number:03}" for number in range(9)]


@pytest.mark.parametrize(
    ("others", "what"),
    [({"config": {"a": 2}}, "config"), ({"mode": "min"}, "mode"), ({"space": "other"}, "space")],
)
def test_other_trials_do_not_belong_to_the_study(new_sweep, others, what):
    new_sweep()
    if what == "space":
        others = {"space": Space({"model.optimizer.lr": FloatDistribution(0.01, 2.0)}, NopPruner())}
    with pytest.raises(RunError, match=f"has trials of another {what}; give another --name"):
        new_sweep(**others)


def test_two_studies_do_not_share_a_folder(new_sweep, tmp_path):
    new_sweep().begin(1)
    with pytest.raises(RunError, match="trial_000 is at work for another study"):
        new_sweep(study=tmp_path / "other.db").begin(1)


def test_a_new_study_does_not_take_over_the_runs_of_another(new_sweep, tmp_path):
    first = new_sweep()
    (first.folder / first.begin(1).folder / "version_0").mkdir()
    with pytest.raises(RunError, match=r"other.db: is new, and .* has trials of another one; give another --name"):
        new_sweep(study=tmp_path / "other.db")
    assert new_sweep().begin(2).folder == "trial_001"  # its own study goes on
    first.file.unlink()
    with pytest.raises(RunError, match="is new"):
        new_sweep()


def test_who_looks_while_a_trial_is_given_back_finds_it_free(new_sweep, monkeypatch):
    """Between that it waits again and that its process lets go of it."""
    sweep = new_sweep()
    turn = sweep.begin(1)
    enqueue, found = sweep._enqueue, []

    def and_another_looks(trial) -> None:
        enqueue(trial)
        other = threading.Thread(target=lambda: found.append(new_sweep().begin(1)))
        other.start()
        other.join(0.5)
        assert not found, "it waits for the study"
        sweep.other = other

    monkeypatch.setattr(sweep, "_enqueue", and_another_looks)
    sweep.give_back(turn)
    sweep.other.join(30)
    assert (found[0].folder, found[0].goes_on) == ("trial_000", True)


def test_a_file_that_is_no_study_is_named(new_sweep, tmp_path):
    (tmp_path / "notes.db").write_text("these are notes, and no data base, for more than a hundred characters" * 9)
    with pytest.raises(RunError, match=r"notes.db: cannot be opened"):
        new_sweep(study=tmp_path / "notes.db")
    with pytest.raises(RunError, match="cannot be opened"):
        new_sweep(study=tmp_path / "absent" / "s.db")


def test_the_value_is_that_of_the_best_checkpoint_as_training_has_it(trained):
    with open(trained / "metrics.csv", newline="") as file:
        values = [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    assert best_value(RunDirectory(trained)) == max(values)
    (trained / "checkpoints" / "best.ckpt").unlink()
    assert best_value(RunDirectory(trained)) is None
    assert best_value(None) is None


def test_a_trial_without_a_best_checkpoint_has_failed(new_sweep):
    sweep = new_sweep()
    assert sweep.complete(sweep.begin(1)) is None
    assert states(sweep) == [FAIL]
    assert "no best checkpoint" in sweep.study.trials[0].user_attrs["reason"]


def stored(sweep, table: str, **values: object) -> None:
    """Changes all rows of a table of the study, as a stranger may."""
    sweep.close()
    with sqlite3.connect(sweep.file) as study:
        study.execute(f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in values)}", tuple(values.values()))


@pytest.mark.parametrize(
    "folder", ["../victim", "/tmp/victim", "trial_000/../../victim", ".", "", "trial_00", 3, None, ["x"]]
)
def test_sweep_trial_outside_of_the_directory_is_refused(new_sweep, tmp_path, folder):
    sweep = new_sweep()
    sweep.give_back(sweep.begin(1))
    assert sweep.study.trials[1].user_attrs == {"folder": "trial_000"}
    stored(sweep, "trial_user_attributes", value_json=json.dumps(folder))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=r"study\.db: trial 1: .* is no folder of a trial; remove the study"):
        new_sweep().begin(1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "fixed",
    [
        {"trainer.callbacks": '[{"class_path": "os.system"}]'},
        {"model.optimizer.lr": 7},
        {"model.optimizer.lr": "0.1 --trainer.logger x"},
        {"model.width": '{"class_path": "os.system"}'},
        {"model.width": 8},
    ],
)
def test_sweep_trial_with_other_options_is_refused(new_sweep, fixed):
    sweep = new_sweep()
    sweep.study.enqueue_trial(fixed)
    with pytest.raises(RunError, match=r"study\.db: trial 0: .* is not in the space"):
        new_sweep()
    with pytest.raises(RunError, match="is not in the space"):
        sweep.begin(1)


def test_sweep_waiting_trial_with_options_of_its_own_is_refused(new_sweep):
    sweep = new_sweep()
    distributions = {"trainer.callbacks": CategoricalDistribution(["[{class_path: os.system}]"])}
    params = {name: each.choices[0] for name, each in distributions.items()}
    sweep.study.add_trial(create_trial(state=TrialState.WAITING, params=params, distributions=distributions))
    with pytest.raises(RunError, match=r"trial 0: trainer\.callbacks .* is not in the space"):
        new_sweep()


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("study_user_attributes", {"value_json": "{"}),
        ("study_user_attributes", {"value_json": "3"}),
        ("study_user_attributes", {"value_json": '{"space": {}}'}),
        ("study_user_attributes", {"key": "other"}),
        ("trial_params", {"distribution_json": '{"name": "os.system", "attributes": {}}'}),
        ("trial_params", {"distribution_json": "[" * 100_000}),
        ("trial_params", {"distribution_json": b"\xff"}),
        ("trial_params", {"param_value": "x"}),
        ("trials", {"state": "NOTHING"}),
        ("trials", {"datetime_start": "yesterday"}),
        ("trial_values", {"value": "x"}),
        ("trial_values", {"value_type": "INF_POS"}),
        ("trial_system_attributes", {"value_json": "3"}),
    ],
)  # fmt: skip
def test_sweep_damaged_study_is_one_line(new_sweep, play, curve, work, table, values):
    sweep = new_sweep()
    work(sweep, play(curve), 1)
    sweep.study.enqueue_trial({"model.width": "8"})
    stored(sweep, table, **values)
    with pytest.raises(RunError, match=r"study\.db: .*(choose another file|or give another|give another --name)"):
        new_sweep()


@pytest.mark.parametrize("place", ["trial_000", "trial_000/lock", "trial_000/output.txt", "trial_000/version_0/checkpoints",
                                   "lock", "study.db"])  # fmt: skip
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_sweep_directory_that_leads_elsewhere_is_refused(new_sweep, tmp_path, place, kind):
    path = tmp_path / "sweep-x" / place
    path.parent.mkdir(parents=True)
    if kind == "link":
        path.symlink_to(tmp_path / "victim")
    else:
        os.mkfifo(path)
    with pytest.raises(RunError, match="leads out of" if kind == "link" else "neither a file nor a folder"):
        new_sweep()
    assert not (tmp_path / "victim").exists()


def test_sweep_links_inside_of_its_directory_stay(new_sweep, tmp_path):
    (tmp_path / "sweep-x" / "trial_000").mkdir(parents=True)
    (tmp_path / "sweep-x" / "trial_000" / "latest").symlink_to("version_0")
    assert new_sweep().begin(1).folder == "trial_000"


def test_sweep_journal_that_names_a_file_is_refused(new_sweep, tmp_path):
    """SQLite deletes the file that the end of a journal names."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    sweep = new_sweep()
    sweep.close()
    study = sweep.file.read_bytes()
    journal = journal_that_deletes(victim, len(study))
    sweep.file.with_name("study.db-journal").write_bytes(journal)
    with pytest.raises(RunError, match=r"study\.db-journal: is no journal of a sweep; remove it together with"):
        new_sweep()
    assert victim.exists()
    with sqlite3.connect(sweep.file) as opened:  # as it would have been
        opened.execute("SELECT * FROM trials")
    assert not victim.exists()
    assert sweep.file.read_bytes() == study


def journal_that_deletes(victim: Path, size: int) -> bytes:
    """A rollback journal without pages of a file of this size, with a super-journal (https://sqlite.org/fileformat.html#the_rollback_journal)."""
    magic, name, sector, page = bytes.fromhex("d9d505f920a163d7"), bytes(victim), 512, 4096
    header = (magic + struct.pack(">5I", 0, 0, size // page, sector, page)).ljust(sector, b"\0")
    return header + struct.pack(">I", 2**30 // page + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic


def test_validations_of_a_damaged_table_are_none(tmp_path):
    run = RunDirectory.create(tmp_path, "r")
    for content in (b"val/accuracy\nmuch\n", b"\xff", b'val/accuracy\n"1\0', b"val/accuracy\n" + b'"' + b"1" * 200_000):
        (run.path / "metrics.csv").write_bytes(content)
        assert validations(run, "val/accuracy") == []
    (run.path / "metrics.csv").write_text("epoch,step,val/accuracy\n0,0,0.5\n0,1,\n0,2,0.75\n")
    assert validations(run, "val/accuracy") == [0.5, 0.75]


@pytest.mark.parametrize("callbacks", [{}, [], {"SaveCheckpoints": 3}, {"SaveCheckpoints": {"best_value": "x"}}])
def test_best_value_of_another_checkpoint_is_none(tmp_path, callbacks):
    run = RunDirectory.create(tmp_path, "r")
    content = {"state_dict": {}, "task": "Classifier", "hyper_parameters": {}, "callbacks": callbacks}
    torch.save(content, run.checkpoints / "best.ckpt")
    assert best_value(run) is None
