"""Fraction of a run that is done, and its place when it is resumed with other batches, processes or another length.

Lightning counts batches and steps, whose number changes with the batch size, the number of processes and accumulation.
The fraction of the samples to see does not: learning rates are functions of it.
"""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loops.progress import _ProcessedTracker

from project.errors import ConfigError
from project.runs.undeclared import callbacks_of, data_of, training_source

_NO_LENGTH = "trainer.max_epochs: the learning rate's shape, or lookahead, needs the run's length; set it"


def run_fraction(trainer: Trainer) -> float:
    """Fraction of the run that is done, 0 to 1: samples seen over samples to see, or steps over `max_steps`.

    A run with both limits ends at the first, so the larger fraction counts.

    Raises:
        ConfigError: the run has neither a number of epochs nor one of steps.
    """
    fractions = []
    if trainer.max_epochs not in (-1, None):
        progress = _epochs(trainer)
        seen, samples = epoch_fraction(trainer) if progress.started > progress.processed else (0, 1)
        # a quotient of whole numbers: the same fraction has the same bits, whatever the batches
        fractions.append((progress.processed * samples + seen) / max(samples * trainer.max_epochs, 1))
    if trainer.max_steps != -1:
        fractions.append(trainer.global_step / max(trainer.max_steps, 1))
    if not fractions:
        raise ConfigError(_NO_LENGTH)
    return min(max(fractions), 1.0)


def epoch_fraction(trainer: Trainer, batches: int | None = None) -> tuple[int, int]:
    """Samples seen in the current epoch and samples to see in it, both divided by a common factor.

    Args:
        trainer: in training.
        batches: of the epoch, as Lightning counts them; by default those that were begun.
    """
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready if batches is None else batches
    total = trainer.num_training_batches
    if total == float("inf"):  # a loader without a length
        return 0, 1
    order: Any = getattr(trainer.train_dataloader, "order", None)
    if getattr(order, "divided_anew", False):
        return order.seen(batches), order.seen(int(total))
    return batches, max(int(total), 1)


def epochs_done(trainer: Trainer) -> int:
    """Whole epochs that are done."""
    return _epochs(trainer).processed


def updates(trainer: Trainer) -> int:
    """Optimizer steps that a run with these batches has made where this one is."""
    progress = _epochs(trainer)
    done = sum(updates_of_epoch(trainer, epoch) for epoch in range(progress.processed))
    if progress.started > progress.processed:
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        done += math.ceil(batches / accumulation(trainer, progress.processed))
    return done


def total_updates(trainer: Trainer) -> int:
    """Optimizer steps of the whole run.

    `trainer.estimated_stepping_batches` would build the loaders anew and lose the place to resume from (Lightning issue
    20550), and refuses accumulation that changes.

    Raises:
        ConfigError: the run has neither a number of epochs nor one of steps.
    """
    limits = [] if trainer.max_steps == -1 else [trainer.max_steps]
    if trainer.max_epochs not in (-1, None):
        limits.append(sum(updates_of_epoch(trainer, epoch) for epoch in range(trainer.max_epochs)))
    if not limits:
        raise ConfigError(_NO_LENGTH)
    return min(limits)


def updates_of_epoch(trainer: Trainer, epoch: int) -> int:
    """Optimizer steps in an epoch."""
    return math.ceil(trainer.num_training_batches / accumulation(trainer, epoch))


def _epochs(trainer: Trainer) -> _ProcessedTracker:
    progress = trainer.fit_loop.epoch_progress.current
    assert isinstance(progress, _ProcessedTracker), "Lightning's own"
    return progress


def accumulation(trainer: Trainer, epoch: int) -> int:
    """Batches of an update in an epoch."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches


def save_place(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Ends the epoch in a checkpoint that follows its last batch, also where `limit_train_batches` ends it early."""
    fit_loop = checkpoint.get("loops", {}).get("fit_loop", {})  # a checkpoint of weights alone has none
    for loader in fit_loop.get("state_dict", {}).get("combined_loader", []):
        if loader.get("yielded", 0) >= trainer.num_training_batches:
            loader.update(yielded=0, first=0, before=0)


def restore_place(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Brings a checkpoint's place in its epoch to the batches of this run, before Lightning restores it.

    An epoch that `max_steps` has ended is continued.

    Raises:
        ConfigError: with the length of this run, the run is over, or with its batches, the epoch.
        DataError: the rest of the epoch cannot be divided among the processes.
    """
    loops = checkpoint.get("loops", {}).get("fit_loop")
    if loops is None:
        return
    processed = loops["epoch_progress"]["current"]["processed"]
    if trainer.max_epochs not in (-1, None) and processed > trainer.max_epochs:
        raise ConfigError(f"trainer.max_epochs: the run has made {processed} epochs already; got {trainer.max_epochs}")
    source = data_of(trainer)
    with_order = hasattr(source, "training_order")
    order: Any = source.training_order() if with_order else getattr(training_source(trainer), "order", None)
    states = loops["state_dict"].get("combined_loader", [])
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    if not hasattr(order, "resume") or len(states) != 1 or "batches" not in states[0]:
        return  # a loader of the user's, or a checkpoint of an earlier version
    if not (batches["current"]["ready"] or states[0]["before"]):
        return  # no epoch has begun
    done, limit = states[0]["yielded"], trainer.limit_train_batches
    total = min(len(order), limit) if isinstance(limit, int) else int(len(order) * limit)
    whole = not (done or states[0]["before"]) or done >= states[0]["batches"]
    if whole and batches["total"]["completed"] == batches["total"]["processed"]:
        if epochs["current"]["started"] == epochs["current"]["processed"]:
            return  # the epoch has ended; else its validation is still to come
    else:
        shift = states[0]["epoch"] - epochs["current"]["processed"]
        for counts in (epochs["current"], epochs["total"]):
            seen = counts["processed"] + shift
            counts.update(ready=seen + 1, started=seen + 1, processed=seen + whole, completed=seen + whole)
        if whole:  # saved behind its last batch: Lightning would not count the next epoch as begun
            batches["total"]["completed"] = batches["total"]["processed"]
            return
        batches["is_last_batch"] = False
    place = total if whole else order.resume({k: v for k, v in states[0].items() if k != "yielded"}, done)
    if place >= total and not whole:
        raise ConfigError("trainer.limit_train_batches: the epoch that was begun has seen as many images; raise it")
    shift = place - batches["current"]["ready"]
    # the last may be behind the others, in a checkpoint between them
    batches["current"] = {name: count + shift for name, count in batches["current"].items()}
