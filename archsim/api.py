"""Python interface: functions that need both archsim and the generators of ``mappers``.

Only this module and the command line stand above ``mappers`` and hand its generators down; no
module below imports them.
"""

from __future__ import annotations

from collections.abc import Mapping as Named
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from einsum_cascade.errors import SpecError
from mappers.construct.generators import GENERATORS, generators_of
from workloads.workload import Workload

from .plan.inputs import (
    FindMappings,
    MappingArgument,
    Name,
    load_machine,
    load_mapping,
    load_workload,
    overrides_of,
)
from .plan.job import Evaluate, JobPlan
from .plan.planner import Engine, plan, run_plan
from .plan.selection import ByPart
from .result.result import Result
from .spec.arch import Architecture
from .spec.mapping import Mapping
from .spec.overrides import Overrides

if TYPE_CHECKING:
    from pandas import DataFrame

    from mappers.workload_search import WorkloadSearched

    from .comparison.compare import Comparison
    from .document import Document
    from .elasticity.analysis import Sensitivity, StartProgress
    from .elasticity.record import Quantity


def find_best(workload: Workload, architecture: Architecture, /) -> ByPart:
    """Search the best mappings without a progress bar; the search is imported on first use."""
    from mappers.workload_search import best_mappings

    return best_mappings(workload, architecture)


def planned(
    workload: Workload | Name,
    architecture: Architecture | Name,
    mapping: MappingArgument,
    given: Overrides,
    *,
    find: FindMappings = find_best,
    evaluate: Evaluate | None = None,
    use_cache: bool = False,
    approximate: bool = False,
) -> JobPlan:
    """Return the jobs of a workload on a machine, both given by value or by name and settings.

    Raises as ``simulate``.
    """
    work = load_workload(workload, given)
    machine = load_machine(architecture, given)
    how = load_mapping(mapping, work, machine, given, generators=GENERATORS, find=find)
    generators = generators_of(use_cache=use_cache)
    return plan(
        work, machine, how, generators=generators, evaluate=evaluate, approximate=approximate
    )


def simulate(
    workload: Workload | Name,
    architecture: Architecture | Name = "fusemax",
    mapping: MappingArgument = None,
    settings: str | Sequence[str] = (),
    *,
    engine: Engine = "analytical",
    evaluate: Evaluate | None = None,
    use_cache: bool = False,
    approximate: bool = False,
    **fields: int | float | str,
) -> Result:
    """Simulate a workload on a machine: counts, latency, energy, area and bounds.

    Parts of a workload (attention, projections, ...) run one after the other, each by its own
    mapping. The result adds them up and keeps each in ``Result.parts``.

    Parameters
    ----------
    workload : Workload, str or path
        Shapes, and the cascades to run where no mapping says another; or the name of one.
    architecture : Architecture, str or path
        The machine, or its name.
    mapping : Mapping or str, sequence of them, or ByPart, optional
        Mapping to run; ``"auto"`` searches. A mapping is for the parts whose cascade it names. A
        mapping of another cascade is for those parts that it can stand in for, or else for the
        workload's attention. Every other part takes the fastest known mapping: the one the machine
        was designed for, the built-in ones, and generated ones.
    settings : str or sequence of str
        Fields of inputs given by name, as after ``--set``: ``"architecture.clock=1 GHz"``.
    **fields
        Fields by keyword: ``seq_len="4K"``, ``batch=1``, ``scope="block"``.
    engine : str
        ``"event"`` is more patient with long runs than ``"analytical"``; else they are the same.
    evaluate : callable, optional
        Function that simulates each job in the engine's place, for example from memory.
    use_cache : bool
        True to consider mappings that earlier searches found, too.
    approximate : bool
        True to accept a mapping that computes something else than the workload.

    Returns
    -------
    Result
        Latency in seconds and cycles, energy in pJ, area in um^2, traffic in bytes.

    Raises
    ------
    SpecError
        Something named does not exist, or shapes are missing.
    MappingError
        The mapping is not legal on this machine; says why, with the numbers.

    Examples
    --------
    >>> result = simulate("bert-base", "fusemax", "fusemax-binding", seq_len="4K")
    >>> round(1e3 * result.latency_s, 2), result.bound_by
    (29.7, 'array_1d')
    """
    given = overrides_of(settings, fields)
    jobs = planned(
        *(workload, architecture, mapping, given),
        evaluate=evaluate,
        use_cache=use_cache,
        approximate=approximate,
    )
    return run_plan(jobs, engine=engine, evaluate=evaluate)


