"""Threads do not die unnoticed, and are waited for together."""

from __future__ import annotations

import threading

from dynaview.views.threads import Threads
from tests.support.until import until


def test_a_thread_that_dies_of_an_error_is_told_to_the_whole() -> None:
    ended = threading.Event()
    whole = Threads(ended)
    part = whole.group().group()
    part.spawn("well", lambda: None)
    assert part.join(10) == []
    assert not whole.crashed.is_set()

    def fail() -> None:
        raise ZeroDivisionError

    part.spawn("ill", fail)
    assert ended.wait(10)
    assert whole.crashed.is_set()
    assert part.crashed.is_set()


def test_a_part_waits_for_its_own_threads_and_names_those_that_go_on() -> None:
    whole, held = Threads(), threading.Event()
    one, two = whole.group(), whole.group()

    def hold() -> None:
        held.wait()

    one.spawn("held", hold)
    two.spawn("quick", lambda: None)
    assert two.join(10) == []
    assert one.join(0.001) == ["held"]
    held.set()
    assert one.join(10) == []


def test_threads_that_have_ended_are_forgotten() -> None:
    threads = Threads()
    for number in range(5):
        threads.spawn(str(number), lambda: None)
        until(lambda: threads.join(0) == [], "the thread to end")
    assert len(threads._running) == 1
