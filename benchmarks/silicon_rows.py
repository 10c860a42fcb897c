"""Measured rows as workloads: one reader for each table in the form of ``data/silicon``.

A row of a table is a kernel, or several in sequence, of one machine. The name of the table and the
row's phase or pass make its group.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from archsim import Architecture, simulate
from archsim.result.record import PartUse
from workloads import Workload, load

FORMATS = {"fp8": "fp8_e4m3"}
"""Formats by the names of the tables, where these differ."""

MIXTURES = {2048: "qwen3-30b-a3b", 4096: "mixtral-8x7b"}
"""Models whose experts a table has, by their width."""

SHORTEST_METERED_S = 30e-6
"""Time from which on a meter of power can be trusted."""

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Kernel:
    """Measured kernels, and the workloads that they run in sequence."""

    machine: str
    group: str
    case: str
    workloads: tuple[Workload, ...]
    seconds: float
    joules: float | None = None
    parts: tuple[str, ...] = ()
    """Beginnings of the names of the parts that were measured; empty: the whole workloads."""

    def run(self, machine: Architecture) -> tuple[PartUse, ...]:
        """Simulate the workloads and return the parts that were measured."""
        found: list[PartUse] = []
        for work in self.workloads:
            result = simulate(work, machine)
            whole = PartUse(name=work.name, times=1, result=result)
            some = [p for p in result.parts if self.parts and p.name.startswith(self.parts)]
            found += some or [whole]
        return tuple(found)


def written(cascade: str, sizes: Mapping[str, int | str], dtype: str = "bf16") -> Workload:
    """Return the workload of a cascade with its sizes, in a number format."""
    shape = ", ".join(f"{rank}: {size}" for rank, size in sizes.items())
    text = f"workload:\n  name: kernel\n  cascade: {cascade}\n  shape: {{{shape}}}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.yaml"
        path.write_text(text + f"  formats: {{default: {format_of(dtype)}}}\n", encoding="utf-8")
        return load(path)


def product(m: int | str, k: int | str, n: int | str, dtype: str = "bf16") -> Workload:
    """Return a product of m x k by k x n values."""
    return written("linear-layer", {"N": m, "D": k, "J": n}, dtype)


def heads(row: Fields, kv_heads: str) -> list[str]:
    """Return the settings of a model for the heads of a row."""
    names = ("num_attention_heads", "num_key_value_heads", "head_dim")
    values = (row["heads"], kv_heads, row["head_dim"])
    return [f"config.{name}={value}" for name, value in zip(names, values, strict=True)]


def phase(name: str, batch: str, tokens: str) -> list[str]:
    """Return the settings of prefill by its tokens, or of decode by the tokens in its cache."""
    length = ["phase=decode", f"cached_len={tokens}"] if name == "decode" else [f"seq_len={tokens}"]
    return [*length, f"batch={batch}"]


def format_of(dtype: str) -> str:
    """Return the number format by its name in a table."""
    return FORMATS.get(dtype, dtype)


def in_us(row: Fields, name: str = "best_us") -> float:
    """Return a time in seconds from a column in microseconds."""
    return float(row[name]) / 1e6


def products(row: Fields) -> Iterator[Kernel]:
    """Yield a matrix product."""
    work = product(row["m"], row["k"], row["n"], row["dtype"])
    case = f"{row['m']} x {row['k']} x {row['n']}"
    yield Kernel(row["machine"], f"products {row['dtype']}", case, (work,), in_us(row))


def attention(row: Fields) -> Iterator[Kernel]:
    """Yield prefill or decode attention; windows are those of a model that has them."""
    model = "llama-3-8b" if row["window"] == "0" else "gpt-oss-20b"
    window = [] if row["window"] == "0" else [f"config.sliding_window={row['window']}"]
    tokens = row["cache_tokens"] if row["phase"] == "decode" else row["new_tokens"]
    dtype = f"formats.default={format_of(row['dtype'])}"
    settings = [*heads(row, row["kv_heads"]), *window, dtype]
    work = load(model, [*settings, *phase(row["phase"], row["batch"], tokens)])
    kind = "window " if window else ""
    sizes = f"{row['heads']}/{row['kv_heads']} heads of {row['head_dim']}"
    case = f"{row['batch']} of {tokens}, {sizes}"
    group = f"{kind}{row['phase']} {row['dtype']}"
    yield Kernel(row["machine"], group, case, (work,), in_us(row))


def decode_of_h800(row: Fields) -> Iterator[Kernel]:
    """Yield decode attention, with its length in keys."""
    settings = [*heads(row, row["kv_heads"]), *phase("decode", row["batch"], row["keys"])]
    case = f"{row['batch']} of {row['keys']}, {row['heads']}/{row['kv_heads']} heads"
    work = load("llama-3-8b", settings)
    yield Kernel(row["machine"], "decode H800", case, (work,), in_us(row, "value"))


def flash_attention(row: Fields) -> Iterator[Kernel]:
    """Yield softmax attention over whole sequences, forward or forward and backward."""
    n, size, number = row["seq"], row["head_dim"], row["heads"]
    each = {"B": row["batch"], "E": size, "F": size, "P": n, "M": n}
    full, grouped = each | {"H": number}, each | {"G": number, "S": "1"}
    if row["causal"] == "1":
        works = [load("llama-3-8b", [*heads(row, number), *phase("", row["batch"], n)])]
        backward = partial(written, "flash-attention-2-backward-grouped", grouped)
    else:
        works = [written("attention-1pass", full)]
        backward = partial(written, "flash-attention-2-backward", full)
    both = row["pass"] == "fwd+bwd"
    if both:
        works.append(backward())
    # The charts count two operations a multiplication, and 2.5 times as many backward.
    operations = 4 * int(row["batch"]) * int(number) * int(n) ** 2 * int(size)
    done = operations * (3.5 if both else 1.0) * (0.5 if row["causal"] == "1" else 1.0)
    seconds = done / (1e12 * float(row["value"]))
    group = f"{row['kernel']} {row['pass']}"
    causal = "causal" if row["causal"] == "1" else "full"
    case = f"{row['batch']} of {n}, heads of {size}, {causal}"
    yield Kernel(row["machine"], group, case, tuple(works), seconds)


def lightning(row: Fields) -> Iterator[Kernel]:
    """Yield Lightning Attention 2 forward."""
    if row["pass"] == "fwd":
        width = int(row["heads"]) * int(row["head_dim"])
        names = ("decoder_embed_dim", "hidden_dim")
        sized = [f"config.{name}={width}" for name in names]
        sized.append(f"config.decoder_attention_heads={row['heads']}")
        work = load("transnormerllm-15b", [*sized, *phase("", row["batch"], row["seq"])])
        case, seconds = f"{row['batch']} of {row['seq']}", float(row["value"]) / 1e3
        yield Kernel(row["machine"], "Lightning", case, (work,), seconds)


def latent_attention(row: Fields) -> Iterator[Kernel]:
    """Yield latent attention of DeepSeek-V3's shape."""
    tokens = row["cache_tokens"] if row["phase"] == "decode" else row["new_tokens"]
    settings = [f"config.num_attention_heads={row['heads']}"]
    settings.append(f"formats.default={format_of(row['dtype'])}")
    work = load("deepseek-v3", [*settings, *phase(row["phase"], row["batch"], tokens)])
    case = f"{row['batch']} of {tokens}"
    yield Kernel(row["machine"], f"latent {row['phase']}", case, (work,), in_us(row))


