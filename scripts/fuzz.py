"""Damages annotation files and images at random, and looks for anything but a usable result or one line that says why not.

    python scripts/fuzz.py [TARGET ...] [--seconds 60] [--seed 0] [--keep fuzz]

Each round changes a few bytes or words of a real file and reads it as training would. What is looked for: an exception
other than a `DataError`; a message that is no line; more than ten seconds; a file opened outside the set's folder; a result
that does not hold together. What is found is kept in a folder, with the command that repeats it, and the status is 1.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that `python scripts/fuzz.py` finds the project without installing it

from project.data import CaptionTable, COCOCaptions, KarpathyCaptions
from project.data.captions.base import CaptionDataModule
from project.data.images import load_square
from project.errors import DataError, one_line

_SECONDS, _SIZE = 10, 16
_FORMATS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "ppm": "PPM", "tiff": "TIFF", "webp": "WEBP"}
# what stands in an annotation file where something else was expected
_WORDS = [
    b"null", b"true", b"-1", b"1e999", b"NaN", b"9" * 400, b'""', b"[]", b"{}", b"[" * 2000, b'"\\ud800"', b'"\\u0000"',
    b'"../secret.png"', b'"link/../../secret.png"', b'"link/secret.png/.."', b'"/etc/passwd"', b'"."', b'"a.png\\n"',
    b'"' + b"x" * 5000 + b'"', b'"train"', b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b'"', b"\\", b",", b"\t", b"\r", b"\n",
    b"../secret.png", b"/etc/passwd", b"\xf0\x9f\x98\x80",
]  # fmt: skip


class Finding(Exception):  # noqa: N818  it is what is looked for, and no fault
    """What a round should not have come to."""


def mutate(content: bytes, draw: random.Random) -> bytes:
    """A few changes of bytes, stretches and words."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        place = draw.randrange(len(data) + 1)
        end = min(place + draw.choice([1, 2, 4, 16, 64]), len(data))
        kind = draw.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = draw.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del data[place:end]
        elif kind == 3:
            data[place:place] = data[place:end]
        elif kind == 4:
            data[place:end] = draw.choice(_WORDS)
        elif kind == 5:
            del data[place:]
        elif tokens := [
            i for i, byte in enumerate(data) if byte in b'",:[]{}\t\n'
        ]:  # a whole field, where there are any
            first = draw.randrange(len(tokens))
            last = min(first + draw.choice([1, 1, 2, 5]), len(tokens) - 1)
            data[tokens[first] + 1 : tokens[last]] = draw.choice(_WORDS)
    return bytes(data)


# ---- what is damaged


def _make_set(folder: Path) -> None:
    """Eight images, `link`, which leads out, and beside the folder a file that nothing may open."""
    (folder / "images" / "sub").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.jpg", "d.png", "e.png", "f.png", "sub/g.png", "sub/h.png"):
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), np.uint8)).save(folder / "images" / name)
    Image.new("RGB", (4, 4)).save(folder / "secret.png")
    (folder / "outside").mkdir()
    (folder / "images" / "link").symlink_to(folder / "outside")


_NAMES = ("a.png", "b.png", "c.jpg", "d.png", "e.png", "f.png", "g.png", "h.png")
_PARTS = ("train", "restval", "train", "train", "val", "val", "test", "test")
_SAID = ("A dog.", 'Two "dogs", one cat', "naïve café", "it isn't")


def _karpathy() -> bytes:
    images = []
    for number, (name, split) in enumerate(zip(_NAMES, _PARTS, strict=True)):
        sentences = [
            {"raw": text, "tokens": text.lower().split()} if number % 2 else {"raw": text} for text in _SAID[:2]
        ]
        images.append({"filename": name, "split": split, "sentences": sentences, "imgid": number}
                      | ({"filepath": "sub"} if name in "g.png h.png" else {}))  # fmt: skip
    return json.dumps({"images": images, "dataset": "x"}).encode()


def _coco() -> bytes:
    images = [{"id": number, "file_name": name} for number, name in enumerate(_NAMES[:6])]
    said = [{"image_id": number % 6, "id": number, "caption": _SAID[number % 4]} for number in range(12)]
    return json.dumps({"images": images, "annotations": said}).encode()


def _table(delimiter: str) -> bytes:
    rows = [f'{name}{delimiter}"{_SAID[i % 4].replace(chr(34), chr(34) * 2)}"{delimiter}{split.removeprefix("rest")}'
            for i, (name, split) in enumerate(zip(_NAMES[:6], ("train", "train", "train", "val", "val", "test"), strict=True))]  # fmt: skip
    return "\n".join([delimiter.join(("path", "caption", "split")), *rows, ""]).encode()


def _image(kind: str) -> bytes:
    """With transparency, palette, 16 bits and tags where the format has them."""
    pixels, file = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8), io.BytesIO()
    image = Image.fromarray(pixels)
    if kind in ("png", "webp"):
        image.putalpha(128)
    if kind == "gif":
        image = image.quantize(32)
    if kind == "tiff":
        image = Image.fromarray((pixels[..., 0].astype(np.uint16) << 8) + 7)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    image.save(file, _FORMATS[kind], **({"exif": exif} if kind in ("jpg", "png", "webp") else {}))
    return file.getvalue()


