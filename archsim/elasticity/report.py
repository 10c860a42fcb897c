"""Report of a sensitivity analysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..document import Document, names, numbers, table_document, texts
from ..quantities import area, energy, seconds
from .record import LEAST_EFFECT, SensitivityRecord

TITLES = {"latency": "latency", "as_built": "as built", "energy": "energy", "area": "area"}
"""Name of each quantity in tables and pictures."""

_SHOWN = {"latency": seconds, "as_built": seconds, "energy": energy, "area": area}


def sensitivity_report(found: SensitivityRecord) -> Document:
    """Return the report of a sensitivity analysis: a row for every number with an effect."""
    known = found.quantities
    rated = any(e.evidence for e in found.effective)
    rows = [
        (
            *(e.field, e.value),
            *(_signed(e.of(quantity)) for quantity in known),
            *((e.evidence or "-",) if rated else ()),
        )
        for e in found.effective
    ]
    heads = (*names("field"), *texts("value"), *numbers(*(TITLES[q] for q in known)))
    return table_document(
        f"sensitivity of {found.workload} on {found.architecture}, mapped by {found.mapping}",
        (*heads, *(texts("evidence") if rated else ())),
        rows,
        "  ".join(f"{TITLES[q]} {_SHOWN[q](found.totals.of(q) or 0.0)}" for q in known),
        _notes(found),
    )


def _signed(elasticity: float) -> str:
    return f"{elasticity:+.2f}" if abs(elasticity) >= LEAST_EFFECT else "0"


def _notes(found: SensitivityRecord) -> Iterator[str]:
    yield "elasticities: per cent of change for each per cent more of the number"
    if found.remapped:
        yield "each varied machine runs the faster of the base's mapping and one chosen anew"
    else:
        yield "all varied machines run the mapping of the base, with its tile sizes"
    assumed = (e for e in found.effective if e.evidence == "assumed")
    sized = [
        f"{e.field} ({TITLES[found.by]} {_signed(e.of(found.by))})"
        for e in assumed
        if abs(e.of(found.by)) >= LEAST_EFFECT
    ]
    if sized:
        yield f"rests on assumed: {', '.join(sized)}"
    idle = [e.field for e in found.fields if not e.has_effect]
    every = [*(e.field for e in found.fields), *(n.field for n in found.not_varied)]
    if idle:
        yield f"no effect: {', '.join(_branches(idle, every))}"
    if tight := [e.field for e in found.fields if e.one_sided]:
        yield f"only larger, or only smaller is legal: {', '.join(_branches(tight, every))}"
    reasons: dict[str, list[str]] = {}
    for number in found.not_varied:
        reasons.setdefault(number.reason, []).append(number.field)
    for reason, fields in reasons.items():
        yield f"not varied: {', '.join(_branches(fields, every))}: {reason}"


def _branches(fields: Sequence[str], every: Sequence[str]) -> list[str]:
    """Return the highest branches that contain none but the given fields, each branch once."""
    others: set[str] = set()
    for field in set(every).difference(fields):
        steps = field.split(".")
        others |= {".".join(steps[:n]) for n in range(1, len(steps) + 1)}
    found: dict[str, list[str]] = {}
    for field in fields:
        steps = field.split(".")
        prefixes = (".".join(steps[:n]) for n in range(1, len(steps) + 1))
        branch = next(prefix for prefix in prefixes if prefix not in others)
        above, _, last = branch.rpartition(".")
        if last not in found.setdefault(above, []):
            found[above].append(last)
    return [
        f"{above}.{lasts[0]}" if len(lasts) == 1 else f"{above}.({', '.join(lasts)})"
        for above, lasts in found.items()
    ]
