"""SQL views: taken down and put back with all that belongs to them, when what is under them gets other columns.

CREATE OR REPLACE VIEW can only add columns. Where one goes or changes its type, the SQL view has to be dropped, and
what others have built on it first. Their SQL views are made again from their definitions; anything else that would be
lost stands in the way, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection, sql

from dynaview.sinks.port import SinkRefused
from dynaview.sinks.postgres import grants
from dynaview.sinks.postgres.grants import Grant

_ABOVE = """
    WITH RECURSIVE above(oid, depth) AS (
        SELECT %s::oid, 0
        UNION
        SELECT r.ev_class, above.depth + 1
        FROM above
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = above.oid
        JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND r.ev_class <> above.oid
    )
    SELECT oid FROM above WHERE depth > 0 GROUP BY oid ORDER BY max(depth) DESC, oid
"""

# Whatever depends on the views or their row types, but for what taking them down and putting them back brings along.
_OBSTACLES = """
    SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
    FROM pg_depend d JOIN pg_class c ON c.oid = ANY (%(views)s) AND c.relkind = 'v'
    WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
           OR d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype)
      AND NOT (d.classid = 'pg_type'::regclass AND d.deptype = 'i')
      AND NOT EXISTS (SELECT FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
                      AND r.ev_class = ANY (%(views)s) AND r.rulename = '_RETURN')
    UNION
    SELECT pg_describe_object(refclassid, refobjid, refobjsubid) FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = ANY (%(views)s) AND deptype = 'e'
    UNION
    SELECT pg_describe_object('pg_class'::regclass, oid, 0) FROM pg_class WHERE oid = ANY (%(views)s) AND relkind <> 'v'
    ORDER BY 1
"""

_ABOUT = """
    SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner), coalesce(c.reloptions, '{}'),
           obj_description(c.oid, 'pg_class'), pg_get_viewdef(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
"""

_COLUMNS = """
    SELECT attname, col_description(attrelid, attnum) FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


@dataclass(frozen=True, slots=True)
class SqlView:
    """A SQL view, so that it can be made again."""

    schema: str
    name: str
    owner: str
    options: tuple[str, ...]
    """As ``security_barrier=true``."""
    comment: str | None
    query: str
    columns: dict[str, str | None] = field(default_factory=dict)
    """With their comments."""
    grants: list[Grant] = field(default_factory=list)

    @classmethod
    def of(cls, connection: Connection[Any], oid: int) -> SqlView:
        """What stands there, its query as this connection would say it: names on its ``search_path`` unqualified."""
        row = connection.execute(_ABOUT, (oid,)).fetchone()
        assert row is not None
        schema, name, owner, options, comment, query = row
        columns = dict(connection.execute(_COLUMNS, (oid,)).fetchall())
        held = grants.held(connection, oid)
        return cls(schema, name, owner, tuple(options), comment, query.rstrip().rstrip(";"), columns, held)

    @property
    def shown(self) -> str:
        """The name as messages show it."""
        return f"{self.schema}.{self.name}"

    @property
    def qualified(self) -> sql.Composed:
        """The name as statements have it."""
        return sql.SQL("{}.{}").format(sql.Identifier(self.schema), sql.Identifier(self.name))

    def make(self, connection: Connection[Any]) -> None:
        """Make it, where it stood before, with what belongs to it."""
        connection.execute(
            sql.SQL("CREATE VIEW {}{} AS {}").format(self.qualified, with_options(self.options), sql.SQL(self.query))
        )
        self.dress(connection)

    def dress(self, connection: Connection[Any]) -> None:
        """Give a SQL view that was just made in its place the owner, comments and grants of this one."""
        (oid,) = connection.execute("SELECT %s::regclass::oid", (self.qualified.as_string(),)).fetchone() or (0,)
        now = {name for name, _ in connection.execute(_COLUMNS, (oid,))}
        comments = [(sql.SQL("VIEW {}").format(self.qualified), self.comment)] + [
            (sql.SQL("COLUMN {}.{}").format(self.qualified, sql.Identifier(name)), comment)
            for name, comment in self.columns.items()
            if name in now
        ]
        for what, comment in comments:
            if comment is not None:
                connection.execute(sql.SQL("COMMENT ON {} IS {}").format(what, sql.Literal(comment)))
        grants.revoke(connection, oid, self.qualified)
        grants.give(connection, self.grants, self.qualified, now)
        (current,) = connection.execute("SELECT current_user").fetchone() or ("",)
        if self.owner != current:
            connection.execute(sql.SQL("ALTER VIEW {} OWNER TO {}").format(self.qualified, sql.Identifier(self.owner)))


def with_options(options: Sequence[str]) -> sql.Composed:
    """The clause that gives a SQL view its options."""
    if not options:
        return sql.Composed([])
    pairs = [option.partition("=") for option in options]
    return sql.SQL(" WITH ({})").format(
        sql.SQL(", ").join(
            [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, _, value in pairs]
        )
    )


def above(connection: Connection[Any], oid: int) -> list[int]:
    """The views that show what SQL view `oid` shows, the outermost first."""
    return [row[0] for row in connection.execute(_ABOVE, (oid,))]


def shown(connection: Connection[Any], oid: int) -> list[str]:
    """Their names, for people."""
    rows = connection.execute(
        "SELECT pg_describe_object('pg_class'::regclass, unnest(%s::oid[]), 0)", (above(connection, oid),)
    )
    return [row[0] for row in rows]


def obstacles(connection: Connection[Any], views: Sequence[int]) -> list[str]:
    """What would be lost, or not let go, if `views` were dropped and made again."""
    return [row[0] for row in connection.execute(_OBSTACLES, {"views": list(views)})]


@dataclass(frozen=True, slots=True)
class Dependents:
    """The SQL views that others have built on one."""

    base: str
    views: list[SqlView]
    """The outermost first: the order in which their readers lock them, so that nobody waits for each other."""

    @classmethod
    def of(cls, connection: Connection[Any], base: SqlView, oid: int) -> Dependents:
        """Raises `SinkRefused` where something stands on it that cannot be made again."""
        oids = above(connection, oid)
        found = obstacles(connection, [oid, *oids])
        if found:
            raise SinkRefused(
                f"columns of {base.shown} were taken away or changed, so it has to be made anew, which would lose "
                f"{', '.join(found)}: drop {_them(found)} and try again, and make {_them(found)} again afterwards"
            )
        return cls(base.shown, [SqlView.of(connection, one) for one in oids])

    def drop(self, connection: Connection[Any]) -> None:
        """Take them down."""
        for view in self.views:
            with self._named(view):
                connection.execute(sql.SQL("DROP VIEW {}").format(view.qualified))

    def make(self, connection: Connection[Any]) -> None:
        """Put them back. Raises `SinkRefused` where one cannot stand on the columns that there are now."""
        for view in reversed(self.views):
            with self._named(view):
                view.make(connection)

    @contextmanager
    def _named(self, view: SqlView) -> Iterator[None]:
        """Say which SQL view it is that Postgres refuses."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege:
            raise SinkRefused(
                f"{view.shown} shows {self.base}, whose columns were taken away or changed, and belongs to role "
                f"{view.owner}: drop it and try again, and make it again afterwards"
            ) from None
        except psycopg.ProgrammingError as error:
            if not (error.sqlstate or "").startswith("42"):
                raise
            raise SinkRefused(
                f"{view.shown} shows {self.base} and cannot stand on its columns as they are now ({error.sqlstate}): "
                "drop it and try again, and make another one that fits afterwards"
            ) from None


def _them(found: Sequence[str]) -> str:
    return "it" if len(found) == 1 else "them"
