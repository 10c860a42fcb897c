"""``import archsim``: cheap, says what there is, and takes names as the command line does."""

from __future__ import annotations

import inspect

import pytest
from commands import python

import archsim
from archsim import Architecture, Mapping, Technology, load, search, simulate
from einsum_cascade.errors import InputError


def test_what_there_is_is_shown_before_it_is_loaded() -> None:
    told = python(
        "-c",
        "import archsim, sys; print(*dir(archsim)); print(archsim.__version__);"
        "print(*{'numpy', 'pandas', 'sympy', 'pydantic', 'matplotlib', 'numba'} & {*sys.modules})",
    ).stdout.splitlines()
    assert {*archsim.__all__, "__version__"} <= {*told[0].split()}
    assert told[1][0].isdigit()
    assert told[2] == ""
    for name in archsim.__all__:
        assert inspect.getdoc(getattr(archsim, name))
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = archsim.simulat


def test_names_do_what_loading_does() -> None:
    machine = Architecture.load("fusemax", ["clock=2 GHz", "technology.actions.mac.energy=90 pJ"])
    mapping = Mapping.load("fusemax-binding", ["schedule.lookahead=2"])
    expected = simulate(load("bert-base", seq_len=512), machine, mapping)
    settings = ("architecture.clock=2 GHz", "mapping.schedule.lookahead=2")
    mac = {"technology.actions.mac.energy": "90 pJ"}
    found = simulate("bert-base", "fusemax", "fusemax-binding", settings, seq_len=512, **mac)
    assert found == expected
    # Settings of a mapping that is not named are of the one that runs where none is given.
    assert simulate("bert-base", settings=settings, seq_len=512, **mac) == expected
    assert simulate("bert-base", "fusemax", ["fusemax-binding"], seq_len=512) == (
        simulate(load("bert-base", seq_len=512), Architecture.load("fusemax"))
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"workload": "bert-bas"}, "did you mean 'bert-base'"),
        ({"sequence_len": 4}, "did you mean 'seq_len'"),
        ({"settings": "architecture.clok=1 GHz"}, "did you mean 'clock'"),
        ({"settings": "seq_len"}, "FIELD=VALUE"),
        ({"settings": "machine.clock=1 GHz"}, "'machine' is none of"),
        ({"mapping": "fusemax-bind"}, "did you mean 'fusemax-binding'"),
        ({"mapping": ["auto", "fusemax-binding"]}, "give no other"),
        ({"mapping": "einsum-by-einsum", "settings": "mapping.name=x"}, "takes no settings"),
        ({"mapping": Mapping.load("fusemax-binding"), "settings": "mapping.name=x"}, "is loaded"),
        ({"workload": load("bert-base"), "seq_len": 4}, "seq_len: the workload is loaded already"),
        ({"architecture": Architecture.load("flat"), "architecture.clock": "1 GHz"}, "is loaded"),
    ],
)  # fmt: skip
def test_a_slip_is_answered_with_the_right_name(how: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(**{"workload": "bert-base", "architecture": "fusemax", **how})  # type: ignore[arg-type]


def test_a_search_is_one_import_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSIM_CACHE", "")
    how = {"seq_len": 64, "batch": 1, "H": 1}
    start = ["fusemax-binding"]
    found = search("bert-base", "fusemax", start=start, time_limit_s=0.1, **how)  # type: ignore[arg-type]
    known = simulate("bert-base", "fusemax", "fusemax-binding", **how)  # type: ignore[arg-type]
    assert found.result.latency_s <= known.latency_s
    assert found.certificate()["floor"] <= found.result.cycles
    again = simulate("bert-base", "fusemax", found.mappings[0], **how)  # type: ignore[arg-type]
    assert again.to_row() == found.result.to_row()
    with pytest.raises(InputError, match="did you mean 'latency'"):
        search("bert-base", "fusemax", "latenc")
    with pytest.raises(InputError, match="what is searched for"):
        search("bert-base", "fusemax", settings="mapping.name=x")


@pytest.mark.parametrize("scope", ["attention", "block"])
def test_a_row_and_a_frame_say_what_the_result_says(scope: str) -> None:
    result = simulate("bert-base", "fusemax", "fusemax-binding", seq_len=512, scope=scope)
    row = result.to_row()
    assert (row["latency_s"], row["bound_by"]) == (result.latency_s, result.bound_by)
    assert row["traffic_bytes.DRAM"] == result.traffic_bytes
    assert row["floor_latency_s"] == result.floor.latency_s
    frame = result.to_frame()
    assert frame["energy_pj"].sum() == pytest.approx(result.energy_pj)
    assert frame["traffic_bytes.DRAM"].sum() == pytest.approx(result.traffic_bytes)
    shares = frame.groupby("array")["utilization"].sum()
    assert {a: pytest.approx(s) for a, s in result.utilization.items()} == dict(shares)
    assert frame.attrs["units"]["time_s"] == "s"
    assert [*dict.fromkeys(frame["part"])] == ([p.name for p in result.parts] or [""])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Architecture.load("fusemax"), ["256 columns x 256 rows", "16 MiB", "940 MHz"]),
        (Mapping.load("fusemax-binding"), ["attention-1pass", "pipelined", "M0 = matrix.rows"]),
        (Technology.load("accelergy-45nm"), ["45 nm"]),
        (load("bert-base"), ["attention-1pass", "E 64"]),
    ],
    ids=["architecture", "mapping", "technology", "workload"],
)
def test_specifications_show_themselves(spec: object, words: list[str]) -> None:
    page = spec._repr_html_()  # type: ignore[attr-defined]
    assert [word for word in words if word not in page] == []
    from dataclasses import replace

    named = replace(spec, name="<script>\x1b")  # type: ignore[type-var]
    assert "&lt;script&gt;\\x1b" in named._repr_html_()
    assert "<script>" not in named._repr_html_()
