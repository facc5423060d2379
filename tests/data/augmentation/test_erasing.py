"""Random erasing and cutout, box by box, against numpy slices and torchvision's distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from project.data.augmentation.erasing import CUTOUT_DRAWS, ERASE_DRAWS, cutout, random_erase
from project.data.draws import uniforms

SIZE, FILL = 32, (1, 2, 3)


def draws(count: int, columns: int) -> torch.Tensor:
    return torch.from_numpy(uniforms(0, 0, np.arange(count), columns).astype(np.float32))


def images(count: int, size: int = SIZE) -> torch.Tensor:
    return torch.randint(10, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def boxes(before: torch.Tensor, after: torch.Tensor) -> list[tuple[int, int, int, int] | None]:
    """(top, left, bottom, right) of what became the fill; asserts that it is one box and the rest is as it was."""
    found = []
    for one, other in zip(before.numpy(), after.numpy(), strict=True):
        changed = (other == FILL).all(-1)
        np.testing.assert_array_equal(other[~changed], one[~changed])
        if not changed.any():
            found.append(None)
            continue
        lines, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = (lines[0], columns[0], lines[-1] + 1, columns[-1] + 1)
        assert changed[box[0] : box[2], box[1] : box[3]].all(), "not a whole box"
        assert changed.sum() == (box[2] - box[0]) * (box[3] - box[1])
        found.append(tuple(map(int, box)))
    return found


@pytest.mark.parametrize("side", [1, 5, 8, 16, 70])
def test_cutout_is_a_square_around_a_pixel_cut_at_the_border(side):
    before = images(300)
    drawn = draws(300, CUTOUT_DRAWS)
    after = cutout(before, drawn, side, FILL)
    for (y, x), box in zip((drawn.double() * SIZE).floor().long().tolist(), boxes(before, after), strict=True):
        top, left = y - side // 2, x - side // 2
        assert box == (max(top, 0), max(left, 0), min(top + side, SIZE), min(left + side, SIZE))


def test_cutout_centres_are_uniform():
    centres = [(box[0], box[1]) for box in boxes(images(4000, 8), cutout(images(4000, 8), draws(4000, 2), 1, FILL))]
    counts = np.histogram2d(*np.array(centres).T, bins=np.arange(9) - 0.5)[0]
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_erased_boxes_are_distributed_as_torchvisions():
    """Where torchvision does not have to draw again because a box does not fit."""
    count, size = 3000, 64
    before = images(count, size)
    ours = boxes(before, random_erase(before, draws(count, ERASE_DRAWS), 1.0, FILL))
    torch.manual_seed(0)
    theirs = []
    for _ in range(count):
        params = v2.RandomErasing(1.0).make_params([torch.empty(3, size, size)])
        theirs.append((params["i"], params["j"], params["i"] + params["h"], params["j"] + params["w"]))
    ours = np.array([box for box in ours if box[2] - box[0] < size and box[3] - box[1] < size], float)
    theirs = np.array(theirs, float)
    for statistic in (
        lambda top, left, bottom, right: (bottom - top) * (right - left),
        lambda top, left, bottom, right: np.log((right - left) / (bottom - top)),
        lambda top, left, bottom, right: top / (size - (bottom - top)),
        lambda top, left, bottom, right: left / (size - (right - left)),
    ):
        assert stats.ks_2samp(statistic(*ours.T), statistic(*theirs.T)).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_the_share_of_erased_images_is_the_probability(probability):
    before = images(4000, 8)
    erased = sum(box is not None for box in boxes(before, random_erase(before, draws(4000, 5), probability, FILL)))
    assert stats.binomtest(erased, 4000, probability).pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 2, 3, 32])
def test_the_most_extreme_draws_stay_in_the_image(size):
    last = 1 - 2**-24
    grid = torch.cartesian_prod(torch.tensor([0.0]), *[torch.tensor([0.0, 0.5, last])] * 4)
    before = images(len(grid), size)
    for box in boxes(before, random_erase(before, grid, 1.0, FILL)):
        assert box is not None
        assert 0 <= box[0] < box[2] <= size
        assert 0 <= box[1] < box[3] <= size
    for box in boxes(before, cutout(before, grid[:, 1:3], 2, FILL)):
        assert box is not None


def test_the_input_is_left_alone():
    before = images(5)
    kept = before.clone()
    random_erase(before, draws(5, ERASE_DRAWS), 1.0, FILL)
    cutout(before, draws(5, CUTOUT_DRAWS), 8, FILL)
    assert torch.equal(before, kept)
