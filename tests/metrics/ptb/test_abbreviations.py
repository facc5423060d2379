import pytest

from project.metrics.ptb.abbreviations import BEFORE_NUMBERS, PLAIN_EXCEPTIONS, is_closing, is_title


@pytest.mark.parametrize("word", ["etc", "ETC", "Inc", "Wash", "WASH", "Ill", "ph.d", "pty", "Pty", "M\u0131ch"])
def test_these_close(word):
    assert is_closing(word)


@pytest.mark.parametrize("word", ["wash", "ill", "la", "PTY", "dog", "mr", "", "İll"])
def test_these_do_not_close(word):
    assert not is_closing(word)


def test_titles_are_others():
    assert all(map(is_title, ["Mr", "st", "VS", "Mfg"]))
    assert not any(map(is_title, ["MFG", "etc", "dog"]))


def test_no_abbreviation_is_taken_for_a_plain_word():
    assert {"etc", "wash", "mr", "no", *BEFORE_NUMBERS} <= PLAIN_EXCEPTIONS
