"""Kernels measured on GPUs beside the machines as built, whose losses were fitted to such rows."""

from __future__ import annotations

import csv
from math import exp, log
from statistics import fmean

import pytest
from places import PUBLICATIONS

from archsim import Architecture, simulate
from workloads import load

FOLDER = PUBLICATIONS / "silicon"
MACHINES = ("a100-80gb", "h100-sxm")
DECODED = {"phase": "decode", "dtype": "bf16", "heads": "32", "head_dim": "128", "window": "0"}
"""Attention that a written mapping runs, so that no default takes long to find."""


@pytest.mark.skipif(not FOLDER.exists(), reason="the measured rows are beside the project only")
@pytest.mark.parametrize("name", MACHINES)
def test_decoded_attention_takes_as_long_as_on_the_machine(name: str) -> None:
    ratios: list[float] = []
    machine = Architecture.load(name)
    with (FOLDER / "aic_attention.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if DECODED.items() <= r.items()]
    for row in (r for r in rows if r["machine"] == name):
        settings = [
            f"config.num_key_value_heads={row['kv_heads']}",
            f"batch={row['batch']}",
            f"cached_len={row['cache_tokens']}",
        ]
        work = load("llama-3-8b", ["formats.default=bf16", "phase=decode", *settings])
        found, measured_s = simulate(work, machine), float(row["best_us"]) / 1e6
        if measured_s >= found.floor.bandwidth_s:
            assert found.as_built is not None
            ratios.append(log(found.as_built.latency_s / measured_s))
    assert len(ratios) >= 4
    assert exp(abs(fmean(ratios))) < 1.15
    assert exp(fmean(map(abs, ratios))) < 1.3


@pytest.mark.parametrize("name", MACHINES)
def test_each_number_of_a_built_machine_has_a_source_and_there_are_at_most_eight(name: str) -> None:
    losses = Architecture.load(name).losses
    assert losses is not None
    others = (losses.launch, losses.fill, losses.exposed)
    every = [x for x in (*others, *(x for _, x in losses.sustained)) if x is not None]
    assert 0 < len(every) <= 8
    assert all(x.source and x.rows for x in every)
