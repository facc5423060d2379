"""Only what nobody can act on is dropped."""

from __future__ import annotations

import logging
import warnings

import pytest

from project.runs.noise import quiet_lightning

DROPPED = [
    ("Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided", UserWarning),
    ("`isinstance(treespec, LeafSpec)` is deprecated, use", FutureWarning),
    ("Precision bf16-mixed is not supported by the model summary. Estimated", UserWarning),
    ("Found 5 module(s) in eval mode at the start of training. This may lead to", UserWarning),
    ("The number of training batches (3) is smaller than the logging interval", UserWarning),
]


def caught(message: str, category: type[Warning]) -> int:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        quiet_lightning()
        warnings.warn(message, category, stacklevel=1)
    return len(seen)


@pytest.mark.parametrize(("message", "category"), DROPPED)
def test_known_noise_is_dropped(message, category):
    assert caught(message, category) == 0


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("The loss is not finite", UserWarning),
        ("something is deprecated", FutureWarning),
        (DROPPED[0][0], RuntimeWarning),
    ],
)
def test_everything_else_is_shown(message, category):
    assert caught(message, category) == 1


def test_tips_are_dropped_and_other_lines_are_not(caplog):
    quiet_lightning()
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with caplog.at_level(logging.INFO, logger.name):
        logger.addHandler(caplog.handler)
        logger.info("💡 Tip: For seamless cloud logging, try")
        logger.info("GPU available: False, used: False")
        logger.info("Using bfloat16 Automatic Mixed Precision (AMP)")
        logger.info("`Trainer.fit` stopped: `max_epochs=3` reached.")
        logger.info("`Trainer.fit` stopped: `max_time=1:00` reached.")
        logger.info("data: there is no labelled test split")
        logger.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {
        "data: there is no labelled test split",
        "`Trainer.fit` stopped: `max_time=1:00` reached.",
    }


def test_names_of_strangers_are_printable_and_lines_stay_lines(caplog):
    quiet_lightning()
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with caplog.at_level(logging.INFO, logger.name):
        logger.addHandler(caplog.handler)
        logger.info("distributed\nteacher: %s", "\x1b[2J\u202e")
        logger.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"distributed\nteacher: \\x1b[2J\\u202e"}
