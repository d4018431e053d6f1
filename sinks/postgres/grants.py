"""Who may do what with a relation: read, and granted again on another."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

_HELD = """
    SELECT ''::name, a.privilege_type, a.is_grantable, CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
    FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = %(oid)s AND a.grantee <> c.relowner
    UNION ALL
    SELECT t.attname, a.privilege_type, a.is_grantable, CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a
    WHERE c.oid = %(oid)s AND a.grantee <> c.relowner AND NOT t.attisdropped
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege of one role; the owner's are not counted."""

    column: str
    """Empty: on all of them."""
    privilege: str
    grantable: bool
    role: str | None
    """None: PUBLIC."""

    @property
    def grantee(self) -> sql.Composable:
        """The role as statements name it."""
        return sql.SQL("PUBLIC") if self.role is None else sql.Identifier(self.role)


def held(connection: Connection[Any], oid: int) -> list[Grant]:
    """The grants on a relation and on its columns."""
    return [Grant(*row) for row in connection.execute(_HELD, {"oid": oid})]


def copy(connection: Connection[Any], oid: int, to: sql.Composable, columns: Collection[str]) -> None:
    """Grant on `to` what is granted on relation `oid`, on columns only where `to` has them."""
    give(connection, held(connection, oid), to, columns)


def give(connection: Connection[Any], grants: list[Grant], to: sql.Composable, columns: Collection[str]) -> None:
    """Grant them on `to`, on columns only where it has them."""
    for grant in grants:
        if grant.column and grant.column not in columns:
            continue
        privilege: sql.Composable = sql.SQL(grant.privilege)
        if grant.column:
            privilege = sql.SQL("{} ({})").format(privilege, sql.Identifier(grant.column))
        option = sql.SQL(" WITH GRANT OPTION" if grant.grantable else "")
        connection.execute(sql.SQL("GRANT {} ON {} TO {}{}").format(privilege, to, grant.grantee, option))


def revoke(connection: Connection[Any], oid: int, of: sql.Composable) -> None:
    """Take back what default privileges gave on a relation that was just made."""
    for grantee in {grant.role: grant.grantee for grant in held(connection, oid)}.values():
        connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(of, grantee))
