"""Pages that are made while the one before them is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

AHEAD = 2
"""Pages that wait at most."""

WAKE = 0.2
"""Seconds after which the thread looks whether anybody still waits for its pages."""

_Made: TypeAlias = "tuple[T] | BaseException | None"
"""A page, what ended them early, or that they have ended."""


def ahead(pages: Iterator[T]) -> Generator[T]:
    """The same pages, or the same error, from a thread of its own. Closing it closes `pages`."""
    made: queue.Queue[_Made[T]] = queue.Queue(AHEAD)
    left = threading.Event()

    def put(one: _Made[T]) -> None:
        while not left.is_set():
            try:
                made.put(one, timeout=WAKE)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for page in pages:
                put((page,))
                if left.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            put(error)
        else:
            put(None)
        finally:
            if isinstance(pages, Generator):
                pages.close()

    thread = threading.Thread(target=make)
    thread.start()
    try:
        while (one := made.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one[0]
    finally:
        left.set()
        thread.join()
