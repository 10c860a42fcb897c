"""From a cascade file to ``ir.Program``: declarations, functions, equations, verification."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .. import ir
from ..errors import CascadeError, by_place
from ..source import Source
from ..verify import verify
from ..yaml.source import YamlMapping, YamlNode, YamlScalar, YamlSequence, read_yaml, shorten
from .declarations import IDENTIFIER, RESERVED, Declarations, expand_shared_inputs, shared_problems
from .equations import Converter, NameScope, Piece, Statement, parse_piece, split_statements

MAX_STATEMENTS = 2000
"""Maximum number of equations in a block."""

_SIGNATURE = re.compile(r"\s*([A-Za-z_]\w*)\s*\(\s*([^()]*)\)\s*")


def parse_program(source: Source) -> ir.Program:
    """Parse and verify a cascade file.

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
    if problems:
        raise CascadeError(by_place(problems))
    return expand_shared_inputs(program, shared) if shared else program


class _CascadeFile(Declarations):
    """Reader of one cascade file."""

    def program(self) -> ir.Program:
        """Return the program, as far as it could be read."""
        self.known_keys()
        parallel = tuple(self.parallel())
        ranks = tuple(self.ranks())
        inputs = tuple(self.inputs())
        parameters = tuple(self.parameters())
        blocks = {key: tuple(self.block(key)) for key in ("init", "einsums")}
        signatures = tuple(self.signatures("functions"))
        scope = _scope(parallel, ranks, inputs, parameters, blocks, signatures)
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

    def signatures(self, key: str) -> Iterator[tuple[str, tuple[str, ...], YamlScalar, YamlNode]]:
        """Yield ``name(a, b)`` keys: the name, the arguments, the key and its value."""
        for node, value in self.mapping(key, '{"swish2(x)": "x * sigmoid(2 * x)"}'):
            found = _SIGNATURE.fullmatch(node.text)
            arguments = [a.strip() for a in found[2].split(",")] if found else []
            bad = [a for a in arguments if not IDENTIFIER.fullmatch(a) or a in RESERVED]
            if not found or bad or found[1] in RESERVED:
                self.wrong(
                    f"'{shorten(node.text)}' does not declare a function",
                    node.span,
                    "write a name and its arguments, such as swish2(x)",
                )
                self.spoiled.update(IDENTIFIER.findall(node.text))
                self.unreadable = True
            else:
                if len(set(arguments)) < len(arguments):
                    self.wrong("two arguments have the same name", node.span)
                yield found[1], tuple(dict.fromkeys(arguments)), node, value

    def functions(self, signatures: tuple[Any, ...], scope: NameScope) -> Iterator[ir.UserFunction]:
        """Yield user functions with their bodies."""
        for name, arguments, key, value in signatures:
            body = self.body(value, arguments, scope)
            if body is None:
                self.spoiled.add(name)
            else:
                yield ir.UserFunction(name=name, arguments=arguments, body=body, span=key.span)

    def reductions(self, scope: NameScope) -> Iterator[ir.UserReduction]:
        """Yield user reductions with their identities."""
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
        """Return the expression of a function over its arguments, parameters and shapes."""
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
        """Yield the statements of a block that parse."""
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
        """Yield statements as Einsums."""
        converter = Converter(scope, self.problems)
        for statement in statements:
            einsum = converter.statement(statement)
            if einsum is None:
                self.spoiled.update(statement.piece.names)
            else:
                yield einsum


def _scope(
    parallel: tuple[str, ...],
    ranks: tuple[ir.Rank, ...],
    inputs: tuple[ir.Tensor, ...],
    parameters: tuple[ir.Parameter, ...],
    blocks: dict[str, tuple[Statement, ...]],
    signatures: tuple[Any, ...],
) -> NameScope:
    written = [s for block in blocks.values() for s in block]
    scalars = {t.name for t in inputs if not t.ranks} | {s.target for s in written if s.is_scalar}
    return NameScope(
        variables=frozenset(r.variable for r in ranks),
        shapes=frozenset(r.name for r in ranks),
        parallel=frozenset(parallel) - frozenset(r.name for r in ranks),
        parameters=frozenset(p.name for p in parameters),
        tensors=frozenset(t.name for t in inputs) | frozenset(s.target for s in written),
        scalars=frozenset(scalars),
        functions=frozenset(s[0] for s in signatures),
    )
