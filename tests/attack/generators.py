"""Hostile files, mutated specifications, command lines and extreme machines, drawn by a seed.

An attack is what somebody gives the command line, with the files it names; every one is drawn
from its kind, the seed and its number alone, so that those three repeat it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from places import ROOT

SMALL = ("--set", "seq_len=64", "--set", "batch=1")
FOLDERS = ("cascades", "architectures", "mappings", "workloads", "technology", "reproductions")
SCALARS = (
    *("0", "-1", "1", "2", "3", "7", "0.5", "1e15", "1e16", "1e308", "1e400", "-0", ".nan", ".inf"),
    *(
        "''",
        "~",
        "[]",
        "{}",
        "true",
        "no",
        "[1]",
        "{a: 1}",
        "'a'",
        "M",
        "m",
        "B",
        "fp8_e4m3",
        "64K",
    ),
    *('"\\e[31m"', '"\\u202e"', "&a [*a]", "!!python/name:os.system", "<<: 1", "1 GiB/s", "1 Hz"),
    *("9" * 40, "9" * 5000, "A" * 300, "./x.yaml", "../../../etc/passwd", "/dev/null", "é", "𝕄"),
    *(
        "fusemax",
        "flat",
        "attention-1pass",
        "M1*M0+m0",
        "m + 1",
        "exp(m)",
        ":: max[m]",
        "where m <= p",
    ),
)
FIELDS = (
    *("seq_len", "batch", "scope", "phase", "cached_len", "B", "H", "E", "F", "P", "M", "layers"),
    *("clock", "arrays.array_2d.shape.rows", "arrays.array_1d.shape.lanes", "technology"),
    *(
        "memories.DRAM.bandwidth",
        "memories.global_buffer.capacity",
        "memories.global_buffer.bandwidth",
    ),
    *("mapping.partition.M.M0", "config.num_hidden_layers", "nonsense", "", "a.b.c.d", "\x1b[2J"),
)
MACHINES = ("fusemax", "flat", "fusemax-micro24", "flat-micro24", "cascade-on-flat-micro24")
WORK = ("bert-base", "t5-small", "xlm", "trxl-wt103", "llama-3-8b", "mistral-7b", "deepseek-v3")
MAPPINGS = (
    "fusemax-binding",
    "fusemax-arch",
    "fusemax-cascade",
    "flat",
    "unfused",
    "auto-not",
    "linear-layer",
)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Words of a command line; ``FILE`` in them is the file that holds ``content``.

    ``BESIDE`` is another file, ``OUT`` nothing yet; ``SWEPT``, ``SIMULATED`` and ``COMPARED`` are
    folders of results, of which a file is ``broken`` in some way.
    """

    words: tuple[str, ...]
    content: bytes | None = None
    suffix: str = ".yaml"
    beside: bytes | None = None
    broken: str | None = None


@lru_cache(maxsize=1)
def specifications() -> tuple[tuple[str, str], ...]:
    """The folder and the text of every built-in specification."""
    return tuple(
        (folder, path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / "specs" / folder).glob("*.yaml"))
    )


def using(draw: random.Random, folder: str) -> tuple[str, ...]:
    """A command that reads a file of a folder."""
    run = ("simulate", draw.choice(WORK), draw.choice(MACHINES), *SMALL)
    fits = {
        "cascades": (
            ("analyze", "FILE"),
            ("show", "FILE", "--format", draw.choice(("dot", "latex", "yaml"))),
            (*run[:3], *SMALL, "--set", "cascade=FILE"),
            (
                "rewrite",
                "FILE",
                draw.choice(("defer_division", "reduce_passes", "partition:M=M1,M0")),
            ),
        ),
        "architectures": (("simulate", draw.choice(WORK), "FILE", *SMALL), ("show", "FILE")),
        "mappings": ((*run, "--mapping", "FILE"),),
        "workloads": (
            ("simulate", "FILE", draw.choice(MACHINES), *SMALL),
            ("show", "FILE", "--summary"),
        ),
        "technology": ((*run, "--set", "architecture.technology=FILE"),),
        "reproductions": (("show", "FILE"), ("reproduce", "FILE", "--figure", "99")),
    }[folder]
    words = draw.choice(fits)
    return (
        (*words, "--json") if words[0] in ("simulate", "analyze") and draw.random() < 0.4 else words
    )


