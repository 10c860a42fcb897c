"""What must hold of any result that ``--json`` prints: numbers are numbers, parts add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import fsum, isclose
from typing import Any

_MAY_BE_NEGATIVE = ("gap", "difference", "here", "there", "shift", "change", "offset")
_ROUNDED = 1 + 1e-9


def no_number(text: str) -> float:
    """Refuse what only some readers of JSON take.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(f"{text} is no number of JSON")


def wrong(text: str) -> str | None:
    """What is wrong with a text of JSON; None: nothing."""
    try:
        tree = json.loads(text, parse_constant=no_number)
    except ValueError as broken:
        return f"no JSON: {broken}"
    for path, value in _numbers(tree, ""):
        if not value < float("inf"):
            return f"{path} is {value}"
        if value < 0 and not any(word in path for word in _MAY_BE_NEGATIVE):
            return f"{path} is {value}"
    return next(_unlike(tree, ""), None)


def _numbers(tree: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _numbers(value, f"{path}.{key}")
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield path, tree


def _unlike(tree: Any, path: str) -> Iterator[str]:
    """Sums that are not the sum of their parts, wherever they stand."""
    if isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _unlike(value, f"{path}.{number}")
    if not isinstance(tree, dict):
        return
    if {"read", "write", "total"} <= tree.keys() and tree["read"] + tree["write"] != tree["total"]:
        yield f"{path}: {tree['read']} + {tree['write']} is not {tree['total']}"
    for parts in ("by_component", "by_einsum"):
        if parts in tree and "total" in tree:
            whole = fsum(tree[parts].values())
            if not isclose(whole, tree["total"], rel_tol=1e-9):
                yield f"{path}.{parts}: {whole} is not {tree['total']}"
    if "floor" in tree and "latency_s" in tree:
        yield from _result(tree, path)
    for key, value in tree.items():
        yield from _unlike(value, f"{path}.{key}")


def _result(tree: dict[str, Any], path: str) -> Iterator[str]:
    least = max(
        tree["bounds"]["compute_s"], tree["bounds"]["bandwidth_s"], tree["floor"]["latency_s"]
    )
    if least > tree["latency_s"] * _ROUNDED:
        yield f"{path}: latency {tree['latency_s']} is below what bounds it, {least}"
    if tree["floor"]["energy_pj"] > tree["energy_pj"]["total"] * _ROUNDED:
        yield f"{path}: energy {tree['energy_pj']['total']} is below {tree['floor']['energy_pj']}"
    for array, share in tree["utilization"].items():
        if share > _ROUNDED:
            yield f"{path}: {array} is used {share}"
    for level, moved in tree["traffic_bytes"].items():
        each = [e[level]["total"] for e in tree["einsum_traffic_bytes"].values() if level in e]
        if not isclose(sum(each), moved["total"], rel_tol=1e-9):
            yield f"{path}: {level} moves {moved['total']}, its Einsums {sum(each)}"
    charges = fsum(fsum(e.values()) for e in tree["charges_pj"].values())
    if not isclose(charges, tree["energy_pj"]["total"], rel_tol=1e-9):
        yield f"{path}: charges {charges} are not {tree['energy_pj']['total']}"
