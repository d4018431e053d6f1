"""Items, changes and rows; declarations and what they compile to. No I/O of any kind."""

from __future__ import annotations

# The submodule of the same name first: what `projection` means here is the decorator.
from dynaview.projections.projection import ProjectionError
from dynaview.projections.reading.python import projection

__all__ = ["ProjectionError", "projection"]
