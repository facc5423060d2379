"""How far a student says what its teacher says.

Shapes: N samples, K classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def compare_answers(teacher: Tensor, student: Tensor, labels: Tensor) -> dict[str, float]:
    """Shares of the samples by who is right, how often both agree (Stanton et al. 2021, arXiv:2106.05945), and how far.

    Args:
        teacher: logits (N, K) float.
        student: likewise, of the same samples.
        labels: (N,) int64.

    Returns:
        `agreement` of both predictions; `both_right`, `teacher_alone`, `student_alone` and `none_right`, which add up to
        1; and `divergence`, the mean of Σ_k t_k (log t_k - log s_k) over samples in nats, at a temperature of 1.
    """
    guesses = teacher.argmax(1), student.argmax(1)
    right = [guess == labels for guess in guesses]
    shares = {
        "agreement": guesses[0] == guesses[1],
        "both_right": right[0] & right[1],
        "teacher_alone": right[0] & ~right[1],
        "student_alone": ~right[0] & right[1],
        "none_right": ~right[0] & ~right[1],
    }
    ours, theirs = (logits.double().log_softmax(1) for logits in (student, teacher))
    divergence = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return {name: share.double().mean().item() for name, share in shares.items()} | {"divergence": divergence.item()}
