"""The rules for values of an empty step say nothing that sympy does not say."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from einsum_cascade import Cascade, ir
from einsum_cascade.algebra.sympy_bridge import Bridge, constant
from einsum_cascade.no_op_steps import no_op_obstacle, simplified

PROGRAM = Cascade.load("attention-causal-1pass").program
A, B = (ir.Access(tensor=name) for name in "AB")
INFINITE = float("inf")

leaves = st.sampled_from((A, B, *(ir.Number(value=v) for v in (0, 1, 2, -INFINITE, INFINITE))))


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(
            lambda o, x, y: ir.Binary(operator=o, left=x, right=y),
            st.sampled_from("+-*"),
            inner,
            inner,
        ),
        # Divisors are none of what becomes zero.
        st.builds(
            lambda x, y: ir.Binary(operator="/", left=x, right=y),
            inner,
            st.sampled_from((B, ir.Number(value=1), ir.Number(value=2))),
        ),
        st.builds(
            lambda f, x, y: ir.Call(function=f, arguments=(x, y)),
            st.sampled_from(("max", "min")),
            inner,
            inner,
        ),
        st.builds(lambda x: ir.Call(function="exp", arguments=(x,)), inner),
        st.builds(lambda x: ir.Unary(operator="-", operand=x), inner),
    )


expressions = st.recursive(leaves, _grown, max_leaves=8)


@given(expressions, st.sampled_from((None, 0, 1, -INFINITE)))
@settings(max_examples=examples(200), deadline=None)
def test_what_the_rules_find_is_what_sympy_finds(expression: Any, known: Any) -> None:
    bridge = Bridge(PROGRAM)
    short = simplified(expression, {} if known is None else {A: ir.Number(known)})
    try:
        exact = bridge.to_sympy(expression)
        if known is not None:
            exact = exact.subs(bridge.symbol(A), constant(known))
        again = bridge.to_sympy(short)
    except ValueError:  # sympy has no maximum of what is no number (oo - oo, oo * 0)
        return
    same = again == exact or sympy.simplify(again - exact) == 0
    assert same or sympy.nan in (again, exact), (short, again, exact)
    if isinstance(short, ir.Number):
        assert exact == constant(short.value)


@pytest.mark.parametrize(
    "name",
    [
        "attention-causal-1pass",
        "attention-sliding-window-1pass",
        "grouped-query-attention-causal",
        "grouped-query-attention-window",
        "grouped-query-attention-sink",
        "grouped-query-attention-sink-window",
    ],
)
def test_one_pass_attention_needs_no_algebra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sympy takes half a second to come."""

    def refused(self: Any, program: ir.Program) -> None:
        raise AssertionError("sympy was asked")

    monkeypatch.setattr(Bridge, "__init__", refused)
    program = Cascade.load(name).program
    masked = [e.name for e in program.einsums if e.where is not None]
    assert no_op_obstacle(program, masked, {"m1", "p"}) is None