def delta_rule(row: Fields) -> Iterator[Kernel]:
    """Yield the gated delta rule; its convolution is another kernel."""
    sizes = {
        "linear_num_key_heads": row["k_heads"],
        "linear_num_value_heads": row["v_heads"],
        "linear_key_head_dim": row["head_dim"],
        "linear_value_head_dim": row["head_dim"],
    }
    settings = [f"config.{name}={value}" for name, value in sizes.items()]
    # The length of a cache does not matter to a state.
    tokens = "1024" if row["phase"] == "decode" else row["new_tokens"]
    work = load("qwen3.5-27b", [*settings, *phase(row["phase"], row["batch"], tokens)])
    case = f"{row['batch']} of {row['new_tokens']}"
    yield Kernel(row["machine"], f"delta rule {row['phase']}", case, (work,), in_us(row))


def experts(row: Fields) -> Iterator[Kernel]:
    """Yield the experts and the router of a layer."""
    sizes = {
        "moe_intermediate_size" if row["hidden"] == "2048" else "intermediate_size": row["inter"],
        "num_experts_per_tok": row["topk"],
    }
    settings = [f"config.{name}={value}" for name, value in sizes.items()]
    work = load(
        MIXTURES[int(row["hidden"])], ["scope=block", *settings, f"seq_len={row['tokens']}"]
    )
    case = f"{row['tokens']} tokens, {row['topk']} of {row['experts']}"
    parts = ("router", "expert", "fuller-expert")
    yield Kernel(row["machine"], "experts", case, (work,), in_us(row), parts=parts)


