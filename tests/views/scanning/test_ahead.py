"""Pages made ahead: the same ones in the same order, the same error, and nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from dynaview.views.scanning.ahead import AHEAD, ahead
from tests.support.until import until


def threads() -> set[threading.Thread]:
    return {*threading.enumerate()}


def test_pages_come_in_their_order() -> None:
    before = threads()
    assert list(ahead(iter(range(50)))) == list(range(50))
    assert threads() <= before


def test_pages_that_are_nothing_are_pages() -> None:
    assert list(ahead(iter([None, None]))) == [None, None]


def test_an_error_comes_behind_the_pages_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no third")

    met: list[int] = []
    with pytest.raises(ValueError, match="no third"):
        met.extend(ahead(broken()))
    assert met == [1, 2]


def test_whoever_leaves_early_leaves_nothing_behind_and_has_not_read_it_all() -> None:
    before, made, closed = threads(), list[int](), threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                made.append(len(made))
                yield made[-1]
        finally:
            closed.set()

    with closing(ahead(endless())) as pages:
        assert next(pages) == 0
        until(lambda: len(made) >= AHEAD + 2, "pages to be made ahead")
    assert closed.is_set()
    assert threads() <= before
    assert len(made) <= AHEAD + 3, "memory is bounded"
