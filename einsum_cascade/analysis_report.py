"""What an analysis of a cascade says: frozen results that show and save themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .errors import CascadeError, Problem, did_you_mean
from .source import html_text

GrainKind = Literal["rank", "family", "member"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Why one Einsum has to wait for the end of a pass.

    ``einsum`` opens pass ``opens``. ``because`` is the reason step by step in words,
    ``chain`` the same as ``QK -> GM (max over m) -> SN``, and ``revisits`` the tensors
    whose elements it needs although an earlier pass has been over them.
    """

    rank: str
    einsum: str
    opens: int
    because: tuple[str, ...]
    chain: str
    revisits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "einsum": self.einsum,
            "opens_pass": self.opens,
            "because": list(self.because),
            "chain": self.chain,
            "revisits": list(self.revisits),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPasses:
    """In which passes over a rank a tensor is written and read."""

    tensor: str
    written: int | None
    read: tuple[int, ...]

    @property
    def reread(self) -> tuple[int, ...]:
        """The passes that read it after an earlier pass has written or read it."""
        first = min(p for p in (self.written, *self.read) if p is not None)
        return tuple(p for p in self.read if p > first)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPasses:
    """Passes over one rank.

    ``count`` is the number of passes: one, and one more for each time that elements of a
    fiber have to be revisited after all of the fiber has been seen. ``at_most``: some order
    of the elements may need fewer, which a mask or a position read elsewhere leaves open
    (``docs/passes.md``). ``sweeps`` counts the
    loops over the rank that no mapping can fuse; it is larger when an Einsum has to wait
    for a whole fiber but then reads other tensors than those seen before.
    """

    rank: str
    grain: GrainKind
    count: int
    sweeps: int
    pass_of: tuple[tuple[str, int], ...]
    sweep_of: tuple[tuple[str, int], ...]
    barriers: tuple[Barrier, ...] = ()
    tensors: tuple[TensorPasses, ...] = ()
    at_most: bool = False

    @property
    def counted(self) -> str:
        """The count as a person reads it."""
        return f"at most {self.count}" if self.at_most else str(self.count)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "passes": self.count,
            "at_most": self.at_most,
            "grain": self.grain,
            "sweeps": self.sweeps,
            "barriers": [b.to_dict() for b in self.barriers],
            "einsums": dict(self.pass_of),
            "einsum_sweeps": dict(self.sweep_of),
            "reread": {t.tensor: list(t.reread) for t in self.tensors if t.reread},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PassAnalysis:
    """Passes over every rank that the Einsums of a cascade traverse.

    ``others`` are the ranks an analysis has nothing to say of: ``parallel`` ranks (one pass,
    every Einsum) and declared ranks that no Einsum traverses (none).
    """

    cascade: str
    ranks: tuple[RankPasses, ...]
    others: tuple[RankPasses, ...] = ()

    def of(self, rank: str) -> RankPasses:
        """The passes over one rank: a plain rank, a family, or a member of one.

        Raises
        ------
        CascadeError
            The cascade has no such rank; names the nearest.
        """
        found = {r.rank: r for r in (*self.others, *self.ranks)}
        if rank not in found:
            text = f"cascade '{self.cascade}' has no rank '{rank}'"
            raise CascadeError(Problem(text, hint=did_you_mean(rank, found)))
        return found[rank]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: a report per rank."""
        return {r.rank: r.to_dict() for r in self.ranks}

    def _repr_html_(self) -> str:
        return html_table(PASS_HEADINGS, pass_rows(self))


PASS_HEADINGS = ("rank", "passes", "sweeps", "Einsums by pass", "barriers")


def pass_rows(analysis: PassAnalysis) -> tuple[tuple[str, ...], ...]:
    """The table a person reads: a row per rank, texts as under ``PASS_HEADINGS``.

    Returns
    -------
    tuple of tuple of str
        One row per traversed rank; Einsums by pass read ``1: QK GM | 2: SN SD``, and a rank
        without barriers says ``none``.
    """
    rows = []
    for r in analysis.ranks:
        groups = [
            f"{number}: {' '.join(e for e, p in r.pass_of if p == number)}"
            for number in range(1, r.count + 1)
        ]
        chains = "; ".join(b.chain for b in r.barriers) or "none"
        rows.append((r.rank, r.counted, str(r.sweeps), " | ".join(groups), chains))
    return tuple(rows)


def html_table(headings: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    """An HTML table of texts, escaped.

    Parameters
    ----------
    headings : tuple of str
        One per column.
    rows : tuple of tuple of str
        Each as long as ``headings``; not escaped yet.
    """
    head = "".join(f"<th>{html_text(h)}</th>" for h in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html_text(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
