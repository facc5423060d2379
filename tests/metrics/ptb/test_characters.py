import re

from project.metrics.ptb.characters import BASIC_LETTER, DIGIT, GAP, LETTER, QUOTES, SINGLE


def matches(body, text):
    return re.fullmatch(f"[{body}]*", text) is not None


def test_letters_of_many_scripts():
    assert matches(BASIC_LETTER, "aZéßЖΩ中あ한عहก\u1885")
    assert not any(matches(BASIC_LETTER, character) for character in "1_-.'\u0301\u00ad\u0560\ua7ab😀")


def test_marks_are_letters_of_words_alone():
    assert matches(LETTER, "e\u0301\u00adह\u094d\u064b")
    assert not matches(LETTER, "\u200d")


def test_digits():
    assert matches(DIGIT, "09٣४５\u07c0")
    assert not any(matches(DIGIT, character) for character in "a½²Ⅷ\u0de6")


def test_gaps():
    assert matches(GAP, " \t\r\n\u00a0\u2003\u3000\u0085\u2028")
    assert not matches(GAP, "\u200b")


def test_single_characters():
    assert [SINGLE.get(character) for character in "(€½—…★\u0001"] == ["-LRB-", "$", "1/2", "--", "...", "★", None]
    assert QUOTES["“"] == "``"
    assert not any(re.fullmatch(f"[{LETTER}{DIGIT}]", character) for character in SINGLE)
