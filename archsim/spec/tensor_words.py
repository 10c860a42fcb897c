"""Tensor words: how many machine words one value of each tensor takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from einsum_cascade.ir import Program
from einsum_cascade.number_formats import TensorFormats


@dataclass(frozen=True, slots=True)
class TensorWords:
    """Number of machine words that one value of each tensor takes.

    Memories move and hold words: a value of 8 bits is half a word of 16 bits.
    """

    shares: tuple[tuple[str, Fraction | int], ...] = ()
    other: Fraction | int = 1
    """Machine words per value of a tensor that is not listed."""

    @property
    def alike(self) -> bool:
        """True if a value of every tensor is exactly one machine word."""
        return self.other == 1 and all(share == 1 for _, share in self.shares)

    def of(self, tensor: str) -> Fraction | int:
        """Return the machine words per value of a tensor; 1 if its format is not stated."""
        return dict(self.shares).get(tensor, self.other)


ONE_WORD = TensorWords()
"""Tensor words of a cascade in which every value is one machine word."""


def words_of(program: Program, word_bits: int) -> TensorWords:
    """Return the machine words per value of a cascade's tensors (a builder for ``Program.memo``).

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-1pass").program
    >>> words_of(program, 16).alike
    True
    >>> formats = TensorFormats(default="bf16", tensors=(("K", "mxfp4"),))
    >>> words = words_of(in_formats(program, formats), 16)
    >>> words.of("Q"), words.of("K")
    (1, Fraction(17, 64))
    """
    formats = program.formats
    return TensorWords(
        shares=tuple((t, _share(formats.bits_of(t), word_bits)) for t, _ in formats.tensors),
        other=_share(formats.bits_of(""), word_bits) if formats.default else 1,
    )


def _share(bits: Fraction, word_bits: int) -> Fraction | int:
    share = bits / word_bits
    return int(share) if share.denominator == 1 else share


def in_formats(program: Program, formats: TensorFormats) -> Program:
    """Return a cascade whose tensors have the given number formats (a builder for
    ``Program.memo``)."""
    return replace(program, formats=formats) if formats.stated else program


def with_word_bits(formats: TensorFormats, word_bits: int) -> TensorFormats:
    """Return formats that give values of no stated format the width of a machine word.

    The formats are unchanged if none is stated.
    """
    return replace(formats, word_bits=word_bits) if formats.stated else formats
