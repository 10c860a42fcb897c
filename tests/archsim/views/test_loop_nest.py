"""A mapping told as a loop nest: what stands around each Einsum is all of its points."""

from __future__ import annotations

import re
from math import prod

import pytest
from commands import run

from archsim import Architecture, Mapping, loop_nest
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.views.loop_nest import loop_nest as nest_of
from einsum_cascade import Cascade
from mappers.construct.choices import choose

SHAPES = {"B": 2, "H": 3, "E": 64, "F": 64, "P": 1024, "M": 1024}

FUSEMAX = """\
DRAM [Q 768 KiB, K 768 KiB, V 768 KiB, AV 768 KiB]
registers of array_2d [BQK, SLN]
registers of array_1d [LM, SLD, SLNV, PRM, SPD, SPNV]
for B in [0:2)
  for H in [0:3)
    for M1 in [0:4)
      global_buffer, 324 KiB of 16 MiB [Q 128 KiB, K 32 KiB, RM 2 KiB, V 32 KiB, RD 2 KiB,
                                        RNV 128 KiB]
      for P1 in [0:4)              256 of P each
        BQK                        on array_2d
          for E in [0:64)
            par-for P0 in [0:256)  columns: 256 of 256
            par-for M0 in [0:256)  rows: 256 of 256
        LM                         on array_2d
          par-for P0 in [0:256)    columns: 256 of 256
          par-for M0 in [0:256)    rows: 256 of 256
        RM                         on array_1d
          par-for P0 in [0:256)    lanes: 256 of 256
        SLN, SLD                   on array_2d
          par-for P0 in [0:256)    columns: 256 of 256
          par-for M0 in [0:256)    rows: 256 of 256
        SLNV                       on array_2d
          for F in [0:64)
            par-for P0 in [0:256)  columns: 256 of 256
            par-for M0 in [0:256)  rows: 256 of 256
        PRM, SPD, RD               on array_1d
          par-for P0 in [0:256)    lanes: 256 of 256
        SPNV, RNV                  on array_1d, one after the other
          for F in [0:64)
            par-for P0 in [0:256)  lanes: 256 of 256
    global_buffer [RNV 128 KiB, RD 2 KiB]
    for P1 in [0:4)                256 of P each
      AV                           on array_1d
        for F in [0:64)
          par-for P0 in [0:256)    lanes: 256 of 256
"""


def bound(mapping: str, machine: str = "fusemax", **shapes: int) -> Bound:
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    return bind(program, how, Architecture.load(machine), SHAPES | shapes, choose=choose)


def test_the_published_mapping_is_told_as_loops() -> None:
    assert "\n".join(nest_of(bound("fusemax-binding")).lines) + "\n" == FUSEMAX


def points(lines: tuple[str, ...]) -> dict[str, int]:
    """By Einsum the product of all loops around and inside it, from the text alone."""
    found: dict[str, int] = {}
    around: list[tuple[int, int]] = []
    here: tuple[int, list[str]] = (0, [])
    for line in lines:
        depth = len(line) - len(line.lstrip())
        sizes = [int(n.replace(",", "")) for n in re.findall(r" in \[0:([\d,]+)\)", line)]
        # Loops that lie side by side stand below one another: all are around what comes deeper.
        around = [(d, n) for d, n in around if d < depth]
        if " on array" in line:
            names = line.split(" on ")[0].split(",")
            here = (depth, [n.strip() for n in names])
            found |= dict.fromkeys(here[1], prod(n for _, n in around))
        elif sizes and depth > here[0] and here[1]:
            for name in here[1]:
                found[name] *= prod(sizes)
        elif sizes:
            here = (0, [])
            around.append((depth, prod(sizes)))
    return found


@pytest.mark.parametrize(
    ("mapping", "machine"),
    [
        ("fusemax-binding", "fusemax"),
        ("fusemax-cascade", "fusemax"),
        ("unfused", "fusemax"),
        ("flat", "flat-micro24"),
    ],
)
def test_loops_around_an_einsum_go_over_all_of_its_points(mapping: str, machine: str) -> None:
    one = bound(mapping, machine)
    assert points(nest_of(one).lines) == {e.name: prod(e.extents) for e in one.einsums}


def test_groups_spills_and_instances_are_told() -> None:
    unfused = nest_of(bound("unfused"))
    assert unfused.lines[0] == "3 nests, one after the other"
    full = nest_of(bound("flat", "flat-micro24", B=64, H=12, P=4096, M=4096))
    assert sum(" MiB, the rest spills [" in line for line in full.lines) == 1


@pytest.mark.slow
def test_loops_over_cores_are_told() -> None:
    cores = loop_nest("bert-base", "h100-sxm", seq_len=64, batch=1, cascade="attention-naive")
    assert any(line.startswith("par-for ") and " over " in line for line in cores.listings[0].lines)


def test_explain_begins_with_the_loops() -> None:
    text = run("simulate", "--explain", "--set", "seq_len=1K", "--set", "B=2", "--set", "H=3")
    assert FUSEMAX in text.stdout
    assert "bert-base as loops, by fusemax-binding" in text.stdout
