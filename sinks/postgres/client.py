"""Connections to one Postgres database: the URL, TLS, time-outs, a small pool, and transactions.

Nothing outlives a transaction (settings are SET LOCAL, nothing is prepared), so a pooler between us and the server
does no harm. In every transaction names are looked for in ``pg_catalog`` alone, and what is not there is qualified:
functions, operators and types that another role made in a schema of the user's ``search_path`` must not run as us.
"""

from __future__ import annotations

import enum
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_loads

from dynaview.sinks.port import SinkRefused
from dynaview.sinks.postgres.errors import translated, unconnected
from dynaview.sinks.postgres.limits import LIMITS, Limits
from dynaview.sinks.postgres.tls import tls_parameters
from dynaview.sinks.postgres.values import json_loads

if TYPE_CHECKING:
    from dynaview.sinks.aws import DatabaseLogin

TIMEOUT = 30.0
"""Seconds a statement may take where the declaration says nothing."""

_CONNECT_SECONDS = 10
_PORTS = re.compile(r"\d*(,\d*)*")
_KEPT = 16
"""Idle connections that are kept."""


class Mode(enum.Enum):
    """What a transaction is for, and so how it is set up."""

    WRITE = "write"
    """A batch: nothing but the time-out."""
    READ = "read"
    """Times and floats are read as text, so their form must not depend on the role's or the database's settings."""
    LONG = "long"
    """As READ, but index builds and counts take as long as they take; only waiting for a lock has an end."""


_SHOWN = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1"
_START = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog, pg_temp; "
_BEGIN = {
    Mode.WRITE: sql.SQL(_START + "SET LOCAL statement_timeout = {limit}"),
    Mode.READ: sql.SQL(_START + "SET LOCAL statement_timeout = {limit}; " + _SHOWN),
    Mode.LONG: sql.SQL(_START + "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {limit}; " + _SHOWN),
}

_LIMITS = (
    "SELECT name FROM pg_settings "
    "WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout') AND setting <> '0'"
)


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """Gives up on a server that has gone silent, which no time-out of the server's own can notice."""

    patience: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, self.patience if timeout is None else timeout)


class Connections:
    """A pool. Safe to use from several threads. Raises ValueError for a URL or options that make no sense."""

    def __init__(self, url: str, options: Mapping[str, Any], limits: Limits = LIMITS) -> None:
        self._parameters = _parameters(url, options, limits.grace)
        self._grace = limits.grace
        self.timeout = float(options.get("timeout") or TIMEOUT)
        self.place = _place(self._parameters)
        """Host and port, for messages."""
        self.role = str(self._parameters.get("user") or "CURRENT_USER")
        """Whom a missing right would be granted to."""
        self._login = _login(self._parameters, options)
        self._pooled = bool(options.get("pooler"))
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False
        self._limit = max(1, int(self.timeout * 1000))

    @contextmanager
    def transaction(self, remedy: str, mode: Mode = Mode.READ) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """One transaction, committed at the end of the block.

        Raises `SinkError` or `ContentError` for what Postgres refuses within it; `remedy` is the GRANT to name where
        rights are missing.
        """
        connection = self._take()
        connection.patience = None if mode is Mode.LONG else self.timeout + self._grace
        try:
            connection.execute(_BEGIN[mode].format(limit=sql.Literal(self._limit)))
            yield connection
            connection.execute("COMMIT")
        except psycopg.Error as error:
            self._after(error, connection)
            raise translated(error, self.place, remedy) from None
        except BaseException:
            self._roll_back(connection)
            raise
        else:
            self._give(connection)

    @contextmanager
    def single(self, remedy: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection whose statements each commit by themselves, as CREATE INDEX CONCURRENTLY has to, and take as
        long as they take; all names in them are qualified. Raises as `transaction`."""
        connection = self._take()
        connection.patience = None
        try:
            connection.execute(_START)
            limits = [name for (name,) in connection.execute(_LIMITS)]
            connection.execute("COMMIT")
            if limits and self._pooled:
                lifted = ", ".join(f"ALTER ROLE {self.role} SET {limit} = 0" for limit in limits)
                raise SinkRefused(
                    f"Postgres at {self.place}: making an index may take longer than {' and '.join(limits)} allows, "
                    f"which cannot be taken off for a while behind a pooler: {lifted}"
                )
            # Only where there is a limit, and no pooler, which may give the session to another client.
            for name in limits:
                connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(name)))
            try:
                yield connection
            finally:
                for name in [] if connection.closed else limits:
                    connection.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            self._after(error, connection)
            raise translated(error, self.place, remedy) from None
        except BaseException:
            self._roll_back(connection)
            raise
        else:
            self._give(connection)

    def close(self) -> None:
        """Close what is idle; connections in use are closed when they come back."""
        with self._lock:
            self._closed = True
        self._forget()

    def _take(self) -> _Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        parameters = self._parameters
        if self._login is not None:
            parameters = {**parameters, "password": self._login.token()}
        try:
            connection = _Connection.connect(**parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise unconnected(error, self.place, self._login.remedy if self._login is not None else None) from None
        set_json_loads(json_loads, connection)
        return connection

    def _give(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _after(self, error: psycopg.Error, connection: _Connection) -> None:
        if error.sqlstate is None or connection.closed:
            # The line broke: the idle connections went the same way.
            connection.close()
            self._forget()
        else:
            self._roll_back(connection)

    def _roll_back(self, connection: _Connection) -> None:
        try:
            if connection.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                connection.execute("ROLLBACK")
        except psycopg.Error:
            # The server rolls back what a closed connection leaves.
            connection.close()
        if connection.pgconn.transaction_status is TransactionStatus.IDLE:
            self._give(connection)
        else:
            connection.close()

    def _forget(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _parameters(url: str, options: Mapping[str, Any], grace: float = LIMITS.grace) -> dict[str, Any]:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ValueError("a Postgres URL looks like postgresql://user:password@host:5432/database")
    try:
        given = conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.Error:
        given = {"port": "none"}
    hosts = str(given.get("host") or "")
    if not _PORTS.fullmatch(str(given.get("port", 5432))) or ("@" in hosts and not hosts.startswith("@")):
        # What libpq says quotes the URL, and a password with a stray / or @ in it is read as host and port.
        raise ValueError(
            "this Postgres URL cannot be read; in the user and the password, @ is written as %40 and / as %2F"
        )
    timeout = float(options.get("timeout") or TIMEOUT)
    parameters: dict[str, Any] = {
        "application_name": "dynaview",
        "connect_timeout": max(2, min(_CONNECT_SECONDS, int(timeout))),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": int((timeout + grace) * 1000),
        **given,
        "client_encoding": "utf8",
    }
    return parameters | tls_parameters(given, options)


def _login(parameters: Mapping[str, Any], options: Mapping[str, Any]) -> DatabaseLogin | None:
    if options.get("auth") != "aws":
        if options.get("region"):
            raise ValueError("region says where a token is for: write auth: aws beside")
        return None
    from dynaview.sinks.aws import DatabaseLogin, refuse_open_database  # only who uses it pays for AWS's library

    host = str(parameters.get("host") or "")
    refuse_open_database(parameters, host, parameters.get("password"))
    return DatabaseLogin(
        host,
        int(str(parameters.get("port") or 5432).partition(",")[0] or 5432),
        parameters.get("user"),
        options.get("region"),
    )


def _place(parameters: Mapping[str, Any]) -> str:
    # What stands before an @ in a host is the rest of a password that was not escaped.
    host = str(parameters.get("host") or "localhost").rpartition("@")[2]
    return host if host.startswith("/") else f"{host}:{parameters.get('port') or 5432}"
