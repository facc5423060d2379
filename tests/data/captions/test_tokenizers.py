"""Captions become words by the rules of their language, and a tokenizer that cannot be right is noticed."""

from __future__ import annotations

import unicodedata

import pytest

from project.data.captions.tokenizers import (
    characters,
    choose_tokenizer,
    join_words,
    metric_tokenizer,
    split_words,
    tokenize_with,
    unicode_words,
)
from project.errors import ConfigError, DataError
from project.metrics.ptb_tokenizer import ptb_tokenize

ENGLISH = ["A dog's ball on the grass.", "Two men, one hat."]
CHINESE = ["左边一个红色的十字。", "右边一个蓝色的圆盘。"]
WORDS = [["左边", "一个", "红色", "的", "十字"], ["右边", "一个", "蓝色", "的", "圆盘"]]


def each(texts):
    return [[text] for text in texts]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's 3.14 and 1,000 can't e.g. STOP!", ["a", "man's", "3.14", "and", "1,000", "can't", "e.g", "stop"]),
        ("left-right, 'quoted' (3)", ["left", "right", "quoted", "3"]),
        ("cafe\u0301 na\u00efve", ["caf\u00e9", "na\u00efve"]),
        ("左边一个LOGO，2个。", ["左", "边", "一", "个", "logo", "2", "个"]),
        ("コンピュータの前", ["コンピュータ", "の", "前"]),
        ("एक कुत्ता दौड़ रहा है।", unicodedata.normalize("NFC", "एक कुत्ता दौड़ रहा है").split()),
        ("한국어 문장.", ["한국어", "문장"]),
        ("สีน้ำ", ["สี", "น้", "ำ"]),
        ("a\u0301. \u0301 x . 5.a a.5", ["\u00e1", "x", "5", "a", "a", "5"]),
        ("... !", []),
    ],
)
def test_unicode_words_follow_the_rules_of_unicode(text, words):
    assert unicode_words(text) == words


def test_characters_are_those_of_the_text_with_their_marks():
    assert characters("红色 的，Té!") == ["红", "色", "的", "t", "é"]
    assert characters("दौड़") == [unicodedata.normalize("NFC", "दौ"), unicodedata.normalize("NFC", "ड़")]
    assert characters(" .。") == []


@pytest.mark.parametrize(
    ("tokenizer", "words", "text"),
    [
        ("ptb", ["a", "red", "dog"], "a red dog"),
        ("ptb", ["红", "色"], "红 色"),
        ("given", ["红色", "的", "LOGO", "，", "十字", "<unk>"], "红色的 LOGO ，十字 <unk>"),
        ("given", ["ein", "hund"], "ein hund"),
        ("unicode", ["红", "色", "logo", "2"], "红色 logo 2"),
        ("characters", ["l", "o", "红"], "lo红"),
        ("unicode", [], ""),
    ],
)
def test_join_words_puts_spaces_where_the_script_has_them(tokenizer, words, text):
    assert join_words(words, tokenizer) == text


@pytest.mark.parametrize("tokenizer", ["given", "unicode", "characters"])
def test_metric_tokenizer_gives_back_the_words_that_spaces_join(tokenizer):
    words = tokenize_with(tokenizer)("左边 一个 LOGO")
    assert metric_tokenizer(tokenizer)(" ".join([*words, "<unk>"])) == [*words, "<unk>"]
    assert metric_tokenizer("ptb") is tokenize_with("ptb") is ptb_tokenize
    assert tokenize_with("given") is split_words


@pytest.mark.parametrize(
    ("captions", "tokens", "chosen", "said"),
    [
        (ENGLISH, None, "ptb", ""),
        (ENGLISH, [["a", "dogs", "ball", "on", "the", "grass"], ["two", "men", "one", "hat"]], "ptb", "finds 82%"),
        (["a dog", "a cat"], [["a", "dog"], ["a", "cat"]], "ptb", ""),
        (CHINESE, WORDS, "given", "finds 0%"),
        ([" ".join(words) for words in WORDS], WORDS, "ptb", ""),
        (CHINESE, None, "unicode", "each character of their script is a word"),
        (["红的圆", "蓝的圆"], None, "unicode", "each character"),
        ([" ".join(words) for words in WORDS], None, "ptb", ""),
        (["สุนัขสีน้ำตาลกำลังวิ่ง"], None, "unicode", "each character"),
        (["Собака бежит по траве"], None, "ptb", ""),
        (["dog", "cat"], None, "ptb", "captions have 1.0 words on average"),
        (["a dog", "..."], [["a", "dog"], None], "ptb", ""),
    ],
)
def test_choose_tokenizer_automatic_choice_fits_the_captions(captions, tokens, chosen, said, caplog):
    found = choose_tokenizer("auto", each(captions), None if tokens is None else each(tokens))
    assert found == chosen
    assert len(caplog.messages) == bool(said)
    assert said in "".join(caplog.messages)


@pytest.mark.parametrize(
    ("asked", "captions", "tokens", "message"),
    [
        ("ptb", CHINESE, None, "ptb cuts at spaces, and these captions have none between words"),
        ("ptb", CHINESE, WORDS, "ptb finds 0% of the words that the file has"),
        ("given", ENGLISH, None, "given takes the words from the file, and this set has none"),
        ("characters", ENGLISH, None, "characters loses the spaces between words"),
    ],
)
def test_choose_tokenizer_that_cannot_be_right_is_refused(asked, captions, tokens, message):
    with pytest.raises(DataError, match=rf"^data\.tokenizer: {message}"):
        choose_tokenizer(asked, each(captions), None if tokens is None else each(tokens))


@pytest.mark.parametrize("asked", ["unicode", "characters", "given"])
def test_choose_tokenizer_keeps_what_is_asked_for(asked, caplog):
    assert choose_tokenizer(asked, each(CHINESE), each(WORDS)) == asked
    assert not caplog.messages
    with pytest.raises(ConfigError, match="there is no 'char'; did you mean 'characters'"):
        choose_tokenizer("char", each(CHINESE), None)
