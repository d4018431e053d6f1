"""What a target remembers of rows, and what follows from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.rows import Rule, Write
from dynaview.sinks.opensearch.guard import Memory, Odds, Position, Verdict, certain, decide


def position(version: int, owner: str = "", live: bool = True) -> Position:
    return Position(version, owner, live, version, 1)


@given(st.lists(st.integers(0, 60), max_size=300), st.integers(2, 40))
def test_memory_is_bounded_and_keeps_what_was_used_last(keys: list[int], size: int) -> None:
    memory = Memory(size)
    for number, key in enumerate(keys):
        memory.remember({f"{key}": position(number)})
        assert len(memory) <= size
    last = {f"{key}": number for number, key in enumerate(keys)}
    # What was remembered within the last half of the size is always there, and always as it was last.
    recent = {f"{key}" for key in keys[len(keys) - (size // 2 - 1) :]} if size // 2 > 1 else set()
    for name, number in last.items():
        (found,) = memory.recall([name])
        assert found == position(number) or (found is None and name not in recent)


def test_memory_forgets_on_request() -> None:
    memory = Memory(4)
    memory.remember({"a": position(1), "b": position(2)})
    memory.remember({"a": position(3)})
    memory.forget(["a", "missing"])
    assert memory.recall(["a", "b", "missing"]) == [None, position(2), None]


def test_a_refusal_from_memory_needs_the_same_owner() -> None:
    stale = Write("k", (), 4, "item1")
    assert decide(stale, position(5, "item1")) is Verdict.STALE
    assert certain(stale, position(5, "item1"))
    assert decide(stale, position(5, "item2")) is Verdict.TAKEN
    assert not certain(stale, position(5, "item2"))
    assert not certain(Write("k", None, 4, "item1"), position(5, "item2", live=False))
    assert certain(Write("k", (), 4), position(5, "item2"))
    assert certain(Write("k", (), 9, "", Rule.ABSENT), position(5))


def test_the_tombstone_of_another_item() -> None:
    tombstone = position(5, "item1", live=False)
    for version in (4, 5, 6):
        assert decide(Write("k", (), version, "item2"), tombstone) is Verdict.PUT
        assert decide(Write("k", None, version, "item2"), tombstone) is Verdict.STALE
        assert decide(Write("k", (), version, "item2", Rule.ABSENT), tombstone) is Verdict.STALE
        assert decide(Write("k", (), version, "item1"), tombstone) is (Verdict.PUT if version > 5 else Verdict.STALE)


def test_odds_follow_what_was_found() -> None:
    odds = Odds()
    assert not odds.look_first()
    odds.learn(1000, 1000)
    assert odds.look_first()
    odds.learn(0, 0)
    assert odds.look_first()
    odds.learn(0, 1000)
    assert not odds.look_first()
    odds.learn(1, 1)
    assert not odds.look_first(), "one row says little"
