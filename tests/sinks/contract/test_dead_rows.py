"""A batch of changes on each store: what it cannot hold takes the row before it, and a replay brings one back."""

from __future__ import annotations

from typing import Any

import pytest

from dynaview.projections.changes import Body, Change
from dynaview.projections.rows import RowValues, Write
from dynaview.sinks.port import APPLIED, ConditionalWrite, Rejected
from dynaview.views.control.records import Counts
from dynaview.views.streaming.batch import Batch
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject

CHANGE: Change[Any] = Change("MODIFY", Body("1", {}))
OWNERS = ["", "0011223344556677"]


@pytest.fixture
def unstorable(subject: Subject, shop: Shop) -> RowValues:
    """Values that the store cannot hold, whatever the key."""
    values = subject.unstorable("text")[1]
    if not isinstance(shop.does(Write(shop.key("tried"), values, 1)), Rejected):
        pytest.skip("members of this store's rows are all that it may not hold")
    return values


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("together", [False, True])
def test_what_the_store_cannot_hold_takes_the_row_before(
    shop: Shop, unstorable: RowValues, owner: str, together: bool
) -> None:
    batch, key = Batch(), shop.key("row")
    neighbour = shop.put("neighbour", 2, owner=owner)
    counts = Counts()
    batch.add("shard", CHANGE, [shop.put("row", 1, owner=owner)])
    if not together:
        counts.add(batch.settle(shop.target.write)[0]["shard"])
        assert shop.target.count() == 1
    batch.add("shard", CHANGE, [Write(key, unstorable, 2, owner), neighbour])
    settled, refusals = batch.settle(shop.target.write)
    counts.add(settled["shard"])
    assert counts == Counts(read=2, applied=1, dead_lettered=1)
    assert [(one.write.key, one.write.version) for one in refusals] == [(key, 2)]
    assert [row.key for row in shop.target.rows()] == [neighbour.key]
    (seen,) = shop.target.read([key])
    assert seen is not None
    assert (seen.version, seen.owner, seen.content) == (2, owner, None)
    # What was before it comes again, as after a crash: it is too late.
    assert shop.target.write([shop.put("row", 1, owner=owner)]) != [APPLIED]
    # Once the store can hold what the item asks for, it is written as it was seen, under the letter's version.
    replayed = shop.put("row", 0, 3, owner=owner)
    assert shop.target.write_if_unchanged([ConditionalWrite(replayed, seen)]) == [APPLIED]
    assert shop.stands(shop.put("row", 2, 3, owner=owner))


def test_a_row_whose_item_became_a_dead_letter_may_be_taken_by_another(shop: Shop) -> None:
    first, second = OWNERS[1], "8899aabbccddeeff"
    batch = Batch()
    batch.add("shard", CHANGE, [shop.put("row", 7, owner=first)])
    batch.settle(shop.target.write)
    batch.add("shard", CHANGE, [shop.delete("row", 8, owner=first)], dead=True)
    assert not batch.add("shard", CHANGE, [shop.put("row", 3, owner=second)])  # whose it is, the store decides
    assert batch.settle(shop.target.write) == ({"shard": Counts(read=1, dead_lettered=1)}, [])
    batch.add("shard", CHANGE, [shop.put("row", 3, owner=second)])
    assert batch.settle(shop.target.write) == ({"shard": Counts(read=1, applied=1)}, [])
    assert shop.stands(shop.put("row", 3, owner=second))
    assert [row.key for row in shop.target.rows_of([first])] == []


def test_a_key_that_the_store_cannot_hold_leaves_no_letter_when_it_is_deleted(subject: Subject, shop: Shop) -> None:
    key, values = subject.unstorable("\ud800")
    batch = Batch()
    batch.add("shard", CHANGE, [Write(key, values, 1), Write(shop.key("other"), None, 1)])
    assert len(batch.settle(shop.target.write)[1]) == 1
    batch.add("shard", CHANGE, [Write(key, None, 2)])
    settled, refusals = batch.settle(shop.target.write)
    assert refusals == []
    assert settled["shard"].read == 1
