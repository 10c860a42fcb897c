"""What a search says to a person."""

from __future__ import annotations

from archsim.document import Column, Document, Fact, Table
from archsim.quantities import count, energy, percent, seconds
from archsim.result.record import Result

from .certificate import Certificate
from .workload_search import WorkloadSearched


def search_report(found: WorkloadSearched, usual: Result | None = None) -> Document:
    """How good the mappings found are, and how much was looked at to know.

    Parameters
    ----------
    usual : Result, optional
        What the workload does under its usual mappings, to compare with.
    """
    first = found.parts[0].found.certificate
    return Document(
        title=f"the least {first.objective} of {found.result.workload} "
        f"on {found.result.architecture}",
        facts=(
            *_compared(found.result, usual),
            *(_proof(p.name, p.found.certificate) for p in found.parts),
            *(Fact("constraint", text) for text in first.constraints),
        ),
        tables=((_coverage(found),),),
    )


def _compared(result: Result, usual: Result | None) -> tuple[Fact, ...]:
    """Latency and energy, and how they differ from those of the usual mappings."""
    pairs = (
        ("latency", seconds, result.latency_s, usual.latency_s if usual else 0.0),
        ("energy", energy, result.energy_pj, usual.energy_pj if usual else 0.0),
    )
    name = usual.mapping if usual else ""
    return tuple(
        Fact(what, shown(mine), _against(mine, its, name)) for what, shown, mine, its in pairs
    )


def _against(mine: float, other: float, name: str) -> str:
    """How a number differs from that of other mappings; nothing where there are none."""
    if not other:
        return ""
    change = mine / other - 1
    if percent(abs(change)) == percent(0.0):
        return f"as under {name}"
    return f"{percent(abs(change))} {'more' if change > 0 else 'less'} than under {name}"


def _proof(part: str, certificate: Certificate) -> Fact:
    """What the certificate proves, in a sentence."""
    space = "constrained space" if certificate.constraints else "space"
    above = certificate.value / certificate.floor if certificate.floor else 0.0
    beside = f"; {above:.2f}x the floor of any mapping" if above else ""
    ended = f"; {certificate.ended}" if certificate.ended else ""
    if certificate.gap == 0 or (certificate.optimal and certificate.gap < 1e-9):
        return Fact(part, "optimal", f"no mapping of the {space} is better{beside}")
    share = _share(certificate.gap)
    if certificate.optimal:
        text = f"no mapping of the {space} is better by more than {share}{beside}"
        return Fact(part, "optimal", text)
    text = f"no mapping of the {space} can be better by more than {share}{beside}{ended}"
    return Fact(part, "not proven", f"{text}; searched {certificate.strategy}")


def _share(gap: float) -> str:
    return f"{100 * gap:.2g} %"


def _coverage(found: WorkloadSearched) -> Table:
    """Candidates of every part, evaluated and pruned."""
    names = [p.name for p in found.parts]
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
    return Table(
        title="how the space was covered",
        columns=(Column("mappings", "name"), *(Column(name) for name in names)),
        rows=tuple(rows),
    )
