"""``archsim map`` where one mapping is no answer: fronts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..writing import OutputFolder
from .console import say, show, show_json
from .files import check_folder
from .options import refuse_mapping_settings

if TYPE_CHECKING:
    from mappers.front import Front
    from workloads import Workload

    from .. import Architecture
    from .mapping import Asked

Problems = tuple[str, str, tuple[str, ...]]
"""A workload, a machine, and settings, as they are typed."""


def show_front(asked: Problems, axes: str, how: Asked, out: Path | None, *, as_json: bool) -> None:
    """What ``map --pareto`` does.

    Raises
    ------
    InputError
        Something named does not exist, or the workload has several parts.
    """
    from mappers.front_report import front_report
    from mappers.front_search import axes_called, search_front

    from ..spec.mapping import Mapping
    from .mapping import bars

    axes_called(axes)
    if out:
        check_folder(out)
    work, machine = _loaded(asked)
    starts = tuple(Mapping.load(name) for name in how.starts)
    with bars() as start:
        front = search_front(
            work,
            machine,
            progress=start,
            start=starts,
            time_limit_s=how.time_limit_s,
            constraints=how.constraints,
        )
    written = _write_front(front, out) if out else ()
    if as_json:
        show_json(front.to_dict())
        return
    show(front_report(front))
    if not written:
        say("--out DIR writes the mappings and a picture", err=True)
    for path in written:
        say(f"wrote {path}", err=True)


def _loaded(asked: Problems) -> tuple[Workload, Architecture]:
    from workloads import load

    from .. import Architecture
    from ..spec.files.overrides import parse_overrides

    workload, architecture, settings = asked
    given = parse_overrides(settings)
    refuse_mapping_settings("map", given, "the mapping is what is searched for")
    return load(workload, given.workload), Architecture.load(architecture, given)


def _write_front(front: Front, folder: Path) -> tuple[Path, ...]:
    from mappers.front_plot import plot_front

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
