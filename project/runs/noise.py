"""Keeps what nobody can act on off the terminal."""

from __future__ import annotations

import logging
import warnings

from project.text import printable

_WARNINGS = {
    # evaluation runs without the callbacks that save checkpoints, on purpose
    "Be aware that when using `ckpt_path`": UserWarning,
    # in Lightning's own code, with torch 2.15
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated": FutureWarning,
    # the summary's size in MB is that of the 32-bit weights, which is what they are
    "Precision bf16-mixed is not supported by the model summary": UserWarning,
    # which modules are is a task's own affair: what is frozen, and the classifier that SimKD takes from the teacher
    "Found \\d+ module\\(s\\) in eval mode": UserWarning,
    # a set of fewer batches than the logging interval simply has no rows within an epoch
    "The number of training batches": UserWarning,
}


# advertisements, and what the run's own summary says
_MESSAGES = (
    "Tip:",
    "GPU available:",
    "TPU available:",
    "Automatic Mixed Precision",
    "`Trainer.fit` stopped: `max_epochs=",
)


def quiet_lightning() -> None:
    """Drops the warnings above, and the messages."""
    for message, category in _WARNINGS.items():
        warnings.filterwarnings("ignore", message, category)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # it may hold names of strangers; Lightning's own have several lines
    record.msg, record.args = "\n".join(map(printable, record.getMessage().split("\n"))), ()
    return not any(part in record.getMessage() for part in _MESSAGES)
