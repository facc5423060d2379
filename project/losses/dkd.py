"""Decoupled knowledge distillation: how sure the teacher is of the label, and what it says of the other classes.

Shapes: B images, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from project.errors import ConfigError
from project.losses.arithmetic import full_precision, kl_divergence, log_probs
from project.losses.standardization import standardized


@full_precision
def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    standardize: bool = False,
) -> Tensor:
    """T² (α TCKD + β NCKD), in nats, the mean over images, a scalar (Zhao et al. 2022, arXiv:2203.08679, equation 7).

    `kd` is the same with α = 1 and β = 1 - p(label) of the teacher, image by image. Two classes have but one other: NCKD
    is 0. Each image counts for itself, so several processes average to what one finds.

    Args:
        student_logits: (B, K) float.
        teacher_logits: (B, K) float, or log-probabilities.
        labels: (B,) int64. What is decoupled is one label an image; mixed images have two and are refused.
        temperature: T, above 0. Published: 4 for CIFAR, 1 for ImageNet.
        alpha: of the label against all others.
        beta: of the others among themselves. Published, by pair of networks: 8, 6 or 2 for CIFAR, 0.5 or 2 for
            ImageNet, all of them after a warm-up of 20 epochs and 1.
        standardize: whether logits are standardised first, see `standardized`.

    Raises:
        ConfigError: the labels are no class indices.
    """
    if labels.ndim != 1 or labels.is_floating_point():
        raise ConfigError("model.losses.dkd: needs one label an image; set data.augment.mixup and data.augment.cutmix "
                          "to 0, or use kd")  # fmt: skip
    teacher_logits = teacher_logits.detach()
    if standardize:
        student_logits, teacher_logits = standardized(student_logits), standardized(teacher_logits)
    of_label, of_others = decoupled(student_logits, teacher_logits, labels, temperature)
    return (alpha * of_label + beta * of_others).mean() * temperature**2


def decoupled(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD, (B,) each, without T² (section 3.2): KL = TCKD + (1 - p(label) of the teacher) NCKD.

    Log-probabilities all the way: log(1 - p(label)) is the logsumexp of the others, and the label is left out of them
    instead of masked. The logarithm of a masked softmax is infinite for a student that is sure.
    """
    places = torch.arange(student_logits.shape[1] - 1, device=labels.device)
    others = places + (places >= labels[:, None])  # (B, K - 1), every class but the label
    binary, among = [], []
    for logits in (teacher_logits, student_logits):
        log_p = log_probs(logits, temperature)
        rest = log_p.gather(1, others)
        binary.append(torch.cat([log_p.gather(1, labels[:, None]), rest.logsumexp(1, keepdim=True)], dim=1))
        among.append(log_probs(logits.gather(1, others), temperature))
    return kl_divergence(*binary), kl_divergence(*among)
