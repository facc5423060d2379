"""A short, repeatable part of what `make fuzz` does for as long as one likes."""

from __future__ import annotations

import importlib.util
import random
import sys
import zlib
from pathlib import Path

import pytest

from project.data.images import load_square
from project.errors import DataError, one_line

ROOT = Path(__file__).resolve().parents[2]


def loaded():
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "scripts" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = loaded()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    fuzz._make_set(folder)
    return folder


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_damaged_files_are_read_or_refused_in_one_line(folder, target):
    outcomes = [fuzz.one_round(target, number, 0, folder) for number in range(60)]
    assert outcomes.count("refused") > 5
    assert outcomes.count("valid") > 0


def test_whole_files_are_read(folder):
    for content, read in fuzz.TARGETS.values():
        read(folder, content)


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda folder, content: (folder / "secret.png").read_bytes(), "opened .*secret.png"),
        (lambda folder, content: Path("/etc/hostname").read_text(), "opened"),
        (lambda folder, content: list((folder / "images" / "link").iterdir()), "opened .*outside"),
        (lambda folder, content: {}["x"], "KeyError"),
        (lambda folder, content: fuzz._check(False, "does not hold"), "does not hold"),
        (lambda folder, content: fuzz._too_long(0, None), "more than 10 s"),
    ],
)
def test_what_must_not_be_is_found(folder, monkeypatch, read, what):
    monkeypatch.setitem(fuzz.TARGETS, "bad", (b"x", read))
    with pytest.raises(fuzz.Finding, match=what):
        fuzz.one_round("bad", 0, 0, folder)


def test_a_finding_is_kept_with_the_command_that_repeats_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(fuzz.TARGETS, "bad", (b"content", lambda folder, content: {}[content]))
    arguments = ["fuzz.py", "bad", "--rounds", "2", "--first", "5", "--seed", "3", "--keep", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        fuzz.main()
    assert stop.value.code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad-3-5", "bad-3-5.txt", "bad-3-6", "bad-3-6.txt"]
    expected = fuzz.mutate(b"content", random.Random("bad 3 5"))
    assert (tmp_path / "bad-3-5").read_bytes() == expected
    assert (
        (tmp_path / "bad-3-5.txt").read_text().startswith("python scripts/fuzz.py bad --seed 3 --first 5 --rounds 1\n")
    )
    assert capsys.readouterr().out.splitlines()[1].split() == ["bad", "2", "0", "0", "2"]


def test_an_unknown_target_is_a_mistake(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "kaparthy"])
    with pytest.raises(SystemExit) as stop:
        fuzz.main()
    assert stop.value.code == 2
    assert "kaparthy" in capsys.readouterr().err


# ---- a few bytes that say they are gigapixels


def png(side: int) -> bytes:
    content = bytearray(fuzz._image("png"))
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def patched(kind: str, place: int, side: bytes) -> bytes:
    content = bytearray(fuzz._image(kind))
    content[place : place + 2 * len(side)] = side * 2
    return bytes(content)


BOMBS = {
    "png": png(60_000),
    "ppm": b"P6 60000 60000 255\n" + bytes(100),
    "gif": patched("gif", 6, b"\xff\xff"),
    "bmp": patched("bmp", 18, (60_000).to_bytes(4, "little")),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_one_line_and_no_memory(tmp_path, kind):
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(BOMBS[kind])
    with pytest.raises(DataError) as refused:
        load_square(path, 16)
    assert str(path) in one_line(refused.value)
    assert "decompression bomb" in one_line(refused.value)
