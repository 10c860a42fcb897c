"""Specifications as trees: written as YAML, and changed at a place or two."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

Tree = dict[str, Any]
Place = tuple[Any, ...]


def written(tree: Any) -> str:
    """A tree as YAML: texts stand as they are, so that ``.nan`` means what it says."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {written(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(written(value) for value in tree) + "]"
    if isinstance(tree, bool):
        return "true" if tree else "false"
    if isinstance(tree, str) and tree.startswith("min("):
        return f'"{tree}"'
    return "''" if tree == "" else str(tree)


def file_of(tree: Tree) -> bytes:
    """A file of a tree, a line for each of its top fields."""
    lines = []
    for key, section in tree.items():
        lines.append(f"{key}:")
        lines += [f"  {name}: {written(value)}" for name, value in section.items()]
    return ("\n".join(lines) + "\n").encode("utf-8", errors="surrogatepass")


def places(tree: Any, at: Place = ()) -> Iterator[Place]:
    """Every place in a tree but the tree itself."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield (*at, key)
        yield from places(tree[key], (*at, key))


def found(tree: Any, place: Place) -> Any:
    """What stands at a place."""
    for key in place:
        tree = tree[key]
    return tree


def changed(draw: random.Random, tree: Tree, scalars: tuple[str, ...]) -> None:
    """Change a tree at a random place."""
    below = [p for p in places(tree) if len(p) > 1]
    if not below:  # all of it was taken away before
        return
    place = draw.choice(below)
    holder, key = found(tree, place[:-1]), place[-1]
    how = draw.randrange(8)
    others = [p for p in below if p != place]
    if how == 0:
        del holder[key]
    elif how <= 3:
        holder[key] = draw.choice(scalars)
    elif how == 4 and others:
        # Not of what it is in: a tree that holds itself is none.
        other = found(tree, draw.choice(others))
        holder[key] = other if not isinstance(other, dict | list) else draw.choice(scalars)
    elif how == 5 and isinstance(holder, list):
        holder.insert(key, holder[draw.randrange(len(holder))])
    elif how == 6 and isinstance(holder, list):
        draw.shuffle(holder)
    elif isinstance(holder, dict):
        names = [p[-1] for p in others if isinstance(p[-1], str)]
        holder[draw.choice(names) if names and draw.random() < 0.7 else "nothing"] = holder.pop(key)
    else:
        holder[key] = [holder[key]]
