"""From parsed options to a running Trainer: data, then the task, then the run's directory and what stands by."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.connectors import checkpoint_connector
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from project.callbacks.averaging import WeightAverage
from project.callbacks.checkpointing import CheckpointOptions, SaveCheckpoints
from project.callbacks.early_stopping import StopEarly
from project.callbacks.guard import Guard, stopped_by_guard
from project.callbacks.lookahead import Lookahead
from project.callbacks.predictions import PREDICTIONS, WritePredictions, free_directory, make_output
from project.callbacks.progress import progress_callbacks
from project.callbacks.record import RunRecord
from project.callbacks.results import WriteResults
from project.callbacks.stopping import StopTogether
from project.callbacks.watching import watching_callbacks
from project.cli import Result
from project.cli.command import Command, check_contradictions, check_resumable, read_command
from project.cli.monitors import check_monitors
from project.cli.ranges import check_ranges
from project.cli.summary import closing, how_to_go_on, opening, unreadable
from project.cli.teachers import finished_run, teachers_of_checkpoint, teachers_to_train
from project.data import ImageDataModule
from project.data.identity import compare
from project.data.inputs import find_inputs
from project.errors import CheckpointError, ConfigError, RunError, UserError
from project.metrics.direction import direction
from project.redaction import hidden_options
from project.runs.checkpoints import AtomicCheckpointIO
from project.runs.directory import RunDirectory, find_runs, find_unfinished, lock_start
from project.runs.launch import check_rank, is_first, launch_mistake
from project.runs.loggers import standing_loggers
from project.runs.noise import quiet_lightning
from project.runs.precision import check_precision
from project.runs.provenance import append_provenance, collect_provenance
from project.runs.random_state import RandomState
from project.runs.signals import INTERRUPT_STATUS, SIGTERM_STATUS, graceful_interrupt
from project.runs.trackers import Tracker, join_trackers, loggers_in
from project.runs.undeclared import callbacks_of
from project.tasks import Task
from project.tasks.fine_tuned import ONE_VALUE
from project.text import print_lines

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run_command(args: list[str]) -> Result | None:
    """Parses and runs one command; no result in a process that a signal to the first one stopped.

    Raises:
        UserError: the user can mend it.
        SystemExit: a signal stopped the run; the status says which.
    """
    with graceful_interrupt() as interrupts:
        try:
            return _run(read_command(args))
        except SIGTERMException:
            # the first process's status is the run's, unless Lightning kills it for another's
            if getattr(rank_zero_only, "rank", 0):
                return None
            raise SystemExit(INTERRUPT_STATUS if interrupts.count else SIGTERM_STATUS) from None
        except RuntimeError as error:
            if not str(error).startswith("Early stopping conditioned on metric"):
                raise
            raise ConfigError(f"early stopping: {error}") from None
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {error}") from None
        except ValueError as error:
            if "Expected more than 1 value per channel when training" in str(error):  # torch's, of any other module
                raise ConfigError(ONE_VALUE) from None
            if not _is_lightnings(error):
                raise
            raise ConfigError(f"trainer: {error}") from None
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise RunError(f"{error.filename or 'the disk'}: {error.strerror}; make room; what was saved before is "
                           "whole") from None  # fmt: skip


def _is_lightnings(error: BaseException) -> bool:
    """Whether Lightning raised it itself, as it does of options that do not fit the data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("lightning.")


