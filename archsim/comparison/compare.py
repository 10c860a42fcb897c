"""Comparison of one workload on several machines: ``compare``."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError, did_you_mean

from ..document import to_html
from ..energy import unlike_word
from ..plan.inputs import FindMappings
from ..plan.job import Generators, JobPlan, naming_part
from ..plan.planner import plan, run_plan
from ..plan.selection import mapping_called
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import AUTO, Mapping
from .record import ComparedMachine, ComparisonRecord, compared_totals
from .report import comparison_report
from .scaling import ARRAYS, COPIES, check_areas, scale_to_area, total_area

if TYPE_CHECKING:
    from workloads.workload import Workload

    from ..document import Document
    from ..figure_style import Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Machine in a comparison: its label and its mapping.

    The mapping is given, is searched once the size of the machine is settled, or is the default.
    """

    label: str
    machine: Architecture
    mapping: Mapping | FindMappings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(ComparisonRecord):
    """Comparison of machines side by side; ratios are relative to the first machine."""

    def table(self) -> Document:
        """Return ratios, areas by component and scaled sizes as text, or HTML in Jupyter."""
        return comparison_report(self)

    def plot(self, width: float = 11.0) -> Picture:
        """Draw speedup, energy and area by component (a matplotlib figure).

        Parameters
        ----------
        width : float
            In inches; 3.3 is a column of a paper, 7 a page.
        """
        # Only a picture needs matplotlib.
        from .plot import plot_comparison

        return plot_comparison(self, width)

    def _repr_html_(self) -> str:
        return to_html(self.table())


def contender_of(
    label: str,
    machine: Architecture,
    mapping: Mapping | str | None,
    workload: Workload,
    *,
    find: FindMappings,
    generators: Generators,
) -> Contender:
    """Return a machine in a comparison; its mapping may be a name, such as ``"auto"``.

    Raises
    ------
    InputError
        There is no such mapping.
    """
    if mapping == AUTO:
        return Contender(label=label, machine=machine, mapping=find)
    if isinstance(mapping, str):
        mapping = mapping_called(mapping, workload, machine, generators)
    return Contender(label=label, machine=machine, mapping=mapping)


def contenders_of(
    workload: Workload,
    architectures: Sequence[Architecture | str],
    mappings: MappingOf[str, Mapping | str] | str | None = None,
    *,
    find: FindMappings,
    generators: Generators,
) -> tuple[Contender, ...]:
    """Return machines with unique labels; each is given by value, built-in name or file.

    Parameters
    ----------
    mappings : dict of str to Mapping or str, or str, optional
        The mapping of a machine, by the machine's name, or one for all machines; ``"auto"`` is
        searched by ``find``.

    Raises
    ------
    InputError
        A machine or mapping does not exist, or a mapping is for no machine here.
    """
    machines = [a if isinstance(a, Architecture) else Architecture.load(a) for a in architectures]
    names = [m.name for m in machines]
    given = dict.fromkeys(names, mappings) if isinstance(mappings, str) else dict(mappings or {})
    for name in given:
        if name not in names:
            hint = did_you_mean(name, names)
            raise InputError(f"mappings: no machine here is called '{name}'", hint=hint)
    return tuple(
        contender_of(label, m, given.get(m.name), workload, find=find, generators=generators)
        for label, m in zip(_labels(machines), machines, strict=True)
    )


