"""Lines with aligned columns, never folded: they are read by people in any width, and by grep."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

PADDED = 40
"""A cell is padded to so many characters at the most: one long key does not push everything else out of sight."""


def aligned(rows: Sequence[Sequence[str]], words: int) -> list[str]:
    """One line a row. The first `words` columns hold words, the others numbers."""
    widths = _widths(rows)
    return [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def fitted(rows: Sequence[Sequence[str]], spare: Sequence[str], width: int) -> tuple[list[list[str]], list[str]]:
    """The rows in so many characters, as far as leaving out the `spare` columns (named as in the first row, the least
    important one first) makes them so narrow; and the columns that are left out."""
    kept, left_out = [list(row) for row in rows], list[str]()
    for name in spare:
        widths = _widths(kept)
        if sum(widths) + 2 * (len(widths) - 1) <= width:
            break
        column = kept[0].index(name)
        left_out.append(name)
        for row in kept:
            del row[column]
    return kept, left_out


def terminal_width() -> int | None:
    """The width of the terminal that is written to; None where it is none, and every column is wanted."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [min(PADDED, max(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
