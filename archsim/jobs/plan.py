"""``simulate``: a workload on a machine under a mapping, by name or by value."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.rows import tells_apart
from einsum_cascade.shapes import with_usual
from einsum_cascade.yaml.library import builtin_names

from ..result.record import PartUse, Result
from ..spec.arch import Architecture
from ..spec.mapping import EINSUM_BY_EINSUM, Mapping

if TYPE_CHECKING:
    from ..spec.files.overrides import Overriding

_DERIVED = (
    "a mapping made for any cascade: one Einsum after the other, every tensor through memory; "
    "one written for this cascade may do better"
)


class PartLike(Protocol):
    """What ``simulate`` needs of a part of a workload (``workloads.Part`` is one)."""

    @property
    def name(self) -> str:
        """Shown in the result."""
        ...

    @property
    def cascade(self) -> str:
        """The cascade, by built-in name or file."""
        ...

    @property
    def times(self) -> int:
        """How often the part runs."""
        ...

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """Shapes of those ranks that are given."""
        ...

    def folded_for(self, ranks: Collection[str]) -> int:
        """How many query heads that share keys are taken together as rows of P."""
        ...

    def notes_for(self, ranks: Collection[str]) -> tuple[str, ...]:
        """What a cascade of those ranks leaves out of the part, in sentences."""
        ...

    def left_out_by(self, program: Program) -> tuple[str, ...]:
        """What the part has and a cascade lacks (a mask, a window), in sentences."""
        ...

    @property
    def stand_ins(self) -> Sequence[str]:
        """Cascades that compute the part, but for what ``left_out_by`` says of them."""
        ...


class WorkloadLike(Protocol):
    """What ``simulate`` needs of a workload (``workloads.Workload`` is one)."""

    @property
    def name(self) -> str:
        """Shown in the result."""
        ...

    @property
    def cascade(self) -> str:
        """The cascade of its attention, by built-in name or file."""
        ...

    @property
    def shapes(self) -> tuple[tuple[str, int], ...]:
        """Shapes by rank, shown where parts have shapes of their own."""
        ...

    @property
    def parts(self) -> Sequence[PartLike]:
        """What runs, one after the other."""
        ...

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """Shapes of those ranks that its attention has."""
        ...

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the parts leave out of the workload, in sentences."""
        ...


@dataclass(frozen=True, slots=True)
class ByPart:
    """A mapping for each part of a workload, in the order of the parts."""

    mappings: tuple[Mapping, ...]


class Evaluate(Protocol):
    """What simulates one part: ``analytical.evaluate_mapping``, or one that remembers."""

    def __call__(
        self,
        program: Program,
        mapping: Mapping,
        architecture: Architecture,
        shapes: dict[str, int],
        *,
        workload: str = "",
    ) -> Result:
        """The result of a mapping."""
        ...


def simulate(
    workload: WorkloadLike,
    architecture: Architecture,
    mapping: Mapping | Sequence[Mapping] | ByPart | None = None,
    *,
    engine: Literal["analytical", "event"] = "analytical",
    evaluate: Evaluate | None = None,
) -> Result:
    """Counts, latency, energy, area and bounds of a workload on a machine.

    Parts of a workload (attention, projections, ...) run one after the other, each as its
    own mapping says; the result adds them up and keeps each in ``Result.parts``.

    Parameters
    ----------
    workload : WorkloadLike
        Shapes, and the cascades to run where no mapping says another.
    architecture : Architecture
        The machine.
    mapping : Mapping, sequence of Mapping, or ByPart, optional
        How to run it. A mapping is for the parts whose cascade it names; one that names
        another cascade makes the parts run that for which it can stand in, if there are
        none the workload's attention. Every other part takes the
        mapping the machine was designed for if that computes the same, else the built-in
        mapping of its cascade that overlaps most, else runs one Einsum after the other
        (``einsum_by_einsum``).
    engine : str
        ``"analytical"`` times an average step in closed form where steps are alike enough;
        ``"event"`` always runs the real tiles. Counts, traffic and energy are the same.
    evaluate : callable, optional
        What simulates each part in the engine's place, for example from memory.

    Raises
    ------
    SpecError
        Something named does not exist, or shapes are missing.
    MappingError
        The mapping is not legal on this machine; says why, with the numbers.
    """
    if engine not in ("analytical", "event"):
        raise InputError(f"there is no engine '{engine}'; use 'analytical' or 'event'")
    from ..evaluate.evaluate import evaluate_mapping

    run = evaluate or partial(evaluate_mapping, engine=engine)
    parts, chosen = planned(workload, mapping, architecture)
    try:
        if len(parts) == 1 and parts[0].times == 1:
            return _simulated(parts[0], chosen[0], architecture, workload.name, run)
        runs = tuple(_run(p, m, architecture, run) for p, m in zip(parts, chosen, strict=True))
    except MappingError as wrong:
        raise type(wrong)([*wrong.problems, *_advice(parts, chosen, architecture)]) from None
    from ..result.merge import merged

    return merged(
        runs,
        workload=workload.name,
        mapping=" + ".join(dict.fromkeys(m.name for m in _own_first(workload, parts, chosen))),
        shape=workload.shapes,
        notes=workload.left_out,
    )


