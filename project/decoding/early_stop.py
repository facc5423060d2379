"""Images that are done leave the batch.

Shapes: B images at first, b of them left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from project.decoding.hypotheses import Hypotheses
from project.decoding.trees import Tree, select_images


def steps_between_checks(device: torch.device) -> int:
    """How often to look whether images are done: other devices than the processor would have to be waited for."""
    return 1 if device.type == "cpu" else 4


class EarlyStop:
    """Keeps account of the images that are still searched. Of each check, one number is all that the host waits for.

    Args:
        batch_size: B.
        device: of the search.
    """

    def __init__(self, batch_size: int, device: torch.device) -> None:
        self._every = steps_between_checks(device)
        self._places = torch.arange(batch_size, device=device)  # (b,), those of the images that are left
        self._results: Hypotheses | None = None

    def is_due(self, length: int) -> bool:
        """Whether to check after so many steps."""
        return length % self._every == 0

    def keep(self, done: Tensor) -> Tensor | None:
        """The images to go on with, (b',) int64 in 0..b-1, or None for all; nobody when all of `done` (b,) are."""
        count = len(done)
        left = count - int(done.sum())
        # moving the others costs about a step for a few images
        if left and 4 * (count - left) < count:
            return None
        return done.int().argsort(stable=True)[:left]  # unlike nonzero, this waits for nothing

    def compact(self, images: Tensor, results: Hypotheses, state: Tree) -> tuple[Hypotheses, Tree]:
        """Puts the results aside, and takes `images` of them and of the state: trees of (b, ...) become (b', ...)."""
        self._store(results)
        self._places = self._places.index_select(0, images)
        return select_images((results, state), images)

    def all_results(self, results: Hypotheses) -> Hypotheses:
        """Those of all B images, in their order; `results` are of the ones that are left."""
        self._store(results)
        assert self._results is not None
        return self._results

    def _store(self, results: Hypotheses) -> None:
        if self._results is None:
            self._results = results
        else:
            for whole, part in zip(self._results, results, strict=True):
                whole.index_copy_(0, self._places, part)
