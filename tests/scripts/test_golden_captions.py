"""Captions are the same for the same seed, and what is missing is one line."""

from __future__ import annotations

import importlib.util
import random
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("golden_captions", ROOT / "scripts" / "golden_captions.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("level", ["light", "medium", "wild"])
def test_captions_follow_from_the_seed(script, level):
    first, second, third = (
        [script.hostile_caption(random.Random(seed), level) for _ in range(3)] for seed in (1, 1, 2)
    )
    assert first == second != third


def test_a_reference_that_is_missing_is_one_line_and_status_2(script, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["golden_captions.py", "fuzz", "--lines", "1"])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no ")
    assert error.count("\n") == 1


def test_a_caption_that_the_reference_splits_or_swallows_has_no_tokens(script, monkeypatch):
    output = "a dog .\nqq0qq ,\none\ntwo\nqq1qq ,\n<b\nqq2qq,\nx >\nqq3qq ,\n"
    monkeypatch.setattr(script, "_run_reference", lambda texts: [output])
    assert script.reference_tokens(["A dog.", "one\vtwo", "<b", "x >"]) == [["a", "dog"], None, None, None]


@pytest.mark.skipif(not shutil.which("java"), reason="the reference is a Java program, which needs a Java runtime")
def test_random_files_have_the_tokens_of_the_reference(script, capsys):
    status = script.compare_random(300, seed=3, show=3)
    out = capsys.readouterr().out
    assert (status, out.count("(100.0000%)") >= 4) == (0, True), out
    files = [["vitamin C.", "The dog"], ["a :)"], [""], ["", "a", ""]]
    expected = [[["vitamin", "c"], ["the", "dog"]], [["a", "-rrb-"]], [[]], [[], ["a"], []]]
    assert script.reference_files(files) == expected


@pytest.mark.skipif(not shutil.which("java"), reason="the reference is a Java program, which needs a Java runtime")
def test_coco_captions_own_wrapper_finds_the_same_tokens(script):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    generator = random.Random(5)
    captions = [text for _ in range(30) for text in script.caption_file(generator, "light") if text.isascii()]
    images = {number: [{"caption": text} for text in captions[number::7]] for number in range(7)}
    found = PTBTokenizer().tokenize(images)
    here = script.ptb_tokenize_file([said["caption"] for texts in images.values() for said in texts])
    assert [text for texts in found.values() for text in texts] == [" ".join(tokens) for tokens in here]
