"""The work on a sweep: how many trials, which at a time, when one is stopped, and what is said of those that fail."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from project.cli import main
from project.errors import ConfigError
from project.runs.checkpoints import read_checkpoint
from project.runs.directory import RunDirectory
from project.sweeps.space import Space
from project.sweeps.study import Sweep, validations
from project.sweeps.work import Stop, Work, start_process, stop_requests

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


class StopAfter:
    """A `Stop` that is asked for after so many looks at it."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def status(self) -> int | None:
        self.left -= 1
        return 143 if self.left < 0 else None


def states(sweep) -> list[TrialState]:
    return [trial.state for trial in sweep.study.trials]


def test_as_many_trials_as_are_wanted_in_all(new_sweep, play, curve, work, capsys):
    sweep, played = new_sweep(), play(curve)
    work(sweep, played, 3)
    assert states(sweep) == [COMPLETE] * 3
    assert played.most_alive == 1
    for trial in sweep.study.trials:
        assert trial.value == curve({k: str(v) for k, v in trial.params.items()})[-1]
        assert list(trial.intermediate_values.values()) == curve({k: str(v) for k, v in trial.params.items()})
    assert capsys.readouterr().out.count("val/accuracy") == 3
    # the same again has nothing to do; more go on
    work(new_sweep(), played, 3)
    assert len(played.started) == 3
    work(new_sweep(), played, 5, jobs=2)
    assert len(played.started) == 5
    assert played.most_alive == 2


def test_a_trial_is_told_its_options_and_its_place(new_sweep, play, curve, work):
    sweep, played = new_sweep(), play(curve)
    work(sweep, played, 1)
    params = sweep.study.trials[0].params
    assert played.started == [[
        "fit", "--config", "c.yaml", f"--model.optimizer.lr={params['model.optimizer.lr']!r}",
        f"--model.width={params['model.width']}", "--trainer.default_root_dir", str(sweep.folder), "--name", "trial_000",
    ]]  # fmt: skip


def test_pruning_stops_what_is_worse_than_the_others(new_sweep, play, space, work, capsys):
    levels = iter([0.9, 0.8, 0.1, 0.95])

    def curve(_: dict) -> list[float]:
        level = next(levels)
        return [level, level + 0.01, level + 0.02]

    sweep, played = new_sweep(Space(space.distributions, MedianPruner(n_startup_trials=2))), play(curve)
    work(sweep, played, 4)
    assert states(sweep) == [COMPLETE, COMPLETE, PRUNED, COMPLETE]
    pruned = sweep.study.trials[2]
    assert pruned.intermediate_values == {0: 0.1}
    run = sweep.run_of("trial_002")
    assert len((run.path / "metrics.csv").read_text().splitlines()) == 2  # the header, and one validation
    assert not run.finished
    assert "trial_002: pruned after 1 validations" in capsys.readouterr().out
    assert sweep.study.best_trial.number == 3


def test_a_stopped_sweep_goes_on_where_it_was(new_sweep, play, curve, work, capsys):
    first, played = new_sweep(), play(curve)
    work(first, played, 3, stop=StopAfter(6))
    assert states(first)[-2:] == [FAIL, TrialState.WAITING]
    interrupted = sum(state == COMPLETE for state in states(first))
    assert first.run_of(f"trial_{interrupted:03}").finished is False
    second = new_sweep()
    work(second, played, 3)
    assert second.finished() == 3
    assert [state for state in states(second) if state == COMPLETE] == [COMPLETE] * 3
    assert played.started[interrupted + 1][-2:] == ["--ckpt_path", "auto"]
    # no epoch twice: the run has as many rows as one that was never stopped
    run = second.run_of(f"trial_{interrupted:03}")
    assert run.version == 0
    assert len(validations(run, "val/accuracy")) == 3


class FailsWhenStopped:
    """A process that ends with a fault of its own when it is asked to stop."""

    status: int | None = None

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.status = 1


def test_a_trial_that_fails_while_the_sweep_stops_is_not_tried_again(new_sweep):
    def start(arguments: list[str], output: Path, lock: object) -> FailsWhenStopped:
        output.write_text("ZeroDivisionError: division by zero\n")
        return FailsWhenStopped()

    sweep = new_sweep()
    Work(sweep, ["--config", "c.yaml"], start, seconds=0).run(1, 1, StopAfter(1))
    assert states(sweep) == [FAIL]
    assert sweep.study.trials[0].user_attrs["reason"] == "ZeroDivisionError: division by zero"


def test_a_trial_that_was_killed_while_it_started_leaves_nothing(new_sweep, play, curve, work):
    turn = new_sweep().begin(1)
    sweep = new_sweep()
    assert RunDirectory.create(sweep.folder, turn.folder).version == 0
    turn.lock.close()
    work(sweep, play(curve), 1)
    assert [path.name for path in (sweep.folder / turn.folder).glob("version_*")] == ["version_0"]
    assert sweep.run_of(turn.folder).finished


