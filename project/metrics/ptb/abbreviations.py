"""Words that keep their dot. Those in capitals must begin with one in the text, since they are words without it."""

from __future__ import annotations

import string

# the dot ends a sentence or does not; a word of one letter may follow it without a space
_CLOSING = """
jan feb mar apr jun jul aug sep sept oct nov dec  mon tue tues wed thu thurs fri
ala ariz calif colo conn ct dak fla ga ind kan kans ky md mich minn mo mont neb nev okla penn tenn va vt wis wisc wyo
AZ ARK DEL ILL LA MASS MISS ORE PA TEX WASH
assn bancorp bhd co cos corp inc intl ltd plc pte ptes pty ptys ppte pptes ppty pptys rt sys univ
al bldg blvd bros ed.d esq est etc ext jr ph.d rd seq sq sr tel
"""
# a name follows
_TITLES = """
adj adm adv asst assoc atty attys brig capt cmdr col comdr cpl det dr drs ens gen gov govs hon insp lieut lt maj messrs
mlle mme mr mrs ms msgr pfc pres prof profs pvt rep reps rev sen sens sfc sgt spc st ste supt supts
alex ave cf cie dept elec ft invt jos mfg mt mtg natl ph treas vs wm
"""

# in these one letter must be small
_SMALL_LETTERS = {
    word: letter for letter in "ey" for word in (f"pt{letter}", f"pt{letter}s", f"ppt{letter}", f"ppt{letter}s")
}
_SMALL_LETTERS |= {"mfg": "f", "mtg": "t"}

BEFORE_NUMBERS = ("art", "bldg", "ca", "fig", "figs", "no", "nos", "op", "pp", "prop")
"""Keep their dot before a digit."""

_SENTENCE_STARTS = """
A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Mr. Ms. Now
Once One Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You
"""
SENTENCE_STARTS = tuple(_SENTENCE_STARTS.split())
"""Before one of these a single letter loses its dot."""


_CLOSING_WORDS = frozenset(_CLOSING.lower().split())
_TITLE_WORDS = frozenset(_TITLES.split())
_CAPITALISED = frozenset(word.lower() for word in _CLOSING.split() if word.isupper())


# where case does not matter these are letters of ASCII, as Unicode has it
_SAME = str.maketrans("\u0130\u0131\u017f\u212a", "iisk")


def is_closing(word: str) -> bool:
    """Whether this word, as it is spelt, keeps its dot and may end a sentence."""
    lower = word.translate(_SAME).lower()
    return (
        lower in _CLOSING_WORDS
        and (lower not in _CAPITALISED or word[0] in string.ascii_uppercase)
        and _SMALL_LETTERS.get(lower, "") in word
    )


def is_title(word: str) -> bool:
    """Whether this word, as it is spelt, keeps its dot before a name."""
    lower = word.translate(_SAME).lower()
    return lower in _TITLE_WORDS and _SMALL_LETTERS.get(lower, "") in word


PLAIN_EXCEPTIONS = _CLOSING_WORDS | _TITLE_WORDS | set(BEFORE_NUMBERS)
"""Words before whose dot more must be known than that it follows."""
