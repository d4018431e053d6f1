"""Two dynaviews in one database, which know nothing of each other: overlapping templates are refused by name."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
import redis

from dynaview.projections.rows import Layout
from dynaview.sinks.port import SinkRefused
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.names import Family, family_of, highest
from tests.sinks.redis.keyed import layout

LITERALS = [("a:", ""), ("", ":", ""), ("a*b:", "?", "]"), ("{tag}:", ""), ("a}b", "\\x"), ("settings",), ("", "")]


@pytest.mark.parametrize("literals", LITERALS)
def test_the_key_of_a_generation_tells_its_template(literals: tuple[str, ...]) -> None:
    assert family_of(highest(Family(literals))) == literals


@pytest.mark.parametrize("name", ["_g", "_g{", "_v{a}", "g{a}", "_ga"])
def test_other_keys_tell_none(name: str) -> None:
    assert family_of(name) is None


def named(view: str, *family: str) -> Layout:
    return replace(layout("hash", family), view=view)


@pytest.fixture
def run() -> str:
    return f"n{uuid4().hex[:8]}"


def test_an_overlap_is_refused_at_the_start_and_when_validated(redis_url: str, client: redis.Redis, run: str) -> None:
    one, other = RedisSink("one", redis_url, {}), RedisSink("other", redis_url, {})
    mine, theirs = named("two", f"{run}:two:", ""), named("pairs", f"{run}:", ":", "")
    one.open(mine, 1).prepare()
    said = (
        rf"could also be keys of view two, {run}:two:\*, .*\(key _g\{{{run}:two:\*\}}\): begin the key templates diff"
    )
    with pytest.raises(SinkRefused, match=said):
        other.open(theirs, 1).prepare()
    (problem,) = other.problems(theirs)
    assert "view two" in problem
    assert not client.exists(f"_g{{{run}:*:*}}"), "nothing was begun"
    assert one.problems(mine) == []
    one.open(mine, 1).prepare()
    one.open(mine, 1).drop()
    third = RedisSink("third", redis_url, {})
    third.open(theirs, 1).prepare()
    third.open(theirs, 1).drop()
    for sink in (one, other, third):
        sink.close()


def test_a_view_of_the_same_name_is_another_one_where_it_did_not_come_before(redis_url: str, run: str) -> None:
    before, after = named("cards", f"{run}:", ""), named("cards", f"{run}:", ":v2")
    first = RedisSink("first", redis_url, {})
    first.open(before, 3).prepare()
    with pytest.raises(SinkRefused, match="view cards"):
        RedisSink("stranger", redis_url, {}).open(after, 1).prepare()
    # The same view, rebuilt under its next template: both are written for a while.
    next_ = RedisSink("next", redis_url, {})
    next_.open(after, 4).prepare()
    again = RedisSink("again", redis_url, {})
    for layout_, generation in ((before, 3), (after, 4), (before, 3)):
        again.open(layout_, generation).prepare()
        assert again.problems(layout_) == []
    for layout_, generation in ((before, 3), (after, 4)):
        again.open(layout_, generation).drop()


def test_what_a_user_may_not_read_is_somebody_elses(redis_url: str, client: redis.Redis, run: str) -> None:
    owner = RedisSink("owner", redis_url, {})
    owner.open(named("cards", f"{run}:a:", ""), 1).prepare()
    family = f"{run}:b"
    keys = [f"{family}*", f"_v{{{family}*", f"_g{{{family}*"]
    client.acl_setuser(run, enabled=True, passwords="+secret", keys=keys, commands=["+@all"])
    try:
        sink = RedisSink("tenant", redis_url.replace("://", f"://{run}:secret@"), {})
        sink.open(named("cards", f"{family}:", ""), 1).prepare()
        sink.open(named("cards", f"{family}:", ""), 1).drop()
        # One whose template reaches into the other's.
        wide = RedisSink("wide", redis_url.replace("://", f"://{run}:secret@"), {})
        with pytest.raises(SinkRefused, match="keys of a view of somebody else"):
            wide.open(named("cards", f"{run}:", ""), 1).prepare()
    finally:
        client.acl_deluser(run)
        owner.open(named("cards", f"{run}:a:", ""), 1).drop()
