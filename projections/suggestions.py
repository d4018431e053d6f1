"""Did you mean: the nearest known word to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 12


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely was meant to be; None where nothing is near."""
    by_folded = {_folded(name): name for name in known}
    found = difflib.get_close_matches(_folded(word[:100]), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown `word`: a question with the nearest one, else what is known."""
    names = sorted(known)
    near = closest(word, names)
    if near is not None:
        return f", did you mean {near}?"
    if not names:
        return ""
    listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    return f"; known are {listed}"


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")
