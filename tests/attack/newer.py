"""Attacks drawn field by field: machines, mappings, searches, sweeps, folders of results."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

from built import constraints, machine, mapping, sweep
from generators import SCALARS, Attack
from trees import Tree, changed, file_of

CASCADES = (
    *("attention-1pass", "attention-causal-1pass", "attention-3pass", "attention-causal"),
    *("flash-decoding", "attention-sliding-window-1pass", "layer-norm", "attention-alibi"),
    *("grouped-query-attention-causal", "gla-chunked", "linear-attention-causal"),
)
_MAKERS = ("fused", "einsum-by-einsum")


def _hostile(draw: random.Random, tree: Tree, often: float) -> bytes:
    """The file of a tree, now and then changed."""
    if draw.random() < often:
        for _ in range(draw.choice((1, 1, 2))):
            changed(draw, tree, SCALARS)
    return file_of(tree)


def _work(draw: random.Random) -> tuple[str, ...]:
    """A small workload."""
    if draw.random() < 0.1:
        return (
            draw.choice(("paged-decode", "bert-base")),
            "--set",
            "batch=1",
            "--set",
            "seq_len=24",
        )
    return ("bert-base", *_sized(draw, draw.choice(CASCADES)))


def _sized(draw: random.Random, cascade: str) -> tuple[str, ...]:
    """Settings of a cascade, and small shapes for it."""
    sizes = {"batch": draw.choice((1, 2)), "seq_len": draw.choice((1, 2, 7, 16, 40, 64))}
    if not cascade.startswith("layer"):
        sizes |= {"H": draw.choice((1, 3, 4)), "E": 8, "F": draw.choice((4, 8))}
    if cascade.startswith("grouped"):
        sizes |= {"G": 2, "S": 2, "H": 4}
    named = ("--set", f"cascade={cascade}")
    return (*named, *(w for name, size in sizes.items() for w in ("--set", f"{name}={size}")))


def _shown(draw: random.Random) -> tuple[str, ...]:
    """How a run is told."""
    return draw.choice(
        (
            *(("--json",), ("--json",), ("--json", "--engine", "event"), ("--explain",)),
            *(("--dump", "counts"), ("--dump", "program"), ("--trace", "OUT"), ("--dump", "bound")),
        )
    )


def machines(draw: random.Random) -> Attack:
    """A machine of a random kind, sometimes a wrong one."""
    work, *settings = _work(draw)
    content = _hostile(draw, machine(draw), 0.25)
    how = () if draw.random() < 0.5 else ("--mapping", draw.choice((*_MAKERS, "unfused")))
    if draw.random() < 0.05:
        return Attack(words=("show", "FILE"), content=content)
    return Attack(words=("simulate", work, "FILE", *settings, *how, *_shown(draw)), content=content)


def mappings(draw: random.Random) -> Attack:
    """A mapping that is spread, goes round, or is cut, on a machine that may be none for it."""
    on = machine(draw, draw.choice(("cores", "cores", "chips", "ring", "ring")))
    made = mapping(draw, on)
    cascade = made["mapping"]["cascade"]
    content, beside = _hostile(draw, made, 0.12), _hostile(draw, on, 0.03)
    name = "BESIDE" if draw.random() < 0.95 else draw.choice(("tpu-v4i-board", "a100-80gb", "fsa"))
    if draw.random() < 0.15:
        words: tuple[str, ...] = ("validate", cascade, "--mapping", "FILE", "--arch", name)
        return Attack(words=words, content=content, beside=beside)
    words = ("simulate", "bert-base", name, "--mapping", "FILE", *_sized(draw, cascade))
    return Attack(words=(*words, *_shown(draw)), content=content, beside=beside)


def searches(draw: random.Random) -> Attack:
    """A search of a small problem, which ends after some seconds."""
    sizes = ("--set", f"seq_len={draw.choice((1, 8, 32))}", "--set", "H=2", "--set", "batch=1")
    sizes = (*sizes, "--set", "E=4", "--set", "F=4")
    kind = draw.choice(("line", "line", "tree", "cores", "ring"))
    words = ["map", "bert-base", draw.choice(("fusemax", "BESIDE", "BESIDE")), *sizes]
    words += ["--time-limit", draw.choice(("1s", "2s", "0s", "10 ms", "3"))]
    for _ in range(draw.randrange(4)):
        words += draw.choice(
            (
                *(("--fix", "FILE"), ("--fix", "FILE"), ("--forbid", "FILE"), ("--json",)),
                ("--objective", draw.choice(("energy", "edp", "latency", "area"))),
                ("--strategy", draw.choice(("anneal", "random", "exhaustive", "x"))),
                ("--pareto", draw.choice(("latency,energy", "latency", ""))),
                ("--capacity-curve", draw.choice(("global_buffer", "L1", "nothing"))),
                ("--start", draw.choice(("fusemax-binding", "flat", "FILE", "unfused"))),
                ("--set", f"cascade={draw.choice(CASCADES)}"),
                ("--out", "OUT"),
                ("--plot", draw.choice(("OUT.png", "OUT.svg", "OUT.xyz"))),
            )
        )
    content = _hostile(draw, constraints(draw), 0.25)
    beside = _hostile(draw, machine(draw, kind), 0.1)
    return Attack(words=tuple(words), content=content, beside=beside)


def sweeps(draw: random.Random) -> Attack:
    """A sweep of a few points."""
    words = ["sweep", "FILE", "--out", "OUT", "--workers", "1"]
    if draw.random() < 0.2:
        words += draw.choice(
            (("--limit", "1"), ("--limit", "0"), ("--show", "0"), ("--show", "99"))
        )
    beside = _hostile(draw, machine(draw, "line"), 0.2)
    return Attack(words=tuple(words), content=_hostile(draw, sweep(draw), 0.3), beside=beside)


def folders(draw: random.Random) -> Attack:
    """A picture of a folder of results of which a file may be broken."""
    folder = draw.choice(("SWEPT", "SWEPT", "SIMULATED", "COMPARED"))
    kinds = ("pareto", "heatmap", "lines", "bars", "breakdown", "parallel", "roofline", "waterfall")
    words = ["plot", folder]
    if draw.random() < 0.9:
        words.append(draw.choice((*kinds, "capacity", "x")))
    columns = ("latency_s", "energy_pj", "seq_len", "clock", "status", "bound_by", "traffic_bytes")
    for _ in range(draw.randrange(3)):
        option = draw.choice(("--x", "--y", "--colour", "--facet", "--baseline", "--width"))
        number = draw.choice(("3.3", "0", "-1", "nan", "1e9", "1e-9"))
        value = (
            number
            if option == "--width"
            else draw.choice((*columns, "64", "", "traffic_bytes.DRAM"))
        )
        words += [option, value]
    words += [
        "--out",
        draw.choice(("OUT.png", "OUT.svg", "OUT.pdf", "OUT.html", "OUT.xyz", "OUT/x.png")),
    ]
    how = draw.choice((None, None, "cut", "noise", "gone", "number", "word", "empty"))
    return Attack(words=tuple(words), broken=how, content=draw.randbytes(8))


def outputs(draw: random.Random) -> Attack:
    """Commands that write, compare and list, with what they take beside names."""
    small = ("--set", f"seq_len={draw.choice((1, 24, 64))}", "--set", "batch=1")
    on = ("fusemax", "flat", "tpu-v1", "edge", "BESIDE", "nothing")
    compare = (
        "compare",
        "bert-base",
        *(draw.choice(on) for _ in range(draw.choice((2, 3)))),
        *small,
    )
    areas: tuple[tuple[str, ...], ...] = (
        *((), (), ("--iso-area",), ("--iso-power",), ("--iso-area", "--iso-power")),
        *(
            ("--iso-area", "--scale", draw.choice(("arrays", "copies", "L1", "x"))),
            ("--scale", "L1"),
        ),
    )
    words = draw.choice(
        (
            (*compare, *draw.choice(areas), "--json"),
            (*compare, *draw.choice(areas), "--out", "OUT"),
            (*compare, "--mapping", f"{draw.choice(on)}={draw.choice(('flat', 'auto', 'BESIDE'))}"),
            ("simulate", "bert-base", draw.choice(on), *small, "--out", "OUT"),
            ("simulate", "bert-base", draw.choice(on), *small, "--rewrite", draw.choice(_RULES)),
            ("simulate", "bert-base", "fusemax", *small, "--set", f"{draw.choice(_SET)}"),
            ("atlas", draw.choice(CASCADES), "--length", draw.choice(_LENGTHS), "--out", "OUT"),
            ("schema", draw.choice((*_SCHEMAS, "x"))),
            ("show", f"{draw.choice(_SCHEMAS)}s/{draw.choice(CASCADES)}", "--format", "dot"),
            ("analyze", draw.choice(CASCADES), "--json"),
            ("rewrite", draw.choice(CASCADES), draw.choice(_RULES), "--out", "OUT"),
            ("validate", draw.choice(CASCADES), "--set", draw.choice(_SET)),
        )
    )
    return Attack(words=words, beside=_hostile(draw, machine(draw), 0.15))


_LENGTHS = ("16", "1", "0", "x")
_RULES = ("factor:QK", "defer_division", "reduce_passes", "partition:M=M1,M0", "split:P", "")
_SCHEMAS = (
    "architecture",
    "cascade",
    "constraints",
    "mapping",
    "reproduction",
    "sweep",
    "workload",
)
_SET = (
    *(f"architecture.measured.launch.value={time}" for time in ("1 us", "-1 us", "1e400 s")),
    *("architecture.memories.DRAM.instances={cores: 4}", "architecture.memories.DRAM.ring=true"),
    *("architecture.memories.global_buffer.inside=global_buffer", "formats={default: fp8_e4m3}"),
    *("architecture.arrays.array_2d.reads=[DRAM]", "architecture.arrays.array_2d.overlap=streams"),
    *("mapping.nest.0.spatial={cores: H}", "mapping.nest.0.ring=M", "mapping.nests=[]"),
    *("architecture.memories.DRAM.multicast=true", "architecture.memories.0.write_buffer=1e9"),
    *(
        "formats={Q: int8, K: int4}",
        "formats={default: bf16, X: int8}",
        "layer=1e15",
        "phase=decode",
    ),
)

DRAWN: Mapping[str, Callable[[random.Random], Attack]] = MappingProxyType(
    {
        "machines": machines,
        "mappings": mappings,
        "searches": searches,
        "sweeps": sweeps,
        "folders": folders,
        "outputs": outputs,
    }
)
