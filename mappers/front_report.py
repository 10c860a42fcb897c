"""What a front says to a person."""

from __future__ import annotations

from archsim.document import Column, Document, Fact, Table
from archsim.quantities import byte_size, count, energy, percent, seconds

from .certificate import Certificate
from .front import Front


def front_report(front: Front) -> Document:
    """The points of a front, fastest first, and how sure each is."""
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
    held = (f"in {front.memory}",) if front.memory else ()
    columns = (
        Column("point", "name"),
        Column("mapping", "text"),
        *(Column(t) for t in ("latency", "cycles", "energy", "traffic", *held, "energy gap")),
    )
    axes = "latency against energy" + (f" and what {front.memory} holds" if front.memory else "")
    those = f"in that latency, with as little in {front.memory}," if held else "in that latency,"
    latency, least = front.least
    ended = {"": "", "interrupted": "it was interrupted"}
    notes = (
        f"energy gap: how much less energy any mapping of the space could take {those} "
        "at the most; what is not searched counts as the floor of any mapping",
        *((ended.get(front.ended, "ended by its time limit"),) if front.ended else ()),
    )
    return Document(
        title=f"{axes} of {front.workload} on {front.architecture}",
        facts=(
            Fact("least latency", seconds(front.points[0].result.latency_s), _sure(latency)),
            Fact("least energy", energy(front.least_energy_pj), _sure(least)),
            Fact("searches", str(2 + front.searches), f"{count(front.runs)} mappings run"),
        ),
        tables=((Table(title="mappings", columns=columns, rows=tuple(rows)),),),
        notes=notes,
    )


def _sure(certificate: Certificate) -> str:
    """What is proven of an end."""
    share = f"{100 * certificate.gap:.2g} %"
    if certificate.is_floor:
        return f"proven only against the floor: no mapping can be better by more than {share}"
    return f"no mapping of the space can be better by more than {share}"
