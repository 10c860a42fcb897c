"""Parser of a cascade file to ``ir.Program``: declarations, functions, equations, verification."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .. import ir
from ..algebra.terms import map_einsum, rebuild, variable
from ..domains import whole_domain
from ..errors import CascadeError, Problem, by_place, did_you_mean, nearest, raise_all
from ..ir import RANK_NAME, TENSOR_NAME
from ..source import Source, Span
from ..verify import verify
from ..yaml.source import (
    LARGEST_COUNT,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    exact_number,
    read_yaml,
    shorten,
)
from .equations import Converter, NameScope, Piece, Statement, parse_piece, split_statements

KEYS = (
    *("cascade", "title", "source", "unverified", "reference", "parallel", "shared", "ranks"),
    "inputs",
    *("output", "outputs", "parameters", "domains", "distinct", "usual", "functions"),
    "reductions",
    *("init", "einsums", "accumulate"),
)
"""Keys that a cascade file may have."""

_CASCADE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = frozenset({"and", "or", "not", "where", "inf"})


MAX_STATEMENTS = 2000
"""Maximum number of equations in a block."""

_SIGNATURE = re.compile(r"\s*([A-Za-z_]\w*)\s*\(\s*([^()]*)\)\s*")


def parse_program(source: Source) -> ir.Program:
    """Return the verified program of a cascade file.

    Parameters
    ----------
    source : Source
        YAML (or JSON) text and its name.

    Raises
    ------
    CascadeError
        The file has problems; carries all of them in the order of its lines.
    """
    root = read_yaml(source, CascadeError)
    if not isinstance(root, YamlMapping):
        raise CascadeError(
            f"a cascade is a mapping that begins 'cascade: name', not {root.kind}", root.span
        )
    document = _CascadeFile(root)
    program = document.program()
    shared = tuple(document.shared())
    problems = list(document.problems)
    if not document.unreadable:
        problems.extend(shared_problems(program, shared))
        problems.extend(verify(program, frozenset(document.spoiled)))
    raise_all(by_place(problems), CascadeError)
    return expand_shared_inputs(program, shared) if shared else program


@dataclass
class _CascadeFile:
    """Reader of one cascade file, which collects problems.

    ``spoiled`` holds the names whose declarations were rejected.
    """

    root: YamlMapping
    problems: list[Problem] = field(default_factory=list)
    spoiled: set[str] = field(default_factory=set)
    unreadable: bool = False

    def wrong(self, message: str, span: Span | None, hint: str | None = None) -> None:
        """Record a problem at a span of the file."""
        self.problems.append(Problem(message, span, hint))

    def text(self, key: str, parent: YamlMapping | None = None) -> str:
        """Return the text under an optional key of the file, or of the mapping ``parent``.

        In ``parent`` the value may be ``~``, which gives an empty text.
        """
        node = (parent or self.root).child(key)
        if node is None:
            return ""
        if not isinstance(node, YamlScalar) or (node.value is None and parent is None):
            self.wrong(f"'{key}' is a text, not {node.kind}", node.span)
            return ""
        return _written(node)

    def title(self) -> str:
        """Return the name of the cascade."""
        name = self.text("cascade")
        if "cascade" not in self.root.keys:
            self.wrong("the cascade has no name", self.root.span, "begin with 'cascade: name'")
        elif name and not _CASCADE_NAME.fullmatch(name):
            span = self.root.span_of(("cascade",))
            self.wrong(
                f"'{shorten(name)}' cannot be a name", span, "use letters, digits and - . _ +"
            )
        return name

    def name_list(self, key: str, pattern: re.Pattern[str], hint: str) -> Iterator[str]:
        """Yield the names under a key, which holds a list of names or a single name."""
        node = self.root.child(key)
        if node is None:
            return
        items = node.items if isinstance(node, YamlSequence) else (node,)
        for item in items:
            name = self.identifier(item, pattern, hint)
            if name:
                yield name

    def identifier(self, node: YamlNode, pattern: re.Pattern[str], hint: str) -> str:
        """Return the name that a scalar holds, or record a problem and return an empty text."""
        if not isinstance(node, YamlScalar) or not node.text:
            self.wrong(f"a name is expected, not {node.kind}", node.span)
            return ""
        if not pattern.fullmatch(node.text) or node.text in RESERVED:
            self.wrong(f"'{shorten(node.text)}' cannot be a name here", node.span, hint)
            self.spoiled.add(node.text)
            self.spoiled.add(node.text.lower())
            return ""
        return node.text

    def mapping(self, key: str, example: str) -> tuple[tuple[YamlScalar, YamlNode], ...]:
        """Return the entries of the mapping under an optional key."""
        node = self.root.child(key)
        if node is None or (isinstance(node, YamlScalar) and node.value is None):
            return ()
        if not isinstance(node, YamlMapping):
            self.wrong(f"'{key}' is a mapping, not {node.kind}", node.span, f"such as {example}")
            self.unreadable = True
            return ()
        return node.entries

    def named(
        self, key: str, pattern: re.Pattern[str], hint: str, example: str
    ) -> Iterator[tuple[str, YamlNode, YamlNode | None]]:
        """Yield each name under a key, with its node and its value.

        The key holds a list of names, without values, or a mapping. A name that is wrong is given
        as an empty text.
        """
        node = self.root.child(key)
        if isinstance(node, YamlSequence):
            yield from ((self.identifier(i, pattern, hint), i, None) for i in node.items)
            return
        for item, value in self.mapping(key, example):
            yield self.identifier(item, pattern, hint), item, value

    def program(self) -> ir.Program:
        """Return the program that the file states, as far as it could be read."""
        for key in self.only(self.root, KEYS):
            self.unreadable |= nearest(key, KEYS) not in (None, *self.root.keys)
        parallel = tuple(self.parallel())
        ranks = tuple(self.ranks())
        inputs = tuple(self.inputs())
        parameters = tuple(self.parameters())
        blocks = {key: tuple(self.block(key)) for key in ("init", "einsums")}
        signatures = tuple(self.signatures("functions"))
        written = [s for block in blocks.values() for s in block]
        scalars = [t.name for t in inputs if not t.ranks]
        scalars += [s.target for s in written if s.is_scalar]
        shapes = frozenset(r.name for r in ranks)
        scope = NameScope(
            variables=frozenset(r.variable for r in ranks),
            shapes=shapes,
            parallel=frozenset(parallel) - shapes,
            parameters=frozenset(p.name for p in parameters),
            tensors=frozenset((*(t.name for t in inputs), *(s.target for s in written))),
            scalars=frozenset(scalars),
            functions=frozenset(s[0] for s in signatures),
        )
        functions = tuple(self.functions(signatures, scope))
        reductions = tuple(self.reductions(scope))
        return ir.Program(
            name=self.title(),
            title=self.text("title"),
            origin=self.text("source"),
            unverified=self.text("unverified"),
            parallel=parallel,
            ranks=ranks,
            inputs=inputs,
            outputs=tuple(self.outputs()),
            parameters=parameters,
            domains=tuple(self.domains()),
            distinct=tuple(self.distinct()),
            usual=tuple(self.usual()),
            functions=functions,
            reductions=reductions,
            init=tuple(self.convert(blocks["init"], scope)),
            einsums=tuple(self.convert(blocks["einsums"], scope)),
            accumulate=tuple(self.accumulate()),
            reference=self.text("reference"),
            places=tuple(self.places()),
            span=self.root.span,
        )

    # ------------------------------------------------------------------ declarations

    def parallel(self) -> Iterator[str]:
        """Yield the ``parallel`` ranks, which every tensor carries."""
        return self.name_list("parallel", RANK_NAME, "a rank is upper-case, such as B")

    def shared(self) -> Iterator[ir.Tensor]:
        """Yield the inputs that lack some parallel ranks, with these ranks."""
        return self.with_ranks("shared", "{W: [B]}", "name a parallel rank")

    def distinct(self) -> Iterator[ir.Tensor]:
        """Yield inputs declared distinct, with the ranks along which entries differ."""
        return self.with_ranks("distinct", "{TABLE: [N]}", "name a rank")

    def with_ranks(self, key: str, example: str, hint: str) -> Iterator[ir.Tensor]:
        """Yield each input that a mapping names, with its rank or list of ranks."""
        for name_node, value in self.mapping(key, example):
            name = self.identifier(name_node, TENSOR_NAME, "name an input")
            items = value.items if isinstance(value, YamlSequence) else (value,)
            ranks = tuple(self.identifier(i, RANK_NAME, hint) for i in items)
            if name and ranks and all(ranks):
                yield ir.Tensor(name=name, ranks=ranks, span=name_node.span)

    def ranks(self) -> Iterator[ir.Rank]:
        """Yield the declared ranks, each followed by its members."""
        hint = "a rank is upper-case, such as M or M1"
        for name, key, value in self.named("ranks", RANK_NAME, hint, "{M: keys, E: width}"):
            if name and value is None:
                yield ir.Rank(name=name, span=key.span)
            elif name and value is not None:
                yield from self.rank(name, key, value)

    def rank(self, name: str, key: YamlNode, value: YamlNode) -> Iterator[ir.Rank]:
        """Yield one rank and its members."""
        meaning = ""
        members: tuple[YamlScalar, ...] = ()
        like: str | None = None
        shape: int | None = None
        if isinstance(value, YamlScalar):
            meaning = _written(value)
        elif isinstance(value, YamlMapping):
            self.only(value, ("is", "partition", "like", "shape"))
            meaning = self.text("is", value)
            members = tuple(self.members(value))
            if (other := value.child("like")) is not None:
                like = self.identifier(other, RANK_NAME, "name a rank of the same shape") or None
            if (fixed := value.child("shape")) is not None:
                shape = self.shape(fixed)
        else:
            self.wrong("a rank has a meaning, or {is: .., partition: [..]}", value.span)
        found = tuple(m.text for m in members)
        yield ir.Rank(
            name=name, meaning=meaning, partition=found, like=like, shape=shape, span=key.span
        )
        for member in members:
            yield ir.Rank(name=member.text, family=name, span=member.span)

    def usual(self) -> Iterator[ir.Usual]:
        """Yield usual sizes of ranks and usual values of parameters."""
        for key, value in self.mapping("usual", "{Y: 14, X: 14}"):
            name = self.identifier(key, IDENTIFIER, "name a rank or a parameter")
            size = self.shape(value, "a usual size")
            if name and size is not None:
                yield ir.Usual(name=name, size=size, span=key.span)

    def shape(self, node: YamlNode, called: str = "'shape'") -> int | None:
        """Return the shape of a rank as a number; ``4K`` is 4096."""
        value = node.value if isinstance(node, YamlScalar) else None
        if value is not None and not isinstance(value, bool):
            number = exact_number(value)
            if number is not None and number == int(number) and 0 < number <= LARGEST_COUNT:
                return int(number)
        what = node.text if isinstance(node, YamlScalar) else node.kind
        self.wrong(f"{called} is a positive whole number, not {shorten(what)}", node.span)
        return None

    def members(self, value: YamlMapping) -> Iterator[YamlScalar]:
        """Yield the names of a rank's members, given under ``partition``."""
        node = value.child("partition")
        if node is None:
            return
        if not isinstance(node, YamlSequence) or len(node.items) < 2:
            what = "'partition' lists at least two ranks, outermost first, such as [M1, M0]"
            self.wrong(what, node.span)
            self.unreadable = True
            return
        for item in node.items:
            if self.identifier(item, RANK_NAME, "a rank is upper-case, such as M1"):
                assert isinstance(item, YamlScalar)
                yield item

    def only(self, value: YamlMapping, keys: tuple[str, ...]) -> list[str]:
        """Record a problem for each unknown key of a mapping, and return these keys.

        The content of an unknown key is not read.
        """
        unknown = [key for key, _ in value.entries if key.text not in keys]
        for key in unknown:
            hint = did_you_mean(key.text, keys)
            self.wrong(f"unknown key '{shorten(key.text)}'", key.span, hint)
        return [key.text for key in unknown]

    def inputs(self) -> Iterator[ir.Tensor]:
        """Yield the declared inputs with their ranks."""
        hint = "a tensor begins upper-case, such as Q"
        for key, value in self.mapping("inputs", "{Q: [P, E]}"):
            name = self.identifier(key, TENSOR_NAME, hint)
            if not isinstance(value, YamlSequence):
                self.wrong(f"an input has a list of ranks, not {value.kind}", value.span)
                self.spoiled.add(key.text)
                continue
            ranks = [self.identifier(i, RANK_NAME, "a rank is upper-case") for i in value.items]
            if not all(ranks):
                self.spoiled.add(key.text)
            elif name:
                yield ir.Tensor(name=name, ranks=tuple(ranks), span=key.span)

    def outputs(self) -> Iterator[str]:
        """Yield the names of outputs, given under ``output`` or ``outputs``."""
        keys = [k for k, _ in self.root.entries if k.text in ("output", "outputs")]
        if len(keys) == 2:
            self.wrong("'output' and 'outputs' are the same key; give one", keys[1].span)
        if keys:
            yield from self.name_list(
                keys[0].text, TENSOR_NAME, "a tensor begins upper-case, such as AV"
            )

    def places(self) -> Iterator[tuple[str, str, Span]]:
        """Yield key, name and span of each name that is listed without a node of its own."""
        for key, name in (("output", "output"), ("outputs", "output"), ("parallel", "parallel")):
            node = self.root.child(key)
            for item in node.items if isinstance(node, YamlSequence) else (node,):
                if isinstance(item, YamlScalar):
                    yield name, item.text, item.span
        for item, _ in self.mapping("accumulate", ""):
            yield "accumulate", item.text, item.span

    def parameters(self) -> Iterator[ir.Parameter]:
        """Yield the scalar parameters, given as a list of names or as names with defaults."""
        hint = "a parameter is a name such as lam"
        for name, key, value in self.named("parameters", IDENTIFIER, hint, "{lam: 0.9}"):
            is_empty = value is None or (isinstance(value, YamlScalar) and value.value is None)
            default = None if value is None or is_empty else self.number(value)
            if name:
                yield ir.Parameter(name=name, default=default, span=key.span)

    def domains(self) -> Iterator[ir.Domain]:
        """Yield the domains of inputs and parameters, given as pairs of numbers by name."""
        for key, value in self.mapping("domains", "{G: [-1, 0], MASK: 0..1}"):
            name = self.identifier(key, IDENTIFIER, "name an input or a parameter")
            if isinstance(value, YamlScalar) and (whole := whole_domain(name, value.text)):
                yield replace(whole, span=key.span)
                continue
            if not isinstance(value, YamlSequence) or len(value.items) != 2:
                what = f"'{shorten(key.text)}' lies between two numbers"
                self.wrong(what, value.span, "[0, 1], or whole numbers such as 0..N-1")
                continue
            low, high = (self.number(item) for item in value.items)
            if name:
                yield ir.Domain(name=name, low=low, high=high, span=key.span)

    def number(self, node: YamlNode) -> int | float:
        """Return the number that a scalar holds, finite or infinite."""
        if isinstance(node, YamlScalar):
            value = node.value
            if node.text.lstrip("+-") == "inf":
                return float(node.text)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and value == value:
                return value  # type: ignore[return-value]
        self.wrong(f"a number is expected, not {node.kind}", node.span)
        return 0

    def accumulate(self) -> Iterator[tuple[str, str]]:
        """Yield each tensor with the number type in which it is accumulated."""
        for key, value in self.mapping("accumulate", "{RNV: float32}"):
            if not isinstance(value, YamlScalar) or value.text not in ir.DTYPES:
                text = value.text if isinstance(value, YamlScalar) else ""
                self.wrong("a number type is expected", value.span, did_you_mean(text, ir.DTYPES))
            else:
                yield key.text, value.text

    # ------------------------------------------------------------- functions, equations

    def signatures(self, key: str) -> Iterator[tuple[str, tuple[str, ...], YamlScalar, YamlNode]]:
        """Yield the parts of each key ``name(a, b)``: name, arguments, key and value."""
        for node, value in self.mapping(key, '{"swish2(x)": "x * sigmoid(2 * x)"}'):
            found = _SIGNATURE.fullmatch(node.text)
            arguments = [a.strip() for a in found[2].split(",")] if found else []
            bad = [a for a in arguments if not IDENTIFIER.fullmatch(a) or a in RESERVED]
            if not found or bad or found[1] in RESERVED:
                wrong = f"'{shorten(node.text)}' does not declare a function"
                self.wrong(wrong, node.span, "write a name and its arguments, such as swish2(x)")
                self.spoiled.update(IDENTIFIER.findall(node.text))
                self.unreadable = True
            else:
                if len(set(arguments)) < len(arguments):
                    self.wrong("two arguments have the same name", node.span)
                yield found[1], tuple(dict.fromkeys(arguments)), node, value

    def functions(self, signatures: tuple[Any, ...], scope: NameScope) -> Iterator[ir.UserFunction]:
        """Yield the user functions, each with its body."""
        for name, arguments, key, value in signatures:
            body = self.body(value, arguments, scope)
            if body is None:
                self.spoiled.add(name)
            else:
                yield ir.UserFunction(name=name, arguments=arguments, body=body, span=key.span)

    def reductions(self, scope: NameScope) -> Iterator[ir.UserReduction]:
        """Yield the user reductions, each with its identity."""
        for name, arguments, key, value in self.signatures("reductions"):
            self.spoiled.add(name)
            if len(arguments) != 2:
                self.wrong(f"reduction '{name}' combines two values", key.span, f"{name}(a, b)")
                continue
            example = '{is: "log(exp(a) + exp(b))", identity: -inf}'
            if not isinstance(value, YamlMapping):
                self.wrong(
                    "a reduction has a body and an identity", value.span, f"such as {example}"
                )
                continue
            self.only(value, ("is", "identity"))
            body_node, identity_node = value.child("is"), value.child("identity")
            if body_node is None or identity_node is None:
                lacking = "is" if body_node is None else "identity"
                self.wrong(f"reduction '{name}' lacks '{lacking}'", key.span, f"such as {example}")
                continue
            body = self.body(body_node, arguments, scope)
            if body is not None:
                self.spoiled.discard(name)
                identity = self.number(identity_node)
                pair = (arguments[0], arguments[1])
                yield ir.UserReduction(
                    name=name, arguments=pair, body=body, identity=identity, span=key.span
                )

    def body(self, node: YamlNode, arguments: tuple[str, ...], scope: NameScope) -> Any:
        """Return the body of a function as an expression of arguments, parameters and shapes."""
        if not isinstance(node, YamlScalar) or not node.text.strip():
            self.wrong(f"an expression is expected, not {node.kind}", node.span)
            return None
        inner = NameScope(
            shapes=scope.shapes,
            parameters=scope.parameters - frozenset(arguments),
            functions=scope.functions,
            arguments=frozenset(arguments),
        )
        piece = Piece(node, 0, len(node.text))
        tree, problems = parse_piece(piece, "expression")
        self.problems.extend(problems)
        if tree is None:
            return None
        return Converter(inner, self.problems).expression(piece, tree)

    def block(self, key: str) -> Iterator[Statement]:
        """Yield the statements of a block; statements with syntax errors are left out."""
        node = self.root.child(key)
        if node is None or (isinstance(node, YamlScalar) and not node.text.strip()):
            if key == "einsums":
                self.wrong("the cascade has no equations", (node or self.root).span, "einsums: |")
                self.unreadable = True
            return
        scalars = node.items if isinstance(node, YamlSequence) else (node,)
        for scalar in scalars:
            if not isinstance(scalar, YamlScalar):
                self.wrong(f"equations are text, not {scalar.kind}", scalar.span, f"{key}: |")
                self.unreadable = True
                continue
            pieces, problems = split_statements(scalar)
            self.problems.extend(problems)
            if len(pieces) > MAX_STATEMENTS:
                what = f"{len(pieces)} statements are more than a cascade may have"
                self.wrong(f"{what} ({MAX_STATEMENTS})", scalar.span)
                self.unreadable = True
                continue
            if problems:
                self.spoiled.update(IDENTIFIER.findall(scalar.text))
            for piece in pieces:
                tree, problems = parse_piece(piece, "statement")
                self.problems.extend(problems)
                if tree is None:
                    self.spoiled.update(piece.names)
                else:
                    yield Statement(piece, tree)

    def convert(self, statements: tuple[Statement, ...], scope: NameScope) -> Iterator[ir.Einsum]:
        """Yield the Einsum of each statement that can be converted."""
        converter = Converter(scope, self.problems)
        for statement in statements:
            einsum = converter.statement(statement)
            if einsum is None:
                self.spoiled.update(statement.piece.names)
            else:
                yield einsum


