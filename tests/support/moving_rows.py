"""A view whose row keys move, of items that cannot be projected or stored in some states, kept by the compiler's own
projections. What it has to show is what a rebuild from the table would give."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import At, FieldExpression, ViewDeclaration
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import Field, Write
from dynaview.sinks.port import ConditionalWrite, Outcome, Rejected
from tests.support.faults import FaultyTarget
from tests.support.follower_harness import FollowerHarness
from tests.support.simple import SHAPE, layout

Kind: TypeAlias = Literal["fields", "filter", "each", "function", "fixed"]
KINDS: tuple[Kind, ...] = ("fields", "filter", "each", "function", "fixed")
"""By what makes the rows; `fixed`: the item key alone tells the row key, and a filter may fail."""

UNSTORABLE = 13
"""The value that the store cannot hold."""

_AT = At("views.one", "dynaview.yaml", 1)


class Function:
    """A Python projection that calls something, and raises whatever the item while that is down."""

    def __init__(self) -> None:
        self.down = False

    def __call__(self, item: dict[str, Any]) -> Any:
        if self.down:
            raise RuntimeError("down")
        return [{"room": bed["id"], "value": item.get("value")} for bed in item["beds"]]


def bound_of(kind: Kind, function: Function) -> Bound:
    """Rows of items as `state` makes them."""
    made = layout("one")
    value = FieldExpression("_item.value" if kind == "each" else "value", "integer", None, None, False, _AT)
    declared = ViewDeclaration(
        name="one", source="shop", sink="memory", match=(),
        where="contains(tags, 'open')" if kind in ("filter", "fixed") else None,
        each="beds" if kind == "each" else None,
        function=function if kind == "function" else None,
        function_name="shop:rooms" if kind == "function" else "",
        key={"fixed": "{pk}/{sk}", "each": "{id}"}.get(kind, "{room}"),
        member=None, score=None, expire=None, fields={"value": value},
        layout=dataclasses.replace(made, fields=(Field("value", "integer"),)), on_gap="stop", at=_AT, places={},
    )  # fmt: skip
    return compile_view(declared).bind(SHAPE, ("pk", "sk"), "NEW_AND_OLD_IMAGES")


def state(number: int, rooms: Sequence[int | None], value: object, tags: object = None) -> dict[str, Any]:
    """An item's state: in these rooms of its own (None: one without a name), with this value and tags (None: none)."""
    names = [None if room is None else f"p{number}-r{room}" for room in rooms]
    item: dict[str, Any] = {"pk": f"p{number}", "sk": "s", "value": value}
    item["beds"] = [{} if name is None else {"id": name} for name in names]
    if names and names[0] is not None:
        item["room"] = names[0]
    if tags is not None:
        item["tags"] = tags
    return item


class ParticularTarget(FaultyTarget):
    """A target that cannot hold some values."""

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = iter(super().write([write for write in writes if not is_unstorable(write)]))
        return [_REFUSED if is_unstorable(write) else next(outcomes) for write in writes]

    def write_if_unchanged(self, mends: Sequence[ConditionalWrite]) -> list[Outcome]:
        outcomes = iter(super().write_if_unchanged([each for each in mends if not is_unstorable(each.write)]))
        return [_REFUSED if is_unstorable(each.write) else next(outcomes) for each in mends]


_REFUSED = Rejected("13 cannot be held")


def is_unstorable(write: Write) -> bool:
    """Whether the store refuses it for its content."""
    return write.values is not None and UNSTORABLE in tuple(write.values)


class MovingRows(FollowerHarness):
    """A harness with one such view."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        super().__init__(folder)
        self.function = Function()
        self.bound = bound_of(kind, self.function)
        self.targets = {name: ParticularTarget(self.sink.open(layout(name), 1)) for name in self.names}

    def expected(self) -> dict[str, Any]:
        """What a rebuild would give."""
        target = self.targets["one"]
        return {str(write.key): target.content(write) for write in self._asked() if not is_unstorable(write)}

    def _asked(self) -> Iterator[Write]:
        for item in self.table.items():
            try:
                yield from self.bound.inserts(SHAPE.pack(item))
            except ProjectionError:
                continue
