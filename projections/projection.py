"""The one way to make rows: a compiled projection.

`compile_view` turns a checked view into a `Projection`; `Projection.bind` fits it to a table (its key attributes, what
its stream carries, the shape in which images are decoded) and yields the two functions that follower, fill, rebuild,
verification and preview all share: `Bound.rows` (the rows of one item state) and `Bound.writes` (what one change
asks of the view).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from dynaview.projections.attributes import Image, Shape
from dynaview.projections.changes import Change
from dynaview.projections.columns import ProjectedPage
from dynaview.projections.declaration import Problem
from dynaview.projections.rows import RowKey, RowValues, Write

ViewType: TypeAlias = Literal["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]
"""What a stream's records carry (StreamViewType of DynamoDB)."""


class ProjectionError(Exception):
    """An item of the view's from which no row can be made. Its text is the dead letter's reason: it names the field
    and the type found, not the value.

    A change from which no row can be made leaves none standing either: `asked` and `owner` say what goes (law 9).
    """

    asked: Sequence[Write] = ()
    """What the change asks for all the same: deletes of the rows that its images and its key name."""
    owner: str = ""
    """The item, as rows name it, of which rows may stand that neither tells: those its store has to be asked for."""


class OldRowsUnknown(ProjectionError):
    """No dead letter: all rows of the change could be made, and are in `asked`, but its old image does not tell which
    rows its item had before (a Python function that raises for it, a record without one). `owner` is its item's."""


class Bound(Protocol):
    """A projection fitted to one table. Pure, stateless, safe to share between threads."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        """The rows of one item state, in no order; empty where the item is not the view's.

        Raises `ProjectionError`, also where one item yields the same row key twice.
        """

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        """What the change asks of the view: upserts of what the item now yields and deletes of what it yielded before
        and no longer does; empty where neither state is the view's (unmatched). Never one row key twice.

        Raises `ProjectionError` and `OldRowsUnknown`. Of the old image only row keys are read. Where they cannot be
        made, no rows were made of that state either, and the change that brought it has taken the rows before it: so
        it is with everything but Python functions, which may raise for what they took before.
        """

    def page(self, changes: Sequence[Change[Any]], versions: Sequence[int]) -> ProjectedPage | None:
        """What `writes` answers for each of the changes, all at once; none of them names an owner. None where a view
        has to be asked change by change, as one of which an item has several rows or moves them, or where one of these
        changes has: `writes` would raise for it, say. Raises nothing."""

    def inserts(self, image: Image) -> list[Write]:
        """What a scanned item asks of the view: its rows under `Rule.ABSENT` at version `SCANNED`.

        Raises `ProjectionError`.
        """


class Projection(Protocol):
    """A compiled view."""

    attributes: frozenset[str] | None
    """The top-level attributes that it reads, key attributes named in `match` included; None for the whole item."""
    before: frozenset[str] | None
    """Those of them that it reads of an old image, which only has to tell the keys of rows."""
    members: Mapping[str, frozenset[str]]
    """Those of them of which it reads members and nothing else, with the names of these members."""

    def problems(self, key: tuple[str, ...], images: ViewType) -> list[Problem]:
        """Why this view cannot be kept from a table with these key attributes and this stream (law 9): what the stream
        would have to carry, or what the declaration would have to say."""

    def bind(self, shape: Shape, key: tuple[str, ...], images: ViewType) -> Bound:
        """Fit the projection. `shape` must keep `attributes` and the `key` attributes, and of old images `before`."""


def shape_of(projections: Iterable[Projection], key: Iterable[str]) -> Shape:
    """What has to be decoded of the items of a table with these key attributes, to serve all of the projections."""
    names = set(key)
    before: set[str] | None = set(key)
    members: dict[str, set[str]] = {}
    whole = set(key)
    for each in projections:
        if each.attributes is None:
            return Shape(None)
        names |= each.attributes
        before = None if before is None or each.before is None else before | each.before
        whole |= each.attributes - each.members.keys()
        for name, inner in each.members.items():
            members.setdefault(name, set()).update(inner)
    return Shape(names, before, {name: inner for name, inner in members.items() if name not in whole})
