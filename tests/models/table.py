"""One item of a table, and what readers of its row may see. Shared by the models.

Time is the number of changes that the table has seen. A history holds what each change made of the item: a value, or
None where it was deleted. A change's version is its number. Nothing but the pipeline looks at the stream, and it may
take a change at any later time: a stream that shows changes later than they were made, and a pipeline that reads them
later, are the same thing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Value: TypeAlias = str | None
History: TypeAlias = tuple[Value, ...]


def item(history: History, moment: int) -> Value:
    """What a strongly consistent read answered after so many changes."""
    return history[moment - 1] if moment else None


def changes(history: History) -> Iterator[tuple[str, History]]:
    """What may happen to the item next, where each put has a value of its own. Deleting nothing makes no record."""
    version = len(history) + 1
    value = f"v{version}"
    yield f"the table puts {value}", (*history, value)
    if item(history, version - 1) is not None:
        yield f"the table deletes the item (change {version})", (*history, None)


def shown(history: History, seen: int, value: Value) -> int | None:
    """What a reader knows of the item's state who knew it as of change `seen` and now sees `value` (None: no row).

    Answers the earliest change from `seen` on that explains it. None where no such change was made: the row went back
    to an older version, vanished without a delete, or came back after its delete.
    """
    for moment in range(seen, len(history) + 1):
        if item(history, moment) == value:
            return moment
    return None
