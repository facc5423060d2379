"""When is drawn: in the beginning, in the end, and else while there is time."""

from __future__ import annotations

import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.callbacks.pictures import DrawingTime, Pictures, summary_writer
from project.runs.trackers import MLflow


def test_pictures_take_their_share_of_the_time_and_no_more():
    drawing = DrawingTime(0.25)
    began, drawn = time.monotonic(), 0
    for step in range(40):
        time.sleep(0.01)
        if drawing.is_due(step):
            drawn += 1
            with drawing.drawing():
                time.sleep(0.02)
    share = drawn * 0.02 / (time.monotonic() - began)
    assert 0.1 < share < 0.3
    assert drawing.spent == pytest.approx(drawn * 0.02, rel=0.5)


def test_all_that_ask_at_a_step_get_the_same_answer_and_the_first_is_always_drawn():
    drawing = DrawingTime(1e-9)
    with drawing.drawing():
        time.sleep(0.01)
    assert [drawing.is_due(step) for step in (5, 5, 6, 6, 5)] == [True, True, False, False, False]
    drawing.start()
    assert drawing.is_due(7)


def test_letters_that_the_font_lacks_are_no_reason_to_warn():
    with DrawingTime(1).drawing():
        warnings.warn("Glyph 29483 (\\N{CJK UNIFIED IDEOGRAPH-732B}) missing from font(s) DejaVu Sans.", stacklevel=1)
        with pytest.raises(UserWarning, match="else"):
            warnings.warn("something else", stacklevel=1)


class Counted(Pictures):
    needs = "logits"

    def __init__(self, time: DrawingTime) -> None:
        super().__init__(time)
        self.steps: list[int] = []

    def forget(self) -> None: ...

    def collect(self, outputs: dict, batch: object) -> None: ...

    def draw(self, pl_module: LightningModule, writer: object, step: int) -> None:
        self.steps.append(step)


@pytest.mark.parametrize(("share", "expected"), [(1e-9, [0, 3]), (1.0, [0, 1, 2, 3])])
def test_the_first_and_the_last_validation_are_drawn(share, expected, tmp_path):
    from lightning.pytorch.demos.boring_classes import BoringModel
    from lightning.pytorch.loggers import TensorBoardLogger

    drawing = DrawingTime(share)
    pictures = Counted(drawing)
    trainer = Trainer(
        max_epochs=4, limit_train_batches=1, limit_val_batches=1, callbacks=[pictures], accelerator="cpu", devices=1,
        logger=TensorBoardLogger(str(tmp_path)), enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    drawing.spent = 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, about the demonstration's loaders
        trainer.fit(BoringModel())
    assert pictures.steps == expected


class Kept(MLflow):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.pictures: list[tuple] = []

    def log_picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        self.pictures.append((tag, pixels, step))


def test_pictures_go_to_trackers_too(tmp_path):
    board, tracker = TensorBoardLogger(str(tmp_path), name="", version=""), Kept()
    writer = summary_writer(SimpleNamespace(is_global_zero=True, loggers=[board, tracker]))
    pixels = np.zeros((4, 4, 3), np.uint8)
    writer.add_image("figures/f", pixels, 7, dataformats="HWC")
    writer.add_scalar("best/a", 0.5, 7)  # which is TensorBoard's alone
    assert tracker.pictures == [("figures/f", pixels, 7)]
    board.finalize("success")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's protocol buffers
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in found.Images("figures/f")] == [7]
    assert [event.value for event in found.Scalars("best/a")] == [0.5]
    assert summary_writer(SimpleNamespace(is_global_zero=True, loggers=[tracker])) is None
