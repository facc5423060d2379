"""Image files of every mode, rotation and fault, against what numpy says their pixels are."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from project.data.images import find_images, free_memory, load_square, open_rgb, shorter_sides, to_rgb, to_square
from project.errors import DataError

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (4, 5), np.uint8)
DEEP = RANDOM.integers(0, 65536, (4, 5), np.uint16)
COLOUR = RANDOM.integers(0, 256, (4, 5, 3), np.uint8)
ALPHA = np.array([0, 1, 127, 254, 255] * 4, np.uint8).reshape(4, 5)
PALETTE = RANDOM.integers(0, 256, (256, 3), np.uint8)
INDEX = RANDOM.integers(0, 4, (4, 5), np.uint8)
CMYK = RANDOM.integers(0, 256, (4, 5, 4), np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, -1).astype(np.uint8)


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.round(colour * share + 255 * (1 - share)).astype(np.uint8)


def unless(values: np.ndarray, transparent: object) -> np.ndarray:
    """The alpha of an image with one transparent value."""
    return np.where(np.equal(values, transparent), 0, 255)


def paletted() -> Image.Image:
    image = Image.fromarray(INDEX)
    image.putpalette(PALETTE.tobytes())
    return image


def cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    light = 255.0 - cmyk[..., 3:]
    return (light - np.floor(cmyk[..., :3] * light / 255 + 0.5)).astype(np.uint8)


MODES = {
    "L": (Image.fromarray(GREY), "png", {}, grey(GREY)),
    "L, one value transparent": (
        Image.fromarray(GREY), "png", {"transparency": int(GREY[1, 2])},
        over_white(grey(GREY), unless(GREY, GREY[1, 2])),
    ),
    "LA": (Image.frombytes("LA", (5, 4), np.dstack([GREY, ALPHA]).tobytes()), "png", {}, over_white(grey(GREY), ALPHA)),
    "P": (paletted(), "png", {}, PALETTE[INDEX]),
    "P, one index transparent": (paletted(), "png", {"transparency": 2}, over_white(PALETTE[INDEX], unless(INDEX, 2))),
    "P, an alpha for each index": (
        paletted(), "png", {"transparency": bytes([0, 90, 200, 255])},
        over_white(PALETTE[INDEX], np.array([0, 90, 200, 255])[INDEX]),
    ),
    "P of a GIF": (paletted(), "gif", {"transparency": 1}, over_white(PALETTE[INDEX], unless(INDEX, 1))),
    "1": (Image.fromarray(GREY > 127), "png", {}, grey(np.where(GREY > 127, 255, 0))),
    "RGB": (Image.fromarray(COLOUR), "png", {}, COLOUR),
    "RGB, one colour transparent": (
        Image.fromarray(COLOUR), "png", {"transparency": tuple(COLOUR[0, 3].tolist())},
        over_white(COLOUR, unless(COLOUR, COLOUR[0, 3]).max(-1)),
    ),
    "RGBA": (Image.fromarray(np.dstack([COLOUR, ALPHA])), "png", {}, over_white(COLOUR, ALPHA)),
    "CMYK": (Image.frombytes("CMYK", (5, 4), CMYK.tobytes()), "tif", {}, cmyk_to_rgb(CMYK)),
    "I;16": (Image.fromarray(DEEP), "png", {}, grey(DEEP >> 8)),
    "I;16, one value transparent": (
        Image.fromarray(DEEP), "png", {"transparency": int(DEEP[1, 2])},
        over_white(grey(DEEP >> 8), unless(DEEP, DEEP[1, 2])),
    ),
    "I;16 of a TIFF": (Image.fromarray(DEEP), "tif", {}, grey(DEEP >> 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name, tmp_path):
    image, extension, options, expected = MODES[name]
    path = tmp_path / f"image.{extension}"
    image.save(path, **options)
    opened = open_rgb(path)
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), expected)


def test_16_bit_pgm_keeps_its_upper_bits(tmp_path):
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5\n5 4\n65535\n" + DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(np.asarray(open_rgb(path)), grey(DEEP >> 8))


def test_big_endian_16_bits_keep_their_upper_bits():
    image = Image.frombytes("I;16B", (5, 4), DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), grey(DEEP >> 8))


@pytest.mark.parametrize(("mode", "dtype"), [("I", np.int32), ("F", np.float32)])
def test_32_bit_images_are_refused(mode, dtype, tmp_path):
    path = tmp_path / "image.tif"
    Image.fromarray(GREY.astype(dtype)).save(path)
    with pytest.raises(DataError, match=f"mode {mode}") as caught:
        open_rgb(path)
    assert_one_line_naming(caught.value, path)


ROTATIONS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ROTATIONS)
@pytest.mark.parametrize("pixels", [COLOUR, DEEP], ids=["RGB", "I;16"])
def test_exif_rotation_is_applied(orientation, pixels, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif)
    expected = ROTATIONS[orientation](pixels if pixels.ndim == 3 else grey(pixels >> 8))
    np.testing.assert_array_equal(np.asarray(open_rgb(tmp_path / "image.png")), expected)


def test_exif_that_cannot_be_written_again_is_no_damage(tmp_path):
    path = tmp_path / "portrait.jpg"
    Image.new("RGB", (48, 32), (200, 30, 30)).save(path)
    plain = path.read_bytes()
    short = struct.pack("<HHI", 0x0112, 3, 1) + struct.pack("<HH", 6, 0)
    rational = struct.pack("<HHII", 0x011A, 10, 1, 8 + 2 + 12 * 2 + 4)  # a resolution of -1/0
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + short + rational + b"\0\0\0\0" + struct.pack("<ii", -1, 0)
    )
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    assert open_rgb(path).size == (32, 48)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_is_no_damage_to_the_image(format_name, tmp_path):
    random, path = np.random.default_rng(3), tmp_path / "image"
    image = Image.fromarray(RANDOM.integers(0, 256, (12, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8769] = 6, "camera", {0x9003: "2024:01:01", 0x829A: 0.01}
    good = exif.tobytes()
    image.save(path, format_name, exif=good)
    turned = np.asarray(open_rgb(path)).shape
    assert turned == (20, 12, 3)
    shapes = set()
    for _ in range(150):
        bad = bytearray(good)
        for place in random.integers(6, len(bad), random.integers(1, 12)):
            bad[place] = random.integers(256)
        image.save(path, format_name, exif=bytes(bad))
        shapes.add(np.asarray(open_rgb(path)).shape)
    assert shapes == {turned, (12, 20, 3)}


@pytest.mark.parametrize("kind", [b"iTXt", b"iCCP"])
def test_a_png_with_megabytes_of_text_or_colour_profile_is_read(kind, tmp_path):
    path = tmp_path / "edited.png"
    Image.fromarray(COLOUR).save(path)
    content = path.read_bytes()
    head = b"XML:com.adobe.xmp\0\1\0\0\0" if kind == b"iTXt" else b"profile\0\0"
    data = head + zlib.compress(b"<x>" * 1_000_000)
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content[:33] + chunk + content[33:])
    np.testing.assert_array_equal(np.asarray(open_rgb(path)), COLOUR)


def test_pillows_warnings_have_the_files_name(tmp_path, capsys):
    for number in range(2):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(COLOUR).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01\x02\0\xff\0\0\0\xff\0\0\0")
        for _ in range(2):
            open_rgb(path)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines))
    assert {line.partition(".jpg: ")[0] for line in lines} == {f"data: {tmp_path / str(number)}" for number in range(2)}


def assert_one_line_naming(error: DataError, path: Path) -> None:
    assert str(error).startswith(f"{path}: ")
    assert "\n" not in str(error)
    assert error.__suppress_context__, "a traceback would show the decoder's own error"


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.9])
def test_a_truncated_file_is_one_line(extension, share, tmp_path):
    path = tmp_path / f"cut.{extension}"
    Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(DataError, match=r"cannot be read \((damaged: .+|not an image.+)\)") as caught:
        load_square(path, 8)
    assert_one_line_naming(caught.value, path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", r"empty \(0 bytes\)"), (b"not pixels at all\n", "not an image"), (None, "there is no such file")],
)
def test_an_empty_a_text_and_an_absent_file_are_one_line(content, reason, tmp_path):
    path = tmp_path / "image.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load_square(path, 8)
    assert_one_line_naming(caught.value, path)


def resized(pixels: np.ndarray, size: int, axis: int, start: float, side: float) -> np.ndarray:
    """One axis of an antialiased bilinear resize, in float64 and not rounded."""
    pixels = np.moveaxis(pixels.astype(float), axis, 0)
    scale = side / size
    support = max(scale, 1.0)
    rows = []
    for i in range(size):
        centre = start + (i + 0.5) * scale
        weights = np.maximum(0, 1 - np.abs(np.arange(len(pixels)) + 0.5 - centre) / support)
        rows.append(np.tensordot(weights / weights.sum(), pixels, 1))
    return np.moveaxis(np.array(rows), 0, axis)


@pytest.mark.parametrize("shape", [(37, 23), (23, 37), (64, 48), (5, 5), (7, 4), (1, 9), (16, 31), (16, 16)])
def test_the_central_square_is_scaled_with_antialiasing(shape):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    side = min(shape)
    expected = resized(pixels, 16, 1, (shape[1] - side) / 2, side)
    expected = resized(expected, 16, 0, (shape[0] - side) / 2, side)
    # Pillow rounds to whole levels after each of its two passes: half a level each
    np.testing.assert_allclose(to_square(Image.fromarray(pixels), 16), expected, rtol=0, atol=1.0)


@pytest.mark.parametrize("factor", [(3, 2), (2, 3), (4, 4)])
@pytest.mark.parametrize("base", [4, 40], ids=["enlarged", "reduced"])
def test_it_is_the_centre_of_the_whole_image_scaled(factor, base):
    width, height = (side * base // 2 for side in factor)
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8))
    scale = 20 / min(width, height)
    whole = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (whole.width - 20) // 2, (whole.height - 20) // 2
    np.testing.assert_array_equal(to_square(image, 20), np.asarray(whole)[top : top + 20, left : left + 20])


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (129, 640), (65, 65), (50, 40)])
def test_a_draft_is_smaller_but_never_below_twice_the_size(width, height, tmp_path):
    ramp = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width))
    path = tmp_path / "image.jpg"
    Image.fromarray(grey(ramp)).save(path, quality=98)
    draft = open_rgb(path, draft_size=32)
    reduction = max(power for power in (1, 2, 4, 8) if power == 1 or min(width, height) // power >= 64)
    assert draft.size == (-(-width // reduction), -(-height // reduction))
    # a ramp has no detail to lose, so the reduced decoding gives the same square up to JPEG's rounding
    full = to_square(open_rgb(path), 32).astype(int)
    assert np.abs(load_square(path, 32) - full).max() <= 2


def test_find_images_goes_to_the_bottom_and_counts_what_it_leaves_out(tmp_path):
    wanted = ["a.png", "b/deep/er/c.JPEG", "b/z.Tif", "c.webp", "d.jfif", "e.JPE"]
    hidden = [".hidden.png", ".cache/a.png", "b/.thumbs/a.png", "b/._a.png", ".DS_Store"]
    made = ["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information", "@Recycle"]
    thumbnails = [f"b/{directory}/a.png" for directory in made]
    for name in [*wanted, *hidden, *thumbnails, "notes.txt", "png", "a.png.part", "b/x.HEIC", "b/y.heic"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    left_out: Counter[str] = Counter()
    assert find_images(tmp_path, left_out) == [tmp_path / name for name in wanted]
    assert left_out == {".txt": 1, "": 1, ".part": 1, ".heic": 2}


@pytest.mark.parametrize(
    ("ending", "format_name"), [("jfif", "JPEG"), ("jpe", "JPEG"), ("avif", "AVIF"), ("dib", "BMP")]
)
def test_other_endings_of_formats_that_are_read_are_images(ending, format_name, tmp_path):
    if format_name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / f"image.{ending}"
    Image.new("RGB", (32, 24), (200, 30, 30)).save(path, format_name)
    assert find_images(tmp_path) == [path]
    assert np.abs(load_square(path, 8).astype(int) - (200, 30, 30)).max() <= 3


def test_find_images_follows_links_and_finds_each_file_once_in_a_loop(tmp_path):
    for name in ("set/own.png", "elsewhere/linked.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "set/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/loop").symlink_to(tmp_path / "set")
    assert find_images(tmp_path / "set") == [tmp_path / "set/other/linked.png", tmp_path / "set/own.png"]


def test_shorter_sides_leaves_out_what_cannot_be_read(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, size in zip(paths, [(9, 4), (3, 8), (5, 5)], strict=False):
        Image.new("RGB", size).save(path)
    paths[1].write_text("not an image")
    os.mkfifo(paths[3])
    assert list(shorter_sides(paths)) == [4, 5]


# ---- what is no file of pixels, or of too many


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "directory"])
def test_open_rgb_of_no_regular_file_is_refused_without_waiting(kind, tmp_path):
    path = tmp_path / "image.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(DataError, match=r"cannot be read \((not a regular file|No such device or address)\)") as caught:
        open_rgb(path)
    assert_one_line_naming(caught.value, path)


def test_open_rgb_of_a_format_that_another_program_would_decode_is_refused(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(COLOUR).save(path, "EPS")  # Pillow starts Ghostscript for it
    with pytest.raises(DataError, match="not an image in one of the formats BMP, GIF, JPEG"):
        open_rgb(path)


def test_open_rgb_of_a_scan_beyond_pillows_limit_succeeds(tmp_path):
    path = tmp_path / "scan.jpg"
    Image.new("L", (15_000, 13_500), 90).save(path)
    draft = open_rgb(path, draft_size=64)
    assert draft.size == (1875, 1688)
    assert list(shorter_sides([path])) == [13_500]
    assert load_square(path, 16)[3, 3].tolist() == [90, 90, 90]


@pytest.mark.slow
def test_open_rgb_of_a_200_megapixel_png_succeeds(tmp_path):
    path = tmp_path / "scan.png"
    Image.new("1", (20_000, 10_000), 1).save(path)
    assert open_rgb(path).size == (20_000, 10_000)


def test_open_rgb_of_a_png_of_gigapixels_is_refused_with_its_size(tmp_path):
    path = tmp_path / "bomb.png"
    Image.fromarray(COLOUR).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 50_000, 50_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"50,000 x 50,000 pixels take 18\.6 GiB to decode, and the limit is") as caught:
        load_square(path, 16)
    assert_one_line_naming(caught.value, path)


def test_a_progressive_jpeg_counts_at_its_full_scale(tmp_path):
    """Its coefficients are all in memory, whatever the scale it is decoded at."""
    baseline, progressive = tmp_path / "baseline.jpg", tmp_path / "progressive.jpg"
    for path, marker in ((baseline, b"\xff\xc0"), (progressive, b"\xff\xc2")):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path, progressive=path is progressive)
        content = bytearray(path.read_bytes())
        place = content.index(marker) + 5
        content[place : place + 4] = struct.pack(">HH", 40_000, 40_000)
        path.write_bytes(content)
    assert load_square(baseline, 16).shape == (16, 16, 3)
    with pytest.raises(DataError, match=r"40,000 x 40,000 pixels take 11\.9 GiB to decode") as caught:
        load_square(progressive, 16)
    assert_one_line_naming(caught.value, progressive)


def test_free_memory_is_some_and_no_more_than_the_machine_has():
    assert 2**20 < free_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
