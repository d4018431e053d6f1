"""Whether a store that does not promise compare-and-set has it all the same: asked with documents of our own.

Where one of the things that the guard rests on does not hold, an older write could take the place of a newer one
without a word, so nothing is written at all.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import msgspec

from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.errors import Answered, IndexMissing, ItemError
from dynaview.sinks.opensearch.lookups import FoundControl, look
from dynaview.sinks.opensearch.values import LIVE, Tombstone
from dynaview.sinks.port import SinkError, SinkRefused

_CONFLICT = 409
_OWNER = "dynaview-probe"


class _Item(msgspec.Struct):
    status: int
    sequence: int = msgspec.field(name="_seq_no", default=-1)
    term: int = msgspec.field(name="_primary_term", default=-1)
    error: ItemError | None = None


class _Answer(msgspec.Struct):
    items: list[dict[str, _Item]]


_answer = msgspec.json.Decoder(_Answer)


class Probe:
    """One look at a store, through the door of an index. Its document is a tombstone, which no reader sees."""

    def __init__(self, connection: Connection, door: str, index: str, readers: str) -> None:
        self._connection = connection
        self._door = door
        self._index = index
        self._readers = readers
        self._mark = secrets.token_hex(8)
        self._id = f"{_OWNER}-{self._mark}"
        self._version = 0
        self._applied = 0

    def run(self) -> None:
        """Raises `SinkRefused` where the guard cannot hold, `SinkError` where the store does not answer."""
        try:
            self._ask()
        finally:
            with contextlib.suppress(SinkError):
                self._bulk({"delete": {}})

    def _ask(self) -> None:
        made = self._put("create")
        if made.status == 400 and made.error is not None and made.error.type == "illegal_argument_exception":
            raise SinkRefused(
                f"{self._title} takes no documents with ids of their own here: its collection is for time series or "
                "vector search. A view needs a collection of type SEARCH: make one and name it in the sink"
            )
        if made.error is not None or made.status >= 300:
            type = made.error.type if made.error is not None else ""
            raise self._connection.failed(made.status, type, self._doing, self._readers)
        self._need(made.sequence >= 0 and made.term > 0, "answers to writes lack _seq_no and _primary_term")
        self._need(self._put("create").status == _CONFLICT, "create replaces a document that stands")
        self._need(
            self._put("index", made.sequence + 1_000, made.term).status == _CONFLICT,
            "if_seq_no of another write lets a write through",
        )
        second = self._put("index", made.sequence, made.term)
        self._need(second.status < 300 and second.sequence > made.sequence, "if_seq_no of the last write is refused")
        self._need(
            self._put("index", made.sequence, made.term).status == _CONFLICT,
            "if_seq_no of an earlier write lets a write through",
        )
        self._current(second, 2)
        third = self._put("index", second.sequence, second.term)
        self._need(third.status < 300, "a look at a document changes its sequence number")
        self._current(third, 3)
        self._need(
            not self._look(f"{self._id}-none").found, "a look at a document that is not there finds or makes one"
        )
        self._need(
            self._bulk({"delete": {"if_seq_no": second.sequence, "if_primary_term": second.term}}).status == _CONFLICT,
            "if_seq_no of an earlier write lets a deletion through",
        )
        self._aliased()
        self._filtered()

    def _filtered(self) -> None:
        """Whether an alias hides what its filter says: readers would see what was deleted."""
        alias = f"{self._index}-{self._mark}-filtered"
        self._alias("add", alias, filter=LIVE)
        found = self._ask_for_aliases()
        self._alias("remove", alias)
        self._need(bool(found.get(alias, {}).get("filter")), "an alias loses its filter")

    def _alias(self, action: str, alias: str, **more: Any) -> None:
        body = {"actions": [{action: {"index": self._index, "alias": alias, **more}}]}
        self._connection.ask("POST", "/_aliases", doing=self._doing, index=self._readers, body=body)

    def _ask_for_aliases(self) -> dict[str, dict[str, Any]]:
        found = self._connection.ask("GET", path(self._index), doing=self._doing, index=self._readers)
        try:
            aliases: dict[str, dict[str, Any]] = found[self._index]["aliases"]
        except (LookupError, TypeError):
            raise self._connection.unreadable(self._doing) from None
        return aliases

    def _current(self, item: _Item, writes: int) -> None:
        found = self._look(self._id)
        shown = found.control.version if found.control is not None else ""
        current = (found.sequence, found.term, shown) == (item.sequence, item.term, str(self._applied))
        self._need(current, f"a look does not show the write just before it (the {writes}. one)")

    def _look(self, id: str) -> FoundControl:
        name = msgspec.json.encode(id)
        return look(self._connection, self._door, [name], self._doing, self._readers)[0]

    def _put(self, action: str, sequence: int | None = None, term: int | None = None) -> _Item:
        self._version += 1
        condition = {} if sequence is None else {"if_seq_no": sequence, "if_primary_term": term}
        tombstone = Tombstone(str(self._version), self._connection.milliseconds(self._readers), True, _OWNER)
        item = self._bulk({action: condition}, tombstone)
        if item.status < 300:
            self._applied = self._version
        return item

    def _bulk(self, action: dict[str, dict[str, Any]], document: Tombstone | None = None) -> _Item:
        ((name, parameters),) = action.items()
        lines = [msgspec.json.encode({name: {"_id": self._id, **parameters}})]
        lines += [] if document is None else [msgspec.json.encode(document)]
        answer = self._send(self._door, b"\n".join([*lines, b""]))
        try:
            (entry,) = _answer.decode(answer).items
        except (msgspec.DecodeError, ValueError):
            raise self._connection.unreadable(self._doing) from None
        return entry[name]

    def _aliased(self) -> None:
        """Whether a write through an alias that is not there is refused: an index that was dropped would come back as
        another one, and hold what nobody looks at."""
        nowhere = f"{self._index}-{self._mark}-nowhere"
        line = msgspec.json.encode({"create": {"_id": self._id}})
        try:
            answer = self._send(nowhere, line + b"\n{}\n")
        except (Answered, IndexMissing):
            return
        refused = all(item.status >= 400 for entry in _answer.decode(answer).items for item in entry.values())
        if not refused:
            with contextlib.suppress(SinkError):
                self._connection.send("DELETE", path(nowhere), doing=self._doing, index=self._readers)
        self._need(refused, "require_alias is not honoured")

    def _send(self, door: str, body: bytes) -> str:
        params = {"require_alias": "true"}
        return self._connection.send(
            "POST", path(door, "_bulk"), doing=self._doing, index=self._readers, params=params, body=body
        )

    def _need(self, holds: bool, what: str) -> None:
        if not holds:
            raise SinkRefused(
                f"{self._title} at {self._connection.place} cannot keep a view, because {what}: what is older, or was "
                "deleted, could come back. Name another store in the sink"
            )

    @property
    def _title(self) -> str:
        return self._connection.profile.title

    @property
    def _doing(self) -> str:
        return f"asking whether writes to {self._index} can be guarded"
