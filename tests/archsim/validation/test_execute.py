"""The mapped nest, run on numbers, gives what the equations give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from portions import left

from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.validation.mapped import execute_mapped, mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.errors import EvaluationError, MappingError
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference

SMALL = (
    "arrays.array_2d.shape.rows=8",
    "arrays.array_2d.shape.columns=4",
    "arrays.array_1d.shape.lanes=4",
)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Softmax attention, written without a cascade."""
    scores = q @ k.swapaxes(-1, -2)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def inputs(shapes: dict[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    ranks = {"Q": "BHPE", "K": "BHME", "V": "BHMF"}
    return {t: rng.standard_normal([shapes[r] for r in rs]) for t, rs in ranks.items()}


@pytest.mark.parametrize("mapping", ["fusemax-binding", "fusemax-arch"])
@pytest.mark.parametrize(
    ("p", "m"),
    [(4, 8), left(8, 16), left(16, 8), (5, 9), left(11, 23), (1, 1), left(13, 64), left(40, 7)],
)
def test_attention_as_mapped(mapping: str, p: int, m: int) -> None:
    shapes = {"B": 2, "H": 3, "E": 5, "F": 3, "P": p, "M": m}
    machine = Architecture.load("fusemax", SMALL)
    program = Cascade.load("attention-1pass").program
    lowered = bind(program, Mapping.load(mapping), machine, shapes)
    given = inputs(shapes)
    out = execute_mapped(lowered, given)
    assert list(out) == ["AV"]
    np.testing.assert_allclose(
        out["AV"], attention(**{k.lower(): v for k, v in given.items()}), rtol=1e-12, atol=1e-13
    )


def test_half_precision_is_rounded_but_right() -> None:
    shapes = {"B": 1, "H": 1, "E": 4, "F": 4, "P": 6, "M": 20}
    machine = Architecture.load("fusemax", SMALL)
    program = Cascade.load("attention-1pass").program
    lowered = bind(program, Mapping.load("fusemax-binding"), machine, shapes)
    given = inputs(shapes)
    out = execute_mapped(lowered, given, dtype="float16")["AV"]
    exact = attention(given["Q"], given["K"], given["V"])
    assert out.dtype == np.float16
    assert 0 < np.abs(out - exact).max() < 2e-2


GEMM = """
cascade: gemm
ranks: [M, N, K]
inputs: {A: [M, K], B: [K, N]}
output: Z
einsums: "Z[m, n] = A[m, k] * B[k, n]"
"""
GEMM_MAPPING = """
mapping:
  name: outer
  cascade: gemm.yaml
  partition: {M: {M0: 3}, N: {N0: 2}, K: {K0: 4}}
  nest: [{level: DRAM, loops: [K1, M1]}]
  einsums:
    Z: {array: array_2d, spatial: {rows: M0, columns: N0}, loops: [N1, K0]}
  keep: {DRAM: [A, B, Z]}
  schedule: {kind: pipelined, lookahead: 2}
"""


def test_a_reduction_split_over_the_shared_nest(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Partial sums come back for every outer tile of k; no shape divides."""
    path = tmp_path / "outer.yaml"
    path.write_text(GEMM_MAPPING)
    (tmp_path / "gemm.yaml").write_text(GEMM)
    program = Cascade.parse(GEMM).program
    shapes = {"M": 7, "N": 5, "K": 10}
    lowered = bind(program, Mapping.load(path), Architecture.load("fusemax", SMALL), shapes)
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((7, 10)), rng.standard_normal((10, 5))
    np.testing.assert_allclose(execute_mapped(lowered, {"A": a, "B": b})["Z"], a @ b, rtol=1e-12)


def test_a_wrong_order_would_be_seen(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Dropping the last key tile changes the output: the test can fail."""
    shapes = {"B": 1, "H": 1, "E": 2, "F": 2, "P": 3, "M": 9}
    lowered = bind(
        Cascade.load("attention-1pass").program,
        Mapping.load("fusemax-binding"),
        Architecture.load("fusemax", SMALL),
        shapes,
    )
    given = inputs(shapes)
    whole = execute_mapped(lowered, given)["AV"]
    short = attention(given["Q"], given["K"][..., :8, :], given["V"][..., :8, :])
    assert np.abs(whole - short).max() > 1e-3


def test_too_long_a_run_is_refused() -> None:
    shapes = {"B": 64, "H": 12, "E": 64, "F": 64, "P": 4096, "M": 4096}
    lowered = bind(
        Cascade.load("attention-1pass").program,
        Mapping.load("fusemax-binding"),
        Architecture.load("fusemax"),
        shapes,
    )
    with pytest.raises(EvaluationError, match=r"takes [\d,]+ array steps"):
        execute_mapped(lowered, {})


@pytest.mark.parametrize("loops", ["[J, M]", "[M, J]", "[M1, J, M0]"])
@pytest.mark.parametrize(
    "given", [[3.0, 1.0, 3.0, -5.0, 2.0], [0.0] * 5, [-1.0, 9.0, 8.0, 7.0, 9.0]]
)
def test_a_selection_takes_its_candidates_as_they_come(
    tmp_path: Path, loops: str, given: list[float]
) -> None:
    """The largest first, equal ones in the order of their positions, in any order of loops."""
    (tmp_path / "pick-cascade.yaml").write_text(
        "cascade: pick\nranks: [M, J]\ninputs: {S: [M]}\noutput: I\n"
        "einsums: 'I[j] << topk(S[m], j)'\n"
    )
    program = Cascade.load(tmp_path / "pick-cascade.yaml").program
    path = tmp_path / "pick.yaml"
    cut = "  partition: {M: {M0: 2}}\n" if "M1" in loops else ""
    path.write_text(
        f"mapping:\n  name: pick\n  cascade: pick-cascade.yaml\n{cut}  einsums:\n"
        f"    I: {{array: array_1d, spatial: {{}}, loops: {loops}}}\n"
        "  keep: {DRAM: [S, I]}\n  schedule: {kind: sequential}\n"
    )
    lowered = bind(program, Mapping.load(path), Architecture.load("fusemax"), {"M": 5, "J": 3})
    found = execute_mapped(lowered, {"S": np.array(given)})["I"]
    assert found.tolist() == sorted(range(5), key=lambda m: -given[m])[:3]
    (count,) = count_mapping(lowered)
    assert count.operations == (("compare", 5 * 3),)


RUNNING = """
cascade: running-causal
ranks: {P: queries, M: {is: keys, partition: [M1, M0]}}
inputs: {S: [M, P]}
output: D
init: "RM[0, p] = -inf ; RD[0, p] = 0"
einsums: |
  T[m1, m0, p] = S[m1*M0 + m0, p] where m1*M0 + m0 <= p
  LM[m1, p]    = T[m1, m0, p] :: max[m0]
  RM[m1+1, p]  = max(RM[m1, p], LM[m1, p])
  N[m1, m0, p] = exp(T[m1, m0, p] - RM[m1+1, p])
  LD[m1, p]    = N[m1, m0, p]
  RD[m1+1, p]  = RD[m1, p] * exp(RM[m1, p] - RM[m1+1, p]) + LD[m1, p]
  D[p]         = RM[M1, p] + log(RD[M1, p])
"""
RUNNING_MAPPING = """
mapping:
  name: running
  cascade: running.yaml
  partition: {M: {M0: array_2d.rows}, P: {P0: array_2d.columns}}
  nest: [{level: DRAM, loops: [P1, M1]}]
  einsums:
    T:  {array: array_2d, spatial: {columns: P0, rows: M0}}
    LM: {array: array_2d, spatial: {columns: P0, rows: M0}}
    N:  {array: array_2d, spatial: {columns: P0, rows: M0}}
    LD: {array: array_2d, spatial: {columns: P0, rows: M0}}
    RM: {array: array_1d, spatial: {lanes: P0}}
    RD: {array: array_1d, spatial: {lanes: P0}}
    D:  {array: array_1d, spatial: {lanes: P0}}
  keep: {DRAM: [S, D], global_buffer: [RM, RD], array_2d: [T, N], array_1d: [LM, LD]}
"""


def test_a_masked_tile_leaves_the_running_state_as_it_was(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Causal log-sum-exp: most queries see whole tiles of keys masked out."""
    (tmp_path / "running.yaml").write_text(RUNNING)
    (tmp_path / "mapping.yaml").write_text(RUNNING_MAPPING)
    n = 29
    lowered = bind(
        Cascade.load(tmp_path / "running.yaml").program,
        Mapping.load(tmp_path / "mapping.yaml"),
        Architecture.load("fusemax", SMALL),
        {"P": n, "M": n},
    )
    scores = np.random.default_rng(2).standard_normal((n, n))
    found = execute_mapped(lowered, {"S": scores})["D"]
    wanted = [np.log(np.exp(scores[: p + 1, p]).sum()) for p in range(n)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_an_einsum_waits_for_one_loop_and_comes_before_another(tmp_path: Path) -> None:
    """A sum over E is needed in every F: it runs at the end of E1, and at the start of F1."""
    path = tmp_path / "two-loops.yaml"
    path.write_text(
        """
mapping:
  name: two-loops
  cascade: linear-attention-causal
  partition: {E: {E0: 2}, F: {F0: 2}}
  nest: [{level: DRAM, loops: [B, H, E1, F1]}]
  einsums:
    PhiQ: {array: array_1d, loops: {global_buffer: [P, E0]}}
    PhiK: {array: array_1d, loops: {global_buffer: [M, E0]}}
    W: {array: array_1d, loops: {global_buffer: [P, M, E0]}}
    D: {array: array_1d, loops: {global_buffer: [P, M]}}
    NV: {array: array_1d, loops: {global_buffer: [P, F0, M]}}
    O: {array: array_1d, loops: {global_buffer: [P, F0]}}
  keep: {DRAM: [Q, K, V, PhiQ, PhiK, W, D, NV, O]}
  schedule: {kind: pipelined, lookahead: 1}
"""
    )
    cascade = Cascade.load("linear-attention-causal")
    run = mapped_run(cascade, Mapping.load(path), Architecture.load("fusemax"), GENERATORS)
    shapes = {"B": 1, "H": 1, "E": 5, "F": 5, "P": 3, "M": 3}
    reference = find_reference("linear_attention_causal")
    assert validate_cascade(cascade, reference=reference, shapes=shapes, trials=1, run=run).ok


PICKED = """
cascade: picked
ranks: {P: {is: queries, like: M}, E: width, J: picks, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M], S: [M, P]}
outputs: [O, T]
einsums: |
  X[m, p] = S[m, p] where m <= p
  I[p, j] << topk(X[m, p], j)
  G[p, j, e] = K[I[p, j], e]
  QK[p, j] = Q[p, e] * G[p, j, e]
  GM[p] = QK[p, j] :: max[j]
  SN[p, j] = exp(QK[p, j] - GM[p])
  SD[p] = SN[p, j]
  O[p] = SN[p, j] * V[I[p, j]] / SD[p]
  C[p] = S[m, p] where m < p - 1
  D[p] = exp(C[p]) where p > 1
  R[p, e] = Q[p, e] * D[p]
  T[p] = exp(R[p, e])
"""


def test_what_is_absent_is_absent_in_a_mapped_run() -> None:
    """Picks that do not exist, and a fiber that a mask removes, whatever tiles say first."""
    cascade = Cascade.parse(PICKED)
    rng = np.random.default_rng(0)
    shapes = {"Q": (6, 3), "K": (6, 3), "V": (6,), "S": (6, 6)}
    given = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    run = mapped_run(cascade, None, Architecture.load("fusemax", overrides=SMALL), GENERATORS)
    found = run(given, dtype="float64", J=4)
    for name, wanted in cascade.evaluate(given, J=4).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12)


def test_a_reduction_over_no_keys_at_all_is_its_identity_in_a_mapped_run() -> None:
    """More queries than keys: tiles of the first ones are left out, and the sums are there."""
    cascade = Cascade.parse(
        "cascade: late\nranks: [P, M]\ninputs: {S: [M, P]}\noutputs: [L, H]\neinsums: |\n"
        "  X[m, p] = S[m, p] where m <= p + M - P\n  L[p] = exp(X[m, p])\n  H[p] = log(L[p])\n"
    )
    given = {"S": np.random.default_rng(0).normal(size=(5, 24))}
    run = mapped_run(cascade, None, Architecture.load("fusemax", overrides=SMALL), GENERATORS)
    found = run(given, dtype="float64")
    for name, wanted in cascade.evaluate(given).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12)


NESTED = """
cascade: nested-running
ranks: {P: tokens, J: steps}
inputs: {A: [P, J], W: [P]}
output: O
init: |
  X[p, 0] = W[p]
  Y[0] = 0
einsums: |
  X[p, j+1] = X[p, j] * 0.5 + A[p, j] + Y[p]
  Y[p+1] = X[p, J] * 0.25
  O[p] = Y[p+1]
"""


def nested(loops: str) -> str:
    """A mapping of the cascade with its two loops in some order."""
    return f"""
mapping:
  name: two-loops
  cascade: ./nested.yaml
  nest:
    - {{level: DRAM, loops: [{loops}]}}
  einsums:
    X: {{array: array_1d}}
    Y: {{array: array_1d, outside: J}}
    O: {{array: array_1d, outside: [P, J], loops: {{DRAM: [P]}}}}
  keep:
    DRAM: [A, W, X, Y, O]
  schedule: {{kind: pipelined, lookahead: 1}}
"""


@pytest.mark.parametrize("loops", ["", "P, J", "J, P"])
def test_a_recursion_inside_another_runs_in_its_order_or_not_at_all(
    tmp_path: Path, loops: str
) -> None:
    """Steps of one token feed the next token: with the loop over steps outside, every token
    but the first would read what is not there yet. No ``loops``: those of the default."""
    (tmp_path / "nested.yaml").write_text(NESTED)
    cascade = Cascade.load(str(tmp_path / "nested.yaml"))
    machine, shapes = Architecture.load("fusemax", SMALL), {"P": 5, "J": 3}
    if loops:
        (tmp_path / "mapping.yaml").write_text(nested(loops))
        mapping = Mapping.load(str(tmp_path / "mapping.yaml"))
    else:
        mapping = GENERATORS.make(cascade.program, machine, shapes)
    if loops == "J, P":
        with pytest.raises(MappingError, match="Y is complete only after J, but every P inside"):
            bind(cascade.program, mapping, machine, shapes)
        return
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((5, 3)), rng.standard_normal(5)
    out = execute_mapped(bind(cascade.program, mapping, machine, shapes), {"A": a, "W": w})["O"]
    y, expected = 0.0, []
    for p in range(5):
        x = w[p]
        for j in range(3):
            x = x * 0.5 + a[p, j] + y
        y = x * 0.25
        expected.append(y)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
