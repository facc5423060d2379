"""Errors that travel, and the hints at their end."""

from __future__ import annotations

import io
import pickle

import pytest

from project import errors
from project.errors import UserError, did_you_mean, one_line
from tests.hostile import HOSTILE_NAMES, UNPRINTABLE

KINDS = [errors.UserError, errors.ConfigError, errors.DataError, errors.CheckpointError, errors.RunError]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling(kind):
    original = kind("data.root: /nowhere: there is no such folder")
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is kind
    assert str(copy) == str(original) == "data.root: /nowhere: there is no such folder"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_user_error_but_no_programming_error(kind):
    assert issubclass(kind, UserError)
    assert not issubclass(kind, (OSError, ValueError, LookupError, RuntimeError, AssertionError))


MANY = [f"option_{letter}" for letter in "abcdefghijklm"]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("small_resnt", ["small_resnet", "simple_cnn"], "did you mean 'small_resnet'?"),
        ("simplecnn", ["small_resnet", "simple_cnn"], "did you mean 'simple_cnn'?"),
        ("xyz", ["beta", "alpha", "beta"], "there is alpha, beta."),
        ("xyz", [], "there is none."),
        ("xyz", MANY[:12], f"there is {', '.join(MANY[:12])}."),
        ("xyz", reversed(MANY), "there are 13, among them option_a, option_b, option_c, option_d, option_e, option_f."),
    ],
)
def test_the_hint_is_the_nearest_name_or_what_there_is(name, known, hint):
    assert did_you_mean(name, known) == hint


def test_one_line_for_mistakes_prints_what_the_terminal_lacks_as_escapes(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    with errors.one_line_for_mistakes():
        print("12 × 12 \udcff", flush=True)
    assert written.getvalue() == rb"12 \xd7 12 \udcff" + b"\n"


def test_a_message_becomes_one_line_that_ends_with_how_to_mend_it():
    assert one_line(UserError("a:\n  b\n")) == "a: b"
    line = one_line(UserError(f"data: {'x' * 10**6}; choose a shorter name"))
    assert len(line) < 2100
    assert line.startswith("data: xxx")
    assert line.endswith("xxx; choose a shorter name")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_one_line_hostile_name_has_no_control_characters(name, capsys):
    line = one_line(UserError(f"data.root: {name}: is no image; remove it"))
    assert not UNPRINTABLE.search(line)
    assert line.endswith(": is no image; remove it")
    with pytest.raises(SystemExit), errors.one_line_for_mistakes():
        raise UserError(f"data.root: {name}")
    assert len(capsys.readouterr().err.splitlines()) == 1
