"""Teacher–student distillation of classifiers.

Shapes: B images of S × S pixels, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from project.data.base import ImageDataModule
from project.data.batch import Batch
from project.errors import CheckpointError, ConfigError
from project.losses.crd import CRD
from project.losses.distillation import LOSSES, DistillationLosses, LossTerm, Outputs, Sum, Targets
from project.losses.distillation.losses import check_learned, means_of
from project.metrics.sums import WeightedMean
from project.runs.loggers import record_costs
from project.runs.precision import check_compiler
from project.runs.progress import epoch_fraction
from project.runs.undeclared import data_of
from project.tasks.averaged_teacher import AveragedTeacher
from project.tasks.classifier import Classifier, mixed_mean
from project.tasks.student import Student, TeacherTime
from project.tasks.teacher import Precision, Teacher, check_teacher, open_teacher, shapes_of
from project.tasks.teacher_cache import TeacherCache, open_cache

_LOSSES = "distillation"
_AVERAGE = "ema"


class Distiller(Classifier, Student):
    """A classifier, the student, that learns from labels and from a teacher.

    All options of `Classifier` are the student's. A checkpoint holds the student alone, with what the losses have
    learned beside it; `checkpoints/student.ckpt` is the best student as a plain `Classifier`.

    Args:
        class_names: see `Classifier`.
        image_size: see `Classifier`.
        teacher: a checkpoint, a run's folder, pretrained weights (`BACKBONE:WEIGHTS`), or a classifier's configuration,
            which `fit` trains first; of several, the mean of their probabilities; or `ema`, the average of the student's
            own weights. Its own earlier run makes a student born again.
        losses: what the student learns from the teacher, added up; by default `kd`.
        label_weight: what the cross-entropy with the labels is multiplied by; by default as published beside the losses:
            0.1 with `kd` and `lskd`, 0 with `simkd`, 1 with the others, and the largest of these in a sum.
        compile_teacher: whether the teacher is compiled.
        teacher_precision: what the teacher computes in, where that is not to be `trainer.precision`.
        allowed_drop: how far a teacher's accuracy on the validation split, measured at the start, may lie below the
            one that its checkpoint recorded: more is a sign of other data, classes or preprocessing.
        teacher_decay: of the teacher `ema`, see `AveragedTeacher`.
        cache: whether the teacher's answers are kept in `data.cache_dir`, each asked for once in all epochs and runs,
            where the pictures that the augmentation makes of an image can be counted and the losses look at no maps.
        cache_gib: the largest size of all answers, in GiB; larger ones are not kept.
        **options: those of `Classifier`.
    """

    plain_task = "Classifier"
    own_options = (
        "teacher", "losses", "label_weight", "compile_teacher", "teacher_precision", "allowed_drop", "teacher_decay", "cache",
        "cache_gib",
    )  # fmt: skip

    def __init__(
        self,
        class_names: Sequence[str],
        image_size: int,
        teacher: str | list[str],
        losses: list[LossTerm] | None = None,
        label_weight: float | None = None,
        compile_teacher: bool = False,
        teacher_precision: Precision | None = None,
        allowed_drop: float = 0.05,
        teacher_decay: float = 0.999,
        cache: bool = True,
        cache_gib: float = 4.0,
        **options: Any,
    ) -> None:
        super().__init__(class_names, image_size, **options)
        for name, value in (("label_weight", label_weight), ("cache_gib", cache_gib)):
            if value is not None and value < 0:
                raise ConfigError(f"model.{name}: must be at least 0; got {value}")
        if not 0 <= teacher_decay < 1:
            raise ConfigError(f"model.teacher_decay: must be at least 0 and below 1; got {teacher_decay}")
        if losses is not None and not losses:
            raise ConfigError("model.losses: name one or more, such as kd; without any, train a Classifier")
        if self.adversarial:
            raise ConfigError("model.adversarial: a teacher is asked about images as they are; leave it out, or train a "
                              "Classifier")  # fmt: skip
        terms = [LossTerm("kd")] if losses is None else [LossTerm(**t) if isinstance(t, dict) else t for t in losses]
        plain = None if losses is None else [dataclasses.asdict(term) for term in terms]
        if label_weight is None:
            label_weight = max(LOSSES[term.name].label_weight for term in terms)
        self.learn_from(teacher, label_weight=label_weight, losses=plain)
        self.terms = terms
        if self.sources == [_AVERAGE] and self.answers_through_teacher:
            raise ConfigError("model.teacher: with simkd the student answers through a teacher's trained classifier; give "
                              "such a teacher, or leave simkd out")  # fmt: skip
        self.label_weight = label_weight
        self.compile_teacher, self.teacher_precision = compile_teacher, teacher_precision
        self.allowed_drop, self.teacher_decay = allowed_drop, teacher_decay
        self.cache, self.cache_gib = cache, cache_gib
        self.teacher_time = TeacherTime()
        self.distillation: DistillationLosses | None = None
        self._teacher: Teacher | None = None
        self._cache: TeacherCache | None = None
        self._val_guesses: Tensor | None = None
        self._restored: dict[str, Tensor] | None = None
        self._restored_average: dict[str, Any] | None = None
        self._rows = [0, 0]  # of this epoch: answers that were kept, and all
        self.beside: Mapping[str, WeightedMean] = torch.nn.ModuleDict(  # type: ignore[assignment]  # torch's holds any module
            {name: WeightedMean() for name in ("teacher_accuracy", "agreement")}
        )

    # ---- before training

    def check_resumable(self, earlier: dict[str, Any]) -> None:
        """See `Task`: what the losses learn has a state."""
        super().check_resumable(earlier)
        check_learned(self.terms, earlier.get("losses") or [])

    def setup(self, stage: str) -> None:
        """Opens the teacher, and builds the losses between its outputs and the student's."""
        super().setup(stage)
        averages = self.sources == [_AVERAGE]
        if averages and stage != "predict":  # before the network has a compiled function, which cannot be copied
            if self.trainer.precision in ("bf16-true", "16-true"):
                raise ConfigError(
                    "model.teacher: 16-bit weights are too coarse to average; use trainer.precision bf16-mixed"
                )
            self._teacher = AveragedTeacher(self, self.teacher_decay, self.teacher_precision)
            if self._restored_average is not None:
                self._teacher.restore(self._restored_average)
        if self.compiles:
            network: Any = self.network
            network.forward_with_stages = torch.compile(network.forward_with_stages)
        if stage == "predict" and not self.answers_through_teacher:
            return
        if not averages:
            members = [open_teacher(source, self.class_names, self.image_size) for source in self.sources]
            self._teacher = Teacher(members, self.class_names, self.teacher_precision)
        if stage == "fit" or self.answers_through_teacher:
            self._build_losses(self.teacher)

    @property
    def teacher(self) -> Teacher:
        """Where `setup` has opened it."""
        assert self._teacher is not None
        return self._teacher

    @property
    def _losses(self) -> DistillationLosses:
        assert self.distillation is not None, "`setup` has built them"
        return self.distillation

    @property
    def answers_through_teacher(self) -> bool:
        """Whether the student's answers are those of the teacher's classifier, as with `simkd`."""
        return any(term.name == "simkd" for term in self.terms)

    def _build_losses(self, teacher: Teacher) -> None:
        """All of them to train; else the one that answers."""
        network = self.network
        student = shapes_of(network, len(self.class_names), self.image_size)
        of_teacher = teacher.shapes._replace(num_classes=len(self.class_names))
        fitting = self.trainer.state.fn == "fit"
        data = getattr(data_of(self.trainer), "splits", {}) if fitting else {}
        num_samples = len(data["train"]) if "train" in data else None
        terms = [term for term in self.terms if fitting or term.name == "simkd"]
        self.distillation = DistillationLosses(terms, student, of_teacher, num_samples, teacher.head)
        needed = self.distillation.needs_stages
        network.watch(set(needed.student) - student.stages.keys())
        teacher.watch(set(needed.teacher) - of_teacher.stages.keys())
        if fitting and not self.distillation.needs_classifier:
            network.freeze_unused(self.image_size, self._looked_at)
        augment = getattr(data_of(self.trainer), "augment", None)
        if augment is not None and augment.mixes and self.distillation.needs_labels:
            names = " and ".join(self.distillation.needs_labels)
            raise ConfigError(f"model.losses: {names} needs one label an image, and mixed images have two; set "
                              "data.augment.mixup and cutmix to 0")  # fmt: skip
        self._restore_losses()

    def _looked_at(self, images: Tensor) -> list[Tensor]:
        """What the losses see of the student's network, where they do not see its logits."""
        network, losses = self.network, self._losses
        # not by its own compiled function, whose graph is one node that depends on everything
        maps, features, _ = type(network).forward_with_stages(network, images)
        seen = [maps[name] for name in losses.needs_stages.student]
        return [*seen, features] if losses.needs_student_features else seen

    def _restore_losses(self) -> None:
        if self.distillation is None or self._restored is None:
            return
        own = self.distillation.state_dict() if self.trainer.state.fn != "fit" else self._restored
        try:
            self.distillation.load_state_dict({name: value for name, value in self._restored.items() if name in own})
        except RuntimeError:
            names = ", ".join(self.distillation.terms)
            raise CheckpointError(f"model.losses: {names}: not those that the checkpoint's run has learned with; leave "
                                  "them out, or start a new run from its weights with --model.init_from") from None  # fmt: skip

    def lr_scale(self, name: str) -> float:
        """See `Classifier`; what the losses learn is in no part of the network."""
        return 1.0 if name.startswith(f"{_LOSSES}.") else super().lr_scale(name)

    def on_fit_start(self) -> None:
        """Puts the teacher on the device, and measures it on the validation split."""
        super().on_fit_start()
        self._ready()
        if isinstance(self._teacher, AveragedTeacher):
            rank_zero_info("teacher: the average of the student's own weights")
            return
        data = data_of(self.trainer)
        if not isinstance(data, ImageDataModule):
            rank_zero_info(f"teacher: {', '.join(self.sources)}: neither measured nor cached, which needs a datamodule")
            return
        batches, context = data.batches_in_order("val"), self.trainer.precision_plugin.forward_context
        self._val_guesses = check_teacher(self.teacher, self.sources, batches, context, self.allowed_drop)
        if self.cache:
            precision = self.teacher_precision or str(self.trainer.precision)
            asked = self.teacher, self.class_names, self._losses
            self._cache, line = open_cache(*asked, data, precision, self.cache_gib)
            rank_zero_info(line)

    def on_validation_start(self) -> None:
        """See the base class; the command `validate` has not met the teacher yet."""
        super().on_validation_start()
        self._ready()
        if isinstance(self._teacher, AveragedTeacher):
            self._teacher.share_buffers(self.trainer.strategy.broadcast)

    def on_test_start(self) -> None:
        """Puts the teacher on the device."""
        super().on_test_start()
        self._ready()

    def _ready(self) -> None:
        self.teacher.to(self.device)
        if self.compile_teacher:
            check_compiler(self.device, "model.compile_teacher")
            self.teacher.compile()
            self.compile_teacher = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, K), of images (B, 3, S, S) uint8: with `simkd` those of the teacher's classifier."""
        if not self.answers_through_teacher:
            return super().forward(images)
        if self.distillation is None:
            raise CheckpointError("model.losses: with simkd the student answers through the teacher's classifier; give "
                                  "the run to `python -m project`, which opens both")  # fmt: skip
        return self.distillation.student_logits(self._student(images))

    def _student(self, images: Tensor) -> Outputs:
        normalized = self.normalize(images).to(self.network.head.weight.dtype)
        maps, features, logits = self.network.forward_with_stages(normalized)
        kept = {name: maps[name] for name in self._losses.needs_stages.student}
        return Outputs(logits, features, kept)

    # ---- training and evaluation

    @contextmanager
    def passing_again(self) -> Iterator[None]:
        """See `Task`; nor is it added to what losses remember."""
        memories = [module for module in self.modules() if isinstance(module, CRD)]
        for memory in memories:
            memory.remembers = False
        try:
            with super().passing_again():
                yield
        finally:
            for memory in memories:
                memory.remembers = True

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy with the labels and the losses of the teacher, weighted."""
        # first: its layers take turns in memory that the student then fills; after it they cost a third more on a CPU
        teacher, found = self._ask(batch)
        if not self._second_pass:
            self._rows = [self._rows[0] + found, self._rows[1] + len(batch.labels)]
        student = self._student(batch.images)
        seen, samples = epoch_fraction(self.trainer, batch_idx)
        epoch = self.current_epoch + seen / samples
        taught = self._losses(student, teacher, Targets(batch.labels, batch.indices), epoch)
        labels = self._loss(taught.logits, batch)
        loss = self.label_weight * labels + taught.total
        self._count(batch, loss, teacher.logits, labels, taught)
        return loss

    def _ask(self, batch: Batch) -> tuple[Outputs, int]:
        """What the teacher says of a training batch, and of how many images there was no need to ask."""
        with self.teacher_time.asking():
            if isinstance(self._teacher, AveragedTeacher):
                self._teacher.take_buffers(self.network.buffers())
            if self._cache is None or batch.on_host is None:
                return self.teacher(batch.images, self._losses.needs_stages.teacher), 0
            return self._cache(batch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Starts the clock."""
        self.teacher_time.start_step()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """See Lightning's; gives the average its share of new weights, before a checkpoint of this step can be saved."""
        super().optimizer_step(*args, **kwargs)
        if isinstance(self._teacher, AveragedTeacher):
            self._teacher.update(self)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Stops it."""
        self.teacher_time.end_step()

    def on_train_epoch_end(self) -> None:
        """Records also which share of the steps' time was the teacher's, and which share of its answers was kept."""
        super().on_train_epoch_end()
        found, seen = self._rows
        self.record_costs({"train/teacher_time": self.teacher_time.take(), "train/cached": found / max(seen, 1)})
        self._rows = [0, 0]
        if self._cache is not None:
            self._cache.flush()

    def record_costs(self, metrics: dict[str, float]) -> None:
        """Logs what differs from run to run."""
        record_costs(self.trainer, metrics, max(self.global_step - 1, 0))

    def _count(self, batch: Batch, loss: Tensor, teacher_logits: Tensor, labels: Tensor, taught: Sum) -> None:
        """Adds to the epoch's means, without waiting for the device."""
        logits, guess = taught.logits.detach(), taught.logits.detach().argmax(1)
        right = mixed_mean(guess, batch, lambda guess, labels: (guess == labels).float())
        divergence = torch.nn.functional.kl_div(
            logits.float().log_softmax(1), teacher_logits.float().log_softmax(1), reduction="batchmean", log_target=True
        )
        means = {
            "accuracy": right.mean(), "agreement": (guess == teacher_logits.argmax(1)).float().mean(),
            "teacher_kl": divergence,
            "loss_labels": labels, "weighted_labels": self.label_weight * labels,
        }  # fmt: skip
        means |= {f"loss_{name}": value for name, value in taught.raw.items()}
        means |= {f"weighted_{name}": value.detach() for name, value in taught.weighted.items()}
        self.count_batch(len(batch.labels), loss, **means)

    def _evaluation_step(self, batch: Batch, stage: str) -> Tensor:
        logits = super()._evaluation_step(batch, stage)
        known = self._val_guesses if self.trainer.state.fn == "fit" else None
        teacher = known[batch.indices] if known is not None else self.teacher(batch.images).logits.argmax(1)
        student = logits.argmax(1)
        self.beside["teacher_accuracy"].update((teacher == batch.labels).float().mean(), len(batch.labels))
        self.beside["agreement"].update((teacher == student).float().mean(), len(batch.labels))
        return logits

    def metric_names(self) -> set[str]:
        """See `Task`."""
        means = ("agreement", "teacher_kl", *means_of(self.terms))
        return super().metric_names() | {*(f"train/{m}" for m in means), *(f"val/{name}" for name in self.beside)}

    def _record_metrics(self, stage: str) -> None:
        super()._record_metrics(stage)
        self.record({f"{stage}/{name}": metric.compute().item() for name, metric in self.beside.items()})
        for metric in self.beside.values():
            metric.reset()

    # ---- what a checkpoint is

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch has two
        """The student's, without what the losses have learned."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if not name.startswith(f"{_LOSSES}.")}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As torch's, of the student."""
        own = {} if self.distillation is None else self.distillation.state_dict(prefix=f"{_LOSSES}.")
        return super().load_state_dict({**own, **state_dict}, strict, assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the losses have learned, apart from the student."""
        super().on_save_checkpoint(checkpoint)
        if self.distillation is not None:
            learned, state = self.distillation.state_dict(), checkpoint["state_dict"]
            # an average of the weights is of these too, and has put itself into the state
            checkpoint[_LOSSES] = {name: state.pop(f"{_LOSSES}.{name}", value) for name, value in learned.items()}
        if isinstance(self._teacher, AveragedTeacher):
            checkpoint[_AVERAGE] = self._teacher.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back."""
        super().on_load_checkpoint(checkpoint)
        self._restored = checkpoint.get(_LOSSES)
        self._restore_losses()
        self._restored_average = checkpoint.get(_AVERAGE)
        if self._restored_average is not None and isinstance(self._teacher, AveragedTeacher):
            self._teacher.restore(self._restored_average)

    def exports(self, checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """See `Student`: the student as a plain classifier, unless it answers with the teacher's own classifier."""
        return {} if self.answers_through_teacher else super().exports(checkpoint)
