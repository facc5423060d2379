"""Knowledge distillation: the student's probabilities are to be the teacher's.

Shapes: B images, K classes.
"""

from __future__ import annotations

from torch import Tensor

from project.losses.arithmetic import full_precision, kl_divergence, log_probs
from project.losses.standardization import standardized


@full_precision
def kd(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0, standardize: bool = False) -> Tensor:
    """T² KL(softmax(t / T) ‖ softmax(s / T)), in nats, the mean over images, a scalar.

    Hinton et al. 2015, arXiv:1503.02531, section 2, where T² keeps the gradient's size at any temperature. The sum is
    over classes and the mean over images alone; a mean over both would be K times smaller. Each image counts for
    itself, so several processes average to what one finds.

    Args:
        student_logits: (B, K) float.
        teacher_logits: (B, K) float, or log-probabilities, such as those of the mean of several teachers.
        temperature: T, above 0. Published: 4 for CIFAR, 1 for ImageNet.
        standardize: whether logits are standardised first, see `standardized`. Published with T = 2.
    """
    teacher_logits = teacher_logits.detach()
    if standardize:
        student_logits, teacher_logits = standardized(student_logits), standardized(teacher_logits)
    student, teacher = log_probs(student_logits, temperature), log_probs(teacher_logits, temperature)
    return kl_divergence(teacher, student).mean() * temperature**2
