"""Variables of launchers that are left in the environment are one line, before anything is trained or written."""

from __future__ import annotations

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from project.errors import ConfigError
from project.runs.launch import check_rank

SLURM = {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7",
         "SLURM_NODELIST": "n1"}  # fmt: skip


@pytest.mark.parametrize("name", ["LOCAL_RANK", "RANK", "SLURM_PROCID", "NODE_RANK"])
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_rank_left_in_the_environment_is_refused(
    fails, images, fit_options, trained, tmp_path, monkeypatch, name, verb
):
    monkeypatch.setenv(name, "1")
    if name != "NODE_RANK":  # read by Lightning when it is imported
        monkeypatch.setattr(rank_zero_only, "rank", 1)
    root = tmp_path / "new"
    options = fit_options(images, root) if verb == "fit" else ("test", "--ckpt_path", trained)
    line = fails(*options, "--trainer.default_root_dir", root)
    assert line.startswith(f"error: {name}=1: in the environment, ")
    assert f"unset {name}" in line
    assert not root.exists()


def test_check_rank_lets_several_processes_be(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    check_rank(2)
    with pytest.raises(ConfigError):
        check_rank(1)


def test_job_of_slurm_without_srun_says_how_to_start(fails, images, fit_options, tmp_path, monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    line = fails(*fit_options(images, tmp_path / "new"))
    assert line.startswith("error: trainer: ")
    assert line.endswith("start it with srun, or in one process with SLURM_JOB_NAME=interactive before the command")
    assert not (tmp_path / "new").exists()
