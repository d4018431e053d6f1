"""SIGTERM and SIGINT of `dynaview run`, from its first moment on: also while modules are loaded, the declaration is
read or the control store is waited for, and as PID 1 of a container, where the kernel drops what nobody handles."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

ENDED = threading.Event()
"""Set by the first signal: everything ends in good order. A second one ends the process at once."""


def install() -> threading.Event:
    """Handle both from now on. Call from the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)
    return ENDED


def _ended(number: int, _frame: FrameType | None) -> None:
    if ENDED.is_set():
        os._exit(128 + number)
    ENDED.set()
