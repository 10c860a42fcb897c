"""FLAT's dataflow by search, against its own tool's formulas and the publication's."""

from __future__ import annotations

import re

import pytest
from flat_tool import Dataflow, Shape, cycles, dataflows, needed, products, tool_choice, traffic
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from portions import examples, some

from archsim import Architecture, Mapping, Result, simulate
from workloads import load

MODELS = {"bert-base": (12, 64), "trxl-wt103": (16, 64), "t5-small": (8, 64), "xlm": (16, 128)}
LENGTHS = [2**k for k in (10, 12, 14, 16, 18, 20)]


def taken(result: Result) -> Dataflow:
    """The dataflow that a result's notes name."""
    note = next(n for n in result.notes if n.startswith("chosen"))
    found = dict(re.findall(r"(\w+) (\w+)(?:,|$)", note.split(": ")[1]))
    rows = {"one": 1, "two": 2, "four": 4, "": 0}[found.get("rows", "")]
    return Dataflow(
        **{name.lower(): found[name] == "buffered" for name in ("Q", "K", "scores", "V", "AV")},
        output=found["stationarity"] == "output",
        rows=rows,
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("tokens", some(LENGTHS, 2))
def test_the_search_takes_what_flats_tool_takes(model: str, tokens: int) -> None:
    heads, width = MODELS[model]
    shape = Shape(64 * heads, width, tokens, tokens)
    result = simulate(
        load(model, seq_len=tokens), Architecture.load("flat-micro24"), Mapping.load("flat")
    )
    assert taken(result) == tool_choice(shape)
    assert_as_published(result, shape, taken(result))


def assert_as_published(result: Result, shape: Shape, flow: Dataflow) -> None:
    assert result.traffic_bytes == pytest.approx(float(traffic(shape, flow)), rel=1e-12)
    assert result.cycles == pytest.approx(float(cycles(shape, flow)), rel=1e-3)
    assert result.cycles >= float(cycles(shape, flow)) * (1 - 1e-12)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Shapes of no paper on square machines of no paper."""
    array = draw(st.sampled_from([8, 16, 32, 64, 128]))
    return Shape(
        heads=draw(st.integers(1, 40)) * 16,
        # Narrower or shorter, a single tile would stay where it is.
        width=draw(st.one_of(st.integers(2, array), st.sampled_from([2 * array, 3 * array]))),
        queries=4 * array * draw(st.integers(1, 12)),
        keys=array * draw(st.integers(2, 60)),
        array=array,
        buffer=draw(st.integers(2**12, 2**22)),
        bandwidth=draw(st.sampled_from([2**34, 2**36, 2**40])),
    )


FLOWS = list(dataflows())


@settings(max_examples=examples(25), deadline=None)
@given(shape=shapes(), flow=st.sampled_from(FLOWS))
def test_pinned_dataflows_on_machines_of_no_paper(shape: Shape, flow: Dataflow) -> None:
    # Partial sums of wide heads are not in the publication's formulas.
    assume(flow.output or shape.widths == 1)
    result = simulate(workload(shape), machine(shape), Mapping.load("flat", pins(flow)))
    row = 4 * shape.keys  # of QK and of SN
    assert result.traffic_bytes == pytest.approx(float(traffic(shape, flow, row)), rel=1e-12)
    assert dict(buffers(result))["global_buffer"] == needed(shape, flow, row)
    least = float(cycles(shape, flow, row))
    # The first QK and the last AV have no softmax beside them.
    tiles = shape.queries // (shape.array if flow.output and flow.scores else flow.together(shape))
    ends = float(products(shape, flow) / (shape.heads * tiles))
    rows = 24 * least / (shape.heads * shape.queries)
    # Nor has the first row of scores, or the last tile's way out.
    drained = 2 * flow.together(shape) * shape.width + 2 * shape.keys
    rows += drained * shape.clock / shape.bandwidth
    assert least * (1 - 1e-12) <= result.cycles <= least + ends + rows
    points = shape.heads * shape.queries * shape.keys
    busy = {a.array: a.occupied_cycles for a in result.arrays}
    assert busy["array_1d"] == 4 * points / shape.array


def buffers(result: Result) -> list[tuple[str, float]]:
    return [(b.level, b.required_bytes) for b in result.buffers]


def pins(flow: Dataflow) -> tuple[str, ...]:
    names = {"Q": flow.q, "K": flow.k, "scores": flow.scores, "V": flow.v, "AV": flow.av}
    return (
        *(f"choices.{n}={'buffered' if on else 'streamed'}" for n, on in names.items()),
        f"choices.stationarity={'output' if flow.output else 'weight'}",
        f"choices.granularity={'row' if flow.rows else 'head'}",
        f"choices.rows={ {0: 'one', 1: 'one', 2: 'two', 4: 'four'}[flow.rows] }",
    )


def workload(shape: Shape) -> object:
    return load(
        "bert-base",
        B=shape.heads // 16,
        H=16,
        E=shape.width,
        F=shape.width,
        P=shape.queries,
        M=shape.keys,
    )


def machine(shape: Shape) -> Architecture:
    return Architecture.load(
        "flat-micro24",
        (
            f"arrays.array_2d.shape.rows={shape.array}",
            f"arrays.array_2d.shape.columns={shape.array}",
            f"arrays.array_1d.shape.lanes={shape.array}",
            f"memories.global_buffer.capacity={shape.buffer} B",
            f"memories.DRAM.bandwidth={shape.bandwidth} B/s",
        ),
    )
