"""Captions images with an exported captioner. Needs this file, numpy, Pillow, and onnxruntime (for .pt2 torch).

    python caption.py NAME.encoder.onnx photo.jpg
    python caption.py NAME.encoder.onnx photo.jpg --beam_size 5

From Python: `CaptionRunner.open("NAME.encoder.onnx").caption(images)`, of images (B, 3, S, S) uint8.

Shapes: B images, N live hypotheses of one, V words.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Run = Callable[..., list[np.ndarray]]


def square(path: str, size: int, crop: float, value_range: list[float] | None = None) -> np.ndarray:
    """An image file as (3, S, S) uint8: upright, RGB, transparent pixels over white, the central square of it."""
    Image.init()
    safe = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "AVIF")  # for some others, Pillow starts a program
    formats = [name for name in safe if name in Image.OPEN]
    turns = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), strict=True))  # by EXIF's numbers
    with Image.open(path, formats=formats) as file:
        file.draft(None, (2 * math.ceil(size / crop),) * 2)  # a JPEG is decoded at a scale near the one that is wanted
        file.load()
        try:
            turn = turns.get(file.getexif().get(0x0112, 1))
        except Exception:  # damaged EXIF
            turn = None
        image: Image.Image = file
    if file.mode in ("I", "F") or file.mode.startswith("I;16"):
        if file.mode in ("I", "F") and file.format != "PPM" and value_range is None:
            raise ValueError(f"{path}: 32-bit images have no defined white; convert it to 8 or 16 bits per channel")
        low, high = value_range or (0, 65535)
        values = np.asarray(file)
        scaled = np.nan_to_num((values.astype(np.float64) - low) * 256 / (high - low), nan=0, posinf=255, neginf=0)
        grey = np.clip(scaled, 0, 255).astype(np.uint8)
        if isinstance(file.info.get("transparency"), int):
            grey[values == file.info["transparency"]] = 255
        image = Image.fromarray(grey)
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    side = min(image.size) * crop
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.array(image).transpose(2, 0, 1)


def open_onnx(file: str | bytes) -> tuple[Run, dict[str, Any]]:
    """A program, from arrays to arrays in the order of its inputs, and what it says of itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, arrays, strict=True)))

    return run, json.loads(session.get_modelmeta().custom_metadata_map["about"])


def open_pt2(file: Any) -> tuple[Run, dict[str, Any]]:
    """The same of a .pt2; open only files that you trust."""
    import torch

    about = {"about.json": ""}
    module = torch.export.load(file, extra_files=about).module()

    @torch.no_grad()
    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        found = module(*(torch.from_numpy(array) for array in arrays))
        return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

    return run, json.loads(about["about.json"])


class Hypothesis(NamedTuple):
    """A caption as numbers of words, the end's left out, with the log-probability of each word and of the end."""

    words: list[int]
    log_probs: list[float]
    finished: bool

    @property
    def log_probability(self) -> float:
        """Of the whole."""
        return sum(self.log_probs)


