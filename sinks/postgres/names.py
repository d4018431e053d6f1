"""Identifiers in statements that have parameters."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql


class Name(sql.Identifier):
    """An identifier in a statement with parameters, where a percent sign has to be doubled."""

    def as_bytes(self, context: object = None) -> bytes:
        return super().as_bytes(None).replace(b"%", b"%%")


def listed(names: Sequence[str], alias: str = "") -> sql.Composed:
    """Columns side by side."""
    prefix = sql.SQL(f"{alias}." if alias else "")
    return sql.SQL(", ").join([sql.SQL("{}{}").format(prefix, Name(name)) for name in names])
