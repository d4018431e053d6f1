"""A shop on one target: rows by name, writes and looks in words."""

from __future__ import annotations

from dynaview.projections.rows import RowKey, Rule, Write
from dynaview.sinks.port import ConditionalWrite, Outcome, Stored, Target
from tests.sinks.contract.subjects import Subject


class Shop:
    """Writes and looks, in words, on one target; row names are its view's own."""

    def __init__(self, subject: Subject, target: Target) -> None:
        self.subject = subject
        self.target = target

    def key(self, name: str) -> RowKey:
        return self.subject.key(f"{self.target.layout.view}:{name}")

    def put(self, name: str, version: int, number: int = 1, owner: str = "", rule: Rule = Rule.NEWER) -> Write:
        text = f"{self.target.layout.view}:{name}"
        return Write(self.subject.key(text), self.subject.values(text, number), version, owner, rule)

    def delete(self, name: str, version: int, owner: str = "", rule: Rule = Rule.NEWER) -> Write:
        return Write(self.key(name), None, version, owner, rule)

    def does(self, write: Write) -> Outcome:
        (outcome,) = self.target.write([write])
        return outcome

    def stands(self, write: Write) -> bool:
        """Whether exactly what `write` asked for is there, for `read` and for `rows` and `count`."""
        expected = Stored(write.key, write.version, write.owner, self.target.generation, self.target.content(write))
        if self.target.read([write.key]) != [expected]:
            return False
        listed = [row for row in self.target.rows() if row.key == write.key]
        return listed == ([] if write.values is None else [expected])

    def seen(self, name: str) -> Stored | None:
        (stored,) = self.target.read([self.key(name)])
        return stored

    def conditionally(self, write: Write, seen: Stored | None) -> Outcome:
        (outcome,) = self.target.write_if_unchanged([ConditionalWrite(write, seen)])
        return outcome
