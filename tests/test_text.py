"""Names of strangers where they are shown: whatever they hold, they stay text."""

from __future__ import annotations

import csv
import html
import io
import re
import sys

import pytest
from markdown import markdown as render_for_tensorboard
from markdown_it import MarkdownIt

from project.text import csv_table, markdown, markdown_block, markdown_code, print_lines, printable
from tests.hostile import HOSTILE_NAMES, UNPRINTABLE


def render(text: str) -> str:
    """As GitHub shows a model card, which is CommonMark with tables and HTML."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def plain(page: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", page)).strip()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_printable_hostile_name_is_one_line_without_control_characters(name):
    shown = printable(name)
    assert not UNPRINTABLE.search(shown)
    assert len(shown.splitlines()) == 1
    assert re.sub(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}", lambda found: chr(int(found[0][2:], 16)), shown) == name


@pytest.mark.parametrize("name", ["Grüße", "写真 1.png", "می‌خواهم", "👩‍🚀", "a b\\c"])
def test_printable_names_of_all_languages_stay(name):
    assert printable(name) == name


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("stderr", [False, True])
def test_print_lines_hostile_names_are_as_many_lines(monkeypatch, encoding, stderr):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr" if stderr else "stdout", io.TextIOWrapper(raw, encoding=encoding))
    print_lines(*HOSTILE_NAMES, "日本", stderr=stderr)
    *lines, end = raw.getvalue().split(b"\n")
    assert end == b""
    assert len(lines) == len(HOSTILE_NAMES) + 1
    assert not any(byte < 32 or byte == 127 for line in lines for byte in line)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("show", [render, render_for_tensorboard])
def test_markdown_hostile_name_is_shown_as_text(show, name):
    page = show(f"The class {markdown(name)} is one.")
    assert page.strip().startswith("<p>The class ")
    assert page.count("<") == 2  # the paragraph's
    assert plain(page) == f"The class {printable(name)} is one."


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_markdown_hostile_name_is_one_cell_and_one_heading(name):
    table = render(f"| name | value |\n| --- | --- |\n| {markdown(name)} | 1 |\n")
    assert [plain(cell) for cell in re.findall(r"<td>(.*?)</td>", table)] == [printable(name), "1"]
    heading = render(f"# {markdown(name)}, a network\n\ntext")
    assert re.fullmatch(r"<h1>[^<]*</h1>\n<p>text</p>\n", heading)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_markdown_code_hostile_name_is_all_code(name):
    page = render(f"File {markdown_code(name)}, 3 bytes")
    assert re.fullmatch(r"<p>File <code>[^<]*</code>, 3 bytes</p>\n", page)
    assert plain(page) == f"File {printable(name)}, 3 bytes"


def test_markdown_block_fences_inside_do_not_end_it():
    text = "a: 1\n```\n# heading\n~~~~\n````\n"
    page = render(markdown_block(text, "yaml") + "\n\nafter")
    assert page == f'<pre><code class="language-yaml">{text}</code></pre>\n<p>after</p>\n'


def test_csv_table_hostile_names_are_text_and_numbers_are_numbers():
    text = csv_table([["class", *HOSTILE_NAMES], *([name, -1, 0.5] for name in HOSTILE_NAMES)])
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    names = [row[0] for row in rows]
    assert head[1:] == names
    assert [name.removeprefix("'") for name in names] == list(map(printable, HOSTILE_NAMES))
    assert [name[:2] for name in names if name.startswith("'")] == ["'=", "'-", "'@"]
    assert csv_table([["\t=1+1"]]) == "'\\x09=1+1\n"
    assert {tuple(row[1:]) for row in rows} == {("-1", "0.5")}
