"""What a token may be: at each place the rule that sees furthest wins, and the earlier one of equals.

A rule sees as far as its match reaches, and its token ends with the match's group where it has one: what lies behind is
context. Quantifiers that need not give back are possessive, so that a match takes time in proportion to its reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from project.metrics.ptb import spans
from project.metrics.ptb.abbreviations import BEFORE_NUMBERS
from project.metrics.ptb.characters import BASIC_LETTER, BLANK, DIGIT, GAP, LETTER, QUOTES


class Rule(NamedTuple):
    """A kind of token."""

    match: spans.Matcher
    """Takes text, place and what was found before; returns how far it sees and where the token ends."""
    starts: re.Pattern[str]
    """Matches the characters that the token may begin with."""
    rewrite: Callable[[str], str] | None
    """What is done to its text; nothing is left of what is no token."""


def _rule(pattern: str | spans.Matcher, starts: str, rewrite: Callable[[str], str] | None = None) -> Rule:
    if not isinstance(pattern, str):
        return Rule(pattern, re.compile(f"[{starts}]"), rewrite)
    compiled = re.compile(pattern, re.DOTALL)

    def match(text: str, place: int, _: spans.Found) -> spans.Match:
        found = compiled.match(text, place)
        return (found.end(), found.end(found.lastindex or 0)) if found else None

    return Rule(match, re.compile(f"[{starts}]"), rewrite)


def _without_soft_hyphens(token: str) -> str:
    return token.replace("\u00ad", "") or "-"


def _without_spaces(token: str) -> str:
    return token.replace(" ", "\u00a0")


def _with_brackets(token: str) -> str:
    return token.replace("(", "-LRB-").replace(")", "-RRB-")


def _with_ampersand(token: str) -> str:
    return re.sub("&amp;", "&", token, flags=re.IGNORECASE | re.ASCII)


def _with_plain_quotes(token: str) -> str:
    return "".join(QUOTES.get(character, character) for character in token.replace("&apos;", "'"))


# pieces; _APOSTROPHE includes what is one by mistake
_TRUE_APOSTROPHE = r"(?:['\x92’]|(?i:&apos;))"
_APOSTROPHE = r"(?:['\x92’`\x91‘‛]|(?i:&apos;))"
_ACCENTED = r"&[aeiouAEIOU](?i:acute|grave|uml);"
_CHARACTER = rf"(?:[{LETTER}]|{_ACCENTED})"
_CHARACTERS = rf"[{LETTER}{DIGIT}]*+(?:{_ACCENTED}[{LETTER}{DIGIT}]*+)*+"
_WORD = rf"{_CHARACTER}{_CHARACTERS}(?:[.!?]{_CHARACTER}{_CHARACTERS})*+"
_CLITIC = rf"{_TRUE_APOSTROPHE}(?:[msdMSD]|(?i:re|ve|ll))"
_NOT = rf"[nN]{_APOSTROPHE}[tT]"
_ALNUM = f"[{BASIC_LETTER}{DIGIT}]"
_PREFIXED = rf"(?:[dDoOlL]{_APOSTROPHE}{_ALNUM}(?={_ALNUM}))?{_ALNUM}++"  # d'Artagnan, o'clock
_COMPOUND = rf"{_PREFIXED}(?:[-_\u058a\u2010\u2011]{_PREFIXED})*+"
_JOINED_CAPITALS = r"[A-Z]++(?:(?:(?i:&amp;)|[+&])[A-Z]++)++"
_PAUSE = r"[,;:\u3001]"
_INITIALS = r"(?:[A-Za-z](?:\.[A-Za-z])*|(?i:(?:canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-u\.(?:k|s\.s\.r)))"
_N = f"[{DIGIT}]"
_GROUPED_PHONE = (
    r"(?:\([0-9]{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])"
    r"[0-9]{3,4}[- \u00a0]?[0-9]{3,5}"
)
_DOTTED_PHONE = r"(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"
_SEGMENT = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_EYE = r"\^x=~<>"
_ANY_CASE = "A-Za-z\u0130\u0131\u017f\u212a"  # Unicode takes these four for i, s and k
_DIGITS_START = f"{DIGIT}.:,+\\-\\u00ad\\u066b\\u066c"
_WORD_START = f"{LETTER}&"
_APOSTROPHE_START = r"'\x92’`\x91‘‛&"

# the first three letters are a token, and the rest the next one
SPLIT_WORDS = ("cannot", "gonna", "wanna", "gotta", "lemme", "gimme")

_SPLIT = [
    _rule(r"(?i:c\+\+|[cf]\#)", "cCfF"),
    _rule(rf"(?i:{'|'.join(f'({word[:3]}){word[3:]}' for word in SPLIT_WORDS)}|('t)(?:was|is))", "cCgGlLwW'"),
]
_MARKUP = [
    _rule(spans.tag, "<", _without_spaces),
    _rule(r"(?i:&(?:md|mdash|ndash);)", "&", lambda _: "--"),
    _rule(r"(?i:&amp;)", "&", lambda _: "&"),
    _rule(r"(?i:&(?:ht|tl|ur|lr|qc|ql|qr|odq|cdq|\#[0-9]++);)", "&"),
]
_WORDS = [
    _rule(rf"({_WORD}){_CLITIC}", _WORD_START, _without_soft_hyphens),
    _rule(rf"([A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*+){_NOT}", r"A-Za-z\u00ad", _without_soft_hyphens),
    _rule(_WORD, _WORD_START, _without_soft_hyphens),
    # with an apostrophe inside or at an end
    _rule(
        rf"{_TRUE_APOSTROPHE}(?:(?i:[2-9]0s|till?|em|cause)|[nN]{_TRUE_APOSTROPHE}?)",
        _APOSTROPHE_START,
    ),
    _rule(
        rf"[A-HJ-XZn]{_APOSTROPHE}[{BASIC_LETTER}]{{2}}[{BASIC_LETTER}]*+"
        rf"|[{BASIC_LETTER}]{{2,}}+(?<=[aeiouyAEIOUY]){_APOSTROPHE}[aeiouA-Z][{BASIC_LETTER}]*+"
        rf"|(?i:cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|o{_APOSTROPHE}o)"
        rf"|(?i:dunkin|somethin|ol|[ldj]){_TRUE_APOSTROPHE}",
        BASIC_LETTER,
    ),
    _rule(rf"([yY]{_TRUE_APOSTROPHE})[{BASIC_LETTER}]", "yY"),
]
_WEB = [
    _rule(r"(?i:https?)://[^ \t\n\f\r\"<>|(){}]+[^ \t\n\f\r\"<>|.!?(){},-]", "hH"),
    _rule(spans.web_address, "wW"),
    _rule(spans.host_address, r"^ \t\n\f\r\"'!$(),-_`{|}"),
    _rule(spans.mail_address, "A-Za-z0-9<&"),
    _rule(rf"@[a-zA-Z_][a-zA-Z_0-9]*+|\#{_CHARACTER}++", "@#"),
]
_CLITICS = [
    _rule(rf"({_CLITIC})[^A-Za-z]", _APOSTROPHE_START, _with_plain_quotes),
    _rule(rf"({_NOT})[^A-Za-z]", "nN", _with_plain_quotes),
]
_NUMBERS = [
    _rule(rf"{_N}{{1,2}}[-/]{_N}{{1,2}}[-/]{_N}{{2,4}}", DIGIT),
    _rule(
        rf"[-+]?(?:{_N}*+(?:[.:,\u00ad\u066b\u066c]{_N}++)++|{_N}++)",
        _DIGITS_START,
        _without_soft_hyphens,
    ),
    _rule(
        r"[\u207a\u207b\u208a\u208b]?(?:[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]++|[\u2080-\u2089]++)",
        r"\u00b9\u00b2\u00b3\u2070-\u208e",
    ),
    _rule(
        rf"(?:{_N}{{1,4}}[- \u00a0])?{_N}{{1,4}}(?:\\?/|\u2044){_N}{{1,4}}",
        DIGIT,
        _without_spaces,
    ),
]
_SPELLINGS = [
    _rule(
        r"(?i:-[rl][rcs]b-|c\.d\.s|pro-|anti-|s&(?:amp;)?(?:p-500|ls))"
        rf"|(?i:cap{_TRUE_APOSTROPHE}n|c{_TRUE_APOSTROPHE}est)",
        "-cCpPaAsSſ",
        _with_ampersand,
    ),
    _rule(rf"{_SEGMENT}(?:\\?/{_SEGMENT}){{1,2}}", "A-Za-z0-9"),
    _rule(r"[A-Z]*+\$", "A-Z$"),
]
_ABBREVIATIONS = [
    _rule(spans.last_letter, "A-Za-z"),
    _rule(rf"((?i:{'|'.join(BEFORE_NUMBERS)})\.)[{GAP}]?[{DIGIT}]", _ANY_CASE),
    _rule(rf"((?i:pt[ey]|co)\.)[{BLANK}](?i:ltd|lim)", "cCpP"),
    _rule(spans.abbreviation, _ANY_CASE),
    _rule(rf"{_INITIALS}\.", _ANY_CASE),
    _rule(rf"({_INITIALS})[{GAP}]", _ANY_CASE),
    _rule(rf"({_TRUE_APOSTROPHE}[0-9][0-9])[{GAP}]", _APOSTROPHE_START),
    _rule(spans.file_name, f"{LETTER}{DIGIT}&"),
    _rule(rf"({_WORD}\.){_PAUSE}", _WORD_START, _without_soft_hyphens),
]
_MARKS = [
    _rule(_GROUPED_PHONE, "(+0-9", lambda token: _with_brackets(_without_spaces(token))),
    _rule(_DOTTED_PHONE, "+0-9"),
    _rule(r"(?i:&quot;)", "&", lambda _: "''"),
    _rule(r"(?i:&lt;)", "&", lambda _: "<"),
    _rule(r"(?i:&gt;)", "&", lambda _: ">"),
    _rule(r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])[^A-Za-z0-9]", "<>:;=", _with_brackets),
    _rule(spans.bracketed_face, r"\^x=~<>", _with_brackets),
    _rule(
        rf"[-{_EYE}']_[-{_EYE}']|\((?:[-{_EYE}'][_.]?[-{_EYE}']|[{_EYE}']-[{_EYE}'`])\)",
        r"(\-\^x=~<>'",
        _with_brackets,
    ),
    _rule(r"-++", "-", lambda token: "--" if len(token) in (3, 4) else token),
    _rule(r"\.{3,5}|(?:\.[ \u00a0]){2,4}\.", ".", lambda _: "..."),
    _rule(r"@++|\#++|_++|\*++|[?!]++|<<|>>|(?:\\\*){1,3}", r"@#_*?!<>\\"),
]
_COMPOUNDS = [
    _rule(spans.hyphenated, "A-Za-z0-9", _without_soft_hyphens),
    _rule(rf"({_COMPOUND}\.){_PAUSE}|({_COMPOUND})", f"{BASIC_LETTER}{DIGIT}"),
    _rule(rf"({_JOINED_CAPITALS}\.){_PAUSE}|({_JOINED_CAPITALS})", "A-Z", _with_ampersand),
]
_QUOTES = [
    _rule(r"(')[A-Za-z][^ \t\n\r\u00a0]", "'"),
    _rule(_CLITIC, _APOSTROPHE_START, _with_plain_quotes),
    _rule(_NOT, "nN", _with_plain_quotes),
    _rule(
        rf"[`‘’‚‛“”\x91-\x94„‟‹›«»]{{1,2}}|''|{_TRUE_APOSTROPHE}",
        r"'&`‘’‚‛“”\x91-\x94„‟‹›«»",
        _with_plain_quotes,
    ),
]
_NOTHING = [
    _rule(rf"[{BLANK}]++", BLANK, lambda _: ""),
    _rule(r"(?i:&nbsp;)", "&", lambda _: ""),
]

RULES = [
    *(*_SPLIT, *_MARKUP, *_WORDS, *_WEB, *_CLITICS, *_NUMBERS, *_SPELLINGS),
    *(*_ABBREVIATIONS, *_MARKS, *_COMPOUNDS, *_QUOTES, *_NOTHING),
]
