"""The generations of one view, and what readers see of its rows."""

from __future__ import annotations

from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject


class Generations:
    """Generations 1 to 3 of one fresh view."""

    def __init__(self, subject: Subject) -> None:
        self.sink = subject.sink
        self.layout = subject.fresh()
        self.subject = subject
        self.shops = {number: Shop(subject, subject.sink.open(self.layout, number)) for number in (1, 2, 3)}

    def prepared(self, number: int, bulk: bool = False) -> Shop:
        self.shops[number].target.prepare(bulk)
        return self.shops[number]

    def published(self) -> int | None:
        return self.sink.published(self.layout)


def label(number: int) -> str:
    """The label of rows of that number, see `subjects.values`."""
    return f"row {number} é\u4e2d\U0001f600"
