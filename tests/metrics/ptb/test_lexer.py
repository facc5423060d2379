import pytest

from project.metrics.ptb.lexer import lex


def test_punctuation_is_among_the_tokens():
    assert lex("A dog, (here).") == ["a", "dog", ",", "-lrb-", "here", "-rrb-", "."]


def test_the_longest_match_wins_and_the_earlier_of_equals():
    assert lex("cannot cannots can't") == ["can", "not", "cannots", "ca", "n't"]
    assert lex("A'll D'll") == ["a", "'ll", "d", "'ll"]


def test_characters_beyond_the_plane_are_whole_in_addresses_and_nothing_elsewhere():
    assert lex("a😀b 😀@x http://😀.x") == ["a", "b", "@x", "http://😀.x"]


def test_a_plain_word_is_what_the_rules_make_of_it(monkeypatch):
    from project.metrics.ptb import lexer

    words = "a dog, the cat. a, Dog. cannot Etc. etc, b. no. mr. x wash. , . (one . two"
    plain = lex(words)
    monkeypatch.setattr(lexer, "_PLAIN", lexer.re.compile("(?!)"))
    assert lex(words) == plain


@pytest.mark.parametrize("line", ["", " ", "\u200b", "\x01"])
def test_nothing(line):
    assert lex(line) == []
