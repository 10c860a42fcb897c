"""The taxonomy document is what the analysis says, and agrees with the published table."""

from __future__ import annotations

import fnmatch

import pytest
from places import ROOT

from einsum_cascade import Cascade
from einsum_cascade.taxonomy import COMMAND, load_taxonomy, taxonomy_markdown
from einsum_cascade.yaml.library import builtin_names

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
    found = {
        s["name"]: Cascade.load(s["cascade"]).passes(taxonomy["rank"]).count
        for s in taxonomy["systems"]
    }
    assert {name: found[name] for name in PUBLISHED} == PUBLISHED


# Whose equations gave the numbers of their authors' own code, run beside them.
COMPARED = (
    *("lightning-decay-minimax", "transnormer-attention", "linear-attention", "retnet-*"),
    *("gla-*", "ssd*", "mamba-s6*", "delta-rule*", "gated-delta-rule*", "qlstm*", "hcam"),
    *("oat-pointer", "titans-chunked", "titans-recurrent", "mixture-of-heads"),
    *("mixture-of-block-attention", "rwkv-7-*", "mlstm-*", "mamba-3-*", "softpick-*"),
    *("differential-*", "log-linear-*", "deepseek-sparse-attention*"),
)


def test_what_was_compared_with_its_authors_code_is_verified() -> None:
    found = {name: Cascade.load(name).program.unverified for name in builtin_names("cascades")}
    for names in COMPARED:
        matched = fnmatch.filter(found, names)
        assert matched, names
        assert not any(found[name] for name in matched), names
    # What remains says why, and not that nothing is open.
    assert not [name for name, why in found.items() if "the authors' code" in why]
