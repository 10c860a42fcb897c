"""Draw what a decoded token costs by the length of its sequence, and fill in ``models.md``.

Run it from the project's folder: ``python docs/make_decoding.py``. One layer's mixing of tokens
for one sequence, at the width of 4,096 (32 heads of 128), of every kind of layer that ships.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from recorded import FOLDER, filled, save, tables

from archsim import Architecture, Result, simulate
from archsim.figure_style import MARKERS, PALETTE, Picture, nested_size
from archsim.quantities import energy, seconds
from workloads import Workload, load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = FOLDER / "models.md"
LENGTHS = tuple(2**k for k in range(10, 21))
"""Tokens that the decoded one sees, itself included."""
WIDE = ("config.hidden_size=4096",)


def _layer(name: str, *settings: str) -> Callable[[int], Workload]:
    return lambda n: load(name, settings, phase="decode", cached_len=n - 1, layer=0)


def _sparse(n: int) -> Workload:
    """DeepSeek's sparse attention: 64 heads of an indexer pick 2,048 tokens of the latent."""
    shapes = {"B": 1, "H": 32, "P": 1, "M": n, "N": 64, "D": 128, "J": min(2048, n)}
    shapes |= {"A": 128, "R": 64, "C": 512, "F": 128}
    cascade = "deepseek-sparse-attention"
    return Workload(name=cascade, cascade=cascade, shapes=tuple(sorted(shapes.items())))


def _native_sparse(n: int) -> Workload:
    """NSA with the sizes of its paper; 16 heads share keys, as there: two groups of them."""
    shapes = {"B": 1, "G": 2, "S": 16, "P": 1, "M": n, "E": 128, "F": 128}
    shapes |= {"T": 16, "A": 2, "R": 4, "J": min(16, -(-n // 64)), "L": min(512, n), "W": 512}
    cascade = "native-sparse-attention-decode"
    return Workload(name=cascade, cascade=cascade, shapes=tuple(sorted(shapes.items())))


SOFTMAX, LIGHTNING, HYBRID = "softmax, 8 heads of keys", "Lightning", "7 Lightning, 1 softmax"
KINDS: dict[str, Callable[[int], Workload]] = {
    SOFTMAX: _layer("llama-3-8b"),
    "window of 4K": _layer("mistral-7b"),
    "latents (MLA)": _layer("deepseek-v3", "config.num_attention_heads=32"),
    "sparse latents (DSA)": _sparse,
    "sparse, 2 groups (NSA)": _native_sparse,
    LIGHTNING: _layer("minimax-text-01", *WIDE, "config.num_attention_heads=32"),
    "Mamba-2": _layer("mamba-2-2.7b", *WIDE, "config.num_heads=128"),
    "KDA": _layer("kimi-linear-48b-a3b"),
}


@cache
def run(kind: str, length: int) -> Result:
    """One token of a kind of layer."""
    return simulate(KINDS[kind](length), Architecture.load("fusemax"))


def latency(kind: str, length: int) -> float:
    """Seconds of a token; a hybrid's are the mean of its layers."""
    if kind == HYBRID:
        return (7 * latency(LIGHTNING, length) + latency(SOFTMAX, length)) / 8
    return run(kind, length).latency_s


def picojoules(kind: str, length: int) -> float:
    """Energy of a token, likewise."""
    if kind == HYBRID:
        return (7 * picojoules(LIGHTNING, length) + picojoules(SOFTMAX, length)) / 8
    return run(kind, length).energy_pj


def cheaper_from(kind: str, cost: Callable[[str, int], float], most: int = 1 << 20) -> int | None:
    """The least length from which a kind costs less than softmax; None: not up to ``most``."""
    if cost(kind, most) >= cost(SOFTMAX, most):
        return None
    least = 16
    while most - least > max(1, least // 64):
        middle = (least + most) // 2
        if cost(kind, middle) < cost(SOFTMAX, middle):
            most = middle
        else:
            least = middle
    return most


def row(kind: str) -> str:
    """One line of the table: from where on cheaper, and the cost of a token at 1K, 32K and 1M."""
    shown = []
    for cost, text in ((latency, seconds), (picojoules, energy)):
        start = None if kind == SOFTMAX else cheaper_from(kind, cost)
        shown.append("" if kind == SOFTMAX else "not up to 1M" if start is None else f"{start:,}")
        shown += [text(cost(kind, n)) for n in (1 << 10, 1 << 15, 1 << 20)]
    return f"| {kind} | {' | '.join(shown)} |\n"


def page(text: str) -> str:
    """The page with its table from fresh runs."""
    heading = tables(text)["decoding"].splitlines(keepends=True)[:2]
    decoding = "".join((*heading, *map(row, (*KINDS, HYBRID))))
    return filled(text, {**tables(text), "decoding": decoding})


def draw(axes: Axes, cost: Callable[[str, int], float], unit: float) -> None:
    """A line for each kind."""
    kinds = (*KINDS, HYBRID)
    for at, kind in enumerate(kinds):
        line = [cost(kind, n) / unit for n in LENGTHS]
        size = nested_size(at, len(kinds))
        axes.plot(LENGTHS, line, PALETTE[at], marker=MARKERS[at], markersize=size, label=kind)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(LENGTHS[::2], [f"{n >> 10}K" if n < 1 << 20 else "1M" for n in LENGTHS[::2]])
    axes.set_xlabel("tokens that it sees")
    axes.grid(alpha=0.25)


def decoding() -> Picture:
    """Latency and energy of a decoded token."""
    figure = Picture(figsize=(9, 4), layout="constrained")
    times, joules = figure.subplots(1, 2)
    draw(times, latency, 1e-6)
    draw(joules, picojoules, 1e6)
    times.set_title("latency of a decoded token, µs", loc="left")
    joules.set_title("energy of a decoded token, µJ", loc="left")
    figure.legend(*times.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


PICTURES = {"decoding": decoding}


def main() -> None:
    """Write the page and its picture."""
    save(PICTURES)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
