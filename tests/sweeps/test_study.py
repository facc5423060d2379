"""The record of a sweep: nothing is lost or counted twice, whoever is killed."""

from __future__ import annotations

import csv
import os
import threading

import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.trial import TrialState

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


def test_validations_of_damaged_metrics_are_none(tmp_path):
    run = RunDirectory.create(tmp_path, "r")
    (run.path / "metrics.csv").write_text("epoch,step,val/m\n0,0,0.5\n0,1,\n0,2,0.25\n")
    assert validations(run, "val/m") == [0.5, 0.25]
    (run.path / "metrics.csv").write_text("epoch,step,val/m\n0,0,x\n")
    assert validations(run, "val/m") == validations(None, "val/m") == []


def test_a_trial_without_a_best_checkpoint_has_failed(new_sweep):
    sweep = new_sweep()
    assert sweep.complete(sweep.begin(1)) is None
    assert states(sweep) == [FAIL]
    assert "no best checkpoint" in sweep.study.trials[0].user_attrs["reason"]
