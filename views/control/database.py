"""The control store's database: SQLite or Postgres behind one way to read, to write and to fail."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dynaview.projections.urls import AddressError, host_of, safe_url
from dynaview.sinks.port import SinkError
from dynaview.views.control import tables
from dynaview.views.control.errors import ControlError, ControlMissing, ControlUnavailable
from dynaview.views.control.migrations import BASELINE, MIGRATIONS, Migrations, newest

if TYPE_CHECKING:
    from dynaview.sinks.aws import DatabaseLogin

log = logging.getLogger(__name__)

CREATION = 7_370_212_905_331_874
"""The number of the Postgres lock under which the tables are made."""


class Database:
    """Connections to one database that holds the tables. Safe to use from several threads."""

    def __init__(self, url: str, *, create: bool = True, migrations: Migrations = MIGRATIONS) -> None:
        """See `ControlStore`; `migrations` are what leads from an earlier schema to this one."""
        parsed, login = _signed(_parsed(url))
        parsed, self.pooled = _pooled(parsed)
        """Whether no transaction may stay open, as a pooler has few sessions."""
        self._migrations = migrations
        self._newest = newest(migrations)
        self.name = safe_url(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        self.file = Path(str(parsed.database)) if self._sqlite else None
        """SQLite's file; None for another database."""
        if self.file is not None:
            self._make_file(self.file, create)
        # Parameters stay out of errors: those of a dead letter are a row's values.
        self._engine = sa.create_engine(
            parsed,
            # Nothing is prepared: a pooler would look for it in another session.
            connect_args={"timeout": 30} if self._sqlite else {**_tls(parsed), "prepare_threshold": None},
            pool_pre_ping=not self._sqlite,
            hide_parameters=True,
        )
        self._schema: str | None = None
        """Postgres: where the tables are, see `_postgres_connection`."""
        sa.event.listen(self._engine, "connect", _sqlite_connection if self._sqlite else self._postgres_connection)
        if not self._sqlite:
            sa.event.listen(self._engine, "begin", _begin)
        if login is not None:
            sa.event.listen(self._engine, "do_connect", partial(_log_in, login))
        try:
            with self.translated():
                self._find_schema()
                self._prepare(create)
        except ControlUnavailable as error:
            self.close()
            if self._sqlite:  # a file that cannot be opened heals by no waiting
                cause: Any = error.__cause__
                raise ControlError(
                    f"the control store {self.name} cannot be used: {_first_line(cause)}: let dynaview read and write "
                    "it and its folder, or name another one with control:"
                ) from cause
            raise
        except BaseException:
            self.close()
            raise

    def _find_schema(self) -> None:
        if self._sqlite:
            return
        with self._engine.connect():
            pass  # `_postgres_connection` looks
        if self._schema is None:
            raise ControlError(
                f"the control store {self.name} has no schema for its tables: create one that is named in the "
                "search_path of its user"
            )
        self._engine = self._engine.execution_options(schema_translate_map={None: self._schema})

    def _postgres_connection(self, connection: Any, _record: Any) -> None:
        """Whatever the user's search_path begins with holds the tables, and nothing else is ever looked for there (see
        `_BEGIN`): what other roles may have created in it (functions, operators, types) is not called."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.current_schema()")
            (self._schema,) = cursor.fetchone()
        connection.commit()
        connection.autocommit = True  # transactions begin in `_begin`

    def _make_file(self, file: Path, create: bool) -> None:
        """The file holds values of items (dead letters), so it is its owner's alone; SQLite gives the files beside it
        the same rights."""
        if not create:
            if not file.exists():
                raise self._missing()
            return
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise ControlError(
                f"the control store {self.name} cannot be made: {error.strerror or type(error).__name__}: let dynaview "
                f"write into {file.parent}, or name another place with control: (as in "
                "control: sqlite:////var/lib/dynaview/dynaview.db)"
            ) from error

    def _missing(self) -> ControlMissing:
        return ControlMissing(
            f"there is no control store {self.name} yet: dynaview run makes it; where it has run already, this is "
            "another folder, declaration or control: than it ran with"
        )

    def _prepare(self, create: bool) -> None:
        """See that the tables are those of this dynaview."""
        found = self._found()
        if found is None and not create:
            raise self._missing()
        if found == self._newest:
            return
        if found is not None:
            self._check(found, create)
        with self.write() as connection:
            if not self._sqlite:  # several workers may start at once: one of them makes the tables
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATION)))
            if found is None:
                tables.meta.create_all(connection)
                if connection.execute(sa.select(tables.about.c.schema_version)).scalar() is None:
                    connection.execute(tables.about.insert().values(schema_version=self._newest))
            else:
                self._migrate(connection)

    def _found(self) -> int | None:
        if not sa.inspect(self._engine).has_table(tables.about.name, schema=self._schema):
            return None
        with self._engine.connect() as connection:
            found: int | None = connection.execute(sa.select(tables.about.c.schema_version)).scalar()
            return found

    def _check(self, found: int, migrate: bool) -> None:
        if found < BASELINE:
            raise ControlError(
                f"the control store {self.name} was made by an earlier dynaview (its schema is {found}, this one "
                f"needs {BASELINE} or later): name another store with control:, and fill the views anew"
            )
        if found > self._newest:
            raise ControlError(
                f"the control store {self.name} was made by a newer dynaview (its schema is {found}, this one "
                f"knows {self._newest}): install that version, or name another store with control:"
            )
        if not migrate:
            raise ControlError(
                f"the control store {self.name} was made by an earlier dynaview (its schema is {found}, this one "
                f"needs {self._newest}): the next dynaview run brings it up to date"
            )

    def _migrate(self, connection: sa.Connection) -> None:
        """Run what is still to be run; another process may have done so meanwhile."""
        begun = connection.execute(sa.select(tables.about.c.schema_version)).scalar_one()
        for number in sorted(self._migrations):
            if number > begun:
                self._migrations[number](connection)
                log.info("the control store %s has schema %d now", self.name, number)
        connection.execute(tables.about.update().values(schema_version=self._newest))

    def close(self) -> None:
        """Give back connections."""
        self._engine.dispose()

    def connect(self) -> sa.Connection:
        """A connection for its caller alone, who closes it."""
        return self._engine.connect()

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, committed where the block ends without an error. Raises `ControlUnavailable`."""
        with self.translated(), self._engine.begin() as connection:
            if self._sqlite:  # take the write lock at once: a reader that becomes a writer could deadlock
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for queries. Raises `ControlUnavailable`."""
        with self.translated(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """What the database refuses as `ControlUnavailable`, where an operator or time can fix it."""
        try:
            yield
        except (sa.exc.IntegrityError, sa.exc.DataError):
            raise  # what was asked is wrong, and would be again
        except sa.exc.DBAPIError as error:
            # Also read-only (a standby after a failover), rights or tables that are gone: an operator can fix all of
            # them, and until then nothing is lost by waiting.
            raise ControlUnavailable(f"the control store {self.name} does not answer: {_first_line(error)}") from error
        except SinkError as error:  # no token of RDS
            raise ControlUnavailable(f"the control store {self.name} cannot be logged in to: {error}") from error
        except sa.exc.TimeoutError as error:
            raise ControlUnavailable(
                f"the control store {self.name} does not answer: all connections wait for it"
            ) from error

    def clock(self) -> sa.ColumnElement[float]:
        """Now, in seconds since 1970, by the one clock that all workers share: the machines' own may differ."""
        if self._sqlite:  # one machine
            return sa.literal(time.time())
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float(53))

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self._sqlite else postgresql.insert(table)

    def holds(self, column: sa.ColumnElement[str], text: str) -> sa.ColumnElement[bool]:
        """Whether a text column contains `text`, to the letter (LIKE would not mind case in SQLite)."""
        position = sa.func.instr if self._sqlite else sa.func.strpos
        return position(column, text) > 0


