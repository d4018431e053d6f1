"""How dynaview talks to Redis: scripts by their digest, several in flight."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dynaview.projections.urls import host_of, refuse_tls_options
from dynaview.sinks.redis.errors import translated

IN_FLIGHT = 3
"""Calls sent ahead of their answers: the server works on one while the next is being packed."""

TIMEOUT = 10.0
"""Seconds to wait for a connection or an answer, unless the declaration says otherwise."""


class Link:
    """A pool of connections to one Redis. Safe for threads; never retries."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """Raises ValueError for a URL or options that make no sense; shows nothing of the URL."""
        refuse_tls_options(url, options)
        if not url.startswith("unix://"):
            host_of(url, "redis://user:password@host:6379/0")
        timeout = float(options.get("timeout", TIMEOUT))
        settings: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "dynaview",
        }
        if url.startswith("rediss://"):
            verify = options.get("verify", True)
            settings |= {
                "ssl_cert_reqs": "required" if verify else "none",
                "ssl_check_hostname": bool(verify),
                "ssl_ca_certs": options.get("ca_file"),
            }
        self.client: redis.Redis = redis.Redis.from_url(url, **settings)
        self._pool = self.client.connection_pool
        self._check_options()
        at: dict[str, Any] = self._pool.connection_kwargs
        self._where = f"Redis at {at['path'] if 'path' in at else '{}:{}'.format(at.get('host'), at.get('port'))}"
        self._digests: dict[str, str] = {}

    def _check_options(self) -> None:
        """Raises ValueError for options in the URL that the client does not know; it would say so when it connects. No
        connection is made."""
        try:
            self._pool.connection_class(**self._pool.connection_kwargs)
        except redis.RedisError as error:
            raise ValueError(f"the URL has an option that cannot be used: {error}") from None
        except TypeError as error:
            name = str(error).rpartition("argument ")[2].strip("'\"")
            raise ValueError(f"the URL has an option that Redis clients do not know: {name}") from None

    def run(self, script: str, calls: Iterable[tuple[bytes, ...]]) -> Iterator[Any]:
        """Call `script` once with each of these arguments; the answers in order. Raises `SinkError`.

        Closing the iterator early drops the connection, whatever answers are still on their way.
        """
        digest = self._digests.get(script)
        if digest is None:
            digest = self._digests.setdefault(script, hashlib.sha1(script.encode()).hexdigest())
        with translated(self._where):
            connection: Any = self._pool.get_connection()
            clean = False
            try:
                yield from _exchange(connection, script, digest, calls)
                clean = True
            finally:
                if not clean:
                    connection.disconnect()
                self._pool.release(connection)

    def call(self, command: Callable[[redis.Redis], Any]) -> Any:
        """One ordinary command. Raises `SinkError`."""
        with translated(self._where):
            return command(self.client)

    def close(self) -> None:
        self.client.close()
        self._pool.disconnect()


def _exchange(connection: Any, script: str, digest: str, calls: Iterable[tuple[bytes, ...]]) -> Iterator[Any]:
    waiting: deque[tuple[bytes, ...]] = deque()

    def send(arguments: tuple[bytes, ...]) -> None:
        connection.send_packed_command(_packed("EVALSHA", digest, "0", *arguments))
        waiting.append(arguments)

    def answer() -> Any:
        nonlocal waiting
        try:
            found = connection.read_response()
        except redis.exceptions.NoScriptError:
            # The server restarted or flushed its scripts. What is in flight behind fails the same way, or, where
            # another client loaded the script meanwhile, goes through: read all of it, then send the failed again.
            return _again(connection, script, digest, waiting)
        waiting.popleft()
        return [found]

    for arguments in calls:
        send(arguments)
        if len(waiting) > IN_FLIGHT:
            yield from answer()
    while waiting:
        yield from answer()


def _packed(*command: str | bytes) -> list[bytes]:
    return [hiredis.pack_command(command)]  # type: ignore[arg-type] # its stub takes tuples of one only


def _again(connection: Any, script: str, digest: str, waiting: deque[tuple[bytes, ...]]) -> list[Any]:
    """The answers of all `waiting` calls, of which the first just failed for want of the script."""
    answers: list[Any] = [None]
    failed = [0]
    for index in range(1, len(waiting)):
        try:
            answers.append(connection.read_response())
        except redis.exceptions.NoScriptError:
            answers.append(None)
            failed.append(index)
    connection.send_packed_command(_packed("SCRIPT", "LOAD", script))
    connection.read_response()
    for index in failed:
        connection.send_packed_command(_packed("EVALSHA", digest, "0", *waiting[index]))
        answers[index] = connection.read_response()
    waiting.clear()
    return answers
