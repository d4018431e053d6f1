"""Company for a command that needs views to be followed meanwhile, whether a daemon runs or not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dynaview.projections.declaration import Declaration
from dynaview.views.daemon.daemon import Daemon


@contextmanager
def following(declaration: Declaration, views: frozenset[str]) -> Iterator[Daemon]:
    """Until the block ends these views are followed: by the daemon that keeps them, or, where none does or that one
    ends, by this process, which stands by until then.

    Raises `ControlError`, and ValueError for a sink URL that is none.
    """
    log = logging.getLogger("dynaview")
    if not logging.getLogger().handlers:  # a command's output is not a daemon's log; what lasts shows in its states
        log.addHandler(logging.NullHandler())
        log.propagate = False
    daemon = Daemon(declaration, views=views)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
