import json
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from project.metrics import ptb_tokenizer
from project.metrics.ptb import lexer, spans
from project.metrics.ptb.lower import lower
from project.metrics.ptb_tokenizer import ptb_tokenize, ptb_tokenize_file

GOLDEN = Path(__file__).parent / "golden" / "ptb_tokens.jsonl"  # scripts/golden_captions.py tokens


@pytest.fixture(scope="module")
def golden():
    return [json.loads(line) for line in GOLDEN.read_text(encoding="ascii").splitlines()]


@pytest.fixture(scope="module")
def golden_files():
    return [json.loads(line) for line in GOLDEN.with_name("ptb_files.jsonl").read_text(encoding="ascii").splitlines()]


def tokens(caption):
    return " ".join(ptb_tokenize(caption))


def test_every_golden_caption_has_the_tokens_of_the_reference(golden):
    assert len(golden) >= 2500
    found = [(row["caption"], row["tokens"], ptb_tokenize(row["caption"])) for row in golden]
    assert [row for row in found if row[1] != row[2]] == []


def test_every_golden_file_has_the_tokens_of_the_reference(golden_files):
    assert len(golden_files) >= 300
    found = [(row["captions"], row["tokens"], ptb_tokenize_file(row["captions"])) for row in golden_files]
    assert [row for row in found if row[1] != row[2]] == []
    alone = [[ptb_tokenize(caption) for caption in row["captions"]] for row in golden_files]
    assert sum(row["tokens"] != each for row, each in zip(golden_files, alone, strict=True)) > 50, "neighbours matter"


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ([], []),
        ([""], [[]]),
        (["", "a", ""], [[], ["a"], []]),
        (["the letter C.", "A dog"], [["the", "letter", "c"], ["a", "dog"]]),
        (["the letter C.", "a dog"], [["the", "letter", "c."], ["a", "dog"]]),
        (["vitamin C.", "", "  The dog"], [["vitamin", "c"], [], ["the", "dog"]]),
        (["vitamin C.", "A"], [["vitamin", "c."], ["a"]]),  # nothing follows A
        (["vitamin C.", "<b> x"], [["vitamin", "c"], ["<b>", "x"]]),
        (["no.", "5 dogs"], [["no."], ["5", "dogs"]]),
        (["a <!x y", "z> b"], [["a", "<", "x", "y"], ["z", ">", "b"]]),  # a tag ends in its line
        (["a x.[^x=b c", "d", "e <>] f"], [["a", "x.[^x=b", "c"], ["d"], ["e", "<>]", "f"]]),  # a smiley does not
        (["a :)", "a :)"], [["a", ":-rrb-"], ["a", "-rrb-"]]),  # nothing follows the last one
        (["a 1.zip"], [["a", "1", "zip"]]),
        (["\U0001f600 C.", "The dog"], [["c"], ["the", "dog"]]),
    ],
)
def test_tokens_in_a_file_depend_on_the_next_caption_as_in_the_reference(captions, expected):
    """Each was the output of the reference."""
    assert ptb_tokenize_file(captions) == expected


@pytest.mark.parametrize("separator", ["\n", "\r", "\r\n", "\v", "\f", "\u2028", "\u2029"])
def test_a_line_separator_leaves_every_caption_its_own_words(separator):
    assert ptb_tokenize_file([f"a{separator}dog", "B."]) == [["a", "dog"], ["b."]]


def test_a_plain_caption_loses_capitals_and_punctuation():
    assert tokens('A dog, a cat: "two" (brown) friends - here...') == "a dog a cat two -lrb- brown -rrb- friends here"


def test_brackets_survive_since_the_list_of_punctuation_is_in_capitals():
    assert tokens("[a] {b} (c)") == "-lsb- a -rsb- -lcb- b -rcb- -lrb- c -rrb-"


def test_only_single_marks_are_dropped():
    assert tokens("what ? no ! what?! no!! so ... and ---- -----") == "what no what ?! no !! so and -----"


def test_clitics_are_words():
    assert (
        tokens("A man's dog isn't here, can't bark; they're ours")
        == "a man 's dog is n't here ca n't bark they 're ours"
    )
    assert tokens("it’s don’t") == "it 's do n't"


def test_words_that_are_two():
    assert tokens("cannot gonna wanna gotta gimme lemme 'tis") == "can not gon na wan na got ta gim me lem me 't is"


def test_apostrophes_that_stay():
    assert tokens("o'clock rock 'n' roll '90s y'all 'em") == "o'clock rock 'n' roll '90s y' all 'em"


def test_quotation_marks_are_dropped():
    assert tokens("'hello' “you” ‘there’ dogs' \"sign\" «x» ``y''") == "hello you there dogs sign x y"
    assert tokens("it‘’s") == "it `' s"  # two that do not match are a token


def test_symbols_stand_alone():
    assert tokens("100% #1 #cat $5 a&b w/ @home *") == "100 % # 1 #cat $ 5 a & b w / @home *"


