"""The last verification of each view, as the control store keeps it."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from dynaview.views.control import rows, tables
from dynaview.views.control.database import Database
from dynaview.views.control.records import VerificationResult


class VerificationStore:
    """The last result of each view. Every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, result: VerificationResult) -> None:
        """Keep it, in place of the view's last one."""
        values = {"begun": result.begun, "result": msgspec.json.encode(result).decode()}
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(tables.verifications)
                .values(view=result.view, **values)
                .on_conflict_do_update(index_elements=["view"], set_=values)
            )

    def find(self, view: str) -> VerificationResult | None:
        """The view's last one; None where it was never verified."""
        return self.all().get(view)

    def all(self) -> dict[str, VerificationResult]:
        """The last one of every view that was ever verified."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(tables.verifications.c.view, tables.verifications.c.result)).all()
        return {row.view: rows.verification(row.result) for row in found}
