"""The life of one generation's index: made, found again, shown to readers, dropped. Only with our mark on it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from typing import Any

from dynaview.projections.rows import Layout
from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.deferral import Deferral, Reason
from dynaview.sinks.opensearch.errors import Answered, IndexMissing
from dynaview.sinks.opensearch.limits import LIMITS, Limits
from dynaview.sinks.opensearch.listing import Listing
from dynaview.sinks.opensearch.mapping import Mark, creation, differences, fingerprint, mark_of, options_of
from dynaview.sinks.opensearch.values import LIVE
from dynaview.sinks.port import ANEW, Room, SinkError, SinkRefused, SinkUnavailable

_ATTEMPTS = 10


class Generation:
    """One generation of a view: its index, its door (see `Mark`) and the alias that readers share."""

    def __init__(self, connection: Connection, layout: Layout, number: int, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self.readers = options_of(layout).index
        self.index = f"{self.readers}-g{number}"
        self.number = number
        self._connection = connection
        self._layout = layout
        self._deferral = Deferral(connection, self.readers)

    def prepare(self, bulk: bool) -> str:
        """Make the index where it is missing; the door to write through. Raises `SinkError`."""
        for _ in range(_ATTEMPTS):
            self._check_readers()
            found = self.find()
            if found is not None:
                door = self._door(found)
                # What a swap that broke off has left, and, once it is in use, what a load has.
                put_off = (Reason.SWAPPING,) if bulk else (Reason.SWAPPING, Reason.LOADING)
                self._deferral.put_back(self.index, found, *put_off)
                return door
            mark = Mark(
                self._layout.view, self.number, fingerprint(self._layout), f"{self.index}-{secrets.token_hex(4)}"
            )
            try:
                self._ask("PUT", path(self.index), "making", creation(self._layout, mark))
            except Answered as error:
                # Another worker was faster: look at what it made.
                if error.type != "resource_already_exists_exception":
                    raise
            else:
                if bulk and self._connection.profile.placement and (made := self.find()) is not None:
                    # As it was made: a template of the cluster may have had its say.
                    self._deferral.load(self.index, made)
                return mark.door
        raise SinkUnavailable(f"index {self.index} was made and removed by others again and again")

    def door(self) -> str:
        """The door of the index that stands. Raises `SinkError`."""
        return self._door(self._find())

    def _standing(self) -> dict[str, Any]:
        """The index, where it is this view's and as it should be. Raises `SinkError`."""
        found = self._find()
        self._door(found)
        return found

    def _find(self) -> dict[str, Any]:
        found = self.find()
        if found is None:
            raise IndexMissing(f"index {self.index} of view {self._layout.view} is not there: {ANEW}")
        return found

    def finish(self) -> None:
        """Put back what was put off for a load, and wait until it is in effect. Raises `SinkError`."""
        found = self._standing()
        self._deferral.put_back(self.index, found, Reason.SWAPPING, Reason.LOADING)
        self._show(self._door(found))
        if not self._connection.profile.cluster:
            return
        # Copies for which there is no node do not count, those that are being made do. (In the path, because the
        # library would keep a parameter of this name for itself.)
        patience = f"?wait_for_no_initializing_shards=true&timeout={max(1, int(self._connection.timeout / 2))}s"
        self._connection.ask(
            "GET",
            path("_cluster", "health", self.index) + patience,
            doing=f"waiting for the copies of {self.index}",
            index=self.readers,
        )

    def publish(self) -> None:
        """Let the readers' alias name this generation, and only it, in one step. Raises `SinkError`.

        Whoever writes to both writes to this one first, but each index shows what was written when it is refreshed,
        which is once a second unless told otherwise. So the one that readers see is held as it is, then this one is
        refreshed, and shows no less; only then are they swapped.

        Where the store alone decides when writes show, the one that readers see cannot be held: what it came to show
        within the last moments may be missing for as long from this one.
        """
        found = self._standing()
        if not self._connection.profile.placement:
            self._show(self._door(found))
            self._swap(self._check_readers())
            return
        self._deferral.put_back(self.index, found, Reason.SWAPPING, Reason.LOADING)
        shown = self._check_readers()
        shown.pop(self.index, None)
        try:
            for name, index in shown.items():
                self._deferral.hold(name, index)
            if shown:
                # Waits for a refresh that was already under way.
                self._refresh(list(shown))
            self._refresh([self.index])
            self._swap(shown)
        except SinkError:
            # The first error says more. What cannot be let go now is let go by the next `prepare` or `publish`.
            with contextlib.suppress(SinkError):
                self._let_go()
            raise
        self._let_go()

    def _swap(self, shown: Mapping[str, Any]) -> None:
        """In one step; `shown` are the indexes that readers see."""
        if self._connection.profile.patterns:
            gone: list[Any] = [{"remove": {"index": f"{self.readers}-g*", "alias": self.readers, "must_exist": False}}]
        else:
            names = [name for name in shown if name != self.index]
            gone = [{"remove": {"index": name, "alias": self.readers}} for name in names]
        there = {"add": {"index": self.index, "alias": self.readers, "filter": LIVE}}
        self._ask("POST", "/_aliases", "publishing", {"actions": [*gone, there]})

    def _show(self, door: str) -> None:
        Listing(self._connection, door, self.index, self.readers, self._limits).show()

    def _let_go(self) -> None:
        for name, index in _get(self._connection, f"{self.readers}-g*", self.readers).items():
            if self._ours(index):
                self._deferral.put_back(name, index, Reason.SWAPPING)

    def _refresh(self, names: list[str]) -> None:
        self._connection.ask(
            "POST", path(",".join(names), "_refresh"), doing=f"refreshing {' and '.join(names)}", index=self.readers
        )

    def drop(self) -> None:
        """Remove the index, where it is there and this view's. Raises `SinkError`."""
        found = self.find()
        if found is None or not self._ours(found):
            return
        try:
            self._ask("DELETE", path(self.index), "dropping")
        except IndexMissing:
            return

    def find(self) -> dict[str, Any] | None:
        """The index as OpenSearch describes it, None where there is none. Raises `SinkError`."""
        found = _get(self._connection, self.index, self.readers)
        if found and self.index not in found:
            raise SinkRefused(
                f"{self.index} is an alias that dynaview did not make: remove it or choose another index name"
            )
        return found.get(self.index)

    def _door(self, found: dict[str, Any]) -> str:
        if complaint := complaint_about(self._layout, self.index, found):
            raise SinkRefused(complaint)
        mark = mark_of(found)
        if mark is None or mark.door not in found.get("aliases", {}):
            raise IndexMissing(f"index {self.index} has lost the alias that dynaview writes through: {ANEW}")
        return mark.door

    def _ours(self, found: dict[str, Any]) -> bool:
        mark = mark_of(found)
        return mark is not None and mark.view == self._layout.view

    def _check_readers(self) -> dict[str, Any]:
        """The indexes that readers see, all of them this view's. Raises `SinkRefused` where they are not."""
        found = _get(self._connection, self.readers, self.readers)
        if complaints := complaints_about_readers(self._layout, found):
            raise SinkRefused("; ".join(complaints))
        return found

    def _ask(self, method: str, path: str, verb: str, body: Any = None) -> None:
        self._connection.ask(method, path, doing=f"{verb} {self.index}", index=self.readers, body=body)