def linear_layers(row: Fields) -> Iterator[Kernel]:
    """Yield the linear layers of a Llama; its rotary positions are no product."""
    inner = int(row["expanded"])
    # Llama 3 8B has 8 heads of keys and values, Llama 2 7B as many as queries: 32, of 128.
    projected = (32 + 2 * (8 if inner == 14336 else 32)) * 128
    products = {
        "attn_pre_proj": (int(row["embd"]), projected),
        "mlp_up_proj": (int(row["embd"]), 2 * inner),
        "mlp_down_proj": (inner, int(row["embd"])),
    }
    if row["op"] in products:
        features, outputs = products[row["op"]]
        work = product(row["tokens"], features, outputs)
        case = f"{row['op']}, {row['tokens']} tokens"
        yield Kernel(row["machine"], "linear layers", case, (work,), in_us(row, "value"))


def models(row: Fields) -> Iterator[Kernel]:
    """Yield a whole model's prefill, or a step of its decode."""
    settings = ["scope=model", *phase(row["phase"], row["batch"], row["prompt"])]
    work, seconds = load(row["model"], settings), float(row["value"]) / 1e3
    case = f"{row['model']}, {row['batch']} of {row['prompt']}"
    yield Kernel(row["machine"], f"model {row['phase']}", case, (work,), seconds)


def power(row: Fields) -> Iterator[Kernel]:
    """Yield a product or attention with its energy; shorter ones are not metered well."""
    kind, _, rest = row["kernel"].partition(" ")
    if in_us(row, "us") < SHORTEST_METERED_S or kind not in ("gemm", "prefill", "decode"):
        return
    if kind == "gemm":
        m, k, n = row["case"].split("x")
        work = product(m, k, n, rest)
    else:
        number, size = rest.split()[0].split("x")
        query, key = number.split("/")
        batch, tokens = row["case"].split()[0][1:], row["case"].split()[-1]
        sizes = {"heads": query, "head_dim": size}
        work = load("llama-3-8b", [*heads(sizes, key), *phase(kind, batch, tokens)])
    case, joules = f"{row['kernel']} {row['case']}", float(row["millijoules"]) / 1e3
    yield Kernel(f"{row['gpu']}-sxm", "energy", case, (work,), in_us(row, "us"), joules)


TABLES: Mapping[str, Callable[[Fields], Iterator[Kernel]]] = MappingProxyType(
    {
        "aic_gemm.csv": products,
        "aic_attention.csv": attention,
        "flash_attention.csv": flash_attention,
        "infersim_h800_decode.csv": decode_of_h800,
        "aic_mla.csv": latent_attention,
        "lightning.csv": lightning,
        "aic_gdn.csv": delta_rule,
        "aic_moe.csv": experts,
        "vidur_linear.csv": linear_layers,
        "models.csv": models,
        "aic_power_h200.csv": power,
    }
)
"""Readers of a row, by the table."""


def kernels(folder: Path, machine: str, tables: Sequence[str] = tuple(TABLES)) -> Iterator[Kernel]:
    """Yield the measured kernels of a machine from the tables that are in a folder."""
    for table in tables:
        path = folder / table
        for row in csv.DictReader(path.open(encoding="utf-8")) if path.exists() else ():
            if row.get("machine", machine) == machine:
                yield from (k for k in TABLES[table](row) if k.machine == machine)
