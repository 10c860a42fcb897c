"""The inputs of a point: loaded once for all points that share them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, Protocol

from einsum_cascade.errors import InputError, Problem, SpecError
from einsum_cascade.yaml.edit import Setting, written_setting
from einsum_cascade.yaml.library import resolve_reference
from einsum_cascade.yaml.source import YamlScalar

from ..jobs.job import Generators
from ..jobs.selection import ByPart, Given, mapping_called, usual_mapping
from ..jobs.workload import WorkloadLike
from ..spec.arch import Architecture
from ..spec.files.load import MachineCache
from ..spec.files.mapping_text import mapping_dict
from ..spec.mapping import AUTO, MADE, Mapping
from ..spec.overrides import Overrides, section_of, sorted_settings
from .points import Point
from .spec import DEFAULT, Sweep, SweepAxis
from .values import text_of

if TYPE_CHECKING:
    from workloads import Workload

_KEPT: Final = 64
"""Workloads, machines and mappings that are kept: neighbouring points share most of theirs."""

_VALUES_KEPT: Final = 1024
"""Values of axes whose settings are kept."""

UNWRITTEN: Final = (AUTO, DEFAULT, *MADE)
"""What stands in the place of a mapping's name where no file says it."""

Input = Literal["workload", "architecture", "mapping"]

_SECTIONS: Final = {
    "workload": ("workload",),
    "architecture": ("architecture", "technology"),
    "mapping": ("mapping",),
}


