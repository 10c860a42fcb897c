"""Random small cascades of maps, reductions and running sums, as YAML text."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field


@dataclass
class Drawer:
    """Draws one statement after the other; every tensor carries some of ``variables``."""

    random: random.Random
    variables: tuple[str, ...]
    runs: str
    """The variable that running sums may run along."""
    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)

    def statement(self, name: str) -> None:
        names = list(self.tensors)
        a, b = self.random.choice(names[-4:]), self.random.choice(names)
        carried = {v for t in (a, b) for v in self.tensors[t]}
        if self.random.random() < 0.3:  # a running tensor is read at its stop only
            carried -= {self.runs} if {a, b} <= self.running else set()
        space = tuple(v for v in self.variables if v in carried)
        kind = self.random.choice(("map", "map", "map", "reduce", "reduce", "run"))
        if kind == "reduce" and space:
            over = self.random.sample(space, self.random.randint(1, len(space)))
            right = f"{self.access(a, space)} * {self.access(b, space)}"
            over = [v for v in over if re.search(rf"\b{v}\b", right)]
            if over:
                target = tuple(v for v in space if v not in over)
                self.lines.append(f"{_at(name, target)} = {right} :: max[{', '.join(over)}]")
                self.tensors[name] = target
        elif kind == "run" and self.runs in space:
            steps = tuple(f"{v}+1" if v == self.runs else v for v in space)
            zero = tuple("0" if v == self.runs else v for v in space)
            right = f"{_at(name, space)} + {self.access(a, space)}"
            self.lines.append(f"{_at(name, steps)} = {right}")
            self.starts.append(f"{_at(name, zero)} = 0")
            self.tensors[name] = space
            self.running.add(name)
        else:
            right = f"{self.access(a, space)} + {self.access(b, space)}"
            self.lines.append(f"{_at(name, space)} = {right}")
            self.tensors[name] = space

    def access(self, tensor: str, space: tuple[str, ...]) -> str:
        def index(v: str) -> str:
            if tensor not in self.running or v != self.runs:
                return v
            if v not in space or self.random.random() < 0.25:
                return v.upper()
            return self.random.choice((v, f"{v}+1"))

        return _at(tensor, tuple(index(v) for v in self.tensors[tensor]))


def _at(tensor: str, indices: tuple[str, ...]) -> str:
    return f"{tensor}[{', '.join(indices)}]" if indices else tensor


def random_cascade(source: random.Random, variables: tuple[str, ...], ranks: str) -> str:
    """A cascade over ``variables``; running sums run along the first of them."""
    drawer = Drawer(source, variables, variables[0])
    drawer.tensors = {"A": variables, "B": variables[:1], "C": variables[-1:]}
    inputs = dict(drawer.tensors)
    for number in range(source.randint(2, 6)):
        drawer.statement(f"T{number}")
    # One Einsum that reads everything unread, so that every statement counts.
    written = [line.split("=")[0].split("[")[0].strip() for line in drawer.lines]
    text = "\n  ".join(drawer.lines)
    read = {n for line in drawer.lines for n in _read(line)}
    outputs = [n for n in written if n not in read]
    used = {n: v for n, v in inputs.items() if n in read}
    declared = ", ".join(f"{n}: [{', '.join(v.upper() for v in vs)}]" for n, vs in used.items())
    starts = "init: |\n  " + "\n  ".join(drawer.starts) + "\n" if drawer.starts else ""
    return (
        f"cascade: random\nranks: {{{ranks}}}\ninputs: {{{declared}}}\n"
        f"output: [{', '.join(outputs)}]\n{starts}einsums: |\n  {text}\n"
    )


def _read(line: str) -> set[str]:
    left, right = line.split(" = ", 1)
    return set(re.findall(r"\b(?:T\d+|[ABC])\b", right)) - {left.split("[")[0]}
