"""Random machines, mappings, sweeps and constraints of all fields there are, right or wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from typing import Any

import yaml
from places import ROOT
from trees import Tree

SIDES = (1, 2, 3, 4, 7, 8, 16)
_CYCLES = {"mac": 1, "mul": 1, "add": 1, "sub": 1, "max": 1, "exp": 6, "div": 2, "copy": 1}
_CYCLES |= {"sqrt": 4, "rsqrt": 4, "log": 6, "elu": 8, "select": 1, "compare": 1, "pow": 9}
_BARE = ("mac", "mul", "add", "copy")
_TECHNOLOGIES = ("accelergy-45nm", "jouppi-7nm", "horowitz-45nm")


def machine(draw: random.Random, kind: str | None = None) -> Tree:
    """A machine: memories in a line or a tree, one core or many, in a ring or not."""
    kind = kind or draw.choice(("line", "line", "tree", "cores", "cores", "chips", "ring", "ring"))
    memories = _line(draw, draw.choice((1, 2, 2, 3)) if kind == "line" else draw.choice((2, 3)))
    arrays = _arrays(draw)
    if kind == "tree":
        _branched(draw, memories, arrays)
    if kind in ("cores", "chips"):
        _fed(draw, memories[0], "cores")
    if kind == "chips":
        _fed(draw, memories[1], "lanes")
    if kind == "ring":
        memories.insert(0, _links(draw))
        if draw.random() < 0.3:
            _fed(draw, memories[1], "cores")
    found: Tree = {
        "name": draw.choice(("odd", "made-up", "M", "outer")),
        "technology": "jouppi-7nm" if kind == "ring" else draw.choice(_TECHNOLOGIES),
        "clock": draw.choice(("1 Hz", "500 MHz", "1800 MHz")),
        "word": draw.choice(("8 bit", "16 bit", "16 bit", "32 bit", "12 bit")),
        "memories": memories,
        "arrays": arrays,
    }
    if draw.random() < 0.2:
        found["measured"] = {"launch": {"value": draw.choice(("21 us", "1e9 s")), "source": "-"}}
    return {"architecture": found}


def _line(draw: random.Random, depth: int) -> list[Tree]:
    """Memories each inside of the one before it."""
    found: list[Tree] = []
    for number in range(depth):
        memory: Tree = {"name": f"L{number}", "line": draw.choice(("64 bit", "8 bit", "128 bit"))}
        memory["energy"] = "sram" if number else "dram_hbm2"
        if number:
            memory["capacity"] = draw.choice(("256 B", "4 KiB", "64 KiB", "64 KiB", "1 MiB"))
        if draw.random() < 0.8:
            memory["bandwidth"] = draw.choice(("1 B/s", "10 GB/s", "30 GB/s", "400 GB/s"))
        if draw.random() < 0.1:
            memory["write_buffer"] = draw.choice((1, 2, 1024))
        found.append(memory)
    return found


def _fed(draw: random.Random, memory: Tree, name: str) -> None:
    """Let a memory feed several of what is inside of it."""
    memory["instances"] = {name: draw.choice((1, 2, 2, 3, 4, 4, 8, 24))}
    for way in ("multicast", "reduces"):
        if draw.random() < 0.3:
            memory[way] = draw.choice((True, False))


def _links(draw: random.Random) -> Tree:
    """Links of chips in a ring."""
    found: Tree = {"name": "links", "ring": True, "line": "64 bit"}
    found["instances"] = {"chips": draw.choice((1, 2, 2, 4, 4, 3))}
    found["bandwidth"] = draw.choice(("50 GB/s", "50 GB/s", "1 kB/s"))
    return {**found, "energy": "link_board"}


def _branched(draw: random.Random, memories: list[Tree], arrays: list[Tree]) -> None:
    """Put memories side by side, which arrays read and write."""
    line = memories[-1]["name"]
    beside = [f"S{number}" for number in range(draw.choice((1, 1, 2)))]
    for name in beside:
        memory = {**_line(draw, 2)[1], "name": name}
        memories.append({**memory, "inside": draw.choice([m["name"] for m in memories[:-1]])})
    for array in arrays:
        array["reads"] = draw.sample([line, *beside], draw.choice((1, 2)))
        array["writes"] = draw.choice([line, *beside])
    arrays[0]["reads"] = [line, *beside]


def _arrays(draw: random.Random) -> list[Tree]:
    square = {"columns": draw.choice(SIDES), "rows": draw.choice(SIDES)}
    lanes = {"lanes": 2 * draw.choice(SIDES)}
    kind = draw.choice(("one", "vector", "two", "two", "two", "three"))
    if kind in ("two", "three"):
        able = draw.choice((_BARE, _BARE, tuple(_CYCLES)))
        found = [_array(draw, "A0", square, able), _array(draw, "A1", lanes, tuple(_CYCLES))]
        return found if kind == "two" else [*found, _array(draw, "A2", lanes, _BARE)]
    return [_array(draw, "A0", square if kind == "one" else lanes, tuple(_CYCLES))]


def _array(draw: random.Random, name: str, shape: dict[str, int], kinds: tuple[str, ...]) -> Tree:
    array: Tree = {"name": name, "shape": dict(shape)}
    array["registers"] = {"depth": draw.choice((2, 8, 32, 256))}
    array["operations"] = {k: {"cycles": _CYCLES[k], "bill": {"mac": 1}} for k in kinds}
    if draw.random() < 0.3:
        array["operands"] = "systolic"
        if draw.random() < 0.7:
            array["overlap"] = draw.choice((True, False, "streams"))
    if draw.random() < 0.3:
        axis = draw.choice([*shape])
        array["reduction"] = {axis: {"latency": draw.choice((3, axis))}}
    return array


@lru_cache(maxsize=64)
def _specification(folder: str, name: str) -> Tree:
    text = (ROOT / "specs" / folder / f"{name}.yaml").read_text(encoding="utf-8")
    found: Tree = yaml.safe_load(text)
    return found


MAPPED = ("ring-attention", "fusemax-binding", "fusemax-causal", "unfused", "gqa-causal")
_RANKS = ("H", "P", "P1", "P2", "M", "M0", "M1", "G", "B", "E", "F", "S", "X")
_SPREAD = (*"HHHHPPPPBBMG", "P2", "P3", "M1", "F", "X")


def mapping(draw: random.Random, on: Tree) -> Tree:
    """A built-in mapping for a machine: spread over its cores, in its ring, or cut into nests."""
    found = deepcopy(_specification("mappings", draw.choice(MAPPED))["mapping"])
    found.pop("machine", None)
    memories = on["architecture"]["memories"]
    for at in found.get("nest", ()):
        if at["level"] == "links" and memories[0]["name"] != "links":
            at["level"] = memories[0]["name"]
            at.pop("spatial"), at.pop("ring")
    for memory in memories:
        if "instances" in memory and draw.random() < 0.97:
            spread(draw, found, memory, memories[-1]["name"])
    if draw.random() < 0.1:
        found = _in_nests(draw, found)
    if draw.random() < 0.1:
        found["schedule"] = draw.choice(
            (
                {"kind": "sequential"},
                {"kind": "pipelined", "lookahead": draw.choice((1, 2, 3, "fit", 10**6))},
                {"kind": "phases", "groups": [["BQK", "LM"], ["RM"], ["AV@-1"]]},
            )
        )
    return {"mapping": found}


def spread(draw: random.Random, found: Tree, memory: Tree, deepest: str) -> None:
    """Give a mapping parts of ranks on the instances of a memory, and ranks that go round."""
    nest, level = found.setdefault("nest", []), memory["name"]
    same = {level, "outer"} if level == "L0" else {level}
    if level == deepest:
        same.add("nearest")
    holders = [at for at in nest if at["level"] in same]
    holder = holders[0] if holders else {"level": level, "loops": []}
    if not holders:
        nest.insert(0 if level == "links" else len(nest), holder)
        if level == "links" and draw.random() < 0.7:  # its loops are what the next level's were
            holder["loops"], nest[1]["loops"] = nest[1]["loops"], []
    (called,) = memory["instances"]
    parts: Tree = {
        draw.choice(_SPREAD): draw.choice((1, 2, 2, 3, "rest", "rest", "balanced", "2 balanced"))
        for _ in range(draw.choice((1, 1, 2)))
    }
    holder["spatial"] = {called: draw.choice((draw.choice(_SPREAD), parts, list(parts)))}
    if "ring" in memory and draw.random() < 0.7:
        holder["ring"] = draw.choice(("M", "M", "M1", "P", [], ["M", "P"], "H", "E"))


def _in_nests(draw: random.Random, found: Tree) -> Tree:
    """The same in several nests."""
    names = list(found["einsums"])
    cuts = sorted(draw.sample(range(1, len(names)), min(draw.choice((1, 2, 3)), len(names) - 1)))
    beside = {k: found[k] for k in ("partition", "nest", "keep", "schedule") if k in found}
    nests = []
    for first, last in zip([0, *cuts], [*cuts, len(names)], strict=True):
        nest = deepcopy(beside) if draw.random() < 0.7 else {}
        nests.append({**nest, "einsums": {n: found["einsums"][n] for n in names[first:last]}})
    return {"name": found["name"], "cascade": found["cascade"], "nests": nests}


def sweep(draw: random.Random) -> Tree:
    """A sweep of few points."""
    axes: dict[str, Callable[[], Any]] = {
        "seq_len": lambda: draw.sample([1, 2, 33, 64, "1K", 0, "x"], 2),
        "batch": lambda: draw.sample([1, 2, 3], 2),
        "mapping": lambda: draw.sample(["default", "flat", "unfused", "fused", "nothing"], 2),
        "architecture": lambda: draw.sample(["fusemax", "flat", "edge", "tpu-v1", "BESIDE"], 2),
        "cascade": lambda: ["attention-1pass", "attention-3pass"],
        "buffer": lambda: {
            "field": "architecture.memories.1.capacity",
            "from": draw.choice(("1 MiB", "0 B", "-1 B", "1 GiB")),
            "to": draw.choice(("64 MiB", "1 MiB", "4 s")),
            "steps": draw.choice((1, 2, 3, 0)),
            "scale": draw.choice(("log", "linear", "odd")),
        },
        "clock": lambda: {"field": "architecture.clock", "values": ["1 GHz", "1 Hz"]},
        "launch": lambda: {
            "field": "architecture.measured.launch.value",
            "values": ["1 us", "2 us"],
        },
        "overlap": lambda: {
            "fields": ["architecture.arrays.0.operands", "architecture.arrays.0.overlap"],
            "values": ["systolic", "true"],
        },
    }
    names = draw.sample(list(axes), draw.choice((1, 2, 2)))
    found: Tree = {
        "name": "odd",
        "workload": draw.choice(("bert-base", "t5-small", "paged-decode")),
        "architecture": draw.choice(("fusemax", "flat", "BESIDE")),
        "set": {"seq_len": 64, "batch": 1},
        "axes": {name: axes[name]() for name in names},
    }
    for name in names:
        found.pop(name, None)
        found["set"].pop(name, None)
    if draw.random() < 0.4:
        found["where"] = draw.choice(
            (["latency_s <= 1 ms"], ["area_um2 <= 1 mm^2"], ["energy_pj > nan"], ["x < 1"], ["a"])
        )
    if draw.random() < 0.3:
        found["points"] = draw.choice(
            (
                {"random": draw.choice((1, 2, 10**9)), "seed": 1},
                {"search": "optuna", "trials": 3, "objectives": ["latency_s"], "seed": 1},
                "some",
            )
        )
    return {"sweep": found}


def constraints(draw: random.Random) -> Tree:
    """Constraints on mappings of one-pass attention."""
    einsums = ("BQK", "LM", "RM", "SLN", "SLNV", "RNV", "AV", "Y")
    places = ("outer", "nearest", "matrix", "vector", "DRAM", "global_buffer", "array_2d", "L1")
    some: dict[str, Callable[[], Any]] = {
        "einsums": lambda: {
            draw.choice(einsums): draw.choice(
                (
                    {"array": draw.choice(places)},
                    {"innermost": draw.choice(_RANKS)},
                    {"alone": draw.choice((True, False))},
                    {"spatial": {"columns": draw.choice(("P", ["P", "E"], {"P": 4}, {"P": 0}))}},
                )
            )
        },
        "shared": lambda: draw.sample(_RANKS, 2),
        "order": lambda: {draw.choice(places): draw.sample(_RANKS, 2)},
        "tiles": lambda: {
            draw.choice(places): {draw.choice(_RANKS): draw.choice((1, 16, {"at_most": 8}, -1))}
        },
        "keep": lambda: {draw.choice(places): draw.choice(("K", ["K", "V"], "BQK", "Z"))},
    }
    names = draw.sample(list(some), draw.choice((1, 1, 2)))
    return {"constraints": {name: some[name]() for name in names}}
