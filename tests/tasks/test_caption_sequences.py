"""The teacher's captions of the training images: what they are, and when they are found again."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import Precision

from project.data.captions.karpathy import KarpathyCaptions
from project.data.captions.vocabulary import END, PAD, Vocabulary
from project.decoding import Hypotheses
from project.models.captioning import DecoderOptions
from project.tasks import Captioner
from project.tasks.caption_search import Decoding
from project.tasks.caption_sequences import Sequences, SequenceTable, closest, teacher_sequences
from project.tasks.caption_teacher import CaptionTeacher

MOST = 5
BEST = Sequences(Decoding(beam_size=4, num_hypotheses=1, max_words=MOST), "best", MOST)
CLOSEST = Sequences(Decoding(beam_size=4, num_hypotheses=4, max_words=MOST), "closest", MOST)


def data_of(folder: Path, cache: Path, **options: object) -> KarpathyCaptions:
    data = KarpathyCaptions(
        str(folder / "captions.json"), str(folder), image_size=16, eval_batch_size=7, cache_dir=str(cache), **options
    )
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    return data


def captioner(vocabulary: list[str], seed: int = 0) -> Captioner:
    """Says different things of different images, ended or not, since its weights are large."""
    torch.manual_seed(seed)
    task = Captioner(
        vocabulary,
        MOST,
        16,
        backbone_options={"width": 4},
        decoder=DecoderOptions(embedding_size=8, hidden_size=8),
    ).eval()
    (decoder,) = task.network.decoders
    torch.nn.init.normal_(decoder.project.weight, std=4)
    torch.nn.init.normal_(decoder.seen.weight, std=4)
    torch.nn.init.normal_(decoder.state.weight, std=10)
    decoder.output.bias.data[END] += 2
    return task


def student(data: KarpathyCaptions, rank: int = 0) -> SimpleNamespace:
    """All that is asked of the task that learns."""
    trainer = SimpleNamespace(local_rank=rank, precision_plugin=Precision(), precision="32-true")
    return SimpleNamespace(trainer=trainer, device=torch.device("cpu"), hparams={"vocabulary": data.vocabulary})


@pytest.fixture
def data(captioned, tmp_path) -> KarpathyCaptions:
    return data_of(captioned, tmp_path / "cache")


def rows(table: SequenceTable, count: int) -> list[list[int]]:
    tokens = table.gather(torch.arange(count))
    assert tokens.shape[:2] == (count, 1)
    return [[token for token in row if token != PAD] for row in tokens[:, 0].tolist()]


def files(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.glob("*sequences*")}


# ---- what they are


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_they_are_the_teachers_own_beam_search(captioned, tmp_path, storage):
    data = data_of(captioned, tmp_path / "cache", storage=storage, num_workers=0)
    member = captioner(data.vocabulary)
    found = rows(teacher_sequences(student(data), CaptionTeacher([member], data.vocabulary), BEST, data), 24)
    paths = list(data.splits["train"].images)
    alone = captioner(data.vocabulary)
    alone.search.decoding = BEST.decoding
    answers = alone.predict(paths)
    ends = Vocabulary(data.vocabulary)
    for tokens, answer in zip(found, answers, strict=True):
        assert " ".join(ends.decode(tokens)) == answer["caption"]
        assert (tokens[-1] == END) is answer["finished"]
        assert len(tokens) == len(answer["words"]) + answer["finished"] <= MOST + 1
    assert len({tuple(tokens) for tokens in found}) > 5
    assert {answer["finished"] for answer in answers} == {True, False}


def test_the_closest_one_is_that_of_the_beam(data):
    member = captioner(data.vocabulary)
    teacher = CaptionTeacher([member], data.vocabulary)
    found = rows(teacher_sequences(student(data), teacher, CLOSEST, data), 24)
    best = rows(teacher_sequences(student(data), teacher, BEST, data), 24)
    member.search.decoding = CLOSEST.decoding
    other = 0
    for image, answer in enumerate(member.predict(list(data.splits["train"].images))):
        hypotheses = [alternative["caption"].split() for alternative in answer["alternatives"]]
        references = [text.lower().replace(".", "").replace(",", "").split()
                      for text in data.splits["train"].captions[image]]  # fmt: skip
        scores = [rouge_l(hypothesis, references) for hypothesis in hypotheses]
        assert Vocabulary(data.vocabulary).decode(found[image]) == hypotheses[scores.index(max(scores))]
        other += found[image] != best[image]
    assert other > 3


def common(one: list[str], other: list[str]) -> int:
    """The longest common subsequence, by its definition."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + common(one[1:], other[1:])
    return max(common(one[1:], other), common(one, other[1:]))


def rouge_l(said: list[str], references: list[list[str]]) -> float:
    said = said or [""]
    precision = max(common(said, other) / len(said) for other in references)
    recall = max(common(said, other) / len(other) for other in references)
    return 2.44 * precision * recall / (recall + 1.44 * precision) if precision else 0.0


def test_of_equally_close_ones_the_likeliest_and_never_one_that_is_not_there():
    vocabulary = Vocabulary(["a", "red", "disc"])
    a, red, disc = 4, 5, 6
    tokens = torch.tensor(
        [[[red, a, END], [a, red, END], [END, END, END]], [[a, END, END], [red, disc, END], [disc, a, END]]]
    )
    lengths = torch.tensor([[3, 3, 0], [2, 3, 3]])
    zeros = torch.zeros(2, 3, 3)
    found = Hypotheses(tokens, zeros, lengths, lengths > 0, zeros[..., 0])
    assert closest(found, vocabulary, [["disc"], ["A red disc."]]).tolist() == [0, 1]
    assert closest(found, vocabulary, [["a red"], ["disc", "disc a"]]).tolist() == [1, 2]


