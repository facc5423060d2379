"""Attention over the places of an image.

Shapes: B images, W queries of each, L places, D features, H units of the query, A of the attention.
"""

from __future__ import annotations

from torch import Tensor, nn


class SoftAttention(nn.Module):
    """A weighted mean of the grid, e = v · tanh(W_a a + W_h h), α = softmax(e) (Xu et al. 2015, arXiv:1502.03044, section 4.2).

    What depends on the image alone is computed once for an image, by `keys`.

    Args:
        num_features: D.
        query_size: H.
        size: A.
    """

    def __init__(self, num_features: int, query_size: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(num_features, size)
        self.query = nn.Linear(query_size, size, bias=False)
        self.energy = nn.Linear(size, 1, bias=False)

    def keys(self, grid: Tensor) -> Tensor:
        """W_a a, (B, L, A), of a grid (B, L, D)."""
        return self.key(grid)

    def forward(self, query: Tensor, keys: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The mean (B, W, D) and its weights (B, W, L) float32, for queries (B, W, H)."""
        hidden = (keys[:, None] + self.query(query)[:, :, None]).tanh_()
        weights = self.energy(hidden)[..., 0].float().softmax(dim=2)
        return weights.to(grid.dtype) @ grid, weights