def loop_nest(
    workload: Workload | Name,
    architecture: Architecture | Name = "fusemax",
    mapping: MappingArgument = None,
    settings: str | Sequence[str] = (),
    **fields: int | float | str,
) -> Document:
    """Return a mapping as a readable loop nest: memories, loops with sizes, fused Einsums.

    Parameters
    ----------
    workload, architecture, mapping, settings, fields
        As for ``simulate``.

    Returns
    -------
    Document
        A listing for each part of the workload; ``print`` shows it.

    Raises
    ------
    InputError
        Something named does not exist, or the mapping is not legal.

    Examples
    --------
    >>> document = loop_nest("bert-base", "fusemax", scope="attention", seq_len="1K", batch=1)
    >>> print("\\n".join(document.listings[0].lines[7:10]))
        for P1 in [0:4)              256 of P each
          BQK                        on array_2d
            for E in [0:64)
    """
    from .views.loop_nest import loop_nests

    given = overrides_of(settings, fields)
    return loop_nests(planned(workload, architecture, mapping, given))


def search(
    workload: Workload | Name,
    architecture: Architecture | Name,
    objective: str = "latency",
    settings: str | Sequence[str] = (),
    *,
    start: Sequence[Mapping | Name] = (),
    time_limit_s: float | None = None,
    **fields: int | float | str,
) -> WorkloadSearched:
    """Search the best mapping of every part of a workload on a machine, with a certificate.

    Parameters
    ----------
    workload, architecture, settings, fields
        As for ``simulate``.
    objective : str
        Quantity to minimise: ``"latency"``, ``"energy"`` or ``"edp"`` (energy x latency).
    start : sequence of Mapping or str
        Mappings to begin with: the result is no worse.
    time_limit_s : float, optional
        Seconds after which the best so far has to do.

    Returns
    -------
    WorkloadSearched
        ``result`` is the engine's, ``mappings`` are those found, ``certificate()`` says how
        far from the best they can be.

    Raises
    ------
    InputError
        Something named does not exist, or no mapping of a part is legal.
    """
    # Only a search needs numpy.
    from mappers.problem.objectives import objective_called
    from mappers.workload_search import search_workload

    given = overrides_of(settings, fields)
    if given.mapping:
        setting = given.mapping[0]
        text = f"mapping.{setting.field}: the mapping is what is searched for"
        raise SpecError(text, setting.span)
    return search_workload(
        load_workload(workload, given),
        load_machine(architecture, given),
        objective_called(objective),
        start=tuple(m if isinstance(m, Mapping) else Mapping.load(m) for m in start),
        time_limit_s=time_limit_s,
    )


def compare(
    workload: Workload | Name,
    architectures: Sequence[Architecture | str],
    *,
    iso_area: bool = False,
    iso_power: bool = False,
    as_built: bool = False,
    scale: str = "arrays",
    mappings: Named[str, Mapping | str] | Literal["auto"] | None = None,
    use_cache: bool = False,
    approximate: bool = False,
    **fields: int | float | str,
) -> Comparison:
    """Simulate a workload on several machines and relate each to the first.

    Parameters
    ----------
    workload : Workload, str or path
        Shapes and cascade, as for ``simulate``.
    architectures : sequence of Architecture or str
        Two machines or more, by value, built-in name or file.
    iso_area : bool
        Scale every machine but the first to the area of the first.
    iso_power : bool
        Take as many copies of each as draw the average power of the first, each for sequences
        of its own.
    as_built : bool
        Compare latency, energy and power of the machines with their losses. A machine that states
        none is as designed.
    scale : str
        Part that is scaled to equal area: ``"arrays"``, ``"copies"`` or the name of a memory.
    mappings : dict of str to Mapping or str, or "auto", optional
        The mapping of a machine, by the machine's name; ``"auto"``, for a machine or for all,
        is the best that a search finds for every part. A machine without one runs as
        ``simulate`` would; ``Comparison`` says by which mapping.
    use_cache, approximate : bool
        As for ``simulate``.
    **fields
        Fields of a workload given by name: ``seq_len="4K"``.

    Raises
    ------
    InputError
        Fewer than two machines, one twice, one without area or energy, one that cannot be
        scaled close to the first, or a mapping that is not legal; says which machine.
    """
    # A single simulation needs no comparison.
    from .comparison.compare import compare_contenders, contenders_of

    given = overrides_of((), fields)
    if settings := (*given.architecture, *given.technology, *given.mapping):
        text = f"{settings[0].field}: machines and mappings are compared as they are given"
        hint = "Architecture.load(NAME, [FIELD=VALUE]) is another machine"
        raise SpecError(text, settings[0].span, hint)
    work = load_workload(workload, given)
    return compare_contenders(
        work,
        contenders_of(work, architectures, mappings, find=find_best, generators=GENERATORS),
        iso_area=iso_area,
        iso_power=iso_power,
        as_built=as_built,
        scale=scale,
        generators=generators_of(use_cache=use_cache),
        approximate=approximate,
    )


