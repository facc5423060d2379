"""What an exported file says of itself, as plain JSON types."""

from __future__ import annotations

from typing import Any

from project import __version__
from project.data.captions.tokenizers import UNSPACED
from project.data.captions.vocabulary import SPECIALS
from project.export.subject import Subject
from project.tasks import Captioner, Classifier

SQUARES = (
    "EXIF rotation applied; RGB, transparent pixels over white, grey of more than 8 bits in 256 equal levels between the two "
    "values of value_range (without one, 16 bits by their upper eight); the central square of the image, of which the share "
    "center_crop, scaled to image_size by Pillow's bilinear resize"
)


def describe(subject: Subject) -> dict[str, Any]:
    """Input, output, and what belongs to the weights."""
    task = subject.task
    about = {
        "task": type(task).__name__,
        "input": f"images: uint8 (batch, 3, {task.image_size}, {task.image_size}), RGB, 0..255",
        "image_size": task.image_size,
        "center_crop": task.center_crop,
        "value_range": task.value_range and list(task.value_range),
        "squares": SQUARES,
        "project_version": __version__,
        "checkpoint_sha256": subject.sha256,
    }
    if isinstance(task, Captioner):
        return about | _of_captioner(task)
    assert isinstance(task, Classifier)
    return about | {
        "output": f"probabilities: float32 (batch, {len(task.class_names)})",
        "class_names": task.class_names,
        "temperature": task.temperature.item(),
        "views": task.tta,
    }


def _of_captioner(task: Captioner) -> dict[str, Any]:
    rules, decoding = task.search.rules, task.search.decoding
    return {
        "output": "the state of each step: of the encoder the first one, of a step scores: float32 (rows, words) and "
        "the changing part of the next",
        "vocabulary": [*SPECIALS, *task.vocabulary.words],
        "tokenizer": task.tokenizer,
        "max_words": task.search.max_words,
        "unspaced": UNSPACED[task.tokenizer],
        "steps": ["step", "backward"][: len(task.network.decoders)],
        "rules": {
            "start": rules.start,
            "end": rules.end,
            "max_length": rules.max_length,
            "min_length": rules.min_length,
            "banned": list(rules.banned),
            "no_repeat_ngram": rules.no_repeat_ngram,
        },
        "search": {
            "direction": decoding.direction,
            "length_penalty": decoding.length_penalty,
            "alpha": decoding.alpha,
        },
    }