def test_three_mistakes_in_a_row_stop_the_sweep_with_the_line(new_sweep, play, curve, work):
    sweep, played = new_sweep(), play(curve, statuses=[2, 2, 0, 2, 2, 2, 0])
    with pytest.raises(ConfigError, match=r"^3 trials in a row: data.root: is missing$"):
        work(sweep, played, 9)
    assert states(sweep) == [FAIL, FAIL, COMPLETE, FAIL, FAIL, FAIL]


def test_a_fault_is_noted_and_the_others_go_on(new_sweep, play, curve, work, capsys):
    sweep, played = new_sweep(), play(curve, statuses=[1, 1, 1, 1, 0])
    work(sweep, played, 5)
    assert states(sweep) == [FAIL] * 4 + [COMPLETE]
    assert sweep.study.trials[0].user_attrs["reason"] == "ZeroDivisionError: division by zero"
    assert capsys.readouterr().out.count("failed with status 1: ZeroDivisionError: division by zero") == 4


def test_two_processes_at_once_share_the_trials(new_sweep, play, curve, work):
    played = [play(curve), play(curve)]
    sweeps = [new_sweep(), new_sweep()]
    threads = [threading.Thread(target=work, args=(*each, 6)) for each in zip(sweeps, played, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert states(sweeps[0]) == [COMPLETE] * 6
    assert sum(len(each.started) for each in played) == 6
    assert len({trial.params["model.optimizer.lr"] for trial in sweeps[0].study.trials}) == 6


def test_signals_ask_to_stop(capsys):
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143), (signal.SIGUSR1, 143)):
        before = signal.getsignal(number)
        with stop_requests() as stop:
            assert stop.status is None
            os.kill(os.getpid(), number)
            assert stop.status == status
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(number) is before


def test_a_process_holds_the_lock_as_long_as_it_lives(tmp_path):
    with open(tmp_path / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start_process(["--version"], tmp_path / "output.txt", lock)
    with open(tmp_path / "lock", "a") as other:
        if process.poll() is None:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert process.wait(60) == 0
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert (tmp_path / "output.txt").read_text().startswith("project ")


class InThisProcess:
    """A trial of the real command line, run to its end."""

    def __init__(self, arguments: list[str], output: Path, lock) -> None:
        main([*arguments, "--progress", "none"])

    def poll(self) -> int:
        return 0


def test_the_configuration_of_a_trial_repeats_it_bit_for_bit(run, images, fit_options, tmp_path, space):
    space = Space({"model.optimizer.lr": space.distributions["model.optimizer.lr"]}, space.pruner)
    sweep = Sweep(tmp_path / "runs" / "sweep-r", None, space, "val/accuracy", "max")
    arguments = fit_options(images, tmp_path / "elsewhere")[1:]
    Work(sweep, arguments, InThisProcess, seconds=0).run(2, 1, Stop())
    for trial in sweep.study.trials:
        first = sweep.run_of(f"trial_{trial.number:03}")
        assert first.path == tmp_path / "runs" / "sweep-r" / f"trial_{trial.number:03}" / "version_0"
        assert first.read_config()["model"]["init_args"]["optimizer"]["init_args"]["lr"] == trial.params["model.optimizer.lr"]  # fmt: skip
        assert trial.value == max(validations(first, "val/accuracy"))
        assert run("fit", "--config", first.path / "config.yaml") == 0
        second = RunDirectory(first.path.with_name("version_1"))
        weights = [read_checkpoint(each.checkpoints / "last.ckpt")["state_dict"] for each in (first, second)]
        assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
        assert (first.path / "metrics.csv").read_text() == (second.path / "metrics.csv").read_text()
    sweep.close()


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on(images, fit_options, tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "sweep.py"
    (tmp_path / "s.yaml").write_text("model.optimizer.lr: {low: 0.01, high: 0.3, log: true}")
    options = fit_options(images, tmp_path / "runs", "--trainer.max_epochs", 40)[1:]
    command = [sys.executable, script, "--space", tmp_path / "s.yaml", "--trials", "2", "--jobs", "2", *options]
    folder = tmp_path / "runs" / "sweep-r"
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    started = [folder / f"trial_00{number}" / "version_0" / "checkpoints" / "last.ckpt" for number in range(2)]
    deadline = time.monotonic() + 200
    while not all(path.exists() for path in started):
        assert time.monotonic() < deadline
        assert sweep.poll() is None
        time.sleep(0.2)
    sweep.kill()
    sweep.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    assert "0 of 2 trials finished" in done.stdout
    assert "next: python -m project test" in done.stdout
    # what was training went on without its sweep, and was not trained again
    assert sorted(path.name for path in folder.glob("trial_*")) == ["trial_000", "trial_001"]
    for path in started:
        assert RunDirectory(path.parents[1]).finished
        assert len(validations(RunDirectory(path.parents[1]), "val/accuracy")) == 40
    assert (folder / "index.html").is_file()
