"""What goes wrong with the control store.

ControlError
├── ControlMissing       there is none, and nothing was to be made
└── ControlUnavailable   heals by itself: try again
LeaseLost, Superseded    nothing was written: somebody else goes on
"""

from __future__ import annotations


class ControlError(Exception):
    """The control store cannot be used as it is; the text says why and what to do."""


class ControlMissing(ControlError):
    """There is no control store where it was looked for."""


class ControlUnavailable(ControlError):
    """The control store does not answer now: locked, full, unreachable."""


class LeaseLost(Exception):
    """A worker was taken for dead, and what it reads is another's: nothing was written."""


class Superseded(Exception):
    """What the pipelines of a view have to do has changed meanwhile: nothing was written."""