def _while_restoring(error: BaseException) -> bool:
    """True for an exception that was raised while Lightning restored the state of a checkpoint."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return any(
        frame.f_globals.get("__name__") == checkpoint_connector.__name__ and "restore" in frame.f_code.co_name
        for frame in frames
    )


def _run(command: Command) -> Result:
    with ExitStack() as held:  # what this command has to itself until it has ended
        return _run_alone(command, held)


def _run_alone(command: Command, held: ExitStack) -> Result:
    quiet_lightning()
    check_ranges(command.config)
    if command.verb == "fit" and (hidden := next(hidden_options(command.plain_config()), None)):
        raise ConfigError(f"{hidden}: its secret was hidden when the run kept its options; give it again")
    resumed = _resumed_run(command, held)
    teachers = _train_teachers(command)
    torch.set_float32_matmul_precision("high")  # TensorFloat-32 where 32-bit is asked for; no effect on a CPU
    seed_everything(command.config.seed, workers=True, verbose=False)
    objects = instantiate(command)
    if teachers:
        objects.model.replace_teachers(teachers)
    check_identity(command, objects.model, objects.data)
    if command.verb == "fit":
        scheduler = command.config.model.init_args.get("lr_scheduler")
        check_monitors(objects.model, objects.checkpoint, scheduler, as_list(objects.trainer.callbacks))
    run, is_new = _run_directory(command, resumed, held)
    try:
        trainer = _build_trainer(command, objects, run)
        if run and trainer.is_global_zero:
            if not _resumes(command):
                _describe(command, run, objects.data)
            print_lines(*opening(objects.model, objects.data, trainer, run, command.verb), f"run: {run.path}")
        start = getattr(trainer, command.verb)
        options = {"return_predictions": False} if command.verb == "predict" else {"verbose": False}
        options = {} if command.verb == "fit" else options
        trainer.ckpt_path = command.checkpoint_path  # as an argument of `start`, the task's `setup` would not know it
        start(objects.model, datamodule=objects.data, weights_only=True, **options)
        trainer.strategy.barrier()  # what the first process has written is there for the others
    except BaseException as stop:
        if run and is_new:
            run.discard_if_empty()
        if run and command.verb == "fit" and (line := how_to_go_on(run)):
            print_lines(line)
        if isinstance(stop, SIGTERMException) and trainer.is_global_zero and (error := stopped_by_guard(trainer)):
            raise error from None
        if isinstance(stop, Exception) and not isinstance(stop, UserError) and _while_restoring(stop):
            reason = str(stop).partition("\n")[0] or type(stop).__name__
            raise CheckpointError(f"ckpt_path: {command.checkpoint_path}: its state cannot be restored: {reason}; start a new run "
                                  "from its weights with --model.init_from") from stop  # fmt: skip
        raise
    if run and trainer.is_global_zero:
        _conclude(command, run, trainer)
    predictions = next((c.run for c in callbacks_of(trainer) if isinstance(c, WritePredictions) and c.run), None)
    return Result(
        run.path if run else None, dict(objects.model.results), predictions.path / PREDICTIONS if predictions else None
    )


def _train_teachers(command: Command) -> dict[str, str]:
    """Trains those that are configurations, unless they are trained; the run of each by its configuration."""
    runs = teachers_of_checkpoint(command)
    for source, teaching in teachers_to_train(command).items():
        with ExitStack() as held:
            if is_first() and finished_run(teaching) is None:  # another student may be training it
                held.enter_context(lock_start(teaching.plain_config(), teaching.root, teaching.name, math.inf))
            run = finished_run(teaching)
            if run is None and command.config.trainer.fast_dev_run:
                raise ConfigError(f"model.teacher: fast_dev_run keeps nothing, so {source} cannot be trained first; give a "
                                  "trained teacher")  # fmt: skip
            if run is None:
                _run(teaching)
                run = find_runs(teaching.root, teaching.name)[-1].path
            runs[source] = str(run)
    return runs


def instantiate(command: Command) -> Namespace:
    """The command's objects; what a constructor refuses is raised as it raised it."""
    config = command.config.clone()
    if command.checkpoint and config.data.init_args.get("value_range") == "auto":
        # found once, in the data of then; an older checkpoint has none, and the rule of then
        config.data.init_args.value_range = command.checkpoint["hyper_parameters"].get("value_range")
    try:
        if command.task is None:
            return command.parser.instantiate(config)
        options = config.pop("model").init_args
        objects = command.parser.instantiate(config)
        objects.model = command.task.build(options, f"ckpt_path: {command.checkpoint_path}")
        return objects
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__ or cause.__context__  # jsonargparse wraps what a constructor raises
        if cause is None:
            raise
        raise cause from None


