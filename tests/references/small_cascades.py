"""Small cascades with one equation or two, for tests."""

from __future__ import annotations

from einsum_cascade import Cascade


def small(equations: str, inputs: str, outputs: str = "Z", more: str = "") -> Cascade:
    """A cascade of these equations; ``inputs`` such as ``X: [A, B]``."""
    block = "\n".join(f"  {line}" for line in equations.splitlines())
    ranks = sorted(set(inputs) & set("ABM")) + ["J"] * ("topk" in equations)
    head = f"cascade: small\nranks: [{', '.join(ranks)}]\ninputs: {{{inputs}}}\noutput: {outputs}\n"
    return Cascade.parse(f"{head}{more}einsums: |\n{block}\n")