def test_compounds_stay_whole():
    assert (
        tokens("off-white/beige man/woman t-shirt 1/2 5:30 10,000")
        == "off-white/beige man/woman t-shirt 1/2 5:30 10,000"
    )
    assert tokens("cat--black ice-cream,cake man.He") == "cat black ice-cream cake man.he"


def test_abbreviations_keep_their_dot():
    assert tokens("St. dr. etc. U.S. vs. a.m. sq. plan b.") == "st. dr. etc. u.s. vs. a.m. sq. plan b."
    assert tokens("Ill. ill. Miss. miss.") == "ill. ill miss. miss"
    assert tokens("no. no. 5 fig. fig. 3") == "no no. 5 fig fig. 3"


def test_a_last_letter_loses_its_dot_before_a_new_sentence():
    assert tokens("vitamin C. The end") == "vitamin c the end"
    assert tokens("vitamin C. the end") == "vitamin c. the end"


def test_a_word_of_two_letters_more_may_follow_a_closing_abbreviation():
    assert tokens("inc.a inc.ab st.a") == "inc. a inc.ab st.a"


def test_currencies_dashes_and_fractions_become_ascii():
    assert tokens("£5 €5 5¢ a—b a–b ½ 1⅓ so…") == "# 5 $ 5 5 cents a b a b 1/2 1 1/3 so"


def test_no_break_spaces_hold_numbers_and_tags_together():
    assert ptb_tokenize("1 1/2 cups") == ["1\u00a01/2", "cups"]
    assert ptb_tokenize("call (555) 123-4567 or 555 123 4567")[1::2] == [
        "-lrb-555-rrb-\u00a0123-4567",
        "555\u00a0123\u00a04567",
    ]
    assert ptb_tokenize('<a href="x y"> b') == ['<a\u00a0href="x\u00a0y">', "b"]


def test_an_ampersand_may_be_spelt_out_between_capitals():
    assert tokens("AT&T AT&amp;T AT&Amp;T") == "at&t at&t at&t"  # each was the reference's


def test_addresses_stay_whole():
    whole = "http://a.b/c?d=e www.foo.com/bar foo.com me@foo.com cat.jpg"
    assert tokens(whole) == whole


def test_entities_and_smileys():
    assert tokens("a &amp; b &lt; c &quot;d&quot;") == "a & b < c d"
    assert tokens(":) :-( ^_^ (^_^)") == ":-rrb- :--lrb- ^_^ -lrb-^_^-rrb-"


def test_other_scripts():
    assert tokens("Café naïve 中文 русский العربية हिन्दी") == "café naïve 中文 русский العربية हिन्दी"
    assert tokens("caf\u0065\u0301 co\u00adop a\u200bb a😀b x\ufffdy") == "cafe\u0301 coop a b a b x y"


def test_lower_case_is_javas():
    assert tokens("İstanbul ΟΔΟΣ ΟΔΟΣ-ΟΔΟΣ STRAẞE") == "i\u0307stanbul οδος οδοσ-οδος straße"


def test_british_spelling_stays():
    assert tokens("grey colour centre") == "grey colour centre"


@pytest.mark.parametrize("separator", ["\n", "\r", "\r\n", "\v", "\f", "\u2028", "\u2029", "\t", "\u00a0", "\u3000"])
def test_line_separators_and_spaces_part_words(separator):
    assert ptb_tokenize(f"a dog{separator}runs.") == ["a", "dog", "runs"]


@pytest.mark.parametrize("caption", ["", " ", "...", "\n", "\x00", "\ud800", "a \udc00 b", "http://x\ud83d"])
def test_nothing_and_half_characters_are_no_error(caption):
    assert all(token and " " not in token for token in ptb_tokenize(caption))


def test_a_caption_alone_has_the_tokens_of_its_words_in_context(golden):
    # what is found word by word is found in the line as a whole, too
    for row in golden:
        line = ptb_tokenizer._LINE_BREAKS.sub(" ", row["caption"])
        words = " ".join(lexer.lex(line)).rstrip().split(" ")
        assert [word for word in words if word and word not in ptb_tokenizer._DROPPED] == row["tokens"]


HOSTILE = (  # ␣ is a space
    "a. - < ' 1, @ http:// a@ @a a, 1a. &. a& a- a-, www.&/ <a <!a <a␣b=\" <a␣b=' .␣ (1 1␣1␣ \u00ad a\u00ad &#1 &amp; "
    "a.b@ a@. I.␣ I.␣<!a␣ \" `` $A A+ d' ab' 1.zip 😀 Σ Σ- aΣ1 \\* ^_ x.[^x= a;b.com #a :: A$ a/ 1/2 ++1 n't &eacute; "
    "Mr. etc. U.S.- non-U.S. co.␣ \u00a0 \u00a0a.com é. a? [ <a␣b=c␣ a␣. \u3000"
)


