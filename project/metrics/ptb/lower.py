"""Lower case as Java has it, which differs from Python's in where a Σ ends a word."""

from __future__ import annotations

import re
import unicodedata

_SIGMA = "\u03a3"
# letters that are words by themselves
_IDEOGRAPHS = re.compile("[\u3005\u3041-\u3094\u309d\u309e\u30a1-\u30fa\u30fc-\u30fe\u4e00-\u9fa5\uf900-\ufa2d]")
# join two letters, but no numbers: hyphens, underscores and their like
_MARK_INSIDE = re.compile(
    "['._\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f\u2027\u00ad\u058a\u1400\u1806\u2010-\u2015\u2e17"
    "\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0\ufe58\ufe63\uff0d-]"
)
# what has a case without being called upper or lower case
_CASED = re.compile("[\u02b0-\u02b8\u02c0\u02c1\u02e0-\u02e4\u0345\u037a\u1d2c-\u1d61\u2160-\u217f]")


def lower(token: str) -> str:
    """The token in lower case: Σ becomes ς after a letter with a case, unless another follows within the word."""
    if _SIGMA not in token:
        return token.lower()
    letters = [character.lower() for character in token]
    for place, character in enumerate(token):
        if character == _SIGMA:
            letters[place] = "ς" if _cased(token, place, -1) and not _cased(token, place, 1) else "σ"
    return "".join(letters)


def _cased(token: str, place: int, step: int) -> bool:
    """Whether a letter with a case lies before the word's end in this direction."""
    place += step
    while 0 <= place < len(token):
        category = unicodedata.category(token[place])
        if category in ("Lu", "Ll", "Lt") or _CASED.match(token[place]):
            return True
        if _MARK_INSIDE.match(token, place):
            joins = 0 < place < len(token) - 1 and _is_letter(token[place - 1]) and _is_letter(token[place + 1])
        else:
            joins = category[0] in "LMN" or category == "Cf"
        if not joins or _IDEOGRAPHS.match(token, place) or token[place] > "\uffff":
            return False
        place += step
    return False


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"
