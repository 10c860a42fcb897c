"""What leaks and idles while a run lasts, where the technology says how much."""

from __future__ import annotations

from collections.abc import Iterator

from einsum_cascade.memo import IdentityCache

from ..spec.arch import Architecture, ProcessingArray
from .energy import Charge
from .estimators import functional_units

LEAKAGE = "leakage"
"""What the energy is of, in the place of an Einsum: all of them wait for it to end."""


def leakage_w(architecture: Architecture) -> tuple[tuple[str, float], ...]:
    """Power in W that components take whether they are used or not, those that take any, all
    instances of a component together.

    Units of an array leak by the actions that they do, its registers and memories on the chip by
    the bit, and a DRAM idles as a whole.

    Parameters
    ----------
    architecture : Architecture
        The machine, with its technology.

    Examples
    --------
    No technology that ships has any. Of 16 MiB at 10 pW a bit:

    >>> leakage_w(Architecture.load("fusemax"))
    ()
    >>> leakage_w(Architecture.load("fusemax", ["technology.memories.sram.leakage=10 pW/bit"]))
    (('global_buffer', 0.00134217728),)
    """
    known = _LEAKING.find(architecture)
    if known is not None:
        return known
    found = tuple((name, watts) for name, watts in _components(architecture) if watts)
    return _LEAKING.keep(found, architecture)


_LEAKING = IdentityCache[tuple[tuple[str, float], ...]]()
"""Of machines lately: each run of a machine asks for the same."""


def _components(architecture: Architecture) -> Iterator[tuple[str, float]]:
    technology = architecture.technology
    for memory in architecture.memories:
        kind = technology.memory(memory.energy)
        if kind is not None and kind.kind == "dram":
            yield memory.name, architecture.copies(memory.name) * kind.idle_w
        elif kind is not None:
            held = memory.billed_bytes or memory.capacity_bytes or 0
            bits = 8 * held * architecture.copies(memory.name)
            yield memory.name, bits * kind.leakage_w_per_bit
    for array in architecture.arrays:
        copies = architecture.copies(array.name)
        yield f"{array.name}.registers", copies * _registers(architecture, array)
        units = (technology.action(name) for name in functional_units(array))
        leaking = sum(u.leakage_w for u in units if u is not None)
        yield array.name, copies * array.elements * leaking


def _registers(architecture: Architecture, array: ProcessingArray) -> float:
    kind = architecture.technology.memory(array.registers.energy)
    width = array.registers.width_bits or architecture.word_bits
    per_bit = 0.0 if kind is None else kind.leakage_w_per_bit
    return array.elements * array.registers.depth * width * per_bit


def leakage_charges(architecture: Architecture, seconds: float) -> tuple[Charge, ...]:
    """What leakage costs in so long a time, by component.

    Parameters
    ----------
    architecture : Architecture
        The machine, with its technology.
    seconds : float
        Of the run.
    """
    return tuple(
        Charge(einsum=LEAKAGE, component=name, energy_pj=1e12 * watts * seconds)
        for name, watts in leakage_w(architecture)
    )
