"""Work that is done once for an object, however many ask for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")

_KEPT = 256
"""More views than a process keeps."""


class _Same(Generic[A]):
    """An object that equals only itself: declarations hold mappings, so they have no hash of their own."""

    __slots__ = ("held",)

    def __init__(self, held: A) -> None:
        self.held = held

    def __hash__(self) -> int:
        return id(self.held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held


def once(function: Callable[[A], R]) -> Callable[[A], R]:
    """The same pure function, which remembers its answers for the very objects of late. What it raises is not kept."""
    kept = lru_cache(_KEPT)(lambda same: function(same.held))

    @wraps(function)
    def answer(argument: A) -> R:
        found: R = kept(_Same(argument))
        return found

    return answer
