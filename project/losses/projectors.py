"""What makes a student's map comparable to a teacher's: sizes, channels, and norms that bear a single value.

Projectors are networks: they run in the precision that trains. What is compared is float32 again.

Shapes: B images, C channels, h × w the size of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


def shrunk(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Averaged down to `size` along whichever side is larger, (B, C, h', w')."""
    wanted = min(maps.shape[2], size[0]), min(maps.shape[3], size[1])
    return maps if tuple(maps.shape[2:]) == wanted else functional.adaptive_avg_pool2d(maps, wanted)


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the size of the smaller, side by side."""
    return shrunk(a, b.shape[2:]), shrunk(b, a.shape[2:])


def in_dtype_of(module: nn.Module, x: Tensor) -> Tensor:
    """`x` as the module's weights are, so that half-precision features meet float32 projectors outside autocast too."""
    return x.to(next((parameter.dtype for parameter in module.parameters()), x.dtype))


class Norm(nn.BatchNorm2d):
    """Batch norm that takes one value a channel (one image, one place), which has no variance, with what it has seen."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        if self.training and x.numel() == x.shape[1]:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def conv_norm(channels_in: int, channels_out: int, kernel: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, and its norm."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, Norm(channels_out))