class CaptionRunner:
    """A network that sees, and one that speaks, or two: forward and backward.

    Args:
        encode: from images (B, 3, S, S) uint8 to the state of each speaker, one after the other.
        steps: each from the newest words (N,) int64 and its state to scores (N, V) and the state's changing part.
        about: what the files say of themselves.
    """

    def __init__(self, encode: Run, steps: Sequence[Run], about: dict[str, Any]) -> None:
        self.encode, self.steps, self.about = encode, steps, about
        self.rules, self.configured = about["rules"], about["search"]

    @classmethod
    def open(cls, path: str) -> CaptionRunner:
        """From `NAME.encoder.onnx` or `NAME.encoder.pt2`; the other files lie beside it."""
        name, _, kind = str(path).rpartition(".encoder.")
        opened = {"onnx": open_onnx, "pt2": open_pt2}[kind]
        encode, about = opened(str(path))
        return cls(encode, [opened(f"{name}.{step}.{kind}")[0] for step in about["steps"]], about)

    def caption(self, images: np.ndarray, beam_size: int = 1) -> list[dict[str, Any]]:
        """The best caption of each image by a beam search; with a beam of 1 that is greedy search."""
        parts = self.encode(images)
        size = len(parts) // len(self.steps)
        return [
            self._describe([[part[i : i + 1] for part in parts[s : s + size]] for s in range(0, len(parts), size)], beam_size)
            for i in range(len(images))
        ]  # fmt: skip

    def _describe(self, states: list[list[np.ndarray]], beam_size: int) -> dict[str, Any]:
        found = [self._search(step, state, beam_size) for step, state in zip(self.steps, states, strict=True)]
        if len(found) == 1:
            best = found[0][0]
        else:
            backward = [each._replace(words=each.words[::-1]) for each in found[1]]
            best = max([*found[0], *backward], key=lambda each: self._agreed(each, states))
        if not best.finished:  # a search has one word more of those that did not end
            most = self.about.get("max_words", len(best.words))
            best = Hypothesis(best.words[:most], best.log_probs[:most], False)
        words = self.about["vocabulary"]
        return {
            "caption": join_words([words[word] for word in best.words], self.about.get("unspaced")),
            "log_probability": best.log_probability,
            "finished": best.finished,
        }

    def _agreed(self, found: Hypothesis, states: list[list[np.ndarray]]) -> float:
        """How the best of both speakers' captions is chosen, as it was configured."""
        if self.configured["direction"] == "sum":
            return found.log_probability
        if self.configured["direction"] == "mean":
            return found.log_probability / len(found.log_probs)
        told = (found.words, found.words[::-1])
        return sum(self._told(*both, found.finished) for both in zip(self.steps, states, told, strict=True))

    def _told(self, step: Run, state: list[np.ndarray], words: list[int], finished: bool) -> float:
        """The log-probability of a given caption."""
        total, newest = 0.0, self.rules["start"]
        for word in [*words, self.rules["end"]][: len(words) + finished]:
            scores, state = advance(step, [newest], state)
            total, newest = total + float(_log_softmax(scores)[0, word]), word
        return total

    def _search(self, step: Run, state: list[np.ndarray], beam_size: int) -> list[Hypothesis]:
        """The hypotheses of one image, the best first."""
        end = self.rules["end"]
        live, newest = [Hypothesis([], [], False)], [self.rules["start"]]
        ended: list[Hypothesis] = []
        for _ in range(self.rules["max_length"]):
            scores, state = advance(step, newest, state)
            log_probs = _log_softmax(scores)
            for row, parent in zip(log_probs, live, strict=True):
                self._forbid(row, parent.words)
            totals = (np.array([[each.log_probability] for each in live]) + log_probs).ravel()
            places = np.argsort(-totals, kind="stable")[: beam_size - len(ended)]
            rows, words = np.divmod([place for place in places if totals[place] > -np.inf], log_probs.shape[1])
            chosen = [
                Hypothesis([*live[row].words, word], [*live[row].log_probs, float(log_probs[row, word])], word == end)
                for row, word in zip(rows.tolist(), words.tolist(), strict=True)
            ]
            ended += [each._replace(words=each.words[:-1]) for each in chosen if each.finished]
            going = [n for n, each in enumerate(chosen) if not each.finished]
            live, newest = [chosen[n] for n in going], words[going].tolist()
            state = [part[rows[going]] for part in state]
            if not live:
                break
        return sorted(ended + live, key=self._score, reverse=True)

    def _forbid(self, log_probs: np.ndarray, words: list[int]) -> None:
        """Sets what may not follow `words` to -inf; where that is everything, the end may."""
        rules, ngram = self.rules, self.rules["no_repeat_ngram"]
        of_end = log_probs[rules["end"]]
        log_probs[rules["banned"]] = -np.inf
        if len(words) < rules["min_length"]:
            log_probs[rules["end"]] = -np.inf
        for place in range(len(words) - ngram + 1 if ngram else 0):
            if words[place : place + ngram - 1] == words[len(words) - ngram + 1 :]:
                log_probs[words[place + ngram - 1]] = -np.inf
        if log_probs.max() == -np.inf:
            log_probs[rules["end"]] = of_end

    def _score(self, found: Hypothesis) -> float:
        """The log-probability, normalised by the length as it was configured."""
        length, alpha = len(found.log_probs), self.configured["alpha"]
        if self.configured["length_penalty"] == "average":
            return found.log_probability / length**alpha
        if self.configured["length_penalty"] == "gnmt":
            return found.log_probability / ((5 + length) / 6) ** alpha
        return found.log_probability


def join_words(words: Sequence[str], unspaced: str | None) -> str:
    """A caption's text: a space between two words, but where the pattern `unspaced` matches what meets there."""
    text = ""
    for word in words:
        touching = not text or (unspaced and re.match(unspaced, text[-1]) and re.match(unspaced, word))
        text += word if touching else f" {word}"
    return text


def advance(
    step: Run, words: Sequence[int] | np.ndarray, state: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Scores (N, V) of the next word, and the state with its changing part replaced."""
    scores, *changed = step(np.asarray(words), *state)
    return scores, [*changed, *state[len(changed) :]]


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def main() -> None:
    """Prints a line for each image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", metavar="NAME.encoder.onnx")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--beam_size", type=int, default=1, help="hypotheses that are followed (1, greedy search)")
    options = parser.parse_args()
    if options.beam_size < 1:
        parser.error(f"--beam_size: must be at least 1; got {options.beam_size}")
    if not options.encoder.endswith((".encoder.onnx", ".encoder.pt2")) or not Path(options.encoder).is_file():
        parser.error(f"{options.encoder}: there is no such NAME.encoder.onnx or NAME.encoder.pt2")
    captioner = CaptionRunner.open(options.encoder)
    about = captioner.about
    squares = about["image_size"], about["center_crop"], about["value_range"]
    for path in options.images:
        try:
            image = square(path, *squares)
        except (OSError, ValueError, Image.DecompressionBombError) as error:  # absent, damaged, no image, or too large
            parser.error(str(error))
        found = captioner.caption(image[None], options.beam_size)[0]
        line = f"{path}: {found['caption']}"  # names and words may be anyone's, and control a terminal
        print(
            re.sub(
                "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", lambda found: ascii(found[0])[1:-1], line
            )
        )


if __name__ == "__main__":
    main()
