"""Run directories: never shared by two runs, refused when they cannot be written, found again."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from project.errors import CheckpointError, RunError
from project.runs.directory import (
    RunDirectory,
    checkpoint_of,
    find_checkpoint,
    find_runs,
    find_unfinished,
    lock_start,
    was_started_with,
)
from project.runs.locks import Lock
from project.runs.precision import fastest_precision


def make(root, config=None, checkpoints=("last",), status=None, name="r"):
    run = RunDirectory.create(root, name)
    run.write_config(yaml.safe_dump(config or {}))
    for which in checkpoints:
        (run.checkpoints / f"{which}.ckpt").touch()
    if status:
        run.write_status(status)
    return run


def test_versions_count_up_and_leave_gaps_alone(tmp_path):
    assert [RunDirectory.create(tmp_path, "r").path.name for _ in range(3)] == [f"version_{i}" for i in range(3)]
    (tmp_path / "r" / "version_11").mkdir()
    (tmp_path / "r" / "notes").mkdir()
    run = RunDirectory.create(tmp_path, "r")
    assert run.path == tmp_path / "r" / "version_12"
    assert run.version == 12
    assert run.checkpoints.is_dir()
    assert list(run.checkpoints.iterdir()) == []  # no probe stays behind
    assert [run.version for run in find_runs(tmp_path, "r")] == [0, 1, 2, 11, 12]
    assert find_runs(tmp_path, "other") == []


def test_threads_never_share_a_version(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: RunDirectory.create(tmp_path, "r").version, range(64)))
    assert sorted(runs) == list(range(64))


def test_processes_never_share_a_version(tmp_path):
    code = (
        "import sys; from project.runs.directory import RunDirectory\n"
        "sys.stdin.readline()\n"
        "for _ in range(20): print(RunDirectory.create(sys.argv[1], 'r').version)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    outputs = [process.communicate("go\n", timeout=60)[0] for process in processes]
    assert sorted(int(version) for output in outputs for version in output.split()) == list(range(60))


@pytest.mark.parametrize("blocked", ["root", "root/r"])
def test_a_file_in_the_place_of_a_folder_is_a_run_error(tmp_path, blocked):
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("")
    with pytest.raises(RunError, match=r"trainer\.default_root_dir: cannot write"):
        RunDirectory.create(tmp_path / "root", "r")


def test_a_run_whose_checkpoint_folder_is_a_file_is_not_writable(tmp_path):
    run = RunDirectory.create(tmp_path, "r")
    run.checkpoints.rmdir()
    run.checkpoints.write_text("")
    with pytest.raises(RunError, match="version_0"):
        run.check_writable()


def test_a_checkpoint_knows_its_run_also_by_a_link(tmp_path):
    run = make(tmp_path)
    assert RunDirectory.of_checkpoint(run.checkpoints / "last.ckpt") == RunDirectory(run.path.resolve())
    (tmp_path / "link.ckpt").symlink_to(run.checkpoints / "last.ckpt")
    assert RunDirectory.of_checkpoint(tmp_path / "link.ckpt") == RunDirectory(run.path.resolve())
    (tmp_path / "elsewhere.ckpt").touch()
    assert RunDirectory.of_checkpoint(tmp_path / "elsewhere.ckpt") is None
    assert RunDirectory(tmp_path / "renamed").version == -1


def test_words_find_the_newest_run_that_has_such_a_checkpoint(tmp_path):
    runs = [make(tmp_path, checkpoints=found) for found in (["best", "last"], ["last"], [])]
    assert find_checkpoint("last", tmp_path, "r") == runs[1].checkpoints / "last.ckpt"
    assert find_checkpoint("best", tmp_path, "r") == runs[0].checkpoints / "best.ckpt"
    for _ in range(9):
        newest = make(tmp_path)
    assert newest.version == 11  # as a word it would come before version_2
    assert find_checkpoint("last", tmp_path, "r") == newest.checkpoints / "last.ckpt"
    with pytest.raises(RunError, match=r"other.*best\.ckpt"):
        find_checkpoint("best", tmp_path, "other")


def test_a_folder_stands_for_a_checkpoint_in_it_and_a_file_for_itself(tmp_path):
    run = RunDirectory.create(tmp_path, "a")
    assert checkpoint_of(tmp_path / "x.ckpt", "best") == tmp_path / "x.ckpt"
    (run.checkpoints / "best.ckpt").touch()
    run.write_config("")
    assert checkpoint_of(run.path, "best") == run.checkpoints / "best.ckpt"
    for path, word in ((run.path, "last"), (tmp_path, "best")):
        with pytest.raises(
            CheckpointError,
            match=rf"^ckpt_path: {path}: the folder is no run with a check.*{word}\.ckpt(; give a run, such as {run.path})?$",
        ):
            checkpoint_of(path, word)


def test_checkpoint_of_a_neighbouring_folder_names_the_run(tmp_path):
    for _ in range(2):
        run = RunDirectory.create(tmp_path, "a")
        run.write_config("")
        (run.checkpoints / "best.ckpt").touch()
    for path in (run.path.parent, run.checkpoints, tmp_path):
        with pytest.raises(
            CheckpointError, match=rf"^model\.init_from: {path}: .*; give a run, such as {tmp_path}/a/version_1$"
        ):
            checkpoint_of(path, "best", "model.init_from")


def test_unfinished_is_the_newest_of_the_same_configuration_with_something_to_go_on_from(tmp_path):
    config = {"seed": 1, "model": {"a": [1, 2]}}
    assert find_unfinished(config, tmp_path, "r") is None
    older = make(tmp_path, config, status="failed")
    expected = make(tmp_path, config, status="interrupted")
    make(tmp_path, config, status="finished")
    make(tmp_path, {"seed": 2, "model": {"a": [1, 2]}}, status="interrupted")
    make(tmp_path, config, checkpoints=(), status="running")
    assert find_unfinished(config, tmp_path, "r") == expected.checkpoints / "last.ckpt"
    expected.write_status("finished")
    assert find_unfinished(config, tmp_path, "r") == older.checkpoints / "last.ckpt"
    older.write_status("finished")
    assert find_unfinished(config, tmp_path, "r") is None


def test_a_job_goes_on_on_another_machine_and_after_an_update(tmp_path, monkeypatch):
    """Where another precision is the default, and there are options that there were not."""
    kept = {
        "seed": 1,
        "model": {"class_path": "C", "init_args": {"width": {"a": 1}}},
        "trainer": {"precision": "16-mixed"},
    }
    run = make(tmp_path, kept, status="interrupted")
    now = copy.deepcopy(kept) | {"lookahead": {"decay": 0.0}}
    now["model"]["init_args"]["new"] = now["trainer"]["new"] = None
    now["trainer"]["precision"] = "bf16-mixed"
    monkeypatch.setattr("project.runs.directory.fastest_precision", lambda: "bf16-mixed")
    assert find_unfinished(now, tmp_path, "r") == run.checkpoints / "last.ckpt"
    assert now["trainer"]["precision"] == "bf16-mixed", "what is asked is not changed"
    monkeypatch.setattr("project.runs.directory.fastest_precision", lambda: "32-true")
    assert find_unfinished(now, tmp_path, "r") is None, "this one was asked for"
    now["trainer"]["precision"] = "16-mixed"
    for name, value in (("width", {"a": 1, "b": 2}), ("width", {"a": 2})):
        other = copy.deepcopy(now)
        other["model"]["init_args"][name] = value
        assert find_unfinished(other, tmp_path, "r") is None
    assert find_unfinished(now, tmp_path, "r") is not None


@pytest.mark.parametrize("text", ["3", "text", "[1]", "trainer: null", "trainer: [1]"])
def test_a_configuration_of_another_shape_is_another_one(tmp_path, text):
    run = make(tmp_path, status="interrupted")
    (run.path / "config.yaml").write_text(text)
    config = {"trainer": {"precision": fastest_precision()}}
    assert find_unfinished(config, tmp_path, "r") is None
    assert config == {"trainer": {"precision": fastest_precision()}}


@pytest.mark.parametrize("text", [None, "a: [", "\tx"])
def test_a_run_whose_configuration_is_damaged_is_none_of_ours(tmp_path, text):
    run = make(tmp_path, {"a": 1}, status="interrupted")
    (run.path / "config.yaml").unlink() if text is None else (run.path / "config.yaml").write_text(text)
    assert find_unfinished({"a": 1}, tmp_path, "r") is None
    with pytest.raises(RunError, match=r"config\.yaml: cannot be read"):
        run.read_config()


def test_a_configuration_that_cannot_be_written_leaves_the_earlier_one(tmp_path, monkeypatch):
    run = make(tmp_path, {"a": 1})

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("project.runs.directory.write_text", full)
    with pytest.raises(OSError, match="No space"):
        run.write_config("a: 2\n")
    assert run.read_config() == {"a": 1}


@pytest.mark.parametrize(("text", "finished"), [('{"status": "finished"}', True), ('{"status"', False), ("{}", False)])
def test_a_damaged_status_is_not_finished(tmp_path, text, finished):
    run = make(tmp_path)
    assert not run.finished
    (run.path / "status.json").write_text(text)
    assert run.finished is finished


def test_each_different_configuration_is_kept(tmp_path):
    run = make(tmp_path, {"a": 1})
    for value in (1, 2, 3):
        run.write_config(yaml.safe_dump({"a": value}))
    assert run.read_config() == {"a": 3}
    kept = lambda: {p.name: yaml.safe_load(p.read_text()) for p in run.path.glob("config.before_resume_*")}  # noqa: E731
    assert kept() == {"config.before_resume_0.yaml": {"a": 1}, "config.before_resume_1.yaml": {"a": 2}}
    (run.path / "config.before_resume_0.yaml").unlink()
    run.write_config(yaml.safe_dump({"a": 4}))
    assert kept() == {"config.before_resume_0.yaml": {"a": 3}, "config.before_resume_1.yaml": {"a": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "model: {init_args: 5}",
        "model: 5",
        "model: {class_path: {a: 1}, init_args: [x]}",
        "{}",
        "trainer: {precision: {a: 1}}",
    ],
)
def test_find_unfinished_with_values_of_other_types_passes_over_the_run(tmp_path, text):
    run = make(tmp_path, status="interrupted")
    (run.path / "config.yaml").write_text(text)
    config = {"model": {"class_path": "C", "init_args": {"width": 1}}, "trainer": {"precision": fastest_precision()}}
    assert find_unfinished(config, tmp_path, "r") is None


@pytest.mark.parametrize("name", ["config.yaml", "status.json"])
def test_run_directory_before_it_replaces_a_damaged_file_sets_it_aside(tmp_path, name):
    run = make(tmp_path, {"a": 1}, status="interrupted")
    (run.path / name).write_bytes(b"{\xff")
    assert run.status == ("" if name == "status.json" else "interrupted")
    run.write_config("a: 2\n")
    run.write_status("running")
    assert (run.path / f"{name}.damaged_1").read_bytes() == b"{\xff"
    assert (run.read_config(), run.status) == ({"a": 2}, "running")
    assert len(list(run.path.glob("*.damaged_*"))) == 1


def test_check_writable_sets_aside_what_is_no_file(tmp_path):
    run = make(tmp_path)
    (run.path / "test_metrics.json").mkdir()
    os.mkfifo(run.path / "index.html")
    (run.path / "metrics.csv").symlink_to(tmp_path / "nowhere")
    (run.checkpoints / "best.ckpt").mkdir()
    run.check_writable()
    found = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*.damaged_1")}
    assert found == {
        f"{n}.damaged_1" for n in ("test_metrics.json", "index.html", "metrics.csv", "checkpoints/best.ckpt")
    }
    assert not (tmp_path / "nowhere").exists()


def test_held_run_is_refused_to_another_that_trains(tmp_path):
    run = make(tmp_path)
    with run.held(alone=True):
        with RunDirectory(run.path).held(alone=False):  # test and predict
            pass
        with pytest.raises(RunError, match=f"^held by process {os.getpid()} on "):
            Lock(run.path / ".lock", "held by {}", patience=0)
    with run.held(alone=True):
        assert (run.path / ".lock").is_file()
    assert not (run.path / ".lock").exists()


@pytest.mark.parametrize("other", [False, True], ids=["", "another run in its place"])
def test_check_present_of_a_renamed_directory_goes_on_in_a_new_version(tmp_path, other, capsys):
    run = make(tmp_path, {"a": 1})
    with run.held(alone=True):
        run.write_text("metrics.csv", "epoch,step\n")
        assert not run.check_present()
        earlier = run.path.rename(tmp_path / "mine")
        if other:
            make(tmp_path, {"b": 2})
        run.write_status("running")
        assert run.path == tmp_path / "r" / f"version_{int(other)}"
        assert run.moves == 1
        assert (run.path / ".lock").is_file()
        assert not run.check_present()
    assert (run.read_config(), run.status, (run.path / "metrics.csv").read_text()) == (
        {"a": 1},
        "running",
        "epoch,step\n",
    )
    assert (RunDirectory(earlier).read_config(), RunDirectory(earlier).status) == ({"a": 1}, "")
    line = f"{tmp_path / 'r' / 'version_0'}: was removed or renamed; the run goes on in {run.path}\n"
    assert capsys.readouterr().out == line


def test_run_directory_sent_to_another_process_is_its_path_alone(tmp_path):
    run = make(tmp_path)
    with run.held(alone=True):
        copied = pickle.loads(pickle.dumps(run))
    assert copied == run
    assert not copied.check_present()


def test_lock_start_refuses_the_same_configuration_alone_and_leaves_nothing(tmp_path):
    config = {"seed": 1, "data": {"root": tmp_path}}
    with lock_start(config, tmp_path / "runs", "r", 0):
        with lock_start(config | {"seed": 2}, tmp_path / "runs", "r", 0), lock_start(config, tmp_path / "runs", "s", 0):
            pass
        with (
            pytest.raises(RunError, match=rf"^ckpt_path: .*r: a run .* by process {os.getpid()} on .*; wait for it"),
            lock_start(config, tmp_path / "runs", "r", 0),
        ):
            pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"), lock_start(config, tmp_path / "file", "r", 0):
        pass


def test_leftovers_of_a_killed_process_are_removed_from_the_run_and_its_checkpoints(tmp_path):
    run = make(tmp_path)
    for folder in (run.path, run.checkpoints):
        (folder / ".last.ckpt.123.tmp").write_text("half")
    run.remove_leftovers()
    assert [path.name for path in run.path.rglob(".*")] == []
    assert (run.checkpoints / "last.ckpt").exists()


def test_write_config_secrets_are_hidden_and_auto_still_finds_the_run(tmp_path):
    given = {
        "trainer": {"logger": {"init_args": {"tracking_uri": "http://user:hunter2@host"}}},
        "data": {"token": "hunter2"},
    }
    run = RunDirectory.create(tmp_path, "r")
    run.write_config(yaml.safe_dump(given))
    assert "hunter2" not in (run.path / "config.yaml").read_text()
    assert was_started_with(run, given)
    assert was_started_with(run, run.read_config())
    other = {**given, "trainer": {"logger": {"init_args": {"tracking_uri": "http://user:hunter2@elsewhere"}}}}
    assert not was_started_with(run, other)
    (run.path / "config.yaml").write_text(yaml.safe_dump(given))  # as an earlier version wrote it
    assert was_started_with(run, given)


def test_create_name_that_is_not_utf8_is_one_line_and_makes_nothing(tmp_path):
    with pytest.raises(RunError, match="UTF-8"):
        RunDirectory.create(tmp_path, "caf\udce9")
    assert list(tmp_path.iterdir()) == []
