"""Intermediates in the registers of the array that makes and uses them."""

from __future__ import annotations

from dataclasses import replace

from archsim.bound.complaints import Complaint
from archsim.bound.legality import forgets
from archsim.bound.record import Bound
from archsim.bound.residency import residency
from archsim.spec.mapping import Keep, Mapping


def in_registers(bound: Bound) -> Bound:
    """The same with intermediates in the registers of the array that makes and uses them, as
    far as that is legal."""
    kept = {*bound.mapping.keep[0].tensors}
    for e in bound.einsums:
        users = [x for x in bound.einsums if any(o.producer == e.name for o in x.operands)]
        if e.name in kept or any(x.array.name != e.array.name for x in users):
            continue
        mapping = _moved(bound.mapping, e.name, e.array.name)
        complaints: list[Complaint] = []
        places = residency(bound.program, mapping, bound.architecture, complaints)
        tried = bound.kept_otherwise(places, mapping)
        if not complaints and not forgets(tried):
            bound = tried
    return bound


def _moved(mapping: Mapping, tensor: str, level: str) -> Mapping:
    """A mapping that keeps a tensor in one level alone."""
    keep = {k.level: tuple(t for t in k.tensors if t != tensor) for k in mapping.keep}
    keep[level] = (*keep.get(level, ()), tensor)
    # Nobody passes it by where it is no longer.
    einsums = tuple(
        replace(how, bypass=tuple((n, tuple(t for t in ts if t != tensor)) for n, ts in how.bypass))
        for how in mapping.einsums
    )
    kept = tuple(Keep(level=n, tensors=t) for n, t in keep.items())
    return replace(mapping, keep=kept, einsums=einsums)
