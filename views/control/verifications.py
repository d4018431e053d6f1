"""The last verification of each view, as the control store keeps it."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from dynaview.views.control import tables
from dynaview.views.control.database import Database

verifications = sa.Table(
    "dynaview_verifications",
    tables.meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("begun", sa.Float, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a verification of one view ended. Times are seconds since 1970; see `Report` for the numbers.

    `sample` is the share of the items that was looked at, 1 for all of them. `mended` is how many rows were mended at
    once; `error` says why the view could not be verified.
    """

    view: str
    begun: float
    seconds: float
    sample: float = 1.0
    rows: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    owner: int = 0
    stale: int = 0
    changing: int = 0
    dead_lettered: int = 0
    mended: int = 0
    error: str = ""

    @property
    def drift(self) -> int:
        """How many rows were not as they ought to be."""
        return self.missing + self.extra + self.different + self.owner


class Results:
    """The last result of each view. Every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, result: Result) -> None:
        """Keep it, in place of the view's last one."""
        values = {"begun": result.begun, "result": msgspec.json.encode(result).decode()}
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(verifications)
                .values(view=result.view, **values)
                .on_conflict_do_update(index_elements=["view"], set_=values)
            )

    def find(self, view: str) -> Result | None:
        """The view's last one; None where it was never verified."""
        return self.all().get(view)

    def all(self) -> dict[str, Result]:
        """The last one of every view that was ever verified."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(verifications.c.view, verifications.c.result)).all()
        return {row.view: msgspec.json.decode(row.result, type=Result) for row in rows}
