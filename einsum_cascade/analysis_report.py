"""Results of cascade analyses: frozen records that can be printed and exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .errors import CascadeError, did_you_mean
from .source import html_text

GrainKind = Literal["rank", "family", "member"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Reason why an Einsum has to wait for the end of a pass.

    ``einsum`` opens pass ``opens``. ``because`` explains the reason step by step, and ``chain`` is
    its short form, such as ``QK -> GM (max over m) -> SN``. ``revisits`` lists the tensors whose
    elements the Einsum needs although an earlier pass has visited them.
    """

    rank: str
    einsum: str
    opens: int
    because: tuple[str, ...]
    chain: str
    revisits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the barrier as plain values for JSON."""
        return {
            "einsum": self.einsum,
            "opens_pass": self.opens,
            "because": list(self.because),
            "chain": self.chain,
            "revisits": list(self.revisits),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPasses:
    """Numbers of the passes over a rank that write and read one tensor."""

    tensor: str
    written: int | None
    read: tuple[int, ...]

    @property
    def first(self) -> int:
        """Number of the first pass that writes or reads the tensor."""
        return min(p for p in (self.written, *self.read) if p is not None)

    @property
    def reread(self) -> tuple[int, ...]:
        """Numbers of passes that read the tensor after an earlier pass read or wrote it."""
        return tuple(p for p in self.read if p > self.first)

    def survives(self, number: int) -> bool:
        """Return whether a pass up to ``number`` traverses the tensor and a later pass reads it."""
        return self.first <= number and any(p > number for p in self.read)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPasses:
    """Passes over one rank, with the barriers between them.

    ``count`` is the number of passes: one, plus one each time elements of a fiber are revisited
    after the whole fiber has been seen. ``at_most`` is True if some order of the elements may need
    fewer passes, because of a mask or a position read elsewhere (``docs/passes.md``).

    ``sweeps`` counts the loops over the rank that no mapping can fuse. It exceeds ``count`` if an
    Einsum waits for a whole fiber but then reads other tensors than those seen before.
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
        """Number of passes as text for reports."""
        return f"at most {self.count}" if self.at_most else str(self.count)

    def to_dict(self) -> dict[str, Any]:
        """Return the passes over the rank as plain values for JSON."""
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

    ``others`` are the remaining ranks: ``parallel`` ranks (one pass over every Einsum) and declared
    ranks that no Einsum traverses (no pass).
    """

    cascade: str
    ranks: tuple[RankPasses, ...]
    others: tuple[RankPasses, ...] = ()

    def of(self, rank: str) -> RankPasses:
        """Return the passes over one rank: a plain or partitioned rank, or a member of the latter.

        Raises
        ------
        CascadeError
            The cascade has no such rank; the hint names the nearest one.
        """
        found = {r.rank: r for r in (*self.others, *self.ranks)}
        if rank not in found:
            text = f"cascade '{self.cascade}' has no rank '{rank}'"
            raise CascadeError(text, hint=did_you_mean(rank, found))
        return found[rank]

    def to_dict(self) -> dict[str, Any]:
        """Return the analysis as plain values for JSON, one entry per rank."""
        return {r.rank: r.to_dict() for r in self.ranks}

    def _repr_html_(self) -> str:
        return html_table(PASS_HEADINGS, pass_rows(self))


PASS_HEADINGS = ("rank", "passes", "sweeps", "Einsums by pass", "barriers")


def pass_rows(analysis: PassAnalysis) -> tuple[tuple[str, ...], ...]:
    """Return the rows of the printed table, one per traversed rank.

    Columns follow ``PASS_HEADINGS``. Einsums by pass read ``1: QK GM | 2: SN SD``, and a rank
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
    """Return an HTML table with these texts, escaped.

    Parameters
    ----------
    headings : tuple of str
        One per column.
    rows : tuple of tuple of str
        Unescaped cells, one per heading.
    """
    head = "".join(f"<th>{html_text(h)}</th>" for h in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html_text(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
