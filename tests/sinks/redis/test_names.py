"""Companions share the slot of their row, differ for different rows, and lead back to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from dynaview.sinks.redis.names import Family, companion, highest, is_beside, member_of, row_of, tombstone

awkward = st.text(st.sampled_from("ab{}:#_vt19é\x00\n"), min_size=1, max_size=8)
keys = awkward | st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("customer:1", "_v{customer:1}"),
        ("{tag}:1", "_v:{tag}:1"),
        ("a{tag}b{other}", "_v:a{tag}b{other}"),
        ("open{", "_v{open{}"),
    ],
)
def test_names_are_these(key: str, name: str) -> None:
    # Live stores hold them: a change here needs a rebuild of every view.
    assert companion(key) == name


@given(keys)
def test_a_companion_is_in_the_slot_of_its_row(key: str) -> None:
    assert key_slot(companion(key).encode()) == key_slot(key.encode())
    assert row_of(companion(key)) == key
    assert is_beside(companion(key))


@given(keys, keys)
def test_a_tombstone_of_a_member_is_in_the_slot_of_its_set(key: str, member: str) -> None:
    name = tombstone(key, member)
    assert key_slot(name.encode()) == key_slot(key.encode())
    assert member_of(name) == (key, member)
    assert is_beside(name)


@given(keys, keys)
def test_different_rows_have_different_companions(one: str, other: str) -> None:
    assert (companion(one) == companion(other)) == (one == other)


@given(st.tuples(awkward, awkward), st.tuples(awkward, awkward))
def test_different_members_have_different_tombstones(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (tombstone(*one) == tombstone(*other)) == (one == other)
    assert tombstone(*one) != companion(other[0])


families = st.lists(awkward, min_size=1, max_size=3).map(lambda texts: Family(tuple(texts)))


@given(families, families)
def test_the_key_of_a_familys_generation_is_its_own_and_no_row(one: Family, other: Family) -> None:
    assert (highest(one) == highest(other)) == (one.glob == other.glob)
    assert is_beside(highest(one))
    assert row_of(highest(one)) is None
    assert member_of(f"{highest(one)}m:1") is None


def test_it_is_called_after_the_template() -> None:
    assert highest(Family(("customer:", ":card"))) == "_g{customer:*:card}"


@given(awkward)
def test_what_is_no_companion_leads_to_no_row(name: str) -> None:
    key = row_of(name)
    assert key is None or companion(key) == name


@pytest.mark.parametrize(
    ("literals", "key", "belongs"),
    [
        (("customer:", ""), "customer:1", True),
        (("customer:", ""), "Customer:1", False),
        (("customer:", ":card"), "customer:1:card", True),
        (("customer:", ":card"), "customer:1:cards", False),
        (("a*b:", ""), "a*b:1", True),
        (("a*b:", ""), "axb:1", False),
        (("settings",), "settings", True),
        (("settings",), "settings2", False),
        (("", ""), "anything\nat all", True),
    ],
)
def test_a_family_is_what_the_template_can_make(literals: tuple[str, ...], key: str, belongs: bool) -> None:
    assert (key in Family(literals)) is belongs
