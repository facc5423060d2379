"""Scene characters: 0-9 and a-z in 39 typefaces on photographs, 32 x 32 colour, 36 classes.

Everything comes from pip: the typefaces from font-roboto, font-source-sans-pro, font-source-serif-pro, font-amatic-sc
and font-fredoka-one (Apache 2.0 and OFL), the backgrounds from scikit-learn's two sample photographs (CC BY). Training
backgrounds come from the left of each photograph, test backgrounds from the right.

    python scripts/scene_characters.py characters --train 64 --test 16
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import string
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images

SIZE = 32
SCALE = 3  # glyphs are drawn larger and reduced
LIGHTEST_BACKGROUND, DARKEST_INK = 180, 110  # they overlap: some characters are hard to see
NOISE = 20  # largest standard deviation, of 255
CLASSES = string.digits + string.ascii_lowercase
FONT_PACKAGES = ("font_amatic_sc", "font_fredoka_one", "font_roboto", "font_source_sans_pro", "font_source_serif_pro")
SPLITS = ("train", "test", "val")
PER_CLASS = {"train": 700, "test": 140}


def make_scene_characters(root: Path | str, seed: int = 0, per_class: dict[str, int] | None = None) -> None:
    """Writes `root`/train/<class>/*.png and `root`/test/<class>/*.png; the same images for the same seed."""
    fonts = _fonts()
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    for split, count in (per_class or PER_CLASS).items():
        backgrounds = [_side(photograph, split) for photograph in photographs]
        for label, name in enumerate(CLASSES):
            folder = Path(root) / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                rng = np.random.default_rng((seed, SPLITS.index(split), label, index))
                _draw(rng, name, fonts, backgrounds).save(folder / f"{index:04d}.png")


def _fonts() -> list[ImageFont.FreeTypeFont]:
    files = []
    for package in FONT_PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"the data set needs `pip install {package.replace('_', '-')}`")
        files += sorted((Path(spec.origin).parent / "files").glob("*.ttf"))
    return [ImageFont.truetype(str(file), 24 * SCALE) for file in files]


def _side(photograph: Image.Image, split: str) -> Image.Image:
    width, height = photograph.size
    return photograph.crop(
        (0, 0, int(0.7 * width), height) if split == "train" else (int(0.7 * width), 0, width, height)
    )


def _draw(rng: np.random.Generator, name: str, fonts: list[Any], backgrounds: list[Any]) -> Image.Image:
    photograph = backgrounds[rng.integers(len(backgrounds))]
    side = int(rng.integers(SIZE // 2, 3 * SIZE))
    left, top = (int(rng.integers(length - side)) for length in photograph.size)
    image = photograph.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    image = image.point(lambda value: value * LIGHTEST_BACKGROUND / 255)

    mask = _glyph_mask(rng, _cased(rng, name), fonts[rng.integers(len(fonts))])
    image.paste(_ink(rng), mask=mask)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    noisy = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, NOISE), (SIZE, SIZE, 3))
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(40, 95)))
    return Image.open(buffer).convert("RGB")


def _cased(rng: np.random.Generator, name: str) -> str:
    if name == "l":
        return "L"  # "l" and "I" are both a bar
    return name.upper() if name != "i" and rng.random() < 0.5 else name


def _glyph_mask(rng: np.random.Generator, character: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """The character between two others, off centre, scaled, sheared and turned; 255 where there is ink."""
    canvas = SIZE * SCALE
    before, after = rng.choice(list(string.ascii_letters + string.digits), 2)
    mask = Image.new("L", (canvas, canvas))
    draw = ImageDraw.Draw(mask)
    box = draw.textbbox((0, 0), character, font=font)
    x, y = canvas / 2 - (box[0] + box[2]) / 2, canvas / 2 - (box[1] + box[3]) / 2
    draw.text((x, y), character, 255, font)
    gap = rng.uniform(0, 4, 2) * SCALE
    if rng.random() < 0.5:
        draw.text((x - draw.textlength(before, font) - gap[0], y), before, 255, font)
    if rng.random() < 0.5:
        draw.text((x + draw.textlength(character, font) + gap[1], y), after, 255, font)

    angle, shear = np.deg2rad(rng.uniform(-25, 25)), rng.uniform(-0.3, 0.3)
    scale = rng.uniform(0.7, 1.4) * np.array([rng.uniform(0.8, 1.25), 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.array([[1, shear], [0, 1]]) @ np.diag(scale))
    centre = np.full(2, canvas / 2)
    offset = centre - inverse @ (centre + rng.uniform(-3, 3, 2) * SCALE)
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    mask = mask.transform(mask.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return mask.resize((SIZE, SIZE), Image.Resampling.BOX)


def _ink(rng: np.random.Generator) -> tuple[int, int, int]:
    """A light colour."""
    red, green, blue = (int(value) for value in rng.uniform(DARKEST_INK, 255, 3))
    return red, green, blue


def main(arguments: list[str] | None = None) -> None:
    """Makes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the images go, as folders of a split and a class")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (0)")
    for split, count in PER_CLASS.items():
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"images of a class ({count})")
    options = parser.parse_args(arguments)
    if options.folder.exists():
        parser.error(f"{options.folder}: exists already; choose another folder")
    try:
        make_scene_characters(options.folder, options.seed, {split: getattr(options, split) for split in PER_CLASS})
    except ModuleNotFoundError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
