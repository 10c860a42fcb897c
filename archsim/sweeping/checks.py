"""What can be said of a sweep before anything runs: names that are not there, wrong fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, Problem, SpecError, did_you_mean
from einsum_cascade.notation.printer import program_text
from einsum_cascade.yaml.library import Kind, resolve_reference, spec_tree
from einsum_cascade.yaml.source import YamlScalar

from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .columns import LEVELS
from .conditions import thresholds
from .inputs import UNWRITTEN, InputLoader, name_of, problems_of
from .points import Point
from .spec import Role, Sweep

_KINDS: dict[Role, Kind] = {
    "workload": "workloads",
    "architecture": "architectures",
    "mapping": "mappings",
}


def check_sweep(sweep: Sweep, loader: InputLoader) -> None:
    """Refuse what is wrong for every point; what is wrong for some is in their rows.

    Raises
    ------
    SpecError
        A name is of nothing, a condition compares with no number, or a setting is wrong at the
        first point and at the last.
    """
    problems = list(_wrong_names(sweep))
    try:
        thresholds(sweep)
    except SpecError as wrong:
        problems += wrong.problems
    if problems:
        raise SpecError(problems)
    first = Point(0, tuple(0 for _ in sweep.axes))
    last = Point(0, tuple(len(axis.values) - 1 for axis in sweep.axes))
    everywhere = {p.span for p in _wrong_at(loader, last)}
    found = [p for p in _wrong_at(loader, first) if p.span and p.span in everywhere]
    found = found or list(_wrong_members(sweep, loader))
    if found:
        raise SpecError(found)


def _wrong_members(sweep: Sweep, loader: InputLoader) -> Iterator[Problem]:
    """Conditions on a memory, an array or a component that none of the machines has."""
    members: set[str] = set()
    for place in _machine_places(sweep):
        try:
            machine = loader.machine(Point(0, place))
        except InputError:
            return
        levels = [m.name for m in machine.memories]
        members |= {f"traffic_bytes.{n}" for n in levels} | {f"buffer_bytes.{n}" for n in levels}
        arrays = [a.name for a in machine.arrays]
        members |= {f"utilization.{n}" for n in arrays}
        registers = (f"{n}.registers" for n in arrays)
        members |= {f"energy_pj.{n}" for n in (*levels, *arrays, *registers)}
    known = {*members, *(axis.name for axis in sweep.axes)}
    for condition in sweep.conditions:
        if condition.column.startswith(LEVELS) and condition.column not in known:
            text = f"where: there is no column '{condition.column}'"
            hint = did_you_mean(condition.column, members)
            yield Problem(text, condition.node.span, hint)


def _machine_places(sweep: Sweep) -> Iterator[tuple[int, ...]]:
    """A point for each machine."""
    for n, axis in enumerate(sweep.axes):
        if axis.role == "architecture":
            for place in range(len(axis.values)):
                yield tuple(place if n == k else 0 for k in range(len(sweep.axes)))
            return
    yield tuple(0 for _ in sweep.axes)


def _wrong_names(sweep: Sweep) -> Iterator[Problem]:
    for kind, name in _named(sweep):
        yield from problems_of(partial(resolve_reference, kind, name.text, name.span))


def _named(sweep: Sweep) -> Iterator[tuple[Kind, YamlScalar]]:
    """Every name of a file that a sweep has, and the kind of what it names."""
    for part, kind in _KINDS.items():
        fixed: YamlScalar | None = getattr(sweep, part)
        if fixed is not None and fixed.text not in UNWRITTEN:
            yield kind, fixed
    for axis in sweep.axes:
        meant: Kind | None = "cascades" if axis.varies_cascade else _KINDS.get(axis.role)
        if meant is None:
            continue
        for place in range(len(axis.values)):
            name = name_of(axis, place)
            if axis.role != "mapping" or name.text not in UNWRITTEN:
                yield meant, name
    for setting in sweep.settings:
        named = setting.field in ("cascade", "workload.cascade")
        if named and isinstance(setting.value, YamlScalar):
            yield "cascades", setting.value


def _wrong_at(loader: InputLoader, point: Point) -> tuple[Problem, ...]:
    return (
        *problems_of(lambda: loader.workload(point)),
        *problems_of(lambda: loader.machine(point)),
        *problems_of(lambda: loader.written(point)),
    )


def contents_of(sweep: Sweep) -> str:
    """A name for what the files that a sweep names hold: who changes one asks anew.

    Of a file that names others (a technology, a model, a cascade) what is read with them counts.
    """
    found = sha256()
    for kind, name in sorted(_named(sweep), key=lambda n: (n[0], n[1].text)):
        where = resolve_reference(kind, name.text, name.span)
        found.update(f"{kind} {name.text}\n{spec_tree(kind, where).plain()!r}\n".encode())
        found.update(_read(kind, where).encode())
    return found.hexdigest()


def _read(kind: Kind, name: str) -> str:
    """What a file says together with those that it names; nothing if it needs settings."""
    from workloads import load

    try:
        if kind == "architectures":
            return repr(replace(Architecture.load(name), source=""))
        if kind == "cascades":
            return program_text(Cascade.load(name).program)
        if kind == "mappings":
            mapping = Mapping.load(name)
            return repr(mapping) + program_text(Cascade.load(mapping.cascade).program)
        work = load(name)
        return repr(replace(work, source="")) + program_text(Cascade.load(work.cascade).program)
    except InputError:
        return ""