def check_identity(command: Command, task: Task, data: ImageDataModule) -> None:
    """What the checkpoint is must be what the options say, and what the data are."""
    if command.checkpoint is None:
        return
    if command.verb == "fit":
        saved = command.checkpoint["hyper_parameters"]
        if (ours := task.hparams.get("value_range")) != (theirs := saved.get("value_range")):  # null has a meaning, too
            raise ConfigError(f"data.value_range: {ours} contradicts the checkpoint's {theirs}; leave it out")
        check_contradictions(type(task), task.hparams, saved)
        check_resumable(task, command.config.model.init_args, command.checkpoint)
    if command.verb in ("validate", "test"):
        task.check_data(data)
    if command.verb != "fit":
        for name in ("image_size", "center_crop", "value_range"):
            if (ours := getattr(data, name)) != (theirs := getattr(task, name)):
                raise ConfigError(f"data.{name}: {ours} contradicts the checkpoint's {theirs}")
    if command.verb != "predict" and is_first():
        compare(
            command.checkpoint.get("data"), data, command.verb
        )  # before anything is written; the task prints the line


def _resumed_run(command: Command, held: ExitStack) -> RunDirectory | None:
    """The checkpoint's run, if this command writes there: unless another root is given, or it is a `fast_dev_run`.

    A fit has it to itself, and with `--ckpt_path auto` also its configuration, of which two at once would start two runs.
    """
    if command.config.trainer.fast_dev_run or not is_first():
        return None
    fits = command.verb == "fit"
    if fits and command.config.ckpt_path == "auto":
        start = command.plain_config(), command.root, command.name
        held.enter_context(lock_start(*start))
        if command.checkpoint_path is None and (found := find_unfinished(*start)):
            raise RunError(f"ckpt_path: {found}: was begun by another process in the meantime; give the command again")
    if command.config.get("output"):
        return None
    run = RunDirectory.of_checkpoint(command.checkpoint_path) if command.checkpoint_path else None
    root = command.config.trainer.default_root_dir
    if run is None or not (fits or root is None or run.path.is_relative_to(Path(root).resolve())):
        return None
    held.enter_context(run.held(fits))
    return run


def _run_directory(command: Command, resumed: RunDirectory | None, held: ExitStack) -> tuple[RunDirectory | None, bool]:
    """Where this command writes, and whether it was made now: the checkpoint's run or a new one, or nowhere.

    The first process makes it; the others learn of it in `RunRecord.setup`.
    """
    if command.config.trainer.fast_dev_run or not is_first():
        return None, False
    if resumed:
        resumed.check_writable()
        if command.verb == "fit":
            resumed.remove_leftovers()
        return resumed, False
    if output := command.config.get("output"):
        run, is_new = RunDirectory(Path(output)), not os.path.lexists(output)
        make_output(run.path)
    else:
        run, is_new = RunDirectory.create(command.root, command.name), True
    held.enter_context(run.held(command.verb == "fit"))
    return run, is_new


def _resumes(command: Command) -> bool:
    """Whether a run goes on, whose files stay as they are until its state has been restored."""
    return command.verb == "fit" and command.checkpoint_path is not None


def _describe(command: Command, run: RunDirectory, data: ImageDataModule) -> None:
    if command.verb == "fit" or not (run.path / "config.yaml").exists():
        run.write_config(command.dump())
    fingerprint = data.fingerprint() if command.verb != "predict" else {"predict": data.predict}
    checkpoint = None
    if command.checkpoint_path:  # an exported student does not say its steps
        steps = (command.checkpoint or {}).get("global_step")
        checkpoint = {"file": Path(command.checkpoint_path).name, "steps": steps}
    append_provenance(run, collect_provenance(command.args, fingerprint, checkpoint))


