"""One image or several, by path, as a PIL image or as an array, become squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from project.data.images import to_square
from project.data.pictures import as_list, square_of
from project.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "one.png")
    return tmp_path / "one.png"


def test_as_list_of_one_picture_is_a_list_of_it(path):
    for one in (path, str(path), Image.open(path), PIXELS, PIXELS[..., 0]):
        assert [square_of(each, 8, 1.0).shape for each in as_list(one)] == [(8, 8, 3)]
    several = np.stack([PIXELS] * 3)
    for many in ([path, PIXELS], (str(path),), several, []):
        assert len(as_list(many)) == len(many)


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_square_of_every_kind_is_the_same(path, crop):
    expected = to_square(Image.fromarray(PIXELS), 8, crop)
    for one in (path, str(path), Image.open(path), PIXELS):
        assert np.array_equal(square_of(one, 8, crop), expected)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (PIXELS.astype(np.float32) / 255, r"^images: an array must be uint8 \(H, W\) or \(H, W, 3\); got float32 \(9, 14, 3\)$"),
        (PIXELS.transpose(2, 0, 1), r"^images: an array must be .*; got uint8 \(3, 9, 14\)$"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "^images: must be paths, PIL images or uint8 arrays; got a Tensor$"),
        (7, "^images: must be paths, PIL images or uint8 arrays; got a int$"),
    ],
)  # fmt: skip
def test_square_of_what_is_no_image_is_refused(value, line):
    with pytest.raises(DataError, match=line):
        square_of(value, 8, 1.0)
