"""What is meant where an expression is no JMESPath: how other languages write it, and how this one does."""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORDS: Mapping[str, str] = {
    "and": "and is written &&",
    "or": "or is written ||",
    "not": "not is written !, as in !deleted",
    "is": "write a == `null` or a != `null`",
    "in": 'write contains(`["A", "B"]`, a)',
    "like": "write starts_with(a, 'x'), ends_with(a, 'x') or contains(a, 'x')",
    "between": "write a >= `1` && a <= `9`",
    "if": "write condition && a || b",
    "then": "write condition && a || b",
    "else": "write condition && a || b",
}

_MARKS: tuple[tuple[str, str], ...] = (
    ("===", "equal is written =="),
    ("=", "equal is written =="),
    ("<>", "not equal is written !="),
    ("+", "write add(a, b)"),
    ("*", "write multiply(a, b)"),
    ("/", "write divide(a, b)"),
    ("%", "write modulo(a, b)"),
    ("-", "write subtract(a, b)"),
    ("?", "write condition && a || b"),
    ("$", "a name stands by itself: the expression begins at the item"),
    ("&", "and is written &&"),
    ("}", "a hash names its values: {name: a}"),
    (",", "one expression is wanted: write [a, b] for a list"),
)

SMART_QUOTES = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb"
"""Quotation marks of typesetting, which word processors put in the place of straight ones."""

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z_]+")
_NAME_BEFORE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAME_AFTER = re.compile(r"[^\s()\[\]{}<>=!&|,.'\"`]+")


def remedy(text: str, position: int) -> str | None:
    """What to write instead of what stands at `position`, where it could not be read; None where that is not known."""
    rest, before = text[position:], text[:position]
    if rest[:1] in SMART_QUOTES and rest:
        return "text stands in straight quotes: 'x'"
    if rest[:1] in ("'", '"', "`"):
        mark = rest[0]
        return f"close it with {mark}, and write \\{mark} for a {mark} inside it"
    if before.rstrip().endswith("<") and rest.startswith(">"):
        return "not equal is written !="
    if _NUMBER.match(rest) and before.endswith("."):
        return "a position in a list stands in brackets: a[0]"
    number = _NUMBER.match(rest)
    if number is not None:
        return f"a number stands in backticks: `{number[0]}`"
    named = _quoted_name(before, rest)
    if named is not None:
        return named
    for word in (_WORD.match(rest), re.search(r"([A-Za-z]+)\s+\Z", before)):
        if word is not None and word[0].strip().lower() in _WORDS:
            return _WORDS[word[0].strip().lower()]
    if before.endswith("["):
        return "brackets hold a position, *, a slice or a filter: a[0], a[*], a[?b == 'x']"
    for mark, meant in _MARKS:
        if rest.startswith(mark) and not rest.startswith("&&"):
            return meant
    return None


def _quoted_name(before: str, rest: str) -> str | None:
    """A name with marks that only quotes allow: ``first-name``."""
    first, second = _NAME_BEFORE.search(before), _NAME_AFTER.match(rest)
    if first is None or second is None or (rest[0].isascii() and rest[0] not in "-#:@/$%+*;"):
        return None
    if not any(character.isalnum() for character in second[0]):
        return None
    subtract = ", or subtract(a, b)" if rest[0] == "-" else ""
    return f'a name with {rest[0]} stands in double quotes: "{first[0]}{second[0]}"{subtract}'
