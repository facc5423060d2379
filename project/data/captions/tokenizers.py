"""Tokenizers of captions: from a text to words, and from words to a text.

`ptb` is coco-caption's, for English. Of other languages, BLEU, ROUGE-L and CIDEr-D depend on the tokenizer: numbers
compare only with those of the same one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal, TypeVar, get_args

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.errors import ConfigError, DataError, did_you_mean
from project.metrics.ptb_tokenizer import ptb_tokenize

Tokenizer = Literal["ptb", "unicode", "characters", "given"]
Item = TypeVar("Item")
Choice = Literal["auto", "ptb", "unicode", "characters", "given"]

# Thai, Lao, Tibetan, Myanmar, Khmer; CJK punctuation, Japanese, ideographs, full-width forms: no spaces between words
_UNSPACED = (
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)
UNSPACED: dict[Tokenizer, str | None] = {"ptb": None, "given": _UNSPACED, "unicode": _UNSPACED, "characters": "(?s:.)"}
"""By tokenizer, a pattern: no space is put between two words where it matches the characters that meet there."""

_SAMPLE = 2000  # captions that the choice looks at
_AGREEING, _AGREED = 0.5, 0.9  # fraction of words that PTB finds as the file has them
_LONG_WORD, _LONG_LONE_WORD = 7, 4  # letters of a mean word that must be several, and of one that is a whole caption


def tokenize_with(tokenizer: Tokenizer) -> Callable[[str], list[str]]:
    """The function that makes words of a text; of `given`, of words that spaces join."""
    known: dict[Tokenizer, Callable[[str], list[str]]] = {
        "ptb": ptb_tokenize, "unicode": unicode_words, "characters": characters, "given": split_words,
    }  # fmt: skip
    return known[tokenizer]


def metric_tokenizer(tokenizer: Tokenizer) -> Callable[[str], list[str]]:
    """The function by which metrics read captions: coco-caption's, or of any other tokenizer `split_words`."""
    return ptb_tokenize if tokenizer == "ptb" else split_words


def split_words(text: str) -> list[str]:
    """The words of a text in which one space joins them."""
    return [word for word in text.split(" ") if word]


def unicode_words(text: str) -> list[str]:
    """Words by the default rules of Unicode (UAX #29), in lower case, without punctuation and symbols.

    Ideographs, Hiragana and the letters of Thai, Lao, Khmer, Myanmar and Tibetan, whose words only a dictionary could
    tell apart, are words of their own, each with the marks on it.
    """
    words: list[str] = []
    last, joint = "", ""  # the kind of what the last word ends with, and a joint after it
    for character in unicodedata.normalize("NFC", text).lower():
        kind = _kind(character)
        if kind == "mark":
            if last and not joint:
                words[-1] += character
        elif kind == "joint" and last == "part" and not joint:
            joint = character
        elif kind == "part" and last == "part" and (not joint or _joins(words[-1][-1], joint, character)):
            words[-1] += joint + character
            joint = ""
        else:
            if kind in ("part", "alone"):
                words.append(character)
            last, joint = kind if kind != "joint" else "", ""
    return words


def characters(text: str) -> list[str]:
    """Characters with the marks on them, in lower case, without spaces and punctuation."""
    found: list[str] = []
    for character in unicodedata.normalize("NFC", text).lower():
        category = unicodedata.category(character)
        if category[0] == "M" and found:
            found[-1] += character
        elif category[0] in "LMNS":
            found.append(character)
    return found


def join_words(words: Sequence[str], tokenizer: Tokenizer) -> str:
    """The text of a caption's words, for people: spaces between them where their script has them."""
    unspaced = UNSPACED[tokenizer]
    if unspaced is None:
        return " ".join(words)
    text = ""
    for word in words:
        touching = not text or (re.match(unspaced, text[-1]) and re.match(unspaced, word))
        text += word if touching else f" {word}"
    return text