def published(connection: Connection, layout: Layout) -> int | None:
    """The generation that the readers' alias names. Raises `SinkError`."""
    readers = options_of(layout).index
    found = _get(connection, readers, readers)
    marks = [mark for name, index in found.items() if name != readers and (mark := mark_of(index)) is not None]
    return max((mark.generation for mark in marks if mark.view == layout.view), default=None)


def highest(connection: Connection, layout: Layout) -> int:
    """The highest generation that has an index, 0 where none has. A copy of an index, which has the mark of the first
    under another name, does not count. Raises `SinkError`."""
    readers = options_of(layout).index
    found = _get(connection, f"{readers}-g*", readers, closed=True)
    marks = [(name, mark) for name, index in found.items() if (mark := mark_of(index)) and mark.view == layout.view]
    return max((mark.generation for name, mark in marks if name == f"{readers}-g{mark.generation}"), default=0)


def room(connection: Connection, layout: Layout, number: int) -> Room | None:
    """What a generation takes with all its copies, and what the fullest data node has left. None where the user has
    no right to know, or the generation is not there. Raises `SinkUnavailable`."""
    if not connection.profile.cluster:
        return None
    readers = options_of(layout).index
    index = f"{readers}-g{number}"

    def ask(path: str, parameters: Mapping[str, str]) -> Any:
        return connection.ask("GET", path, doing=f"asking for the size of {index}", index=readers, params=parameters)

    try:
        stats = ask(path(index, "_stats", "store"), {"filter_path": "_all.total.store.size_in_bytes"})
        nodes = ask("/_cat/allocation", {"format": "json", "bytes": "b", "h": "disk.avail"})
        # Shards without a node are listed as a node without a disk.
        free = [int(node["disk.avail"]) for node in nodes if node["disk.avail"] is not None]
        return Room(int(stats["_all"]["total"]["store"]["size_in_bytes"]), min(free)) if free else None
    except SinkUnavailable:
        raise
    except SinkRefused:
        return None
    except (LookupError, TypeError, ValueError):
        raise connection.unreadable(f"asking for the size of {index}") from None


