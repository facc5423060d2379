"""Words become numbers and come back."""

from __future__ import annotations

import pytest

from project.data.captions.vocabulary import END, PAD, START, UNK, Vocabulary
from project.errors import DataError

CAPTIONS = [["a", "dog", "runs"], ["a", "cat"], ["the", "cat", "and", "a", "dog"]]


def test_the_specials_come_first_and_then_the_words_by_frequency_and_alphabet():
    vocabulary = Vocabulary.build(CAPTIONS, 1)
    assert (PAD, START, END, UNK) == (0, 1, 2, 3)
    assert vocabulary.words == ["a", "cat", "dog", "and", "runs", "the"]
    assert len(vocabulary) == 10
    assert Vocabulary.build(reversed(CAPTIONS), 1).words == vocabulary.words


@pytest.mark.parametrize(("min_count", "words"), [(2, ["a", "cat", "dog"]), (3, ["a"])])
def test_rare_words_are_left_out(min_count, words):
    assert Vocabulary.build(iter(CAPTIONS), min_count).words == words


def test_a_vocabulary_without_words_is_a_mistake_that_can_be_mended():
    with pytest.raises(
        DataError, match=r"^data\.min_count: no word .* occurs 4 times; .* 3 times, so set it to 3 or less$"
    ):
        Vocabulary.build(CAPTIONS, 4)
    with pytest.raises(DataError, match=r"^data\.min_count: .* set it to 1 or less$"):
        Vocabulary.build([], 1)


def test_the_sign_for_unknown_words_is_no_word_and_stays_one():
    vocabulary = Vocabulary.build([["a", "<unk>", "<unk>"], ["a", "cat"]], 1)
    assert vocabulary.words == ["a", "cat"]
    assert vocabulary.encode(["a", "<unk>"], 5) == [4, UNK, END]


@pytest.mark.parametrize("mark", ["<start>", "<end>", "<pad>"])
def test_another_special_word_in_captions_is_refused(mark):
    with pytest.raises(
        DataError, match=rf"^data: the training captions contain the word '{mark}' \(2 times\), which marks"
    ):
        Vocabulary.build([["a", mark], [mark, "cat"]], 1)


def test_captions_are_cut_unknown_words_marked_and_the_end_set():
    vocabulary = Vocabulary(["a", "cat", "dog"])
    assert vocabulary.encode(["a", "bird", "dog"], 20) == [4, UNK, 6, END]
    assert vocabulary.encode(["a", "bird", "dog"], 2) == [4, UNK, END]
    assert vocabulary.encode([], 5) == [END]


def test_decoding_ends_at_the_end_and_gives_of_the_specials_the_unknown_word_alone():
    vocabulary = Vocabulary(["a", "cat", "dog"])
    assert vocabulary.decode([START, 4, UNK, 6, END, 5]) == ["a", "<unk>", "dog"]
    assert vocabulary.decode([PAD, PAD]) == []
    for caption in CAPTIONS:
        full = Vocabulary.build(CAPTIONS, 1)
        assert full.decode(full.encode(caption, 20)) == caption


def test_a_word_spelt_like_a_special_is_a_word():
    vocabulary = Vocabulary(["<end>", "x"])
    assert vocabulary.encode(["<end>", "x"], 9) == [4, 5, END]
    assert vocabulary.decode([4, 5, END]) == ["<end>", "x"]