def _written(node: YamlScalar) -> str:
    """Return the text of a scalar: empty for ``~``, and a block without its last line break."""
    if node.value is None:
        return ""
    return node.text.rstrip("\n") if node.style in ("|", ">") else node.text


# ------------------------------------------------------------------ shared inputs


def shared_problems(program: ir.Program, shared: tuple[ir.Tensor, ...]) -> Iterator[Problem]:
    """Yield problems of inputs shared along parallel ranks.

    These are unknown inputs, ranks that are not parallel, and ranks along which entries must
    differ.
    """
    known = [t.name for t in program.inputs]
    for one in shared:
        if one.name not in known:
            what = f"'shared' names '{one.name}', which is no input"
            yield Problem(what, one.span, did_you_mean(one.name, known))
        for rank in one.ranks:
            if rank not in program.parallel:
                what = f"'{one.name}' cannot be shared along '{rank}', which is not parallel"
                yield Problem(what, one.span, did_you_mean(rank, program.parallel))
            if any(d.name == one.name and rank in d.ranks for d in program.distinct):
                what = f"'{one.name}' has no entries that differ along '{rank}': it is shared"
                yield Problem(what, one.span)


def expand_shared_inputs(program: ir.Program, shared: tuple[ir.Tensor, ...]) -> ir.Program:
    """Return the program with each tensor's own parallel ranks written out in the equations.

    Parameters
    ----------
    program : Program
        Verified program, with parallel ranks that no equation names.
    shared : tuple of Tensor
        Inputs that lack some of them.

    Returns
    -------
    Program
        Program without parallel ranks. Those of a tensor precede its own ranks, in the order of
        ``parallel``.
    """
    kept = _parallel_ranks(program, {s.name: frozenset(s.ranks) for s in shared})

    def explicit(node: ir.Node) -> ir.Node:
        if not isinstance(node, ir.Access):
            return node
        ranks = (r for r in program.parallel if r in kept[node.tensor])
        return replace(node, indices=(*(variable(r.lower()) for r in ranks), *node.indices))

    def statement(einsum: ir.Einsum) -> ir.Einsum:
        def change(node: Any) -> Any:
            return rebuild(node, explicit)

        return map_einsum(einsum, change, change(einsum.target))

    named = {r.name for r in program.ranks}
    added = (ir.Rank(name=r, span=program.span) for r in program.parallel if r not in named)
    return replace(
        program,
        parallel=(),
        ranks=(*added, *program.ranks),
        inputs=tuple(
            replace(t, ranks=(*(r for r in program.parallel if r in kept[t.name]), *t.ranks))
            for t in program.inputs
        ),
        init=tuple(statement(e) for e in program.init),
        einsums=tuple(statement(e) for e in program.einsums),
    )


def _parallel_ranks(
    program: ir.Program, lacking: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    """Return the parallel ranks of every tensor; a computed one has those of its operands."""
    every = frozenset(program.parallel)
    found = {t.name: every - lacking.get(t.name, frozenset()) for t in program.inputs}
    statements = program.statements
    found.update((e.name, frozenset()) for e in statements)
    grown = True
    while grown:
        grown = False
        for einsum in statements:
            ranks = found[einsum.name].union(*(found[a.tensor] for a in einsum.reads))
            grown |= ranks != found[einsum.name]
            found[einsum.name] = ranks
    return found
