"""Items that belong to groups, what a group's total is made of, and what readers of its row may see.

A history holds what each change made of an item: the group that it is in, or None where it was deleted. In place of a
sum a group holds a bag of symbols, one for each (item, change): what was counted twice, or taken away twice, shows in a
bag where a sum could hide it. Whatever can be added up and taken away again behaves as the bag does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Group: TypeAlias = str | None
History: TypeAlias = tuple[Group, ...]
Symbol: TypeAlias = tuple[int, int]
"""The number of an item, and the change that gave the value."""
Bag: TypeAlias = tuple[tuple[Symbol, int], ...]
"""Symbols with how often each counts, sorted, none of them zero times."""
Pair: TypeAlias = tuple[int, int]
"""A number for each of the two items."""

NAMES = ("x", "y")
ITEMS = ("a", "b")


class Readers(NamedTuple):
    """What readers know."""

    promised: Pair = (0, 0)
    """The changes that the watermark has passed: who waited for them goes by that."""
    seen: tuple[Pair, Pair] = ((0, 0), (0, 0))
    """For each group the changes as of which readers of its row know the items."""


def group_of(history: History, moment: int) -> Group:
    """Where a strongly consistent read found the item after so many changes."""
    return history[moment - 1] if moment else None


def changes(histories: tuple[History, History], number: int) -> Iterator[tuple[str, tuple[History, History]]]:
    """What may happen to an item next. The first group that anything comes into is called x."""
    history, name = histories[number], ITEMS[number]
    version = len(history) + 1
    after: list[tuple[str, Group]] = [
        (f"{name} comes into {group} with change {version}", group)
        for group in (NAMES if any(histories) else NAMES[:1])
    ]
    if group_of(history, version - 1) is not None:
        after.append((f"{name} is deleted with change {version}", None))
    for text, group in after:
        yield text, replaced(histories, number, (*history, group))


def lengths(histories: tuple[History, History]) -> Pair:
    return len(histories[0]), len(histories[1])


def counted(bag: Bag, give: Symbol | None = None, take: Symbol | None = None) -> Bag:
    """The bag with one symbol more, and one less."""
    times = dict(bag)
    for symbol, step in ((take, -1), (give, 1)):
        if symbol is not None:
            times[symbol] = times.get(symbol, 0) + step
    return tuple(sorted((symbol, number) for symbol, number in times.items() if number))


def total(histories: tuple[History, History], group: str) -> Bag:
    """What the row of the group has to show of the table as it is."""
    return tuple(
        ((number, len(history)), 1)
        for number, history in enumerate(histories)
        if group_of(history, len(history)) == group
    )


def read(readers: Readers, histories: tuple[History, History], shown: Iterable[Bag | None]) -> Readers | str:
    """What readers know after a look at both rows, or what was wrong with what they saw: an item counted more than
    once, or as it was before what they had seen or been promised. None is a row of which nothing can be told yet."""
    seen = []
    for place, bag in enumerate(shown):
        if bag is None:
            seen.append(readers.seen[place])
            continue
        known = [0, 0]
        for number in (0, 1):
            values = [(change, times) for (of, change), times in bag if of == number]
            if len(values) > 1 or any(times != 1 for _, times in values):
                return f"the row of {NAMES[place]} counts {ITEMS[number]} more than once, or takes it away"
            since = max(readers.seen[place][number], readers.promised[number])
            found = _explained(histories[number], since, NAMES[place], values[0][0] if values else None)
            if found is None:
                return f"readers of {NAMES[place]} find {ITEMS[number]} older than what they saw or waited for"
            known[number] = found
        seen.append((known[0], known[1]))
    return Readers(readers.promised, (seen[0], seen[1]))


def promised(readers: Readers, upto: Pair) -> Readers:
    """Readers after a watermark was published."""
    return readers._replace(promised=(max(readers.promised[0], upto[0]), max(readers.promised[1], upto[1])))


def _explained(history: History, since: int, group: str, change: int | None) -> int | None:
    """The earliest change from `since` on as of which the row of `group` shows the item by the value of `change` (None:
    does not show it)."""
    if change is not None:
        return change if change >= since and group_of(history, change) == group else None
    return next((at for at in range(since, len(history) + 1) if group_of(history, at) != group), None)


def replaced(pair: tuple[T, T], place: int, value: T) -> tuple[T, T]:
    return (value, pair[1]) if place == 0 else (pair[0], value)
