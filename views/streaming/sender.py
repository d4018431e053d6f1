"""A thread that writes a batch while the next one is projected."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Sender(Generic[T]):
    """Does one thing at a time for the thread that owns it. The thread is started when it is first needed, and is a
    daemon: a store that hangs holds up no end of the process."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._answer: T | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.busy = False
        """Whether something was begun that `result` has not answered."""

    def begin(self, act: Callable[[], T]) -> None:
        """Let it be done, in the context (of spans) of the caller; `result` tells what came of it."""
        assert not self.busy
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
            self._thread.start()
        self.busy = True
        self._done.clear()
        context = contextvars.copy_context()
        self._asked.put(lambda: context.run(self._do, act))

    def result(self) -> T:
        """Wait until it is done; its answer. Raises what it has raised."""
        self._done.wait()
        self.busy = False
        answer, error = self._answer, self._error
        self._answer = self._error = None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value] # None only where that is the answer

    def end(self) -> None:
        """Let the thread end after what it does now."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread = None

    def _do(self, act: Callable[[], T]) -> None:
        try:
            self._answer = act()
        except BaseException as error:  # noqa: BLE001 - raised by `result`, in the thread that asked
            self._error = error
        finally:
            self._done.set()

    def _run(self) -> None:
        while (act := self._asked.get()) is not None:
            act()
