"""Captions in the style of caption data sets, and such as no one would write, for comparing tokenizers."""

from __future__ import annotations

import random
import re

LINE_SEPARATOR = re.compile("[\r\v\f\u2028\u2029]")  # which the reference takes for line breaks


def _words(text: str) -> list[str]:
    return text.split(" ")


_PEOPLE = _words(
    "man woman boy girl child baby couple group_of_people group_of_friends crowd surfer skier snowboarder skateboarder "
    "tennis_player baseball_player batter chef police_officer family young_man little_girl old_man toddler biker"
)
_THINGS = _words(
    "dog cat horse sheep cow elephant zebra giraffe bear bird train bus truck car motorcycle bicycle boat "
    "airplane kite "
    "frisbee surfboard skateboard umbrella suitcase clock bench pizza sandwich cake banana apple laptop cell_phone tv "
    "remote_control toilet sink bed couch chair dining_table teddy_bear vase fire_hydrant stop_sign traffic_light "
    "parking_meter hot_dog tennis_racket baseball_bat wine_glass cutting_board street_sign refrigerator microwave"
)
_ADJECTIVES = _words(
    "black white red blue green yellow large small big little tall old young wooden empty colorful busy snowy grassy "
    "black-and-white double-decker open-faced half-eaten well-lit brown orange pink dirty clean wet cute furry shiny"
)
_VERBS = _words(
    "riding holding standing_next_to sitting_on looking_at walking_past flying playing_with eating carrying leaning_on "
    "laying_on jumping_over driving_down parked_by waiting_for reaching_for talking_about posing_with feeding"
)
_PLACES = _words(
    "on_a_beach in_the_snow on_a_city_street in_a_kitchen in_a_living_room at_a_park on_top_of_a_hill in_a_field "
    "by_the_ocean under_a_tree near_a_building in_front_of_a_mirror at_night on_a_sunny_day in_the_rain "
    "in_the_background "
    "at_an_airport on_a_train_track inside_of_a_bathroom along_the_river on_a_baseball_field"
)
_NUMBERS = _words("two three four several a_couple_of many some 2 3 10")
_ODDITIES = _words(
    "man's woman's dog's it's isn't can't doesn't they're he's there's someone's cannot t-shirt ice-cream w/ & "
    "5:30 1/2 "
    "'hello' \"stop\" (left) [sic] t.v. St. Mr. dr. no. U.S. vs. etc. a.m. p.m. o'clock '90s 'n' kid's kids' 3rd "
    "100% #1 "
    "$5 10,000 7-11 #23 747 B-17 P.O. ... -- - ! !! ? , ; : men/women and/or 6' 12\" café naïve coca-cola "
    "oranges,apples "
    "street.A man.He .and frisbee.. ,and A.M. 4-way mid-air gonna y'all ok, 'stop' “stop” it’s – — … 2nd 50's "
    "1950's x's"
)


def ordinary_caption(generator: random.Random) -> str:
    """A caption as people write them, now and then with something that is hard to tokenize."""

    def pick(words: list[str]) -> str:
        return generator.choice(words).replace("_", " ")

    def noun() -> str:
        return pick(_THINGS) if generator.random() < 0.4 else f"{pick(_ADJECTIVES)} {pick(_THINGS)}"

    templates = [
        lambda: f"A {pick(_PEOPLE)} {pick(_VERBS)} a {noun()} {pick(_PLACES)}",
        lambda: f"A {pick(_PEOPLE)} is {pick(_VERBS)} a {noun()} and a {noun()}",
        lambda: f"{pick(_NUMBERS).capitalize()} {pick(_THINGS)}s are {pick(_PLACES)} with a {noun()}",
        lambda: f"There is a {noun()} that is {pick(_PLACES)}",
        lambda: f"The {noun()} is {pick(_VERBS)} the {pick(_PEOPLE)}",
        lambda: f"a {noun()} {pick(_PLACES)} {pick(_PLACES)}",
        lambda: f"An image of a {pick(_PEOPLE)} {pick(_VERBS)} {pick(_NUMBERS)} {pick(_THINGS)}s",
    ]
    words = generator.choice(templates)().split(" ")
    if generator.random() < 0.3:
        words.insert(generator.randrange(len(words) + 1), generator.choice(_ODDITIES))
    return " ".join(words) + generator.choice([".", ".", ".", "", " .", ". ", "!", ".."])