def choose_tokenizer(
    asked: Choice, captions: Sequence[Sequence[str]], tokens: Sequence[Sequence[list[str] | None]] | None
) -> Tokenizer:
    """The tokenizer of a data set, as it is asked for or found; what is doubtful about it is said in one line.

    `auto` is `ptb`, but for two kinds of sets. Where the file has words and PTB makes other ones of most of its texts, it
    is `given`. Where captions of a script without spaces are not segmented, it is `unicode`.

    Args:
        asked: the option.
        captions: the texts of each training image.
        tokens: the words of each text, where the file has them; None of a text without.

    Raises:
        ConfigError: there is no such tokenizer.
        DataError: it cannot be right for these captions.
    """
    if asked not in get_args(Choice):
        raise ConfigError(f"data.tokenizer: there is no '{asked}'; {did_you_mean(str(asked), get_args(Choice))}")
    texts = _sample([text for each in captions for text in each])
    known = [] if tokens is None else _sample([words for each in tokens for words in each])
    given = [(text, words) for text, words in zip(texts, known, strict=tokens is not None) if words is not None]
    if asked == "given" and not given:
        raise DataError("data.tokenizer: given takes the words from the file, and this set has none; add `tokens` to every "
                        "sentence of Karpathy's JSON, or choose ptb, unicode or characters")  # fmt: skip
    if given and asked in ("auto", "ptb"):
        agreement = _agreement(given)
        if asked == "ptb" and agreement < _AGREEING:
            raise DataError(f"data.tokenizer: ptb finds {agreement:.0%} of the words that the file has as tokens, so that "
                            "perfect captions would score as wrong ones; leave the option out, or set it to given")  # fmt: skip
        if agreement < _AGREED:
            asked = "ptb" if agreement >= _AGREEING else "given"
            rank_zero_info(f"data: the PTB tokenizer finds {agreement:.0%} of the words that the file has as tokens; "
                           f"references are {_SCORED[asked]} (--data.tokenizer {asked})")  # fmt: skip
        chosen: Tokenizer = "given" if asked == "given" else "ptb"
    else:
        chosen = _chosen_by_script("ptb" if asked == "auto" else asked, texts, asked == "auto")
    words = (
        [words for _, words in given] if given and chosen in ("given", "ptb") else [*map(tokenize_with(chosen), texts)]
    )
    counts = [count for each in words if (count := sum(any(map(str.isalnum, word)) for word in each))]
    if counts and (mean := sum(counts) / len(counts)) < 1.5:
        rank_zero_info(f"data: captions have {mean:.1f} words on average by the tokenizer {chosen}; if they are sentences, "
                       "choose another one with --data.tokenizer")  # fmt: skip
    return chosen


_SCORED = {"ptb": "the raw texts, tokenized by PTB", "given": "the file's tokens"}


def _chosen_by_script(chosen: Tokenizer, texts: list[str], free: bool) -> Tokenizer:
    """`chosen`, or where the choice is `free` and it does not fit the script of the captions, another one."""
    letters = [character for character in chain.from_iterable(texts) if character.isalpha()]
    unspaced = sum(re.match(_UNSPACED, letter) is not None for letter in letters) > len(letters) / 2
    if (
        chosen == "characters"
        and letters
        and not unspaced
        and sum(len(text.split()) > 1 for text in texts) > len(texts) / 2
    ):
        raise DataError("data.tokenizer: characters loses the spaces between words, which these captions have; choose ptb "
                        "or unicode")  # fmt: skip
    if chosen != "ptb" or not unspaced:
        return chosen
    words = [[word for word in ptb_tokenize(text) if any(map(str.isalpha, word))] for text in texts]
    count = max(sum(map(len, words)), 1)
    alone = count < 2 * len(words)
    if len(letters) / count <= (_LONG_LONE_WORD if alone else _LONG_WORD) and not (free and alone):
        return chosen
    if not free:
        raise DataError(f"data.tokenizer: ptb cuts at spaces, and these captions have none between words ({texts[0][:20]!r} is "
                        f"{len(words[0])}); choose unicode or characters, or put spaces between words")  # fmt: skip
    rank_zero_info("data: captions have no spaces between words, so that each character of their script is a word "
                   "(--data.tokenizer unicode); for longer words put spaces between them, or give tokens")  # fmt: skip
    return "unicode"


def _sample(items: Sequence[Item]) -> list[Item]:
    return list(items[:: -(-len(items) // _SAMPLE) or 1])


def _agreement(given: list[tuple[str, list[str]]]) -> float:
    """The fraction of words that PTB and the file have in common, of the larger number of the two; case does not matter."""
    common = larger = 0
    for text, words in given:
        ours, theirs = Counter(ptb_tokenize(text)), Counter(word.lower() for word in words)
        common += (ours & theirs).total()
        larger += max(ours.total(), theirs.total())
    return common / larger if larger else 1.0


@functools.lru_cache(maxsize=2**16)
def _kind(character: str) -> str:
    """Of a character: `part` of a word, a word `alone`, a `mark` on another one, a `joint` between two parts, or ``."""
    category = unicodedata.category(character)
    if category[0] == "M" or category == "Cf":
        return "mark"
    if category[0] in "LN" or category == "Pc":
        katakana = "\u30a1" <= character <= "\u30fa" or character == "\u30fc" or "\uff66" <= character <= "\uff9d"
        latin = "\uff10" <= character <= "\uff5a"
        return "alone" if re.match(_UNSPACED, character) and not katakana and not latin and category != "Nd" else "part"
    return "joint" if character in ".,:;'\u2019\u00b7\u2018\u2024" else ""


def _joins(before: str, joint: str, after: str) -> bool:
    """Whether a word goes on over a mark: letters over `can't`, `e.g`, digits over `3.14`, `1,000` (WB6, WB7, WB11, WB12)."""
    if before.isdecimal() and after.isdecimal():
        return joint in ".,;'\u2019\u2018\u2024"
    letters = not before.isdecimal() and not after.isdecimal()
    return letters and joint in ".:'\u2019\u00b7\u2018\u2024"
