"""``archsim map`` where one mapping is no answer: fronts and curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..writing import OutputFolder, write_whole
from .console import say, show, show_json
from .options import refuse_mapping_settings

if TYPE_CHECKING:
    from mappers.pareto.capacity import CapacityCurves
    from mappers.pareto.front import Front
    from workloads import Workload

    from .. import Architecture
    from ..result.plots.style import Picture
    from .mapping import Asked

T = TypeVar("T")

Problems = tuple[str, str, tuple[str, ...]]
"""A workload, a machine, and settings, as they are typed."""


Written = tuple[Path | None, Path | None]
"""A folder and a picture, where they are asked for."""


def show_front(asked: Problems, axes: str, how: Asked, places: Written, *, as_json: bool) -> None:
    """What ``map --pareto`` does.

    Raises
    ------
    InputError
        Something named does not exist, or the workload has several parts.
    """
    from mappers.pareto.front_search import axes_called, search_front
    from mappers.views.reports import front_report

    from ..spec.mapping import Mapping
    from .mapping import bars, check_places

    out, plot = places
    check_places(out, plot)
    work, machine = _loaded(asked)
    memory = axes_called(axes, machine)
    starts = tuple(Mapping.load(name) for name in how.starts)
    with bars() as start:
        front = search_front(
            work,
            machine,
            progress=start,
            start=starts,
            time_limit_s=how.time_limit_s,
            constraints=how.constraints,
            memory=memory,
        )
    written = (*(_write_front(front, out) if out else ()), *_drawn(_front_picture, front, plot))
    if as_json:
        show_json(front.to_dict())
        return
    show(front_report(front))
    if not written:
        say("--out DIR writes the mappings and a picture", err=True)
    for path in written:
        say(f"wrote {path}", err=True)


def show_capacity(
    asked: Problems, memory: str, how: Asked, places: Written, *, as_json: bool
) -> None:
    """What ``map --capacity-curve`` does.

    Raises
    ------
    InputError
        Something named does not exist, or the workload has several parts.
    """
    from mappers.pareto.capacity_search import capacity_curves
    from mappers.views.reports import capacity_report

    from .mapping import bars, check_places

    out, plot = places
    check_places(out, plot)
    work, machine = _loaded(asked)
    with bars() as start:
        curves = capacity_curves(
            work,
            machine,
            memory,
            progress=start,
            time_limit_s=how.time_limit_s,
            constraints=how.constraints,
        )
    written = _drawn(_capacity_picture, curves, plot)
    if out:
        exact = json.dumps(curves.to_dict(), indent=2, allow_nan=False)
        picture = _capacity_picture(curves)
        with OutputFolder(out) as folder:
            folder.text("capacity.json", exact)
            folder.file("capacity.png", picture.write)
            folder.file("capacity.svg", picture.write)
        written = (*written, *folder.paths)
    if as_json:
        show_json(curves.to_dict())
        return
    show(capacity_report(curves))
    if not written:
        say("--out DIR writes the numbers, the mappings and a picture", err=True)
    for path in written:
        say(f"wrote {path}", err=True)


def _front_picture(front: Front) -> Picture:
    from mappers.views.plots import plot_front

    return plot_front(front)


def _capacity_picture(curves: CapacityCurves) -> Picture:
    from mappers.views.plots import plot_capacity

    return plot_capacity(curves)


def _drawn(draw: Callable[[T], Picture], what: T, path: Path | None) -> tuple[Path, ...]:
    """A picture in a file, where one is asked for."""
    return (write_whole(path, draw(what).write),) if path else ()


def _loaded(asked: Problems) -> tuple[Workload, Architecture]:
    from workloads import load

    from .. import Architecture
    from ..spec.overrides import parse_overrides

    workload, architecture, settings = asked
    given = parse_overrides(settings)
    refuse_mapping_settings("map", given, "the mapping is what is searched for")
    return load(workload, given.workload), Architecture.load(architecture, given)


def _write_front(front: Front, folder: Path) -> tuple[Path, ...]:
    from mappers.views.plots import plot_front

    from ..spec.files.mapping_text import mapping_text

    exact = json.dumps(front.to_dict(), indent=2, allow_nan=False)
    picture = plot_front(front)
    with OutputFolder(folder) as out:
        for n, point in enumerate(front.points, start=1):
            out.text(f"mapping-{n}.yaml", mapping_text(point.mapping, folder))
        out.text("front.json", exact)
        out.file("front.png", picture.savefig)
        out.file("front.svg", picture.savefig)
    return out.paths