def _build_trainer(command: Command, objects: Namespace, run: RunDirectory | None) -> Trainer:
    options = dict(objects.trainer)
    for name in ("callbacks", "plugins"):
        options[name] = as_list(options.get(name))
    writes = not options["fast_dev_run"]
    options["default_root_dir"] = str(run.path.parent.parent) if run else command.root
    options["plugins"].append(AtomicCheckpointIO())
    options["callbacks"] += _standing_callbacks(command, objects, run, writes, options)
    options["logger"] = _loggers(options["logger"], command, run) if command.verb == "fit" and writes else False
    if not any(isinstance(callback, ProgressBar) for callback in options["callbacks"]):
        options["enable_progress_bar"] = False  # or Lightning would add its own
    if command.verb == "fit":
        _set_length(options, objects)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You passed `Trainer\\(accelerator='cpu', precision=", UserWarning)
            trainer = Trainer(**options)
    except (ValueError, TypeError, RuntimeError, KeyError, ModuleNotFoundError) as error:
        raise ConfigError(launch_mistake(error)) from None
    check_rank(trainer.world_size)
    check_precision(str(options["precision"]), trainer.strategy.root_device)
    return trainer


def as_list(value: Any) -> list[Any]:
    """A list of its own of an option that may be one value, or none."""
    return list(value) if isinstance(value, list) else [value] if value else []


def _standing_callbacks(
    command: Command, objects: Namespace, run: RunDirectory | None, writes: bool, options: dict[str, Any]
) -> list[Callback]:
    """What every run has, whatever the configuration lists; each goes quiet with what it serves."""
    callbacks: list[Callback] = [StopTogether()]
    if options["enable_progress_bar"] is not False:
        callbacks += progress_callbacks(command.config.progress)
    if writes:
        begin = partial(_describe, command, run, objects.data) if run and _resumes(command) else None
        callbacks.append(RunRecord(run, command.plain_config(), begin))
    if command.verb == "fit":
        callbacks += [RandomState(), Lookahead(objects.lookahead), WeightAverage(objects.ema)]
        callbacks.append(Guard(run, objects.guard))
        callbacks += watching_callbacks(objects.watch, command.plain_config())
        monitor, mode = monitored(objects.checkpoint, objects.model)
        stopping = command.config.early_stopping
        if stopping.patience is not None:
            callbacks.append(StopEarly(monitor, stopping.min_delta, stopping.patience, mode=mode, check_finite=False))
        if writes and options["enable_checkpointing"] is not False:
            callbacks.append(SaveCheckpoints(run, dataclasses.replace(objects.checkpoint, monitor=monitor, mode=mode)))
    elif writes and command.verb == "predict":
        callbacks.append(WritePredictions(free_directory(run), find_inputs(objects.data.predict)))
    elif writes:
        steps = (command.checkpoint or {}).get("global_step", 0)  # an exported student's has none
        trackers = join_trackers(loggers_in(options["logger"]), run) if run else []
        callbacks.append(WriteResults(run, steps, command.checkpoint_path, trackers))
    return callbacks


def monitored(chosen: CheckpointOptions, task: Task | type[Task]) -> tuple[str, Literal["min", "max"]]:
    """The metric whose best value `best.ckpt` has, and whether less or more of it is better."""
    if chosen.monitor is None:
        return task.monitor, chosen.mode or task.monitor_mode
    return chosen.monitor, chosen.mode or direction(chosen.monitor)


def _loggers(chosen: Any, command: Command, run: RunDirectory | None) -> list[Logger] | bool:
    """TensorBoard and CSV always, with what the configuration adds; none where it says `false`."""
    if chosen is False:
        return False
    step = command.checkpoint["global_step"] if command.checkpoint else 0
    extra = loggers_in(chosen)
    if run is None:  # another process than the first
        return [logger for logger in extra if not isinstance(logger, Tracker)]
    join_trackers(extra, run)
    return [*standing_loggers(run, step), *extra]


def _set_length(options: dict[str, Any], objects: Namespace) -> None:
    """How long to train, from the budget where no number of epochs or steps is given."""
    if options["max_epochs"] is not None or options["max_steps"] != -1 or options["max_time"] is not None:
        return
    if options["fast_dev_run"]:
        return
    if objects.budget.images is None:
        raise ConfigError("trainer.max_epochs: say how long to train, such as --trainer.max_epochs 30")
    options["max_epochs"] = objects.budget.epochs(len(objects.data.splits["train"]))


def _conclude(command: Command, run: RunDirectory, trainer: Trainer) -> None:
    saver = next((c for c in callbacks_of(trainer) if isinstance(c, SaveCheckpoints)), None)
    if saver and saver.best_value is not None:
        print_lines(f"best {saver.monitor} {saver.best_value:.4f} at step {saver.best_step}")
    task: Any = trainer.lightning_module
    if command.verb == "fit":
        run.write_status("finished")  # also where nothing was left to train, of which Lightning says nothing
    predictions = next((c for c in callbacks_of(trainer) if isinstance(c, WritePredictions)), None)
    if predictions and predictions.run:
        print_lines(*closing(task, predictions.run, command.verb), f"run: {run.path}", *unreadable(predictions))
        return
    print_lines(*closing(task, run, command.verb, command.checkpoint_path), f"run: {run.path}")
