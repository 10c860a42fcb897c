"""A short card of a workload, as Jupyter shows it."""

from __future__ import annotations

from einsum_cascade.source import html_text

from .spec import WorkloadSpec


def workload_card(workload: WorkloadSpec) -> str:
    """Its cascade, scope, phase and shapes as an HTML fragment, every text escaped."""
    shapes = ", ".join(f"{rank} {size:,}" for rank, size in workload.shapes)
    facts = [
        ("cascade", workload.cascade),
        ("scope", workload.scope),
        ("phase", workload.phase),
        ("shapes", shapes),
    ]
    if workload.layers is not None:
        facts.append(("layers", f"{workload.layers:,}"))
    facts += [("note", note) for note in workload.notes]
    rows = "".join(
        f"<tr><td style='text-align:left'><b>{html_text(label)}</b></td>"
        f"<td style='text-align:left'>{html_text(value)}</td></tr>"
        for label, value in facts
    )
    return f"<div><h4>workload {html_text(workload.name)}</h4><table>{rows}</table></div>"