def compare_contenders(
    workload: Workload,
    contenders: Sequence[Contender],
    *,
    iso_area: bool = False,
    iso_power: bool = False,
    as_built: bool = False,
    scale: str = ARRAYS,
    generators: Generators,
    approximate: bool = False,
) -> Comparison:
    """Simulate a workload on several machines, and return each result relative to the first.

    Parameters
    ----------
    workload : Workload
        Shapes and cascade, as for ``simulate``.
    contenders : sequence of Contender
        Two or more, no two alike; the first is what the others are measured by.
    iso_area : bool
        Scale every machine but the first to the area of the first.
    iso_power : bool
        Take as many copies of each, whole or not, as draw the average power of the first while
        they run: its energy over its latency. Each has sequences of its own.
    as_built : bool
        Relate latencies and energies of the machines with their losses. A machine that states
        none is as designed.
    scale : str
        Part that is scaled to equal area: ``"arrays"``, ``"copies"`` or the name of a memory.
    approximate : bool
        True to accept mappings that compute something else than the workload.

    Raises
    ------
    InputError
        Fewer than two machines, one twice, one without area or energy, one that cannot be
        scaled close to the first, or a mapping that is not legal; says which machine.
    """
    _check_contenders(contenders)
    if iso_area and iso_power:
        raise InputError("equal area and equal power are two comparisons: ask for one of them")
    target = _area(contenders[0])
    rows: list[ComparedMachine] = []
    names = [contender.machine.name for contender in contenders]
    for contender in contenders:
        scaling = None
        _area(contender)
        if iso_area:
            check_areas(contender.machine, contender.label)
        if rows and iso_area and scale != COPIES:
            machine, scaling = scale_to_area(contender.machine, target, scale)
            contender = replace(contender, machine=machine)
        jobs, result = _run(workload, contender, generators, approximate=approximate)
        totals = compared_totals(result, as_built=as_built)
        base = rows[0].totals if rows else totals
        base_area = rows[0].result.area_um2 if rows else result.area_um2
        copies = 1.0
        if iso_power:
            powers = [run.energy_pj / run.latency_s for run in (base, totals)]
            copies = powers[0] / powers[1]
        elif iso_area and scale == COPIES:
            copies = base_area / result.area_um2
        name = contender.machine.name
        own_name = names.count(name) == 1
        row = ComparedMachine(
            label=name if own_name else contender.label,
            file=contender.label if own_name and name != contender.label else "",
            result=result,
            totals=totals,
            speedup=copies * base.latency_s / totals.latency_s,
            energy_ratio=totals.energy_pj / base.energy_pj,
            area_ratio=copies * result.area_um2 / base_area,
            scaling=scaling,
            copies=copies,
            refused=jobs.refused,
            left_out=(*jobs.left_out, *unlike_word(contender.machine)),
        )
        rows.append(row)
    return Comparison(iso_area=iso_area, iso_power=iso_power, as_built=as_built, rows=tuple(rows))


def _check_contenders(contenders: Sequence[Contender]) -> None:
    if len(contenders) < 2:
        names = ", ".join(c.label for c in contenders) or "none"
        text = f"a comparison needs two machines or more, got {names}"
        raise InputError(text, hint="built in are those of 'archsim list architectures'")
    for at, contender in enumerate(contenders):
        for other in contenders[:at]:
            if contender.label == other.label or contender.machine == other.machine:
                same = "" if contender.label == other.label else f" (as '{other.label}')"
                raise InputError(
                    f"'{contender.label}' is given twice{same}",
                    hint="a variant is a file of its own: archsim show NAME > mine.yaml",
                )


def _labels(machines: Sequence[Architecture]) -> list[str]:
    """Return the names of machines as labels; equal names are extended by files or numbers."""
    names = [m.name for m in machines]
    longer = [m.name if names.count(m.name) == 1 else f"{m.name} ({m.source})" for m in machines]
    if len(set(longer)) == len(longer):
        return longer
    return [
        name if names.count(name) == 1 else f"{name} #{names[: at + 1].count(name)}"
        for at, name in enumerate(names)
    ]


def _area(contender: Contender) -> float:
    """Return the area of a machine in um^2. Raises InputError if the machine has none."""
    found = total_area(contender.machine)
    if not found > 0:
        technology = contender.machine.technology.name
        raise InputError(
            f"{contender.label} has no area: technology '{technology}' gives none, so there is "
            "no ratio of areas",
            hint="give the technology's actions and memories an 'area'",
        )
    return found


def _run(
    workload: Workload, contender: Contender, generators: Generators, *, approximate: bool
) -> tuple[JobPlan, Result]:
    """Return the plan and the result of a machine. Errors name the machine."""
    machine = contender.machine
    how = contender.mapping
    try:
        given = how if how is None or isinstance(how, Mapping) else how(workload, machine)
        jobs = plan(workload, machine, given, generators=generators, approximate=approximate)
        result = run_plan(jobs)
    except InputError as wrong:
        raise naming_part(contender.label, wrong) from None
    if not result.energy_pj > 0:
        raise InputError(f"{contender.label} needs no energy, so there is no ratio of energies")
    return jobs, result
