"""Public class ``Cascade``: an attention algorithm as a sequence of extended Einsums."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from . import ir
from .analysis_report import RankPasses
from .errors import CascadeError
from .libraries import np
from .notation import program_dot, program_html, program_latex, program_text
from .passes.analysis import analyze_passes
from .source import Source
from .syntax.parse import parse_program
from .yaml.library import builtin_source, is_file_name, read_source

if TYPE_CHECKING:
    from .counting.symbolic import Analysis
    from .rewrites import Derivation


@lru_cache(maxsize=512)
def _parsed(source: Source) -> ir.Program:
    """Return the program of a text; a text parsed before gives the same frozen program."""
    return parse_program(source)


@dataclass(frozen=True)
class Cascade:
    """Cascade of extended Einsums; two cascades are equal if they mean the same.

    Attributes
    ----------
    program : ir.Program
        Verified intermediate representation.
    """

    program: ir.Program

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> Cascade:
        """Load a built-in cascade by name, or any cascade from a file.

        A text with a slash, or ending in ``.yaml``, ``.yml`` or ``.json``, is a file.

        Raises
        ------
        CascadeError
            There is no such cascade, or it is wrong; lists every problem.
        """
        text = os.fspath(name)
        if isinstance(name, str) and not is_file_name(text):
            return cls(_parsed(builtin_source("cascades", text, CascadeError)))
        return cls(_parsed(read_source(text, CascadeError)))

    @classmethod
    def parse(cls, text: str, name: str = "<text>") -> Cascade:
        """Parse the YAML text of a cascade; error messages call the text ``name``.

        Raises
        ------
        CascadeError
            The text is wrong; lists every problem.
        """
        return cls(_parsed(Source(name, text)))

    def with_program(self, program: ir.Program) -> Cascade:
        """Return a cascade that holds another program."""
        return type(self)(program)

    @property
    def name(self) -> str:
        """Name of the cascade."""
        return self.program.name

    def evaluate(
        self,
        inputs: Mapping[str, Any],
        *,
        dtype: Any = "float64",
        keep: Literal["outputs", "all"] = "outputs",
        **sizes_and_parameters: Any,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run the cascade on numpy arrays; see ``einsum_cascade.numeric.reference.evaluate``.

        Parameters
        ----------
        inputs : mapping
            An array per input, ``parallel`` ranks first, then the declared ranks.
        dtype : dtype
            Number type of all computations.
        keep : {"outputs", "all"}
            Return the outputs only, or every tensor.
        **sizes_and_parameters
            Shapes that the inputs do not determine (partition sizes), and scalar parameters.

        Raises
        ------
        EvaluationError
            The inputs, sizes or parameters do not fit the cascade.
        """
        from .numeric.reference import evaluate

        return evaluate(self.program, inputs, dtype=dtype, keep=keep, **sizes_and_parameters)

    def passes(self, rank: str) -> RankPasses:
        """Return the passes over one rank: their number, barriers, and the pass of every Einsum.

        Raises
        ------
        CascadeError
            The cascade has no such rank, or a reduction is not associative.
        """
        return analyze_passes(self.program).of(rank)

    def analyze(self) -> Analysis:
        """Return passes, operations, traffic and footprints as expressions in the shapes."""
        from .counting.symbolic import analyze

        return analyze(self.program)

    def rewrite(self, *rules: Any, seed: int = 0) -> Derivation[Cascade]:
        """Apply rewrite rules in order; see ``einsum_cascade.rewrites.rewrite``.

        Parameters
        ----------
        *rules : str or Rewrite
            Rules such as ``"partition:M=M1,M0"`` and ``"reduce_passes"``.
        seed : int
            Seed of the random inputs that the result is checked on.

        Raises
        ------
        RewriteError
            A rule is unknown, or it does not apply; says which condition fails.
        """
        from .rewrites import rewrite

        return rewrite(self, *rules, seed=seed)

    def text(self) -> str:
        """Return the canonical YAML text; parsing it gives an equal cascade."""
        return program_text(self.program)

    def __str__(self) -> str:
        return self.text()

    def latex(self) -> str:
        """Return the equations in LaTeX."""
        return program_latex(self.program)

    def dot(self) -> str:
        """Return the dependency graph in Graphviz' DOT language."""
        return program_dot(self.program)

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"

    def _repr_html_(self) -> str:
        return program_html(self.program)
