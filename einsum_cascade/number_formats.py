"""Number formats: bits per value, and the format of each tensor of a cascade.

Values of a block-scaled format share a scale, whose bits are divided among them: 32 values of 4
bits with a scale of 8 bits take 4 + 8/32 = 4.25 bits each. Sources: IEEE 754 (fp32, fp16); NVIDIA
A100 whitepaper (tf32, kept in words of 32 bits); OCP 8-bit Floating Point Specification 1.0 (fp8);
OCP Microscaling Formats Specification 1.0 (fp4, mxfp8, mxfp6, mxfp4); NVIDIA, *Introducing NVFP4*
(nvfp4: blocks of 16 under a scale in fp8_e4m3; the additional scale of the whole tensor is left
out); AWQ (2306.00978) and GPTQ (2210.17323) for groups of integers under a scale of 16 bits, such
as int4_g128.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

DEFAULT = "default"
"""Key for the format of all tensors without a format of their own."""
ACCUMULATE = "accumulate"
"""Key for the format in which sums are accumulated."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """Number format of tensor elements, such as ``bf16`` or ``mxfp4``.

    ``significand`` counts bits of precision with the leading one; for integers, bits of the
    magnitude. ``exponent`` is 0 bits for integers.
    """

    name: str
    element_bits: int
    exponent: int
    significand: int
    block: int = 1
    """Number of values that share a scale; 1 without a shared scale."""
    scale_bits: int = 0

    @property
    def bits(self) -> Fraction:
        """Number of bits of one value, with its share of the scale.

        >>> [str(FORMATS[name].bits) for name in ("bf16", "mxfp8", "mxfp4", "nvfp4")]
        ['16', '33/4', '17/4', '9/2']
        """
        return self.element_bits + Fraction(self.scale_bits, self.block)

    @property
    def rank(self) -> tuple[Fraction, int, int]:
        """Key that sorts formats by width: bits, then range, then precision."""
        return (self.bits, self.exponent, self.significand)

    def holds(self, other: NumberFormat) -> bool:
        """Return whether this format represents every value of another, apart from block scales.

        >>> [FORMATS[a].holds(FORMATS[b]) for a, b in (("bf16", "int8"), ("bf16", "fp16"))]
        [True, False]
        """
        return self.significand >= other.significand and self.exponent >= other.exponent


_ROWS = (
    # name, bits, exponent, significand (with the leading one), values in a block, bits of a scale
    NumberFormat("fp32", 32, 8, 24),
    NumberFormat("tf32", 32, 8, 11),
    NumberFormat("bf16", 16, 8, 8),
    NumberFormat("fp16", 16, 5, 11),
    NumberFormat("fp8_e4m3", 8, 4, 4),
    NumberFormat("fp8_e5m2", 8, 5, 3),
    NumberFormat("fp4_e2m1", 4, 2, 2),
    NumberFormat("int32", 32, 0, 31),
    NumberFormat("int16", 16, 0, 15),
    NumberFormat("int8", 8, 0, 7),
    NumberFormat("int4", 4, 0, 3),
    # The scale of a microscaling format is an 8-bit power of two: values have the range of fp32.
    NumberFormat("mxfp8", 8, 8, 4, 32, 8),
    NumberFormat("mxfp6", 6, 8, 4, 32, 8),
    NumberFormat("mxfp4", 4, 8, 2, 32, 8),
    NumberFormat("nvfp4", 4, 5, 6, 16, 8),
    *(
        NumberFormat(f"int{bits}_g{group}", bits, 0, bits - 1, group, 16)
        for bits in (4, 8)
        for group in (32, 64, 128)
    ),
)

FORMATS: Mapping[str, NumberFormat] = MappingProxyType({row.name: row for row in _ROWS})
"""Number formats by name; elements of ``mxfp8`` are fp8_e4m3, elements of ``mxfp6`` fp6_e2m3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFormats:
    """Number formats of the tensors of a cascade by name; empty if the user states none.

    >>> formats = TensorFormats(default="bf16", tensors=(("K", "mxfp4"),))
    >>> formats.bits_of("K"), formats.bits_of("Q")
    (Fraction(17, 4), Fraction(16, 1))
    """

    default: str = ""
    tensors: tuple[tuple[str, str], ...] = ()
    accumulate: str = ""
    """Format in which sums are accumulated; if empty, the format of the summands."""
    word_bits: int = 0
    """Number of bits of values without a stated format: the machine's word."""

    @classmethod
    def by_name(cls, given: Mapping[str, str]) -> TensorFormats:
        """Return formats from a mapping by tensor, ``default`` and ``accumulate``."""
        own = sorted((k, fmt) for k, fmt in given.items() if k not in (DEFAULT, ACCUMULATE))
        default, accumulate = given.get(DEFAULT, ""), given.get(ACCUMULATE, "")
        return cls(default=default, tensors=tuple(own), accumulate=accumulate)

    @property
    def stated(self) -> bool:
        """True if the user states any format."""
        return bool(self.default or self.tensors or self.accumulate)

    def of(self, tensor: str) -> NumberFormat:
        """Return the format of a tensor.

        Without a stated format, it has no name and as many bits as a word of the machine.
        """
        name = dict(self.tensors).get(tensor, self.default)
        return FORMATS[name] if name else NumberFormat("", self.word_bits, 0, 0)

    def bits_of(self, tensor: str) -> Fraction:
        """Return the bits per value of a tensor."""
        return self.of(tensor).bits

    def widest(self, tensors: Iterable[str]) -> NumberFormat:
        """Return the widest format among some tensors, by bits, then range, then precision."""
        return max((self.of(t) for t in tensors), key=lambda f: f.rank)

    def __str__(self) -> str:
        parts = (*self.tensors, (ACCUMULATE, self.accumulate))
        given = [f"{name} {fmt}" for name, fmt in parts if fmt]
        others = f"others {self.default}" if given else self.default
        return ", ".join([*given, *([others] if self.default else [])])
