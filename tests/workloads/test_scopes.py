"""What a scope makes of a workload."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from workloads import Block, Part, load


@pytest.mark.parametrize(
    ("model", "layers"), [("bert-base", 12), ("trxl-wt103", 18), ("t5-small", 6), ("xlm", 12)]
)
def test_scopes(model: str, layers: int) -> None:
    work = load(model)
    assert [p.name for p in work.parts] == ["attention"]
    assert work.left_out == ()
    block, whole = (load(model, scope=scope) for scope in ("block", "model"))
    assert len(block.parts) == 7
    assert {p.times for p in block.parts} == {1}
    assert whole.parts == tuple(replace(p, times=layers) for p in block.parts)
    assert block.parts[3] == work.parts[0]
    assert any(f"{layers} layers" in note for note in whole.left_out)


def test_every_part_has_the_ranks_of_its_cascade() -> None:
    for part in load("xlm", scope="block").parts:
        program = Cascade.load(part.cascade).program
        ranks = {*program.parallel, *(r.name for r in program.ranks if r.family is None)}
        assert set(part.shapes_for(ranks)) == {name for name, _ in part.shapes} == ranks


def block(**fields: int | str) -> Block:
    shapes = {"B": 2, "H": 6, "E": 4, "F": 5, "P": 7, "M": 9}
    own = {k: fields.pop(k) for k in list(fields) if k in shapes}
    attention = Part(
        name="attention", cascade="attention-1pass", shapes=tuple({**shapes, **own}.items())
    )
    return Block(attention=attention, **{"model_width": 10, "ffn_width": 30, **fields})  # type: ignore[arg-type]


sizes = st.integers(1, 5)


@settings(deadline=None)
@given(b=sizes, h=sizes, e=sizes, f=sizes, p=sizes, m=sizes, d=sizes, s=sizes)
def test_the_parts_compute_a_block(
    b: int, h: int, e: int, f: int, p: int, m: int, d: int, s: int
) -> None:
    """Arrays of the shapes of the parts go through a layer, from residual stream to stream."""
    parts = block(B=b, H=h, E=e, F=f, P=p, M=m, model_width=d, ffn_width=s).parts()
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(b, p, d)), rng.normal(size=(b, m, d))
    linear = {q.name: dict(q.shapes) for q in parts if q.cascade == "linear-layer"}

    def project(name: str, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        shape = linear.pop(name)
        tokens = x.reshape(-1, x.shape[-1])
        assert tokens.shape == (shape["N"], shape["D"])
        return np.asarray(tokens @ rng.normal(size=(shape["D"], shape["J"])))

    def heads(x: np.ndarray, width: int) -> np.ndarray:  # type: ignore[type-arg]
        return np.asarray(x.reshape(b, -1, h, width).transpose(0, 2, 1, 3))

    inputs = {
        "Q": heads(project("query-projection", queries), e),
        "K": heads(project("key-projection", keys), e),
        "V": heads(project("value-projection", keys), f),
    }
    out = Cascade.load("attention-3pass").evaluate(inputs)["AV"]
    stream = project("output-projection", out.transpose(0, 2, 1, 3).reshape(b * p, h * f))
    assert stream.shape == (b * p, d)
    inner = project("ffn-up", stream)
    assert project("ffn-down", inner).shape == stream.shape
    assert not linear


@pytest.mark.parametrize("cascade", ["linear-layer-gelu", "linear-layer-swiglu"])
def test_the_feed_forward_network_may_have_an_activation(cascade: str) -> None:
    work = load("bert-base", scope="block", ffn_up=cascade)
    plain = load("bert-base", scope="block")
    changed = [(a, b) for a, b in zip(work.parts, plain.parts, strict=True) if a != b]
    assert [(a.name, a.cascade, a.shapes == b.shapes) for a, b in changed] == [
        ("ffn-up", cascade, True)
    ]
    assert "activation" in plain.left_out[0]
    assert "activation" not in work.left_out[0]
    with pytest.raises(SpecError, match="did you mean 'linear-layer-gelu'"):
        load("bert-base", ffn_up="linear-layer-gellu")


def test_heads_that_share_keys_project_fewer() -> None:
    parts = {p.name: dict(p.shapes) for p in block(key_heads=2).parts()}
    assert parts["query-projection"] == {"N": 14, "D": 10, "J": 24}
    assert parts["key-projection"] == {"N": 18, "D": 10, "J": 8}
    assert parts["value-projection"] == {"N": 18, "D": 10, "J": 10}
    assert parts["output-projection"] == {"N": 14, "D": 30, "J": 10}


def test_cached_keys_are_not_projected() -> None:
    parts = {p.name: dict(p.shapes) for p in block(P=1, M=4096, new_keys=1).parts()}
    assert parts["key-projection"]["N"] == parts["value-projection"]["N"] == 2
    assert parts["attention"]["M"] == 4096
    none = [p.name for p in block(new_keys=0).parts()]
    assert none[:3] == ["query-projection", "attention", "output-projection"]


def test_a_stack_of_two_kinds_of_block() -> None:
    """Seven of one to one of another, as hybrid models have them."""
    one, other = block(times=7, name="lightning"), block(times=1, name="softmax")
    parts = (*one.parts(), *other.parts())
    assert [p.times for p in parts] == [7] * 7 + [1] * 7
    assert len({p.name for p in parts}) == 14
    assert parts[0].name == "lightning.query-projection"


def test_the_fields_of_scopes_may_come_from_files(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("workload: {model: t5-small, scope: model, layers: 3, ffn_width: 7}\n")
    work = load(path)
    assert (work.scope, work.layers, work.ffn_width) == ("model", 3, 7)
    assert {p.times for p in work.parts} == {3}
    # A setting wins over a file.
    assert load(path, scope="attention").scope == "attention"
    assert {p.times for p in load(path, layers=2).parts} == {2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scope: block", "needs model_width, ffn_width"),
        ("scope: block, model_width: 3", "needs ffn_width"),
        ("scope: model, model_width: 3, ffn_width: 3", "needs layers"),
        ("scope: model", "needs model_width, ffn_width, layers"),
        (
            "scope: block, model_width: 3, ffn_width: 3",
            "projections and feed-forward layers need the shapes of H, P",
        ),
    ],
)
def test_what_a_scope_needs(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "w.yaml"
    shapes = "B: 1, E: 2, F: 2, M: 4"
    path.write_text(f"workload: {{name: w, cascade: attention-1pass, {shapes}, {text}}}\n")
    with pytest.raises(SpecError, match=said):
        _ = load(path).parts


@pytest.mark.parametrize("field", ["layers", "model_width", "ffn_width", "ffn_up"])
def test_fields_of_layers_mean_nothing_to_attention_alone(field: str) -> None:
    value = "linear-layer-gelu" if field == "ffn_up" else 3
    with pytest.raises(SpecError, match=f"{field}: scope 'attention' runs attention alone"):
        load("bert-base", **{field: value})
    assert load("bert-base", **{field: value, "scope": "model"}) != load("bert-base")


def test_layers_without_a_feed_forward_network_take_no_activation() -> None:
    with pytest.raises(SpecError, match="the model's layers have no feed-forward network"):
        load("mamba-2-2.7b", scope="block", ffn_up="linear-layer-relu")


def test_another_activation_is_for_every_layer_of_a_model() -> None:
    work = load("deepseek-v3", scope="model", ffn_up="linear-layer-relu", seq_len=8)
    ups = {p.cascade for p in work.parts if p.name.endswith("-up")}
    assert ups == {"linear-layer-relu"}
    said = "the first feed-forward layer is 'linear-layer-relu', the model's is"
    assert f"{said} 'linear-layer-swiglu'" in work.left_out
    assert not any("the model's is" in n for n in load("deepseek-v3", scope="model").left_out)


def test_a_model_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    for name in ("bert-base", "llama-3-8b"):
        with pytest.raises(SpecError, match=f"model: '{name}' says all of it itself"):
            load(name, model="xlm", batch=2)
    # One that a file leaves something to has an effect.
    path = tmp_path / "w.yaml"
    path.write_text("workload: {name: w, seq_len: 7}\n")
    assert load(path, model="xlm").shape("E") == 128
    path.write_text("workload: {name: w, model: bert-base, seq_len: 7}\n")
    assert load(path, model="xlm").shape("E") == 128


def test_an_activation_without_a_cascade_counts_as_another(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        '{"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 16, "num_heads": 2,'
        ' "num_layers": 1, "feed_forward_proj": "gelu_new"}'
    )
    work = load(path, scope="block", seq_len=4)
    assert "linear-layer-gelu" in [part.cascade for part in work.parts]
    assert "the activation function, gelu_new, is counted as GELU" in work.left_out
