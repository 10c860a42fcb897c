"""The arithmetic operators of the language, on numbers of any kind."""

from __future__ import annotations

from typing import Any


def combined(operator: str, left: Any, right: Any) -> Any:
    """``left operator right`` for ``+ - * / **``: floats, arrays, sympy expressions."""
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case "**":
            return left**right
    raise AssertionError(f"'{operator}' is no operator")
