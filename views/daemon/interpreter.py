"""The interpreter, tuned for processes that move rows; commands that do so call `tune` once, before they begin."""

from __future__ import annotations

import gc
import sys

SWITCH = 0.0005
"""Seconds that a thread may hold the interpreter while another wants it. With Python's own 5 ms a pipeline that waits
for its store gets the answer too late, time and again, because a reader is decoding: a quarter of the speed was
lost."""

COLLECT = (20_000, 20, 20)
"""When garbage is looked for (see `gc.set_threshold`). Rows come and go by the thousand and hardly ever in cycles; with
Python's own (700, 10, 10) and much else in memory, looking for some took up to a third of a rebuild's time."""


def tune() -> None:
    """Switch threads sooner, look for garbage less often, and never among what is there already."""
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(*COLLECT)
    gc.freeze()
