"""OpenSearch as a sink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynaview.projections.rows import Layout
from dynaview.sinks.opensearch.client import Connection
from dynaview.sinks.opensearch.generation import highest, problems, published, room
from dynaview.sinks.opensearch.limits import LIMITS, Limits
from dynaview.sinks.opensearch.mapping import options_of
from dynaview.sinks.opensearch.target import OpenSearchTarget
from dynaview.sinks.port import Danger, Room, SinkRefused

FULL = 85
"""Per cent of a disk from which on OpenSearch places no more shards there (its low watermark)."""


class OpenSearchSink:
    """One OpenSearch cluster (see `dynaview.sinks.port.Sink`).

    `url` is ``http[s]://[user:password@]host[:port][/prefix]``; `options` are ``timeout`` (seconds), for https
    ``ca_file``, ``verify``, ``client_cert_file`` and ``client_key_file``, and where requests are to be signed for AWS
    ``auth``, ``service`` and ``region``. Raises ValueError where these make no sense.
    """

    in_place = False

    def __init__(self, name: str, url: str, options: Mapping[str, Any], limits: Limits = LIMITS) -> None:
        self.name = name
        self._limits = limits
        self._connection = Connection(url, options)

    def open(self, layout: Layout, generation: int) -> OpenSearchTarget:
        options_of(layout)
        self._connection.profile.refuse(layout)
        return OpenSearchTarget(self._connection, layout, generation, self._limits)

    def gone(self, layout: Layout, generation: int) -> str | None:
        return self.open(layout, generation).gone()

    def published(self, layout: Layout) -> int | None:
        return published(self._connection, layout)

    def highest(self, layout: Layout) -> int:
        return highest(self._connection, layout)

    def room(self, layout: Layout, generation: int) -> Room | None:
        return room(self._connection, layout, generation)

    def check(self) -> str:
        return self._connection.version()

    def dangers(self) -> list[Danger]:
        found: list[Danger] = []
        if not self._connection.profile.cluster:
            return found
        if (health := self._ask("/_cluster/health")) is not None and health["status"] == "red":
            do = "GET _cluster/allocation/explain says why; its rows can be neither read nor written until then"
            found.append(Danger("the cluster is red: shards of some index are on no node", do))
        for node in self._ask("/_cat/allocation") or ():
            if node.get("disk.percent") is not None and int(node["disk.percent"]) >= FULL:
                what = f"the disk of a data node is {node['disk.percent']}% full: from 95% on indexes are read-only"
                found.append(Danger(what, "free some, or add a node"))
        return found

    def _ask(self, path: str) -> Any:
        """A part of the cluster's health; None where the user has no right to know it."""
        parameters = {"format": "json", "h": "disk.percent"} if "_cat" in path else {}
        try:
            return self._connection.ask("GET", path, doing="asking for its health", index="any", params=parameters)
        except SinkRefused:
            return None

    def problems(self, layout: Layout) -> list[str]:
        return problems(self._connection, layout)

    def close(self) -> None:
        self._connection.close()
