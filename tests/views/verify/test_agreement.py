"""Which rows agree with what is asked, where rows expire."""

from __future__ import annotations

from typing import Any

import pytest

from dynaview.projections.rows import EXPIRE, LONG_AGO, Field, Layout, RedisOptions, Write
from dynaview.sinks.port import Stored
from dynaview.views.verify.agreement import NEAR, Agreement

NOW = 1_800_000_000.0
CONTENT = {"value": b"v"}


def agreement(options: RedisOptions) -> Agreement:
    return Agreement(Layout("one", (), (Field("value"), Field(EXPIRE)), options), lambda: NOW)


def row(content: Any = CONTENT, owner: str = "") -> Stored:
    return Stored("k", 5, owner, 1, content)


def write(at: float | None = None, owner: str = "") -> Write:
    return Write("k", ("v", at), 0, owner)


def test_a_row_is_right_with_its_content_and_owner() -> None:
    plain = agreement(RedisOptions())
    assert plain.is_right(write(), CONTENT, row())
    assert not plain.is_right(write(), CONTENT, row({"value": b"w"}))
    assert not plain.is_right(write(), CONTENT, None)
    assert not plain.is_right(write(), CONTENT, row(None))
    assert plain.is_right(write(owner="o"), CONTENT, row(owner="o"))
    assert not plain.is_right(write(owner="o"), CONTENT, row(owner="p"))
    assert plain.is_right(write(), CONTENT, row(owner="p"))  # the row key holds the whole item key


def test_a_row_that_goes_some_time_after_it_was_written_may_be_gone_but_not_deleted() -> None:
    some = agreement(RedisOptions(expire_after=60))
    assert some.is_right(write(), CONTENT, None)
    assert not some.is_right(write(), CONTENT, row(None))
    assert not some.is_right(write(), CONTENT, row({"value": b"w"}))


@pytest.mark.parametrize("near", [-NEAR + 1, 0, NEAR - 1])
def test_around_its_expiry_a_row_may_stand_or_not(near: float) -> None:
    some = agreement(RedisOptions(expire_field=True))
    assert some.is_right(write(NOW + near), CONTENT, None)
    assert some.is_right(write(NOW + near), None, row())
    assert some.is_right(write(NOW + near), None, None)
    assert not some.is_right(write(NOW + near), CONTENT, row({"value": b"w"}))


def test_long_before_its_expiry_a_row_stands_and_long_after_it_does_not() -> None:
    some = agreement(RedisOptions(expire_field=True))
    assert not some.is_right(write(NOW + NEAR + 1), CONTENT, None)
    assert not some.is_right(write(NOW - NEAR - 1), None, row())
    assert some.is_right(write(NOW - LONG_AGO), CONTENT, None)
    assert not some.is_right(write(NOW - LONG_AGO - NEAR - 1), CONTENT, None)
    assert some.is_right(write(NOW - NEAR - 1), None, None)
    assert not some.is_right(write(None), CONTENT, None)
