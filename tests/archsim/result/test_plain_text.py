"""Plain text is what rich writes, drawn without it: random documents, and who is left to it."""

from __future__ import annotations

from typing import Literal
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsim import document as module
from archsim.document import Column, Document, Fact, Table, text_by_rich, to_text

KINDS: tuple[Literal["name", "text", "number", "bar"], ...] = ("name", "text", "number", "bar")


def texts(longest: int) -> st.SearchStrategy[str]:
    """Words and blanks of characters that reports are made of, and one that is two columns wide."""
    return st.text("ab ,²×█─(世", max_size=longest) | st.text("ab ,(", max_size=longest)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Few columns, fewer rows."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    cells = st.tuples(*(texts(9) for _ in kinds))
    return Table(
        title=draw(texts(20)),
        columns=tuple(Column(draw(texts(8)), kind) for kind in kinds),
        rows=tuple(draw(st.lists(cells, max_size=3))),
    )


documents = st.builds(
    Document,
    title=texts(90),
    subtitle=texts(90),
    facts=st.lists(st.builds(Fact, texts(8), texts(8), texts(12)), max_size=3).map(tuple),
    tables=st.lists(
        st.lists(tables(), min_size=1, max_size=3).map(tuple), min_size=1, max_size=2
    ).map(tuple),
    notes=st.lists(texts(100), max_size=2).map(tuple),
)


@given(documents, st.sampled_from((30, 50, 110)))
def test_plain_text_is_that_of_rich(document: Document, width: int) -> None:
    assert to_text(document, width) == text_by_rich(document, width)


@pytest.mark.parametrize(
    ("title", "width", "left"),
    [("plain words", 8, False), ("longwords", 8, True), ("wide 世", 80, True), ("a\tb", 80, True)],
)
def test_rich_is_asked_where_something_has_to_be_squeezed(
    title: str, width: int, left: bool
) -> None:
    with patch.object(module, "text_by_rich", return_value="by rich") as rich:
        found = to_text(Document(title=title), width)
    assert rich.called is left
    assert (found == "by rich") is left
