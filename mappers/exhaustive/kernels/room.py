"""What memories hold of the tensors whose places are decided, and what they hold in any case."""

from __future__ import annotations

from archsim.compiled import compiled_inside

from .arrays import Floats, Ints
from .cost_to_go import TENSOR, Choices


@compiled_inside
def size_of(c: Choices, tile: Floats, tensor: int, memory: int, picked: Ints) -> float:
    """Bytes of a tensor's largest tile at a memory, of Einsums in the ways that are picked."""
    largest = 0.0
    for row in range(c.first_tile[tensor], c.first_tile[tensor + 1]):
        place, einsum, way = c.tiles[row]
        if place == memory and (way < 0 or picked[einsum] == way):
            largest = max(largest, tile[row])
    return float(largest)


@compiled_inside
def always(c: Choices, tile: Floats, none: Ints, room: Floats) -> None:
    """Bytes that the decisions from each on need whatever is chosen; ``none`` is picked."""
    end = c.decisions.shape[0]
    for memory in range(room.shape[1]):
        room[end, memory] = 0.0
        for depth in range(end - 1, -1, -1):
            room[depth, memory] = room[depth + 1, memory]
            if c.decisions[depth, 0] == TENSOR:
                tensor = c.decisions[depth, 1]
                always = True
                for places in range(c.decisions[depth, 2]):
                    always = always and c.kept[tensor, places, memory]
                if always:
                    room[depth, memory] += size_of(c, tile, tensor, memory, none)


@compiled_inside
def holds(capacities: Floats, used: Floats, room: Floats) -> bool:
    """Whether memories have room for what is used and what is there whatever is chosen."""
    fits = True
    for memory in range(used.shape[0]):
        fits = fits and used[memory] + room[memory] <= capacities[memory]
    return fits


@compiled_inside
def fits(
    c: Choices,
    capacities: Floats,
    tensor: int,
    places: int,
    tile: Floats,
    picked: Ints,
    used: Floats,
    room: Floats,
) -> bool:
    """Add the bytes of a tensor in some places; False where they are too many.

    Parameters
    ----------
    tensor, places : int
        Numbers of the tensor and of where it is kept.
    tile : array, (tiles,)
        Bytes.
    picked : array, (einsums,)
        The way of every Einsum.
    used : array, (memories,)
        Bytes by now; changed.
    room : array, (memories,)
        Bytes that later decisions need in any case.
    """
    for memory in range(used.shape[0]):
        if c.kept[tensor, places, memory]:
            used[memory] += size_of(c, tile, tensor, memory, picked)
    return holds(capacities, used, room)
