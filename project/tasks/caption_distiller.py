"""Teacher–student distillation of captioners.

Shapes: B images of S × S pixels, R captions of each, T words with the end's mark, V words known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.nn import functional

from project.data.captions.base import CaptionDataModule
from project.data.captions.batch import CaptionBatch
from project.data.captions.tokenizers import metric_tokenizer
from project.data.captions.vocabulary import PAD
from project.errors import CheckpointError, ConfigError
from project.losses.word_kd import word_kd
from project.metrics.captions import CIDErD
from project.metrics.sums import WeightedMean
from project.runs.loggers import record_costs
from project.runs.undeclared import data_of
from project.tasks.caption_search import Decoding
from project.tasks.caption_sequences import Choice, Sequences, SequenceTable, teacher_sequences
from project.tasks.caption_teacher import CaptionTeacher, open_caption_teacher
from project.tasks.captioner import Captioner, Told
from project.tasks.student import Student, TeacherTime, check_measured


class CaptionDistiller(Captioner, Student):
    """A captioner, the student, that learns from captions and from a larger captioner (Kim and Rush 2016, arXiv:1606.07947).

    All options of `Captioner` are the student's. A checkpoint holds the student alone; `checkpoints/student.ckpt` is the
    best student as a plain `Captioner`. The loss is the weighted sum of three, each a mean over words; what has the
    weight 0 is not computed.

    Args:
        vocabulary: see `Captioner`.
        max_words: see `Captioner`.
        image_size: see `Captioner`.
        teacher: a checkpoint, a run's folder, or a captioner's configuration, which `fit` trains first; several speak
            together by the mean of their probabilities. They know the student's words.
        label_weight: of the cross-entropy with the data's captions.
        word_weight: of the divergence from what the teacher says of each next word of the data's captions (section 3.1).
        temperature: of both's probabilities in that, see `word_kd`.
        sequence_weight: of the cross-entropy with the teacher's own captions of the training images (section 3.2), which
            its search finds once, in the images as they are.
        sequence: which of them: `best` is what the teacher says; `closest` is the one of the beam's hypotheses that is
            most like the data's captions, by ROUGE-L (sequence-level interpolation, section 3.4).
        sequence_beam: hypotheses that this search follows; all else is as in the teacher's own `decoding`.
        allowed_drop: how far a teacher's CIDEr-D on the validation split, measured at the start, may lie below the one that
            its checkpoint recorded: more is a sign of other data or preprocessing.
        **options: those of `Captioner`.
    """

    plain_task = "Captioner"
    own_options = (
        "teacher", "label_weight", "word_weight", "temperature", "sequence_weight", "sequence", "sequence_beam",
        "allowed_drop",
    )  # fmt: skip

    def __init__(
        self,
        vocabulary: Sequence[str],
        max_words: int,
        image_size: int,
        teacher: str | list[str],
        label_weight: float = 0.5,
        word_weight: float = 0.5,
        temperature: float = 1.0,
        sequence_weight: float = 0.0,
        sequence: Choice = "best",
        sequence_beam: int = 5,
        allowed_drop: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(vocabulary, max_words, image_size, **options)
        self.weight_of = {"labels": label_weight, "words": word_weight, "sequences": sequence_weight}
        for name, value in self.weight_of.items():
            if not 0 <= value < float("inf"):
                raise ConfigError(f"model.{name[:-1]}_weight: must be at least 0; got {value}")
        if not word_weight and not sequence_weight:
            raise ConfigError("model.word_weight, model.sequence_weight: both are 0; set one above it, or train a "
                              "Captioner, which has no teacher")  # fmt: skip
        if not 0 < temperature < float("inf"):
            raise ConfigError(f"model.temperature: must be above 0; got {temperature}")
        if sequence not in ("best", "closest"):
            raise ConfigError(f"model.sequence: must be best or closest; got {sequence}")
        if sequence_beam < 1:
            raise ConfigError(f"model.sequence_beam: must be at least 1; got {sequence_beam}")
        if word_weight and self.scheduled_sampling.probability:
            raise ConfigError("model.scheduled_sampling: the student would go on from words of its own, and the teacher "
                              "from the data's; set its probability or model.word_weight to 0")  # fmt: skip
        self.learn_from(
            teacher,
            label_weight=label_weight,
            word_weight=word_weight,
            temperature=temperature,
            sequence_weight=sequence_weight,
            sequence=sequence,
            sequence_beam=sequence_beam,
        )
        self.temperature = temperature
        self.sequence = sequence
        self.sequence_beam = sequence_beam
        self.allowed_drop = allowed_drop
        self.teacher_time = TeacherTime()
        self._teacher: CaptionTeacher | None = None
        self._sequences: SequenceTable | None = None
        self.teacher_cider_d = CIDErD()
        self.agreement = WeightedMean()

    # ---- before training

    def setup(self, stage: str) -> None:
        """Opens the teacher where it is asked: to learn from, and to be tested beside."""
        super().setup(stage)
        if stage not in ("fit", "test"):
            return
        self._teacher = open_caption_teacher(self.sources, self.vocabulary.words)
        self.teacher_cider_d = CIDErD(tokenize=metric_tokenizer(self.tokenizer))
        if stage == "test" or not self.weight_of["words"]:
            return
        if self._teacher.num_directions < len(self.network.decoders):
            raise CheckpointError("model.teacher: speaks in one direction, and the student in both; give a bidirectional "
                                  "teacher, or set model.word_weight to 0")  # fmt: skip
        if getattr(data_of(self.trainer), "cache_features", False):
            raise ConfigError("data.cache_features: the teacher looks at the images themselves for each word; set it to "
                              "false, or model.word_weight to 0")  # fmt: skip

    @property
    def teacher(self) -> CaptionTeacher:
        """Where `setup` has opened it."""
        assert self._teacher is not None
        return self._teacher

    def on_fit_start(self) -> None:
        """Measures the teacher on the validation split, and asks it for its captions of the training images."""
        super().on_fit_start()
        teacher, data = self.teacher.to(self.device), data_of(self.trainer)
        if not isinstance(data, CaptionDataModule):
            raise ConfigError("data: the teacher captions the images of a datamodule; give one: datamodule=data")
        score = self._measure(teacher)
        rank_zero_info(f"teacher: {', '.join(self.sources)}: cider_d {score:.2f} on the validation split")
        for source, member in zip(self.sources, teacher.members, strict=True):
            alone = score if len(self.sources) == 1 else self._measure(CaptionTeacher([member], self.vocabulary.words))
            check_measured(source, member, "cider_d", alone, self.allowed_drop)
        if self.weight_of["sequences"]:
            self._sequences = teacher_sequences(self, teacher, self._asked(teacher.decoding), data)

    def _asked(self, own: Decoding) -> Sequences:
        """How the teacher is asked for whole captions, from how it finds its own."""
        most = self.hparams["max_words"]
        decoding = dataclasses.replace(
            own,
            search="beam",
            beam_size=self.sequence_beam,
            num_hypotheses=self.sequence_beam if self.sequence == "closest" else 1,
            groups=1,
            max_words=min(own.max_words or most, most),
        )
        return Sequences(decoding, self.sequence, most)

    @torch.no_grad()
    def _measure(self, teacher: CaptionTeacher) -> float:
        """Its CIDEr-D by its own search, as its own run found it."""
        data = data_of(self.trainer)
        metric = CIDErD(tokenize=metric_tokenizer(self.tokenizer), sync_on_compute=False)
        search = teacher.search(teacher.decoding, teacher.members[0].hparams["max_words"])
        captions = data.references("val")
        for batch in data.batches_in_order("val"):
            ids = batch.indices.tolist()
            with self.trainer.precision_plugin.forward_context():
                found = search(teacher.features(batch.images), generator=self._generator(ids))
            metric.update(self._texts(found), [captions[index] for index in ids], ids)
        return metric.compute().item()

    def on_test_start(self) -> None:
        """Puts the teacher on the device."""
        super().on_test_start()
        self.teacher.to(self.device)

    # ---- training and evaluation

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The weighted losses of one batch; both the data's captions and the teacher's are told in one go."""
        needed = self.weight_of["labels"] or self.weight_of["words"]
        tokens = batch.tokens if needed else batch.tokens[:, :0, :0]
        given = tokens.shape[1]
        if self._sequences is not None:
            tokens = _beside(tokens, self._sequences.gather(batch.indices))
        told = self._tell(self(batch.images), tokens, self.scheduled_sampling.at(self.current_epoch))
        losses: dict[str, Tensor] = {}
        beside: dict[str, Tensor] = {}
        if self.weight_of["labels"]:
            losses["labels"] = self._mean_over_words(told, slice(given))
        if self.weight_of["words"]:
            losses["words"], beside = self._word_loss(batch, told)
        if self.weight_of["sequences"]:
            losses["sequences"] = self._mean_over_words(told, slice(given, None))
        weighted = {name: self.weight_of[name] * loss for name, loss in losses.items()}
        total = sum(weighted.values(), torch.zeros((), device=tokens.device))
        means = {f"loss_{name}": loss for name, loss in losses.items()}
        means |= {f"weighted_{name}": loss for name, loss in weighted.items()}
        self.count_batch(len(batch.images), total, **means, **beside)
        return total + self._penalty(told)

    def _mean_over_words(self, told: Sequence[Told], captions: slice) -> Tensor:
        """Cross-entropy of a word of some of the captions, the sum of both directions'."""
        losses = (self._cross_entropy(each.tokens[:, captions], each.logits[:, captions]) for each in told)
        return sum(losses, torch.zeros((), device=told[0].tokens.device))

    def _word_loss(self, batch: CaptionBatch, told: Sequence[Told]) -> tuple[Tensor, dict[str, Tensor]]:
        """The divergence of a word of the data's captions, which are told first, the sum of both directions'.

        And what is recorded beside it, of a word of either direction: how often both would say the same next, and the
        divergence at temperature 1.
        """
        tokens, count, length = batch.tokens, *batch.tokens.shape[1:]
        with self.teacher_time.asking():
            features = self.teacher.features(batch.images)
            asked = [self.teacher.word_logits(features, tokens, direction) for direction in range(len(told))]
        valid, total = tokens != PAD, torch.zeros((), device=tokens.device)
        agreement, divergence = torch.zeros_like(total), torch.zeros_like(total)
        for each, teacher in zip(told, asked, strict=True):
            student = each.logits[:, :count, :length]
            loss = word_kd(student, teacher, valid, self.temperature)
            total = total + loss
            same = student.argmax(3) == teacher.argmax(3)
            agreement += (same & valid).sum() / valid.sum().clamp(min=1) / len(told)
            plain = loss.detach() if self.temperature == 1 else word_kd(student.detach(), teacher, valid)
            divergence += plain / len(told)
        return total, {"agreement": agreement, "teacher_kl": divergence}

    def on_train_batch_start(self, batch: CaptionBatch, batch_idx: int) -> None:
        """Starts the clock."""
        self.teacher_time.start_step()

    def on_train_batch_end(self, outputs: Any, batch: CaptionBatch, batch_idx: int) -> None:
        """Stops it."""
        self.teacher_time.end_step()

    def on_train_epoch_end(self) -> None:
        """Records also which share of the steps' time was the teacher's."""
        super().on_train_epoch_end()
        record_costs(self.trainer, {"train/teacher_time": self.teacher_time.take()}, max(self.global_step - 1, 0))

    def _evaluation_step(self, batch: CaptionBatch, stage: str) -> dict[str, Any]:
        outputs = super()._evaluation_step(batch, stage)
        if stage == "test":
            ids = batch.indices.tolist()
            search = self.teacher.search(self.search.decoding, self.hparams["max_words"])
            found = search(self.teacher.features(batch.images), generator=self._generator(ids))
            captions = self._texts(found)
            assert batch.references is not None, "what is tested has captions"
            self.teacher_cider_d.update(captions, batch.references, ids)
            same = [one == other for one, other in zip(captions, outputs["captions"], strict=True)]
            self.agreement.update(torch.tensor(same).float().mean(), len(same))
        return outputs

    def metric_names(self) -> set[str]:
        """See `Captioner`."""
        losses = {f"train/{kind}_{name}" for name in self.weight_of for kind in ("loss", "weighted")}
        return super().metric_names() | losses | {"train/agreement", "train/teacher_kl"}

    def _record_scores(self, stage: str) -> None:
        super()._record_scores(stage)
        if stage == "test":
            for name, metric in (("teacher_cider_d", self.teacher_cider_d), ("agreement", self.agreement)):
                self.record({f"test/{name}": metric.compute().item()})
                metric.reset()


def _beside(captions: Tensor, others: Tensor) -> Tensor:
    """Captions (B, R, T) and others, however long, in one (B, R + R', T')."""
    longest = max(captions.shape[2], others.shape[2])
    both = (functional.pad(each, (0, longest - each.shape[2]), value=PAD) for each in (captions, others))
    return torch.cat(list(both), 1)
