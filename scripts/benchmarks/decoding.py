"""What caption search and caption training cost, with random weights of the sizes that papers use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.timing import Row, best_of, seconds
from torch import Tensor, nn
from torch.nn import functional

from project.data.captions.vocabulary import END, PAD, START
from project.decoding import Hypotheses, Rules, beam_search, greedy_search
from project.models.captioning.attentive_decoder import SoftDecoder, TopDownDecoder
from project.models.captioning.decoder import CaptionDecoder
from project.models.captioning.encoder import Features
from project.models.captioning.plain_decoder import PlainDecoder

_WORDS, _SIZE, _FEATURES, _PLACES, _STEPS, _BATCH = 9487, 512, 2048, 49, 20, 50
_ROOT = Path(__file__).resolve().parents[2]


def measure_beam_search() -> list[Row]:
    """Captions of 20 words from a soft-attention LSTM, 9,487 words, 512 units, 49 × 2048 features; two threads."""
    torch.set_num_threads(2)
    decoder = _decoder("soft")
    images = {count: _features(count) for count in (1, _BATCH, 5 * _BATCH)}

    def greedy(count: int, bfloat16: bool) -> float:
        return seconds(lambda: _search(decoder, images[count], 1, bfloat16))

    def beam(bfloat16: bool) -> float:
        return seconds(lambda: _search(decoder, images[_BATCH], 5, bfloat16))

    def one_at_a_time() -> float:
        one = [Features(*(part[i : i + 1] for part in images[_BATCH])) for i in range(5)]
        return seconds(lambda: [_search(decoder, image, 5, False) for image in one]) * (_BATCH / 5)

    times = best_of(
        3,
        {
            "greedy, 32 bits": lambda: greedy(_BATCH, False),
            "greedy, five times as many images": lambda: greedy(5 * _BATCH, False),
            "beam 5, 32 bits": lambda: beam(False),
            "beam 5, one image at a time": one_at_a_time,
            "greedy, five times as many images, bfloat16": lambda: greedy(5 * _BATCH, True),
            "beam 5, bfloat16": lambda: beam(True),
        },
    )
    rows = []
    for name, time in times.items():
        count = _BATCH * (5 if "five times" in name else 1)
        rows.append({"search": name, "seconds": round(time, 2), "images/s": round(count / time, 1)})
    return rows


def measure_caption_training() -> list[Row]:
    """Words/s of training steps of each decoder, 64 captions of 12 words, against a plain `nn.LSTM`; two threads."""
    torch.set_num_threads(2)
    features, tokens = _features(64), torch.randint(4, _WORDS, (64, 1, 12))
    steps = {"nn.LSTM, embedding and output layer": _plain_lstm_step(tokens)}
    steps |= {name: _teaching_step(_decoder(name), features, tokens) for name in ("none", "soft", "top_down")}
    times = best_of(3, {name: partial(_quickest, step) for name, step in steps.items()})
    limit = times["nn.LSTM, embedding and output layer"]
    return [
        {"decoder": name, "words/s": round(tokens.numel() / time), "of the plain one's": round(limit / time, 2)}
        for name, time in times.items()
    ]


def _quickest(step: Callable[[], object]) -> float:
    return min(seconds(step) for _ in range(3))


def measure_beam_memory() -> list[Row]:
    """Peak memory that a beam search of 5 adds, 50 images, as the captions grow longer."""
    rows = []
    for steps in (10, 20, 40, 80):
        code = f"from benchmarks.decoding import print_beam_memory; print_beam_memory({steps})"
        environment = os.environ | {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'scripts'}"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8", env=environment
        )
        rows.append({"words": steps, "MiB": round(json.loads(done.stdout))})
    return rows


def print_beam_memory(steps: int) -> None:
    """Prints the MiB that a search of so many steps holds at its peak, by looking at the process every millisecond."""
    decoder, features = _decoder("soft"), _features(_BATCH)
    _search(decoder, Features(*(part[:1] for part in features)), 5, False, 2)  # what the first call loads
    before, peak, done = _resident_mib(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, _resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    _search(decoder, features, 5, False, steps)
    done.set()
    watcher.join()
    print(peak - before)


def _resident_mib() -> float:
    """Memory of this process that is in use, on Linux."""
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _decoder(attention: str) -> CaptionDecoder[Any, Any]:
    torch.manual_seed(0)
    options: dict[str, Any] = {"vocabulary_size": _WORDS, "start": START, "embedding_size": _SIZE, "hidden_size": _SIZE}
    options |= {"dropout": 0.0, "word_dropout": 0.0, "tie_embeddings": False, "cell": "lstm", "num_features": _FEATURES}
    if attention == "none":
        decoder: CaptionDecoder[Any, Any] = PlainDecoder(layers=1, **options)
    else:
        decoder = SoftDecoder(layers=1, **options) if attention == "soft" else TopDownDecoder(**options)
    decoder.output.bias.data[END] = -100.0  # so that all steps are run
    return decoder


def _features(count: int) -> Features:
    grid = torch.randn(count, _PLACES, _FEATURES, generator=torch.Generator().manual_seed(0))
    return Features(grid, grid.mean(1))


@torch.inference_mode()
def _search(
    decoder: CaptionDecoder[Any, Any], features: Features, width: int, bfloat16: bool, steps: int = _STEPS
) -> Hypotheses:
    rules = Rules(START, END, steps, banned=(PAD, START))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        memory, context = decoder.start(features)
        if width == 1:
            return greedy_search(decoder.step, memory, context, rules)
        return beam_search(decoder.step, memory, context, rules, width)


def _teaching_step(decoder: CaptionDecoder[Any, Any], features: Features, tokens: Tensor) -> Callable[[], None]:
    def step() -> None:
        decoder.zero_grad()
        functional.cross_entropy(decoder(features, tokens).logits.flatten(0, 2), tokens.flatten()).backward()

    return step


def _plain_lstm_step(tokens: Tensor) -> Callable[[], None]:
    torch.manual_seed(0)
    embedding, lstm = nn.Embedding(_WORDS, _SIZE), nn.LSTM(_SIZE, _SIZE, batch_first=True)
    output = nn.Sequential(nn.Linear(_SIZE, _SIZE), nn.Linear(_SIZE, _WORDS))
    parts = nn.ModuleList([embedding, lstm, output])

    def step() -> None:
        parts.zero_grad()
        hidden, _ = lstm(embedding(tokens.flatten(0, 1)))
        functional.cross_entropy(output(hidden).flatten(0, 1), tokens.flatten()).backward()

    return step
