"""What a teacher says of the training images, found once before training and kept on disk.

Shapes: N images, T words with the end's mark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from project.data.cache import CachedRows, cache_key, one_process_first
from project.data.captions.base import CaptionDataModule
from project.data.captions.tokenizers import metric_tokenizer
from project.data.captions.vocabulary import PAD, Vocabulary
from project.data.progress import track
from project.decoding import Hypotheses
from project.metrics.captions import ROUGEL
from project.metrics.captions.corpus import Corpus
from project.metrics.ptb_tokenizer import ptb_tokenize
from project.tasks.base import Task
from project.tasks.caption_search import Decoding, cut_best
from project.tasks.caption_teacher import CaptionTeacher

Choice = Literal["best", "closest"]


class SequenceTable:
    """A caption of each training image.

    Args:
        tokens: (N, T) int32, words and the end, then PAD; of an image that could not be read all of it.
        device: where batches are made.
    """

    def __init__(self, tokens: np.ndarray, device: torch.device) -> None:
        self._lengths = torch.from_numpy((tokens != PAD).sum(1))
        self._tokens = torch.from_numpy(tokens[:, : max(int(self._lengths.max()), 1)]).to(device)

    def gather(self, indices: Tensor) -> Tensor:
        """The captions of images (B,) int64, (B, 1, T) int64; T as in `TokenTable.gather`."""
        tokens = self._tokens[indices]
        if indices.device.type == "cpu":
            tokens = tokens[:, : int(self._lengths[indices].max())]
        return tokens[:, None].long()


class Sequences(NamedTuple):
    """How a teacher is asked for whole captions.

    decoding: its search. choice: `best`, or of the hypotheses the one `closest` to the image's captions.
    max_words: of a caption.
    """

    decoding: Decoding
    choice: Choice
    max_words: int


def teacher_sequences(task: Task, teacher: CaptionTeacher, asked: Sequences, data: CaptionDataModule) -> SequenceTable:
    """The teacher's captions of the training images as they are, not augmented.

    They lie in `data.cache_dir`, under a name that is a hash of all that they follow from: the teacher's weights and
    preprocessing, the search, the vocabulary, the images with their captions and size, and the arithmetic.

    Args:
        task: the student, whose Trainer says on which device and in which precision.
        teacher: on that device.
        asked: what for.
        data: the training data.
    """
    tokens = one_process_first(task.trainer.local_rank, lambda: _kept(task, teacher, asked, data))
    return SequenceTable(tokens, task.device)


def _kept(task: Task, teacher: CaptionTeacher, asked: Sequences, data: CaptionDataModule) -> np.ndarray:
    """(N, T) int32."""
    samples = data.splits["train"]
    facts = [
        teacher.fingerprint(),
        teacher.looks(),
        asdict(asked.decoding),
        asked.choice,
        asked.max_words,
        task.hparams["vocabulary"],
        data.tokenizer,
        samples.fingerprint(),
        data.train_size,
        str(task.trainer.precision),
    ]
    path, shape = data.cache_dir / f"sequences-{cache_key(facts, samples)}.cache", (asked.max_words + 1,)
    rows = CachedRows(path, len(samples), shape, np.int32, "the teacher's captions")

    def find(tokens: np.ndarray, missing: np.ndarray) -> np.ndarray:
        tokens[:] = _found(task, teacher, asked, data)
        return np.arange(len(tokens))

    tokens, _ = rows.complete(find)
    if not rows.problem:
        rank_zero_info(f"teacher: its captions of {len(tokens)} training images are in {rows.path}")
    return tokens


def _found(task: Task, teacher: CaptionTeacher, asked: Sequences, data: CaptionDataModule) -> np.ndarray:
    """(N, T) int32."""
    samples = data.splits["train"]
    search = teacher.search(asked.decoding, asked.max_words)
    vocabulary = Vocabulary(task.hparams["vocabulary"])
    tokens = np.full((len(samples), asked.max_words + 1), PAD, np.int32)
    batches = data.batches_in_order("train")
    for batch in track(batches, "teacher's captions", len(samples), lambda batch: len(batch.indices)):
        with torch.no_grad(), task.trainer.precision_plugin.forward_context():
            found = search(teacher.features(batch.images), asked.decoding.num_hypotheses)
        if asked.choice == "best":
            found = cut_best(found, search.max_words)
        indices = batch.indices.cpu().numpy()
        chosen = np.zeros(len(indices), np.int64)
        if asked.choice == "closest":
            references = [data.references("train")[i] for i in indices]
            chosen = closest(found, vocabulary, references, metric_tokenizer(data.tokenizer))
        rows, lengths = found.tokens.cpu().numpy(), found.lengths.cpu().numpy()
        for row, (index, choice) in enumerate(zip(indices, chosen, strict=True)):
            length = lengths[row, choice]
            tokens[index, :length] = rows[row, choice, :length]
    return tokens


def closest(
    found: Hypotheses,
    vocabulary: Vocabulary,
    references: list[list[str]],
    tokenize: Callable[[str], list[str]] = ptb_tokenize,
) -> np.ndarray:
    """Of each image's hypotheses the one with the best ROUGE-L, (B,) int64; of equal ones the likeliest.

    Kim and Rush 2016, section 3.4, take BLEU; it has four words in a row in it, which short captions do not have.

    Args:
        found: N of each of B images, the best first.
        vocabulary: of their words.
        references: the texts of each image.
        tokenize: makes words of a text.
    """
    predictions, wanted, image, place = [], [], [], []
    lengths = found.lengths.tolist()
    for row, hypotheses in enumerate(found.word_ids()):
        texts = [" ".join(tokenize(text)) for text in references[row]]
        for n, words in enumerate(hypotheses):
            if lengths[row][n]:
                predictions.append(" ".join(vocabulary.decode(words)))
                wanted.append(texts)
                image.append(row)
                place.append(n)
    scores = np.full(np.shape(lengths), -1.0)
    scores[image, place] = ROUGEL().scores(Corpus(list(range(len(predictions))), predictions, wanted)).numpy()
    return scores.argmax(1)
