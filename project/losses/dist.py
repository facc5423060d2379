"""DIST: the student's probabilities are to correlate with the teacher's, whatever their scale.

Shapes: B images, K classes.
"""

from __future__ import annotations

from torch import Tensor

from project.losses.arithmetic import full_precision, unit

_SMALLEST = 1e-8  # of a deviation from the mean, as published


@full_precision
def dist(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0, beta: float = 1.0, gamma: float = 1.0
) -> Tensor:
    """T² (β (1 - mean_i ρ(image i)) + γ (1 - mean_k ρ(class k))), a scalar in 0..2 T² (β + γ).

    Huang et al. 2022, arXiv:2205.10536, equations 8 to 10, with ρ Pearson's correlation of the probabilities
    softmax(z / T): over the classes of an image, and over the images of a class. T² is that of the authors' program.

    The second looks at all images of a process's batch, so that several processes each see their own, and a small batch
    says little; of one image it is 0. What does not vary at all correlates with nothing: it counts 1, without gradient.

    Args:
        student_logits: (B, K) float.
        teacher_logits: (B, K) float, or log-probabilities.
        temperature: T, above 0. Published: 4 for CIFAR, 1 for ImageNet.
        beta: of the relation between classes.
        gamma: of the relation between images.
    """
    student = (student_logits / temperature).softmax(1)
    teacher = (teacher_logits.detach() / temperature).softmax(1)
    loss = beta * (1 - pearson(student, teacher, dim=1).mean())
    if len(student) > 1:
        loss = loss + gamma * (1 - pearson(student, teacher, dim=0).mean())
    return loss * temperature**2


def pearson(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Correlations along a dimension, -1..1: the cosine of what is left without the mean; 0 where nothing is."""
    a, b = (unit(x - x.mean(dim, keepdim=True), dim, _SMALLEST) for x in (a, b))
    return (a * b).sum(dim)
