"""The life of one generation's index: made, found again, shown to readers, dropped. Only with our mark on it."""

from __future__ import annotations

import secrets
from typing import Any

from dynaview.projections.rows import Layout
from dynaview.sinks.opensearch.connection import Connection, path
from dynaview.sinks.opensearch.documents import DELETED
from dynaview.sinks.opensearch.errors import Answered, IndexMissing
from dynaview.sinks.opensearch.mapping import Mark, creation, differences, fingerprint, mark_of, options_of
from dynaview.sinks.port import ANEW, SinkRefused, SinkUnavailable

_ATTEMPTS = 10

LIVE = {"bool": {"must_not": {"term": {DELETED: True}}}}
"""Rows, not tombstones: the filter of the alias that readers use."""


class Generation:
    """One generation of a view: its index, its door (see `Mark`) and the alias that readers share."""

    def __init__(self, connection: Connection, layout: Layout, number: int) -> None:
        self.readers = options_of(layout).index
        self.index = f"{self.readers}-g{number}"
        self.number = number
        self._connection = connection
        self._layout = layout

    def prepare(self) -> str:
        """Make the index where it is missing; the door to write through. Raises `SinkError`."""
        for _ in range(_ATTEMPTS):
            self._check_readers()
            found = self.find()
            if found is not None:
                return self._door(found)
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
                return mark.door
        raise SinkUnavailable(f"index {self.index} was made and removed by others again and again")

    def door(self) -> str:
        """The door of the index that stands. Raises `SinkError`."""
        found = self.find()
        if found is None:
            raise IndexMissing(f"index {self.index} of view {self._layout.view} is not there: {ANEW}")
        return self._door(found)

    def publish(self) -> None:
        """Let the readers' alias name this generation, and only it, in one step. Raises `SinkError`."""
        self.door()
        self._check_readers()
        actions = [
            {"remove": {"index": f"{self.readers}-g*", "alias": self.readers, "must_exist": False}},
            {"add": {"index": self.index, "alias": self.readers, "filter": LIVE}},
        ]
        self._ask("POST", "/_aliases", "publishing", {"actions": actions})

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

    def _check_readers(self) -> None:
        found = _get(self._connection, self.readers, self.readers)
        if complaints := complaints_about_readers(self._layout, found):
            raise SinkRefused("; ".join(complaints))

    def _ask(self, method: str, path: str, verb: str, body: Any = None) -> None:
        self._connection.ask(method, path, doing=f"{verb} {self.index}", index=self.readers, body=body)


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


def _get(connection: Connection, name: str, readers: str) -> dict[str, Any]:
    """Indexes by an index's, an alias's or a pattern's name; empty where there is none."""
    try:
        found = connection.ask("GET", path(name), doing=f"looking for {name}", index=readers)
    except IndexMissing:
        return {}
    if not isinstance(found, dict):
        raise connection.unreadable(f"looking for {name}")
    return found
