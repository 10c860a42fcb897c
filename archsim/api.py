"""The Python surface: what needs both the machine's rooms and the generators of ``mappers``.

This module and the command line are the only ones that stand above ``mappers`` and hand its
generators down; no room below imports it.
"""

from __future__ import annotations

from collections.abc import Mapping as Named
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from mappers.generators import GENERATORS

from .comparison.compare import Comparison, compare_contenders, contenders_of
from .comparison.scaling import ARRAYS
from .jobs.job import Evaluate
from .jobs.plan import plan
from .jobs.run import Engine, evaluate_job, run_plan
from .jobs.selection import ByPart
from .jobs.workload import WorkloadLike
from .result.record import Result
from .spec.arch import Architecture
from .spec.mapping import AUTO, Mapping

if TYPE_CHECKING:
    from pandas import DataFrame


def simulate(
    workload: WorkloadLike,
    architecture: Architecture,
    mapping: Mapping | Sequence[Mapping] | ByPart | None = None,
    *,
    engine: Engine = "analytical",
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
        none the workload's attention. Every other part takes the fastest of what is known:
        the mapping the machine was designed for if that computes the same, the built-in
        mappings of the cascade, and one Einsum after the other (``einsum_by_einsum``).
    engine : str
        ``"event"`` is more patient with long runs than ``"analytical"``; else they are the same.
    evaluate : callable, optional
        What simulates each job in the engine's place, for example from memory.

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
    """
    judge = evaluate or evaluate_job
    jobs = plan(workload, architecture, mapping, generators=GENERATORS, evaluate=judge)
    return run_plan(jobs, engine=engine, evaluate=evaluate)


def compare(
    workload: WorkloadLike,
    architectures: Sequence[Architecture | str],
    *,
    iso_area: bool = False,
    scale: str = ARRAYS,
    mappings: Named[str, Mapping | str] | Literal["auto"] | None = None,
) -> Comparison:
    """Simulate a workload on several machines and relate each to the first.

    Parameters
    ----------
    workload : WorkloadLike
        Shapes and cascade, as for ``simulate``.
    architectures : sequence of Architecture or str
        Two machines or more, by value, built-in name or file.
    iso_area : bool
        Scale every machine but the first to the area of the first.
    scale : str
        What is scaled then: ``"arrays"`` or the name of a memory (``scale_to_area``).
    mappings : dict of str to Mapping or str, or "auto", optional
        The mapping of a machine, by the machine's name; ``"auto"``, for a machine or for all,
        is the best that a search finds for every part. A machine without one runs as
        ``simulate`` would; ``Comparison`` says by which mapping.

    Raises
    ------
    InputError
        Fewer than two machines, one twice, one without area or energy, one that cannot be
        scaled close to the first, or a mapping that is not legal; says which machine.
    """
    if mappings == AUTO:
        names = (a if isinstance(a, str) else a.name for a in architectures)
        mappings = {Architecture.load(n).name if isinstance(n, str) else n: AUTO for n in names}
    return compare_contenders(
        workload,
        contenders_of(architectures, mappings, find=_find),
        iso_area=iso_area,
        scale=scale,
        generators=GENERATORS,
    )


def sweep(
    given: Named[str, Any] | str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    workers: int | None = None,
    dask: str | None = None,
    limit: int | None = None,
) -> DataFrame:
    """Simulate every point of a grid of settings; a row for each.

    Parameters
    ----------
    given : dict, str or path
        A sweep file (docs/sweeps.md), or what it says as a dict.
    out : str or path, optional
        Keeps the results: what is finished there is not run again. Without it nothing is kept.
    workers : int, optional
        Processes; by default one for each processor, as far as there is work for them.
    dask : str, optional
        The address of a Dask scheduler, whose workers run the points then.
    limit : int, optional
        At most so many points are run now.

    Returns
    -------
    pandas.DataFrame
        As ``load_sweep`` gives it, with units in ``attrs["units"]``.

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
    # Not above: who simulates once need not wait for what runs sweeps.
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from .sweeping.file import sweep_asked
    from .sweeping.frame import load_sweep
    from .sweeping.sweep import run_sweep

    with TemporaryDirectory() as passing:
        folder = Path(passing if out is None else out)
        run_sweep(
            sweep_asked(given),
            folder,
            generators=GENERATORS,
            find=_find,
            workers=workers,
            dask=dask,
            limit=limit,
        )
        return load_sweep(folder)


def _find(workload: WorkloadLike, architecture: Architecture, /) -> ByPart:
    """The best mappings, by a search that is imported when somebody asks for it."""
    from mappers.workload_search import best_mappings

    return best_mappings(workload, architecture)
