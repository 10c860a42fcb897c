"""Operations in formats: what a machine lists, what stands in, what is refused, what it costs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture, Mapping
from archsim.result.result import Result
from archsim.spec.files.architecture import FormatFields
from archsim.spec.tensor_words import in_formats
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, SpecError
from einsum_cascade.number_formats import FORMATS, TensorFormats
from einsum_cascade.operations import einsum_operations
from mappers.construct.generators import GENERATORS

MAC = "arrays.array_2d.operations.mac"
SHAPES = {"N": 512, "D": 512, "J": 512}


def machine(*settings: str) -> Architecture:
    return Architecture.load("fusemax", settings)


def run(formats: TensorFormats, *settings: str, engine: str = "analytical") -> Result:
    """A linear layer, Z[n, j] = X[n, d] * W[d, j], of 512 by 512 by 512."""
    program = in_formats(Cascade.load("linear-layer").program, replace(formats, word_bits=16))
    mapping = replace(
        Mapping.load("linear-layer"),
        einsums=tuple(replace(e, array="array_2d") for e in Mapping.load("linear-layer").einsums),
    )
    return evaluate_mapping(
        program, mapping, machine(*settings), SHAPES, engine=engine, choose=GENERATORS.choose
    )


INT8 = TensorFormats(default="int8")
QUARTER = f"{MAC}.int8={{cycles: 0.25, bill: {{mac: 0.2}}}}"


@pytest.mark.parametrize("engine", ["analytical", "event"])
def test_cycles_and_energy_of_a_format(engine: str) -> None:
    """512 x 512 x 512 products on 65,536 elements are 2,048 cycles; a quarter in int8."""
    wide, narrow = run(TensorFormats(default="bf16"), QUARTER, engine=engine), run(INT8, QUARTER)
    assert [a.busy_cycles for a in wide.arrays] == [2048, 0]
    assert [a.busy_cycles for a in narrow.arrays] == [512, 0]
    assert narrow.floor.compute_s == pytest.approx(512 * 256 / 257 / 940e6, rel=0.01)
    assert wide.floor.compute_s == pytest.approx(4 * narrow.floor.compute_s, rel=0.01)
    energies = [dict(r.energy_by_component)["array_2d"] for r in (wide, narrow)]
    assert energies[1] == pytest.approx(0.2 * energies[0])
    assert dict(narrow.einsums[0].operations) == {"mac": 512**3}
    assert narrow.einsums[0].formats == (("mac", "int8"),)
    assert narrow.to_dict()["einsums"][0]["formats"] == {"mac": ["int8"]}


def test_the_widest_operand_decides_and_sums_may_be_wider() -> None:
    formats = TensorFormats(
        default="fp8_e4m3", tensors=(("Q", "bf16"),), accumulate="fp32", word_bits=16
    )
    program = in_formats(Cascade.load("attention-3pass").program, formats)
    found = {e.name: einsum_operations(program, e) for e in program.einsums}
    assert found["QK"] == (("mac.bf16", 1),)
    assert found["GM"] == (("max.fp8_e4m3", 1),)
    assert found["SN"] == (("exp.fp8_e4m3", 1), ("sub.fp8_e4m3", 1))
    assert found["SD"] == (("add.fp32", 1),)
    plain = TensorFormats(tensors=(("Q", "int8"),), word_bits=16)
    program = in_formats(Cascade.load("attention-3pass").program, plain)
    assert einsum_operations(program, program.einsum_of["QK"]) == (("mac", 1),)
    narrow = replace(plain, word_bits=4)
    program = in_formats(Cascade.load("attention-3pass").program, narrow)
    assert einsum_operations(program, program.einsum_of["QK"]) == (("mac.int8", 1),)


LISTED = (
    f"{MAC}={{int8: {{cycles: 0.25, bill: {{}}}}, bf16: {{cycles: 1, bill: {{}}}},"
    " fp32: {cycles: 4, bill: {}}}"
)


@pytest.mark.parametrize(
    ("settings", "name", "done"),
    [
        ((), "mac.fp32", ("", 1)),
        ((QUARTER,), "mac.int8", ("int8", Fraction(1, 4))),
        ((QUARTER,), "mac.int4", ("", 1)),
        ((QUARTER,), "mac", ("", 1)),
        ((LISTED,), "mac.bf16", ("bf16", 1)),
        ((LISTED,), "mac", ("word", 1)),
        ((LISTED, "word=32 bit"), "mac", ("word", 4)),
        ((LISTED, "word=8 bit"), "mac", ("word", Fraction(1, 4))),
        ((LISTED, "word=64 bit"), "mac", None),
        ((LISTED,), "mac.int4", None),
        ((LISTED, "arrays.array_2d.wider=true"), "mac.int4", ("int8", Fraction(1, 4))),
        ((LISTED, "arrays.array_2d.wider=true"), "mac.fp8_e4m3", ("bf16", 1)),
        ((LISTED, "arrays.array_2d.wider=true"), "mac.fp16", ("fp32", 4)),
        ((LISTED, "arrays.array_2d.wider=true"), "mac.int32", None),
        ((LISTED, "arrays.array_2d.convert={fp16: bf16}"), "mac.fp16", ("bf16", 1)),
        ((LISTED,), "add.fp16", ("", 1)),
        ((LISTED, "arrays.array_2d.operations.add={fp16: {cycles: 2, bill: {}}}"), "add.bf16",
         ("bf16", 1)),
    ],
)  # fmt: skip
def test_in_which_format_an_operation_is_done(
    settings: tuple[str, ...], name: str, done: tuple[str, Fraction] | None
) -> None:
    """A format that is listed; one it is converted to; a wider one; any; or a stand-in for all."""
    found = machine(*settings).arrays[0].operation(name)
    assert (found and (found.format, found.cycles)) == done


@pytest.mark.parametrize(
    ("formats", "message", "hint"),
    [
        (INT8, "array_2d cannot do 'mac' in int8, which Z needs", "it does mac in bf16"),
        (TensorFormats(default="int16", accumulate="bf16"), "'mac' in int16", "'wider'"),
    ],
)
def test_what_a_machine_lacks_is_refused(formats: TensorFormats, message: str, hint: str) -> None:
    with pytest.raises(MappingError, match=message) as refused:
        run(formats, f"{MAC}={{bf16: {{cycles: 1, bill: {{mac: 1}}}}}}")
    assert hint in (refused.value.problems[0].hint or "")


def test_words_that_no_format_is_as_wide_as_are_refused() -> None:
    with pytest.raises(MappingError, match="cannot do 'mac' on words, as no format") as refused:
        run(TensorFormats(), f"{MAC}={{int8: {{cycles: 1, bill: {{mac: 1}}}}}}")
    assert "state formats, for example formats.default=int8" in str(refused.value)


def test_a_conversion_is_told() -> None:
    found = run(TensorFormats(default="int4"), LISTED, "arrays.array_2d.wider=true")
    assert "array_2d: mac in int4 is done in int8" in found.notes
    same = run(TensorFormats(default="int4"))
    assert "array_2d names no formats of its own for mac, which cost the same in int4" in same.notes


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (f"{MAC}.int9.cycles=1", "unknown field 'int9'"),
        (f"{MAC}={{int8: {{cycles: 1}}}}", "there is no 'int8' to set a field of"),
        (
            f"{MAC}={{cycles: 1, int8: {{cycles: 1, bill: {{}}}}}}",
            "the field 'bill' is missing in 'mac'",
        ),
        (f"{MAC}={{int8: {{cycles: 1, bill: {{mca: 1}}}}}}", "'mca' is not an action"),
        (f"{MAC}=2", "expected a mapping"),
        ("arrays.array_2d.wider=true", "name no formats, of which one could be wider"),
        ("arrays.array_2d.convert={int4: int8}", "does nothing in int8"),
        ("arrays.array_2d.convert={int5: int8}", "expected a format of numbers, got 'int5'"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: str, message: str) -> None:
    with pytest.raises((SpecError, InputError), match=message) as refused:
        machine(setting)
    assert refused.value.problems[0].span is not None


def test_a_file_may_name_every_format() -> None:
    # A product of grouped integers is computed in the format of the other operand.
    assert {*FormatFields.model_fields} == {f for f in FORMATS if "_g" not in f}
