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


# ------------------------------------------------------------------ masks


@dataclass
class MaskedDrawer:
    """Statements over two like ranks ``k`` and ``p``, read crosswise and through masks.

    A mask stands at every statement that reads what it left out, for the search knows no
    absent elements; ``masks`` holds what each tensor's first and second coordinate obey.
    """

    random: random.Random
    conditions: tuple[str, ...]
    tensors: dict[str, int] = field(default_factory=lambda: {"A": 2, "B": 1, "C": 1})
    running: set[str] = field(default_factory=set)
    masks: dict[str, set[str]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)

    def statement(self, name: str) -> None:
        """One map, reduction or running sum of one or two tensors drawn before."""
        reads = [self.access(self.random.choice(list(self.tensors)[-5:])) for _ in range(2)]
        right = f"{reads[0][0]} * {reads[1][0]}"
        needed = set().union(*(r[1] for r in reads))
        space = [v for v in "kp" if re.search(rf"\b{v}\b", right)]
        if len(space) == 2 and self.random.random() < 0.6:
            needed.add(self.random.choice(self.conditions))
        kind = self.random.choice(("map", "reduce", "reduce", "run"))
        where = f" where {' and '.join(sorted(needed))}" if needed else ""
        if kind == "run" and space and not needed:
            v = self.random.choice(space)
            if len(space) == 1:
                self.starts.append(f"{name}[0] = 0")
                self.lines.append(f"{name}[{v}+1] = {name}[{v}] + {right}")
                self.running.add(name)
                self.tensors[name] = 1
                return
        over = self.random.sample(space, 1) if kind == "reduce" and space else []
        target = [v for v in space if v not in over]
        reduced = f" :: max[{over[0]}]" if over else ""
        self.lines.append(f"{_at(name, tuple(target))} = {right}{reduced}{where}")
        self.tensors[name] = len(target)
        if len(target) == 2:
            self.masks[name] = {self.renamed(c, "k", "p", "first", "second") for c in needed}

    def access(self, tensor: str) -> tuple[str, set[str]]:
        """A read at ``k`` and ``p`` or crosswise, and the mask that comes with it."""
        at = self.random.choice((("k", "p"), ("k", "p"), ("p", "k")))[: self.tensors[tensor]]
        if tensor in self.running:
            at = (self.random.choice((at[0], f"{at[0]}+1", f"{at[0]}+1", "K")),)
        masks = self.masks.get(tensor, set())
        return _at(tensor, at), {self.renamed(c, "first", "second", *at) for c in masks}

    @staticmethod
    def renamed(condition: str, a: str, b: str, to_a: str, to_b: str) -> str:
        """A condition with two names replaced at once."""
        return re.sub(rf"\b({a}|{b})\b", lambda m: to_a if m[1] == a else to_b, condition)


def random_masked_cascade(source: random.Random, conditions: tuple[str, ...]) -> str:
    """A cascade over like ranks K and P whose masks are drawn from ``conditions``."""
    drawer = MaskedDrawer(source, conditions)
    for number in range(source.randint(2, 5)):
        drawer.statement(f"T{number}")
    read = {n for line in drawer.lines for n in _read(line)}
    written = [line.split("=")[0].split("[")[0].strip() for line in drawer.lines]
    ranks = {"A": "[K, P]", "B": "[K]", "C": "[P]"}
    used = ", ".join(f"{n}: {r}" for n, r in ranks.items() if n in read)
    outputs = ", ".join(n for n in written if n not in read)
    starts = "init: |\n  " + "\n  ".join(drawer.starts) + "\n" if drawer.starts else ""
    text = "\n  ".join(drawer.lines)
    return (
        "cascade: random\nranks: {K: elements, P: {is: the same, like: K}}\n"
        f"inputs: {{{used}}}\noutput: [{outputs}]\n{starts}einsums: |\n  {text}\n"
    )
