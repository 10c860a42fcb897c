"""Random small cascades as text, to run against the pointwise oracle.

Every cascade has ranks A, B and J, a rank M in tiles that may not divide it, and an
iterative rank T. Statements are drawn one after the other from what is there already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

RANKS = ("A", "B", "J", "T")
TILED = "M: {is: tiled, partition: [M1, M0]}"
INPUTS = {
    "X": ("A", "B"),
    "Y": ("B",),
    "K": ("M", "A"),
    "N": ("M",),
    "S": ("T", "A"),
    "U": (),
    "G": ("B",),
}
GATHER = "G"
"""An index tensor: positions along A, by B."""

UNARY = ("exp", "abs", "sign", "relu", "elu", "sigmoid", "tanh", "silu", "gelu", "softplus")
UNARY += ("erf", "floor", "swish2", "sin", "cos")
REDUCTIONS = ("+", "+", "+", "max", "min", "prod", "hypot")
HEAD = """
cascade: random
parallel: [H]
ranks: {ranks}
inputs: {inputs}
outputs: [{outputs}]
parameters: {{lam: 0.75}}
functions: {{"swish2(x)": "where(x > 0, x, lam * x) * sigmoid(2 * x)"}}
reductions: {{"hypot(a, b)": {{is: "sqrt(a * a + b * b)", identity: 0}}}}
"""


@dataclass
class Draft:
    """A cascade under construction: tensors by name, the lines written so far."""

    draw: st.DrawFn
    tensors: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(INPUTS))
    iterative: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    init: list[str] = field(default_factory=list)

    def pick(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def chance(self, of: int) -> bool:
        return self.draw(st.integers(1, of)) == 1

    # ------------------------------------------------------------------ expressions

    def index(self, name: str, rank: str, variables: tuple[str, ...]) -> str | None:
        """An index along ``rank`` by variables that are there, or None."""
        if name in self.iterative and rank == "T" and self.chance(3):
            return self.pick("0", "T")
        if rank == "A" and "b" in variables and self.chance(4):
            return self.pick(f"{GATHER}[b]", f"A - 1 - {GATHER}[b]")
        if rank == "M" and "m1" in variables and "m0" in variables:
            return "m1*M0 + m0"
        if rank.lower() not in variables:
            return "0" if self.chance(2) else None
        if rank == "T" and name in self.iterative and self.chance(3):
            return "t+1"
        return rank.lower()

    def access(self, variables: tuple[str, ...]) -> str:
        names = [n for n in self.tensors if n != GATHER]
        for _ in range(8):
            name = self.pick(*names)
            indices = [self.index(name, r, variables) for r in self.tensors[name]]
            if None not in indices:
                return name + (f"[{', '.join(map(str, indices))}]" if indices else "")
        return "U"

    def expression(self, variables: tuple[str, ...], depth: int) -> str:
        kind = self.pick("access", "access", "product", "product", "sum", "unary", "more")
        if depth == 0 or kind == "access":
            return self.access(variables)
        left = self.expression(variables, depth - 1)
        if kind == "unary":
            return f"{self.pick(*UNARY)}({left})"
        if kind == "more":
            return self.special(variables, left, depth)
        right = self.expression(variables, depth - 1)
        if kind == "product":
            return f"({left}) * ({right})"
        operator = self.pick("+", "-", "/")
        return f"({left} {operator} {right})"

    def special(self, variables: tuple[str, ...], left: str, depth: int) -> str:
        other = self.expression(variables, depth - 1)
        number = self.pick("lam", "2", "A", "-1.5", *variables)
        return self.pick(
            f"max({left}, {other}, {number})",
            f"min({left}, {other})",
            f"where({self.condition(variables)}, {left}, {other})",
            f"({left} * {number})",
            f"({left}) ** 2",
            f"lam ** ({number}) * {left}",
            f"rsqrt(1 + ({left}) ** 2)",
            f"log(1 + abs({left}))",
            f"-({left})",
        )

    def condition(self, variables: tuple[str, ...]) -> str:
        if not variables:
            return f"{self.access(())} > 0"
        left = self.pick(*variables)
        right = self.pick("1", "A - 1", *variables)
        simple = f"{left} {self.pick('<', '<=', '>', '>=', '==', '!=')} {right}"
        return self.pick(
            simple,
            simple,
            f"{self.access(variables)} > 0",
            f"{simple} and {self.access(variables)} < 1",
            f"not ({simple} or {left} == 1)",
            f"{left} >= 1 and {left} < 3",
        )

    # ------------------------------------------------------------------ statements

    def variables(self) -> tuple[str, ...]:
        pool = ["a", "b", "t"]
        pool += self.pick("m", "m1 m0", "m1 m0", "m1").split()
        return tuple(v for v in pool if not self.chance(3))

    def statement(self, name: str) -> None:
        kind = self.pick("plain", "plain", "plain", "iterative", "topk", "shifted")
        if kind == "iterative":
            self.recurrence(name)
        elif kind == "topk":
            self.selection(name)
        elif kind == "shifted":
            self.shifted(name)
        else:
            self.plain(name)

    def plain(self, name: str) -> None:
        used = self.variables()
        kept = tuple(v for v in used if not self.chance(3))
        expression = self.expression(used, 2)
        self.add(name, tuple(v.upper() for v in kept), expression, used, list(kept))

    def add(
        self,
        name: str,
        ranks: tuple[str, ...],
        expression: str,
        used: tuple[str, ...],
        indices: list[str],
    ) -> None:
        seen = set(_words(expression))
        over = [v for v in used if v in seen and v.upper() not in ranks]
        line = name + (f"[{', '.join(indices)}]" if indices else "") + f" = {expression}"
        reduction = self.pick(*REDUCTIONS)
        if over:
            line += f" :: {reduction}[{', '.join(over)}]"
        known = tuple(v for v in used if v in seen or v.upper() in ranks)
        if self.chance(2) and known:
            line += f" where {self.condition(known)}"
        self.lines.append(line)
        self.tensors[name] = ranks

    def shifted(self, name: str) -> None:
        """A read of a neighbour, with or without what keeps it inside."""
        guard = self.pick(" where a >= 1", " where b >= 0 and a > 0", " where a != 0", "")
        inner = f"X[a-1, b] + {self.access(('a', 'b'))}"
        if not guard:
            inner = f"where(a >= 1, X[a-1, b], {self.access(('a', 'b'))})"
        self.lines.append(f"{name}[a] = {inner} :: +[b]{guard}")
        self.tensors[name] = ("A",)

    def recurrence(self, name: str) -> None:
        """A running state along T, or along the tiles M1, of one or two Einsums."""
        v, rank = self.pick("t T", "t T", "m1 M1").split()
        others = tuple(o for o in ("a", "b") if not self.chance(2))
        kept = [v, *others]
        state = f"{name}[{', '.join(kept)}]"
        self.init.append(f"{name}[{', '.join(['0', *others])}] = {self.pick('0', '1', '-inf')}")
        source = self.expression((v, *others), 1)
        update = self.pick(
            f"{state} + {source}",
            f"max({state}, {source})",
            f"lam * {state} + {source}",
            f"exp(-abs({source})) * {state}",
        )
        if self.chance(2):
            inner = f"{name}i"
            self.lines.append(f"{inner}[{', '.join(kept)}] = {update}")
            self.tensors[inner] = (rank, *(o.upper() for o in others))
            update = f"{inner}[{', '.join(kept)}]"
        line = f"{name}[{', '.join([v + '+1', *others])}] = {update}"
        if self.chance(3):
            line += f" where {self.condition((v, *others))}"
        self.lines.append(line)
        self.tensors[name] = (rank, *(o.upper() for o in others))
        if rank == "T":
            self.iterative.add(name)
        else:
            del self.tensors[name]

    def selection(self, name: str) -> None:
        source = self.pick("X[a, b]", "K[m, a]", "S[t, a]")
        over, kept = {"X[a, b]": "ab", "K[m, a]": "ma", "S[t, a]": "ta"}[source]
        line = f"{name}[j, {kept}] << topk({source}, j)"
        if self.chance(2):
            line += f" where {over} <= {kept} + 1"
        gathered = {"X[a, b]": "X[{}, b]", "K[m, a]": "K[{}, a]", "S[t, a]": "S[{}, a]"}[source]
        self.lines.append(line)
        values = gathered.format(f"{name}[j, {kept}]")
        self.lines.append(f"{name}v[j, {kept}] = {values} * U")
        self.tensors[f"{name}v"] = ("J", kept.upper())


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text).split()


@st.composite
def cascades(draw: st.DrawFn) -> str:
    """The text of a random cascade; the verifier may still refuse it."""
    draft = Draft(draw)
    for i in range(draw(st.integers(1, 4))):
        draft.statement(f"R{i}")
    words = {w.upper() for line in (*draft.lines, *draft.init) for w in _words(line)}
    if len(words & {"M1", "M0"}) == 1:
        # A partition has no unused member.
        draft.lines.append("Z = U * M1 * M0")
    outputs = [line.split("[")[0].split(" ")[0] for line in draft.lines]
    words = {w for line in (*draft.lines, *draft.init) for w in _words(line)}
    used = {n: r for n, r in INPUTS.items() if n in words}
    inputs = ", ".join(f"{n}: [{', '.join(r)}]" for n, r in used.items())
    known = {w.upper() for w in words} | {rank for ranks in used.values() for rank in ranks}
    ranks = [f"{r}: some" for r in RANKS if r in known]
    if known & {"M", "M1", "M0"}:
        ranks.append(TILED if "M0" in known else "M: whole")
    head = HEAD.format(
        ranks=f"{{{', '.join(ranks)}}}", inputs=f"{{{inputs}}}", outputs=", ".join(outputs)
    )
    block = "\n".join(f"  {line}" for line in draft.lines)
    init = "".join(f"\n  {line}" for line in draft.init)
    return head + (f"init: |{init}\n" if init else "") + f"einsums: |\n{block}\n"
