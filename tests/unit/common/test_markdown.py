"""What others wrote stays text in an artifact: read back by a Markdown parser."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.common.markdown import escape, table

PARSER = MarkdownIt("commonmark").enable("table")
TEXTS = st.text(st.one_of(st.sampled_from("|`*_[]()!<>&~:@.#-\\\n\r\u2028 ahtps/w"), st.characters(codec="utf-8")))


def leaves(text: str) -> list[tuple[str, str]]:
    """Return every token that shows something, in order, with what it shows."""
    return [(leaf.type, leaf.content) for token in PARSER.parse(text) for leaf in token.children or ()]


@given(TEXTS)
def test_text_in_a_cell_is_nothing_but_text(text: str) -> None:
    shown = leaves(table(("a", "b"), [(escape(text), "end")]))
    assert {kind for kind, _ in shown} <= {"text", "text_special"}
    assert "".join(content for _, content in shown[-1:]) == "end"


@pytest.mark.parametrize("text", ["[here](http://127.0.0.1/)", "![x](http://127.0.0.1/x.png)", "<http://127.0.0.1/>"])
def test_nothing_becomes_a_link_or_an_image(text: str) -> None:
    assert {kind for kind, _ in leaves(text)} & {"link_open", "image"}, "the parser would make one of it"
    assert "".join(content for _, content in leaves(escape(text))) == text


@pytest.mark.parametrize("text", ["http://127.0.0.1/", "www.example.org", "ann@example.org"])
def test_bare_address_is_no_address_any_more_for_a_parser_that_makes_links_of_them(text: str) -> None:
    assert re.search(r"\\(://|\.example|@)", escape(text))
    assert "".join(content for _, content in leaves(escape(text))) == text


def test_table_has_a_row_a_line_whatever_stands_in_its_cells() -> None:
    rows = [(escape("a | b\nc"), escape("<b>")), ("1", "2")]
    assert table(("x", ""), rows).splitlines() == [
        "| x | |",
        "| --- | --- |",
        "| a \\| b c | &lt;b&gt; |",
        "| 1 | 2 |",
    ]
