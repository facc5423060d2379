"""The environment that a process was started in: variables that a launcher of several processes sets, and leaves behind."""

from __future__ import annotations

import os

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from project.errors import ConfigError

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "NODE_RANK")


def is_first() -> bool:
    """True in the first process of a run, before there is a Trainer that knows it."""
    return getattr(rank_zero_only, "rank", 0) == 0 and os.environ.get("NODE_RANK", "0") == "0"


def check_rank(world_size: int) -> None:
    """Refuses a run of one process that the environment calls another than the first: it would keep nothing.

    Args:
        world_size: processes of the run.

    Raises:
        ConfigError: it is so.
    """
    if world_size == 1 and not is_first():
        given = [f"{name}={os.environ[name]}" for name in _RANKS if os.environ.get(name, "0") != "0"]
        raise ConfigError(f"{', '.join(given)}: in the environment, as a launcher sets it in one of several processes, and this "
                          f"run has one; unset {' '.join(each.partition('=')[0] for each in given)}, or set trainer.devices")  # fmt: skip


def launch_mistake(error: Exception) -> str:
    """What Lightning finds wrong with the options of a Trainer, or with the variables of a job of Slurm, in one line."""
    what = f"{error.args[0]} is not in the environment" if isinstance(error, KeyError) else str(error).rstrip(". ")
    hint = "; start it with srun, or in one process with SLURM_JOB_NAME=interactive before the command"
    return f"trainer: {what}{hint if 'SLURM' in what else ''}"
