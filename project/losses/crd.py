"""Contrastive representation distillation: each image's two embeddings meet, and those of other classes part.

Shapes: B images, D features, E numbers of an embedding, M training images, N negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from project.losses.arithmetic import full_precision, unit
from project.losses.projectors import in_dtype_of


class CRD(nn.Module):
    """Noise-contrastive estimation against a memory of all training images (Tian et al. 2020, arXiv:1910.10699).

    Both networks' features are embedded linearly at length 1; each image's embeddings are compared with the other
    network's in memory, its own as the positive and others' as negatives. Memories, known labels and normalisers are
    buffers: they lie in the state, at 8 · M · E bytes, and a resumed run goes on with them.

    Negatives are drawn on the device, N for the whole batch, of which each image takes those of other classes and gives
    their mean the weight of N. The authors draw N for each image in the loader, which needs B times the memory for the
    same expectation. A label is known from the image's first batch on; until then its memory is noise.

    Several processes exchange their embeddings, so that each has the memory of the images of all; the negatives are drawn
    by each. In evaluation mode the indices are those of another split: the loss is 0 and nothing is remembered.

    Args:
        num_student_features: D.
        num_teacher_features: D'.
        num_samples: M.
        size: E.
        negatives: N.
        temperature: τ, above 0.
        momentum: what a memory keeps of itself when an image comes again, 0..1.
    """

    student_memory: Tensor
    teacher_memory: Tensor
    labels: Tensor
    log_normalisers: Tensor

    def __init__(
        self,
        num_student_features: int,
        num_teacher_features: int,
        num_samples: int,
        size: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_samples, self.negatives = num_samples, negatives
        self.temperature, self.momentum = temperature, momentum
        self.remembers = True
        """Whether the memories change, as they should once for each batch."""
        self.student_projector = nn.Linear(num_student_features, size)
        self.teacher_projector = nn.Linear(num_teacher_features, size)
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, unit(torch.randn(num_samples, size)))
        self.register_buffer("labels", torch.full((num_samples,), -1))
        self.register_buffer("log_normalisers", torch.full((2,), torch.nan))

    @full_precision
    def forward(self, student_features: Tensor, teacher_features: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """-mean_i(log h(positive) + Σ_n log(1 - h(negative))), both ways, a scalar (section 3.1).

        h = P / (P + N / M) with P = exp(cos / τ) / Z, where Z is set by the first batch, as in the authors' program.

        Args:
            student_features: (B, D) float.
            teacher_features: (B, D') float; the teacher's embedding is learned, its features are not.
            labels: (B,) int64.
            indices: (B,) int64 in 0..M-1, places in the training split.
        """
        if not self.training:
            return student_features.new_zeros(())
        student = self._embed(self.student_projector, student_features)
        teacher = self._embed(self.teacher_projector, teacher_features.detach())
        seen, known = _of_all_processes(torch.stack([indices, labels], 1)).unbind(1)
        self.labels[seen] = known
        drawn = torch.randint(self.num_samples, (self.negatives,), device=indices.device)
        kept = self.labels[drawn] != labels[:, None]
        loss = student.new_zeros(())
        for way, (embeddings, memory) in enumerate(((student, self.teacher_memory), (teacher, self.student_memory))):
            # indexing copies, so that what is needed in going backwards is not overwritten below
            positive = (embeddings * memory[indices].to(embeddings)).sum(1) / self.temperature
            negative = embeddings @ memory[drawn].to(embeddings).T / self.temperature
            loss = loss + self._contrast(way, positive, negative, kept)
        if self.remembers:
            both = _of_all_processes(torch.cat([student, teacher], 1).detach())
            self._remember(self.student_memory, seen, both[:, : student.shape[1]])
            self._remember(self.teacher_memory, seen, both[:, student.shape[1] :])
        return loss

    def _embed(self, projector: nn.Linear, features: Tensor) -> Tensor:
        return unit(projector(in_dtype_of(projector, features)).to(features.dtype))

    def _contrast(self, way: int, positive: Tensor, negative: Tensor, kept: Tensor) -> Tensor:
        """One network's embeddings against the other's memory: cosines over τ of the positives (B,), negatives (B, N).

        log h = logsigmoid(log P - log(N / M)), which is finite where h is not.
        """
        count = kept.sum(1)
        with torch.no_grad():
            scores = torch.cat([positive, negative.masked_fill(~kept, -torch.inf).flatten()])
            found = scores.logsumexp(0) - (count.sum() + len(count)).log() + math.log(self.num_samples)
            unset = self.log_normalisers[way].isnan()
            self.log_normalisers[way] = torch.where(unset, found, self.log_normalisers[way])
        shift = self.log_normalisers[way] + math.log(self.negatives / self.num_samples)
        others = torch.where(kept, functional.logsigmoid(shift - negative), 0).sum(1)
        others = others * (self.negatives / count.clamp(min=1))
        return -(functional.logsigmoid(positive - shift) + others).mean()

    @torch.no_grad()
    def _remember(self, memory: Tensor, indices: Tensor, embeddings: Tensor) -> None:
        memory[indices] = unit(memory[indices] * self.momentum + embeddings * (1 - self.momentum)).to(memory.dtype)


def _of_all_processes(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks, also where their numbers differ; (B, F) to (B', F)."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows
    world_size = distributed.get_world_size()
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world_size)]
    distributed.all_gather(counts, count)
    lengths = [int(each) for each in counts]
    padded = rows.new_zeros(max(lengths), rows.shape[1])
    padded[: len(rows)] = rows
    found = [torch.empty_like(padded) for _ in range(world_size)]
    distributed.all_gather(found, padded)
    return torch.cat([each[:length] for each, length in zip(found, lengths, strict=True)])