def _tls(url: sa.URL) -> dict[str, str]:
    """As for a sink in Postgres; only who uses Postgres pays for its client."""
    from dynaview.sinks.postgres.tls import tls_parameters

    return tls_parameters({**url.query, "host": url.host or url.query.get("host")}, {})


def _parsed(url: str) -> sa.URL:
    """The database that a URL names. Raises `ControlError`, never with the URL: it may hold a password."""
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            host_of(url, "postgresql://user:password@host:5432/name")
    except (sa.exc.ArgumentError, ValueError) as error:
        reason = str(error) if isinstance(error, AddressError) else "not a database URL"
        raise ControlError(
            f"the control store's address cannot be used (such as sqlite:///dynaview.db): {reason}"
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ControlError("the control store has to last: name a file, as in sqlite:///dynaview.db")
    return parsed


def _signed(url: sa.URL) -> tuple[sa.URL, DatabaseLogin | None]:
    """The URL without what is dynaview's own in it (``auth=aws``, ``region=…``), and how to log in where it asks for
    tokens of RDS. Raises `ControlError`."""
    said = url.query
    if url.get_backend_name() == "sqlite" or "auth" not in said:
        return url, None
    from dynaview.sinks.aws import DatabaseLogin, refuse_open_database  # only who uses it pays for AWS's library

    plain = url.difference_update_query(["auth", "region"])
    host, region = str(url.host or ""), said.get("region")
    try:
        if said["auth"] != "aws":
            raise ValueError("auth= is aws, or left out")
        refuse_open_database({**plain.query, **_tls(plain)}, host, url.password)
        return plain, DatabaseLogin(host, url.port or 5432, url.username, str(region) if region else None)
    except ValueError as error:
        raise ControlError(f"the control store's address cannot be used: {error}") from None


def _pooled(url: sa.URL) -> tuple[sa.URL, bool]:
    """The URL without ``pooler=true``, and whether that stood in it. Raises `ControlError`."""
    said = url.query.get("pooler")
    if url.get_backend_name() == "sqlite" or said is None:
        return url, False
    if said not in ("true", "false"):
        raise ControlError("the control store's address cannot be used: pooler= is true or false")
    return url.difference_update_query(["pooler"]), said == "true"


def _log_in(login: DatabaseLogin, _dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
    """A token of its own for each connection."""
    parameters["password"] = login.token()


def check_url(url: str) -> None:
    """See whether a URL can be a control store's, as far as that can be told without a server and without making
    anything. Raises `ControlError`."""
    parsed, _ = _pooled(_signed(_parsed(url))[0])
    if parsed.get_backend_name() == "sqlite":
        file = Path(str(parsed.database))
        above = next((folder for folder in file.parents if folder.exists()), None)
        if file.is_dir() or (above is not None and not above.is_dir()):
            there = file if file.is_dir() else above
            raise ControlError(
                f"the control store cannot be the file {file}: {there} is in its way; name another place"
            )
        return
    import psycopg  # only who uses Postgres pays for its client

    try:
        psycopg.conninfo.make_conninfo(**{name: str(value) for name, value in parsed.query.items()})
    except psycopg.Error as error:
        raise ControlError(
            f"the control store's address has an option that PostgreSQL does not know: {error}"
        ) from error


def _first_line(error: sa.exc.DBAPIError) -> str:
    """What the database says; Postgres adds lines that quote the statement, and may quote values. Where there is no
    connection, not even the first line is shown: it may quote parts of a password."""
    orig = error.orig
    if orig is not None and getattr(orig, "sqlstate", "") is None:
        from dynaview.sinks.postgres.errors import connect_reason

        return connect_reason(orig)[1]
    return str(orig).partition("\n")[0]


_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; "
    # A worker that is paused in the middle of a transaction must not hold up those that take over from it.
    "SET LOCAL idle_in_transaction_session_timeout = '10s'"
)
"""How a transaction begins in Postgres, in one message. Nothing is set for a session: behind a pooler of transactions
the next one may run in another, and another client in this one."""


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(_BEGIN)


def _sqlite_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `write` says so
    connection.execute("PRAGMA journal_mode=WAL")
    # NORMAL may lose the last commits on a power cut, never corrupt: an older checkpoint only repeats work.
    connection.execute("PRAGMA synchronous=NORMAL")
