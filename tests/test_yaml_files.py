"""YAML and JSON of strangers: what is valid is read as ever, and everything else is a ValueError of one line, at once."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonargparse import get_loader

from project.yaml_files import (
    MAX_DEPTH,
    MAX_NODES,
    dump_json,
    dump_yaml,
    load_json,
    load_option,
    load_yaml,
    read_json,
    read_yaml,
)


def doubling(first: str, line: str, levels: int) -> str:
    """Each of the levels stands for ten of the level before."""
    lines = [line.format(i, i, ", ".join([f"*a{i - 1}"] * 10)) for i in range(1, levels)]
    return "\n".join([f"a0: &a0 {first}", *lines])


CHAIN = "a0: &a0 [x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH - 1))
BAD_YAML = {
    # what: (the text, words of the message)
    "aliases of aliases": (doubling("[x, x]", "a{}: &a{} [{}]", 30), "values, aliases included"),
    "merges of merges": (doubling("{x: 1}", "a{}: &a{} {{<<: [{}]}}", 30), "values, aliases included"),
    "many values": ("[" + "1," * MAX_NODES + "]", "values, aliases included"),
    "a chain of aliases": (CHAIN, "line 99, column"),
    "an alias to itself": ("a: &a [1, *a]", "line 1, column 11: an alias inside of what it stands for"),
    "deep lists": ("[" * 100_000, "more than 100 levels deep"),
    "deep mappings": ("{a: " * 100_000, "more than 100 levels deep"),
    "deep blocks": ("- " * 100_000 + "x", "more than 100 levels deep"),
    "deep keys": ("? " * 100_000 + "x", "more than 100 levels deep"),
    "a Python object": ("a: !!python/object/apply:os.mkdir [exploded]", "line 1, column 4: could not determine"),
    "no date": ("b: 1\na: 2024-13-45", "line 2, column 4: no value of timestamp (month must be in 1..12)"),
    "a tagged date": ("!!timestamp soon", "line 1, column 1: no value of timestamp"),
    "no whole number": ("!!int \"\"", "line 1, column 1: no value of int"),
    "no number": ("a: !!float {}", "line 1, column 4: expected a scalar node"),
    "no truth value": ("!!bool perhaps", "no value of bool"),
    "a number of pages": ("a: 0x" + "f" * 1_000_000, "no value of int (more than 400 digits)"),
    "a number to the base of 60": ("a: " + "1:" * 500_000 + "1.0", "no value of float (more than 400 digits)"),
    "a key that is a list": ("? [a]\n: 1", "unhashable key"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "an escape sequence": ("a: \x1b[2J", "unacceptable character"),
    "an open bracket": ("a: [1, 2\n", "line 2, column 1: expected ',' or ']'"),
}  # fmt: skip
BAD_JSON = {
    "deep lists": "[" * 1_000_000,
    "deep objects": '{"a":' * 5000 + "1" + "}" * 5000,
    "a little too deep": "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "nothing": "",
    "half": '{"a": [1,',
    "a number of pages": "9" * 5000,
    "bytes": b"\xff\xfe\x80",
}


@pytest.mark.parametrize("what", BAD_YAML)
def test_load_yaml_bad_text_raises_one_line(what):
    text, words = BAD_YAML[what]
    with pytest.raises(ValueError, match=r"^not valid YAML: ") as caught:
        load_yaml(text)
    line = str(caught.value)
    assert words in line
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize(
    "text",
    ["", "a: 1", "a: &a [x, 1.5, ~, yes]\nb: *a", "a: &a {x: 1}\nb: {<<: *a, y: 2}", "? &k key\n: *k", "!!set {a, b}",
     "[" * MAX_DEPTH + "]" * MAX_DEPTH, "{a: " * (MAX_DEPTH - 1) + "x" + "}" * (MAX_DEPTH - 1), CHAIN.rpartition("\n")[0],
     'a: "\\e[2J"'],
)  # fmt: skip
def test_load_yaml_good_text_equals_safe_load(text):
    assert load_yaml(text) == yaml.safe_load(text)


def test_load_yaml_dates_are_dates():
    assert load_yaml("a: 2024-05-06") == {"a": datetime.date(2024, 5, 6)}


@pytest.mark.parametrize("what", BAD_JSON)
def test_load_json_bad_text_raises_one_line(what):
    with pytest.raises(ValueError, match=r"^(not valid JSON: |more than 100 levels deep$)") as caught:
        load_json(BAD_JSON[what])
    assert "\n" not in str(caught.value)
    assert type(caught.value) is ValueError


def test_load_json_good_text_is_its_content():
    content = load_json(b'{"a": [1, 2.5, null, "\\u001b"], "b": NaN}')
    assert math.isnan(content.pop("b"))
    assert content == {"a": [1, 2.5, None, "\x1b"]}
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert str(load_json(deepest)) == deepest
    assert load_json('{"a": 1}', parse_int=float) == {"a": 1.0}
    assert load_json('{"a": "ä"}'.encode("utf-16")) == {"a": "ä"}


def test_read_files_are_utf8(tmp_path):
    path = tmp_path / "file"
    path.write_bytes('{"ä": ["ö"]}'.encode())
    assert read_yaml(path) == read_json(path) == {"ä": ["ö"]}
    path.write_bytes(b"\xff")
    for read in (read_yaml, read_json):
        with pytest.raises(UnicodeDecodeError):
            read(path)
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "absent")


_CHARACTERS = st.characters() | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)  # of bytes that are not UTF-8
TEXTS = st.text(_CHARACTERS, max_size=30) | st.from_regex(r"[-+.:~!&*?|>@%{}\[\]#'\"\\0-9eE_a-f]{1,8}", fullmatch=True)
WORDS = ("null", "~", "yes", "1e5", "1e-3", "-.5", "._", "1:30", "0x1f", "2024-05-06", "<<", "=", ".inf", "\x7f", "\x85",
         "\ufeff", "\U0001f600", "a: b", "- a", "#", "", " a ", "a\r\n b", "\udcff\udc80")  # fmt: skip
NAMES = TEXTS | st.sampled_from(WORDS)
TREES = st.recursive(
    NAMES
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("in_line", [False, True])
@pytest.mark.parametrize("load", [load_yaml, load_option])
@given(tree=st.dictionaries(NAMES, TREES, min_size=1, max_size=3))
def test_dump_yaml_any_names_and_values_are_read_back(load, in_line, tree):
    assume(any(value is not None for value in tree.values()))  # `{name}` is a text to `load_option`
    text = dump_yaml(tree, in_line)
    assert load(text) == tree
    assert not in_line or (text.isascii() and text.count("\n") == 1)


@given(tree=TREES)
def test_load_option_json_with_escapes_equals_json(tree):
    text = json.dumps({"a": tree}).replace("\x7f", "\\u007f")  # which is no YAML
    assert load_option(text) == load_yaml(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    ["1e-3", "1e5", "2024-05-06", "name:", "{a}", "{a, b}", "{a: }", "[1, .5, -2.0e3]", "a: null", "a: &a [1]\nb: *a",
     "-.inf", "yes", "0x1f", "1:30.5", "_", "'1'", "{a: 1e3, b: {c}}"],
)  # fmt: skip
def test_load_option_usual_texts_equal_jsonargparse(text):
    assert load_option(text) == get_loader("yaml")(text)


def test_load_option_takes_keys_as_texts():
    assert load_option("{0: 1, 007: 2, no: 3, 1.0: {2: 4}, ~: 5}") == {
        "0": 1,
        "007": 2,
        "no": 3,
        "1.0": {"2": 4},
        "~": 5,
    }


def test_json_that_is_written_has_null_for_what_is_no_number():
    content = {
        "a": [1.5, float("nan"), (float("inf"), {"b": -float("inf")})],
        "c": "NaN",
        "d": None,
        "e": np.float64("nan"),
    }
    text = dump_json(content, indent=1)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [1.5, None, [None, {"b": None}]],
        "c": "NaN",
        "d": None,
        "e": None,
    }
