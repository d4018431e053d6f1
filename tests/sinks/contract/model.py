"""The contract of `dynaview.sinks.port` once more, as a model to compare stores with; shares no code with any sink."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dynaview.projections.rows import RowKey, RowValues, Rule, Write
from dynaview.sinks.port import APPLIED, STALE, Applied, Outcome, Rejected, RejectedKind

VERSIONS = (
    1,
    9,
    10,
    99,
    100,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    10**20 + 9,
    10**20 + 10,
    99999999999999999999999,
    10**39,
    10**40 - 1,
    10**40,
    10**40 + 5,
    9 * 10**40 + 7,
    10**41,
    9999 * 10**40 + 10**40 - 1,
)
"""Ascending; neighbours that compare wrongly as text, as doubles or as 64-bit integers. The longest has 44 digits."""


class State(NamedTuple):
    """A row, or, where `values` is None, its tombstone."""

    version: int
    owner: str
    values: RowValues | None
    generation: int = 1


class Conflict:
    """Stands for `Rejected` of kind OWNER."""


CONFLICT = Conflict()


@dataclass
class Model:
    """What the generations of a view that share their rows should hold: in place all, else each for itself."""

    states: dict[RowKey, State] = field(default_factory=dict)

    def write(self, write: Write, generation: int = 1) -> Applied | Conflict:
        before = self.states.get(write.key)
        outcome = self.decide(before, write, generation)
        if outcome is APPLIED:
            self.states[write.key] = State(write.version, write.owner, write.values, generation)
        return outcome

    def write_if_unchanged(self, write: Write, seen: State | None, generation: int = 1) -> Applied:
        """Of `seen`, the values are not looked at, only whether they are None."""
        before = self.states.get(write.key)
        if self.sight(before) != self.sight(seen) or (before is not None and before.generation > generation):
            return STALE
        kept = before is not None and before.owner == write.owner
        self.states[write.key] = State(before.version if before and kept else 0, write.owner, write.values, generation)
        return APPLIED

    @staticmethod
    def sight(state: State | None) -> tuple[object, ...] | None:
        """What a conditional write compares."""
        return None if state is None else (state.version, state.owner, state.generation, state.values is None)

    @staticmethod
    def decide(before: State | None, write: Write, generation: int = 1) -> Applied | Conflict:
        if before is None:
            return APPLIED
        deletes = write.values is None
        if write.owner and write.owner != before.owner:
            if before.values is not None:
                return STALE if deletes else CONFLICT
            if deletes or write.rule is Rule.ABSENT or generation < before.generation:
                return STALE
            return APPLIED
        if write.rule is Rule.ABSENT or write.version < before.version or generation < before.generation:
            return STALE
        return STALE if (write.version, generation) == (before.version, before.generation) else APPLIED


def seen(outcome: Outcome) -> Applied | Conflict | str:
    """An outcome in the model's words; a rejection for content as its reason, which no model answers."""
    if isinstance(outcome, Rejected):
        return CONFLICT if outcome.kind is RejectedKind.OWNER else outcome.reason
    return outcome
