"""Random machines as files say them: odd sizes, one array or two, memories without a bandwidth."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from archsim import Architecture

_CYCLES = {"mac": 1, "max": 1, "exp": 6, "div": 2, "sqrt": 4, "rsqrt": 4, "log": 6, "elu": 8}
_SIDES = (1, 3, 4, 7, 8, 11, 16)
Tree = dict[str, Any]


def odd_machine(random: Random) -> Tree:
    """A machine file as a tree: memories L0, L1, ... and arrays A0, A1."""
    return {
        "architecture": {
            "name": "odd",
            "title": "odd",
            "source": "made up",
            "technology": "accelergy-45nm",
            "clock": "500 MHz",
            "word": random.choice(("8 bit", "16 bit")),
            "memories": _memories(random),
            "arrays": _arrays(random),
        }
    }


def _memories(random: Random) -> list[Tree]:
    found: list[Tree] = []
    for number in range(random.choice((1, 2, 2, 3))):
        memory = {
            "name": f"L{number}",
            "line": "64 bit",
            "energy": "sram" if number else "dram_hbm2",
        }
        if number:
            memory["capacity"] = f"{random.choice((16, 64, 1024))} KiB"
        if random.random() < 0.75:
            memory["bandwidth"] = f"{random.choice((10, 30, 400))} GB/s"
        found.append(memory)
    return found


def _arrays(random: Random) -> list[Tree]:
    every = tuple(_CYCLES)
    square = {"columns": random.choice(_SIDES), "rows": random.choice(_SIDES)}
    lanes = {"lanes": 2 * random.choice(_SIDES)}
    kind = random.choice(("one", "vector", "two", "two"))
    if kind == "two":
        able = random.choice((("mac",), ("mac", "max"), every))
        return [_array(random, "A0", square, able), _array(random, "A1", lanes, every)]
    return [_array(random, "A0", square if kind == "one" else lanes, every)]


def _array(random: Random, name: str, shape: dict[str, int], kinds: tuple[str, ...]) -> Tree:
    operations = {k: {"cycles": _CYCLES[k], "bill": {"mac": 1}} for k in kinds}
    depth = random.choice((4, 8, 32))
    array: Tree = {"name": name, "shape": shape, "registers": {"depth": depth}}
    array["operations"] = operations
    if len(shape) > 1 and random.random() < 0.3:
        array["operands"] = "systolic"
    if random.random() < 0.4:
        axis = random.choice([*shape])
        array["reduction"] = {axis: {"latency": random.choice((3, axis))}}
    return array


def loaded(tree: Tree, directory: Path) -> Architecture:
    """The machine of a file, which is written anew."""
    path = directory / "machine.yaml"
    path.write_text(json.dumps(tree), encoding="utf-8")
    return Architecture.load(path)


def renamed(tree: Any, names: dict[str, str]) -> Any:
    """A tree in which some words are others, whether as keys or as values."""
    if isinstance(tree, dict):
        return {names.get(k, k): renamed(v, names) for k, v in tree.items()}
    if isinstance(tree, list):
        return [renamed(x, names) for x in tree]
    return names.get(tree, tree) if isinstance(tree, str) else tree


def shuffled(tree: Any, random: Random) -> Any:
    """A tree whose keys stand in another order; what is in lists stays in its order.

    Axes do, too: a role knows those by their order that it does not know by name.
    """
    if isinstance(tree, dict):
        keys = random.sample([*tree], len(tree))
        return {k: tree[k] if k == "shape" else shuffled(tree[k], random) for k in keys}
    return [shuffled(x, random) for x in tree] if isinstance(tree, list) else tree