def hostile_file(draw: random.Random) -> Attack:
    """A file that is no specification, or hardly one."""
    _, text = draw.choice(specifications())
    data = text.encode()
    at = draw.randrange(len(data))
    made: tuple[Callable[[], bytes], ...] = (
        lambda: draw.randbytes(draw.randrange(1, 400)),
        lambda: data[:at],
        lambda: data[:at] + draw.randbytes(3) + data[at:],
        lambda: b"[" * draw.randrange(1, 3000),
        lambda: b"a: " * draw.randrange(1, 300),
        lambda: b"a: &a [x]\n" + b"b: [*a, *a, *a, *a]\n" * 3,
        lambda: b"cascade: " + b"9" * draw.randrange(1, 6000),
        lambda: text.replace("\n", "\r").encode(),
        lambda: text.encode("utf-16"),
        lambda: "".join(chr(draw.randrange(0x20, 0xD000)) for _ in range(100)).encode(),
        lambda: text.replace(" ", draw.choice("\t\u00a0\u2028")).encode(),
        lambda: b'{"model_type": ' + data[:20],
        lambda: b"cascade: a\neinsums: |\n  Y = " + b"(" * draw.randrange(1, 2000) + b"X[m]",
        lambda: b"",
        lambda: b"%YAML 9.9\n---\n--- a\n",
    )
    content = draw.choice(made)()
    suffix = draw.choice((".yaml", ".yaml", ".yml", ".json"))
    return Attack(words=using(draw, draw.choice(FOLDERS)), content=content, suffix=suffix)


def mutant(draw: random.Random) -> Attack:
    """A built-in specification with a few words or lines changed."""
    folder, text = draw.choice(specifications())
    lines = text.splitlines()
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at = draw.randrange(len(lines))
        how = draw.randrange(7)
        words = re.findall(r"[\w.+-]+", lines[at]) or [""]
        if how == 0 and len(lines) > 1:
            del lines[at]
        elif how == 1:
            lines.insert(at, draw.choice(lines))
        elif how == 2:
            lines[at] = lines[at].replace(draw.choice(words), draw.choice(SCALARS), 1)
        elif how == 3:
            lines[at] = " " * draw.randrange(9) + lines[at].strip()
        elif how == 4:
            lines[at] = re.sub(r": .*", lambda _: ": " + draw.choice(SCALARS), lines[at])
        elif how == 5:
            lines[at] = re.sub(r"\d+", lambda _: draw.choice(SCALARS[:14]), lines[at])
        else:
            _, other = draw.choice(specifications())
            lines[at] = draw.choice(other.splitlines())
    return Attack(words=using(draw, folder), content="\n".join(lines).encode())


def command_line(draw: random.Random) -> Attack:
    """Words that may be a command, in an order that may be right."""
    first = draw.choice(
        ("simulate", "simulate", "analyze", "compare", "list", "show", "rewrite", "nonsense")
    )
    names = (
        *MACHINES,
        *WORK,
        *MAPPINGS,
        "attention-1pass",
        "attention-3pass",
        "cascades",
        "M",
        "",
        "-",
        "\x1b[2J",
    )
    words: list[str] = [first]
    if first in ("simulate", "compare"):
        words += [draw.choice(WORK), draw.choice(MACHINES), *SMALL]
    for _ in range(draw.randrange(5)):
        words += draw.choice(
            (
                (draw.choice(names),),
                ("--set", f"{draw.choice(FIELDS)}={draw.choice(SCALARS)}"),
                ("--set", draw.choice(FIELDS)),
                ("--mapping", draw.choice(MAPPINGS)),
                ("--engine", draw.choice(("event", "analytical", "none"))),
                ("--json",),
                ("--explain",),
                ("--rank", draw.choice("MPEQ")),
                ("--dump", draw.choice(("bound", "counts", "program", "x"))),
                ("--format", draw.choice(("dot", "latex", "pdf"))),
                (draw.choice(("--help", "-x", "--", "--version", "--set")),),
            )
        )
    return Attack(words=tuple(words))


def extreme(draw: random.Random) -> Attack:
    """A machine or a shape far from any that is built."""
    sizes = ("1", "2", "3", "17", "1000", "1e6", "1e9", "1e12", "1e15")
    fields: Mapping[str, tuple[str, ...]] = {
        "arrays.array_2d.shape.rows": sizes,
        "arrays.array_2d.shape.columns": sizes,
        "arrays.array_1d.shape.lanes": sizes,
        "clock": ("1 Hz", "1 kHz", "940 MHz", "1e6 GHz"),
        "memories.DRAM.bandwidth": ("1 B/s", "1 kB/s", "400 GB/s", "1e9 GB/s"),
        "memories.global_buffer.capacity": ("1", "64", "4 KiB", "16 MiB", "1e6 GiB"),
        "memories.global_buffer.bandwidth": ("1 B/s", "1 GB/s", "1e9 GB/s"),
        "seq_len": ("1", "2", "3", "63", "1000", "4097", "1M", "1e9", "1e12", "1e15"),
        "batch": ("1", "2", "3", "1e6", "1e15"),
        "H": ("1", "2", "3", "1e6"),
        "E": ("1", "2", "65", "1e6"),
    }
    words = ["simulate", draw.choice(WORK[:6]), draw.choice(MACHINES), *SMALL]
    for field in draw.sample(list(fields), draw.randrange(1, 5)):
        words += ["--set", f"{field}={draw.choice(fields[field])}"]
    words += ["--engine", draw.choice(("event", "analytical"))]
    return Attack(words=(*words, "--json"))


TEXTS: Mapping[str, Callable[[random.Random], Attack]] = MappingProxyType(
    {"files": hostile_file, "mutants": mutant, "lines": command_line, "extremes": extreme}
)
