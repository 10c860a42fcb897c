"""Text reports of searches, fronts and capacity curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from archsim.document import Column, Document, Fact, Table, names, numbers, table_of, texts
from archsim.quantities import bar, byte_size, count, energy, percent, seconds
from archsim.result.record import limits
from archsim.result.result import Result
from archsim.spec.mapping import Mapping

from ..problem.certificate import INTERRUPTED, Certificate
from ..workload_search import PartSearched, WorkloadSearched

if TYPE_CHECKING:
    # A search that has no time left does not wait for their compiled code.
    from ..pareto.capacity_search import CapacityCurves, CapacitySeries
    from ..pareto.front_search import Front

_MAX_DIFFERENCES = 8
"""Differences from a runner-up that a table shows."""

_AT_BOUND = 1.001
"""Ratio to the lower bound up to which traffic counts as being at the bound."""


def search_report(found: WorkloadSearched, usual: Result | None = None) -> Document:
    """Report the mappings found, their certificates, and the effort of the search.

    Parameters
    ----------
    usual : Result, optional
        Result of the workload under its default mappings, for comparison.
    """
    first = found.parts[0].found.certificate
    return Document(
        title=f"the least {first.objective} of {found.result.workload} "
        f"on {found.result.architecture}",
        facts=(
            *_compared(found.result, usual),
            _bound_by(found.result),
            *(_proof(p.name, p.found.certificate) for p in found.parts),
            *(Fact("constraint", "obeyed", text) for text in first.constraints),
        ),
        notes=tuple(
            f"{p.name} could not begin with '{r.mapping}': {r.reason}"
            for p in found.parts
            for r in p.refused
        ),
        listings=found.loop_nests,
        tables=(
            *([(_limits(found.result),)] if found.result.latency_s else []),
            *[(_against_runner_up(p),) for p in found.parts if p.found.runner_up is not None],
            (_coverage(found),),
        ),
    )


def _limits(result: Result) -> Table:
    """Return the table of the busy time of each array and each memory."""
    rows = [
        (x.name, x.kind, seconds(x.seconds), percent(x.share), bar(min(1.0, x.share)))
        for x in limits(result)
    ]
    words = (*names("part"), *texts("works at"))
    heads = (*words, *numbers("for", "of the latency"), Column("", "bar"))
    return table_of("what bounds the latency", heads, rows)


def _against_runner_up(part: PartSearched) -> Table:
    """Return the table that compares the mapping found with the best of another kind."""
    mine, other = part.found.result, part.found.runner_up
    assert other is not None, "the caller checks it"
    its = other.result
    rows = [
        ("mapping", part.found.mapping.name, _name_of(other.mapping)),
        ("latency", seconds(mine.latency_s), _lost(its.latency_s, mine.latency_s, seconds)),
        ("energy", energy(mine.energy_pj), _lost(its.energy_pj, mine.energy_pj, energy)),
    ]
    if mine.bound_by != its.bound_by:
        rows.append(("bound by", mine.bound_by, its.bound_by))
    rows += [(d.what, d.here, d.there) for d in other.differences[:_MAX_DIFFERENCES]]
    if more := len(other.differences) - _MAX_DIFFERENCES:
        rows += [(f"{more} more differ", "", "")] if more > 0 else []
    title = f"{part.name}: against the best found that shares other loops, or in another order"
    return table_of(title, (*names(""), *texts("here", "runner-up")), rows)


def _name_of(mapping: Mapping) -> str:
    """Return the name of a known mapping; mappings of a search have one name."""
    return "found" if mapping.name.startswith("best-") else mapping.name


def _lost(its: float, mine: float, shown: Callable[[float], str]) -> str:
    """Return a number of the runner-up, and its difference."""
    change = _change(its, mine)
    return f"{shown(its)}, {change}" if change else shown(its)


def _change(number: float, other: float) -> str:
    """Return by how much a number exceeds another; nothing if they look equal."""
    change = number / other - 1 if other else 0.0
    if percent(abs(change)) == percent(0.0):
        return ""
    return f"{percent(abs(change))} {'more' if change > 0 else 'less'}"


def _compared(result: Result, usual: Result | None) -> tuple[Fact, ...]:
    """Return latency and energy, and their differences from the default mappings."""
    pairs = (
        ("latency", seconds, result.latency_s, usual.latency_s if usual else 0.0),
        ("energy", energy, result.energy_pj, usual.energy_pj if usual else 0.0),
    )
    name = usual.mapping if usual else ""
    return tuple(
        Fact(what, shown(mine), _against(mine, its, name)) for what, shown, mine, its in pairs
    )


def _bound_by(result: Result) -> Fact:
    """Return the bottleneck of the steady state, and the share of fill and drain."""
    share = result.schedule.fill_drain_cycles / result.cycles if result.cycles else 0.0
    return Fact("bound by", result.bound_by, f"{percent(share)} of the time are fill and drain")


def _against(mine: float, other: float, name: str) -> str:
    """Return the difference from other mappings; nothing without them."""
    if not other:
        return ""
    change = _change(mine, other)
    return f"{change} than under {name}" if change else f"as under {name}"


def _proof(part: str, certificate: Certificate) -> Fact:
    """Return the sentence that tells what a certificate proves."""
    space = "constrained space" if certificate.constraints else "space"
    above = certificate.value / certificate.floor if certificate.floor else 0.0
    factor = f"; {above:.2f}x the floor of any mapping" if above else ""
    ended = f"; {certificate.ended}" if certificate.ended else ""
    if certificate.gap == 0 or (certificate.optimal and certificate.gap < 1e-9):
        return Fact(part, "optimal", f"no mapping of the {space} is better{factor}")
    if certificate.optimal:
        share = f"{100 * certificate.gap:.2g} %"
        text = f"no mapping of the {space} is better by more than {share}{factor}"
        return Fact(part, "optimal", text)
    text = f"{_gap_of(certificate, space)}{factor}{ended}"
    return Fact(part, "not proven", f"{text}; searched {certificate.strategy}")


def _gap_of(certificate: Certificate, space: str = "space") -> str:
    """Return by how much other mappings can be better, and which are meant."""
    floor = "proven only against the floor: no mapping"
    whose = floor if certificate.is_floor else f"no mapping of the {space}"
    return f"{whose} can be better by more than {100 * certificate.gap:.2g} %"


def _coverage(found: WorkloadSearched) -> Table:
    """Return the table of candidates of every part, evaluated and pruned."""
    certificates = [p.found.certificate for p in found.parts]
    reasons = dict.fromkeys(why for c in certificates for why, _ in c.reasons)
    rows = [
        ("candidates", *(count(c.candidates) for c in certificates)),
        ("evaluated", *(count(c.evaluated) for c in certificates)),
        ("run by the engine", *(count(c.runs) for c in certificates)),
        *(
            (f"pruned: {why}", *(count(dict(c.reasons).get(why, 0)) for c in certificates))
            for why in reasons
        ),
    ]
    heads = (*names("mappings"), *numbers(*(p.name for p in found.parts)))
    return table_of("how the space was covered", heads, rows)


def front_report(front: Front) -> Document:
    """Report the points of a front, fastest first, and their gaps."""
    rows = [
        (
            str(number),
            point.mapping.name,
            seconds(point.result.latency_s),
            count(round(point.result.cycles)),
            energy(point.result.energy_pj),
            byte_size(point.result.traffic_bytes),
            *(() if point.held_bytes is None else (byte_size(point.held_bytes),)),
            percent(point.gap),
        )
        for number, point in enumerate(front.points, start=1)
    ]
    footprint = (f"in {front.memory}",) if front.memory else ()
    columns = (
        *(*names("point"), *texts("mapping")),
        *numbers("latency", "cycles", "energy", "traffic", *footprint, "energy gap"),
    )
    axes = "latency against energy" + (f" and footprint in {front.memory}" if front.memory else "")
    those = (
        f"in that latency, with as little in {front.memory}," if footprint else "in that latency,"
    )
    latency, least = front.least
    notes = (
        f"energy gap: how much less energy any mapping of the space could take {those} "
        "at the most; what is not searched counts as the floor of any mapping",
        *_end_of(front.ended),
    )
    return Document(
        title=f"{axes} of {front.workload} on {front.architecture}",
        facts=(
            Fact("least latency", seconds(front.points[0].result.latency_s), _gap_of(latency)),
            Fact("least energy", energy(front.least_energy_pj), _gap_of(least)),
            Fact("searches", str(2 + front.searches), f"{count(front.runs)} mappings run"),
        ),
        tables=((table_of("mappings", columns, rows),),),
        notes=notes,
    )


def _end_of(ended: str) -> tuple[str, ...]:
    """Return the note on an early end, if there was one."""
    if not ended:
        return ()
    return ("it was interrupted" if ended == INTERRUPTED else "ended by its time limit",)


def capacity_report(curves: CapacityCurves) -> Document:
    """Report traffic and energy at each capacity, fused and Einsum by Einsum."""
    both = [_by_capacity(curves.fused), _by_capacity(curves.einsum_by_einsum)]
    rows = [
        (byte_size(capacity), *(cell for found in both for cell in found.get(capacity, ("-", "-"))))
        for capacity in curves.capacities
    ]
    limit = curves.bound_bytes * _AT_BOUND
    able = (p.capacity_bytes for p in curves.fused.traffic if p.result.traffic_bytes <= limit)
    enough = next(map(byte_size, able), "")
    title = f"least {curves.outermost} traffic, and least energy"
    series = numbers("fused", "energy", "Einsum by Einsum", "its energy")
    heads = (*names(curves.memory), *series)
    return Document(
        title=f"traffic and energy of {curves.workload} on {curves.architecture} "
        f"against the capacity of {curves.memory}",
        facts=(
            Fact("bound", byte_size(curves.bound_bytes), "no mapping of the cascade moves less"),
            Fact("reached with", enough or "none of these", f"of {curves.memory}, fused"),
            Fact("mappings run", str(curves.runs)),
        ),
        tables=((table_of(title, heads, rows),),),
        notes=(
            f"an access costs what it does with {byte_size(curves.own_bytes)} of {curves.memory}, "
            "whatever the capacity",
            *_end_of(curves.ended),
            *_not_confirmed(curves),
        ),
    )


def _not_confirmed(curves: CapacityCurves) -> tuple[str, ...]:
    """Return the note on capacities without points, where time was up before they ran."""
    last = max(p.capacity_bytes for p in curves.fused.traffic)
    largest = [capacity for capacity in curves.capacities if capacity > last]
    if not curves.ended or not largest:
        return ()
    return (f"no mapping was run with {byte_size(largest[0])} or more: give it more time",)


def _by_capacity(series: CapacitySeries) -> dict[int, tuple[str, str]]:
    """Return traffic and energy as text, by capacity."""
    least = {p.capacity_bytes: energy(p.result.energy_pj) for p in series.energy}
    return {
        p.capacity_bytes: (byte_size(p.result.traffic_bytes), least.get(p.capacity_bytes, "-"))
        for p in series.traffic
    }
