"""Captioners that teach, against each of them asked by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from project.data.captions.vocabulary import END, PAD
from project.errors import CheckpointError
from project.models.captioning import DecoderOptions
from project.tasks import Captioner
from project.tasks.caption_search import Decoding
from project.tasks.caption_teacher import CaptionTeacher, open_caption_teacher

WORDS = ["a", "red", "blue", "square", "disc", "big", "small"]
SMALL = {"embedding_size": 8, "hidden_size": 8}


def captioner(seed: int = 0, decoder: dict | None = None, **options: object) -> Captioner:
    torch.manual_seed(seed)
    options = {"vocabulary": WORDS, "max_words": 4, "image_size": 16, "backbone_options": {"width": 4}} | options
    task = Captioner(decoder=DecoderOptions(**(SMALL | (decoder or {}))), **options).eval()
    for each in task.network.decoders:
        torch.nn.init.normal_(each.output.bias, std=2)
    return task


def images(size: int = 16) -> torch.Tensor:
    pixels = torch.randint(256, (3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    return pixels.contiguous(memory_format=torch.channels_last)


def captions() -> list[list[list[int]]]:
    return [[[4, 5, 7, END], [6, END]], [[10, 9, 8, 7, END]], [[END], [4, 4, END]]]


def padded(rows: list[list[list[int]]]) -> torch.Tensor:
    tokens = torch.full((len(rows), 2, 6), PAD)
    for image, each in enumerate(rows):
        for place, caption in enumerate(each):
            tokens[image, place, : len(caption)] = torch.tensor(caption)
    return tokens


def log_softmax(logits: torch.Tensor) -> np.ndarray:
    values = logits.double().numpy()
    return values - np.log(np.exp(values).sum(-1, keepdims=True))


def alone(member: Captioner, pixels: torch.Tensor, caption: list[int], direction: int) -> np.ndarray:
    """Log-probabilities (T, V) of one caption of one image, without padding."""
    told = [*reversed(caption[:-1]), END] if direction else caption
    with torch.no_grad():
        logits = member.network.decoders[direction](member(pixels[None]), torch.tensor(told)[None, None]).logits
    return log_softmax(logits[0, 0])


@pytest.mark.parametrize("attention", ["none", "soft", "top_down"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_words_are_scored_as_each_caption_by_itself(attention, bidirectional, count):
    decoder = {"attention": attention, "bidirectional": bidirectional}
    members = [captioner(seed, decoder, mean=[0.1 * (seed + 1)] * 3) for seed in range(count)]
    teacher = CaptionTeacher(members, WORDS)
    assert teacher.num_directions == 1 + bidirectional
    for direction in range(teacher.num_directions):
        found = teacher.word_logits(teacher.features(images()), padded(captions()), direction)
        assert not found.requires_grad
        for image, rows in enumerate(captions()):
            for place, caption in enumerate(rows):
                each = [np.exp(alone(member, images()[image], caption, direction)) for member in members]
                expected = np.log(sum(each) / count)
                logs = log_softmax(found[image, place, : len(caption)])
                np.testing.assert_allclose(logs, expected, atol=1e-4)


def test_words_in_another_order_get_the_students_numbers():
    for tied in (False, True):
        plain = captioner(decoder={"tie_embeddings": tied, "bidirectional": True})
        other = captioner(decoder={"tie_embeddings": tied, "bidirectional": True})
        student = sorted(WORDS)
        number = {4 + WORDS.index(word): 4 + student.index(word) for word in WORDS} | {n: n for n in range(4)}
        teacher = CaptionTeacher([other], student)
        tokens = padded(captions())
        theirs = padded([[[number[token] for token in caption] for caption in rows] for rows in captions()])
        order = [next(old for old, new in number.items() if new == place) for place in range(4 + len(WORDS))]
        for direction in (0, 1):
            with torch.no_grad():
                expected = CaptionTeacher([plain], WORDS).word_logits([plain(images())], tokens, direction)
            found = teacher.word_logits(teacher.features(images()), theirs, direction)
            valid = tokens != PAD
            torch.testing.assert_close(found[valid], expected[valid][:, order], atol=1e-5, rtol=1e-5)
        assert [a["caption"] for a in other.answers(images())] == [a["caption"] for a in plain.answers(images())]
        decoder = other.network.decoders[0]
        assert (decoder.embedding.weight is decoder.output.weight) is tied


@pytest.mark.parametrize("size", [12, 16, 24])
def test_images_of_another_size_are_resized_and_normalised_its_own_way(size):
    member = captioner(mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 1.0])
    (found,) = CaptionTeacher([member], WORDS).features(images(size))
    resized = images(size).float()
    if size != 16:
        resized = functional.interpolate(resized, (16, 16), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.5, 0.25, 1.0]))
    with torch.no_grad():
        expected = member.network.encoder((resized / 255 - mean) / std)
    torch.testing.assert_close(found.grid, expected.grid, atol=1e-4, rtol=1e-4)


def test_a_search_is_the_members_own():
    member = captioner(decoding=Decoding(beam_size=3, num_hypotheses=3, length_penalty="average", ensemble=["x.ckpt"]))
    teacher = CaptionTeacher([member], WORDS)
    assert teacher.decoding == Decoding(beam_size=3, num_hypotheses=3, length_penalty="average")
    found = teacher.search(teacher.decoding, 4)(teacher.features(images()), 3)
    alone = captioner(decoding=teacher.decoding)
    answers = alone.answers(images())
    for image, answer in enumerate(answers):
        said = [" ".join(member.vocabulary.decode(words)) for words in found.word_ids()[image]]
        assert said == [other["caption"] for other in answer["alternatives"]]


def test_several_speak_together_as_an_ensemble(tmp_path):
    one, other = captioner(0), captioner(1)
    saved = {
        "task": "Captioner",
        "hyper_parameters": dict(other.hparams),
        "state_dict": other.state_dict(),
        "schema": 1,
    }
    torch.save(saved, tmp_path / "other.ckpt")
    teacher = CaptionTeacher([captioner(0), captioner(1)], WORDS)
    found = teacher.search(Decoding(), 4)(teacher.features(images()))
    both = captioner(0, decoding=Decoding(ensemble=[str(tmp_path / "other.ckpt")]))
    said = [" ".join(one.vocabulary.decode(words[0])) for words in found.word_ids()]
    answers = both.answers(images())
    assert said == [answer["caption"] for answer in answers]
    logs = found.log_probability[:, 0].tolist()
    assert logs == pytest.approx([answer["log_probability"] for answer in answers], abs=1e-5)
    assert logs != pytest.approx([answer["log_probability"] for answer in one.answers(images())], abs=1e-2)


def test_it_does_not_learn_and_has_a_fingerprint():
    member = captioner().train()
    teacher = CaptionTeacher([member], WORDS)
    assert not any(module.training for module in member.modules())
    assert not any(parameter.requires_grad for parameter in member.parameters())
    before = teacher.fingerprint()
    teacher.word_logits(teacher.features(images()), padded(captions()))
    assert teacher.fingerprint() == before == CaptionTeacher([captioner()], WORDS).fingerprint()
    assert CaptionTeacher([captioner(1)], WORDS).fingerprint() != before
    assert CaptionTeacher([captioner(), captioner()], WORDS).fingerprint() != before
    assert teacher.looks() == [{"image_size": 16, "mean": member.hparams["mean"], "std": member.hparams["std"]}]


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (WORDS[:-1], "knows 7 words, and the student 6; it knows 'small' and the student does not, "),
        ([*WORDS, "large"], "knows 7 words, and the student 8; the student knows 'large' and it does not, "),
        ([*WORDS[:-1], "smaller"], "knows 7 words, and the student 7; it knows 'small' .*did you mean 'smaller'"),
    ],
)
def test_other_words_are_refused(vocabulary, message):
    with pytest.raises(CheckpointError, match=f"^model.teacher: {message}"):
        CaptionTeacher([captioner()], vocabulary)


def test_directions_must_agree():
    with pytest.raises(CheckpointError, match=r"^model\.teacher: one of them is bidirectional, another not; "):
        CaptionTeacher([captioner(), captioner(decoder={"bidirectional": True})], WORDS)


def test_checkpoints_are_opened(tmp_path):
    member = captioner()
    saved = {
        "task": "Captioner",
        "hyper_parameters": dict(member.hparams),
        "state_dict": member.state_dict(),
        "schema": 1,
    }
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    torch.save(saved, tmp_path / "checkpoints" / "best.ckpt")
    teacher = open_caption_teacher([str(tmp_path), str(tmp_path / "checkpoints" / "best.ckpt")], WORDS)
    assert teacher.fingerprint() == CaptionTeacher([captioner(), captioner()], WORDS).fingerprint()
    with pytest.raises(
        CheckpointError, match=r"x\.ckpt: there is no such .* give one, or a captioner's configuration$"
    ):
        open_caption_teacher(["x.ckpt"], WORDS)
