"""What the alternatives of one decision cost, and which of them are worth a look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archsim.compiled import compiled_inside

from .arrays import Floats, Ints
from .cost_to_go import EINSUM, Choices


@compiled_inside
def _options_of_tensor(
    c: Choices, cost: Floats, decision: int, picked: Ints, options: Floats, usable: Ints
) -> int:
    """Add what a tensor costs in each of its places; in how many it would be lost."""
    tensor, alternatives = c.decisions[decision, 1], c.decisions[decision, 2]
    accesses, rows, columns = c.accesses, c.rows, cost.shape[1]
    writer = c.writers[tensor]
    written = picked[writer] if writer >= 0 else 0
    writers = c.alternatives[writer] if writer >= 0 else 1
    lost = 0
    for access in range(c.first[tensor], c.first[tensor + 1]):
        own = picked[accesses[access, 0]]
        entry = accesses[access, 1] + (own * writers + written) * alternatives
        for places in range(alternatives):
            row = rows[entry + places]
            if row >= 0:
                for column in range(columns):
                    options[places, column] += cost[row, column]
            elif usable[places]:
                usable[places] = 0
                lost += 1
    return lost


@compiled_inside
def _is_better(
    options: Floats, columns: int, kept: NDArray[np.bool_], other: int, choice: int
) -> bool:
    """Whether places cost no more than others in any column and are in no other memory."""
    for column in range(columns):
        if options[other, column] > options[choice, column]:
            return False
    for memory in range(kept.shape[1]):
        if kept[other, memory] and not kept[choice, memory]:
            return False
    return True


@compiled_inside
def options_of(
    c: Choices, cost: Floats, decision: int, picked: Ints, options: Floats, usable: Ints
) -> int:
    """Costs of the alternatives of a decision; how many of them are not legal. Columns that
    ``options`` has beside those of ``cost`` are zeros.

    Sets ``usable`` to 1, to 0 where a tensor is lost, and to -1 where another alternative
    costs no more in any column and keeps the tensor in no other memory.

    Parameters
    ----------
    cost : array, (rows, columns)
        Of one tiling.
    decision : int
        Its number.
    picked : array, (einsums,)
        The way of every Einsum that has one by now.
    options : array, (alternatives, columns or more)
        Filled.
    usable : array, (alternatives,)
        Filled.
    """
    kind, number = c.decisions[decision, 0], c.decisions[decision, 1]
    alternatives, columns = c.decisions[decision, 2], cost.shape[1]
    for choice in range(alternatives):
        usable[choice] = 1
        for column in range(options.shape[1]):
            options[choice, column] = 0.0
    if kind == EINSUM:
        for choice in range(alternatives):
            row = c.rows[c.works[number] + choice]
            for column in range(columns):
                options[choice, column] = cost[row, column]
        return 0
    lost = _options_of_tensor(c, cost, decision, picked, options, usable)
    for choice in range(alternatives):
        for other in range(alternatives):
            able = usable[choice] == 1 and usable[other] == 1 and choice != other
            if able and _is_better(options, columns, c.kept[number], other, choice):
                usable[choice] = -1
    return lost