def planned(
    workload: WorkloadLike,
    mapping: Mapping | Sequence[Mapping] | ByPart | None,
    architecture: Architecture,
) -> tuple[tuple[PartLike, ...], tuple[Mapping, ...]]:
    """The parts of a workload, and how each is run. Raises SpecError as ``simulate``."""
    parts = tuple(workload.parts)
    if isinstance(mapping, ByPart):
        return parts, mapping.mappings
    given = (mapping,) if isinstance(mapping, Mapping) else tuple(mapping or ())
    return parts, _mappings(workload.cascade, parts, given, architecture)


def _simulated(
    part: PartLike, mapping: Mapping, architecture: Architecture, workload: str, run: Evaluate
) -> Result:
    program = Cascade.load(mapping.cascade).program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    _refuse_unlike_rows(program, part.folded_for(ranks))
    own = [t.member for t in mapping.tiles]
    given, usual = with_usual(program, part.shapes_for(program.settable), fixed=own)
    result = run(program, mapping, architecture, given, workload=workload)
    derived = (_DERIVED,) if mapping.name == EINSUM_BY_EINSUM else ()
    sizes = ", ".join(f"{rank} = {size}" for rank, size in usual.items())
    said = (f"{sizes}: usual for {program.name}; the workload gives none",) if usual else ()
    notes = (*part.notes_for(ranks), *part.left_out_by(program), *said, *derived)
    return replace(result, notes=(*notes, *result.notes))


def _refuse_unlike_rows(program: Program, folded: int) -> None:
    """Refuse to take query heads as more queries where the cascade tells queries apart."""
    apart = tells_apart(program, "P") if folded > 1 else None
    if apart is not None:
        text = (
            f"cascade '{program.name}' tells queries apart by their position ({apart}), so"
            f" {folded} query heads that share keys and values cannot be rows of one head"
        )
        hint = "use a cascade without a mask, or one with ranks for such heads (G groups of S)"
        raise SpecError(Problem(text, hint=hint))


def _run(part: PartLike, mapping: Mapping, architecture: Architecture, run: Evaluate) -> PartUse:
    """One part simulated; what is wrong with it says which part it is."""
    try:
        found = _simulated(part, mapping, architecture, part.name, run)
    except InputError as wrong:
        problems = [replace(p, message=f"{part.name}: {p.message}") for p in wrong.problems]
        raise type(wrong)(problems) from None
    return PartUse(name=part.name, times=part.times, result=found)


def _own_first(
    workload: WorkloadLike, parts: tuple[PartLike, ...], mappings: tuple[Mapping, ...]
) -> list[Mapping]:
    """Mappings of the parts, that of the workload's own cascade first."""
    pairs = sorted(
        zip(parts, mappings, strict=True), key=lambda p: p[0].cascade != workload.cascade
    )
    return [mapping for _, mapping in pairs]


def _mappings(
    own: str,
    parts: tuple[PartLike, ...],
    given: tuple[Mapping, ...],
    architecture: Architecture,
) -> tuple[Mapping, ...]:
    """The mapping of every part: the one given for its cascade, else the default."""
    chosen: dict[str, Mapping] = {}
    cascades = {part.cascade for part in parts}
    for mapping in given:
        for cascade in _meant(own, parts, mapping):
            if cascade in chosen:
                both = f"'{chosen[cascade].name}' and '{mapping.name}'"
                hint = f"parts run {', '.join(sorted(cascades))}; give one mapping for each"
                raise SpecError(Problem(f"mappings {both} are for the same parts", hint=hint))
            chosen[cascade] = mapping
    built_in = _built_in_mappings() if cascades - chosen.keys() else ()
    for part in parts:
        if part.cascade not in chosen:
            found = machines_own(part, architecture) or _default(part.cascade, built_in)
            if found is not None:
                chosen[part.cascade] = found
    return tuple(chosen.get(p.cascade) or derived_mapping(p, architecture) for p in parts)