def test_a_batch_is_as_long_as_its_longest():
    tokens = np.array([[4, END, PAD, PAD, PAD], [END, PAD, PAD, PAD, PAD], [4, 5, 6, PAD, PAD]], np.int32)
    table = SequenceTable(tokens, torch.device("cpu"))
    assert table.gather(torch.tensor([1, 0])).tolist() == [[[END, PAD]], [[4, END]]]
    assert table.gather(torch.tensor([2])).tolist() == [[[4, 5, 6]]]
    assert table.gather(torch.tensor([2])).dtype == torch.int64


def test_files_that_cannot_be_read_have_none(captioned, tmp_path):
    import shutil

    folder = Path(shutil.copytree(captioned, tmp_path / "bad"))
    data = data_of(folder, tmp_path / "cache", on_bad_image="skip", num_workers=0)
    paths = list(data.splits["train"].images)
    paths[3].write_bytes(b"no image")
    table = teacher_sequences(student(data), CaptionTeacher([captioner(data.vocabulary)], data.vocabulary), BEST, data)
    assert [len(row) > 0 for row in rows(table, 24)] == [place != 3 for place in range(24)]


# ---- when they are found again


def test_they_are_found_once(data, tmp_path, monkeypatch):
    found_by_others: list[int] = []

    @contextmanager
    def barrier():
        yield
        found_by_others.append(len(files(tmp_path / "cache")))

    monkeypatch.setattr("project.data.cache._InfiniteBarrier", barrier)
    teacher = CaptionTeacher([captioner(data.vocabulary)], data.vocabulary)
    first = rows(teacher_sequences(student(data), teacher, BEST, data), 24)
    kept = files(tmp_path / "cache")
    assert len(kept) == 1
    monkeypatch.setattr(CaptionTeacher, "features", None)
    again = student(data)
    assert rows(teacher_sequences(again, teacher, BEST, data), 24) == first
    assert files(tmp_path / "cache") == kept
    assert rows(teacher_sequences(student(data, rank=1), teacher, BEST, data), 24) == first
    assert found_by_others == [1] * 6


def test_another_question_has_another_answer(captioned, data, tmp_path):
    def ask(teacher=None, asked=BEST, source=data, precision="32-true"):
        teacher = teacher or CaptionTeacher([captioner(source.vocabulary)], source.vocabulary)
        task = student(source)
        task.trainer.precision = precision
        teacher_sequences(task, teacher, asked, source)
        return len(files(tmp_path / "cache"))

    assert ask() == 1
    words = data.vocabulary
    assert ask(CaptionTeacher([captioner(words, seed=1)], words)) == 2
    assert ask(CaptionTeacher([captioner(words), captioner(words, seed=1)], words)) == 3
    assert ask(asked=CLOSEST) == 4
    assert ask(asked=BEST._replace(decoding=Decoding(beam_size=2, num_hypotheses=1, max_words=MOST))) == 5
    assert ask(asked=BEST._replace(max_words=4, decoding=Decoding(beam_size=4, num_hypotheses=1, max_words=4))) == 6
    other = captioner(words)
    other.hparams["mean"] = [0.5, 0.5, 0.5]
    assert ask(CaptionTeacher([other], words)) == 7
    assert ask(source=data_of(captioned, tmp_path / "cache", train_size=24)) == 8
    assert ask(precision="bf16-mixed") == 9
    fewer = data_of(captioned, tmp_path / "cache", min_count=10)
    assert len(fewer.vocabulary) < len(words)
    assert ask(source=fewer) == 10
    assert ask() == 10


def test_changed_images_are_asked_for_again(captioned, tmp_path):
    import os
    import shutil

    folder = Path(shutil.copytree(captioned, tmp_path / "copy"))
    for count in (1, 2, 3):
        data = data_of(folder, tmp_path / "cache")
        teacher_sequences(student(data), CaptionTeacher([captioner(data.vocabulary)], data.vocabulary), BEST, data)
        assert len(files(tmp_path / "cache")) == count
        path = data.splits["train"].images[count]
        status = path.stat()
        path.write_bytes(path.read_bytes())
        if count == 2:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flipped(content: bytes) -> bytes:
    return content[:-30] + bytes([content[-30] ^ 1]) + content[-29:]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:4100], flipped])
def test_a_damaged_file_is_noticed_and_written_anew(data, tmp_path, damage, capsys):
    teacher = CaptionTeacher([captioner(data.vocabulary)], data.vocabulary)
    first = rows(teacher_sequences(student(data), teacher, BEST, data), 24)
    (path,) = (tmp_path / "cache").glob("sequences-*.cache")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert rows(teacher_sequences(student(data), teacher, BEST, data), 24) == first
    assert path.read_bytes() == whole
    assert capsys.readouterr().out.startswith(f"the teacher's captions: {path} is ")


def test_a_full_disk_costs_only_time_and_leaves_nothing(data, tmp_path, small_files_only, capsys):
    teacher = CaptionTeacher([captioner(data.vocabulary)], data.vocabulary)
    first = rows(teacher_sequences(student(data), teacher, BEST, data), 24)
    for path in (tmp_path / "cache").glob("sequences-*"):
        path.unlink()
    with small_files_only(100):
        for rank in (0, 1):
            assert rows(teacher_sequences(student(data, rank), teacher, BEST, data), 24) == first
    assert capsys.readouterr().out.count("the teacher's captions are not kept: ") == 1
    assert not files(tmp_path / "cache")
