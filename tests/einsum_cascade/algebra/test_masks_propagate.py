"""A mask is written once: what reads an element that is absent has no point there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pointwise import Pointwise, Refused
from portions import examples, some
from random_cascades import cascades

from archsim import Architecture
from archsim.validation.inputs import random_inputs, random_parameters, random_shapes
from archsim.validation.mapped import mapped_run
from einsum_cascade import Cascade, ir
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.counting.symbolic import analyze
from einsum_cascade.notation import program_text
from einsum_cascade.shapes import resolve_shapes
from einsum_cascade.yaml.library import builtin_names
from mappers.construct.generators import GENERATORS


def points_there(oracle: Pointwise, einsum: ir.Einsum) -> int:
    """Points of an Einsum at which nothing is missing, tried one by one."""
    sizes = [range(oracle.size(v)) for v in einsum.variables]
    found = 0
    for values in itertools.product(*sizes):
        point = dict(zip(einsum.variables, values, strict=True))
        found += not oracle.at(einsum, point).causes
    return found


def chooses(einsum: ir.Einsum) -> bool:
    """Return whether a ``where`` call may skip an operand, which no count assumes."""
    return any(isinstance(n, ir.Call) and n.function == "where" for n in ir.walk(einsum.expression))


MASKS = (
    "m <= p",
    "m < p and p - 3 < m",
    "m == p or m < 2",
    "not m == p",
    "p >= 2",
    "m < 3 and p > 0",
    "m != 1",
    "m + p <= M",
    "S[m, p] > 0.9",
)
READS = (
    "Y[m, p] = exp(X[m, p])",
    "Y[m, p] = X[m, p] * X[p, p]",
    "Y[m, p] = X[m, p] + X[0, p] where m >= 1",
    "Y[m, p] = X[m - 1, p] where m > 0",
    "Y[m, p] = X[M - 1 - m, p]",
    "Y[m, p] = X[p, m]",
    "Y[m, p] = X[m, L[p]]",
    "T[p, m] = X[m, p] where m <= p; Y[m, p] = T[p, m] * S[m, p]",
    "T[m1, m0, p] = X[m1*M0 + m0, p] where m1 >= 1; Y[m, p] = T[0, 1, p] + X[m, p]",
    "T[m1, p] = X[m1*M0 + m0, p] :: max[m0]; Y[m, p] = T[1, p] * X[m, p]",
    "T[m1*M0 + m0, p] = X[m1*M0 + m0, p] + 1; Y[m, p] = T[m, p]",
    "T[p] = X[m, p]; Y[m, p] = T[p] + S[m, p]",
)
ENDS = (
    "Z[p] = Y[m, p]",
    "Z = Y[m, p] :: max[m, p]",
    "Z[m1, p] = Y[m1*M0 + m0, p]; A[p] = Z[m1, p]",
    "I[p, j] << topk(Y[m, p], j); Z[p, j] = Y[I[p, j], p] * S[0, p]; A[p] = exp(Z[p, j])",
    "Z[p] = Y[m, p]; A[m] = Z[p] * S[m, p]",
)


@st.composite
def chains(draw: st.DrawFn) -> str:
    """Return a mask written once, what reads it in some way, and what is reduced then."""
    lines = [f"X[m, p] = S[m, p] where {draw(st.sampled_from(MASKS))}"]
    lines += draw(st.sampled_from(READS)).split("; ") + draw(st.sampled_from(ENDS)).split("; ")
    # These use every input and every rank, whether or not the others do.
    lines += ["ZL[p, j] = L[p] + j", "ZM[m1, m0, p] = S[m1*M0 + m0, p]"]
    names = ", ".join(line.split("[")[0].split(" ")[0] for line in lines)
    block = "\n".join(f"  {line}" for line in lines)
    return (
        "cascade: chain\nranks: {P: {is: queries, like: M}, J: picks, "
        "M: {is: keys, partition: [M1, M0]}}\n"
        f"inputs: {{S: [M, P], L: [P]}}\noutputs: [{names}]\neinsums: |\n{block}\n"
    )


def checked(program: ir.Program, oracle: Pointwise, shapes: dict[str, int], text: str) -> int:
    """Compare every Einsum with the points tried one by one; how many were exact and masked."""
    masked = 0
    for e in analyze(program).at(shapes).by_einsum:
        einsum = program.einsum_of[e.einsum]
        try:
            wanted = points_there(oracle, einsum)
        except Refused:
            continue
        assert wanted <= e.points, f"{e.einsum} of {text}"
        if not e.at_most and not chooses(einsum):
            assert wanted == e.points, f"{e.einsum} of {text}"
            masked += with_masks(program).einsum_of[e.einsum] is not einsum
    return masked


@pytest.mark.slow
def test_masks_of_chains_reach_what_reads_them() -> None:
    masked = 0

    @settings(max_examples=examples(100), deadline=None, derandomize=True)
    @given(chains(), st.integers(0, 2**20))
    def chain(text: str, seed: int) -> None:
        nonlocal masked
        program = Cascade.parse(text).program
        rng = np.random.default_rng(seed)
        size = int(rng.integers(4, 7))
        shapes = {"P": size, "M": size, "M0": 2, "M1": -(-size // 2), "J": 2}
        inputs = {"S": rng.uniform(0.5, 1.5, (size, size)), "L": rng.integers(0, size, size)}
        masked += checked(program, Pointwise(program, inputs, shapes), shapes, text)

    chain()
    assert masked > 50


@pytest.mark.slow
@settings(
    max_examples=examples(80),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(cascades(), st.integers(0, 2**20))
def test_counted_points_are_those_that_are_there(text: str, seed: int) -> None:
    program = Cascade.parse(text).program
    rng = np.random.default_rng(seed)
    sizes = {rank: int(rng.integers(1, 5)) for rank in ("A", "B", "T", "M", "M0")}
    sizes["J"] = 1
    sizes["M0"] = min(sizes["M0"], sizes["M"])  # no tile is longer than its rank
    known = {r: n for r, n in sizes.items() if r in program.rank_of}
    shapes = resolve_shapes(program, known)
    inputs = {
        t.name: rng.integers(0, sizes["A"], size) if t.name == "G" else rng.uniform(0.5, 1.5, size)
        for t in program.inputs
        for size in [tuple(sizes[r] for r in t.ranks)]
    }
    oracle = Pointwise(program, inputs, shapes, {"lam": 0.75})
    checked(program, oracle, {**shapes, "H": 1}, text)


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 96, 5))
def test_a_mask_repeated_changes_nothing(name: str) -> None:
    """Written out wherever it is implied: the same values, and the same counts."""
    program = Cascade.load(name).program
    if with_masks(program) is program:
        return
    spelt = Cascade.parse(program_text(with_masks(program))).program
    assert with_masks(spelt) is spelt
    assert analyze(spelt).to_dict() == analyze(program).to_dict()
    rng = np.random.default_rng(0)
    shapes = resolve_shapes(program, random_shapes(program, {}, rng))
    inputs = random_inputs(program, shapes, rng)
    parameters = random_parameters(program, {}, rng, shapes)
    carried = {r for t in program.inputs for r in t.ranks} | set(program.parallel)
    free = {r: n for r, n in shapes.items() if r not in carried}
    found, wanted = (
        Cascade(p).evaluate(inputs, keep="all", **free, **parameters) for p in (spelt, program)
    )
    for tensor, values in wanted.items():
        np.testing.assert_allclose(found[tensor], values, rtol=1e-14, atol=0)


SMALL = (
    "arrays.array_2d.shape.rows=2",
    "arrays.array_2d.shape.columns=2",
    "arrays.array_1d.shape.lanes=2",
)
WHOLE = """  X[m, p] = S[m, p] where m < 2
  Y[p] = X[3, p] + S[0, p]
  Z = Y[p] :: max[p]
  ZL[p, j] = L[p] + j
  ZM[m1, m0, p] = S[m1*M0 + m0, p]
