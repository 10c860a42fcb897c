"""What the tests of the zoo share: references by name, random inputs, closeness."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.references import find_reference


def reference(name: str, **arguments: Any) -> dict[str, Any]:
    """What an independent reference gives."""
    found = find_reference(name)
    assert found is not None
    return found(**arguments)


def draw(seed: int, **shapes: tuple[int, ...]) -> dict[str, Any]:
    """Normal numbers by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def close(found: Any, wanted: Any, digits: int = 11) -> None:
    """Equal to so many digits."""
    np.testing.assert_allclose(found, wanted, rtol=10.0**-digits, atol=10.0 ** -(digits + 1))
