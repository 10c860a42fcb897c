"""What a mapping file can get wrong by itself, beyond its fields one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from einsum_cascade.errors import Problem, did_you_mean
from einsum_cascade.yaml.source import Path, YamlNode

from .mapping_fields import MappingFields, NestFields, ScheduleFields
from .open_choices import choice_problems, objective_problems


def problems_of(spec: MappingFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    """All of them, each with its place.

    Parameters
    ----------
    above : path
        Where the mapping stands in its file.
    """
    yield from _either(spec, root, above)
    yield from _of_nest(spec, root, above)
    cases = [c.when for c in spec.cases]
    yield from choice_problems(spec.choices, cases, root)
    yield from objective_problems(spec.choices, spec.objective, root, cases=bool(cases))
    yield from _schedule(spec, root, above)
    for at, nest in enumerate(spec.nests):
        yield from _of_nest(nest, root, (*above, "nests", at))
        yield from _schedule(nest, root, (*above, "nests", at))
    named = [
        (name, (*above, "nests", at, "einsums", name))
        for at, nest in enumerate(spec.nests)
        for name in nest.einsums
    ]
    yield from _twice(named, root, "is already in a nest")


def _either(spec: MappingFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    """A mapping says how Einsums run either itself or nest by nest."""
    given = spec.model_fields_set
    if "nests" not in given:
        if "einsums" not in given:
            yield Problem(f"the field 'einsums' is missing in '{above[-1]}'", root.key_span(above))
        return
    if len(spec.nests) < 2:
        text = "several nests are two at the least"
        yield Problem(text, root.key_span((*above, "nests")), "one needs no 'nests'")
    others = {"partition", "nest", "einsums", "keep", "schedule", "spill", "choices", "cases"}
    for field in sorted((others | {"objective"}) & given):
        text = f"a mapping of several nests has no '{field}' of its own"
        yield Problem(text, root.key_span((*above, field)), "each nest says its own")


def _of_nest(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    yield from _partition(spec, root, above)
    yield from _nest(spec, root, above)
    yield from _einsums(spec, root, above)
    yield from _keep(spec, root, above)


def _partition(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for rank, members in spec.partition.items():
        path: Path = (*above, "partition", rank)
        if not members:
            yield Problem(f"no tile of {rank} is named", root.key_span(path))
        for member in members:
            here = root.key_span((*path, member))
            if member == rank:
                yield Problem(f"a tile of {rank} cannot be called {member} itself", here)
            elif member in first:
                yield Problem(f"'{member}' is already a tile of {first[member]}", here)
            first.setdefault(member, rank)


def _nest(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    loops = [
        (name, (*above, "nest", at, "loops", i))
        for at, level in enumerate(spec.nest)
        for i, name in enumerate(level.loops)
    ]
    yield from _twice(loops, root, "is already a loop of the nest")
    for at, level in enumerate(spec.nest):
        if not level.model_fields_set & {"loops", "spatial"}:
            text = f"'{level.level}' has neither 'loops' nor ranks that are 'spatial'"
            yield Problem(text, root.span_of((*above, "nest", at)))
        if level.ring and not level.spatial:
            text = (
                f"'{level.level}' has ranks in a 'ring', but none is 'spatial' over its instances"
            )
            yield Problem(text, root.span_of((*above, "nest", at)), "add 'spatial: {chips: P}'")
        passed = [(rank, (*above, "nest", at, "ring", i)) for i, rank in enumerate(level.ring)]
        yield from _twice(passed, root, "goes round already")
    spread = [
        (rank, (*above, "nest", at, "spatial", instances))
        for at, level in enumerate(spec.nest)
        for instances, ranks in level.spatial.items()
        for rank in ranks
    ]
    yield from _twice(spread, root, "is already spread over instances")
    levels = [(level.level, (*above, "nest", at, "level")) for at, level in enumerate(spec.nest)]
    yield from _twice(levels, root, "already has its loops; give them in one list")


def _einsums(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    shared = [name for level in spec.nest for name in level.loops]
    for einsum, how in spec.einsums.items():
        path: Path = (*above, "einsums", einsum)
        placed: list[tuple[str, Path]] = [
            (rank, (*path, "spatial", dimension, i))
            for dimension, ranks in how.spatial.items()
            for i, rank in enumerate(ranks)
        ]
        for level, ranks in how.loops.items():
            below: Path = (*path, "loops", level) if level else (*path, "loops")
            placed += ((rank, (*below, i)) for i, rank in enumerate(ranks))
        yield from _twice(placed, root, f"is already laid out or looped over by {einsum}")
        for rank, where in placed:
            if rank in shared and rank not in how.outside:
                text = f"'{rank}' is a loop of the shared nest, so {einsum} cannot place it again"
                yield Problem(text, root.span_of(where), f"'outside: {rank}' takes it out of it")
        for i, rank in enumerate(how.outside):
            if rank not in shared:
                text = f"'{rank}' is no loop of the shared nest that {einsum} could be outside of"
                where = (*path, "outside", i)
                yield Problem(text, root.span_of(where), did_you_mean(rank, shared))


def _keep(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    for level, tensors in spec.keep.items():
        placed = [(t, (*above, "keep", level, i)) for i, t in enumerate(tensors)]
        yield from _twice(placed, root, f"is already kept in {level}")


def _schedule(spec: MappingFields | NestFields, root: YamlNode, above: Path) -> Iterator[Problem]:
    schedule, path = spec.schedule, (*above, "schedule")
    owners = (
        ("groups", ("phases", "sequential")),
        ("exposes", ("phases",)),
        ("lookahead", ("pipelined",)),
    )
    for field, kinds in owners:
        if getattr(schedule, field) is not None and schedule.kind not in kinds:
            text = f"a {schedule.kind} schedule has no '{field}'"
            hint = f"that belongs to kind {' or '.join(kinds)}"
            yield Problem(text, root.key_span((*path, field)), hint)
    if schedule.kind == "phases" and schedule.groups is None:
        yield Problem("a schedule of phases needs 'groups'", root.key_span(path))
    if schedule.groups is None or schedule.kind == "pipelined":
        return
    for at, group in enumerate(schedule.groups):
        if not group:
            yield Problem("a group without Einsums", root.span_of((*path, "groups", at)))
    yield from _shifted(schedule, root, path)
    tasks = [
        (task.einsum, (*path, "groups", at, i))
        for at, group in enumerate(schedule.groups)
        for i, task in enumerate(group)
    ]
    yield from _twice(tasks, root, "is already in a group")
    for name, where in tasks:
        if name not in spec.einsums:
            hint = did_you_mean(name, spec.einsums)
            yield Problem(f"no Einsum '{name}' is mapped", root.span_of(where), hint)
    absent = [name for name in spec.einsums if name not in dict(tasks)]
    if absent:
        text = f"every Einsum is in one group; missing: {', '.join(absent)}"
        yield Problem(text, root.key_span((*path, "groups")))
    for i, name in enumerate(schedule.exposes or ()):
        if name not in spec.einsums:
            hint = did_you_mean(name, spec.einsums)
            span = root.span_of((*path, "exposes", i))
            yield Problem(f"no Einsum '{name}' is mapped", span, hint)


def _shifted(schedule: ScheduleFields, root: YamlNode, path: Path) -> Iterator[Problem]:
    """Only phases run an Einsum on another tile than the others of its group."""
    if schedule.kind == "phases" or schedule.groups is None:
        return
    for at, group in enumerate(schedule.groups):
        for i, task in enumerate(group):
            if task.shift:
                text = f"a sequential schedule runs {task.einsum} on no other tile"
                where = root.span_of((*path, "groups", at, i))
                yield Problem(text, where, f"write '{task.einsum}'")


def _twice(placed: Iterable[tuple[str, Path]], root: YamlNode, what: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for name, path in placed:
        if name in seen:
            yield Problem(f"'{name}' {what}", root.span_of(path))
        seen.add(name)