def derived_mapping(part: PartLike, architecture: Architecture) -> Mapping:
    """``einsum_by_einsum`` of a part: how it runs where nobody says how. Raises as that does."""
    from mappers.einsum_by_einsum import einsum_by_einsum

    program = Cascade.load(part.cascade).program
    given, _ = with_usual(program, part.shapes_for(program.settable))
    made = einsum_by_einsum(program, architecture, given)
    # The part may name a file, whose cascade can be called anything, like a built-in one too.
    return replace(made, cascade=part.cascade)


def mapping_called(
    name: str, workload: WorkloadLike, architecture: Architecture, overrides: Overriding = ()
) -> Mapping:
    """The mapping of a name or file; ``einsum-by-einsum`` is made for the workload's attention.

    Raises
    ------
    SpecError
        There is no such mapping, or it is wrong.
    MappingError
        The machine cannot do what an Einsum needs.
    """
    if name != EINSUM_BY_EINSUM:
        return Mapping.load(name, overrides)
    return derived_mapping(own_part(workload), architecture)


def _meant(own: str, parts: tuple[PartLike, ...], mapping: Mapping) -> tuple[str, ...]:
    """The cascades of a workload that a mapping is for."""
    if any(part.cascade == mapping.cascade for part in parts):
        return (mapping.cascade,)
    able = (part.cascade for part in parts if _stands_in(part, mapping.cascade))
    return tuple(dict.fromkeys(able)) or (own,)


def _stands_in(part: PartLike, cascade: str) -> bool:
    return any(compute_the_same(other, cascade) for other in part.stand_ins)


def usual_mapping(workload: WorkloadLike, architecture: Architecture) -> Mapping | None:
    """The written mapping by which the attention of a workload runs where nobody says how."""
    part = own_part(workload)
    return machines_own(part, architecture) or default_mapping(part.cascade)


def own_part(workload: WorkloadLike) -> PartLike:
    """The part that runs the cascade of the workload's attention."""
    return next(part for part in workload.parts if part.cascade == workload.cascade)


def left_out(
    workload: WorkloadLike, mapping: Mapping | None, architecture: Architecture
) -> tuple[str, ...]:
    """What a workload has and the cascades it is run by lack, in sentences."""
    found = (
        part.left_out_by(Cascade.load(how.cascade).program)
        for part, how in zip(*planned(workload, mapping, architecture), strict=True)
    )
    return tuple(dict.fromkeys(note for notes in found for note in notes))


def _advice(
    parts: tuple[PartLike, ...], chosen: tuple[Mapping, ...], architecture: Architecture
) -> tuple[Problem, ...]:
    """What a machine's own mapping would leave out of a part that runs by another."""
    if architecture.mapping is None:
        return ()
    own = Mapping.load(architecture.mapping)
    lacking = dict.fromkeys(
        note
        for part, mapping in zip(parts, chosen, strict=True)
        if mapping.name != own.name and _stands_in(part, own.cascade)
        for note in part.left_out_by(Cascade.load(own.cascade).program)
    )
    if not lacking:
        return ()
    text = (
        f"{architecture.name} was designed for mapping '{own.name}'; with it {'; '.join(lacking)}"
    )
    return (Problem(text, hint=f"--mapping {own.name}"),)


def machines_own(part: PartLike, architecture: Architecture) -> Mapping | None:
    """The mapping a machine was designed for, if it computes what the part's cascade does.

    One of a cascade that stands in for it does where nothing is left out: attention of heads
    that share nothing, for one token a sequence, but not for a causal layer's prefill.
    """
    if architecture.mapping is None:
        return None
    mapping = Mapping.load(architecture.mapping)
    if compute_the_same(part.cascade, mapping.cascade):
        return mapping
    if not _stands_in(part, mapping.cascade):
        return None
    return None if part.left_out_by(Cascade.load(mapping.cascade).program) else mapping


def compute_the_same(cascade: str, other: str) -> bool:
    """Whether two cascades name the same reference, or are one."""
    reference = Cascade.load(cascade).program.reference
    alike = bool(reference) and Cascade.load(other).program.reference == reference
    return other == cascade or alike


def default_mapping(cascade: str) -> Mapping | None:
    """The built-in mapping of a cascade: a pipelined one if there is one, else the first."""
    return _default(cascade, _built_in_mappings())


def _built_in_mappings() -> tuple[Mapping, ...]:
    return tuple(Mapping.load(name) for name in builtin_names("mappings"))


def _default(cascade: str, mappings: tuple[Mapping, ...]) -> Mapping | None:
    found = (m for m in mappings if m.cascade == cascade)
    return min(found, key=lambda m: (m.schedule.kind != "pipelined", m.name), default=None)
