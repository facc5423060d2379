import pytest

from project.metrics.ptb import spans


@pytest.mark.parametrize(
    ("find", "text", "expected"),
    [
        (spans.web_address, "www.foo.com/bar. ", "www.foo.com/bar"),
        (spans.web_address, "www.a ", None),
        (spans.host_address, "foo.com/a.html, ", "foo.com/a.html"),
        (spans.host_address, "foo.community ", "foo.com"),
        (spans.host_address, "foo.de ", None),
        (spans.host_address, "foo.com/a b", "foo.com"),
        (spans.mail_address, "<a.b@c.d> ", "<a.b@c.d>"),
        (spans.mail_address, "a@b..c ", "a@b"),
        (spans.mail_address, "a@ ", None),
        (spans.file_name, "a.b.jpg, ", "a.b.jpg"),
        (spans.file_name, "a.jpgs ", None),
        (spans.hyphenated, "St.-Denis ", "St.-Denis"),
        (spans.hyphenated, "x-U.S., ", "x-U.S."),
        (spans.hyphenated, "3-St.: ", "3-St."),
        (spans.hyphenated, "a,b ", None),
        (spans.tag, "<a b = 'c d' e />x", "<a b = 'c d' e />"),
        (spans.tag, "<!-- x > y", "<!-- x >"),
        (spans.tag, "<!a> x > y", "<!a>"),
        (spans.tag, "<3 x>", None),
        (spans.abbreviation, "Ph.D. x", "Ph.D."),
        (spans.abbreviation, "dog. x", None),
        (spans.last_letter, "C. The end", "C"),
        (spans.last_letter, "C. the end", None),
        (spans.bracketed_face, "x.[^x= y<>] z", "x.[^x= y<>]"),
    ],
)
def test_what_is_found(find, text, expected):
    match = find(text + "\n", 0, {})
    assert (match and text[: match[1]]) == expected


@pytest.mark.parametrize("find", [spans.host_address, spans.mail_address, spans.file_name, spans.hyphenated])
@pytest.mark.parametrize("text", ["a.b.com,c d@e.f-g.jpg h", "a&b.com/x.net y-z.,w a@b@c..d", "1.zip a.1.c 2,3-4.b.-c"])
def test_what_was_found_before_changes_nothing(find, text):
    text += "\n"
    known = {}
    for place, character in enumerate(text):
        if character.isalnum():
            assert find(text, place, known) == find(text, place, {})