def sensitivity(
    workload: Workload | Name,
    architecture: Name = "fusemax",
    mapping: MappingArgument = None,
    settings: str | Sequence[str] = (),
    *,
    by: Quantity = "latency",
    remap: bool = True,
    use_cache: bool = False,
    approximate: bool = False,
    **fields: int | float | str,
) -> Sensitivity:
    """Return the elasticities of latency, energy and area by every number of a machine.

    Parameters
    ----------
    workload, mapping, settings, use_cache, approximate, fields
        As for ``simulate``.
    architecture : str or path
        Name or file of the machine.
    by : str
        Quantity that sorts the fields: ``"latency"``, ``"as_built"``, ``"energy"`` or ``"area"``.
    remap : bool
        True to choose mappings anew where a number changes latency, floor or capacity; False to
        keep those of the run.

    Raises
    ------
    InputError
        Something named does not exist, or the mapping is not legal.

    Examples
    --------
    >>> found = sensitivity("bert-base", "fusemax", by="area", seq_len=512, batch=1)
    >>> found.fields[0].field, round(found.fields[0].area, 2)
    ('architecture.arrays.array_2d.shape.rows', 0.92)
    """
    return sensitivity_of_named(
        *(workload, architecture, mapping, overrides_of(settings, fields)),
        by=by,
        remap=remap,
        use_cache=use_cache,
        approximate=approximate,
    )


def sensitivity_of_named(
    workload: Workload | Name,
    architecture: Name,
    mapping: MappingArgument,
    given: Overrides,
    *,
    by: Quantity,
    remap: bool,
    find: FindMappings = find_best,
    use_cache: bool = False,
    approximate: bool = False,
    progress: StartProgress | None = None,
) -> Sensitivity:
    """Return the elasticities of a run as ``sensitivity``, with sorted settings and progress."""
    # A single simulation needs no elasticities.
    from .elasticity.analysis import sensitivity_of

    work = load_workload(workload, given)
    how = Overrides(mapping=given.mapping)

    def plan_jobs(machine: Architecture) -> JobPlan:
        return planned(
            work, machine, mapping, how, find=find, use_cache=use_cache, approximate=approximate
        )

    return sensitivity_of(architecture, given, plan_jobs, by=by, remap=remap, progress=progress)


def sweep(
    given: Named[str, Any] | str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    workers: int | None = None,
    dask: str | None = None,
    limit: int | None = None,
    use_cache: bool = False,
) -> DataFrame:
    """Simulate every point of a grid of settings, and return a row for each.

    Parameters
    ----------
    given : dict, str or path
        Sweep file (docs/sweeps.md), or its content as a dict.
    out : str or path, optional
        Folder for the results: points that are finished there are not run again. Without it nothing
        is kept.
    workers : int, optional
        Processes; by default one for each processor, if there is enough work.
    dask : str, optional
        The address of a Dask scheduler, whose workers run the points then.
    limit : int, optional
        Largest number of points to run now.
    use_cache : bool
        As for ``simulate``.

    Returns
    -------
    pandas.DataFrame
        Frame of ``load_sweep``, with units in ``attrs["units"]``.

    Raises
    ------
    InputError
        The sweep is wrong for all of its points, or the folder is another sweep's.

    Examples
    --------
    >>> frame = sweep({"name": "lengths", "workload": "bert-base", "architecture": "fusemax",
    ...                "axes": {"seq_len": ["1K", "4K"]}})
    >>> frame["latency_s"].round(6).tolist(), frame.attrs["units"]["latency_s"]
    ([0.002014, 0.029701], 's')
    """
    # A single simulation needs no database.
    from .sweeping.sweep import sweep_frame

    generators = generators_of(use_cache=use_cache)
    return sweep_frame(
        given, out, generators=generators, find=find_best, workers=workers, dask=dask, limit=limit
    )
