"""Value ranges of images with more than 8 bits, against numpy's arithmetic on the raw values."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from project.data.images import load_square
from project.data.samples import Samples
from project.data.value_range import check_value_range, find_value_range, range_of
from project.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)


def samples(folder: Path, *images: np.ndarray, ending: str = "tif") -> Samples:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.{ending}" for number in range(len(images))]
    for path, values in zip(paths, images, strict=True):
        Image.fromarray(values).save(path)
    return Samples(paths, np.zeros(len(paths), np.int64), "train")


def noise(low: float, high: float, dtype: type = np.uint16) -> np.ndarray:
    """Values between two, both of which occur."""
    values = (low + RANDOM.random((16, 16)) * (high - low)).astype(dtype)
    values.flat[:2] = low, high
    return values


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 65535, (0, 65535)),
        (0, 40000, (0, 65535)),
        (3, 4095, (0, 4095)),
        (0, 4096, (0, 8191)),
        (200, 500, (0, 511)),
        (0, 1023, (0, 1023)),
        (0, 255, (0, 255)),
        (0, 1, (0, 1)),
        (0.0, 0.97, (0, 1)),
        (3800, 4095, (3800, 4095)),
        (32768, 33068, (32768, 33068)),
        (-1024, 3071, (-1024, 3071)),
        (-0.5, 0.5, (-0.5, 0.5)),
        (0, 0, (0, 1)),
        (700, 700, (0, 1023)),
        (-3, -3, (-3, -2)),
    ],
)
def test_range_of_the_smallest_and_largest_value_is_that_of_the_bits_in_use(low, high, expected):
    assert range_of(low, high) == expected


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("ending", ["tif", "png"])
def test_images_of_fewer_bits_in_16_keep_256_levels(bits, ending, tmp_path):
    values = noise(0, 2**bits - 1)
    train = samples(tmp_path, values, ending=ending)
    found = find_value_range(train)
    assert found == (0, 2**bits - 1)
    np.testing.assert_array_equal(load_square(train.images[0], 16, 1.0, found)[..., 0], values >> (bits - 8))


def test_full_16_bits_have_the_pixels_that_they_have_without_a_range(tmp_path):
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    train = samples(tmp_path, values)
    found = find_value_range(train)
    with_range, without = (load_square(train.images[0], 256, 1.0, each) for each in (found, None))
    np.testing.assert_array_equal(with_range, without)
    np.testing.assert_array_equal(without[..., 0], values >> 8)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.float32, 0.0, 1.0), (np.float32, -1000.0, 3000.0), (np.int32, -1024, 3071)]
)
def test_32_bit_images_have_levels_of_equal_width(dtype, low, high, tmp_path):
    values = noise(low, high, dtype)
    train = samples(tmp_path, values)
    found = find_value_range(train)
    assert found == (low, high)
    expected = np.floor((values.astype(float) - low) / (high - low) * 256).clip(0, 255)
    np.testing.assert_array_equal(load_square(train.images[0], 16, 1.0, found)[..., 0], expected)


def test_values_that_are_not_finite_do_not_count_and_beyond_the_range_are_black_or_white(tmp_path):
    values = noise(0, 1, np.float32)
    values.flat[2:5] = np.nan, np.inf, -np.inf
    train = samples(tmp_path, values)
    found = find_value_range(train)
    assert found == (0, 1)
    assert load_square(train.images[0], 16, 1.0, found)[0, 2:5, 0].tolist() == [0, 255, 0]
    assert load_square(samples(tmp_path, noise(2, 3, np.float32)).images[0], 16, 1.0, found).min() == 255


def test_find_value_range_of_8_bits_finds_none_and_decodes_nothing(tmp_path, monkeypatch, capsys):
    eight = samples(tmp_path, noise(0, 255, np.uint8), RANDOM.integers(0, 256, (9, 9, 3), np.uint8), ending="png")
    monkeypatch.delattr("PIL.ImageFile.ImageFile.load")
    assert find_value_range(eight) is None
    in_memory = Samples(np.zeros((3, 4, 4), np.uint8), np.zeros(3, np.int64), "train")
    assert find_value_range(in_memory) is None


def test_find_value_range_of_a_mixed_set_is_that_of_its_deep_images(tmp_path):
    train = samples(tmp_path, noise(0, 255, np.uint8), noise(0, 4095), noise(0, 900))
    (tmp_path / "2.tif").write_bytes(b"damaged")
    assert find_value_range(train) == (0, 4095)


def test_find_value_range_says_it_in_one_line_with_a_hint_where_few_levels_are_left(tmp_path, caplog):
    caplog.set_level("INFO")
    assert find_value_range(samples(tmp_path, noise(200, 500))) == (0, 511)
    values = noise(200, 500)
    values[0, 0] = 65535
    assert find_value_range(samples(tmp_path, values)) == (0, 65535)
    plain, hinted = caplog.messages
    assert plain.startswith("data.value_range: [0, 511], which become black and white; found in 1 training images")
    assert plain.endswith("whose values are 200 to 500")
    assert "98 % of their pixels have 2 of the 256 grey levels" in hinted


def test_integers_and_floats_in_one_set_are_refused_with_both_names(tmp_path):
    train = samples(tmp_path, noise(0, 4095), noise(0, 1, np.float32))
    with pytest.raises(DataError, match=r"0\.tif has integers and .*1\.tif floats, and no range fits both"):
        find_value_range(train)


def test_colours_of_12_bits_in_16_are_told(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "colour.png"
    values = RANDOM.integers(0, 4096, (8, 8, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert find_value_range(Samples([path], np.zeros(1, np.int64), "train")) is None
    assert "colours of 16 bits, of which the upper eight are read, and these are at most 15 of 255 here" in caplog.text


@pytest.mark.parametrize("wrong", [[1, 1], [4095, 0], [0, float("inf")], [float("nan"), 1], [0], [0, 1, 2]])
def test_a_range_that_is_none_is_an_error(wrong):
    with pytest.raises(ConfigError, match=r"^data\.value_range: must be two numbers"):
        check_value_range(wrong, "data.value_range")
