"""Binding: loops get sizes, tiles are fitted to memories, and illegal mappings are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.memo import Cache, Identity

from ..nest.binder import ParametricNest, bind_loops
from ..nest.cores import bind_partitioned, is_partitioned, unfused_reference
from ..nest.masks import skip_masked_tiles
from ..nest.policy import MAX_CACHED_NESTS, MAX_PARAMETER_VARIANTS
from ..nest.record import Bound
from ..nest.roles import loops_for_missing_axes, resolve_roles
from ..nest.tiling import build_tiling
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .dependences import illegalities
from .fit import CapacityInterval, TileFitting, capacity_interval_of, tile_sizes
from .footprint import limited_requirements

BindClosed = Callable[[Mapping], Bound]
"""Function that binds a mapping without open choices, or raises ``MappingError``."""


Choose = Callable[[Program, Mapping, Architecture, BindClosed, BindClosed], Bound]
"""Function that resolves the open choices of a mapping (``mappers.construct.choices`` has one).

Its last two arguments bind one combination of alternatives. The first of these binds it legal or
not; the second refuses an illegal one. The function returns the chosen combination, bound.
"""


def bind(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    *,
    choose: Choose | None = None,
    alike: bool = False,
) -> Bound:
    """Bind a mapping, with its tiles fitted, and refuse the mapping if it is not legal.

    Parameters
    ----------
    shapes : dict
        Shapes by rank. The dictionary may also have values of the cascade's parameters,
        which masks use.
    choose : Choose, optional
        Function that resolves open choices (``mapping.choices``).
    alike : bool
        As of ``bind_partitioned``: True for approximate counts of cores under a mask.

    Raises
    ------
    SpecError
        The mapping or the shapes name something that does not exist, or the mapping leaves
        choices open and ``choose`` is None.
    MappingError
        The mapping breaks a dependency, loses a tensor, or needs more than a level holds; or it has
        several nests, each of which is bound by itself (``nests_of``).
    NoLegalMappingError
        No size of a tile written ``fit``, ``even`` or ``whole or one`` makes the mapping fit,
        or no combination of open choices is legal.
    """
    if mapping.nests:
        text = (
            f"the mapping '{mapping.name}' has {len(mapping.nests)} nests, and one is needed here"
        )
        raise MappingError(text, mapping.span)
    try:
        program, shapes = with_parameters(program, shapes)
        mapping = program.memo(_BindingCaches).resolved.get(
            _key(mapping, architecture), partial(resolve_roles, program, mapping, architecture)
        )
        binding = _MachineBinding(architecture, choose, alike)
        return binding.on_all_cores(program, mapping, shapes)
    except InputError as wrong:
        if mapping.machine in ("", architecture.name):
            raise
        text = (
            f"mapping '{mapping.name}' is made for {mapping.machine}, not for {architecture.name}"
        )
        raise type(wrong)((Problem(text), *wrong.problems)) from None


@dataclass(frozen=True, slots=True)
class _MachineBinding:
    """Binder of mappings to one machine, with the function that resolves open choices."""

    architecture: Architecture
    choose: Choose | None = None
    alike: bool = False

    def on_all_cores(self, program: Program, mapping: Mapping, shapes: dict[str, int]) -> Bound:
        """Bind a mapping that may partition ranks over cores."""
        architecture = self.architecture
        if not is_partitioned(mapping) and not architecture.memories[0].ring:
            return self.on_one_core(program, mapping, shapes)
        # Before it is known which tensors travel in a ring, each core would need room for copies.
        rings = any(level.ring for level in mapping.nest)
        chip = replace(self, architecture=_with_unlimited_home(architecture)) if rings else self
        bound = bind_partitioned(
            program,
            mapping,
            architecture,
            shapes,
            chip.on_one_core,
            self.unchecked,
            alike=self.alike,
        )
        bound = _with_architecture(architecture, bound) if rings else bound
        # The memories outside of the cores hold the tiles of all cores.
        _check_capacity(bound, MappingError)
        return bound

    def on_one_core(self, program: Program, mapping: Mapping, shapes: dict[str, int]) -> Bound:
        """Bind a mapping without ranks partitioned over cores, and resolve its open choices."""
        if not mapping.choices:
            return self.closed(program, mapping, shapes)
        if self.choose is None:
            names = ", ".join(c.name for c in mapping.choices)
            text = f"the mapping '{mapping.name}' leaves open: {names}; nobody is given to choose"
            raise SpecError(text, mapping.choices[0].span, "pin them, or pass 'choose'")
        like: Bound | None = None

        def bound(candidate: Mapping) -> Bound:
            nonlocal like
            like = self.loops(program, candidate, shapes, like)
            return like

        return self.choose(
            program, mapping, self.architecture, bound, lambda c: self.closed(program, c, shapes)
        )

    def loops(
        self, program: Program, mapping: Mapping, shapes: dict[str, int], like: Bound | None = None
    ) -> Bound:
        """Bind the loops of a mapping, legal or not; tiles whose size is open get size 1."""
        plain = loops_for_missing_axes(mapping)
        sizes, _ = tile_sizes(plain, self.architecture)
        tiling = build_tiling(program, plain, shapes, sizes)
        return bind_loops(program, plain, self.architecture, tiling, like)

    def unchecked(self, program: Program, mapping: Mapping, shapes: dict[str, int]) -> Bound:
        """Bind the loops and masks of a mapping, legal or not; tiles whose size is open get size
        1."""
        return skip_masked_tiles(self.loops(program, mapping, shapes))

    def closed(self, program: Program, mapping: Mapping, shapes: dict[str, int]) -> Bound:
        """Bind a mapping without open choices, with its tiles fitted; refuse the mapping if it is
        illegal."""
        architecture = self.architecture
        known, key = program.memo(_BindingCaches).nests, _key(mapping, architecture)
        parametric_nest = known.find(key)
        plain = (
            parametric_nest.first.mapping if parametric_nest else loops_for_missing_axes(mapping)
        )
        sizes, open_tiles = tile_sizes(plain, architecture)
        tiling = build_tiling(program, plain, shapes, sizes)
        bound = parametric_nest.bound(tiling) if parametric_nest else None
        if parametric_nest is None or bound is None:
            # Binding from names finds and names everything that is wrong with names and sizes.
            bound = bind_loops(program, plain, architecture, tiling)
            parametric_nest = known.keep(key, ParametricNest(bound))
        problems = bound.pattern_memo(illegalities)
        if problems:
            raise MappingError(problems)
        _check_capacity(bound, NoLegalMappingError if open_tiles else MappingError)
        if not open_tiles:
            return skip_masked_tiles(bound)
        fitted = {r.level: r.required_bytes for r in limited_requirements(bound)}
        interval = CapacityInterval(at_least=fitted)
        fitting = TileFitting(parametric_nest, shapes, sizes, interval)
        # Fit tiles in the order of the file: the first takes the room that it can use.
        for member in open_tiles:
            bound = fitting.fitted(bound, member)
        bound = skip_masked_tiles(bound)
        bound.seed(capacity_interval_of, interval)
        return bound


def _with_unlimited_home(architecture: Architecture) -> Architecture:
    """Return the machine with unlimited capacity in its home, the outermost memory that stores
    data."""
    home = replace(architecture.home, capacity_bytes=None)
    memories = (home if m.name == home.name else m for m in architecture.memories)
    return replace(architecture, memories=tuple(memories))


def _with_architecture(architecture: Architecture, bound: Bound) -> Bound:
    """Return a bound mapping, with the nests of all its cores, on the given machine."""
    others = tuple(
        (kinds, replace(b, architecture=architecture)) for kinds, b in bound.cores.others
    )
    cores = replace(bound.cores, others=others)
    return replace(bound, architecture=architecture, cores=cores)


def bind_whole_cascade(program: Program, nests: Sequence[Bound]) -> Bound:
    """Bind a whole cascade whose Einsums several nests share, as one unfused mapping.

    Parameters
    ----------
    program : Program
        Whole cascade.
    nests : sequence of Bound
        Bound nests, at least one.
    """
    works = [b.whole for b in nests]
    mapping = unfused_reference(works)
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    found: dict[str, int] = {}
    for work in works:
        found = {**work.tiling.shapes, **found}
    # The number of tiles follows from their size.
    cut = {
        m for r in program.ranks if not sizes.keys().isdisjoint(r.partition) for m in r.partition
    }
    shapes = {rank: n for rank, n in found.items() if rank not in cut}
    values = {p.name: p.default for b in works for p in b.program.parameters}
    valued = tuple(replace(p, default=values.get(p.name, p.default)) for p in program.parameters)
    if valued != program.parameters:
        program = replace(program, parameters=valued)
    return _MachineBinding(works[0].architecture).unchecked(program, mapping, shapes)


class _BindingCaches:
    """Caches of values that binding derives from a cascade (a builder for ``Program.memo``)."""

    def __init__(self, program: Program) -> None:
        del program
        self.resolved = Cache[Mapping](MAX_CACHED_NESTS)
        """Mappings whose roles are replaced by a machine's names, by mapping and machine."""
        self.nests = Cache[ParametricNest](MAX_CACHED_NESTS)
        """Parametric nests, by mapping and machine."""
        self.variants = Cache[Program](MAX_PARAMETER_VARIANTS)
        """Cascades with other parameter values, by these values as text."""