_CLITICS = (
    "'s 's 't n't 're 've 'll 'd 'm ’s n’t ’re `s ‘s &apos;s 'S N'T 'LL 'S. 'sx 'rex 'mx n'ts n`t "
    "\x92s y' Y' d' L' O' ol'"
)
_ABBREVIATIONS = (
    "Mr. mrs. Dr. st. St. No. no. nos. fig. figs. ca. art. prop. pp. op. etc. Inc. inc. Co. Ltd. ltd. Jan. sept. "
    "Mon. Az. "
    "az. Miss. miss. Wash. wash. U.S. u.s. U.S.A. U.K. a.k.a. A.K.A. Ph.D. ph.d Ph. e.g. i.e. a.m. P.M. sq. ft. "
    "Ft. tel. "
    "ext. bldg. Bldg. vs. cf. al. Mt. Rd. ave. Ave. Jr. Sr. B. x. I. Z pte. PTE. pty Pty. MFG. Mfg. non-U.S. U.S.-U.K. "
    "pro-U.S. Sino-U.S. C.D.s ed.d. wk. ex. dept. Dept. gov. rev. u.s etc inc co la. La. pa. Pa."
)
_NUMERIC = (
    "1 2 10 100 1990 12345 1,000 3.5 .5 ,5 :30 5:30 1/2 3/4 1\\/2 12/25 12/25/14 1-2-2014 555-1234 555 1234 (555) "
    "123-4567 555.123.4567 +1 ++44 -5 +5 1st 5pm 5' 6'2\" ½ 1½ ⅓ ⅝ x² m³ 10⁻³ H₂O 1⁄2 ٣٤ ४५ ５ $5 5$ US$5 £5 €5 ¢ ¥100 "
    "'90 '90s '05. 90's #1 #5 c# C++ f# 100% 50°C 1e5 0x1F 1.2.3 10.0.0.1 1\u00ad000 1\u00a01/2 ߀ ۱/۲"
)
_WEB_WORDS = (
    "foo@bar.com a@b <a@b.c> &lt;a@b.c&gt; a@b..c a.b@ @home @_x @5 #cat #c4t ## @@ http://a.b/c http://a http://a.b, "
    "https://x.y?z=(1) HTTP://A.B www.foo.com www.foo.com/bar. www.a WWW.X.COM foo.com foo.com/ foo.com/bar.html "
    "Foo.com "
    "foo.COM a&b.com é.net x.community x.org.uk cat.jpg cat.JPG, 1.zip a.b.c.txt x.html? .py a.tar.gz "
    "photo1.jpeg x.mp3. "
    "www.é.com/a&b #é_ man.jpg's a/b.com w.w. x_1.com ftp://x.edu"
)
_MARKUP_WORDS = (
    "<b> </b> <br/> <br /> <a href=\"x y\"> <a b='c'> <a b=c> <!DOCTYPE x> <?xml v?> <!-- c --> <3 << >> < > <= "
    "=> -> <- "
    "&amp; &AMP; &lt; &gt; &quot; &apos; &nbsp; &mdash; &ndash; &MD; &HT; &#39; &#x27; &eacute; &Eacute; caf&eacute; "
    "&ntilde; &amp &foo; AT&T AT&amp;T R&B A+B a&b S&P-500 S&amp;Ls Q&A's"
)
_MARKS_WORDS = (
    ". .. ... .... ..... ...... . . . . . . , ,, ; : :: ! !! ? ?? ?! !? . , - -- --- ---- ----- _ __ * ** \\* "
    "\\*\\* \\ / // "
    "| ~ ^ + = % $ $$ & && # @ ( ) [ ] { } (( () [] -LRB- -rrb- -LSB- ' '' ''' \" \"\" ` `` ``` '\" ‘ ’ “ ” ‘’ “” ’’ "
    "« » ‹ › ‚ „ ‟ ‛ – — ― ‐ ‑ ‒ … · • ¿ ¡ § © ® ™ ° ± × ÷ ¶ ¬ ¨ ´ ¸ → ★ ♥ ☺ ✓ 、 。 ・ 「 ！ ？ ～"
)
_SMILEYS = (
    ":) :-) :( ;-) :D :P =) =D :o) :'( >:) <:-| :p. :\\ :{ :@ :O :o ^_^ -_- >_< x_x (^_^) "
    "(^.^) (^-^) (^-`) =_= ~_~ o_O (-_-)"
)
_WORD_FORMS = (
    "cannot CANNOT Cannot. cannots gonna Gonna, wanna gotta lemme gimme 'twas 'tis 'Tis 'twasn't y'all Y'all y’know "
    "o'clock O'Clock o'o 'n' 'n rock'n'roll 'em 'email 'til 'till 'tilt 'cause cap'n Cap’n c'est C'mon nor'easter e'er "
    "s'mores ev'ry li'l nat'l cont'd cont'd. dunkin' somethin' ol' D'Angelo d'art l'an O'Neil A'll she'S they'RE "
    "Hawai'i "
    "qur'an Shi'ite rock'n d'Artagnan-l'Est jack-o'-lantern mother-in-law co-ed x-ray pro- anti- pro-war "
    "anti-U.S. re-do "
    "off-white/beige and/or a/b/c/d a-b-c-d/e 50/50 w/ w/o b/w man/woman he/she/it a\\/b t.v. D.C. J.R.R. man.He a.b.c "
    "hi!there what?no one!!two and...so well..ok cat--black cat---black a-b. x-1 x-, dog., cat.: A., St.-Denis "
    "3-D. F-16s, "
    "un\u00adbreak\u00adable \u00ad \u00ad\u00ad a\u00ad's can\u00adn't isn\u00ad't"
)
_SCRIPTS = (
    "café cafe\u0301 naïve Ångström ÉCOLE İstanbul ISPARTA ıI ſs straße ẞ ΟΔΟΣ Σ ΑΣ. ς ﬁsh Ǆ 中文 字符 日本語 カタカナ ｶﾅ "
    "한국어 العربية "
    "עברית हिन्दी தமிழ் ไทย ລາວ русский ЁЖИК ქართული Ⴀ አማርኛ ខ្មែរ မြန်မာ ᚠᚢ ᏣᎳᎩ Ⰰ ꙁ 😀 👍🏽 👨\u200d👩\u200d👧 "
    "🇫🇷 𝒳 𐐀 a😀b "
    "😀foo.com a😀@b.c "
    "http://😀 x\u200by x\u200dy x\ufeffy \u200e \ufffd \ue000 \x00 \x01 \x07 \x1f \x7f a\x7fb \x80 \x85 "
    "\x91x\x92 \x93x\x94 "
    "\x96 \xa0 a\xa0b \xa0foo.com a\u2003b a\u3000b \t x\ty \u0300 \u0483 \u20dd ª º µ Ⅷ ⓐ ½cup "
    "№5 ℃ Å ﷲ \ufe0e \u2060 ㋿ ꭐ ﬀ.ﬁ "
    "\u017ft. M\u0131ch. 't\u0130s http\u017f://x o\u212ala. f\u0131gs. g\u0131mme ΟΔΟΣ-ΟΔΟΣ ΑΣ'Α aΣ_1 Σ'"
)
# joined by a break where an entry holds spaces of its own
_PHRASES = [
    "I live in the U.S. The end",
    "vitamin C. The end",
    "vitamin C. A",
    "vitamin C.  However, no",
    "plan B. However",
    "group B. Mr. X",
    "the letter A. <b>x</b> y",
    "Foo Co. Ltd",
    "PTE. LTD",
    "pty. limited",
    "no. 5",
    "No.5",
    "figs.\t3",
    "1 1/2",
    "12 345 6789",
    "(555) 123-4567",
    "+1 555 1234",
    "555 123 4567",
    "20 100 3000",
    ". . .",
    ". . . . . 5",
    ". . .5",
    "x.[^x=a b<>] c",
    "^.[^x=<>",
    "f\u0131gs. 5",
    "etc. . .",
    "Mr. and Mrs. Smith's",
    "St. Paul's",
    "c. 1900",
    "Ph. D",
    "U.S. Army",
    "etc. A",
    "etc. <b>",
    "e.g. the",
    "' s",
    "n 't",
    "s '",
    "it 's",
    "<a b = 'c d'>",
    "<a b c>",
    "< b >",
    "<!x y z>",
    "a < b > c",
    "-- -",
    "5 - 6",
    "B . The",
]
# at the end of a caption and at the beginning of the next one
_ENDS = [
    *["C.", "B.", "a.", "x.", "no.", "No.", "nos.", "Fig.", "pp.", "art.", "Co.", "Inc.", "etc.", "U.S.", "dr.", "p.m.", "cannotB.", "-C.", "(D.", "'E.", "é.", "1.", "Mr.", "'90", "'em"],
    *[":)", ":-(", "^_^", "1.zip", "cat.jpg", "foo.com", "a@b", "n't", "'s", "'", ".", "..", "-", ",", "5", "$5", "1/2", "&amp;", "&lt;", "http://a.b", "<a", "<b>", "<!x", "</b"],
    "the letter C. ", "vitamin B.\u00a0", "x.[^x=a", "^.[^X= b", "C.\t", "a. .", "<a b = ", "<a b='", "C.\x85", "D. -", "E.\u2003 ",
]  # fmt: skip
_STARTS = [
    *["A", "The", "the", "In", "It", "However", "Mr.", "mr.", "THE", "What", "An", "at", "After", "<b>", "<br/>", "</a>", "<!x>", ">", "<>]", "c='d'>", ".", "..", ",", "5", "12", "ltd", "Ltd", "x"],
    *["5th", "1/2", "'90s", "'s", "n't", "-", "--", "'", ")", "(", '"', ":)", "a@b", ".com", "é", "<b"],
    "  The", "\u00a0A", "<b> x", "<b>x", "", " ", "<>] <>]", "٣", "\tIt", "A\u00a0", "<>]x",
]  # fmt: skip
_LIGHT = [
    *_ODDITIES,
    *(word for words in (_CLITICS, _ABBREVIATIONS, _NUMERIC, _WORD_FORMS) for word in words.split(" ")),
]
_MEDIUM = [
    *_LIGHT,
    *(word for words in (_WEB_WORDS, _MARKUP_WORDS, _MARKS_WORDS, _SMILEYS, _SCRIPTS) for word in words.split(" ")),
    *_PHRASES,
]
_PIECES = [
    *"aAbeInNstTxX0159.,;:!?'\"`-_/\\&#@$%*+=<>()[]{}|~^ \t",
    *"’‘“”–…é½€\xad\xa0\u200bΣ中",
    "😀",
    "  ",
    "com",
    "www.",
    "the",
]