def problems(connection: Connection, layout: Layout) -> list[str]:
    """What in the store stands in the way of a view; changes nothing. Raises `SinkError`."""
    readers = options_of(layout).index
    try:
        return _complaints(connection, layout, readers)
    except SinkUnavailable:
        raise
    except SinkRefused as error:
        return [str(error)]


def _complaints(connection: Connection, layout: Layout, readers: str) -> list[str]:
    shown = _get(connection, readers, readers)
    complaints = complaints_about_readers(layout, shown)
    if readers not in shown:
        ours = {name: index for name, index in shown.items() if (mark := mark_of(index)) and mark.view == layout.view}
        complaints += [one for name, index in ours.items() if (one := complaint_about(layout, name, index))]
        for name, index in _get(connection, f"{readers}-g*", readers).items():
            number = name.removeprefix(f"{readers}-g")
            if name not in shown and number.isdecimal() and mark_of(index) is None:
                complaints.append(_foreign(name))
    return complaints + _refused_shape(connection, layout, readers)


def complaint_about(layout: Layout, name: str, index: dict[str, Any]) -> str | None:
    """Why an index cannot serve a view, or None."""
    mark = mark_of(index)
    if mark is None:
        return _foreign(name)
    if mark.view != layout.view:
        return f"index {name} belongs to view {mark.view}: give view {layout.view} another index name"
    if mark.fingerprint != fingerprint(layout):
        return f"index {name} was made for other fields, mappings or settings of view {layout.view}: {ANEW}"
    if changed := differences(layout, index):
        return f"the mapping of index {name} was changed ({'; '.join(changed)}): {ANEW}"
    return None


def complaints_about_readers(layout: Layout, found: dict[str, Any]) -> list[str]:
    """Why the name that readers use cannot become this view's alias; `found` is what it names now."""
    readers = options_of(layout).index
    complaints = []
    for name, index in found.items():
        mark = mark_of(index)
        if name == readers:
            complaints.append(
                f"{readers} is an index that dynaview did not make, and readers' alias would need the name: "
                "remove it or choose another index name"
            )
        elif mark is None:
            complaints.append(
                f"alias {readers} names index {name}, which dynaview did not make: "
                "remove the alias or choose another index name"
            )
        elif mark.view != layout.view:
            complaints.append(f"alias {readers} belongs to view {mark.view}: choose another index name")
    return complaints


def _foreign(name: str) -> str:
    return f"index {name} was not made by dynaview: remove it or choose another index name"


def _refused_shape(connection: Connection, layout: Layout, readers: str) -> list[str]:
    """What OpenSearch says against the settings and mapping, asked without making anything."""
    if not connection.profile.cluster:
        return []
    made = creation(layout, Mark(layout.view, 0, "", f"{readers}-g0-check"))
    template = {"settings": made["settings"], "mappings": made["mappings"]}
    body = {"index_patterns": [f"dynaview-check-{secrets.token_hex(4)}-*"], "template": template}
    try:
        connection.ask(
            "POST", "/_index_template/_simulate", doing="checking settings and mappings", index=readers, body=body
        )
    except Answered as error:
        return [f"OpenSearch would refuse the settings or mappings: {error.reason or error.type}"]
    except SinkUnavailable:
        raise
    except SinkRefused:
        # No right to simulate templates, which nothing else needs: making the index will tell.
        return []
    return []


def _get(connection: Connection, name: str, readers: str, closed: bool = False) -> dict[str, Any]:
    """Indexes by an index's, an alias's or a pattern's name; empty where there is none. A pattern does not find closed
    ones unless `closed`."""
    params = {"expand_wildcards": "open,closed"} if closed and connection.profile.patterns else None
    try:
        found = connection.ask("GET", path(name), doing=f"looking for {name}", index=readers, params=params)
    except IndexMissing:
        return {}
    if not isinstance(found, dict):
        raise connection.unreadable(f"looking for {name}")
    return found
