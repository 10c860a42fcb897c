"""The driver of all queries about relaxations: order, fallbacks, refusals and interrupts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from archsim import Architecture
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, Problem
from mappers.relax.relaxation import Family, FamilyMember, Query, Relaxation, answer
from mappers.space.mapspace import Mapspace

SPACE = Mapspace.of(
    Cascade.load("linear-layer").program, Architecture.load("fusemax"), {"N": 2, "D": 2, "J": 2}
)


class Listing(Query[list[str]]):
    """A query that lists what it is asked to search."""

    def __init__(self, family: Family, *, last: int = 10, legal: tuple[str, ...] = ()) -> None:
        super().__init__(SPACE, family)
        self.searched: list[str] = []
        self.last, self.lawful = last, legal

    def enumerated(self) -> list[str]:
        return ["the space itself"]

    def is_done(self) -> bool:
        return len(self.searched) >= self.last

    def is_hopeless(self, member: FamilyMember) -> bool:
        return member.is_slower(10.0)

    def search(self, relaxation: Relaxation, left: int) -> None:
        (name,) = {m.name for m in relaxation.space.architecture.memories[:1]}
        self.searched.append(f"{name} {left}")
        if name == "interrupted":
            raise KeyboardInterrupt
        self.legal += name in self.lawful

    def answer(self) -> list[str]:
        if self.ended and not self.legal:
            raise MappingError(Problem("nothing is legal"))
        return [*self.searched, *(str(wrong) for wrong in self.refused), self.ended]


def member(
    name: str, otherwise: str = "", *, is_slower: Callable[[float], bool] = lambda _: False
) -> FamilyMember:
    return FamilyMember(
        make=lambda: made(name),
        otherwise=(lambda: made(otherwise)) if otherwise else None,
        is_slower=is_slower,
    )


def made(name: str) -> Relaxation:
    """A relaxation whose outermost memory has a name; one called so is refused."""
    if name == "refused":
        raise MappingError(Problem("no such machine"))
    machine = Architecture.load("fusemax", [f"memories.DRAM.name={name}"])
    program = Cascade.load("linear-layer").program
    space = Mapspace.of(program, machine, {"N": 2, "D": 2, "J": 2})
    return Relaxation(space=space, lift=lambda mapping: iter((mapping,)))


def test_a_space_without_relaxations_is_enumerated() -> None:
    assert answer(Listing(Family())) == ["the space itself"]


def test_members_are_searched_in_their_order_until_it_is_done() -> None:
    family = Family(members=(member("one"), member("refused"), member("two"), member("three")))
    assert answer(Listing(family, last=2)) == ["one 4", "two 2", "no such machine", ""]


def test_another_relaxation_is_searched_where_nothing_of_the_first_is_legal() -> None:
    family = Family(members=(member("one", "ring"), member("two", "ring")))
    assert answer(Listing(family, legal=("one",))) == ["one 2", "two 1", "ring 1", ""]


def test_a_member_whose_inputs_take_longer_is_not_made() -> None:
    family = Family(members=(member("refused", is_slower=lambda best: best < 20), member("two")))
    assert answer(Listing(family)) == ["two 1", ""]


def test_an_interrupt_leaves_the_best_so_far() -> None:
    family = Family(members=(member("one"), member("interrupted"), member("two")))
    assert answer(Listing(family, legal=("one",)))[-1] == "interrupted"
    with pytest.raises(KeyboardInterrupt):
        answer(Listing(family))
