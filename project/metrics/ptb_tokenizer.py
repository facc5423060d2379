r"""The tokens of a caption as coco-caption counts them, without Java.

coco-caption passes captions through the PTBTokenizer of Stanford CoreNLP 3.4.1 (`-preserveLines -lowerCase`) and drops
punctuation. BLEU, ROUGE-L, METEOR and CIDEr depend on what comes out, so these are the same tokens, oddities included.

Known differences:
    * A line separator other than \n (\r, vertical tab, form feed, U+2028, U+2029) is a space here. The reference begins
      a new line there, and coco-caption gives every caption after it the words of another one.
    * A caption's tokens do not depend on its neighbours. In the reference a last word of one letter loses its dot where
      the next caption begins with A, The, In or such (`vitamin C.`: `c.` here); a tag that is left open runs on into
      the next captions; and a smiley, `'90` or `1.zip` that ends the very last caption comes apart.
    * Lower case is Python's, whose Unicode may be older or newer than the Java runtime's. In lines of random characters
      that is 4 of 125,000; of 250,000 ordinary captions with odd words and marks put in, none differed.
"""

from __future__ import annotations

import functools
import re

from project.metrics.ptb.lexer import lex

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
    tokens: list[str] = []
    if _CONTEXT.search(line):
        # joined and split, since that strips the line and cuts tokens with spaces in them
        words: list[str] | tuple[str, ...] = " ".join(lex(line)).rstrip().split(" ")
        return [word for word in words if word and word not in _DROPPED]
    for word in line.split(" "):
        tokens += _word_tokens(word) if len(word) <= _CACHED_LENGTH else _word_tokens.__wrapped__(word)
    return tokens


@functools.lru_cache(maxsize=_CACHED_WORDS)
def _word_tokens(word: str) -> tuple[str, ...]:
    return tuple(token for token in lex(word) if token not in _DROPPED)
