"""Training on images that are changed to be misread."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from project.errors import ConfigError
from project.losses.adversarial import LossOf, pgd


@dataclass(frozen=True)
class AdversarialTraining:
    """Every training image is moved within ε to where the network likes it least (Madry et al. 2018, arXiv:1706.06083).

    Such a network is less exact on images as they are, and costs a forward and a backward pass more for each step.

    Args:
        epsilon: how far each pixel may move, in 0..255; usual is 8, and 0 is ordinary training.
        steps: of projected gradient ascent from a random start; 1 is the fast method (Wong et al. 2020,
            arXiv:2001.03994), and 7 Madry's.
        step_size: of each, in 0..255; by default 1.25 ε for one step, and 2.5 ε / steps for more.

    Raises:
        ConfigError: a value is out of its range.
    """

    epsilon: float = 0.0
    steps: int = 7
    step_size: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 255:
            raise ConfigError(f"model.adversarial.epsilon: must lie in 0..255; got {self.epsilon}")
        if self.steps < 1:
            raise ConfigError(f"model.adversarial.steps: must be at least 1; got {self.steps}")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise ConfigError(f"model.adversarial.step_size: must be above 0; got {self.step_size}")

    def __bool__(self) -> bool:
        return self.epsilon > 0

    def __call__(self, loss_of: LossOf, images: Tensor) -> Tensor:
        """The moved images, (B, 3, S, S) float32 in 0..255, of images that are uint8 or float in 0..255."""
        step_size = self.step_size or self.epsilon * (1.25 if self.steps == 1 else 2.5 / self.steps)
        return pgd(loss_of, images, self.epsilon, step_size, self.steps)
