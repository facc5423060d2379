"""Tokens that one expression cannot find: those whose end lies far ahead, and abbreviations.

A web address, a file's name or a tag may need a look at the whole line from each of its tokens. What they depend on is
the same wherever they begin within a stretch of text, so that it is found once and kept until the stretch is over.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from project.metrics.ptb.abbreviations import SENTENCE_STARTS, is_closing, is_title
from project.metrics.ptb.characters import DIGIT, GAP, LETTER

Match = tuple[int, int] | None
Found = dict[str, "_Stretch"]
Matcher = Callable[[str, int, Found], Match]


class _Stretch(NamedTuple):
    """What is known until `stop`: a match ends at `ends[i]` for a token that begins before `before[i]`."""

    stop: int
    before: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def furthest(self, place: int) -> int:
        return max((end for before, end in zip(self.before, self.ends, strict=True) if place < before), default=0)


def _stretch(text: str, place: int, found: Found, kind: str, find: Callable[[str, int], _Stretch]) -> _Stretch:
    known = found.get(kind)
    if known is None or place >= known.stop:
        known = found[kind] = find(text, place)
    return known


def _last(matches: Iterator[re.Match[str]]) -> re.Match[str] | None:
    return next(iter(deque(matches, maxlen=1)), None)


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where the match of a pattern that always matches ends."""
    match = pattern.match(text, place)
    assert match is not None
    return match.end()


_NAME = r"[A-Za-z][A-Za-z0-9_:.-]*+"
_VALUE = r"(?:'[^'\n]*+'|\"[^\"\n]*+\")"
_ELEMENT = re.compile(rf"<(?:{_NAME}(?: ++{_NAME}(?: *+= *+{_VALUE})?+)*+ *+(?:/ *+)?+|/{_NAME} *+)>")
_DECLARATION = re.compile(r"<[!?][A-Za-z-]")
_CLOSING = re.compile("[>\n]")


def tag(text: str, place: int, found: Found) -> Match:
    """A tag of SGML, spaces included; it ends in its line."""
    if _DECLARATION.match(text, place):
        end = _next(text, place + 3, found, _CLOSING)
        end = end + 1 if text.startswith(">", end) else 0
    else:
        element = _ELEMENT.match(text, place)
        end = element.end() if element else 0
    return (end, end) if end else None


def _next(text: str, place: int, found: Found, mark: re.Pattern[str]) -> int:
    """Where the mark comes next, the text's length for nowhere."""

    def find(text: str, place: int) -> _Stretch:
        match = mark.search(text, place)
        where = match.start() if match else len(text)
        return _Stretch(where + 1, (where + 1,), (where,))

    return _stretch(text, place, found, mark.pattern, find).ends[0]


_FACE_START = re.compile(r"[\^x=~<>]\.\[\^[xX]=")
_OPENING = re.compile("<")


def bracketed_face(text: str, place: int, found: Found) -> Match:
    """From x.[^x= to <>], which an Asian smiley was meant to be; it may end many lines later."""
    start = _FACE_START.match(text, place)
    if start is None:
        return None
    end = _next(text, start.end(), found, _OPENING) + 3
    return (end, end) if text.startswith("<>]", end - 3) else None


_LAST_LETTER = re.compile(rf"[A-Za-z]\.[{GAP}]++")
_SENTENCE_START = re.compile(
    rf"(?:{'|'.join(f'{word[0]}(?i:{re.escape(word[1:])})' for word in SENTENCE_STARTS)})[{GAP}]"
)
_ONE_GAP = re.compile(f"[{GAP}]")


def last_letter(text: str, place: int, found: Found) -> Match:
    """A letter whose dot ends a sentence, since a word that starts one or a tag follows."""
    letter = _LAST_LETTER.match(text, place)
    if letter is None:
        return None
    start = _SENTENCE_START.match(text, letter.end())
    if start is None and text.startswith("<", letter.end()):
        after = tag(text, letter.end(), found)
        start = _ONE_GAP.match(text, after[0]) if after else None
    return (start.end(), place + 1) if start else None


_PATH_END = re.compile(r"[^ \t\n\f\r\"<>|()]*[^ \t\n\f\r\"<>|.!?(){},-]")
_WWW = re.compile(r"(?i:www)\.")
# dotted labels, and the domain that ends a match
_WWW_LABELS = re.compile(r"(?:[^ \t\n\f\r\"<>|.!?(){},]++\.?)*+")
_WWW_DOMAIN = re.compile(r"(?<=[^ \t\n\f\r\"<>|.!?(){},])\.[a-zA-Z]{2,4}")
_LABELS = re.compile(r"(?:[^ \t\n\f\r\"'!$(),-_`{|}]++\.?)*+")  # the range holds the capitals and digits
_DOMAIN = re.compile(r"(?<=[^ \t\n\f\r\"'!$(),-_`{|}])\.(?i:com|net|org|edu)")


