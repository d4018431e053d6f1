"""What a trace of one item finds in one view, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dynaview.projections.changes import STREAM_SPAN
from dynaview.projections.rows import RowKey

RowVerdict: TypeAlias = Literal["right", "missing", "different", "owner", "extra", "not judged"]

Verdict: TypeAlias = Literal["right", "wrong", "behind", "dead-lettered", "not started", "stopped", "unknown"]
"""`right`: every row is as the item asks. `wrong`: one is not, and nothing explains it. `behind`: one is not, and the
view has not seen all changes yet. `dead-lettered`: the item (or a row of it) is a dead letter. `not started` and
`stopped`: the view takes no changes. `unknown`: its store or its record could not be read."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What one generation holds under one row key."""

    generation: int
    """The one that was looked at."""
    role: str
    """``live``, ``next`` or ``previous``."""
    stands: Literal["row", "tombstone", "nothing"]
    verdict: RowVerdict
    version: int | None = None
    owner: str = ""
    written_by: int | None = None
    """The generation that wrote it; another than `generation` where all share their keys."""
    fields: Sequence[str] = ()
    """The names of fields that differ."""
    content: Any = None

    def plain(self, values: bool) -> dict[str, Any]:
        """As ``--json`` shows it; versions are too large for JSON numbers."""
        version = None
        if self.version is not None:
            stream, sequence = divmod(max(self.version, 0), STREAM_SPAN)
            version = {"version": str(self.version), "stream": stream, "sequence": str(sequence) if sequence else None}
        found = {
            "generation": self.generation,
            "role": self.role,
            "stands": self.stands,
            "verdict": self.verdict,
            "written_by_generation": self.written_by,
            "owner": self.owner or None,
            "differs": list(self.fields),
            **(version or {"version": None, "stream": None, "sequence": None}),
        }
        return found | ({"content": self.content} if values else {})


@dataclass(frozen=True, slots=True)
class RowTrace:
    """One row key that the item has, or may have had."""

    key: RowKey
    values: Mapping[str, Any] | None
    """What the item asks for; None where it asks for no row."""
    standings: Sequence[Standing]
    fault: str = ""
    """Why the store could not hold it."""

    def plain(self, values: bool) -> dict[str, Any]:
        """As ``--json`` shows it."""
        found = {
            "key": self.key,
            "asked": self.values is not None,
            "fault": self.fault or None,
            "stored": [each.plain(values) for each in self.standings],
        }
        return found | ({"values": self.values} if values else {})


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of the item."""

    id: int
    kind: str
    reason: str
    version: int
    created: float
    row_key: str

    def plain(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {
            "id": self.id, "kind": self.kind, "reason": self.reason, "version": str(self.version),
            "created": self.created, "row_key": self.row_key or None,
        }  # fmt: skip


@dataclass(slots=True)
class ViewTrace:
    """One view."""

    view: str
    source: str
    sink: str
    verdict: Verdict = "unknown"
    do: str = ""
    """What fixes it, with the command; empty where nothing has to be done."""
    state: str = ""
    generation: int | None = None
    watermark: float | None = None
    lag: float | None = None
    result: str = ""
    """What the item is to the view (see `dynaview.projections.compiler.trial.Result`), or ``absent``."""
    reason: str = ""
    owner: str = ""
    rows: list[RowTrace] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[tuple[RowTrace, Standing]]:
        """The rows that are not as the item asks, in the generation that readers see."""
        return [
            (row, standing)
            for row in self.rows
            for standing in row.standings
            if standing.role == "live" and standing.verdict not in ("right", "not judged")
        ]

    def plain(self, values: bool) -> dict[str, Any]:
        """As ``--json`` shows it. Times are seconds since 1970, lag is in seconds."""
        return {
            "view": self.view,
            "source": self.source,
            "sink": self.sink,
            "verdict": self.verdict,
            "do": self.do or None,
            "state": self.state or None,
            "generation": self.generation,
            "watermark": self.watermark,
            "lag": self.lag,
            "item": {"result": self.result or None, "reason": self.reason or None},
            "owner": self.owner or None,
            "rows": [row.plain(values) for row in self.rows],
            "dead_letters": [letter.plain() for letter in self.letters],
            "notes": self.notes,
        }
