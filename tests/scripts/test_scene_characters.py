"""The benchmark's data set is the same images on every run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_makes_the_folder_and_leaves_another_alone(tmp_path, script):
    assert script("scene_characters", tmp_path / "made", "--train", 2, "--test", 1)[0] == 0
    assert len(list((tmp_path / "made" / "train").rglob("*.png"))) == 2 * 36
    assert len(list((tmp_path / "made" / "test" / "z").iterdir())) == 1
    status, _, err = script("scene_characters", tmp_path / "made")
    assert status == 2
    assert "exists already; choose another folder" in err


def test_no_split_has_the_characters_of_another(tmp_path):
    """A character is drawn on a background of its split: not the images are compared, but what is drawn by."""
    drawn = []
    characters = script("scene_characters")
    draw = characters._draw
    characters._draw = lambda rng, *rest: drawn.append(str(rng.bit_generator.state)) or draw(rng, *rest)
    characters.make_scene_characters(tmp_path, per_class={"train": 2, "val": 2, "test": 2})
    assert len(set(drawn)) == len(drawn) == 36 * 6


def test_class_folders_of_distinct_reproducible_images(tmp_path):
    make = script("scene_characters").make_scene_characters
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        make(tmp_path / name, seed, {"train": 2, "test": 1})
    images = {
        name: {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.png")}
        for name in ("one", "same", "other")
    }
    assert len(images["one"]) == 36 * 3
    assert len(set(images["one"].values())) == 36 * 3
    assert images["one"] == images["same"]
    assert not set(images["one"].values()) & set(images["other"].values())
    assert sorted(path.name for path in (tmp_path / "one" / "train").iterdir()) == sorted(
        "0123456789abcdefghijklmnopqrstuvwxyz"
    )
    pixels = np.asarray(Image.open(tmp_path / "one" / "test" / "a" / "0000.png"))
    assert pixels.shape == (32, 32, 3)
    assert pixels.std() > 5
