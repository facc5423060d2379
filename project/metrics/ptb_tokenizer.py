r"""The tokens of a caption as coco-caption counts them, without Java.

coco-caption passes captions through the PTBTokenizer of Stanford CoreNLP 3.4.1 (`-preserveLines -lowerCase`) and drops
punctuation. BLEU, ROUGE-L, METEOR and CIDEr depend on what comes out, so these are the same tokens, oddities included.

It reads all captions of a corpus as one file, one caption per line. The tokens at the end of a caption may depend on the
next one: `vitamin C.` is `vitamin c` before a line that begins with A, The, In or such, and `vitamin c.` before others.
`ptb_tokenize_file` has the tokens of a whole file; `ptb_tokenize` has those of one caption between others that leave it
alone, which is what targets and rewards need.

Known differences:
    * A line separator other than \n (\r, vertical tab, form feed, U+2028, U+2029) is a space here. The reference begins
      a new line there, and coco-caption gives every caption after it the words of another one.
    * Lower case is Python's, whose Unicode may be older or newer than the Java runtime's. In lines of random characters
      that is 4 of 125,000; of 250,000 ordinary captions with odd words and marks put in, none differed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from project.metrics.ptb.lexer import lex, lex_between, utf16_units
from project.metrics.ptb.spans import Found

# the reference's list has -LRB-, -RRB-, -LCB- and -RCB- too, but in capitals, and what it is compared with is not
_DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_CACHED_WORDS = 2**16
_CACHED_LENGTH = 32
# \n alone, which coco-caption replaces, and what the reference takes for it
_LINE_BREAKS = re.compile("[\n\r\v\f\u2028\u2029]")
# Where a word's tokens depend on more than the word: tags; spaces that are not plain; numbers in groups; a dot before
# another, a number, a sentence or a firm's Ltd.; a smiley with brackets.
_CONTEXT = re.compile(
    "[<\t\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]"
    r"|[\d)] \d"
    r"|\. +[.\dA-ZLl\u0130\u0131]"
    r"|\[\^"
)


def ptb_tokenize(caption: str) -> list[str]:
    """Tokenizes a caption as coco-caption does.

    Args:
        caption: any text.

    Returns:
        Its tokens in lower case, none of them empty or with a plain space in it. What the reference holds together
        across a space, such as `1 1/2`, has a no-break space there, at which `str.split()` would cut it.
    """
    line = _LINE_BREAKS.sub(" ", caption)
    return _kept(lex(line)) if _CONTEXT.search(line) else _word_by_word(line)


def ptb_tokenize_file(captions: Sequence[str]) -> list[list[str]]:
    """Tokenizes captions as coco-caption does, all as one file, in this order.

    Args:
        captions: any texts.

    Returns:
        The tokens of each; see `ptb_tokenize`.
    """
    lines = [_LINE_BREAKS.sub(" ", caption) for caption in captions]
    units = [utf16_units(line) for line in lines]
    text = "\n".join(units)
    found: Found = {}
    tokens: list[list[str]] = []
    begun: list[str] = []  # the rest of a token that goes on in the next lines
    start = place = 0
    for line, unit in zip(lines, units, strict=True):
        stop = start + len(unit)
        if place <= start and stop < len(text) and not _CONTEXT.search(line) and not _depends_on_next(line):
            tokens.append(_word_by_word(line))
        else:
            words, place = lex_between(text, max(place, start), stop, found)
            words = [begun.pop(0), *words] if begun else words
            if words and "\n" in words[-1]:
                words[-1], *begun = words[-1].split("\n")
            tokens.append(_kept(words))
        start = stop + 1
    return tokens


def _kept(words: Iterable[str]) -> list[str]:
    """The tokens of a line without punctuation; joined and split, since that strips it and cuts tokens with spaces."""
    return [word for word in " ".join(words).rstrip().split(" ") if word and word not in _DROPPED]


def _word_by_word(line: str) -> list[str]:
    tokens: list[str] = []
    for word in line.split(" "):
        tokens += _word_tokens(word) if len(word) <= _CACHED_LENGTH else _word_tokens.__wrapped__(word)
    return tokens


@functools.lru_cache(maxsize=_CACHED_WORDS)
def _word_tokens(word: str) -> tuple[str, ...]:
    return tuple(token for token in lex(word) if token not in _DROPPED)


def _depends_on_next(line: str) -> bool:
    """Whether the last word of a line may have other tokens before another line: that of one letter, or `no.`."""
    word = line.rstrip(" ").rpartition(" ")[2]
    if not word.endswith("."):
        return False
    return _keeps_dot_by_next(word) if len(word) <= _CACHED_LENGTH else _keeps_dot_by_next.__wrapped__(word)


@functools.lru_cache(maxsize=_CACHED_WORDS)
def _keeps_dot_by_next(word: str) -> bool:
    word = utf16_units(word)
    before_a_word, before_a_sentence, before_a_number = (
        lex_between(word + after, 0, len(word), {})[0] for after in ("\n", "\nA ", "\n5")
    )
    return before_a_word != before_a_sentence or before_a_word != before_a_number
