"""Which characters the reference takes for letters, digits and symbols.

All of this was measured, one character of the Basic Multilingual Plane at a time. The reference works on UTF-16, where
a character beyond that plane is two, neither of which it knows.
"""

from __future__ import annotations

import unicodedata

BMP_SIZE = 0x10000

# Ranges are in hexadecimal. These hold what Unicode assigned after 6.1, which the reference knows, with the gaps around
# it, so that a Python with a newer Unicode has the same letters.
_UNKNOWN = """
037E-0383 0528-0530 0560 0588-0590 05EB-05EF 0859-089F 08A1 08AD-08FF 0978 0980 09F2-0A00 0AF0-0B04 0C34 0C5A-0C5F
0C70-0C84 0CBE-0CDD 0CF3-0D04 0D4F-0D5F 0DE6-0DEF 0E85-0E86 0E89 0E8B-0E8C 0E8E-0E93 0E98 0EA0 0EA8-0EA9 0EAC 13F5-1400
16EB-16FF 170D 1712-171F 1878-187F 191D-1945 19AC-19C0 19C8-19CF 1B4C-1B4F 1C7E-1CE8 1CF2-1CF4 1CF7-1CFF 2C2F 2C5F
312E-3130 31BB-31EF 4DB6-4DFF 9FCD-9FFF A698-A69F A78F A794-A79F A7AB-A7F7 A8FC-A8FF A9DA-A9FF AA7B-AA7F AB2F-ABBF
"""
# letters to Unicode 6.1, marks since
_FORMER_LETTERS = "1885-1886"
# marks and a few others that may stand in a word
_MARKS = """
00AD 02C2-0379 0384-0385 03F6 0483-0487 055A-055F 0591-05BD 05BF 05C1-05C2 05C4-05C5 05C7 0615-061A 064B-065E 0670
06D6-06ED 06FD-06FE 070F-07B0 07EB-07F3 0900-0903 093C-094E 0951-0955 0962-0963 0981-0983 09BC-09C4 09C7-09C8 09CB-09CD
09D7 09E2-09E3 0A01-0A03 0A3C 0A3E-0A4F 0A81-0A83 0ABC-0ACF 0B82 0BBE-0BC2 0BC6-0BC8 0BCA-0BCD 0C01-0C03 0C3E-0C56
0D3E-0D44 0D46-0D48 0E31-0E3A 0E47-0E4E 0EB1-0EBC 0EC8-0ECD
"""
# beside those in ASCII
_SYMBOLS = """
00A1 00A5-00A9 00AC 00AE-00B4 00B6-00B9 00BF 00D7 00F7 037E 0387 0589 05BE 05C0 05C3 05C6 05F3-05F4 0600-0603 0606-060C
0614 061B 061E-061F 066A 066D 06D4 0700-070D 07F6-07F8 0964-0965 0E3F 0E4F 1FBD 2016-2017 201A 201E-2023 2030-2038 203B
203E-2042 2044 2070 2074-207E 2080-208E 20A4 2100-2101 2103-2106 2108-2109 2114 2116-2118 211E-2123 2125 2127 2129 212E
213A-213B 2140-2144 214A-214D 214F 2155-215E 2190-2BFF 3001-3002 3012 30FB FF01-FF0F FF1A-FF20 FF3B-FF40 FF5B-FF65
FFE0-FFE1 FFE5-FFE6
"""


def _code_points(ranges: str) -> set[int]:
    bounds = [(part.split("-")[0], part.split("-")[-1]) for part in ranges.split()]
    return {code for first, last in bounds for code in range(int(first, 16), int(last, 16) + 1)}


def _class_body(codes: set[int]) -> str:
    """What stands between the brackets of a regular expression's character class."""
    parts: list[str] = []
    for code in sorted(codes):
        if code - 1 not in codes:
            parts.append(rf"\u{code:04x}")
        elif code + 1 not in codes:
            parts.append(rf"-\u{code:04x}")
    return "".join(parts)


def _in_category(first_letter_or_both: str) -> set[int]:
    found = {code for code in range(BMP_SIZE) if unicodedata.category(chr(code)).startswith(first_letter_or_both)}
    return found - _code_points(_UNKNOWN)


_letters = _in_category("L") | _code_points(_FORMER_LETTERS)

BASIC_LETTER = _class_body(_letters)
"""Letters as Unicode 6.1 has them; these classes are without their brackets."""
LETTER = _class_body(_letters | _code_points(_MARKS))
"""With the marks that may stand in a word, soft hyphens among them."""
DIGIT = _class_body(_in_category("Nd"))

BLANK = r" \t\u00a0\u2000-\u200a\u3000"
LINE_BREAK = r"\r\n\u000b\u000c\u0085\u2028\u2029"
GAP = BLANK + LINE_BREAK

# what a character becomes where nothing longer begins at it; what is not here is deleted
SINGLE = {chr(code): chr(code) for code in _code_points(_SYMBOLS)}
SINGLE |= {symbol: symbol for symbol in "!#$%&*+,-./:;<=>?@\\^_|~"}
SINGLE |= {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
SINGLE |= {"\x80": "$", "¢": "cents", "£": "#", "¤": "$", "\u20a0": "$", "€": "$"}
SINGLE |= {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
SINGLE |= dict.fromkeys("\x96\x97–—―", "--") | dict.fromkeys("\x85…", "...") | {'"': "''"}

# quotation marks alone or in pairs
QUOTES = {"'": "'", "\x91": "`", "‘": "`", "‛": "`", "‹": "`", "\x92": "'", "’": "'", "›": "'"}
QUOTES |= {"\x93": "``", "“": "``", "«": "``", "\x94": "''", "”": "''", "»": "''"}
