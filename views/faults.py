"""Faults of dynaview: an error that nobody expected stops one view, and holds up no other (law 7).

Such a view keeps its rows and its checkpoints, which stand before whatever caused the error, so the next start tries it
again. It does not try by itself: what failed once for no known reason may have failed half way.
"""

from __future__ import annotations

import traceback
from pathlib import Path


def fault_reason(error: BaseException) -> str:
    """What the operator is told. The error's own text is left out: it may show values of rows."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
    return (
        f"an unexpected {type(error).__name__} ({' > '.join(places)}), which is a fault of dynaview: please report it. "
        "Nothing is lost, the checkpoints stand before it; the next dynaview run tries again"
    )
