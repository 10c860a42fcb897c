"""Operations an array's table lacks, done and billed as their stand-ins."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture, Mapping
from archsim.result.result import Result
from archsim.spec.arch import Operation, ProcessingArray
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError

SHAPES = {"B": 2, "H": 3, "E": 32, "F": 48, "P": 512, "M": 1024}


def array(**cycles: int) -> ProcessingArray:
    """An array that lists those kinds, each billed by its own name."""
    machine = Architecture.load("fusemax").arrays[0]
    operations = (
        Operation(kind=k, cycles=Fraction(n), bill=((k, Fraction(1)),)) for k, n in cycles.items()
    )
    return replace(machine, operations=tuple(operations))


@pytest.mark.parametrize(
    ("listed", "kind", "done_as"),
    [
        ({"add": 2, "mac": 3}, "sub", "add"),
        ({"mac": 3}, "sub", "mac"),
        ({"mac": 3}, "add", "mac"),
        ({"mac": 3}, "mul", "mac"),
        ({"max": 5}, "min", "max"),
        ({"sub": 7, "add": 2}, "neg", "sub"),
        ({"add": 2}, "neg", "add"),
        ({"mac": 3}, "neg", "mac"),
        ({"copy": 4}, "copy", "copy"),
    ],
)
def test_stand_in(listed: dict[str, int], kind: str, done_as: str) -> None:
    operation = array(**listed).operation(kind)
    assert operation is not None
    assert (operation.kind, operation.cycles) == (done_as, listed[done_as])


def test_a_listed_operation_is_its_own() -> None:
    sub = array(sub=9, add=1).operation("sub")
    assert sub is not None
    assert sub.cycles == 9


def test_an_unlisted_copy_takes_a_cycle_and_bills_nothing() -> None:
    assert array(add=3).operation("copy") == Operation(kind="copy", cycles=Fraction(1), bill=())


@pytest.mark.parametrize("kind", ["max", "exp", "div", "mac", "select", "relu"])
def test_no_stand_in(kind: str) -> None:
    listed = {"add": 1, "min": 1, "mul": 1}
    assert array(**listed).operation(kind) is None


def run(machine: Architecture) -> Result:
    mapping = Mapping.load("fusemax-binding")
    program = Cascade.load(mapping.cascade).program
    return evaluate_mapping(program, mapping, machine, SHAPES)


def without(machine: Architecture, *kinds: str) -> Architecture:
    arrays = (
        replace(a, operations=tuple(o for o in a.operations if o.kind not in kinds))
        for a in machine.arrays
    )
    return replace(machine, arrays=tuple(arrays))


def test_the_same_costs_and_a_note() -> None:
    # On fusemax a subtraction and an addition cost the same, so do mul and mac.
    machine = Architecture.load("fusemax")
    full, short = run(machine), run(without(machine, "sub", "mul"))
    assert (short.cycles, short.energy_by_einsum) == (full.cycles, full.energy_by_einsum)
    assert short.einsums == full.einsums
    assert "array_2d: sub is not listed (done as add)" in short.notes
    assert (
        "array_1d: mul is not listed (done as mac); sub is not listed (done as add)" in short.notes
    )
    assert not any("not listed" in n for n in full.notes)


def test_what_truly_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="array_2d cannot do 'exp', which SLN needs"):
        run(without(Architecture.load("fusemax"), "exp"))