class BestMappings(Protocol):
    """Searches the mappings of a workload on a machine (``mappers.workload_search``)."""

    def __call__(self, workload: WorkloadLike, architecture: Architecture, /) -> ByPart:
        """One for each part. Raises MappingError where a part has none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PointInputs:
    """What a point runs, as a user would say it to ``simulate``."""

    workload: str
    architecture: str
    mapping: str
    settings: tuple[tuple[str, str], ...]
    """Fields and their values, as texts."""
    found: tuple[Mapping, ...] = ()
    """Mappings that were searched for. What is remembered may be another one tomorrow."""

    def to_json(self) -> str:
        """One line of JSON; the same for the same inputs.

        ``mapping_spec`` is there where mappings were searched for: as of ``archsim map --json``.
        """
        said: dict[str, object] = {
            "workload": self.workload,
            "architecture": self.architecture,
            "mapping": self.mapping,
            "set": dict(self.settings),
        }
        if self.found:
            specs = [{"mapping": mapping_dict(mapping)} for mapping in self.found]
            said["mapping_spec"] = specs[0] if len(specs) == 1 else specs
        return json.dumps(said, ensure_ascii=False)


def key_of(inputs: str, contents: str, version: str) -> str:
    """The name of a point that no other has: what runs, what the files hold, and who runs it.

    Parameters
    ----------
    inputs : str
        ``PointInputs.to_json``.
    contents : str
        ``contents_of`` the sweep.
    version : str
        Of this package.
    """
    return sha256("\0".join((inputs, contents, version)).encode()).hexdigest()


class InputLoader:
    """Loads what the points of one sweep run, and keeps what the next ones may share."""

    def __init__(self, sweep: Sweep, generators: Generators, find: BestMappings) -> None:
        self.sweep = sweep
        self.generators = generators
        self.find = find
        self._axes: dict[Input, tuple[int, ...]] = {
            part: tuple(n for n, axis in enumerate(sweep.axes) if _concerns(axis, part))
            for part in ("workload", "architecture", "mapping")
        }
        self._machines = MachineCache()
        of_axis = lru_cache(maxsize=_VALUES_KEPT)
        self._set_by: Callable[[int, int], tuple[Setting, ...]] = of_axis(self._set_by_axis)
        self._told_by: Callable[[int, int], tuple[tuple[str, str], ...]]
        self._told_by = of_axis(self._told_by_axis)
        keep = lru_cache(maxsize=_KEPT)
        self._workload: Callable[[tuple[int, ...]], Workload] = keep(self._load_workload)
        self._machine: Callable[[tuple[int, ...]], Architecture] = keep(self._load_machine)
        self._written: Callable[[tuple[int, ...]], Mapping] = keep(self._load_mapping)

    def told(self, point: Point) -> PointInputs:
        """What a point runs, in words."""
        return PointInputs(
            workload=self._name("workload", point.places).text,
            architecture=self._name("architecture", point.places).text,
            mapping=self._name("mapping", point.places).text,
            settings=(
                *((s.field, text_of(s.value)) for s in self.sweep.settings),
                *(said for n, place in enumerate(point.places) for said in self._told_by(n, place)),
            ),
        )

    def workload(self, point: Point) -> Workload:
        """The point's workload. Raises SpecError."""
        return self._workload(self._key("workload", point))

    def machine(self, point: Point) -> Architecture:
        """The point's machine. Raises SpecError."""
        return self._machine(self._key("architecture", point))

    def mapping(self, point: Point, work: Workload, machine: Architecture) -> Given:
        """The point's mapping, as the planner takes it.

        Raises
        ------
        SpecError
            There is none of that name, or it takes no settings.
        MappingError
            No mapping is found, or none can be made.
        """
        written = self.written(point)
        if written is not None:
            return written
        name = self._name("mapping", point.places).text
        if name == AUTO:
            return self.find(work, machine)
        if name in MADE:
            return mapping_called(name, work, machine, self.generators)
        given = self._overrides("mapping", point.places)
        usual = usual_mapping(work, machine) if given.mapping else None
        return Mapping.load(usual.name, given) if usual else None

    def written(self, point: Point) -> Mapping | None:
        """The point's mapping, if it is one of a name or a file. Raises SpecError."""
        name = self._name("mapping", point.places)
        if name.text not in UNWRITTEN:
            return self._written(self._key("mapping", point))
        given = self._overrides("mapping", point.places).mapping
        if given and name.text != DEFAULT:
            what = "searched for" if name.text == AUTO else "made from the cascade"
            text = f"mapping.{given[0].field}: the mapping is {what} and takes no settings"
            raise SpecError(Problem(text, given[0].span))
        return None

    def _key(self, part: Input, point: Point) -> tuple[int, ...]:
        """The values on the axes that a part depends on; elsewhere the first."""
        concerned = self._axes[part]
        return tuple(p if n in concerned else 0 for n, p in enumerate(point.places))

    def _load_workload(self, places: tuple[int, ...]) -> Workload:
        from workloads import load

        name = self._name("workload", places)
        given = self._overrides("workload", places)
        return load(resolve_reference("workloads", name.text, name.span), given.workload)

    def _load_machine(self, places: tuple[int, ...]) -> Architecture:
        name = self._name("architecture", places)
        given = self._overrides("architecture", places)
        found = resolve_reference("architectures", name.text, name.span)
        return self._machines.machine(found, given)

    def _load_mapping(self, places: tuple[int, ...]) -> Mapping:
        name = self._name("mapping", places)
        given = self._overrides("mapping", places)
        return Mapping.load(resolve_reference("mappings", name.text, name.span), given)

    def _name(self, part: Input, places: tuple[int, ...]) -> YamlScalar:
        for axis, place in zip(self.sweep.axes, places, strict=True):
            if axis.role == part:
                return name_of(axis, place)
        fixed: YamlScalar | None = getattr(self.sweep, part)
        assert fixed is not None
        return fixed

    def _overrides(self, part: Input, places: tuple[int, ...]) -> Overrides:
        concerned = self._axes[part]
        return sorted_settings(self._settings(places, concerned))

    def _settings(self, places: tuple[int, ...], among: tuple[int, ...]) -> Iterator[Setting]:
        """The settings of all points, then those of some axes."""
        yield from self.sweep.settings
        for n, place in enumerate(places):
            if n in among:
                yield from self._set_by(n, place)

    def _set_by_axis(self, axis: int, place: int) -> tuple[Setting, ...]:
        """What a value of an axis sets."""
        moved = self.sweep.axes[axis]
        return tuple(written_setting(field, moved.values[place].node) for field in moved.fields)

    def _told_by_axis(self, axis: int, place: int) -> tuple[tuple[str, str], ...]:
        """The same as texts."""
        return tuple((s.field, text_of(s.value)) for s in self._set_by(axis, place))


def name_of(axis: SweepAxis, place: int) -> YamlScalar:
    """The name that an axis has at a place. Raises SpecError where it is none."""
    node = axis.values[place].node
    if not isinstance(node, YamlScalar):
        raise SpecError(Problem(f"{axis.name}: expected a name, got {node.kind}", node.span))
    return node


def _concerns(axis: SweepAxis, part: Input) -> bool:
    """Whether a part depends on an axis."""
    return axis.role == part or any(section_of(f.text) in _SECTIONS[part] for f in axis.fields)


def problems_of(load: Callable[[], object]) -> tuple[Problem, ...]:
    """What is wrong with something that is loaded."""
    try:
        load()
    except InputError as wrong:
        return wrong.problems
    return ()
