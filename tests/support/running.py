"""What tests have started and not ended yet. The threads of a harness poll as fast as they can: one that a failed test
left behind would take the processor from every test after it, until those run into their deadlines too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger(__name__)


class Stoppable(Protocol):
    """What runs until it is stopped."""

    def stop(self) -> None: ...


_running: list[Stoppable] = []


def started(it: Stoppable) -> None:
    """Remember what runs from now on."""
    _running.append(it)


def stopped(it: Stoppable) -> None:
    """Forget what has been told to end, be it that it ends badly."""
    _running[:] = [each for each in _running if each is not it]


def stop_all() -> list[str]:
    """End whatever still runs; the names of it. How it ends matters no more, so that errors are only logged."""
    left = list(_running)
    for each in reversed(left):
        try:
            each.stop()
        except Exception:
            log.warning("%s, which a test left running, did not end well", type(each).__name__, exc_info=True)
        stopped(each)
    return [type(each).__name__ for each in left]


@contextmanager
def none_left() -> Iterator[None]:
    """What is started within ends within: for the examples of a property, which Hypothesis tries again and again after
    one has failed."""
    before = list(_running)
    try:
        yield
    finally:
        for each in [each for each in _running if each not in before]:
            try:
                each.stop()
            except Exception:
                log.warning("%s did not end well", type(each).__name__, exc_info=True)
            stopped(each)
