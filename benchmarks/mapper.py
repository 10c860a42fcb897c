"""How fast the search for mappings is: mappings priced a second, and searches from end to end.

Run ``python benchmarks/mapper.py``. Times are of processors, all of them together where a search
uses several; the ratio compares the batch with counting the same mappings one by one in the same
run.
"""

from __future__ import annotations

import time

import numpy as np
from machines import used

from archsim import Architecture
from archsim.counts.accesses import count_einsum
from archsim.nest.binder import bind_loops
from archsim.nest.tiling import build_tiling
from einsum_cascade import Cascade
from mappers.exact.branch_and_bound import exhaustive
from mappers.exact.measures import measured
from mappers.exact.subspaces import strides_of
from mappers.exact.tables import tabulate
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import SearchProblem
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region, Subspace, mapping_of

BERT = {"B": 64, "H": 12, "E": 64, "F": 64}
BATCH = 200_000
ONE_BY_ONE = 200


def space_of(cascade: str, tokens: int) -> Mapspace:
    """The mapspace of BERT's attention on FuseMax."""
    program = Cascade.load(cascade).program
    return Mapspace.of(program, Architecture.load("fusemax"), {**BERT, "P": tokens, "M": tokens})


def region_of(cascade: str, tokens: int) -> Region:
    """Its most promising region."""
    return space_of(cascade, tokens).regions(1)[0]


def largest_subspace(space: Region) -> Subspace:
    """The subspace with the most tilings."""
    return max(subspaces_of(space), key=lambda u: len(u.sizes))


def rate(cascade: str, tokens: int) -> None:
    """Mappings a second: counts of all Einsums, priced for one binding and residency."""
    space = region_of(cascade, tokens)
    subspace = largest_subspace(space)
    tables = tabulate(space, subspace)
    rows = strides_of(space, subspace)
    strides = np.resize(rows, (BATCH, rows.shape[1]))
    entries = [0, 1, *tables.choices.accesses[:, 1]]
    costs = tables.coefficients.reshape(-1, tables.columns, len(tables.measures))
    energy = costs[tables.choices.rows[entries], 0].sum(0)
    used = np.flatnonzero(energy)
    chosen = [tables.measures[n] for n in used]
    measured(chosen, strides[:1])  # compiled
    start = time.process_time()
    found = measured(chosen, strides) @ energy[used]
    batch = len(found) / (time.process_time() - start)
    one = one_by_one(space, subspace)
    print(
        f"{cascade}, {tokens:,} tokens: {batch:.3g} mappings/s in a batch "
        f"({len(chosen)} measures each), {one:.3g} one by one: {batch / one:.0f}x"
    )


def one_by_one(space: Region, subspace: Subspace) -> float:
    """Mappings a second, bound and counted each."""
    placements = {e: found[0] for e, found in space.placements.items()}
    places = {t: found[-1] for t, found in space.places.items()}
    mapping = mapping_of(space, subspace.skeleton, subspace.sizes[0], placements, places)
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    like = None
    start = time.process_time()
    for _ in range(ONE_BY_ONE):
        tiling = build_tiling(space.program, mapping, space.given, sizes)
        like = bind_loops(space.program, mapping, space.architecture, tiling, like)
        for e in like.einsums:
            count_einsum(like, e)
    return ONE_BY_ONE / (time.process_time() - start)


def searches(cascade: str, tokens: int) -> None:
    """Whole searches for each objective."""
    for name, objective in OBJECTIVES.items():
        space = space_of(cascade, tokens)
        start = used()
        certificate = exhaustive(SearchProblem(space, objective)).certificate
        took = used() - start
        print(
            f"{cascade}, {tokens:,} tokens, least {name}: {took:.2f} s for "
            f"{certificate.candidates:,} mappings, gap {certificate.gap:.2g}"
        )


def main() -> None:
    """Print everything."""
    for cascade in ("attention-3pass", "attention-1pass"):
        for tokens in (4096, 4099):
            rate(cascade, tokens)
    for cascade in ("attention-naive", "attention-3pass", "attention-1pass"):
        for tokens in (1024, 65_536):
            searches(cascade, tokens)


if __name__ == "__main__":
    main()
