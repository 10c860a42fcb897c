"""Formats of numbers: how many bits a value takes, and which format of a cascade's tensor.

Block-scaled formats share a scale among neighbouring values, whose bits are spread over them:
32 values of 4 bits and a scale of 8 take 4 + 8/32 = 4.25 bits each. Sources: IEEE 754 (fp32,
fp16); NVIDIA A100 whitepaper (tf32, kept in words of 32 bits); OCP 8-bit Floating Point
Specification 1.0 (fp8); OCP Microscaling Formats Specification 1.0 (fp4, mxfp8, mxfp6, mxfp4);
NVIDIA, *Introducing NVFP4* (nvfp4: blocks of 16 under a scale in fp8_e4m3; one more scale for
the whole tensor is left out here).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

DEFAULT = "default"
"""What stands for all tensors that have no format of their own."""
ACCUMULATE = "accumulate"
"""What stands for sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFormat:
    """A format of numbers.

    ``significand`` counts bits of precision, the leading one included; of whole numbers those
    of the magnitude. ``exponent`` has no bits where numbers are whole.
    """

    name: str
    element_bits: int
    exponent: int
    significand: int
    block: int = 1
    """Values that share a scale."""
    scale_bits: int = 0

    @property
    def bits(self) -> Fraction:
        """Bits of one value, with its share of a scale.

        >>> [str(FORMATS[name].bits) for name in ("bf16", "mxfp8", "mxfp4", "nvfp4")]
        ['16', '33/4', '17/4', '9/2']
        """
        return self.element_bits + Fraction(self.scale_bits, self.block)

    @property
    def rank(self) -> tuple[Fraction, int, int]:
        """What makes a format wider than another: bits, then range, then precision."""
        return (self.bits, self.exponent, self.significand)

    def holds(self, other: NumberFormat) -> bool:
        """Whether every value of another format has one here, scales of blocks aside.

        >>> [FORMATS[a].holds(FORMATS[b]) for a, b in (("bf16", "int8"), ("bf16", "fp16"))]
        [True, False]
        """
        return self.significand >= other.significand and self.exponent >= other.exponent


def _floating(name: str, bits: int, exponent: int, fraction: int) -> NumberFormat:
    return NumberFormat(name=name, element_bits=bits, exponent=exponent, significand=fraction + 1)


def _whole(bits: int) -> NumberFormat:
    return NumberFormat(name=f"int{bits}", element_bits=bits, exponent=0, significand=bits - 1)


def _microscaling(name: str, bits: int, fraction: int) -> NumberFormat:
    # A scale is a power of two of 8 bits: values reach as far as those of fp32.
    return NumberFormat(
        name=name, element_bits=bits, exponent=8, significand=fraction + 1, block=32, scale_bits=8
    )


FORMATS: Mapping[str, NumberFormat] = MappingProxyType(
    {
        found.name: found
        for found in (
            _floating("fp32", 32, 8, 23),
            _floating("tf32", 32, 8, 10),
            _floating("bf16", 16, 8, 7),
            _floating("fp16", 16, 5, 10),
            _floating("fp8_e4m3", 8, 4, 3),
            _floating("fp8_e5m2", 8, 5, 2),
            _floating("fp4_e2m1", 4, 2, 1),
            _whole(32),
            _whole(16),
            _whole(8),
            _whole(4),
            _microscaling("mxfp8", 8, 3),
            _microscaling("mxfp6", 6, 3),
            _microscaling("mxfp4", 4, 1),
            NumberFormat(
                name="nvfp4", element_bits=4, exponent=5, significand=6, block=16, scale_bits=8
            ),
        )
    }
)
"""By name. Elements of ``mxfp8`` are fp8_e4m3, those of ``mxfp6`` are fp6_e2m3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFormats:
    """Formats of a cascade's tensors, by name; nothing where nobody states any.

    >>> formats = TensorFormats(default="bf16", tensors=(("K", "mxfp4"),))
    >>> formats.bits_of("K"), formats.bits_of("Q")
    (Fraction(17, 4), Fraction(16, 1))
    """

    default: str = ""
    tensors: tuple[tuple[str, str], ...] = ()
    accumulate: str = ""
    """Of sums; where none is stated, that of what is added up."""
    word_bits: int = 0
    """Bits of values whose format is not stated: the word of the machine."""

    @classmethod
    def by_name(cls, given: Mapping[str, str]) -> TensorFormats:
        """Formats as they are written: by tensor, with ``default`` and ``accumulate``."""
        own = {name: fmt for name, fmt in given.items() if name not in (DEFAULT, ACCUMULATE)}
        return cls(
            default=given.get(DEFAULT, ""),
            tensors=tuple(sorted(own.items())),
            accumulate=given.get(ACCUMULATE, ""),
        )

    @property
    def stated(self) -> bool:
        """Whether anything is."""
        return bool(self.default or self.tensors or self.accumulate)

    def of(self, tensor: str) -> NumberFormat:
        """The format of a tensor; one without a name, of the machine's word, if not stated."""
        name = dict(self.tensors).get(tensor, self.default)
        return FORMATS[name] if name else _unstated(self.word_bits)

    def bits_of(self, tensor: str) -> Fraction:
        """Bits that a value of a tensor takes."""
        return self.of(tensor).bits

    def widest(self, tensors: Iterable[str]) -> NumberFormat:
        """The widest format of some tensors: more bits, else more range, else more precision."""
        return max((self.of(t) for t in tensors), key=lambda f: f.rank)

    def __str__(self) -> str:
        parts = (*self.tensors, (ACCUMULATE, self.accumulate))
        given = [f"{name} {fmt}" for name, fmt in parts if fmt]
        others = f"others {self.default}" if given else self.default
        return ", ".join([*given, *([others] if self.default else [])])


def _unstated(word_bits: int) -> NumberFormat:
    return NumberFormat(name="", element_bits=word_bits, exponent=0, significand=0)
