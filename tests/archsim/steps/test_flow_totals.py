"""What all steps move together, in closed form, against one iteration after the other."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim.iteration.access_map import AccessMap, Digits
from archsim.iteration.loops import Extents, Loop, inside, iterations
from archsim.steps.flows import Flow
from einsum_cascade import Cascade

ACCESS = (
    Cascade.parse(
        """
        cascade: copy
        ranks: {A: any, B: any}
        inputs: {X: [A, B]}
        output: Y
        einsums: "Y[a, b] = X[a, b]"
        """
    )
    .program.einsums[0]
    .reads[0]
)


def some_flow(random: Random) -> tuple[Flow, Extents]:
    """Tiles of one or two of three axes under up to six loops, most of them even."""
    extents = tuple(random.choice((1, 2, 4, 6, 12)) for _ in range(3))
    left, loops = list(extents), []
    for _ in range(random.randint(1, 6)):
        axis = random.randrange(3)
        even = [n for n in range(1, left[axis] + 1) if left[axis] % n == 0]
        stride = random.choice(even) if random.random() < 0.9 else random.randint(1, 5)
        left[axis] = min(left[axis], stride)
        loops.append(Loop(member="", axis=axis, stride=left[axis], level=0, variable="abc"[axis]))
    held = random.sample(range(3), random.randint(1, 2))
    parts = tuple(Digits(axis=axis, strides=((1, True),)) for axis in held)
    moving = frozenset("abc"[axis] for axis in held)
    flow = Flow(
        access_map=AccessMap(access=ACCESS, parts=parts, one_copy=parts, moving=moving),
        loops=tuple(loops),
        moving=tuple(loop.variable in moving for loop in loops),
        stepped=random.randint(0, len(loops)),
        steps=tuple(loops),
    )
    return flow, extents


def one_by_one(flow: Flow, now: Extents, fresh: bool, depth: int) -> tuple[int, int]:
    """Elements that arrive, and those that came before: each iteration by itself."""
    if depth == flow.stepped or flow.stays(depth, now):
        inner = Flow(
            access_map=flow.access_map,
            loops=flow.loops,
            moving=flow.moving,
            stepped=flow.stepped,
            steps=flow.steps[:depth],
        )
        share = inner.slice(depth, now, fresh)
        return int(share.arrives), int(share.again)
    loop, moves = flow.loops[depth], flow.moving[depth]
    arrives = again = 0
    for number in range(iterations(now[loop.axis], loop.stride)):
        extent = min(loop.stride, now[loop.axis] - number * loop.stride)
        within = inside(now, loop, extent)
        more = one_by_one(flow, within, fresh and (moves or number == 0), depth + 1)
        arrives, again = arrives + more[0], again + more[1]
    return arrives, again


@settings(max_examples=examples(500))
@given(seed=st.integers(0, 10**6), fresh=st.booleans())
def test_all_steps_together_move_what_each_does(seed: int, fresh: bool) -> None:
    random = Random(seed)
    flow, extents = some_flow(random)
    outer = random.randint(0, flow.stepped)
    found = flow.total(extents, outer, fresh)
    assert (found.arrives, found.again) == one_by_one(flow, extents, fresh, outer)
