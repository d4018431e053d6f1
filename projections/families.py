"""Families of keys: what one key template can make, given by the literals around its names."""

from __future__ import annotations


def overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether some text fits two templates, given by the literals around their names.

    With names in both, what stands between can always be chosen to fit, so only beginnings and ends decide.
    """
    if len(one) == 1:
        return _fits(one[0], other)
    if len(other) == 1:
        return _fits(other[0], one)
    return (one[0].startswith(other[0]) or other[0].startswith(one[0])) and (
        one[-1].endswith(other[-1]) or other[-1].endswith(one[-1])
    )


def _fits(text: str, literals: tuple[str, ...]) -> bool:
    if len(literals) == 1:
        return text == literals[0]
    first, *between, last = literals
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    rest = text[len(first) : len(text) - len(last)]
    for literal in between:
        _, found, rest = rest.partition(literal)
        if not found:
            return False
    return True