@pytest.mark.parametrize("unit", [unit.replace("␣", " ") for unit in HOSTILE.split(" ")])
def test_work_grows_in_proportion_to_the_line(unit, monkeypatch):
    """Counts the characters that are looked at ahead, which must not grow with the square of the length."""

    def work(length):
        looked = 0
        real = spans._stretch

        def counted(text, place, found, kind, find):
            def counting(text, place):
                nonlocal looked
                stretch = find(text, place)
                looked += stretch.stop - place
                return stretch

            return real(text, place, found, kind, counting)

        def step(text, place, found):
            nonlocal looked
            for rule in lexer._rules_for(text[place]):
                match = rule.match(text, place, found)
                looked += 1 + (min(match[0], len(text)) - place if match else 0)
            return real_step(text, place, found)

        real_step = lexer._next_token
        with monkeypatch.context() as patch:
            patch.setattr(spans, "_stretch", counted)
            patch.setattr(lexer, "_next_token", step)
            ptb_tokenize((unit * length)[:length])
        return looked

    assert work(4000) <= 5 * work(1000) + 1000


@pytest.mark.timeout(120)  # a few seconds would do
def test_long_hostile_lines_take_moments():
    for unit in HOSTILE.split(" "):
        ptb_tokenize((unit.replace("␣", " ") * 8_000)[:8_000])


def test_the_cache_is_bounded_and_does_not_keep_long_words():
    ptb_tokenizer._word_tokens.cache_clear()
    generator = random.Random(0)
    for _ in range(1000):
        ptb_tokenize(f"{generator.random()}" + "x" * 100)
    assert ptb_tokenizer._word_tokens.cache_info().currsize == 0
    assert ptb_tokenizer._word_tokens.cache_info().maxsize is not None


def test_threads_find_the_same(golden):
    captions = [row["caption"] for row in golden[:800]]
    expected = [row["tokens"] for row in golden[:800]]
    ptb_tokenizer._word_tokens.cache_clear()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    barrier = threading.Barrier(4)

    def run(_):
        barrier.wait()
        return [ptb_tokenize(caption) for caption in captions]

    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(found == expected for found in pool.map(run, range(4)))
    finally:
        sys.setswitchinterval(interval)


def test_a_result_may_be_changed_without_changing_the_next():
    ptb_tokenize("a dog").append("cat")
    assert ptb_tokenize("a dog") == ["a", "dog"]


# ---- whatever the text

pieces = st.sampled_from(
    [*HOSTILE.replace("␣", " ").split(), "St.", "can't", "U.S.", "$5", "1/2", ":-)", "&amp;", "\u00a0"]
)
texts = st.text(max_size=40) | st.lists(pieces | st.text(max_size=4), max_size=8).map(" ".join)
words = st.lists(st.text("abcdefghijklmnopqrstuvwxyzéüß", min_size=1, max_size=8), max_size=8)


@given(texts)
def test_any_text_has_tokens_without_spaces(text):
    for token in ptb_tokenize(text):
        assert token
        assert not any(mark.isspace() and mark != "\u00a0" for mark in token)
        assert token not in ptb_tokenizer._DROPPED


@given(texts)
def test_any_text_has_the_tokens_of_its_line_as_a_whole(text):
    """Which is what the cache of words relies on."""
    line = ptb_tokenizer._LINE_BREAKS.sub(" ", text)
    whole = " ".join(lexer.lex(line)).rstrip().split(" ")
    assert ptb_tokenize(text) == [word for word in whole if word and word not in ptb_tokenizer._DROPPED]


@given(words)
@example(["cannot", "gonna", "lemme"])
def test_words_are_cut_up_once(text):
    once = ptb_tokenize(" ".join(text))
    assert ptb_tokenize(" ".join(once)) == once
    assert "".join(once) == "".join(text)


@given(st.lists(texts | st.sampled_from(["C.", "The dog", "no.", "5", "<!x", "x.[^x=", "<>]", ""]), max_size=6))
def test_any_file_has_the_tokens_of_its_text_as_a_whole(captions):
    """Which is what the cache of words relies on."""
    text = "\n".join(ptb_tokenizer._LINE_BREAKS.sub(" ", caption) for caption in captions)
    text = lexer.utf16_units(text)
    lines, place, found = [[]], 0, {}
    while place < len(text):
        if text[place] == "\n":
            lines.append([])
        token, place = lexer._next_token(text, place, found)
        first, *others = lower(lexer._characters(token)).split("\n") if token else [""]
        lines[-1].append(first)
        lines += [[other] for other in others]
    words = [" ".join(word for word in line if word).rstrip().split(" ") for line in lines]
    kept = [[word for word in line if word and word not in ptb_tokenizer._DROPPED] for line in words]
    assert ptb_tokenize_file(captions) == (kept if captions else [])
