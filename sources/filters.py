"""What a scan may leave out, from what views match, as DynamoDB is told.

A filter saves no read capacity, only what travels and is decoded. It must never cost an item that a view's `match`
accepts, so it asks less than the patterns do: how a text begins, nothing about what captures hold, nothing of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dynaview.projections.patterns import parse_pattern
from dynaview.sources.port import KeyTest, ScanFilter

EXPRESSION_LIMIT = 4096
"""Bytes of an expression (AWS's limit, as is the next)."""
_OPERATORS = 300
"""Operators and functions in an expression."""
_NAME_LIMIT = 255
"""Bytes of an attribute name that an expression may use."""


def scan_filter(matches: Iterable[tuple[Mapping[str, str], ...]]) -> ScanFilter | None:
    """The filter for a scan that serves the views with these `ViewDeclaration.match`; None where it has to bring
    everything, as for a view without a match, or with a pattern that begins with a capture and nothing else.

    Raises `PatternError` for texts that checking a declaration would have refused.
    """
    alternatives: list[tuple[KeyTest, ...]] = []
    for match in matches:
        wanted = [_tests(alternative) for alternative in match]
        if not (wanted and all(wanted)):
            return None
        alternatives += wanted
    kept = _widest(list(dict.fromkeys(alternatives)))
    return ScanFilter(kept) if kept else None


def filter_expression(only: ScanFilter | None) -> dict[str, Any]:
    """The parameters of Scan that ask for what `only` accepts; none where that would be more than DynamoDB takes."""
    if only is None:
        return {}
    names: dict[str, str] = {}
    values: dict[str, str] = {}

    def written(test: KeyTest) -> str:
        name = names.setdefault(test.name, f"#f{len(names)}")
        value = values.setdefault(test.text, f":f{len(values)}")
        # A number has no beginning and equals no text, but a pattern may well match what it is written as.
        compared = f"{name}={value}" if test.exact else f"begins_with({name},{value})"
        return f"({compared} OR attribute_type({name},:n))"

    # AND binds before OR, and DynamoDB refuses parentheses that are not needed.
    expression = " OR ".join(" AND ".join(map(written, tests)) for tests in only.alternatives)
    operators = 4 * sum(len(tests) for tests in only.alternatives)  # comparing, OR, the type; AND or OR between
    if len(expression) > EXPRESSION_LIMIT or operators > _OPERATORS or max(map(_size, names)) > _NAME_LIMIT:
        return {}
    return {
        "FilterExpression": expression,
        "ExpressionAttributeNames": {placeholder: name for name, placeholder in names.items()},
        "ExpressionAttributeValues": {":n": {"S": "N"}} | {each: {"S": text} for text, each in values.items()},
    }


def _tests(alternative: Mapping[str, str]) -> tuple[KeyTest, ...]:
    """How the texts that an alternative matches begin, attribute by attribute."""
    tests = []
    for name in sorted(alternative):
        pattern = parse_pattern(alternative[name])
        beginning = pattern.literals[0]
        if beginning and _size(beginning):
            tests.append(KeyTest(name, beginning, exact=not pattern.captures))
    return tuple(tests)


def _size(text: str) -> int:
    """Bytes of a text in UTF-8; 0 where it cannot be written, as half a surrogate pair."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def _widest(alternatives: list[tuple[KeyTest, ...]]) -> tuple[tuple[KeyTest, ...], ...]:
    """The alternatives without those that let nothing through that another one does not."""

    def narrower(tests: tuple[KeyTest, ...], wider: tuple[KeyTest, ...]) -> bool:
        return all(any(test.implies(asked) for test in tests) for asked in wider)

    return tuple(
        tests
        for index, tests in enumerate(alternatives)
        if not any(
            narrower(tests, other) and (at < index or not narrower(other, tests))
            for at, other in enumerate(alternatives)
            if at != index
        )
    )
