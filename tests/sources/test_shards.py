"""The shard tree: design part 6, traps 1 to 5, as far as they are the tree's."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.sources.port import Shard
from dynaview.sources.shards import ShardTree
from tests.support.shards import tree


def ready(shards: ShardTree) -> str:
    return " ".join(shard.id for shard in shards.ready())


@pytest.mark.parametrize(
    ("listing", "finished", "expected"),
    [
        ("0", "", "0"),
        ("0>1,2 1>3", "", "0"),
        ("0>1,2 1>3", "0", "1 2"),
        ("0>1,2 1>3", "0 1", "2 3"),
        ("0*>1", "", "0"),  # an open parent beside its child: the child waits
        ("(7)>8", "", "8"),  # the parent has expired: the child doesn't wait for ever
        ("(7)>8 8>9", "", "8"),
        ("0. 1", "", "0 1"),  # a closed leaf is read like any other shard
        ("0>1 5>6", "0 5", "1 6"),
        ("0>1 1>2", "1", "0 2"),  # a parent listed again after its child was read
        ("", "0", ""),
    ],
)
def test_which_shards_are_ready(listing: str, finished: str, expected: str) -> None:
    assert ready(ShardTree(tree(listing), finished.split())) == expected


def test_the_order_of_a_listing_does_not_matter() -> None:
    assert ready(ShardTree(reversed(tree("0>1,2 1>3")), ["0"])) == "2 1"


def test_finishing_a_shard_names_its_children() -> None:
    shards = ShardTree(tree("0>1,2 1>3"))
    assert [shard.id for shard in shards.finish("0")] == ["1", "2"]
    assert [shard.id for shard in shards.finish("1")] == ["3"]
    assert shards.finish("3") == []
    assert ready(shards) == "2"


def test_the_children_of_a_closed_leaf_are_ready_when_they_appear() -> None:
    shards = ShardTree(tree("0."))
    assert shards.finish("0") == []
    shards.add(tree("0."))
    assert ready(shards) == ""
    shards.add([Shard("1", "0", "200", None)])
    assert ready(shards) == "1"


def test_a_listing_renews_what_is_known() -> None:
    shards = ShardTree(tree("0"))
    open_shard = shards.get("0")
    assert open_shard is not None
    assert open_shard.last is None
    shards.add(tree("0>1"))
    closed = shards.get("0")
    assert closed is not None
    assert closed.last is not None
    assert [shard.id for shard in shards.children("0")] == ["1"]
    shards.add(tree("0>1"))
    assert [shard.id for shard in shards.children("0")] == ["1"]


def test_an_expired_shard_that_is_listed_again_stays_finished() -> None:
    shards = ShardTree(tree("0>1"), ["0"])
    shards.add(tree("(0)>1"))
    shards.add(tree("0>1"))
    assert ready(shards) == "1"


def test_a_shard_that_a_listing_leaves_out_holds_up_its_children() -> None:
    shards = ShardTree(tree("0>1"))
    shards.add(tree("(0)>1"))
    assert ready(shards) == "0"
    assert [shard.id for shard in shards.finish("0")] == ["1"]


def test_nothing_is_known_of_a_shard_that_was_dropped() -> None:
    shards = ShardTree(tree("0>1,2"), ["0"])
    shards.drop(["0", "1", "unknown"])
    assert "0" not in shards
    assert [shard.id for shard in shards.children("0")] == ["2"]
    assert ready(shards) == "2"  # its parent has expired
    shards.drop(["2"])
    assert shards.children("0") == []


def test_ten_thousand_shards_take_no_time() -> None:
    chain = [Shard(str(index), str(index - 1) if index else None, "1", "2") for index in range(10_000)]
    started = time.process_time()
    shards = ShardTree(chain)
    for index in range(10_000):
        assert [shard.id for shard in shards.finish(str(index))] == [str(index + 1)][: 9999 - index]
    assert shards.ready() == []
    assert time.process_time() - started < 2.0


@st.composite
def forests(draw: st.DrawFn) -> list[Shard]:
    """Shard trees with expired parents, open parents and closed leaves, in any order."""
    count = draw(st.integers(1, 25))
    shards = []
    for index in range(count):
        parent = draw(st.none() | st.integers(-2, index - 1).map(str))
        shards.append(Shard(str(index), parent, str(index), draw(st.sampled_from([None, "9"]))))
    return draw(st.permutations(shards))


@given(forests(), st.randoms(use_true_random=False))
def test_parents_first_and_everything_in_the_end(listing: list[Shard], random: Random) -> None:
    """Law 3 on any tree: ready shards finished in any order; no child before its listed parent, nothing left."""
    shards = ShardTree(listing)
    known = {shard.id: shard for shard in listing}
    read: list[str] = []
    while candidates := shards.ready():
        shard = random.choice(candidates)
        assert shard.parent is None or shard.parent not in known or shard.parent in read
        read.append(shard.id)
        newly = {each.id for each in shards.finish(shard.id)}
        assert newly == {each.id for each in listing if each.parent == shard.id}
    assert sorted(read) == sorted(known)


@given(forests(), st.randoms(use_true_random=False))
def test_discovery_bit_by_bit_reads_each_shard_once(listing: list[Shard], random: Random) -> None:
    """Listings that show more and more, leave shards out and show them again, while finished ones are dropped."""
    born = sorted(listing, key=lambda shard: int(shard.id))
    shards = ShardTree()
    read: list[str] = []
    dropped: set[str] = set()
    shown = 0
    while shown < len(born) or shards.ready():
        before, shown = shown, min(len(born), shown + random.randrange(1, 6))
        again = [shard for shard in born[:before] if shard.id not in dropped and random.random() < 0.5]
        shards.add([*again, *born[before:shown]])
        for shard in shards.ready()[: random.randrange(1, 4)]:
            assert shard.id not in read
            shards.begin(shard.id)
            shards.finish(shard.id)
            read.append(shard.id)
        if random.random() < 0.3:
            old = [each for each in read if random.random() < 0.5 and not shards.children(each)]
            shards.drop(old)
            dropped.update(old)
    assert sorted(read) == sorted(shard.id for shard in born)
    places = {shard_id: place for place, shard_id in enumerate(read)}
    for shard in born:
        assert shard.parent not in places or places[shard.parent] < places[shard.id]
