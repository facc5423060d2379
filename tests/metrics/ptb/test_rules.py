import pytest

from project.metrics.ptb.rules import RULES, SPLIT_WORDS


def found(text):
    """The tokens and reaches that rules find at the start of a text."""
    rules = [rule for rule in RULES if rule.starts.match(text[0])]
    matches = [(rule, rule.match(text, 0, {})) for rule in rules]
    return {(text[: match[1]], match[0]) for _, match in matches if match}


@pytest.mark.parametrize(
    ("text", "token", "reach"),
    [
        ("can't ", "ca", 5),
        ("man's ", "man", 5),
        ("etc. x", "etc.", 6),
        ("1 1/2 ", "1 1/2", 5),
        ("(555) 123-4567 ", "(555) 123-4567", 14),
        ("vs. x", "vs.", 3),
        ("no. 5 ", "no.", 5),
        ("C. The ", "C", 7),
        ("y'all ", "y'", 3),
        ("'90 ", "'90", 4),
        ("``x", "``", 2),
        ("AT&T ", "AT&T", 4),
        ("&eacute;t ", "&eacute;t", 9),
    ],
)
def test_a_rule_sees_a_token_and_what_it_depends_on(text, token, reach):
    assert (token, reach) in found(text)


def test_words_are_split_after_three_letters():
    assert all((word[:3], len(word)) in found(word + " ") for word in SPLIT_WORDS)


def test_starts_hold_what_the_rules_find():
    # a rule that its own `starts` hides could never be found
    texts = [
        "ſ'mores x",
        "ﬁx ",
        "éa ",
        "½ ",
        "€5 ",
        "…\n",
        "_x_ ",
        "'tis ",
        "&quot;x",
        "^_^ ",
        "<b> ",
        "#é ",
        "\u00a0a.com ",
    ]
    for text in texts:
        for rule in RULES:
            match = rule.match(text, 0, {})
            assert match is None or rule.starts.match(text[0])
