"""Results survive JSON, whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from archsim import Architecture, Mapping, simulate
from archsim.result.result import Result
from einsum_cascade.errors import InputError
from workloads import load

CONTRACT = {
    *("schema_version", "workload", "architecture", "mapping", "engine", "shape", "latency_s"),
    *("cycles", "bound_by", "utilization", "busy_cycles", "traffic_bytes", "buffer_bytes"),
    *("energy_pj", "area_um2", "bounds", "einsums"),
}


@cache
def result(mapping: str, architecture: str = "fusemax") -> Result:
    work = load("bert-base", seq_len=777, batch=3)
    machine = Architecture.load(architecture)
    return simulate(work, machine, Mapping.load(mapping), approximate=True)


@pytest.mark.parametrize(
    ("mapping", "architecture"),
    [
        ("fusemax-binding", "fusemax"),
        ("fusemax-arch", "fusemax-micro24"),
        ("linear-attention-by-head", "fusemax"),
    ],
)
def test_round_trip(mapping: str, architecture: str) -> None:
    first = result(mapping, architecture)
    text = json.dumps(first.to_dict(), allow_nan=False)
    again = Result.from_dict(json.loads(text))
    assert again == first
    assert json.dumps(again.to_dict()) == text
    assert str(again.explain()) == str(first.explain())


def test_the_keys_of_the_contract() -> None:
    found = result("fusemax-binding").to_dict()
    assert found.keys() >= CONTRACT
    assert found["energy_pj"].keys() == {"total", "by_component", "by_einsum"}
    einsum = {"name", "array", "cycles", "operations", "utilization"}
    assert all(e.keys() == einsum for e in found["einsums"])
    for level in found["traffic_bytes"].values():
        assert level["total"] == level["read"] + level["write"]
    assert found["buffer_bytes"]["global_buffer"].keys() == {"required", "capacity"}


def with_fields(**changed: object) -> dict[str, Any]:
    """A result's fields, some of them others; None leaves one out."""
    fields = result("fusemax-binding").to_dict() | changed
    return {k: v for k, v in fields.items() if k not in changed or changed[k] is not None}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (dict, "result:1:1: the field 'schema_version' is missing"),
        (list, "result:1:1: expected a mapping of fields, got a list"),
        (lambda: {"schema_version": 2}, "result:2:21: .* expected version 1, got version 2"),
        (lambda: with_fields(tiles=None), "the field 'tiles' is missing"),
        (lambda: with_fields(shape=3), "result:[0-9]+:12: shape: expected a mapping, got 3"),
        (lambda: with_fields(bounds={"seconds": 3}), "field 'compute_s' is missing in 'bounds'"),
    ],
)
def test_what_is_no_result(made: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Result.from_dict(made())
