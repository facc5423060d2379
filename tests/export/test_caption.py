"""The runner says what the project's own search says, and sees what the project's own images are."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from project.data.captions.tokenizers import join_words
from project.data.captions.vocabulary import END, START
from project.data.images import load_square
from project.errors import DataError
from project.export import caption
from project.export.about import describe
from project.export.caption import CaptionRunner, open_onnx, open_pt2, square
from project.export.parity import pictures
from project.export.programs import programs_of
from project.export.subject import Subject
from project.tasks import Captioner as Task
from project.tasks.caption_search import cut_best


def runner(task: Task) -> CaptionRunner:
    """Over the programs as they are before they become files."""

    def run_of(module: torch.nn.Module) -> caption.Run:
        @torch.no_grad()
        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            return [part.numpy() for part in module(*map(torch.from_numpy, arrays))]

        return run

    encode, *steps = (run_of(program.module) for program in programs_of(task))
    return CaptionRunner(encode, steps, describe(Subject(task, None, "", {})))


@torch.inference_mode()
def said(task: Task, images: torch.Tensor, greedy: bool) -> list[tuple[str, float, bool]]:
    found = cut_best(task.search([task(images)], greedy=greedy), task.search.max_words)
    words = [" ".join(task.vocabulary.decode(each[0])) for each in found.word_ids()]
    return list(zip(words, found.log_probability[:, 0].tolist(), found.finished[:, 0].tolist(), strict=True))


def assert_same(task: Task, beam_size: int) -> list[str]:
    images = pictures(7, task.image_size)
    expected = said(task, images, greedy=beam_size == 1)
    found = runner(task).caption(images.numpy(), beam_size)
    assert [(each["caption"], each["finished"]) for each in found] == [(words, ended) for words, _, ended in expected]
    np.testing.assert_allclose([each["log_probability"] for each in found], [each[1] for each in expected], rtol=1e-4)
    return [words for words, _, _ in expected]


def test_captions_that_would_go_on_are_cut_at_max_words(captioner):
    task = captioner(decoding={"max_words": 2, "min_words": 2})
    captions = [each["caption"] for each in runner(task).caption(pictures(7, task.image_size).numpy())]
    assert {len(text.split()) for text in captions} == {2}
    assert_same(task, 1)


@pytest.mark.parametrize("tokenizer", ["ptb", "unicode", "characters", "given"])
def test_words_are_joined_as_the_captioner_joins_them(captioner, tokenizer):
    task = captioner()
    task.hparams["tokenizer"] = tokenizer
    unspaced = describe(Subject(task, None, "", {}))["unspaced"]
    for words in (["红色", "的", "LOGO", "，", "十字"], ["a", "dog"], ["犬"], []):
        assert caption.join_words(words, unspaced) == join_words(words, tokenizer)


@pytest.mark.parametrize("attention", ["none", "soft", "top_down"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_greedy_search_of_every_decoder(captioner, attention, cell):
    assert len(set(assert_same(captioner(attention=attention, cell=cell), 1))) > 1


@pytest.mark.parametrize("direction", ["sum", "mean", "rescore"])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_two_directions(captioner, direction, beam_size):
    decoding = {"direction": direction, "beam_size": 3, "num_hypotheses": 3}
    assert_same(captioner(decoding, bidirectional=True), beam_size)


@pytest.mark.parametrize(
    "decoding",
    [
        {},
        {"length_penalty": "average", "alpha": 0.7},
        {"length_penalty": "gnmt"},
        {"min_words": 3},
        {"no_repeat_ngram": 1},
        {"no_repeat_ngram": 2, "unknown_words": False},
        {"max_words": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("beam_size", [1, 4])
def test_the_rules_and_penalties_that_were_configured(captioner, decoding, beam_size):
    assert_same(captioner(decoding | {"beam_size": 4, "num_hypotheses": 4}, layers=2), beam_size)


def test_where_everything_is_forbidden_the_end_may_be_said():
    about = {
        "rules": {"start": START, "end": END, "max_length": 9, "min_length": 9, "banned": [0, 1, 3], "no_repeat_ngram": 1},
        "search": {"direction": "sum", "length_penalty": "none", "alpha": 1.0},
        "vocabulary": ["<pad>", "<start>", "<end>", "<unk>", "dog"],
    }  # fmt: skip
    step = lambda words, state: [np.zeros((len(words), 5), np.float32), state]  # noqa: E731
    found = CaptionRunner(lambda images: [np.zeros((len(images), 1))], [step], about).caption(np.zeros((1, 3, 2, 2)))
    assert found == [{"caption": "dog", "log_probability": pytest.approx(2 * np.log(0.2)), "finished": True}]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("L", {}),
        ("RGBA", {}),
        ("LA", {}),
        ("P", {}),
        ("P", {"transparency": 3}),
        ("CMYK", {"format": "TIFF"}),
        ("I;16", {}),
        ("I;16", {"transparency": 200 * 17}),
        ("I;16", {"format": "PPM"}),
        ("RGB", {"format": "JPEG", "size": (161, 98)}),
        ("RGB", {"format": "JPEG", "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("crop", [1.0, 0.8])
def test_images_become_the_squares_that_the_project_makes_of_them(tmp_path, mode, options, crop):
    width, height = options.get("size", (23, 14))
    shape = (height, width, len(Image.new(mode, (1, 1)).getbands()))
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    else:
        image = Image.fromarray(pixels.squeeze(), mode=None) if mode in ("RGB", "RGBA", "L", "LA") else None
        image = image or (Image.frombytes(mode, (23, 14), pixels.tobytes()))
        if mode == "P":
            image.putpalette(list(range(256)) * 3)
    image.save(
        tmp_path / "image",
        format=options.get("format", "PNG"),
        **{name: value for name, value in options.items() if name not in ("format", "size")},
    )
    expected = load_square(tmp_path / "image", 10, crop)
    found = square(str(tmp_path / "image"), 10, crop)
    assert found.shape == (3, 10, 10)
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("ends", [(0, 4095), (-100.5, 3000)])
def test_images_of_more_than_8_bits_become_the_squares_of_their_range(dtype, ends, tmp_path):
    values = np.random.default_rng(0).integers(0, 5000, (20, 14)).astype(dtype)
    Image.fromarray(values).save(tmp_path / "deep.tiff")
    expected = load_square(tmp_path / "deep.tiff", 10, 1.0, ends)
    assert len(np.unique(expected)) > 60
    found = square(str(tmp_path / "deep.tiff"), 10, 1.0, list(ends))
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)


def test_an_image_without_a_defined_white_is_refused_as_by_the_project(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "deep.tiff")
    with pytest.raises(DataError, match="32-bit images"):
        load_square(tmp_path / "deep.tiff", 2)
    with pytest.raises(ValueError, match=r"deep.tiff: 32-bit images have no defined white"):
        square(str(tmp_path / "deep.tiff"), 2, 1.0)


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_files_say_what_they_are_and_are_opened_together(exported, kind):
    task, folder = exported("captioner", kind)
    opened = {"onnx": open_onnx, "pt2": open_pt2}[kind]
    run, about = opened(str(folder / f"x.step.{kind}"))
    assert about["steps"] == ["step"]
    assert about["vocabulary"][3:5] == ["<unk>", "a"]
    assert run(np.array([1, 4]), *np.zeros((2, 2, 16), np.float32), *_context(task))[0].shape == (2, 11)
    images = pictures(3, task.image_size)
    found = CaptionRunner.open(folder / f"x.encoder.{kind}").caption(images.numpy())
    assert [each["caption"] for each in found] == [words for words, _, _ in said(task, images, greedy=True)]


@torch.no_grad()
def _context(task: Task) -> list[np.ndarray]:
    _, context = task.network.decoders[0].start(task(pictures(2, 16)))
    return [part.numpy() for part in context if isinstance(part, torch.Tensor)]


def test_from_the_command_line(exported, tmp_path, monkeypatch, capsys):
    task, folder = exported("captioner", "onnx")
    photo = tmp_path / "photo.png"
    Image.fromarray(pictures(3, 40)[2].permute(1, 2, 0).numpy()).save(photo)
    image = torch.from_numpy(square(str(photo), task.image_size, 1.0))[None]
    for more, greedy in (((), True), (("--beam_size", "5"), False)):
        monkeypatch.setattr(sys, "argv", ["caption.py", str(folder / "x.encoder.onnx"), str(photo), *more])
        runpy.run_path(str(folder / "caption.py"), run_name="__main__")
        assert capsys.readouterr().out == f"{photo}: {said(task, image, greedy)[0][0]}\n"