def _captions(make: Callable[[Path, str], CaptionDataModule], extension: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, content: bytes) -> None:
        file = folder / f"annotations.{extension}"
        file.write_bytes(content)
        data = make(folder / "images", str(file))
        inside = os.path.realpath(folder / "images")
        for split in data.splits.values():
            _check(len(split) == len(split.captions) > 0, "images and captions differ")
            for path, captions in zip(split.images, split.captions, strict=True):
                _check(os.path.normpath(path).startswith(inside + os.sep), f"{path} is not in the folder")
                _check(bool(captions) and all(isinstance(text, str) for text in captions), "an image without captions")
            load_square(split.images[0], _SIZE)
        _check(len(data.vocabulary) > 0, "no vocabulary")

    return read


def _decode(kind: str) -> Callable[[Path, bytes], None]:
    def read(folder: Path, content: bytes) -> None:
        path = folder / f"image.{kind}"
        path.write_bytes(content)
        pixels = load_square(path, _SIZE)
        _check(pixels.shape == (_SIZE, _SIZE, 3) and pixels.dtype == np.uint8, f"{pixels.dtype} {pixels.shape}")

    return read


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise Finding(message)


Target = tuple[bytes, Callable[[Path, bytes], None]]
TARGETS: dict[str, Target] = {
    "karpathy": (
        _karpathy(),
        _captions(lambda images, file: KarpathyCaptions(file, str(images), image_size=_SIZE), "json"),
    ),
    "coco": (_coco(), _captions(lambda images, file: COCOCaptions(file, str(images), image_size=_SIZE), "json")),
    "csv": (_table(","), _captions(lambda images, file: CaptionTable(file, str(images), image_size=_SIZE), "csv")),
    "tsv": (_table("\t"), _captions(lambda images, file: CaptionTable(file, str(images), image_size=_SIZE), "tsv")),
    **{kind: (_image(kind), _decode(kind)) for kind in _FORMATS},
}


# ---- a round


class _Opened:
    """While watching, notes what this process opens in a folder's neighbourhood and outside of it."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.outside: list[str] = []
        sys.addaudithook(self._hook)  # which cannot be taken off again

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder and event in ("open", "os.scandir", "os.listdir") and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            own = (
                self.folder,
                os.path.realpath(sys.prefix),
                os.path.realpath(sys.base_prefix),
                str(ROOT),
                "/proc",
                "/dev",
            )
            if path.endswith("secret.png") or "outside" in path or not path.startswith(own):
                self.outside.append(path)

    @contextmanager
    def watch(self, folder: Path) -> Iterator[None]:
        self.folder, self.outside = os.path.realpath(folder), []
        try:
            yield
        finally:
            self.folder = None
        _check(not self.outside, f"opened {self.outside[:3]}")


_opened = _Opened()


def _too_long(number: int, frame: Any) -> None:
    raise Finding(f"takes more than {_SECONDS} s")


def one_round(target: str, number: int, seed: int, folder: Path) -> str:
    """`valid` or `refused`.

    Raises:
        Finding: neither.
    """
    content, read = TARGETS[target]
    damaged = mutate(content, random.Random(f"{target} {seed} {number}"))  # noqa: S311 (nothing secret)
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(_SECONDS)
    try:
        with _opened.watch(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about odd metadata
            read(folder, damaged)
        return "valid"
    except DataError as error:
        line = one_line(error)
        _check("\n" not in line and 20 < len(line) < 2100, f"says {line!r}")
        return "refused"
    except Finding:
        raise
    except Exception as error:
        raise Finding(traceback.format_exc(limit=-3)) from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def main() -> None:
    """Rounds of every target in turn until the time is over; a table of what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"among {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--rounds", type=int, help="of each target, in place of the time")
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="where findings are kept")
    arguments = parser.parse_args()
    for target in set(arguments.targets) - set(TARGETS):
        parser.error(f"there is no target '{target}' among {', '.join(TARGETS)}")
    targets = arguments.targets or list(TARGETS)
    counts: dict[str, Counter[str]] = {target: Counter() for target in targets}
    deadline, number = time.monotonic() + arguments.seconds, arguments.first
    with tempfile.TemporaryDirectory() as folder:
        _make_set(Path(folder))
        while number - arguments.first < arguments.rounds if arguments.rounds else time.monotonic() < deadline:
            for target in targets:
                try:
                    counts[target][one_round(target, number, arguments.seed, Path(folder))] += 1
                except Finding as finding:
                    counts[target]["found"] += 1
                    _keep(arguments.keep, target, number, arguments.seed, str(finding))
            number += 1
    print(f"{'target':10} {'rounds':>8} {'valid':>8} {'refused':>8} {'found':>6}")
    for target, count in counts.items():
        print(f"{target:10} {count.total():8} {count['valid']:8} {count['refused']:8} {count['found']:6}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    raise SystemExit(any(count["found"] for count in counts.values()))


def _keep(folder: Path, target: str, number: int, seed: int, what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = mutate(TARGETS[target][0], random.Random(f"{target} {seed} {number}"))  # noqa: S311
    (folder / f"{target}-{seed}-{number}").write_bytes(content)
    again = f"python scripts/fuzz.py {target} --seed {seed} --first {number} --rounds 1"
    (folder / f"{target}-{seed}-{number}.txt").write_text(f"{again}\n{what}\n", "utf-8")
    print(f"{target}: {what.splitlines()[-1][:200]}\n  {again}", file=sys.stderr)


if __name__ == "__main__":
    main()