def hostile_caption(generator: random.Random, level: str) -> str:
    """A caption to find differences with: `light` has one odd word, `medium` several, `wild` is random."""
    if level == "wild" and generator.random() < 0.5:
        return "".join(_wild_character(generator) for _ in range(generator.randrange(1, 40)))
    words = ordinary_caption(generator).split(" ")
    if level == "light":
        words.insert(
            generator.randrange(len(words) + 1), generator.choice(_LIGHT if generator.random() < 0.5 else _MEDIUM)
        )
        return " ".join(words)
    for _ in range(generator.randrange(1, 8)):
        place = generator.randrange(len(words) + 1)
        odd = "".join(generator.choice(_MEDIUM) for _ in range(generator.choice([1, 1, 2, 3])))
        words.insert(place, odd)
    text = " ".join(words)
    for _ in range(generator.randrange(4) if level == "medium" else generator.randrange(3, 25)):
        place = generator.randrange(len(text) + 1)
        piece = generator.choice(_PIECES) if level == "medium" else _wild_character(generator)
        text = text[:place] + piece + text[place + generator.choice([0, 0, 1]) :]
    return text


def caption_file(generator: random.Random, level: str) -> list[str]:
    """Captions one to many of which end or begin with what the tokens of their neighbours may depend on."""
    captions = []
    for _ in range(generator.choice([1, 2, 2, 3, 5, 40])):
        parts = [generator.choice(_STARTS), hostile_caption(generator, level), generator.choice(_ENDS)]
        kept = generator.choice([(0, 1), (1, 2), (0, 1, 2), (0, 2), (0,), (2,), ()])
        captions.append(LINE_SEPARATOR.sub(" ", " ".join(parts[place] for place in kept)))
    return captions


def _wild_character(generator: random.Random) -> str:
    kind = generator.random()
    if kind < 0.6:
        return generator.choice(_PIECES)
    if kind < 0.75:
        return chr(generator.randrange(0x20, 0x100))
    if kind < 0.95:
        code = generator.randrange(1, 0xFFFF)
        return chr(code) if not 0xD800 <= code < 0xE000 and code != 10 else " "
    return chr(generator.randrange(0x10000, 0x20000))


def adversarial_captions(generator: random.Random) -> list[str]:
    """Every odd word between ordinary ones and alone, and combinations of them."""
    words = list(dict.fromkeys(_MEDIUM))
    alone = [f"a dog {word} the cat." for word in words] + [f"A man with {word}" for word in words]
    return alone + [
        hostile_caption(generator, level) for level in ("light", "medium", "medium", "wild") for _ in range(120)
    ]
