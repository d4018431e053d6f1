"""What Redis's errors mean to a view: wait, or stop. Decided by error codes; texts may quote arguments, and so rows."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from dynaview.sinks.port import SinkError, SinkRefused, SinkUnavailable

_TRANSIENT = {
    "OOM": "it is out of memory (maxmemory)",
    "LOADING": "it is loading its data",
    "READONLY": "it takes no writes now (a replica)",
    "MASTERDOWN": "a replica that has lost its primary",
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "its cluster moves keys",
    "BUSY": "it is busy with a script",
    "MISCONF": "it takes no writes, because it cannot save its data",
    "NOREPLICAS": "it takes no writes, because it has too few replicas",
}
"""Error codes that pass, the first word of an answer (https://valkey.io/topics/protocol), and what they mean."""

_RIGHTS = (
    "the user needs ~FAMILY* ~_v{FAMILY* ~_t{FAMILY* ~_g{FAMILY* ~_v:FAMILY* ~_t:FAMILY* ~_g:FAMILY* +@connection "
    "+@read +@write -@dangerous +eval +evalsha +script|load +info +time (ACL SETUSER), where FAMILY is what the keys "
    "of the view begin with; in a cluster also +cluster|slots +cluster|nodes"
)


_ELSEWHERE = "non local key in a cluster node"
"""What a script is told where a key that it touches is on its way to another server, or was moved there."""

_SINGLE = "cluster support disabled"

_IN_SCRIPT = "ACL failure in script"
"""What a missing right of a script has instead of a code of its own (``ERR``)."""


@contextmanager
def translated(where: str, clustered: bool = False) -> Iterator[None]:
    """Errors of the client library as `SinkError`; they show neither credentials nor row values. `where` is the
    server, for people; `clustered` tells that it is taken for one of a cluster."""
    try:
        yield
    except redis.RedisError as error:
        raise translate(error, where, clustered) from error
    except OSError as error:
        raise SinkUnavailable(f"{where}: {type(error).__name__}") from error


def translate(error: redis.RedisError, where: str, clustered: bool = False) -> SinkError:
    """What the port calls `error` of the server `where`."""
    code = code_of(error)
    if code in ("MOVED", "ASK", "CROSSSLOT") or _ELSEWHERE in str(error):
        if clustered:
            return SinkUnavailable(f"{where}: slots of its cluster are being moved, or were just now")
        return SinkRefused(
            f"{where}: the server is part of a cluster, which the sink's declaration denies: leave cluster out"
        )
    if _SINGLE in str(error):
        return SinkRefused(f"{where}: the server is not one of a cluster: leave cluster out of the sink's declaration")
    if isinstance(error, redis.exceptions.AuthorizationError) or code == "NOPERM" or _IN_SCRIPT in str(error):
        return SinkRefused(f"{where}: the user lacks rights: {_RIGHTS}")
    if isinstance(error, redis.AuthenticationError) or code in ("NOAUTH", "WRONGPASS"):
        return SinkRefused(
            f"{where}: wrong or missing credentials ({code or 'AUTH'}): put user and password into the URL"
        )
    if isinstance(error, redis.ConnectionError) and isinstance(_root(error), ssl.SSLCertVerificationError):
        return SinkRefused(f"{where}: the server's certificate is not trusted: name its authority with ca_file")
    if isinstance(error, redis.TimeoutError):
        return SinkUnavailable(f"{where}: timed out")
    if code in _TRANSIENT:
        return SinkUnavailable(f"{where}: {_TRANSIENT[code]} ({code})")
    if isinstance(error, redis.InvalidResponse):
        return SinkUnavailable(
            f"{where}: an answer that is not of Redis's protocol: is another server behind this URL?"
        )
    if isinstance(error, redis.ConnectionError):
        return SinkUnavailable(f"{where}: no connection ({type(error).__name__})")
    # What follows may quote arguments, and so row values.
    return SinkRefused(f"{where}: {str(error).partition(', with args')[0][:200]}")


def code_of(error: redis.RedisError) -> str:
    """The first word of Redis's answer: ``OOM``, ``READONLY``; empty where the answer has none."""
    given = getattr(error, "status_code", None)
    first = given or str(error).partition(" ")[0]
    return first if isinstance(first, str) and first.isupper() else _CODES.get(type(error), "")


_CODES: dict[type, str] = {
    redis.OutOfMemoryError: "OOM",
    redis.BusyLoadingError: "LOADING",
    redis.ReadOnlyError: "READONLY",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.AskError: "ASK",
    redis.exceptions.ClusterCrossSlotError: "CROSSSLOT",
}
"""Codes that the client library cuts off its messages in versions without `status_code`."""


def _root(error: BaseException) -> BaseException:
    seen = error
    while (following := seen.__cause__ or seen.__context__) is not None:
        seen = following
    return seen
