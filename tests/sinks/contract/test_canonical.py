"""Canonical bytes: of each store the same bytes for what ought to stand and for what stands, and for nothing else."""

from __future__ import annotations

from dynaview.projections.rows import RowKey
from dynaview.sinks.port import APPLIED, Target, state_of
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject


def listed(target: Target) -> dict[RowKey, tuple[str, bytes]]:
    return {
        key: (state, canonical)
        for page in target.canonical_rows()
        for key, state, canonical in zip(page.keys, page.states, page.canonical_rows, strict=True)
    }


def test_rows_show_the_canonical_bytes_and_states_of_their_writes(shop: Shop) -> None:
    """With and without owners, with missing fields, and more of them than stand on one page."""
    writes = [shop.put(f"{number}", 10**40 + number, number) for number in range(1200)]
    writes += [shop.put(f"of an item {number}", 7, number, owner="item1") for number in range(20)]
    writes.append(shop.put("scanned", 0))
    assert shop.target.write(writes) == [APPLIED] * len(writes)
    generation = shop.target.generation
    assert listed(shop.target) == {
        write.key: (state_of(write.version, generation, write.owner), shop.target.canonical(write)) for write in writes
    }


def test_the_state_has_the_generation(subject: Subject) -> None:
    layout = subject.fresh()
    second = Shop(subject, subject.open(layout, 2))
    write = second.put("row", 5, owner="item1")
    assert second.does(write) is APPLIED
    assert listed(second.target)[write.key] == ("5 2 item1", second.target.canonical(write))


def test_different_rows_have_different_canonical_bytes(shop: Shop) -> None:
    one, another = shop.put("row", 5, 1), shop.put("row", 5, 2)
    same = shop.target.content(one) == shop.target.content(another)  # members of a set have no content
    assert (shop.target.canonical(one) == shop.target.canonical(another)) is same
    of_items = {shop.target.canonical(shop.put("row", 5, 1, owner=owner)) for owner in ("", "item1", "item2")}
    assert len(of_items) == 3


def test_the_version_is_no_part_of_an_canonical_bytes(shop: Shop) -> None:
    assert shop.target.canonical(shop.put("row", 5)) == shop.target.canonical(shop.put("row", 10**40))


def test_rows_that_are_gone_show_none(shop: Shop) -> None:
    stays, goes, gone = shop.put("stays", 5), shop.put("goes", 5), shop.delete("goes", 6)
    shop.target.write([stays, goes])
    assert shop.does(gone) is APPLIED
    assert [*listed(shop.target)] == [stays.key]
    assert shop.target.canonical(gone) is None
