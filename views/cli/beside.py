"""Text for a terminal: what is from items shown without its control characters, and two columns side by side."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len, chop_cells

NARROWEST = 30
"""Cells of a column: with less the two stand below each other."""

BETWEEN = " | "


def printable(text: str) -> str:
    """`text` with everything that a terminal might obey (or hide, or turn round) written as an escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def width() -> int:
    """Cells of a line of the terminal; 100 where there is none, or as COLUMNS says."""
    return shutil.get_terminal_size((100, 24)).columns


def beside(left: Sequence[str], right: Sequence[str], cells: int) -> Iterator[str]:
    """Two columns in `cells` altogether; what is longer goes on in the next line, indented."""
    half = (cells - len(BETWEEN)) // 2
    if half < NARROWEST:
        yield from (piece for line in (*left, *right) for piece in folded(line, max(cells, NARROWEST)))
        return
    lefts = [piece for line in left for piece in folded(line, half)]
    rights = [piece for line in right for piece in folded(line, half)]
    for one, other in zip_longest(lefts, rights, fillvalue=""):
        yield f"{one}{' ' * (half - cell_len(one))}{BETWEEN}{other}".rstrip()


def folded(line: str, cells: int) -> list[str]:
    """A line in pieces of at most so many cells, the later ones indented by four more than the first."""
    if cell_len(line) <= cells:
        return [line]
    indent = " " * min(len(line) - len(line.lstrip()) + 4, cells // 2)
    pieces = []
    while cell_len(line) > cells:
        piece = chop_cells(line, cells)[0]
        space = piece.rstrip().rfind(" ", len(indent) + 1)
        if line[len(piece)] != " " and space > len(piece) // 2:
            piece = piece[:space]  # between words, where that is not far off
        pieces.append(piece)
        line = indent + line[len(piece) :].removeprefix(" ")
    return [*pieces, line]
