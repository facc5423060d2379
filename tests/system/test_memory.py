"""What memory does not grow with; `python scripts/benchmark.py memory_of_sets memory_of_validations` has the megabytes."""

from __future__ import annotations

import gc
import tracemalloc
from typing import ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torchmetrics import Metric

from project.data.loaders import StreamingLoader
from project.data.order import TrainingOrder
from project.data.samples import Samples
from project.metrics.captions import CaptionScores
from project.metrics.classification import SplitScores


class Watch(Callback):
    """Notes after ten, twenty and thirty epochs what lives: objects, tensors, and the bytes of these."""

    found: ClassVar[dict[int, tuple[int, int, int]]] = {}

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch in (10, 20, 30):
            gc.collect()
            objects = gc.get_objects()
            tensors = [each for each in objects if issubclass(type(each), torch.Tensor)]
            self.found[trainer.current_epoch] = len(objects), len(tensors), sum(each.nbytes for each in tensors)


@pytest.fixture
def only_what_is_new():
    """What earlier tests have left is not looked at, whether it stays or goes."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("only_what_is_new")
@pytest.mark.parametrize("task", ["classifier", "captioner"])
def test_validations_leave_nothing_behind(run, images, captioned, fit_options, caption_options, tmp_path, task):
    more = ("--trainer.max_epochs", 31, "--trainer.limit_train_batches", 1, "--trainer.limit_val_batches", 1,
            "--ema.decay", 0.9, "--trainer.callbacks", f'[{{"class_path": "{__name__}.Watch"}}]')  # fmt: skip
    make, data = {"classifier": (fit_options, images), "captioner": (caption_options, captioned)}[task]
    assert run(*make(data, tmp_path, *more)) == 0
    found = [Watch.found[epochs] for epochs in (10, 20, 30)]
    grown = [[late - early for late, early in zip(*pair, strict=True)] for pair in zip(found[1:], found, strict=False)]
    # what every validation leaves is there after any ten; what something else makes once is not
    objects, tensors, size = map(min, zip(*grown, strict=True))
    assert tensors <= 0, grown
    assert size <= 0, grown
    assert objects < 10, grown


def peak_of_streaming(samples: Samples) -> int:
    loader = StreamingLoader(samples, 32, TrainingOrder(len(samples), 8, 0), 0, 0)
    for _ in loader:  # what is loaded once
        pass
    tracemalloc.start()
    for _ in loader:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_streaming_a_set_three_times_as_large_takes_its_list_of_paths_and_no_more(image_tree, tmp_path):
    paths = sorted(image_tree(tmp_path / "images", 40, size=32).rglob("*.png"))
    once, thrice = (Samples(paths * times, np.zeros(times * len(paths), np.int64), "train") for times in (1, 3))
    more = 2 * len(paths)
    growth = peak_of_streaming(thrice) - peak_of_streaming(once)
    assert growth < more * 100  # bytes an image, of the order; its pixels would be 3,072
    held = thrice.images._ends.nbytes + len(thrice.images._bytes) - once.images._ends.nbytes - len(once.images._bytes)
    assert held == more * (8 + len(str(paths[0])))


def state_bytes(scores: torch.nn.Module) -> int:
    states = [
        getattr(metric, name) for metric in scores.modules() if isinstance(metric, Metric) for name in metric._defaults
    ]
    tensors = [tensor for state in states for tensor in (state if isinstance(state, list) else [state])]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())  # shared ones count once


def test_a_classifiers_metrics_keep_as_much_of_any_number_of_samples():
    scores, sizes = SplitScores(30), []
    for _ in range(3):
        for _ in range(20):
            logits, labels = torch.randn(50, 30), torch.randint(30, (50,))
            scores.update(torch.tensor(1.0), 50, logits, labels, None)
            scores.update(torch.tensor(1.0), 50, logits, labels, torch.tensor(2.0))
        sizes.append(state_bytes(scores))
    assert sizes[0] == sizes[1] == sizes[2] < 20_000


def test_a_captioners_metrics_keep_the_words_once_and_nothing_else():
    scores, caption = CaptionScores(), "a dog runs on the wet grass"
    for first in range(0, 200, 20):
        ids = range(1000 + first, 1020 + first)
        scores.update([caption] * 20, [[caption] * 5] * 20, ids)
    assert state_bytes(scores) == 200 * (4 + 6 * (1 + len(caption)) + 1)  # an id, six captions, and what parts them
    scores.reset()
    assert state_bytes(scores) == 0
