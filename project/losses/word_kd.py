"""Knowledge distillation word by word: the student's probabilities of each next word are to be the teacher's.

Shapes: V words known; any dimensions before them, such as images, captions and places in a caption.
"""

from __future__ import annotations

import torch
from torch import Tensor

from project.losses.arithmetic import full_precision, kl_divergence, log_probs


@full_precision
def word_kd(student_logits: Tensor, teacher_logits: Tensor, valid: Tensor, temperature: float = 1.0) -> Tensor:
    """T² KL(softmax(t / T) ‖ softmax(s / T)) of a word, in nats, the mean over the valid ones, a scalar.

    Kim and Rush 2016, arXiv:1606.07947, section 3.1. The sum is over the vocabulary and the mean over words: a mean over
    captions would weigh the loss by their length, and one that counts padding by that of the longest one beside them.

    Args:
        student_logits: (..., V) float.
        teacher_logits: (..., V) float, or log-probabilities, such as those of the mean of several teachers.
        valid: (...) bool, which places hold a word or the end; without any the loss is 0.
        temperature: T, above 0.
    """
    size = student_logits.shape[-1]
    student = log_probs(student_logits.reshape(-1, size), temperature)
    teacher = log_probs(teacher_logits.detach().reshape(-1, size), temperature)
    valid = valid.reshape(-1)
    # and no selection of the valid ones, which would wait for the device
    divergence = torch.where(valid, kl_divergence(teacher, student), 0)
    return divergence.sum() / valid.sum().clamp(min=1) * temperature**2
