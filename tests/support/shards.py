"""Shard listings from a line of text."""

from __future__ import annotations

from dynaview.sources.port import Shard


def tree(text: str) -> list[Shard]:
    """The listing that `text` draws, in the order in which shards are first named.

    ``0>1,2 1>3 7>8``: 0 was split into 1 and 2, 1 was continued by 3, and 8 by a parent 7. A shard with children is
    closed, one without is open; ``0*>1`` is still open beside its child, ``2.`` is a closed leaf, ``(7)>8`` is a parent
    that is not listed any more.
    """
    open_: dict[str, bool | None] = {}
    parents: dict[str, str] = {}
    for word in text.split():
        left, _, right = word.partition(">")
        name = left.strip("()*.")
        if left.startswith("("):
            open_[name] = None
        elif left.endswith("*"):
            open_[name] = True
        elif right or left.endswith("."):
            open_[name] = False
        else:
            open_.setdefault(name, True)
        for child in filter(None, right.split(",")):
            child_name = child.strip(".")
            parents[child_name] = name
            open_.setdefault(child_name, not child.endswith("."))
    return [
        Shard(name, parents.get(name), str(index * 100), None if is_open else str(index * 100 + 99))
        for index, (name, is_open) in enumerate(open_.items())
        if is_open is not None
    ]
