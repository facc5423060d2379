"""Tokens of a text: at each place the longest match of all rules."""

from __future__ import annotations

import functools
import re

from project.metrics.ptb.abbreviations import PLAIN_EXCEPTIONS
from project.metrics.ptb.characters import SINGLE
from project.metrics.ptb.lower import lower
from project.metrics.ptb.rules import RULES, SPLIT_WORDS, Rule
from project.metrics.ptb.spans import Found

# a word before a space, perhaps with a dot or comma, or one of these, at which no rule would see further
_PLAIN = re.compile(r" *([A-Za-z]{2,}(?=[.,]?[ \n])|[A-Za-z](?=,?[ \n])|[.,](?=[ \n](?!\.)))")
# what it may not be
_NOT_PLAIN = frozenset(SPLIT_WORDS) | PLAIN_EXCEPTIONS


def lex(line: str) -> list[str]:
    """All tokens of a line, punctuation included, in lower case."""
    text = utf16_units(line)
    return lex_between(text + "\n", 0, len(text), {})[0]  # as if another line followed


def lex_between(text: str, start: int, stop: int, found: Found) -> tuple[list[str], int]:
    """The tokens of a longer text that begin in text[start:stop], and where the last one ends, which may be later.

    Args:
        text: as `utf16_units` gives it, lines separated by line feeds.
        start: where a token may begin.
        stop: the end of that line.
        found: one dictionary for all calls with this text; `start` grows from call to call.
    """
    tokens: list[str] = []
    place = start
    while place < stop:
        plain = _PLAIN.match(text, place)
        if plain and (word := plain[1].lower()) not in _NOT_PLAIN:
            tokens.append(word)
            place = plain.end()
            continue
        token, place = _next_token(text, place, found)
        if token:
            tokens.append(lower(_characters(token)))
    return tokens, place


def _next_token(text: str, place: int, found: Found) -> tuple[str, int]:
    """The token at this place, empty where there is none, and where the next one may begin."""
    best, reach, end = None, 0, 0
    for rule in _rules_for(text[place]):
        match = rule.match(text, place, found)
        if match is not None and match[0] > reach:
            best, (reach, end) = rule, match
    if best is None:
        return SINGLE.get(text[place], ""), place + 1
    return best.rewrite(text[place:end]) if best.rewrite else text[place:end], end


@functools.lru_cache(maxsize=2**12)
def _rules_for(character: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.starts.match(character))


def utf16_units(text: str) -> str:
    """The text with two surrogates per character beyond the Basic Multilingual Plane, as the reference reads it."""
    if text.isascii() or max(text) <= "\uffff":
        return text
    units = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")
    return "".join(map(chr, units))


def _characters(units: str) -> str:
    """The inverse of `utf16_units`; half a character stays what it is."""
    if units.isascii():
        return units
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