"""
HEAD = """cascade: chain
ranks: {P: {is: queries, like: M}, J: picks, M: {is: keys, partition: [M1, M0]}}
inputs: {S: [M, P], L: [P]}
outputs: [Z, ZL, ZM]
einsums: |
"""


@settings(max_examples=examples(30), deadline=None, derandomize=True)
@example(HEAD + WHOLE, 0)  # nothing at all is there, of a tensor without ranks
@given(chains(), st.integers(0, 2**20))
def test_a_mapped_run_has_the_same_elements(text: str, seed: int) -> None:
    """Whatever lanes and tiles see first, with masks written once or wherever they reach."""
    program = Cascade.parse(text).program
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4, 7))
    given_inputs = {"S": rng.uniform(0.5, 1.5, (size, size)), "L": rng.integers(0, size, size)}
    free = {"M0": 2, "J": 2}
    wanted = Cascade(program).evaluate(given_inputs, **free)
    machine = Architecture.load("fusemax", overrides=SMALL)
    run = mapped_run(Cascade(program), None, machine, GENERATORS)
    found = run(given_inputs, dtype="float64", **free)
    spelt = Cascade(with_masks(program)).evaluate(given_inputs, **free)
    for tensor, values in wanted.items():
        np.testing.assert_array_equal(spelt[tensor], values)
        np.testing.assert_allclose(found[tensor], values, rtol=1e-9, err_msg=text)
