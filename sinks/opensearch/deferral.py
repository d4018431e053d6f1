"""Settings of an index that are put off for a while, remembered in its mark, and put back, also after a crash.

A load goes faster without refreshing and without copies. A swap is seamless only where what readers see does not move
on while the next index is made to show as much (see `Generation.publish`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.mapping import Mark, mark_of


class Reason(enum.Enum):
    """Why settings are put off; the field of `Mark` that remembers them."""

    LOADING = "loading"
    SWAPPING = "swapping"


class Deferral:
    """The settings of one view's indexes. `readers` is the name that readers use, for messages."""

    def __init__(self, connection: Connection, readers: str) -> None:
        self._connection = connection
        self._readers = readers

    def load(self, name: str, index: Mapping[str, Any]) -> None:
        """Put off what a load can do without. `index` is what ``GET /name`` shows. Raises `SinkError`."""
        wanted = {"refresh_interval": "-1"}
        if _settings(index).get("auto_expand_replicas", "false") == "false":
            wanted["number_of_replicas"] = "0"
        self._put_off(name, index, Reason.LOADING, wanted)

    def hold(self, name: str, index: Mapping[str, Any]) -> None:
        """Let searches go on seeing what they see now, whatever is written. Raises `SinkError`."""
        self._put_off(name, index, Reason.SWAPPING, {"refresh_interval": "-1"})

    def put_back(self, name: str, index: Mapping[str, Any], *reasons: Reason) -> None:
        """Put back what was put off for `reasons`, in this order. Raises `SinkError`."""
        mark = mark_of(index)
        if mark is None or all(getattr(mark, reason.value) is None for reason in reasons):
            return
        settings: dict[str, str | None] = {}
        for reason in reasons:
            settings |= getattr(mark, reason.value) or {}
        # Remembered until it is done: a crash between the two is put right by whoever comes next.
        self._ask(path(name, "_settings"), name, {"index": settings})
        self._remember(name, index, msgspec.structs.replace(mark, **{reason.value: None for reason in reasons}))

    def _put_off(self, name: str, index: Mapping[str, Any], reason: Reason, settings: Mapping[str, str]) -> None:
        mark = mark_of(index)
        assert mark is not None
        if getattr(mark, reason.value) is None:
            before = {setting: _settings(index).get(setting) for setting in settings}
            self._remember(name, index, msgspec.structs.replace(mark, **{reason.value: before}))
        self._ask(path(name, "_settings"), name, {"index": settings})

    def _remember(self, name: str, index: Mapping[str, Any], mark: Mark) -> None:
        meta = index["mappings"]["_meta"] | {"dynaview": msgspec.to_builtins(mark)}
        self._ask(path(name, "_mapping"), name, {"_meta": meta})

    def _ask(self, path: str, name: str, body: Any) -> None:
        self._connection.ask("PUT", path, doing=f"changing the settings of {name}", index=self._readers, body=body)


def _settings(index: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = index.get("settings", {}).get("index", {})
    return found
