"""Random points of models on machines, and what must hold of each: drawn by a seed and a number."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from archsim import Architecture, Result, simulate
from einsum_cascade.errors import InputError
from workloads import load

MACHINES = ("fusemax", "flat", "fusemax-micro24", "flat-micro24", "cascade-on-flat-micro24")
MODELS = (
    "bert-base",
    "t5-small",
    "xlm",
    "trxl-wt103",
    "llama-3-8b",
    "mistral-7b",
    "deepseek-v3",
    "qwen3-8b",
    "gemma-2-9b",
)
MAPPINGS = (
    None,
    None,
    None,
    "flat",
    "unfused",
    "fusemax-binding",
    "fusemax-cascade",
    "fusemax-arch",
)
ROUNDED = 1 + 1e-9


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run of a model's attention on a machine; without a mapping by the default."""

    model: str
    machine: str
    seq_len: int
    batch: int
    mapping: str | None

    @classmethod
    def drawn(cls, seed: int, number: int) -> Point:
        """The point of a seed and a number."""
        draw = random.Random(f"point {seed} {number}")
        return cls(
            model=draw.choice(MODELS),
            machine=draw.choice(MACHINES),
            seq_len=int(2 ** draw.uniform(0, 14)),
            batch=draw.choice((1, 1, 2, 3, 8, 64)),
            mapping=draw.choice(MAPPINGS),
        )

    def run(self, engine: str = "event", **machine: object) -> Result:
        """Its result, with fields of the machine changed.

        Raises
        ------
        InputError
            It has no legal mapping.
        """
        built = replace(Architecture.load(self.machine), **machine)
        work = load(self.model, seq_len=self.seq_len, batch=self.batch)
        return simulate(work, built, self.mapping, engine=engine)  # type: ignore[arg-type]


def memory_with(point: Point, number: int, **fields: object) -> dict[str, object]:
    """The machine's memories, one of them changed."""
    memories = Architecture.load(point.machine).memories
    changed = replace(memories[number], **fields)  # type: ignore[arg-type]
    return {"memories": (*memories[:number], changed, *memories[number + 1 :])}


def _times(more: float, less: float) -> float:
    return more / less


def faster_clock(point: Point, now: Result) -> float:
    """How much slower it is by a clock of twice the rate."""
    hertz = Architecture.load(point.machine).clock_hz
    return _times(point.run(clock_hz=2 * hertz).latency_s, now.latency_s)


def more_bandwidth(point: Point, now: Result) -> float:
    """How much slower it is with twice the bandwidth of the outermost memory."""
    rate = Architecture.load(point.machine).memories[0].bandwidth_bytes_per_s
    if rate is None:
        return 0.0
    return _times(
        point.run(**memory_with(point, 0, bandwidth_bytes_per_s=2 * rate)).latency_s, now.latency_s
    )


def more_capacity(point: Point, now: Result) -> float:
    """How much slower it is with twice the room of the innermost memory."""
    room = Architecture.load(point.machine).memories[-1].capacity_bytes
    if room is None:
        return 0.0
    return _times(
        point.run(**memory_with(point, -1 % 2, capacity_bytes=2 * room)).latency_s, now.latency_s
    )


def one_more_token_time(point: Point, now: Result) -> float:
    """How much sooner one token more is done."""
    return _times(now.latency_s, replace(point, seq_len=point.seq_len + 1).run().latency_s)


def one_more_token_energy(point: Point, now: Result) -> float:
    """How much cheaper one token more is."""
    return _times(now.energy_pj, replace(point, seq_len=point.seq_len + 1).run().energy_pj)


def twice_the_batch_time(point: Point, now: Result) -> float:
    """How much more than twice the time twice the batch takes."""
    return _times(replace(point, batch=2 * point.batch).run().latency_s, 2 * now.latency_s)


def twice_the_batch_no_less(point: Point, now: Result) -> float:
    """How much less time twice the batch takes."""
    return _times(now.latency_s, replace(point, batch=2 * point.batch).run().latency_s)


def twice_the_batch_traffic(point: Point, now: Result) -> float:
    """How much more than twice the traffic of the outermost memory twice the batch has."""
    more = replace(point, batch=2 * point.batch).run()
    return _times(more.traffic[0].total_bytes, 2 * now.traffic[0].total_bytes)


def engines(point: Point, now: Result) -> float:
    """By how much the engines part."""
    other = point.run("analytical")
    return max(_times(now.latency_s, other.latency_s), _times(other.latency_s, now.latency_s))


def floor(point: Point, now: Result) -> float:
    """How far a run is below its bounds."""
    bound = max(now.bounds.compute_s, now.bounds.bandwidth_s)
    return max(bound / now.latency_s, now.floor.latency_s / bound)


PROPERTIES: Mapping[str, Callable[[Point, Result], float]] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            *(faster_clock, more_bandwidth, more_capacity, one_more_token_time, engines, floor),
            *(one_more_token_energy, twice_the_batch_time, twice_the_batch_no_less),
            twice_the_batch_traffic,
        )
    }
)
"""Each gives a ratio that is at most 1, but for what is allowed."""


def broken(point: Point) -> Iterator[tuple[str, float]]:
    """Properties that do not hold at a point, with their ratios."""
    try:
        now = point.run()
    except InputError:
        return
    for name, ratio in PROPERTIES.items():
        try:
            found = ratio(point, now)
        except InputError:
            yield name, float("inf")
            continue
        if found > ROUNDED:
            yield name, found
