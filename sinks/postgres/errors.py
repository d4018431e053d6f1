"""What Postgres's errors mean to a view: wait, stop, or reject one write.

Decisions rest on the SQLSTATE; the texts of errors may quote row values and are never shown. Only a connection that
could not be made has no SQLSTATE in libpq: there its message is all there is, and what is not recognised is waited
for.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg

from dynaview.sinks.port import ANEW, SinkError, SinkRefused, SinkUnavailable


class ContentError(Exception):
    """Postgres refused the content of some row of a statement, which has changed nothing."""

    def __init__(self, state: str, constraint: str | None, column: str | None) -> None:
        super().__init__(f"SQLSTATE {state}")
        self.state = state
        self.constraint = constraint
        """The index or constraint, where one refused."""
        self.column = column


class Locked(SinkUnavailable):
    """Somebody else holds the lock."""


class StatementError(SinkRefused):
    """Postgres refused a statement for what stands in the database."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


UNIQUE = "23505"
REPEATED_KEY = "21000"
LOCK_TIMEOUT = "55P03"
DEADLOCK = "40P01"
UNDEFINED_TABLE = "42P01"
UNDEFINED_COLUMN = "42703"

_PASSING = {
    "08": "the connection was lost",
    "25": "it takes no writes now (read-only)",
    "40": "the transaction lost against another one",
    "53": "it is out of connections, memory or disk",
    "55": "the table is locked or not ready",
    "57": "it is shutting down, starting up, or took longer than the time-out",
    "58": "its disk failed",
    "F0": "its configuration is being changed",
    "XX": "it failed within",
}
"""By class of SQLSTATE: what heals by itself."""

_CONTENT = {"22", "23", "54"}

_REASONS = {
    UNIQUE: "another row has the same values in a unique index",
    "23502": "a value that must not be missing",
    "23514": "a value that a check constraint refuses",
    "23503": "a value that a foreign key refuses",
    "22003": "a number out of range",
    "22001": "text that is too long",
    "22007": "a date or time that Postgres does not know",
    "22008": "a date or time out of range",
    "22021": "text that the database's encoding does not have",
    "22P05": "a character that the database's encoding or JSON does not have",
    "22P02": "a value that is not of its column's type",
    "54000": "a value that is too long for an index or a row",
}

_REFUSED = {
    "28": "the user or the password is wrong, or pg_hba.conf does not let this user in",
    "3D": "the database does not exist: create it, or correct the URL",
    "3F": "the schema does not exist",
}

_SETUP = {
    "2BP01": "other views or functions depend on what has to be replaced or dropped: drop them, and make them again "
    "afterwards",
    "42704": "a declared column type or index method does not exist here, or the method does not fit the column; a "
    "type of an extension is declared with its schema, as in public.citext",
    "42804": "a declared column type does not take what its field type holds",
}

_NO_TLS = (
    "the server has no TLS, or a certificate that is not trusted: name its authority with ca_file (for the control "
    "store: sslrootcert in the URL), or ask for a plain connection with sslmode=disable in the URL"
)

_TOKEN_REFUSED = "the database does not take the token of RDS"
_NO_TOKEN = f"{_TOKEN_REFUSED}: GRANT rds_iam TO the user, and allow rds-db:connect on it in IAM"

_CONNECT_REFUSED = (
    (r"PAM authentication failed|IAM authentication|no credentials for the role", _NO_TOKEN),
    (r"password authentication failed|no password supplied|SCRAM|pg_hba\.conf|role .* does not exist"
     r"|not permitted to log in", _REFUSED["28"]),
    (r"database .* does not exist", _REFUSED["3D"]),
    (r"permission denied for database", "the user may not connect to this database: GRANT CONNECT ON DATABASE"),
    (r"does not support SSL|certificate|sslmode|root\.crt", _NO_TLS),
)  # fmt: skip
_CONNECT_PASSING = (
    (r"refused", "the connection is refused"),
    (r"timeout|timed out", "it does not answer"),
    (r"translate host name|Name or service", "the host's name is not known"),
    (r"No such file", "there is no server at this socket"),
    (r"too many (clients|connections)|connection slots|limit exceeded", _PASSING["53"]),
    (r"starting up|shutting down|recovery", _PASSING["57"]),
)


def unconnected(error: psycopg.Error, place: str, remedy: Callable[[], str] | None = None) -> SinkError:
    """What a connection that could not be made means; `remedy` is for a token of RDS that is not taken."""
    passes, reason = connect_reason(error)
    if remedy is not None and reason in (_NO_TOKEN, _REFUSED["28"]):
        reason = f"{_TOKEN_REFUSED}: {remedy()}"
    return (SinkUnavailable if passes else SinkRefused)(f"Postgres at {place}: {reason}")


def connect_reason(error: BaseException) -> tuple[bool, str]:
    """Whether a connection that could not be made heals by itself, and why it could not. Shows none of libpq's own
    words, which may quote a password that was not percent-encoded as the name of a host."""
    text = str(error)
    for pattern, reason in _CONNECT_REFUSED:
        if re.search(pattern, text):
            return False, reason
    reason = next((reason for pattern, reason in _CONNECT_PASSING if re.search(pattern, text)), "it cannot be reached")
    return True, reason


def translated(error: psycopg.Error, place: str, remedy: str) -> SinkError | ContentError:
    """What an error of a statement means. `remedy` is said where rights are missing: the GRANT."""
    state = error.sqlstate
    if state is None:
        return SinkUnavailable(f"Postgres at {place}: {_PASSING['08']}")
    kind = state[:2]
    if kind in _CONTENT or state == REPEATED_KEY:
        return ContentError(state, error.diag.constraint_name, error.diag.column_name)
    if kind in _PASSING:
        made = Locked if state in (LOCK_TIMEOUT, DEADLOCK) else SinkUnavailable
        return made(f"Postgres at {place}: {_PASSING[kind]} ({state})")
    if state == "42501":
        return StatementError(f"Postgres at {place}: a right is missing: {remedy}", state)
    if kind in _REFUSED:
        return StatementError(f"Postgres at {place}: {_REFUSED[kind]}", state)
    if state in (UNDEFINED_TABLE, UNDEFINED_COLUMN):
        return StatementError(
            f"Postgres at {place}: the table of the view, or a column of it, is gone: {ANEW} ({state})",
            state,
        )
    if state in _SETUP:
        return StatementError(f"Postgres at {place}: {_SETUP[state]} ({state})", state)
    return StatementError(f"Postgres at {place} refused a statement ({type(error).__name__}, {state})", state)


def reason_of(error: ContentError) -> str:
    """Why a write was refused, without its values."""
    reason = _REASONS.get(error.state, "a value that Postgres refuses")
    where = f"column {error.column}: " if error.column else ""
    return f"{where}{reason} (SQLSTATE {error.state})"
