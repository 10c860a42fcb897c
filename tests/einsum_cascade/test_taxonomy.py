"""The taxonomy document is what the analysis says, and agrees with the published table."""

from __future__ import annotations

import pytest
from places import ROOT

from einsum_cascade import Cascade
from einsum_cascade.taxonomy import COMMAND, load_taxonomy, taxonomy_markdown

DOCUMENT = ROOT / "docs" / "taxonomy.md"

# Nayak et al., MICRO 2024, Table I.
PUBLISHED = {
    "PyTorch": 3,
    "TensorFlow": 3,
    "FLAT": 3,
    "E.T.": 3,
    "TileFlow": 2,
    "Choi et al., IISWC 2022": 2,
    "FlashAttention": 1,
    "FlashAttention-2": 1,
    "Rabe and Staats": 1,
}


@pytest.mark.slow
def test_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == taxonomy_markdown(), f"run: {COMMAND}"


def test_passes_are_the_published_ones() -> None:
    taxonomy = load_taxonomy()
    found = {s.name: Cascade.load(s.cascade).passes(taxonomy.rank).count for s in taxonomy.systems}
    assert {name: found[name] for name in PUBLISHED} == PUBLISHED
