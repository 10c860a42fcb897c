"""Residency: which level keeps which tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property

from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from ..spec.roles import ROLES
from .complaints import Complaint


@dataclass(frozen=True, slots=True)
class Home:
    """A level that keeps a tensor: a memory by index, or an array's registers."""

    name: str
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class Residency:
    """Places of every tensor, outermost first; registers come last, in the order of the machine."""

    places: tuple[tuple[str, tuple[Home, ...]], ...]

    @cached_property
    def _places_of(self) -> dict[str, tuple[Home, ...]]:
        return dict(self.places)

    def of(self, tensor: str) -> tuple[Home, ...]:
        """Where a tensor is kept."""
        return self._places_of[tensor]

    @cached_property
    def _memories_of(self) -> dict[str, tuple[int, ...]]:
        return {t: tuple(p.memory for p in f if p.memory is not None) for t, f in self.places}

    def memories(self, tensor: str) -> tuple[int, ...]:
        """Indices of the memories that keep a tensor, outermost first."""
        return self._memories_of[tensor]

    def registers(self, tensor: str) -> tuple[str, ...]:
        """Arrays whose registers keep a tensor, in the order of the machine."""
        return self._registers_of[tensor]

    @cached_property
    def _registers_of(self) -> dict[str, tuple[str, ...]]:
        return {t: tuple(p.name for p in found if p.memory is None) for t, found in self.places}


def residency(
    program: Program, mapping: Mapping, architecture: Architecture, complaints: list[Complaint]
) -> Residency:
    """Places of every tensor of a cascade; tensors kept nowhere join ``complaints``.

    Raises
    ------
    SpecError
        ``keep`` names a level or a tensor that does not exist.
    """
    inputs = {t.name for t in program.inputs}
    tensors = [*(t.name for t in program.inputs), *(e.name for e in program.einsums)]
    memories = {m.name: i for i, m in enumerate(architecture.memories)}
    arrays = [a.name for a in architecture.arrays]
    levels = [*memories, *arrays]
    wrong = [*_past_homes(mapping, architecture)]
    found: dict[str, list[Home]] = {t: [] for t in tensors}
    for keep in mapping.keep:
        if keep.level not in levels:
            hint = did_you_mean(keep.level, [*levels, *ROLES])
            wrong.append(Problem(f"the machine has no level '{keep.level}'", keep.span, hint))
            continue
        for tensor in keep.tensors:
            if tensor not in found:
                hint = did_you_mean(tensor, tensors)
                wrong.append(Problem(f"the cascade has no tensor '{tensor}'", keep.span, hint))
            elif keep.level in arrays and tensor in inputs:
                text = f"{tensor} is an input: it comes from memory whenever it is used"
                hint = f"registers of {keep.level} keep what Einsums write; leave {tensor} out"
                wrong.append(Problem(text, keep.span, hint))
            else:
                found[tensor].append(Home(keep.level, memories.get(keep.level)))
    if wrong:
        raise SpecError(wrong)
    span = mapping.keep[0].span if mapping.keep else mapping.span
    for tensor, places in found.items():
        # Registers in the order of the machine, too: the first that hold an operand give it.
        places.sort(key=lambda p: levels.index(p.name))
        produced = tensor in program.einsum_of
        ends = tensor in program.outputs or not produced
        if ends and (not places or places[0].memory != architecture.home_level):
            outermost, end = architecture.home.name, "output" if produced else "input"
            text = f" is an {end} of the cascade: {outermost} must keep it"
            hint = f"add {tensor} to 'keep: {{{outermost}: [...]}}'"
            # Each input is named by itself; outputs that lack a home are told together.
            complaint = (tensor, text) if produced else ("", f"{tensor}{text}")
            complaints.append(Complaint(*complaint, span, hint))
        elif ends and architecture.memories[0].ring:
            # What an instance needs of others comes over the links.
            places.insert(0, Home(architecture.memories[0].name, 0))
        elif not places:
            complaints.append(
                Complaint(
                    "",
                    f"no level keeps {tensor}",
                    span,
                    hint=f"add {tensor} to a level under 'keep'",
                )
            )
    return Residency(places=tuple((t, tuple(p)) for t, p in found.items()))


def _past_homes(mapping: Mapping, architecture: Architecture) -> Iterator[Problem]:
    """What would pass by the memory that holds all where links in a ring are outside of it."""
    links, home = architecture.memories[0], architecture.home.name
    if not links.ring:
        return
    for keep in mapping.keep:
        if keep.level == links.name:
            text = f"{links.name} is a ring of links, which hold nothing"
            hint = f"keep {', '.join(keep.tensors)} in {home}, which is inside of it"
            yield Problem(text, keep.span, hint)
    for how in mapping.einsums:
        for level, tensors in how.bypass:
            if level in (links.name, home):
                text = f"{how.einsum} passes {', '.join(tensors)} by {level}"
                hint = f"what comes over the links of a ring goes through {home}"
                yield Problem(text, how.span, hint)
    if mapping.spill is not None:
        text = f"what spills from {mapping.spill.level} has no place outside of a ring of links"
        yield Problem(text, mapping.spill.span, "leave out 'spill'")
