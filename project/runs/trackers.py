"""MLflow and Weights & Biases beside the standing loggers: one run there for each run here, also after resuming."""

from __future__ import annotations

import os
import re
import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from project.errors import ConfigError
from project.redaction import hide_secrets
from project.runs.directory import RunDirectory
from project.runs.records import take_record

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from wandb import Run

_SERVER = os.environ.get("MLFLOW_TRACKING_URI")  # as the user set it: MLflow writes into it what it was last used with


class MLflow(MLFlowLogger):
    """Metrics, options and pictures to an MLflow server, or without one to `mlflow.db` in the root of all runs.

    The run's id there lies in `mlflow_run_id`; who is resumed goes on with it. A run is `RUNNING`, `FINISHED`, `KILLED` by
    a signal, or `FAILED`.

    Args:
        experiment_name: which the run belongs to; made if need be.
        tracking_uri: the server's address or a data base; by default what `MLFLOW_TRACKING_URI` says.
    """

    def __init__(self, experiment_name: str = "project", tracking_uri: str | None = None) -> None:
        _check_installed("mlflow")
        self._given = experiment_name, tracking_uri

    def join(self, run: RunDirectory) -> None:
        """Belongs to a run from now on; nothing is written before training starts."""
        self.run = run
        name, uri = self._given
        root = run.path.resolve().parent.parent
        uri = uri or _SERVER or f"sqlite:///{root / 'mlflow.db'}"
        # a server has its own place for pictures; without one MLflow would take the folder that the command is given in
        self._place = None if uri.startswith(("http", "databricks")) else root / "mlflow"
        with _explaining(uri), self._alone():
            super().__init__(name, _name(run), uri, artifact_location=self._place.as_uri() if self._place else None,
                             run_id=_remembered(run, self))  # fmt: skip
            if self._run_id is not None:
                self._check_present()

    def _check_present(self) -> None:
        """Refuses a run that was deleted there, before anything is written."""
        from mlflow.exceptions import MlflowException

        run_id, note = str(self._run_id), self.run.path / "mlflow_run_id"
        try:
            found = self._mlflow_client.get_run(run_id)
            gone = found.info.lifecycle_stage == "deleted"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            gone = True
        if gone:
            raise ConfigError(f"trainer.logger: MLflow's run {run_id} was deleted; restore it with mlflow runs restore "
                              f"--run-id {run_id}, or remove {note} to begin a new one")  # fmt: skip

    @property
    @rank_zero_experiment
    def experiment(self) -> MlflowClient:
        """Begins the run when it is first asked for, or goes on with it."""
        if self._initialized:
            return super().experiment
        with _explaining(self._tracking_uri), self._alone():
            found = self._mlflow_client.get_experiment_by_name(self._experiment_name)
            if found is not None and found.lifecycle_stage == "deleted":
                number = found.experiment_id
                raise ConfigError(f"trainer.logger: MLflow's experiment {self._experiment_name} was deleted; restore it with mlflow "
                                  f"experiments restore --experiment-id {number}, or give another experiment_name")  # fmt: skip
            client = super().experiment
            run_id = str(self._run_id)
            client.update_run(run_id, status="RUNNING")
            _remember(self.run, self, run_id)
        return client

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several runs that start at once one makes the tables and the experiment; servers see to it themselves."""
        if self._place is None or os.name != "posix":
            yield
            return
        import fcntl

        self._place.mkdir(parents=True, exist_ok=True)
        with open(self._place / "lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Keeps the options; those of an earlier start stay as they were, since MLflow refuses to change one."""
        known = self.experiment.get_run(self.run_id).data.params
        super().log_hyperparams(
            {
                name: value
                for name, value in (params if isinstance(params, dict) else vars(params)).items()
                if name not in known
            }
        )

    def log_picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Keeps a picture (H, W, 3) uint8."""
        self.experiment.log_image(self.run_id, pixels, key=tag.replace("/", "-"), step=step)

    def log_results(self, metrics: dict[str, float], step: int) -> None:
        """Logs what `test` found; the status of the run stays that of its training."""
        with _explaining(self._tracking_uri):
            earlier = self._mlflow_client.get_run(self._run_id).info.status if self._run_id else "FINISHED"
            self.log_metrics(metrics, step)
            self._mlflow_client.set_terminated(str(self.run_id), earlier)

    def finalize(self, status: str = "success") -> None:
        """Says how the run ended."""
        super().finalize("KILLED" if status == "failed" and self.run.status == "interrupted" else status)


class WandB(WandbLogger):
    """Metrics, options and pictures to Weights & Biases; what is on its way there lies in `wandb/` in the run.

    The run's id there lies in `wandb_run_id`; who is resumed goes on with it.

    Args:
        project: which the run belongs to.
        offline: whether nothing is sent; `wandb sync RUN/wandb/offline-*` does that later.
        entity: a team; by default your own.
    """

    def __init__(self, project: str = "project", offline: bool = False, entity: str | None = None) -> None:
        _check_installed("wandb")
        self._given: dict[str, Any] = {"project": project, "entity": entity, **({"mode": "offline"} if offline else {})}

    def join(self, run: RunDirectory) -> None:
        """Belongs to a run from now on; nothing is written before training starts."""
        self.run = run
        run_id = _remembered(run, self) or uuid.uuid4().hex[:8]
        super().__init__(_name(run), run.path, id=run_id, **self._given)
        del self._wandb_init["anonymous"]  # of which W&B says that it has no effect

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """Begins the run when it is first asked for, or goes on with it."""
        begun = self._experiment is not None
        with _explaining("Weights & Biases"):
            experiment = super().experiment
            if not begun:
                _remember(self.run, self, experiment.id)
        return experiment

    def log_picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Shows a picture (H, W, 3) uint8."""
        self.log_image(tag, [pixels], step)

    def log_results(self, metrics: dict[str, float], step: int) -> None:
        """Logs what `test` found."""
        self.log_metrics(metrics, step)
        self.finalize("success")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run, so that another one in this process is not taken for it."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status == "failed"))
            self._experiment = None


Tracker = MLflow | WandB


def loggers_in(chosen: Any) -> list[Any]:
    """The loggers that the Trainer's option names; none where it is a switch or absent."""
    return [] if chosen is None or isinstance(chosen, bool) else chosen if isinstance(chosen, list) else [chosen]


def join_trackers(loggers: list[Any], run: RunDirectory) -> list[Tracker]:
    """The trackers among loggers, in which each has joined a run."""
    trackers = [logger for logger in loggers if isinstance(logger, Tracker)]
    for tracker in trackers:
        tracker.join(run)
    return trackers


def _check_installed(library: str) -> None:
    if find_spec(library) is None:
        raise ConfigError(f"trainer.logger: needs {library}; install it with pip install -e '.[{library}]'")


def _name(run: RunDirectory) -> str:
    return "/".join(run.path.parts[-2:])


def _remembered(run: RunDirectory, tracker: Tracker) -> str | None:
    return take_record(run.path / f"{type(tracker).__name__.lower()}_run_id", _parse_id)


def _parse_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}\n", text):
        raise ValueError("no id of a run")
    return text.strip()


def _remember(run: RunDirectory, tracker: Tracker, run_id: str) -> None:
    run.write_text(f"{type(tracker).__name__.lower()}_run_id", run_id + "\n")


@contextmanager
def _explaining(where: str) -> Iterator[None]:
    """Inside it what a library says of a server, a data base or a login is one line."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("mlflow", "wandb", "sqlalchemy"):
            raise
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"trainer.logger: {hide_secrets(where)}: {hide_secrets(said)}") from None
