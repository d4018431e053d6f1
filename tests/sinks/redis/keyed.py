"""Views of every type of Redis row, whose rows go by one name each."""

from __future__ import annotations

from typing import Any

from dynaview.projections.rows import EXPIRE, SCORE, Field, Layout, RedisOptions, Rule, Write
from dynaview.sinks.port import ConditionalWrite, Outcome, Stored
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.names import companion, tombstone
from dynaview.sinks.redis.target import RedisTarget

TYPES = ("hash", "string", "set", "sorted_set")


def layout(type: Any, family: tuple[str, ...] = ("", ""), **options: Any) -> Layout:
    fields: tuple[Field, ...] = (Field("a", "text"),)
    if type == "set":
        fields = ()
    if type == "sorted_set":
        fields = (Field(SCORE, "double"),)
    if options.get("expire_field"):
        fields = (*fields, Field(EXPIRE))
    return Layout("v", (), fields, RedisOptions(type=type, family=family, **options))


class Keyed:
    """A view whose rows, whatever their type, go by one name each."""

    def __init__(self, sink: RedisSink, type: str, prefix: str, generation: int = 1) -> None:
        self.type = type
        self.prefix = prefix
        self.members = type in ("set", "sorted_set")
        family = (f"{prefix}all",) if self.members else (prefix, "")
        self.target: RedisTarget = sink.open(layout(type, family), generation)

    def key(self, name: str) -> Any:
        return (f"{self.prefix}all", name) if self.members else f"{self.prefix}{name}"

    def beside(self, name: str) -> str:
        """The key of the row's tombstone."""
        key = self.key(name)
        return companion(key) if isinstance(key, str) else tombstone(*key)

    def values(self, number: int = 1) -> Any:
        return {"set": (), "sorted_set": (float(number),)}.get(self.type, (str(number),))

    def row(self, name: str, version: int, number: int = 1, rule: Rule = Rule.NEWER, owner: str = "") -> Write:
        return Write(self.key(name), self.values(number), version, owner, rule)

    def put(self, name: str, version: int, number: int = 1, rule: Rule = Rule.NEWER, owner: str = "") -> Outcome:
        return self.target.write([self.row(name, version, number, rule, owner)])[0]

    def delete(self, name: str, version: int, owner: str = "") -> Outcome:
        return self.target.write([Write(self.key(name), None, version, owner)])[0]

    def read(self, name: str) -> Stored | None:
        return self.target.read([self.key(name)])[0]

    def write_if_unchanged(self, write: Write, seen: Stored | None) -> Outcome:
        return self.target.write_if_unchanged([ConditionalWrite(write, seen)])[0]

    def stands(self, write: Write) -> bool:
        """Whether exactly what `write` asked for is there."""
        content = self.target.content(write)
        expected = Stored(write.key, write.version, write.owner, self.target.generation, content)
        return self.target.read([write.key]) == [expected]