def _key(mapping: Mapping, architecture: Architecture) -> tuple[Identity, Identity]:
    """Return a key of object identities: hashing a mapping takes longer than most derivations."""
    return Identity(mapping), Identity(architecture)


def with_parameters(program: Program, given: dict[str, int]) -> tuple[Program, dict[str, int]]:
    """Return the program with new values of its parameters, and the given shapes without these
    values.

    Parameters
    ----------
    program : Program
        Cascade.
    given : dict of str to int
        Values of shapes and parameters by name.
    """
    names = {p.name for p in program.parameters}
    if names.isdisjoint(given):
        # The same program keeps the values derived from it.
        return program, given
    values = tuple(given.get(p.name, p.default) for p in program.parameters)
    shapes = {name: value for name, value in given.items() if name not in names}
    return program.memo(_BindingCaches).variants.get(
        tuple(map(repr, values)),  # 2 and 2.0 are different values
        lambda: replace(
            program,
            parameters=tuple(
                replace(p, default=value)
                for p, value in zip(program.parameters, values, strict=True)
            ),
        ),
    ), shapes


def _check_capacity(bound: Bound, error: type[MappingError]) -> None:
    if short := [r for r in limited_requirements(bound) if not r.fits]:
        spans = {k.level: k.span for k in bound.mapping.keep}
        raise error([Problem(str(r), spans.get(r.level), "use smaller tiles") for r in short])
