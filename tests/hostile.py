"""Names as attackers write them: of files, classes, runs, words, options."""

from __future__ import annotations

import re

HOSTILE_NAMES = [
    "\x1b[2J\x1b]0;owned\x07",  # clears the screen, renames the window
    "a\nerror: all is lost",
    "a\r\x1b[1A\x9b31m",  # goes up a line; C1 has the same commands in one character
    "a\u2028b\u2029c\x85d\x1ce",  # more ends of lines
    "photo\u202egnp.exe\u2066",  # shown backwards
    "caf\udce9",  # a file name that is not UTF-8
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>&lt;",
    "![x](javascript:alert(1)) [y](http://a.b)",
    "# a | b | `c` ```\n## d\n\\| *e* __f__ ~~g~~ 1. - h",
    "=cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "$(touch owned); `touch owned`",
    "{{ 7 * 7 }} {% raw %}",
]
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