def web_address(text: str, place: int, found: Found) -> Match:
    """An address without its scheme, such as www.example.org/path."""
    www = _WWW.match(text, place)
    if www is None:
        return None
    end = _stretch(text, www.end(), found, "www", lambda *where: _addresses(_WWW_LABELS, _WWW_DOMAIN, *where)).furthest(
        www.end()
    )
    return (end, end) if end else None


def host_address(text: str, place: int, found: Found) -> Match:
    """The same without www, for some domains, such as example.com."""
    end = _stretch(text, place, found, "host", lambda *where: _addresses(_LABELS, _DOMAIN, *where)).furthest(place)
    return (end, end) if end else None


def _addresses(labels: re.Pattern[str], domain: re.Pattern[str], text: str, place: int) -> _Stretch:
    stop = _end(labels, text, place)
    path_limit = None
    plain = with_path = (0, 0)  # the last place before which an address may begin, and its end
    # a domain of capitals may lie behind the labels
    for ending in domain.finditer(text, place, stop + 4):
        plain = ending.start(), ending.end()
        if text.startswith("/", ending.end()):
            if path_limit is None:
                last = _PATH_END.match(text, ending.end() + 1)
                path_limit = last.end() if last else 0
            if path_limit >= ending.end() + 3:
                with_path = ending.start(), path_limit
    return _Stretch(max(stop, place + 1), (plain[0], with_path[0]), (plain[1], with_path[1]))


_LOCAL_CHARACTERS = re.compile(r"[^ \t\n\f\r\"<>|()\u00a0{}]*+")
_MAIL_START = re.compile(r"(?:<|(?i:&lt;))?(?=[a-zA-Z0-9])")
_AT = re.compile(r"@(?=[^ \t\n\f\r\"<>|(){}.\u00a0])")
_MAIL_HOST = re.compile(r"@[^ \t\n\f\r\"<>|(){}.\u00a0]++(?:\.[^ \t\n\f\r\"<>|(){}.\u00a0]++)*+>?")


def mail_address(text: str, place: int, found: Found) -> Match:
    """A mail address, perhaps between < and >."""
    opening = _MAIL_START.match(text, place)
    if opening is None:
        return None
    end = _stretch(text, opening.end(), found, "mail", _mail_addresses).furthest(opening.end())
    return (end, end) if end else None


def _mail_addresses(text: str, place: int) -> _Stretch:
    stop = _end(_LOCAL_CHARACTERS, text, place)
    last = _last(_AT.finditer(text, place, stop))
    return _Stretch(stop, (last.start(),), (_end(_MAIL_HOST, text, last.start()),)) if last else _Stretch(stop)


_EXTENSIONS = (
    "bat|bmp|c|cgi|class|cpp|dll|doc|docx|exe|gif|gz|h|htm|html|jar|java|jpeg|jpg|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|"
    "tar|txt|wav|x|xml|zip"
)
_FILE_PARTS = re.compile(rf"(?:(?:[{LETTER}{DIGIT}]|&[aeiouAEIOU](?i:acute|grave|uml);)++\.?)*+")
_FILE_END = re.compile(rf"\.(?i:{_EXTENSIONS})(?=[{GAP}.?!,])")


def file_name(text: str, place: int, found: Found) -> Match:
    """A file's name, such as cat.jpg, before a space or the end of a sentence."""
    end = _stretch(text, place, found, "file", _file_names).furthest(place)
    return (end + 1, end) if end else None


def _file_names(text: str, place: int) -> _Stretch:
    stop = _end(_FILE_PARTS, text, place)
    last = _last(_FILE_END.finditer(text, place, stop + 1))
    return _Stretch(stop, (last.start(),), (last.end(),)) if last else _Stretch(stop)


_BEFORE_HYPHEN = re.compile(r"[A-Za-z0-9.,\u00ad]*+")
_HYPHENATED = re.compile(r"(?:-(?:[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z0-9\u00ad]++))+")
_PAUSE = re.compile(r"\.[,;:\u3001]")


def hyphenated(text: str, place: int, found: Found) -> Match:
    """Words and numbers with dots or commas, joined by hyphens, such as St.-Denis."""
    end = _stretch(text, place, found, "hyphen", _hyphenated_words).furthest(place)
    if not end:
        return None
    return (end + 2, end + 1) if _PAUSE.match(text, end) else (end, end)


def _hyphenated_words(text: str, place: int) -> _Stretch:
    stop = _end(_BEFORE_HYPHEN, text, place)
    rest = _HYPHENATED.match(text, stop)
    return _Stretch(stop, (stop,), (rest.end(),)) if rest else _Stretch(stop)


_DOTTED = re.compile("((?i:ed|ph)[.][dD]|[A-Za-z\u0130\u0131\u017f\u212a]++)[.]")


def abbreviation(text: str, place: int, _: Found) -> Match:
    """A known abbreviation with its dot; the closing ones take heed of two characters more."""
    dotted = _DOTTED.match(text, place)
    if dotted is None:
        return None
    if is_closing(dotted[1]):
        return dotted.end() + 2, dotted.end()
    return (dotted.end(), dotted.end()) if is_title(dotted[1]) else None
